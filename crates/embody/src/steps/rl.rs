//! `kind = "rl"`: a policy learned in a simulated task, by reinforcement.

use std::path::PathBuf;

use embody_core::{Autoreset, Error, Result, VecEnv};
use embody_learn::{AlgorithmConfig, Evaluation, RlConfig, RlPreset, rl_preset, rl_presets};
use embody_platform::{Step, StepContext, StepKind, StepOutput};
use embody_sim::EnvOptions;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{output, resolved};

/// Learns by reinforcement.
pub struct Rl {
    /// Folder with robot models.
    pub assets: PathBuf,
}

/// Parameters beside those of [`RlConfig`] and of the algorithm, which stand beside them in the
/// recipe.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    task: String,
    #[serde(default = "default_preset")]
    preset: String,
}

fn default_preset() -> String {
    "ppo-cleanrl".into()
}

const HEAD_KEYS: [&str; 2] = ["task", "preset"];
/// Keys of [`RlConfig`] that are the run's business, not the recipe's.
const OF_THE_RUN: [&str; 2] = ["seed", "threads"];
/// Files that differ from run to run.
const VOLATILE: [&str; 2] = ["timing.jsonl", embody_learn::EVENTS_DIR];
/// Environments side by side in an evaluation.
const JUDGED_TOGETHER: usize = 8;

/// What came out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// The task.
    pub task: String,
    /// Version of its behaviour.
    pub env_version: u32,
    /// The settings' name.
    pub preset: String,
    /// Number of trained parameters.
    pub parameters: usize,
    /// Environment steps.
    pub steps: u64,
    /// Episodes finished.
    pub episodes: u64,
    /// Mean return of the last hundred episodes of training, noise included.
    pub training_return: Option<f64>,
    /// The last policy, without noise.
    pub evaluation: Option<Evaluation>,
    /// The best one, which is kept.
    pub best: Option<Evaluation>,
}

impl Outcome {
    pub fn summary(&self) -> String {
        let training = self.training_return.map(|r| format!(", return {r:.1}")).unwrap_or_default();
        let best = self.best.map(|b| {
            format!(", best policy {:.1} ± {:.1} (step {})", b.mean_return, b.deviation, b.step)
        });
        format!(
            "{} on {}, {} steps, {} episodes{training}{}",
            self.preset,
            self.task,
            self.steps,
            self.episodes,
            best.unwrap_or_default()
        )
    }
}

impl StepKind for Rl {
    fn name(&self) -> &'static str {
        "rl"
    }

    fn about(&self) -> &'static str {
        "learn a policy in a simulated task by reinforcement: task, preset, steps, num_envs, inputs, \
         eval_every, eval_episodes, and the algorithm's settings"
    }

    fn version(&self) -> u32 {
        2
    }

    fn resumable(&self) -> bool {
        true
    }

    fn is_volatile(&self, relative: &str) -> bool {
        VOLATILE.iter().any(|v| relative.starts_with(v))
    }

    fn resolve(&self, step: &Step) -> Result<Value> {
        let (head, preset) = parse(step)?;
        let mut all = resolved(&head)?;
        if let Value::Object(all) = &mut all {
            for part in [resolved(&preset.run)?, resolved(&preset.algorithm)?] {
                let Value::Object(part) = part else { continue };
                all.extend(part.into_iter().filter(|(k, _)| !OF_THE_RUN.contains(&k.as_str())));
            }
        }
        Ok(all)
    }

    fn run(&self, ctx: &StepContext<'_>) -> Result<StepOutput> {
        let (head, preset) = parse(ctx.step)?;
        let config = RlConfig { seed: ctx.seed, threads: ctx.threads, ..preset.run };
        let num_envs = config.num_envs;
        let mut env = self.make(&head.task, num_envs, Autoreset::SameStep, ctx.threads)?;
        let judged = config.eval_episodes.min(JUDGED_TOGETHER);
        let mut judge = match judged {
            0 => None,
            n => Some(self.make(&head.task, n, Autoreset::Disabled, ctx.threads)?),
        };
        let judge = judge.as_mut().map(|env| env.as_mut() as &mut dyn VecEnv);
        let (env, algorithm) = (env.as_mut(), &preset.algorithm);
        let outcome = embody_learn::train_rl(env, judge, algorithm, &config, ctx.dir, ctx.task)?;
        let result = Outcome {
            task: head.task,
            env_version: env.spec().version,
            preset: head.preset,
            parameters: outcome.parameters,
            steps: outcome.steps,
            episodes: outcome.episodes,
            training_return: outcome.training_return,
            evaluation: outcome.evaluation,
            best: outcome.best,
        };
        output(
            &result,
            &json!({ "training_s": outcome.elapsed_s, "steps_per_s": outcome.steps_per_s }),
        )
    }
}

