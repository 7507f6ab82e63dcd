//! Reading ahead from a recording: windows of runs against plain reading, weights, damage.

use embody_core::{
    Batch, BatchSource, Embodiments, Loader, LoaderOptions, Mixture, MixtureStats, Portion,
};
use embody_data::{Annotation, DecodeWhen, FrameSource, SourceOptions, annotate};

use crate::common::{record, with_task};

const CAMERA: &str = "observation.images.front";

fn options(decode: DecodeWhen) -> SourceOptions {
    let mut options = SourceOptions { decode, threads: 2, ..SourceOptions::default() };
    options.windows.insert("action".to_owned(), (0..5).collect());
    options
}

fn batches(source: &dyn BatchSource, options: &LoaderOptions) -> Vec<Batch> {
    std::thread::scope(|scope| {
        let mut loader = Loader::start(scope, source, options).unwrap();
        std::iter::from_fn(|| loader.next()).collect::<Result<_, _>>().unwrap()
    })
}

#[test]
fn windows_and_workers_give_the_frames_that_plain_reading_gives() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("dataset");
    record(&root, &[23, 40, 17], 2);
    let open = |decode| with_task(|t| FrameSource::open(&root, &options(decode), t).unwrap());
    let (live, cached) = (open(DecodeWhen::Reading), open(DecodeWhen::Opening));
    let runs = live.runs().unwrap().unwrap();
    assert_eq!(cached.runs().unwrap().unwrap(), runs, "memory must not decide the order");
    assert_eq!(runs.iter().map(|r| r.len()).sum::<usize>(), 80);
    assert!([0, 23, 63].iter().all(|start| runs.iter().any(|r| r.start == *start)));
    assert!(runs.iter().any(|r| r.len() > 1), "{runs:?}");
    for window in [0, 24] {
        let options = |workers| LoaderOptions {
            batch_size: 6,
            window,
            workers,
            end: Some(30),
            ..Default::default()
        };
        let ours = batches(&live, &options(3));
        let mut expected = Batch::default();
        for (batch, other) in ours.iter().zip(&batches(&cached, &options(1))) {
            assert_eq!(batch.frames, other.frames);
            let index = |f: &embody_core::FrameRef| [0, 23, 63][f.episode] + f.frame;
            let indices: Vec<usize> = batch.frames.iter().map(index).collect();
            cached.batch(&indices, &mut expected).unwrap();
            assert_eq!(batch.arrays, expected.arrays);
            assert_eq!(batch.arrays[CAMERA].shape[0], 6);
        }
    }
}

#[test]
fn annotated_weights_reach_the_order_and_can_be_left_aside() {
    let home = tempfile::tempdir().unwrap();
    let (root, weighted) = (home.path().join("dataset"), home.path().join("weighted"));
    record(&root, &[20, 20, 20], 1);
    let weight =
        |episode, weight| Annotation { episode, weight: Some(weight), ..Default::default() };
    with_task(|t| annotate(&root, &weighted, &[weight(0, 4.0), weight(2, 0.0)], t).unwrap());
    let count = |unweighted: bool| {
        let options = SourceOptions { unweighted, ..options(DecodeWhen::Reading) };
        let source = with_task(|t| FrameSource::open(&weighted, &options, t).unwrap());
        let portion = Portion { name: "only".into(), source: &source, weight: 1.0 };
        let mixture = Mixture::new(vec![portion], MixtureStats::Joint, Embodiments::Same).unwrap();
        let load = LoaderOptions { batch_size: 20, end: Some(3), ..Default::default() };
        let mut counts = [0; 3];
        for batch in batches(&mixture, &load) {
            batch.frames.iter().for_each(|f| counts[f.episode] += 1);
        }
        counts
    };
    assert_eq!(count(false), [48, 12, 0]);
    assert_eq!(count(true), [20, 20, 20]);
}

#[test]
fn damage_met_while_reading_ahead_names_file_episode_and_frame() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("dataset");
    record(&root, &[30, 30], 1);
    // The packets of the last frames are overwritten; the container stays whole.
    let video = root.join("videos").join(CAMERA).join("chunk-000/file-000.mp4");
    let mut bytes = std::fs::read(&video).unwrap();
    let data = bytes.windows(4).position(|w| w == b"mdat").unwrap() + 4;
    let half = data + (bytes.len() - data) / 2;
    let end = bytes.windows(4).rposition(|w| w == b"moov").map_or(bytes.len(), |at| at - 4);
    let end = if end > half { end } else { bytes.len() };
    bytes[half..end].fill(0xff);
    std::fs::write(&video, bytes).unwrap();
    let source = with_task(|t| FrameSource::open(&root, &options(DecodeWhen::Reading), t).unwrap());
    let error = std::thread::scope(|scope| {
        let load = LoaderOptions { batch_size: 15, end: Some(4), ..Default::default() };
        let mut loader = Loader::start(scope, &source, &load).unwrap();
        loop {
            match loader.next() {
                Some(Ok(_)) => {}
                Some(Err(e)) => break e.to_string(),
                None => panic!("the damage was not seen"),
            }
        }
    });
    assert!(error.starts_with("batch ") && error.contains("file-000.mp4"), "{error}");
    assert!(error.contains("episode ") && error.contains("frame "), "{error}");
}
