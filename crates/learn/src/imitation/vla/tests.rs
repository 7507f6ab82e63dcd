//! VLAs against LeRobot's: the same weights, instruction, pictures, states and noise give the same tokens,
//! chunks, loss and gradients, and the same actions of a loaded policy. Runs where `EMBODY_VLA_PYTHON`
//! names a Python with lerobot 0.6.1 and transformers 5.5.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use embody_core::{ArrayView, DataView, Observations};
use serde_json::{Value, json};

use super::language::{Family, LanguageSizes};
use super::pi0::{Pi0Config, Pi0Net, Pi0Sizes};
use super::smolvla::{SmolVlaConfig, SmolVlaNet};
use super::vision::VisionSizes;
use crate::backend::Backend;
use crate::checkpoint::{self, Model, Stored};
use crate::imitation::flow::{FlowDraws, FlowMatching};
use crate::imitation::tests::oracle::{TOLERANCE, Vectors, ask, error, vectors};
use crate::imitation::{
    ActionRepresentation, Demonstration, Inputs, LossShare, Net, Pass, PolicyConfig, Shape,
};
use crate::nn::{ParamTable, Weights};
use crate::noise::normals;
use crate::policy::{Inference, Observation, PolicyOptions, load_policy, situation_noise};
use crate::processor::{CameraInput, Normalizer, Processor, VectorInput};
use crate::train::TrainConfig;

const PYTHON: &str = "EMBODY_VLA_PYTHON";
const SCRIPT: &str = "vla.py";
const ROWS: usize = 3;
const STEPS: usize = 10;

fn agree(what: &str, ours: &[f32], theirs: &[f32]) {
    let off = error(ours, theirs, 1e-3);
    println!("{what}: differ by {off:.1e}");
    assert!(off < TOLERANCE, "{what}: differ by {off}");
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), &Backend::Cpu.device(1))
}

/// The oracle's observations and what is done with them.
struct Shown {
    case: Value,
    theirs: Vectors,
    /// Bytes of each camera's pictures, all rows, with their height and width.
    pictures: Vec<(Vec<u8>, usize, usize)>,
}

impl Shown {
    fn read(home: &Path, case: &Value) -> Self {
        let theirs = vectors(&home.join("theirs.safetensors"));
        let size = |c: &Value, i: usize| c[i].as_u64().expect("a size") as usize;
        let cameras = case["cameras"].as_array().expect("cameras").iter().enumerate();
        let pictures = cameras
            .map(|(i, c)| {
                let bytes = theirs[&format!("image.{i}")].iter().map(|v| *v as u8).collect();
                (bytes, size(c, 0), size(c, 1))
            })
            .collect();
        Self { case: case.clone(), theirs, pictures }
    }

    fn picture(&self, camera: usize, row: usize) -> (&[u8], usize, usize) {
        let (bytes, h, w) = &self.pictures[camera];
        (&bytes[row * h * w * 3..(row + 1) * h * w * 3], *h, *w)
    }

    fn state(&self, row: usize) -> &[f32] {
        let n = self.case["state"].as_u64().expect("a size") as usize;
        &self.theirs["observation.state"][row * n..(row + 1) * n]
    }

    /// Some rows as the network takes them.
    fn inputs(&self, model: &Model, rows: std::ops::Range<usize>) -> Inputs {
        let p = &model.processor;
        let camera = |(i, camera): (usize, &CameraInput)| {
            let letterbox = camera.letterbox.expect("a VLA's");
            let see = |row| {
                let (data, h, w) = self.picture(i, row);
                letterbox.apply(data, (h, w), &camera.pixel_table())
            };
            let side = letterbox.side;
            tensor(rows.clone().flat_map(see).collect(), [rows.len(), side, side, 3])
        };
        let input = p.state.as_ref().expect("a state");
        let states: Vec<f32> = rows.clone().flat_map(|row| self.state(row)).copied().collect();
        Inputs {
            images: p.cameras.iter().enumerate().map(camera).collect(),
            state: Some(tensor(input.encode(&states), [rows.len(), input.normalizer.dim()])),
            env: None,
            instruction: model.instruction.clone(),
        }
    }
}

