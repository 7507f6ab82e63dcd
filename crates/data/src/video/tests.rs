use super::{I420, SegmentEncoder, VideoFile, VideoSettings, decode_frames, encode_mp4};

fn noise(width: usize, height: usize, t: usize) -> Vec<u8> {
    let wave = |x: usize, y: usize, k: usize| {
        let v = ((x + t * 2) as f64 / 9.0).sin() * 60.0 + ((y + k * 7) as f64 / 7.0).cos() * 50.0;
        (v + 128.0) as u8
    };
    (0..height)
        .flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |k| wave(x, y, k))))
        .collect()
}

fn roundtrip(width: usize, height: usize, count: usize, settings: VideoSettings) -> f64 {
    let frames: Vec<Vec<u8>> = (0..count).map(|t| noise(width, height, t)).collect();
    let mp4 = encode_mp4(&frames, width, height, 24.0, settings).expect("encode");
    let home = tempfile::tempdir().expect("folder");
    let path = home.path().join("v.mp4");
    std::fs::write(&path, mp4).expect("write");
    let file = VideoFile::open(&path).expect("open");
    assert_eq!(file.len(), count);
    let indices: Vec<usize> = (0..count).collect();
    let mut worst: f64 = 0.0;
    decode_frames(&file, &indices, &|i| (0, i), &mut |i, rgb| {
        let sum: u64 = rgb.iter().zip(&frames[i]).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        worst = worst.max(sum as f64 / rgb.len() as f64);
        Ok(())
    })
    .expect("decode");
    worst
}

#[test]
fn frames_survive_the_codec() {
    for (width, height, gop) in [(96, 96, 2), (64, 48, 30), (33, 47, 1), (17, 16, 3)] {
        let settings = VideoSettings { gop, quantiser: 20, ..VideoSettings::default() };
        let worst = roundtrip(width, height, 35, settings);
        assert!(worst < 4.0, "{width}x{height}, gop {gop}: mean difference {worst}");
    }
}

#[test]
fn key_frames_stand_where_they_should() {
    let encoder = SegmentEncoder::new(32, 32, 30.0, VideoSettings::default()).expect("settings");
    let frames: Vec<I420> = (0..7).map(|t| I420::from_rgb(&noise(32, 32, t), 32, 32)).collect();
    let segment = encoder.encode(&frames).expect("encode");
    let keys: Vec<bool> = segment.packets.iter().map(|p| p.1).collect();
    assert_eq!(keys, [true, false, true, false, true, false, true]);
}

#[test]
fn impossible_sizes_are_refused() {
    let frames = [vec![0u8; 8 * 8 * 3]];
    let error = encode_mp4(&frames, 8, 8, 30.0, VideoSettings::default()).expect_err("too small");
    assert!(error.to_string().contains("8x8"), "{error}");
    let error = encode_mp4(&frames, 16, 16, 30.0, VideoSettings::default()).expect_err("size");
    assert!(error.to_string().contains("frame 0 is not 16x16"), "{error}");
}

#[test]
fn colours_follow_bt601() {
    // ITU-R BT.601 limited range: white, black, pure red.
    for (rgb, yuv) in [
        ([255, 255, 255], [235, 128, 128]),
        ([0, 0, 0], [16, 128, 128]),
        ([255, 0, 0], [81, 90, 240]),
    ] {
        let image = I420::from_rgb(&rgb.repeat(4), 2, 2);
        assert_eq!([image.y[0], image.u[0], image.v[0]], yuv, "{rgb:?}");
    }
}

#[test]
fn damaged_packets_are_errors_that_name_the_frame() {
    let frames: Vec<Vec<u8>> = (0..12).map(|t| noise(48, 48, t)).collect();
    let mp4 = encode_mp4(&frames, 48, 48, 30.0, VideoSettings::default()).expect("encode");
    let home = tempfile::tempdir().expect("folder");
    let indices: Vec<usize> = (0..12).collect();
    let mut refused = 0;
    for seed in 0..40usize {
        let path = home.path().join(format!("{seed}.mp4"));
        let mut bytes = mp4.clone();
        // Inside the first packets, behind `ftyp` and the header of `mdat`.
        for k in 0..20 {
            let at = 60 + (seed * 7919 + k * 104_729) % 1500;
            bytes[at] = (seed * 31 + k * 17) as u8;
        }
        std::fs::write(&path, bytes).expect("write");
        let Ok(file) = VideoFile::open(&path) else { continue };
        let result = decode_frames(&file, &indices, &|i| (5, i), &mut |_, _| Ok(()));
        if let Err(error) = result {
            assert!(error.to_string().contains("episode 5, frame"), "{error}");
            refused += 1;
        }
    }
    assert!(refused > 0);
}
