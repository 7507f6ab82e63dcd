//! N environments of one task, stepped side by side into contiguous buffers.
//!
//! Each environment owns its state; threads take environments, never share one. Nothing that a step
//! computes depends on the thread or on neighbours, so the number of threads and the size of the
//! batch change no bit. A step allocates nothing. An environment whose physics diverges (MuJoCo
//! counts a warning, or a value is not finite) ends its episode unsuccessfully and keeps its last good
//! observation.

use std::sync::{Arc, Mutex, PoisonError};

use embody_core::{
    ArrayView, DType, DataView, EnvSpec, FeatureSpec, HashStream, Observations, Result,
    SimulationRecord, VecEnv, derive_seed,
};
use mujoco_rs::prelude::MjModel;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::appearance::Appearance;
use crate::mj::{Data, has_diverged};
use crate::raster::{COARSE, FINE, Look, Renderer, Scene, ShadowMap, View};
use crate::tasks::{Camera, Loaded, Observe, Task, TaskDescription};
use crate::{EnvOptions, SimError};

/// Prefix of image observations.
const IMAGES: &str = "observation.images.";

/// Policy cameras merge what is within one and a half pixels.
const DETAIL: f32 = 1.5;

/// A colour picture, `[height, width, 3]`, RGB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RgbImage {
    /// Pixels.
    pub height: usize,
    /// Pixels.
    pub width: usize,
    /// `height * width * 3` bytes.
    pub data: Vec<u8>,
}

/// Depth and geom per pixel.
#[derive(Debug, Clone, PartialEq)]
pub struct DepthImage {
    /// Pixels.
    pub height: usize,
    /// Pixels.
    pub width: usize,
    /// Distance along the viewing axis in metres, infinite where there is only sky.
    pub depth_m: Vec<f32>,
    /// MuJoCo geom id, -1 where there is only sky.
    pub geom: Vec<i32>,
}

/// A batch of MuJoCo environments.
pub struct SimEnv {
    description: TaskDescription,
    loaded: Arc<Loaded>,
    scene: Arc<Scene>,
    spec: EnvSpec,
    options: EnvOptions,
    cameras: Vec<Camera>,
    pool: Option<rayon::ThreadPool>,
    /// One per thread.
    renderers: Vec<Mutex<Renderer>>,
    slots: Vec<Slot>,
    vectors: Vec<VectorBuffer>,
    images: Vec<ImageBuffer>,
    rewards: Vec<f64>,
    terminated: Vec<bool>,
    truncated: Vec<bool>,
    success: Vec<bool>,
    diverged: u64,
}

/// One environment.
struct Slot {
    data: Data,
    look: Look,
    shadow: ShadowMap,
    /// Set-points at the start and at the end of the current control step.
    from: Vec<f64>,
    to: Vec<f64>,
    steps: usize,
    held: u32,
    diverged: bool,
    /// Whether the observation is to be taken anew.
    changed: bool,
    start: EpisodeStart,
    /// Of positions and velocities after every control step.
    trajectory: HashStream,
}

/// How an episode begins: state and looks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EpisodeStart {
    /// Generalised positions, `[nq]`, in MuJoCo's order and units.
    pub qpos: Vec<f64>,
    /// Generalised velocities, `[nv]`.
    pub qvel: Vec<f64>,
    /// Actuator set-points, `[nu]`.
    pub ctrl: Vec<f64>,
    /// How the scene looks; `None` as the task randomised it, or as the model says.
    pub appearance: Option<Appearance>,
}

struct VectorBuffer {
    key: String,
    shape: Vec<usize>,
    observe: Observe,
    values: Vec<f32>,
}

struct ImageBuffer {
    key: String,
    camera: usize,
    shape: [usize; 4],
    pixels: Vec<u8>,
}

