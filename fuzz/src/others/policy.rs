//! A policy's folder, of each kind, with one file replaced: configuration, weights, processors.

use std::fs;
use std::path::{Path, PathBuf};

use embody_core::{CancelToken, NoProgress, Task};
use embody_learn::{
    ActConfig, PolicyConfig, PolicyOptions, StemLayer, TrainConfig, load_policy, train,
};

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
            train(&source::Drawn::new(1, 2, &cfg), None, &cfg, &out, task).expect("a policy");
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
