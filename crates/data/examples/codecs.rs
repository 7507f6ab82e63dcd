//! Speed of codecs: an episode of a recording is encoded as AV1 and as H.264, and its frames are read
//! in order, at random, and with a fresh process for each. One thread reads.
//!
//! `cargo run --release -p embody_data --example codecs -- FFMPEG DATASET EPISODE FOLDER`; the videos
//! stay in FOLDER, for `tests/oracle/frames_speed.py` to measure PyAV with.
#![allow(clippy::print_stdout, clippy::expect_used, missing_docs)]

use std::path::Path;
use std::time::Instant;

use embody_core::{CancelToken, NoProgress, Task};
use embody_data::{
    Dataset, Ffmpeg, ImportOptions, ProcessOptions, VideoCodec, VideoSettings, import, process,
    use_ffmpeg,
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [ffmpeg, source, episode, folder] = &arguments[..] else {
        println!("codecs FFMPEG DATASET EPISODE FOLDER");
        return;
    };
    use_ffmpeg(Ffmpeg::new(ffmpeg).expect("ffmpeg"));
    let folder = Path::new(folder);
    let cancel = CancelToken::default();
    let task = Task { progress: &NoProgress, cancel: &cancel };
    let one = folder.join("source");
    if !one.exists() {
        let episodes = Some(vec![episode.parse().expect("number")]);
        let options = ImportOptions { episodes, ..Default::default() };
        import(Path::new(source), &one, options, task).expect("import");
    }
    for (name, codec, gop) in [
        ("av1-2", VideoCodec::Av1, 2),
        ("h264-2", VideoCodec::H264, 2),
        ("h264-30", VideoCodec::H264, 30),
    ] {
        let root = folder.join(name);
        if !root.exists() {
            let video = Some(VideoSettings { codec, gop, ..Default::default() });
            let options = ProcessOptions {
                drop_failed: false,
                max_idle_fraction: 1.0,
                held_out: 0.0,
                video,
                ..Default::default()
            };
            let start = Instant::now();
            let report = process(&one, &root, &options, task).expect("process");
            let cameras = Dataset::open(&root).expect("open").info().video_keys().count();
            let rate = (report.frames * cameras) as f64 / start.elapsed().as_secs_f64();
            println!("{name}: decoded from AV1 and encoded at {rate:.0} frames/s");
        }
        measure(name, &root);
    }
}

fn measure(name: &str, root: &Path) {
    let dataset = Dataset::open(root).expect("open");
    let camera = dataset.info().video_keys().next().expect("a camera").to_owned();
    let length = dataset.episodes()[0].length;
    let all: Vec<usize> = (0..length).collect();
    let rate = |count: usize, start: Instant| count as f64 / start.elapsed().as_secs_f64();
    let read = |frames: &[usize]| {
        dataset.decode_frames(0, &camera, frames).expect("frames");
    };
    read(&[0]);
    let start = Instant::now();
    all.chunks(100).for_each(read);
    let in_order = rate(length, start);
    let count = 200.min(length);
    let start = Instant::now();
    (0..count).for_each(|i| read(&[i * 7919 % length]));
    let single = rate(count, start);
    let start = Instant::now();
    for batch in 0..10 {
        let some: Vec<usize> = (0..32).map(|i| (batch * 32 + i) * 7919 % length).collect();
        read(&some);
    }
    let batches = rate(320, start);
    // A fresh thread has no process yet: what a process for each group of pictures costs.
    let start = Instant::now();
    for i in 0..50 {
        std::thread::scope(|s| {
            s.spawn(|| read(&[i * 7919 % length]));
        });
    }
    let fresh = rate(50, start);
    let file = dataset.episodes()[0].videos[&camera].file.display().to_string();
    println!(
        "{name}: in order {in_order:.0}, one at random {single:.0}, 32 at random {batches:.0}, each \
         with a fresh decoder {fresh:.0} frames/s; {file}"
    );
}
