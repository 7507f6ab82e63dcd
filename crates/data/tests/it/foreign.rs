//! Foreign files that are damaged or contradict themselves: one error that names the place, never a
//! panic, a hang or memory for a length that a file only claims.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use embody_data::{ExportFormat, ExportOptions, ImportOptions, ImportReport, export, import};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::common::{copy_tree, record, with_task};

fn options() -> ImportOptions {
    ImportOptions { fps: Some(5.0), threads: 1, ..ImportOptions::default() }
}

fn try_import(source: &Path) -> embody_core::Result<ImportReport> {
    let target = tempfile::tempdir().unwrap();
    let done = with_task(|t| import(source, &target.path().join("set"), options(), t));
    if let Err(error) = &done {
        assert!(error.hint().is_some(), "no hint: {error}");
        let left = fs::read_dir(target.path()).unwrap().count();
        assert_eq!(left, 0, "something half-written was left");
    }
    done
}

/// Bits flipped in, or an end cut off, a file below `root`.
fn damage(root: &Path, rng: &mut ChaCha8Rng, round: usize) -> PathBuf {
    let mut files = Vec::new();
    list(root, &mut files);
    files.sort();
    let path = files[rng.next_u32() as usize % files.len()].clone();
    let mut bytes = fs::read(&path).unwrap();
    if round % 5 == 4 {
        bytes.truncate(rng.next_u32() as usize % bytes.len());
    } else {
        for _ in 0..1 + round % 6 {
            // Headers stand at the start: they are hit more often than chance would.
            let reach = if round.is_multiple_of(2) { bytes.len() } else { bytes.len().min(4096) };
            let at = rng.next_u32() as usize % reach;
            bytes[at] ^= 1 << (rng.next_u32() % 8);
        }
    }
    fs::write(&path, bytes).unwrap();
    path
}

fn list(folder: &Path, out: &mut Vec<PathBuf>) {
    if folder.is_file() {
        out.push(folder.to_owned());
        return;
    }
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { list(&path, out) } else { out.push(path) }
    }
}

/// How many rounds of damage there are: `EMBODY_MUTATIONS` times as many where it is set.
fn rounds(base: usize) -> usize {
    let times = std::env::var("EMBODY_MUTATIONS").ok().and_then(|t| t.parse().ok());
    base * times.unwrap_or(1usize)
}

fn hammer(source: &Path, base: usize, seed: u64) -> usize {
    let rounds = rounds(base);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut refused = 0;
    for round in 0..rounds {
        let home = tempfile::tempdir().unwrap();
        let copy = home.path().join(source.file_name().unwrap());
        if source.is_dir() {
            copy_tree(source, &copy);
        } else {
            fs::copy(source, &copy).unwrap();
        }
        let hit = damage(&copy, &mut rng, round);
        let started = Instant::now();
        refused += usize::from(try_import(&copy).is_err());
        let took = started.elapsed();
        assert!(took < Duration::from_secs(20), "round {round}, {}: {took:?}", hit.display());
    }
    println!("{}: {refused} of {rounds} were refused", source.display());
    refused
}

#[test]
fn changed_hdf5_and_zarr_never_panic() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("set");
    record(&root, &[6, 9], 2);
    for (name, no_pictures, count) in [
        ("plain.hdf5", true, 300),
        ("full.hdf5", false, 40),
        ("plain.zarr", true, 150),
        ("full.zarr", false, 30),
    ] {
        let format = if name.ends_with("hdf5") { ExportFormat::Hdf5 } else { ExportFormat::Zarr };
        let options = ExportOptions { no_pictures, ..ExportOptions::default() };
        let target = home.path().join(name);
        with_task(|t| export(&root, &target, format, &options, t).unwrap());
        try_import(&target).unwrap();
        assert!(hammer(&target, count, 7) > count / 10);
    }
}

#[test]
fn changed_files_of_other_libraries_never_panic() {
    for python in crate::arrays::pythons() {
        let home = tempfile::tempdir().unwrap();
        let sources = home.path().join("sources");
        crate::arrays::run(&python, "write_arrays.py", &[&sources]);
        let mut listed: Vec<PathBuf> =
            fs::read_dir(&sources).unwrap().map(|e| e.unwrap().path()).collect();
        listed.sort();
        for source in listed {
            let name = source.file_name().unwrap().to_string_lossy().into_owned();
            if name != "pictures" && name != "expected.json" {
                hammer(&source, 12, 11);
            }
        }
    }
}

