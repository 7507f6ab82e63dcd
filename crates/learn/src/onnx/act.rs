//! ACT as a graph, from pixels and joint positions to actions in the robot's units: what
//! `imitation::act::ActNet::forward` computes with a latent of zero, with the normalisation around it.

use std::f32::consts::SQRT_2;

use super::graph::{Builder, Setting};
use super::proto;
use crate::checkpoint::{ENVIRONMENT, Model, net_shape};
use crate::error::Error;
use crate::imitation::act::ActConfig;
use crate::imitation::transformer::{FeedForwardActivation, sine_positions_2d};
use crate::imitation::vision::{RESNET_CHANNELS, ResNet};
use crate::imitation::{ActionRepresentation, Shape};
use crate::processor::{CameraInput, NormMode, Normalizer};

/// Name of the input that holds the last commanded action, where the policy wants it; before the first
/// command, the state.
pub(super) const LAST_ACTION: &str = "action.last";
/// Name of the output.
pub(super) const ACTIONS: &str = "actions";

/// The graph of `model`, whose settings are `cfg`.
pub(super) fn graph(model: &Model, cfg: &ActConfig) -> Result<proto::Graph, Error> {
    let mut g = Builder::new("act", model.net.table(), &model.weights);
    let shape = net_shape(&model.processor);
    let p = &model.processor;
    let dim = p.action.dim();
    let relative = p.representation != ActionRepresentation::Absolute;
    let raw_state =
        p.state.as_ref().map(|v| g.input(&v.key, proto::FLOAT, &[1, v.normalizer.dim()]));
    let last = (p.lag.is_some() || p.representation == ActionRepresentation::DeltaToLast)
        .then(|| g.input(LAST_ACTION, proto::FLOAT, &[1, dim]));
    let state = p.state.as_ref().zip(raw_state.as_ref()).map(|(input, raw)| {
        let own = normalized(&mut g, raw, &input.normalizer);
        let Some((lag, last)) = p.lag.as_ref().zip(last.as_ref()) else { return own };
        let behind = g.op("Sub", &[last, raw], &[]);
        let behind = normalized(&mut g, &behind, lag);
        g.concat(&[own, behind], 1)
    });
    let env = p.env.as_ref().map(|input| {
        let raw = g.input(ENVIRONMENT, proto::FLOAT, &[1, input.normalizer.dim()]);
        normalized(&mut g, &raw, &input.normalizer)
    });
    let images: Vec<String> = p.cameras.iter().map(|camera| picture(&mut g, camera)).collect();

    let (tokens, positions) = tokens(&mut g, cfg, &shape, (&state, &env), &images)?;
    let actions = transformer(&mut g, cfg, &shape, tokens, positions);
    let actions = match state.filter(|_| g.has("model.linear_path.weight")) {
        Some(state) => {
            let path = g.linear(&state, "model.linear_path");
            let path = g.reshape(&path, &[1, cfg.chunk_size, dim]);
            g.op("Add", &[&actions, &path], &[])
        }
        None => actions,
    };
    let mut actions = denormalized(&mut g, &actions, &p.action);
    let reference = match p.representation {
        ActionRepresentation::DeltaToLast => last,
        _ => raw_state,
    };
    if let Some(reference) = reference.filter(|_| relative) {
        let reference = g.reshape(&reference, &[1, 1, dim]);
        actions = g.op("Add", &[&actions, &reference], &[]);
    }
    Ok(g.finish(&actions, ACTIONS, &[1, cfg.chunk_size, dim]))
}

/// Factor and summand that normalise each dimension.
fn scales(n: &Normalizer) -> (Vec<f32>, Vec<f32>) {
    let (mut zero, mut one) = (vec![0.0; n.dim()], vec![1.0; n.dim()]);
    n.apply(&mut zero);
    n.apply(&mut one);
    let factors = one.iter().zip(&zero).map(|(one, zero)| one - zero).collect();
    (factors, zero)
}

