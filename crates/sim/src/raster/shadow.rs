//! One shadow map: the scene seen from its first directional light that casts shadows.
//!
//! Computed once per environment and step, used by all its cameras. Covers the sphere that the
//! model's `statistic` names (centre, extent).

use crate::mj::Data;

use super::fill::{SUB, ScreenVertex, Visibility, area};
use super::math::{Mat3, Vec3, add, cross, mat_t_mat, mul, mul_t, normalize, scale, sub};
use super::math::{to_mat3, to_vec3};
use super::scene::{Look, Scene};
use super::shade::light_direction;

/// Texels along each side.
const SIZE: usize = 256;

/// Depth from the light.
#[derive(Debug, Default)]
pub(crate) struct ShadowMap {
    map: Visibility,
    /// Columns are the light's right, down and forward axes in the world.
    axes: Mat3,
    center: Vec3,
    texels_per_metre: f32,
    /// How far off the surface to look up, metres: against a surface shadowing itself.
    pub offset: f32,
    screen: Vec<ScreenVertex>,
}

impl ShadowMap {
    /// Draws the map anew. Without a light that casts shadows everything is lit.
    pub(crate) fn update(&mut self, scene: &Scene, data: &Data, look: &Look) {
        self.map.clear(SIZE, SIZE, f32::MIN);
        let caster = scene.lights.iter().find(|l| l.casts_shadow && l.directional);
        let Some(light) = caster else { return };
        let forward = light_direction(data, look, light.id);
        let side = if forward[0].abs() < 0.9 { [1.0, 0.0, 0.0] } else { [0.0, 1.0, 0.0] };
        let right = normalize(cross(forward, side));
        let down = cross(forward, right);
        self.axes = [
            right[0], down[0], forward[0], right[1], down[1], forward[1], right[2], down[2],
            forward[2],
        ];
        self.center = scene.center;
        self.texels_per_metre = SIZE as f32 / (2.0 * scene.extent);
        self.offset = 1.5 / self.texels_per_metre;
        let half = 0.5 * SIZE as f32;
        for item in scene.items.iter().filter(|i| i.casts_shadow) {
            let mesh = &scene.meshes[item.mesh];
            let rotation = mat_t_mat(&self.axes, &to_mat3(&data.geom_xmat()[item.geom]));
            let position =
                mul_t(&self.axes, sub(to_vec3(&data.geom_xpos()[item.geom]), self.center));
            let lod = mesh.lod(1.0 / self.texels_per_metre);
            self.screen.clear();
            let (rotation, position) = (
                rotation.map(|x| x * self.texels_per_metre),
                scale(position, self.texels_per_metre),
            );
            self.screen.extend(lod.positions.iter().map(|p| {
                let p = add(mul(&rotation, *p), position);
                // Far outside the map the exact place does not matter.
                let fixed = |v: f32| ((v + half).clamp(-4e3, 4e3) * SUB as f32).round() as i32;
                ScreenVertex { x: fixed(p[0]), y: fixed(p[1]), near: -p[2] }
            }));
            for (corners, _) in &lod.triangles {
                let triangle = corners.map(|v| self.screen[v as usize]);
                if area(&triangle) < 0 {
                    self.map.triangle(&triangle, 0);
                }
            }
        }
    }

    /// How much of the light reaches `point` (world), 0..=1, from four bilinear taps.
    pub(crate) fn lit(&self, point: Vec3) -> f32 {
        let p = scale(mul_t(&self.axes, sub(point, self.center)), self.texels_per_metre);
        let half = 0.5 * SIZE as f32;
        let (x, y) = (p[0] + half - 0.5, p[1] + half - 0.5);
        let (x0, y0) = (x.floor(), y.floor());
        if x0 < 0.0 || y0 < 0.0 || x0 >= SIZE as f32 - 1.0 || y0 >= SIZE as f32 - 1.0 {
            return 1.0;
        }
        let (fx, fy) = (x - x0, y - y0);
        let at = y0 as usize * SIZE + x0 as usize;
        let tap = |i: usize| if self.map.near[i] > -p[2] { 0.0 } else { 1.0 };
        let top = tap(at) + (tap(at + 1) - tap(at)) * fx;
        let bottom = tap(at + SIZE) + (tap(at + SIZE + 1) - tap(at + SIZE)) * fx;
        top + (bottom - top) * fy
    }
}
