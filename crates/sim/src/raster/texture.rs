//! 2D textures that repeat, with a chain of halved images against aliasing in the distance, and the
//! cube of six pictures that a sky may be.

use super::math::Vec3;

/// Texels as RGB in 0..=1, finest level first.
#[derive(Debug, Clone)]
pub(crate) struct Texture {
    levels: Vec<Level>,
}

#[derive(Debug, Clone)]
struct Level {
    width: usize,
    height: usize,
    texels: Vec<Vec3>,
}

impl Texture {
    /// From `height * width * channels` bytes; one or two channels are grey.
    pub(crate) fn new(width: usize, height: usize, channels: usize, data: &[u8]) -> Self {
        let texels = data
            .chunks_exact(channels.max(1))
            .map(|c| if c.len() >= 3 { [c[0], c[1], c[2]] } else { [c[0]; 3] })
            .map(|rgb| rgb.map(|x| f32::from(x) / 255.0))
            .collect();
        let mut levels = vec![Level { width, height, texels }];
        while let Some(last) = levels.last().filter(|l| l.width > 1 || l.height > 1) {
            let next = last.halved();
            levels.push(next);
        }
        Self { levels }
    }

    /// Colour at `uv` (one repetition per unit), where a pixel covers `footprint` of a repetition.
    pub(crate) fn sample(&self, uv: [f32; 2], footprint: f32) -> Vec3 {
        let texels = footprint * self.levels[0].width as f32;
        self.levels[nearest_power(texels).min(self.levels.len() - 1)].bilinear(uv)
    }
}

/// Six pictures around the world: right, left, up, down, front, back, as MuJoCo keeps them.
#[derive(Debug, Clone)]
pub(crate) struct Skybox {
    faces: [Level; 6],
}

impl Skybox {
    /// From bytes of six square pictures above each other; of one, which is then on every side.
    pub(crate) fn new(side: usize, channels: usize, data: &[u8]) -> Option<Self> {
        let bytes = side * side * channels;
        let all: Vec<&[u8]> = data.chunks_exact(bytes.max(1)).collect();
        let face = |i: usize| -> Option<Level> {
            let bytes = all.get(i).or_else(|| all.first())?;
            Texture::new(side, side, channels, bytes).levels.into_iter().next()
        };
        let faces: Vec<Level> = (0..6).map_while(face).collect();
        Some(Self { faces: faces.try_into().ok()? })
    }

    /// Colour in a direction of the world, by the rule of OpenGL's cube maps, whose y axis is MuJoCo's
    /// z and whose z axis is MuJoCo's -y.
    pub(crate) fn sample(&self, direction: Vec3) -> Vec3 {
        let [x, y, z] = [direction[0], direction[2], -direction[1]];
        let (ax, ay, az) = (x.abs(), y.abs(), z.abs());
        let (face, s, t, most) = if ax >= ay && ax >= az {
            if x > 0.0 { (0, -z, -y, ax) } else { (1, z, -y, ax) }
        } else if ay >= az {
            if y > 0.0 { (2, x, z, ay) } else { (3, x, -z, ay) }
        } else if z > 0.0 {
            (4, x, -y, az)
        } else {
            (5, -x, -y, az)
        };
        let level = &self.faces[face];
        let at = |c: f32, side: usize| {
            let texel = (c / most.max(f32::MIN_POSITIVE) + 1.0) * 0.5 * side as f32;
            (texel as usize).min(side - 1)
        };
        level.texels[at(t, level.height) * level.width + at(s, level.width)]
    }
}

impl Level {
    fn halved(&self) -> Self {
        let (width, height) = (self.width.div_ceil(2), self.height.div_ceil(2));
        let mut texels = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                let mut sum = [0.0; 3];
                for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                    let (sx, sy) =
                        ((2 * x + dx).min(self.width - 1), (2 * y + dy).min(self.height - 1));
                    let texel = self.texels[sy * self.width + sx];
                    sum = [sum[0] + texel[0], sum[1] + texel[1], sum[2] + texel[2]];
                }
                texels.push(sum.map(|c| c * 0.25));
            }
        }
        Self { width, height, texels }
    }

    fn bilinear(&self, uv: [f32; 2]) -> Vec3 {
        let (left, right, fx) = neighbours(uv[0], self.width);
        let (upper, lower, fy) = neighbours(uv[1], self.height);
        let at = |x: usize, y: usize| self.texels[y * self.width + x];
        let (a, b) = (at(left, upper), at(right, upper));
        let (c, d) = (at(left, lower), at(right, lower));
        std::array::from_fn(|i| {
            let top = a[i] + (b[i] - a[i]) * fx;
            let bottom = c[i] + (d[i] - c[i]) * fx;
            top + (bottom - top) * fy
        })
    }
}

/// The power of two nearest to `x`, in proportion; 0 below 1.
fn nearest_power(x: f32) -> usize {
    // Half a power up, then the exponent in IEEE 754.
    let bits = (x.clamp(1.0, 1e9) * std::f32::consts::SQRT_2).to_bits();
    (bits >> 23) as usize - 127
}

/// The largest whole number not above `x`, where that fits 32 bits; no call of a library on any
/// processor.
fn floor(x: f32) -> f32 {
    let whole = x as i32 as f32;
    if whole > x { whole - 1.0 } else { whole }
}

/// The texels on both sides of `u` (one repetition per unit), of `count`, and the share of the second.
fn neighbours(u: f32, count: usize) -> (usize, usize, f32) {
    // From one before the first to the last.
    let x = (u - floor(u)) * count as f32 - 0.5;
    let whole = floor(x);
    let first = if whole < 0.0 { count - 1 } else { (whole as usize).min(count - 1) };
    let second = if first + 1 == count { 0 } else { first + 1 };
    (first, second, x - whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checker_seen_from_far_is_grey() {
        let checker: Vec<u8> =
            (0..64u8).flat_map(|i| [if (i % 8 < 4) ^ (i / 8 < 4) { 255 } else { 0 }; 3]).collect();
        let texture = Texture::new(8, 8, 3, &checker);
        assert_eq!(texture.sample([0.125, 0.125], 0.01), [0.0; 3]);
        assert_eq!(texture.sample([0.625, 1.125], 0.01), [1.0; 3]);
        assert!((texture.sample([0.3, 0.2], 4.0)[0] - 0.5).abs() < 1e-6);
    }

    #[test]
    fn levels_and_neighbours() {
        for x in [0.0f32, 0.7, 1.0, 1.4, 1.42, 2.8, 2.9, 100.0, 1e20] {
            let expected = x.clamp(1.0, 1e9).log2().round() as usize;
            assert_eq!(nearest_power(x), expected, "{x}");
        }
        assert_eq!(neighbours(0.0, 4), (3, 0, 0.5));
        assert_eq!(neighbours(-0.75, 4), (0, 1, 0.5));
        assert_eq!(neighbours(2.999, 4).0, 3);
        assert_eq!(neighbours(0.5, 1), (0, 0, 0.0));
        for x in [-2.5f32, -2.0, -0.1, 0.0, 0.9, 7.0] {
            assert_eq!(floor(x), x.floor());
        }
    }
}
