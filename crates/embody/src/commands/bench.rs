//! `embody bench`: what this machine reaches, in the units in which others state theirs.

use std::path::Path;
use std::time::{Duration, Instant};

use embody_core::{ArrayData, Batch, BatchSource, Loader, LoaderOptions, Result};
use embody_data::{Dataset, DecodeWhen, FrameSource, SourceOptions};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::App;
use crate::cli::BenchCommand;
use crate::ui::print_data;

/// Future actions read with each frame.
const WINDOW: i64 = 50;
const BATCH: usize = 32;
/// Frames of the shuffle window that is measured beside plain shuffling.
const SHUFFLE_WINDOW: usize = 1024;
/// Mean and deviation of ImageNet's channels, with which most image networks normalise.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Runs the verb.
///
/// # Errors
/// When the dataset can't be read.
pub fn run(app: &App<'_>, command: &BenchCommand) -> Result<()> {
    let BenchCommand::Data { path, seconds } = command;
    let rows = data(app, path, Duration::from_secs_f64(*seconds))?;
    if app.json {
        print_data(&serde_json::json!(rows).to_string());
        return Ok(());
    }
    for Row { what, threads, per_second } in rows {
        print_data(&format!("{what:<52} {threads} threads  {per_second:8.1} frames/s"));
    }
    Ok(())
}

/// A measured rate.
#[derive(Debug, Serialize)]
struct Row {
    what: &'static str,
    threads: usize,
    per_second: f64,
}

fn data(app: &App<'_>, path: &Path, time: Duration) -> Result<Vec<Row>> {
    let mut rows = vec![Row {
        what: "bare decoding of random frames",
        threads: 1,
        per_second: bare_decoding(app, path, time)?,
    }];
    for threads in [1, 2] {
        for (what, batch, floats) in [
            ("random frames, each with 50 actions, u8", 1, false),
            ("random frames, each with 50 actions, f32", 1, true),
        ] {
            let per_second = reading(app, path, time, (threads, batch, floats))?;
            rows.push(Row { what, threads, per_second });
        }
        for (what, window) in [
            ("shuffled batches of 32, each with 50 actions, f32", 0),
            ("batches of 32 in windows of 1024 frames, f32", SHUFFLE_WINDOW),
        ] {
            let per_second = loading(app, path, time, threads, window)?;
            rows.push(Row { what, threads, per_second });
        }
    }
    Ok(rows)
}

/// Counts what `step` says it did until the time is over; the first step warms up.
fn rate(app: &App<'_>, time: Duration, mut step: impl FnMut() -> Result<usize>) -> Result<f64> {
    step()?;
    let start = Instant::now();
    let mut done = 0;
    while start.elapsed() < time {
        done += step()?;
        app.task.cancel.check()?;
    }
    Ok(done as f64 / start.elapsed().as_secs_f64())
}

fn bare_decoding(app: &App<'_>, path: &Path, time: Duration) -> Result<f64> {
    let dataset = Dataset::open(path)?;
    let Some(key) = dataset.info().video_keys().next().map(str::to_owned) else { return Ok(0.0) };
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    rate(app, time, || {
        let episode = rng.random_range(0..dataset.episodes().len());
        let frame = rng.random_range(0..dataset.episodes()[episode].length);
        dataset.decode_frames(episode, &key, &[frame]).map(|frames| frames.len())
    })
}

fn reading(
    app: &App<'_>,
    path: &Path,
    time: Duration,
    (threads, batch, floats): (usize, usize, bool),
) -> Result<f64> {
    let source = open(app, path, threads)?;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut order: Vec<usize> = Vec::new();
    let (mut out, mut normalised) = (Batch::default(), Vec::new());
    rate(app, time, || {
        if order.len() < batch {
            order = (0..source.len()).collect();
            for i in (1..order.len()).rev() {
                order.swap(i, rng.random_range(0..=i));
            }
        }
        let indices = order.split_off(order.len() - batch.min(order.len()));
        source.batch(&indices, &mut out)?;
        if floats {
            normalise(&out, threads, &mut normalised);
        }
        Ok(indices.len())
    })
}

fn open(app: &App<'_>, path: &Path, threads: usize) -> Result<FrameSource> {
    let mut options =
        SourceOptions { threads, decode: DecodeWhen::Reading, ..SourceOptions::default() };
    if Dataset::open(path)?.info().features.contains_key("action") {
        options.windows.insert("action".to_owned(), (0..WINDOW).collect());
    }
    FrameSource::open(path, &options, app.task)
}

/// As training reads: through the loader, with as many workers as threads. What was read
/// ahead when the time begins is as much as what is when it ends.
fn loading(
    app: &App<'_>,
    path: &Path,
    time: Duration,
    threads: usize,
    window: usize,
) -> Result<f64> {
    let source = open(app, path, threads)?;
    let options = LoaderOptions {
        batch_size: BATCH,
        window,
        workers: threads,
        prefetch: if window > 1 { 1 } else { 2 * threads },
        ..LoaderOptions::default()
    };
    std::thread::scope(|scope| {
        let mut loader = Loader::start(scope, &source, &options)?;
        let mut normalised = Vec::new();
        // A window comes at once: whole windows are timed, or the ends would decide.
        let each = if window > 1 { window.div_ceil(BATCH) } else { 1 };
        rate(app, time, || {
            let mut done = 0;
            for _ in 0..each {
                let Some(batch) = loader.next() else { break };
                let batch = batch?;
                normalise(&batch, 1, &mut normalised);
                done += batch.frames.len();
                loader.give_back(batch);
            }
            Ok(done)
        })
    })
}

/// Pixels as a network reads them.
fn normalise(batch: &Batch, threads: usize, out: &mut Vec<f32>) {
    let table: [[f32; 256]; 3] =
        std::array::from_fn(|c| std::array::from_fn(|v| (v as f32 / 255.0 - MEAN[c]) / STD[c]));
    for array in batch.arrays.values() {
        let ArrayData::U8(pixels) = &array.data else { continue };
        out.resize(pixels.len(), 0.0);
        let share = (pixels.len() / 3).div_ceil(threads).max(1) * 3;
        std::thread::scope(|scope| {
            for (from, to) in pixels.chunks(share).zip(out.chunks_mut(share)) {
                let table = &table;
                scope.spawn(move || {
                    let (from, _) = from.as_chunks::<3>();
                    let (to, _) = to.as_chunks_mut::<3>();
                    for (pixel, value) in from.iter().zip(to) {
                        for c in 0..3 {
                            value[c] = table[c][usize::from(pixel[c])];
                        }
                    }
                });
            }
        });
    }
    std::hint::black_box(out);
}
