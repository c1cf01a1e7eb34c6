//! Convolutions by cuDNN's graph interface: channels innermost and padded to what tensor cores take, the epilogue fused where it can be
//! said in the library's words, otherwise a kernel after the plan.

mod descriptor;
mod graph;
mod plan;

use super::assemble::{Assembler, Fault};
use super::channels;
use super::kernel::pointwise;
use super::layout::channels_last;
use super::layout::order_of;
use super::render::Argument;
use super::tactic::Way;
use super::timer::Timer;
use crate::backend::view::View;
use crate::network::layer::Convolution;
use crate::network::{Expr, Layer, ValueId};
use crate::{DType, TensorType};
use graph::{Problem, Tensor, is_sayable};
use plan::{Plan, Planned, plans, rank};
use std::sync::Arc;

/// The library's ways to run a convolution; with `only` the one of that name, if it is one of the library's.
pub fn ways(
    a: &mut Assembler,
    timer: &Timer,
    layer: &Layer,
    c: &Convolution,
    tf32: bool,
    only: Option<&str>,
) -> Vec<Arc<dyn Way>> {
    let mut out: Vec<Arc<dyn Way>> = Vec::new();
    let rank = only.map(rank);
    if rank == Some(None) {
        return out;
    }
    if timer.handles.lock().unwrap_or_else(std::sync::PoisonError::into_inner).dnn.is_null() {
        return out;
    }
    // The epilogue in the plan where that can be said and the library has one, else after it.
    let sayable = layer.epilogue.clone().filter(is_sayable);
    for epilogue in sayable.into_iter().map(Some).chain([None]) {
        if !out.is_empty() {
            break;
        }
        let Some(form) = Form::of(a, layer, c, epilogue, tf32) else { continue };
        match plans(&timer.device, &form.problem, rank.flatten(), timer.level) {
            Ok(plans) => out.extend(plans.into_iter().map(|plan| -> Arc<dyn Way> {
                Arc::new(Library { form: form.clone(), plan: Arc::new(plan) })
            })),
            Err(why) => log::debug!("cuDNN has nothing for {}: {why}", a.origin()),
        }
    }
    out
}

/// A layer as the library can run it.
#[derive(Clone)]
struct Form {
    problem: Problem,
    /// Input channels with padding.
    channels: usize,
    fused: bool,
}

impl Form {
    /// `None` where the library has no such convolution.
    fn of(
        a: &mut Assembler,
        layer: &Layer,
        c: &Convolution,
        epilogue: Option<Expr>,
        tf32: bool,
    ) -> Option<Form> {
        let ty = |v: ValueId| a.network.ty(v).clone();
        let (x, w, y) = (ty(layer.inputs[0]), ty(layer.inputs[1]), ty(layer.outputs[0]));
        let unit = match x.dtype {
            DType::F16 | DType::BF16 => 8,
            DType::F32 => 4,
            _ => return None,
        };
        let rounded = x.shape[1].next_multiple_of(unit);
        let channels = if c.groups == 1 { rounded } else { x.shape[1] };
        if c.transposed || !w.shape[0].is_multiple_of(unit) || x.elements() == 0 || !y.dtype.is_float() {
            return None;
        }
        let mut operands = Vec::new();
        let fused = epilogue.is_some();
        if fused {
            if y.dtype == DType::F64 {
                return None;
            }
            for &v in &layer.inputs[2..] {
                operands.push(operand(&ty(v), &y)?);
            }
        }
        // A kernel of ours reads what the host would: the convolution's result in its own type.
        let own = if fused || layer.epilogue.is_none() { y.dtype } else { x.dtype };
        let widen = |t: &TensorType, channels: usize| {
            let mut shape = t.shape.clone();
            shape[1] = channels;
            tensor(&t.with_shape(shape))
        };
        let spatial = |values: Vec<usize>, usual: i64| {
            let missing = 2usize.saturating_sub(values.len());
            let mut out = vec![usual; missing];
            out.extend(values.into_iter().map(|v| v as i64));
            out
        };
        let problem = Problem {
            x: widen(&x, channels),
            w: widen(&w, channels / c.groups),
            y: tensor(&y.with_dtype(own)),
            before: spatial(c.padding.iter().map(|p| p.0).collect(), 0),
            after: spatial(c.padding.iter().map(|p| p.1).collect(), 0),
            stride: spatial(c.stride.clone(), 1),
            dilation: spatial(c.dilation.clone(), 1),
            epilogue,
            operands,
            tf32,
        };
        Some(Form { problem, channels, fused })
    }
}

