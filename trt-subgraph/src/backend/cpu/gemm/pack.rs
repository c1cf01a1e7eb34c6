//! Puts the second operand of a product into [`Panels`].

use super::ahead::fetch;
use super::lanes::{Lanes, by_lanes, copy, fence, multiply};
use super::panels::{Panel, Panels};
use crate::DType;
use crate::backend::RunError;
use crate::backend::cpu::assemble::{Assembler, Packing};
use crate::backend::cpu::expr::Isa;
use crate::backend::cpu::nest::Nest;
use crate::backend::cpu::program::WEIGHTS;
use crate::backend::cpu::scaled::Scaled;
use crate::backend::cpu::step::{Address, Call, Step};
use crate::backend::cpu::view::{Slot, View};
use crate::network::Expr;
use crate::network::expr::{Node, Scalar};

/// Terms that are put into place together.
const TERMS: usize = 16;
/// The most columns of a panel of vectors.
const WIDEST: usize = 64;
/// How many terms ahead memory is asked for.
const AHEAD: usize = 2 * TERMS;

impl Panels {
    /// Puts `plain(value)`, of axes `[groups, terms..., columns]`, into panels, group after group; `from` tells what `plain` depends on.
    pub fn packing(&self, from: &str, plain: impl Fn(&View) -> View + 'static) -> Packing {
        let panels = self.clone();
        let form = format!("{from} in {panels:?}");
        let pack = move |a: &mut Assembler, from: Scaled, slot, offset| {
            let mut from = match from.view.dtype {
                _ if panels.pairs => in_pairs(a, plain(&from.view)).into(),
                DType::F32 => from.map(&plain),
                _ => plain(&a.converted(from.view, DType::F32)).into(),
            };
            let rank = from.view.rank();
            if !from.is_even_along(1..rank - 1) {
                from = a.multiplied(from).into();
            }
            let terms = from.view.permute(&(1..rank - 1).collect::<Vec<_>>());
            let terms = Nest::new([&terms], &(0..rank - 2).collect::<Vec<_>>());
            let touches: Vec<Slot> = from.slots().chain([slot]).collect();
            a.emit(Pack { panels, from, terms, to: (slot, offset), isa: a.machine.isa }, &touches);
            Ok(())
        };
        Packing::new(form, Box::new(pack))
    }
}

/// A tensor of bf16 of axes `[..., terms, columns]` as pairs of terms, each as the bits of one f32; a term that is one too few is 0.
fn in_pairs(a: &mut Assembler, view: View) -> View {
    let (terms, columns) = (view.rank() - 2, view.rank() - 1);
    let order: Vec<usize> = (0..terms).chain([columns, terms]).collect();
    let n = view.shape[terms];
    let whole = if n.is_multiple_of(2) {
        a.ordered(view, &order)
    } else {
        let mut ty = view.ty();
        ty.shape[terms] += 1;
        let whole = a.temporary(&ty, &order);
        let zero = Expr { nodes: vec![Node::Const(DType::BF16, Scalar::Float(0.0))] };
        a.pointwise(&zero, &[], &[], whole.narrow(terms, n, 1));
        a.copy(&view, whole.narrow(terms, 0, n));
        whole
    };
    let mut pairs = View { dtype: DType::F32, ..whole };
    pairs.shape[terms] = n.div_ceil(2);
    pairs.strides.iter_mut().for_each(|s| *s /= 2);
    pairs.strides[terms] = 1;
    pairs
}

by_lanes! {
    /// Puts a panel into place: `to[term][column]`, from an operand whose terms are `steps[0]` apart and whose columns are `steps[1]`.
    ///
    /// # Safety
    /// The operand has `depth` terms of the panel's columns; `to` has room for the panel.
    pub unsafe fn pack_even => even(panel: &Panel, from: *const f32, steps: [isize; 2], to: *mut f32, depth: usize)
}

#[inline(always)]
unsafe fn even<L: Lanes>(
    panel: &Panel,
    from: *const f32,
    [term, step]: [isize; 2],
    to: *mut f32,
    depth: usize,
) {
    let width = panel.vectors * L::COUNT;
    let term = |t: usize| t as isize * term;
    // SAFETY: the caller's promise.
    unsafe {
        if width == 0 {
            return panel.pack_thin(from, term, step, to, depth);
        }
        for first in (0..depth).step_by(TERMS) {
            let count = TERMS.min(depth - first);
            let terms = std::array::from_fn(|i| if i < count { term(first + i) } else { 0 });
            let to = std::slice::from_raw_parts_mut(to.add(first * width), count * width);
            panel.bring::<L>(from, &terms, step, to, width);
        }
    }
}

impl Panel {
    /// [`pack_even`] for a few columns that lie one after the other.
    unsafe fn pack_thin(
        &self,
        from: *const f32,
        term: impl Fn(usize) -> isize,
        step: isize,
        to: *mut f32,
        depth: usize,
    ) {
        for (c, t) in (0..self.columns).flat_map(|c| (0..depth).map(move |t| (c, t))) {
            let from = from.wrapping_offset(term(t) + c as isize * step);
            // SAFETY: an element of the operand; the panel has room for it.
            unsafe { *to.add(c * depth + t) = *from };
        }
    }

