//! Bars of the dataset engine: reading, beside LeRobot on the same recording in the same run.

use std::process::Command;

use serde_json::Value;

use super::foundation::recording;
use super::{Bench, Group, peers};
use crate::demo;
use crate::sh::{self, Context, Fail, Result};

pub const GROUPS: &[Group] = &[Group { name: "reading", measure: reading }];

const LEROBOT_SPEED: &str = include_str!("lerobot_speed.py");
const SECONDS: &str = "10";

fn json(command: &mut Command) -> Result<Value> {
    let said = sh::capture(command)?;
    let last = said.lines().last().unwrap_or_default();
    serde_json::from_str(last).during("read the output of", sh::show(command))
}

/// Random frames and shuffled batches of the real recording: ours over LeRobot's.
fn reading(bench: &mut Bench<'_>) -> Result<()> {
    demo::build(bench.workspace)?;
    let dataset = bench.folder("reading")?.join("g1");
    let mut import = Command::new(bench.workspace.binary());
    import.args(["-q", "data", "import"]).arg(recording(bench)?).arg(&dataset);
    sh::capture(&mut import)?;
    let mut ours = Command::new(bench.workspace.binary());
    ours.args(["-q", "--json", "bench", "data", "--seconds", SECONDS]).arg(&dataset);
    let ours = json(&mut ours)?;
    let mut theirs = Command::new(peers::lerobot()?);
    theirs.args(["-c", LEROBOT_SPEED]).arg(&dataset).arg(SECONDS);
    let theirs = json(&mut theirs)?;
    let version = format!(
        "LeRobot {}, torch {}",
        theirs["lerobot"].as_str().unwrap_or("?"),
        theirs["torch"].as_str().unwrap_or("?")
    );
    let mine = |what: &str, threads: u64| {
        let rows = ours.as_array().into_iter().flatten();
        let mut same = rows.filter(|r| r["threads"] == threads);
        let row = same.find(|r| r["what"].as_str().is_some_and(|w| w.starts_with(what)));
        row.and_then(|r| r["per_second"].as_f64())
            .ok_or_else(|| Fail::new(format!("`embody bench data` gave no row {what:?}")))
    };
    let peer = |key: &str| {
        theirs[key].as_f64().ok_or_else(|| Fail::new(format!("LeRobot's run gave no {key:?}")))
    };
    for threads in [1, 2] {
        for (name, what, key, least) in [
            ("float", "random frames, each with 50 actions, f32", "random_float", 2.5),
            ("uint8", "random frames, each with 50 actions, u8", "random_uint8", 1.6),
        ] {
            let (ours, theirs) = (mine(what, threads)?, peer(&format!("{key}_{threads}"))?);
            let label = format!("random access, {name}, threads: {threads}");
            ratio(bench, label, (ours, theirs), least, &version);
        }
    }
    let bare = mine("bare decoding", 1)?;
    let one = mine("random frames, each with 50 actions, u8", 1)?;
    ratio(bench, "random access over our bare decoding".into(), (one, bare), 0.9, "own decoder");
    let batches = mine("shuffled batches", 2)?;
    let label = "shuffled batches of 32, f32 normalised, 2 workers".to_owned();
    ratio(bench, label, (batches, peer("batches_float")?), 2.5, &version);
    Ok(())
}

/// A row for ours over theirs.
fn ratio(bench: &mut Bench<'_>, name: String, (ours, theirs): (f64, f64), least: f64, peer: &str) {
    let reached = ours / theirs;
    let measured = format!("{reached:.2} × ({ours:.0} against {theirs:.0} frames/s)");
    let row = bench.row(name, measured, format!("≥ {least} ×"), reached >= least);
    row.peer = Some(peer.to_owned());
}
