//! torchvision's ResNet, cut off after one of its layers, as a frozen encoder.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use embody_core::{Result, hash_bytes};

use super::ImageEncoder;
use crate::backend::Backend;
use crate::checkpoint;
use crate::error::{Error, check};
use crate::imitation::Pass;
use crate::imitation::vision::{BackboneNorm, ResNet};
use crate::nn::{ParamTable, Weights};

/// Mean and deviation of ImageNet's channels, in units of 255.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];
const NAME: &str = "model.backbone";

/// A frozen ResNet.
pub struct ResNetEncoder {
    net: ResNet,
    weights: Weights,
    device: Device,
    id: String,
    side: usize,
    layers: usize,
}

impl ResNetEncoder {
    /// `variant` (`resnet18`, `resnet34`) with random weights from `seed`, its first `layers` layers, for
    /// pictures of `side × side` pixels. Random features tell places apart, and little else.
    ///
    /// # Errors
    /// When the variant is unknown or the sizes are impossible.
    pub fn random(variant: &str, layers: usize, side: usize, seed: u64) -> Result<Self> {
        let mut table = ParamTable::default();
        let net = ResNet::new(&mut table, NAME, variant, BackboneNorm::Frozen)?;
        let values = table.initial(seed);
        Self::new(&table, net, values, layers, side)
    }

    /// The backbone of the `act` policy in folder `dir`, its first `layers` layers.
    ///
    /// # Errors
    /// When the folder holds no policy with a ResNet of torchvision's, or the sizes are impossible.
    pub fn of_policy(dir: &Path, layers: usize, side: usize) -> Result<Self> {
        let model = checkpoint::read_model(dir)?;
        let crate::imitation::PolicyConfig::Act(act) = &model.config else {
            return Err(no_backbone(dir, model.config.kind()).into());
        };
        if !act.stem.is_empty() {
            return Err(no_backbone(dir, "act with a stem of its own").into());
        }
        let mut table = ParamTable::default();
        let net = ResNet::new(&mut table, NAME, &act.vision_backbone, BackboneNorm::Frozen)?;
        let mut values = vec![0.0; table.len()];
        for spec in &table.specs {
            let theirs = model.net.table().specs.iter().find(|s| s.name == spec.name);
            let theirs = theirs.filter(|s| s.len() == spec.len()).ok_or_else(|| {
                Error::TensorMissing { path: dir.to_owned(), name: spec.name.clone() }
            })?;
            values[spec.range()].copy_from_slice(&model.weights[theirs.range()]);
        }
        Self::new(&table, net, values, layers, side)
    }

    fn new(
        table: &ParamTable,
        net: ResNet,
        values: Vec<f32>,
        layers: usize,
        side: usize,
    ) -> Result<Self> {
        check("layers", layers, (1..=4).contains(&layers), "a ResNet has four")?;
        check("side", side, (32..=1024).contains(&side), "from 32 to 1024 pixels")?;
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let id = format!("resnet {} layers {layers} side {side}", hash_bytes(&bytes));
        let device = Backend::Cpu.device(1);
        let weights = Weights::moved(table, values, &device);
        Ok(Self { net, weights, device, id, side, layers })
    }
}

fn no_backbone(dir: &Path, kind: &str) -> Error {
    Error::Invalid {
        what: format!("{} holds a policy of type {kind}, without a ResNet", dir.display()),
        hint: "take a policy of preset `act`, or random weights".into(),
    }
}

impl ImageEncoder for ResNetEncoder {
    fn id(&self) -> String {
        self.id.clone()
    }

    fn input(&self) -> (usize, usize) {
        (self.side, self.side)
    }

    fn map(&self) -> [usize; 3] {
        self.net.map_after(self.layers, self.side, self.side)
    }

    fn encode(&self, pixels: &[u8]) -> Result<Vec<f32>> {
        let size = self.side * self.side * 3;
        let whole = pixels.len().is_multiple_of(size);
        check("pixels", pixels.len(), whole, &format!("a picture has {size}"))?;
        let pass = Pass { w: &self.weights, dropout: None, device: &self.device };
        let mut maps = Vec::new();
        // One at a time: matrix kernels may round differently at another batch size.
        for picture in pixels.chunks_exact(size) {
            let normal =
                |(i, v): (usize, &u8)| (f32::from(*v) / 255.0 - MEAN[i % 3]) / DEVIATION[i % 3];
            let values: Vec<f32> = picture.iter().enumerate().map(normal).collect();
            let data = TensorData::new(values, [1, self.side, self.side, 3]);
            let map = self.net.forward_to(pass, Tensor::from_data(data, &self.device), self.layers);
            let map = map.to_data().try_to_vec::<f32>().map_err(|e| Error::Invalid {
                what: format!("the encoder's map is not of f32: {e:?}"),
                hint: "use the portable back end".into(),
            })?;
            maps.extend(map);
        }
        Ok(maps)
    }
}
