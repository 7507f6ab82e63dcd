//! The policies side by side: what the trainer, the checkpoints and the runtime know of each.

use burn::tensor::{Tensor, TensorData};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::act::{ActConfig, ActNet};
use super::diffusion::{DiffusionConfig, DiffusionNet, Draws};
use super::flow::{FlowConfig, FlowMatching, FlowNet};
use super::vla::pi0::{Pi0Config, Pi0Net, parameter as pi0_parameter};
use super::vla::smolvla::{SmolVlaConfig, SmolVlaNet};
use super::vqbet::{VqBetConfig, VqBetNet};
use super::{ActionRepresentation, Demonstration, Inputs, Pass, Shape};
use crate::checkpoint::Language;
use crate::error::{Error, check};
use crate::letterbox::{Letterbox, Place};
use crate::nn::ParamTable;
use crate::noise::normals;
use crate::processor::NormMode;

/// Which policy, with its settings. The tag is the checkpoint's `type`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum PolicyConfig {
    /// A small action-chunking transformer with a convolutional stem.
    ActSmall(ActConfig),
    /// The paper's; what is not set is as in LeRobot.
    Act(#[serde(deserialize_with = "over_act")] ActConfig),
    /// A small Diffusion Policy with a convolutional stem.
    DiffusionSmall(DiffusionConfig),
    /// The paper's; what is not set is as in LeRobot.
    Diffusion(#[serde(deserialize_with = "over_diffusion")] DiffusionConfig),
    /// Flow matching with a transformer, small by default.
    Flow(FlowConfig),
    /// LeRobot's SmolVLA, to act with.
    #[serde(rename = "smolvla")]
    SmolVla(SmolVlaConfig),
    /// LeRobot's π0, to act with.
    Pi0(Pi0Config),
    /// A small VQ-BeT with a convolutional stem.
    #[serde(rename = "vqbet-small")]
    VqBetSmall(VqBetConfig),
    /// The paper's; what is not set is as in LeRobot.
    #[serde(rename = "vqbet")]
    VqBet(#[serde(deserialize_with = "over_vqbet")] VqBetConfig),
}

fn over_act<'de, D: serde::Deserializer<'de>>(from: D) -> Result<ActConfig, D::Error> {
    over(ActConfig::lerobot(), from)
}

fn over_diffusion<'de, D: serde::Deserializer<'de>>(from: D) -> Result<DiffusionConfig, D::Error> {
    over(DiffusionConfig::lerobot(), from)
}

fn over_vqbet<'de, D: serde::Deserializer<'de>>(from: D) -> Result<VqBetConfig, D::Error> {
    over(VqBetConfig::lerobot(), from)
}

/// Settings laid over `defaults`.
fn over<'de, T, D>(defaults: T, from: D) -> Result<T, D::Error>
where
    T: Serialize + serde::de::DeserializeOwned,
    D: serde::Deserializer<'de>,
{
    use serde::de::Error as _;
    let given = serde_json::Map::deserialize(from)?;
    let defaults = serde_json::to_value(defaults).map_err(D::Error::custom)?;
    let mut all = defaults.as_object().cloned().unwrap_or_default();
    all.extend(given);
    serde_json::from_value(all.into()).map_err(D::Error::custom)
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self::ActSmall(ActConfig::default())
    }
}

/// How many observations a policy looks at and how many actions it gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Steps {
    /// Observations, the present one last.
    pub observed: usize,
    /// Actions predicted, from the first observation on.
    pub predicted: usize,
    /// Actions carried out of a prediction, from the present one on.
    pub executed: usize,
}

impl Steps {
    /// Actions predicted from the present one on.
    pub fn chunk(self) -> usize {
        self.predicted - (self.observed - 1)
    }
}

/// The first phase of a training in two, whose learning rate is the same throughout.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct FirstPhase {
    pub steps: usize,
    pub lr: f64,
    pub weight_decay: f64,
}

