//! Checks of the description, file by file, before the dataset is opened as a whole: what keeps it
//! from being opened gets a name and a place here.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;

use crate::files::list_files;
use crate::finding::Finding;
use crate::format::{FormatVersion, Info, TableFile, read_json};

/// Checks everything under `meta`.
pub(super) fn check(root: &Path) -> Vec<Finding> {
    let mut out = Vec::new();
    let at = |f: Finding| f.file("meta/info.json");
    let info = match read_json::<serde_json::Value>(&root.join("meta/info.json")) {
        Ok(info) => info,
        Err(e) => return vec![at(Finding::error("info-unreadable", e.to_string()))],
    };
    let says = info.get("codebase_version").and_then(|v| v.as_str()).unwrap_or("none");
    let version = FormatVersion::parse(says);
    if version.is_none() {
        let text = format!("the dataset says that its version is {says:?}");
        out.push(at(Finding::error("unknown-version", text)));
    }
    if let Err(e) = serde_json::from_value::<Info>(info.clone()) {
        out.push(at(Finding::error("info-unreadable", format!("could not understand it: {e}"))));
    }
    layout(root, &info, version, &mut out);
    if version == Some(FormatVersion::V30) {
        tables(root, &mut out);
    }
    out
}

/// Whether the files are those of the version that info.json names.
fn layout(
    root: &Path,
    info: &serde_json::Value,
    version: Option<FormatVersion>,
    out: &mut Vec<Finding>,
) {
    let (old, new) =
        (root.join("meta/episodes.jsonl").is_file(), root.join("meta/episodes").is_dir());
    let mut push = |text: String| {
        out.push(Finding::error("version-layout", text).file("meta/info.json"));
    };
    match version {
        Some(FormatVersion::V30) if old && !new => {
            push("info.json says v3.0, the episode list is v2's (meta/episodes.jsonl)".to_owned());
        }
        Some(v @ (FormatVersion::V20 | FormatVersion::V21)) if new && !old => push(format!(
            "info.json says {}, the episode list is v3.0's (meta/episodes/)",
            v.as_str()
        )),
        _ => {}
    }
    for key in ["data_path", "video_path"] {
        let Some(template) = info.get(key).and_then(|v| v.as_str()) else { continue };
        let (per_episode, shared) =
            (template.contains("{episode_index"), template.contains("{file_index"));
        let wrong = match version {
            Some(FormatVersion::V30) => per_episode && !shared,
            Some(_) => shared && !per_episode,
            None => false,
        };
        if wrong {
            let says = version.map_or("", FormatVersion::as_str);
            push(format!("{key} {template:?} is not a template of {says}"));
        }
    }
}

/// The tables of a v3.0 description, and the order of its episodes.
fn tables(root: &Path, out: &mut Vec<Finding>) {
    let mut files = vec!["meta/tasks.parquet".to_owned()];
    let listed = list_files(&root.join("meta/episodes")).unwrap_or_default();
    files.extend(
        listed.iter().filter(|f| f.ends_with(".parquet")).map(|f| format!("meta/episodes/{f}")),
    );
    if files.len() == 1 && root.join("meta/episodes").is_dir() {
        let text = "there is no episode table";
        out.push(Finding::error("episodes-missing", text).file("meta/episodes"));
    }
    let mut last = None;
    for file in files {
        let path = root.join(&file);
        if !path.is_file() {
            let text = "the table is missing";
            out.push(Finding::error("table-missing", text).file(file));
            continue;
        }
        match TableFile::open(&path) {
            Err(e) => out.push(unreadable(&path, &e).file(file)),
            Ok(table) if file.starts_with("meta/episodes/") => {
                order(&table, &file, &mut last, out);
            }
            Ok(_) => {}
        }
    }
}

/// LeRobot takes the n-th row for episode n, whatever its index says.
fn order(table: &TableFile, file: &str, last: &mut Option<i64>, out: &mut Vec<Finding>) {
    let Ok(batch) = table.read(0, table.rows(), Some(&["episode_index"])) else { return };
    let Some(column) = batch.column(0).as_primitive_opt::<Int64Type>() else { return };
    if out.iter().any(|f| f.code == "episode-order") {
        return;
    }
    for row in 0..column.len() {
        let index = column.value(row);
        if let Some(before) = last.filter(|before| index <= *before) {
            let text = format!("row {row} is episode {index}, after episode {before}");
            let finding = Finding::error("episode-order", text).file(file);
            out.push(finding.episode(usize::try_from(index).unwrap_or(0)));
            return;
        }
        *last = Some(index);
    }
}

/// A table that can't be opened: without its footer, or damaged otherwise.
pub(super) fn unreadable(path: &Path, error: &embody_core::Error) -> Finding {
    let code = if lacks_footer(path) { "table-no-footer" } else { "table-unreadable" };
    Finding::error(code, error.to_string())
}

/// Whether a Parquet file does not end as one: its writer was killed, or the copy was.
pub(crate) fn lacks_footer(path: &Path) -> bool {
    let read = || -> std::io::Result<bool> {
        let mut file = std::fs::File::open(path)?;
        if file.metadata()?.len() < 12 {
            return Ok(true);
        }
        let mut end = [0; 4];
        file.seek(SeekFrom::End(-4))?;
        file.read_exact(&mut end)?;
        Ok(&end != b"PAR1")
    };
    read().unwrap_or(false)
}