/// `x`, whose last axis is the vector, in the network's units.
fn normalized(g: &mut Builder<'_>, x: &str, n: &Normalizer) -> String {
    match n.mode {
        NormMode::Identity => x.to_owned(),
        NormMode::MeanStd => {
            // As it is computed here: a mean far from zero would cost digits otherwise.
            let mean = g.floats(&[n.dim()], &n.first);
            let factors = scales(&Normalizer { first: vec![0.0; n.dim()], ..n.clone() }).0;
            let factors = g.floats(&[n.dim()], &factors);
            let centred = g.op("Sub", &[x, &mean], &[]);
            g.op("Mul", &[&centred, &factors], &[])
        }
        NormMode::MinMax | NormMode::Quantiles => {
            let low = g.floats(&[n.dim()], &n.first);
            let above = g.op("Sub", &[x, &low], &[]);
            let own = Normalizer {
                first: vec![0.0; n.dim()],
                second: n.second.iter().zip(&n.first).map(|(high, low)| high - low).collect(),
                mode: n.mode,
            };
            let (factors, summands) = scales(&own);
            let factors = g.floats(&[n.dim()], &factors);
            let summands = g.floats(&[n.dim()], &summands);
            let scaled = g.op("Mul", &[&above, &factors], &[]);
            g.op("Add", &[&scaled, &summands], &[])
        }
    }
}

/// `x` in the robot's units.
fn denormalized(g: &mut Builder<'_>, x: &str, n: &Normalizer) -> String {
    let (mut zero, mut one) = (vec![0.0; n.dim()], vec![1.0; n.dim()]);
    n.invert(&mut zero);
    n.invert(&mut one);
    let factors: Vec<f32> = one.iter().zip(&zero).map(|(one, zero)| one - zero).collect();
    let factors = g.floats(&[n.dim()], &factors);
    let summands = g.floats(&[n.dim()], &zero);
    let scaled = g.op("Mul", &[x, &factors], &[]);
    g.op("Add", &[&scaled, &summands], &[])
}

/// A camera's pixels as normalised `[1, 3, height, width]`.
fn picture(g: &mut Builder<'_>, camera: &CameraInput) -> String {
    let shape = [1, camera.height, camera.width, 3];
    let pixels = g.input(&camera.key, proto::UINT8, &shape);
    let pixels = g.op("Cast", &[&pixels], &[("to", Setting::Int(i64::from(proto::FLOAT)))]);
    let whole = g.float(255.0);
    let pixels = g.op("Div", &[&pixels, &whole], &[]);
    let pixels = normalized(g, &pixels, &camera.normalizer);
    g.transpose(&pixels, &[0, 3, 1, 2])
}

/// The observation's tokens `[1, tokens, dim]` and their positions, as `imitation::tokens` has them.
fn tokens(
    g: &mut Builder<'_>,
    cfg: &ActConfig,
    shape: &Shape,
    (state, env): (&Option<String>, &Option<String>),
    images: &[String],
) -> Result<(String, String), Error> {
    let dim = cfg.dim;
    // A latent of zero leaves the bias.
    let latent = g.values("model.encoder_latent_input_proj.bias");
    let mut singles = vec![g.floats(&[1, 1, dim], latent)];
    for (vector, name) in [
        (state, "model.encoder_robot_state_input_proj"),
        (env, "model.encoder_env_state_input_proj"),
    ] {
        if let Some(vector) = vector {
            let token = g.linear(vector, name);
            singles.push(g.reshape(&token, &[1, 1, dim]));
        }
    }
    let single_positions = g.values("model.encoder_1d_feature_pos_embed.weight");
    let count = single_positions.len() / dim;
    let mut positions = vec![g.floats(&[1, count, dim], single_positions)];
    let mut maps = Vec::new();
    for ((name, height, width), image) in shape.cameras.iter().zip(images) {
        let (points, map) = match cfg.stem.is_empty() {
            true => (None, Some(backbone(g, cfg, image, (*height, *width))?)),
            false => stem(g, cfg, name, image, (*height, *width)),
        };
        singles.extend(points);
        if let Some((map, (h, w))) = map {
            let cells = sine_positions_2d(h, w, dim);
            positions.push(g.floats(&[1, h * w, dim], &cells));
            maps.push(map);
        }
    }
    singles.extend(maps);
    Ok((g.concat(&singles, 1), g.concat(&positions, 1)))
}

/// A map's tokens with its height and width.
type Map = (String, (usize, usize));

