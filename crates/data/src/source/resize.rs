//! Resizing RGB pictures: the mean over the area of each target pixel where it shrinks, linear
//! interpolation where it grows; each axis on its own.

/// Source pixels of one target pixel: the first, and a weight for each from there.
struct Tap {
    first: usize,
    weights: Vec<f32>,
}

/// Resizes pictures of one size to another; keeps its buffers.
pub(crate) struct Resizer {
    from: (usize, usize),
    to: (usize, usize),
    rows: Vec<Tap>,
    cols: Vec<Tap>,
    line: Vec<f32>,
}

impl Resizer {
    /// From and to are (height, width).
    pub fn new(from: (usize, usize), to: (usize, usize)) -> Self {
        Self {
            from,
            to,
            rows: taps(from.0, to.0),
            cols: taps(from.1, to.1),
            line: vec![0.0; from.1 * 3],
        }
    }

    /// Resizes `rgb` `[from.h, from.w, 3]` into `out` `[to.h, to.w, 3]`.
    pub fn resize(&mut self, rgb: &[u8], out: &mut [u8]) {
        if self.from == self.to {
            out.copy_from_slice(rgb);
            return;
        }
        let stride = self.from.1 * 3;
        for (tap, out) in self.rows.iter().zip(out.chunks_exact_mut(self.to.1 * 3)) {
            self.line.fill(0.0);
            for (i, &weight) in tap.weights.iter().enumerate() {
                let row = &rgb[(tap.first + i) * stride..][..stride];
                for (sum, &value) in self.line.iter_mut().zip(row) {
                    *sum += weight * f32::from(value);
                }
            }
            for (tap, pixel) in self.cols.iter().zip(out.chunks_exact_mut(3)) {
                let mut sum = [0.5f32; 3];
                let source = self.line[tap.first * 3..].chunks_exact(3);
                for (&weight, value) in tap.weights.iter().zip(source) {
                    for c in 0..3 {
                        sum[c] += weight * value[c];
                    }
                }
                for c in 0..3 {
                    pixel[c] = sum[c] as u8;
                }
            }
        }
    }
}

fn taps(from: usize, to: usize) -> Vec<Tap> {
    let scale = from as f64 / to as f64;
    (0..to)
        .map(|i| {
            if scale <= 1.0 {
                let at = ((i as f64 + 0.5) * scale - 0.5).clamp(0.0, (from - 1) as f64);
                let first = at.floor() as usize;
                let part = at.fract() as f32;
                let weights = if part > 0.0 { vec![1.0 - part, part] } else { vec![1.0] };
                return Tap { first, weights };
            }
            let (start, end) = (i as f64 * scale, (i + 1) as f64 * scale);
            let first = (start + 1e-9).floor() as usize;
            let last = ((end - 1e-9).ceil() as usize).min(from);
            let weights = (first..last)
                .map(|p| {
                    let cover = (end.min((p + 1) as f64) - start.max(p as f64)).max(0.0);
                    (cover / scale) as f32
                })
                .collect();
            Tap { first, weights }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrinking_is_the_mean_of_the_area() {
        let rgb: Vec<u8> = (0..6 * 4).flat_map(|i| [i as u8 * 10, 0, 200]).collect();
        let mut out = vec![0; 2 * 3 * 3];
        Resizer::new((4, 6), (2, 3)).resize(&rgb, &mut out);
        // The first target pixel covers source values 0, 10, 60, 70.
        assert_eq!(&out[..3], &[35, 0, 200]);
    }

    #[test]
    fn any_size_keeps_a_flat_picture_flat() {
        for (from, to) in
            [((7, 5), (3, 2)), ((3, 2), (7, 5)), ((480, 640), (97, 131)), ((5, 5), (5, 5))]
        {
            let rgb = vec![137; from.0 * from.1 * 3];
            let mut out = vec![0; to.0 * to.1 * 3];
            Resizer::new(from, to).resize(&rgb, &mut out);
            assert!(out.iter().all(|&v| v == 137), "{from:?} to {to:?}");
        }
    }
}
