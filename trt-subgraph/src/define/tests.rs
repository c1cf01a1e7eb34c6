//! Layers by their names against plain loops, and what users can get wrong.

use super::*;
use crate::backend::cpu::Cpu;
use crate::backend::reference::{Reference, evaluate};
use crate::session::Session;
use crate::{Random, compare};

fn literal(random: &mut Random, shape: &[usize]) -> Literal {
    random.literal_in(TensorType::new(DType::F32, shape), -1.0, 1.0)
}

/// The outputs of a definition on these inputs, by the reference.
fn run(n: &Definition, inputs: &[Literal]) -> Vec<Literal> {
    let network = n.network();
    network.verify().unwrap();
    evaluate(&network, &n.weights, inputs).unwrap()
}

fn floats(shape: &[usize], values: Vec<f64>) -> Literal {
    Literal::from_f64(TensorType::new(DType::F32, shape), values).unwrap()
}

#[test]
fn lrn_is_its_formula() {
    for size in [1, 2, 3, 5] {
        let mut n = Definition::new();
        let x = n.input("x", DType::F32, &[2, 6, 3]).unwrap();
        let y = n.lrn(x, size, 0.5, 0.75, 2.0).unwrap();
        n.output("y", y).unwrap();
        let input = literal(&mut Random::new(1), &[2, 6, 3]);
        let at = |b: usize, c: isize, p: usize| {
            if (0..6).contains(&c) { input.f64_at((b * 6 + c as usize) * 3 + p) } else { 0.0 }
        };
        let mut expected = Vec::new();
        for (b, c, p) in (0..36).map(|i| (i / 18, (i / 3 % 6) as isize, i % 3)) {
            let first = c - (size / 2) as isize;
            let sum: f64 = (first..first + size as isize).map(|c| at(b, c, p) * at(b, c, p)).sum();
            expected.push(at(b, c, p) / (2.0 + 0.5 / size as f64 * sum).powf(0.75));
        }
        compare(&run(&n, &[input])[0], &floats(&[2, 6, 3], expected), 1e-6).unwrap();
    }
}

/// `w[H, K] @ x[K] + b[H]`.
fn affine(w: &Literal, x: &[f64], b: Option<&Literal>) -> Vec<f64> {
    let row = |h: usize| {
        let product: f64 = x.iter().enumerate().map(|(k, x)| w.f64_at(h * x_len(w) + k) * x).sum();
        product + b.map_or(0.0, |b| b.f64_at(h))
    };
    (0..w.ty().shape[0]).map(row).collect()
}

fn x_len(w: &Literal) -> usize {
    w.ty().shape[1]
}

fn sigmoid(v: f64) -> f64 {
    1.0 / (1.0 + (-v).exp())
}

/// One step of a cell on one row: the weights of each gate in order, the input, the state.
fn step(cell: Cell, gates: &[[Literal; 4]], biased: bool, x: &[f64], state: &mut (Vec<f64>, Vec<f64>)) {
    let part = |g: usize, at: usize, v: &[f64]| affine(&gates[g][at], v, biased.then_some(&gates[g][at + 2]));
    let both: Vec<(Vec<f64>, Vec<f64>)> =
        (0..gates.len()).map(|g| (part(g, 0, x), part(g, 1, &state.0))).collect();
    for h in 0..state.0.len() {
        let sum = |g: usize| both[g].0[h] + both[g].1[h];
        state.0[h] = match cell {
            Cell::Tanh => sum(0).tanh(),
            Cell::Relu => sum(0).max(0.0),
            Cell::Lstm => {
                state.1[h] = sigmoid(sum(1)) * state.1[h] + sigmoid(sum(0)) * sum(2).tanh();
                sigmoid(sum(3)) * state.1[h].tanh()
            }
            Cell::Gru => {
                let new = (both[2].0[h] + sigmoid(sum(0)) * both[2].1[h]).tanh();
                let update = sigmoid(sum(1));
                (1.0 - update) * new + update * state.0[h]
            }
        };
    }
}

