//! A policy as an ONNX file (<https://onnx.ai>), for runtimes that are not ours: one graph from the
//! observation as recorded (pixels, joint positions in the robot's units) to actions in the robot's units,
//! normalisation included.
//!
//! ACT's types alone: they are one pass. Policies that take noise out step by step are loops with random
//! numbers in them, and what a graph of one step would leave to its user is most of the policy.

mod act;
mod graph;
mod proto;

use std::path::Path;

use embody_core::{Result, hash_tree, write_atomic};
use prost::Message;
use serde::Serialize;

use crate::checkpoint;
use crate::error::Error;
use crate::imitation::PolicyConfig;

/// What an ONNX file takes and gives.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OnnxSummary {
    /// Name and shape of each input: `uint8 [1, height, width, 3]` of a camera, else `float32 [1, n]`.
    pub inputs: Vec<(String, Vec<i64>)>,
    /// Name of the output, `float32 [1, chunk_size, action_dim]`, from the present action on.
    pub output: String,
    /// Its shape.
    pub output_shape: Vec<i64>,
    /// Operators in the graph.
    pub nodes: usize,
    /// Of the file.
    pub bytes: usize,
}

/// Writes the policy in `dir` as the ONNX file `path` (operator set 17).
///
/// # Errors
/// When the policy can't be read, is not of ACT's types, or the file can't be written.
pub fn export_onnx(dir: &Path, path: &Path) -> Result<OnnxSummary> {
    let model = checkpoint::read_model(dir)?;
    let kind = model.config.kind();
    let (PolicyConfig::ActSmall(cfg) | PolicyConfig::Act(cfg)) = &model.config else {
        let rule = "only policies that are one pass have an exact graph: `act` and `act-small`; \
                    embody-policy runs every kind";
        let (key, value, rule) = ("policy", kind.to_owned(), rule.to_owned());
        return Err(Error::Config { key, value, rule }.into());
    };
    let graph = act::graph(&model, cfg)?;
    let entry = |key: &str, value: String| proto::Entry { key: key.to_owned(), value };
    let hash = hash_tree(dir, &|_| false)?;
    let file = proto::Model {
        ir_version: 8,
        producer_name: "embody".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        opset_import: vec![proto::OperatorSet { domain: String::new(), version: 17 }],
        metadata_props: vec![
            entry("policy", kind.to_owned()),
            entry("policy_hash", hash.to_string()),
            entry("fps", model.fps.to_string()),
            entry("n_action_steps", cfg.n_action_steps.to_string()),
            entry("action_names", model.action_names.join(",")),
        ],
        graph: Some(graph),
    };
    let bytes = file.encode_to_vec();
    write_atomic(path, &bytes)?;
    let shape = |value: &proto::Value| -> Vec<i64> {
        let shape = value.r#type.iter().filter_map(|t| t.tensor_type.as_ref()?.shape.as_ref());
        shape.flat_map(|shape| &shape.dim).map(|dim| dim.dim_value).collect()
    };
    let graph = file.graph.unwrap_or_default();
    Ok(OnnxSummary {
        inputs: graph.input.iter().map(|value| (value.name.clone(), shape(value))).collect(),
        output: act::ACTIONS.into(),
        output_shape: graph.output.iter().flat_map(shape).collect(),
        nodes: graph.node.len(),
        bytes: bytes.len(),
    })
}
