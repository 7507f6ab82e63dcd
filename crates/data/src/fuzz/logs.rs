//! Message logs, message definitions, messages, paths into them and mapping files.

use std::collections::BTreeMap;
use std::path::Path;

use super::{piece, put, quietly, text_and_rest};
use crate::inspect::inspect;
use crate::log::{Channel, Definition, Encoding, Log};
use crate::mapping::Mapping;
use crate::message::{Camera, Decoder, Path as FieldPath};

/// Messages taken from one log, and decoded per channel.
const MESSAGES: usize = 512;

/// A log of any format, told apart by its first bytes: opened, walked, decoded, described.
pub(super) fn log(bytes: &[u8], scratch: &Path) {
    let path = put(&scratch.join("input.log"), bytes);
    read_log(&path);
}

fn read_log(path: &Path) {
    let Ok(log) = Log::open(path) else { return };
    let mut decoders: Vec<_> = log
        .channels()
        .iter()
        .take(64)
        .map(|channel| {
            let decoder = Decoder::new(channel).ok()?;
            let camera = Camera::new(&channel.type_name, &decoder).ok();
            Some((decoder, camera))
        })
        .collect();
    let mut left = MESSAGES;
    let walked = log.visit(&|_| true, &mut |message| {
        let Some(rest) = left.checked_sub(1) else {
            return Err(embody_core::Error::new("enough"));
        };
        left = rest;
        if let Some(Some((decoder, camera))) = decoders.get_mut(message.channel) {
            let _ = decoder.tree(message.data);
            if let Some(camera) = camera {
                let _ = camera.picture(message.data, true);
            }
        }
        Ok(())
    });
    if walked.is_ok()
        && let Ok(inspection) = quietly(|task| inspect(path, task))
    {
        let proposed = inspection.propose_mapping();
        let _ = Mapping::parse(&proposed, "proposed");
    }
}

/// `metadata.yaml` beside a whole bag.
pub(super) fn rosbag2_metadata(bytes: &[u8], scratch: &Path) {
    let folder = scratch.join("bag");
    if !folder.join("bag_0.db3").is_file() {
        put(&folder.join("bag_0.db3"), &super::seeds::rosbag2(&scratch.join("making.db3")));
    }
    put(&folder.join("metadata.yaml"), bytes);
    read_log(&folder);
}

fn channel(encoding: Encoding, type_name: &str, kind: &str, data: &[u8]) -> Channel {
    Channel {
        topic: "/topic".to_owned(),
        type_name: type_name.to_owned(),
        encoding,
        definition: Some(Definition { encoding: kind.to_owned(), data: data.to_vec() }),
        metadata: BTreeMap::new(),
    }
}

/// A message through a decoder: whole, and by paths to everything that has a name.
fn decode(decoder: &Decoder, message: &[u8]) {
    let _ = decoder.tree(message);
    let mut names = Vec::new();
    if let Some(schema) = decoder.schema() {
        let fields = &schema.structs.first().map_or(&[][..], |s| &s.fields);
        names.extend(fields.iter().map(|f| f.name.clone()));
        names.extend(fields.iter().map(|f| format!("{}[1]", f.name)));
        let _ = schema.to_ros2msg();
        let mut leaves = Vec::new();
        schema.leaf_names(0, "", &mut leaves);
        names.extend(leaves.into_iter().take(16));
    }
    for name in names.iter().take(64) {
        if let Ok(mut plan) = decoder.plan(&[name]) {
            let _ = plan.extract(message);
        }
    }
    let names: Vec<&str> = names.iter().take(8).map(String::as_str).collect();
    if let Ok(mut plan) = decoder.plan(&names) {
        let _ = plan.extract(message);
    }
}

/// A definition in text, a zero byte, a message: as ROS 2 and as ROS 1 have them, and as IDL.
pub(super) fn ros_message(bytes: &[u8], _: &Path) {
    let (text, message) = text_and_rest(bytes);
    for (encoding, kind) in
        [(Encoding::Cdr, "ros2msg"), (Encoding::Ros1, "ros1msg"), (Encoding::Cdr, "ros2idl")]
    {
        let channel = channel(encoding, "pkg/msg/Type", kind, text.as_bytes());
        if let Ok(decoder) = Decoder::new(&channel) {
            decode(&decoder, message);
        }
    }
}

/// A format line of ULog, a zero byte, a message.
pub(super) fn ulog_message(bytes: &[u8], _: &Path) {
    let (text, message) = text_and_rest(bytes);
    let channel = channel(Encoding::Ulog, "type", "ulog", text.as_bytes());
    if let Ok(decoder) = Decoder::new(&channel) {
        decode(&decoder, message);
    }
}

/// A type's name, a zero byte, a FileDescriptorSet behind its length, a message.
pub(super) fn protobuf_message(bytes: &[u8], _: &Path) {
    let (name, rest) = text_and_rest(bytes);
    let Some((set, message)) = piece(rest) else { return };
    let channel = channel(Encoding::Protobuf, &name, "protobuf", set);
    if let Ok(decoder) = Decoder::new(&channel) {
        let _ = decoder.tree(message);
        if let Ok(mut plan) = decoder.plan(&["a", "b.c", "d[0]", "data"]) {
            let _ = plan.extract(message);
        }
        for kind in ["foxglove.CompressedImage", "foxglove.RawImage"] {
            if let Ok(mut camera) = Camera::new(kind, &decoder) {
                let _ = camera.picture(message, true);
            }
        }
    }
}

/// A JSON message.
pub(super) fn json_message(bytes: &[u8], _: &Path) {
    let Ok(decoder) = Decoder::new(&channel(Encoding::Json, "type", "jsonschema", b"{}")) else {
        return;
    };
    let _ = decoder.tree(bytes);
    for path in ["a", "b.c", "d[0]", "d[1].e", "d[name=x].e"] {
        if let Ok(mut plan) = decoder.plan(&[path]) {
            let _ = plan.extract(bytes);
        }
    }
    for kind in ["foxglove.CompressedImage", "foxglove.RawImage"] {
        if let Ok(mut camera) = Camera::new(kind, &decoder) {
            let _ = camera.picture(bytes, true);
        }
    }
}

/// A path into a message.
pub(super) fn field_path(bytes: &[u8], _: &Path) {
    let text = String::from_utf8_lossy(bytes);
    let _ = FieldPath::parse(&text);
    for name in ["sensor_msgs/msg/JointState", "tf2_msgs/msg/TFMessage"] {
        let mut channel = channel(Encoding::Cdr, name, "", b"");
        channel.definition = None;
        if let Ok(decoder) = Decoder::new(&channel)
            && let Ok(mut plan) = decoder.plan(&[&text])
        {
            let _ = plan.extract(&[0, 1, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
        }
    }
}

/// A mapping file.
pub(super) fn mapping(bytes: &[u8], _: &Path) {
    if let Ok(mapping) = Mapping::parse(&String::from_utf8_lossy(bytes), "map.toml") {
        let _ = mapping.topics();
        let _ = mapping.rewritten();
    }
}
