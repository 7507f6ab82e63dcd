//! safetensors files: named arrays of numbers, read by name and shape, never more.

use std::fs;
use std::path::Path;

use embody_core::{IoContext, Result};
use indexmap::IndexMap;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::damaged;
use crate::error::Error;

/// Types of which weights may be.
pub(crate) const FLOATS: [Dtype; 2] = [Dtype::F32, Dtype::BF16];

/// A tensor on its way to a file.
pub(crate) struct Stored {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
    pub numbers: Numbers,
}

/// How a tensor's numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    F32,
    I64,
    Bool,
}

impl Numbers {
    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::I64 => Dtype::I64,
            Self::Bool => Dtype::BOOL,
        }
    }
}

impl Stored {
    /// One of f32.
    pub fn floats(name: impl Into<String>, shape: Vec<usize>, values: Vec<f32>) -> Self {
        Self { name: name.into(), shape, values, numbers: Numbers::F32 }
    }
}

/// The tensors in the bytes of `path`.
pub(crate) fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<SafeTensors<'a>, Error> {
    SafeTensors::deserialize(bytes)
        .map_err(|source| Error::Safetensors { path: path.to_owned(), source })
}

/// Refuses a tensor that is not of the `expected` shape, or not of one of these `types`.
pub(crate) fn check_tensor(
    path: &Path,
    name: &str,
    view: &TensorView<'_>,
    expected: &[usize],
    types: &[Dtype],
) -> Result<(), Error> {
    if types.contains(&view.dtype()) && view.shape() == expected {
        return Ok(());
    }
    Err(Error::TensorShape {
        path: path.to_owned(),
        name: name.to_owned(),
        found: view.shape().to_vec(),
        dtype: format!("{:?}", view.dtype()),
        expected: expected.to_vec(),
    })
}

/// The values of tensor `name`, which must be of the `expected` shape, f32 or bf16, which f32 holds
/// exactly.
pub(crate) fn f32_values(
    path: &Path,
    name: &str,
    view: &TensorView<'_>,
    expected: &[usize],
) -> Result<Vec<f32>, Error> {
    check_tensor(path, name, view, expected, &FLOATS)?;
    if view.dtype() == Dtype::BF16 {
        let (halves, _) = view.data().as_chunks::<2>();
        let widened = |h: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(*h)) << 16);
        return Ok(halves.iter().map(widened).collect());
    }
    let (words, _) = view.data().as_chunks::<4>();
    Ok(words.iter().map(|w| f32::from_le_bytes(*w)).collect())
}

/// One integer as a float.
pub(crate) fn count(path: &Path, name: &str, view: &TensorView<'_>) -> Result<f32, Error> {
    if let (Dtype::I64, ([word], [])) = (view.dtype(), view.data().as_chunks::<8>()) {
        return Ok(i64::from_le_bytes(*word) as f32);
    }
    f32_values(path, name, view, &[]).map(|values| values[0])
}

/// Integers, which must be `expected`, as floats: they say how data lie, and no file decides that.
pub(crate) fn indices(
    path: &Path,
    name: &str,
    view: &TensorView<'_>,
    shape: &[usize],
    expected: &[f32],
) -> Result<Vec<f32>, Error> {
    check_tensor(path, name, view, shape, &[Dtype::I64])?;
    let (words, _) = view.data().as_chunks::<8>();
    let values: Vec<f32> = words.iter().map(|w| i64::from_le_bytes(*w) as f32).collect();
    match values == expected {
        true => Ok(values),
        false => Err(damaged(path, &format!("tensor `{name}` does not fit the settings"))),
    }
}

/// 1 for true, 0 for false.
pub(crate) fn flag(path: &Path, name: &str, view: &TensorView<'_>) -> Result<f32, Error> {
    check_tensor(path, name, view, &[], &[Dtype::BOOL])?;
    Ok(f32::from(view.data() != [0]))
}

/// Writes tensors.
pub(crate) fn write_tensors(path: &Path, tensors: &[Stored]) -> Result<()> {
    fs::write(path, tensor_bytes(path, tensors)?).at("write", path)
}

