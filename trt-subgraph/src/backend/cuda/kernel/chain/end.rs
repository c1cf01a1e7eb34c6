//! How the kernel of a chain ends a layer: the epilogue, and where results go.

use super::super::super::render::{expression_for, in_runs, indent, storage_type};
use super::plan::{Operand, Part, Plan};
use super::text::{FIXED, first_row};
use crate::backend::view::View;
use crate::network::{Layer, Network, infer};
use std::fmt::Write;

/// A result that others read.
pub struct Kept {
    /// The position of its layer.
    pub part: usize,
    pub view: View,
}

impl Kept {
    /// So many channels are stored at once.
    pub fn pack(&self) -> usize {
        let most = (16 / self.view.dtype.size()).min(8);
        if in_runs(&self.view, 1, most) { most } else { 1 }
    }
}

/// The epilogue of eight channels of a place, and where they go.
pub fn end(plan: &Plan, network: &Network, part: &Part, layer: &Layer, kept: Option<&Kept>) -> String {
    let (dtype, t) = (plan.dtype, storage_type(plan.dtype));
    let [_, _, wide] = part.shape;
    let part_channels = part.channels();
    let mut out = String::new();
    let mut inputs = vec!["eights[j]".to_string()];
    let own_types: Vec<_> = layer.inputs[..2].iter().map(|&v| network.ty(v)).collect();
    let own = infer(&layer.kind, None, &own_types).map_or(dtype, |types| types[0].dtype);
    let mut typing = vec![own];
    let mut offset = part.weight_bytes(&plan.values, dtype);
    for (at, operand) in part.operands.iter().enumerate() {
        let name = format!("e{at}");
        match operand {
            Operand::Vector(v) => {
                let ty = network.ty(*v);
                let memory = storage_type(ty.dtype);
                let size = ty.dtype.size();
                let _ = writeln!(
                    out,
                    "const Eight<{memory}> {name} = eight_of<{memory}>(weights + {offset} + c * {size});"
                );
                offset += part_channels * size;
                typing.push(ty.dtype);
            }
            Operand::Held(held) => {
                let h = &plan.values[*held];
                let low = first_row(&format!("low{at}"), h);
                let _ = writeln!(
                    out,
                    "{low}const Eight<{t}> {name} = eight_of<{t}>(values + row[{}] + ((y - low{at}) * {wide} + x) * {} + (part * {part_channels} + c) * {});",
                    FIXED + 2 * at,
                    h.pitch,
                    dtype.size(),
                );
                typing.push(dtype);
            }
        }
        inputs.push(format!("get({name}.at[j])"));
    }
    let _ = writeln!(out, "Eight<{t}> result;");
    let mut element = String::new();
    let result = match &layer.epilogue {
        None => inputs.swap_remove(0),
        Some(expr) => {
            for (i, input) in inputs.iter_mut().enumerate() {
                let _ = writeln!(element, "const auto v{i} = {input};");
                *input = format!("v{i}");
            }
            let (steps, result) = expression_for(dtype, expr, &typing, &inputs, "t");
            element += &steps;
            result
        }
    };
    let _ = writeln!(element, "put(result.at[j], {result});");
    let _ = write!(out, "#pragma unroll\nfor (int j = 0; j < 8; ++j) {{\n{}}}\n", indent(&element));
    if let Some(y) = part.y {
        let held = &plan.values[y];
        let _ = writeln!(
            out,
            "unsigned char* const to = values + row[3] + (y * {wide} + x) * {} + (part * {part_channels} + c) * {};",
            held.pitch,
            dtype.size()
        );
        let row = wide * held.pitch;
        for (rank, [low, end]) in held.rows.iter().enumerate().filter(|(_, r)| r[0] < r[1]) {
            let _ = writeln!(
                out,
                "if (y >= {low} && y < {end}) send(to - {}, {rank}, &ready[l % 2], result);",
                low * row
            );
        }
    }
    if let Some(kept) = kept {
        let (s, pack) = (&kept.view.strides, kept.pack());
        let at = format!(
            "(i64)image * {} + (i64)(part * {part_channels} + c) * {} + (i64)y * {} + (i64)x * {}",
            s[0], s[1], s[2], s[3]
        );
        let name = format!("y{}", kept.part);
        let _ = match pack {
            1 => writeln!(
                out,
                "#pragma unroll\nfor (int j = 0; j < 8; ++j) {name}[{at} + j * {}] = result.at[j];",
                s[1]
            ),
            pack => writeln!(
                out,
                "#pragma unroll\nfor (int j = 0; j < 8; j += {pack}) *(Pack<{t}, {pack}>*)({name} + {at} + j) = *(const Pack<{t}, {pack}>*)(result.at + j);"
            ),
        };
    }
    out
}
