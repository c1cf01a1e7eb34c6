//! Memory that is read soon and brought into the second-level cache while sums are computed.
//!
//! Weights of a next panel are that most of all: the processor's own foresight ends where a run of neighbours does, and weights of
//! large networks come from memory in every call.

/// Elements of a cache line.
const LINE: usize = 16;

/// What is brought near, and how often.
#[derive(Clone, Copy)]
pub struct Ahead {
    at: *const f32,
    /// Cache lines at a time,
    each: usize,
    /// after so many terms,
    every: usize,
    /// of which so many are left.
    wait: usize,
}

impl Ahead {
    /// Nothing.
    pub const NONE: Ahead = Ahead { at: std::ptr::null(), each: 0, every: usize::MAX, wait: usize::MAX };

    /// `elements` from `at` on, during `tiles` tiles with sums of `depth` terms.
    pub fn new(at: *const f32, elements: usize, tiles: usize, depth: usize) -> Ahead {
        let lines = elements.div_ceil(LINE * tiles.max(1));
        if lines == 0 || depth == 0 {
            return Ahead::NONE;
        }
        let each = lines.div_ceil(depth);
        let every = depth * each / lines;
        Ahead { at, each, every, wait: every }
    }

    /// A term is about to be added.
    #[inline(always)]
    pub fn term(&mut self) {
        self.wait -= 1;
        if self.wait == 0 {
            self.wait = self.every;
            for _ in 0..self.each {
                fetch::<2>(self.at);
                self.at = self.at.wrapping_add(LINE);
            }
        }
    }

    /// What is left after a tile with sums of `depth` terms that began here.
    #[inline(always)]
    pub fn after(self, depth: usize) -> Ahead {
        match self.each {
            0 => self,
            each => Ahead { at: self.at.wrapping_add(depth / self.every * each * LINE), ..self },
        }
    }
}

/// Has a cache line brought into the cache of this level: the first, else the second.
#[inline(always)]
pub fn fetch<const LEVEL: usize>(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, for any address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        if LEVEL == 1 {
            _mm_prefetch::<_MM_HINT_T0>(at.cast())
        } else {
            _mm_prefetch::<_MM_HINT_T1>(at.cast())
        }
    };
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
