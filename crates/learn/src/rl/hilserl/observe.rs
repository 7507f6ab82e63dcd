//! What of an environment's observations the networks see: vectors joined, pictures at one size.

use embody_core::{ArrayView, DType, DataView, EnvSpec, Moment, Observations, Result};

use super::buffer::ExperienceSpec;
use crate::error::Error;
use crate::processor::resize_area;

/// Which observations are looked at.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Eyes {
    /// Keys of vectors, with their dimensions, joined in this order.
    pub vectors: Vec<(String, usize)>,
    /// Keys of cameras.
    pub cameras: Vec<String>,
    /// Height and width to which pictures are resized.
    pub side: (usize, usize),
}

impl Eyes {
    /// The observations `inputs` of `spec`: empty for every vector but the simulator's own state, and
    /// no camera.
    pub fn new(
        spec: &EnvSpec,
        inputs: &[String],
        cameras: &[String],
        side: (usize, usize),
    ) -> Result<Self, Error> {
        let feature = |key: &String| {
            let known = || spec.observations.keys().cloned().collect::<Vec<_>>().join(", ");
            let missing = || Error::MissingFeature { key: key.clone(), known: known() };
            spec.observations.get(key).ok_or_else(missing)
        };
        let wrong = |key: &String, found: String, expected: &str| Error::FeatureShape {
            key: key.clone(),
            found,
            expected: expected.to_owned(),
        };
        let own = |key: &&String| {
            let numeric = feature(key).is_ok_and(|f| f.dtype.is_numeric() && f.shape.len() == 1);
            numeric && !key.contains("environment_state")
        };
        let keys: Vec<String> = match inputs {
            [] => spec.observations.keys().filter(own).cloned().collect(),
            inputs => inputs.to_vec(),
        };
        let mut vectors = Vec::new();
        for key in keys {
            let feature = feature(&key)?;
            if !feature.dtype.is_numeric() || feature.shape.len() != 1 {
                let found = format!("{:?} {:?}", feature.dtype, feature.shape);
                return Err(wrong(&key, found, "a vector"));
            }
            let dim = feature.numel();
            vectors.push((key, dim));
        }
        for key in cameras {
            let feature = feature(key)?;
            let picture = matches!(feature.dtype, DType::Image | DType::Video);
            if !picture || feature.shape.len() != 3 {
                let found = format!("{:?} {:?}", feature.dtype, feature.shape);
                return Err(wrong(key, found, "pictures"));
            }
        }
        Ok(Self { vectors, cameras: cameras.to_vec(), side })
    }

    /// What its moments are made of.
    pub fn experience(&self, action_dim: usize) -> ExperienceSpec {
        let camera = |key: &String| (key.clone(), self.side.0, self.side.1);
        ExperienceSpec {
            state_dim: self.vectors.iter().map(|(_, dim)| dim).sum(),
            action_dim,
            cameras: self.cameras.iter().map(camera).collect(),
        }
    }

    /// Writes what environment `env` shows over the moment's state and pictures.
    pub fn see(
        &self,
        observations: &Observations<'_>,
        env: usize,
        moment: &mut Moment,
    ) -> Result<(), Error> {
        let view = |key: &str| -> Result<ArrayView<'_>, Error> {
            let known = || observations.arrays.keys().copied().collect::<Vec<_>>().join(", ");
            let missing = || Error::MissingFeature { key: key.to_owned(), known: known() };
            observations.arrays.get(key).copied().ok_or_else(missing)
        };
        let wrong = |key: &str, view: &ArrayView<'_>, expected: String| Error::FeatureShape {
            key: key.to_owned(),
            found: format!("{:?}", view.shape),
            expected,
        };
        moment.state.clear();
        for (key, dim) in &self.vectors {
            let view = view(key)?;
            let range = env * dim..(env + 1) * dim;
            let fits = view.shape.len() == 2 && view.shape[1] == *dim && env < view.shape[0];
            match view.data {
                DataView::F32(values) if fits => moment.state.extend_from_slice(&values[range]),
                DataView::F64(values) if fits => {
                    moment.state.extend(values[range].iter().map(|v| *v as f32));
                }
                _ => return Err(wrong(key, &view, format!("f32 or f64 [environments, {dim}]"))),
            }
        }
        moment.pictures.clear();
        for key in &self.cameras {
            let view = view(key)?;
            let (DataView::U8(pixels), &[envs, height, width, 3]) = (view.data, view.shape) else {
                return Err(wrong(key, &view, "u8 [environments, height, width, 3]".into()));
            };
            if env >= envs {
                return Err(wrong(key, &view, format!("more than {env} environments")));
            }
            let size = height * width * 3;
            let picture = &pixels[env * size..(env + 1) * size];
            moment.pictures.push(match (height, width) == self.side {
                true => picture.to_vec(),
                false => resize_area(picture, (height, width), self.side),
            });
        }
        Ok(())
    }
}
