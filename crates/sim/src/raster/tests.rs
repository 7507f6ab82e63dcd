//! The rasteriser against MuJoCo's own ray casting, without any graphics library.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mujoco_rs::prelude::MjtObjBase;

use super::math::{add, mul, normalize, scale, to_mat3, to_vec3};
use super::{Renderer, Scene, View};
use crate::mj::Data;
use crate::tasks::Definition;

fn pick_lift() -> &'static dyn Definition {
    crate::registry::find("so101-pick-lift").expect("the task")
}

/// The robot models, or `None` (with a line) where they have not been set up.
fn assets() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.embody/assets");
    if !path.exists() {
        #[allow(clippy::print_stderr)]
        {
            eprintln!("skipped: no robot models, run `cargo xtask setup`");
        }
        return None;
    }
    Some(path)
}

/// Share of pixels where geom and depth agree with `mj_ray`, and where the geom alone does.
fn agreement(
    data: &mut Data,
    scene: &Scene,
    camera: usize,
    detail: f32,
    within_m: f32,
) -> [f64; 2] {
    let (height, width) = (96, 128);
    let view = View { camera, height, width, oversample: 1, detail };
    let (mut depth, mut geoms) = (vec![0.0; height * width], vec![0; height * width]);
    Renderer::default().depth_and_segmentation(
        scene,
        data,
        &scene.look,
        view,
        &mut depth,
        &mut geoms,
    );
    let rotation = to_mat3(&data.cam_xmat()[camera]);
    let origin = data.cam_xpos()[camera];
    let focal = 0.5 * height as f32 / (0.5 * scene.fovy[camera]).tan();
    let (mut same, mut near) = (0, 0);
    for (i, (depth, geom)) in depth.iter().zip(&geoms).enumerate() {
        let x = ((i % width) as f32 + 0.5 - 0.5 * width as f32) / focal;
        let y = ((i / width) as f32 + 0.5 - 0.5 * height as f32) / focal;
        let ray = mul(&rotation, [x, -y, -1.0]).map(f64::from);
        let (hit, distance) = data.ray(&origin, &ray, Some(&[1, 1, 1, 0, 0, 0]), true, None, None);
        let expected = hit.map_or(-1, |g| g as i32);
        same += usize::from(expected == *geom);
        // Inverse depths of 32 bits: far away, precision is relative.
        let close = expected == -1 || (distance as f32 - depth).abs() < within_m.max(2e-3 * depth);
        near += usize::from(expected == *geom && close);
    }
    [near, same].map(|n| n as f64 / (height * width) as f64)
}

#[test]
fn geometry_agrees_with_mujocos_rays() {
    let Some(assets) = assets() else { return };
    let task = pick_lift().load(&assets).expect("the task loads");
    let scene = Scene::new(task.model());
    let mut data = Data::try_new(Arc::clone(task.model())).expect("data");
    for pose in [[0.0, -0.9, 0.8, 1.2, 1.6, 0.3], [0.4, 0.1, 0.3, 1.0, 1.2, 0.8]] {
        data.qpos_mut()[..6].copy_from_slice(&pose);
        data.forward();
        for camera in task.cameras() {
            let [exact, _] = agreement(&mut data, &scene, camera.id, 0.0, 5e-4);
            assert!(exact > 0.995, "{}: original meshes agree on {exact:.4}", camera.name);
            let [near, same] = agreement(&mut data, &scene, camera.id, 1.5, 6e-3);
            assert!(near > 0.98, "{}: coarse meshes agree on {near:.4}", camera.name);
            assert!(same > 0.98, "{}: coarse meshes show the geom on {same:.4}", camera.name);
        }
    }
}

