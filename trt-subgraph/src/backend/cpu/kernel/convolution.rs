//! Convolutions over tensors whose channels are innermost: tiles of our own where channels are many enough to fill vectors,
//! oneDNN for the others, plain loops for what neither takes.

use super::bias;
use super::direct::Direct;
use super::pool::channels_last;
use crate::DType;
use crate::backend::cpu::assemble::{Assembler, Fault, Packing};
use crate::backend::cpu::expr::Isa;
use crate::backend::cpu::gemm::cells::{self, Cells};
use crate::backend::cpu::gemm::depthwise::Depthwise;
use crate::backend::cpu::gemm::finish::Finish;
use crate::backend::cpu::gemm::panels::Panels;
use crate::backend::cpu::gemm::sweep::Sweep;
use crate::backend::cpu::gemm::tile;
use crate::backend::cpu::gemm::window::Window;
use crate::backend::cpu::gemm::winograd::Winograd;
use crate::backend::cpu::onednn::step::{Operand, dense, emit, packed};
use crate::backend::cpu::onednn::{Desc, OneDnn, Primitive, Recipe, arg};
use crate::backend::cpu::tactic::Way;
use crate::backend::cpu::view::{Slot, View};
use crate::network::layer::Convolution;
use crate::network::{Layer, Network, TensorType};
use std::sync::Arc;

pub fn assemble(a: &mut Assembler, layer: &Layer, c: &Convolution) -> Result<(), Fault> {
    let order = channels_last(a.network.ty(layer.inputs[0]).rank());
    let tiled = is_tiled(a.network, layer, c);
    let is_static = |v| a.is_static(v);
    let way = if tiled { a.machine.choice.way(a.machine, a.network, layer, &is_static) } else { Way::OneDnn };
    if tiled && matches!(way, Way::Suitable | Way::Tiles) && takes_bf16(a, layer, c) {
        let x = a.view(layer.inputs[0]);
        return with_tiles(a, layer, c, x, Way::Tiles);
    }
    let x = a.computing(layer.inputs[0])?;
    if tiled && way != Way::OneDnn {
        return with_tiles(a, layer, c, x, way);
    }
    if let (DType::F32, Some(library), true) = (x.dtype, a.machine.library.clone(), x.elements() > 0) {
        // oneDNN adds the bias of a transposed convolution of many channels more than once.
        let bias = if c.transposed { None } else { bias::split_dense(a, layer, 1) };
        let y = a.network.ty(layer.outputs[0]).with_dtype(DType::F32);
        let w = a.network.ty(layer.inputs[1]).shape.clone();
        if let Some(primitive) = primitive(&library, c, &x.ty(), &w, &y, bias.is_some()) {
            return with_onednn(a, layer, c, x, primitive, bias);
        }
    }
    if tiled {
        return with_tiles(a, layer, c, x, Way::Suitable);
    }
    let w = plain_weights(a, layer, c)?;
    a.result(layer, x.dtype, &order, |a, out| {
        let touches = [x.slot, w.slot, out.slot];
        a.emit(Direct::new(c, x, w, out, a.machine.isa), &touches);
        Ok(())
    })
}

/// The fewest result channels of a group that are worth a tile.
const FEWEST: usize = 4;
/// The most input channels that are brought together while a band is copied.
const SCATTERED: usize = 8;

/// Is the convolution one for tiles, or for vectors of channels?
pub fn is_tiled(network: &Network, layer: &Layer, c: &Convolution) -> bool {
    let (x, y) = (network.ty(layer.inputs[0]), network.ty(layer.outputs[0]));
    let sizes = matches!(x.rank(), 3 | 4) && x.elements() > 0 && y.elements() > 0;
    let wide = y.shape[1] / c.groups >= FEWEST || is_depthwise(c, x.shape[1], y.shape[1]);
    x.dtype != DType::F64 && sizes && !c.transposed && wide
}

/// Can tiles multiply pairs of channels of bf16, or vectors load them?
fn takes_bf16(a: &Assembler, layer: &Layer, c: &Convolution) -> bool {
    let (x, y) = (a.network.ty(layer.inputs[0]), a.network.ty(layer.outputs[0]));
    let even = c.groups == 1 || (x.shape[1] / c.groups).is_multiple_of(2);
    let (alone, isa) = (is_depthwise(c, x.shape[1], y.shape[1]), a.machine.isa);
    x.dtype == DType::BF16 && if alone { isa >= Isa::Avx512 } else { isa >= Isa::Avx512Bf16 && even }
}

/// Is every channel filtered by itself, and are there several?
fn is_depthwise(c: &Convolution, inputs: usize, outputs: usize) -> bool {
    c.groups > 1 && c.groups == inputs && inputs == outputs
}

/// `[batch, channels, lines, columns]`, or without lines, as tiles walk it.
fn channels_innermost(view: &View) -> View {
    match view.rank() {
        3 => {
            let pick = |v: &[isize]| vec![v[0], 0, v[2], v[1]];
            let shape = vec![view.shape[0], 1, view.shape[2], view.shape[1]];
            View { shape, strides: pick(&view.strides), ..view.clone() }
        }
        _ => view.permute(&[0, 2, 3, 1]),
    }
}

