//! Borders, one thread for each 16 bytes of the result.

use super::super::assemble::{Assembler, Fault};
use super::super::layout::order_of;
use super::super::render::{Draft, Tail, indent, index_type, literal, split, sum};
use super::pointwise::thread;
use crate::Literal;
use crate::backend::view::View;
use crate::network::Layer;
use crate::network::expr::Scalar;
use crate::network::layer::PadMode;
use std::fmt::Write;

/// Emits `layer`, which puts `border` around its operand.
pub fn assemble(
    a: &mut Assembler,
    layer: &Layer,
    border: &[(usize, usize)],
    mode: PadMode,
) -> Result<(), Fault> {
    let (x, value) = (a.view(layer.inputs[0]), layer.outputs[0]);
    let out = a.room(value, &order_of(&x));
    a.define(value, out.clone());
    emit(a, &x, border, mode, out)
}

/// Emits `x` with `border` around it, into `out`; it may have each axis from the third on as two, the second one of size 2.
pub fn emit(
    a: &mut Assembler,
    x: &View,
    border: &[(usize, usize)],
    mode: PadMode,
    out: View,
) -> Result<(), Fault> {
    let (order, tail) = (order_of(&out), Tail::plain(out));
    let count = tail.out.elements();
    if count == 0 {
        return Ok(());
    }
    let ty = index_type(&[x, &tail.out], count);
    let innermost = order.last().copied();
    let pack = innermost.map_or(1, |axis| tail.pack(axis));
    let mut draft = Draft::new("pad");
    draft.cover(count / pack, 256);
    draft.read("x", x);
    tail.parameters(&mut draft);
    draft.aligned(pack * tail.out.dtype.size());
    let mut whole = thread(ty, count / pack);
    let mut sizes: Vec<usize> = order.iter().map(|&axis| tail.out.shape[axis]).collect();
    sizes.iter_mut().last().into_iter().for_each(|n| *n /= pack);
    whole.push_str(&split(&sizes, "i", ty, "o"));
    let at = |axis: usize| format!("o{}", order.iter().position(|&o| o == axis).expect("a permutation"));
    let first: Vec<String> = (0..tail.out.rank())
        .map(|axis| if Some(axis) == innermost { format!("({} * {pack})", at(axis)) } else { at(axis) })
        .collect();
    let mut positions = first.clone();
    if let Some(axis) = innermost {
        positions[axis] = format!("({} + j)", first[axis]);
    }
    if tail.out.rank() > x.rank() {
        let halves = positions.split_off(2);
        positions.extend(halves.chunks(2).map(|two| format!("({} * 2 + {})", two[0], two[1])));
    }
    let mut body = String::new();
    let (mut inside, mut terms) = (vec!["true".to_string()], vec!["0".to_string()]);
    for axis in 0..x.rank() {
        let (n, (before, after)) = (x.shape[axis], border[axis]);
        let _ = writeln!(body, "{ty} p{axis} = {} - {before};", positions[axis]);
        if before + after > 0 {
            match mode {
                PadMode::Constant(_) => inside.push(format!("p{axis} >= 0 && p{axis} < {n}")),
                PadMode::Reflect => {
                    let _ = writeln!(
                        body,
                        "p{axis} = p{axis} < 0 ? -p{axis} : p{axis} >= {n} ? {} - p{axis} : p{axis};",
                        2 * (n as i64 - 1)
                    );
                }
                PadMode::Replicate => {
                    let _ = writeln!(
                        body,
                        "p{axis} = p{axis} < 0 ? 0 : p{axis} >= {n} ? {} : p{axis};",
                        n as i64 - 1
                    );
                }
                PadMode::Circular => {
                    let _ = writeln!(
                        body,
                        "p{axis} = p{axis} < 0 ? p{axis} + {n} : p{axis} >= {n} ? p{axis} - {n} : p{axis};"
                    );
                }
            }
        }
        terms.push(format!("p{axis} * {}", x.strides[axis]));
    }
    let compute = super::super::render::compute_type(x.dtype);
    let fill = match mode {
        PadMode::Constant(v) => v,
        _ => 0.0,
    };
    let _ = writeln!(body, "{compute} v = {};", literal(x.dtype, stored(&Literal::scalar(x.dtype, fill))));
    let _ = writeln!(body, "if ({}) v = get(x[{}]);", inside.join(" && "), terms.join(" + "));
    body.push_str("put(r.at[j], v);\n");
    let memory = format!("Pack<{}, {pack}>", tail.out_type());
    let _ = write!(
        whole,
        "{memory} r;\n#pragma unroll\nfor (int j = 0; j < {pack}; ++j) {{\n{}}}\n*reinterpret_cast<{memory}*>(y + ({ty})({})) = r;\n",
        indent(&body),
        sum(&first, &tail.out.strides)
    );
    draft.body = whole;
    a.launch(draft)
}

/// The value of a 0-d literal.
fn stored(literal: &Literal) -> Scalar {
    if literal.ty().dtype.is_float() {
        Scalar::Float(literal.f64_at(0))
    } else {
        Scalar::Int(literal.i64_at(0))
    }
}
