//! Training that goes on from a policy, as a recipe.

use serde_json::Value;

use crate::bench::Bench;
use crate::view::{dataset, processed};

fn recipe(more: &str) -> String {
    let data = processed("data", "one", "process", 0.5);
    format!(
        r#"name = "start"
title = "A policy learns on"
seed = 1

{data}
[steps.train]
kind = "train"
dataset = "@process"
inputs = ["observation.state"]
steps = 4
batch_size = 4
policy = {{ type = "act-small", chunk_size = 4, n_action_steps = 2, dim_model = 32, n_heads = 2, dim_feedforward = 32 }}

[steps.more]
kind = "train"
dataset = "@process"
steps = 2
batch_size = 4
{more}
"#
    )
}

#[test]
fn a_policy_learns_on_from_a_step_or_a_folder() {
    let bench = Bench::new();
    dataset(&bench.path("one"));
    let run = |more: &str| -> Value {
        bench.write("start.toml", &recipe(more));
        bench.ok(&["-q", "run", "start.toml", "--no-open", "--out", "out"]);
        serde_json::from_slice(&std::fs::read(bench.path("out/result.json")).unwrap()).unwrap()
    };
    let by_step = run("start = \"@train\"\npreset = \"act-small\"");
    let policy = |result: &Value, step: &str| {
        bench.path("out").join(result["folders"][step].as_str().unwrap()).join("policy")
    };
    let config = |result: &Value, step: &str| -> Value {
        let path = policy(result, step).join("config.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    // It is the same kind of policy, over the same inputs.
    assert_eq!(config(&by_step, "train"), config(&by_step, "more"));

    // From the folder comes the same, wherever the folder lies.
    let weights =
        |result: &Value| std::fs::read(policy(result, "more").join("model.safetensors")).unwrap();
    let copy = bench.path("elsewhere");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(policy(&by_step, "train")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    let from = format!("start = {:?}\npreset = \"act-small\"", copy.to_str().unwrap());
    assert!(weights(&run(&from)) == weights(&by_step), "a folder gave another result than a step");

    let said = |more: &str| {
        bench.write("start.toml", &recipe(more));
        bench.err(&["recipe", "check", "start.toml"])
    };
    assert!(said("start = \"@train\"").contains("preset"));
    let both = "start = \"@train\"\npreset = \"act-small\"\npolicy = { dim_model = 64 }";
    assert!(said(both).contains("settings of its own"));
    assert!(said("start = \"nowhere\"\npreset = \"act-small\"").contains("no policy"));
}
