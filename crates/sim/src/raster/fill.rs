//! The core: fills triangles into a visibility buffer (nearest triangle's number per sample).
//!
//! Coordinates are snapped to 1/256 of a sample and edges are exact integers with the top-left rule,
//! so that neighbouring triangles neither overlap nor leave gaps, and the result is the same on
//! every machine. "Nearness" is what is linear on the screen and grows towards the viewer: the
//! inverse depth for a perspective view, the negated depth for a shadow map.

use super::math::{Vec3, add, scale, sub};

/// Fixed-point steps per sample: 2⁸.
pub(crate) const SUB: i32 = 256;
/// Triangles that reach further outside than this many samples are clipped first.
pub(crate) const GUARD: f32 = 16_384.0;
/// Triangles at least this many samples wide are filled by spans.
const WIDE: i32 = 12;
/// Sample without a triangle.
pub(crate) const NOTHING: u32 = u32::MAX;

/// A vertex on the screen: snapped position, nearness.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScreenVertex {
    pub x: i32,
    pub y: i32,
    pub near: f32,
}

/// Nearest triangle per sample.
#[derive(Debug, Default, Clone)]
pub(crate) struct Visibility {
    pub width: usize,
    pub height: usize,
    pub near: Vec<f32>,
    pub id: Vec<u32>,
}

impl Visibility {
    /// Empties the buffer and gives it a size; allocates only when it grows.
    pub(crate) fn clear(&mut self, width: usize, height: usize, far: f32) {
        (self.width, self.height) = (width, height);
        self.near.clear();
        self.near.resize(width * height, far);
        self.id.clear();
        self.id.resize(width * height, NOTHING);
    }

    /// Draws a triangle that faces the viewer (its corners run against the clock on a screen) under
    /// number `id`. Says whether it might have drawn anything: a triangle that looks away, or whose
    /// box holds no sample's centre, has not.
    #[inline]
    pub(crate) fn triangle(
        &mut self,
        a: &ScreenVertex,
        b: &ScreenVertex,
        c: &ScreenVertex,
        id: u32,
    ) -> bool {
        let low = |a: i32, b: i32, c: i32| ((a.min(b).min(c) + SUB / 2 - 1) >> 8).max(0);
        let high = |a: i32, b: i32, c: i32, size: usize| {
            ((a.max(b).max(c) - SUB / 2) >> 8).min(size as i32 - 1)
        };
        let (x0, x1) = (low(a.x, b.x, c.x), high(a.x, b.x, c.x, self.width));
        let (y0, y1) = (low(a.y, b.y, c.y), high(a.y, b.y, c.y, self.height));
        if x0 > x1 || y0 > y1 {
            return false;
        }
        // Turned around, so that the inside is positive.
        let d = |p: i32, q: i32| i64::from(p) - i64::from(q);
        let area = d(c.x, a.x) * d(b.y, a.y) - d(c.y, a.y) * d(b.x, a.x);
        if area <= 0 {
            return false;
        }
        self.fill(a, c, b, area, (x0, x1, y0, y1), id);
        true
    }

    /// Fills a triangle of positive `area` inside the given samples.
    fn fill(
        &mut self,
        a: &ScreenVertex,
        b: &ScreenVertex,
        c: &ScreenVertex,
        area: i64,
        (x0, x1, y0, y1): (i32, i32, i32, i32),
        id: u32,
    ) {
        let px = i64::from(x0 * SUB + SUB / 2);
        let py = i64::from(y0 * SUB + SUB / 2);
        let edge = |from: &ScreenVertex, to: &ScreenVertex| {
            let (dx, dy) = (i64::from(to.x - from.x), i64::from(to.y - from.y));
            let at = dx * (py - i64::from(from.y)) - dy * (px - i64::from(from.x));
            let top_left = dy < 0 || (dy == 0 && dx > 0);
            // Value, step in x, step in y.
            (at - i64::from(!top_left), -dy * i64::from(SUB), dx * i64::from(SUB))
        };
        let (e0, e1, e2) = (edge(a, b), edge(b, c), edge(c, a));
        let (mut row0, mut row1, mut row2) = (e0.0, e1.0, e2.0);
        let inv_area = 1.0 / area as f32;
        let (nb, nc) = (b.near - a.near, c.near - a.near);
        let diff = |p: i32, q: i32| (p - q) as f32;
        let dx = (nb * diff(c.y, a.y) - nc * diff(b.y, a.y)) * inv_area;
        let dy = (nc * diff(b.x, a.x) - nb * diff(c.x, a.x)) * inv_area;
        let start = a.near + dx * (px - i64::from(a.x)) as f32 + dy * (py - i64::from(a.y)) as f32;
        let (dx, dy) = (dx * SUB as f32, dy * SUB as f32);
        // A sliver's slope is large; its samples still lie between its corners.
        let low = a.near.min(b.near).min(c.near);
        let high = a.near.max(b.near).max(c.near);
        let wide = x1 - x0 >= WIDE;
        for y in y0..=y1 {
            let line = y as usize * self.width;
            let cells = line + x0 as usize..=line + x1 as usize;
            let (nears, ids) = (&mut self.near[cells.clone()], &mut self.id[cells]);
            let base = start + dy * (y - y0) as f32;
            if wide {
                // Where the edges let the row begin and end, then no more edge tests.
                let last = i64::from(x1 - x0);
                let (mut first, mut end) = (0, last + 1);
                for (at, step) in [(row0, e0.1), (row1, e1.1), (row2, e2.1)] {
                    if step > 0 {
                        first = first.max((-at + step - 1).div_euclid(step));
                    } else if step < 0 {
                        end = end.min(at.div_euclid(-step) + 1);
                    } else if at < 0 {
                        end = 0;
                    }
                }
                if first < end {
                    let span = first as usize..end as usize;
                    let (nears, ids) = (&mut nears[span.clone()], &mut ids[span]);
                    // 32-bit counters and masks: compilers turn this into vector code.
                    let columns = first as i32..end as i32;
                    for (x, (near, slot)) in columns.zip(nears.iter_mut().zip(ids)) {
                        let here = (base + dx * x as f32).max(low).min(high);
                        let mask = u32::from(here > *near).wrapping_neg();
                        *near = f32::from_bits((here.to_bits() & mask) | (near.to_bits() & !mask));
                        *slot = (id & mask) | (*slot & !mask);
                    }
                }
            } else {
                let (mut w0, mut w1, mut w2) = (row0, row1, row2);
                for (x, (near, slot)) in nears.iter_mut().zip(ids).enumerate() {
                    if (w0 | w1 | w2) >= 0 {
                        let here = (base + dx * x as i32 as f32).max(low).min(high);
                        if here > *near {
                            *near = here;
                            *slot = id;
                        }
                    }
                    w0 += e0.1;
                    w1 += e1.1;
                    w2 += e2.1;
                }
            }
            row0 += e0.2;
            row1 += e1.2;
            row2 += e2.2;
        }
    }
}

