//! Element-wise passes of small networks as vector code, and the product of one row with a matrix.
//!
//! Each is written as a plain loop without fused multiply-adds and compiled three times: for every
//! x86-64, for AVX2 and for AVX-512; which one runs is asked of the processor. Lanes are computed as
//! the scalar loop would, and sums have a fixed number of partial sums, so all three give the same bits.
#![allow(unsafe_code)]

use crate::ops::kernels::exp;

/// The nonlinearity between layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nonlinearity {
    /// tanh(x), to within 3e-7 of libm's.
    #[default]
    Tanh,
    /// max(0, x).
    Relu,
    /// x above 0, e^x − 1 below.
    Elu,
    /// x / (1 + e^−x).
    Silu,
}

/// tanh: an odd polynomial near 0 (Cephes' tanhf), by e^−2|x| elsewhere; relative error below 5e-7.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let p = -5.704_988_7e-3 * z + 2.063_908_8e-2;
    let p = p * z - 5.373_971_6e-2;
    let p = p * z + 1.333_144_2e-1;
    let p = p * z - 3.333_328e-1;
    let near = p * z * x + x;
    let e = exp(-2.0 * a);
    let far = ((1.0 - e) / (1.0 + e)).copysign(x);
    if a < 0.625 { near } else { far }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// ln x for normal x above 0 (Cephes' logf), relative error below 2e-7 away from 1.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    let e = (bits >> 23) as i32 - 126;
    let m = f32::from_bits((bits & 0x007f_ffff) | 0x3f00_0000);
    let low = m < std::f32::consts::FRAC_1_SQRT_2;
    let e = (if low { e - 1 } else { e }) as f32;
    let m = if low { m + m - 1.0 } else { m - 1.0 };
    let z = m * m;
    let p = 7.037_683_6e-2 * m - 1.151_461e-1;
    let p = p * m + 1.167_699_9e-1;
    let p = p * m - 1.242_014_1e-1;
    let p = p * m + 1.424_932_3e-1;
    let p = p * m - 1.666_805_8e-1;
    let p = p * m + 2.000_071_5e-1;
    let p = p * m - 2.499_999_4e-1;
    let p = p * m + 3.333_333e-1;
    let y = p * m * z - 2.121_944_4e-4 * e - 0.5 * z;
    m + y + 0.693_359_4 * e
}

/// Compiles a loop for the processors that matter and picks one at run time.
macro_rules! vectorised {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments, reason = "plain slices")]
        pub(crate) fn $name($($arg: $ty),*) $(-> $out)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments, reason = "plain slices")]
            fn everywhere($($arg: $ty),*) $(-> $out)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                #[allow(clippy::too_many_arguments, reason = "plain slices")]
                fn avx512($($arg: $ty),*) $(-> $out)? { everywhere($($arg),*) }
                #[target_feature(enable = "avx2")]
                #[allow(clippy::too_many_arguments, reason = "plain slices")]
                fn avx2($($arg: $ty),*) $(-> $out)? { everywhere($($arg),*) }
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                {
                    // SAFETY: the processor has what the function is compiled for.
                    return unsafe { avx512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has what the function is compiled for.
                    return unsafe { avx2($($arg),*) };
                }
            }
            everywhere($($arg),*)
        }
    };
}

vectorised! {
    /// `y += b` on every row of `y [.., n]`.
    fn add_bias(y: &mut [f32], b: &[f32]) {
        for row in y.chunks_exact_mut(b.len()) {
            for (v, b) in row.iter_mut().zip(b) {
                *v += b;
            }
        }
    }
}

