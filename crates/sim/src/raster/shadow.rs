//! One shadow map: the scene seen from its first directional light that casts shadows.
//!
//! Computed once per environment and step, used by all its cameras. Covers the sphere that the
//! model's `statistic` names (centre, extent), about the body that the task follows where it does.

use crate::mj::Data;

use super::fill::{ScreenVertex, Visibility, snap};
use super::math::{Mat3, Vec3, add, cross, mat_t_mat, mul, mul_t, normalize, scale, sub, to_vec3};
use super::scene::{Look, Scene};
use super::shade::light_direction;

/// Texels along each side for policy cameras; pictures for people take more.
pub(crate) const COARSE: usize = 192;
pub(crate) const FINE: usize = 1024;
/// Shadows are soft, so what casts them may be coarser than a texel.
const DETAIL: f32 = 2.2;

/// Depth from the light.
#[derive(Debug, Default)]
pub(crate) struct ShadowMap {
    map: Visibility,
    /// Columns are the light's right, down and forward axes in the world.
    axes: Mat3,
    center: Vec3,
    texels_per_metre: f32,
    /// How far off the surface to look up, metres: against a surface shadowing itself.
    offset: f32,
    screen: Vec<ScreenVertex>,
}

impl ShadowMap {
    /// Draws the map anew. Without a light that casts shadows everything is lit.
    pub(crate) fn update(&mut self, scene: &Scene, data: &Data, look: &Look, size: usize) {
        self.map.clear(size, size, f32::MIN);
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
        self.center = match scene.follows {
            Some(body) => to_vec3(&data.xpos()[body]),
            None => scene.center,
        };
        self.texels_per_metre = size as f32 / (2.0 * scene.extent);
        self.offset = 1.5 / self.texels_per_metre;
        let half = 0.5 * size as f32;
        for index in 0..scene.count(look) {
            let drawn = scene.drawn(data, look, index);
            if !drawn.casts_shadow {
                continue;
            }
            let mesh = drawn.mesh;
            let rotation = mat_t_mat(&self.axes, &drawn.rotation);
            let position = mul_t(&self.axes, sub(drawn.position, self.center));
            let lod = &mesh.lods[mesh.lod(DETAIL / self.texels_per_metre)];
            self.screen.clear();
            let (rotation, position) = (
                rotation.map(|x| x * self.texels_per_metre),
                scale(position, self.texels_per_metre),
            );
            self.screen.extend(lod.positions.iter().map(|p| {
                let p = add(mul(&rotation, *p), position);
                // Far outside the map the exact place does not matter.
                let fixed = |v: f32| snap((v + half).clamp(-4e3, 4e3));
                ScreenVertex { x: fixed(p[0]), y: fixed(p[1]), near: -p[2] }
            }));
            for (corners, _) in &lod.triangles {
                let [a, b, c] = corners.map(|v| &self.screen[v as usize]);
                self.map.triangle(a, b, c, 0);
            }
        }
    }

    /// How view-space points become map coordinates, for a camera with the given axes and place.
    pub(crate) fn seen_from(&self, camera: &Mat3, origin: Vec3) -> Placement {
        let axes = mat_t_mat(&self.axes, camera).map(|x| x * self.texels_per_metre);
        let place = scale(mul_t(&self.axes, sub(origin, self.center)), self.texels_per_metre);
        let middle = 0.5 * self.map.width as f32 - 0.5;
        Placement { axes, place: add(place, [middle, middle, 0.0]) }
    }

    /// How much of the light reaches a view-space `point` of a surface with the given normal, 0..=1:
    /// a bilinear mean over 2×2 texels.
    pub(crate) fn lit(&self, placement: &Placement, point: Vec3, normal: Vec3) -> f32 {
        // Looked up a little off the surface, so that it does not shadow itself.
        let point = add(point, scale(normal, self.offset));
        let [x, y, z] = add(mul(&placement.axes, point), placement.place);
        let last = self.map.width as f32 - 1.0;
        if !(x >= 0.0 && x < last && y >= 0.0 && y < last) {
            return 1.0;
        }
        // Both are positive: truncation is floor.
        let (x0, y0) = (x as usize, y as usize);
        let (fx, fy) = (x - x0 as f32, y - y0 as f32);
        let at = y0 * self.map.width + x0;
        let tap = |i: usize| if self.map.near[i] > -z { 0.0 } else { 1.0 };
        let below = at + self.map.width;
        let top = tap(at) + (tap(at + 1) - tap(at)) * fx;
        let bottom = tap(below) + (tap(below + 1) - tap(below)) * fx;
        top + (bottom - top) * fy
    }
}

/// From view space to shadow map coordinates (texels; depth likewise).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placement {
    axes: Mat3,
    place: Vec3,
}
