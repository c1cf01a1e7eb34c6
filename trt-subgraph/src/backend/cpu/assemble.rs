//! From layers to steps.
//!
//! The [`Assembler`] walks a network once. Every layer finds its operands as [`View`]s, chooses the memory order of its result,
//! and emits steps; layers that only move elements mostly emit none. Each intermediate tensor is a slot of its own; when all
//! steps are known, slots whose lifetimes do not meet share memory.

use super::super::ending;
use super::bands;
use super::joins::Joins;
use super::kernel::attention::Attention;
use super::kernel::{self, Copy, Picked, Pointwise};
use super::machine::Machine;
use super::onednn::Desc;
use super::program::{Emitted, Program, Source, WEIGHTS};
use super::scaled::Scaled;
use super::step::Step;
use super::view::{Slot, View};
use super::wanted::Wanted;
pub use super::wanted::{Fault, Packing};
use crate::DType;
use crate::network::{Expr, Layer, LayerKind, Network, TensorType, ValueId, infer};
use std::collections::HashMap;

/// A program in the making.
pub struct Assembler<'a> {
    pub network: &'a Network,
    pub machine: &'a Machine,
    values: Vec<Option<View>>,
    prepared: Vec<Option<usize>>,
    /// Where a value has to end up, dense and row-major.
    bound: Vec<Option<(Slot, isize)>>,
    slots: Vec<Source>,
    steps: Vec<Emitted>,
    layouts: Vec<Desc>,
    wanted: Wanted,
    joins: Joins,
    origin: String,
    /// Are multiplications put off? Only where weights are prepared.
    pub postpones: bool,
    /// Values whose last multiplication is not done yet.
    pub postponed: HashMap<ValueId, Scaled>,
    /// Scores, and their softmax, that are not computed yet.
    pub attended: HashMap<ValueId, Attention>,
    /// Values that are picked and not copied yet.
    pub picked: HashMap<ValueId, Picked>,
}