impl SimEnv {
    /// Makes the batch; every environment starts from seed 0 until `reset`.
    pub(crate) fn new(
        description: TaskDescription,
        loaded: Arc<Loaded>,
        options: EnvOptions,
    ) -> Result<Self> {
        let (task, scene) = (Arc::clone(&loaded.task), loaded.scene());
        let num_envs = options.num_envs;
        if num_envs == 0 {
            return Err(bad("num_envs", 0, "1 and up"));
        }
        if let Some((height, width)) = options.camera_size {
            for (option, size) in [("camera height", height), ("camera width", width)] {
                if !(8..=2048).contains(&size) {
                    return Err(bad(option, size, "8 to 2048 pixels"));
                }
            }
        }
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let cameras = task.cameras();
        let mut images = Vec::new();
        let mut features = indexmap::IndexMap::new();
        let mut vectors = Vec::new();
        for term in task.observations().into_iter().filter(|t| !t.privileged || options.privileged)
        {
            let dims = term.spec.numel();
            features.insert(term.key.to_owned(), term.spec);
            vectors.push(VectorBuffer {
                key: term.key.to_owned(),
                shape: vec![num_envs, dims],
                observe: term.observe,
                values: vec![0.0; num_envs * dims],
            });
        }
        for (buffer, feature) in image_buffers(&description, &cameras, &options)? {
            features.insert(buffer.key.clone(), feature);
            images.push(buffer);
        }
        let mut slots = Vec::with_capacity(num_envs);
        for env in 0..num_envs {
            let data = Data::try_new(Arc::clone(task.model()))
                .map_err(|source| SimError::AllocateEnv { env, source })?;
            slots.push(Slot::new(data, &scene));
        }
        let pool = if threads > 1 {
            let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let named = builder.thread_name(|i| format!("embody-sim-{i}"));
            Some(named.build().map_err(|source| SimError::StartThreads { threads, source })?)
        } else {
            None
        };
        let mut env = Self {
            spec: spec(&description, features),
            description,
            loaded,
            scene,
            cameras,
            pool,
            renderers: (0..threads).map(|_| Mutex::default()).collect(),
            slots,
            vectors,
            images,
            rewards: vec![0.0; num_envs],
            terminated: vec![false; num_envs],
            truncated: vec![false; num_envs],
            success: vec![false; num_envs],
            diverged: 0,
            options,
        };
        env.reset(&vec![Some(0); num_envs])?;
        Ok(env)
    }