vectorised! {
    /// `y = act(y + b)` on every row of `y [.., n]`.
    fn bias_activate(y: &mut [f32], b: &[f32], act: Nonlinearity) {
        let n = b.len();
        match act {
            Nonlinearity::Tanh => y.chunks_exact_mut(n).for_each(|row| {
                row.iter_mut().zip(b).for_each(|(v, b)| *v = tanh(*v + b));
            }),
            Nonlinearity::Relu => y.chunks_exact_mut(n).for_each(|row| {
                row.iter_mut().zip(b).for_each(|(v, b)| *v = (*v + b).max(0.0));
            }),
            Nonlinearity::Elu => y.chunks_exact_mut(n).for_each(|row| {
                row.iter_mut().zip(b).for_each(|(v, b)| {
                    let x = *v + b;
                    let e = exp(x.min(0.0)) - 1.0;
                    *v = if x > 0.0 { x } else { e };
                });
            }),
            Nonlinearity::Silu => y.chunks_exact_mut(n).for_each(|row| {
                row.iter_mut().zip(b).for_each(|(v, b)| {
                    let x = *v + b;
                    *v = x * sigmoid(x);
                });
            }),
        }
    }
}

vectorised! {
    /// `y = act(x)`.
    fn activate(x: &[f32], y: &mut [f32], act: Nonlinearity) {
        match act {
            Nonlinearity::Tanh => y.iter_mut().zip(x).for_each(|(y, x)| *y = tanh(*x)),
            Nonlinearity::Relu => y.iter_mut().zip(x).for_each(|(y, x)| *y = x.max(0.0)),
            Nonlinearity::Elu => y.iter_mut().zip(x).for_each(|(y, x)| {
                let e = exp(x.min(0.0)) - 1.0;
                *y = if *x > 0.0 { *x } else { e };
            }),
            Nonlinearity::Silu => y.iter_mut().zip(x).for_each(|(y, x)| *y = x * sigmoid(*x)),
        }
    }
}

vectorised! {
    /// `x = act(x)`.
    fn activate_in_place(x: &mut [f32], act: Nonlinearity) {
        match act {
            Nonlinearity::Tanh => x.iter_mut().for_each(|x| *x = tanh(*x)),
            Nonlinearity::Relu => x.iter_mut().for_each(|x| *x = x.max(0.0)),
            Nonlinearity::Elu => x.iter_mut().for_each(|x| {
                let e = exp(x.min(0.0)) - 1.0;
                *x = if *x > 0.0 { *x } else { e };
            }),
            Nonlinearity::Silu => x.iter_mut().for_each(|x| *x *= sigmoid(*x)),
        }
    }
}

vectorised! {
    /// `d *= act'`, from the activation's output `y`; from its input `x` for [`Nonlinearity::Silu`].
    fn activate_backward(d: &mut [f32], y: &[f32], x: &[f32], act: Nonlinearity) {
        match act {
            Nonlinearity::Tanh => d.iter_mut().zip(y).for_each(|(d, y)| *d *= 1.0 - y * y),
            Nonlinearity::Relu => d.iter_mut().zip(y).for_each(|(d, y)| {
                *d = if *y > 0.0 { *d } else { 0.0 };
            }),
            Nonlinearity::Elu => d.iter_mut().zip(y).for_each(|(d, y)| {
                *d *= if *y > 0.0 { 1.0 } else { *y + 1.0 };
            }),
            Nonlinearity::Silu => d.iter_mut().zip(x).for_each(|(d, x)| {
                let s = sigmoid(*x);
                *d *= s * (1.0 + x * (1.0 - s));
            }),
        }
    }
}

vectorised! {
    /// `sums += ` the sum of the rows of `rows [.., n]`.
    fn add_rows(rows: &[f32], sums: &mut [f32]) {
        for row in rows.chunks_exact(sums.len()) {
            for (s, v) in sums.iter_mut().zip(row) {
                *s += v;
            }
        }
    }
}

vectorised! {
    /// `to += from`.
    fn add(to: &mut [f32], from: &[f32]) {
        to.iter_mut().zip(from).for_each(|(t, f)| *t += f);
    }
}

