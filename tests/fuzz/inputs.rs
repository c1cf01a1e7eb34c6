//! The tensors that a program is called with: the same ones as often as they are asked for.

use crate::kinds::is_float;
use crate::program::{Argument, Attribute, Fill, Layout, Program};
use tch::{Device, IValue, Kind, Tensor};
use tch_bridge::jit::Initial;
use trt_subgraph::Random;

/// Where programs run: `FUZZ_DEVICE=cuda` is the first GPU.
pub fn device() -> Device {
    match std::env::var("FUZZ_DEVICE").as_deref() {
        Ok("cuda") => Device::Cuda(0),
        _ => Device::Cpu,
    }
}

/// In what form floating-point values are given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// In the program's own types.
    Own,
    /// In float64.
    Wide,
    /// In float64, each a little off, otherwise for each number: what differs then, rounding decides.
    Nudged(u64),
}

/// By how much of itself a nudged value is off at most.
const NUDGE: f64 = 1e-9;

/// The arguments of one call. `memory` holds what they are views of, one for each argument.
pub struct Inputs {
    pub arguments: Vec<Tensor>,
    pub memory: Vec<Tensor>,
}

/// The arguments of call number `call`.
pub fn inputs(program: &Program, call: usize, form: Form) -> Inputs {
    let set = program.calls[call];
    let mut random = Random::new(program.seed ^ (call as u64 + 1).wrapping_mul(0x9e37_79b9));
    let mut out = Inputs { arguments: vec![], memory: vec![] };
    for argument in &program.arguments {
        let (memory, view) = match argument.layout {
            Layout::Same(at) => (out.memory[at].shallow_clone(), out.arguments[at].shallow_clone()),
            Layout::Reversed(at) => {
                let first = &out.arguments[at];
                let axes: Vec<i64> = (0..first.dim() as i64).rev().collect();
                (out.memory[at].shallow_clone(), first.permute(axes))
            }
            _ => fresh(argument, set, &mut random, form),
        };
        out.arguments.push(view);
        out.memory.push(memory);
    }
    out
}

fn fresh(argument: &Argument, set: usize, random: &mut Random, form: Form) -> (Tensor, Tensor) {
    let sizes: Vec<i64> = argument.shape.iter().map(|d| d[set]).collect();
    let mut filled = |sizes: &[i64]| filled(argument.kind, sizes, argument.fill, random, form);
    match &argument.layout {
        Layout::Permuted(axes) => {
            let mut inner = sizes.clone();
            axes.iter().enumerate().for_each(|(at, &axis)| inner[axis as usize] = sizes[at]);
            let memory = filled(&inner);
            let view = memory.permute(axes);
            (memory, view)
        }
        Layout::Sliced => {
            let mut larger = sizes.clone();
            let last = larger.last_mut().expect("only tensors with axes are sliced");
            *last = *last * 2 + 1;
            let (memory, axis) = (filled(&larger), sizes.len() as i64 - 1);
            let view = memory.slice(axis, 1, None, 2);
            (memory, view)
        }
        Layout::Expanded(axis) => {
            let mut smaller = sizes.clone();
            smaller[*axis] = 1;
            let memory = filled(&smaller);
            let view = memory.expand(&sizes, false);
            (memory, view)
        }
        _ => {
            let memory = filled(&sizes);
            (memory.shallow_clone(), memory)
        }
    }
}

/// The module's attributes by name, as they are before the first call.
pub fn attributes(program: &Program, form: Form) -> Vec<(String, Initial)> {
    let mut random = Random::new(program.seed ^ 0xa77);
    let mut counts = [0; 3];
    let mut name = |which: usize, letter: &str| {
        counts[which] += 1;
        format!("{letter}{}", counts[which] - 1)
    };
    let make = |attribute: &Attribute| match attribute {
        Attribute::Parameter(kind, sizes) => {
            let tensor = filled(*kind, sizes, Fill::Normal, &mut random, form);
            (name(0, "w"), Initial::Parameter(tensor))
        }
        Attribute::Buffer(kind, sizes) => {
            let tensor = filled(*kind, sizes, Fill::Plain, &mut random, form);
            (name(1, "b"), Initial::Buffer(tensor))
        }
        Attribute::Int(value) => (name(2, "n"), Initial::Value(IValue::Int(*value))),
    };
    program.attributes.iter().map(make).collect()
}

fn filled(kind: Kind, sizes: &[i64], fill: Fill, random: &mut Random, form: Form) -> Tensor {
    const WILD: [f64; 8] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1.0, 1e4, 1e-4];
    let count = sizes.iter().product::<i64>() as usize;
    let mut value = || match kind {
        Kind::Bool => random.below(2) as f64,
        Kind::Uint8 => random.below(9) as f64,
        k if !is_float(k) => random.below(12) as f64 - 5.0,
        _ => match fill {
            Fill::Plain => (random.below(17) as f64 - 8.0) / 4.0,
            Fill::Wild if random.chance(0.2) => *random.pick(&WILD),
            _ => (0..6).map(|_| random.unit()).sum::<f64>() * 1.4 - 4.2,
        },
    };
    let mut values: Vec<f64> = (0..count).map(|_| value()).collect();
    if let (Form::Nudged(seed), true) = (form, is_float(kind)) {
        let mut off = Random::new(seed);
        values.iter_mut().for_each(|v| *v *= 1.0 + NUDGE * (2.0 * off.unit() - 1.0));
        return Tensor::from_slice(&values).reshape(sizes).to_device(device());
    }
    let tensor = Tensor::from_slice(&values).to_kind(kind).reshape(sizes).to_device(device());
    if form != Form::Own && is_float(kind) { tensor.to_kind(Kind::Double) } else { tensor }
}