/// Every primitive, crossing the near plane, in front of and behind each other.
#[test]
fn primitives_agree_with_mujocos_rays() {
    let xml = r#"<mujoco><statistic extent="1"/><visual><map znear="0.05"/></visual><worldbody>
        <geom type="plane" size="0 0 0.1"/>
        <geom type="sphere" size="0.2" pos="0 0 0.3"/>
        <geom type="capsule" size="0.08 0.2" pos="0.5 0.1 0.3" euler="40 10 0"/>
        <geom type="cylinder" size="0.15 0.2" pos="-0.5 0.2 0.3" euler="30 60 0"/>
        <geom type="ellipsoid" size="0.1 0.2 0.3" pos="0 0.7 0.4" euler="0 20 70"/>
        <geom type="box" size="0.1 0.2 0.15" pos="0.1 -0.5 0.2" euler="10 20 30"/>
        <geom type="box" size="0.02 1.5 0.02" pos="0.4 -1 0.48"/>
        <camera name="c" pos="0.1 -1.6 0.7" xyaxes="1 0 0 0 0.35 0.94" fovy="60"/>
      </worldbody></mujoco>"#;
    let model = Arc::new(mujoco_rs::prelude::MjModel::from_xml_string(xml).expect("model"));
    let scene = Scene::new(&model);
    let mut data = Data::try_new(Arc::clone(&model)).expect("data");
    data.forward();
    let camera = model.name_to_id(MjtObjBase::mjOBJ_CAMERA, "c").expect("camera");
    let [near, same] = agreement(&mut data, &scene, camera, 1.0, 5e-3);
    assert!(near > 0.98 && same > 0.98, "agree on {near:.4}, same geom on {same:.4}");
}

/// A policy must be able to tell the cube's place from the first picture.
#[test]
fn the_cube_is_in_plain_view_at_the_start() {
    let Some(assets) = assets() else { return };
    let options =
        crate::EnvOptions { num_envs: 40, camera_size: None, ..crate::EnvOptions::new(&assets) };
    let mut env = crate::make_sim("so101-pick-lift", options).expect("environments");
    let seeds: Vec<_> = (0..40).map(Some).collect();
    embody_core::VecEnv::reset(&mut env, &seeds).expect("reset");
    let task = pick_lift().load(&assets).expect("the task loads");
    let cube = task.model().name_to_id(MjtObjBase::mjOBJ_GEOM, "cube").expect("cube") as i32;
    for seed in 0..40 {
        let image = env.render_depth(seed, "front", (96, 96)).expect("picture");
        let pixels = image.geom.iter().filter(|g| **g == cube).count();
        assert!(pixels >= 60, "seed {seed}: the cube covers {pixels} pixels");
    }
}

/// A lit sphere is brighter towards the light, and its shadow darkens the ground on the other side.
#[test]
fn light_and_shadow_fall_where_they_should() {
    let xml = r#"<mujoco><statistic center="0 0 0" extent="1"/><worldbody>
        <light type="directional" dir="1 0 -1" diffuse="0.7 0.7 0.7" castshadow="true"/>
        <geom type="plane" size="2 2 0.1" rgba="0.8 0.8 0.8 1"/>
        <body pos="0 0 0.3"><geom type="sphere" size="0.2" rgba="0.8 0.2 0.2 1"/></body>
        <camera name="c" pos="0 0 3" fovy="40"/>
      </worldbody></mujoco>"#;
    let model = Arc::new(mujoco_rs::prelude::MjModel::from_xml_string(xml).expect("model"));
    let scene = Scene::new(&model);
    let mut data = Data::try_new(Arc::clone(&model)).expect("data");
    data.forward();
    let mut shadow = super::ShadowMap::default();
    shadow.update(&scene, &data, &scene.look, super::COARSE);
    let view = View { camera: 0, height: 100, width: 100, oversample: 2, detail: 1.0 };
    let mut image = vec![0; 100 * 100 * 3];
    let mut draw = |shadow| {
        Renderer::default().rgb(&scene, &data, &scene.look, shadow, view, &mut image);
        // Red channel where a world point on the ground appears (image right is +x).
        let at = |x: f32| image[3 * (50 * 100 + (50.0 + x * 100.0 / 2.18) as usize)];
        // Left of the sphere, its shadow, far right; and the sphere's two sides.
        [at(-0.6), at(0.35), at(0.9), at(-0.12), at(0.12)]
    };
    let [left, shaded, right, bright, dim] = draw(Some(&shadow));
    assert!(shaded < left - 40 && shaded < right - 40, "{left} {shaded} {right}");
    assert!(bright > dim, "{bright} {dim}");
    let [left, unshaded, ..] = draw(None);
    assert!(left.abs_diff(unshaded) < 12, "without a map nothing is in shadow");
}

#[test]
fn vectors_keep_their_length_when_rotated() {
    let m = to_mat3(&[0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    let v = normalize(add(to_vec3(&[1.0, 2.0, 3.0]), scale([1.0, 0.0, 0.0], 2.0)));
    let rotated = mul(&m, v);
    assert!((super::math::length(rotated) - 1.0).abs() < 1e-6);
}