/// The bytes of a file of tensors; `path` names it in errors.
pub(crate) fn tensor_bytes(path: &Path, tensors: &[Stored]) -> Result<Vec<u8>> {
    let bytes = |t: &Stored| -> Vec<u8> {
        match t.numbers {
            Numbers::I64 => t.values.iter().flat_map(|v| (*v as i64).to_le_bytes()).collect(),
            Numbers::F32 => t.values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Numbers::Bool => t.values.iter().map(|v| u8::from(*v != 0.0)).collect(),
        }
    };
    let bytes: Vec<Vec<u8>> = tensors.iter().map(bytes).collect();
    let wrap = |source| Error::Safetensors { path: path.to_owned(), source };
    let mut views = Vec::new();
    for (tensor, bytes) in tensors.iter().zip(&bytes) {
        let (dtype, shape) = (tensor.numbers.dtype(), tensor.shape.clone());
        let view = TensorView::new(dtype, shape, bytes).map_err(wrap)?;
        views.push((tensor.name.as_str(), view));
    }
    Ok(safetensors::serialize(views, None).map_err(wrap)?)
}

/// Reads exactly the named f32 tensors of a file, in this order: one that is missing, misshapen or
/// not wanted is an error.
pub(crate) fn read_tensors(path: &Path, wanted: &[(String, Vec<usize>)]) -> Result<Vec<Vec<f32>>> {
    let bytes = fs::read(path).at("read", path)?;
    tensors_in(path, &bytes, wanted)
}

/// The same of bytes; `path` names them in errors.
pub(crate) fn tensors_in(
    path: &Path,
    bytes: &[u8],
    wanted: &[(String, Vec<usize>)],
) -> Result<Vec<Vec<f32>>> {
    let tensors = parse(path, bytes)?;
    let mut out = Vec::with_capacity(wanted.len());
    for (name, shape) in wanted {
        let missing = |_| Error::TensorMissing { path: path.to_owned(), name: name.clone() };
        out.push(f32_values(path, name, &tensors.tensor(name).map_err(missing)?, shape)?);
    }
    for name in tensors.names() {
        if !wanted.iter().any(|(n, _)| n == name) {
            let name = name.to_string();
            return Err(Error::TensorUnexpected { path: path.to_owned(), name }.into());
        }
    }
    Ok(out)
}

/// All f32 vectors of a file by name.
pub(crate) fn read_all_vectors(path: &Path) -> Result<Vec<(String, Vec<f32>)>> {
    let bytes = fs::read(path).at("read", path)?;
    let tensors = parse(path, &bytes)?;
    let mut out = Vec::new();
    for (name, view) in tensors.tensors() {
        let shape = view.shape().to_vec();
        let values = f32_values(path, &name, &view, &shape)?;
        out.push((name, values));
    }
    Ok(out)
}

/// Reads the named f32 vectors of a file, each `len` long.
pub(crate) fn read_vectors<const N: usize>(
    path: &Path,
    names: [&str; N],
    len: usize,
) -> Result<[Vec<f32>; N]> {
    let bytes = fs::read(path).at("read", path)?;
    let tensors = parse(path, &bytes)?;
    let mut out = [const { Vec::new() }; N];
    for (slot, name) in out.iter_mut().zip(names) {
        let missing = |_| Error::TensorMissing { path: path.to_owned(), name: name.to_owned() };
        let view = tensors.tensor(name).map_err(missing)?;
        *slot = f32_values(path, name, &view, &[len])?;
    }
    Ok(out)
}

/// The tensors of type f32 whose name `rename` keeps; others are no statistics that we use.
pub(crate) fn f32_tensors(
    path: &Path,
    tensors: &SafeTensors<'_>,
    rename: impl Fn(&str) -> Option<String>,
) -> Result<IndexMap<String, Vec<f32>>, Error> {
    let mut values = IndexMap::new();
    for (name, view) in tensors.tensors().into_iter().filter(|(_, v)| v.dtype() == Dtype::F32) {
        if let Some(key) = rename(&name) {
            let shape = view.shape().to_vec();
            values.insert(key, f32_values(path, &name, &view, &shape)?);
        }
    }
    Ok(values)
}
