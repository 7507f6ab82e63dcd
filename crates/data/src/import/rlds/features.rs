//! `features.json`: what an RLDS dataset declares, as columns.
//!
//! TFDS nests features; in the records their names are joined with `/`. What stands under `steps`
//! has an entry per frame, everything else one per episode, which every frame of it carries.

use std::path::Path;

use embody_core::{DType, Result};
use serde_json::Value;

use crate::format::{RESERVED, read_json};
use crate::import::arrays::{Becomes, Column, Pixels, Scalar, wrong};

/// Names of text features that are the instruction, the likeliest first.
const INSTRUCTIONS: [&str; 4] = [
    "steps/language_instruction",
    "steps/observation/natural_language_instruction",
    "steps/instruction",
    "steps/observation/language_instruction",
];

/// A feature without parts.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    /// Its name in the records.
    pub name: String,
    pub kind: Kind,
    /// Whether it has an entry per frame.
    pub per_step: bool,
}

/// How a feature's values are stored.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// Numbers in a list.
    Numbers(Scalar),
    /// Numbers as bytes, one string per entry; compressed with zlib or not.
    Packed { scalar: Scalar, zlib: bool },
    /// Text.
    Text,
    /// Encoded pictures.
    Picture,
    /// Raw pictures as numbers.
    Raw(Pixels),
}

/// The leaves of the dataset in `folder` and the column of each.
pub(super) fn read(folder: &Path) -> Result<Vec<(Leaf, Column)>> {
    let path = folder.join("features.json");
    let root: Value = read_json(&path)?;
    let mut out = Vec::new();
    if root.pointer("/featuresDict/features/steps").is_none() {
        return Err(wrong(&path, "", "it declares no `steps`: this is no RLDS dataset").into());
    }
    walk(&root, "", false, &mut out);
    choose_instruction(&mut out);
    if !out.iter().any(|(leaf, _)| leaf.per_step) {
        return Err(wrong(&path, "steps", "it holds no feature that can be read").into());
    }
    Ok(out)
}

fn walk(feature: &Value, name: &str, per_step: bool, out: &mut Vec<(Leaf, Column)>) {
    if let Some(parts) = feature.pointer("/featuresDict/features").and_then(Value::as_object) {
        for (part, feature) in parts {
            let name = if name.is_empty() { part.clone() } else { format!("{name}/{part}") };
            walk(feature, &name, per_step, out);
        }
    } else if let (Some(inner), "steps") = (feature.pointer("/sequence/feature"), name) {
        walk(inner, name, true, out);
    } else {
        out.push(leaf(feature, name, per_step));
    }
}

fn leaf(feature: &Value, name: &str, per_step: bool) -> (Leaf, Column) {
    let read = match kind(feature) {
        Ok(read) => read,
        Err(why) => {
            let kind = Kind::Numbers(Scalar::U8);
            let leaf = Leaf { name: name.to_owned(), kind, per_step };
            return (leaf, Column::refused(name, why));
        }
    };
    let (kind, dtype, shape) = read;
    let key = key_of(name, dtype.is_visual());
    let column = Column::new(name, dtype, &shape, Becomes::Feature(key));
    (Leaf { name: name.to_owned(), kind, per_step }, column)
}

