//! Parameters and layers: a network is a structure of parameter numbers, its weights are one flat
//! vector, and tensors over them are made where they are needed.
//!
//! So the optimiser, averaging, checkpoints and resuming work on plain slices and know no back end,
//! and shards of a batch share weights without copying.

use burn::tensor::{Device, Gradients, Tensor, TensorData};
use embody_core::derive_seed;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::noise::normals;
use crate::ops::{self, Activation, ConvGeometry};

/// How a parameter lies in a checkpoint, where PyTorch's conventions hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `[in, out]` here, `[out, in]` there.
    Linear,
    /// `[kernel · kernel · in, out]` here, `[out, in, kernel, kernel]` there.
    Conv { kernel: usize },
    /// `[kernel · in, out]` here, `[out, in, kernel]` there.
    Conv1d { kernel: usize },
    /// `[kernel · in, out]` here, `[in, out, kernel]` there.
    Transposed1d { kernel: usize },
    /// The same in both.
    Plain,
    /// Under so many axes of length 1 there.
    Batched { axes: usize },
    /// One number, an integer there.
    Count,
    /// `[rows, cols]` integers there.
    Indices,
    /// 1 or 0, true or false there.
    Flag,
}

/// First values of a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Init {
    /// Uniform in ±`0`.
    Uniform(f32),
    /// Normal with that deviation.
    Normal(f32),
    /// One value.
    Constant(f32),
    /// Sine and cosine in turns, a position per row (Vaswani et al. 2017, arXiv:1706.03762).
    Sines,
    /// x and y from -1 to 1 of the cells of a map of this width, row by row.
    Grid(usize),
    /// 1 up to the diagonal, 0 beyond.
    LowerTriangle,
    /// Row plus column.
    Windows,
    /// What the parameter of this number begins with.
    As(usize),
}

/// One parameter: a vector (`cols` 0) or a matrix.
#[derive(Debug, Clone)]
pub(crate) struct ParamSpec {
    pub name: String,
    pub rows: usize,
    pub cols: usize,
    pub layout: Layout,
    pub init: Init,
    /// Whether weight decay applies.
    pub decay: bool,
    /// Whether it is a constant or a running average that a checkpoint holds: no gradient.
    pub frozen: bool,
    /// Phase of a training in which it learns.
    pub phase: u8,
    /// Where it begins in the flat vector.
    pub offset: usize,
}

impl ParamSpec {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.rows * self.cols.max(1)
    }

    /// Its part of the flat vector.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len()
    }

    /// Shape in a checkpoint.
    pub fn stored_shape(&self) -> Vec<usize> {
        match self.layout {
            Layout::Linear => vec![self.cols, self.rows],
            Layout::Conv { kernel } => {
                vec![self.cols, self.rows / (kernel * kernel), kernel, kernel]
            }
            Layout::Conv1d { kernel } => vec![self.cols, self.rows / kernel, kernel],
            Layout::Transposed1d { kernel } => vec![self.rows / kernel, self.cols, kernel],
            Layout::Plain if self.cols == 0 => vec![self.rows],
            Layout::Plain => vec![self.rows, self.cols],
            Layout::Batched { axes } => {
                let mut shape = vec![1; axes];
                shape.extend([self.rows, self.cols].into_iter().filter(|n| *n > 0));
                shape
            }
            Layout::Indices => vec![self.rows, self.cols],
            Layout::Count | Layout::Flag => vec![],
        }
    }

    /// Row plus column of each element.
    pub fn windows(&self) -> Vec<f32> {
        (0..self.len()).map(|i| (i / self.cols + i % self.cols) as f32).collect()
    }

    /// For each element as stored, its index here.
    fn stored_order(&self) -> Box<dyn Fn(usize) -> usize> {
        let (rows, cols) = (self.rows, self.cols);
        match self.layout {
            Layout::Plain | Layout::Batched { .. } => Box::new(|i| i),
            Layout::Count | Layout::Indices | Layout::Flag => Box::new(|i| i),
            Layout::Linear => Box::new(move |i| (i % rows) * cols + i / rows),
            Layout::Conv1d { kernel } => {
                let channels = rows / kernel;
                Box::new(move |i| (i % kernel * channels + i % rows / kernel) * cols + i / rows)
            }
            Layout::Transposed1d { kernel } => {
                let channels = rows / kernel;
                Box::new(move |i| {
                    let (channel, out, tap) = (i / (cols * kernel), i / kernel % cols, i % kernel);
                    (tap * channels + channel) * cols + out
                })
            }
            Layout::Conv { kernel } => {
                let area = kernel * kernel;
                let channels = rows / area;
                Box::new(move |i| {
                    let (out, channel, at) = (i / rows, i % rows / area, i % area);
                    (at * channels + channel) * cols + out
                })
            }
        }
    }

    /// Values in the order of a checkpoint.
    pub fn to_stored(&self, values: &[f32]) -> Vec<f32> {
        let order = self.stored_order();
        (0..self.len()).map(|i| values[order(i)]).collect()
    }

    /// Values from the order of a checkpoint.
    pub fn read_stored(&self, stored: &[f32], values: &mut [f32]) {
        let order = self.stored_order();
        stored.iter().enumerate().for_each(|(i, v)| values[order(i)] = *v);
    }
}

