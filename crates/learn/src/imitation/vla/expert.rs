//! The action expert: a transformer beside the language model with as many layers, each of which looks
//! at what the same layer there remembers, in one of two ways. A layer that **joins** sees those tokens
//! and its own side by side, as if both were one sequence; one that **crosses** makes keys and values of
//! what is remembered there and sees nothing else.

use burn::tensor::Tensor;

use super::language::{KeysValues, LanguageLayer, LanguageSizes, RmsNorm, Rope};
use crate::imitation::Pass;
use crate::nn::ParamTable;
use crate::ops::KeyMask;

/// How a layer looks at the language model's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Join,
    Cross,
}

/// The structure.
#[derive(Debug, Clone)]
pub(crate) struct Expert {
    layers: Vec<(Way, LanguageLayer)>,
    norm: RmsNorm,
    head_dim: usize,
}

/// What the expert looks at, the same in every step from noise to actions.
pub(crate) struct Memory {
    layers: Vec<KeysValues>,
    tokens: usize,
}

impl Expert {
    /// Lays out a layer for each of `ways` under `name`.
    pub fn new(t: &mut ParamTable, name: &str, sizes: LanguageSizes, ways: &[Way]) -> Self {
        let mut layer = |(i, way): (usize, &Way)| {
            let from = match way {
                Way::Join => sizes.dim,
                Way::Cross => sizes.kv_heads * sizes.head_dim,
            };
            (*way, LanguageLayer::new(t, &format!("{name}.layers.{i}"), sizes, from))
        };
        let layers = ways.iter().enumerate().map(&mut layer).collect();
        let norm = RmsNorm::new(t, &format!("{name}.norm"), sizes);
        Self { layers, norm, head_dim: sizes.head_dim }
    }

    /// What the language model's layers `remembered`, as this model's look at it.
    pub fn recall(&self, pass: Pass<'_>, remembered: Vec<KeysValues>) -> Memory {
        let tokens = remembered.first().map_or(0, |kv| kv.keys.dims()[1]);
        let own = |(kv, (way, layer)): (KeysValues, &(Way, LanguageLayer))| match way {
            Way::Join => kv,
            Way::Cross => layer.recall(pass, kv),
        };
        Memory { layers: remembered.into_iter().zip(&self.layers).map(own).collect(), tokens }
    }

    /// `x [rows, n, dim]` through all layers. `sees(i, j)` says whether token `i` looks at token `j`
    /// where a layer joins; all look at everything in `memory`.
    pub fn forward(
        &self,
        pass: Pass<'_>,
        mut x: Tensor<3>,
        memory: &Memory,
        sees: impl Fn(usize, usize) -> bool,
    ) -> Tensor<3> {
        let n = x.dims()[1];
        let seen = |i: usize| {
            let own = (0..n).map(|j| sees(i, j)).collect::<Vec<_>>();
            std::iter::repeat_n(true, memory.tokens).chain(own)
        };
        let mask = KeyMask::Pairs((0..n).flat_map(seen).collect::<Vec<_>>().into());
        let after = Rope::new(memory.tokens, n, self.head_dim, pass.device);
        let alone = Rope::new(0, n, self.head_dim, pass.device);
        for ((way, layer), remembered) in self.layers.iter().zip(&memory.layers) {
            let normed = layer.normed(pass, x.clone());
            let seen = match way {
                Way::Join => {
                    let own = layer.remember(pass, normed.clone(), &after);
                    layer.look(pass, normed, &after, remembered.then(own), &mask)
                }
                Way::Cross => layer.look(pass, normed, &alone, remembered.clone(), &KeyMask::All),
            };
            x = layer.finish(pass, x, seen);
        }
        self.norm.forward(pass, x)
    }
}
