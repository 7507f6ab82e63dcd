//! The denoiser: a 1-D U-Net over the steps of a trajectory, modulated by observation and noise level
//! through FiLM (Perez et al. 2018, arXiv:1709.07871), as in Diffusion Policy (Chi et al. 2023,
//! arXiv:2303.04137) and LeRobot.
//!
//! Trajectories are `[batch, steps, channels]`. A convolution over time is a linear map of the steps
//! under its window side by side, so that it runs on the same fused kernel as everything else; names
//! and stored shapes are PyTorch's `Conv1d` and `ConvTranspose1d`.

use burn::tensor::activation::mish;
use burn::tensor::{Tensor, TensorData};

use crate::imitation::Pass;
use crate::nn::{LayerNorm, Linear, ParamTable};
use crate::ops::Activation;

/// Sizes of the network.
#[derive(Debug, Clone)]
pub(crate) struct UnetSizes {
    pub channels: usize,
    /// Length of the observation's features.
    pub condition: usize,
    pub down_dims: Vec<usize>,
    pub kernel: usize,
    pub groups: usize,
    pub step_dim: usize,
    /// Whether FiLM scales as well as shifts.
    pub scale: bool,
}

/// `count` steps of `x [batch, steps, channels]`, every `stride`-th from `first`.
fn every(x: &Tensor<3>, first: usize, stride: usize, count: usize) -> Tensor<3> {
    let [batch, _, channels] = x.dims();
    let x = x.clone().slice([0..batch, first..first + count * stride, 0..channels]);
    let x = x.reshape([batch, count, stride * channels]);
    x.slice([0..batch, 0..count, 0..channels])
}

/// `x` with `before` and `after` steps of zeros around it.
fn padded(pass: Pass<'_>, x: Tensor<3>, before: usize, after: usize) -> Tensor<3> {
    let [batch, _, channels] = x.dims();
    let zeros = |n| Tensor::zeros([batch, n, channels], pass.device);
    match (before, after) {
        (0, 0) => x,
        (0, after) => Tensor::cat(vec![x, zeros(after)], 1),
        (before, after) => Tensor::cat(vec![zeros(before), x, zeros(after)], 1),
    }
}

/// A convolution over time.
#[derive(Debug, Clone, Copy)]
struct Conv1d {
    map: Linear,
    kernel: usize,
    stride: usize,
}

impl Conv1d {
    fn new(
        t: &mut ParamTable,
        name: &str,
        (from, to): (usize, usize),
        kernel: usize,
        stride: usize,
    ) -> Self {
        Self { map: t.conv1d(name, kernel, from, to), kernel, stride }
    }

    /// Half the kernel is added on each side.
    fn forward(&self, pass: Pass<'_>, x: Tensor<3>) -> Tensor<3> {
        if self.kernel == 1 {
            return self.map.forward(pass.w, x, Activation::None);
        }
        let steps = x.dims()[1];
        let padding = self.kernel / 2;
        let count = (steps + 2 * padding - self.kernel) / self.stride + 1;
        // The last stride may reach beyond the padding by what it then leaves out.
        let x = padded(pass, x, padding, padding + self.stride - 1);
        let taps = (0..self.kernel).map(|k| every(&x, k, self.stride, count)).collect();
        self.map.forward(pass.w, Tensor::cat(taps, 2), Activation::None)
    }
}

/// Twice as many steps: PyTorch's `ConvTranspose1d` with kernel 4, stride 2, padding 1.
#[derive(Debug, Clone, Copy)]
struct Upsample {
    weight: usize,
    bias: usize,
    channels: usize,
}

impl Upsample {
    fn new(t: &mut ParamTable, name: &str, channels: usize) -> Self {
        let (weight, bias) = t.conv_transposed1d(name, 4, channels, channels);
        Self { weight, bias, channels }
    }

