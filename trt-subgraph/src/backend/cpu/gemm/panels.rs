//! The second operand of a product in the order in which tiles read it: cut into panels of a few vectors of columns, each with
//! its vectors one after the other along the sum.

use super::thin;
use super::tile::{self, Kernel};
use crate::DType;
use crate::backend::RunError;
use crate::backend::cpu::assemble::{Assembler, Packing};
use crate::backend::cpu::expr::Isa;
use crate::backend::cpu::nest::Nest;
use crate::backend::cpu::step::{Call, Step};
use crate::backend::cpu::view::{Slot, View};

/// How the columns of one group are cut.
#[derive(Clone, PartialEq, Debug)]
pub struct Panels {
    /// The panels from left to right.
    pub list: Vec<Panel>,
    /// Terms of the sum.
    pub depth: usize,
    /// Elements of a vector.
    pub lanes: usize,
}

/// A few vectors of columns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Panel {
    /// The first column.
    pub first: usize,
    /// How many columns it has; the rest of its last vector is filled up.
    pub columns: usize,
    /// Its vectors; 0 for a few columns that lie one after the other, each along the sum.
    pub vectors: usize,
    /// Where it starts in the group, in elements.
    pub offset: usize,
}

impl Panels {
    /// Panels that are about equally wide, and a [`thin`] one for a few columns that are left over where that costs less than
    /// a vector. `run` terms of the sum are neighbours in the first operand.
    pub fn new(isa: Isa, columns: usize, depth: usize, run: usize) -> Panels {
        let lanes = tile::lanes(isa);
        let over = columns % lanes;
        let vectors_of_sum = depth / run * run.div_ceil(lanes);
        let is_thin =
            over > 0 && over <= thin::most_columns(lanes) && over * (2 * vectors_of_sum + lanes) < depth;
        if !is_thin {
            return Panels::of_vectors(isa, columns, depth);
        }
        let mut out = Panels::of_vectors(isa, columns - over, depth);
        let first = columns - over;
        out.list.push(Panel { first, columns: over, vectors: 0, offset: first * depth });
        out
    }

    /// Panels of whole vectors that are about equally wide.
    pub fn of_vectors(isa: Isa, columns: usize, depth: usize) -> Panels {
        let lanes = tile::lanes(isa);
        let vectors = columns.div_ceil(lanes);
        let count = vectors.div_ceil(tile::most_vectors(isa));
        let starts = |i: usize| vectors * i / count;
        let list = (0..count).map(|i| {
            let (first, vectors) = (starts(i) * lanes, starts(i + 1) - starts(i));
            let wide = (vectors * lanes).min(columns - first);
            Panel { first, columns: wide, vectors, offset: first * depth }
        });
        Panels { list: list.collect(), depth, lanes }
    }

    /// Elements of a group.
    pub fn elements(&self) -> usize {
        self.list.iter().map(|p| self.width(p) * self.depth).sum()
    }

    /// Columns that a panel has room for.
    pub fn width(&self, panel: &Panel) -> usize {
        if panel.vectors == 0 { panel.columns } else { panel.vectors * self.lanes }
    }

    /// The kernels for a panel's tiles.
    pub fn kernels(&self, isa: Isa, panel: &Panel) -> &'static [(usize, Kernel)] {
        match panel.vectors {
            0 => thin::kernels(isa, panel.columns),
            vectors => tile::kernels(isa, vectors),
        }
    }

    /// Puts `plain(value)`, of axes `[groups, terms..., columns]`, into panels, group after group.
    pub fn packing(&self, plain: impl FnOnce(View) -> View + 'static) -> Packing {
        let panels = self.clone();
        Box::new(move |a: &mut Assembler, from, slot, offset| {
            let from = a.converted(from, DType::F32);
            let from = plain(from);
            let rank = from.rank();
            let terms = from.permute(&(1..rank - 1).collect::<Vec<_>>());
            let terms = Nest::new([&terms], &(0..rank - 2).collect::<Vec<_>>());
            let touches = [from.slot, slot];
            a.emit(Pack { panels, from, terms, to: (slot, offset) }, &touches);
            Ok(())
        })
    }
}

