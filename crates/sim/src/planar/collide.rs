//! Where two shapes touch: closest points by GJK (Gilbert, Johnson, Keerthi 1988), depth by EPA where
//! they overlap (van den Bergen 2001), and the contacts of the two edges there.

use super::tree::CollisionId;
use super::vector::{Vect, clamp, vect};
use super::{Bounds, Shape, World};

const MAX_GJK_ITERATIONS: usize = 30;
const MAX_EPA_ITERATIONS: usize = 30;

/// Contacts of a pair, `hash` naming the features that touch.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Found {
    pub normal: Vect,
    pub count: usize,
    /// Points on both shapes, in the world.
    pub points: [(Vect, Vect, u64); 2],
    pub id: CollisionId,
}

impl Found {
    fn push(&mut self, on_first: Vect, on_second: Vect, hash: u64) {
        self.points[self.count] = (on_first, on_second, hash);
        self.count += 1;
    }
}

/// Contacts of two shapes; the first one's type must not come after the second one's in the order
/// circle, segment, polygon.
pub(super) fn collide(a: &World, b: &World, id: CollisionId) -> Found {
    let mut found = Found { id, ..Found::default() };
    match (&a.shape, &b.shape) {
        (Shape::Circle { radius, .. }, Shape::Polygon { .. }) => {
            let points = gjk(a, b, &mut found.id);
            if points.distance <= radius + 0.0 {
                let n = points.normal;
                found.normal = n;
                found.push(points.a + n * *radius, points.b + n * -0.0, 0);
            }
        }
        (Shape::Segment { radius, .. }, Shape::Polygon { .. }) => {
            let points = gjk(a, b, &mut found.id);
            if points.distance - radius - 0.0 <= 0.0 {
                let n = points.normal;
                edges(&segment_edge(a, *radius, n), &polygon_edge(b, -n), &points, &mut found);
            }
        }
        // Nothing else that can move touches here.
        _ => {}
    }
    found
}

/// A corner, and its index in the shape.
#[derive(Clone, Copy)]
struct Support {
    point: Vect,
    index: u32,
}

fn support(shape: &World, along: Vect) -> Support {
    let points = shape.points();
    if matches!(shape.shape, Shape::Segment { .. }) {
        let index = u32::from(points[0].dot(along) <= points[1].dot(along));
        return Support { point: points[index as usize], index };
    }
    let index = farthest(points, along);
    Support { point: points[index], index: index as u32 }
}

fn farthest(points: &[Vect], along: Vect) -> usize {
    let (mut best, mut index) = (f64::NEG_INFINITY, 0);
    for (i, point) in points.iter().enumerate() {
        let d = point.dot(along);
        if d > best {
            (best, index) = (d, i);
        }
    }
    index
}

/// A corner of a shape from before.
fn corner(shape: &World, index: u32) -> Support {
    let points = shape.points();
    let index = if (index as usize) < points.len() { index } else { 0 };
    Support { point: points[index as usize], index }
}

/// A point of the Minkowski difference.
#[derive(Clone, Copy)]
struct Difference {
    a: Vect,
    b: Vect,
    /// `b - a`.
    ab: Vect,
    id: u32,
}

fn difference(a: Support, b: Support) -> Difference {
    let id = (a.index & 0xff) << 8 | (b.index & 0xff);
    Difference { a: a.point, b: b.point, ab: b.point - a.point, id }
}

fn farthest_difference(a: &World, b: &World, along: Vect) -> Difference {
    difference(support(a, -along), support(b, along))
}

/// Closest points of two shapes.
struct Closest {
    a: Vect,
    b: Vect,
    /// The axis that separates them best.
    normal: Vect,
    /// Negative where they overlap.
    distance: f64,
    id: u32,
}

/// Share, -1 to 1, of the way from `a` to `b` that is nearest to the origin.
fn nearest_share(a: Vect, b: Vect) -> f64 {
    let delta = b - a;
    let squared = delta.length_squared();
    if squared != 0.0 { -clamp(delta.dot(a + b) / squared, -1.0, 1.0) } else { 0.0 }
}

fn at_share(a: Vect, b: Vect, share: f64) -> Vect {
    let half = 0.5 * share;
    a * (0.5 - half) + b * (0.5 + half)
}

fn nearest_squared(a: Vect, b: Vect) -> f64 {
    at_share(a, b, nearest_share(a, b)).length_squared()
}

fn closest(v0: &Difference, v1: &Difference) -> Closest {
    let t = nearest_share(v0.ab, v1.ab);
    let p = at_share(v0.ab, v1.ab, t);
    let (a, b) = (at_share(v0.a, v1.a, t), at_share(v0.b, v1.b, t));
    let id = (v0.id & 0xffff) << 16 | (v1.id & 0xffff);
    let normal = (v1.ab - v0.ab).right().unit();
    let distance = normal.dot(p);
    if distance <= 0.0 || (-1.0 < t && t < 1.0) {
        return Closest { a, b, normal, distance, id };
    }
    // Corner against corner.
    let distance = p.length();
    Closest { a, b, normal: p * (1.0 / (distance + f64::MIN_POSITIVE)), distance, id }
}

/// Whether `c` lies to the left of the line from `a` to `b`.
fn is_left(a: Vect, b: Vect, c: Vect) -> bool {
    (b.y - a.y) * (a.x + b.x - 2.0 * c.x) > (b.x - a.x) * (a.y + b.y - 2.0 * c.y)
}

