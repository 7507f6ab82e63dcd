//! Rough ground: one height field of many tiles, a row of them per level of difficulty.
//!
//! After Rudin et al. 2022, *Learning to walk in minutes using massively parallel deep reinforcement
//! learning*: robots start in the middle of a tile; who walks far enough starts the next episode a
//! level higher, who doesn't a level lower. All heights are at or above zero and tiles end at zero, so
//! an endless plane around them lets nobody fall off the world.

use std::fmt::Write as _;

use embody_core::derive_seed;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Levels of difficulty, from nearly flat on.
pub(super) const LEVELS: usize = 8;
/// Edge of a tile, metres.
pub(super) const TILE_M: f64 = 8.0;
/// Between samples, metres.
const CELL_M: f64 = 0.1;
/// Samples along a tile's edge.
const CELLS: usize = 80;
/// The plane around the tiles, metres: below them, so that no foot touches both.
pub(super) const PLANE_M: f64 = -0.01;
/// Half the edge of the flat place in the middle, metres.
const PLATFORM_M: f64 = 1.0;
/// Width of a stair, metres.
const STAIR_M: f64 = 0.3;

/// Kinds of tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Rough,
    Slope,
    StairsDown,
    StairsUp,
    Blocks,
}

pub(super) const KINDS: [Kind; 5] =
    [Kind::Rough, Kind::Slope, Kind::StairsDown, Kind::StairsUp, Kind::Blocks];

/// Heights of all tiles.
#[derive(Debug)]
pub(super) struct Terrain {
    /// Samples along y and x.
    rows: usize,
    columns: usize,
    /// `[rows, columns]`, metres; row 0 at the smallest y, column 0 at the smallest x.
    heights: Vec<f32>,
    highest: f32,
}

impl Terrain {
    /// The ground for a robot whose steps are `scale` as high as a quadruped's. Always the same.
    pub fn new(scale: f64) -> Self {
        let (rows, columns) = (CELLS * KINDS.len() + 1, CELLS * LEVELS + 1);
        let mut heights = vec![0.0f32; rows * columns];
        for (k, kind) in KINDS.into_iter().enumerate() {
            for level in 0..LEVELS {
                let number = (k * LEVELS + level) as u64;
                let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(0, "terrain", number));
                let tile = Tile::new(kind, level, scale, &mut rng);
                for y in 0..CELLS {
                    for x in 0..CELLS {
                        let at = (k * CELLS + y) * columns + level * CELLS + x;
                        heights[at] = tile.height(x, y) as f32;
                    }
                }
            }
        }
        let highest = heights.iter().fold(0.01f32, |a, b| a.max(*b));
        Self { rows, columns, heights, highest }
    }

    /// MJCF of the height field as an asset; its samples follow once it is compiled.
    pub fn asset(&self) -> String {
        let mut text = String::new();
        let (x, y) = (self.half(self.columns), self.half(self.rows));
        let _ = write!(
            text,
            r#"<hfield name="terrain" nrow="{}" ncol="{}" size="{x} {y} {} 0.5"/>"#,
            self.rows, self.columns, self.highest
        );
        text
    }

    /// Samples as MuJoCo has them, 0..1.
    pub fn samples(&self) -> impl Iterator<Item = f32> {
        self.heights.iter().map(|h| h / self.highest)
    }

    fn half(&self, samples: usize) -> f64 {
        0.5 * CELL_M * (samples - 1) as f64
    }

    /// Middle of a tile, metres.
    pub fn middle(&self, level: usize, kind: usize) -> [f64; 2] {
        let at = |tile: usize, samples| (tile as f64 + 0.5) * TILE_M - self.half(samples);
        [at(level, self.columns), at(kind, self.rows)]
    }

    /// Height of the ground, metres: bilinear between samples.
    pub fn height(&self, x: f64, y: f64) -> f64 {
        let column = (x + self.half(self.columns)) / CELL_M;
        let row = (y + self.half(self.rows)) / CELL_M;
        let inside = |at: f64, samples: usize| at >= 0.0 && at < (samples - 1) as f64;
        if !inside(column, self.columns) || !inside(row, self.rows) {
            return PLANE_M;
        }
        let (c, r) = (column as usize, row as usize);
        let (fx, fy) = (column - c as f64, row - r as f64);
        let at = |r: usize, c: usize| f64::from(self.heights[r * self.columns + c]);
        let low = at(r, c) + (at(r, c + 1) - at(r, c)) * fx;
        let high = at(r + 1, c) + (at(r + 1, c + 1) - at(r + 1, c)) * fx;
        low + (high - low) * fy
    }

    /// The highest ground within `reach` of a place, metres.
    pub fn highest_near(&self, [x, y]: [f64; 2], reach: f64) -> f64 {
        let steps = (reach / CELL_M).ceil() as i64;
        let offsets = || (-steps..=steps).map(|i| i as f64 * CELL_M);
        let all = offsets().flat_map(|dx| offsets().map(move |dy| (x + dx, y + dy)));
        all.map(|(x, y)| self.height(x, y)).fold(PLANE_M, f64::max)
    }
}

