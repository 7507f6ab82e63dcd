//! From poses to pixels: transform, cull, clip, fill, shade.
//!
//! View space is x right, y down, z forward, metres; pixel (0, 0) is the upper left one. A
//! [`Renderer`] holds scratch memory only: any renderer gives the same image.

use crate::mj::Data;

use super::fill::{GUARD, NOTHING, SUB, ScreenVertex, Visibility, area, clip};
use super::math::{Mat3, Vec3, add, mat_t_mat, mul, mul_t, sub, to_mat3, to_vec3};
use super::scene::{Look, Scene};
use super::shade::Shader;
use super::shadow::ShadowMap;

/// Where and how to look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    pub camera: usize,
    pub height: usize,
    pub width: usize,
    /// Samples per pixel along each axis: 1, or 2 for smooth edges.
    pub oversample: usize,
    /// Factor on the largest merged cell, in pixels; 0 draws the original meshes.
    pub detail: f32,
}

/// A mesh as placed in this frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed {
    pub item: usize,
    pub lod: usize,
    /// Rotation and position of the geom in view space.
    pub rotation: Mat3,
    pub position: Vec3,
    /// First of its vertices in `Renderer::vertices`.
    pub first: usize,
}

/// Scratch memory for drawing; one per thread suffices.
#[derive(Debug, Default)]
pub(crate) struct Renderer {
    placed: Vec<Placed>,
    /// View-space vertices of all placed meshes.
    vertices: Vec<Vec3>,
    screen: Vec<ScreenVertex>,
    /// By triangle number: index into `placed`, triangle of its level.
    triangles: Vec<(u32, u32)>,
    visible: Visibility,
    polygon: Vec<Vec3>,
    spare: Vec<Vec3>,
}

/// Pinhole geometry in samples.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pinhole {
    pub focal: f32,
    pub cx: f32,
    pub cy: f32,
}

impl Pinhole {
    /// The point at depth 1 seen through the centre of sample `(x, y)`.
    pub(crate) fn ray(&self, x: usize, y: usize) -> Vec3 {
        [(x as f32 + 0.5 - self.cx) / self.focal, (y as f32 + 0.5 - self.cy) / self.focal, 1.0]
    }

    fn project(&self, p: Vec3) -> (ScreenVertex, bool) {
        let inverse = 1.0 / p[2];
        let x = self.cx + self.focal * p[0] * inverse;
        let y = self.cy + self.focal * p[1] * inverse;
        let fits = x.abs() < GUARD && y.abs() < GUARD;
        let fixed = |v: f32| (v * SUB as f32).round() as i32;
        (ScreenVertex { x: fixed(x), y: fixed(y), near: inverse }, fits)
    }
}

/// Rotation from world to view space and the camera's position.
fn camera_pose(data: &Data, camera: usize) -> (Mat3, Vec3) {
    // MuJoCo's cameras look along -z with y up; flipping both axes keeps it a rotation.
    let m = to_mat3(&data.cam_xmat()[camera]);
    let mat = [m[0], -m[1], -m[2], m[3], -m[4], -m[5], m[6], -m[7], -m[8]];
    (mat, to_vec3(&data.cam_xpos()[camera]))
}

