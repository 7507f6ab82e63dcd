//! From pictures to feature maps: torchvision's ResNet-18/34 with frozen batch normalisation (He et
//! al. 2016, arXiv:1512.03385), and a small convolutional stem with key points for small presets.
//!
//! Pictures and maps are `[batch, height, width, channels]`. Frozen batch normalisation is a fixed
//! scale and shift per channel; it is folded into the convolution before it, so that each layer is
//! one fused operation and gradients reach the convolution's own weights.

use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use serde::{Deserialize, Serialize};

use super::Pass;
use crate::error::{Error, check};
use crate::nn::{BatchNorm, Conv, LayerNorm, Linear, ParamTable};
use crate::ops::{self, Activation, ConvGeometry};

/// Side, stride and padding of a square window.
type Window = (usize, usize, usize);

/// How a backbone normalises, and with it whose names its parameters bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BackboneNorm {
    /// Fixed scale and shift (torchvision's `FrozenBatchNorm2d`), torchvision's names.
    Frozen,
    /// Fixed statistics, learned scale and shift (`BatchNorm2d` as when acting), its parts numbered
    /// as in PyTorch's `nn.Sequential`.
    Batch,
    /// Groups of 16 channels (`GroupNorm`), numbered likewise.
    Group,
}

#[derive(Debug, Clone)]
enum ConvNormKind {
    Batch(BatchNorm),
    Group(LayerNorm),
}

/// A convolution without bias, then normalisation.
#[derive(Debug, Clone)]
struct ConvNorm {
    weight: usize,
    norm: ConvNormKind,
    window: Window,
    channels: (usize, usize),
}

impl ConvNorm {
    fn new(
        t: &mut ParamTable,
        (conv, norm): (&str, &str),
        kind: BackboneNorm,
        channels: (usize, usize),
        window: Window,
    ) -> Self {
        let weight = t.conv_weight(conv, window.0, channels.0, channels.1);
        let norm = match kind {
            BackboneNorm::Frozen => ConvNormKind::Batch(t.frozen_norm(norm, channels.1)),
            BackboneNorm::Batch => ConvNormKind::Batch(t.batch_norm(norm, channels.1)),
            BackboneNorm::Group => ConvNormKind::Group(t.norm(norm, channels.1)),
        };
        Self { weight, norm, window, channels }
    }

    fn geometry(&self, height: usize, width: usize) -> ConvGeometry {
        let (kernel, stride, padding) = self.window;
        let (channels, out_channels) = self.channels;
        ConvGeometry { height, width, channels, kernel, stride, padding, out_channels }
    }

    fn forward(&self, pass: Pass<'_>, x: Tensor<4>, act: Activation) -> Tensor<4> {
        let [batch, height, width, _] = x.dims();
        let geometry = self.geometry(height, width);
        let weight = pass.w.matrix(self.weight);
        let norm = match &self.norm {
            ConvNormKind::Batch(norm) => {
                let (scale, shift) = norm.affine(pass.w);
                let weight = weight.clone() * scale.unsqueeze::<2>();
                return ops::conv(x, &weight, &shift, geometry, act);
            }
            ConvNormKind::Group(norm) => norm,
        };
        let channels = self.channels.1;
        let none = Tensor::zeros([channels], pass.device);
        let x = ops::conv(x, weight, &none, geometry, Activation::None);
        let [_, h, w, _] = x.dims();
        let x = norm.by_groups(pass.w, x.reshape([batch, h * w, channels]), channels / 16);
        let x = x.reshape([batch, h, w, channels]);
        if act == Activation::Relu { relu(x) } else { x }
    }
}

/// Two 3 × 3 convolutions beside a short cut.
#[derive(Debug, Clone)]
struct BasicBlock {
    first: ConvNorm,
    second: ConvNorm,
    short_cut: Option<ConvNorm>,
}

