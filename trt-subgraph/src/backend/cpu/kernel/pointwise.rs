//! Fused loops: one expression for every element, operands broadcast by strides of 0.
//!
//! The result is walked in its memory order, in chunks of a few hundred elements: columns of the innermost loop, and whole
//! rows of the loop around it where rows are short. An operand that lies like the result is read in place; any other is
//! copied into a register first, once for all chunks that see the same elements.

use crate::DType;
use crate::backend::RunError;
use crate::backend::cpu::expr::{Code, Isa, dispatch, execute};
use crate::backend::cpu::memory::{Grid, fill, load, store};
use crate::backend::cpu::step::{Address, Call, Step};
use crate::backend::cpu::view::{Slot, View};
use crate::network::Expr;

/// Elements of a chunk, at most.
const CHUNK: usize = 512;
/// Work below which a second thread costs more than it gives, in vector operations on one element.
const GRAIN: usize = 32 * 1024;

struct Operand {
    view: View,
    register: u16,
    row_step: isize,
    column_step: isize,
    /// Read where it lies.
    in_place: bool,
}

/// A pointwise step.
pub struct Pointwise {
    code: Code,
    isa: Isa,
    operands: Vec<Operand>,
    out: View,
    out_steps: (isize, isize),
    /// The result is computed where it belongs.
    writes_through: bool,
    /// Loops around a chunk: size, and steps of the result and the operands.
    outer: Vec<(usize, Vec<isize>)>,
    rows: usize,
    columns: usize,
    block_rows: usize,
    block_columns: usize,
    scratch: Slot,
    /// Bytes from the start of a thread's scratch to each register; they follow the tables of addresses.
    register_offsets: Vec<usize>,
    /// Bytes of scratch of one thread.
    pub thread_bytes: usize,
}

impl Pointwise {
    /// `out = expr(operands)`; operands have the shape of `out` (stretched) and element types that compute in the lanes of
    /// `typing`. An operand may be `out` itself. `scratch` must offer `thread_bytes` for each thread.
    pub fn new(
        expr: &Expr,
        typing: &[DType],
        operands: &[View],
        out: View,
        isa: Isa,
        scratch: Slot,
    ) -> Pointwise {
        let code = Code::new(expr, typing);
        let read: Vec<(u16, &View)> =
            code.inputs.iter().zip(operands).filter_map(|(r, v)| r.map(|r| (r, v))).collect();
        let mut outer = loops(&out, &read);
        let none = || (1, vec![0; read.len() + 1]);
        let (columns, column_steps) = outer.pop().unwrap_or_else(none);
        let (rows, row_steps) = if columns < CHUNK / 2 { outer.pop().unwrap_or_else(none) } else { none() };
        let block_columns = balanced(columns, CHUNK);
        let block_rows = if block_columns < columns { 1 } else { balanced(rows, CHUNK / columns) };
        let lies = |view: &View, row_step, column_step, register: u16| {
            let grid = Grid { rows: block_rows, columns: block_columns, row_step, column_step };
            grid.is_run() && code.registers[register as usize].is(view.dtype)
        };
        let operands: Vec<Operand> = read
            .iter()
            .enumerate()
            .map(|(k, &(register, view))| {
                let (row_step, column_step) = (row_steps[k + 1], column_steps[k + 1]);
                let in_place = lies(view, row_step, column_step, register) && view.slot != out.slot;
                Operand { view: view.clone(), register, row_step, column_step, in_place }
            })
            .collect();
        let computed = code.instructions.iter().any(|i| i.to == code.result);
        let writes_through = computed && lies(&out, row_steps[0], column_steps[0], code.result);
        let tables = (code.registers.len() + 2 * operands.len()) * size_of::<usize>();
        let mut thread_bytes = tables.next_multiple_of(64);
        let chunk = block_rows * block_columns;
        let register_offsets = code
            .registers
            .iter()
            .enumerate()
            .map(|(r, lane)| {
                let at = thread_bytes;
                let needless = operands.iter().any(|o| o.register as usize == r && o.in_place);
                if !needless {
                    thread_bytes += (chunk * lane.size()).next_multiple_of(64);
                }
                at
            })
            .collect();
        Pointwise {
            code,
            isa,
            operands,
            out_steps: (row_steps[0], column_steps[0]),
            out,
            writes_through,
            outer,
            rows,
            columns,
            block_rows,
            block_columns,
            scratch,
            register_offsets,
            thread_bytes,
        }
    }

    fn blocks(&self) -> (usize, usize) {
        let inner = self.rows.div_ceil(self.block_rows) * self.columns.div_ceil(self.block_columns);
        (self.outer.iter().map(|l| l.0).product(), inner)
    }
}

/// Loops over all tensors in the memory order of the result; loops that continue each other are one.
fn loops(out: &View, operands: &[(u16, &View)]) -> Vec<(usize, Vec<isize>)> {
    let mut all: Vec<(usize, Vec<isize>)> = Vec::new();
    for axis in out.order() {
        let n = out.shape[axis];
        let steps: Vec<isize> =
            std::iter::once(out).chain(operands.iter().map(|o| o.1)).map(|v| v.strides[axis]).collect();
        if n == 1 {
            continue;
        }
        match all.last_mut() {
            Some((size, outer)) if outer.iter().zip(&steps).all(|(o, s)| *o == s * n as isize) => {
                (*size, *outer) = (*size * n, steps);
            }
            _ => all.push((n, steps)),
        }
    }
    all
}

