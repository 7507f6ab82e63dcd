//! How much of a training step waits for data: reading one batch ahead, several, by windows, and from
//! pictures decoded before.
//!
//! `cargo run --release -p embody --example data_wait -- DATASET [STEPS]` prints one JSON line per way.
//! The network is small and reads full pictures brought to 96 x 128, which is hard on the decoder.
#![allow(clippy::print_stdout, missing_docs)]

use std::path::Path;

use embody_core::{CancelToken, NoProgress, Result, Task};
use embody_data::{DecodeWhen, FrameSource, SourceOptions};
use embody_learn::{TrainConfig, preset, required_windows, train};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let dataset = arguments.get(1).map_or("dataset", String::as_str);
    let steps = arguments.get(2).and_then(|n| n.parse().ok()).unwrap_or(60);
    let cancel = CancelToken::default();
    let task = Task { progress: &NoProgress, cancel: &cancel };
    let base = preset("act-small-real").map(|p| p.config).unwrap_or_default();
    let base = TrainConfig { steps, eval_every: 0, log_every: 10, checkpoint_every: steps, ..base };
    for (what, decode, prefetch, shuffle_window) in [
        ("one batch ahead, decoding", DecodeWhen::Reading, 1, 0),
        ("four batches ahead, decoding", DecodeWhen::Reading, 4, 0),
        ("windows of 256 frames, decoding", DecodeWhen::Reading, 4, 256),
        ("decoded at opening", DecodeWhen::Opening, 4, 0),
    ] {
        let config = TrainConfig { prefetch, shuffle_window, ..base.clone() };
        let options = SourceOptions {
            image_size: Some((96, 128)),
            windows: required_windows(&config, [])?,
            decode,
            ..SourceOptions::default()
        };
        let source = FrameSource::open(Path::new(dataset), &options, task)?;
        let out = std::env::temp_dir().join(format!("embody-data-wait-{}", std::process::id()));
        let done = train(&source, None, &config, None, &out, task)?;
        std::fs::remove_dir_all(&out).ok();
        println!(
            "{}",
            serde_json::json!({ "what": what, "data_wait": done.data_wait,
                "samples_per_s": done.samples_per_s, "loss": done.train_loss })
        );
    }
    Ok(())
}
