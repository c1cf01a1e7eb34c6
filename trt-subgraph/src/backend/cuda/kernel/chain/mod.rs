//! A run of convolutions over small images in one kernel: a cluster of blocks computes an image, and what lies between its layers stays in
//! the blocks' shared memory.
//!
//! Each block has some rows and channels of every result. It sends them to the blocks that read them next, whose barriers count the
//! bytes; so a layer costs a message from block to block in place of a kernel's start and the way to memory and back. Weights come by bulk
//! copies, some layers ahead.

mod cut;
mod end;
mod find;
mod plan;
mod text;

pub use find::{find, is_vector};
pub use plan::Plan;

use super::super::assemble::{Assembler, Fault, Packing};
use super::super::layout::channels_last;
use super::super::program::WEIGHTS;
use super::super::render::Draft;
use super::super::tactic::CHAIN;
use super::pad;
use crate::backend::view::View;
use crate::network::ValueId;
use crate::network::layer::PadMode;
use crate::{DType, TensorType};
use end::Kept;
use plan::{Operand, STEP};
use text::Row;

/// Emits the chain, whose last layer is the one that is being assembled.
pub fn assemble(a: &mut Assembler, plan: &Plan) -> Result<(), Fault> {
    let network = a.network;
    a.program.ways.push(CHAIN.to_string());
    let mut rows = Vec::new();
    let mut kept = Vec::new();
    for part in &plan.parts {
        let layer = &network.layers[part.at];
        let weights = weights(a, layer.inputs[1], plan, part)?;
        let mut vectors = Vec::new();
        for operand in &part.operands {
            if let Operand::Vector(v) = operand {
                let bytes = network.ty(*v).bytes();
                let form = View::row_major(WEIGHTS, network.ty(*v));
                let packing = Packing::new(
                    format!("{form:?}"),
                    Box::new(move |a, from, slot, offset| a.copy(&from, View { slot, offset, ..form })),
                );
                let (_, at) = a.packed(*v, bytes, packing)?;
                vectors.push((at, part.channels() * network.ty(*v).dtype.size()));
            }
        }
        rows.push(Row { weights: (weights, part.weight_bytes(&plan.values, plan.dtype)), vectors });
        let value = layer.outputs[0];
        if is_read_outside(a, plan, value) {
            let out = a.room(value, &channels_last(4));
            a.define(value, out.clone());
            kept.push(Kept { part: part.at, view: out });
        }
    }
    let given: Vec<(usize, View)> = (plan.values.iter().enumerate())
        .filter(|(_, held)| held.given)
        .map(|(at, held)| (at, a.view(held.value)))
        .collect();
    let (body, covered) = text::body(plan, network, &rows, &given, &kept);
    let mut draft = Draft::new("chain");
    (draft.threads, draft.cluster, draft.waits) = (32 * plan::WARPS, plan.cluster, true);
    (draft.grid, draft.shared) = ([plan.images * plan.cluster, 1, 1], plan.shared());
    draft.read("w", &View::row_major(WEIGHTS, &TensorType::new(DType::U8, [covered])));
    draft.aligned(16);
    for (at, view) in &given {
        draft.read(&format!("x{at}"), view);
    }
    for k in &kept {
        draft.write(&format!("y{}", k.part), &k.view);
        draft.aligned(k.pack() * k.view.dtype.size());
    }
    draft.body = body;
    let origin = format!("{} convolutions, the last of them {}", plan.parts.len(), a.origin());
    a.program.launch(draft, &origin)
}

/// Do layers that are no part of the chain read the value?
fn is_read_outside(a: &Assembler, plan: &Plan, value: ValueId) -> bool {
    let parts = |at: usize| plan.parts.iter().any(|p| p.at == at);
    let mut readers = a.network.layers.iter().enumerate().filter(|(_, l)| l.inputs.contains(&value));
    a.network.outputs.contains(&value) || readers.any(|(at, _)| !parts(at))
}

/// The filters as fragments of a warp's products, each block's channels after each other; where they lie.
fn weights(a: &mut Assembler, value: ValueId, plan: &Plan, part: &plan::Part) -> Result<isize, Fault> {
    let ty = a.network.ty(value).clone();
    let inputs = plan.values[part.x].shape[0];
    let word = 4 / ty.dtype.size();
    let (blocks, eighths) = (part.cut.blocks[1], part.cut.tiles[1]);
    let whole = ty.with_shape([ty.shape[0], inputs, ty.shape[2], ty.shape[3]]);
    let bytes = whole.bytes();
    let steps = inputs * ty.dtype.size() / STEP;
    // Channels of the result: block, eighth, row. Of the image: step, half, lane, element. Then taps.
    let split = vec![blocks, eighths, 8, steps, 2, 4, word, ty.shape[2], ty.shape[3]];
    let form = format!("chained {split:?} of {whole:?}");
    let pack = move |a: &mut Assembler, from: View, slot, offset| {
        let from = if from.shape == whole.shape {
            from
        } else {
            let to = a.temporary(&whole, &[0, 1, 2, 3]);
            let border = [(0, 0), (0, whole.shape[1] - from.shape[1]), (0, 0), (0, 0)];
            pad::emit(a, &from, &border, PadMode::Constant(0.0), to.clone())?;
            to
        };
        let from = from.reshape(&split).ok_or("filters that do not lie in rows")?;
        let from = from.permute(&[0, 7, 8, 3, 1, 2, 5, 4, 6]);
        let to = View::row_major(slot, &from.ty());
        a.copy(&from, View { offset, ..to })
    };
    Ok(a.packed(value, bytes, Packing::new(form, Box::new(pack)))?.1)
}
