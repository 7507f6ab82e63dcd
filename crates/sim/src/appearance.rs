//! How a scene looks in an episode: colours, textures, light, cameras, things that are only seen.
//!
//! An [`Appearance`] is written down with every recorded episode and read back for replay; it names
//! geoms and cameras, so that it survives a change of their ids. None of it reaches physics: the same
//! motion can be drawn under any appearance. [`Appearance::varied`] draws a new one within bounds that
//! scale with the caller's strengths (domain randomisation, Tobin et al. 2017).

use std::collections::BTreeMap;
use std::sync::Arc;

use embody_core::{Error, Result};
use mujoco_rs::prelude::{MjModel, MjtObjBase};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::raster::{CameraShift, Cover, Distractor, Look, Scene, Texture, cuboid, cylinder};
use crate::raster::{ellipsoid, rotation_of};
use crate::tasks::Surfaces;

/// Texels along each side of a pattern.
const TEXELS: usize = 128;

/// How a scene looks. What is not named looks as the model says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Appearance {
    /// Colours by geom, RGB in 0..=1.
    #[serde(default)]
    pub colors: BTreeMap<String, [f32; 3]>,
    /// Patterns laid over geoms; the geom's colour does not count then.
    #[serde(default)]
    pub patterns: BTreeMap<String, Pattern>,
    /// Factor on the lights other than the headlight.
    pub light_gain: f32,
    /// Factor on the headlight.
    pub headlight_gain: f32,
    /// Added to the direction of directional lights, before normalising.
    pub light_tilt: [f32; 3],
    /// Factor on the lights' colour, RGB.
    #[serde(default = "white")]
    pub light_tint: [f32; 3],
    /// Cameras off their places.
    #[serde(default)]
    pub cameras: BTreeMap<String, CameraPose>,
    /// Things that are only seen.
    #[serde(default)]
    pub distractors: Vec<SeenThing>,
}

/// A camera off its place, in its own frame: x right, y down, z forward.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraPose {
    /// Metres.
    pub position_m: [f32; 3],
    /// Turn about x, then y, then z, radians.
    pub rotation_rad: [f32; 3],
    /// Factor on the vertical field of view.
    pub fov_factor: f32,
}

/// A texture made by rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// The rule.
    pub kind: PatternKind,
    /// Its two colours, RGB in 0..=1.
    pub colors: [[f32; 3]; 2],
    /// Edge of one repetition, metres.
    pub size_m: f32,
    /// Seed of what is random in it.
    pub seed: u64,
}

/// Rules for textures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatternKind {
    /// Squares.
    Checker,
    /// Bands.
    Stripes,
    /// Wavy grain along one axis.
    Wood,
    /// Soft blotches.
    Marble,
    /// Grains.
    Speckle,
}

/// A thing that is drawn but not simulated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenThing {
    /// Its shape.
    pub shape: SeenShape,
    /// Half extents, metres.
    pub half_m: [f32; 3],
    /// Centre, world, metres.
    pub position_m: [f32; 3],
    /// Turn about the vertical, radians.
    pub turn_rad: f32,
    /// RGB in 0..=1.
    pub color: [f32; 3],
}

/// Shapes of things that are only seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeenShape {
    /// A cuboid.
    Box,
    /// An upright cylinder of radius `half_m[0]`.
    Cylinder,
    /// An ellipsoid.
    Ellipsoid,
}

/// How strongly looks are varied. 0 leaves a part alone, 1 is meant for training data, 3 is the most.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct AppearanceRange {
    /// Cameras: at 1, ±2 cm in place (5 mm on a moving body), ±1 cm in where they look, ±4 % of the
    /// field of view.
    pub cameras: f64,
    /// Light: at 1, ±30 % in strength, ±20 % headlight, ±0.4 in direction, ±10 % per colour channel.
    pub lights: f64,
    /// Colours and textures of objects, table and background.
    pub textures: f64,
    /// Most things that lie about and are only seen.
    pub distractors: usize,
}

