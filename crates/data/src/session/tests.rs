use std::io::Write as _;

use proptest::prelude::*;

use super::messages::encode_jpeg;
use super::*;
use crate::log::Log;
use crate::picture::{decode, encode_png};

const SIDE: usize = 16;

pub(super) fn spec(pictures: PictureCoding) -> SessionSpec {
    let camera = SessionCamera { name: "front".into(), height: SIDE, width: SIDE, fps: 30.0 };
    SessionSpec {
        robot_type: "so101_follower".into(),
        joints: vec!["pan".into(), "lift".into()],
        control_hz: 100.0,
        cameras: vec![camera],
        fps: 30.0,
        pictures,
    }
}

fn turn<'a>(number: u64, at: Duration, numbers: &'a [f32], none: &'a [f32]) -> TurnRecord<'a> {
    TurnRecord {
        number,
        late: Duration::from_micros(40),
        at,
        device: None,
        fresh: true,
        positions: numbers,
        velocities: none,
        loads: none,
        wanted: Some(numbers),
        given: Some(numbers),
        source: "teleoperation",
        intervention: false,
        clips: &["speed"],
        phase: "active",
        bus_errors: 0,
    }
}

fn record(recorder: &SessionRecorder, turns: u64) {
    recorder.begin_episode("stack \"two\" cubes", Duration::ZERO).unwrap();
    for number in 0..turns {
        let at = Duration::from_millis(10 * number);
        let numbers = [number as f32, -(number as f32)];
        recorder.turn(&turn(number, at, &numbers, &[f32::NAN; 2])).unwrap();
        if number % 3 == 0 {
            recorder.frame(0, at, Some(at), &[number as u8; SIDE * SIDE * 3]).unwrap();
        }
    }
}

/// Numbers of messages by channel, and whether the log ends as it should.
fn counts(path: &Path) -> (Vec<u64>, bool) {
    let log = Log::open(path).unwrap();
    let mut counts = vec![0; log.channels().len()];
    let found = log.visit(&|_| true, &mut |m| {
        counts[m.channel] += 1;
        Ok(())
    });
    assert!(found.unwrap().is_empty());
    (counts, log.findings().is_empty())
}

#[test]
fn a_session_is_a_log_that_the_mcap_crate_reads() {
    let home = tempfile::tempdir().unwrap();
    let recorder =
        SessionRecorder::create(home.path(), spec(PictureCoding::Png), SystemTime::now()).unwrap();
    record(&recorder, 30);
    recorder.dropped("front", 2, Duration::from_millis(300)).unwrap();
    recorder.end_episode(Some(true), Duration::from_millis(310)).unwrap();
    let path = episode_path(home.path(), 0);
    assert_eq!(counts(&path), (vec![30, 30, 30, 30, 1, 1, 1, 10], true));
    let bytes = fs::read(&path).unwrap();
    let summary = mcap::Summary::read(&bytes).unwrap().unwrap();
    assert_eq!(summary.channels.len(), 8);
    let messages: Vec<_> = mcap::MessageStream::new(&bytes).unwrap().map(Result::unwrap).collect();
    assert_eq!(messages.len(), 133);
    assert!(messages.iter().any(|m| m.channel.topic == "/cameras/front" && m.sequence == 9));
    // An open episode is refused, one that is discarded leaves nothing.
    recorder.begin_episode("again", Duration::ZERO).unwrap();
    assert!(recorder.begin_episode("again", Duration::ZERO).is_err());
    recorder.discard_episode().unwrap();
    assert_eq!(logs_at(home.path()).unwrap(), [path]);
    // Without an episode nothing is kept, and a session can be gone on with.
    recorder.turn(&turn(0, Duration::ZERO, &[0.0; 2], &[0.0; 2])).unwrap();
    let again = SessionSpec { ..spec(PictureCoding::Png) };
    let again = SessionRecorder::create(home.path(), again, SystemTime::now()).unwrap();
    record(&again, 3);
    again.end_episode(None, Duration::from_secs(1)).unwrap();
    assert_eq!(logs_at(home.path()).unwrap().len(), 2);
    let other = SessionSpec { fps: 10.0, ..spec(PictureCoding::Png) };
    let error = SessionRecorder::create(home.path(), other, SystemTime::now()).unwrap_err();
    assert!(error.to_string().contains("another kind"));
}