fn gjk(a: &World, b: &World, id: &mut CollisionId) -> Closest {
    let (mut v0, mut v1) = if *id != 0 {
        let of = |at: u32| {
            difference(corner(a, (*id >> (at + 8)) & 0xff), corner(b, (*id >> at) & 0xff))
        };
        (of(16), of(0))
    } else {
        let axis = (Bounds::centre(&a.bounds) - Bounds::centre(&b.bounds)).left();
        (farthest_difference(a, b, axis), farthest_difference(a, b, -axis))
    };
    let mut iteration = 1;
    let points = loop {
        if iteration > MAX_GJK_ITERATIONS {
            break closest(&v0, &v1);
        }
        if is_left(v1.ab, v0.ab, vect(0.0, 0.0)) {
            std::mem::swap(&mut v0, &mut v1);
            continue;
        }
        let t = nearest_share(v0.ab, v1.ab);
        let n =
            if -1.0 < t && t < 1.0 { (v1.ab - v0.ab).left() } else { -at_share(v0.ab, v1.ab, t) };
        let p = farthest_difference(a, b, n);
        let origin = vect(0.0, 0.0);
        if is_left(p.ab, v0.ab, origin) && is_left(v1.ab, p.ab, origin) {
            break epa(a, b, [v0, p, v1]);
        }
        let (d0, d1) = (v0.ab.dot(n), v1.ab.dot(n));
        if p.ab.dot(n) <= if d0 > d1 { d0 } else { d1 } {
            break closest(&v0, &v1);
        }
        if nearest_squared(v0.ab, p.ab) < nearest_squared(p.ab, v1.ab) {
            v1 = p;
        } else {
            v0 = p;
        }
        iteration += 1;
    };
    *id = points.id;
    points
}

/// Most corners that a hull can have: it gains one per iteration.
const MAX_HULL: usize = 3 + MAX_EPA_ITERATIONS;

fn epa(a: &World, b: &World, first: [Difference; 3]) -> Closest {
    let mut hull = [first[0]; MAX_HULL];
    hull[..3].copy_from_slice(&first);
    let (mut count, mut iteration) = (3, 1);
    loop {
        let (mut nearest, mut at) = (f64::INFINITY, 0);
        let mut i = count - 1;
        for j in 0..count {
            let d = nearest_squared(hull[i].ab, hull[j].ab);
            if d < nearest {
                (nearest, at) = (d, i);
            }
            i = j;
        }
        let (v0, v1) = (hull[at], hull[(at + 1) % count]);
        let p = farthest_difference(a, b, (v1.ab - v0.ab).left());
        let known = p.id == v0.id || p.id == v1.id;
        if known || !is_left(v0.ab, v1.ab, p.ab) || iteration >= MAX_EPA_ITERATIONS {
            return closest(&v0, &v1);
        }
        let mut next = [p; MAX_HULL];
        let mut kept = 1;
        for i in 0..count {
            let index = (at + 1 + i) % count;
            let before = next[kept - 1].ab;
            let after = if i + 1 < count { hull[(index + 1) % count].ab } else { p.ab };
            if is_left(before, after, hull[index].ab) {
                next[kept] = hull[index];
                kept += 1;
            }
        }
        (hull, count, iteration) = (next, kept, iteration + 1);
    }
}

/// An edge of a shape: its ends with the hash of each, radius and normal.
struct Edge {
    a: (Vect, u64),
    b: (Vect, u64),
    radius: f64,
}

const HASH: u64 = 3_344_921_057;

fn hash_pair(a: u64, b: u64) -> u64 {
    a.wrapping_mul(HASH) ^ b.wrapping_mul(HASH)
}

fn segment_edge(shape: &World, radius: f64, along: Vect) -> Edge {
    let points = shape.points();
    let end = |i: usize| (points[i], hash_pair(shape.hash, i as u64));
    if shape.normals()[0].dot(along) > 0.0 {
        Edge { a: end(0), b: end(1), radius }
    } else {
        Edge { a: end(1), b: end(0), radius }
    }
}

fn polygon_edge(shape: &World, along: Vect) -> Edge {
    let (points, normals) = (shape.points(), shape.normals());
    let count = points.len();
    let i1 = farthest(points, along);
    let (i0, i2) = ((i1 + count - 1) % count, (i1 + 1) % count);
    let end = |i: usize| (points[i], hash_pair(shape.hash, i as u64));
    if along.dot(normals[i1]) > along.dot(normals[i2]) {
        Edge { a: end(i0), b: end(i1), radius: 0.0 }
    } else {
        Edge { a: end(i1), b: end(i2), radius: 0.0 }
    }
}

/// Contacts of two edges: ends of the one projected onto the other.
fn edges(e1: &Edge, e2: &Edge, points: &Closest, found: &mut Found) {
    let n = points.normal;
    found.normal = n;
    let (d1a, d1b) = (e1.a.0.cross(n), e1.b.0.cross(n));
    let (d2a, d2b) = (e2.a.0.cross(n), e2.b.0.cross(n));
    let scale1 = 1.0 / (d1b - d1a + f64::MIN_POSITIVE);
    let scale2 = 1.0 / (d2b - d2a + f64::MIN_POSITIVE);
    let mut pair = |t1: f64, t2: f64, hash: u64| {
        let p1 = n * e1.radius + e1.a.0.lerp(e1.b.0, clamp(t1, 0.0, 1.0));
        let p2 = n * -e2.radius + e2.a.0.lerp(e2.b.0, clamp(t2, 0.0, 1.0));
        if (p2 - p1).dot(n) <= 0.0 {
            found.push(p1, p2, hash);
        }
    };
    pair((d2b - d1a) * scale1, (d1a - d2a) * scale2, hash_pair(e1.a.1, e2.b.1));
    pair((d2a - d1a) * scale1, (d1b - d2a) * scale2, hash_pair(e1.b.1, e2.a.1));
}
