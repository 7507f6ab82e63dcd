//! A row of an archetype as a message: `Scalars` as joint states or multi-arrays, `Transform3D` as a
//! transform, pictures and video packets as pictures and packets, texts as strings; anything else
//! as JSON with the archetype's fields.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, UInt8Type, UInt32Type};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::Buffer;
use arrow_schema::DataType;
use serde_json::{Value, json};

use super::super::{Channel, Definition, Encoding};
use super::Rows;
use super::video::Footage;
use crate::message::{CdrWriter, common};

/// Values that hold for all times.
#[derive(Default)]
pub(super) struct Statics(BTreeMap<(String, String, String), ArrayRef>);

impl Statics {
    pub fn add(&mut self, rows: &Rows) {
        for (archetype, field, column) in &rows.components {
            let codec = archetype == "VideoStream" && field == "codec";
            if !rows.times.is_empty() && !codec {
                continue;
            }
            let key = (rows.entity.clone(), archetype.clone(), field.clone());
            if let Some(value) = first(column) {
                self.0.insert(key, value);
            }
        }
    }

    fn get(&self, entity: &str, archetype: &str, field: &str) -> Option<&ArrayRef> {
        self.0.get(&(entity.to_owned(), archetype.to_owned(), field.to_owned()))
    }
}

/// The first list of a column that holds something.
fn first(column: &ArrayRef) -> Option<ArrayRef> {
    (0..column.len()).find_map(|row| values(column, row))
}

/// The values of a row; `None` where there are none.
fn values(column: &ArrayRef, row: usize) -> Option<ArrayRef> {
    let column = column.as_list_opt::<i32>()?;
    (row < column.len() && !column.is_null(row))
        .then(|| column.value(row))
        .filter(|v| !v.is_empty())
}

fn texts(values: &ArrayRef) -> Option<Vec<String>> {
    let values = values.as_string_opt::<i32>()?;
    Some(values.iter().map(|v| v.unwrap_or("").to_owned()).collect())
}

/// The bytes of the first value of a list of blobs.
fn blob(values: &ArrayRef) -> Option<Buffer> {
    let lists = values.as_list_opt::<i32>()?;
    let bytes = (!lists.is_empty() && !lists.is_null(0)).then(|| lists.value(0))?;
    Some(bytes.as_primitive_opt::<UInt8Type>()?.values().inner().clone())
}

/// What an archetype of an entity becomes.
#[derive(Debug)]
pub(super) enum Form {
    Joints(Vec<String>),
    Numbers,
    Transform,
    Image {
        archetype: &'static str,
        format: Option<ArrayRef>,
    },
    Encoded {
        media: String,
    },
    /// Packets of a stream in a format.
    Stream(String),
    /// Packets of a video file.
    Footage(Box<Footage>),
    Text,
    Json,
    /// Not handed out, and why.
    Unread(String),
}

impl Form {
    pub fn of(entity: &str, archetype: &str, fields: &BTreeSet<String>, statics: &Statics) -> Self {
        let only = |known: &[&str]| fields.iter().all(|f| known.contains(&f.as_str()));
        let text = |archetype, field| {
            statics.get(entity, archetype, field).and_then(texts).and_then(|t| t.into_iter().next())
        };
        match archetype {
            "Scalars" => {
                let mut looks = ["SeriesLines", "SeriesPoints"].into_iter();
                let names = looks.find_map(|a| statics.get(entity, a, "names")).and_then(texts);
                names.map_or(Self::Numbers, Self::Joints)
            }
            "Transform3D" if only(&["translation", "quaternion", "mat3x3"]) => Self::Transform,
            "Image" | "DepthImage" | "SegmentationImage" => Self::Image {
                archetype: if archetype == "Image" { "Image" } else { "DepthImage" },
                format: statics.get(entity, archetype, "format").cloned(),
            },
            "EncodedImage" => {
                Self::Encoded { media: text(archetype, "media_type").unwrap_or_default() }
            }
            "VideoStream" => {
                let codec = statics.get(entity, archetype, "codec");
                let codec = codec.and_then(|c| c.as_primitive_opt::<UInt32Type>());
                // Four characters of a sample entry.
                match codec.filter(|c| !c.is_empty()).map(|c| c.value(0).to_be_bytes()) {
                    Some(four) => Self::Stream(match &four {
                        b"av01" => "av1".to_owned(),
                        b"avc1" => "h264".to_owned(),
                        b"hvc1" | b"hev1" => "h265".to_owned(),
                        b"vp09" => "vp9".to_owned(),
                        other => String::from_utf8_lossy(other).into_owned(),
                    }),
                    None => Self::Unread("a video stream without a codec".to_owned()),
                }
            }
            "VideoFrameReference" => {
                let file = statics.get(entity, "AssetVideo", "blob").and_then(blob);
                match file.map(Footage::of) {
                    Some(Ok(footage)) => Self::Footage(Box::new(footage)),
                    Some(Err(why)) => Self::Unread(why),
                    None => Self::Unread("a video file of another entity".to_owned()),
                }
            }
            "TextDocument" | "TextLog" => Self::Text,
            _ => Self::Json,
        }
    }

