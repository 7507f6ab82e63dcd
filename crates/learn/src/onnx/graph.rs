//! A graph under construction: operators appended one by one, weights taken out of a checkpoint by name.

use super::proto;
use crate::nn::ParamTable;

/// An operator's setting.
pub(super) enum Setting {
    Float(f32),
    Int(i64),
    Ints(Vec<i64>),
}

/// Operators so far; values are known by their names.
pub(super) struct Builder<'a> {
    table: &'a ParamTable,
    weights: &'a [f32],
    graph: proto::Graph,
}

impl<'a> Builder<'a> {
    /// A graph over the weights of `table`.
    pub fn new(name: &str, table: &'a ParamTable, weights: &'a [f32]) -> Self {
        let graph = proto::Graph { name: name.to_owned(), ..Default::default() };
        Self { table, weights, graph }
    }

    /// An input, of `element` type.
    pub fn input(&mut self, name: &str, element: i32, shape: &[usize]) -> String {
        self.graph.input.push(value(name, element, shape));
        name.to_owned()
    }

    /// The graph, which gives `of` as `name`.
    pub fn finish(mut self, of: &str, name: &str, shape: &[usize]) -> proto::Graph {
        self.graph.node.push(proto::Node {
            input: vec![of.to_owned()],
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: "Identity".into(),
            attribute: Vec::new(),
        });
        self.graph.output.push(value(name, proto::FLOAT, shape));
        self.graph
    }

