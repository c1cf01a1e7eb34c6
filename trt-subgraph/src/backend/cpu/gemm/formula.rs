//! Any expression of a result that has just been computed and is still in cache: what the registers of a tile cannot do.

use super::registers::{CHUNK, Registers};
use super::window;
use crate::DType;
use crate::backend::cpu::assemble::Assembler;
use crate::backend::cpu::expr::{Code, Isa, dispatch, execute};
use crate::backend::cpu::memory::{Grid, load, store};
use crate::backend::cpu::step::{Address, place};
use crate::backend::cpu::view::{Slot, View};
use crate::network::{Expr, Layer};

/// An operand besides the result itself.
struct Operand {
    register: u16,
    view: View,
    /// Distances of neighbours along positions and columns, in elements.
    steps: [isize; 2],
}

/// `result = expr(result, operands)`: in place where the result is of f32, from sums that lie apart where it is of bf16.
pub struct Formula {
    code: Code,
    isa: Isa,
    operands: Vec<Operand>,
    registers: Registers,
    /// Element type of the result.
    dtype: DType,
}

/// Sums that lie apart from the result: the first one of a part, and the distance of positions.
#[derive(Clone, Copy)]
pub struct Sums(pub *const f32, pub isize);

/// The part of a result that a thread has just computed.
pub struct Part {
    pub thread: usize,
    /// The first position, and how many.
    pub positions: (usize, usize),
    /// The first column, and how many.
    pub columns: (usize, usize),
    /// Distance of positions of the result, in elements.
    pub pitch: isize,
    /// The sums, where they are not in place.
    pub sums: Option<Sums>,
}

impl Formula {
    /// `expr` of a layer's own result (input 0) and its epilogue's operands, all of f32 or bf16 and computed in f32; columns are axis `axis`.
    /// `positions` gives a tensor of the result's shape as tiles walk it. `None` where an operand is neither of the result's
    /// shape nor a vector along the columns nor a scalar.
    pub fn new(
        a: &mut Assembler,
        layer: &Layer,
        expr: &Expr,
        axis: usize,
        positions: impl Fn(&View) -> Option<View>,
    ) -> Option<Formula> {
        let own = layer.kind.arity()?;
        let result = a.network.ty(layer.outputs[0]).clone();
        let code = Code::new(expr, &vec![DType::F32; expr.arity().max(1)]);
        let mut operands = Vec::new();
        for (i, &register) in code.inputs.iter().enumerate() {
            let Some(register) = register else { continue };
            if i == 0 {
                continue;
            }
            let value = layer.inputs[own + i - 1];
            let ty = a.network.ty(value).clone();
            let missing = result.rank() - ty.rank();
            let along = |k: usize| ty.shape[k] == if k + missing == axis { result.shape[axis] } else { 1 };
            let operand = if ty.shape == result.shape {
                let view = positions(&a.view(value))?;
                Operand { register, steps: [window::pitch(&view)?, 1], view }
            } else if ty.elements() == 1 {
                Operand { register, view: a.view(value), steps: [0, 0] }
            } else if axis >= missing && (0..ty.rank()).all(along) {
                let view = a.view(value);
                Operand { register, steps: [0, view.strides[axis - missing]], view }
            } else {
                return None;
            };
            operands.push(operand);
        }
        let registers = Registers::new(a, &code);
        Some(Formula { code, isa: a.machine.isa, operands, registers, dtype: result.dtype })
    }

    /// The slots that it touches.
    pub fn touches(&self) -> impl Iterator<Item = Slot> {
        self.operands.iter().map(|o| o.view.slot).chain([self.registers.scratch])
    }

    /// Instructions for each element.
    pub fn operations(&self) -> usize {
        self.code.instructions.len()
    }

    /// Does it want the sums apart from the result?
    pub fn is_apart(&self) -> bool {
        self.dtype != DType::F32
    }

