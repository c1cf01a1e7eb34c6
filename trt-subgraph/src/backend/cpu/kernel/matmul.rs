//! Matrix products: tiles for f32, plain loops for other types and for a few lines by a matrix that is no weight.

use super::attention::{self, Attention};
use super::bias::peel_factor;
use super::product::Product;
use crate::DType;
use crate::backend::cpu::assemble::{Assembler, Fault, Packing};
use crate::backend::cpu::expr::Isa;
use crate::backend::cpu::gemm::attend::{Attend, Scores};
use crate::backend::cpu::gemm::batch::Batch;
use crate::backend::cpu::gemm::finish::Finish;
use crate::backend::cpu::gemm::panels::Panels;
use crate::backend::cpu::gemm::sweep::Sweep;
use crate::backend::cpu::gemm::window::Window;
use crate::backend::cpu::view::{Slot, View};
use crate::network::Layer;

/// The fewest lines for which a matrix that is no weight is brought into panels.
const WORTH_PACKING: usize = 4;

/// Factors that are multiplied into an operand instead of the result.
const MODEST: std::ops::Range<f32> = 1e-3..1e3;

pub fn assemble(a: &mut Assembler, layer: &Layer, ta: bool, tb: bool) -> Result<(), Fault> {
    if let Some(scores) = attention::ends(a, layer, ta) {
        return attend(a, layer, scores, tb);
    }
    let y = a.network.ty(layer.outputs[0]).shape.clone();
    let rank = y.len();
    let order: Vec<usize> = (0..rank).collect();
    let b = a.network.ty(layer.inputs[1]);
    let shared = b.shape[..b.rank() - 2].iter().all(|&n| n == 1);
    let lines: usize = y[if shared { 0 } else { rank - 2 }..rank - 1].iter().product();
    let with_panels = shared && (a.is_static(layer.inputs[1]) || lines >= WORTH_PACKING);
    let own = a.network.ty(layer.inputs[0]).clone();
    let is_empty = own.elements() == 0 || y.contains(&0);
    if with_panels && !is_empty && own.dtype == DType::BF16 && a.machine.isa >= Isa::Avx512Bf16 {
        let x = turned(a.view(layer.inputs[0]), ta);
        return with_weight(a, layer, &x, tb);
    }
    let x = turned(a.computing(layer.inputs[0])?, ta);
    if x.dtype == DType::F32 && !is_empty {
        if with_panels {
            return with_weight(a, layer, &x, tb);
        }
        if lines >= WORTH_PACKING {
            return batch(a, layer, x, tb);
        }
    }
    let b = plain(a, layer, tb)?;
    a.result(layer, x.dtype, &order, |a, out| {
        let lead = &out.shape[..rank - 2];
        let stretched = |v: &View| v.stretch(&[lead, &v.shape[v.rank() - 2..]].concat());
        let touches = [x.slot, b.slot, out.slot];
        a.emit(Product::new(stretched(&x), stretched(&b), out.clone(), a.machine.isa), &touches);
        Ok(())
    })
}

fn batch(a: &mut Assembler, layer: &Layer, x: View, tb: bool) -> Result<(), Fault> {
    let rank = a.network.ty(layer.outputs[0]).rank();
    let order: Vec<usize> = (0..rank).collect();
    let inner = x.shape[x.rank() - 1];
    let lines = |v: &View| inner == 1 || v.strides[v.rank() - 1] == 1;
    let own: Vec<usize> = (0..x.rank()).collect();
    let x = if lines(&x) { x } else { a.ordered(x, &own) };
    let b = turned(a.computing(layer.inputs[1])?, tb);
    // What would not take the operand to the end of what f32 holds.
    let peeled = layer.epilogue.as_ref().and_then(peel_factor).filter(|(f, _)| MODEST.contains(&f.abs()));
    let (factor, rest) = peeled.unwrap_or_else(|| (1.0, layer.epilogue.clone()));
    if attention::begins(a, layer) {
        let lead = a.network.ty(layer.outputs[0]).shape[..rank - 2].to_vec();
        let [x, b] = [&x, &b].map(|v| v.stretch(&[&lead, &v.shape[v.rank() - 2..]].concat()));
        let before = rest.map(|expr| attention::change(a, expr, &layer.inputs[2..]));
        a.attended.insert(layer.outputs[0], Attention::of(Scores { x, b, factor, before, after: None }));
        return Ok(());
    }
    a.result_with(layer, rest.as_ref(), DType::F32, &order, |a, out| {
        let lead = &out.shape[..rank - 2];
        let [x, b] = [&x, &b].map(|v| v.stretch(&[lead, &v.shape[v.rank() - 2..]].concat()));
        Batch::emit(a, x, (b, factor), out);
        Ok(())
    })
}