#[test]
fn recurrent_layers_are_their_cells() {
    const T: usize = 4;
    const B: usize = 2;
    const I: usize = 3;
    const H: usize = 5;
    for (cell, biased) in
        [Cell::Lstm, Cell::Gru, Cell::Tanh, Cell::Relu].map(|c| [(c, true), (c, false)]).concat()
    {
        let mut random = Random::new(7);
        let mut n = Definition::new();
        let x = n.input("x", DType::F32, &[T, B, I]).unwrap();
        let h = n.input("h", DType::F32, &[2, B, H]).unwrap();
        let lstm = cell == Cell::Lstm;
        let c = lstm.then(|| n.input("c", DType::F32, &[2, B, H]).unwrap());
        let mut cells = Recurrent::new(cell, 2);
        let mut weights: Vec<Vec<[Literal; 4]>> = Vec::new();
        for layer in 0..2 {
            let mut gates = Vec::new();
            for &gate in cell.gates() {
                let size = if layer == 0 { I } else { H };
                let shapes: [&[usize]; 4] = [&[H, size], &[H, H], &[H], &[H]];
                let values = shapes.map(|shape| literal(&mut random, shape));
                let mut at = 0;
                let ids = values.clone().map(|v| {
                    at += 1;
                    n.weight(&format!("{layer}.{gate:?}.{at}"), v).unwrap()
                });
                let biases = biased.then_some((ids[2], ids[3]));
                cells.set(layer, gate, GateWeights { input: ids[0], hidden: ids[1], biases });
                gates.push(values);
            }
            weights.push(gates);
        }
        let out = n.recurrent(x, &cells, h, c).unwrap();
        n.output("states", out.states).unwrap();
        n.output("hidden", out.hidden).unwrap();
        if let Some(c) = out.cell {
            n.output("cell", c).unwrap();
        }
        let mut inputs = vec![literal(&mut random, &[T, B, I]), literal(&mut random, &[2, B, H])];
        inputs.extend(lstm.then(|| literal(&mut random, &[2, B, H])));
        let row = |l: &Literal, at: usize, size: usize| -> Vec<f64> {
            (0..size).map(|i| l.f64_at(at * size + i)).collect()
        };
        let zeros = || vec![0.0; H];
        let mut states: Vec<Vec<(Vec<f64>, Vec<f64>)>> = (0..2)
            .map(|l| {
                (0..B)
                    .map(|b| {
                        (
                            row(&inputs[1], l * B + b, H),
                            if lstm { row(&inputs[2], l * B + b, H) } else { zeros() },
                        )
                    })
                    .collect()
            })
            .collect();
        let mut all = Vec::new();
        for (t, b) in (0..T * B).map(|i| (i / B, i % B)) {
            let mut v = row(&inputs[0], t * B + b, I);
            for (layer, gates) in weights.iter().enumerate() {
                step(cell, gates, biased, &v, &mut states[layer][b]);
                v = states[layer][b].0.clone();
            }
            all.extend(v);
        }
        let mut expected = vec![floats(&[T, B, H], all)];
        let last: Vec<&(Vec<f64>, Vec<f64>)> = states.iter().flatten().collect();
        expected.push(floats(&[2, B, H], last.iter().flat_map(|s| s.0.clone()).collect()));
        if lstm {
            expected.push(floats(&[2, B, H], last.iter().flat_map(|s| s.1.clone()).collect()));
        }
        for (found, expected) in run(&n, &inputs).iter().zip(&expected) {
            compare(found, expected, 1e-5).unwrap_or_else(|e| panic!("{cell:?} biased {biased}: {e}"));
        }
    }
}

/// A network with every layer that has a name.
fn everything(mut n: Definition) -> Definition {
    let mut random = Random::new(3);
    let mut weight = |n: &mut Definition, name: &str, shape: &[usize]| {
        let value = random.literal_in(TensorType::new(DType::F32, shape), -0.3, 0.3);
        n.weight(name, value).unwrap()
    };
    let x = n.input("image", DType::F32, &[2, 3, 12, 12]).unwrap();
    let w = weight(&mut n, "conv.weight", &[8, 3, 3, 3]);
    let b = weight(&mut n, "conv.bias", &[8]);
    let y = n.layer("conv").convolution(x, w, Some(b), &Window::stride(&[1]).padded(&[1, 1])).unwrap();
    assert_eq!(n.ty(y).shape, [2, 8, 12, 12]);
    let y = n.activation(y, Activation::Relu).unwrap();
    let y = n.layer("lrn").lrn(y, 5, 1e-4, 0.75, 1.0).unwrap();
    let most = n.layer("pools").pooling(y, Pooling::Max, &[2, 2], &Window::stride(&[2])).unwrap();
    let mean = n.pooling(y, Pooling::Average, &[2, 2], &Window::stride(&[2])).unwrap();
    let y = n.elementwise(most, mean, Elementwise::Sum).unwrap();
    let w = weight(&mut n, "up.weight", &[8, 4, 2, 2]);
    let y = n.layer("up").deconvolution(y, w, None, &Window::stride(&[2])).unwrap();
    assert_eq!(n.ty(y).shape, [2, 4, 12, 12]);
    let mut y = n.layer("shuffle").shuffle(y, Some(&[0, 2, 3, 1]), Some(&[2, 576])).unwrap();
    let others = [
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::LeakyRelu(0.1),
        Activation::Elu(0.5),
        Activation::Clip(-0.5, 0.5),
        Activation::Gelu,
        Activation::Silu,
    ];
    for (at, kind) in others.into_iter().enumerate() {
        y = n.layer(&format!("activation {at}")).activation(y, kind).unwrap();
    }
    let two = n.constant(Literal::scalar(DType::F32, 2.0)).unwrap();
    for kind in [
        Elementwise::Product,
        Elementwise::Difference,
        Elementwise::Quotient,
        Elementwise::Max,
        Elementwise::Min,
        Elementwise::Power,
    ] {
        y = n.elementwise(y, two, kind).unwrap();
    }
    let w = weight(&mut n, "fc.weight", &[10, 576]);
    let b = weight(&mut n, "fc.bias", &[10]);
    let scores = n.layer("fc").fully_connected(y, w, Some(b)).unwrap();
    let w = weight(&mut n, "square", &[10, 10]);
    let scores = n.matmul(scores, w).unwrap();
    let scores = n.softmax(scores, 1).unwrap();
    let (values, places) = n.layer("best").top_k(scores, 3, 1, true).unwrap();
    n.output("scores", scores).unwrap();
    n.output("values", values).unwrap();
    n.output("places", places).unwrap();
    n
}

