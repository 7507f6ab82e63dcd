//! Reading serialised messages that carry no names: CDR (OMG DDS-XTypes 7.4, version 1 and 2 plain,
//! both byte orders), ROS 1 serialisation, ULog structures.
//!
//! Invariant: a count in a message never makes more memory than the message's own bytes justify.

use super::schema::{Arity, Field, Kind, Scalar, Schema, Struct};
use super::tree::{Tree, Value};

pub(crate) type Res<T> = Result<T, &'static str>;

const SHORT: &str = "the message ends too early";

/// Family of serialisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Cdr,
    Ros1,
    Ulog,
}

/// A position in a message.
#[derive(Clone, Copy)]
pub(crate) struct Wire<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Largest alignment; 1 where there is none.
    align: usize,
    /// Where alignment counts from.
    origin: usize,
    big: bool,
    style: Style,
    /// Bytes of a character of a `wstring`.
    wide: usize,
}

/// A schema with what reading needs to know of it.
#[derive(Debug)]
pub(crate) struct Layout {
    pub schema: Schema,
    /// Fewest bytes of each structure.
    pub min: Vec<usize>,
    pub style: Style,
    /// Whether there is a `wstring` in it.
    wide: bool,
}

impl Layout {
    pub fn new(schema: Schema, style: Style) -> Result<Self, String> {
        let wide = |s: &Struct| s.fields.iter().any(|f| f.kind == Kind::WideText);
        let wide = schema.structs.iter().any(wide);
        Ok(Self { min: schema.min_sizes()?, schema, style, wide })
    }

    /// Begins to read a message.
    ///
    /// A character of a `wstring` has four bytes (Cyclone DDS, Fast CDR 1) or two (Fast CDR 2), and
    /// nothing says which: it is the width with which the fields end where the message does, but
    /// for the padding to four bytes.
    pub fn wire<'a>(&self, message: &'a [u8]) -> Res<Wire<'a>> {
        let wire = Wire::new(message, self.style)?;
        if !self.wide {
            return Ok(wire);
        }
        let fits = |wide: &Wire<'a>| {
            let mut end = *wide;
            end.skip_struct(self, 0).is_ok() && end.left() < 4
        };
        let widths = [4, 2].map(|wide| Wire { wide, ..wire });
        widths.into_iter().find(fits).ok_or(
            "its fields do not end where it ends, with two bytes to a character of a wstring or four",
        )
    }
}

impl<'a> Wire<'a> {
    fn new(bytes: &'a [u8], style: Style) -> Res<Self> {
        let mut wire = Self { bytes, at: 0, align: 1, origin: 0, big: false, style, wide: 4 };
        if style == Style::Cdr {
            let head = bytes.get(..4).ok_or(SHORT)?;
            (wire.big, wire.align) = match [head[0], head[1]] {
                [0, 0] => (true, 8),
                [0, 1] => (false, 8),
                [0, 6] => (true, 4),
                [0, 7] => (false, 4),
                _ => return Err("the message is in a form of CDR other than plain"),
            };
            (wire.at, wire.origin) = (4, 4);
        }
        Ok(wire)
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    #[inline]
    fn take(&mut self, len: usize) -> Res<&'a [u8]> {
        if len > self.left() {
            return Err(SHORT);
        }
        let out = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(out)
    }

    #[inline]
    fn pad(&mut self, size: usize) -> Res<()> {
        let align = size.min(self.align);
        if align > 1 {
            let over = (self.at - self.origin) % align;
            if over != 0 {
                self.take(align - over)?;
            }
        }
        Ok(())
    }

    #[inline]
    fn u32(&mut self) -> Res<u32> {
        self.pad(4)?;
        let b = self.take(4)?;
        let b = [b[0], b[1], b[2], b[3]];
        Ok(if self.big { u32::from_be_bytes(b) } else { u32::from_le_bytes(b) })
    }

