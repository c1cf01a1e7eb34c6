//! Convolutions and products of bf16: pairs of channels, vectors of channels, and all that is done to their sums.

use super::{agrees, machines, operands, result};
use crate::Random;
use crate::backend::Engine;
use crate::backend::cpu::engine::CpuEngine;
use crate::backend::cpu::expr::Isa;
use crate::backend::cpu::gemm::lanes::{Lanes, by_lanes};
use crate::network::Network;
use half::bf16;

/// Of a sum (bf16), a bias `i1` (f32) and a residual `i2` (bf16): as narrowed networks have it, and as models in bf16 do, which round in
/// between.
const EPILOGUES: [&str; 11] = [
    "",
    "{ bf16(f32(i0) + i1) }",
    "{ bf16(max(f32(i0) + i1, 0:f32)) }",
    "{ bf16(min(max(f32(i0) + i1 + f32(i2), 0:f32), 6:f32)) }",
    "{ f32(i0) + i1 }",
    "{ t0 = f32(i0) + i1; bf16(t0 * 0.5:f32 * (erf(t0 * 0.7:f32) + 1:f32)) }",
    "{ max(bf16(bf16(i0 + bf16(i1)) + i2), 0:bf16) }",
    "{ t0 = bf16(f32(i0) + i1); t0 * sigmoid(t0) + i2 }",
    "{ max(bf16(f32(i0) + i1), 0.1:bf16) }",
    "{ max(bf16(f32(i0) + i1), 0.25:bf16) }",
    "{ f32(i2) + (f32(i0) + i1) }",
];

#[test]
fn convolutions() {
    for seed in 0..200 {
        let mut random = Random::new(9000 + seed);
        let mut pick = |from: &[usize]| *random.pick(from);
        let alone = pick(&[0, 0, 1]) == 1;
        let groups = if alone { pick(&[2, 16, 17, 40]) } else { pick(&[1, 1, 1, 2, 3]) };
        let each = if alone { (1, 1) } else { (pick(&[1, 2, 3, 4, 16, 17]), pick(&[4, 10, 16, 33, 70])) };
        let (n, c, o) = (pick(&[1, 2, 3]), groups * each.0, groups * each.1);
        let (kh, kw) = (pick(&[1, 1, 2, 3, 5]), pick(&[1, 1, 3, 5]));
        let (sh, sw, dh, dw) = (pick(&[1, 1, 2]), pick(&[1, 1, 2]), pick(&[1, 1, 2]), pick(&[1, 1, 2]));
        let pad = [0; 4].map(|_| pick(&[0, 0, 1, 2]));
        let (h, w) = (pick(&[1, 4, 7, 9]), pick(&[2, 5, 8, 17]));
        let sizes = (result(h + pad[0] + pad[1], kh, dh, sh), result(w + pad[2] + pad[3], kw, dw, sw));
        let (Some(oh), Some(ow)) = sizes else { continue };
        let epilogue = EPILOGUES[pick(&(0..EPILOGUES.len()).collect::<Vec<_>>())];
        let operands = operands(epilogue);
        // Channels of the input that are a part of more, from an odd one on, or channels first.
        let (wide, first) = if pick(&[0, 0, 1]) == 1 { (c + 3, pick(&[0, 1])) } else { (c, 0) };
        let (shape, axes) = match pick(&[0, 1]) {
            0 => (format!("{n},{h},{w},{wide}"), "0,3,1,2"),
            _ => (format!("{n},{wide},{h},{w}"), "0,1,2,3"),
        };
        let inputs = each.0;
        agrees(
            &format!(
                "input %x0: bf16[{shape}]
                 input %r0: bf16[{n},{o},{oh},{ow}]
                 param \"w\": bf16[{o},{inputs},{kh},{kw}]
                 param \"b\": f32[{o},1,1]
                 %w: bf16[{o},{inputs},{kh},{kw}] = parameter 0
                 %b: f32[{o},1,1] = parameter 1
                 %p = permute(%x0) axes=[{axes}]
                 %x = slice(%p) ranges=[0:1:{n},{first}:1:{c},0:1:{h},0:1:{w}]
                 %r = pointwise(%r0) {{ neg(i0) }}
                 %y = convolution(%x, %w{operands}) stride=[{sh},{sw}] padding=[({},{}),({},{})] \
                     dilation=[{dh},{dw}] groups={groups} {epilogue}
                 %z = pointwise(%y) {{ neg(i0) }}
                 output %y, %z",
                pad[0], pad[1], pad[2], pad[3]
            ),
            seed,
        );
    }
}

