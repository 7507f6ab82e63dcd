//! N environments of one task, stepped side by side into contiguous buffers.
//!
//! Each environment owns its state; threads take environments, never share one. Nothing that a step
//! computes depends on the thread or on neighbours, so the number of threads and the size of the
//! batch change no bit. A step allocates nothing. An environment whose physics diverges (MuJoCo
//! counts a warning, or a value is not finite) ends its episode unsuccessfully and keeps its last good
//! observation. What follows an episode's end is `EnvOptions::autoreset`'s to say.

mod live;
mod slot;
mod snapshot;
#[cfg(test)]
mod tests;
mod vectors;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use embody_core::{
    ArrayView, Autoreset, DType, DataView, EnvSpec, FeatureSpec, Observations, Result,
    SimulationRecord, Team, VecEnv,
};

use crate::appearance::Appearance;
use crate::mj::Data;
use crate::raster::{COARSE, FINE, Renderer, Scene, View};
use crate::tasks::{Camera, Loaded, TaskDescription};
use crate::{EnvOptions, SimError};
pub use live::LiveScene;
use slot::{Outcome, Slot};
use vectors::VectorBuffer;

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
    team: Team,
    /// One per thread; who draws takes one that is free.
    renderers: Vec<Mutex<Renderer>>,
    slots: Vec<Slot>,
    vectors: Vec<VectorBuffer>,
    images: Vec<ImageBuffer>,
    /// Pictures of the episodes that the last step ended, where it also began the next ones.
    final_images: Vec<ImageBuffer>,
    rewards: Vec<f64>,
    terminated: Vec<bool>,
    truncated: Vec<bool>,
    success: Vec<bool>,
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

/// Which pictures to draw.
enum Pictures {
    Current,
    /// The last ones of ended episodes.
    Final,
}

#[derive(Clone)]
struct ImageBuffer {
    key: String,
    camera: usize,
    shape: [usize; 4],
    pixels: Vec<u8>,
}

