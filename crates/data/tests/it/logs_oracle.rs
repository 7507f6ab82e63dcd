//! The Python packages `rosbags`, `mcap` and `pyulog` as judges of every value that we read: run
//! where `EMBODY_ROSBAGS_PYTHON` names an interpreter that has them.

use std::path::{Path, PathBuf};
use std::process::Command;

use embody_data::{Channel, Decoder, Definition, Encoding, Log, Tree};
use serde_json::{Value, json};

use crate::common::shared_data;
use crate::logs::read;

fn ask(arguments: &[&str]) -> Option<Value> {
    let Some(python) = std::env::var_os("EMBODY_ROSBAGS_PYTHON") else {
        println!("skipped: EMBODY_ROSBAGS_PYTHON is not set");
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/logs_flat.py");
    let done = Command::new(python).arg(script).args(arguments).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Some(serde_json::from_slice(&done.stdout).unwrap())
}

/// A tree as the script writes it.
fn flat(tree: &Tree, sorted: bool, out: &mut Vec<Value>) {
    match tree {
        Tree::Null => out.push("null".into()),
        Tree::Bool(v) => out.push(i64::from(*v).into()),
        Tree::Int(v) => out.push((*v).into()),
        Tree::Uint(v) => out.push((*v).into()),
        Tree::Float(v) => out.push(float(*v)),
        Tree::Text(v) => out.push(format!("s{v}").into()),
        Tree::Bytes(v) => out.push(format!("b{}", hex(v)).into()),
        Tree::List(v) => v.iter().for_each(|v| flat(v, sorted, out)),
        Tree::Fields(v) => {
            let mut fields: Vec<_> = v.iter().collect();
            if sorted {
                fields.sort_by(|a, b| a.0.cmp(&b.0));
            }
            fields.into_iter().for_each(|(_, v)| flat(v, sorted, out));
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn float(value: f64) -> Value {
    format!("f{}", hex(&value.to_be_bytes())).into()
}

/// Every message of `path` must be among the script's, with every value.
fn compare(path: &Path, theirs: &Value) {
    let sorted = theirs["sorted"] == true;
    let mut expected: Vec<String> =
        theirs["rows"].as_array().unwrap().iter().map(Value::to_string).collect();
    let mut ours: Vec<String> = read(path)
        .into_iter()
        .map(|(topic, time, tree)| {
            let mut values = Vec::new();
            flat(&tree, sorted, &mut values);
            json!([topic, time, values]).to_string()
        })
        .collect();
    expected.sort();
    ours.sort();
    assert_eq!(expected.len(), ours.len(), "{}", path.display());
    for (a, b) in expected.iter().zip(&ours) {
        assert_eq!(a, b, "{}", path.display());
    }
}

#[test]
fn rosbags_agrees_on_every_value_of_the_real_bags() {
    let Some(folder) = shared_data("rosbags") else { return };
    for name in [
        "ros1/example.bag",
        "ros1/example-bz2.bag",
        "ros1/example-lz4.bag",
        "ros2-db3/full_bag_nav",
        "ros2-db3/scan_today_bag",
        "ros2-db3/speed",
        "ros2-db3/test_bag",
    ] {
        let path = folder.join(name);
        let Some(theirs) = ask(&["bag", path.to_str().unwrap()]) else { return };
        compare(&path, &theirs);
    }
}

#[test]
fn packed_and_split_bags_hold_what_rosbags_wrote() {
    let home = tempfile::tempdir().unwrap();
    let Some(theirs) = ask(&["packed", home.path().to_str().unwrap()]) else { return };
    let bags = theirs.as_object().unwrap();
    assert_eq!(bags.len(), 6);
    for (name, rows) in bags {
        let path = home.path().join(name);
        compare(&path, rows);
        let findings = Log::open(&path).unwrap().findings().to_vec();
        assert!(findings.is_empty(), "{name}: {findings:?}");
    }
    // A part that is missing is told by name, a packed one that is damaged as well.
    std::fs::remove_file(home.path().join("split/plain_1.db3")).unwrap();
    let log = Log::open(&home.path().join("split")).unwrap();
    let missing = log.findings().iter().find(|f| f.code == "log-file-missing").unwrap();
    assert!(missing.message.contains("plain_1.db3"), "{missing}");
    let packed = home.path().join("file/file.db3.zstd");
    let bytes = std::fs::read(&packed).unwrap();
    std::fs::write(&packed, &bytes[..bytes.len() / 2]).unwrap();
    let error = Log::open(&home.path().join("file")).unwrap_err();
    assert!(error.to_string().contains("file.db3.zstd"), "{error}");
}

#[test]
fn idl_describes_messages_as_rosbags_reads_it() {
    let Some(theirs) = ask(&["idl"]) else { return };
    let channel = Channel {
        topic: "/thing".to_owned(),
        type_name: "oracle_msgs/msg/Thing".to_owned(),
        encoding: Encoding::Cdr,
        definition: Some(Definition {
            encoding: "ros2idl".to_owned(),
            data: theirs["text"].as_str().unwrap().into(),
        }),
        metadata: Default::default(),
    };
    let decoder = Decoder::new(&channel).unwrap();
    for row in theirs["rows"].as_array().unwrap() {
        let hex = row[0].as_str().unwrap();
        let message: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        let mut ours = Vec::new();
        flat(&decoder.tree(&message).unwrap(), false, &mut ours);
        assert_eq!(Value::Array(ours), row[1]);
    }
}

#[test]
fn mcap_files_of_every_encoding_read_as_they_were_written() {
    let home = tempfile::tempdir().unwrap();
    let Some(theirs) = ask(&["mcap", home.path().to_str().unwrap()]) else { return };
    let files = theirs.as_object().unwrap();
    assert_eq!(files.len(), 6);
    for (name, rows) in files {
        compare(&home.path().join(format!("{name}.mcap")), rows);
    }
}

#[test]
fn pyulog_agrees_on_every_value_of_the_flight_log() {
    let Some(path): Option<PathBuf> = shared_data("px4-ulog/sample_log_small.ulg") else { return };
    let Some(theirs) = ask(&["ulog", path.to_str().unwrap()]) else { return };
    let mut ours: serde_json::Map<String, Value> = serde_json::Map::new();
    for (topic, _, tree) in read(&path) {
        let columns = ours.entry(topic).or_insert_with(|| json!({}));
        let mut named = Vec::new();
        columns_of(&tree, "", &mut named);
        for (name, value) in named {
            let column = &mut columns[name];
            if column.is_null() {
                *column = json!([]);
            }
            column.as_array_mut().unwrap().push(value);
        }
    }
    let theirs = theirs["topics"].as_object().unwrap();
    assert_eq!(theirs.len(), ours.len());
    for (topic, columns) in theirs {
        for (name, column) in columns.as_object().unwrap() {
            assert_eq!(Some(column), ours[topic].get(name), "{topic} {name}");
        }
    }
}

/// Names as pyulog gives them: `q[0]`, `esc[1].rpm`.
fn columns_of(tree: &Tree, name: &str, out: &mut Vec<(String, Value)>) {
    match tree {
        Tree::Fields(fields) => {
            for (field, value) in fields {
                let dot = if name.is_empty() { "" } else { "." };
                columns_of(value, &format!("{name}{dot}{field}"), out);
            }
        }
        Tree::List(items) => {
            for (i, item) in items.iter().enumerate() {
                columns_of(item, &format!("{name}[{i}]"), out);
            }
        }
        Tree::Bytes(bytes) => {
            for (i, byte) in bytes.iter().enumerate() {
                out.push((format!("{name}[{i}]"), (*byte).into()));
            }
        }
        other => {
            let mut values = Vec::new();
            flat(other, false, &mut values);
            out.extend(values.into_iter().map(|v| (name.to_owned(), v)));
        }
    }
}
