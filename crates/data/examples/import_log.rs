//! Imports a message log and says how long it took: what `benches/logs.py` compares with a script
//! of `rosbags` and `lerobot`.
//!
//! usage: import_log LOG MAPPING TARGET
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::time::Instant;

use embody_core::{CancelToken, Error, NoProgress, Result, Task};
use embody_data::{ImportOptions, import};

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [log, map, target] = &arguments[..] else {
        return Err(Error::new("usage: import_log LOG MAPPING TARGET"));
    };
    let cancel = CancelToken::default();
    let task = Task { progress: &NoProgress, cancel: &cancel };
    // The peer keeps no originals.
    let options =
        ImportOptions { map: Some(map.clone()), drop_streams: true, ..ImportOptions::default() };
    let start = Instant::now();
    let report = import(log, target, options, task)?;
    println!(
        "{{\"seconds\": {:.4}, \"episodes\": {}, \"frames\": {}}}",
        start.elapsed().as_secs_f64(),
        report.episodes,
        report.frames
    );
    Ok(())
}
