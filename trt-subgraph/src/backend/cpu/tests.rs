//! The engine against the reference backend, on every instruction set that this machine has, alone and in a team.

mod attention;
mod bands;
mod far_windows;
mod minimal_filtering;
mod narrow;
mod norms;
mod parts;
mod picked_rows;
mod runs;
mod truths;

use super::engine::CpuEngine;
use super::expr::Isa;
use super::machine::Machine;
use super::onednn::OneDnn;
use super::tactic::{Choice, Way};
use super::team::Team;
use crate::backend::reference::evaluate;
use crate::backend::{Engine, Io, Stream};
use crate::network::Network;
use crate::{Literal, Random, compare, tolerance};

fn machines() -> Vec<(Machine, Team)> {
    let library = OneDnn::get().ok();
    let best = Isa::detect();
    let isas = Isa::ALL.into_iter().filter(|&isa| isa <= best);
    let machine = |isa, threads| {
        let team = Team::new(threads, library.as_ref());
        let (library, choice) = (library.clone(), Choice::Sizes);
        (Machine { isa, cache: 1 << 19, threads, library, choice, least_part: 0.0 }, team)
    };
    isas.flat_map(|isa| [1, 3].map(|threads| machine(isa, threads))).collect()
}

/// Runs a network on random values everywhere, the first input with a few that are not finite.
fn agrees(text: &str, seed: u64) {
    agrees_on(text, seed, &machines());
}

fn agrees_on(text: &str, seed: u64, machines: &[(Machine, Team)]) {
    let network = Network::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    network.verify().unwrap_or_else(|e| panic!("{e}\n{text}"));
    let mut random = Random::new(seed);
    let parameters: Vec<Literal> = network.parameters.iter().map(|p| random.literal(p.ty.clone())).collect();
    let mut inputs: Vec<Literal> =
        network.inputs.iter().map(|&v| random.literal(network.ty(v).clone())).collect();
    if random.chance(0.3) && inputs[0].ty().elements() > 0 {
        let mut values = inputs[0].to_f64();
        for odd in [f64::NAN, f64::INFINITY] {
            let at = random.below(values.len());
            values[at] = odd;
        }
        inputs[0] = Literal::from_f64(inputs[0].ty().clone(), values).expect("as many as before");
    }
    let expected = evaluate(&network, &parameters, &inputs).expect("a network that runs");
    for (machine, team) in machines.iter().cloned() {
        let what = format!("{:?}, {} threads, seed {seed}\n{text}", machine.isa, machine.threads);
        let outputs = run(&network, machine, team, &parameters, &inputs);
        for (found, expected) in outputs.iter().zip(&expected) {
            let tolerance = tolerance(expected.ty().dtype).max(5e-5);
            if let Err(e) = compare(found, expected, tolerance) {
                panic!("{e}: {what}");
            }
        }
    }
}

/// What an engine for a network gives.
fn run(
    network: &Network,
    machine: Machine,
    team: Team,
    parameters: &Vec<Literal>,
    inputs: &[Literal],
) -> Vec<Literal> {
    let mut engine = CpuEngine::compile(network, machine, team, parameters, &[]).expect("it compiles");
    let mut outputs: Vec<Literal> = engine.signature().outputs.iter().cloned().map(Literal::zeros).collect();
    let from: Vec<*const u8> = inputs.iter().map(|l| l.bytes().as_ptr()).collect();
    let to: Vec<*mut u8> = outputs.iter_mut().map(|l| l.bytes_mut().as_mut_ptr()).collect();
    // SAFETY: inputs and outputs were made of the signature.
    unsafe { engine.run(&Io { inputs: &from, outputs: &to }, Stream::NONE) }.expect("it runs");
    outputs
}

/// All machines, on which convolutions are run in this way.
fn settled(way: Way) -> Vec<(Machine, Team)> {
    let settle = |(machine, team)| (Machine { choice: Choice::Settled(way), ..machine }, team);
    machines().into_iter().map(settle).collect()
}

const EPILOGUES: [&str; 9] = [
    "",
    "{ i0 + i1 }",
    "{ max(i0 + i1, 0:f32) }",
    "{ min(max(i0 + i1 + i2, 0:f32), 6:f32) }",
    "{ i2 + (i0 + i1) }",
    "{ tanh(i0 + i1) }",
    "{ sigmoid(i0 + i1) * i2 + i1 }",
    "{ max(i2 - i0, -1:f32) }",
    "{ t0 = i0 + i1; t0 * sigmoid(t0) }",
];

