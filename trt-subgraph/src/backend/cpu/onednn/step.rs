//! A primitive as a step of a program.

use super::{Desc, OneDnn, Primitive, Recipe, arg};
use crate::backend::RunError;
use crate::backend::cpu::assemble::{Assembler, Fault, Packing};
use crate::backend::cpu::step::{Call, Step};
use crate::backend::cpu::view::{Slot, View};
use crate::network::ValueId;
use std::sync::Arc;

/// An argument: its name, the position of its memory object, and where its data lies.
type Argument = (i32, usize, Slot, isize);

struct Execute {
    what: &'static str,
    primitive: Primitive,
    arguments: Vec<Argument>,
}

/// A tensor that a primitive works on.
pub struct Operand {
    /// The argument's name ([`arg`]).
    pub arg: i32,
    /// Its layout.
    pub desc: Desc,
    /// Where it lies.
    pub place: (Slot, isize),
}

/// Emits a primitive, with its working memory.
pub fn emit(a: &mut Assembler, what: &'static str, primitive: Primitive, operands: Vec<Operand>) {
    let mut touches: Vec<Slot> = operands.iter().map(|o| o.place.0).collect();
    let mut arguments: Vec<Argument> =
        operands.into_iter().map(|o| (o.arg, a.layout(o.desc), o.place.0, o.place.1)).collect();
    if let Some(desc) = primitive.scratchpad_desc().filter(|_| primitive.scratchpad > 0) {
        let slot = a.scratch(primitive.scratchpad);
        let layout = a.layout(desc.clone());
        arguments.push((arg::SCRATCHPAD, layout, slot, 0));
        touches.push(slot);
    }
    a.emit(Execute { what, primitive, arguments }, &touches);
}

/// The layout of a dense view, told by its memory order (its strides along axes of size 1 mean nothing).
pub fn dense(library: &Arc<OneDnn>, view: &View, order: &[usize]) -> Result<Desc, Fault> {
    Desc::strided(library, &view.shape, &View::dense(view.slot, &view.ty(), order).strides)
}

/// A value in the layout that a primitive wants. `plain` gives the value as the primitive names its axes.
pub fn packed(
    a: &mut Assembler,
    value: ValueId,
    wanted: &Desc,
    plain: impl Fn(&View) -> View + 'static,
) -> Result<(Slot, isize), Fault> {
    let to = wanted.clone();
    let library = a.machine.library.clone().ok_or("no oneDNN")?;
    let pack = move |a: &mut Assembler, from, slot, offset| {
        let from = a.multiplied(from);
        let from = a.converted(from, crate::DType::F32);
        let row_major: Vec<usize> = (0..from.rank()).collect();
        let from = plain(&a.ordered(from, &row_major));
        let src = Desc::strided(&library, &from.shape, &from.strides)?;
        let primitive = Primitive::new(&library, &Recipe::Reorder { src: &src, dst: &to })?;
        let operands = vec![
            Operand { arg: arg::SRC, desc: src, place: (from.slot, from.offset) },
            Operand { arg: arg::DST, desc: to, place: (slot, offset) },
        ];
        emit(a, "reorder", primitive, operands);
        Ok(())
    };
    a.packed(value, wanted.size(), Packing::untold(Box::new(pack)))
}

impl Step for Execute {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let memories = call.memories.expect("an engine with oneDNN steps has memory objects");
        let mut list = [(0, 0, std::ptr::null_mut()); 8];
        for (to, &(arg, layout, slot, offset)) in list.iter_mut().zip(&self.arguments) {
            *to = (arg, layout, call.place(slot, offset).at(0));
        }
        // SAFETY: the caller gives every place; layouts are those that the primitive was made with.
        unsafe { memories.execute(&self.primitive, &list[..self.arguments.len()]) }.map_err(RunError::Device)
    }

    fn describe(&self) -> String {
        format!("{} {}", self.what, self.primitive.kernel)
    }
}
