//! Sums of rows that indices pick: embeddings that are added up, and products of embeddings that were made ahead.
//!
//! Rows are added where they lie. Those of the next few results are brought near meanwhile, for no processor foresees them.

use super::gather::Picked;
use crate::DType;
use crate::backend::RunError;
use crate::backend::cpu::assemble::Assembler;
use crate::backend::cpu::expr::Isa;
use crate::backend::cpu::gemm::lanes::{Lanes, by_lanes};
use crate::backend::cpu::gemm::{ahead, finish};
use crate::backend::cpu::nest::Nest;
use crate::backend::cpu::step::{Address, Call, Step};
use crate::backend::cpu::view::View;
use crate::network::expr::{Binary, Node};
use crate::network::{Expr, Layer, TensorType};
use std::ops::Range;
use std::sync::OnceLock;

/// Rows that are added up, at most.
const MOST: usize = 4;
/// Rows of results whose operands are brought near at once.
const BLOCK: usize = 4;
/// Vectors that are summed at once.
const VECTORS: usize = 4;
/// Bytes below which a second thread costs more than it gives.
const GRAIN: usize = 64 * 1024;
/// Elements of a cache line.
const LINE: usize = 16;

/// A pointwise layer that holds a sum of all its operands, one of them picked at least, between literals. `false` where it is another.
pub fn assemble(a: &mut Assembler, layer: &Layer, expr: &Expr) -> bool {
    let value = layer.outputs[0];
    let ty = a.network.ty(value).clone();
    let order: Vec<usize> = (0..ty.rank()).collect();
    let Some((bounds, of)) = sum(expr) else { return false };
    let f32s = ty.dtype == DType::F32 && layer.inputs.iter().all(|&v| a.network.ty(v).dtype == DType::F32);
    let reads = |p: &&Picked| p.rows.shape == ty.shape && p.has_rows(&order);
    let picked = |a: &Assembler, i: usize| a.picked.get(&layer.inputs[i]).filter(reads).cloned();
    if !f32s || ty.elements() == 0 || of.len() > MOST || of.iter().all(|&i| picked(a, i).is_none()) {
        return false;
    }
    let terms: Vec<Term> = (of.into_iter())
        .map(|i| match picked(a, i) {
            Some(picked) => Term { view: picked.rows.clone(), picked: Some(picked) },
            None => {
                let view = a.view(layer.inputs[i]).stretch(&ty.shape);
                Term { view: whole_rows(a, view), picked: None }
            }
        })
        .collect();
    let out = a.room(value, &order);
    let nothing = View { strides: vec![0; ty.rank()], ..out.clone() };
    let walked: [&View; 1 + 2 * MOST] = std::array::from_fn(|k| match k {
        0 => &out,
        k => match (terms.get((k - 1) % MOST), k <= MOST) {
            (Some(term), true) => &term.view,
            (Some(Term { picked: Some(picked), .. }), false) => &picked.index,
            _ => &nothing,
        },
    });
    let mut rows = Nest::new(walked, &order);
    let (width, _) = rows.pop();
    let mut touches = vec![out.slot];
    for term in &terms {
        touches.push(term.view.slot);
        touches.extend(term.picked.as_ref().map(|p| p.index.slot));
    }
    let isa = a.machine.isa;
    a.emit(Lookup { rows, width, terms, out: out.clone(), bounds, isa }, &touches);
    a.define(value, out);
    true
}

/// The inputs of which an expression is the sum, each of them once and in this order, and between which literals it is held.
fn sum(expr: &Expr) -> Option<((f32, f32), Vec<usize>)> {
    let (bounds, inner) = finish::held(expr)?;
    let (mut todo, mut out) = (vec![inner], Vec::new());
    while let Some(at) = todo.pop() {
        match expr.nodes[at as usize] {
            Node::Input(i) if !out.contains(&(i as usize)) => out.push(i as usize),
            Node::Binary(Binary::Add, x, y) => todo.extend([y, x]),
            _ => return None,
        }
    }
    (out.len() == expr.arity()).then_some((bounds, out))
}

/// The tensor with the elements of each row side by side: itself, or a copy of what differs.
fn whole_rows(a: &mut Assembler, view: View) -> View {
    let Some(row) = (0..view.rank()).rev().find(|&axis| view.shape[axis] != 1) else { return view };
    if view.strides[row] == 1 {
        return view;
    }
    let once = |axis: usize| if axis == row || view.strides[axis] != 0 { view.shape[axis] } else { 1 };
    let shape: Vec<usize> = (0..view.rank()).map(once).collect();
    let to = a.temporary(&TensorType::new(view.dtype, shape.clone()), &(0..view.rank()).collect::<Vec<_>>());
    a.copy(&View { shape, ..view.clone() }, to.clone());
    to.stretch(&view.shape)
}

struct Term {
    /// Its elements; of what is picked those of index 0.
    view: View,
    picked: Option<Picked>,
}

struct Lookup {
    /// Loops over rows. Steps: result, terms, indices of terms.
    rows: Nest<{ 1 + 2 * MOST }>,
    width: usize,
    terms: Vec<Term>,
    out: View,
    bounds: (f32, f32),
    isa: Isa,
}