    /// Names of all cameras of the task, those for people included.
    pub fn camera_names(&self) -> Vec<&'static str> {
        self.cameras.iter().map(|c| c.name).collect()
    }

    /// Begins episodes in given states: environment `env` in `starts[env]`, where there is one. From
    /// there on it goes as after [`VecEnv::reset`]; equal starts and actions give equal bits.
    ///
    /// # Errors
    /// When a start does not fit the model, or there is not one entry per environment.
    pub fn begin(&mut self, starts: &[Option<EpisodeStart>]) -> Result<()> {
        check_length("starts", starts.len(), self.slots.len())?;
        let model = Arc::clone(self.loaded.task.model());
        for start in starts.iter().flatten() {
            for (what, got, expected) in [
                ("qpos", start.qpos.len(), model.nq()),
                ("qvel", start.qvel.len(), model.nv()),
                ("ctrl", start.ctrl.len(), model.nu()),
            ] {
                check_length(what, got, expected as usize)?;
            }
            let all = start.qpos.iter().chain(&start.qvel).chain(&start.ctrl);
            if let Some(value) = all.into_iter().find(|x| !x.is_finite()) {
                let value = value.to_string();
                return Err(SimError::BadOption { option: "state", value, range: "finite" }.into());
            }
        }
        let scene = &*self.scene;
        for (slot, start) in self.slots.iter_mut().zip(starts) {
            if let Some(start) = start {
                slot.begin(start, scene, &model)?;
            }
        }
        self.forget(starts.iter().map(Option::is_some));
        self.observe();
        Ok(())
    }

    /// The start that seed `seed` gives, as [`VecEnv::reset`] would; changes no episode.
    ///
    /// # Errors
    /// When MuJoCo has no room for another state.
    pub(crate) fn drawn_start(&self, seed: u64) -> Result<EpisodeStart> {
        let model = self.loaded.task.model();
        let data = Data::try_new(Arc::clone(model))
            .map_err(|source| SimError::AllocateEnv { env: 0, source })?;
        let mut slot = Slot::new(data, &self.scene);
        slot.reset(&*self.loaded.task, &self.scene, self.options.randomize_look, seed);
        let appearance = Some(Appearance::of(&slot.look, &self.scene, model));
        Ok(EpisodeStart { appearance, ..slot.start })
    }

    /// Environments of the same task with other options.
    pub(crate) fn alike(&self, options: EnvOptions) -> Result<Self> {
        Self::new(self.description.clone(), Arc::clone(&self.loaded), options)
    }

    /// The task and its model.
    pub(crate) fn loaded(&self) -> &Arc<Loaded> {
        &self.loaded
    }

    /// The options it was made with.
    pub(crate) fn options(&self) -> &EnvOptions {
        &self.options
    }

    /// MuJoCo's state of an environment.
    pub(crate) fn data(&self, env: usize) -> &Data {
        &self.slots[env].data
    }

    /// Whether physics of an environment went wrong in this episode.
    pub(crate) fn has_diverged(&self, env: usize) -> bool {
        self.slots[env].diverged
    }

    /// Outcomes of environments that begin anew.
    fn forget(&mut self, begun: impl Iterator<Item = bool>) {
        for (env, _) in begun.enumerate().filter(|(_, begun)| *begun) {
            self.rewards[env] = 0.0;
            self.terminated[env] = false;
            self.truncated[env] = false;
            self.success[env] = false;
        }
    }

    /// Draws environment `env` as it is now, from `camera` at `(height, width)` pixels.
    ///
    /// # Errors
    /// When there is no such camera or environment, or the size is out of range.
    pub fn render(&mut self, env: usize, camera: &str, size: (usize, usize)) -> Result<RgbImage> {
        let view = self.view(env, camera, size)?;
        let mut data = vec![0; size.0 * size.1 * 3];
        let slot = &mut self.slots[env];
        let shadow = if self.options.shadows {
            slot.shadow.update(&self.scene, &slot.data, &slot.look, FINE);
            Some(&slot.shadow)
        } else {
            None
        };
        let mut renderer = self.renderers[0].lock().unwrap_or_else(PoisonError::into_inner);
        renderer.rgb(&self.scene, &slot.data, &slot.look, shadow, view, &mut data);
        Ok(RgbImage { height: size.0, width: size.1, data })
    }

    /// Depth and geom ids of environment `env` as it is now.
    ///
    /// # Errors
    /// As [`SimEnv::render`].
    pub fn render_depth(
        &mut self,
        env: usize,
        camera: &str,
        size: (usize, usize),
    ) -> Result<DepthImage> {
        let view = self.view(env, camera, size)?;
        let pixels = size.0 * size.1;
        let (mut depth_m, mut geom) = (vec![0.0; pixels], vec![0; pixels]);
        let mut renderer = self.renderers[0].lock().unwrap_or_else(PoisonError::into_inner);
        let Slot { data, look, .. } = &self.slots[env];
        renderer.depth_and_segmentation(&self.scene, data, look, view, &mut depth_m, &mut geom);
        Ok(DepthImage { height: size.0, width: size.1, depth_m, geom })
    }

    fn view(&self, env: usize, camera: &str, (height, width): (usize, usize)) -> Result<View> {
        if env >= self.slots.len() {
            return Err(bad("env", env, "the batch"));
        }
        for (option, size) in [("image height", height), ("image width", width)] {
            if !(8..=4096).contains(&size) {
                return Err(bad(option, size, "8 to 4096 pixels"));
            }
        }
        let camera = find_camera(&self.description, &self.cameras, camera)?.id;
        let oversample = if self.options.smooth_edges { 2 } else { 1 };
        Ok(View { camera, height, width, oversample, detail: 1.0 })
    }

    /// Brings observations of changed environments up to date.
    fn observe(&mut self) {
        let Self { slots, vectors, images, scene, options, renderers, pool, .. } = self;
        for buffer in vectors {
            let dims = buffer.shape[1];
            for (slot, out) in slots.iter().zip(buffer.values.chunks_exact_mut(dims)) {
                if slot.changed {
                    (buffer.observe)(&slot.data, out);
                }
            }
        }
        if images.is_empty() {
            slots.iter_mut().for_each(|slot| slot.changed = false);
            return;
        }
        if options.shadows {
            each(pool.as_ref(), slots, |slot| {
                if slot.changed {
                    slot.shadow.update(scene, &slot.data, &slot.look, COARSE);
                }
            });
        }
        for image in images {
            let [_, height, width, _] = image.shape;
            let oversample = if options.smooth_edges { 2 } else { 1 };
            let view = View { camera: image.camera, height, width, oversample, detail: DETAIL };
            let draw = |(slot, out): (&mut Slot, &mut [u8])| {
                if slot.changed {
                    let thread = rayon::current_thread_index().unwrap_or(0) % renderers.len();
                    let mut renderer =
                        renderers[thread].lock().unwrap_or_else(PoisonError::into_inner);
                    let shadow = options.shadows.then_some(&slot.shadow);
                    renderer.rgb(scene, &slot.data, &slot.look, shadow, view, out);
                }
            };
            let frame = height * width * 3;
            match pool {
                Some(pool) => pool.install(|| {
                    slots
                        .par_iter_mut()
                        .zip(image.pixels.par_chunks_exact_mut(frame))
                        .for_each(draw);
                }),
                None => slots.iter_mut().zip(image.pixels.chunks_exact_mut(frame)).for_each(draw),
            }
        }
        slots.iter_mut().for_each(|slot| slot.changed = false);
    }
}

