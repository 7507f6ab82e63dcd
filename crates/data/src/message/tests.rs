use std::collections::BTreeMap;

use super::tree::{Path, select};
use super::*;
use crate::log::{Channel, Definition};

const MSG: &str = "std_msgs/Header header\nint32 K=7\nstring[] name\nfloat64[] position # radians\n\
                   float32[3] gains\nint8 mode 3\nPoint[] points\nstring<=10 note \"hi\"\n\
                   ================================================================================\n\
                   MSG: test/Point\nstring label\nfloat64 x\nuint8[] data\n";

fn channel(encoding: Encoding, text: &str) -> Channel {
    Channel {
        topic: "/t".to_owned(),
        type_name: "test/msg/Thing".to_owned(),
        encoding,
        definition: Some(Definition { encoding: "ros2msg".into(), data: text.into() }),
        metadata: BTreeMap::new(),
    }
}

fn message() -> Vec<u8> {
    let head = CdrWriter::new().time(1_500_000_000).text("base");
    let mut out = head
        .texts(&["elbow".to_owned(), "wrist".to_owned()])
        .doubles(&[0.5, -1.5])
        .long(1f32.to_bits())
        .long(2f32.to_bits())
        .long(3f32.to_bits())
        .finish();
    out.push(4);
    // Two points; alignment counts from behind the header of four bytes.
    let pad = |out: &mut Vec<u8>, size: usize| {
        while !(out.len() - 4).is_multiple_of(size) {
            out.push(0);
        }
    };
    pad(&mut out, 4);
    out.extend(2u32.to_le_bytes());
    for (label, x) in [("a", 1.25f64), ("bcd", 9.0)] {
        pad(&mut out, 4);
        out.extend((label.len() as u32 + 1).to_le_bytes());
        out.extend(label.as_bytes());
        out.push(0);
        pad(&mut out, 8);
        out.extend(x.to_le_bytes());
        out.extend(2u32.to_le_bytes());
        out.extend([7, 8]);
    }
    pad(&mut out, 4);
    out.extend(3u32.to_le_bytes());
    out.extend(b"ok\0");
    out
}

#[test]
fn paths_take_what_the_tree_holds() {
    let decoder = Decoder::new(&channel(Encoding::Cdr, MSG)).expect("decoder");
    let message = message();
    let tree = decoder.tree(&message).expect("tree");
    let paths = [
        "header.stamp",
        "name",
        "position",
        "position[1]",
        "position[name=wrist]",
        "gains",
        "gains[2]",
        "mode",
        "points[1].x",
        "points[label=bcd].x",
        "points[0].data",
        "points[0].label",
        "note",
        "header",
    ];
    let mut plan = decoder.plan(&paths).expect("plan");
    // Twice: results of a call leave nothing behind.
    for _ in 0..2 {
        let values = plan.extract(&message).expect("values").to_vec();
        for (path, value) in paths.iter().zip(values) {
            let parsed = Path::parse(path).expect("path");
            assert_eq!(value, select(&tree, &parsed).expect("selected"), "{path}");
        }
    }
    let values = plan.extract(&message).expect("values");
    assert_eq!(values[0], Value::Ints(vec![1, 500_000_000]));
    assert_eq!(values[4], Value::Floats(vec![-1.5]));
    assert_eq!(values[9], Value::Floats(vec![9.0]));
    assert_eq!(values[12], Value::Text("ok".to_owned()));
}