impl Renderer {
    /// Draws RGB into `out`, `[height, width, 3]`.
    pub(crate) fn rgb(
        &mut self,
        scene: &Scene,
        data: &Data,
        look: &Look,
        shadow: Option<&ShadowMap>,
        view: View,
        out: &mut [u8],
    ) {
        let pinhole = self.rasterise(scene, data, view);
        let (camera, origin) = camera_pose(data, view.camera);
        let shader = Shader::new(scene, data, look, shadow, camera, origin, pinhole);
        let over = view.oversample;
        let samples = over * over;
        let weight = 1.0 / samples as f32;
        for (y, row) in out.chunks_exact_mut(view.width * 3).enumerate() {
            for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
                let mut sum = [0.0; 3];
                let mut done: [u32; 4] = [NOTHING - 1; 4];
                for sample in 0..samples {
                    let (sx, sy) = (x * over + sample % over, y * over + sample / over);
                    let id = self.visible.id[sy * self.visible.width + sx];
                    done[sample] = id;
                    // Each triangle is shaded once per pixel and counts for all its samples.
                    if done[..sample].contains(&id) {
                        continue;
                    }
                    let ids = |s: usize| {
                        self.visible.id
                            [(y * over + s / over) * self.visible.width + x * over + s % over]
                    };
                    let count = (sample..samples).filter(|s| ids(*s) == id).count() as f32;
                    let ray = pinhole.ray(sx, sy);
                    let color = if id == NOTHING {
                        shader.sky(ray)
                    } else {
                        let (placed, triangle) = self.triangles[id as usize];
                        let placed = &self.placed[placed as usize];
                        let near = self.visible.near[sy * self.visible.width + sx];
                        shader.surface(placed, triangle as usize, &self.vertices, ray, near)
                    };
                    for (sum, c) in sum.iter_mut().zip(color) {
                        *sum += c.min(1.0) * count * weight;
                    }
                }
                for (byte, value) in pixel.iter_mut().zip(sum) {
                    *byte = (value * 255.0 + 0.5) as u8;
                }
            }
        }
    }

    /// Draws depth along the viewing axis in metres (infinite for sky) and the geom id per pixel
    /// (-1 for sky), both `[height, width]`. One sample per pixel, whatever `view` says.
    pub(crate) fn depth_and_segmentation(
        &mut self,
        scene: &Scene,
        data: &Data,
        view: View,
        depth: &mut [f32],
        geoms: &mut [i32],
    ) {
        self.rasterise(scene, data, View { oversample: 1, ..view });
        for (i, id) in self.visible.id.iter().enumerate() {
            if *id == NOTHING {
                (depth[i], geoms[i]) = (f32::INFINITY, -1);
            } else {
                let (placed, _) = self.triangles[*id as usize];
                depth[i] = 1.0 / self.visible.near[i];
                geoms[i] = scene.items[self.placed[placed as usize].item].geom as i32;
            }
        }
    }

    fn rasterise(&mut self, scene: &Scene, data: &Data, view: View) -> Pinhole {
        let (width, height) = (view.width * view.oversample, view.height * view.oversample);
        let focal = 0.5 * height as f32 / (0.5 * scene.fovy[view.camera]).tan();
        let pinhole = Pinhole { focal, cx: 0.5 * width as f32, cy: 0.5 * height as f32 };
        let pixel = view.oversample as f32 / focal;
        let (camera, origin) = camera_pose(data, view.camera);
        self.visible.clear(width, height, 0.0);
        self.placed.clear();
        self.vertices.clear();
        self.screen.clear();
        self.triangles.clear();
        // Outward-facing bounds of the view, for culling whole meshes.
        let slope = |c: f32| (c / focal, (1.0 + (c / focal).powi(2)).sqrt());
        let ((tx, nx), (ty, ny)) = (slope(pinhole.cx), slope(pinhole.cy));
        for (index, item) in scene.items.iter().enumerate() {
            let mesh = &scene.meshes[item.mesh];
            let rotation = mat_t_mat(&camera, &to_mat3(&data.geom_xmat()[item.geom]));
            let position = mul_t(&camera, sub(to_vec3(&data.geom_xpos()[item.geom]), origin));
            let center = add(mul(&rotation, mesh.center), position);
            let outside = center[2] + mesh.radius < scene.near
                || center[0].abs() > tx * center[2] + mesh.radius * nx
                || center[1].abs() > ty * center[2] + mesh.radius * ny;
            if outside {
                continue;
            }
            let depth = (center[2] - mesh.radius).max(scene.near);
            let footprint = depth * pixel * view.detail;
            let lod = mesh.lods.iter().rposition(|l| l.cell <= footprint).unwrap_or(0);
            self.place(scene, pinhole, index, lod, rotation, position);
        }
        pinhole
    }

    fn place(
        &mut self,
        scene: &Scene,
        pinhole: Pinhole,
        item: usize,
        lod: usize,
        rotation: Mat3,
        position: Vec3,
    ) {
        let mesh = &scene.meshes[scene.items[item].mesh].lods[lod];
        let first = self.vertices.len();
        let number = self.placed.len() as u32;
        self.placed.push(Placed { item, lod, rotation, position, first });
        let mut all_fit = true;
        for p in &mesh.positions {
            let p = add(mul(&rotation, *p), position);
            self.vertices.push(p);
            let (vertex, fits) = if p[2] >= scene.near {
                pinhole.project(p)
            } else {
                // Marked by a nearness that no visible vertex has.
                (ScreenVertex { x: 0, y: 0, near: -1.0 }, false)
            };
            all_fit &= fits;
            self.screen.push(if fits { vertex } else { ScreenVertex { near: -1.0, ..vertex } });
        }
        for (index, (corners, _)) in mesh.triangles.iter().enumerate() {
            let corners = corners.map(|v| first + v as usize);
            let screen = corners.map(|v| self.screen[v]);
            if !all_fit && screen.iter().any(|v| v.near < 0.0) {
                self.clipped(scene.near, pinhole, corners, (number, index as u32));
                continue;
            }
            if area(&screen) >= 0 || !self.visible.touches(&screen) {
                continue;
            }
            let id = self.triangles.len() as u32;
            self.triangles.push((number, index as u32));
            self.visible.triangle(&screen, id);
        }
    }

    /// Draws a triangle that crosses the near plane or leaves the guard band.
    fn clipped(&mut self, near: f32, pinhole: Pinhole, corners: [usize; 3], owner: (u32, u32)) {
        self.polygon.clear();
        self.polygon.extend(corners.map(|v| self.vertices[v]));
        // Half of the guard band, as a slope.
        let reach = 0.5 * GUARD / pinhole.focal;
        for plane in [
            [0.0, 0.0, 1.0, -near],
            [1.0, 0.0, reach, 0.0],
            [-1.0, 0.0, reach, 0.0],
            [0.0, 1.0, reach, 0.0],
            [0.0, -1.0, reach, 0.0],
        ] {
            clip(&mut self.polygon, &mut self.spare, plane);
        }
        if self.polygon.len() < 3 {
            return;
        }
        let id = self.triangles.len() as u32;
        self.triangles.push(owner);
        for i in 1..self.polygon.len() - 1 {
            let corners = [self.polygon[0], self.polygon[i], self.polygon[i + 1]];
            let screen = corners.map(|p| pinhole.project(p).0);
            if area(&screen) < 0 {
                self.visible.triangle(&screen, id);
            }
        }
    }
}