/// The sum of values by the softmax of scores.
fn attend(a: &mut Assembler, layer: &Layer, scores: Scores, tb: bool) -> Result<(), Fault> {
    let rank = a.network.ty(layer.outputs[0]).rank();
    let order: Vec<usize> = (0..rank).collect();
    let v = turned(a.computing(layer.inputs[1])?, tb);
    a.result(layer, DType::F32, &order, |a, out| {
        let lead = &out.shape[..rank - 2];
        let stretched = |v: &View| v.stretch(&[lead, &v.shape[v.rank() - 2..]].concat());
        let scores = Scores { x: stretched(&scores.x), b: stretched(&scores.b), ..scores };
        Attend::emit(a, scores, stretched(&v), out);
        Ok(())
    })
}

/// The product with one matrix for all: every line of `x`, which is of f32 or bf16, is a position.
fn with_weight(a: &mut Assembler, layer: &Layer, x: &View, tb: bool) -> Result<(), Fault> {
    let y = a.network.ty(layer.outputs[0]).shape.clone();
    let rank = y.len();
    let (inner, columns) = (x.shape[x.rank() - 1], y[rank - 1]);
    let lines: usize = y[..rank - 1].iter().product();
    let stretched = x.stretch(&[&y[..rank - 1], &[inner]].concat());
    let flat = stretched.reshape(&[lines, inner]).filter(|v| inner == 1 || v.strides[1] == 1);
    let flat = match flat {
        Some(flat) => flat,
        None => {
            let order: Vec<usize> = (0..rank).collect();
            a.ordered(stretched, &order).reshape(&[lines, inner]).ok_or("a dense tensor takes any shape")?
        }
    };
    let narrow = x.dtype == DType::BF16;
    let panels = match narrow {
        true => Panels::of_pairs(a.machine.isa, columns, inner.div_ceil(2)),
        false => Panels::new(a.machine.isa, columns, inner, inner),
    };
    let packing = panels.packing(if tb { "lines" } else { "columns" }, move |w: &View| {
        let w = turned(w.clone(), tb);
        w.reshape(&[1, inner, columns]).expect("leading axes of 1 go")
    });
    let weights = a.packed(layer.inputs[1], 4 * panels.elements(), packing)?;
    // Every line a position: `[1, lines, 1, columns]`.
    let positions = move |v: &View| {
        let flat = v.reshape(&[lines, v.shape[v.rank() - 1]])?;
        let (shape, strides) = (&flat.shape, &flat.strides);
        let (shape, strides) = (vec![1, shape[0], 1, shape[1]], vec![0, strides[0], 0, strides[1]]);
        Some(View { shape, strides, ..flat })
    };
    let (finish, rest) = Finish::split(a, layer, rank - 1, (panels.lanes, narrow), positions)?;
    let order: Vec<usize> = (0..rank).collect();
    let stored = Finish::stores(a, layer, narrow && rest.is_none());
    a.result_with(layer, rest.as_ref(), stored, &order, |a, out| {
        let [x, out] = [&flat, &out].map(|v| positions(v).ok_or("a dense tensor is lines"));
        Sweep::emit(a, Window::ONE, x?, out?, (panels, weights), finish);
        Ok(())
    })
}

/// The last two axes swapped where the layer says so.
fn turned(view: View, swap: bool) -> View {
    let mut axes: Vec<usize> = (0..view.rank()).collect();
    if swap {
        axes.swap(view.rank() - 2, view.rank() - 1);
    }
    view.permute(&axes)
}

/// `b[.., K, N]` with its lines contiguous.
fn plain(a: &mut Assembler, layer: &Layer, tb: bool) -> Result<View, Fault> {
    let value = layer.inputs[1];
    let ty = a.network.ty(value).clone();
    let dtype = if matches!(ty.dtype, DType::F16 | DType::BF16) { DType::F32 } else { ty.dtype };
    let ty = turned(View::row_major(Slot(0), &ty.with_dtype(dtype)), tb).ty();
    let to = View::row_major(Slot(0), &ty);
    let form = format!("turned: {tb}, {to:?}");
    let pack = move |a: &mut Assembler, from, slot, offset| {
        let from = a.multiplied(from);
        let from = a.converted(turned(from, tb), to.dtype);
        a.copy(&from, View { slot, offset, ..to });
        Ok(())
    };
    let (slot, offset) = a.packed(value, ty.bytes(), Packing::new(form, Box::new(pack)))?;
    Ok(View { offset, ..View::row_major(slot, &ty) })
}