/// One tile's ground.
struct Tile {
    kind: Kind,
    /// Height of a step or of noise, metres; for a slope its gradient.
    size: f64,
    /// Random heights on a grid of 0.2 m, 0..1.
    noise: Vec<f64>,
    /// `[x, y, half edge, height]`, metres.
    blocks: Vec<[f64; 4]>,
}

const NOISE: usize = CELLS / 2 + 1;

impl Tile {
    fn new(kind: Kind, level: usize, scale: f64, rng: &mut ChaCha8Rng) -> Self {
        let share = (level + 1) as f64 / LEVELS as f64;
        let most = match kind {
            Kind::Rough => 0.09,
            Kind::Slope => 0.35,
            Kind::StairsDown | Kind::StairsUp => 0.14,
            Kind::Blocks => 0.14,
        };
        let scale = if kind == Kind::Slope { 1.0 } else { scale };
        let size = most * share * scale;
        let noise = (0..NOISE * NOISE).map(|_| rng.random_range(0.0..1.0)).collect();
        let blocks = (0..36)
            .map(|_| {
                [
                    rng.random_range(0.8..TILE_M - 0.8),
                    rng.random_range(0.8..TILE_M - 0.8),
                    rng.random_range(0.2..0.6),
                    size * rng.random_range(0.4..1.0),
                ]
            })
            .collect();
        Self { kind, size, noise, blocks }
    }

    fn height(&self, x: usize, y: usize) -> f64 {
        let (px, py) = (x as f64 * CELL_M, y as f64 * CELL_M);
        let middle = 0.5 * TILE_M;
        // Rings around the middle: distance of the square ring that a place is on, from the middle
        // and from the edge.
        let ring = (px - middle).abs().max((py - middle).abs());
        let inward = (middle - ring).max(0.0);
        let stairs = |length: f64| (length / STAIR_M).floor();
        // Stairs and slopes leave half a metre at the edge and a platform in the middle.
        let run = (middle - PLATFORM_M - 0.5).max(0.0);
        match self.kind {
            Kind::Rough => {
                let fade = (inward / 0.5).min(1.0);
                self.size * fade * self.smooth(0.5 * x as f64, 0.5 * y as f64)
            }
            Kind::Slope => self.size * (inward - 0.5).clamp(0.0, run),
            Kind::StairsDown => self.size * stairs((inward - 0.5).clamp(0.0, run)),
            Kind::StairsUp => {
                // A bowl: up from the middle, and a short way down at the edge.
                let up = stairs((ring - PLATFORM_M).clamp(0.0, run - 1.0));
                let down = stairs((inward / 0.5 * (run - 1.0)).clamp(0.0, run - 1.0));
                self.size * up.min(down)
            }
            Kind::Blocks => {
                let on = |b: &&[f64; 4]| (px - b[0]).abs() < b[2] && (py - b[1]).abs() < b[2];
                if ring < PLATFORM_M {
                    return 0.0;
                }
                self.blocks.iter().filter(on).map(|b| b[3]).fold(0.0, f64::max)
            }
        }
    }

    fn smooth(&self, x: f64, y: f64) -> f64 {
        let (c, r) = (x as usize, y as usize);
        let (fx, fy) = (x - c as f64, y - r as f64);
        let at = |r: usize, c: usize| self.noise[r.min(NOISE - 1) * NOISE + c.min(NOISE - 1)];
        let low = at(r, c) + (at(r, c + 1) - at(r, c)) * fx;
        let high = at(r + 1, c) + (at(r + 1, c + 1) - at(r + 1, c)) * fx;
        low + (high - low) * fy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_end_at_zero_and_get_harder() {
        let terrain = Terrain::new(1.0);
        assert!(terrain.heights.iter().all(|h| *h >= 0.0));
        for kind in 0..KINDS.len() {
            let spread = |level: usize| {
                let [x, y] = terrain.middle(level, kind);
                assert!(terrain.height(x - 0.5 * TILE_M, y).abs() < 1e-6, "{kind} {level}: edge");
                terrain.highest_near([x, y], 0.5 * TILE_M - 0.2)
            };
            let heights: Vec<_> = (0..LEVELS).map(spread).collect();
            assert!(heights.windows(2).all(|w| w[1] > w[0] * 0.99), "{kind}: {heights:?}");
            assert!(heights[LEVELS - 1] > 3.0 * heights[0], "{kind}: {heights:?}");
        }
        assert!((terrain.height(1e3, 0.0) - PLANE_M).abs() < 1e-12, "outside is the plane");
    }

    #[test]
    fn stairs_climb_in_steps_of_the_level() {
        let terrain = Terrain::new(1.0);
        let [x, y] = terrain.middle(LEVELS - 1, 3);
        let low = terrain.height(x, y);
        let high = terrain.highest_near([x, y], 2.5);
        let steps = (high - low) / 0.14;
        assert!(steps >= 2.0 && (steps - steps.round()).abs() < 1e-3, "{steps} steps");
    }
}
