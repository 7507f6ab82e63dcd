//! `kind = "train"`: a policy from a dataset.

use std::path::{Path, PathBuf};

use embody_core::{
    BatchSource, Embodiments, Error, FeatureSpec, Mixture, MixtureStats, Portion, Result,
};
use embody_data::{Dataset, FrameSource, HELD_OUT, SourceOptions};
use embody_learn::{Backend, Start, StartStatistics, TrainConfig, required_windows};
use embody_platform::{Step, StepContext, StepKind, StepOutput};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::process::{TRAIN, dataset_dir};
use super::rollouts::ACTION;
use super::{output, policy, resolved};

/// Seconds, beside the curves.
const TIMING: &str = "timing.jsonl";

/// Trains a policy.
pub struct Train {
    /// Where networks are computed.
    pub backend: Backend,
}

/// Parameters beside those of [`TrainConfig`], which stand beside them in the recipe.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    /// `@STEP` of a processing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dataset: Option<String>,
    /// Several of them, each with a weight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    datasets: Vec<Weighted>,
    /// By whose statistics values of several datasets are normalised.
    #[serde(default)]
    normalize: MixtureStats,
    /// Whether they are of one robot or of several that differ.
    #[serde(default)]
    embodiments: Embodiments,
    /// Whether episodes are drawn by their sampling weights.
    #[serde(default = "yes")]
    weighted: bool,
    #[serde(default = "default_preset")]
    preset: String,
    /// A policy to go on from: `@STEP` of a training, or a checkpoint's folder, ours or LeRobot's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    /// By which statistics it goes on.
    #[serde(default)]
    start_statistics: StartStatistics,
    /// Height and width that pictures are brought to; absent: as recorded.
    #[serde(default)]
    image_size: Option<[usize; 2]>,
}

/// A dataset of a mixture.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Weighted {
    dataset: String,
    /// Its share of the frames drawn is this over the sum of all.
    #[serde(default = "one")]
    weight: f64,
}

impl Weighted {
    fn portion<'a>(&self, source: &'a FrameSource) -> Portion<'a> {
        let name = self.dataset.trim_start_matches('@').to_owned();
        Portion { name, source, weight: self.weight }
    }
}

impl Head {
    fn datasets(&self) -> Vec<Weighted> {
        let single = |dataset: &String| Weighted { dataset: dataset.clone(), weight: 1.0 };
        self.dataset.iter().map(single).chain(self.datasets.iter().cloned()).collect()
    }
}

fn yes() -> bool {
    true
}

fn one() -> f64 {
    1.0
}

fn default_preset() -> String {
    "act-small".into()
}

/// Keys of [`TrainConfig`] that are the run's business, not the recipe's.
const OF_THE_RUN: [&str; 4] = ["seed", "threads", "backend", "prefetch"];
const HEAD_KEYS: [&str; 9] = [
    "dataset",
    "datasets",
    "normalize",
    "embodiments",
    "weighted",
    "preset",
    "start",
    "start_statistics",
    "image_size",
];

/// What came out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// Kind of policy.
    pub policy: String,
    /// Number of weights.
    pub parameters: usize,
    /// Optimiser steps.
    pub steps: usize,
    /// Frames to learn from.
    pub frames: usize,
    /// Held-out frames.
    pub held_out_frames: usize,
    /// Loss over the last logged steps.
    pub train_loss: f64,
    /// Loss on held-out frames at the end.
    pub held_out_loss: Option<f64>,
}

impl Outcome {
    pub fn summary(&self) -> String {
        let held_out =
            self.held_out_loss.map(|l| format!(", held-out loss {l:.4}")).unwrap_or_default();
        format!(
            "{} with {:.2} M weights, {} steps on {} frames, loss {:.4}{held_out}",
            self.policy,
            self.parameters as f64 / 1e6,
            self.steps,
            self.frames,
            self.train_loss
        )
    }
}

