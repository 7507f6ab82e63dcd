//! A success detector: a small network over the frozen encoder's maps, trained from labelled pictures,
//! that rewards in the task's place.
//!
//! Per camera as the trunk has it, then a hidden layer with normalisation and ReLU, then one output
//! (HIL-SERL's reward classifier). Batches hold as many successes as failures. What is stated about it
//! is from episodes that training did not see: pictures of one episode are too alike to judge by.

use std::path::Path;
use std::sync::Mutex;

use embody_core::{IoContext, Moment, Result, StepTaken, Team};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::config::{HilSerlConfig, Pooling};
use super::encoder::ImageEncoder;
use super::trunk::{Trunk, TrunkTape};
use crate::checkpoint::{self, Stored};
use crate::error::{Error, check};
use crate::noise::{shuffle, stream};
use crate::rl::agent::lock;
use crate::rl::config::{above_zero, at_least_one};
use crate::rl::critics::{pieces, rows_of};
use crate::rl::kernels::Nonlinearity;
use crate::rl::mlp::{Init, Mlp, PIECE, ParamSpec, Tape};
use crate::rl::optimizer::{self, Adam};

const CONFIG: &str = "detector.json";
const MODEL: &str = "detector.safetensors";

/// Settings of a success detector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectorConfig {
    /// Updates.
    pub iterations: u64,
    /// Pictures of an update, half of them successes.
    pub batch_size: usize,
    /// Learning rate.
    pub lr: f64,
    /// Width of the hidden layer.
    pub hidden: usize,
    /// How a camera's map becomes a vector, and its width.
    pub pooling: Pooling,
    /// Weights over the places of a map for each channel.
    pub embeddings: usize,
    /// Width of a camera's vector.
    pub image_latent: usize,
    /// Probability from which on a moment counts as a success.
    pub threshold: f32,
    /// Moments in a row that must count as such.
    pub moments: u32,
    /// Part of the episodes that training does not see.
    pub held_out: f64,
    /// Root of every random stream.
    pub seed: u64,
    /// Threads; 0 for one per core. Never changes a result.
    pub threads: usize,
}

impl Default for DetectorConfig {
    fn default() -> Self {
        Self {
            iterations: 150,
            batch_size: 256,
            lr: 1e-4,
            hidden: 256,
            pooling: Pooling::Embeddings,
            embeddings: 8,
            image_latent: 256,
            threshold: 0.75,
            moments: 1,
            held_out: 0.2,
            seed: 0,
            threads: 0,
        }
    }
}

impl DetectorConfig {
    fn validate(&self) -> Result<(), Error> {
        at_least_one(&[
            ("batch_size", self.batch_size),
            ("hidden", self.hidden),
            ("embeddings", self.embeddings),
            ("image_latent", self.image_latent),
        ])?;
        at_least_one(&[("iterations", self.iterations), ("moments", u64::from(self.moments))])?;
        above_zero(&[("lr", self.lr)])?;
        let fits = self.threshold > 0.0 && self.threshold < 1.0;
        check("threshold", self.threshold, fits, "it must be between 0 and 1")?;
        let fits = self.held_out > 0.0 && self.held_out < 1.0;
        check("held_out", self.held_out, fits, "it must be between 0 and 1")
    }

    fn trunk(&self, maps: &[[usize; 3]]) -> Trunk {
        let cfg = HilSerlConfig {
            pooling: self.pooling,
            embeddings: self.embeddings,
            image_latent: self.image_latent,
            state_latent: 0,
            ..HilSerlConfig::hil_serl()
        };
        Trunk::new(&cfg, 0, maps)
    }
}

/// Pictures of one moment, and whether they show success.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledMoment {
    /// RGB pictures of the encoder's size, camera by camera.
    pub pictures: Vec<Vec<u8>>,
    /// Whether the task is achieved in them.
    pub success: bool,
    /// The episode that they are of.
    pub episode: u64,
}

/// How good a detector is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DetectorReport {
    /// Moments learned from: successes, failures.
    pub learned_from: (usize, usize),
    /// Moments of episodes that training did not see: successes, failures.
    pub held_out: (usize, usize),
    /// Share of the held-out successes that it takes for such, at its threshold.
    pub found: f64,
    /// Share of the held-out failures that it takes for successes.
    pub false_alarms: f64,
    /// Mean of the shares of both kinds that it tells right.
    pub balanced_accuracy: f64,
    /// Cross entropy of the last update.
    pub loss: f64,
}

