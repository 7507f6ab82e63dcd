#![allow(clippy::unwrap_used)]
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use embody_core::{CancelToken, Error, NoProgress, Result, Task};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;
use crate::{Recipe, Step};

/// Writes its number, plus those of its inputs; stops half-way the first `fail` times.
struct Sum {
    runs: AtomicUsize,
    fail: AtomicUsize,
    resumable: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SumParams {
    number: u64,
    #[serde(default)]
    of: Vec<String>,
    #[serde(default)]
    file: Option<std::path::PathBuf>,
}

impl StepKind for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }
    fn about(&self) -> &'static str {
        "adds"
    }
    fn version(&self) -> u32 {
        1
    }
    fn resolve(&self, step: &Step) -> Result<Value> {
        Ok(serde_json::to_value(step.parse::<SumParams>()?).unwrap())
    }
    fn external_inputs(&self, step: &Step) -> Result<Vec<std::path::PathBuf>> {
        Ok(step.parse::<SumParams>()?.file.into_iter().collect())
    }
    fn resumable(&self) -> bool {
        self.resumable
    }
    fn is_volatile(&self, relative: &str) -> bool {
        relative == "clock"
    }
    fn run(&self, ctx: &StepContext<'_>) -> Result<StepOutput> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        let params: SumParams = ctx.step.parse()?;
        let mut sum = params.number;
        for input in &params.of {
            let dir = &ctx.input("of", input)?.dir;
            sum += fs::read_to_string(dir.join("sum")).unwrap().parse::<u64>().unwrap();
        }
        let half = ctx.dir.join("half");
        let resumed = half.exists();
        fs::write(&half, "half").unwrap();
        if self.fail.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
        {
            return Err(Error::new("the disk broke"));
        }
        fs::write(ctx.dir.join("sum"), sum.to_string()).unwrap();
        fs::write(ctx.dir.join("clock"), format!("{:?}", std::time::Instant::now())).unwrap();
        Ok(StepOutput { result: json!({ "sum": sum }), measured: json!({ "resumed": resumed }) })
    }
}

struct Bench {
    kind: Sum,
    home: tempfile::TempDir,
}

impl Bench {
    fn new(resumable: bool, fail: usize) -> Self {
        let kind = Sum { runs: AtomicUsize::new(0), fail: AtomicUsize::new(fail), resumable };
        Self { kind, home: tempfile::tempdir().unwrap() }
    }

    fn options(&self) -> RunOptions {
        RunOptions {
            out: self.home.path().join("run"),
            threads: 1,
            fresh: vec![],
            code: "t".into(),
        }
    }

    fn run(&self, text: &str) -> Result<RunResult> {
        let recipe = Recipe::parse(text, "r.toml", &[])?;
        let task = Task { progress: &NoProgress, cancel: &CancelToken::default() };
        run(&recipe, &[&self.kind], &self.options(), task)
    }

    fn runs(&self) -> usize {
        self.kind.runs.swap(0, Ordering::SeqCst)
    }
}

const THREE: &str = "
[steps.c]
kind = 'sum'
number = 100
of = ['@a', '@b']
[steps.a]
kind = 'sum'
number = 1
[steps.b]
kind = 'sum'
number = 10
of = ['@a']
";

#[test]
fn steps_run_once_and_only_what_changed_runs_again() {
    let bench = Bench::new(false, 0);
    let first = bench.run(THREE).unwrap();
    assert_eq!(first.steps["c"].result["sum"], 112);
    assert_eq!(bench.runs(), 3);
    let again = bench.run(THREE).unwrap();
    assert_eq!((bench.runs(), &again.output), (0, &first.output));
    let changed = bench.run(&THREE.replace("number = 10\n", "number = 20\n")).unwrap();
    assert_eq!((bench.runs(), &changed.steps["c"].result["sum"]), (2, &json!(122)));
}

#[test]
fn an_equal_output_stops_the_wave() {
    // `b` changes its parameters but not its output files or result: `c` is not run again.
    let bench = Bench::new(false, 0);
    bench
        .run("[steps.b]\nkind='sum'\nnumber=5\n[steps.c]\nkind='sum'\nnumber=1\nof=['@b']")
        .unwrap();
    bench.runs();
    let with_file = bench.home.path().join("outside");
    fs::write(&with_file, "x").unwrap();
    let text = format!(
        "[steps.b]\nkind='sum'\nnumber=5\nfile='{}'\n[steps.c]\nkind='sum'\nnumber=1\nof=['@b']",
        with_file.display()
    );
    bench.run(&text).unwrap();
    assert_eq!(bench.runs(), 1);
    fs::write(&with_file, "y").unwrap();
    bench.run(&text).unwrap();
    assert_eq!(bench.runs(), 1);
}

#[test]
fn a_failed_step_leaves_nothing_and_the_same_command_continues() {
    let bench = Bench::new(false, 1);
    let error = bench.run(THREE).unwrap_err();
    assert_eq!(error.to_string(), "step `a` failed: the disk broke");
    let left: Vec<_> = fs::read_dir(bench.options().out.join("steps")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!bench.options().out.join("result.json").exists());
    assert_eq!(bench.run(THREE).unwrap().steps["c"].result["sum"], 112);
}

#[test]
fn a_resumable_step_finds_what_it_left_and_gives_the_same_output() {
    let whole = Bench::new(true, 0).run(THREE).unwrap();
    let bench = Bench::new(true, 2);
    bench.run(THREE).unwrap_err();
    bench.run(THREE).unwrap_err();
    let result = bench.run(THREE).unwrap();
    assert_eq!(result.steps["a"].measured["resumed"], true);
    assert_eq!(result.output, whole.output);
}

#[test]
fn a_missing_outside_file_is_found_before_anything_runs() {
    let bench = Bench::new(false, 0);
    let error = bench
        .run("[steps.a]\nkind='sum'\nnumber=1\n[steps.b]\nkind='sum'\nnumber=1\nfile='no/such'");
    assert!(error.unwrap_err().to_string().contains("no/such"));
    assert_eq!(bench.runs(), 0);
}

#[test]
fn one_run_at_a_time_in_a_folder() {
    let bench = Bench::new(false, 0);
    let out = bench.options().out;
    fs::create_dir_all(&out).unwrap();
    let held = fs::File::create(out.join(".lock")).unwrap();
    held.lock().unwrap();
    assert!(bench.run(THREE).unwrap_err().to_string().contains("another run is at work"));
    drop(held);
    bench.run(THREE).unwrap();
}

#[test]
fn a_plan_says_what_would_run() {
    let bench = Bench::new(false, 0);
    let recipe = Recipe::parse(THREE, "r.toml", &[]).unwrap();
    let states = || -> Vec<CacheState> {
        let planned = plan(&recipe, &[&bench.kind], &bench.options()).unwrap();
        planned.iter().map(|p| p.state).collect()
    };
    assert_eq!(states(), [CacheState::Run, CacheState::Unknown, CacheState::Unknown]);
    bench.run(THREE).unwrap();
    assert_eq!(states(), [CacheState::Cached; 3]);
}