#[test]
fn products() {
    for seed in 0..100 {
        let mut random = Random::new(9500 + seed);
        let mut pick = |from: &[usize]| *random.pick(from);
        let (m, n) = (pick(&[1, 2, 7, 13, 50]), pick(&[1, 10, 16, 31, 64, 65, 300]));
        let k = pick(&[1, 2, 3, 64, 129, 300, 1400, 3000]);
        let (ta, tb) = (pick(&[0, 0, 0, 1]) == 1, pick(&[0, 1]) == 1);
        let (x, w) = (if ta { (k, m) } else { (m, k) }, if tb { (n, k) } else { (k, n) });
        let given = match pick(&[0, 0, 1]) {
            0 => format!("param \"w\": bf16[{},{}]\n%w: bf16[{},{}] = parameter 0", w.0, w.1, w.0, w.1),
            _ => format!("input %w: bf16[{},{}]", w.0, w.1),
        };
        let epilogue = EPILOGUES[pick(&(0..EPILOGUES.len()).collect::<Vec<_>>())];
        let operands = operands(epilogue);
        agrees(
            &format!(
                "input %x: bf16[2,{},{}]
                 input %r: bf16[2,{m},{n}]
                 input %b: f32[{n}]
                 {given}
                 %y = matmul(%x, %w{operands}) transpose_a={ta} transpose_b={tb} {epilogue}
                 output %y",
                x.0, x.1
            ),
            seed,
        );
    }
}

#[test]
fn images_in_bands_of_lines() {
    for seed in 0..30 {
        let mut random = Random::new(9700 + seed);
        let mut pick = |from: &[usize]| *random.pick(from);
        let (h, w, c, o) = (pick(&[33, 60]), pick(&[40, 64]), pick(&[3, 8, 20]), pick(&[16, 24, 33]));
        let middle = EPILOGUES[pick(&[1, 2, 5])];
        agrees(
            &format!(
                "input %x: bf16[1,{c},{h},{w}]
                 param \"v\": bf16[{o},{c},1,1]
                 param \"w\": bf16[{o},1,3,3]
                 param \"u\": bf16[8,{o},1,1]
                 param \"b\": f32[{o},1,1]
                 %v: bf16[{o},{c},1,1] = parameter 0
                 %w: bf16[{o},1,3,3] = parameter 1
                 %u: bf16[8,{o},1,1] = parameter 2
                 %b: f32[{o},1,1] = parameter 3
                 %y = convolution(%x, %v, %b) {middle}
                 %z = convolution(%y, %w, %b) padding=[(1,1),(1,1)] groups={o} {middle}
                 %t = convolution(%z, %u)
                 output %t"
            ),
            seed,
        );
    }
}

/// What a machine multiplies it need not convert, and what it can store is not converted after.
#[test]
fn nothing_is_converted_where_vectors_take_bf16() {
    let text = "input %x: bf16[1,8,10,10]
        input %a: bf16[16,8,1,1]
        input %c: bf16[16,1,3,3]
        input %m: bf16[10,20]
        input %b: f32[16,1,1]
        %y = convolution(%x, %a, %b) { bf16(max(f32(i0) + i1, 0:f32)) }
        %z = convolution(%y, %c, %b) groups=16 { t0 = f32(i0) + i1; bf16(t0 * sigmoid(t0)) }
        %u = matmul(%y, %m) { bf16(f32(i0) * 2:f32) }
        output %z, %u";
    let network = Network::parse(text).unwrap_or_else(|e| panic!("{e}"));
    for (machine, team) in machines() {
        let isa = machine.isa;
        let engine = CpuEngine::compile(&network, machine, team, &vec![], &[]).expect("it compiles");
        let steps = engine.describe().steps;
        let narrow = steps.iter().filter(|s| s.starts_with("tiles of bf16")).count();
        assert_eq!(narrow, if isa >= Isa::Avx512Bf16 { 2 } else { 0 }, "{isa:?}: {steps:#?}");
        // Weights of the call are made f32 for channels that are filtered alone.
        let loops = steps.iter().filter(|s| s.starts_with("fused loop")).count();
        assert!(if isa >= Isa::Avx512Bf16 { loops <= 1 } else { loops > 1 }, "{isa:?}: {steps:#?}");
    }
}

by_lanes! {
    unsafe fn through => there_and_back(bits: u32) -> Option<(u16, u32)>
}

/// The bits of a number rounded to bf16, and those of that in f32; nothing where vectors have no such instructions.
#[inline(always)]
unsafe fn there_and_back<L: Lanes>(bits: u32) -> Option<(u16, u32)> {
    if !L::NARROW {
        return None;
    }
    let (mut halves, mut wide) = ([0u16; 16], [0f32; 16]);
    // SAFETY: there is room for a vector.
    unsafe {
        L::splat(f32::from_bits(bits)).store_bf16(halves.as_mut_ptr(), L::COUNT);
        L::load_bf16(halves.as_ptr(), L::COUNT).store(wide.as_mut_ptr());
    }
    Some((halves[L::COUNT - 1], wide[L::COUNT - 1].to_bits()))
}

#[test]
fn vectors_round_as_numbers_do() {
    for (machine, _) in machines() {
        for high in 0..=u16::MAX {
            for low in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let bits = u32::from(high) << 16 | low;
                let expected = bf16::from_f32(f32::from_bits(bits));
                // SAFETY: the machine has the instructions.
                if let Some((half, wide)) = unsafe { through(machine.isa, bits) } {
                    assert_eq!((half, wide), (expected.to_bits(), expected.to_f32().to_bits()), "{bits:x}");
                }
            }
        }
    }
}
