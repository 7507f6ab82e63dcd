//! Message logs: real ones with their counts, mutations, import, resampling, export and back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use embody_core::Error;
use embody_data::{
    Dataset, Decoder, ExportFormat, ExportOptions, ImportOptions, Log, Tree, Value, export, import,
    inspect, resample,
};

use crate::common::{difference, record, shared_data, with_task};

/// A message: topic, log time, tree.
type Row = (String, i64, Tree);

pub fn read(path: &Path) -> Vec<Row> {
    let log = Log::open(path).unwrap();
    let decoders: Vec<_> = log.channels().iter().map(Decoder::new).collect();
    let mut rows = Vec::new();
    let found = log
        .visit(&|_| true, &mut |message| {
            let topic = &log.channels()[message.channel].topic;
            let decoder = decoders[message.channel].as_ref().map_err(|e| Error::new(e.as_str()))?;
            let tree = decoder.tree(message.data).map_err(Error::new)?;
            rows.push((topic.clone(), message.log_time, tree));
            Ok(())
        })
        .unwrap();
    assert!(found.is_empty(), "{found:?}");
    assert!(rows.is_sorted_by_key(|r| r.1), "not in the order of time");
    rows
}

fn counts(path: &Path) -> BTreeMap<String, usize> {
    let mut out = BTreeMap::new();
    for (topic, ..) in read(path) {
        *out.entry(topic).or_default() += 1;
    }
    out
}

#[test]
fn real_ros2_bags_have_the_counts_beside_them() {
    let Some(folder) = shared_data("rosbags/ros2-db3") else { return };
    for (name, expected) in [
        ("full_bag_nav", vec![("/cmd_vel", 578), ("/scan", 177)]),
        ("scan_today_bag", vec![("/scan", 492)]),
        ("speed", vec![("/cmd_vel", 677)]),
        ("test_bag", vec![("/cmd_vel", 1802), ("/scan", 922)]),
    ] {
        let found = counts(&folder.join(name));
        let expected: BTreeMap<String, usize> =
            expected.into_iter().map(|(t, n)| (t.to_owned(), n)).collect();
        assert_eq!(found, expected, "{name}");
        let log = Log::open(&folder.join(name)).unwrap();
        assert!(log.findings().is_empty(), "{:?}", log.findings());
        let names: Vec<_> = std::fs::read_dir(folder.join(name)).unwrap().collect();
        assert_eq!(names.len(), 2, "reading leaves nothing beside a bag");
    }
}

#[test]
fn the_three_ros1_bags_are_equal() {
    let Some(folder) = shared_data("rosbags/ros1") else { return };
    let plain = read(&folder.join("example.bag"));
    assert!(!plain.is_empty());
    // NaN would not equal itself; there is none in this bag.
    assert!(plain == read(&folder.join("example-bz2.bag")));
    assert!(plain == read(&folder.join("example-lz4.bag")));
}

#[test]
fn inspecting_finds_rates_and_proposes_a_mapping_that_imports() {
    let Some(bag) = shared_data("rosbags/ros2-db3/full_bag_nav") else { return };
    let found = with_task(|t| inspect(&bag, t).unwrap());
    let scan = found.channels.iter().find(|c| c.topic == "/scan").unwrap();
    assert_eq!(scan.timing.messages, 177);
    assert!(scan.clock.is_some(), "scans carry stamps");
    let home = tempfile::tempdir().unwrap();
    let map = home.path().join("map.toml");
    std::fs::write(&map, found.propose_mapping()).unwrap();
    let options = ImportOptions { map: Some(map), ..Default::default() };
    let set = home.path().join("set");
    let report = with_task(|t| import(&bag, &set, options.clone(), t)).unwrap();
    let dataset = Dataset::open(&set).unwrap();
    assert_eq!((report.episodes, report.frames), (1, dataset.info().total_frames));
    assert_eq!(dataset.info().features["action"].shape, [6]);
    let expected = (35.2 * dataset.fps()) as usize;
    assert!(report.frames > expected * 8 / 10 && report.frames <= expected + 1);
    let cmd = report.streams.iter().find(|s| s.topic == "/cmd_vel").unwrap();
    let used = &cmd.used[0];
    assert_eq!(used.fresh + used.held + used.interpolated + used.stale, report.frames);
    // Every action is the latest command before its frame.
    let commands: Vec<(i64, f64)> = read(&bag)
        .into_iter()
        .filter(|r| r.0 == "/cmd_vel")
        .map(|(_, time, tree)| {
            let Some(Tree::Float(x)) = tree.get("linear").and_then(|l| l.get("x")) else {
                panic!()
            };
            (time, *x)
        })
        .collect();
    let first_scan = read(&bag).into_iter().find(|r| r.0 == "/scan").unwrap().1;
    let start = first_scan.max(commands[0].0);
    let table = dataset.episode_table(0).unwrap();
    let embody_core::ArrayData::F32(action) = &table["action"].data else { panic!() };
    for (k, row) in action.chunks(6).enumerate() {
        let at = start + (k as f64 * 1e9 / dataset.fps()).round() as i64;
        let latest = commands.iter().rev().find(|c| c.0 <= at).unwrap();
        assert_eq!(row[0], latest.1 as f32, "frame {k}");
    }
    // The original is kept: sampling it again at the same rate gives the same table, at another
    // rate another one.
    let again = home.path().join("again");
    let options = ImportOptions::default();
    with_task(|t| resample(&set, &again, None, &options, t)).unwrap();
    assert_eq!(table, Dataset::open(&again).unwrap().episode_table(0).unwrap());
    let faster = home.path().join("faster");
    let report = with_task(|t| resample(&set, &faster, Some(40.0), &options, t)).unwrap();
    let seconds = table["action"].shape[0] as f64 / dataset.fps();
    assert!((report.frames as f64 / 40.0 - seconds).abs() < 0.2, "{} frames", report.frames);
}

