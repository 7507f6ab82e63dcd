//! What a camera saw: sharpness, exposure, black and frozen pictures, and a perceptual hash.
//!
//! Pictures are looked at in pairs of neighbouring frames at a few places spread evenly over the
//! episode, as luma (ITU-R BT.601). Sharpness is the variance of the Laplacian (Pech-Pacheco et al.
//! 2000): it has no absolute scale, so episodes are compared with the same camera's median over the
//! dataset. The hash is the sign of the 64 lowest cosine frequencies of a 32 × 32 picture (Zauner
//! 2010).

/// Mean level (0-255) below which a picture is black.
const BLACK_LEVEL: f64 = 3.0;
/// Mean levels outside of which a picture is too dark or too bright.
const DARK_LEVEL: f64 = 25.0;
const BRIGHT_LEVEL: f64 = 230.0;
/// Mean difference of levels below which pictures apart in time are the same one: a hung camera.
/// Codecs leave residues of about a hundredth of a level.
const FROZEN_DIFFERENCE: f64 = 0.05;
/// Mean difference below which neighbouring frames are a repetition.
const REPEATED_DIFFERENCE: f64 = 0.01;
/// Pairs in motion below which repetition is not judged.
const FEWEST_PAIRS: usize = 3;
/// Longer side that pictures are thinned to before the Laplacian is taken, so that the same scene
/// gives comparable values at any resolution, and time is bounded.
const LONGEST_SIDE: usize = 640;

/// A grey picture.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Luma {
    pub width: usize,
    pub height: usize,
    /// Levels, row-major.
    pub levels: Vec<u8>,
}

impl Luma {
    /// From RGB `[height, width, 3]`.
    pub fn of(rgb: &[u8], width: usize) -> Self {
        let height = (rgb.len() / 3).checked_div(width).unwrap_or(0);
        let step = width.max(height).div_ceil(LONGEST_SIDE).max(1);
        let mut levels = Vec::with_capacity(rgb.len() / 3 / (step * step));
        for row in rgb.chunks_exact((width * 3).max(3)).step_by(step) {
            levels.extend(row.chunks_exact(3).step_by(step).map(|p| {
                let [r, g, b] = [p[0], p[1], p[2]].map(u32::from);
                ((77 * r + 150 * g + 29 * b + 128) >> 8) as u8
            }));
        }
        Self { width: width.div_ceil(step), height: height.div_ceil(step), levels }
    }

    /// Mean level, 0-255.
    pub fn mean(&self) -> f64 {
        let sum: u64 = self.levels.iter().map(|&v| u64::from(v)).sum();
        sum as f64 / self.levels.len().max(1) as f64
    }

    /// Share of pixels at the ends of the scale (≤ 2 or ≥ 253), where detail is lost.
    pub fn clipped(&self) -> f64 {
        let ends = self.levels.iter().filter(|&&v| !(3..=252).contains(&v)).count();
        ends as f64 / self.levels.len().max(1) as f64
    }

    /// Variance of the Laplacian (kernel 0 1 0 / 1 -4 1 / 0 1 0) over inner pixels, levels².
    pub fn sharpness(&self) -> f64 {
        let (w, h) = (self.width, self.height);
        if w < 3 || h < 3 {
            return 0.0;
        }
        let (mut sum, mut squares) = (0i64, 0i64);
        for y in 1..h - 1 {
            let [above, row, below] = [y - 1, y, y + 1].map(|y| &self.levels[y * w..][..w]);
            for x in 1..w - 1 {
                let around = i32::from(above[x])
                    + i32::from(below[x])
                    + i32::from(row[x - 1])
                    + i32::from(row[x + 1]);
                let value = i64::from(around - 4 * i32::from(row[x]));
                sum += value;
                squares += value * value;
            }
        }
        let n = ((w - 2) * (h - 2)) as f64;
        let mean = sum as f64 / n;
        squares as f64 / n - mean * mean
    }

