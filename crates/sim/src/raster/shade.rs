//! Colour of a visible point: material, MuJoCo's lights (Blinn-Phong), texture, shadow, sky.
//!
//! MuJoCo's fixed-function model with one addition: ambient light comes a little more from above
//! than from below, which tells the faces of a matte object apart.

use crate::mj::Data;

use super::lanes::{
    Lanes, Vec3s, adds, along, dots, inverse_lengths, lane, put, same, scaled, subs, times,
};
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

    fn normals<const N: usize>(&self, points: &Vec3s<N>) -> Vec3s<N> {
        let from = subs(*points, same(self.corner));
        // At a sample beside a clipped or snapped edge the weights may leave 0..=1 a little.
        let c = along(&from, self.gradients[1]).map(|c| c.clamp(0.0, 1.0));
        let b = along(&from, self.gradients[0]).with(c, |b, c| b.max(0.0).min(1.0 - c));
        let [first, second, third] = self.normals;
        let sum = adds(same(first), adds(scaled(second, b), scaled(third, c)));
        times(sum, inverse_lengths(&sum))
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

    /// Colours of the points of `surface` that `rays` meet at inverse depths `near`.
    #[inline(always)]
    pub(crate) fn colors<const N: usize>(
        &self,
        surface: &Surface<'_>,
        rays: &Vec3s<N>,
        near: Lanes<N>,
    ) -> Vec3s<N> {
        let material = surface.material;
        let points = times(*rays, near.map(|near| 1.0 / near));
        let eyes = times(*rays, inverse_lengths(rays) * -1.0);
        let mut normals = match &surface.shape {
            Shape::Flat(normal) => same(*normal),
            Shape::Smooth(patch) => patch.normals(&points),
        };
        let mut facing = dots(&normals, &eyes);
        if facing.any(|f| f < 0.0) {
            // A smoothed normal may tip over the horizon; bring it back to grazing.
            let over = facing.map(|f| f.min(0.0));
            normals = subs(normals, times(eyes, over));
            let inverse =
                inverse_lengths(&normals).with(over, |i, o| if o < 0.0 { i } else { 1.0 });
            normals = times(normals, inverse);
            facing = facing.map(|f| f.max(0.0));
        }
        let mut base = same(surface.rgb);
        if surface.cover.is_some() || material.texture.is_some() {
            for i in 0..N {
                let texel = self.texel(surface, lane(&points, i), lane(&normals, i), facing.0[i]);
                put(&mut base, i, texel);
            }
        }
        let mut light = scaled(self.headlight.diffuse, facing);
        // The half vector of a light at the eye is the eye's own direction.
        let mut shine =
            scaled(self.headlight.specular, material.highlight(facing * facing, Lanes::all(1.0)));
        for lamp in self.lamps {
            let towards = if lamp.directional {
                same(lamp.vector)
            } else {
                let way = subs(same(lamp.vector), points);
                times(way, inverse_lengths(&way))
            };
            let cosine = dots(&normals, &towards).map(|c| c.max(0.0));
            if !cosine.any(|c| c > 0.0) {
                continue;
            }
            let mut lit = Lanes::all(1.0);
            if let (Some((map, placement)), true) = (&self.shadow, lamp.shadowed) {
                for i in (0..N).filter(|i| cosine.0[*i] > 0.0) {
                    lit.0[i] = map.lit(placement, lane(&points, i), lane(&normals, i));
                }
            }
            light = adds(light, scaled(lamp.color.diffuse, cosine * lit));
            // The half vector is the sum of two unit vectors.
            let sum = facing.with(cosine, |f, c| if c > 0.0 { f + c } else { 0.0 });
            let squared = dots(&towards, &eyes).map(|d| 2.0 + 2.0 * d);
            let highlight = material.highlight(sum * sum, squared);
            shine = adds(shine, scaled(lamp.color.specular, lit * highlight));
        }
        let sky = along(&normals, self.up).map(|up| 0.85 + 0.15 * up);
        std::array::from_fn(|i| {
            let ambient = sky.map(|sky| self.ambient[i] * sky + material.emission);
            base[i] * (light[i] + ambient) + shine[i]
        })
    }

    /// Colour of a surface's texture at a point.
    fn texel(&self, surface: &Surface<'_>, point: Vec3, normal: Vec3, facing: f32) -> Vec3 {
        let Surface { placed, material, rgb, cover, .. } = surface;
        let at = mul_t(&placed.rotation, sub(point, placed.position));
        let footprint = self.sample * point[2] / facing.max(GRAZING);
        if let Some(cover) = cover {
            let own = mul_t(&placed.rotation, normal).map(f32::abs);
            // The two axes along the face, which looks along the third.
            let uv = if own[2] >= own[0].max(own[1]) {
                [at[0], at[1]]
            } else if own[1] >= own[0] {
                [at[0], at[2]]
            } else {
                [at[1], at[2]]
            };
            let per_metre = cover.per_metre;
            return cover.texture.sample(uv.map(|x| x * per_metre), footprint * per_metre);
        }
        let Some((texture, repeat)) = material.texture else { return *rgb };
        // The picture's first row is its upper one, towards +y.
        let uv = [at[0] * repeat[0], -at[1] * repeat[1]];
        let texel = self.scene.textures[texture].sample(uv, footprint * repeat[0].max(repeat[1]));
        std::array::from_fn(|i| rgb[i] * texel[i])
    }
}

impl Material {
    /// Strength of the highlight where the cosine between normal and half vector, squared, is
    /// `along / squared`.
    #[inline(always)]
    fn highlight<const N: usize>(&self, along: Lanes<N>, squared: Lanes<N>) -> Lanes<N> {
        let over = along.with(squared, |along, squared| along - NO_HIGHLIGHT * squared);
        if self.specular == 0.0 || !over.any(|over| over > 0.0) {
            return Lanes::all(0.0);
        }
        let mut power =
            along.with(squared, |along, squared| along / squared.max(f32::MIN_POSITIVE));
        for _ in 0..self.shininess {
            power = power * power;
        }
        let specular = self.specular;
        power.with(over, |power, over| if over > 0.0 { power * specular } else { 0.0 })
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
