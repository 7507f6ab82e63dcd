//! Bars of the dataset engine, beside LeRobot on the same recording in the same run.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use super::foundation::recording;
use super::{Bench, Group};
use crate::sh::{self, Context, Fail, Result};
use crate::{demo, peers};

pub const GROUPS: &[Group] = &[
    Group { name: "reading", measure: reading },
    Group { name: "edits", measure: edits },
    Group { name: "logs", measure: logs },
    Group { name: "statistics", measure: statistics },
    Group { name: "scale", measure: scale },
    Group { name: "kill", measure: kill },
    Group { name: "parsers", measure: parsers },
    Group { name: "real-files", measure: real_files },
    Group { name: "doctor", measure: doctor },
];

const LEROBOT_SPEED: &str = include_str!("lerobot_speed.py");
const LEROBOT_EDITS: &str = include_str!("lerobot_edits.py");
const LOG_IMPORT: &str = include_str!("log_import.py");
/// Seconds for each row of `embody bench data`, and for each of LeRobot's.
const SECONDS: &str = "10";
/// Instants at which writers are killed.
const KILLS: &str = "200";
/// CPU-seconds of fuzzing that each parser must have passed.
const FUZZED: f64 = 3600.0;

/// Reading, edits and statistics: the binary and the recording in the native layout.
fn prepared(bench: &Bench<'_>, name: &str) -> Result<std::path::PathBuf> {
    demo::build(bench.workspace)?;
    let dataset = bench.folder(name)?.join("g1");
    embody(bench, &["data", "import"], &[&recording(bench)?, &dataset])?;
    Ok(dataset)
}

/// Runs our binary quietly; what it printed.
pub fn embody(bench: &Bench<'_>, words: &[&str], paths: &[&Path]) -> Result<String> {
    let mut command = Command::new(bench.workspace.binary());
    sh::capture(command.arg("-q").args(words).args(paths))
}

pub fn last_json(said: &str, of: &str) -> Result<Value> {
    serde_json::from_str(said.lines().last().unwrap_or_default()).during("read the output of", of)
}

/// Runs a Python script of ours; the JSON line that it ends with.
fn script(python: &Path, code: &str, args: &[&str]) -> Result<Value> {
    let said =
        sh::attempt("the peer's script", Command::new(python).arg("-c").arg(code).args(args))?;
    last_json(&said, "the peer's script")
}

pub fn number(value: &Value, key: &str) -> Result<f64> {
    value[key].as_f64().ok_or_else(|| Fail::new(format!("no number {key:?} in {value}")))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Fail::new(format!("{} is not UTF-8", path.display())))
}

/// Random frames and shuffled batches of the real recording: ours over LeRobot's.
fn reading(bench: &mut Bench<'_>) -> Result<()> {
    let dataset = prepared(bench, "reading")?;
    let ours = embody(bench, &["--json", "bench", "data", "--seconds", SECONDS], &[&dataset])?;
    let ours = last_json(&ours, "embody bench data")?;
    let theirs = script(&peers::lerobot()?, LEROBOT_SPEED, &[text(&dataset)?, SECONDS])?;
    let part = |key: &str| theirs[key].as_str().unwrap_or("?").to_owned();
    let version =
        format!("LeRobot {}, torch {}, {}", part("lerobot"), part("torch"), part("decoder"));
    let mine = |what: &str, threads: u64| {
        let rows = ours.as_array().into_iter().flatten();
        let mut same = rows.filter(|r| r["threads"] == threads);
        let row = same.find(|r| r["what"].as_str().is_some_and(|w| w.starts_with(what)));
        row.and_then(|r| r["per_second"].as_f64())
            .ok_or_else(|| Fail::new(format!("`embody bench data` gave no row {what:?}")))
    };
    for threads in [1, 2] {
        for (name, what, key, least) in [
            ("float", "random frames, each with 50 actions, f32", "random_float", 2.5),
            ("uint8", "random frames, each with 50 actions, u8", "random_uint8", 1.6),
        ] {
            let (ours, theirs) =
                (mine(what, threads)?, number(&theirs, &format!("{key}_{threads}"))?);
            let label = format!("random access, {name}, threads: {threads}");
            ratio(bench, label, (ours, theirs), least, &version);
        }
    }
    let bare = mine("bare decoding", 1)?;
    let one = mine("random frames, each with 50 actions, u8", 1)?;
    ratio(bench, "random access over our bare decoding".into(), (one, bare), 0.9, "own decoder");
    let batches = mine("shuffled batches of 32, each with 50 actions, f32", 2)?;
    let label = "shuffled batches of 32, f32 normalised, 2 workers".to_owned();
    ratio(bench, label, (batches, number(&theirs, "batches_float")?), 2.5, &version);
    Ok(())
}

/// A row for ours over theirs, frames a second.
fn ratio(bench: &mut Bench<'_>, name: String, (ours, theirs): (f64, f64), least: f64, peer: &str) {
    let reached = ours / theirs;
    let measured = format!("{reached:.2} × ({ours:.0} against {theirs:.0} frames/s)");
    let row = bench.row(name, measured, format!("≥ {least} ×"), reached >= least);
    row.peer = Some(peer.to_owned());
}