/// Where one row of the result goes, and where its terms are.
#[derive(Clone, Copy)]
struct Row {
    to: *mut f32,
    from: [*const f32; MOST],
}

impl Lookup {
    /// A row's places; its picked terms are brought near.
    ///
    /// # Safety
    /// As for [`Step::run`].
    #[inline(always)]
    unsafe fn locate(&self, places: &Places, row: usize) -> Result<Row, RunError> {
        let at = self.rows.offsets(row);
        let mut from = [std::ptr::null(); MOST];
        for (k, term) in self.terms.iter().enumerate() {
            from[k] = places.terms[k].at::<f32>(at[1 + k]).cast_const();
            let Some(picked) = &term.picked else { continue };
            let (index, at) = (places.indices[k], at[1 + MOST + k]);
            // SAFETY: the index has an element for each row.
            let Some(offset) = (unsafe { picked.offset(index, at) }) else {
                // SAFETY: as above.
                return Err(unsafe { picked.outside(index, at) });
            };
            from[k] = from[k].wrapping_offset(offset);
            for line in (0..self.width).step_by(LINE) {
                ahead::fetch::<1>(from[k].wrapping_add(line));
            }
        }
        Ok(Row { to: places.out.at(at[0]), from })
    }
}

/// Where element 0 of each tensor is in a call.
struct Places {
    out: Address,
    terms: [Address; MOST],
    indices: [Address; MOST],
}

by_lanes! {
    /// A range of rows, or those before one with an index that is out of range.
    ///
    /// # Safety
    /// As for [`Step::run`], of a part that is this thread's.
    unsafe fn run_rows => rows(step: &Lookup, places: &Places, part: Range<usize>) -> Result<(), RunError>
}

#[inline(always)]
unsafe fn rows<L: Lanes>(step: &Lookup, places: &Places, part: Range<usize>) -> Result<(), RunError> {
    let nowhere = Row { to: std::ptr::null_mut(), from: [std::ptr::null(); MOST] };
    let (mut rows, mut held) = ([nowhere; BLOCK], 0);
    for start in part.clone().step_by(BLOCK) {
        let mut next = [nowhere; BLOCK];
        let count = BLOCK.min(part.end - start);
        for (i, next) in next.iter_mut().enumerate().take(count) {
            // SAFETY: the caller's promise.
            *next = unsafe { step.locate(places, start + i) }?;
        }
        for row in &rows[..held] {
            // SAFETY: as above.
            unsafe { add::<L>(step, row) };
        }
        (rows, held) = (next, count);
    }
    for row in &rows[..held] {
        // SAFETY: as above.
        unsafe { add::<L>(step, row) };
    }
    Ok(())
}

/// One row of the result.
///
/// # Safety
/// Each place has as many elements as the row; the result's are this thread's.
#[inline(always)]
unsafe fn add<L: Lanes>(step: &Lookup, row: &Row) {
    let terms = &row.from[..step.terms.len()];
    // SAFETY: the caller's promise; what is left of a row is less than a vector.
    unsafe {
        let (low, high) = (L::splat(step.bounds.0), L::splat(step.bounds.1));
        let mut at = 0;
        while at + VECTORS * L::COUNT <= step.width {
            let mut sums: [L; VECTORS] = std::array::from_fn(|v| L::load(terms[0].add(at + v * L::COUNT)));
            for term in &terms[1..] {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.add(L::load(term.add(at + v * L::COUNT)));
                }
            }
            for (v, sum) in sums.into_iter().enumerate() {
                sum.at_least(low).at_most(high).store(row.to.add(at + v * L::COUNT));
            }
            at += VECTORS * L::COUNT;
        }
        while at < step.width {
            let n = L::COUNT.min(step.width - at);
            let mut sum = L::load_first(terms[0].add(at), n);
            for term in &terms[1..] {
                sum = sum.add(L::load_first(term.add(at), n));
            }
            sum.at_least(low).at_most(high).store_first(row.to.add(at), n);
            at += n;
        }
    }
}

impl Step for Lookup {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let null = Address::new(std::ptr::null_mut());
        let (mut terms, mut indices) = ([null; MOST], [null; MOST]);
        for (k, term) in self.terms.iter().enumerate() {
            terms[k] = call.of(&term.view);
            indices[k] = term.picked.as_ref().map_or(null, |p| call.of(&p.index));
        }
        let places = Places { out: call.of(&self.out), terms, indices };
        let wrong = OnceLock::new();
        let bytes = self.width * self.terms.len() * size_of::<f32>();
        call.team.split(self.rows.len(), GRAIN / bytes, |_, part| {
            // SAFETY: the caller gives all tensors; parts are disjoint.
            if let Err(error) = unsafe { run_rows(self.isa, self, &places, part) } {
                // Another thread's is as good.
                let _ = wrong.set(error);
            }
        });
        wrong.into_inner().map_or(Ok(()), Err)
    }

    fn describe(&self) -> String {
        let picked = self.terms.iter().filter(|t| t.picked.is_some()).count();
        format!("sums of {} rows, {picked} of them picked, {}", self.terms.len(), self.isa.name())
    }
}
