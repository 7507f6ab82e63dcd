//! ACT's loss: mean absolute error of the actions inside the episode, plus `kl_weight` times the
//! Kullback-Leibler divergence of the latent from a standard normal (Kingma & Welling 2013,
//! arXiv:1312.6114, appendix B), summed over latent dimensions and averaged over samples.

use burn::tensor::Tensor;

use super::model::ActNet;
use crate::imitation::{Demonstration, Inputs, Pass};

impl ActNet {
    /// The shard's part of the batch's loss, `[1]`; `noise [rows, latent_dim]` is drawn from a standard
    /// normal. Without noise the latent is zero, as when acting, and nothing is added for it.
    pub fn loss(
        &self,
        pass: Pass<'_>,
        inputs: &Inputs,
        wanted: &Demonstration,
        noise: Option<Tensor<2>>,
    ) -> Tensor<1> {
        let latent = noise.and_then(|noise| {
            let (mean, log_variance) = self.encode(pass, inputs, wanted)?;
            let sample = mean.clone() + (log_variance.clone() / 2.0).exp() * noise;
            Some((mean, log_variance, sample))
        });
        let sample = latent.as_ref().map(|(_, _, sample)| sample.clone());
        let off = self.forward(pass, inputs, sample) - wanted.tensor(pass.device);
        let l1 = (off.abs() * wanted.weights(wanted.share.per_value, false, pass.device)).sum();
        let Some((mean, log_variance, _)) = latent else { return l1 };
        let divergence =
            (log_variance.clone() + 1.0 - mean.clone() * mean - log_variance.exp()).sum() * -0.5;
        l1 + divergence * (wanted.share.per_row * self.config().kl_weight as f32)
    }
}