/// The whole messages in front of every byte, and not one less.
#[test]
fn a_log_that_is_cut_at_any_byte_loses_what_is_cut_and_no_more() {
    let home = tempfile::tempdir().unwrap();
    let recorder =
        SessionRecorder::create(home.path(), spec(PictureCoding::Png), SystemTime::now()).unwrap();
    record(&recorder, 5);
    recorder.end_episode(Some(false), Duration::from_secs(1)).unwrap();
    let bytes = fs::read(episode_path(home.path(), 0)).unwrap();
    // Where each message ends.
    let mut ends = Vec::new();
    let mut at = 8;
    while at + 9 <= bytes.len() - 8 {
        let len = u64::from_le_bytes(bytes[at + 1..at + 9].try_into().unwrap()) as usize;
        let message = bytes[at] == mcap::records::op::MESSAGE;
        at += 9 + len;
        if message {
            ends.push(at);
        }
    }
    assert_eq!(ends.len(), 5 * 4 + 2 + 2);
    let cut = home.path().join("cut.mcap");
    for length in 8..bytes.len() {
        fs::File::create(&cut).unwrap().write_all(&bytes[..length]).unwrap();
        let (counts, whole) = counts(&cut);
        let kept = ends.iter().filter(|end| **end <= length).count() as u64;
        assert_eq!(counts.iter().sum::<u64>(), kept, "cut at {length} of {}", bytes.len());
        assert!(!whole || length + 8 >= bytes.len(), "cut at {length}");
    }
}

#[test]
fn a_late_host_does_not_move_what_a_device_saw() {
    let mut clock = DeviceClock::default();
    // 30 Hz with a delay of 5 ms and now and then 20 ms more; the device runs 50 ppm fast.
    let mut worst = 0.0f64;
    for frame in 0..3000u64 {
        let seen = frame * 33_333_333;
        let late = if frame % 7 == 3 { 20_000_000 } else { 0 };
        let device = Duration::from_nanos((seen as f64 * (1.0 + 50e-6)) as u64 + 12_345);
        let received = 1_000_000_000 + seen + 5_000_000 + late;
        let measured = clock.measured(received, Some(device));
        worst = worst.max((measured as f64 - (1_005_000_000 + seen) as f64).abs());
    }
    assert!(worst < 100_000.0, "{worst} ns off");
    assert_eq!(DeviceClock::default().measured(7, None), 7);
}

/// A picture as a camera gives it: smooth shapes, edges, sensor noise.
pub(super) fn scene(height: usize, width: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let mut noise = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 24) as f32 / 64.0 - 2.0
    };
    let mut rgb = Vec::with_capacity(height * width * 3);
    for y in 0..height {
        for x in 0..width {
            let (u, v) = (x as f32 / width as f32, y as f32 / height as f32);
            let block = (0.3..0.5).contains(&u) && (0.4..0.8).contains(&v);
            let stripe = ((u * 40.0).sin() * (v * 25.0).cos() > 0.6) as u8 as f32 * 50.0;
            for base in
                if block { [200.0, 60.0, 40.0] } else { [90.0 + 80.0 * v, 120.0, 100.0 * u] }
            {
                rgb.push((base + stripe + noise()).clamp(0.0, 255.0) as u8);
            }
        }
    }
    rgb
}

/// Size and time of a 640x480 picture, for the choice of the coding: `--nocapture` shows them.
#[test]
fn jpeg_can_not_be_told_from_the_original() {
    let (height, width) = (480, 640);
    let rgb = scene(height, width, 7);
    let best = |encode: &dyn Fn() -> Vec<u8>| {
        let times = (0..5).map(|_| {
            let start = std::time::Instant::now();
            let bytes = encode();
            (start.elapsed(), bytes)
        });
        times.min_by_key(|(time, _)| *time).unwrap()
    };
    let (jpeg_time, jpeg) = best(&|| encode_jpeg(&rgb, (height, width), 95).unwrap());
    let (png_time, png) = best(&|| encode_png(&rgb, height, width).unwrap());
    println!(
        "640x480: JPEG 95 {} bytes in {jpeg_time:?}; PNG {} bytes in {png_time:?}",
        jpeg.len(),
        png.len()
    );
    let back = decode(&jpeg, height, width).unwrap();
    let square: f64 =
        rgb.iter().zip(&back).map(|(a, b)| f64::from(i32::from(*a) - i32::from(*b)).powi(2)).sum();
    let psnr = 10.0 * (255.0f64.powi(2) / (square / rgb.len() as f64)).log10();
    assert!(psnr > 40.0, "{psnr} dB");
    assert_eq!(decode(&png, height, width).unwrap(), rgb);
}

proptest! {
    /// Whatever the names and rates, the mapping is one that is read.
    #[test]
    fn the_mapping_of_a_session_is_read(
        names in proptest::collection::vec("[a-z_0-9]{1,8}", 1..5),
        cameras in proptest::collection::hash_set("[a-z_-]{1,8}", 0..3),
        hz in 1.0..1000.0f64, fps in 1.0..120.0f64, robot in "\\PC{0,12}",
    ) {
        let camera = |name| SessionCamera { name, height: 2, width: 2, fps };
        let spec = SessionSpec {
            robot_type: robot,
            joints: names,
            control_hz: hz,
            cameras: cameras.into_iter().map(camera).collect(),
            fps,
            pictures: PictureCoding::default(),
        };
        let text = messages::mapping(&spec);
        let mapping = crate::mapping::Mapping::parse(&text, "mapping.toml").unwrap();
        prop_assert_eq!(mapping.robot, Some(spec.robot_type));
        prop_assert_eq!(mapping.cameras.len(), spec.cameras.len());
    }
}