/// torchvision's ResNet, batch normalisation folded into the convolutions, and a token per cell.
fn backbone(
    g: &mut Builder<'_>,
    cfg: &ActConfig,
    image: &str,
    size: (usize, usize),
) -> Result<Map, Error> {
    let name = "model.backbone";
    let depths = ResNet::depths(&cfg.vision_backbone)?;
    let conv = |g: &mut Builder<'_>, x: &str, conv: &str, norm: &str, window| {
        let of = |part: &str| g.values(&format!("{name}.{norm}.{part}"));
        let (gamma, beta) = (of("weight"), of("bias"));
        let (mean, variance) = (of("running_mean"), of("running_var"));
        let scale: Vec<f32> =
            gamma.iter().zip(variance).map(|(gamma, v)| gamma / (v + 1e-5).sqrt()).collect();
        let of_channel = beta.iter().zip(mean).zip(&scale);
        let shift: Vec<f32> = of_channel.map(|((beta, mean), s)| beta - mean * s).collect();
        let weight = g.values(&format!("{name}.{conv}.weight")).iter().zip(scale.iter().cycle());
        let weight: Vec<f32> = weight.map(|(w, s)| w * s).collect();
        g.conv(x, &weight, &shift, window)
    };
    let halved = |n: usize| n.div_ceil(2);
    let (mut h, mut w) = (halved(halved(size.0)), halved(halved(size.1)));
    let x = conv(g, image, "conv1", "bn1", (7, 2, 3));
    let x = g.op("Relu", &[&x], &[]);
    let twice = |n: i64| Setting::Ints(vec![n; 2]);
    let window =
        [("kernel_shape", twice(3)), ("strides", twice(2)), ("pads", Setting::Ints(vec![1; 4]))];
    let mut x = g.op("MaxPool", &[&x], &window);
    for (layer, depth) in depths.into_iter().enumerate() {
        for i in 0..depth {
            let block = format!("layer{}.{i}", layer + 1);
            let stride = if layer > 0 && i == 0 { 2 } else { 1 };
            let part = |conv: &str| format!("{block}.{conv}");
            let first = conv(g, &x, &part("conv1"), &part("bn1"), (3, stride, 1));
            let first = g.op("Relu", &[&first], &[]);
            let second = conv(g, &first, &part("conv2"), &part("bn2"), (3, 1, 1));
            let kept = match stride {
                1 => x,
                _ => {
                    (h, w) = (halved(h), halved(w));
                    let (short, norm) = (part("downsample.0"), part("downsample.1"));
                    conv(g, &x, &short, &norm, (1, stride, 0))
                }
            };
            let sum = g.op("Add", &[&second, &kept], &[]);
            x = g.op("Relu", &[&sum], &[]);
        }
    }
    let cells = g.cells(&x, h * w, RESNET_CHANNELS);
    Ok((g.linear(&cells, "model.encoder_img_feat_input_proj"), (h, w)))
}

/// A camera's small stem: a token of key points and tokens of the last map.
fn stem(
    g: &mut Builder<'_>,
    cfg: &ActConfig,
    camera: &str,
    image: &str,
    (mut h, mut w): (usize, usize),
) -> (Option<String>, Option<Map>) {
    let name = format!("model.backbone.{camera}");
    let layers = if cfg.map_tokens { cfg.stem.len() } else { cfg.keypoint_layer };
    let (mut x, mut points) = (image.to_owned(), None);
    for (i, layer) in cfg.stem.iter().take(layers).enumerate() {
        let padding = (layer.kernel - 1) / 2;
        let of = |part: &str| g.values(&format!("{name}.conv{i}.{part}"));
        let (weight, bias) = (of("weight"), of("bias"));
        x = g.conv(&x, weight, bias, (layer.kernel, layer.stride, padding));
        x = g.op("Relu", &[&x], &[]);
        let output = |n: usize| (n + 2 * padding - layer.kernel) / layer.stride + 1;
        (h, w) = (output(h), output(w));
        if cfg.keypoints > 0 && cfg.keypoint_layer == i + 1 {
            let cells = g.cells(&x, h * w, layer.channels);
            let maps = g.linear(&cells, &format!("{name}.keypoints"));
            let at = spatial_softmax(g, &maps, (h, w), cfg.keypoints);
            let token = g.linear(&at, &format!("{name}.keypoint_proj"));
            points = Some(g.reshape(&token, &[1, 1, cfg.dim]));
        }
    }
    let map = cfg.map_tokens.then(|| {
        let channels = cfg.stem.last().map_or(3, |layer| layer.channels);
        let cells = g.cells(&x, h * w, channels);
        (g.linear(&cells, &format!("{name}.encoder_img_feat_input_proj")), (h, w))
    });
    (points, map)
}