/// The operands that an epilogue reads: a bias, and a tensor of the result's shape.
fn operands(epilogue: &str) -> &'static str {
    match (epilogue.contains("i2"), epilogue.contains("i1")) {
        (true, _) => ", %b, %r",
        (_, true) => ", %b",
        _ => "",
    }
}

/// How many results a window of `k` taps gives along an axis of this size, its border included.
fn result(size: usize, k: usize, dilation: usize, stride: usize) -> Option<usize> {
    size.checked_sub((k - 1) * dilation + 1).map(|room| room / stride + 1)
}

#[test]
fn convolutions_with_epilogues() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        // As sizes suggest, then in every way.
        let way = if seed < 100 { Way::Suitable } else { *random.pick(&Way::ALL) };
        let mut pick = |from: &[usize]| *random.pick(from);
        let groups = pick(&[1, 1, 1, 2, 3]);
        let (n, c, o) =
            (pick(&[1, 2, 3]), groups * pick(&[1, 3, 4, 16, 17]), groups * pick(&[1, 4, 10, 16, 20, 33, 70]));
        let (kh, kw) = (pick(&[1, 2, 3, 5]), pick(&[1, 3]));
        let (sh, sw, dh, dw) = (pick(&[1, 1, 2]), pick(&[1, 1, 2, 3]), pick(&[1, 1, 2]), pick(&[1, 1, 2]));
        let pad = [0; 4].map(|_| pick(&[0, 0, 1, 2]));
        let (h, w) = (pick(&[1, 4, 7, 9]), pick(&[2, 5, 8, 17]));
        let sizes = (result(h + pad[0] + pad[1], kh, dh, sh), result(w + pad[2] + pad[3], kw, dw, sw));
        let (Some(oh), Some(ow)) = sizes else { continue };
        let epilogue = EPILOGUES[pick(&[0, 1, 2, 3, 4, 5, 6, 7, 8])];
        let operands = operands(epilogue);
        agrees_on(
            &format!(
                "input %x: f32[{n},{c},{h},{w}]
                 input %r0: f32[{n},{o},{oh},{ow}]
                 param \"w\": f32[{o},{},{kh},{kw}]
                 param \"b\": f32[{o},1,1]
                 %w: f32[{o},{},{kh},{kw}] = parameter 0
                 %b: f32[{o},1,1] = parameter 1
                 %r = pointwise(%r0) {{ neg(i0) }}
                 %y = convolution(%x, %w{operands}) stride=[{sh},{sw}] padding=[({},{}),({},{})] \
                     dilation=[{dh},{dw}] groups={groups} {epilogue}
                 %z = pointwise(%y) {{ max(i0, 0:f32) }}
                 output %y, %r, %z",
                c / groups,
                c / groups,
                pad[0],
                pad[1],
                pad[2],
                pad[3]
            ),
            seed,
            &settled(way),
        );
    }
}

#[test]
fn convolutions_over_one_axis() {
    for (seed, (k, pad)) in [(1, 0), (3, 1), (4, 3)].into_iter().enumerate() {
        agrees(
            &format!(
                "input %x: f32[2,6,11]
                 param \"w\": f32[24,6,{k}]
                 %w: f32[24,6,{k}] = parameter 0
                 %y = convolution(%x, %w) padding=[({pad},{pad})] {{ max(i0, 0:f32) }}
                 output %y"
            ),
            seed as u64,
        );
    }
}

#[test]
fn products_with_weights() {
    for seed in 0..80 {
        let mut random = Random::new(1000 + seed);
        let mut pick = |from: &[usize]| *random.pick(from);
        let (lead, m) = (pick(&[0, 1, 3]), pick(&[1, 1, 2, 7, 13, 50]));
        let (n, k) = (pick(&[1, 10, 16, 31, 64, 65, 300]), pick(&[1, 3, 64, 129, 300, 1400]));
        let (ta, tb) = (pick(&[0, 0, 0, 1]) == 1, pick(&[0, 1]) == 1);
        let front = if lead == 0 { String::new() } else { format!("{lead},") };
        let (x, w) = (if ta { (k, m) } else { (m, k) }, if tb { (n, k) } else { (k, n) });
        let epilogue = EPILOGUES[pick(&[0, 1, 2, 3, 4, 5, 6, 7, 8])];
        let operands = operands(epilogue);
        agrees(
            &format!(
                "input %x: f32[{front}{},{}]
                 input %r0: f32[{front}{m},{n}]
                 param \"w\": f32[{},{}]
                 param \"b\": f32[{n}]
                 %w: f32[{},{}] = parameter 0
                 %b: f32[{n}] = parameter 1
                 %r = pointwise(%r0) {{ neg(i0) }}
                 %y = matmul(%x, %w{operands}) transpose_a={ta} transpose_b={tb} {epilogue}
                 output %y",
                x.0, x.1, w.0, w.1, w.0, w.1
            ),
            seed,
        );
    }
}