impl StepKind for Train {
    fn name(&self) -> &'static str {
        "train"
    }

    fn about(&self) -> &'static str {
        "train a policy on a dataset, or several with weights: dataset, datasets, normalize, \
         embodiments, weighted, preset, start, start_statistics, image_size, shuffle_window, \
         steps, batch_size, lr, policy, …"
    }

    fn version(&self) -> u32 {
        2
    }

    fn resumable(&self) -> bool {
        true
    }

    fn is_volatile(&self, relative: &str) -> bool {
        relative == TIMING || relative.starts_with(embody_learn::EVENTS_DIR)
    }

    fn resolve(&self, step: &Step) -> Result<Value> {
        let (head, config) = parse(step)?;
        let mut all = resolved(&head)?;
        let mut config = resolved(&config)?;
        if let (Some(start), Value::Object(all), Value::Object(config)) =
            (&head.start, &mut all, &mut config)
        {
            // Its settings stand in its folder.
            config.remove("policy");
            all.insert("start".into(), policy::recorded(start).into());
        }
        if let (Value::Object(all), Value::Object(config)) = (&mut all, config) {
            all.extend(config.into_iter().filter(|(k, _)| !OF_THE_RUN.contains(&k.as_str())));
        }
        Ok(all)
    }

    fn external_inputs(&self, step: &Step) -> Result<Vec<PathBuf>> {
        let (head, _) = parse(step)?;
        let folder = head.start.as_deref().and_then(policy::folder);
        Ok(folder.map(Path::to_owned).into_iter().collect())
    }

    fn run(&self, ctx: &StepContext<'_>) -> Result<StepOutput> {
        let (mut head, mut config) = parse(ctx.step)?;
        let start = match &head.start {
            Some(place) => {
                Some(Start::read(&policy::dir(ctx, "start", place)?, head.start_statistics)?)
            }
            None => None,
        };
        if let Some(start) = &start {
            config.policy = start.policy().clone();
            if config.inputs.is_empty() {
                config.inputs = start.inputs();
            }
            head.image_size = head.image_size.or(start.image_size());
        }
        config.seed = ctx.seed;
        config.threads = ctx.threads;
        config.backend = self.backend;
        let datasets = head.datasets();
        let (mut train, mut held_out) = (Vec::new(), Vec::new());
        for weighted in &datasets {
            let dir = dataset_dir(ctx.input("dataset", &weighted.dataset)?);
            train.push(open_source(&dir, TRAIN, &head, &config, ctx)?);
            let has = Dataset::open(&dir)?.info().splits.contains_key(HELD_OUT);
            held_out.push(match has {
                true => Some(open_source(&dir, HELD_OUT, &head, &config, ctx)?),
                false => None,
            });
        }
        let apart = head.embodiments == Embodiments::Padded;
        let mixture = |portions| Mixture::new(portions, head.normalize, head.embodiments);
        let train =
            mixture(datasets.iter().zip(&train).map(|(d, source)| d.portion(source)).collect())?;
        let in_units = apart || head.normalize == MixtureStats::Joint || held_out[0].is_some();
        if !in_units {
            ctx.task.note(
                "the first dataset, in whose units the policy speaks, holds no episodes \
                           out: there is no held-out loss",
            );
        }
        let judged = datasets.iter().zip(&held_out).filter(|_| in_units);
        let judged: Vec<Portion<'_>> =
            judged.filter_map(|(d, source)| Some(d.portion(source.as_ref()?))).collect();
        let held_out = match judged.is_empty() {
            true => None,
            false => Some(mixture(judged)?),
        };
        let held_out = held_out.as_ref().map(|s| s as &dyn BatchSource);
        let outcome =
            embody_learn::train(&train, held_out, &config, start.as_ref(), ctx.dir, ctx.task)?;
        let result = Outcome {
            policy: start.map_or(head.preset, |start| start.policy().kind().to_owned()),
            parameters: outcome.parameters,
            steps: outcome.steps,
            frames: train.len(),
            held_out_frames: held_out.map_or(0, BatchSource::len),
            train_loss: outcome.train_loss,
            held_out_loss: outcome.held_out_loss,
        };
        let measured = json!({
            "training_s": outcome.elapsed_s,
            "data_wait": outcome.data_wait,
            "backend": self.backend,
        });
        output(&result, &measured)
    }
}

