//! Reinforcement learning through the real binary: a recipe learns, and a wrong one is refused.

use serde_json::Value;

use crate::bench::{Bench, workspace};

const RECIPE: &str = r#"
name = "balance"
seed = 3

[steps.learn]
kind = "rl"
task = "InvertedPendulum-v5"
preset = "ppo-cleanrl"
steps = 12_000
num_envs = 4
rollout_steps = 250
minibatches = 10
lr = 2e-3
log_every = 2_000
eval_every = 4_000
eval_episodes = 3

[steps.report]
kind = "report"
show = ["@learn"]
"#;

#[test]
fn a_recipe_learns_to_balance() {
    if !workspace().join(".embody/assets/gymnasium").is_dir() {
        println!("skipped: Gymnasium's models are not in .embody/assets");
        return;
    }
    let bench = Bench::new();
    bench.write("balance.toml", RECIPE);
    let train = ["train", "balance.toml", "--json", "--no-open"];
    let result: Value = serde_json::from_str(&bench.ok(&train)).unwrap();
    let learned = &result["steps"]["learn"]["result"];
    assert_eq!(learned["steps"], 12_000);
    let best = learned["best"]["mean_return"].as_f64().unwrap();
    let first = learned["training_return"].as_f64().unwrap();
    // An untrained policy falls after some six steps.
    assert!(best > 50.0 && first > 20.0, "{learned}");
    let page = std::fs::read_to_string(bench.path("runs/balance/report.html")).unwrap();
    assert!(page.contains("Learning InvertedPendulum-v5"));

    let folder = result["folders"]["learn"].as_str().unwrap();
    let policy = format!("runs/balance/{folder}/policy");
    assert!(bench.ok(&["policy", "info", &policy]).contains("mlp-gaussian"));
    bench.ok(&["policy", "bench", &policy, "--iterations", "5"]);
    let eval = |task| {
        bench.run(&["eval", &policy, "--task", task, "--episodes", "2", "--out", task, "--json"])
    };
    assert!(eval("InvertedPendulum-v5").status.success());
    let signed = "InvertedPendulum-v5/evaluation.json";
    assert!(bench.ok(&["eval", "--check", signed]).contains("reproduces"));
    // Another policy in the same place is not the one that was evaluated.
    let config = bench.path(&format!("{policy}/config.json"));
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.clone() + "\n").unwrap();
    let other = bench.run(&["eval", "--check", signed]);
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(!other.status.success() && said.contains("is not the policy"), "{said}");
    std::fs::write(&config, text).unwrap();
    let other = eval("HalfCheetah-v5");
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(!other.status.success() && said.contains("1 dimensions in the policy"), "{said}");
    let events = bench.path(&format!("runs/balance/{folder}/tensorboard"));
    assert_eq!(std::fs::read_dir(events).unwrap().count(), 1);

    // The same again, on other threads: nothing runs; anew, it gives the same.
    let again: Value = serde_json::from_str(&bench.ok(&train)).unwrap();
    assert_eq!(again["output"], result["output"]);
    let fresh = [&train[..], &["--fresh", "learn", "--threads", "1"]].concat();
    let fresh: Value = serde_json::from_str(&bench.ok(&fresh)).unwrap();
    assert_eq!(fresh["steps"]["learn"]["output"], result["steps"]["learn"]["output"]);
}

#[test]
fn a_wrong_recipe_is_refused_by_name() {
    let bench = Bench::new();
    for (from, to, wanted) in [
        ("rollout_steps", "rolout_steps", "rollout_steps"),
        ("ppo-cleanrl", "ppo-cleanlr", "ppo-cleanrl"),
        ("minibatches = 10", "minibatches = 1_000", "a rollout has 1000 steps"),
        ("lr = 2e-3", "lr = -1.0", "`lr` is -1"),
        ("InvertedPendulum-v5", "InvertedPendulm-v5", "InvertedPendulum-v5"),
        ("lr = 2e-3", "lr = 2e-3\ntau = 0.1", "tau"),
    ] {
        bench.write("wrong.toml", &RECIPE.replace(from, to));
        let output = bench.run(&["recipe", "check", "wrong.toml"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(wanted), "{to}: {said}");
    }
    bench.write("right.toml", RECIPE);
    let checked = bench.ok(&["recipe", "check", "right.toml"]);
    assert!(checked.contains("gae_lambda = 0.95") && checked.contains("num_envs = 4"), "{checked}");
}
