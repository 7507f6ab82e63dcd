//! A task's scene that goes by time instead of control steps: what stands behind an emulated robot.
//!
//! Whoever drives it sends set-points when it likes and asks for joints and pictures when it likes, as
//! with a machine. Servos hold their set-points with as much of their torque as they are allowed; with
//! none they are limp. The task's rules (reward, success, time limit) are applied at its own rate.

use embody_core::{EnvSpec, Observations, Result, VecEnv};
use mujoco_rs::prelude::MjModel;

use super::{RgbImage, SimEnv, check_length};
use crate::mj::has_diverged;
use crate::{EnvOptions, SimError, make_sim};

/// One environment of a task, running by time.
pub struct LiveScene {
    env: SimEnv,
    servos: Vec<Servo>,
    /// Simulated time that was asked for and not yet stepped, seconds.
    owed_s: f64,
    /// Simulated time since the task's rules were last applied, seconds.
    unjudged_s: f64,
    /// Whether poses are as of the present joints.
    posed: bool,
    seed: u64,
}

/// One position servo: where it is, and what it can do.
struct Servo {
    joint: usize,
    qpos: usize,
    dof: usize,
    /// Gain, Nm/rad, and damping, Nms/rad.
    gain: f64,
    damping: f64,
    /// Greatest torque, Nm.
    torque_nm: f64,
}

impl LiveScene {
    /// The scene of `task`, as of seed 0. `options` gives the folder of robot models and the looks;
    /// there is one environment, and pictures are drawn when asked for.
    ///
    /// # Errors
    /// When the task is unknown, its robot's model absent, or its actuators are not position servos of
    /// a joint each.
    pub fn new(task: &str, options: EnvOptions) -> Result<Self> {
        let options = EnvOptions { num_envs: 1, threads: 1, camera_size: None, ..options };
        let env = make_sim(task, EnvOptions { privileged: true, trace: false, ..options })?;
        let servos = servos(env.loaded.task.model())
            .ok_or_else(|| SimError::NotServos { task: task.to_owned() })?;
        Ok(Self { env, servos, owed_s: 0.0, unjudged_s: 0.0, posed: true, seed: 0 })
    }

    /// Its joints, in order, with the bounds of the action that moves them: the environment's spec.
    pub fn spec(&self) -> &EnvSpec {
        self.env.spec()
    }

    /// Where each joint's range ends, radians: lowest and highest.
    pub fn ranges(&self) -> Vec<[f64; 2]> {
        let model = self.env.loaded.task.model();
        self.servos.iter().map(|servo| model.jnt_range()[servo.joint]).collect()
    }

    /// How many servos there are.
    pub fn joints(&self) -> usize {
        self.servos.len()
    }

    /// Lays the scene out anew, as the task does for episode `seed`.
    ///
    /// # Errors
    /// None in a scene that was made.
    pub fn reset(&mut self, seed: u64) -> Result<()> {
        (self.owed_s, self.unjudged_s, self.posed) = (0.0, 0.0, true);
        self.seed = seed;
        self.env.reset(&[Some(seed)])
    }

    /// Goes on by `seconds`, in whole physics steps; what is left over is owed to the next call.
    /// `goals` are set-points in radians, `torque` how much of each servo's may be used, 0 to 1.
    ///
    /// # Errors
    /// When there is not one of each per joint, a value is not finite, or physics diverges.
    pub fn advance(&mut self, seconds: f64, goals: &[f64], torque: &[f64]) -> Result<()> {
        check_length("goals", goals.len(), self.servos.len())?;
        check_length("torque", torque.len(), self.servos.len())?;
        if let Some(bad) = goals.iter().chain(torque).chain([&seconds]).find(|v| !v.is_finite()) {
            let value = bad.to_string();
            return Err(SimError::BadOption { option: "goal", value, range: "finite" }.into());
        }
        let Self { env, servos, .. } = self;
        let (task, slot) = (&*env.loaded.task, &mut env.slots[0]);
        let timestep_s = task.model().opt().timestep;
        let control_s = 1.0 / env.description.control_hz;
        self.owed_s += seconds;
        // Half a nanosecond is not worth a step.
        while self.owed_s > timestep_s - 5e-10 {
            let each = servos.iter().zip(goals).zip(torque).enumerate();
            for (i, ((servo, goal), share)) in each {
                let (q, v) = (slot.data.qpos()[servo.qpos], slot.data.qvel()[servo.dof]);
                let most = servo.torque_nm * share.clamp(0.0, 1.0);
                let wanted = servo.gain * (goal - q) - servo.damping * v;
                // The set-point by which the actuator gives that torque, and no more.
                slot.data.ctrl_mut()[i] =
                    q + (wanted.clamp(-most, most) + servo.damping * v) / servo.gain;
            }
            slot.data.step();
            if has_diverged(&slot.data) {
                return Err(SimError::LiveDiverged { task: env.description.id.to_owned() }.into());
            }
            self.posed = false;
            self.owed_s -= timestep_s;
            self.unjudged_s += timestep_s;
            if self.unjudged_s > control_s - 0.5 * timestep_s {
                self.unjudged_s = 0.0;
                slot.data.kinematics();
                slot.data.com_pos();
                slot.judge(task, &env.description);
            }
        }
        Ok(())
    }

