//! Convolutions: oneDNN over tensors whose channels are innermost, plain loops for what it does not take.

use super::bias;
use super::direct::Direct;
use super::pool::channels_last;
use crate::DType;
use crate::backend::cpu::assemble::{Assembler, Fault, Packing};
use crate::backend::cpu::onednn::step::{Operand, dense, emit, packed};
use crate::backend::cpu::onednn::{Desc, OneDnn, Primitive, Recipe, arg};
use crate::backend::cpu::view::View;
use crate::network::layer::Convolution;
use crate::network::{Layer, TensorType};
use std::sync::Arc;

pub fn assemble(a: &mut Assembler, layer: &Layer, c: &Convolution) -> Result<(), Fault> {
    let x = a.computing(layer.inputs[0])?;
    let order = channels_last(x.rank());
    if let (DType::F32, Some(library), true) = (x.dtype, a.machine.library.clone(), x.elements() > 0) {
        let bias = bias::split(a, layer, 1);
        let y = a.network.ty(layer.outputs[0]).with_dtype(DType::F32);
        let w = a.network.ty(layer.inputs[1]).shape.clone();
        if let Some(primitive) = primitive(&library, c, &x.ty(), &w, &y, bias.is_some()) {
            return with_onednn(a, layer, c, x, primitive, bias);
        }
    }
    let w = plain_weights(a, layer, c)?;
    a.result(layer, x.dtype, &order, |a, out| {
        let touches = [x.slot, w.slot, out.slot];
        a.emit(Direct::new(c, x, w, out, a.machine.isa), &touches);
        Ok(())
    })
}

/// The weights as oneDNN names their axes: `[groups,] outputs, inputs, window...`, given row-major ones.
fn weights_view(c: &Convolution, w: &View) -> View {
    let mut shape = w.shape.clone();
    shape[0] /= c.groups;
    shape.insert(0, c.groups);
    let grouped = w.reshape(&shape).expect("row-major weights split their first axis");
    let mut axes: Vec<usize> = (0..shape.len()).collect();
    if c.transposed {
        axes.swap(1, 2);
    }
    let grouped = grouped.permute(&axes);
    if c.groups > 1 { grouped } else { grouped.reshape(&grouped.shape[1..]).expect("one group is none") }
}

/// The primitive, unless oneDNN has none or only its slow reference.
fn primitive(
    library: &Arc<OneDnn>,
    c: &Convolution,
    x: &TensorType,
    w: &[usize],
    y: &TensorType,
    bias: bool,
) -> Option<Primitive> {
    let order = channels_last(x.rank());
    let slot = crate::backend::cpu::view::Slot(0);
    let lies = |ty: &TensorType| dense(library, &View::dense(slot, ty, &order), &order).ok();
    let weights = weights_view(c, &View::row_major(slot, &TensorType::new(DType::F32, w)));
    let weights = Desc::any(library, &weights.shape).ok()?;
    let bias = if bias { Some(Desc::strided(library, &[y.shape[1]], &[1]).ok()?) } else { None };
    let padding: Vec<(i64, i64)> = (c.padding.iter().zip(&c.output_padding))
        .map(|(&(before, after), &extra)| (before as i64, after as i64 - extra as i64))
        .collect();
    let recipe = Recipe::Convolution {
        transposed: c.transposed,
        src: &lies(x)?,
        weights: &weights,
        bias: bias.as_ref(),
        dst: &lies(y)?,
        strides: &c.stride,
        dilation: &c.dilation,
        padding: &padding,
    };
    let made = Primitive::new(library, &recipe, false).ok()?;
    (!made.kernel.contains("ref")).then_some(made)
}

fn with_onednn(
    a: &mut Assembler,
    layer: &Layer,
    c: &Convolution,
    x: View,
    primitive: Primitive,
    bias: Option<(View, Option<crate::network::Expr>)>,
) -> Result<(), Fault> {
    let library = a.machine.library.clone().ok_or("no oneDNN")?;
    let order = channels_last(x.rank());
    let x = a.ordered(x, &order);
    let wanted = primitive.weights.clone().ok_or("a convolution has weights")?;
    let parameters = c.clone();
    let weights = packed(a, layer.inputs[1], &wanted, move |w| weights_view(&parameters, w))?;
    let (bias, rest) = match bias {
        Some((view, rest)) => (Some(view), rest),
        None => (None, layer.epilogue.clone()),
    };
    a.result_with(layer, rest.as_ref(), DType::F32, &order, |a, out| {
        let mut operands = vec![
            Operand { arg: arg::SRC, desc: dense(&library, &x, &order)?, place: (x.slot, x.offset) },
            Operand { arg: arg::WEIGHTS, desc: wanted, place: weights },
            Operand { arg: arg::DST, desc: dense(&library, &out, &order)?, place: (out.slot, out.offset) },
        ];
        if let Some(view) = bias {
            let desc = Desc::strided(&library, &view.shape, &[1])?;
            operands.push(Operand { arg: arg::BIAS, desc, place: (view.slot, view.offset) });
        }
        emit(a, "convolution", primitive, operands);
        Ok(())
    })
}

/// The weights for plain loops: result channels innermost, then input channels.
fn plain_weights(a: &mut Assembler, layer: &Layer, c: &Convolution) -> Result<View, Fault> {
    let value = layer.inputs[1];
    let ty = a.network.ty(value).clone();
    let dtype = if ty.dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let ty = ty.with_dtype(dtype);
    let inner = if c.transposed { [0, 1] } else { [1, 0] };
    let order: Vec<usize> = (2..ty.rank()).chain(inner).collect();
    let packed = View::dense(crate::backend::cpu::view::Slot(0), &ty, &order);
    let to = packed.clone();
    let packing: Packing = Box::new(move |a, from, slot, offset| {
        let from = a.converted(from, to.dtype);
        a.copy(&from, View { slot, offset, ..to });
        Ok(())
    });
    let (slot, offset) = a.packed(value, ty.bytes(), packing)?;
    Ok(View { slot, offset, ..packed })
}