/// Where the weight of each map `[1, h · w, count]` lies: `[1, 2 · count]`, all x then all y.
fn spatial_softmax(
    g: &mut Builder<'_>,
    maps: &str,
    (h, w): (usize, usize),
    count: usize,
) -> String {
    let by_map = g.transpose(maps, &[0, 2, 1]);
    let weights = g.op("Softmax", &[&by_map], &[("axis", Setting::Int(-1))]);
    let centre = |at: usize, n: usize| (2 * at + 1) as f32 / n as f32 - 1.0;
    let places: Vec<f32> = (0..h * w).flat_map(|i| [centre(i % w, w), centre(i / w, h)]).collect();
    let places = g.floats(&[h * w, 2], &places);
    let at = g.op("MatMul", &[&weights, &places], &[]);
    let at = g.transpose(&at, &[0, 2, 1]);
    g.reshape(&at, &[1, 2 * count])
}

/// Encoder, decoder and head: normalised actions `[1, chunk_size, action_dim]`.
fn transformer(
    g: &mut Builder<'_>,
    cfg: &ActConfig,
    shape: &Shape,
    tokens: String,
    positions: String,
) -> String {
    let (dim, chunk) = (cfg.dim, cfg.chunk_size);
    let queries = g.values("model.decoder_pos_embed.weight");
    let queries = g.floats(&[1, chunk, dim], queries);
    let (mut memory, mut x, places, asked) = if cfg.placed_tokens {
        (g.op("Add", &[&tokens, &positions], &[]), queries, None, None)
    } else {
        let zeros = g.floats(&[1, chunk, dim], &vec![0.0; chunk * dim]);
        (tokens, zeros, Some(positions), Some(queries))
    };
    let singles = g.values("model.encoder_1d_feature_pos_embed.weight").len() / dim;
    let count = singles + cells(cfg, shape);
    let (places, asked) = (places.as_deref(), asked.as_deref());
    for i in 0..cfg.encoder_layers {
        let layer = Layer { name: format!("model.encoder.layers.{i}"), cfg };
        memory = layer.attend(g, ("self_attn", "norm1"), memory, places, count, None);
        memory = layer.feed_forward(g, "norm2", memory);
    }
    if cfg.pre_norm {
        memory = g.norm(&memory, "model.encoder.norm");
    }
    for i in 0..cfg.decoder_layers {
        let layer = Layer { name: format!("model.decoder.layers.{i}"), cfg };
        x = layer.attend(g, ("self_attn", "norm1"), x, asked, chunk, None);
        let seen = Some((memory.as_str(), places, count));
        x = layer.attend(g, ("multihead_attn", "norm2"), x, asked, chunk, seen);
        x = layer.feed_forward(g, "norm3", x);
    }
    let x = g.norm(&x, "model.decoder.norm");
    g.linear(&x, "model.action_head")
}

/// Cells of all cameras' last maps.
fn cells(cfg: &ActConfig, shape: &Shape) -> usize {
    let of = |(_, height, width): &(String, usize, usize)| {
        if cfg.stem.is_empty() {
            return height.div_ceil(32) * width.div_ceil(32);
        }
        if !cfg.map_tokens {
            return 0;
        }
        let through = |n: usize| {
            cfg.stem.iter().fold(n, |n, layer| {
                (n + 2 * ((layer.kernel - 1) / 2) - layer.kernel) / layer.stride + 1
            })
        };
        through(*height) * through(*width)
    };
    shape.cameras.iter().map(of).sum()
}

/// A transformer layer.
struct Layer<'a> {
    name: String,
    cfg: &'a ActConfig,
}