/// A trained detector.
pub struct SuccessDetector {
    cfg: DetectorConfig,
    encoder: String,
    maps: Vec<[usize; 3]>,
    trunk: Trunk,
    trunk_params: Vec<f32>,
    head: Mlp,
    params: Vec<f32>,
    tapes: (TrunkTape, Tape),
    z: Vec<f32>,
    /// Moments in a row that counted as success.
    streak: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    settings: DetectorConfig,
    encoder: String,
    maps: Vec<[usize; 3]>,
}

struct Work {
    trunk: TrunkTape,
    head: Tape,
    z: Vec<f32>,
    dz: Vec<f32>,
    trunk_grads: Vec<f32>,
    grads: Vec<f32>,
    loss: f64,
}

impl SuccessDetector {
    fn new(cfg: &DetectorConfig, encoder: String, maps: Vec<[usize; 3]>) -> Self {
        let trunk = cfg.trunk(&maps);
        let head = Mlp::new(&[trunk.outputs(), cfg.hidden, 1], Nonlinearity::Relu, true);
        let (mut trunk_params, mut params) = (vec![0.0; trunk.len()], vec![0.0; head.len()]);
        trunk.init(&mut trunk_params, &mut stream(cfg.seed, "detector/trunk", 0));
        head.init(&mut params, Init::Uniform, &mut stream(cfg.seed, "detector/head", 0));
        let tapes = (trunk.tape(), head.tape());
        let z = vec![0.0; trunk.outputs()];
        let cfg = cfg.clone();
        Self { cfg, encoder, maps, trunk, trunk_params, head, params, tapes, z, streak: 0 }
    }

    /// Trains a detector on labelled moments.
    ///
    /// # Errors
    /// When settings are impossible, pictures do not fit the encoder, or one of both kinds is missing
    /// among the episodes to learn from or among those held out.
    pub fn train(
        encoder: &dyn ImageEncoder,
        moments: &mut dyn Iterator<Item = Result<LabelledMoment>>,
        cfg: &DetectorConfig,
    ) -> Result<(Self, DetectorReport)> {
        cfg.validate()?;
        let mut all: Vec<(Vec<Vec<f32>>, bool, u64)> = Vec::new();
        for moment in moments {
            let moment = moment?;
            let maps: Result<Vec<_>> = moment.pictures.iter().map(|p| encoder.encode(p)).collect();
            all.push((maps?, moment.success, moment.episode));
        }
        let cameras = all.first().map_or(0, |(maps, ..)| maps.len());
        let maps = vec![encoder.map(); cameras];
        let len: usize = encoder.map().iter().product();
        if let Some((found, ..)) =
            all.iter().find(|(m, ..)| m.len() != cameras || m.iter().any(|m| m.len() != len))
        {
            return Err(Error::FeatureShape {
                key: "pictures".into(),
                found: format!("{} of a moment", found.len()),
                expected: format!("{cameras} of the encoder's size"),
            }
            .into());
        }
        // Whole episodes are held out, drawn by their order of appearance.
        let mut episodes: Vec<u64> = Vec::new();
        for (.., episode) in &all {
            if !episodes.contains(episode) {
                episodes.push(*episode);
            }
        }
        let mut order = vec![0; episodes.len()];
        shuffle(&mut stream(cfg.seed, "detector/held out", 0), &mut order);
        let count = (episodes.len() as f64 * cfg.held_out).ceil() as usize;
        let hidden: Vec<u64> = order[..count].iter().map(|i| episodes[*i as usize]).collect();
        let kind = |success: bool, held: bool| -> Vec<usize> {
            let fits = |i: &usize| all[*i].1 == success && hidden.contains(&all[*i].2) == held;
            (0..all.len()).filter(fits).collect()
        };
        let (good, bad) = (kind(true, false), kind(false, false));
        let (held_good, held_bad) = (kind(true, true), kind(false, true));
        if [&good, &bad, &held_good, &held_bad].iter().any(|k| k.is_empty()) {
            return Err(Error::Invalid {
                what: format!(
                    "{} successes and {} failures to learn from, {} and {} held out: each must be \
                     there",
                    good.len(),
                    bad.len(),
                    held_good.len(),
                    held_bad.len()
                ),
                hint: "label pictures of more episodes of both kinds".into(),
            }
            .into());
        }
        let mut detector = Self::new(cfg, encoder.id(), maps);
        let mut loss = 0.0;
        let team = Team::new(cfg.threads);
        let mut adams =
            (Adam::new(detector.trunk.len(), 1e-8), Adam::new(detector.head.len(), 1e-8));
        let shards = (cfg.batch_size / 128).clamp(1, 16);
        let work: Vec<_> = (0..shards).map(|_| Mutex::new(detector.work())).collect();
        for i in 0..cfg.iterations {
            let mut rng = stream(cfg.seed, "detector/batch", i);
            let mut rows = Vec::with_capacity(cfg.batch_size);
            for row in 0..cfg.batch_size {
                let kind = if row % 2 == 0 { &good } else { &bad };
                rows.push(kind[rng.random_range(0..kind.len())]);
            }
            let batch = |row: usize| (&all[rows[row]].0, all[rows[row]].1);
            loss = detector.update(&team, &work, cfg.batch_size, &batch, &mut adams)?;
        }
        let mut share = |kind: &[usize]| {
            let hits = kind.iter().filter(|i| {
                let maps: Vec<&[f32]> = all[**i].0.iter().map(Vec::as_slice).collect();
                detector.probability(&maps) >= cfg.threshold
            });
            hits.count() as f64 / kind.len() as f64
        };
        let (found, false_alarms) = (share(&held_good), share(&held_bad));
        let report = DetectorReport {
            learned_from: (good.len(), bad.len()),
            held_out: (held_good.len(), held_bad.len()),
            found,
            false_alarms,
            balanced_accuracy: 0.5 * (found + 1.0 - false_alarms),
            loss,
        };
        Ok((detector, report))
    }