/// All parameters of a network, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct ParamTable {
    pub specs: Vec<ParamSpec>,
    /// What checkpoints hold beside them.
    pub beside: Vec<Beside>,
}

/// A tensor of a checkpoint that is no parameter: the output layer of a language model that only reads.
#[derive(Debug, Clone)]
pub(crate) struct Beside {
    pub name: String,
    pub shape: Vec<usize>,
    /// The parameter whose values it has (tied weights): a checkpoint holds either.
    pub twin: Option<usize>,
}

/// A linear map's parameters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Linear {
    w: usize,
    b: usize,
}

/// A convolution's parameters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conv {
    w: usize,
    b: usize,
    pub geometry: ConvGeometry,
}

/// A layer normalisation's parameters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LayerNorm {
    gamma: usize,
    beta: usize,
}

/// A batch normalisation with fixed statistics: torchvision's `FrozenBatchNorm2d` or, where scale and
/// shift learn, PyTorch's `BatchNorm2d` as when acting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchNorm {
    gamma: usize,
    beta: usize,
    mean: usize,
    variance: usize,
}

impl ParamTable {
    /// Number of elements in all.
    pub fn len(&self) -> usize {
        self.specs.last().map_or(0, |s| s.range().end)
    }

    fn add(
        &mut self,
        name: String,
        (rows, cols): (usize, usize),
        layout: Layout,
        init: Init,
    ) -> usize {
        let decay = cols > 0 && !matches!(layout, Layout::Plain | Layout::Batched { .. });
        let (offset, frozen, phase) = (self.len(), false, 0);
        self.specs.push(ParamSpec { name, rows, cols, layout, init, decay, frozen, phase, offset });
        self.specs.len() - 1
    }

    /// `name.weight`, `name.bias`; Xavier-uniform scaled by `gain`, bias zero.
    pub fn linear(&mut self, name: &str, inputs: usize, outputs: usize, gain: f32) -> Linear {
        let bound = gain * (6.0 / (inputs + outputs) as f32).sqrt();
        let weight = format!("{name}.weight");
        Linear {
            w: self.add(weight, (inputs, outputs), Layout::Linear, Init::Uniform(bound)),
            b: self.add(format!("{name}.bias"), (outputs, 0), Layout::Plain, Init::Constant(0.0)),
        }
    }

    /// `name.weight` of a linear map without bias, as language models begin with it.
    pub fn matrix(&mut self, name: &str, inputs: usize, outputs: usize) -> usize {
        let weight = format!("{name}.weight");
        self.add(weight, (inputs, outputs), Layout::Linear, Init::Normal(0.02))
    }

    /// `name.weight`, a factor for each of `dim` features.
    pub fn scale(&mut self, name: &str, dim: usize) -> usize {
        self.add(format!("{name}.weight"), (dim, 0), Layout::Plain, Init::Constant(1.0))
    }

    /// A tensor `name` that a checkpoint holds and nothing here computes with, unless it stands there
    /// in place of its twin.
    pub fn beside(&mut self, name: &str, shape: &[usize], twin: Option<usize>) {
        self.beside.push(Beside { name: name.to_owned(), shape: shape.to_vec(), twin });
    }

