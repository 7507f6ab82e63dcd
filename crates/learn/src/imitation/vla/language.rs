//! Layers of the language models that VLAs stand on: Llama's (Touvron et al. 2023, arXiv:2302.13971) and
//! Gemma's (arXiv:2403.08295), which differ in their activation and in how the norms' weights count.
//!
//! Names and shapes of the parameters are Hugging Face's. Heads share keys and values in groups
//! (arXiv:2305.13245); positions turn queries and keys (RoPE, arXiv:2104.09864, wavelengths up to 10,000
//! as LeRobot has it, whatever the language model was trained with).

use burn::tensor::activation::silu;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::vision::gelu_tanh;
use crate::imitation::Pass;
use crate::nn::ParamTable;
use crate::ops::{self, Activation, KeyMask};

/// Whose layers they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// SiLU; norms scale by their weight.
    Llama,
    /// GELU; norms scale by one more than their weight.
    Gemma,
}

/// Sizes of a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LanguageSizes {
    pub family: Family,
    pub dim: usize,
    pub ff_dim: usize,
    pub heads: usize,
    /// Of keys and values; divides `heads`.
    pub kv_heads: usize,
    pub head_dim: usize,
    /// In the norms' roots.
    pub eps: f64,
}

/// Root mean square normalisation (arXiv:1910.07467).
#[derive(Debug, Clone, Copy)]
pub(crate) struct RmsNorm {
    weight: usize,
    eps: f64,
    family: Family,
}

impl RmsNorm {
    pub fn new(t: &mut ParamTable, name: &str, sizes: LanguageSizes) -> Self {
        Self { weight: t.scale(name, sizes.dim), eps: sizes.eps, family: sizes.family }
    }

    pub fn forward(&self, pass: Pass<'_>, x: Tensor<3>) -> Tensor<3> {
        let square = (x.clone() * x.clone()).mean_dim(2) + self.eps;
        let weight = pass.w.vector(self.weight).clone();
        let scale = match self.family {
            Family::Llama => weight,
            Family::Gemma => weight + 1.0,
        };
        x / square.sqrt() * scale.unsqueeze::<3>()
    }
}

/// A linear map without bias.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix {
    weight: usize,
    outputs: usize,
}

impl Matrix {
    pub fn new(t: &mut ParamTable, name: &str, inputs: usize, outputs: usize) -> Self {
        Self { weight: t.matrix(name, inputs, outputs), outputs }
    }

    pub fn forward(&self, pass: Pass<'_>, x: Tensor<3>) -> Tensor<3> {
        let none = Tensor::zeros([self.outputs], pass.device);
        ops::linear(x, pass.w.matrix(self.weight), &none, Activation::None)
    }
}

/// Turns of the positions `from..from + n`, cosines and sines `[1, n, 1, head_dim / 2]`.
pub(crate) struct Rope {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl Rope {
    pub fn new(from: usize, n: usize, head_dim: usize, device: &Device) -> Self {
        let half = head_dim / 2;
        let angle = |i: usize| {
            // In f32 as PyTorch has it.
            let wavelength = 10_000f32.powf((2.0 / head_dim as f32) * (i % half) as f32);
            (from + i / half) as f32 / wavelength
        };
        let table = |f: fn(f32) -> f32| {
            let values: Vec<f32> = (0..n * half).map(|i| f(angle(i))).collect();
            Tensor::from_data(TensorData::new(values, [1, n, 1, half]), device)
        };
        Self { cos: table(f32::cos), sin: table(f32::sin) }
    }

    /// Turns every head of `x [rows, n, heads · head_dim]`.
    fn turn(&self, x: Tensor<3>, head_dim: usize) -> Tensor<3> {
        let [rows, n, width] = x.dims();
        let (heads, half) = (width / head_dim, head_dim / 2);
        let x = x.reshape([rows, n, heads, head_dim]);
        let first = x.clone().slice([0..rows, 0..n, 0..heads, 0..half]);
        let second = x.slice([0..rows, 0..n, 0..heads, half..head_dim]);
        let (cos, sin) = (|| self.cos.clone(), || self.sin.clone());
        let turned =
            vec![first.clone() * cos() - second.clone() * sin(), second * cos() + first * sin()];
        Tensor::cat(turned, 3).reshape([rows, n, width])
    }
}

/// What a layer remembers of tokens, each `[rows, n, kv_heads · head_dim]`; keys are turned.
#[derive(Clone)]
pub(crate) struct KeysValues {
    pub keys: Tensor<3>,
    pub values: Tensor<3>,
}

impl KeysValues {
    /// These tokens, then those.
    pub fn then(&self, next: Self) -> Self {
        let cat = |a: &Tensor<3>, b: Tensor<3>| Tensor::cat(vec![a.clone(), b], 1);
        Self { keys: cat(&self.keys, next.keys), values: cat(&self.values, next.values) }
    }
}

/// One layer: attention, then a gated feed-forward block.
#[derive(Debug, Clone)]
pub(crate) struct LanguageLayer {
    norm_attention: RmsNorm,
    q: Matrix,
    k: Matrix,
    v: Matrix,
    o: Matrix,
    norm_mlp: RmsNorm,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
    sizes: LanguageSizes,
}

impl LanguageLayer {
    /// Lays out the layer under `name`. Its keys and values are made of `from` features: `dim`, or the
    /// width of what another model's layer remembers.
    pub fn new(t: &mut ParamTable, name: &str, sizes: LanguageSizes, from: usize) -> Self {
        let LanguageSizes { dim, ff_dim, heads, kv_heads, head_dim, .. } = sizes;
        let (asked, kept) = (heads * head_dim, kv_heads * head_dim);
        let part = |t: &mut ParamTable, part: &str, inputs, outputs| {
            Matrix::new(t, &format!("{name}.{part}"), inputs, outputs)
        };
        Self {
            norm_attention: RmsNorm::new(t, &format!("{name}.input_layernorm"), sizes),
            q: part(t, "self_attn.q_proj", dim, asked),
            k: part(t, "self_attn.k_proj", from, kept),
            v: part(t, "self_attn.v_proj", from, kept),
            o: part(t, "self_attn.o_proj", asked, dim),
            norm_mlp: RmsNorm::new(t, &format!("{name}.post_attention_layernorm"), sizes),
            gate: part(t, "mlp.gate_proj", dim, ff_dim),
            up: part(t, "mlp.up_proj", dim, ff_dim),
            down: part(t, "mlp.down_proj", ff_dim, dim),
            sizes,
        }
    }

