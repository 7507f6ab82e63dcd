//! What every exporter reads: the chosen episodes and features of a dataset.

use std::ops::Range;
use std::path::Path;

use embody_core::{ArrayData, DType, FeatureSpec, Features, IoContext, Result};
use indexmap::IndexMap;
use tempfile::NamedTempFile;

use super::ExportOptions;
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::format::RESERVED;

/// The chosen part of a dataset.
pub(super) struct Rows<'a> {
    pub dataset: &'a Dataset,
    /// Indices of the episodes, in the order of the result.
    pub episodes: Vec<usize>,
    /// Features without the reserved ones.
    pub features: Features,
    /// Features left out, as asked.
    pub left_out: Vec<String>,
}

impl<'a> Rows<'a> {
    pub fn of(dataset: &'a Dataset, options: &ExportOptions) -> Result<Self> {
        let total = dataset.episodes().len();
        let episodes = options.episodes.clone().unwrap_or_else(|| (0..total).collect());
        if let Some(bad) = episodes.iter().find(|e| **e >= total) {
            dataset.episode(*bad)?;
        }
        let declared = &dataset.info().features;
        for name in &options.without {
            if !declared.contains_key(name) {
                let known: Vec<&str> = declared.keys().map(String::as_str).collect();
                return Err(DataError::Request {
                    why: format!("{} has no feature {name:?}", dataset.root().display()),
                    hint: format!("it has {}", known.join(", ")),
                }
                .into());
            }
        }
        let mut features = Features::new();
        let mut left_out = Vec::new();
        for (key, spec) in declared {
            if RESERVED.contains(&key.as_str()) {
                continue;
            }
            if options.without.contains(key) || (options.no_pictures && spec.dtype.is_visual()) {
                left_out.push(key.clone());
                continue;
            }
            features.insert(key.clone(), spec.clone());
        }
        Ok(Self { dataset, episodes, features, left_out })
    }

    /// Frames of all chosen episodes.
    pub fn frames(&self) -> usize {
        self.episodes.iter().map(|&e| self.dataset.episodes()[e].length).sum()
    }

    /// Features of numbers and truth values.
    pub fn numeric(&self) -> impl Iterator<Item = (&str, &FeatureSpec)> {
        let plain = |f: &FeatureSpec| f.dtype.is_numeric() || f.dtype == DType::Bool;
        self.features.iter().filter(move |(_, f)| plain(f)).map(|(k, f)| (k.as_str(), f))
    }

    /// Text features.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.features.iter().filter(|(_, f)| f.dtype == DType::String).map(|(k, _)| k.as_str())
    }

    /// Cameras with height and width.
    pub fn cameras(&self) -> impl Iterator<Item = (&str, [usize; 2])> {
        let cameras = self.features.iter().filter(|(_, f)| f.dtype.is_visual());
        cameras.filter_map(|(k, f)| match f.shape[..] {
            [h, w, 3] => Some((k.as_str(), [h, w])),
            _ => None,
        })
    }

    /// The numeric columns of an episode, each `[length, …]`.
    pub fn table(&self, episode: usize) -> Result<IndexMap<String, ArrayData>> {
        let keys: Vec<&str> = self.numeric().map(|(k, _)| k).collect();
        let columns = self.dataset.columns(episode, &keys)?;
        Ok(columns.into_iter().map(|(key, array)| (key, array.data)).collect())
    }

    /// Some frames of a camera, one after the other.
    pub fn pictures(&self, episode: usize, key: &str, frames: Range<usize>) -> Result<Vec<u8>> {
        let frames: Vec<usize> = frames.collect();
        let mut out = Vec::new();
        let size = self.features[key].numel();
        out.resize(frames.len() * size, 0);
        self.dataset.visit_frames(episode, key, &frames, &mut |position, rgb| {
            out[position * size..(position + 1) * size].copy_from_slice(rgb);
            Ok(())
        })?;
        Ok(out)
    }

    /// The instruction of each frame of an episode.
    pub fn tasks(&self, episode: usize) -> Result<Vec<&str>> {
        let index = self.dataset.columns(episode, &["task_index"])?.pop();
        let Some(ArrayData::I64(index)) = index.map(|c| c.1.data) else {
            return Err(refuse("task_index", "it does not hold whole numbers"));
        };
        let tasks = self.dataset.tasks();
        let text = |&i: &i64| {
            let found = usize::try_from(i).ok().and_then(|i| tasks.get(i));
            found.map(String::as_str).ok_or_else(|| refuse("task_index", "a task is not declared"))
        };
        index.iter().map(text).collect()
    }
}

/// Says that a feature can't be exported.
pub(super) fn refuse(key: &str, why: &str) -> embody_core::Error {
    DataError::Request {
        why: format!("feature {key:?}: {why}"),
        hint: format!("leave it out: --without {key}"),
    }
    .into()
}

/// The last part of a feature's name in the formats that group observations.
pub(super) fn short_name(key: &str) -> &str {
    let picture = key.strip_prefix("observation.images.");
    picture.or_else(|| key.strip_prefix("observation.")).unwrap_or(key)
}

/// Numbers as little-endian bytes of the declared type; halves as f32.
pub(super) fn bytes_of(dtype: DType, data: &ArrayData) -> Vec<u8> {
    macro_rules! narrow {
        ($values:expr, $kind:ty) => {
            $values.iter().flat_map(|&v| (v as $kind).to_le_bytes()).collect()
        };
    }
    match data {
        ArrayData::U8(v) => v.clone(),
        ArrayData::F32(v) => narrow!(v, f32),
        ArrayData::F64(v) => narrow!(v, f64),
        ArrayData::Bool(v) => v.iter().map(|&b| u8::from(b)).collect(),
        // Read from a column of that type: every value fits.
        ArrayData::I64(v) => match dtype {
            DType::Int8 => narrow!(v, i8),
            DType::Int16 => narrow!(v, i16),
            DType::Int32 => narrow!(v, i32),
            DType::Uint16 => narrow!(v, u16),
            DType::Uint32 => narrow!(v, u32),
            DType::Uint64 => narrow!(v, u64),
            _ => narrow!(v, i64),
        },
    }
}

/// A file beside `target`, to be put in its place when it is complete.
pub(super) fn aside(target: &Path) -> Result<NamedTempFile> {
    let parent = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).at("create folder", parent)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".tmp-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(parent).at("create temporary file in", parent)
}

/// Flushes a file and puts it in place.
pub(super) fn put(file: NamedTempFile, target: &Path) -> Result<()> {
    file.as_file().sync_all().at("flush", target)?;
    file.persist(target).map_err(|e| e.error).at("put in place", target)?;
    Ok(())
}
