//! Help of every command, as one checked-in reference; wrong usage.

use crate::bench::{Bench, workspace};

#[test]
fn the_reference_is_the_programs_help() {
    let bench = Bench::new();
    let printed = bench.ok(&["reference"]);
    let path = workspace().join("docs/reference/cli.md");
    if std::env::var_os("EMBODY_UPDATE_REFERENCE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &printed).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        printed == checked_in,
        "docs/reference/cli.md is not what the program prints; \
         run the tests with EMBODY_UPDATE_REFERENCE=1 and look at the difference"
    );
    assert!(printed.matches("\n## `embody").count() > 15, "the reference misses commands");
}

#[test]
fn help_lists_the_commands() {
    insta::assert_snapshot!(Bench::new().ok(&["--help"]));
}

#[test]
fn wrong_usage_says_what_is_near() {
    let bench = Bench::new();
    let cases: [&[&str]; 7] = [
        &["rum"],
        &["run"],
        &["data", "valdate", "x"],
        &["run", "r.toml", "--sets", "a=1"],
        &["sim", "render", "so101-pick-lift"],
        &["--threads", "many", "config", "show"],
        &["--backend", "gpu", "config", "show"],
    ];
    let texts: Vec<String> = cases
        .iter()
        .map(|args| format!("$ embody {}\n{}", args.join(" "), bench.err(args)))
        .collect();
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn settings_say_where_they_come_from() {
    let bench = Bench::new();
    bench.write("embody.toml", "threads = 3\nassets = \"models\"\n");
    let show = |extra: &[&str]| {
        let mut args = extra.to_vec();
        args.extend(["config", "show"]);
        let mut command = bench.command(&args);
        command.env("EMBODY_THREADS", "2").env("EMBODY_CACHE", "cache").env_remove("EMBODY_ASSETS");
        let output = command.output();
        bench.redact(&String::from_utf8(output.unwrap().stdout).unwrap())
    };
    insta::assert_snapshot!(format!("{}\n{}", show(&[]), show(&["--threads", "1"])));
    bench.write("embody.toml", "thread = 3\n");
    insta::assert_snapshot!(bench.err(&["config", "show"]));
}

#[test]
fn completions_exist_for_every_shell() {
    let bench = Bench::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(bench.ok(&["completions", shell]).contains("embody"), "{shell}");
    }
}
