//! ROS message definitions: `.msg` text with the definitions it depends on appended
//! (<https://wiki.ros.org/msg>, <https://docs.ros.org/en/rolling/Concepts/Basic/About-Interfaces.html>),
//! and ULog's format lines.

use std::collections::HashMap;

use super::builtin;
use super::schema::{Arity, FIELD_LIMIT, Field, Kind, Scalar, Schema, Struct};

/// Longest text that is taken for a definition.
const TEXT_LIMIT: usize = 4 << 20;
/// Most types that a definition may need.
const TYPE_LIMIT: usize = 4096;

/// Parses the definition of `name`; types that it does not bring along come from the common ones.
/// `ros1` knows the built-in `time` and `duration`.
pub(crate) fn parse(name: &str, text: &str, ros1: bool) -> Result<Schema, String> {
    if text.len() > TEXT_LIMIT {
        return Err(format!("a definition of {} bytes", text.len()));
    }
    let mut texts: HashMap<String, String> = HashMap::new();
    let mut current = short(name);
    let mut body = String::new();
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.len() >= 20 && trimmed.bytes().all(|b| b == b'=') {
            texts.entry(std::mem::take(&mut current)).or_insert(std::mem::take(&mut body));
            continue;
        }
        if let Some(next) = trimmed.strip_prefix("MSG:") {
            current = short(next.trim());
            continue;
        }
        body.push_str(line);
        body.push('\n');
    }
    texts.entry(current).or_insert(body);
    Builder { texts, ros1, places: HashMap::new(), structs: Vec::new() }.build(&short(name))
}

/// The schema of a common type; `None` where it is not built in.
pub(crate) fn common(name: &str, ros1: bool) -> Option<Schema> {
    let name = short(name);
    builtin::definition(&name)?;
    let builder =
        Builder { texts: HashMap::new(), ros1, places: HashMap::new(), structs: Vec::new() };
    builder.build(&name).ok()
}

/// `sensor_msgs/msg/Image` and `sensor_msgs/Image` are the same type.
pub(crate) fn short(name: &str) -> String {
    let parts: Vec<&str> = name.split('/').filter(|p| !p.is_empty()).collect();
    match parts[..] {
        [package, "msg", name] => format!("{package}/{name}"),
        _ => parts.join("/"),
    }
}

struct Builder {
    texts: HashMap<String, String>,
    ros1: bool,
    places: HashMap<String, usize>,
    structs: Vec<Struct>,
}

impl Builder {
    fn build(mut self, name: &str) -> Result<Schema, String> {
        self.place(name);
        let mut next = 0;
        // `place` appends what a structure needs, so this ends when nothing new is needed.
        while next < self.structs.len() {
            if next >= TYPE_LIMIT {
                return Err(format!("it needs more than {TYPE_LIMIT} types"));
            }
            let name = self.structs[next].name.clone();
            self.structs[next].fields = self.fields(&name)?;
            next += 1;
        }
        let schema = Schema { structs: self.structs };
        schema.min_sizes()?;
        Ok(schema)
    }

    fn place(&mut self, name: &str) -> usize {
        if let Some(&at) = self.places.get(name) {
            return at;
        }
        self.structs.push(Struct { name: name.to_owned(), fields: Vec::new() });
        self.places.insert(name.to_owned(), self.structs.len() - 1);
        self.structs.len() - 1
    }

    fn fields(&mut self, name: &str) -> Result<Vec<Field>, String> {
        let text = match (self.texts.get(name), name) {
            (Some(text), _) => text.clone(),
            (None, "time") => "uint32 secs\nuint32 nsecs".to_owned(),
            (None, "duration") => "int32 secs\nint32 nsecs".to_owned(),
            (None, "std_msgs/Header") if self.ros1 => {
                "uint32 seq\ntime stamp\nstring frame_id".to_owned()
            }
            (None, _) => builtin::definition(name)
                .ok_or_else(|| format!("there is no definition of {name}"))?,
        };
        let mut fields: Vec<Field> = Vec::new();
        for line in text.lines() {
            let Some(field) = self.field(name, line)? else { continue };
            if fields.iter().any(|f| f.name == field.name) {
                return Err(format!("{name} has two fields called {}", field.name));
            }
            if fields.len() == FIELD_LIMIT {
                return Err(format!("{name} has more than {FIELD_LIMIT} fields"));
            }
            fields.push(field);
        }
        Ok(fields)
    }

