//! Pictures brought to a square without distortion, as vision-language models take them: resized to fit
//! (bilinear without smoothing, PyTorch's `interpolate`), the rest filled with black, values in [-1, 1].

use crate::processor::PixelTable;

/// Where the picture lies in the square.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the right and the bottom (SmolVLA).
    End,
    /// In the middle (π0).
    Middle,
}

/// The square.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Letterbox {
    /// Pixels.
    pub side: usize,
    pub place: Place,
}

impl Letterbox {
    /// Height and width that a picture is resized to, and where its first pixel comes to lie.
    fn fit(self, (height, width): (usize, usize)) -> ((usize, usize), (usize, usize)) {
        let side = self.side as f64;
        let ratio = f64::max(width as f64 / side, height as f64 / side);
        let part = |n: usize| ((n as f64 / ratio) as usize).clamp(1, self.side);
        let (h, w) = (part(height), part(width));
        let before = |n: usize| match self.place {
            Place::End => self.side - n,
            Place::Middle => (self.side - n) / 2,
        };
        ((h, w), (before(h), before(w)))
    }

    /// The picture `[height, width, 3]` in the square: `[side, side, 3]`, `2 v − 1` for each value `v` of
    /// `table`.
    pub fn apply(
        self,
        pixels: &[u8],
        (height, width): (usize, usize),
        table: &PixelTable,
    ) -> Vec<f32> {
        let ((h, w), (top, left)) = self.fit((height, width));
        let (rows, columns) = (neighbours(height, h), neighbours(width, w));
        let mut out = vec![-1.0; self.side * self.side * 3];
        for (y, (upper, lower, down)) in rows.iter().enumerate() {
            for (x, (near, far, right)) in columns.iter().enumerate() {
                let to = ((top + y) * self.side + left + x) * 3;
                for c in 0..3 {
                    let value = |row: usize, column: usize| {
                        table[c][usize::from(pixels[(row * width + column) * 3 + c])]
                    };
                    let along =
                        |row: usize| (1.0 - right) * value(row, *near) + right * value(row, *far);
                    out[to + c] = 2.0 * ((1.0 - down) * along(*upper) + down * along(*lower)) - 1.0;
                }
            }
        }
        out
    }
}

/// For each of `to` target pixels along an axis of `from`: both source pixels, and the second's share.
fn neighbours(from: usize, to: usize) -> Vec<(usize, usize, f32)> {
    let scale = from as f32 / to as f32;
    let at = |i: usize| {
        let place = ((i as f32 + 0.5) * scale - 0.5).max(0.0);
        let first = (place as usize).min(from - 1);
        (first, (first + 1).min(from - 1), place - first as f32)
    };
    (0..to).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_picture_lies_at_the_bottom() {
        let table = std::array::from_fn(|_| std::array::from_fn(|v| v as f32 / 255.0));
        let pixels = [0, 0, 0, 255, 255, 255];
        let out = Letterbox { side: 4, place: Place::End }.apply(&pixels, (1, 2), &table);
        assert!(out[..2 * 4 * 3].iter().all(|v| *v == -1.0));
        // Two pixels to four: centres at -0.25, 0.25, 0.75, 1.25.
        for row in out[2 * 4 * 3..].chunks_exact(12) {
            let reds: Vec<f32> = row.iter().step_by(3).copied().collect();
            assert_eq!(reds, [-1.0, -0.5, 0.5, 1.0]);
        }
    }
}