    /// # Safety
    /// As for a step that touches [`Formula::touches`]; `out` is the result's first element, the part is this thread's.
    pub unsafe fn apply(&self, addresses: &[Address], out: Address, part: &Part) {
        let (first, count) = part.columns;
        let largest = CHUNK.min(count.saturating_mul(part.positions.1));
        // SAFETY: this thread's; a chunk at most.
        let at = unsafe { &mut *self.registers.table(addresses, part.thread, &self.code, largest) };
        // Several positions at once where they are short.
        let (width, rows) =
            if count <= CHUNK / 2 { (count, CHUNK / count.max(1)) } else { (count.min(CHUNK), 1) };
        for column in (0..count).step_by(width.max(1)) {
            let width = width.min(count - column);
            let mut loaded = 0;
            for row in (0..part.positions.1).step_by(rows) {
                let here = Chunk {
                    position: (part.positions.0 + row) as isize,
                    rows: rows.min(part.positions.1 - row),
                    column: (first + column) as isize,
                    width,
                };
                // SAFETY: the caller's promise; registers have room for a chunk.
                unsafe { self.chunk(addresses, out, at, part, &here, loaded) };
                loaded = loaded.max(here.rows);
            }
        }
    }

    /// Operands that are the same at every position have been loaded for `loaded` rows.
    ///
    /// # Safety
    /// As for [`Formula::apply`].
    unsafe fn chunk(
        &self,
        addresses: &[Address],
        out: Address,
        at: &mut [*mut u8],
        part: &Part,
        c: &Chunk,
        loaded: usize,
    ) {
        let (n, pitch, size) = (c.rows * c.width, part.pitch, self.dtype.size() as isize);
        let to = out.at::<u8>((c.position * pitch + c.column) * size);
        let grid = |pitch: isize| Grid { rows: c.rows, columns: c.width, row_step: pitch, column_step: 1 };
        let is_run = c.rows == 1 || pitch == c.width as isize;
        if let Some(own) = self.code.inputs.first().copied().flatten() {
            let (from, pitch) = match part.sums {
                None => (to, pitch),
                Some(Sums(first, pitch)) => {
                    let row = (c.position - part.positions.0 as isize) * pitch;
                    (first.wrapping_offset(row + c.column - part.columns.0 as isize).cast_mut().cast(), pitch)
                }
            };
            // SAFETY: a part of the sums; the register has room for the chunk.
            unsafe { load(DType::F32, Address::new(from), grid(pitch), at[own as usize]) };
        }
        for o in &self.operands {
            let [row_step, column_step] = o.steps;
            if row_step == 0 && loaded >= c.rows {
                continue;
            }
            let first = (c.position * row_step + c.column * column_step) * o.view.dtype.size() as isize;
            let from = place(addresses, o.view.slot, o.view.offset).at::<u8>(first);
            let grid = Grid { rows: c.rows, columns: c.width, row_step, column_step };
            // SAFETY: elements of the operand; the register has room for a chunk.
            unsafe { load_some(self.isa, o.view.dtype, Address::new(from), grid, at[o.register as usize]) };
        }
        let result = self.code.result as usize;
        let computed = self.code.instructions.iter().any(|i| i.to == self.code.result);
        let register = at[result];
        let in_place = computed && is_run && !self.is_apart();
        if in_place {
            at[result] = to;
        }
        // SAFETY: registers hold or have room for a chunk; the result's place is nobody's operand.
        unsafe { execute(self.isa, &self.code.instructions, at, n) };
        at[result] = register;
        if !in_place {
            // SAFETY: the chunk's result is in its register, in f32; this part of the result is this thread's.
            unsafe { store_some(self.isa, self.dtype, register, Address::new(to), grid(pitch)) };
        }
    }
}

dispatch! {
    /// # Safety
    /// As for [`load`]; elements are of f32 or bf16.
    unsafe fn load_some => loaded(dtype: DType, from: Address, grid: Grid, to: *mut u8)
}

#[inline(always)]
unsafe fn loaded<const FMA: bool>(dtype: DType, from: Address, grid: Grid, to: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        match dtype {
            DType::BF16 => load(DType::BF16, from, grid, to),
            _ => load(DType::F32, from, grid, to),
        }
    }
}

dispatch! {
    /// # Safety
    /// As for [`store`]; elements are of f32 or bf16.
    unsafe fn store_some => stored(dtype: DType, from: *const u8, to: Address, grid: Grid)
}

#[inline(always)]
unsafe fn stored<const FMA: bool>(dtype: DType, from: *const u8, to: Address, grid: Grid) {
    // SAFETY: the caller's promise.
    unsafe {
        match dtype {
            DType::BF16 => store(DType::BF16, from, to, grid),
            _ => store(DType::F32, from, to, grid),
        }
    }
}

struct Chunk {
    position: isize,
    rows: usize,
    column: isize,
    width: usize,
}
