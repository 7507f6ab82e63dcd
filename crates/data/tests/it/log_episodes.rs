//! Episodes out of a log: by file, by silence, by a topic; old values; clocks; a cut file. The logs
//! are MCAP with JSON messages, written here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use embody_core::ArrayData;
use embody_data::{
    Dataset, ImportOptions, ImportReport, Log, ProcessOptions, Relabel, Trim, delete, import,
    merge, process, relabel, resample, trim,
};
use mcap::records::MessageHeader;
use serde_json::{Value, json};

use crate::common::with_task;

const SECOND: u64 = 1_000_000_000;

/// Writes `(topic, log time, message)`, in small chunks.
fn write(path: &Path, rows: &[(&str, u64, Value)]) {
    let file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    let mut writer = mcap::WriteOptions::new().chunk_size(Some(512)).create(file).unwrap();
    let mut ids = BTreeMap::new();
    for (topic, time, message) in rows {
        let id = *ids
            .entry(*topic)
            .or_insert_with(|| writer.add_channel(0, topic, "json", &BTreeMap::new()).unwrap());
        let header =
            MessageHeader { channel_id: id, sequence: 0, log_time: *time, publish_time: *time };
        writer.write_to_known_channel(&header, message.to_string().as_bytes()).unwrap();
    }
    writer.finish().unwrap();
}

/// State at 10 Hz with a pause between 2 s and 5 s; a flag that is true from 0.5 s to 1.2 s and from
/// 5.5 s on; a spoken task.
fn rows() -> Vec<(&'static str, u64, Value)> {
    let mut rows = Vec::new();
    for i in 0..80u64 {
        let time = SECOND + i * SECOND / 10;
        if !(20..50).contains(&i) {
            rows.push(("/state", time, json!({"x": i, "deep": {"y": [i * 2, i * 3]}})));
        }
        if i % 2 == 0 {
            rows.push(("/flag", time + 1, json!({"data": (5..12).contains(&i) || i >= 55})));
        }
    }
    rows.push(("/task", SECOND, json!({"data": "first"})));
    rows.push(("/task", 6 * SECOND, json!({"data": "second"})));
    rows
}

const STATE: &str = "[features.\"observation.state\"]\nmax_age_secs = 0.15\nfrom = [\n  \
                     { topic = \"/state\", field = \"x\" },\n  \
                     { topic = \"/state\", field = \"deep.y[1]\" },\n]\n";

struct Home(tempfile::TempDir);

impl Home {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn import(&self, head: &str, name: &str) -> embody_core::Result<ImportReport> {
        let map = self.path("map.toml");
        std::fs::write(&map, format!("{head}\n{STATE}")).unwrap();
        let options = ImportOptions { map: Some(map), ..Default::default() };
        with_task(|t| import(&self.path("log.mcap"), &self.path(name), options, t))
    }

    fn states(&self, name: &str) -> Vec<Vec<f32>> {
        let dataset = Dataset::open(&self.path(name)).unwrap();
        (0..dataset.episodes().len())
            .map(|e| {
                let table = dataset.episode_table(e).unwrap();
                let ArrayData::F32(v) = &table["observation.state"].data else { panic!() };
                v.chunks(2).map(|row| row[0]).collect()
            })
            .collect()
    }
}

fn home() -> Home {
    let home = Home(tempfile::tempdir().unwrap());
    write(&home.path("log.mcap"), &rows());
    home
}

