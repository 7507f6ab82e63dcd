//! `embody bench`: what this machine reaches, in the units in which others state theirs.

mod imitation;
mod peers;
mod rl;
mod scale;
mod sim;

use std::path::Path;
use std::time::{Duration, Instant};

use embody_core::{Batch, BatchSource, Error, Loader, LoaderOptions, Result};
use embody_data::{Dataset, DecodeWhen, FrameSource, Pixels, SourceOptions};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use serde_json::json;

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
    let (path, seconds) = match command {
        BenchCommand::Data { path, seconds } => (path, seconds),
        BenchCommand::Imitation { samples, peers } => {
            print(app, &imitation::run(app, *peers, *samples)?);
            return Ok(());
        }
        BenchCommand::Rl { samples, seconds, peers } => {
            print(app, &rl::run(app, *peers, *samples, *seconds)?);
            return Ok(());
        }
        BenchCommand::Scale { path, frames } => {
            let measured = scale::run(app, path, *frames)?;
            print_data(&if app.json { json!(measured).to_string() } else { measured.to_string() });
            return Ok(());
        }
        BenchCommand::Sim { tasks, envs, seconds, peers } => {
            let wanted = sim::Wanted { tasks, envs: *envs, seconds: *seconds, peers: *peers };
            print(app, &sim::run(app, &wanted)?);
            return Ok(());
        }
    };
    print(app, &data(app, path, Duration::from_secs_f64(*seconds))?);
    Ok(())
}

/// Rows, one to a line, or all as JSON.
fn print(app: &App<'_>, rows: &[impl Serialize + std::fmt::Display]) {
    match app.json {
        true => print_data(&json!(rows).to_string()),
        false => rows.iter().for_each(|row| print_data(&row.to_string())),
    }
}

/// A measured rate.
#[derive(Debug, Serialize)]
struct Row {
    what: &'static str,
    threads: usize,
    per_second: f64,
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, threads, per_second } = self;
        write!(f, "{what:<52} {threads} threads  {per_second:8.1} frames/s")
    }
}

fn data(app: &App<'_>, path: &Path, time: Duration) -> Result<Vec<Row>> {
    let mut rows = vec![Row {
        what: "bare decoding of random frames",
        threads: 1,
        per_second: bare_decoding(app, path, time)?,
    }];
    let floats = Pixels::Floats { mean: MEAN, std: STD };
    for threads in [1, 2] {
        for (what, batch, pixels) in [
            ("random frames, each with 50 actions, u8", 1, Pixels::Bytes),
            ("random frames, each with 50 actions, f32", 1, floats),
            ("shuffled batches of 32, each with 50 actions, u8", BATCH, Pixels::Bytes),
            ("shuffled batches of 32, each with 50 actions, f32", BATCH, floats),
        ] {
            let per_second = reading(app, path, time, (threads, batch, pixels))?;
            rows.push(Row { what, threads, per_second });
        }
        for (what, window) in [
            ("batches of 32 read ahead, each with 50 actions, f32", 0),
            ("batches of 32 read ahead, windows of 1024 frames, f32", SHUFFLE_WINDOW),
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
        let mut count = 0;
        dataset.visit_frames(episode, &key, &[frame], &mut |_, rgb| {
            std::hint::black_box(rgb);
            count += 1;
            Ok(())
        })?;
        Ok(count)
    })
}

/// Single frames are read by `threads` readers at once, each on its own; batches by one reader whose
/// source decodes on `threads` threads.
fn reading(
    app: &App<'_>,
    path: &Path,
    time: Duration,
    (threads, batch, pixels): (usize, usize, Pixels),
) -> Result<f64> {
    let source = open(app, path, threads, pixels)?;
    let readers = if batch == 1 { threads } else { 1 };
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..readers)
            .map(|reader| {
                let source = &source;
                scope.spawn(move || read_shuffled(app, source, batch, reader as u64, time))
            })
            .collect();
        let mut sum = 0.0;
        for reader in readers {
            sum += reader.join().map_err(|_| Error::new("a reader panicked"))??;
        }
        Ok(sum)
    })
}

fn read_shuffled(
    app: &App<'_>,
    source: &FrameSource,
    batch: usize,
    seed: u64,
    time: Duration,
) -> Result<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut order: Vec<usize> = Vec::new();
    let mut out = Batch::default();
    rate(app, time, || {
        if order.len() < batch {
            order = (0..source.len()).collect();
            for i in (1..order.len()).rev() {
                order.swap(i, rng.random_range(0..=i));
            }
        }
        let indices = order.split_off(order.len() - batch.min(order.len()));
        source.batch(&indices, &mut out)?;
        std::hint::black_box(&out);
        Ok(indices.len())
    })
}

fn open(app: &App<'_>, path: &Path, threads: usize, pixels: Pixels) -> Result<FrameSource> {
    let mut options =
        SourceOptions { threads, pixels, decode: DecodeWhen::Reading, ..SourceOptions::default() };
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
    let floats = Pixels::Floats { mean: MEAN, std: STD };
    let source = open(app, path, threads, floats)?;
    let options = LoaderOptions {
        batch_size: BATCH,
        window,
        workers: threads,
        prefetch: if window > 1 { 1 } else { 2 * threads },
        ..LoaderOptions::default()
    };
    std::thread::scope(|scope| {
        let mut loader = Loader::start(scope, &source, &options)?;
        // A window comes at once: whole windows are timed, or the ends would decide.
        let each = if window > 1 { window.div_ceil(BATCH) } else { 1 };
        rate(app, time, || {
            let mut done = 0;
            for _ in 0..each {
                let Some(batch) = loader.next() else { break };
                let batch = batch?;
                done += batch.frames.len();
                loader.give_back(batch);
            }
            Ok(done)
        })
    })
}
