//! MuJoCo's own OpenGL renderer, off screen through EGL: for fidelity, and to compare ours with.
//!
//! Needs the system's libEGL and an OpenGL driver (on Debian: libegl1 and libgl1-mesa-dri, which draw
//! on the CPU where there is no GPU). A context belongs to the thread that made it. What is drawn has
//! the model's own look: colours and light that a task varies are our rasteriser's.

use mujoco_rs::prelude::{MjModel, MjvCamera};
use mujoco_rs::renderer::{MjRenderer, RendererError};

use crate::batch::RgbImage;
use crate::mj::Data;
use crate::{SimEnv, SimError};

/// Effort of the drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EglQuality {
    /// Side of the shadow map in texels; 0 draws no shadows.
    pub shadow_size: i32,
    /// Samples per pixel; 0 for one.
    pub samples: i32,
}

impl Default for EglQuality {
    /// MuJoCo's defaults.
    fn default() -> Self {
        Self { shadow_size: 4096, samples: 4 }
    }
}

/// A renderer for the environments of one batch.
pub struct EglRenderer {
    renderer: MjRenderer,
    height: usize,
    width: usize,
}

impl EglRenderer {
    /// A renderer of pictures `(height, width)` for environments such as those of `env`.
    ///
    /// # Errors
    /// When there is no EGL or no driver, or the size is out of range (8 to 4096 pixels).
    pub fn new(
        env: &SimEnv,
        (height, width): (usize, usize),
        quality: EglQuality,
    ) -> embody_core::Result<Self> {
        for (option, size) in [("image height", height), ("image width", width)] {
            if !(8..=4096).contains(&size) {
                let value = size.to_string();
                return Err(SimError::BadOption { option, value, range: "8 to 4096 pixels" }.into());
            }
        }
        let mut model = MjModel::clone(env.loaded().task.model());
        let visual = model.vis_mut();
        visual.quality.shadowsize = quality.shadow_size;
        visual.quality.offsamples = quality.samples;
        visual.global.offheight = height as i32;
        visual.global.offwidth = width as i32;
        let renderer = MjRenderer::new(&model, width, height, 0)
            .map_err(|e| SimError::Egl { why: why(&e) })?;
        Ok(Self { renderer, height, width })
    }

    /// Draws environment `env` of `batch` as it is now.
    ///
    /// # Errors
    /// When there is no such camera or environment, or the driver fails.
    pub fn draw(
        &mut self,
        batch: &mut SimEnv,
        env: usize,
        camera: &str,
    ) -> embody_core::Result<RgbImage> {
        let id = batch.camera_id(env, camera)?;
        self.renderer.set_camera(MjvCamera::new_fixed(id));
        let data: &mut Data = batch.data_mut(env);
        let drawn = self.renderer.sync_data(data).and_then(|()| self.renderer.render());
        drawn.map_err(|e| SimError::Egl { why: why(&e) })?;
        let data = self.renderer.rgb_flat().unwrap_or_default().to_vec();
        Ok(RgbImage { height: self.height, width: self.width, data })
    }
}

fn why(error: &RendererError) -> String {
    error.to_string()
}
