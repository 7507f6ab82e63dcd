//! The acting part: trunk, actor and gripper as they were when their weights were published.
//!
//! Weights travel as a safetensors file of named tensors; sizes follow from settings and task, so a
//! file of another network is refused by the name of a tensor. An action's noise is the caller's.

use std::path::Path;

use embody_core::Result;

use super::config::HilSerlConfig;
use super::gripper;
use super::learner::Sizes;
use super::trunk::{Trunk, TrunkTape};
use crate::checkpoint::{self, Stored};
use crate::rl::gaussian::{Sample, Spread};
use crate::rl::mlp::{Mlp, ParamSpec, Tape};

/// How the task's numbers become the networks'.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scaling {
    /// `(state − shift) · scale`, per dimension.
    pub shift: Vec<f32>,
    pub scale: Vec<f32>,
    /// From [-1, 1] to the task's units: scale and shift, per dimension of the action.
    pub units: Vec<(f32, f32)>,
    /// Which of them is the gripper's.
    pub gripper: Option<usize>,
}

impl Scaling {
    /// States as they are, or laid onto [-1, 1] by `range` (lowest, highest).
    pub fn new(cfg: &HilSerlConfig, sizes: &Sizes, range: Option<(Vec<f32>, Vec<f32>)>) -> Self {
        let range = range.filter(|_| cfg.scale_states);
        let (mut shift, mut scale) = (vec![0.0; sizes.state_dim], vec![1.0; sizes.state_dim]);
        for (j, (low, high)) in range.iter().flat_map(|(l, h)| l.iter().zip(h)).enumerate() {
            shift[j] = 0.5 * (low + high);
            // What never moved stays as it is, about 0.
            scale[j] = if high - low > 1e-6 { 2.0 / (high - low) } else { 1.0 };
        }
        let one = |(l, h): (&f32, &f32)| (0.5 * (h - l), 0.5 * (h + l));
        let units = sizes.low.iter().zip(&sizes.high).map(one).collect();
        Self { shift, scale, units, gripper: cfg.gripper }
    }

    /// Appends a state as the networks see it.
    pub fn state(&self, raw: &[f32], out: &mut Vec<f32>) {
        let all = raw.iter().zip(self.shift.iter().zip(&self.scale));
        out.extend(all.map(|(v, (shift, scale))| (v - shift) * scale));
    }

    /// Dimension `j` of an action in [-1, 1].
    pub fn action(&self, j: usize, value: f32) -> f32 {
        let (scale, shift) = self.units[j];
        ((value - shift) / scale).clamp(-1.0, 1.0)
    }

    /// And back in the task's units.
    pub fn to_units(&self, j: usize, value: f32) -> f32 {
        let (scale, shift) = self.units[j];
        value * scale + shift
    }
}

/// Networks that act.
pub(crate) struct ActorNet {
    trunk: Trunk,
    trunk_params: Vec<f32>,
    net: Mlp,
    params: Vec<f32>,
    gripper: Option<(Mlp, Vec<f32>)>,
    pub scaling: Scaling,
    spread: Spread,
    trunk_tape: TrunkTape,
    tape: Tape,
    gripper_tape: Option<Tape>,
    sample: Sample,
    state: Vec<f32>,
    z: Vec<f32>,
}

impl ActorNet {
    pub fn new(
        cfg: &HilSerlConfig,
        trunk: (&Trunk, &[f32]),
        net: (&Mlp, &[f32]),
        gripper: Option<(&Mlp, &[f32])>,
        scaling: &Scaling,
    ) -> Self {
        let n = net.0.outputs() / 2;
        Self {
            trunk: trunk.0.clone(),
            trunk_params: trunk.1.to_vec(),
            net: net.0.clone(),
            params: net.1.to_vec(),
            gripper: gripper.map(|(net, params)| (net.clone(), params.to_vec())),
            scaling: scaling.clone(),
            spread: cfg.spread(),
            trunk_tape: trunk.0.tape(),
            tape: net.0.tape(),
            gripper_tape: gripper.map(|(net, _)| net.tape()),
            sample: Sample::new(&vec![(1.0, 0.0); n]),
            state: Vec::new(),
            z: vec![0.0; trunk.0.outputs()],
        }
    }

    /// Dimensions of the continuous action.
    pub fn continuous(&self) -> usize {
        self.net.outputs() / 2
    }

    /// The action `[action_dim]` in the task's units for a raw state and the maps of its cameras:
    /// drawn with `noise [continuous]`, or the mean without.
    pub fn act(&mut self, raw: &[f32], maps: &[&[f32]], noise: Option<&[f32]>, out: &mut [f32]) {
        let n = self.continuous();
        self.state.clear();
        self.scaling.state(raw, &mut self.state);
        let (params, z) = (&self.trunk_params, &mut self.z);
        self.trunk.row(params, &self.state, maps, &mut self.trunk_tape, z);
        let given = self.net.row(&self.params, z, &mut self.tape);
        let mean: Vec<f32>;
        let continuous = match noise {
            Some(noise) => {
                self.sample.draw(self.spread, given, noise, n);
                &self.sample.y[..n]
            }
            None => {
                mean = given[..n].iter().map(|v| crate::rl::kernels::tanh(*v)).collect();
                &mean
            }
        };
        let chosen = match (&self.gripper, &mut self.gripper_tape) {
            (Some((net, params)), Some(tape)) => gripper::best(net.row(params, z, tape)),
            _ => 0,
        };
        let mut next = continuous.iter();
        for (j, out) in out.iter_mut().enumerate() {
            let value = match self.scaling.gripper == Some(j) {
                true => gripper::command(chosen),
                false => next.next().copied().unwrap_or(0.0),
            };
            *out = self.scaling.to_units(j, value);
        }
    }

    fn parts(&mut self) -> Vec<(Vec<ParamSpec>, &mut Vec<f32>)> {
        let vector = |name: &str, len: usize| {
            vec![ParamSpec { name: name.to_owned(), shape: vec![len], at: 0 }]
        };
        let mut parts = vec![
            (self.trunk.specs(), &mut self.trunk_params),
            (self.net.specs("actor"), &mut self.params),
            (vector("state.shift", self.scaling.shift.len()), &mut self.scaling.shift),
            (vector("state.scale", self.scaling.scale.len()), &mut self.scaling.scale),
        ];
        if let Some((net, params)) = &mut self.gripper {
            parts.push((net.specs("gripper"), params));
        }
        parts
    }

    /// The weights as a safetensors file.
    pub fn write(&mut self) -> Result<Vec<u8>> {
        let mut tensors = Vec::new();
        for (specs, values) in self.parts() {
            for spec in specs {
                let values = spec.turn(&values[spec.at..spec.at + spec.len()], false);
                tensors.push(Stored::floats(spec.name, spec.shape, values));
            }
        }
        checkpoint::tensor_bytes(Path::new("weights"), &tensors)
    }

    /// Takes over weights of [`ActorNet::write`]; `from` names them in errors.
    pub fn load(&mut self, from: &Path, bytes: &[u8]) -> Result<()> {
        let parts = self.parts();
        let specs = parts.iter().flat_map(|(specs, _)| specs);
        let wanted: Vec<_> = specs.map(|s| (s.name.clone(), s.shape.clone())).collect();
        let mut values = checkpoint::tensors_in(from, bytes, &wanted)?.into_iter();
        for (specs, to) in parts {
            for spec in specs {
                let values = spec.turn(&values.next().unwrap_or_default(), true);
                to[spec.at..spec.at + spec.len()].copy_from_slice(&values);
            }
        }
        Ok(())
    }
}