    fn work(&self) -> Work {
        let z = PIECE * self.trunk.outputs();
        Work {
            trunk: self.trunk.tape(),
            head: self.head.tape(),
            z: vec![0.0; z],
            dz: vec![0.0; z],
            trunk_grads: vec![0.0; self.trunk.len()],
            grads: vec![0.0; self.head.len()],
            loss: 0.0,
        }
    }

    /// One update; returns the mean cross entropy.
    fn update<'m>(
        &mut self,
        team: &Team,
        work: &[Mutex<Work>],
        size: usize,
        batch: &(dyn Fn(usize) -> (&'m Vec<Vec<f32>>, bool) + Sync),
        adams: &mut (Adam, Adam),
    ) -> Result<f64> {
        let z_dim = self.trunk.outputs();
        let lens = self.trunk.map_lens();
        team.run(work.len(), &|s| {
            let w = &mut *lock(&work[s]);
            let (from, to) = (s * size / work.len(), (s + 1) * size / work.len());
            w.loss = 0.0;
            let mut maps: Vec<Vec<f32>> = vec![Vec::new(); lens.len()];
            for row in from..to {
                let (row, _) = batch(row);
                maps.iter_mut().zip(row).for_each(|(m, row)| m.extend_from_slice(row));
            }
            for piece in pieces(to - from) {
                let (rows, fresh) = (piece.len(), piece.start == 0);
                let maps: Vec<&[f32]> =
                    maps.iter().zip(&lens).map(|(m, len)| rows_of(m, *len, &piece)).collect();
                let z = &mut w.z[..rows * z_dim];
                self.trunk.forward(&self.trunk_params, &[], &maps, rows, &mut w.trunk, z);
                let logits = self.head.forward(&self.params, z, &mut w.head);
                let mut d = vec![0.0; rows];
                for (i, (d, logit)) in d.iter_mut().zip(logits).enumerate() {
                    let (logit, success) = (f64::from(*logit), batch(from + piece.start + i).1);
                    let p = 1.0 / (1.0 + (-logit).exp());
                    let wanted = f64::from(success);
                    // ln(1 + e^-|x|) + max(x, 0) − x · wanted.
                    w.loss += (-logit.abs()).exp().ln_1p() + logit.max(0.0) - logit * wanted;
                    *d = ((p - wanted) / size as f64) as f32;
                }
                let dz = &mut w.dz[..rows * z_dim];
                let (tape, grads) = (&mut w.head, &mut w.grads);
                self.head.backward(&self.params, z, &d, tape, grads, fresh, Some(&mut *dz));
                let (tape, grads) = (&mut w.trunk, &mut w.trunk_grads);
                let params = &self.trunk_params;
                self.trunk.backward(params, &[], &maps, (dz, z_dim), tape, grads, fresh);
            }
        });
        let work: Vec<_> = work.iter().map(lock).collect();
        let (mut trunk_grads, mut grads) =
            (vec![0.0; self.trunk.len()], vec![0.0; self.head.len()]);
        let parts: Vec<&[f32]> = work.iter().map(|w| w.trunk_grads.as_slice()).collect();
        let norm = optimizer::sum(team, &parts, &mut trunk_grads);
        let parts: Vec<&[f32]> = work.iter().map(|w| w.grads.as_slice()).collect();
        let norm = norm + optimizer::sum(team, &parts, &mut grads);
        if !norm.is_finite() {
            let (what, step) = ("detector's gradient norm", adams.0.steps);
            return Err(Error::LearningDiverged { what, value: norm, step }.into());
        }
        adams.0.step(team, &mut self.trunk_params, &trunk_grads, self.cfg.lr, 1.0);
        adams.1.step(team, &mut self.params, &grads, self.cfg.lr, 1.0);
        Ok(work.iter().map(|w| w.loss).sum::<f64>() / size as f64)
    }

    /// How probable success is in a moment with these maps, camera by camera.
    pub fn probability(&mut self, maps: &[&[f32]]) -> f32 {
        let (trunk, head) = &mut self.tapes;
        self.trunk.row(&self.trunk_params, &[], maps, trunk, &mut self.z);
        let logit = self.head.row(&self.params, &self.z, head)[0];
        1.0 / (1.0 + (-logit).exp())
    }

    /// Whether a moment ends the episode in success: enough moments in a row at or above the threshold.
    ///
    /// # Errors
    /// When the pictures do not fit the encoder, or it is another one.
    pub fn detect(&mut self, encoder: &dyn ImageEncoder, moment: &Moment) -> Result<bool> {
        let fits = encoder.id() == self.encoder;
        check("encoder", encoder.id(), fits, "the detector was trained with another one")?;
        let maps: Result<Vec<_>> = moment.pictures.iter().map(|p| encoder.encode(p)).collect();
        let maps = maps?;
        let maps: Vec<&[f32]> = maps.iter().map(Vec::as_slice).collect();
        let rule = "the detector was trained with another number";
        check("cameras", maps.len(), maps.len() == self.maps.len(), rule)?;
        let hit = self.probability(&maps) >= self.cfg.threshold;
        self.streak = if hit { self.streak + 1 } else { 0 };
        Ok(self.streak >= self.cfg.moments)
    }

    /// Puts the detector's reward and end in place of the task's: 1 and an end at success, else 0.
    pub(crate) fn judge(
        &mut self,
        encoder: Option<&(dyn ImageEncoder + 'static)>,
        moment: &Moment,
        step: &mut StepTaken,
    ) -> Result<()> {
        let none = || Error::Invalid {
            what: "a success detector without an encoder".into(),
            hint: "give the encoder that it was trained with, and its cameras".into(),
        };
        let success = self.detect(encoder.ok_or_else(none)?, moment)?;
        (step.reward, step.terminated) = (if success { 1.0 } else { 0.0 }, success);
        if step.terminated || step.truncated {
            self.streak = 0;
        }
        Ok(())
    }

    fn specs(&self) -> (Vec<ParamSpec>, Vec<ParamSpec>) {
        (self.trunk.specs(), self.head.specs("head"))
    }

    /// Writes the detector into the existing folder `dir`.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let file = ConfigFile {
            settings: DetectorConfig { threads: 0, ..self.cfg.clone() },
            encoder: self.encoder.clone(),
            maps: self.maps.clone(),
        };
        checkpoint::write_json(&dir.join(CONFIG), &file)?;
        let (trunk, head) = self.specs();
        let mut tensors = Vec::new();
        for (specs, values) in [(trunk, &self.trunk_params), (head, &self.params)] {
            for spec in specs {
                let values = spec.turn(&values[spec.at..spec.at + spec.len()], false);
                tensors.push(Stored::floats(spec.name, spec.shape, values));
            }
        }
        checkpoint::write_tensors(&dir.join(MODEL), &tensors)
    }

