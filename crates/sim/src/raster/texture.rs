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
        let level = texels.max(1.0).log2().round() as usize;
        self.levels[level.min(self.levels.len() - 1)].bilinear(uv)
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
        let x = (uv[0] - uv[0].floor()) * self.width as f32 - 0.5;
        let y = (uv[1] - uv[1].floor()) * self.height as f32 - 0.5;
        let (x0, y0) = (x.floor(), y.floor());
        let (fx, fy) = (x - x0, y - y0);
        let column = |x: f32| (x as i64).rem_euclid(self.width as i64) as usize;
        let row = |y: f32| (y as i64).rem_euclid(self.height as i64) as usize;
        let at = |x: f32, y: f32| self.texels[row(y) * self.width + column(x)];
        let (a, b) = (at(x0, y0), at(x0 + 1.0, y0));
        let (c, d) = (at(x0, y0 + 1.0), at(x0 + 1.0, y0 + 1.0));
        std::array::from_fn(|i| {
            let top = a[i] + (b[i] - a[i]) * fx;
            let bottom = c[i] + (d[i] - c[i]) * fx;
            top + (bottom - top) * fy
        })
    }
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
}