    fn forward(&self, pass: Pass<'_>, x: Tensor<3>) -> Tensor<3> {
        let [batch, steps, n] = x.dims();
        let weight = pass.w.matrix(self.weight);
        let tap = |k: usize| weight.clone().slice([k * n..(k + 1) * n, 0..self.channels]);
        let around = padded(pass, x, 1, 1);
        let near = |shift: usize| every(&around, shift, 1, steps);
        // Step 2m gets tap 1 of step m and tap 3 of the one before; step 2m + 1 gets tap 2 of step m
        // and tap 0 of the one after.
        let half = |here: usize, other: usize, shift: usize| {
            let pair = Tensor::cat(vec![near(1), near(shift)], 2);
            let weight = Tensor::cat(vec![tap(here), tap(other)], 0);
            crate::ops::linear(pair, &weight, pass.w.vector(self.bias), Activation::None)
        };
        let both = Tensor::cat(vec![half(1, 3, 0), half(2, 0, 2)], 2);
        both.reshape([batch, 2 * steps, self.channels])
    }
}

/// Convolution, group normalisation, Mish.
#[derive(Debug, Clone)]
struct Block {
    conv: Conv1d,
    norm: LayerNorm,
    groups: usize,
}

impl Block {
    fn new(t: &mut ParamTable, name: &str, channels: (usize, usize), sizes: &UnetSizes) -> Self {
        Self {
            conv: Conv1d::new(t, &format!("{name}.block.0"), channels, sizes.kernel, 1),
            norm: t.norm(&format!("{name}.block.1"), channels.1),
            groups: sizes.groups,
        }
    }

    fn forward(&self, pass: Pass<'_>, x: Tensor<3>) -> Tensor<3> {
        let x = self.conv.forward(pass, x);
        mish(self.norm.by_groups(pass.w, x, self.groups))
    }
}

/// Two blocks beside a short cut; FiLM after the first.
#[derive(Debug, Clone)]
struct Residual {
    first: Block,
    film: Linear,
    second: Block,
    short_cut: Option<Conv1d>,
    channels: usize,
    scale: bool,
}

impl Residual {
    fn new(t: &mut ParamTable, name: &str, (from, to): (usize, usize), sizes: &UnetSizes) -> Self {
        let first = Block::new(t, &format!("{name}.conv1"), (from, to), sizes);
        let condition = sizes.step_dim + sizes.condition;
        let parts = if sizes.scale { 2 * to } else { to };
        let film = t.linear(&format!("{name}.cond_encoder.1"), condition, parts, 1.0);
        let second = Block::new(t, &format!("{name}.conv2"), (to, to), sizes);
        let short_cut = (from != to)
            .then(|| Conv1d::new(t, &format!("{name}.residual_conv"), (from, to), 1, 1));
        Self { first, film, second, short_cut, channels: to, scale: sizes.scale }
    }

    fn forward(&self, pass: Pass<'_>, x: Tensor<3>, condition: &Tensor<2>) -> Tensor<3> {
        let (batch, n) = (x.dims()[0], self.channels);
        let film = self.film.forward(pass.w, mish(condition.clone()), Activation::None);
        let part =
            |i: usize| film.clone().slice([0..batch, i * n..(i + 1) * n]).reshape([batch, 1, n]);
        let out = self.first.forward(pass, x.clone());
        let out = if self.scale { out * part(0) + part(1) } else { out + part(0) };
        let kept = match &self.short_cut {
            Some(conv) => conv.forward(pass, x),
            None => x,
        };
        self.second.forward(pass, out) + kept
    }
}

#[derive(Debug, Clone)]
struct Down {
    blocks: [Residual; 2],
    halve: Option<Conv1d>,
}

#[derive(Debug, Clone)]
struct Up {
    blocks: [Residual; 2],
    double: Upsample,
}

/// The U-Net's structure.
#[derive(Debug, Clone)]
pub(crate) struct Unet {
    step: [Linear; 2],
    step_dim: usize,
    down: Vec<Down>,
    middle: [Residual; 2],
    up: Vec<Up>,
    last: Block,
    out: Conv1d,
}