impl Slot {
    fn new(data: Data, scene: &Scene) -> Self {
        let controls = data.ctrl().len();
        Self {
            data,
            look: scene.look.clone(),
            shadow: ShadowMap::default(),
            from: vec![0.0; controls],
            to: vec![0.0; controls],
            steps: 0,
            held: 0,
            diverged: false,
            changed: false,
            start: EpisodeStart::default(),
            trajectory: HashStream::default(),
        }
    }

    /// Begins an episode in a given state.
    fn begin(&mut self, start: &EpisodeStart, scene: &Scene, model: &MjModel) -> Result<()> {
        self.look = match &start.appearance {
            Some(appearance) => appearance.look(scene, model)?,
            None => scene.look.clone(),
        };
        self.data.reset();
        self.data.qpos_mut().copy_from_slice(&start.qpos);
        self.data.qvel_mut().copy_from_slice(&start.qvel);
        self.data.ctrl_mut().copy_from_slice(&start.ctrl);
        self.start.clone_from(start);
        self.begun();
        Ok(())
    }

    /// What holds at the beginning of every episode, once state and looks stand.
    fn begun(&mut self) {
        self.data.forward();
        self.from.copy_from_slice(self.data.ctrl());
        self.to.copy_from_slice(self.data.ctrl());
        (self.steps, self.held, self.diverged, self.changed) = (0, 0, false, true);
        self.trajectory = HashStream::default();
    }

    /// Takes the state into the trajectory's hash.
    fn note(&mut self) {
        for x in self.data.qpos().iter().chain(self.data.qvel()) {
            self.trajectory.update(&x.to_le_bytes());
        }
    }

    fn reset(&mut self, task: &dyn Task, scene: &Scene, randomize_look: bool, seed: u64) {
        self.data.reset();
        let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(seed, "reset", 0));
        task.reset(&mut self.data, &mut rng);
        self.start.qpos.clear();
        self.start.qpos.extend_from_slice(self.data.qpos());
        self.start.qvel.clear();
        self.start.qvel.extend_from_slice(self.data.qvel());
        self.start.ctrl.clear();
        self.start.ctrl.extend_from_slice(self.data.ctrl());
        self.start.appearance = None;
        self.begun();
        self.look.clone_from(&scene.look);
        if randomize_look {
            let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(seed, "look", 0));
            task.randomize_look(&mut self.look, &mut rng);
        }
    }

    /// One control step: the set-points move linearly to the action's.
    fn step(&mut self, task: &dyn Task, substeps: usize, action: &[f32]) {
        if self.diverged {
            return;
        }
        task.control(action, &mut self.to);
        for substep in 1..=substeps {
            let share = substep as f64 / substeps as f64;
            for (ctrl, (from, to)) in
                self.data.ctrl_mut().iter_mut().zip(self.from.iter().zip(&self.to))
            {
                *ctrl = from + (to - from) * share;
            }
            self.data.step();
            if has_diverged(&self.data) {
                self.diverged = true;
                return;
            }
        }
        // Poses as of the new positions, for observation and rendering.
        self.data.kinematics();
        self.data.com_pos();
        self.data.camlight();
        self.from.copy_from_slice(&self.to);
        self.steps += 1;
        self.changed = true;
        self.note();
    }
}