    /// Mean absolute difference of levels; 255 where sizes differ.
    pub fn difference(&self, other: &Self) -> f64 {
        if self.levels.len() != other.levels.len() {
            return 255.0;
        }
        let pairs = self.levels.iter().zip(&other.levels);
        let sum: u64 = pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        sum as f64 / self.levels.len().max(1) as f64
    }

    /// Perceptual hash: pictures that look alike differ in few of its 64 bits.
    pub fn hash(&self) -> u64 {
        const SIDE: usize = 32;
        const LOW: usize = 8;
        let small = self.shrink(SIDE);
        // cos((2x + 1) u π / 2n), u from 1: the constant part says only how bright it is.
        let cosine = |u: usize, x: usize| {
            let angle = (2 * x + 1) as f64 * (u + 1) as f64 * std::f64::consts::PI;
            (angle / (2 * SIDE) as f64).cos()
        };
        let table: Vec<f64> = (0..LOW).flat_map(|u| (0..SIDE).map(move |x| cosine(u, x))).collect();
        let mut rows = vec![0.0; SIDE * LOW];
        for y in 0..SIDE {
            for u in 0..LOW {
                rows[y * LOW + u] =
                    (0..SIDE).map(|x| small[y * SIDE + x] * table[u * SIDE + x]).sum();
            }
        }
        let mut waves = Vec::with_capacity(LOW * LOW);
        for v in 0..LOW {
            for u in 0..LOW {
                waves.push((0..SIDE).map(|y| rows[y * LOW + u] * table[v * SIDE + y]).sum::<f64>());
            }
        }
        let middle = super::super::series::median(&waves).unwrap_or(0.0);
        waves.iter().enumerate().fold(0, |bits, (i, w)| bits | (u64::from(*w > middle) << i))
    }

    /// Mean levels of `side × side` cells.
    fn shrink(&self, side: usize) -> Vec<f64> {
        let span = |i: usize, n: usize| {
            let from = i * n / side;
            from..((i + 1) * n / side).max(from + 1).min(n.max(1))
        };
        let mut out = Vec::with_capacity(side * side);
        for y in 0..side {
            for x in 0..side {
                let (rows, columns) = (span(y, self.height), span(x, self.width));
                let mut sum = 0u64;
                let mut count = 0u64;
                for row in rows {
                    let Some(cells) =
                        self.levels.get(row * self.width..).and_then(|r| r.get(columns.clone()))
                    else {
                        continue;
                    };
                    sum += cells.iter().map(|&v| u64::from(v)).sum::<u64>();
                    count += cells.len() as u64;
                }
                out.push(sum as f64 / count.max(1) as f64);
            }
        }
        out
    }
}

/// Frames to look at in an episode of `length`: up to `places` pairs of neighbours, evenly spread.
/// The second of a pair is the next key frame where one is near: between a key frame and what is
/// coded from it, equality says that the encoder saved bits, not that the camera gave the same
/// picture twice.
pub(crate) fn looked_at(length: usize, places: usize, key: &dyn Fn(usize) -> bool) -> Vec<usize> {
    let last = length.saturating_sub(1);
    let places = places.min(length / 2).max(1);
    let apart = length.div_ceil(places).max(1);
    let mut out: Vec<usize> = Vec::with_capacity(places * 2);
    for i in 0..places {
        let at = if places == 1 { 0 } else { i * last.saturating_sub(1) / (places - 1) };
        let near = (at + 1..=last.min(at + apart / 2)).find(|&f| key(f));
        let second = near.unwrap_or(at + 1).min(last);
        out.extend([second.saturating_sub(1), second]);
    }
    out.sort_unstable();
    out.dedup();
    out
}

/// What one camera showed in one episode. Takes pictures one by one; keeps two.
#[derive(Debug, Clone, Default)]
pub(crate) struct Camera {
    first: Option<Luma>,
    previous: Option<(usize, Luma)>,
    sharpness: Vec<f64>,
    means: Vec<f64>,
    clipped: f64,
    hashes: Vec<u64>,
    /// Largest difference from the first picture.
    farthest: f64,
    /// Pairs whose equality would be a fault, and how many were equal.
    neighbours: (usize, usize),
}