/// Chunks that the network makes of the oracle's noise.
fn chunks_agree(model: &Model, shown: &Shown) {
    let device = Backend::Cpu.device(1);
    let weights = Weights::new(model.net.table(), &model.weights, &device);
    let pass = Pass { w: &weights, dropout: None, device: &device };
    let noise = shown.theirs["noise"].chunks_exact(shown.theirs["noise"].len() / ROWS);
    let mut chunks = Vec::new();
    for (row, noise) in noise.enumerate() {
        let inputs = shown.inputs(model, row..row + 1);
        let draw = |out: &mut [f32]| out.copy_from_slice(noise);
        chunks.extend(match &model.net {
            Net::SmolVla(net) => net.predict(pass, &inputs, draw),
            Net::Pi0(net) => net.predict(pass, &inputs, draw),
            _ => unreachable!("a VLA"),
        });
    }
    agree("chunks", &chunks, &shown.theirs["predicted"]);
}

/// Loss and gradients, as far as LeRobot's reach: what leaves the language model's last layer does not
/// count.
fn losses_agree(model: &Model, shown: &Shown) {
    let theirs = &shown.theirs;
    let device = Backend::Cpu.device(1);
    let table = model.net.table();
    let tracked = Weights::new(table, &model.weights, &device).tracked();
    let pass = Pass { w: &tracked, dropout: None, device: &device };
    let mut actions = theirs["actions"].clone();
    model.processor.encode_actions(&mut actions, &[], &[]);
    let kept: Vec<bool> = theirs["pad"].iter().map(|p| *p == 0.0).collect();
    let valid = kept.iter().filter(|k| **k).count() * model.processor.action.dim();
    let share = LossShare { per_value: 1.0 / valid as f32, per_row: 1.0 / ROWS as f32 };
    let wanted = Demonstration { actions, kept, rows: ROWS, share };
    let draws = FlowDraws { noise: theirs["noise"].clone(), times: theirs["times"].clone() };
    let inputs = shown.inputs(model, 0..ROWS);
    let loss = match &model.net {
        Net::SmolVla(net) => net.loss(pass, &inputs, &wanted, &draws),
        Net::Pi0(net) => net.loss(pass, &inputs, &wanted, &draws),
        _ => unreachable!("a VLA"),
    };
    let grads = tracked.gradients(table, &loss.backward());
    let loss = loss.into_data();
    agree("loss", loss.as_slice::<f32>().expect("f32"), &theirs["loss"]);
    let all = theirs.iter().filter(|(name, _)| name.starts_with("grad."));
    let largest = all.flat_map(|(_, v)| v).fold(0.0f32, |m, v| m.max(v.abs()));
    let (mut worst, mut count) = (0.0f32, 0);
    for spec in &table.specs {
        let ours = spec.to_stored(&grads[spec.range()]);
        match theirs.get(&format!("grad.{}", spec.name)) {
            None => assert!(ours.iter().all(|g| *g == 0.0), "{} has a gradient", spec.name),
            Some(theirs) => {
                let off = error(&ours, theirs, 1e-3 * largest);
                assert!(off < TOLERANCE, "{}: gradients differ by {off:.1e}", spec.name);
                (worst, count) = (worst.max(off), count + 1);
            }
        }
    }
    println!("{count} gradients differ by {worst:.1e} at most");
    assert!(count > table.specs.len() / 2);
}

/// Actions of the loaded policy over some steps, and LeRobot's with the same noise.
fn actions_agree(home: &Path, model: Model, shown: &Shown, text: &str) {
    let shape = match &model.config {
        PolicyConfig::SmolVla(c) => [c.chunk_size, c.max_action_dim],
        _ => unreachable!("a VLA"),
    };
    let inference = Inference::new(model, Backend::Cpu, 1);
    let cameras = shown.pictures.len();
    let noise: Vec<Stored> = (0..STEPS)
        .map(|t| {
            let seen = inference.see(&Observation {
                pictures: (0..cameras).map(|i| shown.picture(i, t % ROWS)).collect(),
                state: shown.state(t % ROWS),
                env: &[],
            });
            let mut values = vec![0.0; shape[0] * shape[1]];
            normals(&mut situation_noise(&[&seen]), &mut values);
            Stored::floats(t.to_string(), shape.to_vec(), values)
        })
        .collect();
    checkpoint::write_tensors(&home.join("noise.safetensors"), &noise).expect("write");
    assert!(ask(PYTHON, SCRIPT, "act", home));
    let dir = home.join("policy");
    assert!(load_policy(&dir, PolicyOptions::default()).is_err(), "it acts without instruction");
    let options = PolicyOptions { instruction: Some(text.to_owned()), ..Default::default() };
    let mut policy = load_policy(&dir, options).expect("a policy");
    let spec = policy.spec().clone();
    let mut actions = Vec::new();
    for t in 0..STEPS {
        let mut seen = Observations::default();
        let names: Vec<String> =
            (0..cameras).map(|i| format!("observation.images.cam{i}")).collect();
        let pictures: Vec<_> = (0..cameras).map(|i| shown.picture(i, t % ROWS)).collect();
        let shapes: Vec<[usize; 4]> = pictures.iter().map(|(_, h, w)| [1, *h, *w, 3]).collect();
        for ((name, shape), (data, ..)) in names.iter().zip(&shapes).zip(&pictures) {
            seen.arrays.insert(name.as_str(), ArrayView { shape, data: DataView::U8(data) });
        }
        let state = shown.state(t % ROWS);
        let shape = [1, state.len()];
        let view = ArrayView { shape: &shape, data: DataView::F32(state) };
        seen.arrays.insert("observation.state", view);
        let mut action = vec![0.0; spec.action_dim];
        policy.act(&seen, &[true], &mut action).expect("an action");
        actions.extend(action);
    }
    agree("actions", &actions, &vectors(&home.join("acted.safetensors"))["action"]);
}