#[test]
fn residuals_and_inputs_of_any_layout() {
    // A channel slice of a wider tensor, and a permuted one.
    for seed in 0..4 {
        agrees(
            "input %x: f32[2,24,5,6]
             input %p: f32[2,5,6,16]
             param \"w\": f32[16,8,3,3]
             param \"v\": f32[16,16,1,1]
             %w: f32[16,8,3,3] = parameter 0
             %v: f32[16,16,1,1] = parameter 1
             %s = slice(%x) ranges=[0:1:2,8:1:8,0:1:5,0:1:6]
             %q = permute(%p) axes=[0,3,1,2]
             %y = convolution(%s, %w, %q) padding=[(1,1),(1,1)] { max(i0 + i1, 0:f32) }
             %z = convolution(%y, %v, %y) { i0 + i1 }
             output %z",
            seed,
        );
    }
}

#[test]
fn convolutions_of_channels_alone() {
    for seed in 0..60 {
        let mut random = Random::new(2000 + seed);
        let mut pick = |from: &[usize]| *random.pick(from);
        let (n, c, k) = (pick(&[1, 2]), pick(&[2, 4, 16, 17, 40]), pick(&[1, 3, 5]));
        let (stride, dilation, pad) = (pick(&[1, 2]), pick(&[1, 1, 2]), pick(&[0, 1, 2]));
        let (h, w) = (pick(&[5, 8]), pick(&[6, 13]));
        let out = |size: usize| result(size + 2 * pad, k, dilation, stride);
        let (Some(oh), Some(ow)) = (out(h), out(w)) else { continue };
        let epilogue = EPILOGUES[pick(&[0, 1, 2, 3, 4, 5, 6, 7, 8])];
        let operands = operands(epilogue);
        agrees(
            &format!(
                "input %x: f32[{n},{c},{h},{w}]
                 input %r: f32[{n},{c},{oh},{ow}]
                 param \"w\": f32[{c},1,{k},{k}]
                 param \"b\": f32[{c},1,1]
                 %w: f32[{c},1,{k},{k}] = parameter 0
                 %b: f32[{c},1,1] = parameter 1
                 %y = convolution(%x, %w{operands}) stride=[{stride},{stride}] \
                     padding=[({pad},{pad}),({pad},{pad})] dilation=[{dilation},{dilation}] groups={c} {epilogue}
                 output %y"
            ),
            seed,
        );
    }
}

#[test]
fn products_of_two_tensors() {
    for seed in 0..60 {
        let mut random = Random::new(3000 + seed);
        let mut pick = |from: &[usize]| *random.pick(from);
        let (batch, heads, m) = (pick(&[1, 2]), pick(&[1, 3, 5]), pick(&[1, 2, 5, 20, 49]));
        let (n, k) = (pick(&[1, 7, 16, 33, 70]), pick(&[1, 4, 31]));
        let (ta, tb) = (pick(&[0, 0, 0, 1]) == 1, pick(&[0, 1]) == 1);
        let (x, b) = (if ta { (k, m) } else { (m, k) }, if tb { (n, k) } else { (k, n) });
        let other = pick(&[heads, heads, 1]);
        agrees(
            &format!(
                "input %x0: f32[{batch},{},{heads},{}]
                 input %b: f32[{batch},{other},{},{}]
                 %x = permute(%x0) axes=[0,2,1,3]
                 %y = matmul(%x, %b) transpose_a={ta} transpose_b={tb} {{ i0 * 0.5:f32 }}
                 output %y",
                x.0, x.1, b.0, b.1
            ),
            seed,
        );
    }
}

#[test]
fn pools_of_planes() {
    for seed in 0..60 {
        let mut random = Random::new(4000 + seed);
        let mut pick = |from: &[usize]| *random.pick(from);
        let (n, c, k) = (pick(&[1, 2]), pick(&[1, 3, 16, 21]), pick(&[1, 2, 3]));
        let (stride, pad) = (pick(&[1, 2, 3]), pick(&[0, 0, 1]).min(k / 2));
        let (h, w) = (pick(&[3, 6, 8]), pick(&[4, 7, 9]));
        let op =
            ["max", "average(true,none)", "average(false,none)", "average(false,3)"][pick(&[0, 1, 2, 3])];
        agrees(
            &format!(
                "input %x: f32[{n},{c},{h},{w}]
                 %y = pool(%x) op={op} window=[{k},{k}] stride=[{stride},{stride}] \
                     padding=[({pad},{pad}),({pad},{pad})]
                 output %y"
            ),
            seed,
        );
    }
}

