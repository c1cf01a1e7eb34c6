//! From layers to steps.
//!
//! The [`Assembler`] walks a network once. Every layer finds its operands as [`View`]s, chooses the memory order of its result,
//! and emits steps; layers that only move elements mostly emit none. Each intermediate tensor is a slot of its own; when all
//! steps are known, slots whose lifetimes do not meet share memory. Nothing here needs a device.

use super::groups::{Group, Groups};
use super::kernel::{self, attention, chain, gated, stem};
use super::layout::{SMALL, flat, order_of};
use super::program::{Action, Call, Program, Source, WEIGHTS, WORKSPACE_ALIGNMENT};
use super::render::{Argument, Draft, Tail};
use super::tactic::Choice;
use super::target::Target;
use crate::DType;
use crate::backend::ending;
use crate::backend::view::{Slot, View};
use crate::backend::wanted;
use crate::network::layer::Range;
use crate::network::{Layer, LayerKind, Network, TensorType, ValueId, infer};
use std::collections::HashMap;
use std::rc::Rc;

/// Why a layer did not become steps, in words.
pub type Fault = String;

type Make = dyn FnOnce(&mut Assembler, View, Slot, isize) -> Result<(), Fault>;

/// Puts a static value into the form that a step wants.
pub type Packing = wanted::Packing<Make>;

/// What steps want to find among the prepared weights; each form starts where the widest copies may.
pub type Wanted = wanted::Wanted<Make, 256>;

/// Where a value would best be written.
#[derive(Clone, Debug)]
enum Bound {
    /// Dense and row-major, at a place.
    Place(Slot, isize),
    /// As a part of the result of the concatenation at this position of the network.
    Part(usize, Vec<Range>),
}

/// A program in the making.
pub struct Assembler<'a> {
    pub network: &'a Network,
    pub target: Target,
    /// Who chooses among ways to run a layer.
    pub choice: Choice<'a>,
    pub program: Program,
    values: Vec<Option<View>>,
    prepared: Vec<Option<usize>>,
    bound: Vec<Option<Bound>>,
    /// Small values that are best row-major: what is done to them next would copy them otherwise.
    flat: Vec<bool>,
    /// By position in the network: where a concatenation's result is.
    joined: HashMap<usize, View>,
    groups: Rc<Groups>,
    wanted: Wanted,
    origin: String,
}