#[test]
fn a_flight_log_reads_and_imports() {
    let Some(file) = shared_data("px4-ulog/sample_log_small.ulg") else { return };
    let found = with_task(|t| inspect(&file, t).unwrap());
    assert!(found.channels.len() > 10);
    let home = tempfile::tempdir().unwrap();
    let map = home.path().join("map.toml");
    let text = "fps = 50\ntask = \"fly\"\n[features.\"observation.state\"]\nmethod = \"slerp\"\n\
                from = [{ topic = \"vehicle_attitude\", field = \"q\" }]\n";
    std::fs::write(&map, text).unwrap();
    let options = ImportOptions { map: Some(map), ..Default::default() };
    let set = home.path().join("set");
    with_task(|t| import(&file, &set, options, t)).unwrap();
    let table = Dataset::open(&set).unwrap().episode_table(0).unwrap();
    let embody_core::ArrayData::F32(q) = &table["observation.state"].data else { panic!() };
    for q in q.chunks(4) {
        let norm: f32 = q.iter().map(|v| v * v).sum();
        assert!((norm - 1.0).abs() < 1e-3, "{q:?}");
    }
}

#[test]
fn a_dataset_goes_to_mcap_and_back() {
    let home = tempfile::tempdir().unwrap();
    let (set, mcap, back) =
        (home.path().join("set"), home.path().join("mcap"), home.path().join("back"));
    record(&set, &[40, 9], 2);
    let report =
        with_task(|t| export(&set, &mcap, ExportFormat::Mcap, &ExportOptions::default(), t))
            .unwrap();
    assert_eq!((report.episodes, report.frames), (2, 49));
    let options = ImportOptions { map: Some(mcap.join("mapping.toml")), ..Default::default() };
    let report = with_task(|t| import(&mcap, &back, options, t)).unwrap();
    assert_eq!((report.episodes, report.frames), (2, 49), "{:?}", report.notes);
    let (a, b) = (Dataset::open(&set).unwrap(), Dataset::open(&back).unwrap());
    assert_eq!(a.tasks(), b.tasks());
    assert_eq!(a.info().robot_type, b.info().robot_type);
    for e in 0..2 {
        let (before, after) = (a.episode_table(e).unwrap(), b.episode_table(e).unwrap());
        for (key, column) in &before {
            assert_eq!(Some(column), after.get(key), "{key} of episode {e}");
        }
        let key = "observation.images.front";
        let frames: Vec<usize> = (0..a.episodes()[e].length).collect();
        let before = a.decode_frames(e, key, &frames).unwrap().concat();
        let after = b.decode_frames(e, key, &frames).unwrap().concat();
        let off = difference(&before, &after);
        assert!(off < 3.0, "pictures differ by {off}");
    }
}

/// Copies of a log with flipped bytes or a lost end.
fn mutations(bytes: &[u8], count: usize) -> impl Iterator<Item = Vec<u8>> + '_ {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    (0..count).map(move |i| {
        let mut copy = bytes.to_vec();
        if i % 4 == 0 {
            copy.truncate(random(copy.len()));
            return copy;
        }
        // Headers are where lengths stand: half of the flips go there.
        let reach = if i % 2 == 0 { copy.len() } else { copy.len().min(4096) };
        for _ in 0..1 + random(8) {
            let at = random(reach);
            copy[at] = match random(3) {
                0 => 0xff,
                1 => copy[at] ^ 1 << random(8),
                _ => random(256) as u8,
            };
        }
        copy
    })
}

/// Reads everything that can be read; errors are fine, panics and endless work are not.
fn read_leniently(path: &Path) -> usize {
    let Ok(log) = Log::open(path) else { return 0 };
    let decoders: Vec<_> = log.channels().iter().map(|c| Decoder::new(c).ok()).collect();
    let mut count = 0;
    let visited = log.visit(&|_| true, &mut |message| {
        count += 1;
        if let Some(decoder) = &decoders[message.channel] {
            // Damaged messages give errors.
            decoder.tree(message.data).ok();
        }
        Ok(())
    });
    // Damage that ends a visit is an error as well.
    visited.ok();
    count
}

