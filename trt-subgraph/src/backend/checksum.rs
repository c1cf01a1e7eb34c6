//! Checksums of host memory, to tell whether weights are still what they were.

use super::MemoryRun;
use crc_fast::CrcAlgorithm::Crc64Nvme;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that are summed in one go; runs are cut into so much.
const PART: usize = 1 << 18;

/// Checksums of whole runs. `split` is given a number of parts, and calls what it is given for ranges that cover them, in any threads.
///
/// # Safety
/// The runs can be read, and are not written meanwhile.
pub unsafe fn checksums(
    runs: &[MemoryRun],
    split: impl FnOnce(usize, &(dyn Fn(Range<usize>) + Sync)),
) -> Vec<u64> {
    let bytes = |run: &MemoryRun| match run.bytes {
        // A slice wants an address also where there is nothing.
        0 => &[][..],
        // SAFETY: the caller's promise.
        bytes => unsafe { std::slice::from_raw_parts(run.address, bytes) },
    };
    let parts: Vec<&[u8]> = runs.iter().flat_map(|run| bytes(run).chunks(PART)).collect();
    let sums: Vec<AtomicU64> = parts.iter().map(|_| AtomicU64::new(0)).collect();
    split(parts.len(), &|range| {
        for (part, sum) in parts[range.clone()].iter().zip(&sums[range]) {
            sum.store(crc_fast::checksum(Crc64Nvme, part), Ordering::Relaxed);
        }
    });
    let mut sums = sums.into_iter().map(AtomicU64::into_inner);
    let whole = |run: &MemoryRun| {
        let own = sums.by_ref().take(run.bytes.div_ceil(PART));
        let own: Vec<u8> = own.flat_map(u64::to_le_bytes).collect();
        crc_fast::checksum(Crc64Nvme, &own)
    };
    runs.iter().map(whole).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8], from: usize) -> u64 {
        let run = MemoryRun { address: bytes[from..].as_ptr(), bytes: bytes.len() - from };
        let empty = MemoryRun { address: std::ptr::null(), bytes: 0 };
        // SAFETY: a slice's memory.
        let sums =
            unsafe { checksums(&[empty, run, empty], |parts, sum| (0..parts).for_each(|i| sum(i..i + 1))) };
        assert_eq!(sums[0], sums[2]);
        sums[1]
    }

    #[test]
    fn every_bit_and_the_order_of_parts_count() {
        let mut bytes: Vec<u8> = (0..2 * PART + 77).map(|i| (i * i / 13) as u8).collect();
        let before = of(&bytes, 3);
        for at in [3, 4, PART - 1, PART, PART + 3, 2 * PART + 76] {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                assert_ne!(of(&bytes, 3), before, "bit {bit} of byte {at}");
                bytes[at] ^= 1 << bit;
            }
        }
        assert_eq!(of(&bytes, 3), before);
        bytes.rotate_left(PART);
        assert_ne!(of(&bytes, 3), before);
    }
}
