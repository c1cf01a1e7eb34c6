//! What the steps of `run` want to find among the prepared weights.

/// Forms of prepared values, and where they lie: row-major, or as a packing of type `P` makes them; each starts at a multiple of
/// `ALIGNMENT` bytes.
pub struct Wanted<P, const ALIGNMENT: usize> {
    /// Bytes of the prepared weights.
    pub bytes: usize,
    plain: Vec<Option<isize>>,
    /// Other forms than row-major ones: the prepared value, where it lies, and how it is made.
    pub packed: Vec<(usize, isize, P)>,
}

impl<P, const ALIGNMENT: usize> Default for Wanted<P, ALIGNMENT> {
    fn default() -> Self {
        Wanted { bytes: 0, plain: Vec::new(), packed: Vec::new() }
    }
}

impl<P, const ALIGNMENT: usize> Wanted<P, ALIGNMENT> {
    /// The place of a prepared value of `bytes` bytes, row-major.
    pub fn plain(&mut self, prepared: usize, bytes: usize) -> isize {
        if self.plain.len() <= prepared {
            self.plain.resize(prepared + 1, None);
        }
        if let Some(offset) = self.plain[prepared] {
            return offset;
        }
        let offset = self.reserve(bytes);
        self.plain[prepared] = Some(offset);
        offset
    }

    /// The place of a prepared value in a form of `bytes` bytes.
    pub fn packed(&mut self, prepared: usize, bytes: usize, packing: P) -> isize {
        let offset = self.reserve(bytes);
        self.packed.push((prepared, offset, packing));
        offset
    }

    /// Each prepared value with a place where it is wanted in some form.
    pub fn places(&self) -> impl Iterator<Item = (usize, isize)> {
        let plain = self.plain.iter().enumerate().filter_map(|(i, offset)| Some((i, (*offset)?)));
        plain.chain(self.packed.iter().map(|(i, offset, _)| (*i, *offset)))
    }

    /// Where a prepared value is wanted row-major, if it is.
    pub fn place(&self, prepared: usize) -> Option<isize> {
        self.plain.get(prepared).copied().flatten()
    }

    /// Takes `bytes` bytes off the end.
    fn reserve(&mut self, bytes: usize) -> isize {
        let at = self.bytes.next_multiple_of(ALIGNMENT);
        self.bytes = at + bytes;
        at as isize
    }
}
