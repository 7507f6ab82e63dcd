//! Observations as tokens of a transformer: one for the robot's state, one for its surroundings, one
//! for a camera's key points, and one for each cell of its last map.
//!
//! Names of the parameters are those of LeRobot's ACT (`model.backbone.layer1.…`,
//! `model.encoder_robot_state_input_proj.weight`); a stem per camera and its key points, which
//! LeRobot does not have, stand under names of our own.

use burn::tensor::{Device, Tensor, TensorData};

use super::transformer::sine_positions_2d;
use super::vision::{BackboneNorm, RESNET_CHANNELS, ResNet, Stem, StemSizes};
use super::{Inputs, Pass, Shape};
use crate::error::{Error, check};
use crate::nn::{Linear, ParamTable};
use crate::ops::Activation;

/// What makes maps of pictures.
#[derive(Debug, Clone)]
enum Vision {
    /// One network for all cameras, and a projection of its cells.
    Shared(Box<ResNet>, Linear),
    /// A small one for each.
    Stems(Vec<Stem>),
}

/// Positions of a map's cells `[cells, dim]`.
#[derive(Debug, Clone)]
struct Cells {
    positions: Vec<f32>,
    count: usize,
}

/// The structure.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    vision: Vision,
    cells: Vec<Cells>,
    state: Option<Linear>,
    env: Option<Linear>,
    /// One learned position per single token: the policy's own, state, surroundings, key points.
    single_positions: usize,
    dim: usize,
}

impl Tokens {
    /// Lays out tokens of `stem.dim` features for the cameras and vectors of `shape`, behind `own`
    /// single tokens that the policy puts first. Without a stem, cameras share torchvision's
    /// `backbone`.
    pub fn new(
        t: &mut ParamTable,
        stem: &StemSizes<'_>,
        backbone: &str,
        shape: &Shape,
        own: usize,
    ) -> Result<Self, Error> {
        let seeing = !shape.cameras.is_empty() || shape.env_dim.is_some();
        let rule = "it wants a camera or a state of the surroundings; with a stem, a state will do";
        check("inputs", "empty", seeing || shape.state_dim.is_some(), rule)?;
        let dim = stem.dim;
        let cells = |(h, w): (usize, usize)| Cells {
            positions: sine_positions_2d(h, w, dim),
            count: h * w,
        };
        let (vision, cells) = if stem.layers.is_empty() && !shape.cameras.is_empty() {
            let net = ResNet::new(t, "model.backbone", backbone, BackboneNorm::Frozen)?;
            let project = t.pointwise("model.encoder_img_feat_input_proj", RESNET_CHANNELS, dim);
            let cells = shape.cameras.iter().map(|(_, h, w)| cells(net.output(*h, *w))).collect();
            (Vision::Shared(Box::new(net), project), cells)
        } else {
            let mut stems = Vec::new();
            for (name, height, width) in &shape.cameras {
                stems.push(Stem::new(
                    t,
                    stem,
                    &format!("model.backbone.{name}"),
                    (*height, *width),
                )?);
            }
            let cells = stems.iter().map(|s| cells(s.output)).collect();
            (Vision::Stems(stems), cells)
        };
        let mut vector = |name: &str, n: Option<usize>| n.map(|n| t.linear(name, n, dim, 1.0));
        let state = vector("model.encoder_robot_state_input_proj", shape.state_dim);
        let env = vector("model.encoder_env_state_input_proj", shape.env_dim);
        let points = if stem.keypoints > 0 { shape.cameras.len() } else { 0 };
        let singles = own + usize::from(state.is_some()) + usize::from(env.is_some()) + points;
        let single_positions = t.embedding("model.encoder_1d_feature_pos_embed", singles, dim);
        Ok(Self { vision, cells, state, env, single_positions, dim })
    }

    /// `own` single tokens `[rows, dim]` and the observation's: `[rows, tokens, dim]`, and their
    /// positions `[1, tokens, dim]`.
    pub fn forward(
        &self,
        pass: Pass<'_>,
        inputs: &Inputs,
        own: Vec<Tensor<2>>,
    ) -> (Tensor<3>, Tensor<3>) {
        let (w, rows) = (pass.w, inputs.rows(1));
        let mut singles = own;
        for (layer, vector) in [(&self.state, &inputs.state), (&self.env, &inputs.env)] {
            if let (Some(layer), Some(vector)) = (layer, vector) {
                singles.push(layer.forward(w, vector.clone(), Activation::None));
            }
        }
        let mut maps = Vec::new();
        let mut positions = vec![w.matrix(self.single_positions).clone().unsqueeze::<3>()];
        for (i, (image, cells)) in inputs.images.iter().zip(&self.cells).enumerate() {
            let (points, map) = self.see(pass, i, image.clone());
            singles.extend(points);
            if let Some(map) = map {
                maps.push(map);
                positions.push(cells.tensor(self.dim, pass.device));
            }
        }
        let single = |token: Tensor<2>| token.reshape([rows, 1, self.dim]);
        let tokens = singles.into_iter().map(single).chain(maps).collect();
        (Tensor::cat(tokens, 1), Tensor::cat(positions, 1))
    }

    /// Key points and cells of camera `i`'s picture.
    fn see(
        &self,
        pass: Pass<'_>,
        i: usize,
        image: Tensor<4>,
    ) -> (Option<Tensor<2>>, Option<Tensor<3>>) {
        match &self.vision {
            Vision::Shared(net, project) => {
                let map = net.forward(pass, image);
                let [rows, h, w, c] = map.dims();
                let map = map.reshape([rows, h * w, c]);
                (None, Some(project.forward(pass.w, map, Activation::None)))
            }
            Vision::Stems(stems) => {
                let (points, map) = stems[i].forward(pass, image);
                (points.map(|p| pass.drop(p)), map.map(|m| pass.drop(m)))
            }
        }
    }
}

impl Cells {
    fn tensor(&self, dim: usize, device: &Device) -> Tensor<3> {
        Tensor::from_data(TensorData::new(self.positions.clone(), [1, self.count, dim]), device)
    }
}