// ---- RLDS: records with good checksums around changed content ----

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn field(number: u64, bytes: &[u8], out: &mut Vec<u8>) {
    varint(number << 3 | 2, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A `tf.train.Example` of float lists and byte lists.
fn example(floats: &[(&str, Vec<f32>)], texts: &[(&str, Vec<&str>)]) -> Vec<u8> {
    let mut entries = Vec::new();
    let mut add = |name: &str, kind: u64, list: &[u8]| {
        let (mut feature, mut entry) = (Vec::new(), Vec::new());
        field(kind, list, &mut feature);
        field(1, name.as_bytes(), &mut entry);
        field(2, &feature, &mut entry);
        field(1, &entry, &mut entries);
    };
    for (name, values) in floats {
        let packed: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let mut list = Vec::new();
        field(1, &packed, &mut list);
        add(name, 2, &list);
    }
    for (name, values) in texts {
        let mut list = Vec::new();
        values.iter().for_each(|v| field(1, v.as_bytes(), &mut list));
        add(name, 1, &list);
    }
    let mut out = Vec::new();
    field(1, &entries, &mut out);
    out
}

fn write_records(path: &Path, records: &[Vec<u8>]) {
    let masked =
        |b: &[u8]| crc32c::crc32c(b).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
    let mut out = Vec::new();
    for record in records {
        let length = (record.len() as u64).to_le_bytes();
        out.extend(length);
        out.extend(masked(&length));
        out.extend(record);
        out.extend(masked(record));
    }
    fs::write(path, out).unwrap();
}

fn rlds(root: &Path, records: &[Vec<u8>]) -> PathBuf {
    let tensor = |n: usize| serde_json::json!({"tensor": {"shape": {"dimensions": [n.to_string()]}, "dtype": "float32"}});
    let steps = serde_json::json!({"featuresDict": {"features": {
        "action": tensor(2), "observation": {"featuresDict": {"features": {"state": tensor(3)}}},
        "language_instruction": {"text": {}},
    }}});
    let features = serde_json::json!({"featuresDict": {"features": {
        "steps": {"sequence": {"feature": steps}}}}});
    fs::create_dir_all(root).unwrap();
    fs::write(root.join("features.json"), features.to_string()).unwrap();
    let file = root.join("arm-train.tfrecord-00000-of-00001");
    write_records(&file, records);
    file
}

fn good() -> Vec<u8> {
    let ramp = |n: usize| (0..n).map(|i| i as f32).collect();
    example(
        &[("steps/action", ramp(8)), ("steps/observation/state", ramp(12))],
        &[("steps/language_instruction", vec!["reach"; 4])],
    )
}

#[test]
fn changed_records_never_panic() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("arm");
    rlds(&root, &[good(), good()]);
    assert_eq!(try_import(&root).unwrap().frames, 8);
    // Checksums refuse everything that happens to a file by chance.
    assert!(hammer(&root, 60, 3) > 40);
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for round in 0..rounds(400) {
        let mut record = good();
        for _ in 0..1 + round % 4 {
            let at = rng.next_u32() as usize % record.len();
            record[at] ^= 1 << (rng.next_u32() % 8);
        }
        if round % 7 == 6 {
            record.truncate(rng.next_u32() as usize % record.len());
        }
        rlds(&root, &[record]);
        try_import(&root).ok();
    }
}

#[test]
fn contradictions_name_file_episode_and_column() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("arm");
    let ramp = |n: usize| (0..n).map(|i| i as f32).collect::<Vec<f32>>();
    let words = |n: usize| [("steps/language_instruction", vec!["reach"; n])];
    let cases = [
        (ramp(7), ramp(12), 4, "steps/action: 7 values, 2 to a frame"),
        (ramp(8), ramp(15), 4, "steps/observation/state: it has 5 steps, steps/action has 4"),
        (ramp(8), ramp(12), 3, "steps/language_instruction: it has 3 steps, steps/action has 4"),
    ];
    for (action, state, texts, text) in cases {
        let bad =
            example(&[("steps/action", action), ("steps/observation/state", state)], &words(texts));
        let file = rlds(&root, &[good(), bad]);
        let error = try_import(&root).unwrap_err().to_string();
        let place = format!("{}: episode 1, {text}", file.display());
        assert!(error.contains(&place), "{error}\nexpected {place}");
    }
    let mut nan = ramp(8);
    nan[5] = f32::NAN;
    let bad = example(&[("steps/action", nan), ("steps/observation/state", ramp(12))], &words(4));
    rlds(&root, &[bad]);
    let error = try_import(&root).unwrap_err().to_string();
    assert!(
        error.contains("episode 0") && error.contains("frame 2: feature \"action\""),
        "{error}"
    );
    let file = rlds(&root, &[good()]);
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 9;
    bytes[last] ^= 1;
    fs::write(&file, bytes).unwrap();
    let error = try_import(&root).unwrap_err().to_string();
    assert!(error.contains("record 0: its checksum is wrong"), "{error}");
}

#[test]
fn what_is_unknown_says_what_is_known() {
    let home = tempfile::tempdir().unwrap();
    let (folder, file) = (home.path().join("folder"), home.path().join("file.bin"));
    fs::create_dir(&folder).unwrap();
    fs::write(&file, b"nothing that is known").unwrap();
    for source in [&folder, &file] {
        let error = try_import(source).unwrap_err();
        assert!(error.to_string().contains("is no recording that is known"), "{error}");
        assert!(error.hint().unwrap().contains("formats.md"));
    }
}

