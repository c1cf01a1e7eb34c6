//! Bytes that several owners share and nobody writes: a mapped file, a segment of shared memory, a part of either.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Tensors, packed weights and sections of plans start at multiples of this many bytes.
pub(crate) const ALIGNMENT: usize = 64;

/// Read-only bytes; a clone or a part shares the memory and keeps it alive.
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl Bytes {
    /// All bytes of `owner`, whose `as_ref` gives the same memory at every call.
    pub fn of(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Bytes {
        let range = 0..owner.as_ref().len();
        Bytes { owner: Arc::new(owner), range }
    }

    /// A copy at an address that is a multiple of 64.
    pub fn aligned(bytes: &[u8]) -> Bytes {
        /// A cache line.
        #[derive(Clone, Copy)]
        #[repr(align(64))]
        struct Line([u8; ALIGNMENT]);
        struct Lines(Vec<Line>);
        impl AsRef<[u8]> for Lines {
            fn as_ref(&self) -> &[u8] {
                // SAFETY: a line is 64 plain bytes without padding.
                unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * ALIGNMENT) }
            }
        }
        let line = |chunk: &[u8]| {
            let mut line = Line([0; ALIGNMENT]);
            line.0[..chunk.len()].copy_from_slice(chunk);
            line
        };
        let lines = Lines(bytes.chunks(ALIGNMENT).map(line).collect());
        Bytes { owner: Arc::new(lines), range: 0..bytes.len() }
    }

    /// These bytes at an address that is a multiple of 64: themselves, or a copy.
    pub fn into_aligned(self) -> Bytes {
        if (self.as_ptr() as usize).is_multiple_of(ALIGNMENT) { self } else { Bytes::aligned(&self) }
    }

    /// A part. `None` when it reaches beyond the end.
    pub fn part(&self, range: Range<usize>) -> Option<Bytes> {
        let part = self.range.start.checked_add(range.start)?..self.range.start.checked_add(range.end)?;
        let inside = part.start <= part.end && part.end <= self.range.end;
        inside.then(|| Bytes { owner: self.owner.clone(), range: part })
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes::of(bytes)
    }
}

impl From<Arc<[u8]>> for Bytes {
    fn from(bytes: Arc<[u8]>) -> Bytes {
        Bytes::of(bytes)
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.range.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_share_and_stay_inside() {
        let whole = Bytes::from((0..200u8).collect::<Vec<u8>>());
        let part = whole.part(10..20).unwrap().part(5..10).unwrap();
        assert_eq!(&part[..], &[15, 16, 17, 18, 19]);
        assert_eq!(part.as_ptr(), whole[15..].as_ptr());
        assert!(part.part(0..6).is_none() && whole.part(usize::MAX..usize::MAX).is_none());
        #[expect(clippy::reversed_empty_ranges, reason = "what a damaged table may ask for")]
        let reversed = whole.part(20..10);
        assert!(reversed.is_none());
    }

    #[test]
    fn a_copy_is_aligned_and_the_same() {
        for n in [0, 1, 64, 100] {
            let bytes: Vec<u8> = (0..n as u8).collect();
            let odd = Bytes::from([&[0u8], &bytes[..]].concat()).part(1..n + 1).unwrap();
            let aligned = odd.into_aligned();
            assert_eq!(aligned[..], bytes[..]);
            assert!((aligned.as_ptr() as usize).is_multiple_of(ALIGNMENT));
        }
    }
}