/// `x` is of f32, or of bf16 where [`takes_bf16`].
fn with_tiles(a: &mut Assembler, layer: &Layer, c: &Convolution, x: View, way: Way) -> Result<(), Fault> {
    let order = channels_last(x.rank());
    let alone = is_depthwise(c, x.shape[1], a.network.ty(layer.outputs[0]).shape[1]);
    let scattered = (alone || x.shape[1] > SCATTERED) && x.strides[1] != 1;
    let x = channels_innermost(&if scattered { a.ordered(x, &order) } else { x });
    let w = a.network.ty(layer.inputs[1]).shape.clone();
    let widen = |v: &[usize], fill: usize| if v.len() == 1 { [fill, v[0]] } else { [v[0], v[1]] };
    let window = Window {
        size: widen(&w[2..], 1),
        stride: widen(&c.stride, 1),
        dilation: widen(&c.dilation, 1),
        before: widen(&c.padding.iter().map(|p| p.0).collect::<Vec<_>>(), 0),
        groups: c.groups,
    };
    let lanes = tile::lanes(a.machine.isa);
    let narrow = x.dtype == DType::BF16;
    let (finish, rest) = Finish::split(a, layer, 1, (lanes, narrow), |v| Some(channels_innermost(v)))?;
    let few_products = !narrow
        && can_be_winograd(a, layer, &window, &x, &finish)
        && match way {
            Way::Tiles => false,
            Way::Winograd => true,
            Way::Suitable | Way::OneDnn => is_worth_winograd(a, layer, &x),
        };
    let stored = Finish::stores(a, layer, narrow && rest.is_none());
    a.result_with(layer, rest.as_ref(), stored, &order, |a, out| {
        let out = channels_innermost(&out);
        if few_products {
            return Winograd::emit(a, (x, out), window.before, layer.inputs[1], finish);
        }
        if alone {
            let weights = channels_of_taps(a, layer, &w)?;
            Depthwise::emit(a, window, x, out, weights, finish);
            return Ok(());
        }
        let groups = window.groups;
        let cells = cells::cells(&window, &x, &out, a.machine.cache).filter(|_| !narrow);
        let (columns, depth) = (w[0] / groups, w[1..].iter().product());
        let panels = if narrow {
            let taps: usize = w[2..].iter().product();
            Panels::of_pairs(a.machine.isa, columns, taps * w[1].div_ceil(2))
        } else if cells.is_some() {
            Panels::of_vectors(a.machine.isa, columns, depth)
        } else {
            let line = if groups == 1 && window.dilation[1] == 1 { window.size[1] } else { 1 };
            Panels::new(a.machine.isa, columns, depth, line * w[1])
        };
        // Axes: groups, window, input channels, result channels.
        let packing = panels.packing(&format!("{groups} groups of filters"), move |w: &View| {
            let mut shape = w.shape.clone();
            shape[0] /= groups;
            shape.insert(0, groups);
            let grouped = w.reshape(&shape).expect("a first axis can be cut");
            let axes: Vec<usize> = std::iter::once(0).chain(3..shape.len()).chain([2, 1]).collect();
            grouped.permute(&axes)
        });
        let weights = a.packed(layer.inputs[1], 4 * panels.elements() * groups, packing)?;
        match cells {
            Some(cells) => Cells::emit(a, (window, cells), x, out, (panels, weights), finish),
            None => Sweep::emit(a, window, x, out, (panels, weights), finish),
        }
        Ok(())
    })
}

/// Weights `[channels, 1, window...]` as `[taps, channels]`.
fn channels_of_taps(a: &mut Assembler, layer: &Layer, w: &[usize]) -> Result<(Slot, isize), Fault> {
    let (channels, taps) = (w[0], w[1..].iter().product());
    let ty = TensorType::new(DType::F32, [taps, channels]);
    let bytes = ty.bytes();
    let pack = move |a: &mut Assembler, from, slot, offset| {
        let from = a.multiplied(from);
        let from = a.converted(from, DType::F32);
        let from = from.reshape(&[channels, taps]).ok_or("a dense tensor takes any shape")?.permute(&[1, 0]);
        a.copy(&from, View { offset, ..View::row_major(slot, &ty) });
        Ok(())
    };
    a.packed(layer.inputs[1], bytes, Packing::new("channels of taps".into(), Box::new(pack)))
}

/// The fewest channels on both sides, and the fewest tiles, for which transforms cost less than they save.
const WORTH_TRANSFORMS: (usize, usize) = (16, 12);

fn is_worth_winograd(a: &Assembler, layer: &Layer, x: &View) -> bool {
    let y = &a.network.ty(layer.outputs[0]).shape;
    let tiles = y[0] * y[2..].iter().map(|n| n.div_ceil(2)).product::<usize>();
    let (channels, fewest) = WORTH_TRANSFORMS;
    x.shape[3].min(y[1]) >= channels && tiles >= fewest
}

fn can_be_winograd(a: &Assembler, layer: &Layer, window: &Window, x: &View, finish: &Finish) -> bool {
    let plain = Window { before: window.before, ..Window::ONE };
    *window == Window { size: [3; 2], ..plain }
        && a.is_static(layer.inputs[1])
        && x.strides[3] == 1
        && finish.formula.is_none()
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
    let slot = Slot(0);
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
    let made = Primitive::new(library, &recipe).ok()?;
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
    let packed = View::dense(Slot(0), &ty, &order);
    let to = packed.clone();
    let form = format!("{to:?}");
    let pack = move |a: &mut Assembler, from, slot, offset| {
        let from = a.multiplied(from);
        let from = a.converted(from, to.dtype);
        a.copy(&from, View { slot, offset, ..to });
        Ok(())
    };
    let (slot, offset) = a.packed(value, ty.bytes(), Packing::new(form, Box::new(pack)))?;
    Ok(View { slot, offset, ..packed })
}