fn compare(case: &Value) {
    let home = tempfile::tempdir().expect("temporary folder");
    let home = home.path();
    checkpoint::write_json(&home.join("case.json"), case).expect("write");
    if !ask(PYTHON, SCRIPT, "make", home) {
        return;
    }
    let shown = Shown::read(home, case);
    let text = case["instruction"].as_str().expect("a text");
    let dir = home.join("policy");
    let small = |dir: &Path, policy: &mut PolicyConfig| match policy {
        PolicyConfig::Pi0(c) => {
            c.sizes = Some(pi0_sizes());
            Ok(())
        }
        _ => checkpoint::complete(dir, policy),
    };
    let mut model = checkpoint::read_completed(&dir, small).expect("LeRobot's checkpoint");
    checkpoint::instruct(&dir, &mut model, Some(text)).expect("a tokenizer");
    let tokens: Vec<usize> = shown.theirs["tokens"].iter().map(|t| *t as usize).collect();
    assert_eq!(model.instruction.tokens, tokens);
    chunks_agree(&model, &shown);
    if shown.theirs.contains_key("loss") {
        losses_agree(&model, &shown);
    }
    // π0's sizes are given from here, so that no small one can be loaded as users load it.
    if case["type"] == "smolvla" {
        actions_agree(home, model, &shown, text);
    }
}

/// `changes` over small sizes.
fn smolvla(changes: Value, tied: bool) -> Value {
    let mut config = json!({
        "chunk_size": 10, "n_action_steps": 4, "max_state_dim": 8, "max_action_dim": 6,
        "resize_imgs_with_padding": [64, 64], "num_vlm_layers": 4,
    });
    for (key, value) in changes.as_object().expect("settings") {
        config[key] = value.clone();
    }
    json!({
        "type": "smolvla", "config": config,
        "vlm": {
            "text_config": {
                "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 5,
                "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8,
                "rms_norm_eps": 1e-5,
            },
            "vision_config": {
                "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                "num_attention_heads": 4, "image_size": 64, "patch_size": 8,
            },
            "scale_factor": 2, "tie_word_embeddings": tied,
        },
        "cameras": [[48, 64], [100, 30]], "state": 5, "action": 4,
        "instruction": "pick up the red cube 12",
    })
}

#[test]
fn smolvla_equals_lerobot() {
    compare(&smolvla(json!({ "empty_cameras": 1 }), false));
}

#[test]
fn smolvla_whose_expert_joins_everywhere_equals_lerobot() {
    // Pictures of another size than the vision tower's, marked; words' embeddings stored once; padding.
    let changes = json!({
        "attention_mode": "self_attn", "add_image_special_tokens": true, "num_vlm_layers": 0,
        "resize_imgs_with_padding": [48, 48], "pad_language_to": "max_length", "prefix_length": 90,
        "tokenizer_max_length": 12, "num_steps": 4,
    });
    compare(&smolvla(changes, true));
}

#[test]
fn smolvla_of_half_the_digits_equals_lerobot() {
    let changes = json!({ "self_attn_every_n_layers": 3, "expert_width_multiplier": 0.5 });
    let mut case = smolvla(changes, false);
    case["bf16"] = true.into();
    compare(&case);
}

