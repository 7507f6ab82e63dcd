//! A policy at the other end of a pipe, for programs in any language.
//!
//! Either way goes a stream of messages: a length (8 bytes, little-endian), then as many bytes of a
//! [safetensors](https://github.com/huggingface/safetensors) file. A request holds a tensor per input of
//! the policy: pictures U8 `[height, width, 3]`, vectors F32 `[n]`, in the units of the recording. Its
//! metadata may say `"episode": "begin"`: what was planned before is forgotten. The answer holds
//! `action`, F32 `[action_dim]`; or, where the request could not be answered, no tensor, and `error`
//! (with `hint`) in its metadata. Nothing that comes in is executed.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::time::Instant;

use embody_core::{ArrayView, DataView, Error, Observations, Policy, Result};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::report::Latency;

/// Longest request, bytes: a dozen cameras of 4K.
const LONGEST: u64 = 1 << 29;

/// Answers requests until `input` ends; how long each took, from bytes to bytes.
///
/// # Errors
/// A stream that breaks off within a message or announces one beyond 512 MiB; I/O.
pub fn serve(
    policy: &mut dyn Policy,
    input: &mut dyn Read,
    output: &mut dyn Write,
) -> Result<Option<Latency>> {
    let mut bytes = Vec::new();
    let mut milliseconds = Vec::new();
    while next(input, &mut bytes)? {
        let start = Instant::now();
        let answer = match act(policy, &bytes) {
            Ok(action) => message(&[("action", &action)], None),
            Err(error) => {
                let mut said = HashMap::from([("error".to_owned(), error.to_string())]);
                said.extend(error.hint().map(|hint| ("hint".to_owned(), hint.to_owned())));
                message(&[], Some(said))
            }
        }?;
        let sent = output.write_all(&(answer.len() as u64).to_le_bytes());
        let sent = sent.and_then(|()| output.write_all(&answer)).and_then(|()| output.flush());
        sent.map_err(|e| Error::new(format!("the answer could not be sent: {e}")))?;
        milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Latency::of(milliseconds))
}

/// Reads a message; false where the stream ended before it.
fn next(input: &mut dyn Read, bytes: &mut Vec<u8>) -> Result<bool> {
    let broken = |e: std::io::Error| Error::new(format!("the request could not be read: {e}"));
    let mut length = [0; 8];
    let mut got = 0;
    while got < length.len() {
        match input.read(&mut length[got..]) {
            Ok(0) if got == 0 => return Ok(false),
            Ok(0) => return Err(broken(std::io::ErrorKind::UnexpectedEof.into())),
            Ok(n) => got += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(broken(e)),
        }
    }
    let length = u64::from_le_bytes(length);
    if length > LONGEST {
        return Err(Error::new(format!("a request of {length} bytes was announced"))
            .with_hint("send 8 bytes with the length, little-endian, then a safetensors file"));
    }
    bytes.clear();
    let read = input.take(length).read_to_end(bytes).map_err(broken)?;
    match read as u64 == length {
        true => Ok(true),
        false => Err(broken(std::io::ErrorKind::UnexpectedEof.into())),
    }
}

/// The action for a request.
fn act(policy: &mut dyn Policy, bytes: &[u8]) -> Result<Vec<f32>> {
    let wrong = |e| Error::new(format!("the request is no safetensors file: {e}"));
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(wrong)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(wrong)?;
    match metadata.metadata().as_ref().and_then(|said| said.get("episode")).map(String::as_str) {
        None => {}
        Some("begin") => policy.reset(0),
        Some(other) => {
            return Err(Error::new(format!("`episode` is `{other}`")).with_hint("say `begin`"));
        }
    }
    let inputs = policy.spec().inputs.clone();
    let mut held = Vec::with_capacity(inputs.len());
    for (key, feature) in &inputs {
        let axes = if feature.dtype.is_visual() { 3 } else { 1 };
        let tensor = tensors.tensor(key).map_err(|_| {
            let known = tensors.names();
            Error::new(format!("`{key}` is missing; the request has {}", known.join(", ")))
                .with_hint("send a tensor for every input of the policy")
        })?;
        let (shape, data) = (tensor.shape(), tensor.data());
        let array = match (tensor.dtype(), axes) {
            _ if shape.len() != axes => None,
            (Dtype::U8, 3) => Some(Held::Bytes(data)),
            (Dtype::F32, 1) => Some(Held::Floats(floats(data))),
            _ => None,
        };
        let array = array.ok_or_else(|| {
            let found = format!("{:?} {shape:?}", tensor.dtype());
            let expected = if axes == 3 { "U8 [height, width, 3]" } else { "F32 [n]" };
            Error::new(format!("`{key}` is {found}, not {expected}"))
        })?;
        held.push((key.as_str(), [&[1], shape].concat(), array));
    }
    let mut observations = Observations::default();
    for (key, shape, array) in &held {
        let data = match array {
            Held::Bytes(bytes) => DataView::U8(bytes),
            Held::Floats(values) => DataView::F32(values),
        };
        observations.arrays.insert(key, ArrayView { shape, data });
    }
    let mut action = vec![0.0; policy.spec().action_dim];
    policy.act(&observations, &[true], &mut action)?;
    Ok(action)
}

enum Held<'a> {
    Bytes(&'a [u8]),
    Floats(Vec<f32>),
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn message(
    vectors: &[(&str, &[f32])],
    metadata: Option<HashMap<String, String>>,
) -> Result<Vec<u8>> {
    let bytes: Vec<Vec<u8>> = vectors
        .iter()
        .map(|(_, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect())
        .collect();
    let unfit = |e| Error::new(format!("the answer could not be written: {e}"));
    let tensors = vectors.iter().zip(&bytes).map(|((name, values), bytes)| {
        Ok((*name, TensorView::new(Dtype::F32, vec![values.len()], bytes)?))
    });
    let tensors: std::result::Result<Vec<_>, _> = tensors.collect();
    safetensors::serialize(tensors.map_err(unfit)?, metadata).map_err(unfit)
}