    /// The channel of its messages.
    pub fn channel(&self, topic: String, archetype: &str, timeline: &str) -> Channel {
        let name = match self {
            Self::Joints(_) => "sensor_msgs/msg/JointState",
            Self::Numbers => "std_msgs/msg/Float64MultiArray",
            Self::Transform => "geometry_msgs/msg/TransformStamped",
            Self::Image { .. } => "sensor_msgs/msg/Image",
            Self::Encoded { .. } => "sensor_msgs/msg/CompressedImage",
            Self::Stream(_) | Self::Footage(_) => "foxglove_msgs/msg/CompressedVideo",
            Self::Text => "std_msgs/msg/String",
            Self::Json | Self::Unread(_) => "",
        };
        let (type_name, encoding) = match self {
            Self::Json => (format!("rerun.archetypes.{archetype}"), Encoding::Json),
            Self::Unread(why) => {
                (format!("rerun.archetypes.{archetype}"), Encoding::Other(why.clone()))
            }
            _ => (name.to_owned(), Encoding::Cdr),
        };
        let definition = common(name, false).map(|schema| Definition {
            encoding: "ros2msg".to_owned(),
            data: schema.to_ros2msg().into_bytes(),
        });
        let metadata = [("rerun.archetype", archetype), ("rerun.timeline", timeline)];
        let metadata = metadata.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        Channel { topic, type_name, encoding, definition, metadata }
    }

    /// The message of a row; `None` where it says nothing.
    pub fn message(
        &self,
        fields: &[(&str, &ArrayRef)],
        row: usize,
        time: i64,
    ) -> Result<Option<Vec<u8>>, String> {
        let field = |name: &str| fields.iter().find(|f| f.0 == name).and_then(|f| values(f.1, row));
        let head = || CdrWriter::new().time(time).text("");
        Ok(match self {
            Self::Joints(_) | Self::Numbers => {
                let Some(numbers) = field("scalars") else { return Ok(None) };
                let numbers = floats(&numbers)?;
                Some(match self {
                    Self::Joints(names) if names.len() == numbers.len() => {
                        head().texts(names).doubles(&numbers).doubles(&[]).doubles(&[]).finish()
                    }
                    Self::Joints(_) => {
                        head().texts(&[]).doubles(&numbers).doubles(&[]).doubles(&[]).finish()
                    }
                    _ => CdrWriter::new().long(0).long(0).doubles(&numbers).finish(),
                })
            }
            Self::Transform => transform(field, head().text("")).map(CdrWriter::finish),
            Self::Image { archetype, format } => {
                let Some(buffer) = field("buffer").as_ref().and_then(blob) else {
                    return Ok(None);
                };
                let format = field("format").or_else(|| format.clone());
                let (width, height, encoding, pixel) =
                    picture_format(&format.ok_or("a picture without a format")?, archetype)?;
                let head = head().long(height).long(width).text(&encoding).byte(0);
                Some(head.long(width.saturating_mul(pixel)).bytes(&buffer).finish())
            }
            Self::Encoded { media } => field("blob").as_ref().and_then(blob).map(|bytes| {
                let own = field("media_type").as_ref().and_then(texts);
                let own = own.and_then(|m| m.into_iter().next());
                let media = own.as_ref().unwrap_or(media);
                head().text(media.strip_prefix("image/").unwrap_or(media)).bytes(&bytes).finish()
            }),
            Self::Stream(format) => field("sample")
                .as_ref()
                .and_then(blob)
                .map(|packet| head().bytes(&packet).text(format).finish()),
            Self::Text => field("text")
                .as_ref()
                .and_then(texts)
                .map(|text| CdrWriter::new().text(&text.join("\n")).finish()),
            Self::Json => {
                let mut out = serde_json::Map::new();
                for (name, column) in fields {
                    if let Some(values) = values(column, row) {
                        out.insert((*name).to_owned(), json(&values, 0)?);
                    }
                }
                (!out.is_empty()).then(|| Value::Object(out).to_string().into_bytes())
            }
            // Made from the video's own parts.
            Self::Footage(_) | Self::Unread(_) => None,
        })
    }
}