vectorised! {
    /// `y = b + x · w` for one row, `w [k, n]`.
    fn row_times_matrix(x: &[f32], w: &[f32], b: &[f32], y: &mut [f32]) {
        let n = b.len();
        y.copy_from_slice(b);
        let mut columns = 0;
        // Sixty-four columns at a time stay in registers over all of x.
        while columns + 64 <= n {
            let mut sums = [0.0f32; 64];
            sums.copy_from_slice(&b[columns..columns + 64]);
            for (i, x) in x.iter().enumerate() {
                let row = &w[i * n + columns..i * n + columns + 64];
                for (s, w) in sums.iter_mut().zip(row) {
                    *s += x * w;
                }
            }
            y[columns..columns + 64].copy_from_slice(&sums);
            columns += 64;
        }
        if columns < n {
            let rest = &mut y[columns..];
            for (i, x) in x.iter().enumerate() {
                let row = &w[i * n + columns..(i + 1) * n];
                rest.iter_mut().zip(row).for_each(|(s, w)| *s += x * w);
            }
        }
    }
}

vectorised! {
    /// `y[row] = b + x[row] · w` for rows `x [.., k]`: a layer with one output.
    fn rows_dot(x: &[f32], w: &[f32], b: f32, y: &mut [f32]) {
        for (x, y) in x.chunks_exact(w.len()).zip(y) {
            *y = b + lane_sum_of_products(x, w);
        }
    }
}

vectorised! {
    /// `dw += Σ d[row] · x[row]`: what the weights of a layer with one output get.
    fn add_weighted_rows(d: &[f32], x: &[f32], dw: &mut [f32]) {
        for (d, x) in d.iter().zip(x.chunks_exact(dw.len())) {
            dw.iter_mut().zip(x).for_each(|(s, x)| *s += d * x);
        }
    }
}

vectorised! {
    /// `dx[row] = d[row] · w`: what lies below a layer with one output gets.
    fn outer(d: &[f32], w: &[f32], dx: &mut [f32]) {
        for (d, dx) in d.iter().zip(dx.chunks_exact_mut(w.len())) {
            dx.iter_mut().zip(w).for_each(|(o, w)| *o = d * w);
        }
    }
}

vectorised! {
    /// Sum of squares, in sixteen partial sums of f64.
    fn sum_of_squares(values: &[f32]) -> f64 {
        let mut sums = [0.0f64; 16];
        let mut chunks = values.chunks_exact(16);
        for chunk in &mut chunks {
            for (s, v) in sums.iter_mut().zip(chunk) {
                let v = f64::from(*v);
                *s += v * v;
            }
        }
        for (s, v) in sums.iter_mut().zip(chunks.remainder()) {
            let v = f64::from(*v);
            *s += v * v;
        }
        sums.iter().sum()
    }
}

/// Settings of one step of Adam.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct AdamStep {
    pub lr: f32,
    pub beta1: f32,
    pub beta2: f32,
    pub eps: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// 1 − β₁ᵗ.
    pub correct1: f32,
    /// √(1 − β₂ᵗ).
    pub correct2: f32,
    /// Gradients are multiplied by this (clipping).
    pub scale: f32,
}

vectorised! {
    /// One step of Adam (Kingma & Ba, arXiv 1412.6980), decay as in AdamW (arXiv 1711.05101).
    fn adam(w: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32], s: AdamStep) {
        let keep = 1.0 - s.lr * s.weight_decay;
        let size = s.lr / s.correct1;
        for (((w, m), v), g) in w.iter_mut().zip(m.iter_mut()).zip(v.iter_mut()).zip(g) {
            let g = g * s.scale;
            *m = s.beta1 * *m + (1.0 - s.beta1) * g;
            *v = s.beta2 * *v + (1.0 - s.beta2) * g * g;
            *w = *w * keep - size * (*m / (v.sqrt() / s.correct2 + s.eps));
        }
    }
}

