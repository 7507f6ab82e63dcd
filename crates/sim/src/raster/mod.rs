//! A CPU rasteriser for MuJoCo models: camera images without a GPU, a display or system packages.
//!
//! Per frame: transform the meshes (level of detail by pixel footprint), fill a visibility buffer
//! (`fill`), then shade each visible triangle once per pixel (`shade`): interpolated normals, MuJoCo's
//! headlight and lights, textures, one shadow map. Four samples per pixel smooth the edges. Images
//! are a pure function of model, poses and look: one frame is always drawn by one thread, so no
//! thread count changes a byte.

mod fill;
mod lanes;
mod math;
mod mesh;
mod primitives;
mod render;
mod scene;
mod shade;
mod shadow;
mod texture;

pub(crate) use math::rotation_of;
pub(crate) use primitives::{cuboid, cylinder, ellipsoid};
pub(crate) use render::{Renderer, View};
pub(crate) use scene::{CameraShift, Cover, Distractor, Look, Scene};
pub(crate) use shadow::{COARSE, FINE, ShadowMap};
pub(crate) use texture::Texture;

#[cfg(test)]
mod tests;