impl PolicyConfig {
    /// A checkpoint's `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ActSmall(_) => "act-small",
            Self::Act(_) => "act",
            Self::DiffusionSmall(_) => "diffusion-small",
            Self::Diffusion(_) => "diffusion",
            Self::Flow(_) => "flow",
            Self::SmolVla(_) => "smolvla",
            Self::Pi0(_) => "pi0",
            Self::VqBetSmall(_) => "vqbet-small",
            Self::VqBet(_) => "vqbet",
        }
    }

    /// Refuses values that make no network, and settings that LeRobot does not have in a type of its.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let (own, kind) = match self {
            Self::Act(c) => (!c.is_lerobots(), "act-small"),
            Self::Diffusion(c) => (!c.is_lerobots(), "diffusion-small"),
            Self::VqBet(c) => (!c.is_lerobots(), "vqbet-small"),
            _ => (false, ""),
        };
        let rule = format!("a stem and the like are no part of LeRobot's; take `{kind}`");
        check("policy", self.kind(), !own, &rule)?;
        let dropout = self.dropout();
        check("dropout", dropout, (0.0..1.0).contains(&dropout), "it must be in [0, 1)")?;
        let ensemble = self.ensemble();
        let finite = ensemble.is_none_or(f64::is_finite);
        let rule = "it must be a finite number";
        check("temporal_ensemble_coeff", format!("{ensemble:?}"), finite, rule)?;
        match self {
            Self::ActSmall(c) | Self::Act(c) => c.validate(),
            Self::DiffusionSmall(c) | Self::Diffusion(c) => c.validate(),
            Self::Flow(c) => c.validate(),
            Self::SmolVla(c) => c.validate(),
            Self::Pi0(c) => c.validate(),
            Self::VqBetSmall(c) | Self::VqBet(c) => c.validate(),
        }
    }

    /// What has to learn before the rest can.
    pub(crate) fn first_phase(&self) -> Option<FirstPhase> {
        let (Self::VqBetSmall(c) | Self::VqBet(c)) = self else { return None };
        let (steps, lr) = (c.n_vqvae_training_steps, c.optimizer_vqvae_lr);
        Some(FirstPhase { steps, lr, weight_decay: c.optimizer_vqvae_weight_decay })
    }

    /// How far it looks back and ahead; `validate` first.
    pub(crate) fn steps(&self) -> Steps {
        match self {
            Self::ActSmall(c) | Self::Act(c) => {
                Steps { observed: 1, predicted: c.chunk_size, executed: c.n_action_steps }
            }
            Self::DiffusionSmall(c) | Self::Diffusion(c) => {
                Steps { observed: c.n_obs_steps, predicted: c.horizon, executed: c.n_action_steps }
            }
            Self::Flow(c) => {
                Steps { observed: 1, predicted: c.chunk_size, executed: c.n_action_steps }
            }
            Self::SmolVla(c) => {
                Steps { observed: 1, predicted: c.chunk_size, executed: c.n_action_steps }
            }
            Self::Pi0(c) => {
                Steps { observed: 1, predicted: c.chunk_size, executed: c.n_action_steps }
            }
            Self::VqBetSmall(c) | Self::VqBet(c) => Steps {
                observed: c.n_obs_steps,
                predicted: c.chunks() - 1 + c.action_chunk_size,
                executed: c.action_chunk_size,
            },
        }
    }

    /// Coefficient of temporal ensembling.
    pub(crate) fn ensemble(&self) -> Option<f64> {
        match self {
            Self::ActSmall(c) | Self::Act(c) => c.temporal_ensemble_coeff,
            Self::DiffusionSmall(c) | Self::Diffusion(c) => c.temporal_ensemble_coeff,
            Self::Flow(c) => c.temporal_ensemble_coeff,
            Self::SmolVla(_) | Self::Pi0(_) => None,
            Self::VqBetSmall(c) | Self::VqBet(c) => c.temporal_ensemble_coeff,
        }
    }

    /// Share of features dropped in training.
    pub(crate) fn dropout(&self) -> f64 {
        match self {
            Self::ActSmall(c) | Self::Act(c) => c.dropout,
            Self::DiffusionSmall(_) | Self::Diffusion(_) | Self::SmolVla(_) | Self::Pi0(_) => 0.0,
            Self::Flow(c) => c.dropout,
            Self::VqBetSmall(c) | Self::VqBet(c) => c.dropout,
        }
    }

    /// What actions are relative to, and whether the last one is an input.
    pub(crate) fn representation(&self) -> (ActionRepresentation, bool) {
        match self {
            Self::ActSmall(c) | Self::Act(c) => (c.action_representation, c.observe_last_action),
            Self::DiffusionSmall(c) | Self::Diffusion(c) => {
                (c.action_representation, c.observe_last_action)
            }
            Self::Flow(c) => (c.action_representation, c.observe_last_action),
            Self::SmolVla(_) | Self::Pi0(_) => (ActionRepresentation::Absolute, false),
            Self::VqBetSmall(c) | Self::VqBet(c) => {
                (c.action_representation, c.observe_last_action)
            }
        }
    }

    /// The part of each picture that is seen, and whether it lies anywhere in training.
    pub(crate) fn crop(&self) -> Option<((usize, usize), bool)> {
        let (shape, random) = match self {
            Self::DiffusionSmall(c) | Self::Diffusion(c) => (c.crop_shape, c.crop_is_random),
            Self::VqBetSmall(c) | Self::VqBet(c) => (c.crop_shape, c.crop_is_random),
            _ => return None,
        };
        shape.map(|[height, width]| ((height, width), random))
    }

    /// Whether a training can make or change it.
    pub(crate) fn learns(&self) -> Result<(), Error> {
        let rule = "this version acts with such policies; LeRobot trains them";
        check("policy", self.kind(), !matches!(self, Self::SmolVla(_) | Self::Pi0(_)), rule)
    }

    /// How pictures of any size are brought to the network's, where the policy does that itself.
    pub(crate) fn letterbox(&self) -> Option<Letterbox> {
        match self {
            Self::SmolVla(c) => Some(Letterbox { side: c.side(), place: Place::End }),
            Self::Pi0(c) => Some(Letterbox { side: c.side(), place: Place::Middle }),
            _ => None,
        }
    }

    /// Whether the input `key` stands for a camera that is not there.
    pub(crate) fn lacks(&self, key: &str) -> bool {
        let number = key.strip_prefix("observation.images.empty_camera_");
        let empty = match self {
            Self::SmolVla(c) => c.empty_cameras,
            Self::Pi0(c) => c.empty_cameras,
            _ => 0,
        };
        number.and_then(|n| n.parse::<usize>().ok()).is_some_and(|n| n < empty)
    }

    /// What it needs to know of its instruction; `None` for a policy that reads none.
    pub(crate) fn language(&self) -> Option<Language> {
        match self {
            Self::SmolVla(c) => Some(Language {
                model_name: c.vlm_model_name.clone(),
                max_length: c.tokenizer_max_length,
                vocabulary: c.vlm.vocabulary,
                marks_pictures: c.add_image_special_tokens,
            }),
            Self::Pi0(c) => Some(Language {
                model_name: "google/paligemma-3b-pt-224".into(),
                max_length: c.tokenizer_max_length,
                vocabulary: c.sizes().vocabulary,
                marks_pictures: false,
            }),
            _ => None,
        }
    }

    /// What the tensor `name` of a checkpoint is called in the network.
    pub(crate) fn parameter(&self, name: &str) -> String {
        match self {
            Self::Pi0(_) => pi0_parameter(name),
            _ => name.to_owned(),
        }
    }

    /// How vectors and actions are normalised when a training begins; pictures are by ImageNet's
    /// means and deviations.
    pub(crate) fn norm_mode(&self) -> NormMode {
        match self {
            // Samples are kept within ± 1 while noise is taken away.
            Self::DiffusionSmall(_) | Self::Diffusion(_) => NormMode::MinMax,
            Self::VqBetSmall(_) | Self::VqBet(_) => NormMode::MinMax,
            Self::ActSmall(_) | Self::Act(_) | Self::Flow(_) | Self::SmolVla(_) | Self::Pi0(_) => {
                NormMode::MeanStd
            }
        }
    }
}