impl<'a> Assembler<'a> {
    /// Nothing yet; inputs are row-major.
    pub fn new(network: &'a Network, machine: &'a Machine) -> Assembler<'a> {
        let n = network.values.len();
        let mut out = Assembler {
            network,
            machine,
            values: vec![None; n],
            prepared: vec![None; n],
            bound: vec![None; n],
            slots: vec![Source::Weights],
            steps: Vec::new(),
            layouts: Vec::new(),
            wanted: Wanted::default(),
            joins: Joins::new(network),
            origin: String::new(),
            postpones: false,
            postponed: HashMap::new(),
            attended: HashMap::new(),
            picked: HashMap::new(),
        };
        for (i, &v) in network.inputs.iter().enumerate() {
            let slot = out.slot(Source::Input(i));
            out.define(v, View::row_major(slot, network.ty(v)));
        }
        out
    }

    /// Assembles the `run` half: outputs go to the caller.
    pub fn run(mut self) -> Result<(Program, Wanted), (String, Fault)> {
        let places: Vec<(ValueId, Slot)> = self
            .network
            .outputs
            .clone()
            .into_iter()
            .enumerate()
            .map(|(i, v)| (v, self.slot(Source::Output(i))))
            .collect();
        for &(v, slot) in &places {
            self.bind(v, slot, 0);
        }
        self.layers()?;
        for (v, slot) in places {
            let to = View::row_major(slot, self.network.ty(v));
            self.settle(v, to);
        }
        let wanted = std::mem::take(&mut self.wanted);
        let steps = bands::together(self.steps, &mut self.slots, self.machine);
        Ok((Program::plan(steps, self.slots, self.layouts), wanted))
    }

    /// Assembles the `prepare` half: outputs go to the prepared weights, in the forms that are wanted.
    pub fn prepare(mut self, wanted: Wanted) -> Result<Program, (String, Fault)> {
        let outputs = self.network.outputs.clone();
        self.postpones = true;
        for (i, &v) in outputs.iter().enumerate() {
            if let Some(offset) = wanted.place(i) {
                self.bind(v, WEIGHTS, offset);
            }
        }
        self.layers()?;
        for (i, &v) in outputs.iter().enumerate() {
            if let Some(offset) = wanted.place(i) {
                let to = View { offset, ..View::row_major(WEIGHTS, self.network.ty(v)) };
                self.settle(v, to);
            }
        }
        for (i, offset, pack) in wanted.packed {
            let from = self.scaled(outputs[i]);
            pack(&mut self, from, WEIGHTS, offset).map_err(|why| ("packed weights".to_string(), why))?;
        }
        Ok(Program::plan(self.steps, self.slots, self.layouts))
    }

    fn layers(&mut self) -> Result<(), (String, Fault)> {
        let network = self.network;
        for layer in &network.layers {
            self.origin.clone_from(&layer.origin);
            let name = || match layer.origin.as_str() {
                "" => layer.kind.name().to_string(),
                origin => format!("{} ({origin})", layer.kind.name()),
            };
            self.layer(layer).map_err(|why| (name(), why))?;
        }
        self.origin.clear();
        Ok(())
    }

    fn layer(&mut self, layer: &Layer) -> Result<(), Fault> {
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
            _ => return kernel::assemble(self, layer),
        }
        Ok(())
    }

    /// Where a value is to be found.
    pub fn view(&mut self, value: ValueId) -> View {
        if let Some(view) = &self.values[value.index()] {
            return view.clone();
        }
        if let Some(product) = self.postponed.remove(&value) {
            let view = self.multiplied(product);
            self.define(value, view.clone());
            return view;
        }
        if let Some(attention) = self.attended.remove(&value) {
            return kernel::attention::written(self, value, attention);
        }
        if let Some(picked) = self.picked.remove(&value) {
            return kernel::copied(self, value, picked);
        }
        let prepared = self.prepared[value.index()].expect("a verified network defines before it uses");
        let ty = self.network.ty(value);
        let offset = self.wanted.plain(prepared, ty.bytes());
        View { offset, ..View::row_major(WEIGHTS, ty) }
    }

    /// A value whose last multiplication may not be done yet.
    pub fn scaled(&mut self, value: ValueId) -> Scaled {
        self.postponed.get(&value).cloned().unwrap_or_else(|| self.view(value).into())
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
        (packing.make)(self, from.into(), slot, 0)?;
        Ok((slot, 0))
    }

    /// Says where a value is.
    pub fn define(&mut self, value: ValueId, view: View) {
        self.values[value.index()] = Some(view);
    }

    /// Does the value have to end up dense and row-major?
    pub fn is_bound(&self, value: ValueId) -> bool {
        self.bound[value.index()].is_some()
    }

    /// Room for a value: where it has to end up if it can lie there, else working memory with axes in `order`.
    pub fn room(&mut self, value: ValueId, order: &[usize]) -> View {
        let (network, ty) = (self.network, self.network.ty(value));
        let Assembler { joins, slots, .. } = self;
        let mut whole = |whole: &TensorType| {
            slots.push(Source::Arena(whole.bytes()));
            View::dense(Slot(slots.len() as u32 - 1), whole, order)
        };
        if let Some(part) = joins.part(network, value, order, &mut whole) {
            return part;
        }
        let row_major = View::row_major(WEIGHTS, ty);
        match self.bound[value.index()] {
            Some((slot, offset)) if row_major.is_dense_in(order) => View { slot, offset, ..row_major },
            _ => self.temporary(ty, order),
        }
    }

    /// The room of a concatenation that some operands are in already.
    pub fn joined(&self, value: ValueId) -> Option<View> {
        self.joins.whole(value).cloned()
    }

    /// Working memory for a tensor.
    pub fn temporary(&mut self, ty: &TensorType, order: &[usize]) -> View {
        let slot = self.scratch(ty.bytes());
        View::dense(slot, ty, order)
    }

    /// Working memory of this many bytes, aligned to 64, for the steps that touch it.
    pub fn scratch(&mut self, bytes: usize) -> Slot {
        self.slot(Source::Arena(bytes))
    }

    /// Appends a step that touches these slots.
    pub fn emit(&mut self, step: impl Step + 'static, touches: &[Slot]) {
        let origin = self.origin.clone();
        self.steps.push(Emitted { step: Box::new(step), touches: touches.to_vec(), origin });
    }

    /// Registers the layout of a memory object and gives its position.
    pub fn layout(&mut self, desc: Desc) -> usize {
        self.layouts.push(desc);
        self.layouts.len() - 1
    }

    /// Emits `out = expr(operands)`, operands stretched to `out`. `typing`: the element types that the expression is written for.
    pub fn pointwise(&mut self, expr: &Expr, typing: &[DType], operands: &[View], out: View) {
        if out.elements() == 0 {
            return;
        }
        let same = operands.len() == 1 && expr.nodes.len() == 1 && operands[0].dtype == out.dtype;
        if same && expr.arity() == 1 {
            return self.copy(&operands[0].stretch(&out.shape), out);
        }
        let stretched: Vec<View> = operands.iter().map(|v| v.stretch(&out.shape)).collect();
        let scratch = self.scratch(0);
        let mut touches: Vec<Slot> = operands.iter().map(|v| v.slot).collect();
        touches.extend([out.slot, scratch]);
        let step = Pointwise::new(expr, typing, &stretched, out, self.machine.isa, scratch);
        self.slots[scratch.0 as usize] = Source::Arena(step.thread_bytes * self.machine.threads);
        self.emit(step, &touches);
    }

    /// Emits a copy between views of one type.
    pub fn copy(&mut self, from: &View, to: View) {
        if to.elements() > 0 {
            let touches = [from.slot, to.slot];
            self.emit(Copy::new(from, &to), &touches);
        }
    }

    /// The tensor with its axes in this memory order: itself, or a copy.
    pub fn ordered(&mut self, view: View, order: &[usize]) -> View {
        if view.is_dense_in(order) {
            return view;
        }
        let to = self.temporary(&view.ty(), order);
        self.copy(&view, to.clone());
        to
    }

    /// Converts to an element type: itself, or a converted copy in the same order.
    pub fn converted(&mut self, view: View, dtype: DType) -> View {
        if view.dtype == dtype {
            return view;
        }
        let to = self.temporary(&view.ty().with_dtype(dtype), &view.order());
        self.pointwise(&Expr::cast(dtype), &[view.dtype], std::slice::from_ref(&view), to.clone());
        to
    }

    /// The value in the type that it computes in: f32 for f16 and bf16. Static values are converted once.
    pub fn computing(&mut self, value: ValueId) -> Result<View, Fault> {
        let ty = self.network.ty(value).clone();
        if !matches!(ty.dtype, DType::F16 | DType::BF16) {
            return Ok(self.view(value));
        }
        if !self.is_static(value) {
            let view = self.view(value);
            return Ok(self.converted(view, DType::F32));
        }
        let wide = ty.with_dtype(DType::F32);
        let to = wide.clone();
        let pack = move |a: &mut Assembler, from, slot, offset| {
            let (from, to) = (a.multiplied(from), View { offset, ..View::row_major(slot, &to) });
            a.pointwise(&Expr::cast(DType::F32), &[from.dtype], &[from], to);
            Ok(())
        };
        let packing = Packing::new("wide".into(), Box::new(pack));
        let (slot, offset) = self.packed(value, wide.bytes(), packing)?;
        Ok(View { offset, ..View::row_major(slot, &wide) })
    }

    /// Emits the first result of a layer and its epilogue. `own` emits the kind's own result, of element type `dtype`, into
    /// the room that it is given, whose memory order is `order`.
    pub fn result(
        &mut self,
        layer: &Layer,
        dtype: DType,
        order: &[usize],
        own: impl FnOnce(&mut Self, View) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.result_with(layer, layer.epilogue.as_ref(), dtype, order, own)
    }

    /// [`Assembler::result`] where `own` does a part of the epilogue and `rest` is what remains of it.
    pub fn result_with(
        &mut self,
        layer: &Layer,
        rest: Option<&Expr>,
        dtype: DType,
        order: &[usize],
        own: impl FnOnce(&mut Self, View) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let value = layer.outputs[0];
        let ty = self.network.ty(value).clone();
        let direct = ty.dtype == dtype;
        let view =
            if direct { self.room(value, order) } else { self.temporary(&ty.with_dtype(dtype), order) };
        if ty.elements() > 0 {
            own(self, view.clone())?;
        }
        let kinds_own = layer.kind.arity().unwrap_or(layer.inputs.len());
        let identity = Expr::identity();
        let expr = match rest {
            None if direct => {
                self.define(value, view);
                return Ok(());
            }
            None => &identity,
            Some(expr) => expr,
        };
        let mut operands = vec![view.clone()];
        operands.extend(layer.inputs[kinds_own..].iter().map(|&v| self.view(v)));
        let own_types: Vec<&TensorType> =
            layer.inputs[..kinds_own].iter().map(|&v| self.network.ty(v)).collect();
        let mut typing = vec![infer(&layer.kind, None, &own_types).map_err(|e| e.to_string())?[0].dtype];
        typing.extend(operands[1..].iter().map(|v| v.dtype));
        let out = if direct { view } else { self.room(value, order) };
        self.pointwise(expr, &typing, &operands, out.clone());
        self.define(value, out);
        Ok(())
    }

    fn slot(&mut self, source: Source) -> Slot {
        self.slots.push(source);
        Slot(self.slots.len() as u32 - 1)
    }

    /// Asks for `value` at a place, and for what it is a mere reshape of.
    fn bind(&mut self, value: ValueId, slot: Slot, offset: isize) {
        let mut v = value;
        while self.bound[v.index()].is_none() {
            self.bound[v.index()] = Some((slot, offset));
            match self.network.layers.iter().rev().find(|l| l.outputs.contains(&v)) {
                Some(l) if matches!(l.kind, LayerKind::Reshape { .. }) => v = l.inputs[0],
                _ => return,
            }
        }
    }

    /// Copies a value to where it has to be, unless it is there.
    fn settle(&mut self, value: ValueId, to: View) {
        let view = self.view(value);
        let there = view.slot == to.slot && view.offset == to.offset && view.is_row_major();
        if !there {
            self.copy(&view, to);
        }
    }
}