fn torture(source: &Path, name: &str, count: usize) {
    let home = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(source).unwrap();
    let path = home.path().join(name);
    let mut read = 0;
    for copy in mutations(&bytes, count) {
        std::fs::write(&path, &copy).unwrap();
        read += read_leniently(&path);
    }
    assert!(read > 0, "no mutation of {name} could be read at all");
}

#[test]
fn damaged_logs_never_panic() {
    if let Some(file) = shared_data("rosbags/ros1/example.bag") {
        torture(&file, "a.bag", 60);
    }
    if let Some(file) = shared_data("rosbags/ros1/example-bz2.bag") {
        torture(&file, "b.bag", 60);
    }
    if let Some(file) = shared_data("rosbags/ros1/example-lz4.bag") {
        torture(&file, "c.bag", 60);
    }
    if let Some(file) = shared_data("rosbags/ros2-db3/speed/speed_0.db3") {
        torture(&file, "d.db3", 60);
    }
    if let Some(file) = shared_data("px4-ulog/sample_log_small.ulg") {
        torture(&file, "e.ulg", 60);
    }
    let home = tempfile::tempdir().unwrap();
    let (set, mcap) = (home.path().join("set"), home.path().join("mcap"));
    record(&set, &[12], 2);
    with_task(|t| export(&set, &mcap, ExportFormat::Mcap, &ExportOptions::default(), t)).unwrap();
    torture(&mcap.join("episode-000000.mcap"), "f.mcap", 200);
}

#[test]
fn a_cut_log_gives_what_is_whole_and_says_where_it_ends() {
    let home = tempfile::tempdir().unwrap();
    let cut = |source: &Path, name: &str, keep: f64| {
        let bytes = std::fs::read(source).unwrap();
        let path: PathBuf = home.path().join(name);
        std::fs::write(&path, &bytes[..(bytes.len() as f64 * keep) as usize]).unwrap();
        let log = Log::open(&path).unwrap();
        let mut count = 0;
        let found = log
            .visit(&|_| true, &mut |_| {
                count += 1;
                Ok(())
            })
            .unwrap();
        let all = log.findings().iter().chain(&found);
        let codes: Vec<_> = all.map(|f| f.code.clone()).collect();
        (count, codes)
    };
    if let Some(file) = shared_data("rosbags/ros1/example.bag") {
        let whole = read(&file).len();
        let (count, codes) = cut(&file, "a.bag", 0.95);
        assert!(count > 0 && count <= whole, "{count} of {whole}");
        assert!(codes.contains(&"log-cut-off".to_owned()), "{codes:?}");
    }
    if let Some(file) = shared_data("px4-ulog/sample_log_small.ulg") {
        let (count, codes) = cut(&file, "b.ulg", 0.7301);
        assert!(count > 0);
        assert!(codes.contains(&"log-cut-off".to_owned()), "{codes:?}");
    }
    if let Some(file) = shared_data("rosbags/ros2-db3/speed/speed_0.db3") {
        let (count, codes) = cut(&file, "c.db3", 0.7);
        assert!(count > 300 && count < 677, "{count} of 677 rows");
        assert!(codes.contains(&"log-cut-off".to_owned()), "{codes:?}");
    }
}

#[test]
fn a_log_without_mapping_says_how_to_get_one() {
    let Some(file) = shared_data("rosbags/ros1/example.bag") else { return };
    let home = tempfile::tempdir().unwrap();
    let target = home.path().join("set");
    let error = with_task(|t| import(&file, &target, ImportOptions::default(), t)).unwrap_err();
    assert!(error.hint().unwrap().contains("--mapping"), "{error:?}");
}

#[test]
fn paths_choose_elements_by_name() {
    let Some(file) = shared_data("rosbags/ros1/example.bag") else { return };
    let log = Log::open(&file).unwrap();
    let at = log.channels().iter().position(|c| c.topic.ends_with("/pose")).unwrap();
    let decoder = Decoder::new(&log.channels()[at]).unwrap();
    let mut plan = decoder.plan(&["x", "theta"]).unwrap();
    log.visit(&|c| c == at, &mut |message| {
        let tree = decoder.tree(message.data).unwrap();
        let values = plan.extract(message.data).unwrap();
        for (value, name) in values.iter().zip(["x", "theta"]) {
            let (Value::Floats(v), Some(Tree::Float(x))) = (value, tree.get(name)) else {
                panic!()
            };
            assert_eq!(v[..], [*x]);
        }
        Ok(())
    })
    .unwrap();
    let wrong = decoder.plan(&["thetta"]).unwrap_err();
    assert!(wrong.contains("`theta`"), "{wrong}");
}
