//! From poses to pixels: transform, cull, clip, fill, shade.
//!
//! View space is x right, y down, z forward, metres; pixel (0, 0) is the upper left one. A
//! [`Renderer`] holds scratch memory only: any renderer gives the same image.

use crate::mj::Data;

use super::fill::{GUARD, NOTHING, ScreenVertex, Visibility, clip, snap};
use super::lanes::{Lanes, same};
use super::math::{
    Mat3, Vec3, add, dot, mat_mul, mat_t_mat, mul, mul_t, rotation_of, sub, to_mat3, to_vec3,
};
use super::mesh::Lod;
use super::scene::{CameraShift, Look, Scene};
use super::shade::{Lamp, Shader, Surface};
use super::shadow::ShadowMap;

/// Levels of detail never get finer for being closer than this, metres.
const CLOSEST_M: f32 = 0.06;
/// Samples whose normals differ by less than 15° share a shading.
const SAME_NORMAL_COS: f32 = 0.966;

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
    lamps: Vec<Lamp>,
}

/// Pinhole geometry in samples.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pinhole {
    pub focal: f32,
    /// `1 / focal`.
    pub inverse: f32,
    pub cx: f32,
    pub cy: f32,
}

/// A camera in the world.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Eye {
    /// Columns are view space's axes in the world.
    pub axes: Mat3,
    /// World, metres.
    pub origin: Vec3,
    pub pinhole: Pinhole,
}

impl Pinhole {
    /// The point at depth 1 seen through the centre of sample `(x, y)`.
    pub(crate) fn ray(&self, x: usize, y: usize) -> Vec3 {
        [(x as f32 + 0.5 - self.cx) * self.inverse, (y as f32 + 0.5 - self.cy) * self.inverse, 1.0]
    }

    /// Half the view's width and height at depth 1.
    fn slopes(&self) -> (f32, f32) {
        (self.cx / self.focal, self.cy / self.focal)
    }

    /// Position on the screen, and whether it lies inside the guard band.
    fn project(&self, p: Vec3) -> (ScreenVertex, bool) {
        let inverse = 1.0 / p[2];
        let x = self.cx + self.focal * p[0] * inverse;
        let y = self.cy + self.focal * p[1] * inverse;
        let fits = x.abs() < GUARD && y.abs() < GUARD;
        (ScreenVertex { x: snap(x), y: snap(y), near: inverse }, fits)
    }
}

fn write(pixel: &mut [u8], color: Vec3) {
    for (byte, value) in pixel.iter_mut().zip(color) {
        *byte = (value * 255.0 + 0.5) as u8;
    }
}

/// A pixel whose samples see several triangles.
const MIXED: u32 = NOTHING - 1;

/// Colours the pixels of one frame.
struct Painter<'a> {
    renderer: &'a Renderer,
    shader: &'a Shader<'a>,
    pinhole: Pinhole,
    oversample: usize,
}

impl<'a> Painter<'a> {
    /// The triangle that all samples of a pixel see, or [`MIXED`].
    #[inline(always)]
    fn whole(&self, x: usize, y: usize) -> u32 {
        let Visibility { id, width, .. } = &self.renderer.visible;
        if self.oversample == 1 {
            return id[y * width + x];
        }
        let corner = 2 * (y * width + x);
        let first = id[corner];
        let same = first == id[corner + 1]
            && first == id[corner + width]
            && first == id[corner + width + 1];
        if same { first } else { MIXED }
    }

    /// Looks up the triangle, unless it is the `last` one.
    fn surface<'b>(&self, id: u32, last: &'b mut Option<(u32, Surface<'a>)>) -> &'b Surface<'a> {
        if last.as_ref().is_none_or(|(known, _)| *known != id) {
            let (placed, triangle) = self.renderer.triangles[id as usize];
            let placed = &self.renderer.placed[placed as usize];
            *last = None;
            let vertices = &self.renderer.vertices;
            let surface = self.shader.surface(placed, triangle as usize, vertices);
            return &last.insert((id, surface)).1;
        }
        match last {
            Some((_, surface)) => surface,
            None => unreachable!("it was looked up just now"),
        }
    }

