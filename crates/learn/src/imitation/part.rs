//! One robot's network as a part of the network for several robots.
//!
//! Their states and actions have different dimensions, and some lack a camera. In the network for all,
//! each dimension has a row of the map that reads it and a column of the map that says it; a robot that
//! lacks the dimension has zero there, which adds nothing. So its own network is the whole one without
//! those rows and columns: exactly what it would compute with padding, masked everywhere.

use super::diffusion::DiffusionConfig;
use super::{Net, PolicyConfig, Shape};
use crate::error::{Error, check};
use crate::nn::ParamSpec;

/// Where what a robot has stands among what all have together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Places {
    /// Dimensions of the vector that describes the robot.
    pub vector: Vec<usize>,
    /// Of its surroundings.
    pub env: Vec<usize>,
    pub action: Vec<usize>,
    pub cameras: Vec<usize>,
}

/// What a parameter of a robot's network is in the whole one; `None` for all rows or columns.
struct Origin {
    name: String,
    rows: Option<Vec<usize>>,
    cols: Option<Vec<usize>>,
}

/// For each weight of the robot's network `own`, its place among those of `whole`.
pub(crate) fn spots(
    config: &PolicyConfig,
    (whole, all): (&Net, Shape),
    (own, has): (&Net, Shape),
    at: &Places,
) -> Result<Vec<u32>, Error> {
    let mut spots = Vec::with_capacity(own.table().len());
    for spec in &own.table().specs {
        let origin = match config {
            PolicyConfig::ActSmall(c) | PolicyConfig::Act(c) => {
                of_tokens(spec, (&all, &has), at, 1, c.stem_sizes().keypoints > 0)
            }
            PolicyConfig::Flow(c) => {
                of_tokens(spec, (&all, &has), at, 0, c.stem_sizes().keypoints > 0)
            }
            PolicyConfig::DiffusionSmall(c) | PolicyConfig::Diffusion(c) => {
                of_diffusion(spec, c, &all, at)
            }
            PolicyConfig::VqBetSmall(_)
            | PolicyConfig::VqBet(_)
            | PolicyConfig::SmolVla(_)
            | PolicyConfig::Pi0(_) => Origin { name: String::new(), rows: None, cols: None },
        };
        let from = whole.table().specs.iter().find(|s| s.name == origin.name);
        let before = spots.len();
        if let Some(from) = from {
            let rows = origin.rows.unwrap_or_else(|| (0..from.rows).collect());
            let cols = origin.cols.unwrap_or_else(|| (0..from.cols.max(1)).collect());
            let row = |row: usize| from.offset + row * from.cols.max(1);
            spots.extend(rows.iter().flat_map(|r| cols.iter().map(move |c| (row(*r) + c) as u32)));
        }
        let fits = spots.len() - before == spec.len();
        let rule = "no part of the network for all robots is this robot's tensor of that name";
        check("embodiments", &spec.name, fits, rule)?;
    }
    Ok(spots)
}

/// Indices `base + place` for each of `places`.
fn shifted(base: usize, places: &[usize]) -> impl Iterator<Item = usize> {
    places.iter().map(move |place| base + place)
}

/// Of ACT and flow matching, whose observations are tokens behind `own` ones of the policy's.
fn of_tokens(
    spec: &ParamSpec,
    (all, has): (&Shape, &Shape),
    at: &Places,
    own: usize,
    keypoints: bool,
) -> Origin {
    let name = spec.name.as_str();
    // The actions of several steps side by side.
    let steps = |width: usize| -> Vec<usize> {
        (0..width / at.action.len()).flat_map(|s| shifted(s * all.action_dim, &at.action)).collect()
    };
    let (rows, cols) = match name.strip_prefix("model.").unwrap_or(name) {
        "encoder_robot_state_input_proj.weight" | "vae_encoder_robot_state_input_proj.weight" => {
            (Some(at.vector.clone()), None)
        }
        "encoder_env_state_input_proj.weight" => (Some(at.env.clone()), None),
        "vae_encoder_action_input_proj.weight" | "action_in_proj.weight" => {
            (Some(at.action.clone()), None)
        }
        "action_head.weight" | "action_out_proj.weight" => (None, Some(at.action.clone())),
        "action_head.bias" | "action_out_proj.bias" => (Some(at.action.clone()), None),
        "linear_path.weight" => (Some(at.vector.clone()), Some(steps(spec.cols))),
        "linear_path.bias" => (Some(steps(spec.rows)), None),
        // A table of sines: the first ones.
        "vae_encoder_pos_enc" => (Some((0..spec.rows).collect()), None),
        "encoder_1d_feature_pos_embed.weight" => {
            let state = own;
            let env = state + usize::from(all.state_dim.is_some());
            let first_camera = env + usize::from(all.env_dim.is_some());
            let mut rows: Vec<usize> = (0..own).collect();
            rows.extend(has.state_dim.map(|_| state));
            rows.extend(has.env_dim.map(|_| env));
            if keypoints {
                rows.extend(shifted(first_camera, &at.cameras));
            }
            (Some(rows), None)
        }
        _ => (None, None),
    };
    Origin { name: name.to_owned(), rows, cols }
}