impl Unet {
    /// Lays out the network under `name`.
    pub fn new(t: &mut ParamTable, name: &str, sizes: &UnetSizes) -> Self {
        let d = sizes.step_dim;
        let step = [
            t.linear(&format!("{name}.diffusion_step_encoder.1"), d, 4 * d, 1.0),
            t.linear(&format!("{name}.diffusion_step_encoder.3"), 4 * d, d, 1.0),
        ];
        let pair = |t: &mut ParamTable, name: &str, from, to| {
            [
                Residual::new(t, &format!("{name}.0"), (from, to), sizes),
                Residual::new(t, &format!("{name}.1"), (to, to), sizes),
            ]
        };
        let dims = &sizes.down_dims;
        let mut down = Vec::new();
        let mut from = sizes.channels;
        for (i, to) in dims.iter().copied().enumerate() {
            let name = format!("{name}.down_modules.{i}");
            let blocks = pair(t, &name, from, to);
            let halve =
                (i + 1 < dims.len()).then(|| Conv1d::new(t, &format!("{name}.2"), (to, to), 3, 2));
            down.push(Down { blocks, halve });
            from = to;
        }
        let middle = pair(t, &format!("{name}.mid_modules"), from, from);
        let mut up = Vec::new();
        for (i, ends) in dims.windows(2).rev().enumerate() {
            let name = format!("{name}.up_modules.{i}");
            let blocks = pair(t, &name, 2 * ends[1], ends[0]);
            up.push(Up { blocks, double: Upsample::new(t, &format!("{name}.2"), ends[0]) });
        }
        let first = dims.first().copied().unwrap_or(sizes.channels);
        let last = Block::new(t, &format!("{name}.final_conv.0"), (first, first), sizes);
        let ends = (first, sizes.channels);
        let out = Conv1d::new(t, &format!("{name}.final_conv.1"), ends, 1, 1);
        Self { step, step_dim: d, down, middle, up, last, out }
    }

    /// What the network says about `x [batch, steps, channels]` at noise levels `levels`, given the
    /// observation's features `[batch, condition]`.
    pub fn forward(
        &self,
        pass: Pass<'_>,
        x: Tensor<3>,
        levels: &[usize],
        observation: Tensor<2>,
    ) -> Tensor<3> {
        let level = self.encode(pass, levels);
        let condition = Tensor::cat(vec![level, observation], 1);
        let through = |blocks: &[Residual; 2], x| {
            blocks.iter().fold(x, |x, block| block.forward(pass, x, &condition))
        };
        let mut x = x;
        let mut kept = Vec::new();
        for down in &self.down {
            x = through(&down.blocks, x);
            kept.push(x.clone());
            if let Some(halve) = &down.halve {
                x = halve.forward(pass, x);
            }
        }
        x = through(&self.middle, x);
        for up in &self.up {
            if let Some(skip) = kept.pop() {
                x = Tensor::cat(vec![x, skip], 2);
            }
            x = up.double.forward(pass, through(&up.blocks, x));
        }
        self.out.forward(pass, self.last.forward(pass, x))
    }

    /// Features of the noise levels `[batch, step_dim]`.
    fn encode(&self, pass: Pass<'_>, levels: &[usize]) -> Tensor<2> {
        let half = self.step_dim / 2;
        let rate = -(10_000f64.ln()) / (half as f64 - 1.0);
        let angle = |level: &usize, i: usize| *level as f64 * (rate * i as f64).exp();
        let row = |level: &usize| {
            let sines = (0..half).map(|i| angle(level, i).sin() as f32);
            let cosines = (0..half).map(|i| angle(level, i).cos() as f32);
            sines.chain(cosines).collect::<Vec<_>>()
        };
        let values: Vec<f32> = levels.iter().flat_map(row).collect();
        let data = TensorData::new(values, [levels.len(), 2 * half]);
        let x = Tensor::<2>::from_data(data, pass.device);
        let x = mish(self.step[0].forward(pass.w, x, Activation::None));
        self.step[1].forward(pass.w, x, Activation::None)
    }
}
