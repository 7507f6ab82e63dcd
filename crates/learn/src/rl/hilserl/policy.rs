//! A learned policy by itself: its folder, and how it acts without noise.
//!
//! ```text
//! config.json         type hil-serl: inputs, cameras, sizes, settings, which encoder
//! model.safetensors   trunk.…, actor.…, gripper.…, state.shift, state.scale
//! ```
//! The frozen encoder is not part of it: it is named by its id, and a folder is read with the encoder
//! that it was trained with or not at all.

use std::path::Path;
use std::sync::Arc;

use embody_core::{
    DType, FeatureSpec, IoContext, Moment, Observations, Policy, PolicySpec, Result,
};
use serde::{Deserialize, Serialize};

use super::actor::{ActorNet, Scaling};
use super::config::HilSerlConfig;
use super::encoder::ImageEncoder;
use super::learner::{Learner, Sizes};
use super::observe::Eyes;
use crate::checkpoint;
use crate::error::Error;

/// The type that config.json names.
pub(crate) const HIL_SERL: &str = "hil-serl";
const CONFIG: &str = "config.json";
const MODEL: &str = "model.safetensors";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    r#type: String,
    vectors: Vec<(String, usize)>,
    cameras: Vec<String>,
    side: (usize, usize),
    maps: Vec<[usize; 3]>,
    /// The frozen encoder's id.
    encoder: Option<String>,
    action_low: Vec<f32>,
    action_high: Vec<f32>,
    settings: HilSerlConfig,
}

/// A policy acting by its mean, and by the gripper's better choice.
pub(crate) struct HilSerlPolicy {
    spec: PolicySpec,
    eyes: Eyes,
    sizes: Sizes,
    cfg: HilSerlConfig,
    actor: ActorNet,
    encoder: Option<Arc<dyn ImageEncoder>>,
    moment: Moment,
}

impl HilSerlPolicy {
    pub fn new(
        cfg: &HilSerlConfig,
        sizes: &Sizes,
        eyes: &Eyes,
        actor: ActorNet,
        encoder: Option<Arc<dyn ImageEncoder>>,
    ) -> Self {
        let vector = |(key, dim): &(String, usize)| {
            (key.clone(), FeatureSpec::new(DType::Float32, &[*dim], &[]))
        };
        let camera = |key: &String| {
            let shape = [eyes.side.0, eyes.side.1, 3];
            (key.clone(), FeatureSpec::new(DType::Image, &shape, &[]))
        };
        let inputs = eyes.vectors.iter().map(vector).chain(eyes.cameras.iter().map(camera));
        let spec = PolicySpec {
            kind: HIL_SERL.to_owned(),
            inputs: inputs.collect(),
            action_dim: sizes.low.len(),
            chunk_size: 1,
            n_action_steps: 1,
        };
        Self {
            spec,
            eyes: eyes.clone(),
            sizes: sizes.clone(),
            cfg: cfg.clone(),
            actor,
            encoder,
            moment: Moment::default(),
        }
    }

    /// Writes the policy into the existing folder `dir`, which the caller puts in place atomically.
    pub fn write(&mut self, dir: &Path) -> Result<()> {
        let config = ConfigFile {
            r#type: HIL_SERL.to_owned(),
            vectors: self.eyes.vectors.clone(),
            cameras: self.eyes.cameras.clone(),
            side: self.eyes.side,
            maps: self.sizes.maps.clone(),
            encoder: self.encoder.as_ref().map(|e| e.id()),
            action_low: self.sizes.low.clone(),
            action_high: self.sizes.high.clone(),
            settings: self.cfg.clone(),
        };
        checkpoint::write_json(&dir.join(CONFIG), &config)?;
        let path = dir.join(MODEL);
        std::fs::write(&path, self.actor.write()?).at("write", &path)
    }

    /// Reads a policy's folder; with cameras, `encoder` must be the one that it was trained with.
    pub fn read(dir: &Path, encoder: Option<Arc<dyn ImageEncoder>>) -> Result<Self> {
        let path = dir.join(CONFIG);
        let c: ConfigFile = checkpoint::read_json(&path)?;
        let bad = |what: String, hint: &str| Error::Invalid {
            what: format!("{}: {what}", path.display()),
            hint: hint.to_owned(),
        };
        if c.r#type != HIL_SERL {
            return Err(Error::PolicyType { path, found: c.r#type }.into());
        }
        c.settings.validate()?;
        let given = encoder.as_ref().map(|e| e.id());
        if given != c.encoder {
            let what =
                format!("it was trained with the encoder {:?}, given is {given:?}", c.encoder);
            return Err(bad(what, "give the encoder that it was trained with").into());
        }
        let state_dim: usize = c.vectors.iter().map(|(_, dim)| dim).sum();
        // Files do not decide how much memory is taken.
        let widths = c.settings.actor_hidden.iter().chain(&c.settings.critic_hidden);
        let largest = widths.chain([&state_dim, &c.settings.embeddings]).max();
        let maps_fit = c.maps.iter().all(|m| m.iter().product::<usize>() <= 1 << 22);
        if largest.is_some_and(|n| *n > 16_384)
            || !maps_fit
            || c.action_low.len() != c.action_high.len()
            || c.settings.gripper.is_some_and(|g| g >= c.action_low.len())
            || c.maps.len() != c.cameras.len()
        {
            return Err(bad("its sizes are impossible".into(), "copy the folder again").into());
        }
        let sizes = Sizes { state_dim, maps: c.maps, low: c.action_low, high: c.action_high };
        let eyes = Eyes { vectors: c.vectors, cameras: c.cameras, side: c.side };
        let scaling = Scaling::new(&c.settings, &sizes, None);
        let mut actor = Learner::new(&c.settings, &sizes, scaling, 0).acting();
        let path = dir.join(MODEL);
        actor.load(&path, &std::fs::read(&path).at("read", &path)?)?;
        Ok(Self::new(&c.settings, &sizes, &eyes, actor, encoder))
    }
}

impl Policy for HilSerlPolicy {
    fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    fn reset(&mut self, _env: usize) {}

    fn act(
        &mut self,
        observations: &Observations<'_>,
        active: &[bool],
        actions: &mut [f32],
    ) -> Result<()> {
        let n = self.spec.action_dim;
        crate::policy::check_lengths(active, actions, n)?;
        for (env, action) in actions.chunks_exact_mut(n).enumerate().filter(|(i, _)| active[*i]) {
            self.eyes.see(observations, env, &mut self.moment)?;
            let maps = look(self.encoder.as_deref(), &self.moment)?;
            let maps: Vec<&[f32]> = maps.iter().map(Vec::as_slice).collect();
            self.actor.act(&self.moment.state, &maps, None, action);
            if action.iter().any(|a| !a.is_finite()) {
                return Err(Error::NotFinite { env }.into());
            }
        }
        Ok(())
    }
}

/// The maps of a moment's pictures as the learner keeps them: half-precision numbers.
pub(crate) fn look(
    encoder: Option<&(dyn ImageEncoder + 'static)>,
    moment: &Moment,
) -> Result<Vec<Vec<f32>>> {
    let Some(encoder) = encoder else { return Ok(Vec::new()) };
    let rounded = |mut map: Vec<f32>| {
        let halves = map.iter().map(|v| crate::rl::kernels::to_half(*v));
        let bytes: Vec<u8> = halves.flat_map(u16::to_le_bytes).collect();
        crate::rl::kernels::from_halves(&bytes, &mut map);
        map
    };
    moment.pictures.iter().map(|p| Ok(rounded(encoder.encode(p)?))).collect()
}