impl Rl {
    fn make(
        &self,
        task: &str,
        num_envs: usize,
        autoreset: Autoreset,
        threads: usize,
    ) -> Result<Box<dyn VecEnv>> {
        let options = EnvOptions {
            num_envs,
            // A thread more than environments would only be waited for.
            threads: if num_envs == 1 { 1 } else { threads },
            camera_size: None,
            autoreset,
            trace: false,
            ..EnvOptions::new(&self.assets)
        };
        embody_sim::make(task, options)
    }
}

/// The preset, with what the recipe says laid over it.
fn parse(step: &Step) -> Result<(Head, RlPreset)> {
    let (of_head, rest): (toml::Table, toml::Table) =
        step.params.clone().into_iter().partition(|(k, _)| HEAD_KEYS.contains(&k.as_str()));
    let name = of_head.get("preset").and_then(toml::Value::as_str);
    let name = name.map_or_else(default_preset, str::to_owned);
    let mut preset = rl_preset(&name).ok_or_else(|| {
        let names: Vec<_> = rl_presets().iter().map(|p| p.name).collect();
        let near = embody_core::nearest_key(&name, names.iter().copied());
        let near = near.map(|n| format!("did you mean `{n}`? ")).unwrap_or_default();
        step.bad_value("preset", format!("there is no preset `{name}`"))
            .with_hint(format!("{near}there are: {}", names.join(", ")))
    })?;
    let mut run = table_of(&preset.run)?;
    let mut algorithm = table_of(&preset.algorithm)?;
    OF_THE_RUN.iter().for_each(|key| drop(run.remove(*key)));
    // The tag: which algorithm it is, the preset says.
    algorithm.remove("algorithm");
    let known: Vec<&str> = HEAD_KEYS
        .into_iter()
        .chain(run.keys().chain(algorithm.keys()).map(String::as_str))
        .collect();
    step.check_keys(&known)?;
    let head: Head = step.with_params(of_head).parse()?;
    embody_sim::show(&head.task).map_err(|e| e.context(format!("step `{}`", step.name)))?;
    for (key, value) in rest {
        let part = if run.contains_key(&key) { &mut run } else { &mut algorithm };
        part.insert(key, value);
    }
    preset.run = step.with_params(run).parse()?;
    preset.algorithm = match preset.algorithm {
        AlgorithmConfig::Ppo(_) => AlgorithmConfig::Ppo(step.with_params(algorithm).parse()?),
        AlgorithmConfig::Sac(_) => AlgorithmConfig::Sac(step.with_params(algorithm).parse()?),
        AlgorithmConfig::Td3(_) => AlgorithmConfig::Td3(step.with_params(algorithm).parse()?),
    };
    preset.algorithm.check(&preset.run).map_err(|e| e.context(format!("step `{}`", step.name)))?;
    Ok((head, preset))
}

fn table_of<T: Serialize>(settings: &T) -> Result<toml::Table> {
    toml::Table::try_from(settings).map_err(|e| Error::new(format!("settings: {e}")))
}