impl ImageBuffer {
    fn view(&self) -> ArrayView<'_> {
        ArrayView { shape: &self.shape, data: DataView::U8(&self.pixels) }
    }
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
        let team = Team::new(options.threads);
        let cameras = task.cameras();
        let mut images = Vec::new();
        let mut features = indexmap::IndexMap::new();
        let mut vectors = Vec::new();
        for term in task.observations().into_iter().filter(|t| !t.privileged || options.privileged)
        {
            features.insert(term.key.to_owned(), term.spec.clone());
            vectors.push(VectorBuffer::new(term, num_envs, options.autoreset));
        }
        for (buffer, feature) in image_buffers(&description, &cameras, &options)? {
            features.insert(buffer.key.clone(), feature);
            images.push(buffer);
        }
        let mut slots = Vec::with_capacity(num_envs);
        for env in 0..num_envs {
            let data = Data::try_new(Arc::clone(task.model()))
                .map_err(|source| SimError::AllocateEnv { env, source })?;
            let mut slot = Slot::new(data, &scene, &*task, &description);
            if !images.is_empty() {
                slot.prepare_drawing(&*task)
                    .map_err(|source| SimError::AllocateEnv { env, source })?;
            }
            slots.push(slot);
        }
        let final_images = match options.autoreset {
            Autoreset::SameStep => images.clone(),
            _ => Vec::new(),
        };
        let mut env = Self {
            spec: spec(&description, features),
            description,
            loaded,
            scene,
            cameras,
            renderers: (0..team.threads()).map(|_| Mutex::default()).collect(),
            team,
            slots,
            vectors,
            images,
            final_images,
            rewards: vec![0.0; num_envs],
            terminated: vec![false; num_envs],
            truncated: vec![false; num_envs],
            success: vec![false; num_envs],
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
        let (model, drawn) = (Arc::clone(self.loaded.task.model()), self.loaded.task.drawn());
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
        let (task, scene) = (&*self.loaded.task, &*self.scene);
        for (slot, start) in self.slots.iter_mut().zip(starts) {
            if let Some(start) = start {
                slot.begin(task, start, scene, drawn)?;
            }
        }
        self.report();
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
        let task = &*self.loaded.task;
        let mut slot = Slot::new(data, &self.scene, task, &self.description);
        slot.reset(task, &self.scene, self.options.randomize_look, seed);
        let appearance = Some(Appearance::of(&slot.look, &self.scene, task.drawn()));
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

    /// The same, for a renderer that needs it so.
    #[cfg(feature = "egl")]
    pub(crate) fn data_mut(&mut self, env: usize) -> &mut Data {
        &mut self.slots[env].data
    }

    /// MuJoCo's id of a camera, for an environment of the batch.
    #[cfg(feature = "egl")]
    pub(crate) fn camera_id(&self, env: usize, camera: &str) -> Result<usize> {
        if env >= self.slots.len() {
            return Err(bad("env", env, "the batch"));
        }
        Ok(find_camera(&self.description, &self.cameras, camera)?.id)
    }

    /// Whether physics of an environment went wrong in this episode.
    pub(crate) fn has_diverged(&self, env: usize) -> bool {
        self.slots[env].diverged
    }

    /// Generalised positions of an environment as they are now, `[nq]`.
    ///
    /// # Panics
    /// When there is no such environment.
    pub fn qpos(&self, env: usize) -> &[f64] {
        self.slots[env].data.qpos()
    }

    /// Generalised velocities of an environment as they are now, `[nv]`.
    ///
    /// # Panics
    /// When there is no such environment.
    pub fn qvel(&self, env: usize) -> &[f64] {
        self.slots[env].data.qvel()
    }

    /// Contribution of each reward term to the last reward of an environment, in the description's
    /// order.
    ///
    /// # Panics
    /// When there is no such environment.
    pub fn reward_terms(&self, env: usize) -> &[f64] {
        &self.slots[env].rewards
    }

    /// What the task measures of the current episode of an environment, by name.
    ///
    /// # Panics
    /// When there is no such environment.
    pub fn metrics(&self, env: usize) -> Vec<(&'static str, f64)> {
        self.loaded.task.metrics(&self.slots[env].moment())
    }

    /// Copies what became of every environment into the contiguous buffers.
    fn report(&mut self) {
        for (env, slot) in self.slots.iter().enumerate() {
            let Outcome { reward, terminated, truncated, success } = slot.outcome;
            self.rewards[env] = reward;
            self.terminated[env] = terminated;
            self.truncated[env] = truncated;
            self.success[env] = success;
        }
    }

    /// Begins the next episode in every environment whose last one has ended; outcomes stay.
    fn reset_ended(&mut self) {
        let (task, scene) = (&*self.loaded.task, &*self.scene);
        let randomize = self.options.randomize_look;
        self.team.each(&mut self.slots, |_, slot| {
            if slot.outcome.ended() {
                slot.reset_automatically(task, scene, randomize);
            }
        });
    }

    /// Draws environment `env` as it is now, from `camera` at `(height, width)` pixels.
    ///
    /// # Errors
    /// When there is no such camera or environment, or the size is out of range.
    pub fn render(&mut self, env: usize, camera: &str, size: (usize, usize)) -> Result<RgbImage> {
        let view = self.view(env, camera, size)?;
        let mut data = vec![0; size.0 * size.1 * 3];
        let Slot { data: physics, seen, look, shadow, .. } = &mut self.slots[env];
        let seen = seen.as_ref().unwrap_or(physics);
        let shadow = if self.options.shadows {
            shadow.update(&self.scene, seen, look, FINE);
            Some(&*shadow)
        } else {
            None
        };
        let mut renderer = self.renderers[0].lock().unwrap_or_else(PoisonError::into_inner);
        renderer.rgb(&self.scene, seen, look, shadow, view, &mut data);
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
        let slot = &self.slots[env];
        let (seen, look) = (slot.seen(), &slot.look);
        renderer.depth_and_segmentation(&self.scene, seen, look, view, &mut depth_m, &mut geom);
        Ok(DepthImage { height: size.0, width: size.1, depth_m, geom })
    }

    /// Checks what is asked for, and brings poses for drawing up to date.
    fn view(&mut self, env: usize, camera: &str, (height, width): (usize, usize)) -> Result<View> {
        if env >= self.slots.len() {
            return Err(bad("env", env, "the batch"));
        }
        for (option, size) in [("image height", height), ("image width", width)] {
            if !(8..=4096).contains(&size) {
                return Err(bad(option, size, "8 to 4096 pixels"));
            }
        }
        let camera = find_camera(&self.description, &self.cameras, camera)?.id;
        let slot = &mut self.slots[env];
        slot.prepare_drawing(&*self.loaded.task)
            .map_err(|source| SimError::AllocateEnv { env, source })?;
        slot.pose_seen();
        let oversample = if self.options.smooth_edges { 2 } else { 1 };
        Ok(View { camera, height, width, oversample, detail: 1.0 })
    }

    /// Brings observations of changed environments up to date.
    fn observe(&mut self) {
        for buffer in &mut self.vectors {
            buffer.observe(&self.slots, |slot| slot.changed);
        }
        self.draw(Pictures::Current, |slot| slot.changed);
        self.slots.iter_mut().for_each(|slot| slot.changed = false);
    }

    /// Keeps the last observations of the episodes that have just ended.
    fn keep_final(&mut self) {
        let ended = |slot: &Slot| slot.outcome.ended();
        if !self.slots.iter().any(ended) {
            return;
        }
        for buffer in &mut self.vectors {
            buffer.keep_final(&self.slots, ended);
        }
        self.draw(Pictures::Final, ended);
    }

    /// Draws the pictures of the environments that are `wanted`.
    fn draw(&mut self, pictures: Pictures, wanted: impl Fn(&Slot) -> bool + Sync + Send) {
        let Self { slots, images, final_images, scene, options, renderers, team, .. } = self;
        let images = match pictures {
            Pictures::Current => images,
            Pictures::Final => final_images,
        };
        if images.is_empty() {
            return;
        }
        team.each(slots, |_, slot| {
            if !wanted(slot) {
                return;
            }
            slot.pose_seen();
            if options.shadows {
                let seen = slot.seen.as_ref().unwrap_or(&slot.data);
                slot.shadow.update(scene, seen, &slot.look, COARSE);
            }
        });
        for image in images {
            let [_, height, width, _] = image.shape;
            let oversample = if options.smooth_edges { 2 } else { 1 };
            let view = View { camera: image.camera, height, width, oversample, detail: DETAIL };
            let frames = image.pixels.chunks_exact_mut(height * width * 3);
            let mut pairs: Vec<_> = slots.iter().zip(frames).filter(|(s, _)| wanted(s)).collect();
            team.each(&mut pairs, |_, (slot, out)| {
                let mut renderer = free(renderers);
                let shadow = options.shadows.then_some(&slot.shadow);
                renderer.rgb(scene, slot.seen(), &slot.look, shadow, view, out);
            });
        }
    }
}

