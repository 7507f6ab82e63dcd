//! `tf.train.Example`: a map from names to lists of bytes, floats or integers.
//!
//! A reader of its own, because the format is five messages that have not changed since 2015
//! (tensorflow/core/example/example.proto) and a protobuf crate would copy every picture of an
//! episode once more. Byte strings stay where they are in the record; what is allocated is at most
//! eight times the record.

use std::collections::HashMap;
use std::ops::Range;

/// The values of one name.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Feature {
    /// Places of byte strings in the record.
    Bytes(Vec<Range<usize>>),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    /// A list of no kind: TFDS writes it for what is empty.
    Empty,
}

impl Feature {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(v) => v.len(),
            Self::Floats(v) => v.len(),
            Self::Ints(v) => v.len(),
            Self::Empty => 0,
        }
    }
}

/// Wire types of protobuf that occur.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const FIXED32: u8 = 5;

/// The features of an example, by name.
pub(super) fn parse(record: &[u8]) -> Result<HashMap<String, Feature>, String> {
    let mut out = HashMap::new();
    let mut example = Reader { bytes: record, at: 0, end: record.len() };
    while let Some((field, features)) = example.message()? {
        if field != 1 {
            continue;
        }
        let mut features = example.inside(features);
        while let Some((field, entry)) = features.message()? {
            if field != 1 {
                continue;
            }
            let mut entry = features.inside(entry);
            let (mut name, mut value) = (String::new(), Feature::Empty);
            while let Some((field, part)) = entry.message()? {
                match field {
                    1 => name = text(&record[part])?.to_owned(),
                    2 => value = feature(entry.inside(part))?,
                    _ => {}
                }
            }
            out.insert(name, value);
        }
    }
    Ok(out)
}

/// Bytes as text.
pub(super) fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "its text is not UTF-8".to_owned())
}

fn feature(mut reader: Reader<'_>) -> Result<Feature, String> {
    let mut out = Feature::Empty;
    while let Some((field, list)) = reader.message()? {
        let mut list = reader.inside(list);
        match field {
            1 => {
                let mut places = Vec::new();
                while let Some((field, place)) = list.message()? {
                    if field == 1 {
                        places.push(place);
                    }
                }
                out = Feature::Bytes(places);
            }
            2 => out = Feature::Floats(list.floats()?),
            3 => out = Feature::Ints(list.ints()?),
            _ => {}
        }
    }
    Ok(out)
}

/// A field of a message: a varint has a value, everything else a place.
struct Field {
    number: u64,
    wire: u8,
    place: Range<usize>,
    value: u64,
}

/// Walks over the fields of a message that stands at `at..end` of the record.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    fn inside(&self, range: Range<usize>) -> Reader<'a> {
        Reader { bytes: self.bytes, at: range.start, end: range.end }
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes[..self.end].get(self.at).ok_or("it ends inside a number")?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number has more than 64 bits".to_owned())
    }

    fn take(&mut self, length: u64) -> Result<Range<usize>, String> {
        let left = self.end - self.at;
        match usize::try_from(length) {
            Ok(length) if length <= left => {
                self.at += length;
                Ok(self.at - length..self.at)
            }
            _ => Err(format!("a field has {length} bytes, there are {left} more")),
        }
    }

    fn field(&mut self) -> Result<Option<Field>, String> {
        if self.at >= self.end {
            return Ok(None);
        }
        let tag = self.varint()?;
        let (number, wire) = (tag >> 3, (tag & 7) as u8);
        let (place, value) = match wire {
            VARINT => {
                let value = self.varint()?;
                (self.at..self.at, value)
            }
            FIXED64 => (self.take(8)?, 0),
            BYTES => {
                let length = self.varint()?;
                (self.take(length)?, 0)
            }
            FIXED32 => (self.take(4)?, 0),
            other => return Err(format!("it has a field of unknown wire type {other}")),
        };
        Ok(Some(Field { number, wire, place, value }))
    }

    /// The next field that holds bytes or a message.
    fn message(&mut self) -> Result<Option<(u64, Range<usize>)>, String> {
        while let Some(field) = self.field()? {
            if field.wire == BYTES {
                return Ok(Some((field.number, field.place)));
            }
        }
        Ok(None)
    }

    /// A `FloatList`, packed or not.
    fn floats(&mut self) -> Result<Vec<f32>, String> {
        let mut out = Vec::new();
        while let Some(Field { number, wire, place, .. }) = self.field()? {
            if number != 1 || (wire != BYTES && wire != FIXED32) {
                continue;
            }
            let (whole, rest) = self.bytes[place].as_chunks::<4>();
            if !rest.is_empty() {
                return Err("a list of floats ends inside one".to_owned());
            }
            out.extend(whole.iter().map(|b| f32::from_le_bytes(*b)));
        }
        Ok(out)
    }

    /// An `Int64List`, packed or not.
    fn ints(&mut self) -> Result<Vec<i64>, String> {
        let mut out = Vec::new();
        while let Some(Field { number, wire, place, value }) = self.field()? {
            match (number, wire) {
                (1, VARINT) => out.push(value as i64),
                (1, BYTES) => {
                    let mut packed = self.inside(place);
                    while packed.at < packed.end {
                        out.push(packed.varint()? as i64);
                    }
                }
                _ => {}
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by protobuf 7.36 for Python: floats `a` = [1.5, -2], integers `n` = [-1, 300],
    /// bytes `s` = ["x", ""].
    const WRITTEN: &[u8] = &[
        10, 56, 10, 17, 10, 1, 97, 18, 12, 18, 10, 10, 8, 0, 0, 192, 63, 0, 0, 0, 192, 10, 21, 10,
        1, 110, 18, 16, 26, 14, 10, 12, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 172, 2, 10,
        12, 10, 1, 115, 18, 7, 10, 5, 10, 1, 120, 10, 0,
    ];

    #[test]
    fn lists_of_every_kind_are_read() {
        let found = parse(WRITTEN).unwrap();
        assert_eq!(found["a"], Feature::Floats(vec![1.5, -2.0]));
        assert_eq!(found["n"], Feature::Ints(vec![-1, 300]));
        let Feature::Bytes(places) = &found["s"] else { panic!() };
        assert_eq!(
            places.iter().map(|p| &WRITTEN[p.clone()]).collect::<Vec<_>>(),
            [b"x", &b""[..]]
        );
    }

    #[test]
    fn cut_and_changed_examples_never_panic() {
        for cut in 0..WRITTEN.len() {
            parse(&WRITTEN[..cut]).ok();
            for bit in 0..8 {
                let mut changed = WRITTEN.to_vec();
                changed[cut] ^= 1 << bit;
                parse(&changed).ok();
            }
        }
    }
}
