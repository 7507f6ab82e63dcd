//! Episodes of a policy in a simulated task, kept as a dataset: demonstrations and evaluations alike.

use std::collections::BTreeMap;
use std::path::Path;

use embody_core::{
    ArrayView, DType, DataView, EnvSpec, EpisodeOutcome, FeatureSpec, Features, Policy, Recorder,
    Result, Task, VecEnv,
};
use embody_data::{LeRobotRecorder, Origin, RecordSpec, VideoSettings};
use embody_learn::{EpisodeRollout, EvalOptions, EvalResult, Question, evaluate};
use embody_platform::Step;
use serde_json::Value;

/// Key of the action in every dataset.
pub const ACTION: &str = "action";
/// What only a simulator knows; never recorded, so that no policy learns from it.
const PRIVILEGED: &str = "observation.environment_state";
/// Environments side by side. Fixed, not one per core: results must not depend on the machine.
const SLOTS: usize = 16;

/// How many environments to make for so many episodes.
pub fn slots(episodes: usize) -> usize {
    episodes.min(SLOTS)
}

/// Refuses what no rollouts can be made of, before anything runs.
///
/// # Errors
/// An unknown task, no episode; names step, file and line.
pub fn check(step: &Step, task: &str, episodes: usize) -> Result<()> {
    embody_sim::show(task).map_err(|e| e.context(format!("step `{}`", step.name)))?;
    if episodes == 0 {
        return Err(step.bad_value("episodes", "must be at least 1"));
    }
    Ok(())
}

/// What to run.
pub struct Rollouts<'a> {
    /// The environments.
    pub env: &'a mut dyn VecEnv,
    /// Who acts.
    pub policy: &'a mut dyn Policy,
    /// One episode each.
    pub seeds: Vec<u64>,
    /// Ends as soon as this is answered.
    pub until: Option<Question>,
    /// Where to keep every episode.
    pub record_to: &'a Path,
    /// For the dataset's lineage.
    pub parameters: Value,
    /// How video is encoded.
    pub video: VideoSettings,
    /// Encoding threads.
    pub threads: usize,
}

/// Runs one episode per seed and keeps them in the order of the seeds.
///
/// # Errors
/// What the environment, the policy or the recorder says.
pub fn run(rollouts: Rollouts<'_>, task: Task<'_>) -> Result<EvalResult> {
    let spec = rollouts.env.spec().clone();
    let how = (rollouts.video, rollouts.threads);
    let mut keeper = Keeper::create(rollouts.record_to, &spec, rollouts.parameters, how, None)?;
    let record_keys = keeper.features.keys().filter(|k| *k != ACTION).cloned().collect();
    let record_episodes = rollouts.seeds.len();
    let options =
        EvalOptions { seeds: rollouts.seeds, record_episodes, record_keys, until: rollouts.until };
    let mut keep = |episode: EpisodeRollout| keeper.take(episode);
    let result = evaluate(rollouts.env, rollouts.policy, &options, &mut keep, task)?;
    keeper.finish()?;
    Ok(result)
}

/// Writes episodes in the order of their seeds, whichever ends first.
pub struct Keeper {
    recorder: LeRobotRecorder,
    features: Features,
    task: String,
    success_defined: bool,
    waiting: BTreeMap<usize, EpisodeRollout>,
    next: usize,
}

impl Keeper {
    /// Starts a dataset of what environments of `spec` show, at `target`.
    ///
    /// # Errors
    /// What the recorder says.
    pub fn create(
        target: &Path,
        spec: &EnvSpec,
        parameters: Value,
        (video, threads): (VideoSettings, usize),
        origin: Option<Origin>,
    ) -> Result<Self> {
        let features = recorded_features(&spec.observations, &spec.action);
        let record = RecordSpec {
            fps: spec.control_hz,
            robot_type: Some(spec.robot_type.clone()),
            features: features.clone(),
            video,
            threads,
            parameters,
            origin,
        };
        Ok(Self {
            // Seeds make every episode again: no journal is needed.
            recorder: LeRobotRecorder::without_journal(target, record)?,
            features,
            task: spec.task.clone(),
            success_defined: spec.success_defined,
            waiting: BTreeMap::new(),
            next: 0,
        })
    }

    /// Puts the dataset in place.
    ///
    /// # Errors
    /// What the recorder says.
    pub fn finish(self) -> Result<()> {
        self.recorder.finish().map(drop)
    }

    /// Keeps an episode; those that come before their turn wait.
    ///
    /// # Errors
    /// What the recorder says.
    pub fn take(&mut self, episode: EpisodeRollout) -> Result<()> {
        self.waiting.insert(episode.index, episode);
        while let Some(episode) = self.waiting.remove(&self.next) {
            self.save(&episode)?;
            self.next += 1;
        }
        Ok(())
    }

    fn save(&mut self, episode: &EpisodeRollout) -> Result<()> {
        self.recorder.begin_episode(&self.task)?;
        for frame in 0..episode.steps {
            let mut values = Vec::with_capacity(self.features.len());
            for (key, feature) in &self.features {
                let size = feature.numel();
                let range = frame * size..(frame + 1) * size;
                let data = match episode.observations.get(key).map(|a| a.view().data) {
                    Some(DataView::U8(data)) => DataView::U8(&data[range]),
                    Some(DataView::F32(data)) => DataView::F32(&data[range]),
                    Some(DataView::F64(data)) => DataView::F64(&data[range]),
                    Some(DataView::I64(data)) => DataView::I64(&data[range]),
                    Some(DataView::Bool(data)) => DataView::Bool(&data[range]),
                    None => DataView::F32(&episode.actions[range]),
                };
                values.push((key.as_str(), ArrayView { shape: &feature.shape, data }));
            }
            self.recorder.add_frame(&values)?;
        }
        self.recorder.save_episode(EpisodeOutcome {
            success: self.success_defined.then_some(episode.success),
            seed: Some(episode.seed),
            total_reward: Some(episode.total_reward),
            simulation: episode.simulation.clone(),
        })
    }
}

/// The features of which a recording of these consists.
pub fn recorded_features(observations: &Features, action: &FeatureSpec) -> Features {
    let mut features: Features = observations
        .iter()
        .filter(|(key, _)| *key != PRIVILEGED)
        .map(|(k, f)| (k.clone(), f.clone()))
        .collect();
    for feature in
        features.values_mut().filter(|f| f.dtype == DType::Image || f.dtype == DType::Uint8)
    {
        feature.dtype = DType::Video;
    }
    features.insert(ACTION.to_owned(), action.clone());
    features
}