fn floats(values: &ArrayRef) -> Result<Vec<f64>, String> {
    let wide = arrow_cast::cast(values, &DataType::Float64).map_err(|e| e.to_string())?;
    Ok(wide.as_primitive::<Float64Type>().iter().map(|v| v.unwrap_or(f64::NAN)).collect())
}

/// The numbers of the first value of a list of small vectors.
fn vector(values: Option<ArrayRef>) -> Option<Vec<f64>> {
    let values = values?;
    let lists = values.as_fixed_size_list_opt()?;
    let one = (!lists.is_empty() && !lists.is_null(0)).then(|| lists.value(0))?;
    Some(one.as_primitive_opt::<Float32Type>()?.values().iter().map(|&v| f64::from(v)).collect())
}

/// Translation and rotation; what a row leaves out does not move.
fn transform(field: impl Fn(&str) -> Option<ArrayRef>, out: CdrWriter) -> Option<CdrWriter> {
    let at = vector(field("translation"));
    let turn = vector(field("quaternion"));
    let matrix = vector(field("mat3x3"));
    if at.is_none() && turn.is_none() && matrix.is_none() {
        return None;
    }
    let at = at.unwrap_or_else(|| vec![0.0; 3]);
    let turn = turn.or_else(|| matrix.map(|m| quaternion(&m).to_vec()));
    let turn = turn.unwrap_or_else(|| vec![0.0, 0.0, 0.0, 1.0]);
    Some(at.iter().chain(&turn).fold(out, |out, v| out.double(*v)))
}

/// The quaternion (x, y, z, w) of a rotation matrix given column by column ("Quaternion
/// from rotation matrix", Journal of Guidance and Control 1(3), 1978).
fn quaternion(m: &[f64]) -> [f64; 4] {
    let e = |row: usize, column: usize| m.get(column * 3 + row).copied().unwrap_or(0.0);
    let trace = e(0, 0) + e(1, 1) + e(2, 2);
    let (mut q, biggest) = ([0.0; 4], (0..3).max_by(|a, b| e(*a, *a).total_cmp(&e(*b, *b))));
    let i = biggest.unwrap_or(0);
    if trace > e(i, i) {
        let s = (trace + 1.0).sqrt() * 2.0;
        q = [(e(2, 1) - e(1, 2)) / s, (e(0, 2) - e(2, 0)) / s, (e(1, 0) - e(0, 1)) / s, s / 4.0];
    } else {
        let (j, k) = ((i + 1) % 3, (i + 2) % 3);
        let s = (1.0 + e(i, i) - e(j, j) - e(k, k)).max(0.0).sqrt() * 2.0;
        q[i] = s / 4.0;
        q[j] = (e(j, i) + e(i, j)) / s;
        q[k] = (e(k, i) + e(i, k)) / s;
        q[3] = (e(k, j) - e(j, k)) / s;
    }
    q
}