impl AppearanceRange {
    /// Whether nothing is varied.
    pub fn is_nothing(&self) -> bool {
        self.cameras == 0.0 && self.lights == 0.0 && self.textures == 0.0 && self.distractors == 0
    }
}

fn white() -> [f32; 3] {
    [1.0; 3]
}

impl Appearance {
    /// The appearance that `look` gives the model, as far as a task's own randomisation goes.
    pub(crate) fn of(look: &Look, scene: &Scene, model: &MjModel) -> Self {
        let changed = look.rgba.iter().zip(&scene.look.rgba).enumerate();
        let colors = changed.filter(|(_, (now, own))| now != own).filter_map(|(geom, (now, _))| {
            let name = model.id_to_name(MjtObjBase::mjOBJ_GEOM, geom)?;
            Some((name.to_owned(), [now[0], now[1], now[2]]))
        });
        Self {
            colors: colors.collect(),
            patterns: BTreeMap::new(),
            light_gain: look.light_gain,
            headlight_gain: look.headlight_gain,
            light_tilt: look.light_tilt,
            light_tint: look.light_tint,
            cameras: BTreeMap::new(),
            distractors: Vec::new(),
        }
    }

    /// What the renderer needs to draw it.
    ///
    /// # Errors
    /// When a geom or a camera is not in the model, or a number is out of range.
    pub(crate) fn look(&self, scene: &Scene, model: &MjModel) -> Result<Look> {
        let mut look = scene.look.clone();
        let geom = |name: &str| {
            model.name_to_id(MjtObjBase::mjOBJ_GEOM, name).ok_or_else(|| refuse("geom", name))
        };
        for (name, color) in &self.colors {
            look.rgba[geom(name)?][..3].copy_from_slice(color);
        }
        for (name, pattern) in &self.patterns {
            if !(pattern.size_m.is_finite() && pattern.size_m > 1e-4) {
                return Err(Error::new(format!(
                    "the pattern of geom `{name}` repeats every {} m",
                    pattern.size_m
                )));
            }
            let (texture, per_metre) = (Arc::new(pattern.texture()), 1.0 / pattern.size_m);
            look.textures.push(Cover { geom: geom(name)?, texture, per_metre });
        }
        (look.light_gain, look.headlight_gain) = (self.light_gain, self.headlight_gain);
        (look.light_tilt, look.light_tint) = (self.light_tilt, self.light_tint);
        if !self.cameras.is_empty() {
            look.cameras = vec![CameraShift::NONE; scene.fovy.len()];
        }
        for (name, pose) in &self.cameras {
            let id = model
                .name_to_id(MjtObjBase::mjOBJ_CAMERA, name)
                .ok_or_else(|| refuse("camera", name))?;
            if !(0.2..=2.0).contains(&pose.fov_factor) {
                return Err(Error::new(format!(
                    "the field of view of camera `{name}` is scaled by {}",
                    pose.fov_factor
                )));
            }
            look.cameras[id] = CameraShift {
                position: pose.position_m,
                rotation: pose.rotation_rad,
                fov: pose.fov_factor,
            };
        }
        look.distractors = self.distractors.iter().map(SeenThing::placed).collect();
        Ok(look)
    }

    /// Another appearance within `range` of this one.
    pub(crate) fn varied(
        &self,
        range: &AppearanceRange,
        surfaces: &Surfaces,
        scene: &Scene,
        model: &MjModel,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let mut new = self.clone();
        let spread = |rng: &mut ChaCha8Rng, by: f64| {
            if by > 0.0 { rng.random_range(-by..=by) as f32 } else { 0.0 }
        };
        let s = range.lights;
        new.light_gain = (new.light_gain * (1.0 + spread(rng, 0.3 * s))).max(0.1);
        new.headlight_gain = (new.headlight_gain * (1.0 + spread(rng, 0.2 * s))).max(0.2);
        for axis in 0..2 {
            new.light_tilt[axis] += spread(rng, 0.4 * s);
        }
        for channel in &mut new.light_tint {
            *channel = (*channel * (1.0 + spread(rng, 0.1 * s))).clamp(0.3, 1.6);
        }
        if range.cameras > 0.0 {
            new.vary_cameras(range.cameras, scene, model, rng);
        }
        if range.textures > 0.0 {
            new.vary_surfaces(range.textures, surfaces, scene, model, rng);
        }
        if range.distractors > 0 && !surfaces.clear.is_empty() {
            let count = rng.random_range(0..=range.distractors);
            new.distractors = (0..count).map(|_| SeenThing::random(surfaces, rng)).collect();
        }
        new
    }

