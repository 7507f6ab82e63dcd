//! What a message looks like: structures of fields, whatever language they were written in.

use std::fmt::Write as _;

/// Deepest nesting of structures; what reads messages may recurse as deep.
const DEPTH_LIMIT: usize = 64;
/// Most fields of a structure.
pub(super) const FIELD_LIMIT: usize = 4096;
/// Most names of numbers that are given.
const NAME_LIMIT: usize = 1 << 16;

/// A number of fixed size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    Bool,
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F32,
    F64,
}

impl Scalar {
    /// Bytes on the wire.
    pub fn size(self) -> usize {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }

    /// As ROS 2 spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::I8 => "int8",
            Self::U8 => "uint8",
            Self::I16 => "int16",
            Self::U16 => "uint16",
            Self::I32 => "int32",
            Self::U32 => "uint32",
            Self::I64 => "int64",
            Self::U64 => "uint64",
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }
}

/// What one element of a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Scalar(Scalar),
    /// UTF-8 behind its length.
    Text,
    /// UTF-16 behind its length (`wstring`).
    WideText,
    /// Number of a structure in [`Schema::structs`].
    Struct(usize),
    /// Bytes of text in a fixed array (`char` in ULog).
    Char,
}

/// How many elements a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arity {
    One,
    Array(usize),
    /// As many as the message says; at most so many where bounded.
    List(Option<usize>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub name: String,
    pub kind: Kind,
    pub arity: Arity,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Struct {
    /// `package/Name`.
    pub name: String,
    pub fields: Vec<Field>,
}

/// A message type with everything it contains; the first structure is the message itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schema {
    pub structs: Vec<Struct>,
}

impl Schema {
    /// Fewest bytes that each structure can take (without alignment); `Err` names a structure that
    /// contains itself.
    pub fn min_sizes(&self) -> Result<Vec<usize>, String> {
        let mut sizes: Vec<Option<usize>> = vec![None; self.structs.len()];
        let mut open = vec![false; self.structs.len()];
        for i in 0..self.structs.len() {
            self.min_size(i, 0, &mut sizes, &mut open)?;
        }
        Ok(sizes.into_iter().map(|s| s.unwrap_or(0)).collect())
    }

    fn min_size(
        &self,
        i: usize,
        depth: usize,
        sizes: &mut [Option<usize>],
        open: &mut [bool],
    ) -> Result<usize, String> {
        if let Some(size) = sizes[i] {
            return Ok(size);
        }
        if depth > DEPTH_LIMIT {
            return Err(format!("types are nested more than {DEPTH_LIMIT} deep"));
        }
        if std::mem::replace(&mut open[i], true) {
            return Err(format!("type {} contains itself", self.structs[i].name));
        }
        let mut total = 0usize;
        for field in &self.structs[i].fields {
            let one = match field.kind {
                Kind::Scalar(scalar) => scalar.size(),
                Kind::Char => 1,
                Kind::Text | Kind::WideText => 4,
                Kind::Struct(inner) => self.min_size(inner, depth + 1, sizes, open)?,
            };
            total = total.saturating_add(match field.arity {
                Arity::One => one,
                Arity::Array(n) => one.saturating_mul(n),
                Arity::List(_) => 4,
            });
        }
        open[i] = false;
        sizes[i] = Some(total);
        Ok(total)
    }

    /// Names of the numbers in structure `index`, in order, such as `position.x`; lists of unknown
    /// length have none.
    pub fn leaf_names(&self, index: usize, prefix: &str, out: &mut Vec<String>) {
        self.walk_leaves(index, prefix, out, &mut { NAME_LIMIT });
    }

    /// `left` counts elements looked at: arrays of arrays of structures without numbers have many and
    /// give no name.
    fn walk_leaves(&self, index: usize, prefix: &str, out: &mut Vec<String>, left: &mut usize) {
        for field in &self.structs[index].fields {
            let count = match (field.arity, field.kind) {
                (_, Kind::Text | Kind::WideText | Kind::Char) | (Arity::List(_), _) => 0,
                (Arity::One, _) => 1,
                (Arity::Array(n), _) => n.min(4096),
            };
            for i in 0..count {
                let Some(rest) = left.checked_sub(1) else { return };
                *left = rest;
                let mut name = format!("{prefix}{}", field.name);
                if field.arity != Arity::One {
                    let _ = write!(name, "_{i}");
                }
                match field.kind {
                    Kind::Struct(inner) => {
                        self.walk_leaves(inner, &format!("{name}."), out, left);
                    }
                    _ => out.push(name),
                }
            }
        }
    }

    /// The definition as ROS 2 writes it (`ros2msg`), with everything it depends on.
    pub fn to_ros2msg(&self) -> String {
        let mut text = String::new();
        for (i, structure) in self.structs.iter().enumerate() {
            if i > 0 {
                let _ = write!(text, "{}\nMSG: {}\n", "=".repeat(80), structure.name);
            }
            for field in &structure.fields {
                let kind = match field.kind {
                    Kind::Scalar(scalar) => scalar.name().to_owned(),
                    Kind::Char => "uint8".to_owned(),
                    Kind::Text => "string".to_owned(),
                    Kind::WideText => "wstring".to_owned(),
                    Kind::Struct(inner) => self.structs[inner].name.clone(),
                };
                let arity = match field.arity {
                    Arity::One => String::new(),
                    Arity::Array(n) => format!("[{n}]"),
                    Arity::List(None) => "[]".to_owned(),
                    Arity::List(Some(n)) => format!("[<={n}]"),
                };
                let _ = writeln!(text, "{kind}{arity} {}", field.name);
            }
        }
        text
    }
}