impl VecEnv for SimEnv {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn num_envs(&self) -> usize {
        self.slots.len()
    }

    fn reset(&mut self, seeds: &[Option<u64>]) -> Result<()> {
        check_length("seeds", seeds.len(), self.slots.len())?;
        let (task, scene) = (&*self.loaded.task, &*self.scene);
        let randomize = self.options.randomize_look;
        let reset = |(slot, seed): (&mut Slot, &Option<u64>)| {
            if let Some(seed) = seed {
                slot.reset(task, scene, randomize, *seed);
            }
        };
        match &self.pool {
            Some(pool) => {
                pool.install(|| self.slots.par_iter_mut().zip(seeds).for_each(reset));
            }
            None => self.slots.iter_mut().zip(seeds).for_each(reset),
        }
        self.forget(seeds.iter().map(Option::is_some));
        self.observe();
        Ok(())
    }

    fn step(&mut self, actions: &[f32], active: &[bool]) -> Result<()> {
        let dims = self.description.action.len();
        check_length("actions", actions.len(), self.slots.len() * dims)?;
        check_length("active", active.len(), self.slots.len())?;
        for (env, action) in actions.chunks_exact(dims).enumerate().filter(|(e, _)| active[*e]) {
            if let Some(dim) = action.iter().position(|a| !a.is_finite()) {
                let name = self.description.action[dim].name.to_owned();
                let value = action[dim];
                return Err(SimError::ActionNotFinite { env, dim, name, value }.into());
            }
        }
        let (task, substeps) = (&*self.loaded.task, self.description.substeps);
        let step = |((slot, action), active): ((&mut Slot, &[f32]), &bool)| {
            if *active {
                slot.step(task, substeps, action);
            }
        };
        match &self.pool {
            Some(pool) => pool.install(|| {
                let actions = actions.par_chunks_exact(dims);
                self.slots.par_iter_mut().zip(actions).zip(active).for_each(step);
            }),
            None => {
                let actions = actions.chunks_exact(dims);
                self.slots.iter_mut().zip(actions).zip(active).for_each(step);
            }
        }
        for (env, slot) in self.slots.iter_mut().enumerate().filter(|(e, _)| active[*e]) {
            if slot.diverged {
                self.diverged += u64::from(!self.terminated[env]);
                (self.rewards[env], self.terminated[env]) = (0.0, true);
                continue;
            }
            self.rewards[env] = self.loaded.task.reward(&slot.data);
            slot.held = if self.loaded.task.achieved(&slot.data) { slot.held + 1 } else { 0 };
            self.success[env] |= slot.held >= self.loaded.task.hold_steps();
            self.terminated[env] = self.success[env];
            self.truncated[env] =
                !self.terminated[env] && slot.steps >= self.description.max_episode_steps;
        }
        self.observe();
        Ok(())
    }

