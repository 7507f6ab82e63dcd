//! An actor's body: environments stepped by a policy that a person may take over from, and the moments
//! of it.
//!
//! What is recorded is what was executed: after the intervention, after the bounds, after what the
//! environment itself changed. An episode's last observation stays with it; the next one begins with
//! a moment of its own. A time limit is a truncation, not an end.

use embody_core::{Autoreset, Moment, Observations, Result, StepTaken, VecEnv, derive_seed};
use serde::{Deserialize, Serialize};

use super::config::HilSerlConfig;
use super::gripper::GripperWatch;
use super::observe::Eyes;
use crate::error::Error;
use crate::rl::policy::check_bounds;

/// One who may take over: a person with a leader arm, a gamepad or the keyboard, or a script that
/// stands in for one while training.
pub trait Intervener: Send {
    /// An episode begins in environment `env`.
    fn reset(&mut self, env: usize);
    /// Called before every step of environment `env` with the policy's action in `action`, in the task's
    /// units: writes another one and returns true to take over this step.
    ///
    /// # Errors
    /// When the device does not answer.
    fn intervene(
        &mut self,
        env: usize,
        observations: &Observations<'_>,
        action: &mut [f32],
    ) -> Result<bool>;
    /// Everything that decides what it does next, for [`Intervener::restore`].
    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }
    /// Goes on from [`Intervener::snapshot`].
    ///
    /// # Errors
    /// When the bytes are of another one.
    fn restore(&mut self, _snapshot: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// A finished episode of training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EpisodeDone {
    /// Environment.
    pub env: usize,
    /// Sum of rewards.
    pub total_reward: f64,
    /// Steps.
    pub steps: u64,
    /// Whether the task was achieved, where it defines that.
    pub success: Option<bool>,
    /// Steps that someone took over.
    pub intervened: u64,
    /// Times that someone took over.
    pub interventions: u64,
}

impl EpisodeDone {
    /// Part of the steps that someone took over.
    pub fn intervention_rate(&self) -> f64 {
        self.intervened as f64 / self.steps.max(1) as f64
    }
}

/// The running episode of an environment.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Running {
    reward_bits: u64,
    steps: u64,
    intervened: u64,
    interventions: u64,
    /// Whether someone had the last step.
    held: bool,
    watch: GripperWatch,
    /// Episodes before it.
    episodes: u64,
    seq: u64,
}

/// [`Body`] in a checkpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SavedBody {
    running: Vec<Running>,
}

/// Writes the policy's action for a moment of an environment; returns the version of its weights.
pub(crate) type Act<'a> = dyn FnMut(usize, &Moment, &mut [f32]) -> Result<u64> + 'a;

/// Environments, and what is going on in them.
pub(crate) struct Body<'e> {
    pub env: &'e mut dyn VecEnv,
    pub eyes: Eyes,
    seed: u64,
    gripper: Option<usize>,
    penalty: f32,
    running: Vec<Running>,
    /// The present moment of each environment.
    pub now: Vec<Moment>,
    active: Vec<bool>,
    actions: Vec<f32>,
    low: Vec<f32>,
    high: Vec<f32>,
}

impl<'e> Body<'e> {
    /// Takes environments over; nothing is reset yet.
    pub fn new(
        env: &'e mut dyn VecEnv,
        eyes: Eyes,
        cfg: &HilSerlConfig,
        seed: u64,
    ) -> Result<Self> {
        if env.autoreset() != Autoreset::Disabled {
            return Err(Error::Invalid {
                what: format!("environment `{}` resets itself", env.spec().id),
                hint: "make it without `autoreset`: a robot's episodes begin when it is told"
                    .into(),
            }
            .into());
        }
        let spec = env.spec();
        let (low, high) = (spec.action_low.clone(), spec.action_high.clone());
        check_bounds(&low, &high)?;
        if let Some(gripper) = cfg.gripper
            && gripper >= low.len()
        {
            let rule = format!("the action has {} dimensions", low.len());
            return Err(Error::Config { key: "gripper", value: gripper.to_string(), rule }.into());
        }
        let num = env.num_envs();
        Ok(Self {
            eyes,
            seed,
            gripper: cfg.gripper,
            penalty: cfg.gripper_penalty as f32,
            running: vec![Running::default(); num],
            now: vec![Moment::default(); num],
            active: vec![true; num],
            actions: vec![0.0; num * low.len()],
            low,
            high,
            env,
        })
    }

    /// Number of environments.
    pub fn num(&self) -> usize {
        self.running.len()
    }

    /// What its moments are made of.
    pub fn experience(&self) -> super::buffer::ExperienceSpec {
        self.eyes.experience(self.low.len())
    }

    /// Bounds of the action.
    pub fn bounds(&self) -> (&[f32], &[f32]) {
        (&self.low, &self.high)
    }

    /// Begins an episode everywhere. `last(env)` is the last number of that environment's moments.
    pub fn begin(
        &mut self,
        last: impl Fn(usize) -> u64,
        push: &mut dyn FnMut(usize, &Moment) -> Result<()>,
    ) -> Result<()> {
        for (env, running) in self.running.iter_mut().enumerate() {
            running.seq = last(env);
        }
        let all = vec![true; self.num()];
        self.reset(&all, push)
    }