vectorised! {
    /// `to += tau · (from − to)`.
    fn move_towards(to: &mut [f32], from: &[f32], tau: f32) {
        to.iter_mut().zip(from).for_each(|(t, f)| *t += tau * (f - *t));
    }
}

vectorised! {
    /// Actions `y = tanh(mean + σ · noise)`, `action = y · scale + shift`, and their log-probability per
    /// dimension, `log N(x) − log(scale · (1 − y²) + 1e-6)` (SAC, appendix C). `raw` becomes log σ by tanh
    /// over `range`, or cut off at it. `drawn_from` is (mean, raw, noise), `onto` (scale, shift). Outputs: y, action, σ, d log σ / d raw, log-probability.
    fn squashed_gaussian(
        drawn_from: (&[f32], &[f32], &[f32]),
        onto: (&[f32], &[f32]),
        range: (f32, f32),
        smooth: bool,
        out: [&mut [f32]; 5],
    ) {
        let ((mean, raw, noise), (scale, shift)) = (drawn_from, onto);
        let [y, action, sigma, slope, log_prob] = out;
        let n = mean.len();
        let (raw, noise, scale, shift) = (&raw[..n], &noise[..n], &scale[..n], &shift[..n]);
        let (y, action, sigma) = (&mut y[..n], &mut action[..n], &mut sigma[..n]);
        let (slope, log_prob) = (&mut slope[..n], &mut log_prob[..n]);
        let half = 0.5 * (range.1 - range.0);
        for i in 0..n {
            let t = tanh(raw[i]);
            let inside = if raw[i] >= range.0 && raw[i] <= range.1 { 1.0 } else { 0.0 };
            let smooth_log = range.0 + half * (t + 1.0);
            let log_sigma = if smooth { smooth_log } else { raw[i].clamp(range.0, range.1) };
            slope[i] = if smooth { half * (1.0 - t * t) } else { inside };
            let s = exp(log_sigma);
            let e = noise[i];
            let squashed = tanh(mean[i] + s * e);
            let volume = scale[i] * (1.0 - squashed * squashed) + 1e-6;
            sigma[i] = s;
            y[i] = squashed;
            action[i] = squashed * scale[i] + shift[i];
            log_prob[i] = -0.5 * e * e - log_sigma - 0.918_938_5 - ln(volume);
        }
    }
}

vectorised! {
    /// Learned weights over the places of a feature map: `out[f, c] = Σ map[s, c] · w[s, f, c]`, for a
    /// row's `map [places, channels]`, `w [places, features, channels]`.
    fn embed_places(map: &[f32], w: &[f32], channels: usize, out: &mut [f32]) {
        out.fill(0.0);
        for (map, w) in map.chunks_exact(channels).zip(w.chunks_exact(out.len())) {
            for (out, w) in out.chunks_exact_mut(channels).zip(w.chunks_exact(channels)) {
                for ((o, w), m) in out.iter_mut().zip(w).zip(map) {
                    *o += w * m;
                }
            }
        }
    }
}

vectorised! {
    /// Backward pass of [`embed_places`] for a row: the gradient of `w` is added to `dw`.
    fn embed_places_backward(map: &[f32], d: &[f32], channels: usize, dw: &mut [f32]) {
        for (map, dw) in map.chunks_exact(channels).zip(dw.chunks_exact_mut(d.len())) {
            for (d, dw) in d.chunks_exact(channels).zip(dw.chunks_exact_mut(channels)) {
                for ((dw, d), m) in dw.iter_mut().zip(d).zip(map) {
                    *dw += d * m;
                }
            }
        }
    }
}

