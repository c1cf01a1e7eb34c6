//! Layers that rearrange elements: mostly another view of the same memory.

use super::super::assemble::{Assembler, Fault};
use super::super::layout::order_of;
use crate::backend::view::View;
use crate::network::Layer;
use crate::network::layer::Range;

/// Result axis `i` is axis `axes[i]`.
pub fn permute(a: &mut Assembler, layer: &Layer, axes: &[usize]) -> Result<(), Fault> {
    let view = a.view(layer.inputs[0]).permute(axes);
    a.define(layer.outputs[0], view);
    Ok(())
}

/// A strided part of every axis.
pub fn slice(a: &mut Assembler, layer: &Layer, ranges: &[Range]) -> Result<(), Fault> {
    let view = a.view(layer.inputs[0]).slice(ranges);
    a.define(layer.outputs[0], view);
    Ok(())
}

/// Stretched axes have step 0.
pub fn broadcast(a: &mut Assembler, layer: &Layer, shape: &[usize]) -> Result<(), Fault> {
    let view = a.view(layer.inputs[0]).stretch(shape);
    a.define(layer.outputs[0], view);
    Ok(())
}

/// A view where strides can say it, else a dense copy of the operand and a view of that.
pub fn reshape(a: &mut Assembler, layer: &Layer, shape: &[usize]) -> Result<(), Fault> {
    let (value, from) = (layer.outputs[0], a.view(layer.inputs[0]));
    let view = match from.reshape(shape) {
        Some(view) => view,
        None => {
            let row_major: Vec<usize> = (0..shape.len()).collect();
            let to = a.room(value, &row_major);
            match to.reshape(&from.shape) {
                Some(wide) => {
                    a.copy(&from, wide)?;
                    to
                }
                None => {
                    let dense = a.temporary(&from.ty(), &(0..from.rank()).collect::<Vec<_>>());
                    a.copy(&from, dense.clone())?;
                    dense.reshape(shape).ok_or("a dense tensor has every shape")?
                }
            }
        }
    };
    a.define(value, view);
    Ok(())
}

/// Operands that are not where they belong are copied there.
pub fn concat(a: &mut Assembler, at: usize, layer: &Layer, axis: usize) -> Result<(), Fault> {
    let views: Vec<View> = layer.inputs.iter().map(|&v| a.view(v)).collect();
    let largest = views.iter().max_by_key(|v| v.elements()).map(order_of).unwrap_or_default();
    let whole = a.joined(at, &largest);
    let mut start = 0;
    for (&v, view) in layer.inputs.iter().zip(&views) {
        let to = whole.narrow(axis, start, view.shape[axis]);
        a.settle(v, to)?;
        start += view.shape[axis];
    }
    a.define(layer.outputs[0], whole);
    Ok(())
}
