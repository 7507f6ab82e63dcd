//! Actor and learner as processes of their own. How moments and weights travel is not known here: an
//! actor has a [`TransitionSink`] and a [`WeightSource`], the learner takes moments in by
//! [`LearnerSide::intake`] and hands out weights.
//!
//! Either may be killed and started again: an actor's numbers go on from its sink, the learner's from its
//! checkpoint and from the experience on disk, of which nothing is cut. Updates are paced by counting
//! transitions, whoever made them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use embody_core::{
    AtomicDir, ContentHash, EnvSpec, Intake, Moment, Result, Task, Team, TransitionSink, VecEnv,
    WeightSource, hash_bytes,
};
use rand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::actor::Scaling;
use super::body::{Body, EpisodeDone, Intervener};
use super::buffer::ExperienceSpec;
use super::config::HilSerlConfig;
use super::drive::{HilSerlRun, checkpoint_dirs, demonstrate, write_vectors};
use super::encoder::ImageEncoder;
use super::learner::{Learner, Sizes};
use super::memory::Memory;
use super::observe::Eyes;
use super::pace::Pace;
use super::policy::{HilSerlPolicy, look};
use crate::checkpoint;
use crate::error::{Error, check};
use crate::noise::{normals, stream};
use crate::rl::agent::{AgentState, Scalars, lock};
use crate::train::POLICY_DIR;

const EXPERIENCE: &str = "experience";
const STATE_JSON: &str = "learner.json";
const STATE_TENSORS: &str = "learner.safetensors";
/// How long an actor waits at a stretch before it looks whether it was stopped.
const PATIENCE: Duration = Duration::from_millis(200);

/// How an actor runs by itself.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RemoteActor {
    /// Steps to take; 0 for as many as it is let.
    pub steps: u64,
    /// Vectors to learn from, as the learner has them.
    pub inputs: Vec<String>,
    /// Cameras to learn from, as the learner has them.
    pub cameras: Vec<String>,
    /// Root of its random streams; each actor has its own.
    pub seed: u64,
}

/// What an actor did.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ActorOutcome {
    /// Steps.
    pub steps: u64,
    /// Episodes finished.
    pub episodes: u64,
    /// Version of the weights it last acted with.
    pub weights: u64,
}

/// Acts in `env` (one environment), pushes every moment and takes new weights over between steps.
/// Until there are weights, actions are uniformly random, as they are for the first
/// [`HilSerlConfig::random_steps`] steps.
///
/// # Errors
/// What environment, intervener, sink or source say; or cancellation.
#[allow(clippy::too_many_arguments, reason = "an actor's whole surroundings")]
pub fn run_actor(
    env: &mut dyn VecEnv,
    mut intervener: Option<&mut dyn Intervener>,
    encoder: Option<Arc<dyn ImageEncoder>>,
    sink: &mut dyn TransitionSink,
    weights: &mut dyn WeightSource,
    cfg: &HilSerlConfig,
    run: &RemoteActor,
    on_episode: &mut dyn FnMut(&EpisodeDone) -> Result<()>,
    task: Task<'_>,
) -> Result<ActorOutcome> {
    cfg.validate()?;
    check("num_envs", env.num_envs(), env.num_envs() == 1, "an actor has one environment")?;
    let side = encoder.as_ref().map_or((0, 0), |e| e.input());
    let eyes = Eyes::new(env.spec(), &run.inputs, &run.cameras, side)?;
    let mut body = Body::new(env, eyes, cfg, run.seed)?;
    let sizes = sizes(&body.experience(), encoder.as_deref(), body.bounds());
    let scaling = Scaling::new(cfg, &sizes, None);
    let mut net = Learner::new(cfg, &sizes, scaling, run.seed).acting();
    let mut noise = vec![0.0; net.continuous()];
    let mut out = ActorOutcome::default();
    let first = sink.last();
    body.begin(|_| first, &mut |_, m| sink.push(m))?;
    if let Some(intervener) = intervener.as_deref_mut() {
        intervener.reset(0);
    }
    while run.steps == 0 || out.steps < run.steps {
        task.cancel.check()?;
        if !weights.may_act(PATIENCE) {
            continue;
        }
        if let Some((version, bytes)) = weights.newer(out.weights)? {
            net.load(Path::new("the learner's weights"), &bytes)?;
            out.weights = version;
        }
        let version = out.weights;
        let mut act = |_: usize, moment: &Moment, action: &mut [f32]| -> Result<u64> {
            let mut rng = stream(run.seed, "hilserl/actions", moment.seq);
            if version == 0 || moment.seq < cfg.random_steps {
                for (j, a) in action.iter_mut().enumerate() {
                    *a = net.scaling.to_units(j, rng.random_range(-1.0..=1.0));
                }
            } else {
                let maps = look(encoder.as_deref(), moment)?;
                let maps: Vec<&[f32]> = maps.iter().map(Vec::as_slice).collect();
                normals(&mut rng, &mut noise);
                net.act(&moment.state, &maps, Some(&noise), action);
            }
            Ok(version)
        };
        let taker = intervener.as_deref_mut();
        let done = body.step(&mut act, taker, &mut |_, _| Ok(()), &mut |_, m| sink.push(m))?;
        out.steps += 1;
        for episode in &done {
            out.episodes += 1;
            on_episode(episode)?;
        }
    }
    Ok(out)
}