    /// Bytes of `count` numbers, aligned; none means no padding either.
    fn scalars(&mut self, scalar: Scalar, count: usize) -> Res<&'a [u8]> {
        if count == 0 {
            return Ok(&[]);
        }
        self.pad(scalar.size())?;
        self.take(count.checked_mul(scalar.size()).ok_or(SHORT)?)
    }

    pub fn text(&mut self) -> Res<&'a [u8]> {
        let len = self.u32()? as usize;
        let bytes = self.take(len)?;
        // CDR counts the closing zero.
        Ok(match (self.style, bytes) {
            (Style::Cdr, [inner @ .., 0]) => inner,
            _ => bytes,
        })
    }

    /// A `wstring`: the number of its characters, then each; UTF-16 in two bytes or in four.
    fn wide_text(&mut self) -> Res<String> {
        let units = self.wide_units()?;
        let (big, wide) = (self.big, self.wide);
        let unit = |b: &[u8]| match (wide, big) {
            (2, true) => u16::from_be_bytes([b[0], b[1]]),
            (2, false) | (_, false) => u16::from_le_bytes([b[0], b[1]]),
            (_, true) => u16::from_be_bytes([b[2], b[3]]),
        };
        let units: Vec<u16> = units.chunks_exact(wide).map(unit).collect();
        Ok(String::from_utf16_lossy(&units))
    }

    fn wide_units(&mut self) -> Res<&'a [u8]> {
        let len = self.u32()? as usize;
        self.take(len.checked_mul(self.wide).ok_or(SHORT)?)
    }

    /// Number of elements of a field, checked against the bytes that are left.
    pub fn count(&mut self, layout: &Layout, field: &Field) -> Res<usize> {
        let count = match field.arity {
            Arity::One => 1,
            Arity::Array(n) => n,
            Arity::List(_) => self.u32()? as usize,
        };
        let least = match field.kind {
            Kind::Scalar(scalar) => scalar.size(),
            Kind::Char => 1,
            Kind::Text | Kind::WideText => 4,
            Kind::Struct(inner) => layout.min[inner],
        };
        // An empty structure takes no bytes (in CDR one), yet a list of lists of them takes time.
        if least == 0 && count > 1 && self.style != Style::Cdr {
            return Err("it holds a list of structures without fields");
        }
        if count.saturating_mul(least.max(usize::from(count > 1))) > self.left() {
            return Err(SHORT);
        }
        Ok(count)
    }

    pub fn skip(&mut self, layout: &Layout, field: &Field) -> Res<()> {
        let count = self.count(layout, field)?;
        match field.kind {
            Kind::Scalar(scalar) => self.scalars(scalar, count).map(|_| ()),
            Kind::Char => self.take(count).map(|_| ()),
            Kind::Text => (0..count).try_for_each(|_| self.text().map(|_| ())),
            Kind::WideText => (0..count).try_for_each(|_| self.wide_units().map(|_| ())),
            Kind::Struct(inner) => (0..count).try_for_each(|_| self.skip_struct(layout, inner)),
        }
    }

    pub fn skip_struct(&mut self, layout: &Layout, index: usize) -> Res<()> {
        let fields = &layout.schema.structs[index].fields;
        if fields.is_empty() && self.style == Style::Cdr {
            // An empty structure is sent as one byte.
            self.take(1)?;
        }
        fields.iter().try_for_each(|field| self.skip(layout, field))
    }

    /// Skips to element `index` of a field that has `count` elements.
    pub fn seek(&mut self, layout: &Layout, field: &Field, count: usize, index: usize) -> Res<()> {
        if index >= count {
            return Err("the list has fewer elements than the path asks for");
        }
        match field.kind {
            Kind::Scalar(scalar) => self.scalars(scalar, index).map(|_| ()),
            Kind::Char => self.take(index).map(|_| ()),
            Kind::Text => (0..index).try_for_each(|_| self.text().map(|_| ())),
            Kind::WideText => (0..index).try_for_each(|_| self.wide_units().map(|_| ())),
            Kind::Struct(inner) => (0..index).try_for_each(|_| self.skip_struct(layout, inner)),
        }
    }

    /// Appends `count` numbers to `out`.
    pub fn numbers(&mut self, scalar: Scalar, count: usize, out: &mut Value) -> Res<()> {
        let big = self.big;
        let bytes = self.scalars(scalar, count)?;
        match out {
            Value::Floats(out) => floats(bytes, scalar, big, out),
            Value::Ints(out) => return ints(bytes, scalar, big, out),
            Value::Bytes(out) => out.extend_from_slice(bytes),
            Value::Text(_) | Value::Texts(_) => return Err("numbers where text was expected"),
        }
        Ok(())
    }

    /// Appends everything of a field to `out`: numbers, or text where `out` is text.
    pub fn gather(&mut self, layout: &Layout, field: &Field, out: &mut Value) -> Res<()> {
        let count = self.count(layout, field)?;
        self.gather_elements(layout, field.kind, count, out)
    }

    /// Appends `count` elements to `out`.
    pub fn gather_elements(
        &mut self,
        layout: &Layout,
        kind: Kind,
        count: usize,
        out: &mut Value,
    ) -> Res<()> {
        match kind {
            Kind::Scalar(scalar) => self.numbers(scalar, count, out),
            Kind::Char => {
                let bytes = self.take(count)?;
                let end = bytes.iter().position(|&b| b == 0).unwrap_or(count);
                if let Value::Text(text) = out {
                    text.push_str(&String::from_utf8_lossy(&bytes[..end]));
                }
                Ok(())
            }
            Kind::Text | Kind::WideText => (0..count).try_for_each(|_| {
                let text = match kind {
                    Kind::WideText => self.wide_text()?.into(),
                    _ => String::from_utf8_lossy(self.text()?),
                };
                match out {
                    Value::Text(out) => out.push_str(&text),
                    Value::Texts(out) => out.push(text.into_owned()),
                    _ => {}
                }
                Ok(())
            }),
            Kind::Struct(inner) => {
                for _ in 0..count {
                    let fields = &layout.schema.structs[inner].fields;
                    if fields.is_empty() && self.style == Style::Cdr {
                        self.take(1)?;
                    }
                    for field in fields {
                        self.gather(layout, field, out)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// The structure number `index` as a tree.
    pub fn tree(&mut self, layout: &Layout, index: usize) -> Res<Tree> {
        let fields = &layout.schema.structs[index].fields;
        if fields.is_empty() && self.style == Style::Cdr {
            self.take(1)?;
        }
        let fields = fields
            .iter()
            .map(|field| Ok((field.name.clone(), self.field_tree(layout, field)?)))
            .collect::<Res<Vec<_>>>()?;
        Ok(Tree::Fields(fields))
    }

    fn field_tree(&mut self, layout: &Layout, field: &Field) -> Res<Tree> {
        let count = self.count(layout, field)?;
        let one = field.arity == Arity::One;
        match field.kind {
            Kind::Char => {
                let mut text = Value::Text(String::new());
                self.gather_elements(layout, Kind::Char, count, &mut text)?;
                let Value::Text(text) = text else { return Err(SHORT) };
                Ok(Tree::Text(text))
            }
            Kind::Scalar(Scalar::U8) if !one => {
                Ok(Tree::Bytes(self.scalars(Scalar::U8, count)?.to_vec()))
            }
            kind => {
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(match kind {
                        Kind::Scalar(scalar) => self.scalar_tree(scalar)?,
                        Kind::Struct(inner) => self.tree(layout, inner)?,
                        Kind::WideText => Tree::Text(self.wide_text()?),
                        _ => Tree::Text(String::from_utf8_lossy(self.text()?).into_owned()),
                    });
                }
                Ok(if one { items.pop().unwrap_or(Tree::Null) } else { Tree::List(items) })
            }
        }
    }

    fn scalar_tree(&mut self, scalar: Scalar) -> Res<Tree> {
        let big = self.big;
        let bytes = self.scalars(scalar, 1)?;
        if scalar.is_float() {
            let mut out = Vec::with_capacity(1);
            floats(bytes, scalar, big, &mut out);
            return Ok(Tree::Float(out[0]));
        }
        if scalar == Scalar::U64 {
            let b: [u8; 8] = bytes.try_into().map_err(|_| SHORT)?;
            return Ok(Tree::Uint(if big { u64::from_be_bytes(b) } else { u64::from_le_bytes(b) }));
        }
        let mut out = Vec::with_capacity(1);
        ints(bytes, scalar, big, &mut out)?;
        Ok(if scalar == Scalar::Bool { Tree::Bool(out[0] != 0) } else { Tree::Int(out[0]) })
    }
}

macro_rules! each {
    ($bytes:expr, $big:expr, $kind:ty, $out:expr, $map:expr) => {{
        const N: usize = size_of::<$kind>();
        $out.reserve($bytes.len() / N);
        for chunk in $bytes.chunks_exact(N) {
            let mut b = [0u8; N];
            b.copy_from_slice(chunk);
            let v = if $big { <$kind>::from_be_bytes(b) } else { <$kind>::from_le_bytes(b) };
            $out.push($map(v));
        }
    }};
}

fn floats(bytes: &[u8], scalar: Scalar, big: bool, out: &mut Vec<f64>) {
    match scalar {
        Scalar::Bool => each!(bytes, big, u8, out, |v| f64::from(u8::from(v != 0))),
        Scalar::U8 => each!(bytes, big, u8, out, f64::from),
        Scalar::I8 => each!(bytes, big, i8, out, f64::from),
        Scalar::I16 => each!(bytes, big, i16, out, f64::from),
        Scalar::U16 => each!(bytes, big, u16, out, f64::from),
        Scalar::I32 => each!(bytes, big, i32, out, f64::from),
        Scalar::U32 => each!(bytes, big, u32, out, f64::from),
        Scalar::I64 => each!(bytes, big, i64, out, |v| v as f64),
        Scalar::U64 => each!(bytes, big, u64, out, |v| v as f64),
        Scalar::F32 => each!(bytes, big, f32, out, f64::from),
        Scalar::F64 => each!(bytes, big, f64, out, |v| v),
    }
}

fn ints(bytes: &[u8], scalar: Scalar, big: bool, out: &mut Vec<i64>) -> Res<()> {
    match scalar {
        Scalar::Bool => each!(bytes, big, u8, out, |v| i64::from(v != 0)),
        Scalar::U8 => each!(bytes, big, u8, out, i64::from),
        Scalar::I8 => each!(bytes, big, i8, out, i64::from),
        Scalar::I16 => each!(bytes, big, i16, out, i64::from),
        Scalar::U16 => each!(bytes, big, u16, out, i64::from),
        Scalar::I32 => each!(bytes, big, i32, out, i64::from),
        Scalar::U32 => each!(bytes, big, u32, out, i64::from),
        Scalar::I64 => each!(bytes, big, i64, out, |v| v),
        Scalar::U64 => {
            let before = out.len();
            each!(bytes, big, u64, out, |v: u64| i64::try_from(v).unwrap_or(-1));
            if out[before..].contains(&-1) {
                return Err("a number is beyond 2^63");
            }
        }
        Scalar::F32 | Scalar::F64 => return Err("numbers with fractions where whole ones belong"),
    }
    Ok(())
}
