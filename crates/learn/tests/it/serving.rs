//! The policy's own program, over real pipes.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use embody_core::{ArrayView, DataView, Observations};
use embody_learn::{PolicyOptions, load_policy};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::source::{CAMERA, SIDE, STATE, small};
use crate::training::run;

fn picture(t: usize) -> Vec<u8> {
    (0..SIDE * SIDE * 3).map(|i| (i * 7 + t * 40) as u8).collect()
}

fn state(t: usize) -> [f32; 2] {
    [t as f32 * 0.1, 0.5]
}

/// What a program in any language would send at step `t`.
fn request(t: usize, state_shape: &[usize], says: Option<(&str, &str)>) -> Vec<u8> {
    let pixels = picture(t);
    let state: Vec<u8> = state(t).iter().flat_map(|v| v.to_le_bytes()).collect();
    let tensors = [
        (CAMERA, TensorView::new(Dtype::U8, vec![SIDE, SIDE, 3], &pixels).unwrap()),
        (STATE, TensorView::new(Dtype::F32, state_shape.to_vec(), &state).unwrap()),
    ];
    let said = says.map(|(key, value)| HashMap::from([(key.to_owned(), value.to_owned())]));
    let bytes = safetensors::serialize(tensors, said).unwrap();
    [&(bytes.len() as u64).to_le_bytes(), bytes.as_slice()].concat()
}

fn ask(policy: &Path, sent: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_embody-policy"))
        .arg(policy)
        .args(["--threads", "1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(sent).unwrap();
    child.wait_with_output().unwrap()
}

/// Each answer: the action, or what was wrong.
fn answers(mut bytes: &[u8]) -> Vec<Result<Vec<f32>, String>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let mut length = [0; 8];
        bytes.read_exact(&mut length).unwrap();
        let (message, rest) = bytes.split_at(u64::from_le_bytes(length) as usize);
        bytes = rest;
        let (_, metadata) = SafeTensors::read_metadata(message).unwrap();
        let error = metadata.metadata().as_ref().and_then(|said| said.get("error")).cloned();
        let tensors = SafeTensors::deserialize(message).unwrap();
        all.push(match error {
            Some(error) => Err(error),
            None => {
                let data = tensors.tensor("action").unwrap().data().to_vec();
                let number = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap());
                Ok(data.chunks_exact(4).map(number).collect())
            }
        });
    }
    all
}

#[test]
fn the_small_program_acts_as_the_library_does() {
    let home = tempfile::tempdir().unwrap();
    let dir = run(&small(20), home.path()).unwrap().policies.remove(0);
    // Five steps, and the same again as another episode.
    let steps: Vec<usize> = (0..5).chain(0..5).collect();
    let begin = Some(("episode", "begin"));
    let sent: Vec<u8> = steps
        .iter()
        .enumerate()
        .flat_map(|(i, t)| request(*t, &[2], begin.filter(|_| i == 5)))
        .collect();
    let output = ask(&dir, &sent);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("10 answers: p50"));

    let mut policy = load_policy(&dir, PolicyOptions::default()).unwrap();
    let mut expected = Vec::new();
    for (i, t) in steps.iter().enumerate() {
        if i == 5 {
            policy.reset(0);
        }
        let (pixels, state) = (picture(*t), state(*t));
        let mut seen = Observations::default();
        let (image, vector) = ([1, SIDE, SIDE, 3], [1, 2]);
        let view = ArrayView { shape: &image, data: DataView::U8(&pixels) };
        seen.arrays.insert(CAMERA, view);
        let view = ArrayView { shape: &vector, data: DataView::F32(&state) };
        seen.arrays.insert(STATE, view);
        let mut action = vec![0.0; policy.spec().action_dim];
        policy.act(&seen, &[true], &mut action).unwrap();
        expected.push(Ok(action));
    }
    assert_eq!(answers(&output.stdout), expected);
}

#[test]
fn what_it_cannot_answer_it_says_and_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let dir = run(&small(4), home.path()).unwrap().policies.remove(0);
    let nonsense = [&5u64.to_le_bytes(), b"hello".as_slice()].concat();
    let sent = [
        request(0, &[1, 2], None),
        nonsense,
        request(0, &[2], Some(("episode", "end"))),
        request(0, &[2], None),
    ];
    let output = ask(&dir, &sent.concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers = answers(&output.stdout);
    let error = |i: usize| answers[i].as_ref().unwrap_err().as_str();
    assert!(error(0).contains("`observation.state` is F32 [1, 2], not F32 [n]"), "{}", error(0));
    assert!(error(1).contains("no safetensors file"), "{}", error(1));
    assert!(error(2).contains("`episode` is `end`"), "{}", error(2));
    assert_eq!(answers[3].as_ref().unwrap().len(), 2);

    // A stream that breaks off, or that announces what no memory holds, ends it.
    for broken in [&sent[0][..30], &u64::MAX.to_le_bytes(), &[1, 2, 3]] {
        let output = ask(&dir, broken);
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: "));
    }
}