/// The size of blocks that cut `n` into as few parts of at most `most` as possible, all about equal.
fn balanced(n: usize, most: usize) -> usize {
    let blocks = n.div_ceil(most.max(1)).max(1);
    let size = n.div_ceil(blocks).max(1);
    if blocks == 1 { size } else { size.next_multiple_of(64).min(most.max(1)).max(1) }
}

impl Step for Pointwise {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let (outer, inner) = self.blocks();
        let scratch = call.place(self.scratch, 0);
        let addresses = call.addresses;
        let grain = (GRAIN / (self.code.price() * self.block_rows * self.block_columns)).max(1);
        call.team.split(outer * inner, grain, |thread, part| {
            let scratch = scratch.at::<u8>((thread * self.thread_bytes) as isize);
            // SAFETY: the caller gives every place; each thread has its own scratch and its own part of the result.
            unsafe { run_part(self.isa, self, addresses, scratch, part.start, part.end) };
        });
        Ok(())
    }

    fn describe(&self) -> String {
        format!("fused loop of {} operations, {}", self.code.instructions.len(), self.isa.name())
    }
}

dispatch! {
    /// Blocks `start..end`.
    ///
    /// # Safety
    /// `addresses` is the call's table; `scratch` has `thread_bytes` bytes of this thread.
    unsafe fn run_part => part(p: &Pointwise, addresses: &[Address], scratch: *mut u8, start: usize, end: usize)
}

#[inline(always)]
unsafe fn part<const FMA: bool>(
    p: &Pointwise,
    addresses: &[Address],
    scratch: *mut u8,
    start: usize,
    end: usize,
) {
    let registers = p.code.registers.len();
    // SAFETY: the tables lie at the start of the scratch, which is aligned to 64.
    let (at, seen) = unsafe {
        (
            std::slice::from_raw_parts_mut(scratch.cast::<*mut u8>(), registers),
            std::slice::from_raw_parts_mut(scratch.cast::<*mut u8>().add(registers), 2 * p.operands.len()),
        )
    };
    for (a, &offset) in at.iter_mut().zip(&p.register_offsets) {
        *a = scratch.wrapping_add(offset);
    }
    seen.fill(std::ptr::null_mut());
    for &(register, value) in &p.code.constants {
        let lane = p.code.registers[register as usize];
        // SAFETY: each register has room for a chunk.
        unsafe { fill(lane, value, at[register as usize], p.block_rows * p.block_columns) };
    }
    let place = |view: &View, elements: isize| {
        addresses[view.slot.0 as usize].at::<u8>(view.offset + elements * view.dtype.size() as isize)
    };
    let column_blocks = p.columns.div_ceil(p.block_columns);
    let inner = p.rows.div_ceil(p.block_rows) * column_blocks;
    for block in start..end {
        let (around, within) = (block / inner, block % inner);
        let (row, column) =
            ((within / column_blocks) * p.block_rows, (within % column_blocks) * p.block_columns);
        let (rows, columns) = (p.block_rows.min(p.rows - row), p.block_columns.min(p.columns - column));
        let offset = |k: usize, row_step: isize, column_step: isize| {
            let mut index = around;
            let mut at = row as isize * row_step + column as isize * column_step;
            for (size, steps) in p.outer.iter().rev() {
                at += (index % size) as isize * steps[k];
                index /= size;
            }
            at
        };
        for (k, o) in p.operands.iter().enumerate() {
            let base = place(&o.view, offset(k + 1, o.row_step, o.column_step));
            if o.in_place {
                at[o.register as usize] = base;
                continue;
            }
            let n = rows * columns;
            if seen[2 * k] == base && seen[2 * k + 1] as usize >= n && o.view.slot != p.out.slot {
                continue;
            }
            (seen[2 * k], seen[2 * k + 1]) = (base, n as *mut u8);
            let grid = Grid { rows, columns, row_step: o.row_step, column_step: o.column_step };
            // SAFETY: the grid is part of the operand; the register has room for a chunk.
            unsafe { load(o.view.dtype, Address::new(base), grid, at[o.register as usize]) };
        }
        let to = place(&p.out, offset(0, p.out_steps.0, p.out_steps.1));
        let result = p.code.result as usize;
        if p.writes_through {
            at[result] = to;
        }
        // SAFETY: registers hold or have room for a chunk; the result's place is nobody's operand.
        unsafe { execute(p.isa, &p.code.instructions, at, rows * columns) };
        if !p.writes_through {
            let grid = Grid { rows, columns, row_step: p.out_steps.0, column_step: p.out_steps.1 };
            // SAFETY: the grid is part of the result.
            unsafe { store(p.out.dtype, at[result], Address::new(to), grid) };
        }
    }
}
