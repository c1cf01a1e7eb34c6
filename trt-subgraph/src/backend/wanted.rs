//! What the steps of `run` want to find among the prepared weights.

use std::collections::HashMap;

/// How a value is put into a form: `make`, a function of type `F`, emits the steps.
pub struct Packing<F: ?Sized> {
    form: Option<String>,
    /// Emits the steps from the value to a place.
    pub make: Box<F>,
}

impl<F: ?Sized> Packing<F> {
    /// `form` tells all that `make` depends on beside the value: of equal ones, one is made for all who want it.
    pub fn new(form: String, make: Box<F>) -> Packing<F> {
        Packing { form: Some(form), make }
    }

    /// A form that cannot be told: each who wants it has one.
    pub fn untold(make: Box<F>) -> Packing<F> {
        Packing { form: None, make }
    }
}

/// Forms of prepared values, and where they lie: row-major, or as a packing makes them; each starts at a multiple of `ALIGNMENT` bytes.
pub struct Wanted<F: ?Sized, const ALIGNMENT: usize> {
    /// Bytes of the prepared weights.
    pub bytes: usize,
    plain: Vec<Option<isize>>,
    /// Other forms than row-major ones: the prepared value, where it lies, and how it is made.
    pub packed: Vec<(usize, isize, Box<F>)>,
    /// Where those are that can be told, by prepared value, bytes and form.
    told: HashMap<(usize, usize, String), isize>,
}

impl<F: ?Sized, const ALIGNMENT: usize> Default for Wanted<F, ALIGNMENT> {
    fn default() -> Self {
        Wanted { bytes: 0, plain: Vec::new(), packed: Vec::new(), told: HashMap::new() }
    }
}

impl<F: ?Sized, const ALIGNMENT: usize> Wanted<F, ALIGNMENT> {
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
    pub fn packed(&mut self, prepared: usize, bytes: usize, packing: Packing<F>) -> isize {
        let form = packing.form.map(|form| (prepared, bytes, form));
        if let Some(offset) = form.as_ref().and_then(|form| self.told.get(form)) {
            return *offset;
        }
        let offset = self.reserve(bytes);
        self.packed.push((prepared, offset, packing.make));
        self.told.extend(form.map(|form| (form, offset)));
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
