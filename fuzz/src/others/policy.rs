//! A policy's folder, of each kind, with one file replaced: configuration, weights, processors; and a
//! stream of requests to a policy.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use embody_core::{CancelToken, NoProgress, Policy, Task};
use embody_learn::{
    ActConfig, PolicyConfig, PolicyOptions, StemLayer, TrainConfig, load_policy, serve, train,
};
use safetensors::tensor::{Dtype, TensorView};

#[path = "../../../crates/learn/tests/it/source.rs"]
#[allow(dead_code)]
mod source;

/// Settings of the smallest policy of each kind.
fn kinds() -> Vec<TrainConfig> {
    let act = ActConfig {
        chunk_size: 2,
        n_action_steps: 1,
        dim: 8,
        heads: 1,
        ff_dim: 4,
        encoder_layers: 1,
        stem: vec![StemLayer { channels: 4, kernel: 3, stride: 4 }],
        keypoints: 2,
        keypoint_layer: 1,
        ..ActConfig::default()
    };
    let act = TrainConfig { policy: PolicyConfig::ActSmall(act), ..source::small(1) };
    vec![act, source::small_diffusion(1), source::small_flow(1)]
}

/// The folders of policies that were trained for one step; made where they are not there.
fn made(scratch: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for (i, cfg) in kinds().into_iter().enumerate() {
        let out = scratch.join(format!("trained-{i}"));
        let policy = out.join("policy");
        if !policy.is_dir() {
            let cfg = TrainConfig { batch_size: 2, shards: 1, ..cfg };
            let cancel = CancelToken::default();
            let task = Task { progress: &NoProgress, cancel: &cancel };
            train(&source::Drawn::new(1, 2, &cfg), None, &cfg, None, &out, task).expect("a policy");
        }
        folders.push(policy);
    }
    folders
}

/// Every file of every policy.
fn files(policies: &[PathBuf]) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = policies
        .iter()
        .flat_map(|policy| fs::read_dir(policy).expect("a policy's folder"))
        .map(|entry| entry.expect("a policy's folder").path())
        .collect();
    out.sort();
    out
}

/// The file that the first byte names has the rest as its content.
pub fn run(bytes: &[u8], scratch: &Path) {
    let Some((&which, content)) = bytes.split_first() else { return };
    let files = files(&made(scratch));
    let path = &files[usize::from(which) % files.len()];
    let policy = path.parent().expect("it lies in the policy's folder");
    let before = fs::read(path).expect("our own file");
    fs::write(path, content).expect("the scratch folder can be written");
    let _ = load_policy(policy, PolicyOptions::default());
    fs::write(path, before).expect("the scratch folder can be written");
}

/// Every file of the policy, behind the byte that names it.
pub fn write_seeds(out: &Path, scratch: &Path) -> usize {
    let files = files(&made(scratch));
    fs::create_dir_all(out).expect("the folder can be written");
    for (i, file) in files.iter().enumerate() {
        let content = [&[i as u8][..], &fs::read(file).expect("our own file")].concat();
        fs::write(out.join(format!("seed-{i:03}")), content).expect("the folder can be written");
    }
    files.len()
}

/// The policy that answers, loaded once.
static SERVED: Mutex<Option<Box<dyn Policy>>> = Mutex::new(None);

/// The bytes are what comes down the pipe.
pub fn serve_stream(bytes: &[u8], scratch: &Path) {
    let mut served = SERVED.lock().unwrap_or_else(PoisonError::into_inner);
    let policy = served.get_or_insert_with(|| {
        let options = PolicyOptions { threads: 1, ..PolicyOptions::default() };
        load_policy(&made(scratch)[0], options).expect("our own policy")
    });
    let _ = serve(policy.as_mut(), &mut &*bytes, &mut std::io::sink());
}

/// A stream of two requests, one that begins an episode, and one with a tensor of another type.
pub fn write_streams(out: &Path) -> usize {
    let pixels = vec![7; source::SIDE * source::SIDE * 3];
    let state = [0; 8];
    let request = |dtype: Dtype, shape: Vec<usize>, begins: bool| {
        let picture = vec![source::SIDE, source::SIDE, 3];
        let tensors = [
            (source::CAMERA, TensorView::new(Dtype::U8, picture, &pixels).expect("it fits")),
            (source::STATE, TensorView::new(dtype, shape, &state).expect("it fits")),
        ];
        let said = begins.then(|| HashMap::from([("episode".to_owned(), "begin".to_owned())]));
        let bytes = safetensors::serialize(tensors, said).expect("small tensors");
        [&(bytes.len() as u64).to_le_bytes(), bytes.as_slice()].concat()
    };
    let first = request(Dtype::F32, vec![2], true);
    let second = request(Dtype::F32, vec![2], false);
    let streams = [[first, second].concat(), request(Dtype::F64, vec![1], false)];
    fs::create_dir_all(out).expect("the folder can be written");
    for (i, stream) in streams.iter().enumerate() {
        fs::write(out.join(format!("seed-{i:03}")), stream).expect("the folder can be written");
    }
    streams.len()
}
