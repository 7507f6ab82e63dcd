//! Parameters and layers: a network is a structure of parameter numbers, its weights are one flat
//! vector, and tensors over them are made where they are needed.
//!
//! So the optimiser, averaging, checkpoints and resuming work on plain slices and know no back end,
//! and shards of a batch share weights without copying.

use burn::tensor::{Device, Gradients, Tensor, TensorData};
use embody_core::derive_seed;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::ops::{self, Activation, ConvGeometry};

/// How a parameter lies in a checkpoint, where PyTorch's conventions hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `[in, out]` here, `[out, in]` there.
    Linear,
    /// `[kernel · kernel · in, out]` here, `[out, in, kernel, kernel]` there.
    Conv { kernel: usize },
    /// The same in both.
    Plain,
}

/// First values of a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Init {
    /// Uniform in ±`0`.
    Uniform(f32),
    /// One value.
    Constant(f32),
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
            Layout::Plain if self.cols == 0 => vec![self.rows],
            Layout::Plain => vec![self.rows, self.cols],
        }
    }

    /// For each element as stored, its index here.
    fn stored_order(&self) -> Box<dyn Fn(usize) -> usize> {
        let (rows, cols) = (self.rows, self.cols);
        match self.layout {
            Layout::Plain => Box::new(|i| i),
            Layout::Linear => Box::new(move |i| (i % rows) * cols + i / rows),
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
        let decay = cols > 0 && layout != Layout::Plain;
        let offset = self.len();
        self.specs.push(ParamSpec { name, rows, cols, layout, init, decay, offset });
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
            }
        }
        values
    }
}

#[derive(Debug, Clone)]
enum Param {
    Vector(Tensor<1>),
    Matrix(Tensor<2>),
}

/// Tensors over a network's parameters.
#[derive(Debug, Clone)]
pub(crate) struct Weights(Vec<Param>);

impl Weights {
    /// Tensors holding `values`, without gradients.
    pub fn new(table: &ParamTable, values: &[f32], device: &Device) -> Self {
        let make = |spec: &ParamSpec| {
            let data = values[spec.range()].to_vec();
            if spec.cols == 0 {
                Param::Vector(Tensor::from_data(TensorData::new(data, [spec.rows]), device))
            } else {
                let shape = [spec.rows, spec.cols];
                Param::Matrix(Tensor::from_data(TensorData::new(data, shape), device))
            }
        };
        Self(table.specs.iter().map(make).collect())
    }

    /// The same values as fresh leaves of a graph.
    pub fn tracked(&self) -> Self {
        let track = |param: &Param| match param {
            Param::Vector(t) => Param::Vector(t.clone().autodiff().require_grad()),
            Param::Matrix(t) => Param::Matrix(t.clone().autodiff().require_grad()),
        };
        Self(self.0.iter().map(track).collect())
    }

    /// The gradients as one flat vector; parameters that took no part get zeros.
    pub fn gradients(&self, table: &ParamTable, grads: &Gradients) -> Vec<f32> {
        let mut flat = vec![0.0; table.len()];
        for (spec, param) in table.specs.iter().zip(&self.0) {
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

    fn vector(&self, id: usize) -> &Tensor<1> {
        match &self.0[id] {
            Param::Vector(t) => t,
            Param::Matrix(_) => unreachable!("ids come from the table that made the tensors"),
        }
    }

    /// A parameter that is a matrix.
    pub fn matrix(&self, id: usize) -> &Tensor<2> {
        match &self.0[id] {
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
    /// `relu(conv(x) + b)`.
    pub fn forward(&self, w: &Weights, x: Tensor<4>) -> Tensor<4> {
        ops::conv(x, w.matrix(self.w), w.vector(self.b), self.geometry, Activation::Relu)
    }
}

impl LayerNorm {
    /// Normalises the last axis.
    pub fn forward(&self, w: &Weights, x: Tensor<3>) -> Tensor<3> {
        ops::layer_norm(x, w.vector(self.gamma), w.vector(self.beta))
    }
}
