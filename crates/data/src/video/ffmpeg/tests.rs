//! Frames carry their number as black and white blocks, so that a frame taken for another shows.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::process::Process;
use super::{Codec, Ffmpeg, PacketDecoder, find_ffmpeg_by, mkv, nut, use_ffmpeg};
use crate::video::{VideoCodec, VideoFile, VideoSettings, decode_frames, decode_luma, encode_mp4};

const WIDTH: usize = 96;
const HEIGHT: usize = 64;
const BLOCK: usize = 16;

/// The ffmpeg of the tests, in use from now on; `None` (said) where there is none.
fn tool() -> Option<Ffmpeg> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.embody/tools/bin/ffmpeg");
    let named = std::env::var_os("EMBODY_FFMPEG").map(PathBuf::from);
    let found = [named, Some(own), Some(PathBuf::from("ffmpeg"))];
    let tool = found.into_iter().flatten().find_map(|path| Ffmpeg::new(path).ok());
    match &tool {
        Some(tool) => use_ffmpeg(tool.clone()),
        None => eprintln!("skipped: no ffmpeg (cargo xtask setup --tools puts one in place)"),
    }
    tool
}

/// A frame whose blocks spell `number` in binary, over a moving background.
fn frame(number: usize) -> Vec<u8> {
    let mut rgb = vec![0; WIDTH * HEIGHT * 3];
    for (i, pixel) in rgb.chunks_exact_mut(3).enumerate() {
        let (x, y) = (i % WIDTH, i / WIDTH);
        let value = if y < 2 * BLOCK {
            let bit = y / BLOCK * (WIDTH / BLOCK) + x / BLOCK;
            if number >> bit & 1 == 1 { 235 } else { 20 }
        } else {
            60 + ((x + number * 3) % 64) as u8 * 2
        };
        pixel.fill(value);
    }
    rgb
}

/// The number that a picture spells.
fn number(rgb: &[u8]) -> usize {
    (0..2 * WIDTH / BLOCK).fold(0, |sum, bit| {
        let (x, y) = (bit % (WIDTH / BLOCK) * BLOCK + 8, bit / (WIDTH / BLOCK) * BLOCK + 8);
        sum | usize::from(rgb[(y * WIDTH + x) * 3] > 128) << bit
    })
}

