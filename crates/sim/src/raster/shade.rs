//! Colour of a visible point: material, MuJoCo's lights (Blinn-Phong), texture, shadow, sky.
//!
//! MuJoCo's fixed-function model with one addition: ambient light comes a little more from above
//! than from below, which tells the faces of a matte object apart.

use crate::mj::Data;

use super::math::{
    Mat3, Vec3, add, cross, dot, length, mul, mul_t, normalize, scale, sub, to_vec3,
};
use super::render::{Eye, Placed};
use super::scene::{Cover, LightColor, Look, Material, Scene};
use super::shadow::{Placement, ShadowMap};

const ZENITH: Vec3 = [0.45, 0.58, 0.74];
const HORIZON: Vec3 = [0.86, 0.89, 0.92];

/// Cosine below which a texture gets no coarser: ground towards the horizon.
const GRAZING: f32 = 0.03;

/// Squared cosine off the mirror direction below which there is no highlight to speak of.
const NO_HIGHLIGHT: f32 = 0.6;

#[derive(Debug)]
pub(crate) struct Lamp {
    /// Towards the light for directional ones, else its position; view space.
    vector: Vec3,
    directional: bool,
    shadowed: bool,
    color: LightColor,
}

/// What the points of a triangle share; view space.
pub(crate) struct Surface<'a> {
    placed: &'a Placed,
    material: &'a Material,
    rgb: Vec3,
    shape: Shape,
    /// Replaces the material's texture.
    cover: Option<&'a Cover>,
}

enum Shape {
    /// One normal.
    Flat(Vec3),
    Smooth(Patch),
}

/// A triangle whose normal varies linearly between its corners.
struct Patch {
    corner: Vec3,
    /// The normal there, and what the other two corners' differ from it.
    normals: [Vec3; 3],
    /// Gradients of the other two corners' barycentric weights.
    gradients: [Vec3; 2],
}

impl Patch {
    fn new([a, b, c]: [Vec3; 3], [na, nb, nc]: [Vec3; 3]) -> Self {
        let (ab, ac) = (sub(b, a), sub(c, a));
        let across = cross(ab, ac);
        let inverse = 1.0 / dot(across, across).max(f32::MIN_POSITIVE);
        Self {
            corner: a,
            normals: [na, sub(nb, na), sub(nc, na)],
            gradients: [cross(ac, across), cross(across, ab)].map(|g| scale(g, inverse)),
        }
    }

    fn normal(&self, point: Vec3) -> Vec3 {
        let from = sub(point, self.corner);
        // At a sample beside a clipped or snapped edge the weights may leave 0..=1 a little.
        let c = dot(from, self.gradients[1]).clamp(0.0, 1.0);
        let b = dot(from, self.gradients[0]).clamp(0.0, 1.0 - c);
        let [first, second, third] = self.normals;
        normalize(add(first, add(scale(second, b), scale(third, c))))
    }
}

/// What shading needs of one frame, in view space.
pub(crate) struct Shader<'a> {
    scene: &'a Scene,
    look: &'a Look,
    shadow: Option<(&'a ShadowMap, Placement)>,
    /// All lights' ambient parts.
    ambient: Vec3,
    lamps: &'a [Lamp],
    headlight: LightColor,
    up: Vec3,
    /// Axes of the camera in the world.
    camera: Mat3,
    /// Metres per sample at depth 1.
    sample: f32,
}

impl<'a> Shader<'a> {
    pub(crate) fn new(
        scene: &'a Scene,
        data: &Data,
        look: &'a Look,
        shadow: Option<&'a ShadowMap>,
        eye: &Eye,
        lamps: &'a mut Vec<Lamp>,
    ) -> Self {
        let Eye { axes: camera, origin, pinhole } = *eye;
        let caster = scene.lights.iter().position(|l| l.casts_shadow && l.directional);
        lamps.clear();
        lamps.extend(scene.lights.iter().enumerate().map(|(i, light)| {
            let vector = if light.directional {
                mul_t(&camera, scale(light_direction(data, look, light.id), -1.0))
            } else {
                mul_t(&camera, sub(to_vec3(&data.light_xpos()[light.id]), origin))
            };
            let color = tinted(dimmed(light.color, look.light_gain), look.light_tint);
            Lamp { vector, directional: light.directional, shadowed: caster == Some(i), color }
        }));
        let headlight = dimmed(scene.headlight, look.headlight_gain);
        let ambient = lamps.iter().fold(headlight.ambient, |sum, l| add(sum, l.color.ambient));
        Self {
            scene,
            look,
            shadow: shadow.map(|map| (map, map.seen_from(&camera, origin))),
            ambient,
            lamps,
            headlight,
            up: mul_t(&camera, [0.0, 0.0, 1.0]),
            camera,
            sample: 1.0 / pinhole.focal,
        }
    }

    /// Colour of the sky along a view-space ray: the model's own, where it has one.
    pub(crate) fn sky(&self, ray: Vec3) -> Vec3 {
        if let Some(skybox) = &self.scene.skybox {
            return skybox.sample(mul(&self.camera, ray));
        }
        let height = dot(ray, self.up);
        if height <= 0.0 {
            return HORIZON;
        }
        let height = (height / length(ray)).min(1.0);
        std::array::from_fn(|i| HORIZON[i] + (ZENITH[i] - HORIZON[i]) * height)
    }

