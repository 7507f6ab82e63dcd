//! Foreign data that is wrong, one way at a time: the run must end with one error that names the
//! file and the place, and leave nothing half-written.
//!
//! Every case starts from the real recording, copied, with exactly one thing spoiled.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::Bench;
use super::foundation::recording;
use super::run::{self, Refusal};
use crate::sh::{self, Context, Result};
use crate::{demo, peers};

const PYARROW: &str = "pyarrow==21.0.0";
const SPOIL: &str = include_str!("spoil.py");
const TABLE: &str = "data/chunk-000/episode_000003.parquet";
const VIDEO: &str = "videos/chunk-000/observation.images.cam_high/episode_000003.mp4";
/// Of another, shorter episode.
const SHORTER: &str = "videos/chunk-000/observation.images.cam_high/episode_000006.mp4";
const NAN_FRAME: usize = 17;
/// Smaller than the recording's videos.
const TMPFS_MIB: u32 = 8;

/// A way to spoil the copy in `data`; and what the error has to name.
struct Case {
    name: &'static str,
    spoil: fn(&Bench<'_>, &Path) -> Result<()>,
    names: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        name: "missing path",
        spoil: |_, data| fs::remove_dir_all(data).during("remove", data),
        names: &["spoiled"],
    },
    Case {
        name: "truncated parquet",
        spoil: |_, data| cut(&data.join(TABLE)),
        names: &["episode_000003.parquet"],
    },
    Case {
        name: "truncated video",
        spoil: |_, data| cut(&data.join(VIDEO)),
        names: &["episode_000003.mp4"],
    },
    Case {
        name: "video with fewer frames than rows",
        spoil: |_, data| {
            fs::copy(data.join(SHORTER), data.join(VIDEO)).map(|_| ()).during("copy", SHORTER)
        },
        names: &["episode_000003.mp4", "frames"],
    },
    Case { name: "NaN in an action", spoil: nan, names: &["episode 3", "frame 17", "action"] },
];

pub fn measure(bench: &mut Bench<'_>) -> Result<()> {
    demo::build(bench.workspace)?;
    let real = recording(bench)?;
    for case in CASES {
        let home = bench.folder("bad")?;
        let data = home.join("spoiled");
        copy(&real, &data)?;
        (case.spoil)(bench, &data)?;
        let out = home.join("out");
        let refusal = Refusal::of(&mut real_recipe(bench, "recipes/real.toml", &data, &out))?;
        judge(bench, case.name, case.names, &refusal, &run::half_written(&out)?);
    }
    unknown_key(bench, &real)?;
    disk_full(bench, &real)
}

/// The recipe with a key that no step knows, on a line that the error has to give.
fn unknown_key(bench: &mut Bench<'_>, real: &Path) -> Result<()> {
    let home = bench.folder("bad")?;
    let source = bench.workspace.root.join("recipes/real.toml");
    let mut text = fs::read_to_string(&source).during("read", &source)?;
    let line = text.lines().count() + 1;
    text.push_str(if text.ends_with('\n') { "" } else { "\n" });
    text.push_str("bogus_key = 1\n");
    let recipe = home.join("spoiled.toml");
    fs::write(&recipe, text).during("write", &recipe)?;
    let out = home.join("out");
    let shown = recipe.display().to_string();
    let refusal = Refusal::of(&mut real_recipe(bench, &shown, real, &out))?;
    let place = format!("spoiled.toml:{line}");
    let left = run::half_written(&out)?;
    judge(bench, "unknown recipe key", &[&place, "bogus_key"], &refusal, &left);
    Ok(())
}

/// Runs into a small tmpfs of a private mount namespace, which goes away with the shell.
fn disk_full(bench: &mut Bench<'_>, real: &Path) -> Result<()> {
    let disk = bench.folder("disk")?;
    let out = disk.join("out");
    let command = real_recipe(bench, "recipes/real.toml", real, &out);
    let script = format!(
        "mount -t tmpfs -o size={TMPFS_MIB}m tmpfs \"$1\" || exit 99; shift; \"$@\"; status=$?; \
         find {out:?} -name '.tmp-*' -o -name '*.partial' -o -name '*.old' | sed 's/^/left: /'; \
         exit $status"
    );
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "--map-root-user", "sh", "-c", &script, "sh"]).arg(&disk);
    shell.arg(command.get_program()).args(command.get_args()).current_dir(&bench.workspace.root);
    let refusal = Refusal::of(&mut shell)?;
    if refusal.status.code() == Some(99) {
        let why = "no tmpfs could be mounted: needs root or user namespaces";
        bench.row("disk full", why, "one clear error", false);
        return Ok(());
    }
    let left: Vec<_> =
        refusal.text.lines().filter_map(|l| l.strip_prefix("left: ")).map(str::to_owned).collect();
    judge(bench, "disk full", &["disk/out", "space"], &refusal, &left);
    Ok(())
}

fn judge(bench: &mut Bench<'_>, name: &str, wanted: &[&str], refusal: &Refusal, left: &[String]) {
    let message = refusal.message();
    let mut wrong = Vec::new();
    match refusal.status.code() {
        Some(1 | 2) => {}
        _ => wrong.push(format!("ended with {}", refusal.status)),
    }
    let errors = refusal.errors().len();
    if errors != 1 {
        wrong.push(format!("{errors} errors"));
    }
    if refusal.text.contains("panicked") {
        wrong.push("a panic".into());
    }
    wrong.extend(
        wanted.iter().filter(|w| !message.contains(**w)).map(|w| format!("no word of {w:?}")),
    );
    wrong.extend(left.iter().map(|l| format!("left {l}")));
    let measured =
        if wrong.is_empty() { message } else { format!("{}; {message}", wrong.join(", ")) };
    let required = "one clear error naming file and place, nothing half-written";
    bench.row(format!("bad input: {name}"), measured, required, wrong.is_empty());
}

fn real_recipe(bench: &Bench<'_>, recipe: &str, data: &Path, out: &Path) -> Command {
    let set = format!("data.path={}", data.display());
    run::embody(bench.workspace, &["run", recipe, "--set", &set], out)
}

/// Copies a folder; the copies can be written.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).during("create folder", to)?;
    for entry in fs::read_dir(from).during("read folder", from)? {
        let path = entry.during("read folder", from)?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            // Through memory, so that the copy does not take on the source's read-only mode.
            let bytes = fs::read(&path).during("read", &path)?;
            fs::write(&target, bytes).during("write", &target)?;
        }
    }
    Ok(())
}

/// Cuts a file to its first 60 %.
fn cut(file: &Path) -> Result<()> {
    let bytes = fs::read(file).during("read", file)?;
    fs::write(file, &bytes[..bytes.len() * 6 / 10]).during("write", file)
}

fn nan(_: &Bench<'_>, data: &Path) -> Result<()> {
    let frame = NAN_FRAME.to_string();
    let mut spoil = Command::new(peers::python_with(&[PYARROW], 9)?);
    spoil.args(["-c", SPOIL]).arg(data.join(TABLE)).args(["action", &frame, "5"]);
    sh::attempt("putting a NaN into the action", &mut spoil).map(|_| ())
}