    /// `name.weight` of a linear map without bias.
    pub fn linear_weight(&mut self, name: &str, inputs: usize, outputs: usize) -> usize {
        let bound = (6.0 / (inputs + outputs) as f32).sqrt();
        let weight = format!("{name}.weight");
        self.add(weight, (inputs, outputs), Layout::Linear, Init::Uniform(bound))
    }

    /// One learned token, stored under `name` as `[1, 1, dim]`.
    pub fn token(&mut self, name: &str, dim: usize) -> usize {
        let layout = Layout::Batched { axes: 2 };
        self.add(name.to_owned(), (dim, 0), layout, Init::Normal(1.0))
    }

    /// A convolution with He-uniform weights.
    pub fn conv(&mut self, name: &str, geometry: ConvGeometry) -> Conv {
        let bound = (6.0 / geometry.window() as f32).sqrt();
        let shape = (geometry.window(), geometry.out_channels);
        let layout = Layout::Conv { kernel: geometry.kernel };
        let bias = format!("{name}.bias");
        Conv {
            w: self.add(format!("{name}.weight"), shape, layout, Init::Uniform(bound)),
            b: self.add(bias, (shape.1, 0), Layout::Plain, Init::Constant(0.0)),
            geometry,
        }
    }

    /// A convolution's weights alone, `name.weight`.
    pub fn conv_weight(&mut self, name: &str, kernel: usize, from: usize, to: usize) -> usize {
        let window = kernel * kernel * from;
        let init = Init::Uniform((6.0 / window as f32).sqrt());
        self.add(format!("{name}.weight"), (window, to), Layout::Conv { kernel }, init)
    }

    /// A 1 × 1 convolution as a linear map over cells.
    pub fn pointwise(&mut self, name: &str, from: usize, to: usize) -> Linear {
        let w = self.conv_weight(name, 1, from, to);
        let bias = format!("{name}.bias");
        Linear { w, b: self.add(bias, (to, 0), Layout::Plain, Init::Constant(0.0)) }
    }

    /// A convolution over time.
    pub fn conv1d(&mut self, name: &str, kernel: usize, from: usize, to: usize) -> Linear {
        let bound = (6.0 / (kernel * (from + to)) as f32).sqrt();
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let layout = Layout::Conv1d { kernel };
        Linear {
            w: self.add(weight, (kernel * from, to), layout, Init::Uniform(bound)),
            b: self.add(bias, (to, 0), Layout::Plain, Init::Constant(0.0)),
        }
    }

    /// A transposed convolution over time: weights `[kernel · from, to]`, tap by tap, and bias.
    pub fn conv_transposed1d(
        &mut self,
        name: &str,
        kernel: usize,
        from: usize,
        to: usize,
    ) -> (usize, usize) {
        let bound = (6.0 / (kernel * (from + to)) as f32).sqrt();
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let layout = Layout::Transposed1d { kernel };
        let weight = self.add(weight, (kernel * from, to), layout, Init::Uniform(bound));
        (weight, self.add(bias, (to, 0), Layout::Plain, Init::Constant(0.0)))
    }

    /// `name.in_proj_weight` `[dim, 3 · dim]` for queries, keys and values, and `name.in_proj_bias`.
    pub fn in_projection(&mut self, name: &str, dim: usize) -> (usize, usize) {
        let bound = (6.0 / (4 * dim) as f32).sqrt();
        let weight = format!("{name}.in_proj_weight");
        let weight = self.add(weight, (dim, 3 * dim), Layout::Linear, Init::Uniform(bound));
        let bias = format!("{name}.in_proj_bias");
        (weight, self.add(bias, (3 * dim, 0), Layout::Plain, Init::Constant(0.0)))
    }

    /// What a checkpoint holds and no gradient changes.
    pub fn constant(
        &mut self,
        name: String,
        shape: (usize, usize),
        layout: Layout,
        init: Init,
    ) -> usize {
        let id = self.add(name, shape, layout, init);
        self.specs[id].frozen = true;
        id
    }