    /// `x` as attention takes it.
    pub fn normed(&self, pass: Pass<'_>, x: Tensor<3>) -> Tensor<3> {
        self.norm_attention.forward(pass, x)
    }

    /// What the layer remembers of normed tokens at the positions of `rope`.
    pub fn remember(&self, pass: Pass<'_>, normed: Tensor<3>, rope: &Rope) -> KeysValues {
        let keys = rope.turn(self.k.forward(pass, normed.clone()), self.sizes.head_dim);
        KeysValues { keys, values: self.v.forward(pass, normed) }
    }

    /// What another model's layer remembers, as keys and values of this one.
    pub fn recall(&self, pass: Pass<'_>, other: KeysValues) -> KeysValues {
        KeysValues {
            keys: self.k.forward(pass, other.keys),
            values: self.v.forward(pass, other.values),
        }
    }

    /// What normed tokens at the positions of `rope` see in `memory`, as far as `mask` lets them.
    pub fn look(
        &self,
        pass: Pass<'_>,
        normed: Tensor<3>,
        rope: &Rope,
        memory: KeysValues,
        mask: &KeyMask,
    ) -> Tensor<3> {
        let LanguageSizes { heads, kv_heads, head_dim, .. } = self.sizes;
        let shared = |x: Tensor<3>| {
            let [rows, n, width] = x.dims();
            let group = heads / kv_heads;
            let x = x.reshape([rows, n, kv_heads, 1, head_dim]);
            x.expand([rows, n, kv_heads, group, head_dim]).reshape([rows, n, width * group])
        };
        let pairs = Tensor::cat(vec![shared(memory.keys), shared(memory.values)], 2);
        let q = rope.turn(self.q.forward(pass, normed), head_dim);
        ops::attention(q, pairs, heads, mask, None)
    }

    /// The layer's output for its input `x` and what was `seen`.
    pub fn finish(&self, pass: Pass<'_>, x: Tensor<3>, seen: Tensor<3>) -> Tensor<3> {
        let x = x + self.o.forward(pass, seen);
        let normed = self.norm_mlp.forward(pass, x.clone());
        let gate = self.gate.forward(pass, normed.clone());
        let gate = match self.sizes.family {
            Family::Llama => silu(gate),
            Family::Gemma => gelu_tanh(gate),
        };
        x + self.down.forward(pass, gate * self.up.forward(pass, normed))
    }
}

/// A language model as far as an action expert needs it: what each layer remembers of the tokens.
#[derive(Debug, Clone)]
pub(crate) struct LanguageModel {
    pub embeddings: usize,
    layers: Vec<LanguageLayer>,
    sizes: LanguageSizes,
}

impl LanguageModel {
    /// Lays out `name.embed_tokens`, `layers` layers and the last norm, which nothing here reads.
    pub fn new(
        t: &mut ParamTable,
        name: &str,
        sizes: LanguageSizes,
        (vocabulary, layers): (usize, usize),
    ) -> Self {
        let embeddings = t.embedding(&format!("{name}.embed_tokens"), vocabulary, sizes.dim);
        let layer = |i| format!("{name}.layers.{i}");
        let layers =
            (0..layers).map(|i| LanguageLayer::new(t, &layer(i), sizes, sizes.dim)).collect();
        t.scale(&format!("{name}.norm"), sizes.dim);
        Self { embeddings, layers, sizes }
    }

    /// The embeddings of `tokens` for each of `rows` samples, `[rows, tokens, dim]`.
    pub fn embed(&self, pass: Pass<'_>, tokens: &[usize], rows: usize) -> Tensor<3> {
        let at: Vec<i32> = tokens.iter().map(|t| i32::try_from(*t).unwrap_or(i32::MAX)).collect();
        let at = Tensor::<1, Int>::from_data(TensorData::new(at, [tokens.len()]), pass.device);
        let words = pass.w.matrix(self.embeddings).clone().select(0, at);
        words.unsqueeze::<3>().expand([rows, tokens.len(), self.sizes.dim])
    }

    /// What each layer remembers of the tokens `x [rows, n, dim]`, which look at each other as far as
    /// `mask` lets them.
    pub fn read(&self, pass: Pass<'_>, x: Tensor<3>, mask: &KeyMask) -> Vec<KeysValues> {
        let rope = Rope::new(0, x.dims()[1], self.sizes.head_dim, pass.device);
        let mut x = x;
        let mut memory = Vec::with_capacity(self.layers.len());
        for (i, layer) in self.layers.iter().enumerate() {
            let normed = layer.normed(pass, x.clone());
            let remembered = layer.remember(pass, normed.clone(), &rope);
            memory.push(remembered.clone());
            // What leaves the last layer would be words, and nobody asks for these.
            if i + 1 < self.layers.len() {
                let seen = layer.look(pass, normed, &rope, remembered, mask);
                x = layer.finish(pass, x, seen);
            }
        }
        memory
    }
}