/// A policy's network, whichever it is.
#[derive(Debug, Clone)]
pub(crate) enum Net {
    Act(ActNet),
    Diffusion(Box<DiffusionNet>),
    Flow(FlowNet),
    SmolVla(Box<SmolVlaNet>),
    Pi0(Box<Pi0Net>),
    VqBet(Box<VqBetNet>),
}

impl Net {
    /// Lays out the network for `cfg` and the data's sizes.
    pub fn new(cfg: &PolicyConfig, shape: &Shape) -> Result<Self, Error> {
        cfg.validate()?;
        Ok(match cfg {
            PolicyConfig::ActSmall(c) | PolicyConfig::Act(c) => Self::Act(ActNet::new(c, shape)?),
            PolicyConfig::DiffusionSmall(c) | PolicyConfig::Diffusion(c) => {
                Self::Diffusion(Box::new(DiffusionNet::new(c, shape)?))
            }
            PolicyConfig::Flow(c) => Self::Flow(FlowNet::new(c, shape)?),
            PolicyConfig::SmolVla(c) => Self::SmolVla(Box::new(SmolVlaNet::new(c, shape)?)),
            PolicyConfig::Pi0(c) => Self::Pi0(Box::new(Pi0Net::new(c, shape)?)),
            PolicyConfig::VqBetSmall(c) | PolicyConfig::VqBet(c) => {
                Self::VqBet(Box::new(VqBetNet::new(c, shape)?))
            }
        })
    }

    /// Its parameters.
    pub fn table(&self) -> &ParamTable {
        match self {
            Self::Act(net) => &net.table,
            Self::Diffusion(net) => &net.table,
            Self::Flow(net) => &net.table,
            Self::SmolVla(net) => &net.table,
            Self::Pi0(net) => &net.table,
            Self::VqBet(net) => &net.table,
        }
    }

