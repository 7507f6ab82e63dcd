//! MuJoCo's primitive shapes as triangle meshes, in the geom's own frame.
//!
//! Curved ones are tessellated so finely (32 around, 16 from pole to pole) that the outline is
//! within half a percent of the radius.

use std::f32::consts::{PI, TAU};

use super::math::{Vec3, normalize};
use super::mesh::Mesh;

const AROUND: u32 = 32;
const RINGS: u32 = 16;

/// Half extents `size`.
pub(crate) fn cuboid(size: Vec3) -> Mesh {
    let positions: Vec<Vec3> = (0..8)
        .map(|i| [0, 1, 2].map(|axis| if i >> axis & 1 == 1 { size[axis] } else { -size[axis] }))
        .collect();
    let quads =
        [[0, 4, 6, 2], [1, 3, 7, 5], [0, 1, 5, 4], [2, 6, 7, 3], [0, 2, 3, 1], [4, 5, 7, 6]];
    let faces: Vec<[u32; 3]> =
        quads.iter().flat_map(|[a, b, c, d]| [[*a, *b, *c], [*a, *c, *d]]).collect();
    Mesh::new(&positions, &faces)
}

/// A rectangle facing +z, half extents `x` and `y`.
pub(crate) fn rectangle(x: f32, y: f32) -> Mesh {
    let positions = vec![[-x, -y, 0.0], [x, -y, 0.0], [x, y, 0.0], [-x, y, 0.0]];
    Mesh::with_normals(positions, vec![[0.0, 0.0, 1.0]; 4], &[[0, 1, 2], [0, 2, 3]])
}

/// An ellipsoid with semi-axes `size`.
pub(crate) fn ellipsoid(size: Vec3) -> Mesh {
    revolve(|t| {
        let angle = PI * (t - 0.5);
        ([angle.cos(), angle.sin()], 0.0)
    })
    .scaled(size)
}

/// A capsule of `radius` about a z segment of `±half`.
pub(crate) fn capsule(radius: f32, half: f32) -> Mesh {
    revolve(|t| {
        let angle = PI * (t - 0.5);
        let cap = if t < 0.5 { -half } else { half };
        ([radius * angle.cos(), radius * angle.sin()], cap)
    })
    .build()
}

/// A cylinder of `radius` about a z segment of `±half`.
pub(crate) fn cylinder(radius: f32, half: f32) -> Mesh {
    let mut positions = vec![[0.0, 0.0, -half], [0.0, 0.0, half]];
    for i in 0..AROUND {
        let angle = TAU * i as f32 / AROUND as f32;
        let (x, y) = (radius * angle.cos(), radius * angle.sin());
        positions.extend([[x, y, -half], [x, y, half]]);
    }
    let mut faces = Vec::new();
    for i in 0..AROUND {
        let (a, b) = (2 + 2 * i, 2 + 2 * ((i + 1) % AROUND));
        faces.extend([[0, b, a], [1, a + 1, b + 1], [a, b, b + 1], [a, b + 1, a + 1]]);
    }
    Mesh::new(&positions, &faces)
}

/// A surface of revolution about z: unit-sphere-like rings, kept with their normals.
struct Revolution {
    positions: Vec<Vec3>,
    normals: Vec<Vec3>,
    faces: Vec<[u32; 3]>,
}

/// Profile: `t` in 0..=1 from bottom to top gives `([radius, height], offset along z)`.
fn revolve(profile: impl Fn(f32) -> ([f32; 2], f32)) -> Revolution {
    let mut positions = Vec::new();
    let mut normals = Vec::new();
    // The equator is doubled, for a capsule's straight part.
    let rings: Vec<f32> = (0..=RINGS)
        .flat_map(|i| {
            let t = i as f32 / RINGS as f32;
            if 2 * i == RINGS { vec![t - 1e-6, t] } else { vec![t] }
        })
        .collect();
    for t in &rings {
        let ([radius, height], offset) = profile(*t);
        for i in 0..AROUND {
            let angle = TAU * i as f32 / AROUND as f32;
            let on_sphere = [radius * angle.cos(), radius * angle.sin(), height];
            normals.push(normalize(on_sphere));
            positions.push([on_sphere[0], on_sphere[1], height + offset]);
        }
    }
    let mut faces = Vec::new();
    for ring in 0..rings.len() as u32 - 1 {
        for i in 0..AROUND {
            let (a, b) = (ring * AROUND + i, ring * AROUND + (i + 1) % AROUND);
            faces.extend([[a, b, b + AROUND], [a, b + AROUND, a + AROUND]]);
        }
    }
    Revolution { positions, normals, faces }
}

impl Revolution {
    fn build(self) -> Mesh {
        Mesh::with_normals(self.positions, self.normals, &self.faces)
    }

    fn scaled(mut self, size: Vec3) -> Mesh {
        for p in &mut self.positions {
            *p = [p[0] * size[0], p[1] * size[1], p[2] * size[2]];
        }
        for n in &mut self.normals {
            *n = normalize([n[0] / size[0], n[1] / size[1], n[2] / size[2]]);
        }
        self.build()
    }
}

#[cfg(test)]
mod tests {
    use super::super::math::{cross, dot, sub};
    use super::*;

    #[test]
    fn faces_look_outward() {
        let shapes = [
            cuboid([0.1, 0.2, 0.3]),
            ellipsoid([0.1, 0.2, 0.3]),
            capsule(0.1, 0.2),
            cylinder(0.1, 0.2),
        ];
        for (index, mesh) in shapes.iter().enumerate() {
            let lod = &mesh.lods[0];
            for (vertices, normals) in &lod.triangles {
                let [a, b, c] = vertices.map(|v| lod.positions[v as usize]);
                let area = cross(sub(b, a), sub(c, a));
                if dot(area, area) < 1e-14 {
                    continue;
                }
                assert!(dot(area, a) > 0.0, "shape {index}: a face looks inward");
                let normal = lod.normals[normals[0] as usize];
                assert!(dot(area, normal) > 0.0, "shape {index}: a normal looks inward");
            }
        }
    }
}
