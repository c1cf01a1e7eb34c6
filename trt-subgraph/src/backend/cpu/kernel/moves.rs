//! Pointwise layers, and layers that only move elements: views where strides can say it, copies where not.

use super::{attention, lookup};
use crate::backend::cpu::assemble::{Assembler, Fault};
use crate::backend::cpu::view::View;
use crate::network::layer::Range;
use crate::network::{Expr, Layer};

/// The result lies like the largest operand, so that most of the loop walks memory straight.
pub fn pointwise(a: &mut Assembler, layer: &Layer, expr: &Expr) -> Result<(), Fault> {
    if lookup::assemble(a, layer, expr) || attention::masks(a, layer, expr) {
        return Ok(());
    }
    let value = layer.outputs[0];
    let operands: Vec<View> = layer.inputs.iter().map(|&v| a.view(v)).collect();
    let typing: Vec<_> = operands.iter().map(|v| v.dtype).collect();
    let shape = a.network.ty(value).shape.clone();
    let row_major: Vec<usize> = (0..shape.len()).collect();
    let like = operands.iter().find(|v| v.shape == shape && v.strides.iter().all(|&s| s != 0));
    if a.postpone(value, expr, &operands) {
        return Ok(());
    }
    let order = match like {
        Some(v) if !a.is_bound(value) => v.order(),
        _ => row_major,
    };
    let out = a.room(value, &order);
    a.pointwise(expr, &typing, &operands, out.clone());
    a.define(value, out);
    Ok(())
}

pub fn broadcast(a: &mut Assembler, layer: &Layer, shape: &[usize]) -> Result<(), Fault> {
    let view = a.view(layer.inputs[0]).stretch(shape);
    a.define(layer.outputs[0], view);
    Ok(())
}

pub fn permute(a: &mut Assembler, layer: &Layer, axes: &[usize]) -> Result<(), Fault> {
    let view = a.view(layer.inputs[0]).permute(axes);
    a.define(layer.outputs[0], view);
    Ok(())
}

pub fn slice(a: &mut Assembler, layer: &Layer, ranges: &[Range]) -> Result<(), Fault> {
    let view = a.view(layer.inputs[0]).slice(ranges);
    a.define(layer.outputs[0], view);
    Ok(())
}

pub fn reshape(a: &mut Assembler, layer: &Layer, shape: &[usize]) -> Result<(), Fault> {
    if let Some(product) = a.postponed.get(&layer.inputs[0]).and_then(|product| product.reshape(shape)) {
        a.postponed.insert(layer.outputs[0], product);
        return Ok(());
    }
    let (from, value) = (a.view(layer.inputs[0]), layer.outputs[0]);
    let view = match from.reshape(shape) {
        Some(view) => view,
        None => {
            let order: Vec<usize> = (0..shape.len()).collect();
            let room = a.room(value, &order);
            let as_before = room.reshape(&from.shape).ok_or("a row-major tensor takes any shape")?;
            a.copy(&from, as_before);
            room
        }
    };
    a.define(value, view);
    Ok(())
}

/// The operands are copied side by side, in the memory order of the largest; those that are in place already are not.
pub fn concat(a: &mut Assembler, layer: &Layer, axis: usize) -> Result<(), Fault> {
    let value = layer.outputs[0];
    let operands: Vec<View> = layer.inputs.iter().map(|&v| a.view(v)).collect();
    let order = match a.is_bound(value) {
        true => (0..operands[0].rank()).collect(),
        false => operands.iter().max_by_key(|v| v.elements()).expect("at least one operand").order(),
    };
    let out = a.joined(value).unwrap_or_else(|| a.room(value, &order));
    let mut start = 0;
    for view in &operands {
        let len = view.shape[axis];
        let to = out.narrow(axis, start, len);
        if *view != to {
            a.copy(view, to);
        }
        start += len;
    }
    a.define(value, out);
    Ok(())
}