    /// A frozen batch normalisation.
    pub fn frozen_norm(&mut self, name: &str, channels: usize) -> BatchNorm {
        let norm = self.batch_norm_parts(name, channels);
        self.specs[norm.gamma].frozen = true;
        self.specs[norm.beta].frozen = true;
        norm
    }

    /// A batch normalisation whose scale and shift learn.
    pub fn batch_norm(&mut self, name: &str, channels: usize) -> BatchNorm {
        let norm = self.batch_norm_parts(name, channels);
        let batches = format!("{name}.num_batches_tracked");
        self.constant(batches, (1, 0), Layout::Count, Init::Constant(0.0));
        norm
    }

    fn batch_norm_parts(&mut self, name: &str, channels: usize) -> BatchNorm {
        let LayerNorm { gamma, beta } = self.norm(name, channels);
        let mut part = |part: &str, value| {
            let init = Init::Constant(value);
            self.constant(format!("{name}.{part}"), (channels, 0), Layout::Plain, init)
        };
        BatchNorm {
            gamma,
            beta,
            mean: part("running_mean", 0.0),
            variance: part("running_var", 1.0),
        }
    }

    /// The places of a map's cells, x and y in [-1, 1], stored under `name` as `[height · width, 2]`.
    pub fn grid(&mut self, name: &str, height: usize, width: usize) -> usize {
        let shape = (height * width, 2);
        self.constant(name.to_owned(), shape, Layout::Plain, Init::Grid(width))
    }

    /// A fixed table of sine positions, stored under `name` as `[1, rows, dim]`.
    pub fn sine_table(&mut self, name: &str, rows: usize, dim: usize) -> usize {
        self.constant(name.to_owned(), (rows, dim), Layout::Batched { axes: 1 }, Init::Sines)
    }

    /// A layer normalisation.
    pub fn norm(&mut self, name: &str, dim: usize) -> LayerNorm {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        LayerNorm {
            gamma: self.add(weight, (dim, 0), Layout::Plain, Init::Constant(1.0)),
            beta: self.add(bias, (dim, 0), Layout::Plain, Init::Constant(0.0)),
        }
    }

    /// A table of learned vectors `[rows, dim]`.
    pub fn embedding(&mut self, name: &str, rows: usize, dim: usize) -> usize {
        let init = Init::Uniform(0.5);
        self.add(format!("{name}.weight"), (rows, dim), Layout::Plain, init)
    }

    /// Lets every parameter begin as PyTorch's layers do, as in LeRobot's policies: those under `xavier`
    /// by Glorot & Bengio (2010), a backbone's convolutions by He et al. (2015, fan out).
    pub fn begin_like_pytorch(&mut self, xavier: &[&str]) {
        let under = |name: &str| xavier.iter().any(|prefix| name.starts_with(prefix));
        let mut bounds = std::collections::HashMap::new();
        for spec in self.specs.iter_mut().filter(|s| !s.frozen) {
            let (rows, cols) = (spec.rows as f32, spec.cols as f32);
            let fan_in = match spec.layout {
                Layout::Transposed1d { kernel } => cols * kernel as f32,
                _ => rows,
            };
            let weight = spec.cols > 0 && spec.layout != Layout::Plain;
            let glorot = under(&spec.name) || spec.name.ends_with("in_proj_weight");
            spec.init = match spec.layout {
                _ if spec.layout == Layout::Plain && spec.cols > 0 => Init::Normal(1.0),
                _ if weight && glorot => Init::Uniform((6.0 / (rows + cols)).sqrt()),
                Layout::Conv { kernel } if spec.name.contains(".backbone.") => {
                    Init::Normal((2.0 / (cols * (kernel * kernel) as f32)).sqrt())
                }
                _ if weight => Init::Uniform(fan_in.sqrt().recip()),
                // Attention's biases begin at zero.
                _ if spec.name.contains("_proj_bias") || spec.name.ends_with(".out_proj.bias") => {
                    Init::Constant(0.0)
                }
                _ => match bounds.get(spec.name.trim_end_matches("bias")) {
                    Some(bound) => Init::Uniform(*bound),
                    None => spec.init,
                },
            };
            if weight {
                let place = spec.name.trim_end_matches("weight").to_owned();
                bounds.insert(place, fan_in.sqrt().recip());
            }
        }
    }

