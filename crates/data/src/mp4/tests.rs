use std::io::Cursor;

use proptest::prelude::*;

use super::{Mp4Writer, Packet, TrackConfig, av1_sample_entry, read_track};

fn config(timescale: u32, media_time: i64) -> TrackConfig {
    TrackConfig {
        timescale,
        sample_entry: av1_sample_entry(64, 48, &[0x81, 0, 0, 0]),
        width: 64,
        height: 48,
        media_time,
    }
}

type Frame = (Vec<u8>, u32, i32, bool, bool);

fn write(config: &TrackConfig, frames: &[Frame]) -> Vec<u8> {
    let mut writer = Mp4Writer::new(Cursor::new(Vec::new()), config.clone()).expect("start");
    for (data, duration, cts, sync, chunk) in frames {
        if *chunk {
            writer.start_chunk();
        }
        let packet = Packet { data, duration: *duration, cts: *cts, sync: *sync };
        writer.write(packet).expect("write");
    }
    writer.finish().expect("finish").into_inner()
}

fn frames() -> impl Strategy<Value = Vec<Frame>> {
    let data = proptest::collection::vec(any::<u8>(), 1..40);
    let frame = (data, 1u32..5000, -300i32..300, any::<bool>(), any::<bool>());
    proptest::collection::vec(frame, 1..60)
}

proptest! {
    #[test]
    fn what_is_written_is_read(frames in frames(), timescale in 1u32..100_000, media_time in 0i64..900) {
        let config = config(timescale, media_time);
        let file = write(&config, &frames);
        let track = read_track(&file).expect("read");
        prop_assert_eq!(&track.config, &config);
        prop_assert_eq!(track.samples.len(), frames.len());
        let mut dts = 0;
        for (i, (data, duration, cts, sync, _)) in frames.iter().enumerate() {
            let sample = track.samples[i];
            prop_assert_eq!(track.data(&file, i), Some(data.as_slice()));
            prop_assert_eq!((sample.duration, sample.cts), (*duration, *cts));
            prop_assert_eq!(sample.sync, *sync);
            prop_assert_eq!(sample.pts, dts + i64::from(*cts) - media_time);
            dts += i64::from(*duration);
        }
    }

    #[test]
    fn damaged_files_never_panic(frames in frames(), at in any::<proptest::sample::Index>(),
                                 value in any::<u32>(), keep in any::<proptest::sample::Index>()) {
        let mut file = write(&config(30, 0), &frames);
        let place = at.index(file.len() - 4);
        file[place..place + 4].copy_from_slice(&value.to_be_bytes());
        file.truncate(keep.index(file.len() * 2));
        if let Ok(track) = read_track(&file) {
            for i in 0..track.samples.len().min(100) {
                track.data(&file, i);
            }
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(read_track(&bytes).is_err());
    }
}

#[test]
fn a_truncated_file_says_so() {
    let file = write(&config(30, 0), &[(vec![1; 100], 1, 0, true, true)]);
    let error = read_track(&file[..60]).expect_err("no index");
    assert!(error.contains("no index"), "{error}");
}

#[test]
fn bit_rates_do_not_tell_streams_apart() {
    let plain = config(30, 0);
    let with = |rate: u32| {
        let mut entry = plain.sample_entry.clone();
        entry.extend([0, 0, 0, 20]);
        entry.extend(b"btrt");
        [0, rate, rate].iter().for_each(|v| entry.extend(v.to_be_bytes()));
        let size = entry.len() as u32;
        entry[..4].copy_from_slice(&size.to_be_bytes());
        TrackConfig { sample_entry: entry, ..plain.clone() }
    };
    assert_ne!(with(5), with(6));
    assert_eq!(with(5).without_bit_rate(), plain);
    assert_eq!(plain.without_bit_rate(), plain);
    // Damage stays what it was, and is no reason to panic.
    for cut in [0, 3, 50, 90] {
        let mut short = with(5);
        short.sample_entry.truncate(cut);
        short.without_bit_rate();
    }
}

/// A count without a table behind it must not decide how much memory is taken.
#[test]
fn a_uniform_size_is_held_against_the_file() {
    let frames = [(vec![1; 9], 10, 0, true, true), (vec![2; 9], 10, 0, true, false)];
    let mut file = write(&config(100, 0), &frames);
    let at = file.windows(4).position(|w| w == b"stsz").expect("a table of sizes") + 8;
    file[at..at + 8].copy_from_slice(&[0, 0, 0, 1, 3, 255, 255, 255]);
    let error = read_track(&file).expect_err("67 million samples");
    assert!(error.contains("67108863 samples in a file"), "{error}");
}