/// Of Diffusion Policy: the observation's features side by side condition every block of its U-Net.
fn of_diffusion(spec: &ParamSpec, cfg: &DiffusionConfig, all: &Shape, at: &Places) -> Origin {
    let name = spec.name.as_str();
    let same = |rows, cols| Origin { name: name.to_owned(), rows, cols };
    if name.ends_with(".cond_encoder.1.weight") {
        return same(Some(condition(cfg, all, at)), None);
    }
    match name.strip_prefix("diffusion.").unwrap_or(name) {
        "unet.down_modules.0.0.conv1.block.0.weight" => {
            let taps = 0..cfg.kernel_size;
            let rows = taps.flat_map(|tap| shifted(tap * all.action_dim, &at.action)).collect();
            same(Some(rows), None)
        }
        "unet.down_modules.0.0.residual_conv.weight" => same(Some(at.action.clone()), None),
        "unet.final_conv.1.weight" => same(None, Some(at.action.clone())),
        "unet.final_conv.1.bias" => same(Some(at.action.clone()), None),
        _ => {
            // LeRobot numbers the encoders of several cameras.
            let numbered = cfg.stem.is_empty() && cfg.use_separate_rgb_encoder_per_camera;
            let camera = name.strip_prefix("diffusion.rgb_encoder.").filter(|_| numbered);
            let camera = camera.and_then(|rest| rest.split_once('.'));
            let place = camera.and_then(|(number, rest)| {
                Some((*at.cameras.get(number.parse::<usize>().ok()?)?, rest))
            });
            let Some((camera, rest)) = place else { return same(None, None) };
            let name = format!("diffusion.rgb_encoder.{camera}.{rest}");
            Origin { name, rows: None, cols: None }
        }
    }
}

