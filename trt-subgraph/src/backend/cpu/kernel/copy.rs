//! Copies between strided tensors of one type: runs, transposed tiles, or element by element.

use crate::backend::RunError;
use crate::backend::cpu::nest::Nest;
use crate::backend::cpu::step::{Address, Call, Step};
use crate::backend::cpu::view::View;

/// Side of a tile of a transposed copy: its lines stay in the first-level cache.
const TILE: usize = 16;
/// Elements of a run that one thread copies at a time.
const RUN: usize = 16 * 1024;
/// Bytes below which a second thread costs more than it gives.
const GRAIN: usize = 128 * 1024;

/// A copy step.
pub struct Copy {
    from: View,
    to: View,
    size: usize,
    /// Loops around the inner ones. Steps: `to`, `from`.
    outer: Nest<2>,
    /// The loop whose elements are neighbours in `from`, where that is not the innermost one of `to`.
    across: Option<(usize, [isize; 2])>,
    inner: (usize, [isize; 2]),
}

impl Copy {
    /// `from` and `to` have one shape and element size.
    pub fn new(from: &View, to: &View) -> Copy {
        let mut outer = Nest::new([to, from], &to.order());
        let inner = outer.pop();
        let across = match inner.1[1] {
            1 => None,
            _ => outer.loops.iter().position(|l| l.1[1] == 1).map(|i| outer.loops.remove(i)),
        };
        Copy { from: from.clone(), to: to.clone(), size: to.dtype.size(), outer, across, inner }
    }

    /// Runs or tiles around which threads share the work, for each iteration of the outer loops.
    fn blocks(&self) -> usize {
        match self.across {
            Some((n, _)) => n.div_ceil(TILE),
            None => self.inner.0.div_ceil(RUN),
        }
    }

    /// # Safety
    /// `to` and `from` are the tensors' addresses; block `item` belongs to this thread.
    unsafe fn block<T: std::marker::Copy>(&self, to: Address, from: Address, item: usize) {
        let (outer, block) = (item / self.blocks(), item % self.blocks());
        let [to_at, from_at] = self.outer.offsets(outer);
        let (n, [to_step, from_step]) = self.inner;
        let (rows, [to_row, from_row]) = self.across.unwrap_or((1, [0, 0]));
        let (first, last, begin, end) = match self.across {
            Some(_) => (block * TILE, rows.min((block + 1) * TILE), 0, n),
            None => (0, 1, block * RUN, n.min((block + 1) * RUN)),
        };
        if to_step == 1 && from_step == 1 {
            let (to, from) = (to.at::<T>(to_at + begin as isize), from.at::<T>(from_at + begin as isize));
            // SAFETY: both runs are inside of their tensors, which do not overlap.
            return unsafe { std::ptr::copy_nonoverlapping(from.cast_const(), to, end - begin) };
        }
        let width = if self.across.is_some() { TILE } else { RUN };
        for column in (begin..end).step_by(width) {
            for row in first..last {
                let to = to.at::<T>(to_at + row as isize * to_row);
                let from = from.at::<T>(from_at + row as isize * from_row);
                for c in column as isize..end.min(column + width) as isize {
                    // SAFETY: the element is inside of both tensors.
                    unsafe { *to.wrapping_offset(c * to_step) = *from.wrapping_offset(c * from_step) };
                }
            }
        }
    }
}

impl Step for Copy {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let (to, from) = (call.of(&self.to), call.of(&self.from));
        let items = self.outer.len() * self.blocks();
        let grain = (GRAIN * items / (self.to.elements() * self.size)).max(1);
        call.team.split(items, grain, |_, part| {
            for item in part {
                // SAFETY: the caller gives both tensors; parts are disjoint.
                unsafe {
                    match self.size {
                        1 => self.block::<u8>(to, from, item),
                        2 => self.block::<u16>(to, from, item),
                        4 => self.block::<u32>(to, from, item),
                        _ => self.block::<u64>(to, from, item),
                    }
                }
            }
        });
        Ok(())
    }

    fn describe(&self) -> String {
        match self.across {
            Some(_) => "transposing copy".to_string(),
            None => "copy".to_string(),
        }
    }

    fn form(&self) -> String {
        format!("{:?} {:?}", self.from, self.to)
    }
}
