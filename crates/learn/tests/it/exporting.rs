//! An ONNX file gives what the policy gives, in another runtime. The comparison runs where
//! `EMBODY_ONNX_PYTHON` names a Python with onnxruntime and numpy.

use std::path::Path;
use std::process::Command;

use embody_core::{ArrayView, DataView, Observations};
use embody_learn::{
    ActConfig, ActionRepresentation, FeedForwardActivation, PolicyConfig, PolicyOptions,
    TrainConfig, export_onnx, load_policy,
};
use serde_json::{Value, json};

use crate::source::{CAMERA, SIDE, STATE, draw, small, small_flow};
use crate::training::run;

const PYTHON: &str = "EMBODY_ONNX_PYTHON";
const SCRIPT: &str = "
import json, sys
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])
given = json.load(open(sys.argv[2]))
types = {'tensor(uint8)': np.uint8, 'tensor(float)': np.float32}
feed = {i.name: np.array(given[i.name], types[i.type]).reshape(i.shape) for i in session.get_inputs()}
(actions,) = session.run(None, feed)
print(json.dumps(actions.ravel().tolist()))
";

/// The whole chunk that the policy in `dir` predicts for what is seen first.
fn predicted(dir: &Path, state: &[f32], image: &[u8]) -> Vec<f32> {
    let chunk = load_policy(dir, PolicyOptions::default()).unwrap().spec().chunk_size;
    let options = PolicyOptions { n_action_steps: Some(chunk), ..Default::default() };
    let mut policy = load_policy(dir, options).unwrap();
    let state = ArrayView { shape: &[1, 2], data: DataView::F32(state) };
    let image = ArrayView { shape: &[1, SIDE, SIDE, 3], data: DataView::U8(image) };
    let observations = Observations { arrays: [(STATE, state), (CAMERA, image)].into() };
    let mut all = Vec::new();
    for _ in 0..chunk {
        let mut action = [0.0; 2];
        policy.act(&observations, &[true], &mut action).unwrap();
        all.extend(action);
    }
    all
}

fn cases() -> [(&'static str, TrainConfig); 3] {
    let act = |change: &dyn Fn(&mut ActConfig)| {
        let mut cfg = small(20);
        let PolicyConfig::ActSmall(act) = &mut cfg.policy else { panic!("the small one") };
        change(act);
        cfg
    };
    let lerobots = act(&|act| {
        *act = ActConfig {
            chunk_size: 6,
            n_action_steps: 6,
            dim: 32,
            heads: 2,
            ff_dim: 32,
            encoder_layers: 2,
            n_vae_encoder_layers: 1,
            latent_dim: 4,
            dropout: 0.0,
            ..ActConfig::lerobot()
        };
    });
    let TrainConfig { policy: PolicyConfig::ActSmall(own), .. } = lerobots.clone() else {
        panic!("the small one")
    };
    let lerobots = TrainConfig { policy: PolicyConfig::Act(own), steps: 2, ..lerobots };
    let relative = act(&|act| {
        act.action_representation = ActionRepresentation::DeltaToLast;
        act.observe_last_action = true;
        act.linear_path = true;
        act.map_tokens = false;
        act.feedforward_activation = FeedForwardActivation::Gelu;
    });
    [("small", act(&|_| {})), ("lerobot's", lerobots), ("relative", relative)]
}

#[test]
fn an_onnx_file_says_what_the_policy_says() {
    let home = tempfile::tempdir().unwrap();
    let python = std::env::var(PYTHON);
    if python.is_err() {
        eprintln!("not compared: {PYTHON} names no Python with onnxruntime");
    }
    for (name, cfg) in cases() {
        let dir = run(&cfg, &home.path().join(name)).unwrap().policies.remove(0);
        let file = home.path().join(format!("{name}.onnx"));
        let written = export_onnx(&dir, &file).unwrap();
        assert_eq!(written.bytes as u64, std::fs::metadata(&file).unwrap().len());
        assert_eq!((written.output.as_str(), &written.output_shape), ("actions", &vec![1, 6, 2]));
        let camera = (CAMERA.to_owned(), vec![1, SIDE as i64, SIDE as i64, 3]);
        assert!(written.inputs.contains(&camera), "{:?}", written.inputs);
        let Ok(python) = &python else { continue };

        let mut image = Vec::new();
        draw([0.3, -0.5], &mut image);
        let state = [0.2, -0.1];
        let ours = predicted(&dir, &state, &image);
        let given = json!({STATE: state, CAMERA: image, "action.last": state});
        let (script, data) = (home.path().join("run.py"), home.path().join("given.json"));
        std::fs::write(&script, SCRIPT).unwrap();
        std::fs::write(&data, given.to_string()).unwrap();
        let mut command = Command::new(python);
        let done = command.arg(&script).arg(&file).arg(&data).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let theirs: Value = serde_json::from_slice(&done.stdout).unwrap();
        let theirs: Vec<f32> = serde_json::from_value(theirs).unwrap();
        assert_eq!(ours.len(), theirs.len());
        let largest = ours.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let off = ours.iter().zip(&theirs).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        println!("{name}: {} operators, {:.1e} off", written.nodes, off / largest);
        assert!(off < 1e-4 * largest, "{name}: {ours:?} {theirs:?}");
    }
}

#[test]
fn what_is_no_single_pass_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let dir = run(&small_flow(2), home.path()).unwrap().policies.remove(0);
    let error = export_onnx(&dir, &home.path().join("flow.onnx")).unwrap_err().to_string();
    assert!(error.contains("only policies that are one pass"), "{error}");
    assert!(!home.path().join("flow.onnx").exists());
}
