//! Whole recipes through the real binary, small: everything runs, nothing is faked.

use serde_json::Value;

use crate::bench::{Bench, g1_recording, workspace};

/// The demo's recipe, made small by the same `--set` that users have.
pub const SMALL: [&str; 18] = [
    "--set",
    "record.episodes=4",
    "--set",
    "record.image_size=[48,48]",
    "--set",
    "process.held_out=0.25",
    "--set",
    "train.steps=12",
    "--set",
    "train.checkpoint_every=4",
    "--set",
    "eval.episodes=3",
    "--set",
    "baseline.episodes=2",
    "--set",
    "report.videos=1",
    "--set",
    "report.video_size=64",
];

pub fn small_demo<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["demo", "--no-open", "--json", "--out", out];
    args.extend(SMALL);
    args.extend(more);
    args
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn the_demo_runs_from_demonstrations_to_a_report() {
    let bench = Bench::new();
    let result = json(&bench.ok(&small_demo("run", &[])));
    let steps = &result["steps"];
    assert_eq!(steps["record"]["result"]["episodes"], 4);
    assert_eq!(steps["eval"]["result"]["evaluation"]["trials"], 3);
    assert_eq!(steps["baseline"]["result"]["evaluation"]["trials"], 2);
    assert!(steps["eval"]["measured"]["latency"]["p50_ms"].as_f64().unwrap() > 0.0);
    let page = std::fs::read_to_string(bench.path("run/report.html")).unwrap();
    assert!(
        page.contains("<video") && page.contains("steps = 12"),
        "videos and recipe are in the page"
    );
    assert!(page.contains("On the 2 seeds that both ran"), "evaluations of other lengths pair");
    for foreign in ["src=\"http", "href=\"http", "@import", "url(http"] {
        assert!(!page.contains(foreign), "the page loads something from outside: {foreign}");
    }

    // The same again: nothing runs, the same result.
    let again = json(&bench.ok(&small_demo("run", &[])));
    assert_eq!(again["output"], result["output"]);
    assert_eq!(again["steps"]["train"]["seconds"], result["steps"]["train"]["seconds"]);

    // Another number of threads gives the same data; a changed step leaves the ones before it.
    let more = ["--threads", "1", "--fresh", "record", "--set", "train.steps=8"];
    let changed = json(&bench.ok(&small_demo("run", &more)));
    for step in ["record", "process"] {
        assert_eq!(changed["steps"][step]["output"], result["steps"][step]["output"], "{step}");
    }
    assert_ne!(changed["steps"]["train"]["output"], result["steps"]["train"]["output"]);
}

#[test]
fn the_real_recording_runs_from_import_to_a_report() {
    let Some(recording) = g1_recording() else { return };
    let bench = Bench::new();
    let recipe = workspace().join("recipes/real.toml");
    let path = format!("data.path={}", recording.display());
    let result = json(&bench.ok(&[
        "run",
        recipe.to_str().unwrap(),
        "--no-open",
        "--json",
        "--out",
        "run",
        "--set",
        &path,
        "--set",
        "train.steps=4",
        "--set",
        "train.checkpoint_every=4",
        "--set",
        "train.image_size=[48,64]",
    ]));
    let data = &result["steps"]["data"]["result"];
    assert_eq!((&data["episodes"], &data["frames"]), (&12.into(), &4489.into()));
    let open_loop = &result["steps"]["eval"]["result"];
    assert!(open_loop["at"]["hold_last_error"].as_f64().unwrap() > 0.0, "{open_loop}");
    assert!(bench.path("run/report.html").exists());
}

#[test]
fn a_plan_runs_nothing() {
    let bench = Bench::new();
    let mut args = small_demo("run", &["--plan"]);
    args.retain(|a| *a != "--json");
    insta::assert_snapshot!(bench.ok(&args));
    assert!(bench.files().is_empty());
}

#[test]
fn the_recipes_are_valid_and_their_defaults_are_known() {
    let bench = Bench::new();
    let demo = workspace().join("recipes/demo.toml");
    insta::assert_snapshot!("demo", bench.ok(&["recipe", "check", demo.to_str().unwrap()]));
    let real = workspace().join("recipes/real.toml");
    let args = ["recipe", "check", real.to_str().unwrap(), "--set", "data.path=somewhere"];
    insta::assert_snapshot!("real", bench.ok(&args));
    let vary = workspace().join("recipes/vary.toml");
    let text = bench.ok(&["recipe", "check", vary.to_str().unwrap()]);
    assert!(text.contains("per_episode = 4") && text.contains("trials = 10"), "{text}");
    insta::assert_snapshot!("kinds", bench.ok(&["recipe", "kinds"]));
}
