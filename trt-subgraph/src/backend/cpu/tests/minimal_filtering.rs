//! Convolutions by minimal filtering.

use super::{EPILOGUES, agrees, agrees_on, operands, settled};
use crate::backend::cpu::tactic::Way;

#[test]
fn odd_values() {
    // Enough tiles and channels for the transforms; sizes that leave half tiles at the border.
    for (seed, (c, o, h, w, pad)) in [
        (32, 32, 12, 13, 1),
        (33, 40, 11, 14, 0),
        (32, 70, 9, 15, 1),
        (40, 36, 17, 9, 2),
        (20, 200, 5, 6, 1),
        (16, 16, 9, 33, 1),
    ]
    .into_iter()
    .enumerate()
    {
        for (more, epilogue) in EPILOGUES[..5].iter().enumerate() {
            let operands = operands(epilogue);
            let (oh, ow) = (h + 2 * pad - 2, w + 2 * pad - 2);
            agrees(
                &format!(
                    "input %x: f32[2,{c},{h},{w}]
                     input %r0: f32[2,{o},{oh},{ow}]
                     param \"w\": f32[{o},{c},3,3]
                     param \"b\": f32[{o},1,1]
                     %w: f32[{o},{c},3,3] = parameter 0
                     %b: f32[{o},1,1] = parameter 1
                     %r = pointwise(%r0) {{ neg(i0) }}
                     %y = convolution(%x, %w{operands}) padding=[({pad},{pad}),({pad},{pad})] {epilogue}
                     output %y"
                ),
                (10 * seed + more) as u64,
            );
        }
    }
}

/// Every number of tiles that a block may end with, and sums that are gathered from several.
#[test]
fn any_number_of_tiles() {
    for (seed, tiles) in (1..=14).enumerate() {
        for (c, o) in [(16, 40), (17, 9), (130, 20), (300, 70)] {
            agrees_on(
                &format!(
                    "input %x: f32[1,{c},2,{w}]
                     param \"w\": f32[{o},{c},3,3]
                     %w: f32[{o},{c},3,3] = parameter 0
                     %y = convolution(%x, %w) padding=[(1,1),(1,1)]
                     output %y",
                    w = 2 * tiles
                ),
                seed as u64,
                &settled(Way::Winograd),
            );
        }
    }
}