/// The measures of one camera in one episode.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    /// Median variance of the Laplacian, levels².
    pub sharpness: f64,
    /// Mean level, 0-255.
    pub brightness: f64,
    /// Share of pictures with a mean level below 25.
    pub dark: f64,
    /// Share of pictures with a mean level above 230.
    pub bright: f64,
    /// Mean share of pixels at the ends of the scale.
    pub clipped: f64,
    /// Share of neighbouring frames that show the same picture while the robot moves.
    pub repeated: f64,
    /// Whether every picture is black.
    pub black: bool,
    /// Whether the picture never changes although the robot moves.
    pub frozen: bool,
    /// Perceptual hash of the first picture of each pair.
    pub hashes: Vec<u64>,
}

impl Camera {
    /// Takes the picture of `frame`; frames come in rising order. `telling`: whether equality with the
    /// frame before would be a fault, because the robot moves and the picture is coded for itself.
    pub fn add(&mut self, frame: usize, picture: Luma, telling: bool) {
        let neighbour = self.previous.as_ref().filter(|(f, _)| f + 1 == frame);
        match neighbour {
            Some((_, before)) => {
                if telling {
                    self.neighbours.0 += 1;
                    let same = before.difference(&picture) < REPEATED_DIFFERENCE;
                    self.neighbours.1 += usize::from(same);
                }
            }
            None => self.hashes.push(picture.hash()),
        }
        self.sharpness.push(picture.sharpness());
        self.means.push(picture.mean());
        self.clipped += picture.clipped();
        match &self.first {
            Some(first) => self.farthest = self.farthest.max(first.difference(&picture)),
            None => self.first = Some(picture.clone()),
        }
        self.previous = Some((frame, picture));
    }