impl BasicBlock {
    fn new(
        t: &mut ParamTable,
        name: &str,
        kind: BackboneNorm,
        (from, to): (usize, usize),
        stride: usize,
    ) -> Self {
        let part = |t: &mut ParamTable, conv: &str, norm: &str, channels, window| {
            let names = (format!("{name}.{conv}"), format!("{name}.{norm}"));
            ConvNorm::new(t, (&names.0, &names.1), kind, channels, window)
        };
        let first = part(t, "conv1", "bn1", (from, to), (3, stride, 1));
        let second = part(t, "conv2", "bn2", (to, to), (3, 1, 1));
        let short_cut = (stride != 1 || from != to)
            .then(|| part(t, "downsample.0", "downsample.1", (from, to), (1, stride, 0)));
        Self { first, second, short_cut }
    }

    fn forward(&self, pass: Pass<'_>, x: Tensor<4>) -> Tensor<4> {
        let kept = match &self.short_cut {
            Some(conv) => conv.forward(pass, x.clone(), Activation::None),
            None => x.clone(),
        };
        let x = self.first.forward(pass, x, Activation::Relu);
        relu(self.second.forward(pass, x, Activation::None) + kept)
    }
}

/// Channels of the last map.
pub(crate) const RESNET_CHANNELS: usize = 512;

/// ResNet up to its last feature map, a 32nd of the picture each way.
#[derive(Debug, Clone)]
pub(crate) struct ResNet {
    first: ConvNorm,
    blocks: Vec<BasicBlock>,
    /// Blocks up to the end of each layer.
    ends: [usize; 4],
}

impl ResNet {
    /// Blocks of each of the four layers of torchvision's `variant`.
    pub fn depths(variant: &str) -> Result<[usize; 4], Error> {
        match variant {
            "resnet18" => Ok([2, 2, 2, 2]),
            "resnet34" => Ok([3, 4, 6, 3]),
            _ => {
                let rule = "this version has `resnet18` and `resnet34`".to_owned();
                Err(Error::Config { key: "vision_backbone", value: variant.to_owned(), rule })
            }
        }
    }

    /// Lays out torchvision's `resnet18` or `resnet34` under `name`.
    pub fn new(
        t: &mut ParamTable,
        name: &str,
        variant: &str,
        norm: BackboneNorm,
    ) -> Result<Self, Error> {
        let depths = Self::depths(variant)?;
        let numbered = norm != BackboneNorm::Frozen;
        let names = match numbered {
            true => (format!("{name}.0"), format!("{name}.1")),
            false => (format!("{name}.conv1"), format!("{name}.bn1")),
        };
        let first = ConvNorm::new(t, (&names.0, &names.1), norm, (3, 64), (7, 2, 3));
        let mut blocks = Vec::new();
        let mut ends = [0; 4];
        let mut from = 64;
        for (layer, depth) in depths.into_iter().enumerate() {
            let to = 64 << layer;
            for i in 0..depth {
                let stride = if layer > 0 && i == 0 { 2 } else { 1 };
                let block = match numbered {
                    true => format!("{name}.{}.{i}", layer + 4),
                    false => format!("{name}.layer{}.{i}", layer + 1),
                };
                blocks.push(BasicBlock::new(t, &block, norm, (from, to), stride));
                from = to;
            }
            ends[layer] = blocks.len();
        }
        Ok(Self { first, blocks, ends })
    }

    /// Height and width of the last map for a picture of `height × width`.
    pub fn output(&self, height: usize, width: usize) -> (usize, usize) {
        let halved = |n: usize| n.div_ceil(2);
        let (mut h, mut w) = (halved(halved(height)), halved(halved(width)));
        for block in &self.blocks {
            (h, w) = block.first.geometry(h, w).output();
        }
        (h, w)
    }

    /// Height, width and channels of the map after the first `layers` layers, from 1 to 4.
    pub fn map_after(&self, layers: usize, height: usize, width: usize) -> [usize; 3] {
        let halved = |n: usize| n.div_ceil(2);
        let (mut h, mut w) = (halved(halved(height)), halved(halved(width)));
        for block in &self.blocks[..self.ends[layers - 1]] {
            (h, w) = block.first.geometry(h, w).output();
        }
        [h, w, 64 << (layers - 1)]
    }