vectorised! {
    /// The mean place of each channel of `map [height, width, channels]` under a softmax over its
    /// places (Levine et al. 2016, arXiv 1504.00702): `out` is x of every channel, then y, from -1 at
    /// the first place to 1 at the last.
    fn key_points(map: &[f32], width: usize, channels: usize, out: &mut [f32]) {
        let height = map.len() / width / channels;
        let mut largest = vec![f32::NEG_INFINITY; channels];
        for place in map.chunks_exact(channels) {
            largest.iter_mut().zip(place).for_each(|(l, v)| *l = l.max(*v));
        }
        let mut sums = vec![0.0f32; channels];
        out.fill(0.0);
        let (xs, ys) = out.split_at_mut(channels);
        let place = |i: usize, n: usize| {
            if n > 1 { 2.0 * i as f32 / (n - 1) as f32 - 1.0 } else { 0.0 }
        };
        for (i, row) in map.chunks_exact(width * channels).enumerate() {
            for (j, values) in row.chunks_exact(channels).enumerate() {
                let (x, y) = (place(j, width), place(i, height));
                for c in 0..channels {
                    let e = exp(values[c] - largest[c]);
                    sums[c] += e;
                    xs[c] += x * e;
                    ys[c] += y * e;
                }
            }
        }
        for c in 0..channels {
            xs[c] /= sums[c];
            ys[c] /= sums[c];
        }
    }
}

/// The half-precision number nearest to `x`, as bits; beyond ±65504 the largest.
pub(crate) fn to_half(x: f32) -> u16 {
    let sign = ((x.to_bits() >> 16) & 0x8000) as u16;
    // The exponent's bias of f32 becomes that of f16; what f16 holds as subnormal, f32 then does too.
    let small = (x.abs().min(65_504.0) * f32::from_bits(0x0780_0000)).to_bits();
    let even = (small >> 13) & 1;
    sign | ((small + 0xfff + even) >> 13) as u16
}