/// Terms that are put into place together.
const TERMS: usize = 16;

struct Pack {
    panels: Panels,
    from: View,
    terms: Nest<1>,
    to: (Slot, isize),
}

impl Panel {
    /// Puts a panel into place: `to[term][column]`, from an operand whose term `t` starts at `from + term(t)`.
    ///
    /// # Safety
    /// The operand has `depth` terms of the panel's columns, `step` apart; `to` has room for the panel.
    pub unsafe fn pack(
        &self,
        from: *const f32,
        term: impl Fn(usize) -> isize,
        step: isize,
        to: *mut f32,
        (depth, lanes): (usize, usize),
    ) {
        let width = self.vectors * lanes;
        if width == 0 {
            for (c, t) in (0..self.columns).flat_map(|c| (0..depth).map(move |t| (c, t))) {
                let from = from.wrapping_offset(term(t) + c as isize * step);
                // SAFETY: an element of the operand; the panel has room for it.
                unsafe { *to.add(c * depth + t) = *from };
            }
            return;
        }
        // Some terms of a column at a time: neighbours are often in one line of the cache, and columns often lie so that they push each
        // other out of it.
        for first in (0..depth).step_by(TERMS) {
            let count = TERMS.min(depth - first);
            let terms: [isize; TERMS] = std::array::from_fn(|i| if i < count { term(first + i) } else { 0 });
            // SAFETY: columns of the panel are in the operand; there is room for whole vectors of each term.
            unsafe {
                let to = std::slice::from_raw_parts_mut(to.add(first * width), count * width);
                if step == 1 {
                    for (to, &term) in to.chunks_exact_mut(width).zip(&terms) {
                        let line = std::slice::from_raw_parts(from.wrapping_offset(term), self.columns);
                        to[..self.columns].copy_from_slice(line);
                    }
                } else {
                    for c in 0..self.columns {
                        let column = from.wrapping_offset(c as isize * step);
                        for (to, &term) in to[c..].iter_mut().step_by(width).zip(&terms) {
                            *to = *column.wrapping_offset(term);
                        }
                    }
                }
                to.chunks_exact_mut(width).for_each(|to| to[self.columns..].fill(0.0));
            }
        }
    }
}

impl Step for Pack {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let (from, to) = (call.of(&self.from), call.place(self.to.0, self.to.1));
        let (group_step, column_step) = (self.from.strides[0], self.from.strides[self.from.rank() - 1]);
        let (panels, depth, lanes) = (self.panels.list.len(), self.panels.depth, self.panels.lanes);
        call.team.split(self.from.shape[0] * panels, 1, |_, part| {
            for item in part {
                let (group, panel) = (item / panels, self.panels.list[item % panels]);
                let first = group as isize * group_step + panel.first as isize * column_step;
                let start = group * self.panels.elements() + panel.offset;
                let term = |t| self.terms.offsets(t)[0];
                let (from, to) = (from.at::<f32>(first), to.at::<f32>(start as isize));
                // SAFETY: the caller gives the operand and room for all panels.
                unsafe { panel.pack(from, term, column_step, to, (depth, lanes)) };
            }
        });
        Ok(())
    }

    fn describe(&self) -> String {
        "pack into panels".to_string()
    }

    fn form(&self) -> String {
        format!("{:?} {:?} {:?}", self.panels, self.from, self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_cover_all_columns_once() {
        for isa in [Isa::Portable, Isa::Avx2, Isa::Avx512] {
            for columns in [1, 3, 4, 16, 20, 50, 64, 65, 80, 500] {
                for panels in [Panels::of_vectors(isa, columns, 700), Panels::new(isa, columns, 700, 700)] {
                    let mut next = 0;
                    for panel in &panels.list {
                        assert_eq!((panel.first, panel.offset), (next, next * 700));
                        assert!(panel.vectors <= tile::most_vectors(isa));
                        assert!(panel.columns > panel.vectors.saturating_sub(1) * panels.lanes);
                        next += panel.columns;
                    }
                    assert_eq!(next, columns);
                }
            }
        }
    }
}
