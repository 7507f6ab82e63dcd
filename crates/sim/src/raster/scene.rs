//! What of an `mjModel` is drawn: meshes with levels of detail, materials, textures, lights, cameras.
//!
//! Built once per model and shared by all environments; what differs between environments (poses,
//! colours, light) comes from `mjData` and [`Look`] at render time. Only geom groups 0-2 are drawn,
//! MuJoCo's own default; groups 3-5 are collision shapes. Geoms with alpha 0 are skipped, other
//! alphas are drawn opaque. SDFs, flexes, skins and tendons are not drawn.

use std::collections::HashMap;
use std::sync::Arc;

use mujoco_rs::prelude::{MjModel, MjtGeomBase, MjtLightType, MjtTexture, MjtTextureRole};

use super::math::{Mat3, Vec3, to_mat3, to_vec3};
use super::mesh::Mesh;
use super::primitives;
use super::texture::{Skybox, Texture};
use crate::mj::Data;

/// Planes without a size reach this far, metres.
const ENDLESS: f32 = 200.0;
const DRAWN_GROUPS: i32 = 2;

/// The drawable part of a model.
#[derive(Debug)]
pub(crate) struct Scene {
    pub meshes: Vec<Mesh>,
    pub items: Vec<Item>,
    pub textures: Vec<Texture>,
    /// The model's own sky.
    pub skybox: Option<Skybox>,
    /// Vertical field of view by camera id, radians.
    pub fovy: Vec<f32>,
    pub lights: Vec<Light>,
    pub headlight: LightColor,
    /// Nearest visible depth, metres.
    pub near: f32,
    /// Centre and radius of what casts shadows, metres: the model's `statistic`.
    pub center: Vec3,
    pub extent: f32,
    /// Body that the shadow map follows, where things move away from `center`.
    pub follows: Option<usize>,
    /// Initial look of every environment.
    pub look: Look,
}

/// One drawn geom.
#[derive(Debug)]
pub(crate) struct Item {
    pub geom: usize,
    pub mesh: usize,
    pub material: Material,
    pub casts_shadow: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Material {
    pub emission: f32,
    pub specular: f32,
    /// Base-2 logarithm of the highlight's exponent, minus one.
    pub shininess: u32,
    /// Index into `textures`, and texture coordinates per metre of the geom's x and y.
    pub texture: Option<(usize, [f32; 2])>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct LightColor {
    pub ambient: Vec3,
    pub diffuse: Vec3,
    pub specular: Vec3,
}

#[derive(Debug, Clone)]
pub(crate) struct Light {
    pub id: usize,
    pub directional: bool,
    pub casts_shadow: bool,
    pub color: LightColor,
}

/// What may differ from episode to episode without touching the model.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    /// Colour by geom id.
    pub rgba: Vec<[f32; 4]>,
    /// Factor on the lights other than the headlight.
    pub light_gain: f32,
    /// Factor on the headlight.
    pub headlight_gain: f32,
    /// Added to every directional light's direction before normalising.
    pub light_tilt: Vec3,
    /// Factor on the colour of the lights other than the headlight.
    pub light_tint: Vec3,
    /// Textures that replace those of the model, by geom id.
    pub textures: Vec<Cover>,
    /// How far cameras stand off their places; by camera id, none where empty.
    pub cameras: Vec<CameraShift>,
    /// Things that are only seen: physics does not know them.
    pub distractors: Vec<Distractor>,
}

/// A texture laid over a geom, along the two axes that a face spans.
#[derive(Debug, Clone)]
pub(crate) struct Cover {
    pub geom: usize,
    pub texture: Arc<Texture>,
    /// Repetitions per metre.
    pub per_metre: f32,
}

/// A camera off its place, in its own frame (x right, y down, z forward).
#[derive(Debug, Clone, Copy)]
pub(crate) struct CameraShift {
    /// Metres.
    pub position: Vec3,
    /// Turn about x, then y, then z, radians.
    pub rotation: Vec3,
    /// Factor on the vertical field of view.
    pub fov: f32,
}

impl CameraShift {
    pub(crate) const NONE: Self = Self { position: [0.0; 3], rotation: [0.0; 3], fov: 1.0 };
}

/// A thing that stands in the world.
#[derive(Debug, Clone)]
pub(crate) struct Distractor {
    pub mesh: Arc<Mesh>,
    pub rotation: Mat3,
    pub position: Vec3,
    pub rgb: Vec3,
}

/// What a distractor is made of.
const PLAIN: Material = Material { emission: 0.0, specular: 0.15, shininess: 4, texture: None };

/// A thing to draw: a geom of the model, or a distractor.
#[derive(Clone, Copy)]
pub(crate) struct Drawn<'a> {
    pub mesh: &'a Mesh,
    pub casts_shadow: bool,
    pub rotation: Mat3,
    pub position: Vec3,
}

