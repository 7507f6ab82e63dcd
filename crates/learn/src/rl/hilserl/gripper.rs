//! The gripper as a choice among close, stay and open, learned by double Q-learning (van Hasselt et
//! al. 2015, arXiv:1509.06461) beside the continuous actions, as in HIL-SERL.
//!
//! The network in hand chooses the next command, the target judges it; the reward is the task's and
//! the penalty of a command that turns the gripper around, in every update.

use crate::noise::stream;
use crate::rl::kernels::Nonlinearity;
use crate::rl::mlp::{Init, Mlp, PIECE, Tape};
use crate::rl::optimizer::Adam;

/// Close, stay, open.
pub(crate) const CHOICES: usize = 3;
const STAY: usize = 1;

/// The choice that a command in [-1, 1] is.
pub(crate) fn choice(command: f32) -> usize {
    (command.round() + 1.0).clamp(0.0, 2.0) as usize
}

/// The command in [-1, 1] of a choice.
pub(crate) fn command(choice: usize) -> f32 {
    choice as f32 - 1.0
}

/// Which choice is worth most; of equals the first.
pub(crate) fn best(q: &[f32]) -> usize {
    (1..q.len()).fold(0, |best, i| if q[i] > q[best] { i } else { best })
}

/// What a gripper was last told in an episode, and so what turns it around.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct GripperWatch(Option<usize>);

impl GripperWatch {
    /// Whether `command` in [-1, 1] turns the gripper around; the first of an episode does, unless it
    /// is to stay.
    pub fn turns(&mut self, command: f32) -> bool {
        let choice = choice(command);
        if choice == STAY || self.0 == Some(choice) {
            return false;
        }
        self.0 = Some(choice);
        true
    }
}

/// The gripper's critic.
pub(crate) struct GripperCritic {
    pub net: Mlp,
    pub params: Vec<f32>,
    pub target: Vec<f32>,
    pub adam: Adam,
    pub grads: Vec<f32>,
}

/// What one shard needs.
pub(crate) struct GripperWork {
    tape: Tape,
    d: Vec<f32>,
    pub wanted: Vec<f32>,
    pub dx: Vec<f32>,
    pub grads: Vec<f32>,
}

impl GripperCritic {
    pub fn new(inputs: usize, hidden: &[usize], act: Nonlinearity, norm: bool, seed: u64) -> Self {
        let net = Mlp::new(&[&[inputs], hidden, &[CHOICES]].concat(), act, norm);
        let mut params = vec![0.0; net.len()];
        net.init(&mut params, Init::Uniform, &mut stream(seed, "gripper/weights", 0));
        let adam = Adam::new(params.len(), 1e-8);
        Self { target: params.clone(), grads: vec![0.0; params.len()], net, params, adam }
    }

    pub fn work(&self) -> GripperWork {
        GripperWork {
            tape: self.net.tape(),
            d: vec![0.0; PIECE * CHOICES],
            wanted: vec![0.0; PIECE],
            dx: vec![0.0; PIECE * self.net.inputs()],
            grads: vec![0.0; self.params.len()],
        }
    }

    /// `work.wanted = reward + discount · Q'(z', argmax Q(z', ·))` for next vectors as the network in
    /// hand sees them (first) and as the target does; `reward` and `discount` are per row.
    pub fn look_ahead(
        &self,
        (z, z_target): (&[f32], &[f32]),
        reward: impl Fn(usize) -> f32,
        discount: impl Fn(usize) -> f32,
        work: &mut GripperWork,
    ) {
        let rows = z.len() / self.net.inputs();
        let q = self.net.forward(&self.params, z, &mut work.tape);
        let chosen: Vec<usize> = q.chunks_exact(CHOICES).map(best).collect();
        let q = self.net.forward(&self.target, z_target, &mut work.tape);
        for i in 0..rows {
            work.wanted[i] = reward(i) + discount(i) * q[i * CHOICES + chosen[i]];
        }
    }

    /// The gradient of `weight · Σ (Q(z, chosen) − wanted)²`: into `work.grads` (added, or with `fresh`
    /// written over them), that of `z` into `work.dx`. Returns Σ (Q − wanted)².
    pub fn learn(
        &self,
        z: &[f32],
        chosen: &[u8],
        weight: f32,
        fresh: bool,
        work: &mut GripperWork,
    ) -> f64 {
        let rows = chosen.len();
        let q = self.net.forward(&self.params, z, &mut work.tape);
        let d = &mut work.d[..rows * CHOICES];
        d.fill(0.0);
        let mut loss = 0.0;
        for (i, chosen) in chosen.iter().enumerate() {
            let at = i * CHOICES + usize::from(*chosen);
            let off = q[at] - work.wanted[i];
            d[at] = 2.0 * weight * off;
            loss += f64::from(off) * f64::from(off);
        }
        let dx = Some(&mut work.dx[..z.len()]);
        self.net.backward(&self.params, z, d, &mut work.tape, &mut work.grads, fresh, dx);
        loss
    }
}