    /// One line: a field, or nothing (comment, constant, annotation).
    fn field(&mut self, owner: &str, line: &str) -> Result<Option<Field>, String> {
        let line = line.trim();
        let mut words = line.splitn(2, char::is_whitespace);
        let (kind, rest) = (words.next().unwrap_or(""), words.next().unwrap_or("").trim_start());
        if kind.is_empty() || kind.starts_with('#') {
            return Ok(None);
        }
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
        if after.trim_start().starts_with('=') {
            return Ok(None);
        }
        if name.is_empty() {
            return Err(format!("{owner}: the line {line:?} is no field"));
        }
        let (kind, arity) = split_arity(kind).ok_or_else(|| format!("{owner}: type {kind:?}"))?;
        let kind = self.kind(owner, kind)?;
        Ok(Some(Field { name: name.to_owned(), kind, arity }))
    }

    fn kind(&mut self, owner: &str, kind: &str) -> Result<Kind, String> {
        // `string<=20`: the bound is the writer's concern.
        let base = kind.split("<=").next().unwrap_or(kind);
        let scalar = match base {
            "bool" | "boolean" => Scalar::Bool,
            "int8" => Scalar::I8,
            "byte" if self.ros1 => Scalar::I8,
            "uint8" | "char" | "byte" | "octet" => Scalar::U8,
            "int16" => Scalar::I16,
            "uint16" => Scalar::U16,
            "int32" => Scalar::I32,
            "uint32" => Scalar::U32,
            "int64" => Scalar::I64,
            "uint64" => Scalar::U64,
            "float32" | "float" => Scalar::F32,
            "float64" | "double" => Scalar::F64,
            "string" => return Ok(Kind::Text),
            "wstring" => return Ok(Kind::WideText),
            "time" | "duration" if self.ros1 => return Ok(Kind::Struct(self.place(base))),
            "Header" => return Ok(Kind::Struct(self.place("std_msgs/Header"))),
            other => {
                let mut full = short(other);
                if !full.contains('/') {
                    let package = owner.rsplit_once('/').map_or("", |(p, _)| p);
                    full = format!("{package}/{full}");
                }
                return Ok(Kind::Struct(self.place(&full)));
            }
        };
        Ok(Kind::Scalar(scalar))
    }
}

/// Splits `float64[3]`, `T[]`, `T[<=5]`.
fn split_arity(kind: &str) -> Option<(&str, Arity)> {
    let Some(inner) = kind.strip_suffix(']') else { return Some((kind, Arity::One)) };
    let (base, count) = inner.rsplit_once('[')?;
    let arity = match count.trim() {
        "" => Arity::List(None),
        bounded if bounded.starts_with("<=") => {
            Arity::List(Some(bounded[2..].trim().parse().ok()?))
        }
        fixed => Arity::Array(fixed.parse().ok()?),
    };
    Some((base, arity))
}

/// Parses ULog format lines: `name:type field;type[3] field;…`, the message's own first.
pub(crate) fn parse_ulog(text: &str) -> Result<Schema, String> {
    let lines: Vec<(&str, &str)> = text.lines().filter_map(|l| l.split_once(':')).collect();
    let at = |name: &str| lines.iter().position(|(n, _)| *n == name);
    let mut structs = Vec::new();
    for (name, fields) in &lines {
        let mut out: Vec<Field> = Vec::new();
        for field in fields.split(';').filter(|f| !f.trim().is_empty()) {
            let wrong = || format!("{name}: the format {field:?} is not understood");
            let (kind, field_name) = field.trim().split_once(' ').ok_or_else(wrong)?;
            let (base, arity) = split_arity(kind).ok_or_else(wrong)?;
            let kind = match base {
                "int8_t" => Kind::Scalar(Scalar::I8),
                "uint8_t" => Kind::Scalar(Scalar::U8),
                "int16_t" => Kind::Scalar(Scalar::I16),
                "uint16_t" => Kind::Scalar(Scalar::U16),
                "int32_t" => Kind::Scalar(Scalar::I32),
                "uint32_t" => Kind::Scalar(Scalar::U32),
                "int64_t" => Kind::Scalar(Scalar::I64),
                "uint64_t" => Kind::Scalar(Scalar::U64),
                "float" => Kind::Scalar(Scalar::F32),
                "double" => Kind::Scalar(Scalar::F64),
                "bool" => Kind::Scalar(Scalar::Bool),
                "char" => Kind::Char,
                other => Kind::Struct(at(other).ok_or_else(wrong)?),
            };
            out.push(Field { name: field_name.trim().to_owned(), kind, arity });
        }
        // Padding at the end of a message is not logged.
        if structs.is_empty() {
            while out.last().is_some_and(|f| f.name.starts_with("_padding")) {
                out.pop();
            }
        }
        structs.push(Struct { name: (*name).to_owned(), fields: out });
    }
    if structs.is_empty() {
        return Err("there is no format line".to_owned());
    }
    let schema = Schema { structs };
    schema.min_sizes()?;
    Ok(schema)
}