    /// Reads what [`SuccessDetector::write`] wrote.
    ///
    /// # Errors
    /// When a file is absent or damaged, or a tensor does not fit.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(CONFIG);
        let file: ConfigFile = checkpoint::read_json(&path)?;
        file.settings.validate()?;
        let path = dir.join(MODEL);
        let bytes = std::fs::read(&path).at("read", &path)?;
        // Files do not decide how much memory is taken.
        let largest = file.maps.iter().map(|m| m.iter().product::<usize>()).max().unwrap_or(0);
        let sane = largest.saturating_mul(file.settings.embeddings) <= bytes.len().max(1 << 22);
        check("maps", format!("{:?}", file.maps), sane, "they do not fit the detector's weights")?;
        let mut detector = Self::new(&file.settings, file.encoder, file.maps);
        let (trunk, head) = detector.specs();
        let wanted: Vec<_> =
            trunk.iter().chain(&head).map(|s| (s.name.clone(), s.shape.clone())).collect();
        let mut values = checkpoint::tensors_in(&path, &bytes, &wanted)?.into_iter();
        for (specs, to) in [(trunk, &mut detector.trunk_params), (head, &mut detector.params)] {
            for spec in specs {
                let values = spec.turn(&values.next().unwrap_or_default(), true);
                to[spec.at..spec.at + spec.len()].copy_from_slice(&values);
            }
        }
        Ok(detector)
    }
}