fn sizes(
    spec: &ExperienceSpec,
    encoder: Option<&(dyn ImageEncoder + 'static)>,
    (low, high): (&[f32], &[f32]),
) -> Sizes {
    let map = encoder.map(|e| e.map());
    Sizes {
        state_dim: spec.state_dim,
        maps: map.into_iter().flat_map(|m| vec![m; spec.cameras.len()]).collect(),
        low: low.to_vec(),
        high: high.to_vec(),
    }
}

/// The learner of a run whose actors are elsewhere.
pub struct LearnerSide {
    learner: Learner,
    shared: Arc<Shared>,
    cfg: HilSerlConfig,
    run: HilSerlRun,
    eyes: Eyes,
    sizes: Sizes,
    encoder: Option<Arc<dyn ImageEncoder>>,
    pace: Pace,
    team: Team,
    scalars: Scalars,
    out: PathBuf,
    hash: ContentHash,
    /// Transitions before those that the opened buffer has counted.
    before: i64,
}

struct Shared {
    memory: Mutex<Memory>,
    came: Condvar,
}

/// The door by which moments come in while the learner works.
pub struct LearnerIntake(Arc<Shared>);

impl Intake for LearnerIntake {
    fn accept(&mut self, actor: u64, moment: &Moment) -> Result<bool> {
        let new = lock(&self.0.memory).accept(actor, moment)?;
        self.0.came.notify_all();
        Ok(new)
    }

    fn last(&self, actor: u64) -> u64 {
        lock(&self.0.memory).last(actor)
    }

    fn sync(&mut self) -> Result<()> {
        lock(&self.0.memory).sync()
    }
}

#[derive(Serialize, Deserialize)]
struct StateFile {
    config_hash: ContentHash,
    transitions: u64,
    online: u64,
    learner: Value,
}

impl LearnerSide {
    /// Opens the run in `out`, or begins it. `spec` is the actors' environment.
    ///
    /// # Errors
    /// Settings out of range or other than the run's in `out`, demonstrations that do not fit, I/O.
    pub fn open(
        spec: &EnvSpec,
        encoder: Option<Arc<dyn ImageEncoder>>,
        demonstrations: Option<&mut dyn Iterator<Item = Result<Moment>>>,
        cfg: &HilSerlConfig,
        run: &HilSerlRun,
        out: &Path,
    ) -> Result<Self> {
        cfg.validate()?;
        run.validate()?;
        let side = encoder.as_ref().map_or((0, 0), |e| e.input());
        let eyes = Eyes::new(spec, &run.inputs, &run.cameras, side)?;
        let experience = eyes.experience(spec.action_low.len());
        let folder = out.join(EXPERIENCE);
        let mut memory = Memory::open(&folder, &experience, encoder.clone(), cfg, run.seed)?;
        let bounds = (spec.action_low.as_slice(), spec.action_high.as_slice());
        demonstrate(&mut memory, demonstrations, cfg, bounds)?;
        let sizes = sizes(&experience, encoder.as_deref(), bounds);
        let scaling = Scaling::new(cfg, &sizes, memory.demo_range());
        let mut learner = Learner::new(cfg, &sizes, scaling, run.seed);
        let what = json!({
            "experience": experience, "low": spec.action_low, "high": spec.action_high,
            "encoder": encoder.as_ref().map(|e| e.id()), "settings": cfg.of_the_result(),
            "seed": run.seed,
        });
        let hash = hash_bytes(what.to_string().as_bytes());
        let mut before = 0;
        if let Some((_, dir)) = checkpoint_dirs(out)?.pop() {
            let state: StateFile = checkpoint::read_json(&dir.join(STATE_JSON))?;
            if state.config_hash != hash {
                return Err(Error::Invalid {
                    what: format!("{} is a run with other settings", out.display()),
                    hint: "give its settings, or another folder".into(),
                }
                .into());
            }
            let vectors = checkpoint::read_all_vectors(&dir.join(STATE_TENSORS))?;
            learner.restore(&AgentState { small: state.learner, vectors })?;
            let since = memory.online.transitions_from(state.online);
            before = (state.transitions + since) as i64 - memory.online.transitions as i64;
        }
        Ok(Self {
            learner,
            shared: Arc::new(Shared { memory: Mutex::new(memory), came: Condvar::new() }),
            cfg: cfg.clone(),
            pace: Pace::new(cfg),
            team: Team::new(run.threads),
            run: run.clone(),
            eyes,
            sizes,
            encoder,
            scalars: Scalars::default(),
            out: out.to_owned(),
            hash,
            before,
        })
    }

    /// What moments are made of, as actors must have it too.
    pub fn experience(&self) -> ExperienceSpec {
        lock(&self.shared.memory).online.layout.spec.clone()
    }

    /// A door for moments, for another thread.
    pub fn intake(&self) -> LearnerIntake {
        LearnerIntake(Arc::clone(&self.shared))
    }

    /// Transitions that actors have made, over all parts of the run.
    pub fn transitions(&self) -> u64 {
        let here = lock(&self.shared.memory).online.transitions as i64;
        (here + self.before).max(0) as u64
    }

    /// Updates of the critics so far.
    pub fn updates(&self) -> u64 {
        self.learner.updates
    }

    /// Updates of the critics per transition that learning has had so far.
    pub fn achieved(&self) -> Option<f64> {
        self.pace.achieved(self.transitions(), self.learner.rounds)
    }

    /// Whether actors must wait for updates.
    pub fn must_wait(&self) -> bool {
        self.pace.must_wait(self.transitions(), self.learner.rounds)
    }

    /// Does the rounds that are due, `most` at the most, and returns how many they were.
    ///
    /// # Errors
    /// When a loss is not finite or experience can't be read.
    pub fn work(&mut self, most: u64) -> Result<u64> {
        let scaling = self.learner.scaling.clone();
        for done in 0..most {
            if self.pace.due(self.transitions(), self.learner.rounds) == 0 {
                return Ok(done);
            }
            let memory = lock(&self.shared.memory);
            if memory.online_transitions() == 0 {
                return Ok(done);
            }
            let rows = |update: u64| {
                let mut rng = stream(self.run.seed, "hilserl/batch", update);
                memory.rows(memory.draw(&mut rng, self.cfg.batch_size), &scaling)
            };
            self.learner.round(&self.team, rows, &mut self.scalars)?;
        }
        Ok(most)
    }

    /// Waits until moments come, `patience` at most.
    pub fn wait(&self, patience: Duration) {
        if self.pace.due(self.transitions(), self.learner.rounds) > 0 {
            return;
        }
        let memory = lock(&self.shared.memory);
        // What the wait says is asked anew by the next round.
        drop(self.shared.came.wait_timeout(memory, patience));
    }

    /// The weights to act with and their version, which is above 0.
    ///
    /// # Errors
    /// When they can't be written as a file.
    pub fn weights(&self) -> Result<(u64, Vec<u8>)> {
        Ok((self.learner.rounds + 1, self.learner.acting().write()?))
    }

    /// Means of what learning said since the last call.
    pub fn take_metrics(&mut self) -> Vec<(String, f64)> {
        let mut row = vec![("updates".to_owned(), self.learner.updates as f64)];
        if let Some(achieved) = self.achieved() {
            row.push(("updates_per_step".to_owned(), achieved));
        }
        let memory = lock(&self.shared.memory);
        row.push(("online_transitions".to_owned(), memory.online_transitions() as f64));
        row.push(("demo_transitions".to_owned(), memory.demo_transitions() as f64));
        row.extend(self.scalars.take());
        row
    }

    /// Makes everything safe, and leaves the policy in `OUT/policy`.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn checkpoint(&mut self) -> Result<PathBuf> {
        let transitions = self.transitions();
        let mut memory = lock(&self.shared.memory);
        memory.sync()?;
        let saved = self.learner.save();
        let target = self.out.join("checkpoints").join(format!("{:09}", self.learner.updates));
        let dir = AtomicDir::begin(&target, false)?;
        write_vectors(&dir.path().join(STATE_TENSORS), saved.vectors)?;
        let state = StateFile {
            config_hash: self.hash.clone(),
            transitions,
            online: memory.online.total(),
            learner: saved.small,
        };
        checkpoint::write_json(&dir.path().join(STATE_JSON), &state)?;
        dir.commit()?;
        for (_, old) in checkpoint_dirs(&self.out)?.into_iter().filter(|(_, at)| *at != target) {
            fs::remove_dir_all(&old).map_err(|e| {
                embody_core::Error::new(format!("could not remove {}: {e}", old.display()))
            })?;
        }
        memory.settle()?;
        drop(memory);
        let (acting, encoder) = (self.learner.acting(), self.encoder.clone());
        let mut policy = HilSerlPolicy::new(&self.cfg, &self.sizes, &self.eyes, acting, encoder);
        let target = self.out.join(POLICY_DIR);
        let dir = AtomicDir::begin(&target, false)?;
        policy.write(dir.path())?;
        dir.commit()?;
        Ok(target)
    }
}
