//! Rows that indices pick: where they go, what is added to them, and indices that no row has.

use super::{agrees, machines};
use crate::backend::cpu::engine::CpuEngine;
use crate::backend::{Engine, Io, RunError, Stream};
use crate::network::Network;
use crate::{Literal, TensorType};

#[test]
fn picked_rows_go_straight_into_a_concatenation() {
    let text = "input %i: i64[2,3]
        input %j: i64[2,3]
        param \"users\": f32[5,4]
        param \"items\": f32[7,9]
        %u: f32[5,4] = parameter 0
        %t: f32[7,9] = parameter 1
        %a = pointwise(%i) { rem(i0, 5:i64) }
        %b = pointwise(%j) { rem(i0, 7:i64) }
        %p = gather(%u, %a) axis=0
        %q = gather(%t, %b) axis=0
        %c = concat(%p, %q) axis=2
        %y = pointwise(%c) { i0 * i0 }
        output %y";
    for seed in 0..4 {
        agrees(text, seed);
    }
    let network = Network::parse(text).expect("it parses");
    let parameters: Vec<Literal> = network.parameters.iter().map(|p| Literal::zeros(p.ty.clone())).collect();
    for (machine, team) in machines() {
        let engine = CpuEngine::compile(&network, machine, team, &parameters, &[]).expect("it compiles");
        let steps = engine.describe().steps;
        assert!(steps.iter().all(|s| !s.contains("copy")), "{steps:?}");
    }
}

/// The sum of rows that an index of 3 x 7 picks of two tables, of `width` elements, and of `%x` of the shape `other`.
fn sum_of_rows(width: usize, other: &str, operands: &str, sum: &str) -> String {
    format!(
        "input %i: i64[3,7]
         input %j: i32[3,7]
         input %x: f32{other}
         param \"t\": f32[9,{width}]
         param \"u\": f32[5,{width}]
         %t: f32[9,{width}] = parameter 0
         %u: f32[5,{width}] = parameter 1
         %p = gather(%t, %i) axis=0
         %q = gather(%u, %j) axis=0
         %y = pointwise({operands}) {{ {sum} }}
         output %y"
    )
}

#[test]
fn picked_rows_are_added_where_they_lie() {
    for (seed, width) in [1usize, 5, 16, 64, 71, 256, 300].into_iter().enumerate() {
        for (other, operands, sum) in [
            ("[1]", "%p, %q", "i0 + i1"),
            ("[W]", "%p, %q, %x", "max(i0 + i2 + i1, 0:f32)"),
            ("[1]", "%p, %q, %x", "min(max(i2 + (i0 + i1), -1:f32), 1:f32)"),
            ("[7,1]", "%p, %x", "i0 + i1"),
            ("[3,7,W]", "%x, %p, %q", "i1 + i2 + i0"),
            ("[3,1,W]", "%p, %x", "i0 + i0 + i1"),
            ("[3,7,W]", "%x, %p, %q", "(i1 - i2) * i0"),
        ] {
            let other = other.replace('W', &width.to_string());
            // Indices that are small and of either sign.
            let text = sum_of_rows(width, &other, operands, sum)
                .replace("gather(%t, %i)", "gather(%t, %k)")
                .replace("gather(%u, %j)", "gather(%u, %l)")
                .replace(
                    "         %p =",
                    "         %k = pointwise(%i) { rem(i0, 9:i64) }
                     %l = pointwise(%j) { i32(rem(i64(i0), 5:i64) - 5:i64) }
                     %p =",
                );
            agrees(&text, seed as u64);
        }
    }
}

#[test]
fn an_index_that_no_row_has_is_an_error() {
    let network = Network::parse(&sum_of_rows(64, "[64]", "%p, %q, %x", "i0 + i1 + i2")).expect("it parses");
    let zeros = |ty: &TensorType| Literal::zeros(ty.clone());
    let parameters: Vec<Literal> = network.parameters.iter().map(|p| zeros(&p.ty)).collect();
    for (machine, team) in machines() {
        let mut engine = CpuEngine::compile(&network, machine, team, &parameters, &[]).expect("it compiles");
        let steps = engine.describe().steps;
        assert!(steps.len() == 1 && steps[0].contains("sums of 3 rows, 2 of them picked"), "{steps:?}");
        let mut inputs: Vec<Literal> = network.inputs.iter().map(|&v| zeros(network.ty(v))).collect();
        let mut out = zeros(&engine.signature().outputs[0]);
        for (index, fails) in [(4, false), (-5, false), (5, true), (-6, true), (i32::MIN, true)] {
            inputs[1].bytes_mut()[4 * 17..4 * 18].copy_from_slice(&index.to_ne_bytes());
            let from: Vec<*const u8> = inputs.iter().map(|l| l.bytes().as_ptr()).collect();
            let io = Io { inputs: &from, outputs: &[out.bytes_mut().as_mut_ptr()] };
            // SAFETY: inputs and outputs were made of the signature.
            let done = unsafe { engine.run(&io, Stream::NONE) };
            let error = RunError::Index { layer: String::new(), index: index.into(), size: 5 };
            assert_eq!(done, if fails { Err(error) } else { Ok(()) });
        }
    }
}
