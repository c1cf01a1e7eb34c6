//! The second operand of a product in the order in which tiles read it: cut into panels of a few vectors of columns, each with
//! its vectors one after the other along the sum.

use super::thin;
use super::tile::{self, Kernel};
use crate::backend::cpu::expr::Isa;

/// How the columns of one group are cut.
#[derive(Clone, PartialEq, Debug)]
pub struct Panels {
    /// The panels from left to right.
    pub list: Vec<Panel>,
    /// Terms of the sum, or pairs of them.
    pub depth: usize,
    /// Elements of a vector.
    pub lanes: usize,
    /// Is each element two terms of bf16?
    pub pairs: bool,
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
        Panels { list: list.collect(), depth, lanes, pairs: false }
    }

    /// The same of pairs of bf16, for a machine that has such products; `depth` counts pairs.
    pub fn of_pairs(isa: Isa, columns: usize, depth: usize) -> Panels {
        Panels { pairs: true, ..Panels::of_vectors(isa, columns, depth) }
    }

    /// Elements of a group.
    pub fn elements(&self) -> usize {
        self.list.last().map_or(0, |last| last.offset + self.width(last) * self.depth)
    }

    /// Columns that a panel has room for.
    pub fn width(&self, panel: &Panel) -> usize {
        if panel.vectors == 0 { panel.columns } else { panel.vectors * self.lanes }
    }

    /// The kernels for a panel's tiles.
    pub fn kernels(&self, isa: Isa, panel: &Panel) -> &'static [(usize, Kernel)] {
        match panel.vectors {
            0 => thin::kernels(isa, panel.columns),
            vectors if self.pairs => tile::pair_kernels(vectors),
            vectors => tile::kernels(isa, vectors),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_cover_all_columns_once() {
        for isa in Isa::ALL {
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
                    let widths = panels.list.iter().map(|p| panels.width(p));
                    assert_eq!(panels.elements(), widths.sum::<usize>() * 700);
                }
            }
        }
    }
}
