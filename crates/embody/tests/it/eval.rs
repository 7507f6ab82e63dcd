//! Evaluation as evidence, through the real binary.

use serde_json::Value;

use crate::bench::{Bench, workspace};

const RESULT: &str = "out/evaluation.json";

#[test]
fn a_signed_result_is_decided_early_and_reproduces() {
    if !workspace().join(".embody/assets/so101").is_dir() {
        println!("skipped: SO-101's model is not in .embody/assets");
        return;
    }
    let bench = Bench::new();
    let ask = ["eval", "expert", "--task", "so101-reach", "--episodes", "64", "--out", "out"];
    let ask = [&ask[..], &["--at-least", "0.6", "--until-decided", "--no-open"]].concat();
    let said = bench.ok(&ask);
    assert!(said.contains("at least 60 % succeed after 16 of 64 episodes"), "{said}");
    assert!(bench.path("out/report.html").is_file());
    let text = std::fs::read_to_string(bench.path(RESULT)).unwrap();
    let signed: Value = serde_json::from_str(&text).unwrap();
    let claim = &signed["claim"];
    assert_eq!(claim["policy"]["result"]["trials"], 16);
    assert_eq!(claim["policy"]["decision"]["yes"], true);
    let anytime = &claim["policy"]["decision"]["interval"];
    assert!(anytime[0].as_f64().unwrap() > 0.6);
    // Who looks after every episode may not report the interval of one who looked once.
    assert_eq!(claim["policy"]["result"]["ended_early"], true);
    assert_eq!(&claim["policy"]["result"]["interval"], anytime);
    let folder = said.lines().find_map(|line| line.strip_prefix("rollouts ")).unwrap();
    assert!(bench.path(folder.trim()).join("meta/info.json").is_file(), "{folder}");

    let check = bench.ok(&["eval", "--check", RESULT, "--json"]);
    let check: Value = serde_json::from_str(&check).unwrap();
    assert_eq!((&check["reproduces"], &check["episodes_that_differ"]), (&true.into(), &0.into()));

    // Changed after it was signed; then signed by nobody; then of other numbers.
    for (from, to, wanted) in [
        ("\"trials\": 16", "\"trials\": 17", "was changed after it was signed"),
        ("\"public_key\": \"", "\"public_key\": \"z", "hexadecimal"),
        ("\"claim\"", "\"clam\"", "not a signed evaluation"),
    ] {
        bench.write("other.json", &text.replacen(from, to, 1));
        let output = bench.run(&["eval", "--check", "other.json"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(wanted), "{to}: {said}");
    }
}

#[test]
fn a_question_without_sense_is_refused() {
    let bench = Bench::new();
    let expert = ["eval", "expert", "--task", "so101-reach"];
    for (more, wanted) in [
        (&["--at-least", "1.5"][..], "above 0, and 1 at most"),
        (&["--until-decided"], "there is nothing to decide"),
        (&["--episodes", "0"], "at least 1"),
        (&["--against", "no/such/folder"], "no/such/folder"),
    ] {
        let output = bench.run(&[&expert[..], more].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(wanted), "{more:?}: {said}");
    }
    let output = bench.run(&["eval", "nowhere", "--task", "so101-reach"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("no policy in `nowhere`"), "{said}");
    let output = bench.run(&["eval", "expert"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--task"));
}