/// Width, height, encoding as ROS names it, and bytes of a pixel.
fn picture_format(format: &ArrayRef, archetype: &str) -> Result<(u32, u32, String, u32), String> {
    let format = format.as_struct_opt().ok_or("a picture's format is no structure")?;
    let long = |name: &str| {
        let column = format.column_by_name(name)?.as_primitive_opt::<UInt32Type>()?;
        (!column.is_empty() && !column.is_null(0)).then(|| column.value(0))
    };
    let byte = |name: &str| {
        let column = format.column_by_name(name)?.as_primitive_opt::<UInt8Type>()?;
        (!column.is_empty() && !column.is_null(0)).then(|| column.value(0))
    };
    let size = long("width").zip(long("height")).ok_or("a picture without a size")?;
    if let Some(special) = byte("pixel_format") {
        // Rerun's PixelFormat; named so that the refusal of such pictures says which.
        return Ok((size.0, size.1, format!("rerun pixel format {special}"), 1));
    }
    // Rerun's ChannelDatatype and ColorModel.
    let (letter, bytes) = match byte("channel_datatype") {
        None | Some(6) => ("U", 1),
        Some(7) => ("S", 1),
        Some(8) => ("U", 2),
        Some(9) => ("S", 2),
        Some(10 | 11) => ("S", 4),
        Some(34) => ("F", 4),
        Some(35) => ("F", 8),
        Some(other) => return Err(format!("pictures of number type {other}")),
    };
    let colours = if archetype == "Image" { byte("color_model") } else { None };
    let channels = match colours {
        Some(2 | 4) => 3,
        Some(3 | 5) => 4,
        _ => 1,
    };
    let encoding = match (letter, bytes, colours) {
        ("U", 1, Some(2)) => "rgb8".to_owned(),
        ("U", 1, Some(3)) => "rgba8".to_owned(),
        ("U", 1, Some(4)) => "bgr8".to_owned(),
        ("U", 1, Some(5)) => "bgra8".to_owned(),
        ("U", 1, _) => "mono8".to_owned(),
        _ => format!("{}{letter}C{channels}", bytes * 8),
    };
    Ok((size.0, size.1, encoding, bytes * channels))
}

/// Values of any kind as JSON; a list of one is that one.
fn json(values: &ArrayRef, depth: usize) -> Result<Value, String> {
    const DEEPEST: usize = 16;
    if depth > DEEPEST {
        return Err(format!("values nested more than {DEEPEST} deep"));
    }
    let mut out = Vec::with_capacity(values.len());
    let kind = values.data_type();
    for row in 0..values.len() {
        if values.is_null(row) {
            out.push(Value::Null);
            continue;
        }
        out.push(match kind {
            DataType::Boolean => json!(values.as_boolean().value(row)),
            DataType::Utf8 => json!(values.as_string::<i32>().value(row)),
            DataType::List(_) => whole(json(&values.as_list::<i32>().value(row), depth + 1)?),
            DataType::FixedSizeList(..) => {
                whole(json(&values.as_fixed_size_list().value(row), depth + 1)?)
            }
            DataType::Struct(fields) => {
                let one = values.as_struct();
                let mut object = serde_json::Map::new();
                for (field, column) in fields.iter().zip(one.columns()) {
                    let value = json(&column.slice(row, 1), depth + 1)?;
                    object.insert(field.name().clone(), value);
                }
                Value::Object(object)
            }
            kind if kind.is_integer() => {
                let one = arrow_cast::cast(&values.slice(row, 1), &DataType::Int64);
                let one = one.map_err(|e| e.to_string())?;
                json!(one.as_primitive::<arrow_array::types::Int64Type>().value(0))
            }
            kind if kind.is_numeric() => json!(floats(&values.slice(row, 1))?[0]),
            other => return Err(format!("values of type {other}")),
        });
    }
    Ok(if out.len() == 1 { out.remove(0) } else { Value::Array(out) })
}

/// A list stays a list, however long.
fn whole(value: Value) -> Value {
    if value.is_array() { value } else { Value::Array(vec![value]) }
}
