//! `embody data serve`: shuffled batches for another process, through shared memory.
//!
//! The consumer starts this command with pipes on stdin and stdout. Messages are lines of JSON on
//! stdout: first one about the ring and the data, then `{"sequence": n, "slot": i}` for each batch in
//! order, at last `{"end": true}`, or `{"error": …, "hint": …}`. For each slot that may be filled again,
//! oldest first, it writes one byte to stdin; a producer without a free slot waits for one. Either
//! side's death ends the pipe of the other: a consumer that goes ends this command.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use embody_core::{
    Batch, BatchSource, Embodiments, Error, Loader, LoaderOptions, Mixture, MixtureStats, Portion,
    Result,
};
use embody_data::{BatchRing, DecodeWhen, FrameSource, SourceOptions};
use serde_json::{Value, json};

use crate::App;
use crate::cli::Serve;
use crate::ui::print_data;

/// The Python side.
const CLIENT: &str = include_str!("embody_batches.py");

/// Runs the verb.
///
/// # Errors
/// When the datasets can't be read or do not fit together, or the ring has no room. The consumer gets
/// the same as a message.
pub fn run(app: &App<'_>, flags: &Serve) -> Result<()> {
    if flags.print_client {
        print_data(CLIENT.trim_end());
        return Ok(());
    }
    if std::io::stdout().is_terminal() {
        return Err(Error::new("stdout is a terminal, and nothing there reads batches").with_hint(
            "embody data serve --print-client > embody_batches.py, and use that from Python",
        ));
    }
    let result = serve(app, flags);
    if let Err(error) = &result {
        // The consumer may be gone; then nobody wants to know.
        send(&json!({ "error": error.to_string(), "hint": error.hint() })).ok();
    }
    result
}

fn serve(app: &App<'_>, flags: &Serve) -> Result<()> {
    if !flags.weights.is_empty() && flags.weights.len() != flags.datasets.len() {
        let (weights, datasets) = (flags.weights.len(), flags.datasets.len());
        return Err(Error::new(format!("{weights} weights for {datasets} datasets"))
            .with_hint("give --weight once for each dataset, or not at all"));
    }
    if flags.batch_size == 0 {
        return Err(Error::new("a batch of 0 frames").with_hint("set --batch-size to 1 or more"));
    }
    let options = SourceOptions {
        split: flags.split.clone(),
        inputs: flags.inputs.clone(),
        image_size: flags.image_size,
        windows: flags.windows.iter().map(|(k, (a, b))| (k.clone(), (*a..*b).collect())).collect(),
        threads: app.config.threads,
        decode: DecodeWhen::Reading,
        unweighted: flags.unweighted,
        ..SourceOptions::default()
    };
    let open = |path: &PathBuf| FrameSource::open(path, &options, app.task);
    let sources: Vec<FrameSource> = flags.datasets.iter().map(open).collect::<Result<_>>()?;
    let mut portions = Vec::new();
    for (i, source) in sources.iter().enumerate() {
        let name = flags.datasets[i].display().to_string();
        let weight = flags.weights.get(i).copied().unwrap_or(1.0);
        portions.push(Portion { name, source, weight });
    }
    let mixture = Mixture::new(portions, MixtureStats::Joint, Embodiments::Same)?;
    let mut first = Batch::default();
    mixture.batch(&vec![0; flags.batch_size], &mut first)?;
    let folder = flags.ring_dir.clone().unwrap_or_else(shared_memory);
    let mut ring = BatchRing::create(&first, flags.slots, &folder)?;
    let mut about = serde_json::to_value(ring.layout())
        .map_err(|e| Error::new(format!("the ring's layout: {e}")))?;
    if let Value::Object(about) = &mut about {
        about.insert("frames".into(), mixture.len().into());
        about.insert("fps".into(), mixture.fps().into());
        about.insert("first_batch".into(), flags.first_batch.into());
        about.insert("features".into(), json!(mixture.features()));
        about.insert("stats".into(), json!(mixture.stats()));
    }
    if !send(&about)? {
        return Ok(());
    }
    let options = LoaderOptions {
        batch_size: flags.batch_size,
        seed: flags.seed,
        window: flags.shuffle_window,
        first: flags.first_batch,
        end: flags.batches.map(|n| flags.first_batch + n),
        workers: 2,
        prefetch: 1,
    };
    std::thread::scope(|scope| {
        let mut loader = Loader::start(scope, &mixture, &options)?;
        let mut free = flags.slots;
        let mut sequence = 0;
        while let Some(batch) = loader.next() {
            let batch = batch?;
            app.task.cancel.check()?;
            if free == 0 {
                if !given_back()? {
                    return Ok(());
                }
                free += 1;
            }
            sequence += 1;
            let slot = ring.write(sequence, &batch)?;
            free -= 1;
            loader.give_back(batch);
            if !send(&json!({ "sequence": sequence, "slot": slot }))? {
                return Ok(());
            }
        }
        send(&json!({ "end": true }))?;
        // The ring stays until the consumer has read all and closes its end.
        while given_back()? {}
        Ok(())
    })
}

/// Writes a message; `false` where nobody reads any more.
fn send(message: &Value) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{message}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Error::new(format!("could not write to the consumer: {e}"))),
    }
}

/// Waits for a slot; `false` where the consumer is gone.
fn given_back() -> Result<bool> {
    let mut byte = [0];
    loop {
        match std::io::stdin().lock().read(&mut byte) {
            Ok(n) => return Ok(n > 0),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::new(format!("could not read from the consumer: {e}"))),
        }
    }
}

/// Where memory shared between processes lives.
fn shared_memory() -> PathBuf {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() }
}
