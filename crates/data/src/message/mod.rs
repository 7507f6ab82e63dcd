//! Decoding messages: ROS definitions with CDR or ROS 1 serialisation, ULog, Protocol Buffers, JSON.
//!
//! A [`Decoder`] knows one channel's type. It gives a whole message as a [`Tree`], or compiles field
//! paths into a [`Plan`] that takes just those values. Invariant: foreign bytes give values or an
//! error, never a panic, and never more memory than they justify.

mod builtin;
mod idl;
mod picture;
mod plan;
mod protobuf;
mod rosmsg;
mod schema;
#[cfg(test)]
mod tests;
mod tree;
mod wire;
mod write;

use std::sync::Arc;

use prost_reflect::MessageDescriptor;

use crate::log::{Channel, Encoding};

pub(crate) use picture::{Camera, Picture};
pub(crate) use rosmsg::{common, short};
pub(crate) use schema::{Kind, Schema};
pub(crate) use tree::Path;
pub use tree::{Tree, Value};
use wire::{Layout, Style};
pub(crate) use write::CdrWriter;

/// Decodes the messages of one channel.
#[derive(Debug, Clone)]
pub struct Decoder {
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Wire(Arc<Layout>),
    Protobuf(MessageDescriptor),
    Json,
}

impl Decoder {
    /// For messages of `channel`.
    ///
    /// # Errors
    /// When its encoding is unknown or its definition is missing or damaged; the text says which.
    pub fn new(channel: &Channel) -> Result<Self, String> {
        let text = || match &channel.definition {
            Some(definition) => String::from_utf8(definition.data.clone())
                .map(Some)
                .map_err(|_| format!("the definition of {} is no text", channel.type_name)),
            None => Ok(None),
        };
        let name = &channel.type_name;
        let form = match &channel.encoding {
            Encoding::Cdr | Encoding::Ros1 => {
                let ros1 = channel.encoding == Encoding::Ros1;
                let kind = channel.definition.as_ref().map_or("", |d| d.encoding.as_str());
                let schema = match text()? {
                    // MCAP calls it ros2idl, rosbag2's storage in SQLite says it in the text.
                    Some(text) if kind == "ros2idl" || kind == "omgidl" || idl::is_idl(&text) => {
                        idl::parse(name, &text)?
                    }
                    Some(text) if !text.is_empty() => rosmsg::parse(name, &text, ros1)?,
                    _ => common(name, ros1).ok_or_else(|| {
                        format!(
                            "the log brings no definition of {name} that can be read, and it is \
                             none of the common types"
                        )
                    })?,
                };
                let style = if ros1 { Style::Ros1 } else { Style::Cdr };
                Form::Wire(Arc::new(Layout::new(schema, style)?))
            }
            Encoding::Ulog => {
                let text = text()?.ok_or_else(|| format!("there is no format of {name}"))?;
                Form::Wire(Arc::new(Layout::new(rosmsg::parse_ulog(&text)?, Style::Ulog)?))
            }
            Encoding::Protobuf => {
                let set = channel.definition.as_ref().map_or(&[][..], |d| &d.data);
                Form::Protobuf(protobuf::descriptor(name, set)?)
            }
            Encoding::Json => Form::Json,
            Encoding::Other(other) => {
                return Err(format!("messages are encoded as {other:?}, which is not read here"));
            }
        };
        Ok(Self { form })
    }

    /// A whole message.
    ///
    /// # Errors
    /// When it is damaged or of another type.
    pub fn tree(&self, message: &[u8]) -> Result<Tree, String> {
        match &self.form {
            Form::Wire(layout) => Ok(layout.wire(message).and_then(|mut w| w.tree(layout, 0))?),
            Form::Protobuf(descriptor) => protobuf::tree(descriptor, message),
            Form::Json => {
                let value: serde_json::Value =
                    serde_json::from_slice(message).map_err(|e| e.to_string())?;
                Ok(of_json(&value))
            }
        }
    }

    /// Compiles field paths such as `pose.position.x`, `position[3]`, `position[name=elbow]`.
    ///
    /// # Errors
    /// When a path is malformed or the type has no such field (JSON says so only at a message).
    pub fn plan(&self, paths: &[&str]) -> Result<Plan, String> {
        let paths: Vec<Path> = paths.iter().map(|p| Path::parse(p)).collect::<Result<_, _>>()?;
        Ok(Plan(match &self.form {
            Form::Wire(layout) => Way::Walk(plan::Walk::compile(layout, &paths)?),
            Form::Protobuf(_) | Form::Json => {
                Way::Tree { decoder: self.clone(), paths, values: Vec::new() }
            }
        }))
    }

    /// The structures, where the type has fixed ones.
    pub(crate) fn schema(&self) -> Option<&Schema> {
        if let Form::Wire(layout) = &self.form { Some(&layout.schema) } else { None }
    }
}

/// Compiled field paths.
#[derive(Debug)]
pub struct Plan(Way);

#[derive(Debug)]
enum Way {
    Walk(plan::Walk),
    Tree { decoder: Decoder, paths: Vec<Path>, values: Vec<Value> },
}

impl Plan {
    /// The values of all paths in a message; they hold until the next call.
    ///
    /// # Errors
    /// When the message is damaged, or has no such element.
    pub fn extract(&mut self, message: &[u8]) -> Result<&[Value], String> {
        match &mut self.0 {
            Way::Walk(walk) => walk.extract(message),
            Way::Tree { decoder, paths, values } => {
                let tree = decoder.tree(message)?;
                values.clear();
                for path in paths {
                    values.push(tree::select(&tree, path)?);
                }
                Ok(values)
            }
        }
    }
}

fn of_json(value: &serde_json::Value) -> Tree {
    use serde_json::Value;
    match value {
        Value::Null => Tree::Null,
        Value::Bool(v) => Tree::Bool(*v),
        Value::Number(v) => match (v.as_i64(), v.as_u64()) {
            (Some(v), _) => Tree::Int(v),
            (None, Some(v)) => Tree::Uint(v),
            (None, None) => Tree::Float(v.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(v) => Tree::Text(v.clone()),
        Value::Array(v) => Tree::List(v.iter().map(of_json).collect()),
        Value::Object(v) => Tree::Fields(v.iter().map(|(k, v)| (k.clone(), of_json(v))).collect()),
    }
}