    /// `op` of `inputs`.
    pub fn op(&mut self, op: &str, inputs: &[&str], settings: &[(&str, Setting)]) -> String {
        let attribute = |(name, setting): &(&str, Setting)| {
            let name = (*name).to_owned();
            match setting {
                Setting::Float(f) => {
                    let r#type = proto::ATTRIBUTE_FLOAT;
                    proto::Attribute { name, f: *f, r#type, ..Default::default() }
                }
                Setting::Int(i) => {
                    let r#type = proto::ATTRIBUTE_INT;
                    proto::Attribute { name, i: *i, r#type, ..Default::default() }
                }
                Setting::Ints(ints) => {
                    let (ints, r#type) = (ints.clone(), proto::ATTRIBUTE_INTS);
                    proto::Attribute { name, ints, r#type, ..Default::default() }
                }
            }
        };
        let output = format!("{}_{}", op.to_lowercase(), self.graph.node.len());
        self.graph.node.push(proto::Node {
            input: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: vec![output.clone()],
            name: output.clone(),
            op_type: op.to_owned(),
            attribute: settings.iter().map(attribute).collect(),
        });
        output
    }

    fn store(&mut self, name: String, dims: &[usize], data_type: i32, raw_data: Vec<u8>) -> String {
        let dims = dims.iter().map(|n| *n as i64).collect();
        self.graph.initializer.push(proto::Tensor {
            dims,
            data_type,
            name: name.clone(),
            raw_data,
        });
        name
    }

    /// A constant.
    pub fn floats(&mut self, dims: &[usize], values: &[f32]) -> String {
        let name = format!("constant_{}", self.graph.initializer.len());
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.store(name, dims, proto::FLOAT, bytes)
    }

    /// A constant number.
    pub fn float(&mut self, value: f32) -> String {
        self.floats(&[1], &[value])
    }

    /// A constant list of whole numbers, such as a shape.
    pub fn ints(&mut self, values: &[i64]) -> String {
        let name = format!("constant_{}", self.graph.initializer.len());
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.store(name, &[values.len()], proto::INT64, bytes)
    }

    /// Values of parameter `name` as they lie in memory here, `[in, out]` of a linear map; empty where
    /// the network has none of that name.
    pub fn values(&self, name: &str) -> &'a [f32] {
        let spec = self.table.specs.iter().find(|spec| spec.name == name);
        spec.map_or(&[], |spec| &self.weights[spec.range()])
    }

    /// Whether the network has a parameter of that name.
    pub fn has(&self, name: &str) -> bool {
        self.table.specs.iter().any(|spec| spec.name == name)
    }

    /// `x · w + b` over the last axis, with the parameters `name.weight` and `name.bias`.
    pub fn linear(&mut self, x: &str, name: &str) -> String {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let (weight, bias) = (self.values(&weight), self.values(&bias));
        self.affine(x, weight, bias)
    }

    /// `x · weight + bias` over the last axis.
    pub fn affine(&mut self, x: &str, weight: &[f32], bias: &[f32]) -> String {
        let out = bias.len();
        let weight = self.floats(&[weight.len() / out.max(1), out], weight);
        let bias = self.floats(&[out], bias);
        let product = self.op("MatMul", &[x, &weight], &[]);
        self.op("Add", &[&product, &bias], &[])
    }

    /// A convolution of `[1, channels, height, width]` whose weights lie `[kernel · kernel · in, out]`.
    pub fn conv(
        &mut self,
        x: &str,
        weight: &[f32],
        bias: &[f32],
        (kernel, stride, padding): (usize, usize, usize),
    ) -> String {
        let (out, area) = (bias.len(), kernel * kernel);
        let channels = weight.len() / (area * out).max(1);
        let mut stored = Vec::with_capacity(weight.len());
        for o in 0..out {
            for c in 0..channels {
                stored.extend((0..area).map(|at| weight[(at * channels + c) * out + o]));
            }
        }
        let weight = self.floats(&[out, channels, kernel, kernel], &stored);
        let bias = self.floats(&[out], bias);
        let twice = |n: usize| Setting::Ints(vec![n as i64; 2]);
        let settings = [
            ("kernel_shape", twice(kernel)),
            ("strides", twice(stride)),
            ("pads", Setting::Ints(vec![padding as i64; 4])),
        ];
        self.op("Conv", &[x, &weight, &bias], &settings)
    }

    /// `x` in another shape.
    pub fn reshape(&mut self, x: &str, shape: &[usize]) -> String {
        let shape: Vec<i64> = shape.iter().map(|n| *n as i64).collect();
        let shape = self.ints(&shape);
        self.op("Reshape", &[x, &shape], &[])
    }

    /// `x` with its axes in another order.
    pub fn transpose(&mut self, x: &str, order: &[i64]) -> String {
        self.op("Transpose", &[x], &[("perm", Setting::Ints(order.to_vec()))])
    }

    /// `parts` one after another along `axis`.
    pub fn concat(&mut self, parts: &[String], axis: i64) -> String {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        self.op("Concat", &parts, &[("axis", Setting::Int(axis))])
    }

    /// `[1, channels, height, width]` as cells `[1, height · width, channels]`.
    pub fn cells(&mut self, x: &str, count: usize, channels: usize) -> String {
        let last = self.transpose(x, &[0, 2, 3, 1]);
        self.reshape(&last, &[1, count, channels])
    }

    /// Layer normalisation of the last axis with the parameters of `name`.
    pub fn norm(&mut self, x: &str, name: &str) -> String {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let (weight, bias) = (self.values(&weight), self.values(&bias));
        let scale = self.floats(&[weight.len()], weight);
        let shift = self.floats(&[bias.len()], bias);
        let settings = [("axis", Setting::Int(-1)), ("epsilon", Setting::Float(1e-5))];
        self.op("LayerNormalization", &[x, &scale, &shift], &settings)
    }
}

fn value(name: &str, element: i32, shape: &[usize]) -> proto::Value {
    let dim = shape.iter().map(|n| proto::Dimension { dim_value: *n as i64 }).collect();
    let shape = Some(proto::Shape { dim });
    let tensor_type = Some(proto::TensorType { elem_type: element, shape });
    proto::Value { name: name.to_owned(), r#type: Some(proto::Type { tensor_type }) }
}