impl<'a> Assembler<'a> {
    /// Nothing yet; inputs are row-major.
    pub fn new(network: &'a Network, target: Target, choice: Choice<'a>) -> Assembler<'a> {
        let n = network.values.len();
        let groups = Groups::find(network, &target, choice.chains(), choice.stems());
        let mut out = Assembler {
            network,
            target,
            choice,
            program: Program::new(),
            values: vec![None; n],
            prepared: vec![None; n],
            bound: vec![None; n],
            flat: flat(network),
            joined: HashMap::new(),
            groups: Rc::new(groups),
            wanted: Wanted::default(),
            origin: String::new(),
        };
        for (i, &v) in network.inputs.iter().enumerate() {
            let slot = out.slot(Source::Input(i));
            out.define(v, View::row_major(slot, network.ty(v)));
        }
        out
    }

    /// Assembles the `run` half: outputs go to the caller.
    pub fn run(mut self) -> Result<(Program, Wanted), (String, Fault)> {
        let outputs = self.network.outputs.iter().enumerate();
        let places: Vec<(ValueId, Slot)> = outputs.map(|(i, &v)| (v, self.slot(Source::Output(i)))).collect();
        for &(v, slot) in &places {
            self.bind(v, Bound::Place(slot, 0));
        }
        self.layers()?;
        for (v, slot) in places {
            let to = View::row_major(slot, self.network.ty(v));
            self.settle(v, to).map_err(|why| ("an output".to_string(), why))?;
        }
        let wanted = std::mem::take(&mut self.wanted);
        Ok((self.program.plan(), wanted))
    }

    /// Assembles the `prepare` half: outputs go to the prepared weights, in the forms that are wanted.
    pub fn prepare(mut self, wanted: Wanted) -> Result<Program, (String, Fault)> {
        let outputs = self.network.outputs.clone();
        for (i, &v) in outputs.iter().enumerate() {
            if let Some(offset) = wanted.place(i) {
                self.bind(v, Bound::Place(WEIGHTS, offset));
            }
        }
        self.layers()?;
        let fault = |why| ("prepared weights".to_string(), why);
        for (i, &v) in outputs.iter().enumerate() {
            if let Some(offset) = wanted.place(i) {
                let to = View { offset, ..View::row_major(WEIGHTS, self.network.ty(v)) };
                self.settle(v, to).map_err(fault)?;
            }
        }
        for (i, offset, packing) in wanted.packed {
            let from = self.view(outputs[i]);
            packing(&mut self, from, WEIGHTS, offset).map_err(fault)?;
        }
        Ok(self.program.plan())
    }

    fn layers(&mut self) -> Result<(), (String, Fault)> {
        let network = self.network;
        self.bind_joined();
        let groups = self.groups.clone();
        for (at, layer) in network.layers.iter().enumerate().filter(|(at, _)| !groups.is_part(*at)) {
            self.origin = match layer.origin.as_str() {
                "" => layer.kind.name().to_string(),
                origin => format!("{} ({origin})", layer.kind.name()),
            };
            self.layer(at, layer).map_err(|why| (self.origin.clone(), why))?;
        }
        self.origin = "result".to_string();
        Ok(())
    }

    fn layer(&mut self, at: usize, layer: &Layer) -> Result<(), Fault> {
        ending::check()?;
        let value = layer.outputs[0];
        match &layer.kind {
            LayerKind::Parameter(i) => {
                let slot = self.slot(Source::Parameter(*i as usize));
                self.define(value, View::row_major(slot, self.network.ty(value)));
            }
            LayerKind::Constant(literal) => {
                let slot = self.slot(Source::Constant(literal.clone()));
                self.define(value, View::row_major(slot, literal.ty()));
            }
            LayerKind::Prepared(i) => self.prepared[value.index()] = Some(*i as usize),
            _ => {
                return match self.groups.clone().ending(at) {
                    Some(Group::Attention(attention)) => attention::assemble(self, layer, *attention),
                    Some(Group::Gated(gated)) => gated::assemble(self, gated),
                    Some(Group::Chain(plan)) => chain::assemble(self, plan),
                    Some(Group::Stem(stem)) => stem::assemble(self, layer, stem),
                    None => kernel::assemble(self, at, layer, self.index_maker(at)),
                };
            }
        }
        Ok(())
    }

    /// Where a value is to be found.
    pub fn view(&mut self, value: ValueId) -> View {
        if let Some(view) = &self.values[value.index()] {
            return view.clone();
        }
        let prepared = self.prepared[value.index()].expect("a verified network defines before it uses");
        let ty = self.network.ty(value);
        let offset = self.wanted.plain(prepared, ty.bytes());
        View { offset, ..View::row_major(WEIGHTS, ty) }
    }

    /// Is the value computed once for each version of the weights?
    pub fn is_static(&self, value: ValueId) -> bool {
        self.prepared[value.index()].is_some()
    }

    /// A value in a form of `bytes` bytes: made once for each version of the weights where it is static, else in every call.
    pub fn packed(&mut self, value: ValueId, bytes: usize, packing: Packing) -> Result<(Slot, isize), Fault> {
        if let Some(prepared) = self.prepared[value.index()] {
            return Ok((WEIGHTS, self.wanted.packed(prepared, bytes, packing)));
        }
        let from = self.view(value);
        let slot = self.scratch(bytes);
        (packing.make)(self, from, slot, 0)?;
        Ok((slot, 0))
    }

    /// The value with its axes in this memory order, outermost first: as it is, or a copy (of a static value, made once).
    pub fn ordered(&mut self, value: ValueId, order: &[usize]) -> Result<View, Fault> {
        let ty = self.network.ty(value).clone();
        let dense = View::dense(WEIGHTS, &ty, order);
        if dense.is_row_major() || (!self.is_static(value) && self.view(value).is_dense_in(order)) {
            let view = self.view(value);
            if view.is_dense_in(order) {
                return Ok(view);
            }
        }
        let form = dense.clone();
        let told = format!("{form:?}");
        let pack =
            move |a: &mut Assembler, from: View, slot, offset| a.copy(&from, View { slot, offset, ..form });
        let packing = Packing::new(told, Box::new(pack));
        let (slot, offset) = self.packed(value, ty.bytes(), packing)?;
        Ok(View { slot, offset, ..dense })
    }

    /// The position of the expression that gives the index of the layer at a position, if it is computed with that layer.
    pub fn index_maker(&self, at: usize) -> Option<usize> {
        self.groups.index_maker(at)
    }

    /// Says where a value is.
    pub fn define(&mut self, value: ValueId, view: View) {
        self.values[value.index()] = Some(view);
    }

    /// Room for a value whose axes would best lie in memory in `order`: where it has to end up, or working memory.
    pub fn room(&mut self, value: ValueId, order: &[usize]) -> View {
        let ty = self.network.ty(value).clone();
        match self.bound[value.index()].clone() {
            Some(Bound::Place(slot, offset)) => {
                let place = View { slot, offset, ..View::row_major(slot, &ty) };
                if ty.bytes() < SMALL || place.is_dense_in(order) {
                    return place;
                }
            }
            Some(Bound::Part(at, ranges)) => {
                let row_major: Vec<usize> = (0..ranges.len()).collect();
                let same = ranges.iter().map(|r| r.len).eq(ty.shape.iter().copied());
                let part = self.joined(at, if same { order } else { &row_major }).slice(&ranges);
                if same {
                    return part;
                }
                // The value is reshaped before it is joined.
                let fits = |view: &View| ty.bytes() < SMALL || view.order() == order;
                if let Some(view) = part.reshape(&ty.shape).filter(fits) {
                    return view;
                }
            }
            None => {}
        }
        if self.flat[value.index()] {
            return self.temporary(&ty, &(0..ty.rank()).collect::<Vec<_>>());
        }
        self.temporary(&ty, order)
    }

    /// Where the result of the concatenation at this position of the network is; its order is that of whoever asks first.
    pub fn joined(&mut self, at: usize, order: &[usize]) -> View {
        if let Some(view) = self.joined.get(&at) {
            return view.clone();
        }
        let view = self.room(self.network.layers[at].outputs[0], order);
        self.joined.insert(at, view.clone());
        view
    }

    /// Working memory for a tensor.
    pub fn temporary(&mut self, ty: &TensorType, order: &[usize]) -> View {
        let slot = self.scratch(ty.bytes());
        View::dense(slot, ty, order)
    }

    /// Working memory of this many bytes for the steps that touch it.
    pub fn scratch(&mut self, bytes: usize) -> Slot {
        self.slot(Source::Arena(bytes))
    }

    /// Working memory of a library's, which rounds its address up to [`WORKSPACE_ALIGNMENT`].
    pub fn workspace(&mut self, bytes: usize) -> Argument {
        let bytes = bytes + WORKSPACE_ALIGNMENT as usize;
        let slot = self.scratch(bytes);
        Argument::of(&View::row_major(slot, &TensorType::new(DType::U8, [bytes])), true)
    }

    /// Appends a launch.
    pub fn launch(&mut self, draft: Draft) -> Result<(), Fault> {
        let origin = self.origin.clone();
        self.program.launch(draft, &origin)
    }

    /// Appends a library's work.
    pub fn call(&mut self, call: impl Call + 'static, arguments: Vec<Argument>) {
        debug_assert!(!arguments.iter().any(|a| self.is_given(a.slot)), "the caller's tensor for a library");
        let origin = self.origin.clone();
        self.program.push(Action::Call(Box::new(call)), arguments, &origin);
    }

    /// Is it the caller's tensor, which lies elsewhere in every call?
    pub fn is_given(&self, slot: Slot) -> bool {
        matches!(self.program.slots[slot.0 as usize], Source::Input(_) | Source::Output(_))
    }

    /// The view, or a copy where it is the caller's tensor: a library's work in a graph cannot be pointed elsewhere.
    pub fn inside(&mut self, view: View) -> Result<View, Fault> {
        if !self.is_given(view.slot) {
            return Ok(view);
        }
        let to = self.temporary(&view.ty(), &order_of(&view));
        self.copy(&view, to.clone())?;
        Ok(to)
    }

    /// Emits a copy between views of one type and shape.
    pub fn copy(&mut self, from: &View, to: View) -> Result<(), Fault> {
        kernel::copy(self, from, to)
    }

    /// The end of a layer's kernel: room for its first result in this memory order, and its epilogue. Defines the result.
    pub fn tail(&mut self, layer: &Layer, order: &[usize]) -> Result<Tail, Fault> {
        let value = layer.outputs[0];
        let out = self.room(value, order);
        let own = layer.kind.arity().unwrap_or(layer.inputs.len());
        let own_types: Vec<&TensorType> = layer.inputs[..own].iter().map(|&v| self.network.ty(v)).collect();
        let kinds_own = infer(&layer.kind, None, &own_types).map_err(|e| e.to_string())?[0].dtype;
        let mut tail = Tail::of(out.clone(), layer.epilogue.clone(), vec![kinds_own], vec![]);
        for &v in &layer.inputs[own..] {
            let view = self.view(v);
            tail.typing.push(view.dtype);
            tail.operands.push(view.stretch(&out.shape));
        }
        self.define(value, out);
        Ok(tail)
    }

    /// A new slot.
    pub fn slot(&mut self, source: Source) -> Slot {
        self.program.slots.push(source);
        Slot(self.program.slots.len() as u32 - 1)
    }

    /// Asks for `value` where it has to end up, and for what it is a mere reshape of.
    fn bind(&mut self, value: ValueId, bound: Bound) {
        let mut v = value;
        while self.bound[v.index()].is_none() {
            self.bound[v.index()] = Some(bound.clone());
            match self.network.layers.iter().rev().find(|l| l.outputs.contains(&v)) {
                Some(l) if matches!(l.kind, LayerKind::Reshape { .. }) => v = l.inputs[0],
                _ => return,
            }
        }
    }

    /// Asks for operands of concatenations as parts of the results.
    fn bind_joined(&mut self) {
        for (at, layer) in self.network.layers.iter().enumerate() {
            let LayerKind::Concat { axis } = layer.kind else { continue };
            let mut start = 0;
            for &v in &layer.inputs {
                let shape = &self.network.ty(v).shape;
                let mut ranges: Vec<Range> = shape.iter().map(|&n| Range::full(n)).collect();
                ranges[axis].start = start;
                start += shape[axis];
                self.bind(v, Bound::Part(at, ranges));
            }
        }
    }

    /// Copies a value to where it has to be, unless it is there.
    pub fn settle(&mut self, value: ValueId, to: View) -> Result<(), Fault> {
        let view = self.view(value);
        let there = view.slot == to.slot
            && view.offset == to.offset
            && (0..to.rank()).all(|a| to.shape[a] == 1 || view.strides[a] == to.strides[a]);
        if there || to.elements() == 0 {
            return Ok(());
        }
        self.copy(&view, to)
    }

    /// The layer that is being assembled, in words.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}