/// A dense tensor with channels innermost, with at least two spatial axes.
fn tensor(ty: &TensorType) -> Tensor {
    let mut shape = ty.shape.clone();
    while shape.len() < 4 {
        shape.insert(2, 1);
    }
    let order = channels_last(shape.len());
    let dense = View::dense(super::program::WEIGHTS, &ty.with_shape(shape.clone()), &order);
    let sizes = shape.iter().map(|&n| n as i64).collect();
    Tensor { dtype: ty.dtype, sizes, steps: dense.strides.iter().map(|&s| s as i64).collect() }
}

/// A further tensor of the epilogue: as large as the result, or one value a channel.
fn operand(ty: &TensorType, y: &TensorType) -> Option<Tensor> {
    let mut shape = vec![1; y.rank() - ty.rank()];
    shape.extend(&ty.shape);
    let per_channel = (0..shape.len()).all(|i| shape[i] == 1 || i == 1) && shape[1] == y.shape[1];
    let float = matches!(ty.dtype, DType::F16 | DType::BF16 | DType::F32);
    (float && (shape == y.shape || per_channel)).then(|| tensor(&ty.with_shape(shape)))
}

/// A convolution by one of the library's plans.
struct Library {
    form: Form,
    plan: Arc<Plan>,
}

impl Way for Library {
    fn name(&self) -> String {
        self.plan.name.clone()
    }

    fn emit(&self, a: &mut Assembler, layer: &Layer) -> Result<(), Fault> {
        let x = channels::dense_image(a, layer.inputs[0], self.form.channels)?;
        let w = channels::filter(a, layer.inputs[1], self.form.problem.w.sizes[1] as usize)?;
        let mut arguments = vec![Argument::of(&x, false), Argument::of(&w, false)];
        let y = a.network.ty(layer.outputs[0]).clone();
        let order = channels_last(y.rank());
        let (value, whole) = (layer.outputs[0], self.form.fused || layer.epilogue.is_none());
        if whole {
            let room = a.room(value, &order);
            let fits = room.is_dense_in(&order) && !a.is_given(room.slot) && room.offset % 16 == 0;
            let out = if fits { room } else { a.temporary(&y, &order) };
            arguments.push(Argument::of(&out, true));
            if self.form.fused {
                for &v in &layer.inputs[2..] {
                    let view = self.further(a, v, &y)?;
                    arguments.push(Argument::of(&view, false));
                }
            }
            self.call(a, arguments);
            a.define(value, out);
            return Ok(());
        }
        let result = a.temporary(&y.with_dtype(self.form.problem.y.dtype), &order);
        arguments.push(Argument::of(&result, true));
        self.call(a, arguments);
        let tail = a.tail(layer, &order)?;
        let mut operands = vec![result];
        operands.extend(tail.operands);
        let expr = tail.expr.unwrap_or_else(Expr::identity);
        pointwise::emit_typed(a, "epilogue", &expr, &tail.typing, &operands, tail.out)
    }
}

impl Library {
    fn call(&self, a: &mut Assembler, mut arguments: Vec<Argument>) {
        arguments.push(a.workspace(self.plan.workspace));
        a.call(Planned(self.plan.clone()), arguments);
    }

    /// A further operand: dense, channels innermost.
    fn further(&self, a: &mut Assembler, value: ValueId, y: &TensorType) -> Result<View, Fault> {
        let ty = a.network.ty(value).clone();
        if ty.rank() < y.rank() || ty.shape != y.shape {
            let view = a.view(value);
            let dense = view.is_dense_in(&order_of(&view)) && view.offset % 16 == 0 && !a.is_given(view.slot);
            if dense {
                return Ok(view);
            }
            let to = a.temporary(&ty, &(0..ty.rank()).collect::<Vec<_>>());
            a.copy(&view, to.clone())?;
            return Ok(to);
        }
        let order = channels_last(ty.rank());
        let view = a.ordered(value, &order)?;
        if view.offset % 16 == 0 && !a.is_given(view.slot) {
            return Ok(view);
        }
        let to = a.temporary(&ty, &order);
        a.copy(&view, to.clone())?;
        Ok(to)
    }
}