/// A file of `count` frames, encoded by ffmpeg with `arguments`.
fn make(tool: &Ffmpeg, path: &Path, count: usize, arguments: &[&str]) {
    let mut child = Command::new(tool.path())
        .args(["-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "96x64", "-r", "30"])
        .args(["-i", "pipe:0"])
        .args(arguments)
        .arg("-y")
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("start");
    let mut stdin = child.stdin.take().expect("pipe");
    (0..count).for_each(|i| stdin.write_all(&frame(i)).expect("write"));
    drop(stdin);
    assert!(child.wait().expect("wait").success(), "{arguments:?}");
}

fn read(file: &VideoFile, indices: &[usize]) -> Vec<usize> {
    let mut out = Vec::new();
    decode_frames(file, indices, &|i| (0, indices[i]), &mut |position, rgb| {
        assert_eq!(position, out.len());
        out.push(number(rgb));
        Ok(())
    })
    .expect("decode");
    out
}

const X265: &str = "log-level=none";
const KINDS: &[(&str, &[&str])] = &[
    ("h264 of LeRobot", &["-c:v", "libx264", "-g", "2", "-crf", "30", "-pix_fmt", "yuv420p"]),
    ("h264, B-frames", &["-c:v", "libx264", "-g", "24", "-bf", "3", "-pix_fmt", "yuv420p"]),
    ("h264, one key frame", &["-c:v", "libx264", "-g", "999", "-bf", "0", "-pix_fmt", "yuv420p"]),
    (
        "h264, open groups",
        &[
            "-c:v",
            "libx264",
            "-bf",
            "3",
            "-x264-params",
            "open-gop=1:keyint=20:scenecut=0",
            "-pix_fmt",
            "yuv420p",
        ],
    ),
    ("h264, 10 bit", &["-c:v", "libx264", "-g", "12", "-pix_fmt", "yuv420p10le"]),
    ("h264, 4:4:4", &["-c:v", "libx264", "-g", "12", "-pix_fmt", "yuv444p"]),
    ("hevc", &["-c:v", "libx265", "-g", "2", "-x265-params", X265, "-pix_fmt", "yuv420p"]),
    (
        "hevc, open groups, 10 bit",
        &[
            "-c:v",
            "libx265",
            "-x265-params",
            "log-level=none:keyint=20:bframes=3:open-gop=1",
            "-pix_fmt",
            "yuv420p10le",
        ],
    ),
    (
        "hevc, closed groups",
        &[
            "-c:v",
            "libx265",
            "-x265-params",
            "log-level=none:keyint=20:open-gop=0",
            "-pix_fmt",
            "yuv420p",
        ],
    ),
    ("mpeg4", &["-c:v", "mpeg4", "-g", "12", "-q:v", "3"]),
    ("mpeg4, B-frames", &["-c:v", "mpeg4", "-g", "12", "-bf", "2", "-q:v", "3"]),
    (
        "vp9",
        &[
            "-c:v",
            "libvpx-vp9",
            "-g",
            "20",
            "-b:v",
            "500k",
            "-cpu-used",
            "8",
            "-pix_fmt",
            "yuv420p",
        ],
    ),
];

#[test]
fn every_frame_is_the_one_asked_for() {
    let Some(tool) = tool() else { return };
    let home = tempfile::tempdir().expect("folder");
    for (kind, arguments) in KINDS {
        let path = home.path().join("v.mp4");
        let start = Instant::now();
        make(&tool, &path, 70, arguments);
        let file = VideoFile::open(&path).expect("open");
        assert_eq!(file.len(), 70, "{kind}");
        let all: Vec<usize> = (0..70).collect();
        assert_eq!(read(&file, &all), all, "{kind}: from end to end");
        assert_eq!(read(&file, &all), all, "{kind}: again");
        // 37 and 70 have no common divisor: every frame once, each far from the one before.
        // Groups that can only be entered afresh cost a process each.
        let every = if *kind == "h264, open groups" { 9 } else { 1 };
        for i in (0..70).step_by(every) {
            let index = i * 37 % 70;
            assert_eq!(read(&file, &[index]), [index], "{kind}");
        }
        for step in [1, 2, 3, 7, 19, 33] {
            let some: Vec<usize> = (step..70).step_by(step).collect();
            assert_eq!(read(&file, &some), some, "{kind}: every {step}th");
        }
        assert_eq!(read(&file, &[5, 5, 6, 41, 41]), [5, 5, 6, 41, 41], "{kind}: twice");
        for i in (20..30).step_by(every) {
            assert_eq!(read(&file, &[i]), [i], "{kind}: one after the other");
        }
        println!("{kind}: {:.1} s", start.elapsed().as_secs_f64());
    }
}

#[test]
fn depth_comes_back_to_the_bit() {
    let Some(tool) = tool() else { return };
    let home = tempfile::tempdir().expect("folder");
    let path = home.path().join("depth.mp4");
    let code = |i: usize, at: usize| ((i * 977 + at * 13) % 4096) as u16;
    let mut child = Command::new(tool.path())
        .args(["-v", "error", "-f", "rawvideo", "-pix_fmt", "gray12le", "-s", "96x64", "-r", "30"])
        .args(["-i", "pipe:0", "-c:v", "libx265", "-g", "2", "-pix_fmt", "gray12le"])
        .args(["-x265-params", "lossless=1:log-level=none", "-y"])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("start");
    let mut stdin = child.stdin.take().expect("pipe");
    for i in 0..12 {
        let bytes: Vec<u8> = (0..WIDTH * HEIGHT).flat_map(|at| code(i, at).to_le_bytes()).collect();
        stdin.write_all(&bytes).expect("write");
    }
    drop(stdin);
    assert!(child.wait().expect("wait").success());
    let file = VideoFile::open(&path).expect("open");
    let mut seen = 0;
    decode_luma(&file, &[1, 4, 11], &|i| (0, i), &mut |position, width, codes, depth| {
        let i = [1, 4, 11][position];
        assert_eq!((width, depth), (WIDTH, 12));
        assert!(codes.iter().enumerate().all(|(at, &c)| c == code(i, at)), "frame {i}");
        seen += 1;
        Ok(())
    })
    .expect("decode");
    assert_eq!(seen, 3);
}

#[test]
fn damaged_packets_are_errors_that_name_the_frame() {
    let Some(tool) = tool() else { return };
    let home = tempfile::tempdir().expect("folder");
    let path = home.path().join("v.mp4");
    make(&tool, &path, 40, &["-c:v", "libx264", "-g", "10", "-bf", "0", "-pix_fmt", "yuv420p"]);
    let whole = std::fs::read(&path).expect("read");
    let file = VideoFile::open(&path).expect("open");
    let mut named = 0;
    for hit in [3usize, 10, 17, 25] {
        let mut bytes = whole.clone();
        let sample = file.track().samples[hit];
        let from = sample.offset as usize;
        // Noise in the middle of a packet may decode to something: the codec has no checksum.
        bytes[from..from + sample.size as usize].fill(0xa5);
        let bad = home.path().join(format!("{hit}.mp4"));
        std::fs::write(&bad, bytes).expect("write");
        let file = VideoFile::open(&bad).expect("open");
        let all: Vec<usize> = (0..40).collect();
        let mut right = 0;
        let result = decode_frames(&file, &all, &|i| (5, i), &mut |i, rgb| {
            right += usize::from(number(rgb) == i);
            Ok(())
        });
        if let Err(error) = result {
            assert!(error.to_string().contains(&format!("episode 5, frame {hit}")), "{error}");
            assert_eq!(right, hit);
            named += 1;
        }
        // The groups that are whole can be had all the same.
        let group = hit / 10 * 10;
        let others: Vec<usize> = all.into_iter().filter(|i| i / 10 * 10 != group).collect();
        assert_eq!(read(&file, &others), others);
    }
    assert_eq!(named, 4, "damage that nobody noticed");
}

#[test]
fn packets_of_messages_are_decoded_one_by_one() {
    let Some(tool) = tool() else { return };
    let home = tempfile::tempdir().expect("folder");
    let kinds: [(Codec, &[&str]); 2] = [
        (Codec::H264, &["-c:v", "libx264", "-g", "10", "-bf", "0", "-pix_fmt", "yuv420p"]),
        (
            Codec::Hevc,
            &[
                "-c:v",
                "libx265",
                "-x265-params",
                "log-level=none:bframes=0:keyint=10",
                "-pix_fmt",
                "yuv420p",
                "-tag:v",
                "hvc1",
            ],
        ),
    ];
    for (codec, arguments) in kinds {
        let path = home.path().join("v.mp4");
        make(&tool, &path, 25, arguments);
        let file = VideoFile::open(&path).expect("open");
        let packets: Vec<Vec<u8>> = (0..25).map(|i| file.annex_b(i).expect("packet")).collect();
        let mut decoder = PacketDecoder::new(codec);
        assert_eq!(decoder.packet(&packets[3]).expect("waits"), None);
        for (i, packet) in packets.iter().enumerate() {
            let (width, height, rgb) = decoder.packet(packet).expect("decode").expect("picture");
            assert_eq!((width, height, number(&rgb)), (WIDTH, HEIGHT, i), "{codec:?}");
        }
    }
}

#[test]
fn h264_is_encoded_and_read_back() {
    if tool().is_none() {
        return;
    }
    let frames: Vec<Vec<u8>> = (0..200).map(frame).collect();
    let settings = VideoSettings { codec: VideoCodec::H264, gop: 10, ..VideoSettings::default() };
    let mp4 = encode_mp4(&frames, WIDTH, HEIGHT, 30.0, settings).expect("encode");
    assert_eq!(mp4, encode_mp4(&frames, WIDTH, HEIGHT, 30.0, settings).expect("again"));
    let home = tempfile::tempdir().expect("folder");
    let path = home.path().join("v.mp4");
    std::fs::write(&path, mp4).expect("write");
    let file = VideoFile::open(&path).expect("open");
    assert_eq!(file.track().config.codec(), "h264");
    let keys: Vec<usize> = (0..200).filter(|&i| file.track().samples[i].sync).collect();
    assert_eq!(keys, (0..200).step_by(10).collect::<Vec<_>>());
    let all: Vec<usize> = (0..200).collect();
    let mut worst: f64 = 0.0;
    decode_frames(&file, &all, &|i| (0, i), &mut |i, rgb| {
        assert_eq!(number(rgb), i);
        let sum: u64 = rgb.iter().zip(&frames[i]).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        worst = worst.max(sum as f64 / rgb.len() as f64);
        Ok(())
    })
    .expect("decode");
    assert!(worst < 4.0, "mean difference {worst}");
    let odd = encode_mp4(&[vec![0; 33 * 48 * 3]], 33, 48, 30.0, settings).expect_err("odd");
    assert!(odd.to_string().contains("33x48"), "{odd}");
}

#[test]
fn without_ffmpeg_the_error_says_what_to_do() {
    let Some(tool) = tool() else { return };
    let home = tempfile::tempdir().expect("folder");
    let path = home.path().join("v.mp4");
    make(&tool, &path, 3, &["-c:v", "mpeg4"]);
    let file = VideoFile::open(&path).expect("open");
    let lonely = home.path().to_owned();
    std::thread::spawn(move || {
        // Asked once more than there is one: what is kept must not be used either.
        find_ffmpeg_by(|| None);
        let error = decode_frames(&file, &[0], &|i| (0, i), &mut |_, _| Ok(())).expect_err("none");
        let text = error.to_string();
        assert!(text.contains("v.mp4") && text.contains("mpeg4"), "{text}");
        let hint = error.hint().expect("hint");
        assert!(hint.contains("imageio-ffmpeg") && hint.contains("EMBODY_FFMPEG"), "{hint}");
        let settings = VideoSettings { codec: VideoCodec::H264, ..VideoSettings::default() };
        let error = encode_mp4(&[frame(0)], WIDTH, HEIGHT, 30.0, settings).expect_err("none");
        assert!(error.hint().is_some_and(|h| h.contains("EMBODY_FFMPEG")), "{error}");
        drop(lonely);
    })
    .join()
    .expect("no panic");
    use_ffmpeg(tool);
}

#[test]
fn what_is_no_ffmpeg_is_refused() {
    assert!(Ffmpeg::new("no/such/program").expect_err("missing").contains("no/such/program"));
    #[cfg(unix)]
    assert!(Ffmpeg::new("/bin/true").expect_err("other").contains("no ffmpeg"));
}

/// A program that takes the place of ffmpeg and does `act`.
#[cfg(unix)]
fn impostor(home: &Path, act: &str) -> Ffmpeg {
    use std::os::unix::fs::PermissionsExt;
    let path = home.join("ffmpeg");
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = -version ] && echo 'ffmpeg version 9.0 of a test' && exit\n{act}\n"
    );
    std::fs::write(&path, text).expect("write");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("mode");
    Ffmpeg::new(path).expect("version").with_time_limit(Duration::from_millis(400))
}