/// A row for their time over ours.
fn faster(bench: &mut Bench<'_>, name: &str, (ours, theirs): (f64, f64), least: f64, peer: &str) {
    let reached = theirs / ours;
    let measured = format!("{reached:.1} × ({ours:.3} s against {theirs:.3} s)");
    let row = bench.row(name, measured, format!("≥ {least} ×"), reached >= least);
    row.peer = Some(peer.to_owned());
}

/// Delete, split and merge 93 episodes in shared video files, against LeRobot's delete.
fn edits(bench: &mut Bench<'_>) -> Result<()> {
    let one = prepared(bench, "edits")?;
    let home = one.with_file_name("");
    let path = |name: &str| home.join(name);
    // Eight times twelve episodes, less three: 93 that share video files.
    let whole = path("whole");
    let copies = vec![one.as_path(); 8];
    embody(bench, &["data", "merge", "--out", text(&whole)?], &copies)?;
    let set = path("set");
    embody(bench, &["data", "delete", "--episodes", "93-95"], &[&whole, &set])?;
    let timed = |words: &[&str], paths: &[&Path]| -> Result<f64> {
        let start = Instant::now();
        embody(bench, words, paths)?;
        Ok(start.elapsed().as_secs_f64())
    };
    let (less, parts, merged) = (path("less"), path("parts"), path("merged"));
    let deleted = timed(&["data", "delete", "--episodes", "20,60"], &[&set, &less])?;
    let halves = ["data", "split", "--part", "first=0-45", "--part", "second=46-92"];
    let split = timed(&halves, &[&set, &parts])?;
    let (first, second) = (parts.join("first"), parts.join("second"));
    let merge = timed(&["data", "merge", "--out", text(&merged)?], &[&first, &second])?;

    let python = peers::lerobot()?;
    let same = |edited: &Path, pairs: &[&str]| {
        let mut args = vec!["same", text(&set)?, text(edited)?];
        args.extend(pairs);
        script(&python, LEROBOT_EDITS, &args)
    };
    let checks = [
        (&less, vec!["0:0", "19:19", "21:20", "59:58", "61:59", "92:90"], 91.0),
        (&second, vec!["46:0", "70:24", "92:46"], 47.0),
        (&merged, vec!["0:0", "45:45", "46:46", "92:92"], 93.0),
    ];
    let mut version = String::new();
    for (edited, pairs, episodes) in checks {
        let found = same(edited, &pairs)?;
        version = format!("LeRobot {}", found["lerobot"].as_str().unwrap_or("?"));
        let name = edited.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let frames = number(&found, "frames")?;
        let row = bench.row(
            format!("LeRobot opens {name:?}"),
            format!(
                "{} episodes; {frames} frames in {} episodes equal",
                found["episodes"],
                pairs.len()
            ),
            format!("{episodes} episodes, kept frames identical"),
            number(&found, "episodes")? == episodes,
        );
        row.peer = Some(version.clone());
    }
    let theirs = path("theirs");
    let args = ["delete", text(&set)?, text(&theirs)?, "20", "60"];
    let theirs = number(&script(&python, LEROBOT_EDITS, &args)?, "seconds")?;
    for (name, ours) in [
        ("delete 2 of 93 episodes", deleted),
        ("split 93 episodes in two", split),
        ("merge 46 and 47 episodes", merge),
    ] {
        faster(bench, name, (ours, theirs), 50.0, &format!("{version}, delete_episodes of 2"));
    }
    Ok(())
}

/// A ROS 2 bag to LeRobot v3 without video, against a script of the usual libraries.
fn logs(bench: &mut Bench<'_>) -> Result<()> {
    demo::build(bench.workspace)?;
    let python = peers::lerobot()?;
    let bag = bench.workspace.root.join("../shared/data/rosbags/ros2-db3/test_bag");
    let bag = bag.canonicalize().during("find the real bag", &bag)?;
    let binary = bench.workspace.binary();
    let args = [
        text(&bag)?,
        "21",
        text(&binary)?,
        "/cmd_vel.linear.x=action",
        "/cmd_vel.angular.z=action",
        "/scan.ranges=observation.scan",
    ];
    let found = script(&python, LOG_IMPORT, &args)?;
    let times = (number(&found, "embody_s")?, number(&found, "script_s")?);
    let name = format!("ROS 2 bag → LeRobot v3, {} frames, tables equal", found["frames"]);
    faster(bench, &name, times, 5.0, "rosbags and LeRobot 0.6.1 in a script");
    Ok(())
}