#[test]
fn silence_separates_episodes() {
    let home = home();
    let head = "fps = 10\n[task_from]\ntopic = \"/task\"\nfield = \"data\"\n[episodes]\nby = \"gap\"\n\
                gap_secs = 1.0\n";
    let report = home.import(head, "set").unwrap();
    assert_eq!((report.episodes, report.frames), (2, 50));
    let expected: Vec<Vec<f32>> =
        vec![(0..20u8).map(f32::from).collect(), (50..80u8).map(f32::from).collect()];
    assert_eq!(home.states("set"), expected);
    let dataset = Dataset::open(&home.path("set")).unwrap();
    assert_eq!(dataset.tasks(), ["first", "second"]);
    // The kept streams make the same episodes, with the same instructions.
    let options = ImportOptions::default();
    with_task(|t| resample(&home.path("set"), &home.path("again"), None, &options, t)).unwrap();
    assert_eq!(home.states("again"), expected);
    assert_eq!(Dataset::open(&home.path("again")).unwrap().tasks(), ["first", "second"]);
    let lineage = Dataset::open(&home.path("again")).unwrap().lineage().unwrap().unwrap();
    assert_eq!(lineage.operation, "resample");
    assert_eq!(lineage.parent, Some(dataset.version().unwrap()));
}

#[test]
fn a_topic_begins_and_ends_episodes() {
    let home = home();
    let head = "fps = 10\ntask = \"t\"\n[episodes]\nby = \"topic\"\ntopic = \"/flag\"\n\
                field = \"data\"\nbegin = true\nend = false\n";
    home.import(head, "set").unwrap();
    let states = home.states("set");
    assert_eq!(states.len(), 2);
    // True first at 6, false first at 12; true again from 56 to the end.
    assert_eq!(states[0], (6..12u8).map(f32::from).collect::<Vec<f32>>());
    assert_eq!(states[1], (56..79u8).map(f32::from).collect::<Vec<f32>>());
    let options = ImportOptions::default();
    with_task(|t| resample(&home.path("set"), &home.path("again"), None, &options, t)).unwrap();
    assert_eq!(home.states("again"), states);
}

#[test]
fn old_values_are_held_counted_split_or_refused() {
    let home = home();
    let head = |stale: &str| format!("fps = 10\ntask = \"t\"\n[episodes]\nstale = \"{stale}\"\n");
    let report = home.import(&head("hold"), "hold").unwrap();
    assert_eq!((report.episodes, report.frames), (1, 80));
    let stream = report.streams.iter().find(|s| s.topic == "/state").unwrap();
    assert_eq!(stream.timing.missed, 30);
    let used = &stream.used[0];
    assert_eq!((used.fresh, used.held, used.stale), (50, 1, 29), "{used:?}");
    assert!(report.notes.iter().any(|n| n.code == "stale-frames"));
    let report = home.import(&head("split"), "split").unwrap();
    assert_eq!((report.episodes, report.frames), (2, 51));
    let error = home.import(&head("fail"), "fail").unwrap_err();
    assert!(error.message().contains("/state") && error.hint().unwrap().contains("split"));
    assert!(!home.path("fail").exists(), "nothing is left behind");
}

#[test]
fn stamps_can_order_messages() {
    let home = home();
    // Logged in pairs the wrong way round; the stamps say the order.
    let rows: Vec<_> = (0..40u64)
        .map(|i| {
            let stamp = SECOND + (i ^ 1) * SECOND / 10;
            let header = json!({"stamp": {"sec": stamp / SECOND, "nanosec": stamp % SECOND}});
            let message = json!({"header": header, "x": i ^ 1, "deep": {"y": [0, 0]}});
            ("/state", 50 * SECOND + i * SECOND / 10, message)
        })
        .collect();
    write(&home.path("log.mcap"), &rows);
    home.import("fps = 10\ntask = \"t\"\nclock = \"header\"\n", "set").unwrap();
    assert_eq!(home.states("set"), [(0..40u8).map(f32::from).collect::<Vec<f32>>()]);
}

#[test]
fn a_cut_mcap_file_gives_its_whole_chunks() {
    let home = home();
    let whole = std::fs::read(home.path("log.mcap")).unwrap();
    let mut before = 0;
    for part in [30, 50, 70, 90] {
        std::fs::write(home.path("cut.mcap"), &whole[..whole.len() * part / 100]).unwrap();
        let log = Log::open(&home.path("cut.mcap")).unwrap();
        assert_eq!(log.findings()[0].code, "log-cut-off");
        let mut count = 0;
        let found = log.visit(&|_| true, &mut |_| {
            count += 1;
            Ok(())
        });
        assert!(found.unwrap().is_empty());
        assert!(count >= before, "{count} messages at {part} %");
        before = count;
    }
    assert!(before > 60, "{before} of 92 messages");
}