#[cfg(unix)]
#[test]
fn a_child_that_hangs_is_killed_and_one_that_talks_is_quoted() {
    let Some(tool) = tool() else { return };
    let home = tempfile::tempdir().expect("folder");
    let path = home.path().join("v.mp4");
    make(&tool, &path, 3, &["-c:v", "mpeg4"]);
    let file = VideoFile::open(&path).expect("open");
    let fails = |act: &str| {
        use_ffmpeg(impostor(home.path(), act));
        let start = Instant::now();
        let error = decode_frames(&file, &[0], &|i| (0, i), &mut |_, _| Ok(())).expect_err("fails");
        assert!(start.elapsed() < Duration::from_secs(20));
        error.to_string()
    };
    let text = fails("exec sleep 100");
    assert!(text.contains("gave nothing for 0.4 s"), "{text}");
    let text = fails("echo '[x @ 0x1] the cat is on the table' >&2; cat >/dev/null; exit 1");
    assert!(text.contains("ffmpeg says: the cat is on the table"), "{text}");
    let text = fails("head -c 100000 /dev/zero | tr '\\0' x >&2; cat >/dev/null");
    assert!(text.len() < 1000, "{} characters", text.len());
    let text = fails("head -c 5000 /dev/urandom; cat >/dev/null");
    assert!(text.contains("NUT from ffmpeg"), "{text}");
    use_ffmpeg(tool);
}