    fn vary_cameras(
        &mut self,
        strength: f64,
        scene: &Scene,
        model: &MjModel,
        rng: &mut ChaCha8Rng,
    ) {
        for id in 0..scene.fovy.len() {
            let Some(name) = model.id_to_name(MjtObjBase::mjOBJ_CAMERA, id) else { continue };
            // A camera on the robot looks at things nearby, and has less room.
            let fixed = model.cam_bodyid()[id] == 0;
            let away = if fixed {
                let at = model.cam_pos()[id].map(|x| x as f32);
                let to: f32 = at.iter().zip(scene.center).map(|(a, b)| (a - b).powi(2)).sum();
                to.sqrt().max(0.1)
            } else {
                0.12
            };
            let (place, aim) = if fixed { (0.02, 0.01) } else { (0.005, 0.003) };
            let mut spread = |by: f64| rng.random_range(-by..=by) as f32;
            let position: [f32; 3] = std::array::from_fn(|_| spread(place * strength));
            let aim = [spread(aim * strength), spread(aim * strength)];
            // Turned so that it looks at the old point, off by `aim` metres.
            let yaw = ((aim[0] - position[0]) / away).atan();
            let pitch = -((aim[1] - position[1]) / away).atan();
            let roll = spread(0.02 * strength);
            let pose = CameraPose {
                position_m: position,
                rotation_rad: [pitch, yaw, roll],
                fov_factor: 1.0 + spread(0.04 * strength),
            };
            self.cameras.insert(name.to_owned(), pose);
        }
    }

    fn vary_surfaces(
        &mut self,
        strength: f64,
        surfaces: &Surfaces,
        scene: &Scene,
        model: &MjModel,
        rng: &mut ChaCha8Rng,
    ) {
        let name = |geom: usize| model.id_to_name(MjtObjBase::mjOBJ_GEOM, geom).map(str::to_owned);
        for geom in &surfaces.objects {
            // An object stays what it is called: its hue moves a little, its texture is faint.
            let Some(name) = name(*geom) else { continue };
            let own = scene.look.rgba[*geom];
            let [hue, saturation, value] = to_hsv([own[0], own[1], own[2]]);
            let mut spread = |by: f64| rng.random_range(-by..=by) as f32;
            let color = from_hsv([
                hue + spread(0.04 * strength),
                (saturation * (1.0 + spread(0.2 * strength))).clamp(0.0, 1.0),
                (value * (1.0 + spread(0.2 * strength))).clamp(0.1, 1.0),
            ]);
            self.colors.insert(name.clone(), color);
            if rng.random_bool((0.3 * strength).min(0.6)) {
                let pattern = Pattern::random([color, color.map(|c| 0.75 * c)], 0.02, rng);
                self.patterns.insert(name, pattern);
            }
        }
        for (group, size_m) in [(&surfaces.tables, 0.25f32), (&surfaces.background, 0.8)] {
            // What belongs together changes together.
            let first = random_color(rng);
            let second = blend(first, random_color(rng), 0.4);
            let patterned = rng.random_bool((0.7 * strength).min(0.9));
            let pattern = Pattern::random([first, second], size_m, rng);
            for geom in group {
                let Some(name) = name(*geom) else { continue };
                let own = scene.look.rgba[*geom];
                let share = (0.8 * strength).min(1.0) as f32;
                let color = blend([own[0], own[1], own[2]], first, share);
                self.colors.insert(name.clone(), color);
                if patterned {
                    let colors = [color, blend(color, second, share)];
                    self.patterns.insert(name, Pattern { colors, ..pattern.clone() });
                }
            }
        }
    }
}

