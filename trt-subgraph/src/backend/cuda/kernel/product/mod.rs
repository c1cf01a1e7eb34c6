//! Matrix products and convolutions of every element type, by our own kernels without tensor cores.
//!
//! Both are one thing: for each of a batch, `y[m, n] = sum over k of a(m, k) * b(k, n)`, where `a` may be an image seen through windows.

mod convolution;
mod direct;
mod few;
mod grouped;
mod matmul;
mod split;
pub mod tensor;
mod tiled;

pub use convolution::convolution;
pub use grouped::grouped;
pub use matmul::{matmul, matrices};

use super::super::assemble::{Assembler, Fault};
use super::super::render::sum_type;
use super::super::render::{Tail, compute_type, in_runs, index_type};
use crate::backend::view::View;

/// One factor as code: what it needs to be read at `b` (of the batch), its row or column, and `k`.
pub struct Factor {
    pub view: View,
    /// Declarations that depend on the row or column (`m` or `n`) and `b`.
    pub outer: String,
    /// What of these the rest reads.
    pub kept: Vec<String>,
    /// Declarations that depend on `k`, and on the above.
    pub inner: String,
    /// The offset in elements.
    pub offset: String,
    /// Whether there is an element; reads 0 otherwise.
    pub exists: Option<String>,
    /// Do neighbours along `k` lie closer than neighbours along the row or column?
    pub dense_along_k: bool,
    /// The axis of the view that `k` walks, where it is one.
    pub k_axis: Option<usize>,
}

/// A batched product and what becomes of it.
pub struct Product {
    pub what: &'static str,
    pub batch: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Factor,
    pub b: Factor,
    pub tail: Tail,
    /// Declarations of what `positions` names, from `b`, `m` and `n`.
    pub place: String,
    /// Where in the result.
    pub positions: Vec<String>,
    /// Do neighbours along `m` lie closer in the result than neighbours along `n`?
    pub dense_along_m: bool,
    /// The axis of the result that `n` walks.
    pub column_axis: usize,
    /// Where runs of `k` walk one axis of each factor: how long they are, and those axes. In a convolution they are the channels.
    pub run: Option<(usize, [usize; 2])>,
}

impl Product {
    /// The same with the result and the epilogue's operands as matrices, where the rows of each lie one step apart: a row needs no splitting
    /// into images and places then.
    pub fn in_rows(mut self) -> Product {
        let mut order: Vec<usize> =
            (0..self.tail.out.rank()).filter(|&axis| axis != self.column_axis).collect();
        order.push(self.column_axis);
        let size = [self.m, self.n];
        let matrix = |view: &View| view.permute(&order).reshape(&size);
        let operands: Option<Vec<View>> = self.tail.operands.iter().map(matrix).collect();
        if let (1, Some(out), Some(operands)) = (self.batch, matrix(&self.tail.out), operands) {
            (self.tail.out, self.tail.operands) = (out, operands);
            self.place = String::new();
            self.positions = ["m", "n"].map(str::to_string).to_vec();
            self.column_axis = 1;
        }
        self
    }

    /// The type of positions.
    pub fn index(&self) -> &'static str {
        let mut views = vec![&self.a.view, &self.b.view];
        views.extend(self.tail.views());
        let largest = [self.m * self.n, self.m * self.k, self.n * self.k].into_iter().max().unwrap_or(0);
        index_type(&views, self.batch * largest.max(1))
    }

    /// The type of sums.
    pub fn sum(&self) -> &'static str {
        sum_type(self.a.view.dtype)
    }

    /// Elements along `k` that both factors let a thread read at once, from multiples of as many on.
    pub fn together(&self) -> usize {
        let Some((run, [left, right])) = self.run else { return 1 };
        let fits = |pack: &usize| {
            run.is_multiple_of(*pack)
                && in_runs(&self.a.view, left, *pack)
                && in_runs(&self.b.view, right, *pack)
        };
        let most = 16 / self.a.view.dtype.size();
        [most, most / 2, most / 4, most / 8].into_iter().find(|pack| *pack > 1 && fits(pack)).unwrap_or(1)
    }

    /// Code that stores the sum named `sum`.
    pub fn store(&self, sum: &str) -> String {
        let own = compute_type(self.tail.typing[0]);
        format!(
            "{{\n{}{}}}\n",
            self.place,
            self.tail.store(&format!("({own}){sum}"), &self.positions, self.index())
        )
    }

    /// Emits the kernel that is asked for, or the one that suits the sizes where that one does not do this product.
    pub fn emit(self, a: &mut Assembler, kernel: Kernel) -> Result<(), Fault> {
        if self.tail.out.elements() == 0 {
            return Ok(());
        }
        match kernel {
            Kernel::Direct => direct::emit(a, self),
            Kernel::Split => split::emit(a, self),
            Kernel::Suitable if self.n < 8 && self.m >= 64 || self.m * self.n < 64 && self.k < 64 => {
                direct::emit(a, self)
            }
            Kernel::Suitable if self.m <= 8 && self.a.k_axis.is_some() && self.b.k_axis.is_some() => {
                few::emit(a, self)
            }
            Kernel::Suitable | Kernel::Tiled => tiled::emit(a, self),
        }
    }
}

/// Which of our kernels runs a product.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kernel {
    /// The one that suits its sizes.
    Suitable,
    /// A thread for a row and a few columns.
    Direct,
    /// Tiles in shared memory.
    Tiled,
    /// A warp for a row and a few columns.
    Split,
}