    /// Some terms of whole vectors of columns, a few columns at a time: neighbours are often in one line of the cache, and columns often lie
    /// so that they push each other out of it. `to` has `width` elements for each term.
    ///
    /// # Safety
    /// As for [`pack_even`].
    #[inline(always)]
    unsafe fn bring<L: Lanes>(
        &self,
        from: *const f32,
        terms: &[isize; TERMS],
        step: isize,
        to: &mut [f32],
        width: usize,
    ) {
        let is_run = to.len() == TERMS * width && (0..TERMS).all(|i| terms[i] == terms[0] + i as isize);
        let turned = if is_run && step != 1 { self.columns / 8 * 8 } else { 0 };
        // SAFETY: columns of the panel are in the operand.
        unsafe {
            for (c, half) in (0..turned).step_by(8).flat_map(|c| [(c, 0), (c, 8)]) {
                let run = |r: usize| from.wrapping_offset(terms[half] + (c + r) as isize * step);
                L::turn_eight(std::array::from_fn(run), to.as_mut_ptr().add(half * width + c), width);
            }
            if step == 1 {
                for (to, &term) in to.chunks_exact_mut(width).zip(terms) {
                    let line = std::slice::from_raw_parts(from.wrapping_offset(term), self.columns);
                    to[..self.columns].copy_from_slice(line);
                }
            } else {
                for c in turned..self.columns {
                    let column = from.wrapping_offset(c as isize * step);
                    for (to, &term) in to[c..].iter_mut().step_by(width).zip(terms) {
                        *to = *column.wrapping_offset(term);
                    }
                }
            }
            to.chunks_exact_mut(width).for_each(|to| to[self.columns..].fill(0.0));
        }
    }
}

struct Pack {
    panels: Panels,
    /// Of axes `[groups, terms..., columns]`; the factor is one along the terms.
    from: Scaled,
    terms: Nest<1>,
    to: (Slot, isize),
    isa: Isa,
}

/// Addresses of operand, factor (null where there is none) and panels.
type Places = [Address; 3];

by_lanes! {
    /// # Safety
    /// `places` are the tensors' addresses.
    unsafe fn pack => panel_of(p: &Pack, places: &Places, group: usize, panel: &Panel)
}

#[inline(always)]
unsafe fn panel_of<L: Lanes>(p: &Pack, places: &Places, group: usize, panel: &Panel) {
    let [from, factor, to] = *places;
    // Distance of columns, and the panel's first one.
    let first = |view: &View| {
        let step = view.strides[view.rank() - 1];
        (step, group as isize * view.strides[0] + panel.first as isize * step)
    };
    let (step, start) = first(&p.from.view);
    let from = from.at::<f32>(start).cast_const();
    let mut factors = [1f32; WIDEST];
    if let Some(view) = &p.from.factor {
        let (step, start) = first(view);
        for (c, f) in factors.iter_mut().enumerate().take(panel.columns) {
            // SAFETY: an element of the factor.
            *f = unsafe { *factor.at::<f32>(start + c as isize * step) };
        }
    }
    let (depth, width) = (p.panels.depth, panel.vectors * p.panels.lanes);
    let to = to.at::<f32>((group * p.panels.elements() + panel.offset) as isize);
    // SAFETY: the caller's promise; the panel has room for all of its terms.
    unsafe {
        if width == 0 {
            panel.pack_thin(from, |t| p.terms.offsets(t)[0], step, to, depth);
            let columns = std::slice::from_raw_parts_mut(to, panel.columns * depth);
            for (column, &f) in columns.chunks_exact_mut(depth).zip(&factors) {
                column.iter_mut().for_each(|v| *v *= f);
            }
            return;
        }
        let mut brought = [0f32; TERMS * WIDEST];
        for first in (0..depth).step_by(TERMS) {
            let count = TERMS.min(depth - first);
            if first + AHEAD < depth && step != 1 {
                let [ahead] = p.terms.offsets(first + AHEAD);
                (0..panel.columns as isize).for_each(|c| fetch::<1>(from.wrapping_offset(ahead + c * step)));
            }
            let brought = &mut brought[..count * width];
            panel.bring::<L>(from, &p.terms(first, count), step, brought, width);
            for (i, line) in brought.chunks_exact(width).enumerate() {
                let (to, later) = (to.add((first + i) * width), p.to.0 == WEIGHTS);
                match p.from.factor {
                    Some(_) => multiply::<L>(line, &factors, to, later),
                    None => copy::<L>(line, to, later),
                }
            }
        }
    }
}

impl Pack {
    /// Where `count` terms from `first` on start.
    fn terms(&self, first: usize, count: usize) -> [isize; TERMS] {
        let (run, step) = self.terms.loops.last().map_or((1, 0), |&(n, [step])| (n, step));
        let [start] = self.terms.offsets(first);
        std::array::from_fn(|i| match () {
            _ if first % run + count <= run => start + i as isize * step,
            _ if i < count => self.terms.offsets(first + i)[0],
            _ => 0,
        })
    }
}

impl Step for Pack {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let factor = self.from.factor.as_ref().map_or(Address::new(std::ptr::null_mut()), |f| call.of(f));
        let places = [call.of(&self.from.view), factor, call.place(self.to.0, self.to.1)];
        let panels = self.panels.list.len();
        call.team.split(self.from.view.shape[0] * panels, 1, |_, part| {
            for item in part {
                // SAFETY: the caller gives the operand and room for all panels.
                unsafe { pack(self.isa, self, &places, item / panels, &self.panels.list[item % panels]) };
            }
            fence();
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