#[test]
fn columns_are_renamed_joined_and_left_out() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("arm");
    rlds(&root, &[good()]);
    let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
        list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    let run = |rename: &[(&str, &str)]| {
        let target = home.path().join("set");
        let options = ImportOptions { rename: pairs(rename), ..options() };
        with_task(|t| import(&root, &target, options, t))
            .map(|r| (r, embody_data::Dataset::open(&target).unwrap()))
    };
    let (report, set) = run(&[
        ("steps/observation/state", "action"),
        ("steps/action", "action"),
        ("steps/language_instruction", ""),
    ])
    .unwrap();
    assert_eq!(set.info().features["action"].shape, [5]);
    let embody_core::ArrayData::F32(joined) = &set.episode_table(0).unwrap()["action"].data else {
        panic!()
    };
    assert_eq!(joined[..10], [0.0, 1.0, 2.0, 0.0, 1.0, 3.0, 4.0, 5.0, 2.0, 3.0]);
    assert_eq!(set.tasks(), [""]);
    assert!(report.notes.iter().any(|n| n.message.contains("language_instruction is left out")));
    let error = run(&[("steps/acton", "action")]).unwrap_err(); // typos: on purpose
    assert_eq!(error.hint(), Some("did you mean \"steps/action\"?"));
    let error = run(&[("steps/observation/state", "action")]).unwrap_err();
    assert!(error.to_string().contains("two columns become the feature \"action\""), "{error}");
    let error = run(&[("steps/action", "task")]).unwrap_err();
    assert!(error.to_string().contains("can't be the instruction"), "{error}");
}

/// A robomimic file of two episodes of 4 frames; the second has `rows` states of `width` numbers.
fn robomimic(path: &Path, rows: usize, width: usize) {
    let mut file = hdf5_pure::FileBuilder::new();
    let mut data = file.create_group("data");
    for (demo, rows, width) in [("demo_0", 4, 3), ("demo_1", rows, width)] {
        let mut group = data.create_group(demo);
        let shape = |n: usize, w: usize| [n as u64, w as u64];
        group.create_dataset("actions").with_f32_data(&[0.5; 8]).with_shape(&shape(4, 2));
        let mut obs = group.create_group("obs");
        let state = vec![0.25f64; rows * width];
        obs.create_dataset("state").with_f64_data(&state).with_shape(&shape(rows, width));
        group.add_group(obs.finish());
        data.add_group(group.finish());
    }
    file.add_group(data.finish());
    file.write(path).unwrap();
}

#[test]
fn ragged_hdf5_names_the_episode() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("demos.hdf5");
    robomimic(&path, 4, 3);
    let report = try_import(&path).unwrap();
    assert_eq!((report.episodes, report.frames), (2, 8));
    for (rows, width, why) in [
        (5, 3, "it has 5 rows, actions has 4"),
        (4, 2, "it holds Float64 [2], the first episode Float64 [3]"),
    ] {
        robomimic(&path, rows, width);
        let error = try_import(&path).unwrap_err().to_string();
        assert_eq!(error, format!("{}: data/demo_1/obs/state: {why}", path.display()));
    }
}

#[test]
fn a_zarr_store_with_a_piece_missing_names_it() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("set");
    record(&root, &[6, 9], 2);
    let store = home.path().join("set.zarr");
    let options = ExportOptions { no_pictures: true, ..ExportOptions::default() };
    let fresh = || {
        with_task(|t| export(&root, &store, ExportFormat::Zarr, &options, t).unwrap());
    };
    fresh();
    fs::remove_file(store.join("data/action/0.0")).unwrap();
    let error = try_import(&store).unwrap_err().to_string();
    assert!(
        error.ends_with("data/action/0.0: the chunk is missing, and the array has no fill value")
    );
    // With a fill value a chunk may be missing; it is told.
    let meta = store.join("data/action/.zarray");
    let text = fs::read_to_string(&meta).unwrap();
    fs::write(&meta, text.replace("\"fill_value\":null", "\"fill_value\":0.5")).unwrap();
    let report = try_import(&store).unwrap();
    assert!(
        report.notes.iter().any(|n| n.code == "chunks-missing" && n.message.contains("1 of 1"))
    );
    fresh();
    fs::write(&meta, text.replace("[15,3]", "[14,3]")).unwrap();
    let error = try_import(&store).unwrap_err().to_string();
    assert!(error.contains("it has 14 rows, the episodes have 15 frames"), "{error}");
    fresh();
    fs::remove_dir_all(store.join("meta")).unwrap();
    let error = try_import(&store).unwrap_err().to_string();
    assert!(error.contains("meta/episode_ends: it is missing"), "{error}");
}
