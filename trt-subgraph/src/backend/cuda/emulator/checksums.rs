//! Checksums of memory on the emulated device.

use super::super::checksum::program;
use super::super::program::Source;
use super::{Memory, run};

/// Blocks that sum.
const BLOCKS: usize = 3;

/// The sums of parts, given by their first byte and size.
fn sums(bytes: &mut Memory, parts: &[(usize, usize)]) -> Vec<u64> {
    let mut words = vec![parts.len() as u64];
    words.extend(parts.iter().flat_map(|&(from, size)| [bytes.address() as u64 + from as u64, size as u64]));
    let mut table = Memory::holding(&words.iter().flat_map(|w| w.to_ne_bytes()).collect::<Vec<u8>>());
    let mut sums = Memory::new(8 * parts.len());
    run(&program(BLOCKS).expect("a program"), |slot| match slot {
        Source::Input(0) => table.address(),
        Source::Output(0) => sums.address(),
        _ => std::ptr::null_mut(),
    });
    // SAFETY: as many words were written.
    unsafe { std::slice::from_raw_parts(sums.address().cast::<u64>(), parts.len()) }.to_vec()
}

#[test]
fn every_part_has_the_sum_of_its_own_bytes() {
    let bytes: Vec<u8> = (0..20_000u32).map(|i| (i * i / 7) as u8).collect();
    // Aligned or not, whole packs or not, empty, more parts than blocks.
    let parts = [(0, 8192), (0, 8192), (16, 8195), (3, 77), (9000, 4096), (32, 0), (8192, 15), (16_384, 16)];
    let mut memory = Memory::holding(&bytes);
    let before = sums(&mut memory, &parts);
    assert_eq!(before[0], before[1], "equal parts have equal sums");
    for (i, a) in before.iter().enumerate() {
        assert!(
            i == 1 || before[..i].iter().all(|b| a != b),
            "different parts have different sums: {before:?}"
        );
    }
    for at in [0, 3, 17, 79, 8191, 8193, 8206, 8210, 13_095, 16_399] {
        let mut changed = bytes.clone();
        changed[at] ^= 0x80;
        let after = sums(&mut Memory::holding(&changed), &parts);
        for ((&(from, size), before), after) in parts.iter().zip(&before).zip(after) {
            assert_eq!(
                (from..from + size).contains(&at),
                after != *before,
                "byte {at}, part {from} of {size}"
            );
        }
    }
}

#[test]
fn signs_that_change_everywhere_are_seen() {
    let mut bytes = vec![0x3fu8; 4096];
    let before = sums(&mut Memory::holding(&bytes), &[(0, 4096)]);
    bytes.iter_mut().skip(3).step_by(4).for_each(|byte| *byte ^= 0x80);
    assert_ne!(sums(&mut Memory::holding(&bytes), &[(0, 4096)]), before);
}
