//! A policy to go on from: its settings and weights, of our making or LeRobot's.

use std::path::Path;

use embody_core::{ContentHash, Result, hash_tree};
use serde::{Deserialize, Serialize};

use crate::checkpoint::{self, Model};
use crate::error::Error;
use crate::imitation::PolicyConfig;
use crate::nn::ParamTable;
use crate::processor::{Normalizer, Processor};

/// By which statistics states and actions are normalised when a policy learns on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartStatistics {
    /// The new data's, as LeRobot does it.
    #[default]
    Data,
    /// The policy's: its weights mean what they meant. For little data of the same robot.
    Policy,
}

/// A policy that a training begins with, in place of random weights.
#[derive(Debug, Clone)]
pub struct Start {
    pub(super) model: Model,
    hash: ContentHash,
    statistics: StartStatistics,
}

impl Start {
    /// Reads the policy's folder.
    ///
    /// # Errors
    /// When a file is absent or damaged, or a tensor missing, unexpected or misshapen.
    pub fn read(dir: &Path, statistics: StartStatistics) -> Result<Self> {
        let hash = hash_tree(dir, &|_| false)?;
        Ok(Self { model: checkpoint::read_model(dir)?, hash, statistics })
    }

    /// Its settings, which the training takes over.
    pub fn policy(&self) -> &PolicyConfig {
        &self.model.config
    }

    /// The observations that it reads.
    pub fn inputs(&self) -> Vec<String> {
        let p = &self.model.processor;
        let vectors = p.state.iter().chain(&p.env).map(|v| v.key.clone());
        vectors.chain(p.cameras.iter().map(|c| c.key.clone())).collect()
    }

    /// Height and width of its first camera's pictures.
    pub fn image_size(&self) -> Option<[usize; 2]> {
        self.model.processor.cameras.first().map(|c| [c.height, c.width])
    }

    /// What it adds to what makes a result.
    pub(super) fn identity(&self) -> (&ContentHash, StartStatistics) {
        (&self.hash, self.statistics)
    }

    /// How states, surroundings and actions are normalised: its way.
    pub(super) fn normalizer(&self, key: &str) -> Option<&Normalizer> {
        let p = &self.model.processor;
        let vector = p.state.iter().chain(&p.env).find(|v| v.key == key);
        vector.map(|v| &v.normalizer).or((key == checkpoint::ACTION).then_some(&p.action))
    }

    /// Its weights, where the network for the data is its own.
    pub(super) fn weights(&self, wanted: &ParamTable) -> Result<Vec<f32>, Error> {
        let own = &self.model.net.table().specs;
        for spec in &wanted.specs {
            let of_policy = own.iter().find(|s| s.name == spec.name);
            let found = of_policy.map_or("absent".into(), |s| format!("{:?}", s.stored_shape()));
            let expected = format!("{:?}", spec.stored_shape());
            if found != expected {
                return Err(Error::StartMisfit { name: spec.name.clone(), found, expected });
            }
        }
        if let Some(other) = own.iter().find(|s| !wanted.specs.iter().any(|w| w.name == s.name)) {
            let found = format!("{:?}", other.stored_shape());
            let name = other.name.clone();
            return Err(Error::StartMisfit { name, found, expected: "absent".into() });
        }
        Ok(self.model.weights.clone())
    }

    /// Gives `processor` the policy's statistics, as far as they are kept.
    pub(super) fn lend_statistics(&self, processor: &mut Processor) {
        let own = &self.model.processor;
        for (camera, own) in processor.cameras.iter_mut().zip(&own.cameras) {
            camera.normalizer = own.normalizer.clone();
        }
        if self.statistics == StartStatistics::Data {
            return;
        }
        processor.action = own.action.clone();
        processor.lag = own.lag.clone();
        for (vector, own) in [(&mut processor.state, &own.state), (&mut processor.env, &own.env)] {
            if let (Some(vector), Some(own)) = (vector, own) {
                vector.normalizer = own.normalizer.clone();
            }
        }
    }
}
