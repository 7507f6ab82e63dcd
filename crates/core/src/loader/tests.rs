use std::sync::atomic::Ordering;

use super::*;
use crate::FrameRef;
use crate::testing::Numbers;

fn frames(source: &Numbers, options: &LoaderOptions, count: usize) -> Vec<Vec<FrameRef>> {
    std::thread::scope(|scope| {
        let mut loader = Loader::start(scope, source, options).unwrap();
        let mut out = Vec::new();
        while let Some(batch) = loader.next() {
            let batch = batch.unwrap();
            out.push(batch.frames.clone());
            loader.give_back(batch);
            if out.len() == count {
                break;
            }
        }
        out
    })
}

#[test]
fn neither_workers_nor_prefetch_change_the_order() {
    let mut source = Numbers::new(&[50, 31, 7]);
    source.weights = vec![1.0, 2.0, 0.5];
    source.run = Some(5);
    for window in [0, 20] {
        let options = |workers, prefetch, first| LoaderOptions {
            batch_size: 8,
            seed: 4,
            window,
            first,
            end: Some(40),
            workers,
            prefetch,
        };
        let whole = frames(&source, &options(1, 1, 0), usize::MAX);
        assert_eq!(whole.len(), 40);
        for (workers, prefetch) in [(2, 1), (3, 4), (7, 30)] {
            assert_eq!(frames(&source, &options(workers, prefetch, 0), usize::MAX), whole);
        }
        for first in [1, 2, 3, 17, 39] {
            assert_eq!(frames(&source, &options(2, 3, first), usize::MAX), whole[first..]);
        }
        assert!(frames(&source, &options(2, 2, 40), usize::MAX).is_empty());
    }
}

#[test]
fn values_are_those_of_the_frames_in_every_mode() {
    let mut source = Numbers::new(&[30, 30]);
    source.run = Some(6);
    for window in [0, 24] {
        std::thread::scope(|scope| {
            let options =
                LoaderOptions { batch_size: 5, window, end: Some(20), ..Default::default() };
            let mut loader = Loader::start(scope, &source, &options).unwrap();
            while let Some(batch) = loader.next() {
                let batch = batch.unwrap();
                let x = &batch.arrays["x"];
                assert_eq!(x.shape, [5, 1]);
                let wanted: Vec<f32> =
                    batch.frames.iter().map(|f| (1000 * f.episode + f.frame) as f32).collect();
                assert_eq!(x.view().as_f32().unwrap(), wanted);
                loader.give_back(batch);
            }
        });
    }
}

#[test]
fn an_error_comes_in_its_place_and_names_episode_and_frame() {
    let mut source = Numbers::new(&[20]);
    source.broken = Some(FrameRef { dataset: 0, episode: 0, frame: 13 });
    let options = |workers| LoaderOptions { batch_size: 2, workers, ..Default::default() };
    let place = |workers| {
        std::thread::scope(|scope| {
            let mut loader = Loader::start(scope, &source, &options(workers)).unwrap();
            let mut good = 0;
            loop {
                match loader.next().unwrap() {
                    Ok(_) => good += 1,
                    Err(e) => return (good, e.to_string()),
                }
            }
        })
    };
    let (good, text) = place(1);
    assert_eq!(text, format!("batch {good}: episode 0, frame 13: damaged"));
    assert_eq!(place(4), (good, text));
}

#[test]
fn a_panicking_source_is_an_error_and_no_hang() {
    let mut source = Numbers::new(&[4]);
    source.panics = Some(FrameRef { dataset: 0, episode: 0, frame: 2 });
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        std::thread::scope(|scope| {
            let mut loader = Loader::start(scope, &source, &LoaderOptions::default()).unwrap();
            let error = loader.next().unwrap().unwrap_err();
            assert!(error.to_string().contains("died"), "{error}");
        });
    }));
    // The scope passes the worker's panic on.
    assert!(result.is_err());
}

#[test]
fn workers_stop_ahead_and_end_with_the_loader() {
    let source = Numbers::new(&[100]);
    std::thread::scope(|scope| {
        let options =
            LoaderOptions { batch_size: 1, workers: 2, prefetch: 3, ..Default::default() };
        let mut loader = Loader::start(scope, &source, &options).unwrap();
        loader.next().unwrap().unwrap();
        // The one taken, the one waited for, three ahead; never more, however long one waits.
        while source.reads.load(Ordering::SeqCst) < 5 {
            std::thread::yield_now();
        }
        for _ in 0..1000 {
            std::thread::yield_now();
        }
        assert_eq!(source.reads.load(Ordering::SeqCst), 5);
    });
}

#[test]
fn an_empty_batch_is_refused() {
    let source = Numbers::new(&[4]);
    std::thread::scope(|scope| {
        let options = LoaderOptions { batch_size: 0, ..Default::default() };
        assert!(Loader::start(scope, &source, &options).is_err());
    });
}
