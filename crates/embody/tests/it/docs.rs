//! Every error that the documentation shows is what the binary prints, word for word.
//!
//! In `docs/guides/bad-input.md` a comment `<!-- case: NAME -->` and a `console` block stand for one
//! command and its whole output; [`prepare`] makes what the case needs. With
//! `EMBODY_UPDATE_REFERENCE=1` the page is rewritten with what the binary prints.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, FixedSizeListArray, Float32Array, ListArray, RecordBatch};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::bench::{Bench, copy_tree, g1_recording, workspace};

const FENCE: &str = "```";

#[test]
fn errors_in_the_guide_are_what_the_binary_prints() {
    let path = workspace().join("docs/guides/bad-input.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let update = std::env::var_os("EMBODY_UPDATE_REFERENCE").is_some();
    let mut updated = text.clone();
    let (mut checked, mut wrong) = (0, Vec::new());
    for part in text.split("<!-- case: ").skip(1) {
        let (case, rest) = part.split_once(" -->").unwrap();
        let block = rest.split_once("```console\n").unwrap().1.split_once(FENCE).unwrap().0;
        let (command, expected) = block.split_once('\n').unwrap();
        let command = command.strip_prefix("$ embody ").expect("a block starts with `$ embody `");
        let bench = Bench::new();
        let Some(held) = prepare(&bench, case) else { continue };
        // Progress lines tell times, which differ.
        let args: Vec<&str> = command.split_whitespace().chain(["--quiet"]).collect();
        let output = match held {
            Setting::SmallDisk => match on_small_disk(&bench, &args) {
                Some(output) => output,
                None => continue,
            },
            Setting::Locked(_) | Setting::Plain => bench.run(&args),
        };
        assert!(!output.status.success(), "{case} should have failed");
        let both = [output.stdout, output.stderr].concat();
        let mut printed = bench.redact(&String::from_utf8(both).unwrap()).replace("[HOME]/", "");
        let mut expected = expected.to_owned();
        if let Setting::SmallDisk = held {
            // Which of the recording's files meets the end of the disk is a matter of timing.
            let place = |line: &str| {
                line.starts_with("  cause: could not write ")
                    && line.contains("small-disk/run/steps/")
            };
            for text in [&mut printed, &mut expected] {
                assert!(text.lines().any(place), "case {case} names no file:\n{text}");
                *text = text.lines().filter(|l| !place(l)).collect::<Vec<_>>().join("\n");
            }
        }
        checked += 1;
        if printed.trim_end() != expected.trim_end() {
            wrong.push(format!("case {case}: $ embody {command}\n{printed}"));
            let fresh = format!("$ embody {command}\n{}\n", printed.trim_end());
            let place = format!("<!-- case: {case} -->\n```console\n");
            updated = updated.replace(&format!("{place}{block}"), &format!("{place}{fresh}"));
        }
        let torn: Vec<String> = bench
            .files()
            .into_iter()
            .filter(|f| f.contains(".partial") || f.contains(".tmp-") || f.contains(".old"))
            .collect();
        assert!(torn.is_empty(), "case {case} left {torn:?}");
    }
    if update && !wrong.is_empty() {
        std::fs::write(&path, updated).unwrap();
    }
    assert!(checked >= 9, "only {checked} cases were checked");
    assert!(wrong.is_empty(), "docs/guides/bad-input.md differs from:\n\n{}", wrong.join("\n"));
}

/// What has to last while a case's command runs.
enum Setting {
    Plain,
    Locked(#[allow(dead_code, reason = "held, not read")] std::fs::File),
    SmallDisk,
}

/// Makes what `case` needs; `None` (with a printed line) where that can't be had here.
fn prepare(bench: &Bench, case: &str) -> Option<Setting> {
    let recipe =
        |name: &str| std::fs::read_to_string(workspace().join("recipes").join(name)).unwrap();
    let (demo, real) = (recipe("demo.toml"), recipe("real.toml"));
    bench.write("demo.toml", &demo);
    bench.write("real.toml", &real);
    match case {
        "not-a-dataset" => drop(bench.write("empty/readme.txt", "no dataset")),
        "unknown-key" => drop(bench.write("misspelled.toml", &demo.replace("held_out", "heldout"))),
        "unknown-kind" => {
            bench
                .write("unknown-kind.toml", &demo.replace("kind = \"process\"", "kind = \"proc\""));
        }
        "unknown-input" => {
            drop(bench.write("unknown-input.toml", &demo.replace("@record\"", "@recrod\"")))
        }
        "circle" => {
            drop(bench.write("circle.toml", &demo.replace("\"@record\"\nheld", "\"@train\"\nheld")))
        }
        "unknown-setting" => drop(bench.write("embody.toml", "thread = 2\n")),
        "locked" => {
            bench.write("runs/demo/steps/readme.txt", "");
            let lock = std::fs::File::create(bench.path("runs/demo/.lock")).unwrap();
            lock.lock().unwrap();
            return Some(Setting::Locked(lock));
        }
        "disk-full" => {
            std::fs::create_dir_all(bench.path("small-disk")).unwrap();
            return Some(Setting::SmallDisk);
        }
        "truncated-parquet" => {
            copy_tree(&g1_recording()?, &bench.path("truncated"));
            let table = bench.path("truncated/data/chunk-000/episode_000003.parquet");
            let bytes = std::fs::read(&table).unwrap();
            std::fs::write(&table, &bytes[..bytes.len() / 2]).unwrap();
        }
        "short-video" => {
            copy_tree(&g1_recording()?, &bench.path("short-video"));
            let videos = bench.path("short-video/videos/chunk-000/observation.images.cam_high");
            std::fs::copy(videos.join("episode_000006.mp4"), videos.join("episode_000005.mp4"))
                .unwrap();
        }
        "nan-action" => {
            copy_tree(&g1_recording()?, &bench.path("nan-action"));
            spoil(&bench.path("nan-action/data/chunk-000/episode_000002.parquet"), 100, 7);
        }
        _ => {}
    }
    Some(Setting::Plain)
}

/// Makes dimension `dim` of the action in row `row` not a number.
fn spoil(path: &Path, row: usize, dim: usize) {
    let file = std::fs::File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    let schema = batches[0].schema();
    let mut writer =
        ArrowWriter::try_new(std::fs::File::create(path).unwrap(), schema.clone(), None).unwrap();
    let mut first_row = 0;
    for batch in batches {
        let index = schema.index_of("action").unwrap();
        let mut columns = batch.columns().to_vec();
        if (first_row..first_row + batch.num_rows()).contains(&row) {
            columns[index] = with_nan(&columns[index], row - first_row, dim);
        }
        first_row += batch.num_rows();
        writer.write(&RecordBatch::try_new(schema.clone(), columns).unwrap()).unwrap();
    }
    writer.close().unwrap();
}

fn with_nan(column: &ArrayRef, row: usize, dim: usize) -> ArrayRef {
    let spoiled = |values: &ArrayRef, at: usize| -> ArrayRef {
        let values = values.as_any().downcast_ref::<Float32Array>().unwrap();
        let mut values = values.values().to_vec();
        values[at] = f32::NAN;
        Arc::new(Float32Array::from(values))
    };
    if let Some(list) = column.as_any().downcast_ref::<FixedSizeListArray>() {
        let at = row * list.value_length() as usize + dim;
        let (field, width, _, nulls) = list.clone().into_parts();
        return Arc::new(FixedSizeListArray::new(field, width, spoiled(list.values(), at), nulls));
    }
    let list = column.as_any().downcast_ref::<ListArray>().unwrap();
    let at = list.value_offsets()[row] as usize + dim;
    let (field, offsets, values, nulls) = list.clone().into_parts();
    Arc::new(ListArray::new(field, offsets, spoiled(&values, at), nulls))
}

/// Runs with `small-disk` on a tmpfs of its own; `None` where a mount namespace can't be had.
fn on_small_disk(bench: &Bench, args: &[&str]) -> Option<std::process::Output> {
    let script = "mount -t tmpfs -o size=1m tmpfs small-disk && touch mounted && exec \"$@\"";
    let inner = bench.command(args);
    let mut outer = std::process::Command::new("unshare");
    outer.args(["--mount", "--map-root-user", "sh", "-c", script, "sh"]);
    outer.arg(inner.get_program()).args(inner.get_args());
    outer.current_dir(bench.home.path()).stdin(std::process::Stdio::null());
    for (key, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(key, value),
            None => outer.env_remove(key),
        };
    }
    let output = outer.output().ok();
    if !bench.path("mounted").exists() {
        println!("skipped: no mount namespace to be had here");
        return None;
    }
    output
}