vectorised! {
    /// Half-precision numbers, little-endian, as [`to_half`] makes them.
    fn from_halves(bytes: &[u8], out: &mut [f32]) {
        for (o, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
            let half = u32::from(u16::from_le_bytes([b[0], b[1]]));
            let size = f32::from_bits((half & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
            *o = f32::from_bits(size.to_bits() | (half & 0x8000) << 16);
        }
    }
}

/// Added to the variance of a row.
const NORM_EPS: f32 = 1e-5;

vectorised! {
    /// Layer normalisation (arXiv 1607.06450) of rows `z [.., n]`: `hat = (z − mean) / std` and
    /// `y = hat · gamma + beta`; `inverse` gets 1 / std per row.
    fn layer_norm(
        z: &[f32],
        gamma: &[f32],
        beta: &[f32],
        hat: &mut [f32],
        inverse: &mut [f32],
        y: &mut [f32],
    ) {
        let n = gamma.len();
        let rows = z.chunks_exact(n).zip(hat.chunks_exact_mut(n)).zip(y.chunks_exact_mut(n));
        for (((z, hat), y), inverse) in rows.zip(inverse) {
            let mean = lane_sum(z, |v| v) / n as f32;
            let variance = lane_sum(z, |v| (v - mean) * (v - mean)) / n as f32;
            *inverse = 1.0 / (variance + NORM_EPS).sqrt();
            for (((hat, y), z), (g, b)) in
                hat.iter_mut().zip(y.iter_mut()).zip(z).zip(gamma.iter().zip(beta))
            {
                *hat = (z - mean) * *inverse;
                *y = *hat * g + b;
            }
        }
    }
}

vectorised! {
    /// Backward pass of [`layer_norm`]: `d` (of y) becomes the gradient of z; those of gamma and beta
    /// are added.
    fn layer_norm_backward(
        d: &mut [f32],
        gamma: &[f32],
        hat: &[f32],
        inverse: &[f32],
        d_gamma: &mut [f32],
        d_beta: &mut [f32],
    ) {
        let n = gamma.len();
        for ((d, hat), inverse) in d.chunks_exact_mut(n).zip(hat.chunks_exact(n)).zip(inverse) {
            let affine = d_gamma.iter_mut().zip(d_beta.iter_mut());
            for (((d, hat), g), (dg, db)) in d.iter_mut().zip(hat).zip(gamma).zip(affine) {
                *dg += *d * hat;
                *db += *d;
                *d *= g;
            }
            let mean = lane_sum(d, |v| v) / n as f32;
            let along = lane_sum_of_products(d, hat) / n as f32;
            for (d, hat) in d.iter_mut().zip(hat) {
                *d = (*d - mean - hat * along) * inverse;
            }
        }
    }
}

/// Sum in sixteen partial sums.
#[inline(always)]
fn lane_sum(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0f32; 16];
    let mut chunks = values.chunks_exact(16);
    for chunk in &mut chunks {
        for (s, v) in sums.iter_mut().zip(chunk) {
            *s += f(*v);
        }
    }
    for (s, v) in sums.iter_mut().zip(chunks.remainder()) {
        *s += f(*v);
    }
    sums.iter().sum()
}

#[inline(always)]
fn lane_sum_of_products(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 16];
    let (mut left, mut right) = (a.chunks_exact(16), b.chunks_exact(16));
    for (a, b) in (&mut left).zip(&mut right) {
        for ((s, a), b) in sums.iter_mut().zip(a).zip(b) {
            *s += a * b;
        }
    }
    for ((s, a), b) in sums.iter_mut().zip(left.remainder()).zip(right.remainder()) {
        *s += a * b;
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ln_is_near_libm() {
        let mut worst = 0.0f64;
        for i in 1..400_000 {
            let x = (i as f32 * 1e-4 - 20.0).exp();
            let exact = f64::from(x).ln();
            worst = worst.max((f64::from(ln(x)) - exact).abs() / exact.abs().max(1.0));
        }
        assert!(worst < 2e-7, "error {worst}");
    }

    #[test]
    fn halves_are_read_as_written() {
        for bits in (0u16..0x7c00).chain(0x8000..0xfc00) {
            let mut x = [0.0];
            from_halves(&bits.to_le_bytes(), &mut x);
            assert_eq!(to_half(x[0]), bits, "{}", x[0]);
        }
        for (x, bits) in [(1.0, 0x3c00), (-2.0, 0xc000), (65504.0, 0x7bff), (1e9, 0x7bff)] {
            assert_eq!(to_half(x), bits);
        }
        // To nearest, ties to even: 1 + 2^-11 lies between 1 and the next half.
        assert_eq!(to_half(1.0 + 2.0f32.powi(-11)), 0x3c00);
        assert_eq!(to_half(1.0 + 3.0 * 2.0f32.powi(-11)), 0x3c02);
    }

    #[test]
    fn key_points_find_the_only_bright_place() {
        // One channel each bright at a corner of 3 × 2 places.
        let mut map = vec![0.0f32; 3 * 2 * 2];
        map[0] = 60.0;
        map[(2 * 2 + 1) * 2 + 1] = 60.0;
        let mut out = [0.0; 4];
        key_points(&map, 2, 2, &mut out);
        for (o, wanted) in out.iter().zip([-1.0, 1.0, -1.0, 1.0]) {
            assert!((o - wanted).abs() < 1e-5, "{out:?}");
        }
    }

    #[test]
    fn tanh_is_near_libm() {
        let (mut relative, mut absolute) = (0.0f64, 0.0f64);
        for i in -200_000..=200_000i32 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).tanh();
            let error = (f64::from(tanh(x)) - exact).abs();
            absolute = absolute.max(error);
            relative = relative.max(if x == 0.0 { error } else { error / exact.abs() });
        }
        assert!(relative < 5e-7 && absolute < 3e-7, "relative {relative}, absolute {absolute}");
        assert!(tanh(f32::NAN).is_nan());
        assert_eq!((tanh(1e4), tanh(-1e4), tanh(f32::INFINITY)), (1.0, -1.0, 1.0));
    }
}
