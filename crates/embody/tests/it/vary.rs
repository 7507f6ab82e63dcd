//! Recorded episodes run again to the bit, and new ones are made from them, through the binary.

use serde_json::Value;

use crate::bench::Bench;

const RECIPE: &str = r#"
name = "small"
seed = 3

[steps.record]
kind = "record"
task = "so101-pick-lift"
episodes = 3
image_size = [32, 32]

[steps.vary]
kind = "vary"
dataset = "@record"
per_episode = 2
placement = true
"#;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The recipe run in `bench`; the datasets that its steps made.
fn small_run(bench: &Bench, more: &[&str]) -> (Value, String, String) {
    bench.write("small.toml", RECIPE);
    let mut args = vec!["run", "small.toml", "--no-open", "--json", "--out", "run"];
    args.extend(more);
    let result = json(&bench.ok(&args));
    let folder = |step: &str| {
        format!("run/{}/dataset", result["folders"][step].as_str().expect("the step's folder"))
    };
    let (record, vary) = (folder("record"), folder("vary"));
    (result, record, vary)
}

#[test]
fn episodes_are_replayed_varied_and_selected() {
    let bench = Bench::new();
    let (result, record, vary) = small_run(&bench, &[]);
    let said = &result["steps"]["vary"]["result"];
    assert_eq!((&said["episodes"], &said["report"]["made"]), (&6.into(), &6.into()), "{said}");

    // What was recorded and what was made from it both come out the same.
    for dataset in [&record, &vary] {
        let all = json(&bench.ok(&["sim", "replay", dataset, "--json", "-q"]));
        for episode in all.as_array().unwrap() {
            assert_eq!(episode["exact"], true, "{episode}");
            assert_eq!(episode["first_difference"], Value::Null, "{episode}");
        }
    }
    let text = bench.ok(&["sim", "replay", &vary, "--episode", "1", "-q"]);
    assert!(text.starts_with("episode 1: ") && text.contains("the same to the bit, success"));

    // Lineage and marks; a filter and a mix find them.
    let log = bench.ok(&["data", "log", &vary]);
    assert!(log.contains("vary") && log.contains("placement"), "{log}");
    bench.ok(&["data", "merge", &record, &vary, "--out", "both", "-q"]);
    let text = bench.ok(&["sim", "replay", "both", "-q"]);
    assert!(text.contains("all 9 episodes come out the same, bit for bit"), "{text}");
    let rule = ["--keep", "!synthetic", "--no-pictures", "--json", "-q"];
    let args = [&["data", "curate", "both"][..], &rule].concat();
    let dropped = bench.ok(&args).matches("synthetic true").count();
    assert!(dropped >= 6, "the reasons name the measure: {dropped}");
    let weight = "synthetic ? 0.5 : 1.0";
    bench.ok(&["data", "process", "both", "mixed", "--weight", weight, "--held-out", "0", "-q"]);
    bench.ok(&["data", "process", "both", "real", "--keep", "!synthetic", "--held-out", "0", "-q"]);
    let info = json(&bench.ok(&["data", "info", "real", "--json"]));
    assert!(info.to_string().contains("\"total_episodes\":3"), "{info}");

    // A cut at the front takes the beginning away, and replay says so.
    let cut = ["data", "trim", &record, "cut", "--keep", "0=2:20", "--key-frames", "-q"];
    bench.ok(&cut);
    let error = bench.err(&["sim", "replay", "cut", "--episode", "0", "-q"]);
    assert!(error.contains("frames were cut off its beginning"), "{error}");
}

#[test]
fn threads_and_kills_change_no_bit_of_a_variation() {
    let bench = Bench::new();
    let (result, record, _) = small_run(&bench, &["--threads", "1"]);
    let (again, _, _) = small_run(&bench, &["--threads", "3", "--fresh", "vary"]);
    assert_eq!(again["steps"]["vary"]["output"], result["steps"]["vary"]["output"]);

    // Killed while it works, nothing stands under the target's name; the same command then succeeds.
    let args = ["data", "vary", &record, "made", "--per-episode", "3", "--placement", "-q"];
    let mut child = bench
        .command(&args)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let begun = || bench.files().iter().any(|f| f.starts_with(".made.partial/"));
    let started = std::time::Instant::now();
    while !begun() && child.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < std::time::Duration::from_secs(60), "it never began to write");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!bench.path("made").exists());
    bench.ok(&args);
    bench.ok(&["data", "validate", "made", "--decode", "all", "-q"]);
    let error = bench.err(&args);
    assert!(error.contains("made exists already"), "{error}");
}

#[test]
fn what_can_not_be_varied_is_refused() {
    let bench = Bench::new();
    bench.write("small.toml", RECIPE);
    let wrong = |set: &str| {
        bench.err(&["run", "small.toml", "--no-open", "--out", "run", "--plan", "--set", set])
    };
    assert!(wrong("vary.cameras=9").contains("must be from 0 to 3"));
    assert!(wrong("vary.per_episod=2").contains("per_episode"));
    let error = wrong("vary.trials=0");
    assert!(error.contains("trials") && error.contains("from 1 to 1000"), "{error}");
    let error = bench.err(&["data", "vary", "nowhere", "out", "--cameras", "0", "--lights", "0"]);
    assert!(error.contains("nowhere"), "{error}");
    let Some(recording) = crate::bench::g1_recording() else { return };
    bench.ok(&["data", "import", recording.to_str().unwrap(), "real", "-q"]);
    let error = bench.err(&["sim", "replay", "real"]);
    assert!(error.contains("does not say how its simulation began"), "{error}");
}
