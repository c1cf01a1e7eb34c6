//! Picking elements by an index tensor. An index out of range reads nothing: the result is 0 there, and the engine's fault record says so.

use super::super::assemble::{Assembler, Fault};
use super::super::program::FAULT;
use super::super::render::{Draft, Tail, compute_type, index_type, split, sum};
use super::pointwise::thread;
use crate::network::Layer;
use std::fmt::Write;

/// Emits `layer`, which picks along `axis`; `at` is its position in the network.
pub fn assemble(
    a: &mut Assembler,
    at: usize,
    layer: &Layer,
    axis: usize,
    elements: bool,
) -> Result<(), Fault> {
    let (x, index, value) = (a.view(layer.inputs[0]), a.view(layer.inputs[1]), layer.outputs[0]);
    let shape = a.network.ty(value).shape.clone();
    let tail = Tail::plain(a.room(value, &(0..shape.len()).collect::<Vec<_>>()));
    a.define(value, tail.out.clone());
    let count = tail.out.elements();
    if count == 0 {
        return Ok(());
    }
    let ty = index_type(&[&x, &index, &tail.out], count);
    let mut draft = Draft::new("gather");
    draft.cover(count, 256);
    draft.read("x", &x);
    draft.read("index", &index);
    tail.parameters(&mut draft);
    draft.fault("fault", FAULT);
    let mut body = thread(ty, count);
    body.push_str(&split(&shape, "i", ty, "o"));
    let positions: Vec<String> = (0..shape.len()).map(|i| format!("o{i}")).collect();
    // Result axes that walk the index, and those that walk `x` (but for the picked axis).
    let (picks, steps) = if elements {
        let mut steps = x.strides.clone();
        steps[axis] = 0;
        (sum(&positions, &index.strides), steps)
    } else {
        let end = axis + index.rank();
        let mut steps = x.strides[..axis].to_vec();
        steps.extend(vec![0; index.rank()]);
        steps.extend(&x.strides[axis + 1..]);
        (sum(&positions[axis..end], &index.strides), steps)
    };
    let (size, compute) = (x.shape[axis], compute_type(x.dtype));
    let _ = write!(
        body,
        "const i64 asked = get(index[{picks}]);
const i64 picked = asked < 0 ? asked + {size} : asked;
const bool exists = picked >= 0 && picked < {size};
{compute} v = 0;
if (exists) v = get(x[{base} + ({ty})picked * {step}]);
else {{ fault[1] = asked; fault[2] = {size}; __threadfence_system(); fault[0] = {mark}; }}
",
        base = sum(&positions, &steps),
        step = x.strides[axis],
        mark = at + 1,
    );
    body.push_str(&tail.store("v", &positions, ty));
    draft.body = body;
    a.launch(draft)
}