    /// Pixels of one triangle from `(x, y)` on, by the first sample of each.
    fn run(
        &self,
        id: u32,
        x: usize,
        y: usize,
        row: &mut [u8],
        last: &mut Option<(u32, Surface<'a>)>,
    ) {
        let (step, count) = (self.oversample, row.len() / 3);
        if id == NOTHING {
            for (i, pixel) in row.chunks_exact_mut(3).enumerate() {
                let ray = self.pinhole.ray((x + i) * step, y * step);
                write(pixel, self.shader.sky(ray));
            }
            return;
        }
        let surface = self.surface(id, last);
        let mut i = 0;
        while i + 8 <= count {
            self.pixels::<8>(surface, x + i, y, &mut row[3 * i..3 * i + 24]);
            i += 8;
        }
        while i + 4 <= count {
            self.pixels::<4>(surface, x + i, y, &mut row[3 * i..3 * i + 12]);
            i += 4;
        }
        while i < count {
            self.pixels::<1>(surface, x + i, y, &mut row[3 * i..3 * i + 3]);
            i += 1;
        }
    }

    /// `N` pixels of one triangle.
    fn pixels<const N: usize>(&self, surface: &Surface<'_>, x: usize, y: usize, out: &mut [u8]) {
        let step = self.oversample;
        let start = (y * self.renderer.visible.width + x) * step;
        let mut near = Lanes([0.0; N]);
        let samples = self.renderer.visible.near[start..].iter().step_by(step);
        near.0.iter_mut().zip(samples).for_each(|(near, sample)| *near = *sample);
        let mut rays = same(self.pinhole.ray(x * step, y * step));
        for (i, ray) in rays[0].0.iter_mut().enumerate() {
            *ray = self.pinhole.ray((x + i) * step, y * step)[0];
        }
        let colors = self.shader.colors(surface, &rays, near);
        let bytes = colors.map(|c| c.map(|c| (c * 255.0 + 0.5).min(255.0)));
        for (i, pixel) in out.chunks_exact_mut(3).enumerate() {
            for (byte, color) in pixel.iter_mut().zip(&bytes) {
                *byte = color.0[i] as u8;
            }
        }
    }

    /// A pixel whose four samples see several triangles.
    fn mixed(
        &self,
        scene: &Scene,
        look: &Look,
        x: usize,
        y: usize,
        last: &mut Option<(u32, Surface<'a>)>,
    ) -> Vec3 {
        let Visibility { id, near, width, .. } = &self.renderer.visible;
        let corner = 2 * (y * width + x);
        let cells = [corner, corner + 1, corner + width, corner + width + 1];
        let ids = cells.map(|cell| id[cell]);
        // Samples of one surface count for the first of them.
        let mut counts = [1.0; 4];
        for sample in 1..4 {
            let twin = (0..sample).find(|s| {
                counts[*s] > 0.0 && self.renderer.same_surface(scene, look, ids[*s], ids[sample])
            });
            if let Some(twin) = twin {
                counts[twin] += 1.0;
                counts[sample] = 0.0;
            }
        }
        let mut sum = [0.0; 3];
        for sample in (0..4).filter(|s| counts[*s] > 0.0) {
            let ray = self.pinhole.ray(2 * x + sample % 2, 2 * y + sample / 2);
            let part = if ids[sample] == NOTHING {
                self.shader.sky(ray)
            } else {
                let surface = self.surface(ids[sample], last);
                let near = Lanes([near[cells[sample]]]);
                self.shader.colors(surface, &same(ray), near).map(|c| c.0[0])
            };
            for (sum, c) in sum.iter_mut().zip(part) {
                *sum += 0.25 * counts[sample] * c.min(1.0);
            }
        }
        sum
    }
}

impl Eye {
    fn new(data: &Data, camera: usize, shift: &CameraShift, pinhole: Pinhole) -> Self {
        // MuJoCo's cameras look along -z with y up; flipping both axes keeps it a rotation.
        let m = to_mat3(&data.cam_xmat()[camera]);
        let axes = [m[0], -m[1], -m[2], m[3], -m[4], -m[5], m[6], -m[7], -m[8]];
        let origin = to_vec3(&data.cam_xpos()[camera]);
        if shift.position == [0.0; 3] && shift.rotation == [0.0; 3] {
            return Self { axes, origin, pinhole };
        }
        let origin = add(origin, mul(&axes, shift.position));
        Self { axes: mat_mul(&axes, &rotation_of(shift.rotation)), origin, pinhole }
    }
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
        let eye = self.rasterise(scene, data, look, view);
        let mut lamps = std::mem::take(&mut self.lamps);
        let shader = Shader::new(scene, data, look, shadow, &eye, &mut lamps);
        self.shade(scene, look, &shader, eye.pinhole, view, out);
        self.lamps = lamps;
    }

    fn shade(
        &self,
        scene: &Scene,
        look: &Look,
        shader: &Shader<'_>,
        pinhole: Pinhole,
        view: View,
        out: &mut [u8],
    ) {
        let painter = Painter { renderer: self, shader, pinhole, oversample: view.oversample };
        // The triangle that was looked up last: big ones cover many pixels in a row.
        let mut last: Option<(u32, Surface<'_>)> = None;
        for (y, row) in out.chunks_exact_mut(view.width * 3).enumerate() {
            let mut x = 0;
            while x < view.width {
                let id = painter.whole(x, y);
                let mut end = x + 1;
                if id == MIXED {
                    let color = painter.mixed(scene, look, x, y, &mut last);
                    write(&mut row[3 * x..3 * end], color);
                } else {
                    while end < view.width && painter.whole(end, y) == id {
                        end += 1;
                    }
                    painter.run(id, x, y, &mut row[3 * x..3 * end], &mut last);
                }
                x = end;
            }
        }
    }

    /// Whether two triangles belong to the same mesh and look the same way.
    fn same_surface(&self, scene: &Scene, look: &Look, a: u32, b: u32) -> bool {
        if a == b {
            return true;
        }
        if a == NOTHING || b == NOTHING {
            return false;
        }
        let ((pa, ta), (pb, tb)) = (self.triangles[a as usize], self.triangles[b as usize]);
        if pa != pb {
            return false;
        }
        let placed = &self.placed[pa as usize];
        let lod = &scene.made_of(look, placed.item).0.lods[placed.lod];
        let normal = |t: u32| lod.normals[lod.triangles[t as usize].1[0] as usize];
        dot(normal(ta), normal(tb)) > SAME_NORMAL_COS
    }

    /// Draws depth along the viewing axis in metres (infinite for sky) and the geom id per pixel
    /// (-1 for sky and for distractors), both `[height, width]`. One sample per pixel, whatever
    /// `view` says.
    pub(crate) fn depth_and_segmentation(
        &mut self,
        scene: &Scene,
        data: &Data,
        look: &Look,
        view: View,
        depth: &mut [f32],
        geoms: &mut [i32],
    ) {
        self.rasterise(scene, data, look, View { oversample: 1, ..view });
        for (i, id) in self.visible.id.iter().enumerate() {
            if *id == NOTHING {
                (depth[i], geoms[i]) = (f32::INFINITY, -1);
            } else {
                let (placed, _) = self.triangles[*id as usize];
                depth[i] = 1.0 / self.visible.near[i];
                let item = scene.items.get(self.placed[placed as usize].item);
                geoms[i] = item.map_or(-1, |item| item.geom as i32);
            }
        }
    }

    fn rasterise(&mut self, scene: &Scene, data: &Data, look: &Look, view: View) -> Eye {
        let (width, height) = (view.width * view.oversample, view.height * view.oversample);
        let shift = look.cameras.get(view.camera).copied().unwrap_or(CameraShift::NONE);
        let focal = 0.5 * height as f32 / (0.5 * scene.fovy[view.camera] * shift.fov).tan();
        let pinhole = Pinhole {
            focal,
            inverse: 1.0 / focal,
            cx: 0.5 * width as f32,
            cy: 0.5 * height as f32,
        };
        let pixel = view.oversample as f32 / focal;
        let eye = Eye::new(data, view.camera, &shift, pinhole);
        self.visible.clear(width, height, 0.0);
        self.placed.clear();
        self.vertices.clear();
        self.screen.clear();
        self.triangles.clear();
        // Outward-facing bounds of the view, for culling whole meshes.
        let (tx, ty) = pinhole.slopes();
        let (nx, ny) = (1f32.hypot(tx), 1f32.hypot(ty));
        for index in 0..scene.count(look) {
            let drawn = scene.drawn(data, look, index);
            let mesh = drawn.mesh;
            let rotation = mat_t_mat(&eye.axes, &drawn.rotation);
            let position = mul_t(&eye.axes, sub(drawn.position, eye.origin));
            let center = add(mul(&rotation, mesh.center), position);
            let outside = center[2] + mesh.radius < scene.near
                || center[0].abs() > tx * center[2] + mesh.radius * nx
                || center[1].abs() > ty * center[2] + mesh.radius * ny;
            if outside {
                continue;
            }
            // The near half of the mesh decides, but nothing is looked at with a magnifying glass.
            let depth = (center[2] - 0.5 * mesh.radius).max(CLOSEST_M);
            let lod = mesh.lod(depth * pixel * view.detail);
            self.place(
                scene,
                &mesh.lods[lod],
                pinhole,
                Placed { item: index, lod, rotation, position, first: 0 },
            );
        }
        eye
    }

    fn place(&mut self, scene: &Scene, mesh: &Lod, pinhole: Pinhole, placed: Placed) {
        let Placed { rotation, position, .. } = placed;
        let (tx, ty) = pinhole.slopes();
        let first = self.vertices.len();
        let number = self.placed.len() as u32;
        self.placed.push(Placed { first, ..placed });
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
            let [a, b, c] = corners.map(|v| &self.screen[v]);
            if !all_fit && (a.near < 0.0 || b.near < 0.0 || c.near < 0.0) {
                let points = corners.map(|v| self.vertices[v]);
                let outside = points.iter().all(|p| p[2] < scene.near)
                    || points.iter().all(|p| p[0] > tx * p[2])
                    || points.iter().all(|p| -p[0] > tx * p[2])
                    || points.iter().all(|p| p[1] > ty * p[2])
                    || points.iter().all(|p| -p[1] > ty * p[2]);
                if outside {
                    continue;
                }
                self.clipped(scene.near, pinhole, corners, (number, index as u32));
                continue;
            }
            let id = self.triangles.len() as u32;
            if self.visible.triangle(a, b, c, id) {
                self.triangles.push((number, index as u32));
            }
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
            let [a, b, c] = [0, i, i + 1].map(|i| pinhole.project(self.polygon[i]).0);
            self.visible.triangle(&a, &b, &c, id);
        }
    }
}
