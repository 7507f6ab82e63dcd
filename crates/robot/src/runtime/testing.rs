//! What the tests of several parts share.

use embody_core::{DType, Error, FeatureSpec, Features, Observations, Policy, PolicySpec, Result};

/// A policy whose actions follow a line of the observed state: action `i` is the state plus
/// `slope · i / fps`.
pub(super) struct Line {
    spec: PolicySpec,
    fps: f64,
    slope: f64,
}

impl Line {
    pub fn new(dim: usize, chunk_size: usize, fps: f64) -> Self {
        let mut inputs = Features::new();
        let state = FeatureSpec::new(DType::Float32, &[dim], &[]);
        inputs.insert("observation.state".to_owned(), state);
        let spec = PolicySpec {
            kind: "line".to_owned(),
            inputs,
            action_dim: dim,
            chunk_size,
            n_action_steps: chunk_size,
        };
        Self { spec, fps, slope: 10.0 }
    }

    /// Wants pictures too.
    pub fn see(&mut self, key: &str, shape: [usize; 3]) {
        let picture = FeatureSpec::new(DType::Image, &shape, &[]);
        self.spec.inputs.insert(key.to_owned(), picture);
    }
}

impl Policy for Line {
    fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    fn reset(&mut self, _env: usize) {}

    fn act(&mut self, seen: &Observations<'_>, _: &[bool], actions: &mut [f32]) -> Result<()> {
        let state = seen.arrays.get("observation.state").and_then(|a| a.as_f32());
        actions.copy_from_slice(state.ok_or_else(|| Error::new("no state"))?);
        Ok(())
    }

    fn predict(
        &mut self,
        seen: &Observations<'_>,
        _last: &[f32],
        chunk: &mut Vec<f32>,
    ) -> Result<()> {
        let state = seen.arrays.get("observation.state").and_then(|a| a.as_f32());
        let state = state.ok_or_else(|| Error::new("no state"))?;
        chunk.clear();
        for i in 0..self.spec.chunk_size {
            let ahead = (self.slope * i as f64 / self.fps) as f32;
            chunk.extend(state.iter().map(|s| s + ahead));
        }
        Ok(())
    }
}