impl Scene {
    /// Number of things to draw.
    pub(crate) fn count(&self, look: &Look) -> usize {
        self.items.len() + look.distractors.len()
    }

    /// A thing to draw, where it is now.
    pub(crate) fn drawn<'a>(&'a self, data: &Data, look: &'a Look, index: usize) -> Drawn<'a> {
        match self.items.get(index) {
            Some(item) => Drawn {
                mesh: &self.meshes[item.mesh],
                casts_shadow: item.casts_shadow,
                rotation: to_mat3(&data.geom_xmat()[item.geom]),
                position: to_vec3(&data.geom_xpos()[item.geom]),
            },
            None => {
                let thing = &look.distractors[index - self.items.len()];
                Drawn {
                    mesh: &thing.mesh,
                    casts_shadow: true,
                    rotation: thing.rotation,
                    position: thing.position,
                }
            }
        }
    }

    /// Mesh and material of a thing to draw.
    pub(crate) fn made_of<'a>(&'a self, look: &'a Look, index: usize) -> (&'a Mesh, &'a Material) {
        match self.items.get(index) {
            Some(item) => (&self.meshes[item.mesh], &item.material),
            None => (&look.distractors[index - self.items.len()].mesh, &PLAIN),
        }
    }
}

impl Scene {
    pub(crate) fn new(model: &MjModel) -> Self {
        let mut meshes = Vec::new();
        let mut known: HashMap<ShapeKey, usize> = HashMap::new();
        let mut items = Vec::new();
        for geom in 0..model.ngeom() as usize {
            let rgba = geom_rgba(model, geom);
            if model.geom_group()[geom] > DRAWN_GROUPS || rgba[3] == 0.0 {
                continue;
            }
            if model.geom_type()[geom] == MjtGeomBase::mjGEOM_HFIELD {
                for chunk in height_field(model, geom) {
                    let (mesh, material) = (meshes.len(), material(model, geom));
                    items.push(Item { geom, mesh, material, casts_shadow: false });
                    meshes.push(chunk);
                }
                continue;
            }
            let Some(key) = shape_key(model, geom) else { continue };
            let next = meshes.len();
            let mesh = *known.entry(key).or_insert(next);
            if mesh == next {
                let Some(built) = build(model, geom) else { continue };
                meshes.push(built);
            }
            // What belongs to the world itself is ground, table or wall: it only receives shadows.
            let casts_shadow = model.geom_bodyid()[geom] != 0;
            items.push(Item { geom, mesh, material: material(model, geom), casts_shadow });
        }
        let lights = (0..model.nlight() as usize)
            .filter(|l| model.light_active()[*l])
            .map(|id| Light {
                id,
                directional: model.light_type()[id] == MjtLightType::mjLIGHT_DIRECTIONAL,
                casts_shadow: model.light_castshadow()[id],
                color: LightColor {
                    ambient: model.light_ambient()[id],
                    diffuse: model.light_diffuse()[id],
                    specular: model.light_specular()[id],
                },
            })
            .collect();
        let head = &model.vis().headlight;
        let on = head.active as f32;
        let dim = |color: Vec3| color.map(|c| c * on);
        Self {
            meshes,
            items,
            textures: (0..model.ntex() as usize).map(|id| texture(model, id)).collect(),
            skybox: skybox(model),
            fovy: model.cam_fovy().iter().map(|f| (*f as f32).to_radians()).collect(),
            lights,
            headlight: LightColor {
                ambient: dim(head.ambient),
                diffuse: dim(head.diffuse),
                specular: dim(head.specular),
            },
            near: (f64::from(model.vis().map.znear) * model.stat().extent) as f32,
            center: model.stat().center.map(|x| x as f32),
            extent: model.stat().extent as f32,
            follows: None,
            look: Look {
                rgba: (0..model.ngeom() as usize).map(|g| geom_rgba(model, g)).collect(),
                light_gain: 1.0,
                headlight_gain: 1.0,
                light_tilt: [0.0; 3],
                light_tint: [1.0; 3],
                textures: Vec::new(),
                cameras: Vec::new(),
                distractors: Vec::new(),
            },
        }
    }
}