/// All table statistics with exact quantiles, against LeRobot's.
fn statistics(bench: &mut Bench<'_>) -> Result<()> {
    let dataset = prepared(bench, "statistics")?;
    let ours = embody(bench, &["--json", "bench", "scale"], &[&dataset])?;
    let ours = last_json(&ours, "embody bench scale")?;
    let code = bench.workspace.root.join("crates/data/tests/oracle/stats_theirs.py");
    let code = std::fs::read_to_string(&code).during("read", &code)?;
    let theirs = script(&peers::lerobot()?, &code, &[text(&dataset)?])?;
    let times = (number(&ours, "statistics_seconds")?, number(&theirs, "seconds")?);
    faster(bench, "statistics of all table features", times, 5.0, "LeRobot 0.6.1, its histogram");
    let python = peers::lerobot()?;
    let passed = tests(
        bench,
        "test(statistics_equal_lerobots)",
        &[("EMBODY_LEROBOT_PYTHON", text(&python)?)],
    )?;
    let required = "equal where LeRobot's are exact; NumPy's quantiles to 1e-9";
    let row = bench.row("statistics equal", passed.0, required, passed.1);
    row.peer = Some("LeRobot 0.6.1, NumPy in float64".into());
    Ok(())
}

/// A million frames: opening and memory.
fn scale(bench: &mut Bench<'_>) -> Result<()> {
    demo::build(bench.workspace)?;
    let dataset = bench.folder("scale")?.join("million");
    // The first run writes the dataset in the same process; the second one only measures.
    embody(bench, &["--json", "bench", "scale"], &[&dataset])?;
    let found = embody(bench, &["--json", "bench", "scale"], &[&dataset])?;
    let found = last_json(&found, "embody bench scale")?;
    let (frames, open) = (number(&found, "frames")?, number(&found, "open_seconds")? * 1e3);
    bench.row(
        "1,000,000 frames in 2,000 episodes: open",
        format!("{open:.0} ms, {} MiB", found["peak_mib_opened"]),
        "≤ 100 ms",
        open <= 100.0 && frames >= 1e6,
    );
    let (peak, size) = (number(&found, "peak_mib_statistics")?, frames * 52.0 * 4.0 / 1048576.0);
    bench.row(
        "the same: all statistics with exact quantiles",
        format!("{:.1} s, {peak:.0} MiB at most", number(&found, "statistics_seconds")?),
        format!("memory bounded: below 512 MiB and the {size:.0} MiB of the values twice"),
        peak < 512.0,
    );
    Ok(())
}

/// kill -9 at 200 instants of recording, and of each operation that writes.
fn kill(bench: &mut Bench<'_>) -> Result<()> {
    let seen = tests(bench, "test(crash::)", &[("EMBODY_CRASH_INSTANTS", KILLS)])?;
    let required =
        "200 instants each: opens; loses at most the last frame, or the target is absent or whole";
    bench.row(
        "kill -9 while recording, importing, processing, merging, deleting",
        seen.0,
        required,
        seen.1,
    );
    Ok(())
}

/// What the tally of fuzzing says; `cargo xtask fuzz` adds to it.
fn parsers(bench: &mut Bench<'_>) -> Result<()> {
    let path = bench.workspace.root.join("docs/results/fuzz.json");
    let tally = std::fs::read_to_string(&path).during("read", &path)?;
    let tally: Value = serde_json::from_str(&tally).during("read", &path)?;
    let targets =
        tally["targets"].as_object().ok_or_else(|| Fail::new("the tally has no targets"))?;
    for (name, target) in targets {
        let (seconds, runs) = (number(target, "clean_secs")?, number(target, "runs")?);
        let findings = number(target, "open")?;
        bench.row(
            format!("fuzzing {name}"),
            format!(
                "{:.0} min of CPU, {runs:.0} inputs, {findings:.0} open findings",
                seconds / 60.0
            ),
            "an hour without panic, over-allocation or hang",
            seconds >= FUZZED && findings == 0.0,
        );
    }
    Ok(())
}

fn real_files(bench: &mut Bench<'_>) -> Result<()> {
    recording(bench)?;
    let seen = tests(bench, "test(logs::) + test(tables_real::) + test(real::)", &[])?;
    let required = "each of shared/data imports with the counts stated beside it";
    bench.row("real files", seen.0, required, seen.1);
    Ok(())
}

fn doctor(bench: &mut Bench<'_>) -> Result<()> {
    recording(bench)?;
    let seen = tests(bench, "test(doctor::)", &[])?;
    let required = "every damage built from the real recording is named; the sound one has none";
    bench.row("damages of the field", seen.0, required, seen.1);
    Ok(())
}

/// Runs tests by a filter: the summary, and whether they passed. No test is a failure.
pub fn tests(bench: &Bench<'_>, filter: &str, env: &[(&str, &str)]) -> Result<(String, bool)> {
    let mut cargo = bench.workspace.cargo();
    cargo.args(["nextest", "run", "--locked", "--workspace", "--no-tests", "fail"]);
    cargo.args(["-E", filter, "--color", "never"]).envs(env.iter().copied());
    let output = sh::output(cargo.args(crate::setup::feature_args(bench.workspace)))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    // "1 test run: …" or "3 tests run: …".
    let mut lines = text.lines();
    let summary = lines.rfind(|l| l.contains("test run:") || l.contains("tests run:"));
    let passed = output.status.success() && summary.is_some();
    Ok((summary.unwrap_or("no test ran").trim().to_owned(), passed))
}
