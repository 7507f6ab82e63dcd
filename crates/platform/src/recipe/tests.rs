#![allow(clippy::unwrap_used)]
use super::*;

const DEMO: &str = r#"
name = "demo"
seed = 3

[steps.train]
kind = "train"
dataset = "@process"
steps = 10

[steps.record]
kind = "record"

[steps.process]
kind = "process"
dataset = "@record"
"#;

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Train {
    dataset: String,
    #[serde(default)]
    steps: u64,
    #[serde(default)]
    optimiser: Optimiser,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Optimiser {
    learning_rate: f64,
}

fn error(text: &str, overrides: &[&str]) -> String {
    let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
    let result = Recipe::parse(text, "r.toml", &overrides)
        .and_then(|r| r.steps["train"].parse::<Train>().map(|_| ()));
    format!("{:?}", result.unwrap_err())
}

#[test]
fn steps_come_after_their_inputs() {
    let recipe = Recipe::parse(DEMO, "r.toml", &[]).unwrap();
    let order: Vec<&str> = recipe.order().iter().map(|s| s.name.as_str()).collect();
    assert_eq!(order, ["record", "process", "train"]);
    assert_eq!(recipe.seed, 3);
    assert_eq!(recipe.steps["train"].parse::<Train>().unwrap().steps, 10);
}

#[test]
fn overrides_take_toml_values_and_bare_strings() {
    let set =
        ["train.steps=20".into(), "seed=7".into(), "train.optimiser.learning_rate=0.5".into()];
    let recipe = Recipe::parse(DEMO, "r.toml", &set).unwrap();
    let train = recipe.steps["train"].parse::<Train>().unwrap();
    assert_eq!((recipe.seed, train.steps, train.optimiser.learning_rate), (7, 20, 0.5));
    let recipe = Recipe::parse(DEMO, "r.toml", &["record.path=../a b/c".into()]).unwrap();
    assert_eq!(recipe.steps["record"].params["path"].as_str(), Some("../a b/c"));
}

#[test]
fn errors_name_file_line_key_and_the_nearest_key() {
    let cases = [
        (DEMO.replace("steps = 10", "stepps = 10"), vec![]),
        (DEMO.replace("steps = 10", "steps = \"ten\""), vec![]),
        (DEMO.replace("steps = 10", "optimiser.learning_rat = 1"), vec![]),
        (DEMO.replace("name =", "nam ="), vec![]),
        (DEMO.replace("@record", "@recrod"), vec![]),
        (DEMO.replace("kind = \"record\"", "kind = \"record\"\nx = \"@train\""), vec![]),
        ("name = ".to_owned(), vec![]),
        ("name = \"x\"".to_owned(), vec![]),
        ("name = \"a/b\"\n[steps.x]\nkind = \"record\"".to_owned(), vec![]),
        (DEMO.to_owned(), vec!["trian.steps=1"]),
        (DEMO.to_owned(), vec!["sed=1"]),
        (DEMO.to_owned(), vec!["train.steps"]),
    ];
    let text: Vec<String> = cases.iter().map(|(text, set)| error(text, set)).collect();
    insta::assert_snapshot!(text.join("\n\n"));
}