/// Snaps a screen coordinate inside the guard band to fixed point. The sum's last mantissa bit is
/// worth exactly 1/256, so that the addition itself rounds; far quicker than `round`.
pub(crate) fn snap(v: f32) -> i32 {
    const MIDDLE: f32 = 3.0 * GUARD;
    ((v + MIDDLE).to_bits() & 0x7f_ffff) as i32 - GUARD as i32 * SUB
}

/// Clips a polygon against `plane · (x, y, z, 1) >= 0`, in place (Sutherland & Hodgman 1974).
pub(crate) fn clip(polygon: &mut Vec<Vec3>, spare: &mut Vec<Vec3>, plane: [f32; 4]) {
    let side = |p: &Vec3| plane[0] * p[0] + plane[1] * p[1] + plane[2] * p[2] + plane[3];
    spare.clear();
    for i in 0..polygon.len() {
        let (a, b) = (polygon[i], polygon[(i + 1) % polygon.len()]);
        let (sa, sb) = (side(&a), side(&b));
        if sa >= 0.0 {
            spare.push(a);
        }
        if (sa >= 0.0) != (sb >= 0.0) {
            spare.push(add(a, scale(sub(b, a), sa / (sa - sb))));
        }
    }
    std::mem::swap(polygon, spare);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vertex(x: f32, y: f32) -> ScreenVertex {
        ScreenVertex { x: (x * SUB as f32) as i32, y: (y * SUB as f32) as i32, near: 1.0 }
    }

    /// A fan around an off-centre point covers every sample exactly once.
    #[test]
    fn shared_edges_leave_no_gap_and_no_overlap() {
        let size = 32;
        let center = vertex(13.3, 17.5);
        let rim: Vec<_> = (0..64)
            .map(|i| {
                let angle = -std::f32::consts::TAU * i as f32 / 64.0;
                vertex(16.0 + 60.0 * angle.cos(), 16.0 + 60.0 * angle.sin())
            })
            .collect();
        let mut covered = vec![0; size * size];
        for i in 0..rim.len() {
            let mut screen = Visibility::default();
            screen.clear(size, size, 0.0);
            screen.triangle(&center, &rim[i], &rim[(i + 1) % rim.len()], 1);
            for (count, id) in covered.iter_mut().zip(&screen.id) {
                *count += i32::from(*id == 1);
            }
        }
        assert!(covered.iter().all(|c| *c == 1), "each sample belongs to one triangle");
    }

    #[test]
    fn snapping_rounds_to_the_nearest_step() {
        for v in [-16_383.5f32, -1.001, -0.25, 0.0, 0.001, 0.002, 95.998, 16_383.0] {
            assert_eq!(snap(v), (f64::from(v) * f64::from(SUB)).round() as i32, "{v}");
        }
    }

    #[test]
    fn clipping_keeps_the_inner_part() {
        let mut polygon = vec![[0.0, 0.0, -1.0], [2.0, 0.0, 1.0], [0.0, 2.0, 1.0]];
        clip(&mut polygon, &mut Vec::new(), [0.0, 0.0, 1.0, 0.0]);
        assert_eq!(polygon.len(), 4);
        assert!(polygon.iter().all(|p| p[2] >= 0.0));
    }
}