/// Opens the frames of a split that `config`'s policy reads.
fn open_source(
    dataset: &Path,
    split: &str,
    head: &Head,
    config: &TrainConfig,
    ctx: &StepContext<'_>,
) -> Result<FrameSource> {
    let recorded = Dataset::open(dataset)?;
    let readable = |(key, spec): (&'_ String, &FeatureSpec)| {
        (spec.dtype.is_numeric() || spec.dtype.is_visual()).then(|| key.clone())
    };
    let features: Vec<String> = recorded.info().features.iter().filter_map(readable).collect();
    let mut inputs = config.inputs.clone();
    if head.embodiments == Embodiments::Padded {
        // Each robot takes what it has of them.
        inputs.retain(|key| features.contains(key));
    }
    if !inputs.is_empty() {
        inputs.push(ACTION.to_owned());
    }
    let options = SourceOptions {
        split: Some(split.to_owned()),
        inputs,
        image_size: head.image_size.map(|[height, width]| (height, width)),
        windows: required_windows(config, features.iter().map(String::as_str))?,
        threads: ctx.threads,
        unweighted: !head.weighted,
        ..Default::default()
    };
    FrameSource::open(dataset, &options, ctx.task)
}

/// The preset, with what the recipe says laid over it.
fn parse(step: &Step) -> Result<(Head, TrainConfig)> {
    let (of_head, of_config): (toml::Table, toml::Table) =
        step.params.clone().into_iter().partition(|(k, _)| HEAD_KEYS.contains(&k.as_str()));
    let default = toml_of(&TrainConfig::default())?;
    let known: Vec<&str> = HEAD_KEYS
        .into_iter()
        .chain(default.keys().map(String::as_str).filter(|k| !OF_THE_RUN.contains(k)))
        .collect();
    step.check_keys(&known)?;
    let mut head: Head = step.with_params(of_head).parse()?;
    let preset = embody_learn::preset(&head.preset).ok_or_else(|| {
        let names = embody_learn::presets().join(", ");
        step.bad_value("preset", format!("there is no preset `{}`", head.preset))
            .with_hint(format!("there are: {names}"))
    })?;
    head.image_size = head.image_size.or(preset.image_size);
    if head.dataset.is_some() != head.datasets.is_empty() {
        return Err(step
            .bad_value("dataset", "give either `dataset` or `datasets`")
            .with_hint("several datasets: datasets = [{ dataset = \"@a\", weight = 2 }, …]"));
    }
    for d in &head.datasets {
        if !d.weight.is_finite() || d.weight <= 0.0 {
            return Err(step.bad_value("datasets", format!("{}: weight {}", d.dataset, d.weight)));
        }
    }
    if let Some(place) = &head.start {
        policy::check(step, "start", place)?;
        if of_config.contains_key("policy") {
            return Err(step
                .bad_value("policy", "the policy to start from has settings of its own")
                .with_hint("leave out `policy`, or `start`"));
        }
        if !step.params.contains_key("preset") {
            return Err(step
                .bad_value("start", "with what settings it learns on is not said")
                .with_hint(format!(
                    "add `preset`, one of {}",
                    embody_learn::presets().join(", ")
                )));
        }
    }
    let mut merged = toml_of(&preset.config)?;
    lay_over(&mut merged, of_config);
    for key in OF_THE_RUN {
        merged.remove(key);
    }
    let config: TrainConfig = step.with_params(merged).parse()?;
    config.check().map_err(|e| e.context(format!("step `{}`", step.name)))?;
    Ok((head, config))
}

fn toml_of(config: &TrainConfig) -> Result<toml::Table> {
    toml::Table::try_from(config).map_err(|e| Error::new(format!("training settings: {e}")))
}

fn lay_over(base: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(base)), toml::Value::Table(over)) => lay_over(base, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}
