//! Any expression of a line of scores while it is in cache: a mask before their softmax, or after it.

use super::registers::{CHUNK, Registers};
use crate::DType;
use crate::backend::cpu::assemble::Assembler;
use crate::backend::cpu::expr::{Code, Isa, execute};
use crate::backend::cpu::memory::{Grid, load};
use crate::backend::cpu::nest::Nest;
use crate::backend::cpu::step::{Address, place};
use crate::backend::cpu::view::{Slot, View};
use crate::network::Expr;
use crate::network::expr::{Binary, Node, Scalar};

/// What is to be done: `score = expr(score, operands)`, all of f32 but the operands, which have any type and broadcast to the scores.
#[derive(Clone, Debug)]
pub struct Change {
    pub expr: Expr,
    pub operands: Vec<View>,
}

impl Change {
    /// The element types that the expression is written for.
    pub fn typing(&self) -> Vec<DType> {
        [DType::F32].into_iter().chain(self.operands.iter().map(|v| v.dtype)).collect()
    }
}

struct Operand {
    register: u16,
    view: View,
    /// Where the lines of each item begin.
    items: Nest<1>,
}

/// The inputs `[a, b]` of an expression that is -infinity wherever `b > a`.
fn numbers(expr: &Expr) -> Option<[usize; 2]> {
    let node = |at: u32| expr.nodes[at as usize];
    let Node::Select(condition, then, _) = node(expr.root()) else { return None };
    let Node::Binary(Binary::Gt, b, a) = node(condition) else { return None };
    match (node(then), node(a), node(b)) {
        (Node::Const(_, Scalar::Float(f64::NEG_INFINITY)), Node::Input(a), Node::Input(b))
            if a > 0 && b > 0 =>
        {
            Some([a as usize, b as usize])
        }
        _ => None,
    }
}

/// A [`Change`] of scores of one shape.
pub struct Changer {
    code: Code,
    isa: Isa,
    operands: Vec<Operand>,
    /// Numbers of the lines and of the columns, in f32: scores whose column's is greater are -infinity.
    causal: Option<[Operand; 2]>,
    registers: Registers,
}

impl Changer {
    /// For scores of this shape, `[.., m, n]`; an item is a place on all axes but the last two, in row-major order.
    pub fn new(a: &mut Assembler, change: &Change, shape: &[usize]) -> Changer {
        let code = Code::new(&change.expr, &change.typing());
        let leading: Vec<usize> = (0..shape.len() - 2).collect();
        let read = code.inputs.iter().skip(1).zip(&change.operands);
        let operand = |register: u16, view: &View| {
            let view = view.stretch(shape);
            Operand { register, items: Nest::new([&view], &leading), view }
        };
        let operands = read.filter_map(|(register, view)| Some(operand((*register)?, view))).collect();
        let numbers = numbers(&change.expr).map(|of| of.map(|at| operand(0, &change.operands[at - 1])));
        let causal = numbers.filter(|[lines, columns]| {
            let [steps, others] = [lines, columns].map(|o| &o.view.strides[shape.len() - 2..]);
            (lines.view.dtype, columns.view.dtype) == (DType::F32, DType::F32)
                && steps[1] == 0
                && others[0] == 0
        });
        let registers = Registers::new(a, &code);
        Changer { code, isa: a.machine.isa, operands, causal, registers }
    }

    /// The slots that it touches.
    pub fn touches(&self) -> impl Iterator<Item = Slot> {
        self.operands.iter().map(|o| o.view.slot).chain([self.registers.scratch])
    }

    /// How many of the `n` columns come before those that are -infinity in all of `count` lines from `line` on of an item. At least 1.
    ///
    /// # Safety
    /// As for [`Changer::apply`].
    pub unsafe fn reach(
        &self,
        addresses: &[Address],
        item: usize,
        (line, count): (usize, usize),
        n: usize,
    ) -> usize {
        let Some([lines, columns]) = &self.causal else { return n };
        let number = |o: &Operand, at: usize, step: isize| {
            let from = place(addresses, o.view.slot, o.view.offset);
            // SAFETY: an element of the operand.
            unsafe { *from.at::<f32>(o.items.offsets(item)[0] + at as isize * step) }
        };
        let [line_step, column_step] =
            [(lines, 2), (columns, 1)].map(|(o, back)| o.view.strides[o.view.rank() - back]);
        // Nothing is greater than NaN, nor is NaN greater than anything.
        let most = |a: f32, b: f32| if a > b || a.is_nan() { a } else { b };
        let last =
            (line..line + count).map(|at| number(lines, at, line_step)).reduce(most).unwrap_or(f32::NAN);
        let masked = |&at: &usize| number(columns, at, column_step) > last;
        n - (1..n).rev().take_while(masked).count()
    }

    /// Changes `count` lines from `line` on of an item, which lie at `scores`, `pitch` elements apart.
    ///
    /// # Safety
    /// As for a step that touches [`Changer::touches`]; the scores are this thread's, `n` in each line.
    pub unsafe fn apply(
        &self,
        addresses: &[Address],
        (thread, item): (usize, usize),
        (line, count): (usize, usize),
        (scores, pitch, n): (*mut f32, usize, usize),
    ) {
        // SAFETY: this thread's; a chunk at most.
        let at = unsafe { &mut *self.registers.table(addresses, thread, &self.code, CHUNK.min(n)) };
        for row in 0..count {
            for column in (0..n).step_by(CHUNK) {
                let width = CHUNK.min(n - column);
                let here = scores.wrapping_add(row * pitch + column);
                for Operand { register, view, items } in &self.operands {
                    let [row_step, column_step] = view.strides[view.rank() - 2..] else { unreachable!() };
                    let [start] = items.offsets(item);
                    let first = start + (line + row) as isize * row_step + column as isize * column_step;
                    let from = place(addresses, view.slot, view.offset + first * view.dtype.size() as isize);
                    let grid = Grid { rows: 1, columns: width, row_step: 0, column_step };
                    // SAFETY: a part of the operand's line; the register has room for a chunk.
                    unsafe { load(view.dtype, from, grid, at[*register as usize]) };
                }
                // SAFETY: the line is this thread's; registers have room for a chunk.
                unsafe { self.chunk(at, here, width) };
            }
        }
    }

    /// # Safety
    /// The registers of operands and constants are filled; `scores` are `n`, at most a chunk.
    unsafe fn chunk(&self, at: &mut [*mut u8], scores: *mut f32, n: usize) {
        if let Some(own) = self.code.inputs.first().copied().flatten() {
            // SAFETY: the register has room for the chunk.
            unsafe { std::ptr::copy_nonoverlapping(scores.cast_const(), at[own as usize].cast(), n) };
        }
        // SAFETY: registers hold or have room for a chunk; the result is of f32, as scores are.
        unsafe {
            execute(self.isa, &self.code.instructions, at, n);
            let result = at[self.code.result as usize].cast::<f32>();
            std::ptr::copy_nonoverlapping(result.cast_const(), scores, n);
        }
    }
}