    /// The measures; `None` where there was no picture. `moves`: whether the robot moves at all.
    pub fn finish(self, moves: bool) -> Option<Seen> {
        let count = self.means.len() as f64;
        let sharpness = super::super::series::median(&self.sharpness)?;
        let share =
            |is: &dyn Fn(f64) -> bool| self.means.iter().filter(|m| is(**m)).count() as f64 / count;
        let black = share(&|m| m < BLACK_LEVEL) >= 1.0;
        Some(Seen {
            sharpness,
            brightness: self.means.iter().sum::<f64>() / count,
            dark: share(&|m| m < DARK_LEVEL),
            bright: share(&|m| m > BRIGHT_LEVEL),
            clipped: self.clipped / count,
            repeated: match self.neighbours {
                (seen, _) if seen < FEWEST_PAIRS => 0.0,
                (seen, same) => same as f64 / seen as f64,
            },
            black,
            frozen: !black && moves && self.means.len() > 2 && self.farthest < FROZEN_DIFFERENCE,
            hashes: self.hashes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 96;

    /// Checks of `cell` pixels between two levels, shifted by `at`.
    fn checks(cell: usize, low: u8, high: u8, at: usize) -> Vec<u8> {
        let level = |x: usize, y: usize| {
            if ((x + at) / cell + y / cell).is_multiple_of(2) { low } else { high }
        };
        (0..SIDE * SIDE).flat_map(|i| [level(i % SIDE, i / SIDE); 3]).collect()
    }

    fn blurred(rgb: &[u8]) -> Vec<u8> {
        let luma = Luma::of(rgb, SIDE);
        let at =
            |x: usize, y: usize| u32::from(luma.levels[y.min(SIDE - 1) * SIDE + x.min(SIDE - 1)]);
        let mean = |x: usize, y: usize| {
            let sum: u32 = (0..5)
                .flat_map(|j| (0..5).map(move |i| (i, j)))
                .map(|(i, j)| at(x + i, y + j))
                .sum();
            (sum / 25) as u8
        };
        (0..SIDE * SIDE).flat_map(|i| [mean(i % SIDE, i / SIDE); 3]).collect()
    }

    #[test]
    fn the_laplacian_of_a_single_bright_pixel() {
        // Inner 3 × 3 of a 5 × 5 picture: -4 a once, a four times; mean 0, variance 20 a² / 9.
        let mut levels = vec![0u8; 25];
        levels[12] = 90;
        let found = Luma { width: 5, height: 5, levels }.sharpness();
        assert!((found - 20.0 * 8100.0 / 9.0).abs() < 1e-6, "{found}");
    }

    #[test]
    fn blurring_lowers_sharpness() {
        let sharp = Luma::of(&checks(8, 60, 180, 0), SIDE).sharpness();
        let soft = Luma::of(&blurred(&checks(8, 60, 180, 0)), SIDE).sharpness();
        assert!(soft < 0.2 * sharp, "{sharp} {soft}");
    }

    #[test]
    fn exposure_black_and_frozen_are_told_apart() {
        let camera = |picture: &dyn Fn(usize) -> Vec<u8>| {
            let mut camera = Camera::default();
            for frame in looked_at(100, 4, &|_| false) {
                camera.add(frame, Luma::of(&picture(frame), SIDE), true);
            }
            camera.finish(true).expect("pictures")
        };
        let good = camera(&|f| checks(8, 60, 180, f));
        assert_eq!((good.dark, good.bright, good.clipped, good.repeated), (0.0, 0.0, 0.0, 0.0));
        assert!(!good.black && !good.frozen && good.hashes.len() == 4);
        assert!((good.brightness - 120.0).abs() < 1.0);
        let black = camera(&|_| vec![0; SIDE * SIDE * 3]);
        assert!(black.black && !black.frozen && black.dark == 1.0 && black.clipped == 1.0);
        let frozen = camera(&|_| checks(8, 60, 180, 0));
        assert!(frozen.frozen && frozen.repeated == 1.0);
        let bright = camera(&|f| checks(8, 250, 255, f));
        assert!(bright.bright == 1.0 && (bright.clipped - 0.5).abs() < 0.02);
        assert_eq!(Camera::default().finish(true), None);
    }

    #[test]
    fn the_hash_survives_brightness_and_blur_but_not_another_scene() {
        let scene = |seed: usize| -> Vec<u8> {
            let level = |x: usize, y: usize| {
                let (x, y) = (x as f64 / 96.0, y as f64 / 96.0);
                let s = seed as f64;
                let v = (x * (5.0 + s) + s).sin() * (y * (3.0 + 2.0 * s)).cos()
                    + (x * y * (9.0 - s)).sin();
                (128.0 + 50.0 * v) as u8
            };
            (0..SIDE * SIDE).flat_map(|i| [level(i % SIDE, i / SIDE); 3]).collect()
        };
        let hash = |rgb: &[u8]| Luma::of(rgb, SIDE).hash();
        let original = hash(&scene(1));
        let brighter: Vec<u8> = scene(1).iter().map(|v| v.saturating_add(12)).collect();
        assert!((original ^ hash(&brighter)).count_ones() <= 4);
        assert!((original ^ hash(&blurred(&scene(1)))).count_ones() <= 8);
        assert!((original ^ hash(&scene(4))).count_ones() >= 16);
    }

    #[test]
    fn looking_covers_the_episode_in_pairs() {
        assert_eq!(looked_at(100, 3, &|_| false), [0, 1, 49, 50, 98, 99]);
        assert_eq!(looked_at(100, 3, &|f| f % 2 == 0), [1, 2, 49, 50, 98, 99]);
        assert_eq!(looked_at(100, 3, &|f| f % 30 == 0), [0, 1, 59, 60, 98, 99]);
        assert_eq!(looked_at(2, 8, &|_| true), [0, 1]);
        assert_eq!(looked_at(1, 8, &|_| true), [0]);
    }
}