impl Layer<'_> {
    /// `x + block(x)`, normalised before the block or after the sum.
    fn residual(
        &self,
        g: &mut Builder<'_>,
        norm: &str,
        x: String,
        block: impl FnOnce(&mut Builder<'_>, &str) -> String,
    ) -> String {
        let norm = format!("{}.{norm}", self.name);
        if self.cfg.pre_norm {
            let normed = g.norm(&x, &norm);
            let out = block(g, &normed);
            return g.op("Add", &[&x, &out], &[]);
        }
        let out = block(g, &x);
        let sum = g.op("Add", &[&x, &out], &[]);
        g.norm(&sum, &norm)
    }

    /// `x [1, count, dim]` looks at itself or at `memory` (with its positions and number of tokens).
    fn attend(
        &self,
        g: &mut Builder<'_>,
        (part, norm): (&str, &str),
        x: String,
        positions: Option<&str>,
        count: usize,
        memory: Option<(&str, Option<&str>, usize)>,
    ) -> String {
        let (dim, heads) = (self.cfg.dim, self.cfg.heads);
        let head = dim / heads;
        let name = format!("{}.{part}", self.name);
        self.residual(g, norm, x, |g, x| {
            let query = placed(g, x, positions);
            let (key, value, keys) = match memory {
                Some((memory, places, keys)) => (placed(g, memory, places), memory, keys),
                None => (query.clone(), x, count),
            };
            let weight = g.values(&format!("{name}.in_proj_weight"));
            let bias = g.values(&format!("{name}.in_proj_bias"));
            let mut project = |x: &str, i: usize, tokens: usize, order: &[i64]| {
                let columns = i * dim..(i + 1) * dim;
                let rows = weight.chunks_exact(3 * dim);
                let weight: Vec<f32> =
                    rows.flat_map(|row| &row[columns.clone()]).copied().collect();
                let out = g.affine(x, &weight, &bias[columns]);
                let out = g.reshape(&out, &[1, tokens, heads, head]);
                g.transpose(&out, order)
            };
            let query = project(&query, 0, count, &[0, 2, 1, 3]);
            let key = project(&key, 1, keys, &[0, 2, 3, 1]);
            let value = project(value, 2, keys, &[0, 2, 1, 3]);
            let scores = g.op("MatMul", &[&query, &key], &[]);
            let scale = g.float((head as f32).sqrt().recip());
            let scores = g.op("Mul", &[&scores, &scale], &[]);
            let weights = g.op("Softmax", &[&scores], &[("axis", Setting::Int(-1))]);
            let seen = g.op("MatMul", &[&weights, &value], &[]);
            let seen = g.transpose(&seen, &[0, 2, 1, 3]);
            let seen = g.reshape(&seen, &[1, count, dim]);
            g.linear(&seen, &format!("{name}.out_proj"))
        })
    }

    /// Two linear maps with the activation between them.
    fn feed_forward(&self, g: &mut Builder<'_>, norm: &str, x: String) -> String {
        self.residual(g, norm, x, |g, x| {
            let hidden = g.linear(x, &format!("{}.linear1", self.name));
            let hidden = match self.cfg.feedforward_activation {
                FeedForwardActivation::Relu => g.op("Relu", &[&hidden], &[]),
                FeedForwardActivation::Gelu => gelu(g, &hidden),
            };
            g.linear(&hidden, &format!("{}.linear2", self.name))
        })
    }
}

/// `x` with its positions, where they are given.
fn placed(g: &mut Builder<'_>, x: &str, positions: Option<&str>) -> String {
    match positions {
        Some(positions) => g.op("Add", &[x, positions], &[]),
        None => x.to_owned(),
    }
}

/// `x · Φ(x)`.
fn gelu(g: &mut Builder<'_>, x: &str) -> String {
    let root = g.float(SQRT_2);
    let (one, half) = (g.float(1.0), g.float(0.5));
    let inner = g.op("Div", &[x, &root], &[]);
    let erf = g.op("Erf", &[&inner], &[]);
    let above = g.op("Add", &[&erf, &one], &[]);
    let both = g.op("Mul", &[x, &above], &[]);
    g.op("Mul", &[&both, &half], &[])
}