/// What `vla.py` makes of π0.
fn pi0_sizes() -> Pi0Sizes {
    let text = LanguageSizes {
        family: Family::Gemma,
        dim: 48,
        ff_dim: 96,
        heads: 8,
        kv_heads: 1,
        head_dim: 8,
        eps: 1e-6,
    };
    Pi0Sizes {
        vision: VisionSizes {
            dim: 32,
            ff_dim: 64,
            layers: 2,
            heads: 4,
            image_size: 56,
            patch_size: 14,
        },
        text,
        expert: LanguageSizes { dim: 24, ff_dim: 64, ..text },
        layers: 3,
        vocabulary: 320,
    }
}

fn pi0(old_names: bool) -> Value {
    json!({
        "type": "pi0", "old_names": old_names,
        "config": {
            "chunk_size": 10, "n_action_steps": 4, "max_state_dim": 8, "max_action_dim": 6,
            "image_resolution": [56, 56], "empty_cameras": 1, "num_inference_steps": 5,
        },
        "cameras": [[48, 64], [100, 30]], "state": 5, "action": 4,
        "instruction": "pick up the red cube",
    })
}

#[test]
fn pi0_equals_lerobot() {
    compare(&pi0(false));
}

#[test]
fn pi0_of_openpis_names_equals_lerobot() {
    compare(&pi0(true));
}

/// A policy in `dir` whose language model is named `a/model`, with an instruction's words `pick` and `up`.
fn write_small(dir: &Path) {
    let mut config = SmolVlaConfig {
        chunk_size: 4,
        n_action_steps: 1,
        num_steps: 2,
        num_vlm_layers: 2,
        resize_imgs_with_padding: [16, 16],
        vlm_model_name: "a/model".into(),
        ..Default::default()
    };
    config.vlm.vision =
        VisionSizes { dim: 8, ff_dim: 16, layers: 1, heads: 2, image_size: 16, patch_size: 4 };
    config.vlm.text = LanguageSizes {
        dim: 16,
        ff_dim: 16,
        heads: 4,
        kv_heads: 2,
        head_dim: 4,
        ..config.vlm.text
    };
    let VisionSizes { dim, ff_dim, layers, heads, image_size, patch_size } = config.vlm.vision;
    let vlm = json!({
        "text_config": {
            "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 4, "num_hidden_layers": 3, "vocab_size": 5,
            "rms_norm_eps": 1e-5,
        },
        "vision_config": {
            "hidden_size": dim, "intermediate_size": ff_dim, "num_hidden_layers": layers,
            "num_attention_heads": heads, "image_size": image_size, "patch_size": patch_size,
        },
        "scale_factor": 2, "tie_word_embeddings": true,
    });
    (config.vlm.scale_factor, config.vlm.vocabulary, config.vlm.tied) = (2, 5, true);
    let config = PolicyConfig::SmolVla(config);
    let processor = Processor {
        cameras: vec![CameraInput {
            key: "observation.images.cam0".into(),
            height: 12,
            width: 16,
            crop: None,
            normalizer: Normalizer::identity(3),
            letterbox: config.letterbox(),
        }],
        state: Some(VectorInput {
            key: "observation.state".into(),
            normalizer: Normalizer::identity(3),
        }),
        env: None,
        action: Normalizer::identity(2),
        lag: None,
        representation: ActionRepresentation::Absolute,
    };
    let net = Net::new(&config, &checkpoint::net_shape(&processor)).expect("a network");
    let model = Model {
        weights: net.table().initial(1),
        config,
        net,
        processor,
        fps: 10.0,
        action_names: Vec::new(),
        trained_on: Vec::new(),
        carried: Default::default(),
        instruction: Default::default(),
    };
    checkpoint::write_model(dir, &model).expect("write");
    checkpoint::write_json(&dir.join("vlm_config.json"), &vlm).expect("write");
    write_words(dir, 1);
}

fn write_words(dir: &Path, up: usize) {
    let words = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": { "type": "Whitespace" }, "post_processor": null,
        "decoder": null,
        "model": {
            "type": "WordLevel", "vocab": { "pick": 0, "up": up, "[UNK]": 2 }, "unk_token": "[UNK]",
        },
    });
    checkpoint::write_json(&dir.join("tokenizer.json"), &words).expect("write");
}

/// The first action of the policy in `dir`, told `text`, for a picture of another size than recorded.
fn first_action(dir: &Path, text: Option<&str>) -> Result<Vec<f32>, String> {
    let options = PolicyOptions { instruction: text.map(str::to_owned), ..Default::default() };
    let mut policy = load_policy(dir, options).map_err(|e| e.to_string())?;
    let picture: Vec<u8> = (0..9 * 20 * 3).map(|i| (i % 251) as u8).collect();
    let mut seen = Observations::default();
    let (picture, state) = (DataView::U8(&picture), DataView::F32(&[0.5, -0.5, 1.0]));
    let shape = &[1, 9, 20, 3];
    seen.arrays.insert("observation.images.cam0", ArrayView { shape, data: picture });
    seen.arrays.insert("observation.state", ArrayView { shape: &[1, 3], data: state });
    let mut action = vec![0.0; 2];
    policy.act(&seen, &[true], &mut action).map_err(|e| e.to_string())?;
    Ok(action)
}