    /// First values, each parameter from a stream of its own name.
    pub fn initial(&self, seed: u64) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.len());
        for spec in &self.specs {
            let stream = derive_seed(seed, &format!("init/{}", spec.name), 0);
            let mut rng = ChaCha8Rng::seed_from_u64(stream);
            match spec.init {
                Init::Constant(c) => values.extend(std::iter::repeat_n(c, spec.len())),
                Init::Uniform(bound) => {
                    values.extend((0..spec.len()).map(|_| rng.random_range(-bound..=bound)));
                }
                Init::Normal(deviation) => {
                    let mut drawn = vec![0.0; spec.len()];
                    normals(&mut rng, &mut drawn);
                    values.extend(drawn.iter().map(|v| v * deviation));
                }
                Init::Sines => values.extend(sines(spec.rows, spec.cols)),
                Init::Grid(width) => values.extend(grid(spec.rows / width, width)),
                Init::LowerTriangle => {
                    let seen = |i| f32::from(i % spec.cols <= i / spec.cols);
                    values.extend((0..spec.len()).map(seen));
                }
                Init::Windows => values.extend(spec.windows()),
                Init::As(id) => values.extend_from_within(self.specs[id].range()),
            }
        }
        values
    }
}

/// x and y of each cell, row by row.
fn grid(height: usize, width: usize) -> impl Iterator<Item = f32> {
    let along = |at: usize, n: usize| (2 * at) as f32 / (n.max(2) - 1) as f32 - 1.0;
    (0..height * width).flat_map(move |i| [along(i % width, width), along(i / width, height)])
}

/// Row `p`, column `j`: sine (even `j`) or cosine of `p / 10000^(2 ⌊j / 2⌋ / dim)`.
fn sines(rows: usize, dim: usize) -> impl Iterator<Item = f32> {
    (0..rows * dim).map(move |i| {
        let (position, j) = (i / dim, i % dim);
        let angle = position as f64 / 10_000f64.powf((2 * (j / 2)) as f64 / dim as f64);
        if j % 2 == 0 { angle.sin() as f32 } else { angle.cos() as f32 }
    })
}

#[derive(Debug, Clone)]
enum Param {
    Vector(Tensor<1>),
    Matrix(Tensor<2>),
}

impl Param {
    fn new(spec: &ParamSpec, data: Vec<f32>, device: &Device) -> Self {
        if spec.cols == 0 {
            Self::Vector(Tensor::from_data(TensorData::new(data, [spec.rows]), device))
        } else {
            let shape = [spec.rows, spec.cols];
            Self::Matrix(Tensor::from_data(TensorData::new(data, shape), device))
        }
    }
}

/// Tensors over a network's parameters.
#[derive(Debug, Clone)]
pub(crate) struct Weights {
    params: Vec<Param>,
    frozen: Vec<bool>,
}

impl Weights {
    /// Tensors holding `values`, without gradients.
    pub fn new(table: &ParamTable, values: &[f32], device: &Device) -> Self {
        let make = |spec: &ParamSpec| Param::new(spec, values[spec.range()].to_vec(), device);
        let frozen = table.specs.iter().map(|s| s.frozen).collect();
        Self { params: table.specs.iter().map(make).collect(), frozen }
    }

    /// The same, giving up `values` on the way: large networks are not held twice.
    pub fn moved(table: &ParamTable, mut values: Vec<f32>, device: &Device) -> Self {
        let make = |spec: &ParamSpec| {
            let data = values.split_off(spec.offset);
            values.shrink_to_fit();
            Param::new(spec, data, device)
        };
        let mut params: Vec<Param> = table.specs.iter().rev().map(make).collect();
        params.reverse();
        Self { params, frozen: table.specs.iter().map(|s| s.frozen).collect() }
    }

    /// The same values as fresh leaves of a graph; constants take no part in it.
    pub fn tracked(&self) -> Self {
        let track = |(param, frozen): (&Param, &bool)| match param {
            _ if *frozen => param.clone(),
            Param::Vector(t) => Param::Vector(t.clone().autodiff().require_grad()),
            Param::Matrix(t) => Param::Matrix(t.clone().autodiff().require_grad()),
        };
        let params = self.params.iter().zip(&self.frozen).map(track).collect();
        Self { params, frozen: self.frozen.clone() }
    }