fn refuse(kind: &str, name: &str) -> Error {
    Error::new(format!("the recorded appearance names {kind} `{name}`, which the scene lacks"))
        .with_hint("it was recorded with another version of the task")
}

impl SeenThing {
    fn random(surfaces: &Surfaces, rng: &mut ChaCha8Rng) -> Self {
        let area = surfaces.clear[rng.random_range(0..surfaces.clear.len())];
        let mut within = |range: [f64; 2]| rng.random_range(range[0]..=range[1]) as f32;
        let (x, y) = (within(area[0]), within(area[1]));
        let half_m: [f32; 3] = std::array::from_fn(|_| within([0.012, 0.035]));
        let turn_rad = within([-3.0, 3.0]);
        let shape = match rng.random_range(0..3u8) {
            0 => SeenShape::Box,
            1 => SeenShape::Cylinder,
            _ => SeenShape::Ellipsoid,
        };
        let color = random_color(rng);
        Self { shape, half_m, position_m: [x, y, half_m[2]], turn_rad, color }
    }

    fn placed(&self) -> Distractor {
        let mesh = match self.shape {
            SeenShape::Box => cuboid(self.half_m),
            SeenShape::Cylinder => cylinder(self.half_m[0], self.half_m[2]),
            SeenShape::Ellipsoid => ellipsoid(self.half_m),
        };
        Distractor {
            mesh: Arc::new(mesh),
            rotation: rotation_of([0.0, 0.0, self.turn_rad]),
            position: self.position_m,
            rgb: self.color,
        }
    }
}

impl Pattern {
    fn random(colors: [[f32; 3]; 2], size_m: f32, rng: &mut ChaCha8Rng) -> Self {
        const KINDS: [PatternKind; 5] = [
            PatternKind::Checker,
            PatternKind::Stripes,
            PatternKind::Wood,
            PatternKind::Marble,
            PatternKind::Speckle,
        ];
        let kind = KINDS[rng.random_range(0..KINDS.len())];
        let size_m = size_m * rng.random_range(0.5..=1.5f32);
        Self { kind, colors, size_m, seed: rng.random() }
    }

    /// Its texels: one repetition.
    fn texture(&self) -> Texture {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let coarse: Vec<f32> = (0..64).map(|_| rng.random()).collect();
        let fine: Vec<f32> = (0..1024).map(|_| rng.random()).collect();
        let mut bytes = Vec::with_capacity(TEXELS * TEXELS * 3);
        for row in 0..TEXELS {
            for column in 0..TEXELS {
                let (u, v) = (column as f32 / TEXELS as f32, row as f32 / TEXELS as f32);
                let share = match self.kind {
                    PatternKind::Checker => f32::from((u < 0.5) ^ (v < 0.5)),
                    PatternKind::Stripes => f32::from(((4.0 * u) as u32).is_multiple_of(2)),
                    PatternKind::Wood => {
                        let bend = noise(&coarse, 8, u, v) + 0.3 * noise(&fine, 32, u, v);
                        0.5 + 0.5 * (std::f32::consts::TAU * (6.0 * v + bend)).sin()
                    }
                    PatternKind::Marble => {
                        0.7 * noise(&coarse, 8, u, v) + 0.3 * noise(&fine, 32, u, v)
                    }
                    PatternKind::Speckle => f32::from(noise(&fine, 32, u, v) > 0.68),
                };
                let color = blend(self.colors[0], self.colors[1], share);
                bytes.extend(color.map(|c| (c.clamp(0.0, 1.0) * 255.0 + 0.5) as u8));
            }
        }
        Texture::new(TEXELS, TEXELS, 3, &bytes)
    }
}