#[test]
fn a_policy_acts_by_its_instruction_and_not_without() {
    let home = tempfile::tempdir().expect("temporary folder");
    let dir = home.path();
    write_small(dir);
    let pick = first_action(dir, Some("pick")).expect("an action");
    assert_eq!(first_action(dir, Some("pick")).expect("an action"), pick);
    assert_ne!(first_action(dir, Some("pick up")).expect("an action"), pick);
    assert!(pick.iter().all(|v| v.is_finite() && *v != 0.0), "{pick:?}");
    let refused = |text, what: &str| {
        let error = first_action(dir, text).expect_err("a refusal");
        assert!(error.contains(what), "{error}");
    };
    refused(None, "acts by an instruction");
    write_words(dir, 5);
    refused(Some("pick up"), "gives the number 5, the policy knows 5");
    std::fs::remove_file(dir.join("tokenizer.json")).expect("remove");
    refused(Some("pick"), "tokenizer is not there");
}

#[test]
fn what_smolvla_can_not_do_is_said() {
    let home = tempfile::tempdir().expect("temporary folder");
    let dir = home.path();
    write_small(dir);
    let refused = |what: &str| {
        let error = first_action(dir, Some("pick")).expect_err("a refusal");
        assert!(error.contains(what), "{error}");
    };
    let path = dir.join("config.json");
    let good: Value = checkpoint::read_json(&path).expect("settings");
    for (key, value, what) in [
        ("adapt_to_pi_aloha", json!(true), "`adapt_to_pi_aloha` is true"),
        ("rtc_config", json!({ "enabled": true }), "`rtc_config` is"),
        ("num_expert_layers", json!(1), "num_expert_layers"),
        ("resize_imgs_with_padding", json!([16, 24]), "it must be square"),
        ("attention", json!("none"), "config.json is not what was expected"),
    ] {
        let mut bad = good.clone();
        bad[key] = value;
        checkpoint::write_json(&path, &bad).expect("write");
        refused(what);
    }
    checkpoint::write_json(&path, &good).expect("write");
    first_action(dir, Some("pick")).expect("an action");
    std::fs::remove_file(dir.join("vlm_config.json")).expect("remove");
    refused("the sizes of `a/model`");
    let policy = PolicyConfig::SmolVla(SmolVlaConfig::default());
    let error = TrainConfig { policy, ..Default::default() }.check().expect_err("a refusal");
    assert!(error.to_string().contains("LeRobot trains them"), "{error}");
}

fn published() -> [ParamTable; 2] {
    let shape = Shape {
        cameras: vec![("cam0".into(), 512, 512)],
        state_dim: Some(6),
        env_dim: None,
        action_dim: 6,
    };
    let smolvla = SmolVlaNet::new(&SmolVlaConfig::default(), &shape).expect("a network");
    let pi0 = Pi0Net::new(&Pi0Config::default(), &shape).expect("a network");
    [smolvla.table, pi0.table]
}

#[test]
fn the_published_sizes_make_as_many_weights_as_lerobots() {
    for (table, count) in published().iter().zip([450_046_176, 4_028_019_472]) {
        let beside: usize = table.beside.iter().map(|b| b.shape.iter().product::<usize>()).sum();
        assert_eq!(table.len() + beside, count);
    }
}

#[test]
fn names_and_shapes_of_the_published_sizes_are_lerobots() {
    let home = tempfile::tempdir().expect("temporary folder");
    if !ask(PYTHON, SCRIPT, "keys", home.path()) {
        return;
    }
    for (table, kind) in published().iter().zip(["smolvla", "pi0"]) {
        let file = home.path().join(format!("{kind}.json"));
        let theirs: BTreeMap<String, Vec<usize>> = checkpoint::read_json(&file).expect("keys");
        let own = table.specs.iter().map(|s| (s.name.clone(), s.stored_shape()));
        let ours: BTreeMap<_, _> =
            own.chain(table.beside.iter().map(|b| (b.name.clone(), b.shape.clone()))).collect();
        assert_eq!(ours, theirs, "{kind}");
    }
}