    fn observations(&self) -> Observations<'_> {
        let vectors = self.vectors.iter().map(|buffer| {
            let data = DataView::F32(&buffer.values);
            (buffer.key.as_str(), ArrayView { shape: &buffer.shape, data })
        });
        let images = self.images.iter().map(|buffer| {
            let data = DataView::U8(&buffer.pixels);
            (buffer.key.as_str(), ArrayView { shape: &buffer.shape, data })
        });
        Observations { arrays: vectors.chain(images).collect() }
    }

    fn rewards(&self) -> &[f64] {
        &self.rewards
    }

    fn terminated(&self) -> &[bool] {
        &self.terminated
    }

    fn truncated(&self) -> &[bool] {
        &self.truncated
    }

    fn success(&self) -> &[bool] {
        &self.success
    }

    fn diverged(&self) -> u64 {
        self.diverged
    }

    fn simulation(&self, env: usize) -> Option<SimulationRecord> {
        let slot = self.slots.get(env)?;
        let task = &self.loaded.task;
        let appearance = match &slot.start.appearance {
            Some(given) => given.clone(),
            None => Appearance::of(&slot.look, &self.scene, task.model()),
        };
        Some(SimulationRecord {
            task: self.description.id.to_owned(),
            task_version: self.description.version,
            model: task.model_hash().clone(),
            engine: engine(),
            qpos: slot.start.qpos.clone(),
            qvel: slot.start.qvel.clone(),
            ctrl: slot.start.ctrl.clone(),
            appearance: serde_json::to_value(appearance).ok()?,
            trajectory: slot.trajectory.hash(),
            variation: None,
        })
    }
}

/// The physics engine as episodes name it.
pub(crate) fn engine() -> String {
    format!("mujoco {}", mujoco_rs::mujoco_version())
}

fn each(
    pool: Option<&rayon::ThreadPool>,
    slots: &mut [Slot],
    act: impl Fn(&mut Slot) + Sync + Send,
) {
    match pool {
        Some(pool) => pool.install(|| slots.par_iter_mut().for_each(act)),
        None => slots.iter_mut().for_each(act),
    }
}

fn image_buffers(
    description: &TaskDescription,
    cameras: &[Camera],
    options: &EnvOptions,
) -> Result<Vec<(ImageBuffer, FeatureSpec)>> {
    let Some((height, width)) = options.camera_size else { return Ok(Vec::new()) };
    let chosen: Vec<&Camera> = match &options.cameras {
        Some(names) => names
            .iter()
            .map(|name| find_camera(description, cameras, name))
            .collect::<Result<_, _>>()?,
        None => cameras.iter().filter(|c| c.policy).collect(),
    };
    Ok(chosen
        .into_iter()
        .map(|camera| {
            let key = format!("{IMAGES}{}", camera.name);
            let names = ["height", "width", "channels"];
            let feature = FeatureSpec::new(DType::Image, &[height, width, 3], &names);
            let buffer = ImageBuffer {
                key,
                camera: camera.id,
                shape: [options.num_envs, height, width, 3],
                pixels: vec![0; options.num_envs * height * width * 3],
            };
            (buffer, feature)
        })
        .collect())
}

fn find_camera<'a>(
    description: &TaskDescription,
    cameras: &'a [Camera],
    name: &str,
) -> Result<&'a Camera, SimError> {
    cameras.iter().find(|c| c.name == name).ok_or_else(|| SimError::UnknownCamera {
        task: description.id.to_owned(),
        camera: name.to_owned(),
        known: cameras.iter().map(|c| c.name.to_owned()).collect(),
    })
}

fn spec(description: &TaskDescription, observations: embody_core::Features) -> EnvSpec {
    let names: Vec<&str> = description.action.iter().map(|d| d.name).collect();
    EnvSpec {
        id: description.id.to_owned(),
        version: description.version,
        task: description.instruction.to_owned(),
        robot_type: description.robot_type.to_owned(),
        control_hz: description.control_hz,
        max_episode_steps: description.max_episode_steps,
        observations,
        action: FeatureSpec::new(DType::Float32, &[names.len()], &names),
        action_low: description.action.iter().map(|d| d.low as f32).collect(),
        action_high: description.action.iter().map(|d| d.high as f32).collect(),
    }
}

fn check_length(what: &'static str, got: usize, expected: usize) -> Result<()> {
    if got == expected { Ok(()) } else { Err(SimError::WrongLength { what, got, expected }.into()) }
}

fn bad(option: &'static str, value: usize, range: &'static str) -> embody_core::Error {
    SimError::BadOption { option, value: value.to_string(), range }.into()
}

#[cfg(test)]
mod tests;
