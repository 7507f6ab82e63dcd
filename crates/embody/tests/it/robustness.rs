//! Killed, interrupted, out of disk: the same command continues, and nothing half-written stays.

use std::time::Duration;

use serde_json::Value;

use crate::bench::Bench;
use crate::recipes::small_demo;

fn output_hash(text: &str) -> Value {
    serde_json::from_str::<Value>(text).unwrap()["output"].clone()
}

#[test]
fn kill_9_at_any_time_and_the_same_command_gives_the_same_result() {
    let bench = Bench::new();
    let whole = output_hash(&bench.ok(&small_demo("whole", &[])));
    let mut kills = 0;
    // Instants spread over the run by a fixed rule; each attempt gets further, thanks to the cache.
    for attempt in 0..60u64 {
        let mut child = bench
            .command(&small_demo("killed", &["-q"]))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let patience = Duration::from_millis(150 + attempt * 137 % 1900);
        let deadline = std::time::Instant::now() + patience;
        let finished = loop {
            if child.try_wait().unwrap().is_some() {
                break true;
            }
            if std::time::Instant::now() >= deadline {
                break false;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        if finished {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert!(kills >= 3, "the run was never killed");
    assert_eq!(output_hash(&bench.ok(&small_demo("killed", &[]))), whole);
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_with_130_and_the_same_command_continues() {
    let bench = Bench::new();
    let whole = output_hash(&bench.ok(&small_demo("whole", &["--set", "train.steps=60"])));
    let child = bench
        .command(&small_demo("stopped", &["--set", "train.steps=60"]))
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // The training step is where a person stops a run: wait until it has a checkpoint.
    let begun = || bench.files().iter().any(|f| f.contains("/.train-") && f.contains("checkpoint"));
    let started = std::time::Instant::now();
    while !begun() && started.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("the same command continues"), "{stderr}");
    let plan = bench.ok(&small_demo("stopped", &["--set", "train.steps=60", "--plan"]));
    assert!(plan.contains("\"resume\""), "{plan}");
    let resumed = bench.ok(&small_demo("stopped", &["--set", "train.steps=60"]));
    assert_eq!(output_hash(&resumed), whole);
}