#[cfg(target_os = "linux")]
#[test]
fn no_child_outlives_its_handle() {
    let Some(tool) = tool() else { return };
    let children = || -> usize {
        let me = std::process::id().to_string();
        let Ok(all) = std::fs::read_dir("/proc") else { return 0 };
        all.flatten()
            .filter_map(|e| std::fs::read_to_string(e.path().join("stat")).ok())
            .filter(|stat| stat.contains("(ffmpeg)"))
            .filter(|stat| stat.rsplit(')').next().and_then(|s| s.split(' ').nth(2)) == Some(&me))
            .count()
    };
    let before = children();
    let (process, output) =
        Process::start(&tool, &["-f", "rawvideo", "-i", "pipe:0", "-f", "null", "-"])
            .expect("start");
    assert_eq!(children(), before + 1);
    drop(output);
    drop(process);
    assert_eq!(children(), before);
}

proptest! {
    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let head = mkv::head(Codec::H264, &[1, 2, 3], 64, 48);
        for input in [bytes.clone(), [head, bytes.clone()].concat()] {
            mkv::read(input.as_slice(), |_, _| true).ok();
        }
        let nut = [b"nut/multimedia container\0", bytes.as_slice()].concat();
        if let Ok(mut reader) = nut::Reader::new(nut.as_slice()) {
            while let Ok(Some(_)) = reader.frame() {}
        }
        for codec in [Codec::H264, Codec::Hevc] {
            codec.entry(&bytes, &bytes);
            super::codec::as_broken_link(&bytes, &bytes);
        }
    }

    #[test]
    fn packets_come_back(data in proptest::collection::vec(any::<u8>(), 1..300), key in any::<bool>(),
                         configuration in proptest::collection::vec(any::<u8>(), 1..40)) {
        let mut stream = mkv::head(Codec::H264, &configuration, 64, 48);
        stream.extend(mkv::packet(7, key, &data));
        let mut seen = Vec::new();
        mkv::read(stream.as_slice(), |track, packet| {
            assert_eq!(track.configuration, configuration);
            seen.extend(packet);
            true
        }).expect("read");
        prop_assert_eq!(seen, vec![(data, key)]);
    }
}