    /// Phase of the training that `weights` are in, which stands in them.
    pub fn phase(&self, weights: &[f32]) -> u8 {
        if let Self::VqBet(net) = self { net.phase(weights) } else { 0 }
    }

    /// What the shard adds to averages that run along with the weights, to be summed up over the
    /// shards; empty where there are none.
    pub fn tally(&self, pass: Pass<'_>, wanted: &Demonstration) -> Vec<f32> {
        if let Self::VqBet(net) = self { net.tally(pass, wanted) } else { Vec::new() }
    }

    /// Moves such averages in `weights` by the batch's `tally`; the `last` ends the first phase.
    pub fn settle(&self, tally: &[f32], last: bool, weights: &mut [f32]) {
        if let Self::VqBet(net) = self {
            net.settle(tally, last, weights);
        }
    }

    /// The shard's part of the batch's loss, `[1]`; what is random comes from `rng`.
    pub fn loss(
        &self,
        pass: Pass<'_>,
        inputs: &Inputs,
        wanted: &Demonstration,
        rng: &mut ChaCha8Rng,
    ) -> Tensor<1> {
        let mut drawn = |n: usize| {
            let mut values = vec![0.0; n];
            normals(rng, &mut values);
            values
        };
        match self {
            Self::Act(net) => {
                let noise = net.config().use_vae.then(|| {
                    let shape = [wanted.rows, net.config().latent_dim];
                    let data = TensorData::new(drawn(shape[0] * shape[1]), shape);
                    Tensor::from_data(data, pass.device)
                });
                net.loss(pass, inputs, wanted, noise)
            }
            Self::Diffusion(net) => {
                let noise = drawn(wanted.actions.len());
                let levels = net.config().num_train_timesteps;
                let levels = (0..wanted.rows).map(|_| rng.random_range(0..levels)).collect();
                net.loss(pass, inputs, wanted, &Draws { noise, levels })
            }
            Self::Flow(net) => flow_loss(net, pass, inputs, wanted, rng),
            Self::SmolVla(net) => flow_loss(net.as_ref(), pass, inputs, wanted, rng),
            Self::Pi0(net) => flow_loss(net.as_ref(), pass, inputs, wanted, rng),
            Self::VqBet(net) => {
                let draw = |_| rng.random_range(0.0..1.0);
                let draws: Vec<f32> = (0..net.draws(wanted.rows)).map(draw).collect();
                net.loss(pass, inputs, wanted, &draws)
            }
        }
    }

    /// The loss by which held-out frames are judged: what acting would be measured by where that is
    /// one pass (ACT's latent at zero), the training loss at draws from `rng` elsewhere.
    pub fn held_out_loss(
        &self,
        pass: Pass<'_>,
        inputs: &Inputs,
        wanted: &Demonstration,
        rng: &mut ChaCha8Rng,
    ) -> Tensor<1> {
        match self {
            Self::Act(net) => net.loss(pass, inputs, wanted, None),
            _ => self.loss(pass, inputs, wanted, rng),
        }
    }

    /// Whether actions come out of noise that may be chosen ([`Net::predict`]'s `start`).
    pub fn is_steered_by_noise(&self) -> bool {
        matches!(self, Self::Diffusion(_) | Self::Flow(_))
    }

    /// Normalised actions `[predicted, action_dim]` for one observation. `start` takes the place of the
    /// noise that actions come out of, over and over again if it is shorter; what else is random is
    /// drawn from `rng`.
    pub fn predict(
        &self,
        pass: Pass<'_>,
        inputs: &Inputs,
        mut start: Option<&[f32]>,
        rng: &mut ChaCha8Rng,
    ) -> Vec<f32> {
        let draw = |out: &mut [f32]| match start.take() {
            Some(start) => out.iter_mut().zip(start.iter().cycle()).for_each(|(o, s)| *o = *s),
            None => normals(rng, out),
        };
        match self {
            Self::Act(net) => {
                let actions = net.forward(pass, inputs, None).into_data();
                actions.as_slice::<f32>().expect("actions are f32").to_vec()
            }
            Self::Diffusion(net) => net.predict(pass, inputs, draw),
            Self::Flow(net) => net.predict(pass, inputs, draw),
            Self::SmolVla(net) => net.predict(pass, inputs, draw),
            Self::Pi0(net) => net.predict(pass, inputs, draw),
            Self::VqBet(net) => net.predict(pass, inputs, || rng.random_range(0.0..1.0)),
        }
    }
}

fn flow_loss(
    net: &impl FlowMatching,
    pass: Pass<'_>,
    inputs: &Inputs,
    wanted: &Demonstration,
    rng: &mut ChaCha8Rng,
) -> Tensor<1> {
    net.loss(pass, inputs, wanted, &net.draw(rng, wanted.rows))
}