    /// Brings poses up to date: a physics step leaves those that it began with.
    fn pose(&mut self) {
        if !self.posed {
            let slot = &mut self.env.slots[0];
            slot.data.kinematics();
            slot.data.com_pos();
            slot.data.camlight();
            (slot.changed, self.posed) = (true, true);
        }
    }

    /// Joint positions in radians, velocities in radians per second, and torques as a share of the
    /// greatest, `[joints]` each.
    ///
    /// # Panics
    /// When a slice is of another length.
    pub fn joints_into(&self, positions: &mut [f64], velocities: &mut [f64], loads: &mut [f64]) {
        let data = &self.env.slots[0].data;
        for (i, servo) in self.servos.iter().enumerate() {
            positions[i] = data.qpos()[servo.qpos];
            velocities[i] = data.qvel()[servo.dof];
            loads[i] = data.actuator_force()[i] / servo.torque_nm;
        }
    }

    /// The episode that the scene was laid out for, and its generalised positions now, `[nq]`.
    pub fn state(&self) -> (u64, &[f64]) {
        (self.seed, self.env.slots[0].data.qpos())
    }

    /// Takes over another scene's [`LiveScene::state`], to draw it while that one goes on.
    ///
    /// # Errors
    /// When there are not as many positions.
    pub fn show(&mut self, seed: u64, qpos: &[f64]) -> Result<()> {
        check_length("qpos", qpos.len(), self.env.slots[0].data.qpos().len())?;
        if seed != self.seed {
            self.reset(seed)?;
        }
        self.env.slots[0].data.qpos_mut().copy_from_slice(qpos);
        self.posed = false;
        Ok(())
    }

    /// What `camera` sees now, at `(height, width)` pixels.
    ///
    /// # Errors
    /// When there is no such camera or the size is out of range.
    pub fn picture(&mut self, camera: &str, size: (usize, usize)) -> Result<RgbImage> {
        self.pose();
        self.env.render(0, camera, size)
    }

    /// Observations of the task as they are now, what only a simulator knows included.
    pub fn observations(&mut self) -> Observations<'_> {
        self.pose();
        self.env.observe();
        self.env.observations()
    }

    /// Reward of the last control step by the task's rules, and whether the episode has succeeded.
    pub fn outcome(&self) -> (f64, bool) {
        let outcome = self.env.slots[0].outcome;
        (outcome.reward, outcome.success)
    }
}

/// The servos of a model whose actuators are position servos, one for each joint that they move.
fn servos(model: &MjModel) -> Option<Vec<Servo>> {
    let mut all = Vec::new();
    for i in 0..model.nu() as usize {
        let joint = usize::try_from(model.actuator_trnid()[i][0]).ok()?;
        let (gain, bias) = (model.actuator_gainprm()[i][0], model.actuator_biasprm()[i]);
        let limit = model.actuator_forcerange()[i];
        let torque_nm = limit[1].min(-limit[0]);
        if gain <= 0.0 || bias[1] != -gain || torque_nm <= 0.0 {
            return None;
        }
        all.push(Servo {
            joint,
            qpos: model.jnt_qposadr()[joint] as usize,
            dof: model.jnt_dofadr()[joint] as usize,
            gain,
            damping: -bias[2],
            torque_nm,
        });
    }
    (!all.is_empty()).then_some(all)
}