#[test]
fn a_definition_builds_saves_and_runs() {
    let mut image = literal(&mut Random::new(9), &[2, 3, 12, 12]);
    let definition = everything(Definition::new());
    let expected = run(&definition, std::slice::from_ref(&image));
    let backends: [&dyn Backend; 2] = [&Reference, &Cpu];
    for backend in backends.into_iter().filter(|b| b.probe().is_ok()) {
        let plan = everything(Definition::new()).build(backend, &CompileOptions::default()).unwrap();
        assert_eq!(plan.is_built_for(backend, plan.options()), backend.name() == "cpu");
        let plan = Plan::from_bytes(plan.bytes().clone()).unwrap();
        let mut session = Session::new(&plan, backend, plan.options()).unwrap();
        session.set("image", &image).unwrap();
        session.run().unwrap();
        compare(&session.get("scores").unwrap(), &expected[0], 1e-5).unwrap();
        assert_eq!(session.get("places").unwrap(), expected[2]);
    }
    // In half precision everything between the borders is f16, and the borders stay f32.
    let half = everything(Definition::in_precision(DType::F16));
    let network = half.network();
    let inner: Vec<&crate::network::Layer> =
        network.layers.iter().filter(|l| l.kind.name() == "convolution").collect();
    assert!(!inner.is_empty() && inner.iter().all(|l| network.ty(l.outputs[0]).dtype == DType::F16));
    compare(&run(&half, std::slice::from_ref(&image))[0], &expected[0], 1e-2).unwrap();
    assert_ne!(run(&half, std::slice::from_ref(&image))[0], expected[0]);
    image.bytes_mut()[..4].copy_from_slice(&f32::NAN.to_ne_bytes());
    assert!(run(&half, &[image])[0].f64_at(0).is_nan());
}

#[test]
fn mistakes_are_named() {
    let mut n = Definition::new();
    let x = n.input("x", DType::F32, &[1, 3, 8, 8]).unwrap();
    assert!(matches!(n.input("x", DType::F32, &[1]), Err(DefineError::Name { what: "input", .. })));
    assert!(n.input("huge", DType::F32, &[usize::MAX, 2]).is_err());
    let w = n.weight("w", literal(&mut Random::new(1), &[4, 5, 3, 3])).unwrap();
    assert!(matches!(
        n.weight("w", Literal::scalar(DType::F32, 0.0)),
        Err(DefineError::Name { what: "weight", .. })
    ));
    let error = n.layer("first").convolution(x, w, None, &Window::default()).unwrap_err().to_string();
    assert_eq!(error, "first: the operands do not fit: convolution: the weight fits the channels");
    assert!(n.convolution(x, w, None, &Window::stride(&[0])).is_err());
    assert!(n.pooling(x, Pooling::Max, &[], &Window::default()).is_err());
    assert!(n.pooling(x, Pooling::Max, &[9, 9], &Window::default()).is_err());
    assert!(n.lrn(x, 0, 1.0, 1.0, 1.0).is_err() && n.softmax(x, 9).is_err());
    let stranger = ValueId(999);
    assert!(
        n.output("y", stranger).is_err()
            && n.softmax(stranger, 0).is_err()
            && n.reshape(stranger, &[1]).is_err()
    );
    assert!(n.call("aten::no_such_thing", vec![]).is_err());
    let cells = Recurrent::new(Cell::Gru, 1);
    let error = n.layer("rnn").recurrent(x, &cells, x, None).unwrap_err().to_string();
    assert_eq!(
        error,
        "rnn: the operands do not fit: every layer has weights for [Reset, Update, New] and nothing else"
    );
    n.output("x", x).unwrap();
    assert!(matches!(n.output("x", x), Err(DefineError::Name { what: "output", .. })));
    if Cpu.probe().is_ok() {
        let mut greedy = everything(Definition::new());
        greedy.workspace_limit(64);
        let error = greedy.build(&Cpu, &CompileOptions::default()).unwrap_err();
        assert!(matches!(error, DefineError::Workspace { limit: 64, .. }), "{error}");
    }
}