impl VecEnv for SimEnv {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn num_envs(&self) -> usize {
        self.slots.len()
    }

    fn autoreset(&self) -> Autoreset {
        self.options.autoreset
    }

    fn reset(&mut self, seeds: &[Option<u64>]) -> Result<()> {
        check_length("seeds", seeds.len(), self.slots.len())?;
        let (task, scene) = (&*self.loaded.task, &*self.scene);
        let randomize = self.options.randomize_look;
        self.team.each(&mut self.slots, |env, slot| {
            if let Some(seed) = seeds[env] {
                (slot.seed, slot.automatic) = (seed, 0);
                slot.memory.difficulty = None;
                slot.reset(task, scene, randomize, seed);
            }
        });
        self.report();
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
        let (task, description) = (&*self.loaded.task, &self.description);
        let (scene, options) = (&*self.scene, &self.options);
        self.team.each(&mut self.slots, |env, slot| {
            if !active[env] {
                return;
            }
            if options.autoreset == Autoreset::NextStep && slot.outcome.ended() {
                slot.reset_automatically(task, scene, options.randomize_look);
                return;
            }
            slot.step(task, description, &actions[env * dims..(env + 1) * dims]);
            if options.trace && !slot.diverged {
                slot.note();
            }
        });
        self.report();
        if self.options.autoreset == Autoreset::SameStep {
            self.keep_final();
            self.reset_ended();
        }
        self.observe();
        Ok(())
    }

    fn observations(&self) -> Observations<'_> {
        let vectors = self.vectors.iter().map(|buffer| (buffer.key.as_str(), buffer.view()));
        let images = self.images.iter().map(|buffer| (buffer.key.as_str(), buffer.view()));
        Observations { arrays: vectors.chain(images).collect() }
    }

    fn observation(&self, key: &str) -> Option<ArrayView<'_>> {
        let vector = self.vectors.iter().find(|buffer| buffer.key == key);
        let image = || self.images.iter().find(|buffer| buffer.key == key);
        vector.map(VectorBuffer::view).or_else(|| image().map(ImageBuffer::view))
    }

    fn final_observation(&self, key: &str) -> Option<ArrayView<'_>> {
        let vector = self.vectors.iter().find(|buffer| buffer.key == key);
        let image = || self.final_images.iter().find(|buffer| buffer.key == key);
        vector.and_then(VectorBuffer::final_view).or_else(|| image().map(ImageBuffer::view))
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
        self.slots.iter().map(|slot| slot.divergences).sum()
    }

    fn snapshot(&self) -> Option<Vec<u8>> {
        Some(self.save())
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<()> {
        Ok(self.load(snapshot)?)
    }

    fn simulation(&self, env: usize) -> Option<SimulationRecord> {
        let slot = self.slots.get(env)?;
        let task = &self.loaded.task;
        let appearance = match &slot.start.appearance {
            Some(given) => given.clone(),
            None => Appearance::of(&slot.look, &self.scene, task.drawn()),
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

/// A renderer that nobody uses: there are as many as threads.
fn free(renderers: &[Mutex<Renderer>]) -> MutexGuard<'_, Renderer> {
    let free = renderers.iter().find_map(|renderer| renderer.try_lock().ok());
    free.unwrap_or_else(|| renderers[0].lock().unwrap_or_else(PoisonError::into_inner))
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
        success_defined: description.success.is_some(),
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