    /// The gradients as one flat vector; parameters that took no part get zeros.
    pub fn gradients(&self, table: &ParamTable, grads: &Gradients) -> Vec<f32> {
        let mut flat = vec![0.0; table.len()];
        for (spec, param) in table.specs.iter().zip(&self.params).filter(|(s, _)| !s.frozen) {
            let data = match param {
                Param::Vector(t) => t.grad(grads).map(Tensor::into_data),
                Param::Matrix(t) => t.grad(grads).map(Tensor::into_data),
            };
            if let Some(data) = data {
                let values = data.as_slice::<f32>().expect("parameters are f32");
                flat[spec.range()].copy_from_slice(values);
            }
        }
        flat
    }

    /// A parameter that is a vector.
    pub fn vector(&self, id: usize) -> &Tensor<1> {
        match &self.params[id] {
            Param::Vector(t) => t,
            Param::Matrix(_) => unreachable!("ids come from the table that made the tensors"),
        }
    }

    /// A parameter that is a matrix.
    pub fn matrix(&self, id: usize) -> &Tensor<2> {
        match &self.params[id] {
            Param::Matrix(t) => t,
            Param::Vector(_) => unreachable!("ids come from the table that made the tensors"),
        }
    }
}

impl Linear {
    /// `act(x · w + b)`.
    pub fn forward<const D: usize>(&self, w: &Weights, x: Tensor<D>, act: Activation) -> Tensor<D> {
        ops::linear(x, w.matrix(self.w), w.vector(self.b), act)
    }
}

impl Conv {
    /// `act(conv(x) + b)`.
    pub fn forward(&self, w: &Weights, x: Tensor<4>, act: Activation) -> Tensor<4> {
        ops::conv(x, w.matrix(self.w), w.vector(self.b), self.geometry, act)
    }
}

impl LayerNorm {
    /// Normalises the last axis.
    pub fn forward(&self, w: &Weights, x: Tensor<3>) -> Tensor<3> {
        ops::layer_norm(x, w.vector(self.gamma), w.vector(self.beta))
    }

    /// The same with another constant under the root than 1e-5.
    pub fn with_eps(&self, w: &Weights, x: Tensor<3>, eps: f64) -> Tensor<3> {
        let centred = x.clone() - x.mean_dim(2);
        let variance = (centred.clone() * centred.clone()).mean_dim(2);
        centred / (variance + eps).sqrt() * w.vector(self.gamma).clone().unsqueeze::<3>()
            + w.vector(self.beta).clone().unsqueeze::<3>()
    }

    /// Group normalisation (Wu & He 2018, arXiv:1803.08494) of `[batch, steps, channels]`: each group
    /// of channels over all steps.
    pub fn by_groups(&self, w: &Weights, x: Tensor<3>, groups: usize) -> Tensor<3> {
        let [batch, steps, channels] = x.dims();
        let size = channels / groups;
        let x = x.reshape([batch, steps, groups, size]).swap_dims(1, 2);
        let x = x.reshape([batch, groups, steps * size]);
        let centred = x.clone() - x.mean_dim(2);
        let variance = (centred.clone() * centred.clone()).mean_dim(2);
        let x = centred / (variance + 1e-5).sqrt();
        let x = x.reshape([batch, groups, steps, size]).swap_dims(1, 2);
        let x = x.reshape([batch, steps, channels]);
        x * w.vector(self.gamma).clone().unsqueeze::<3>()
            + w.vector(self.beta).clone().unsqueeze::<3>()
    }
}

impl BatchNorm {
    /// Scale and shift per channel: `(x − mean) / √(variance + 1e-5) · weight + bias`.
    pub fn affine(&self, w: &Weights) -> (Tensor<1>, Tensor<1>) {
        let scale = w.vector(self.gamma).clone() / (w.vector(self.variance).clone() + 1e-5).sqrt();
        let shift = w.vector(self.beta).clone() - w.vector(self.mean).clone() * scale.clone();
        (scale, shift)
    }
}