    fn reset(
        &mut self,
        which: &[bool],
        push: &mut dyn FnMut(usize, &Moment) -> Result<()>,
    ) -> Result<()> {
        let seeds: Vec<_> = (0..self.num())
            .map(|i| {
                let label = format!("hilserl/episode/{i}");
                which[i].then(|| derive_seed(self.seed, &label, self.running[i].episodes))
            })
            .collect();
        self.env.reset(&seeds)?;
        let observations = self.env.observations();
        for i in (0..self.running.len()).filter(|i| which[*i]) {
            let (running, moment) = (&mut self.running[i], &mut self.now[i]);
            let (episodes, seq) = (running.episodes + 1, running.seq + 1);
            *running = Running { episodes, seq, ..Running::default() };
            (moment.seq, moment.step) = (seq, None);
            self.eyes.see(&observations, i, moment)?;
            push(i, moment)?;
        }
        Ok(())
    }

    /// One step of every environment. `judge` may put another reward and end in place of the task's.
    pub fn step(
        &mut self,
        act: &mut Act<'_>,
        mut intervener: Option<&mut (dyn Intervener + '_)>,
        judge: &mut dyn FnMut(&Moment, &mut StepTaken) -> Result<()>,
        push: &mut dyn FnMut(usize, &Moment) -> Result<()>,
    ) -> Result<Vec<EpisodeDone>> {
        let n = self.low.len();
        let mut versions = vec![0; self.num()];
        let mut taken = vec![false; self.num()];
        let observations = self.env.observations();
        for (i, action) in self.actions.chunks_exact_mut(n).enumerate() {
            versions[i] = act(i, &self.now[i], action)?;
            if let Some(intervener) = intervener.as_deref_mut() {
                taken[i] = intervener.intervene(i, &observations, action)?;
            }
            for (a, (low, high)) in action.iter_mut().zip(self.low.iter().zip(&self.high)) {
                if !a.is_finite() {
                    return Err(Error::NotFinite { env: i }.into());
                }
                *a = a.clamp(*low, *high);
            }
        }
        self.env.step(&self.actions, &self.active)?;
        let executed = self.env.executed().unwrap_or(&self.actions);
        let observations = self.env.observations();
        let mut over = vec![false; self.running.len()];
        let mut done = Vec::new();
        for i in 0..self.running.len() {
            let (running, moment) = (&mut self.running[i], &mut self.now[i]);
            let action = executed[i * n..(i + 1) * n].to_vec();
            let reward = self.env.rewards()[i];
            if !reward.is_finite() {
                return Err(Error::RewardNotFinite { env: i, value: reward }.into());
            }
            let turned = self.gripper.is_some_and(|j| {
                let (low, high) = (self.low[j], self.high[j]);
                running.watch.turns((2.0 * action[j] - low - high) / (high - low))
            });
            let mut step = StepTaken {
                action,
                reward: reward as f32,
                penalty: if turned { self.penalty } else { 0.0 },
                terminated: self.env.terminated()[i],
                truncated: self.env.truncated()[i],
                intervened: taken[i],
                weights: versions[i],
            };
            running.seq += 1;
            moment.seq = running.seq;
            self.eyes.see(&observations, i, moment)?;
            judge(moment, &mut step)?;
            let total = f64::from_bits(running.reward_bits) + f64::from(step.reward);
            running.reward_bits = total.to_bits();
            running.steps += 1;
            running.intervened += u64::from(taken[i]);
            running.interventions += u64::from(taken[i] && !running.held);
            running.held = taken[i];
            over[i] = step.terminated || step.truncated;
            moment.step = Some(step);
            push(i, moment)?;
            if over[i] {
                let defined = self.env.spec().success_defined;
                done.push(EpisodeDone {
                    env: i,
                    total_reward: total,
                    steps: running.steps,
                    success: defined.then(|| self.env.success()[i]),
                    intervened: running.intervened,
                    interventions: running.interventions,
                });
            }
        }
        if over.contains(&true) {
            self.reset(&over, push)?;
            if let Some(intervener) = intervener {
                (0..over.len()).filter(|i| over[*i]).for_each(|i| intervener.reset(i));
            }
        }
        Ok(done)
    }

    /// The environments' own snapshot, and what is kept here.
    pub fn save(&self) -> (Option<Vec<u8>>, SavedBody) {
        (self.env.snapshot(), SavedBody { running: self.running.clone() })
    }

    /// Goes on from [`Body::save`].
    pub fn restore(&mut self, snapshot: &[u8], saved: &SavedBody) -> Result<()> {
        self.env.restore(snapshot)?;
        if saved.running.len() != self.num() {
            let what = "the checkpoint is of another number of environments".to_owned();
            let hint = "remove the run's folder to begin anew".into();
            return Err(Error::Invalid { what, hint }.into());
        }
        self.running.clone_from(&saved.running);
        let observations = self.env.observations();
        for (i, moment) in self.now.iter_mut().enumerate() {
            moment.seq = self.running[i].seq;
            self.eyes.see(&observations, i, moment)?;
        }
        Ok(())
    }

    /// Numbers of the moments go on, and episodes on their seeds, where the environments themselves
    /// can't be put back.
    pub fn go_on(&mut self, saved: &SavedBody) {
        for (own, saved) in self.running.iter_mut().zip(&saved.running) {
            own.episodes = saved.episodes;
        }
    }
}
