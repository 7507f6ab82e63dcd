//! One moment as bytes of a fixed length, checksummed.
//!
//! ```text
//! seq u64 · actor u64 · weights u64 · flags u32 · reward f32 · penalty f32
//! action f32[action_dim] · state f32[state_dim] · crc32c of all before u32
//! pictures u8[…], camera by camera · crc32c of the pictures u32
//! ```
//! Little-endian. The two checksums let vectors be read without the pictures.

use embody_core::{Moment, StepTaken};

use super::buffer::{ExperienceSpec, MapSpec};
use crate::error::Error;

const STEP: u32 = 1;
const TERMINATED: u32 = 2;
const TRUNCATED: u32 = 4;
const INTERVENED: u32 = 8;
const HEAD: usize = 36;

/// Where everything stands in a record.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub spec: ExperienceSpec,
    pub state_dim: usize,
    pub action_dim: usize,
    pictures: Vec<usize>,
    /// Bytes up to and with the first checksum.
    pub vectors_len: usize,
    /// Bytes in all.
    pub len: usize,
}

impl Layout {
    pub fn new(spec: &ExperienceSpec) -> Self {
        let pictures: Vec<usize> = spec.cameras.iter().map(|(_, h, w)| h * w * 3).collect();
        let vectors_len = HEAD + 4 * (spec.action_dim + spec.state_dim) + 4;
        let len = vectors_len + pictures.iter().sum::<usize>() + 4;
        let (state_dim, action_dim) = (spec.state_dim, spec.action_dim);
        Self { spec: spec.clone(), state_dim, action_dim, pictures, vectors_len, len }
    }

    pub fn cameras(&self) -> usize {
        self.pictures.len()
    }

    /// Refuses a moment of other sizes, or with numbers that are none.
    pub fn check(&self, moment: &Moment) -> Result<(), Error> {
        let wrong = |key: &str, found: usize, expected: usize| Error::FeatureShape {
            key: format!("{key} of moment {}", moment.seq),
            found: format!("{found} values"),
            expected: format!("{expected}"),
        };
        if moment.state.len() != self.state_dim {
            return Err(wrong("state", moment.state.len(), self.state_dim));
        }
        if moment.pictures.len() != self.pictures.len() {
            return Err(wrong("pictures", moment.pictures.len(), self.pictures.len()));
        }
        for (picture, len) in moment.pictures.iter().zip(&self.pictures) {
            if picture.len() != *len {
                return Err(wrong("picture", picture.len(), *len));
            }
        }
        let mut numbers: Vec<f32> = moment.state.clone();
        if let Some(step) = &moment.step {
            if step.action.len() != self.action_dim {
                return Err(wrong("action", step.action.len(), self.action_dim));
            }
            numbers.extend_from_slice(&step.action);
            numbers.extend([step.reward, step.penalty]);
        }
        match numbers.iter().find(|v| !v.is_finite()) {
            Some(bad) => Err(Error::Invalid {
                what: format!("moment {} holds the number {bad}", moment.seq),
                hint: "look at the sensor or the task that gave it".into(),
            }),
            None => Ok(()),
        }
    }

    /// The bytes of a moment that was checked.
    pub fn write(&self, actor: u64, moment: &Moment) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len);
        let step = moment.step.as_ref();
        let mut flags = 0;
        if let Some(s) = step {
            let flag = |set: bool, flag: u32| if set { flag } else { 0 };
            flags = STEP | flag(s.terminated, TERMINATED) | flag(s.truncated, TRUNCATED);
            flags |= flag(s.intervened, INTERVENED);
        }
        for word in [moment.seq, actor, step.map_or(0, |s| s.weights)] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&flags.to_le_bytes());
        let (reward, penalty) = step.map_or((0.0, 0.0), |s| (s.reward, s.penalty));
        let none = vec![0.0; if step.is_none() { self.action_dim } else { 0 }];
        let action = step.map_or(&none, |s| &s.action);
        for value in [reward, penalty].iter().chain(action).chain(&moment.state) {
            out.extend_from_slice(&value.to_le_bytes());
        }
        seal(&mut out);
        let from = out.len();
        moment.pictures.iter().for_each(|p| out.extend_from_slice(p));
        let sum = crc32c::crc32c(&out[from..]);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// Actor and moment without its pictures; `None` where the checksum does not hold.
    pub fn read_vectors(&self, bytes: &[u8]) -> Option<(u64, Moment)> {
        let bytes = bytes.get(..self.vectors_len).filter(|b| sealed(b))?;
        let word = |at: usize| {
            bytes[at..].first_chunk::<8>().map_or(0, |chunk| u64::from_le_bytes(*chunk))
        };
        let four = |at: usize| bytes[at..].first_chunk::<4>().copied().unwrap_or_default();
        let float = |at: usize| f32::from_le_bytes(four(at));
        let flags = u32::from_le_bytes(four(24));
        let floats = |from: usize, n: usize| (0..n).map(|i| float(from + 4 * i)).collect();
        let action_end = HEAD + 4 * self.action_dim;
        let step = (flags & STEP > 0).then(|| StepTaken {
            action: floats(HEAD, self.action_dim),
            reward: float(28),
            penalty: float(32),
            terminated: flags & TERMINATED > 0,
            truncated: flags & TRUNCATED > 0,
            intervened: flags & INTERVENED > 0,
            weights: word(16),
        });
        let state = floats(action_end, self.state_dim);
        Some((word(8), Moment { seq: word(0), step, state, pictures: Vec::new() }))
    }

    /// Whether the pictures are as they were written.
    pub fn pictures_are_whole(&self, bytes: &[u8]) -> bool {
        bytes.get(self.vectors_len..self.len).is_some_and(sealed)
    }

    /// The whole moment; `None` where a checksum does not hold.
    pub fn read(&self, bytes: &[u8]) -> Option<Moment> {
        let (_, mut moment) = self.read_vectors(bytes)?;
        if !self.pictures_are_whole(bytes) {
            return None;
        }
        let mut at = self.vectors_len;
        for len in &self.pictures {
            moment.pictures.push(bytes[at..at + len].to_vec());
            at += len;
        }
        Some(moment)
    }
}

/// Appends the checksum of all bytes.
pub(crate) fn seal(bytes: &mut Vec<u8>) {
    let sum = crc32c::crc32c(bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
}

/// Whether the last four bytes are the checksum of those before.
pub(crate) fn sealed(bytes: &[u8]) -> bool {
    match bytes.split_last_chunk::<4>() {
        Some((content, sum)) => crc32c::crc32c(content) == u32::from_le_bytes(*sum),
        None => false,
    }
}

/// Bytes of all maps of a record, checksum included.
pub(crate) fn maps_len(spec: &MapSpec, cameras: usize) -> usize {
    2 * spec.len * spec.variants * cameras + 4
}