/// A height field's surface, in chunks that can be culled one by one.
fn height_field(model: &MjModel, geom: usize) -> Vec<Mesh> {
    const CHUNK: usize = 64;
    let Ok(id) = usize::try_from(model.geom_dataid()[geom]) else { return Vec::new() };
    let (rows, columns) = (model.hfield_nrow()[id] as usize, model.hfield_ncol()[id] as usize);
    let [half_x, half_y, top, _] = model.hfield_size()[id].map(|x| x as f32);
    let first = model.hfield_adr()[id] as usize;
    let point = |row: usize, column: usize| {
        let along = |at: usize, samples: usize, half: f32| {
            half * (2.0 * at as f32 / (samples - 1) as f32 - 1.0)
        };
        let height = top * model.hfield_data()[first + row * columns + column];
        [along(column, columns, half_x), along(row, rows, half_y), height]
    };
    let mut chunks = Vec::new();
    for low in (0..rows - 1).step_by(CHUNK) {
        for left in (0..columns - 1).step_by(CHUNK) {
            let (high, right) = ((low + CHUNK).min(rows - 1), (left + CHUNK).min(columns - 1));
            let wide = (right - left + 1) as u32;
            let positions =
                (low..=high).flat_map(|r| (left..=right).map(move |c| (r, c))).collect::<Vec<_>>();
            let positions = positions.into_iter().map(|(r, c)| point(r, c)).collect();
            let cells =
                (0..(high - low) as u32).flat_map(|r| (0..wide - 1).map(move |c| r * wide + c));
            let faces = cells
                .flat_map(|i| [[i, i + 1, i + wide + 1], [i, i + wide + 1, i + wide]])
                .collect();
            chunks.push(Mesh::plain(positions, faces));
        }
    }
    chunks
}

/// Equal keys share a mesh: mesh id, or type and size in bits.
type ShapeKey = (u32, i32, [u64; 3]);

fn shape_key(model: &MjModel, geom: usize) -> Option<ShapeKey> {
    let kind = model.geom_type()[geom];
    let key = match kind {
        MjtGeomBase::mjGEOM_MESH => (kind as u32, model.geom_dataid()[geom], [0; 3]),
        MjtGeomBase::mjGEOM_PLANE
        | MjtGeomBase::mjGEOM_SPHERE
        | MjtGeomBase::mjGEOM_CAPSULE
        | MjtGeomBase::mjGEOM_ELLIPSOID
        | MjtGeomBase::mjGEOM_CYLINDER
        | MjtGeomBase::mjGEOM_BOX => (kind as u32, -1, model.geom_size()[geom].map(f64::to_bits)),
        _ => return None,
    };
    Some(key)
}

