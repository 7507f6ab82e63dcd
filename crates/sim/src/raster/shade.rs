//! Colour of a visible point: material, MuJoCo's lights (Blinn-Phong), texture, shadow, sky.
//!
//! MuJoCo's fixed-function model with one addition: ambient light comes a little more from above
//! than from below, which tells the faces of a matte object apart.

use crate::mj::Data;

use super::math::{Mat3, Vec3, add, cross, dot, mul, mul_t, normalize, scale, sub, to_vec3};
use super::render::{Pinhole, Placed};
use super::scene::{LightColor, Look, Scene};
use super::shadow::ShadowMap;

const ZENITH: Vec3 = [0.45, 0.58, 0.74];
const HORIZON: Vec3 = [0.86, 0.89, 0.92];

struct Lamp {
    /// Towards the light for directional ones, else its position; view space.
    vector: Vec3,
    directional: bool,
    shadowed: bool,
    color: LightColor,
}

/// What shading needs of one frame, in view space.
pub(crate) struct Shader<'a> {
    scene: &'a Scene,
    look: &'a Look,
    shadow: Option<&'a ShadowMap>,
    lamps: [Option<Lamp>; 4],
    headlight: LightColor,
    /// Columns are view axes in the world.
    camera: Mat3,
    origin: Vec3,
    up: Vec3,
    /// Metres per sample at depth 1.
    sample: f32,
}

impl<'a> Shader<'a> {
    pub(crate) fn new(
        scene: &'a Scene,
        data: &Data,
        look: &'a Look,
        shadow: Option<&'a ShadowMap>,
        camera: Mat3,
        origin: Vec3,
        pinhole: Pinhole,
    ) -> Self {
        let caster = scene.lights.iter().position(|l| l.casts_shadow && l.directional);
        let lamps = std::array::from_fn(|i| {
            let light = scene.lights.get(i)?;
            let vector = if light.directional {
                mul_t(&camera, scale(light_direction(data, look, light.id), -1.0))
            } else {
                mul_t(&camera, sub(to_vec3(&data.light_xpos()[light.id]), origin))
            };
            let shadowed = caster == Some(i) && shadow.is_some();
            let color = dimmed(light.color, look.light_gain);
            Some(Lamp { vector, directional: light.directional, shadowed, color })
        });
        Self {
            scene,
            look,
            shadow,
            lamps,
            headlight: dimmed(scene.headlight, look.headlight_gain),
            camera,
            origin,
            up: mul_t(&camera, [0.0, 0.0, 1.0]),
            sample: 1.0 / pinhole.focal,
        }
    }

    /// Colour of the sky along a view-space ray.
    pub(crate) fn sky(&self, ray: Vec3) -> Vec3 {
        let height = dot(normalize(ray), self.up).clamp(0.0, 1.0);
        std::array::from_fn(|i| HORIZON[i] + (ZENITH[i] - HORIZON[i]) * height)
    }

    /// Colour of triangle `triangle` of `placed`, met by `ray` at inverse depth `near`.
    pub(crate) fn surface(
        &self,
        placed: &Placed,
        triangle: usize,
        vertices: &[Vec3],
        ray: Vec3,
        near: f32,
    ) -> Vec3 {
        let item = &self.scene.items[placed.item];
        let lod = &self.scene.meshes[item.mesh].lods[placed.lod];
        let (corners, normals) = lod.triangles[triangle];
        let point = scale(ray, 1.0 / near);
        let local = if normals[0] == normals[1] {
            lod.normals[normals[0] as usize]
        } else {
            let [a, b, c] = corners.map(|v| vertices[placed.first + v as usize]);
            let weights = barycentric(point, a, b, c);
            let [na, nb, nc] = normals.map(|n| lod.normals[n as usize]);
            add(add(scale(na, weights[0]), scale(nb, weights[1])), scale(nc, weights[2]))
        };
        let mut normal = normalize(mul(&placed.rotation, local));
        let eye = normalize(scale(ray, -1.0));
        let facing = dot(normal, eye);
        if facing < 0.0 {
            // A smoothed normal may tip over the horizon; bring it back to grazing.
            normal = normalize(sub(normal, scale(eye, facing)));
        }
        let mut base = self.look.rgba[item.geom];
        if let Some((texture, repeat)) = item.material.texture {
            let at = mul_t(&placed.rotation, sub(point, placed.position));
            let footprint = self.sample * point[2] / facing.max(0.15);
            let uv = [at[0] * repeat[0], at[1] * repeat[1]];
            let span = footprint * repeat[0].max(repeat[1]);
            let texel = self.scene.textures[texture].sample(uv, span);
            for (base, texel) in base.iter_mut().zip(texel) {
                *base *= texel;
            }
        }
        let material = &item.material;
        let mut light = self.headlight.ambient;
        let mut shine = [0.0; 3];
        let mut illuminate = |towards: Vec3, color: &LightColor, lit: f32| {
            let cosine = dot(normal, towards).max(0.0) * lit;
            if cosine == 0.0 {
                return;
            }
            light = add(light, scale(color.diffuse, cosine));
            if material.specular > 0.0 {
                let half = dot(normal, normalize(add(towards, eye))).max(0.0);
                let power = half.powi(material.shininess) * material.specular * lit;
                shine = add(shine, scale(color.specular, power));
            }
        };
        illuminate(eye, &self.headlight, 1.0);
        let mut ambient = [0.0; 3];
        for lamp in self.lamps.iter().flatten() {
            let towards =
                if lamp.directional { lamp.vector } else { normalize(sub(lamp.vector, point)) };
            let lit = match self.shadow {
                Some(shadow) if lamp.shadowed && dot(normal, towards) > 0.0 => {
                    let world = add(mul(&self.camera, point), self.origin);
                    shadow.lit(add(world, scale(mul(&self.camera, normal), shadow.offset)))
                }
                _ => 1.0,
            };
            illuminate(towards, &lamp.color, lit);
            ambient = add(ambient, lamp.color.ambient);
        }
        let sky = 0.85 + 0.15 * dot(normal, self.up);
        std::array::from_fn(|i| {
            let received =
                light[i] + ambient[i] * sky + self.headlight.ambient[i] * (sky - 1.0)
                    + material.emission;
            base[i] * received.max(0.0) + shine[i]
        })
    }
}

/// Direction in which a light shines, after the episode's tilt; world frame.
pub(crate) fn light_direction(data: &Data, look: &Look, light: usize) -> Vec3 {
    normalize(add(to_vec3(&data.light_xdir()[light]), look.light_tilt))
}

fn dimmed(color: LightColor, gain: f32) -> LightColor {
    LightColor {
        ambient: scale(color.ambient, gain),
        diffuse: scale(color.diffuse, gain),
        specular: scale(color.specular, gain),
    }
}

fn barycentric(p: Vec3, a: Vec3, b: Vec3, c: Vec3) -> Vec3 {
    let (ab, ac, ap) = (sub(b, a), sub(c, a), sub(p, a));
    let normal = cross(ab, ac);
    let inverse = 1.0 / dot(normal, normal).max(f32::MIN_POSITIVE);
    // At a sample beside a clipped or snapped edge the weights may leave 0..=1 a little.
    let wc = (dot(cross(ab, ap), normal) * inverse).clamp(0.0, 1.0);
    let wb = (dot(cross(ap, ac), normal) * inverse).clamp(0.0, 1.0 - wc);
    [1.0 - wb - wc, wb, wc]
}