#[test]
fn every_cut_message_is_an_error() {
    let decoder = Decoder::new(&channel(Encoding::Cdr, MSG)).expect("decoder");
    let mut plan = decoder.plan(&["note", "position"]).expect("plan");
    let message = message();
    for end in 0..message.len() {
        assert!(decoder.tree(&message[..end]).is_err(), "cut at {end}");
        assert!(plan.extract(&message[..end]).is_err(), "cut at {end}");
    }
    // A count of 2^32-1 asks for nothing.
    for at in (4..message.len() - 4).step_by(4) {
        let mut wrong = message.clone();
        wrong[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        decoder.tree(&wrong).ok();
        plan.extract(&wrong).ok();
    }
}

#[test]
fn definitions_that_make_no_sense_are_refused() {
    let refused = |text: &str| Decoder::new(&channel(Encoding::Cdr, text)).expect_err("refused");
    assert!(refused("Nothing x\n").contains("test/Nothing"));
    assert!(refused("float64\n").contains("is no field"));
    let circle = format!("A a\n{}\nMSG: test/A\nA[] a\n", "=".repeat(80));
    assert!(refused(&circle).contains("contains itself"));
    let mut deep = "T0 t\n".to_owned();
    for i in 0..100 {
        deep += &format!("{}\nMSG: test/T{i}\nT{} t\n", "=".repeat(80), i + 1);
    }
    deep += &format!("{}\nMSG: test/T100\nbool t\n", "=".repeat(80));
    assert!(refused(&deep).contains("deep"));
    let paths = Decoder::new(&channel(Encoding::Cdr, MSG)).expect("decoder");
    assert!(paths.plan(&["positon"]).expect_err("refused").contains("`position`"));
    assert!(paths.plan(&["points.x"]).expect_err("refused").contains("which element"));
    assert!(paths.plan(&["a..b"]).is_err());
}

#[test]
fn written_definitions_read_the_same() {
    for name in builtin::names() {
        let schema = common(&name, false).unwrap_or_else(|| panic!("{name} does not parse"));
        let again = rosmsg::parse(&name, &schema.to_ros2msg(), false).expect("parses");
        assert_eq!(schema, again, "{name}");
    }
}

/// Where `EMBODY_ROSBAGS_PYTHON` names a Python with `rosbags`, its definitions are the judge.
#[test]
fn built_in_definitions_are_those_of_ros() {
    let Some(python) = std::env::var_os("EMBODY_ROSBAGS_PYTHON") else {
        println!("skipped: EMBODY_ROSBAGS_PYTHON is not set");
        return;
    };
    let names: Vec<String> = builtin::names().collect();
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/logs_flat.py");
    let done = std::process::Command::new(python)
        .arg(script)
        .arg("defs")
        .args(&names)
        .output()
        .expect("runs");
    let theirs: BTreeMap<String, String> =
        serde_json::from_slice(&done.stdout).expect("an answer in JSON");
    assert!(theirs.len() > 90, "rosbags knows {} of them", theirs.len());
    for (name, text) in theirs {
        let theirs = rosmsg::parse(&name, &text, false).expect("parses");
        let ours = common(&name, false).expect("built in");
        let sorted = |schema: &Schema| {
            let mut structs: Vec<(String, Vec<(String, String)>)> = schema
                .structs
                .iter()
                .map(|s| {
                    let fields = s.fields.iter().map(|f| {
                        let kind = match f.kind {
                            Kind::Struct(inner) => schema.structs[inner].name.clone(),
                            other => format!("{other:?}"),
                        };
                        (f.name.clone(), format!("{kind} {:?}", f.arity))
                    });
                    (s.name.clone(), fields.collect())
                })
                .collect();
            structs.sort();
            structs
        };
        assert_eq!(sorted(&ours), sorted(&theirs), "{name}");
    }
}

#[test]
fn pictures_of_every_layout_become_rgb() {
    let decoder = {
        let mut image = channel(Encoding::Cdr, "");
        image.type_name = "sensor_msgs/msg/Image".to_owned();
        image.definition = None;
        Decoder::new(&image).expect("common type")
    };
    let send = |encoding: &str, step: u32, data: &[u8]| {
        let mut out = CdrWriter::new().time(0).text("").long(2).long(1).text(encoding).finish();
        out.push(0);
        while !(out.len() - 4).is_multiple_of(4) {
            out.push(0);
        }
        out.extend(step.to_le_bytes());
        out.extend((data.len() as u32).to_le_bytes());
        out.extend(data);
        out
    };
    let mut camera = Camera::new("sensor_msgs/msg/Image", &decoder).expect("a camera");
    let rgb = [1, 2, 3, 4, 5, 6];
    for (encoding, step, data) in [
        ("rgb8", 3, vec![1, 2, 3, 4, 5, 6]),
        ("bgr8", 5, vec![3, 2, 1, 0, 0, 6, 5, 4]),
        ("rgba8", 4, vec![1, 2, 3, 9, 4, 5, 6, 9]),
        ("bgra8", 4, vec![3, 2, 1, 9, 6, 5, 4, 9]),
    ] {
        let picture = camera.picture(&send(encoding, step, &data), true).expect(encoding);
        assert_eq!(picture.expect("shown").rgb, rgb, "{encoding}");
    }
    let grey = camera.picture(&send("mono8", 1, &[7, 8]), true).expect("mono8").expect("shown");
    assert_eq!(grey.rgb, [7, 7, 7, 8, 8, 8]);
    let refused = camera.picture(&send("yuv422", 2, &[0; 4]), true).expect_err("refused");
    assert!(refused.contains("yuv422") && refused.contains("bgr8"), "{refused}");
    let short = camera.picture(&send("rgb8", 3, &[0; 5]), true).expect_err("refused");
    assert!(short.contains("does not fit"), "{short}");
}

/// Where `EMBODY_ROSBAGS_PYTHON` names a Python with Pillow, it is the judge of JPEG and PNG.
#[test]
fn stills_decode_as_pillow_sees_them() {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let Some(python) = std::env::var_os("EMBODY_ROSBAGS_PYTHON") else {
        println!("skipped: EMBODY_ROSBAGS_PYTHON is not set");
        return;
    };
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/logs_flat.py");
    let done = std::process::Command::new(python).arg(script).arg("stills").output().expect("runs");
    let stills: Vec<BTreeMap<String, String>> =
        serde_json::from_slice(&done.stdout).expect("an answer in JSON");
    assert_eq!(stills.len(), 6);
    let mut json = channel(Encoding::Json, "");
    json.type_name = "foxglove.CompressedImage".to_owned();
    let decoder = Decoder::new(&json).expect("decoder");
    let mut camera = Camera::new(&json.type_name, &decoder).expect("a camera");
    for still in stills {
        let name = &still["name"];
        let message = serde_json::json!({"format": "x", "data": still["data"]}).to_string();
        let picture = camera.picture(message.as_bytes(), true).expect(name).expect("shown");
        let seen = STANDARD.decode(&still["rgb"]).expect("base64");
        assert_eq!((picture.width, picture.height, picture.rgb.len()), (37, 21, seen.len()));
        let off = picture.rgb.iter().zip(&seen).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
        assert!(off <= if name.starts_with("PNG") { 0 } else { 4 }, "{name} is off by {off}");
        // Cut short, it is an error, never half a picture.
        let data = STANDARD.decode(&still["data"]).expect("base64");
        let half = STANDARD.encode(&data[..data.len() / 2]);
        let message = serde_json::json!({"format": "x", "data": half}).to_string();
        assert!(camera.picture(message.as_bytes(), true).is_err(), "half of {name}");
    }
}

/// Twelve bytes of a `wstring` between numbers, with four bytes to a character (Cyclone DDS, Fast
/// CDR 1) and with two (Fast CDR 2).
#[test]
fn wide_text_is_read_in_both_widths() {
    let decoder =
        Decoder::new(&channel(Encoding::Cdr, "uint32 a\nwstring text\nuint32 b\n")).unwrap();
    let text = "gr\u{fc}n";
    for (width, big) in [(4usize, false), (2, false), (4, true), (2, true)] {
        let long = |v: u32| if big { v.to_be_bytes() } else { v.to_le_bytes() };
        let mut message = vec![0, u8::from(!big), 0, 0];
        message.extend(long(7));
        message.extend(long(4));
        for unit in text.encode_utf16() {
            let (wide, narrow) = (long(u32::from(unit)), unit);
            match (width, big) {
                (4, _) => message.extend(wide),
                (_, true) => message.extend(narrow.to_be_bytes()),
                (_, false) => message.extend(narrow.to_le_bytes()),
            }
        }
        message.extend(long(9));
        let tree = decoder.tree(&message).unwrap_or_else(|e| panic!("{width} {big}: {e}"));
        assert_eq!(tree.get("text"), Some(&Tree::Text(text.to_owned())), "{width} {big}");
        assert_eq!(tree.get("b"), Some(&Tree::Int(9)));
        let mut plan = decoder.plan(&["text", "b"]).unwrap();
        assert_eq!(
            plan.extract(&message).unwrap(),
            [Value::Text(text.to_owned()), Value::Ints(vec![9])]
        );
        message.extend([0; 16]);
        assert!(decoder.tree(&message).is_err(), "neither width ends where the message does");
    }
}

#[test]
fn idl_that_is_not_understood_says_where() {
    let idl = |text: &str| {
        let mut channel = channel(Encoding::Cdr, text);
        channel.definition = Some(Definition { encoding: "ros2idl".into(), data: text.into() });
        Decoder::new(&channel)
    };
    let good = "module test { module msg {\nstruct Thing {\nlong long a, b[2];\n};\n};\n};";
    let decoder = idl(good).unwrap();
    let message = [&[0, 1, 0, 0][..], &[1; 24]].concat();
    assert!(decoder.tree(&message).is_ok());
    for (from, to, says) in [
        ("long long a", "wchar a", "line 3"),
        ("long long a", "@optional long a", "optional"),
        ("};\n};\n};", "};", "ends too early"),
        ("Thing", "Other", "does not define"),
        ("long long a", "missing_msgs::msg::X a", "no definition of missing_msgs/X"),
        ("long long a", "sequence<sequence<long> > a", "lists of lists"),
    ] {
        let error = idl(&good.replace(from, to)).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

/// Sizes in a definition multiply: what a few lines claim must not take time or memory.
#[test]
fn nested_arrays_of_nothing_take_no_time() {
    let nest = |kind: &str| {
        let mut text = String::from("A1[4096] a\n");
        for i in 1..6 {
            let rule = "=".repeat(80);
            let inner = if i == 5 { kind.to_owned() } else { format!("A{}[4096] a", i + 1) };
            text += &format!("{rule}\nMSG: test/A{i}\n{inner}\n");
        }
        text
    };
    for kind in ["", "string s"] {
        for encoding in [Encoding::Cdr, Encoding::Ros1] {
            let decoder = Decoder::new(&channel(encoding, &nest(kind))).unwrap();
            let mut names = Vec::new();
            decoder.schema().unwrap().leaf_names(0, "", &mut names);
            assert_eq!(names, Vec::<String>::new());
            let message = [&[0, 1, 0, 0][..], &[0; 5000]].concat();
            assert!(decoder.tree(&message).is_err());
            assert!(decoder.plan(&["a"]).is_ok());
        }
    }
    let many: String = (0..5000).map(|i| format!("bool b{i}\n")).collect();
    let error = Decoder::new(&channel(Encoding::Cdr, &many)).unwrap_err();
    assert!(error.contains("more than 4096 fields"), "{error}");
}
