//! Values and gradients against burn's automatic differentiation.

use burn::tensor::activation::{relu, sigmoid, tanh};
use burn::tensor::{Device, Tensor, TensorData};

use super::*;
use crate::noise::{normals, stream};

fn tensor(values: &[f32], shape: [usize; 2]) -> Tensor<2> {
    let data = TensorData::new(values.to_vec(), shape);
    Tensor::from_data(data, &Device::flex().autodiff()).require_grad()
}

fn values(tensor: &Tensor<2>) -> Vec<f32> {
    tensor.to_data().try_to_vec::<f32>().expect("f32 tensor")
}

fn assert_close(what: &str, ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let scale = theirs.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    let worst = ours.iter().zip(theirs).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(worst / scale < 3e-5, "{what}: relative error {}", worst / scale);
}

fn activate(x: Tensor<2>, act: Nonlinearity) -> Tensor<2> {
    match act {
        Nonlinearity::Tanh => tanh(x),
        Nonlinearity::Relu => relu(x),
        Nonlinearity::Elu => {
            let below = x.clone().clamp_max(0.0).exp() - 1.0;
            x.clamp_min(0.0) + below
        }
        Nonlinearity::Silu => x.clone() * sigmoid(x),
    }
}

/// Tensors of each layer in the order of `specs`, and the result.
fn reference(
    net: &Mlp,
    params: &[f32],
    x: Tensor<2>,
    act: Nonlinearity,
) -> (Vec<Tensor<2>>, Tensor<2>) {
    let mut leaves = Vec::new();
    let mut leaf = |at: usize, shape: [usize; 2]| {
        let t = tensor(&params[at..at + shape[0] * shape[1]], shape);
        leaves.push(t.clone());
        t
    };
    let mut h = x;
    for (i, l) in net.layers.iter().enumerate() {
        let w = leaf(l.weight, [l.inputs, l.outputs]);
        let b = leaf(l.bias, [1, l.outputs]);
        h = h.matmul(w) + b;
        if let Some(norm) = l.norm {
            let gamma = leaf(norm, [1, l.outputs]);
            let beta = leaf(norm + l.outputs, [1, l.outputs]);
            let centred = h.clone() - h.mean_dim(1);
            let variance = (centred.clone() * centred.clone()).mean_dim(1);
            h = centred / (variance + 1e-5).sqrt() * gamma + beta;
        }
        if i + 1 < net.layers.len() {
            h = activate(h, act);
        }
    }
    (leaves, h)
}

#[test]
fn values_and_gradients_match_burns() {
    matches_burn(3);
    matches_burn(1);
}

fn matches_burn(outputs: usize) {
    let mut rng = stream(1, "test", 0);
    for act in [Nonlinearity::Tanh, Nonlinearity::Relu, Nonlinearity::Elu, Nonlinearity::Silu] {
        for layer_norm in [false, true] {
            let net = Mlp::new(&[5, 70, 19, outputs], act, layer_norm);
            let mut params = vec![0.0; net.len()];
            net.init(&mut params, Init::Uniform, &mut rng);
            let rows = 37;
            let (mut x, mut d) = (vec![0.0; rows * 5], vec![0.0; rows * outputs]);
            normals(&mut rng, &mut x);
            normals(&mut rng, &mut d);
            let mut tape = net.tape();
            let ours = net.forward(&params, &x, &mut tape).to_vec();
            let (mut grads, mut dx) = (vec![9.0; net.len()], vec![0.0; rows * 5]);
            net.backward(&params, &x, &d, &mut tape, &mut grads, true, Some(&mut dx));
            let mut twice = grads.clone();
            net.backward(&params, &x, &d, &mut tape, &mut twice, false, None);
            let half: Vec<f32> = twice.iter().map(|g| 0.5 * g).collect();
            assert_close("added", &half, &grads);
            let mut dx_alone = vec![0.0; rows * 5];
            net.backward_input(&params, rows, &d, &mut tape, &mut dx_alone);
            assert_eq!(dx, dx_alone);

            let what = format!("{act:?}, layer norm {layer_norm}");
            let input = tensor(&x, [rows, 5]);
            let (leaves, theirs) = reference(&net, &params, input.clone(), act);
            assert_close(&what, &ours, &values(&theirs));
            let back = (theirs * tensor(&d, [rows, outputs]).detach()).sum().backward();
            let gradient = |t: &Tensor<2>| values(&t.grad(&back).expect("a leaf"));
            let of_params: Vec<f32> = leaves.iter().flat_map(gradient).collect();
            assert_close(&format!("{what}, parameters"), &grads, &of_params);
            assert_close(&format!("{what}, input"), &dx, &gradient(&input));
            // A row by itself.
            for row in [0, 36] {
                let alone = net.row(&params, &x[row * 5..(row + 1) * 5], &mut tape).to_vec();
                assert_close(
                    &format!("{what}, one row"),
                    &alone,
                    &ours[row * outputs..(row + 1) * outputs],
                );
            }
        }
    }
}

#[test]
fn orthogonal_weights_are_orthogonal() {
    for (inputs, outputs) in [(17, 64), (64, 6), (8, 8)] {
        let net = Mlp::new(&[inputs, outputs], Nonlinearity::Tanh, false);
        let mut params = vec![1.0; net.len()];
        net.init(&mut params, Init::Orthogonal { last_gain: 0.5 }, &mut stream(2, "test", 0));
        let w = |i: usize, o: usize| f64::from(params[i * outputs + o]);
        let few = inputs.min(outputs);
        for a in 0..few {
            for b in 0..few {
                let dot: f64 = match inputs <= outputs {
                    true => (0..outputs).map(|o| w(a, o) * w(b, o)).sum(),
                    false => (0..inputs).map(|i| w(i, a) * w(i, b)).sum(),
                };
                let wanted = if a == b { 0.25 } else { 0.0 };
                assert!((dot - wanted).abs() < 1e-6, "{inputs} × {outputs}: {a}, {b}: {dot}");
            }
        }
        assert!(params[inputs * outputs..].iter().all(|b| *b == 0.0));
    }
}

#[test]
fn tensors_turn_to_the_files_layout_and_back() {
    let net = Mlp::new(&[2, 3], Nonlinearity::Tanh, false);
    let spec = &net.specs("actor")[0];
    let memory = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let file = spec.turn(&memory, false);
    assert_eq!(file, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    assert_eq!(spec.turn(&file, true), memory);
}