/// How a leaf is stored, its type, and its shape (a picture's may be empty: the file does not say).
fn kind(feature: &Value) -> std::result::Result<(Kind, DType, Vec<usize>), String> {
    if feature.get("text").is_some() {
        return Ok((Kind::Text, DType::String, vec![1]));
    }
    if feature.get("classLabel").is_some() {
        return Ok((Kind::Numbers(Scalar::I64), DType::Int64, vec![1]));
    }
    if let Some(image) = feature.get("image") {
        let says = image.get("dtype").and_then(Value::as_str).unwrap_or("uint8");
        if says != "uint8" {
            return Err(format!("its pictures hold {says}; video holds 8 bits"));
        }
        let shape = dimensions(image).unwrap_or_default();
        return match shape[..] {
            [h, w, 1 | 3] => Ok((Kind::Picture, DType::Video, vec![h, w, 3])),
            [] | [_, _] => Ok((Kind::Picture, DType::Video, Vec::new())),
            _ => Err(format!("its pictures have shape {shape:?}; RGB or grey is kept")),
        };
    }
    let Some(tensor) = feature.get("tensor") else {
        let class = feature.get("pythonClassName").and_then(Value::as_str).unwrap_or("unknown");
        let class = class.rsplit('.').next().unwrap_or(class);
        return Err(format!("features of the kind {class} are not read"));
    };
    let says = tensor.get("dtype").and_then(Value::as_str).unwrap_or("");
    if says == "string" {
        return match dimensions(tensor).as_deref() {
            Some([]) => Ok((Kind::Text, DType::String, vec![1])),
            _ => Err("lists of text are not read".to_owned()),
        };
    }
    let scalar = scalar(says).ok_or_else(|| format!("numbers of type {says:?} are not read"))?;
    let shape = dimensions(tensor).ok_or("its shape is not fixed")?;
    if shape.contains(&0)
        || shape.len() > 5
        || shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).is_none_or(|n| n > 1 << 24)
    {
        return Err(format!("its shape is {shape:?}"));
    }
    let packed = |zlib| Kind::Packed { scalar, zlib };
    let kind = match tensor.get("encoding").and_then(Value::as_str).unwrap_or("none") {
        "none" => Kind::Numbers(scalar),
        "bytes" if says != "bfloat16" => packed(false),
        "zlib" if says != "bfloat16" => packed(true),
        other => return Err(format!("its encoding {other:?} is not read")),
    };
    if let (Scalar::U8, Kind::Numbers(_), Some((layout, h, w))) =
        (scalar, &kind, Pixels::of(&shape))
    {
        return Ok((Kind::Raw(layout), DType::Video, vec![h, w, 3]));
    }
    let shape = if shape.is_empty() { vec![1] } else { shape };
    // TFDS stores every float as 32 bits.
    let dtype = if says == "bfloat16" { DType::Float32 } else { scalar.dtype() };
    Ok((kind, dtype, shape))
}

fn scalar(name: &str) -> Option<Scalar> {
    Some(match name {
        "bool" => Scalar::Bool,
        "int8" => Scalar::I8,
        "int16" => Scalar::I16,
        "int32" => Scalar::I32,
        "int64" => Scalar::I64,
        "uint8" => Scalar::U8,
        "uint16" => Scalar::U16,
        "uint32" => Scalar::U32,
        "uint64" => Scalar::U64,
        "float16" | "bfloat16" => Scalar::F16,
        "float32" => Scalar::F32,
        "float64" => Scalar::F64,
        _ => return None,
    })
}

/// Numbers of a shape; `None` where one is unknown.
fn dimensions(feature: &Value) -> Option<Vec<usize>> {
    let Some(list) = feature.pointer("/shape/dimensions").and_then(Value::as_array) else {
        return Some(Vec::new());
    };
    let number = |v: &Value| v.as_str().map_or_else(|| v.as_i64(), |text| text.parse().ok());
    list.iter().map(|v| usize::try_from(number(v)?).ok()).collect()
}

/// The feature that a name becomes: `observation` in LeRobot's words, the rest as it is with dots.
fn key_of(name: &str, picture: bool) -> String {
    let step = name.strip_prefix("steps/").unwrap_or(name);
    let key = match step.strip_prefix("observation/") {
        Some(camera) if picture => format!("observation.images.{}", camera.replace('/', ".")),
        _ if step == "reward" => "next.reward".to_owned(),
        _ => step.replace('/', "."),
    };
    if RESERVED.contains(&key.as_str()) { format!("steps.{key}") } else { key }
}

fn choose_instruction(leaves: &mut [(Leaf, Column)]) {
    let found = INSTRUCTIONS.iter().find_map(|name| {
        leaves.iter().position(|(leaf, c)| leaf.name == *name && c.dtype == DType::String)
    });
    if let Some(at) = found {
        leaves[at].1.becomes = Becomes::Task;
    }
}