#[test]
fn a_wrong_topic_names_the_nearest() {
    let home = home();
    let map = home.path("map.toml");
    let text = "fps = 10\ntask = \"t\"\n[features.action]\nfrom = [\n  { topic = \"/stat\", field = \"x\" },\n]\n";
    std::fs::write(&map, text).unwrap();
    let options = ImportOptions { map: Some(map), ..Default::default() };
    let error = with_task(|t| import(&home.path("log.mcap"), &home.path("set"), options, t));
    let error = error.unwrap_err();
    assert!(error.message().contains("map.toml:5:"), "{error:?}");
    assert_eq!(error.hint(), Some("did you mean \"/state\"?"));
}

/// Kept streams follow their episodes: what an edit leaves can be sampled again, and gives the same
/// frames.
#[test]
fn streams_follow_their_episodes_through_edits() {
    let home = home();
    let head = "fps = 10\n[task_from]\ntopic = \"/task\"\nfield = \"data\"\n[episodes]\nby = \"gap\"\n\
                gap_secs = 1.0\n";
    home.import(head, "set").unwrap();
    let path = |name: &str| home.path(name);
    let again = |name: &str| {
        let target = format!("{name}-again");
        let options = ImportOptions::default();
        with_task(|t| resample(&home.path(name), &home.path(&target), None, &options, t)).unwrap();
        assert_eq!(home.states(&target), home.states(name), "{name}");
        let tasks = |name: &str| -> Vec<Vec<String>> {
            let dataset = Dataset::open(&home.path(name)).unwrap();
            dataset.episodes().iter().map(|e| e.tasks.clone()).collect()
        };
        assert_eq!(tasks(&target), tasks(name), "{name}");
    };
    let files = |name: &str| std::fs::read_dir(home.path(name).join("streams")).unwrap().count();

    with_task(|t| delete(&path("set"), &path("deleted"), &[0], t)).unwrap();
    assert_eq!((home.states("deleted").len(), files("deleted")), (1, 2));
    again("deleted");

    with_task(|t| merge(&[path("set"), path("deleted")], &path("merged"), t)).unwrap();
    assert_eq!((home.states("merged").len(), files("merged")), (3, 4));
    again("merged");

    let cut = [Trim { episode: 1, keep: 4..20 }];
    with_task(|t| trim(&path("set"), &path("trimmed"), &cut, false, t)).unwrap();
    assert_eq!(home.states("trimmed")[1].len(), 16);
    again("trimmed");

    let label = Relabel { episodes: Some(vec![1]), from: None, to: "third".to_owned() };
    with_task(|t| relabel(&path("set"), &path("said"), &[label], t)).unwrap();
    again("said");

    let all = ProcessOptions { max_idle_fraction: 1.0, ..ProcessOptions::default() };
    with_task(|t| process(&path("set"), &path("processed"), &all, t)).unwrap();
    again("processed");

    // What keeps no streams can't stand beside what does, and neither can another mapping.
    let none = ImportOptions { drop_streams: true, ..ImportOptions::default() };
    with_task(|t| resample(&path("set"), &path("bare"), None, &none, t)).unwrap();
    let error = with_task(|t| merge(&[path("set"), path("bare")], &path("mixed"), t)).unwrap_err();
    assert!(error.to_string().contains("do not both keep streams"), "{error}");
    assert!(error.hint().unwrap().contains("--drop-streams"));
    assert!(!path("mixed").exists());
    with_task(|t| merge(&[path("bare"), path("bare")], &path("twice"), t)).unwrap();

    std::fs::remove_file(path("set").join("streams/episode-000001.mcap")).unwrap();
    let error = with_task(|t| delete(&path("set"), &path("gone"), &[0], t)).unwrap_err();
    assert!(error.to_string().contains("streams are missing"), "{error}");
}