/// Rows of the noise level's features and of the observation's: step by step the robot's vector, each
/// camera's features, the surroundings.
fn condition(cfg: &DiffusionConfig, all: &Shape, at: &Places) -> Vec<usize> {
    let features = match cfg.stem.is_empty() {
        true => 2 * cfg.spatial_softmax_num_keypoints,
        false => cfg.stem_sizes().dim,
    };
    let vector = all.state_dim.unwrap_or(0);
    let env = vector + all.cameras.len() * features;
    let width = env + all.env_dim.unwrap_or(0);
    let mut rows: Vec<usize> = (0..cfg.diffusion_step_embed_dim).collect();
    for step in 0..cfg.n_obs_steps {
        let base = cfg.diffusion_step_embed_dim + step * width;
        rows.extend(shifted(base, &at.vector));
        for camera in &at.cameras {
            let first = base + vector + camera * features;
            rows.extend(first..first + features);
        }
        rows.extend(shifted(base + env, &at.env));
    }
    rows
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Tensor, TensorData};

    use super::*;
    use crate::imitation::act::ActConfig;
    use crate::imitation::flow::FlowConfig;
    use crate::imitation::flow::FlowMatching;
    use crate::imitation::{Inputs, Instruction, Pass};
    use crate::nn::Weights;
    use crate::noise::{normals, stream};

    const STEPS: usize = 4;

    fn shape(state_dim: usize, env_dim: usize, action_dim: usize, cameras: &[&str]) -> Shape {
        let camera = |name: &&str| ((*name).to_owned(), 16, 16);
        Shape {
            cameras: cameras.iter().map(camera).collect(),
            state_dim: Some(state_dim),
            env_dim: Some(env_dim),
            action_dim,
        }
    }

    fn numbers(label: &str, n: usize) -> Vec<f32> {
        let mut values = vec![0.0; n];
        normals(&mut stream(3, label, 0), &mut values);
        values
    }

    /// `values`, rows of as many as there are places, where they stand in rows of `width`.
    fn spread(values: &[f32], places: &[usize], width: usize) -> Vec<f32> {
        let mut out = vec![0.0; values.len() / places.len() * width];
        for (wide, row) in out.chunks_exact_mut(width).zip(values.chunks_exact(places.len())) {
            places.iter().zip(row).for_each(|(place, v)| wide[*place] = *v);
        }
        out
    }

    /// Whether a robot's own network says what the whole one says of it where all else is zero.
    fn agrees(config: &PolicyConfig, cameras: [&[&str]; 2]) {
        let at = Places {
            vector: vec![0, 3],
            env: vec![1],
            action: vec![3, 0, 2],
            cameras: cameras[1]
                .iter()
                .map(|name| cameras[0].iter().position(|c| c == name).unwrap())
                .collect(),
        };
        let (all, has) = (shape(4, 2, 4, cameras[0]), shape(2, 1, 3, cameras[1]));
        let (whole, own) = (Net::new(config, &all).unwrap(), Net::new(config, &has).unwrap());
        let spots = spots(config, (&whole, all), (&own, has), &at).unwrap();
        let values = numbers("weights", whole.table().len());
        let values: Vec<f32> = values.iter().map(|v| 0.2 * v).collect();
        let part: Vec<f32> = spots.iter().map(|spot| values[*spot as usize]).collect();

        let device = crate::Backend::default().device(1);
        let observed = config.steps().observed;
        let tensor = |values: Vec<f32>| {
            let data = TensorData::new(values.clone(), [1, values.len()]);
            Tensor::<2>::from_data(data, &device)
        };
        let picture = |name: &&str| {
            let shape = [observed, 16, 16, 3];
            let data = TensorData::new(numbers(name, observed * 16 * 16 * 3), shape);
            Tensor::<4>::from_data(data, &device)
        };
        let (state, env) = (numbers("state", 2 * observed), numbers("env", observed));
        let said = |net: &Net, weights: &[f32], wide: bool, cameras: &[&str]| {
            let (state, env) = match wide {
                true => (spread(&state, &at.vector, 4), spread(&env, &at.env, 2)),
                false => (state.clone(), env.clone()),
            };
            let images = cameras.iter().map(picture).collect();
            let (state, env) = (Some(tensor(state)), Some(tensor(env)));
            let inputs = Inputs { images, state, env, instruction: Instruction::default() };
            let weights = Weights::new(net.table(), weights, &device);
            let pass = Pass { w: &weights, dropout: None, device: &device };
            let start = numbers("noise", 3 * STEPS);
            let draw = |out: &mut [f32]| match wide {
                true => out.copy_from_slice(&spread(&start, &at.action, 4)),
                false => out.copy_from_slice(&start),
            };
            match net {
                Net::Act(net) => {
                    let said = net.forward(pass, &inputs, None).into_data();
                    said.as_slice::<f32>().unwrap().to_vec()
                }
                Net::Diffusion(net) => net.predict(pass, &inputs, draw),
                Net::Flow(net) => net.predict(pass, &inputs, draw),
                Net::VqBet(_) | Net::SmolVla(_) | Net::Pi0(_) => unreachable!("of one robot"),
            }
        };
        let ours = said(&own, &part, false, cameras[1]);
        let theirs = said(&whole, &values, true, cameras[0]);
        assert!(ours.iter().any(|v| v.abs() > 1e-2), "{ours:?}");
        for (ours, theirs) in ours.chunks_exact(3).zip(theirs.chunks_exact(4)) {
            for (place, v) in at.action.iter().zip(ours) {
                assert!((v - theirs[*place]).abs() < 1e-4 * (1.0 + v.abs()), "{ours:?} {theirs:?}");
            }
        }
    }

    fn config<T: serde::de::DeserializeOwned>(json: serde_json::Value) -> T {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_robots_part_says_what_the_whole_says_with_zeros_for_what_it_lacks() {
        let chunk = serde_json::json!({"chunk_size": STEPS, "n_action_steps": 2, "dim_model": 32,
            "n_heads": 2, "dim_feedforward": 32});
        let mut act: ActConfig = config(chunk.clone());
        act.linear_path = true;
        agrees(&PolicyConfig::ActSmall(act), [&["front", "wrist"]; 2]);
        let mut flow: FlowConfig = config(chunk);
        flow.num_inference_steps = 1;
        agrees(&PolicyConfig::Flow(flow), [&["front", "wrist"]; 2]);
        let diffusion: DiffusionConfig = config(serde_json::json!({"horizon": STEPS,
            "n_action_steps": 2, "n_obs_steps": 2, "down_dims": [16, 32], "num_inference_steps": 1,
            "diffusion_step_embed_dim": 8, "keypoints": 4}));
        agrees(&PolicyConfig::DiffusionSmall(diffusion), [&["front", "wrist"]; 2]);
    }

    #[test]
    fn a_robot_without_a_camera_has_no_part_of_its_network() {
        let diffusion: DiffusionConfig = config(serde_json::json!({"horizon": STEPS,
            "n_action_steps": 2, "down_dims": [16, 32], "diffusion_step_embed_dim": 8,
            "keypoints": 4}));
        let act: ActConfig = config(serde_json::json!({"chunk_size": STEPS, "n_action_steps": 2}));
        for config in [PolicyConfig::DiffusionSmall(diffusion), PolicyConfig::ActSmall(act)] {
            let (all, has) = (shape(2, 1, 3, &["front", "wrist"]), shape(2, 1, 3, &["wrist"]));
            let (whole, own) = (Net::new(&config, &all).unwrap(), Net::new(&config, &has).unwrap());
            let at = Places {
                vector: vec![0, 1],
                env: vec![0],
                action: vec![0, 1, 2],
                cameras: vec![1],
            };
            let spots = spots(&config, (&whole, all), (&own, has), &at).unwrap();
            let mut names: Vec<&str> = spots
                .iter()
                .filter_map(|spot| {
                    let at = |s: &&ParamSpec| s.range().contains(&(*spot as usize));
                    Some(whole.table().specs.iter().find(at)?.name.as_str())
                })
                .collect();
            names.dedup();
            assert!(names.iter().any(|name| name.contains("wrist")));
            assert!(names.iter().all(|name| !name.contains("front")), "{names:?}");
            let mut seen = spots.clone();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), spots.len(), "a weight stands twice");
        }
    }
}
