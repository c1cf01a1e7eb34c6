//! Packing blocks with known lifetimes into one arena.
//!
//! Large blocks first, each into the tightest gap between the blocks already placed that live at the same time: the greedy
//! order by size of Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference" (2020). Quadratic.

/// Offsets in the arena are multiples of this: a cache line, and the widest vector.
pub const ALIGNMENT: usize = 64;

/// A block that lives from step `first` to step `last`, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interval {
    /// Its size.
    pub bytes: usize,
    /// The step that defines it.
    pub first: usize,
    /// The last step that needs it.
    pub last: usize,
}

impl Interval {
    /// Do both live at some step?
    pub fn overlaps(&self, other: &Interval) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Offsets for blocks, in their order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packed {
    /// Where each block starts.
    pub offsets: Vec<usize>,
    /// Bytes of the arena.
    pub bytes: usize,
}

/// Places blocks so that no two that live at the same time overlap.
pub fn pack(blocks: &[Interval]) -> Packed {
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(blocks[i].bytes), blocks[i].first));
    let mut offsets = vec![0; blocks.len()];
    let mut placed: Vec<usize> = Vec::with_capacity(blocks.len());
    for &i in &order {
        let mut taken: Vec<(usize, usize)> = (placed.iter())
            .filter(|&&j| blocks[j].overlaps(&blocks[i]))
            .map(|&j| (offsets[j], offsets[j] + padded(blocks[j].bytes)))
            .collect();
        taken.sort_unstable();
        offsets[i] = tightest_gap(&taken, padded(blocks[i].bytes));
        placed.push(i);
    }
    let bytes = offsets.iter().zip(blocks).map(|(&o, b)| o + padded(b.bytes)).max().unwrap_or(0);
    Packed { offsets, bytes }
}

/// The most bytes that live at one step: no arena is smaller.
pub fn lower_bound(blocks: &[Interval]) -> usize {
    let live = |step: usize| {
        blocks.iter().filter(|b| (b.first..=b.last).contains(&step)).map(|b| padded(b.bytes)).sum()
    };
    blocks.iter().map(|b| live(b.first)).max().unwrap_or(0)
}

fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

/// The start of the smallest gap of at least `bytes` between these ranges (sorted, may overlap), or their end.
fn tightest_gap(taken: &[(usize, usize)], bytes: usize) -> usize {
    let (mut end, mut best) = (0, None);
    for &(from, to) in taken {
        let gap = from.saturating_sub(end);
        if gap >= bytes && best.is_none_or(|(size, _)| gap < size) {
            best = Some((gap, end));
        }
        end = end.max(to);
    }
    best.map_or(end, |(_, start)| start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(bytes: usize, first: usize, last: usize) -> Interval {
        Interval { bytes, first, last }
    }

    #[test]
    fn blocks_that_do_not_meet_share() {
        let packed = pack(&[block(100, 0, 1), block(100, 1, 2), block(128, 2, 3)]);
        assert_eq!(packed.bytes, 256);
        assert_eq!(packed.offsets[0], packed.offsets[2]);
    }

    #[test]
    fn nothing_needs_nothing() {
        assert_eq!(pack(&[]).bytes, 0);
        assert_eq!(pack(&[block(0, 0, 5), block(0, 0, 5)]).bytes, 0);
    }

    #[test]
    fn random_blocks_stay_apart_and_close_to_the_bound() {
        let mut random = crate::Random::new(7);
        let mut next = |n: usize| random.below(n);
        for _ in 0..200 {
            let n = 1 + next(60);
            let blocks: Vec<Interval> = (0..n)
                .map(|_| {
                    let first = next(40);
                    block(next(5000), first, first + next(10))
                })
                .collect();
            let packed = pack(&blocks);
            for i in 0..n {
                assert_eq!(packed.offsets[i] % ALIGNMENT, 0);
                for j in 0..i {
                    let (a, b) = (packed.offsets[i], packed.offsets[j]);
                    let apart = a + blocks[i].bytes <= b || b + blocks[j].bytes <= a;
                    let empty = blocks[i].bytes == 0 || blocks[j].bytes == 0;
                    assert!(apart || empty || !blocks[i].overlaps(&blocks[j]));
                }
            }
            assert!(packed.bytes as f64 <= 1.5 * lower_bound(&blocks) as f64);
        }
    }
}