/// Smooth values of a grid of `side` × `side` that repeats, at `(u, v)` in 0..1.
fn noise(grid: &[f32], side: usize, u: f32, v: f32) -> f32 {
    let (x, y) = (u * side as f32, v * side as f32);
    let (x0, y0) = (x as usize, y as usize);
    let smooth = |t: f32| t * t * (3.0 - 2.0 * t);
    let (fx, fy) = (smooth(x.fract()), smooth(y.fract()));
    let at = |x: usize, y: usize| grid[(y % side) * side + x % side];
    let top = at(x0, y0) + (at(x0 + 1, y0) - at(x0, y0)) * fx;
    let bottom = at(x0, y0 + 1) + (at(x0 + 1, y0 + 1) - at(x0, y0 + 1)) * fx;
    top + (bottom - top) * fy
}

fn blend(a: [f32; 3], b: [f32; 3], share: f32) -> [f32; 3] {
    std::array::from_fn(|i| a[i] + (b[i] - a[i]) * share)
}

fn random_color(rng: &mut ChaCha8Rng) -> [f32; 3] {
    let hue = rng.random();
    let (saturation, value) = (rng.random_range(0.05..=0.6f32), rng.random_range(0.3..=0.85f32));
    from_hsv([hue, saturation, value])
}

/// Hue in turns, saturation and value in 0..=1.
fn to_hsv(rgb: [f32; 3]) -> [f32; 3] {
    let [r, g, b] = rgb;
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    let range = max - min;
    if range <= 0.0 {
        return [0.0, 0.0, max];
    }
    let sixth = if max == r {
        (g - b) / range
    } else if max == g {
        2.0 + (b - r) / range
    } else {
        4.0 + (r - g) / range
    };
    [(sixth / 6.0).rem_euclid(1.0), range / max, max]
}

fn from_hsv([hue, saturation, value]: [f32; 3]) -> [f32; 3] {
    [5.0f32, 3.0, 1.0].map(|n| {
        let k = (n + hue.rem_euclid(1.0) * 6.0) % 6.0;
        value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hues_round_trip() {
        for rgb in [[0.8, 0.16, 0.13], [0.1, 0.7, 0.3], [0.2, 0.3, 0.9], [0.4, 0.4, 0.4]] {
            let back = from_hsv(to_hsv(rgb));
            for (a, b) in rgb.iter().zip(back) {
                assert!((a - b).abs() < 1e-6, "{rgb:?} became {back:?}");
            }
        }
    }

    #[test]
    fn what_is_written_is_read_back_to_the_bit() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut random = || -> [f32; 3] { std::array::from_fn(|_| rng.random()) };
        for _ in 0..500 {
            let (color, tint, tilt) = (random(), random(), random());
            let appearance = Appearance {
                colors: BTreeMap::from([("cube".to_owned(), color)]),
                patterns: BTreeMap::new(),
                light_gain: tint[0],
                headlight_gain: tint[1],
                light_tilt: tilt,
                light_tint: tint,
                cameras: BTreeMap::new(),
                distractors: Vec::new(),
            };
            let text = serde_json::to_string(&serde_json::to_value(&appearance).unwrap()).unwrap();
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::from_value::<Appearance>(value).unwrap(), appearance);
        }
    }

    #[test]
    fn patterns_tile_and_use_both_colours() {
        for kind in [
            PatternKind::Checker,
            PatternKind::Stripes,
            PatternKind::Wood,
            PatternKind::Marble,
            PatternKind::Speckle,
        ] {
            let colors = [[0.0; 3], [1.0; 3]];
            let texture = Pattern { kind, colors, size_m: 0.1, seed: 3 }.texture();
            let samples: Vec<f32> = (0..400)
                .map(|i| texture.sample([(i % 20) as f32 / 20.0, (i / 20) as f32 / 20.0], 0.0)[0])
                .collect();
            let (low, high) = samples.iter().fold((1f32, 0f32), |(l, h), x| (l.min(*x), h.max(*x)));
            assert!(low < 0.3 && high > 0.7, "{kind:?}: {low} to {high}");
        }
    }
}