#[test]
fn concatenations_of_computed_parts() {
    for seed in 0..6 {
        agrees(
            "input %x: f32[2,8,6,7]
             param \"a\": f32[16,8,3,3]
             param \"b\": f32[5,8,1,1]
             param \"c\": f32[12,45,1,1]
             %a: f32[16,8,3,3] = parameter 0
             %b: f32[5,8,1,1] = parameter 1
             %c: f32[12,45,1,1] = parameter 2
             %p = convolution(%x, %a) padding=[(1,1),(1,1)] { max(i0, 0:f32) }
             %q = convolution(%x, %b) { tanh(i0) }
             %r = pool(%x) op=max window=[3,3] stride=[1,1] padding=[(1,1),(1,1)]
             %t = concat(%p, %q, %r, %p) axis=1
             %y = convolution(%t, %c) { i0 * i0 }
             output %y, %t",
            seed,
        );
    }
}

#[test]
fn products_of_other_types() {
    for (seed, ty) in ["f64", "i64", "f16"].into_iter().enumerate() {
        for n in [5, 64, 130] {
            agrees(
                &format!("input %x: {ty}[2,3,7]\ninput %b: {ty}[7,{n}]\n%y = matmul(%x, %b)\noutput %y"),
                seed as u64,
            );
        }
    }
}

#[test]
fn small_terms_count_beside_a_large_one() {
    const TERMS: usize = 600;
    let mut x = vec![f64::from(0.4f32); TERMS];
    x[0] = 1e6;
    let want: f64 = x.iter().sum();
    for (lines, columns) in [(1, 1), (3, 1), (1, 3), (2, 64), (3, 70), (5, 1)] {
        let text = format!(
            "input %x: f32[{lines},{TERMS}]\ninput %b: f32[{TERMS},{columns}]\n%y = matmul(%x, %b)\noutput %y"
        );
        let network = Network::parse(&text).expect("it parses");
        let [a, b] = [0, 1].map(|at| network.ty(network.inputs[at]).clone());
        let a = Literal::from_f64(a, x.repeat(lines)).expect("as many as it has");
        let b = Literal::from_f64(b, vec![1.0; TERMS * columns]).expect("as many as it has");
        for (machine, team) in machines() {
            let what = format!("{:?}, {} threads: {text}", machine.isa, machine.threads);
            for found in run(&network, machine, team, &Vec::new(), &[a.clone(), b.clone()])[0].to_f64() {
                assert!((found - want).abs() < 5e-6 * want, "{found}, not {want}: {what}");
            }
        }
    }
}

#[test]
fn the_highest_level_times_and_agrees() {
    let network = "input %x: f32[1,32,14,14]\nparam \"w\": f32[32,32,3,3]\n%w: f32[32,32,3,3] = parameter 0\n%y: f32[1,32,14,14] = convolution(%x, %w) padding=[(1,1),(1,1)] { max(i0, 0:f32) }\noutput %y";
    let timed: Vec<_> = machines()
        .into_iter()
        .map(|(machine, team)| (Machine { choice: Choice::Timed(team.clone()), ..machine }, team))
        .collect();
    agrees_on(network, 5, &timed);
    let network = Network::parse(network).expect("it parses");
    let split = network.split();
    let (machine, team) = timed.last().expect("there is one").clone();
    let layer = split.run.layers.last().expect("the convolution");
    let is_static = |v| v != split.run.inputs[0];
    let way = || machine.choice.way(&machine, &split.run, layer, &is_static);
    assert_eq!(way(), way(), "what was timed once is known");
    assert_eq!(Choice::Sizes.way(&machine, &split.run, layer, &is_static), Way::Suitable);
    drop(team);
}

/// The steps of an engine on this machine.
fn steps(text: &str) -> String {
    let network = Network::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let parameters: Vec<Literal> = network.parameters.iter().map(|p| Literal::zeros(p.ty.clone())).collect();
    let (machine, team) = machines().pop().expect("there is one");
    let engine = CpuEngine::compile(&network, machine, team, &parameters, &[]).expect("it compiles");
    engine.describe().steps.join("\n")
}