    /// Looks up all that the points of one triangle share.
    pub(crate) fn surface<'b>(
        &self,
        placed: &'b Placed,
        triangle: usize,
        vertices: &'b [Vec3],
    ) -> Surface<'b>
    where
        'a: 'b,
    {
        let (mesh, material) = self.scene.made_of(self.look, placed.item);
        let lod = &mesh.lods[placed.lod];
        let (corners, normals) = lod.triangles[triangle];
        let shape = if normals[0] == normals[1] {
            Shape::Flat(mul(&placed.rotation, lod.normals[normals[0] as usize]))
        } else {
            Shape::Smooth(Patch::new(
                corners.map(|v| vertices[placed.first + v as usize]),
                normals.map(|n| mul(&placed.rotation, lod.normals[n as usize])),
            ))
        };
        let (rgb, cover) = match self.scene.items.get(placed.item) {
            Some(item) => {
                let [r, g, b, _] = self.look.rgba[item.geom];
                ([r, g, b], self.look.textures.iter().find(|c| c.geom == item.geom))
            }
            None => (self.look.distractors[placed.item - self.scene.items.len()].rgb, None),
        };
        Surface { placed, material, rgb, shape, cover }
    }

    /// Colour of the point of `surface` that `ray` meets at inverse depth `near`.
    pub(crate) fn color(&self, surface: &Surface<'_>, ray: Vec3, near: f32) -> Vec3 {
        let Surface { placed, material, rgb, shape, cover } = surface;
        let mut base = *rgb;
        let point = scale(ray, 1.0 / near);
        let eye = scale(ray, -1.0 / length(ray));
        let mut normal = match shape {
            Shape::Flat(normal) => *normal,
            Shape::Smooth(patch) => patch.normal(point),
        };
        let mut facing = dot(normal, eye);
        if facing < 0.0 {
            // A smoothed normal may tip over the horizon; bring it back to grazing.
            normal = normalize(sub(normal, scale(eye, facing)));
            facing = 0.0;
        }
        if let Some(cover) = cover {
            let at = mul_t(&placed.rotation, sub(point, placed.position));
            let own = mul_t(&placed.rotation, normal).map(f32::abs);
            // The two axes along the face, which looks along the third.
            let uv = if own[2] >= own[0].max(own[1]) {
                [at[0], at[1]]
            } else if own[1] >= own[0] {
                [at[0], at[2]]
            } else {
                [at[1], at[2]]
            };
            let span = self.sample * point[2] / facing.max(GRAZING) * cover.per_metre;
            base = cover.texture.sample(uv.map(|x| x * cover.per_metre), span);
        } else if let Some((texture, repeat)) = material.texture {
            let at = mul_t(&placed.rotation, sub(point, placed.position));
            let footprint = self.sample * point[2] / facing.max(GRAZING);
            // The picture's first row is its upper one, towards +y.
            let uv = [at[0] * repeat[0], -at[1] * repeat[1]];
            let span = footprint * repeat[0].max(repeat[1]);
            let texel = self.scene.textures[texture].sample(uv, span);
            for (base, texel) in base.iter_mut().zip(texel) {
                *base *= texel;
            }
        }
        let mut light = scale(self.headlight.diffuse, facing);
        // The half vector of a light at the eye is the eye's own direction.
        let mut shine = scale(self.headlight.specular, material.highlight(facing * facing, 1.0));
        for lamp in self.lamps {
            let towards =
                if lamp.directional { lamp.vector } else { normalize(sub(lamp.vector, point)) };
            let cosine = dot(normal, towards);
            if cosine <= 0.0 {
                continue;
            }
            let lit = match &self.shadow {
                Some((map, placement)) if lamp.shadowed => map.lit(placement, point, normal),
                _ => 1.0,
            };
            light = add(light, scale(lamp.color.diffuse, cosine * lit));
            // The half vector is the sum of two unit vectors.
            let (along, squared) = (cosine + facing, 2.0 + 2.0 * dot(towards, eye));
            let highlight = material.highlight(along * along, squared);
            shine = add(shine, scale(lamp.color.specular, lit * highlight));
        }
        let sky = 0.85 + 0.15 * dot(normal, self.up);
        std::array::from_fn(|i| {
            base[i] * (light[i] + self.ambient[i] * sky + material.emission) + shine[i]
        })
    }
}

impl Material {
    /// Strength of the highlight where the cosine between normal and half vector, squared, is
    /// `along / squared`.
    fn highlight(&self, along: f32, squared: f32) -> f32 {
        if self.specular == 0.0 || along < NO_HIGHLIGHT * squared {
            return 0.0;
        }
        let mut power = along / squared.max(f32::MIN_POSITIVE);
        (0..self.shininess).for_each(|_| power *= power);
        power * self.specular
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

fn tinted(color: LightColor, tint: Vec3) -> LightColor {
    let times = |a: Vec3| std::array::from_fn(|i| a[i] * tint[i]);
    LightColor {
        ambient: times(color.ambient),
        diffuse: times(color.diffuse),
        specular: times(color.specular),
    }
}