    /// `[batch, h, w, 3]` → `[batch, h / 32, w / 32, 512]`, rounded up.
    pub fn forward(&self, pass: Pass<'_>, image: Tensor<4>) -> Tensor<4> {
        self.forward_to(pass, image, 4)
    }

    /// The map after the first `layers` layers, from 1 to 4.
    pub fn forward_to(&self, pass: Pass<'_>, image: Tensor<4>, layers: usize) -> Tensor<4> {
        let x = self.first.forward(pass, image, Activation::Relu);
        let options = MaxPoolOptions::new([3, 3]).with_stride([2, 2]).with_padding([1, 1]);
        let mut x = max_pool2d(x.permute([0, 3, 1, 2]), options).permute([0, 2, 3, 1]);
        for block in &self.blocks[..self.ends[layers - 1]] {
            x = block.forward(pass, x);
        }
        x
    }
}

/// LeRobot's encoder of Diffusion Policy: a backbone, key points of its last map (Levine et al. 2016,
/// arXiv:1504.00702), a linear map of their places, ReLU.
#[derive(Debug, Clone)]
pub(crate) struct KeypointEncoder {
    net: ResNet,
    points: Linear,
    out: Linear,
    /// From places between pixels' centres to places from the first centre to the last.
    stretch: [f32; 2],
}

impl KeypointEncoder {
    /// Lays out the encoder of pictures of `height × width` under `name`.
    pub fn new(
        t: &mut ParamTable,
        name: &str,
        (variant, norm): (&str, BackboneNorm),
        (height, width): (usize, usize),
        keypoints: usize,
    ) -> Result<Self, Error> {
        let net = ResNet::new(t, &format!("{name}.backbone"), variant, norm)?;
        let (h, w) = net.output(height, width);
        let points = t.pointwise(&format!("{name}.pool.nets"), RESNET_CHANNELS, keypoints);
        t.grid(&format!("{name}.pool.pos_grid"), h, w);
        let out = t.linear(&format!("{name}.out"), 2 * keypoints, 2 * keypoints, 1.0);
        let stretch = [w, h].map(|n| if n > 1 { n as f32 / (n - 1) as f32 } else { 1.0 });
        Ok(Self { net, points, out, stretch })
    }

    /// `[batch, h, w, 3]` → `[batch, 2 · keypoints]`.
    pub fn forward(&self, pass: Pass<'_>, image: Tensor<4>) -> Tensor<2> {
        let map = self.net.forward(pass, image);
        let at = ops::spatial_softmax(self.points.forward(pass.w, map, Activation::None));
        let [batch, n] = at.dims();
        let both = at.reshape([batch, 2, n / 2]);
        let part = |i: usize| both.clone().slice([0..batch, i..i + 1, 0..n / 2]) * self.stretch[i];
        let pairs = Tensor::cat(vec![part(0), part(1)], 1).swap_dims(1, 2).reshape([batch, n]);
        self.out.forward(pass.w, pairs, Activation::Relu)
    }
}

/// One convolution of the stem, followed by ReLU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StemLayer {
    /// Output channels.
    pub channels: usize,
    /// Side of the square kernel, in pixels of its input.
    pub kernel: usize,
    /// Step between windows, in pixels of its input.
    pub stride: usize,
}

/// What a camera's stem is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StemSizes<'a> {
    pub layers: &'a [StemLayer],
    /// 0 for none.
    pub keypoints: usize,
    /// After how many layers key points are read off.
    pub keypoint_layer: usize,
    /// Whether the last map's cells are tokens.
    pub map_tokens: bool,
    /// Features of a token.
    pub dim: usize,
}