fn build(model: &MjModel, geom: usize) -> Option<Mesh> {
    let size = model.geom_size()[geom].map(|x| x as f32);
    let reach = |x: f32| if x > 0.0 { x } else { ENDLESS };
    Some(match model.geom_type()[geom] {
        MjtGeomBase::mjGEOM_PLANE => primitives::rectangle(reach(size[0]), reach(size[1])),
        MjtGeomBase::mjGEOM_SPHERE => primitives::ellipsoid([size[0]; 3]),
        MjtGeomBase::mjGEOM_CAPSULE => primitives::capsule(size[0], size[1]),
        MjtGeomBase::mjGEOM_ELLIPSOID => primitives::ellipsoid(size),
        MjtGeomBase::mjGEOM_CYLINDER => primitives::cylinder(size[0], size[1]),
        MjtGeomBase::mjGEOM_BOX => primitives::cuboid(size),
        MjtGeomBase::mjGEOM_MESH => {
            let id = usize::try_from(model.geom_dataid()[geom]).ok()?;
            let range = |start: i32, len: i32| start as usize..(start + len) as usize;
            let vertices = range(model.mesh_vertadr()[id], model.mesh_vertnum()[id]);
            let faces = range(model.mesh_faceadr()[id], model.mesh_facenum()[id]);
            let faces: Vec<_> =
                model.mesh_face()[faces].iter().map(|f| f.map(|v| v as u32)).collect();
            Mesh::new(&model.mesh_vert()[vertices], &faces)
        }
        _ => return None,
    })
}

fn geom_rgba(model: &MjModel, geom: usize) -> [f32; 4] {
    // MuJoCo's rule: a geom's own colour wins where it differs from the default grey.
    let own = model.geom_rgba()[geom];
    match usize::try_from(model.geom_matid()[geom]) {
        Ok(material) if own == [0.5, 0.5, 0.5, 1.0] => model.mat_rgba()[material],
        _ => own,
    }
}

fn material(model: &MjModel, geom: usize) -> Material {
    let Ok(id) = usize::try_from(model.geom_matid()[geom]) else {
        return Material { emission: 0.0, specular: 0.3, shininess: 4, texture: None };
    };
    let texture = usize::try_from(model.mat_texid()[id][MjtTextureRole::mjTEXROLE_RGB as usize])
        .ok()
        .filter(|t| model.tex_type()[*t] == MjtTexture::mjTEXTURE_2D)
        .map(|texture| {
            let repeat = model.mat_texrepeat()[id];
            let size = model.geom_size()[geom];
            let per_metre = |axis: usize| {
                let extent = if model.mat_texuniform()[id] || size[axis] <= 0.0 {
                    1.0
                } else {
                    2.0 * size[axis] as f32
                };
                repeat[axis] / extent
            };
            (texture, [per_metre(0), per_metre(1)])
        });
    Material {
        emission: model.mat_emission()[id],
        specular: model.mat_specular()[id],
        // Rounded to a power of two, so that squaring does.
        shininess: (model.mat_shininess()[id] * 128.0).clamp(2.0, 128.0).log2().round() as u32 - 1,
        texture,
    }
}

fn skybox(model: &MjModel) -> Option<Skybox> {
    let kinds = model.tex_type();
    let id = kinds.iter().position(|kind| *kind == MjtTexture::mjTEXTURE_SKYBOX)?;
    let (width, _, channels, data) = texels(model, id);
    Skybox::new(width, channels, data?)
}

/// Width, height, channels and bytes of a texture, where it has some.
fn texels(model: &MjModel, id: usize) -> (usize, usize, usize, Option<&[u8]>) {
    let (width, height) = (model.tex_width()[id] as usize, model.tex_height()[id] as usize);
    let channels = model.tex_nchannel()[id] as usize;
    let data = usize::try_from(model.tex_adr()[id])
        .ok()
        .and_then(|start| model.tex_data().get(start..start + width * height * channels));
    (width, height, channels, data)
}

fn texture(model: &MjModel, id: usize) -> Texture {
    let (width, height, channels, data) = texels(model, id);
    match data {
        Some(data) => Texture::new(width, height, channels, data),
        // A texture kept by reference in a file: drawn white.
        None => Texture::new(1, 1, 3, &[255; 3]),
    }
}
