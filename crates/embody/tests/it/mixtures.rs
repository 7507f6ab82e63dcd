//! Training over several datasets, as a recipe.

use serde_json::Value;

use crate::bench::Bench;
use crate::view::{dataset, processed, robot};

fn recipe(train: &str) -> String {
    let one = processed("a", "one", "pa", 0.5);
    let two = processed("b", "two", "pb", 0.0);
    format!(
        r#"name = "mix"
title = "Two recordings"
seed = 1

{one}
{two}
[steps.train]
kind = "train"
steps = 4
batch_size = 4
shards = 2
log_every = 2
eval_every = 2
policy = {{ type = "act-small", chunk_size = 4, n_action_steps = 2, dim_model = 32, n_heads = 2, dim_feedforward = 32 }}
{train}
"#
    )
}

#[test]
fn a_policy_learns_from_two_datasets_with_weights() {
    let bench = Bench::new();
    dataset(&bench.path("one"));
    dataset(&bench.path("two"));
    let mixed = r#"datasets = [{ dataset = "@pa", weight = 3 }, { dataset = "@pb" }]"#;
    bench.write("mix.toml", &recipe(mixed));
    bench.ok(&["-q", "run", "mix.toml", "--no-open", "--out", "out"]);
    let result: Value =
        serde_json::from_slice(&std::fs::read(bench.path("out/result.json")).unwrap()).unwrap();
    let train = &result["steps"]["train"];
    // One of two episodes is held out of the first dataset, none of the second.
    let frames = train["result"]["frames"].as_u64().unwrap();
    let held_out = train["result"]["held_out_frames"].as_u64().unwrap();
    assert_eq!(frames + held_out, 30, "{train}");
    assert!(held_out == 6 || held_out == 9, "{train}");
    assert!(train["measured"]["data_wait"].as_f64().unwrap() < 1.0, "{train}");
    let folder = result["folders"]["train"].as_str().unwrap();
    let timing =
        std::fs::read_to_string(bench.path("out").join(folder).join("timing.jsonl")).unwrap();
    assert!(timing.lines().all(|l| l.contains("data_wait")), "{timing}");

    // Other shares are another run; the same again is taken from the cache.
    let plan = |train: &str| {
        bench.write("mix.toml", &recipe(train));
        bench.ok(&["--json", "run", "mix.toml", "--plan", "--out", "out"])
    };
    assert!(!plan(mixed).contains("\"run\""));
    let other = r#"datasets = [{ dataset = "@pa", weight = 2 }, { dataset = "@pb" }]"#;
    assert!(plan(other).contains("\"run\""));
}

#[test]
fn a_mixture_that_makes_no_sense_is_refused_before_anything_runs() {
    let bench = Bench::new();
    dataset(&bench.path("one"));
    dataset(&bench.path("two"));
    let said = |train: &str| {
        bench.write("mix.toml", &recipe(train));
        bench.err(&["recipe", "check", "mix.toml"])
    };
    assert!(said("").contains("either `dataset` or `datasets`"));
    assert!(said("dataset = \"@pa\"\ndatasets = [{ dataset = \"@pb\" }]").contains("either"));
    assert!(said("datasets = [{ dataset = \"@pa\", weight = 0 }]").contains("weight 0"));
    assert!(said("datasets = [{ dataset = \"@pa\", wait = 1 }]").contains("`wait`"));
}

#[test]
fn robots_that_differ_get_a_policy_each() {
    let bench = Bench::new();
    dataset(&bench.path("one"));
    robot(&bench.path("two"), &["shoulder", "wrist", "gripper"], false);
    let run = |train: &str| {
        bench.write("mix.toml", &recipe(train));
        ["-q", "run", "mix.toml", "--no-open", "--out", "out"]
    };
    let both = "datasets = [{ dataset = \"@pa\" }, { dataset = \"@pb\" }]";
    // Of one robot they are not, by default.
    assert!(bench.err(&run(both)).contains("shape [3] against [2] in pa"));
    let open_loop = |policy: &str| {
        format!(
            "\n[steps.judge]\nkind = \"open-loop\"\ndataset = \"@pa\"\npolicy = \"{policy}\"\nhorizon_s = 0.1\n"
        )
    };
    let padded = |policy: &str| format!("{both}\nembodiments = \"padded\"{}", open_loop(policy));
    let said = bench.err(&run(&padded("@train")));
    assert!(said.contains("`train` trained a policy for each of several robots"), "{said}");
    assert!(said.contains("name one: `@train/pa`, `@train/pb`"), "{said}");
    bench.ok(&run(&padded("@train/pa")));

    let result: Value =
        serde_json::from_slice(&std::fs::read(bench.path("out/result.json")).unwrap()).unwrap();
    let train = bench.path("out").join(result["folders"]["train"].as_str().unwrap());
    for (robot, dims, cameras) in [("pa", 2, 1), ("pb", 3, 0)] {
        let config = std::fs::read(train.join("policies").join(robot).join("config.json")).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(config["output_features"]["action"]["shape"][0], dims, "{robot}");
        let inputs = config["input_features"].as_object().unwrap();
        assert_eq!(inputs.len(), 1 + cameras, "{robot}: {inputs:?}");
    }
}