impl StemSizes<'_> {
    /// Refuses values that make no stem.
    pub fn validate(&self) -> Result<(), Error> {
        let layers = self.layers.len();
        check("stem", layers, layers <= 64, "it can have 64 layers at most")?;
        for layer in self.layers {
            let numbers = [layer.channels, layer.kernel, layer.stride];
            let whole = numbers.iter().all(|n| (1..=8192).contains(n));
            check("stem", format!("{layer:?}"), whole, "every number must be from 1 to 8192")?;
        }
        check("keypoints", self.keypoints, self.keypoints <= 8192, "it can be 8192 at most")?;
        let read = self.keypoints == 0 || (1..=layers).contains(&self.keypoint_layer);
        let rule = "it must be between 1 and the number of stem layers";
        check("keypoint_layer", self.keypoint_layer, read, rule)?;
        let seen = self.keypoints > 0 || self.map_tokens;
        check("keypoints", self.keypoints, seen, "without key points, map_tokens must be true")
    }
}

/// One camera's small stem: convolutions with ReLU, key points read off after some of them (Levine et
/// al. 2016, arXiv:1504.00702), and the last map.
#[derive(Debug, Clone)]
pub(crate) struct Stem {
    convs: Vec<Conv>,
    /// 1 × 1 convolution to one channel per key point, then points to a token.
    keypoints: Option<(Linear, Linear)>,
    keypoint_after: usize,
    map: Option<Linear>,
    /// Height and width of the last map.
    pub output: (usize, usize),
}

impl Stem {
    /// Lays out the stem of a camera with pictures of `height × width` under `prefix`.
    pub fn new(
        t: &mut ParamTable,
        cfg: &StemSizes<'_>,
        prefix: &str,
        (height, width): (usize, usize),
    ) -> Result<Self, Error> {
        let (mut h, mut w, mut channels) = (height, width, 3);
        let mut convs: Vec<Conv> = Vec::new();
        for (i, layer) in cfg.layers.iter().enumerate() {
            let StemLayer { channels: out_channels, kernel, stride } = *layer;
            let padding = (kernel - 1) / 2;
            let geometry = ConvGeometry {
                height: h,
                width: w,
                channels,
                kernel,
                stride,
                padding,
                out_channels,
            };
            let fits = kernel <= h.min(w) + 2 * padding;
            check("stem", format!("{layer:?}"), fits, "the kernel is larger than its input")?;
            convs.push(t.conv(&format!("{prefix}.conv{i}"), geometry));
            (h, w) = geometry.output();
            channels = out_channels;
        }
        let keypoints = (cfg.keypoints > 0).then(|| {
            let from = cfg.layers[cfg.keypoint_layer - 1].channels;
            (
                t.linear(&format!("{prefix}.keypoints"), from, cfg.keypoints, 1.0),
                t.linear(&format!("{prefix}.keypoint_proj"), 2 * cfg.keypoints, cfg.dim, 1.0),
            )
        });
        let projection = format!("{prefix}.encoder_img_feat_input_proj");
        let map = cfg.map_tokens.then(|| t.linear(&projection, channels, cfg.dim, 1.0));
        Ok(Self { convs, keypoints, keypoint_after: cfg.keypoint_layer, map, output: (h, w) })
    }

    /// A token of key points `[batch, dim]` and tokens of the map `[batch, cells, dim]`.
    pub fn forward(
        &self,
        pass: Pass<'_>,
        image: Tensor<4>,
    ) -> (Option<Tensor<2>>, Option<Tensor<3>>) {
        let mut x = image;
        let mut points = None;
        for (i, conv) in self.convs.iter().enumerate() {
            if self.map.is_none() && i >= self.keypoint_after {
                break;
            }
            x = conv.forward(pass.w, x, Activation::Relu);
            if let Some((maps, proj)) = &self.keypoints
                && self.keypoint_after == i + 1
            {
                let at = ops::spatial_softmax(maps.forward(pass.w, x.clone(), Activation::None));
                points = Some(proj.forward(pass.w, at, Activation::None));
            }
        }
        let map = self.map.as_ref().map(|map| {
            let [batch, h, w, c] = x.dims();
            map.forward(pass.w, x.reshape([batch, h * w, c]), Activation::None)
        });
        (points, map)
    }
}
