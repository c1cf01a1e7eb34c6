//! Ways to run one layer, and who chooses among them.
//!
//! A [`Way`] emits the steps of a layer in one manner: by one of our kernels, by a library's plan, by several of them. Whoever knows
//! another manner adds it to [`ways`]; nothing else has to change. On a device, each is assembled alone, timed, and the fastest taken;
//! without one the first is.

use super::alone::Alone;
use super::assemble::{Assembler, Fault};
use super::kernel::product::tensor::{self, Bulk, Cut, Patch};
use super::kernel::product::{self, Kernel};
use super::saved::Told;
use super::timer::Timer;
use super::{dnn, lt};
use crate::backend::{Level, Tf32};
use crate::network::{Layer, LayerKind};
use std::sync::{Arc, Mutex, PoisonError};

/// How many cuts of a product on tensor cores are tried, of each unit, unless all are.
const CUTS: usize = 3;

/// The name of the way in which chains run: the device's timing has no part in that.
pub const CHAIN: &str = "chain";

/// That of stems.
pub const STEM: &str = "stem";

/// One manner of running a layer.
pub trait Way: Send + Sync {
    /// For reports.
    fn name(&self) -> String;

    /// Emits the layer's steps and defines its results.
    fn emit(&self, a: &mut Assembler, layer: &Layer) -> Result<(), Fault>;
}

/// Which ways of a layer are asked for.
#[derive(Clone, Copy, PartialEq)]
pub enum Asked<'a> {
    All,
    /// By kernels of our own.
    Own,
    /// By libraries.
    Libraries,
    /// That of this name.
    Named(&'a str),
}

/// Who chooses.
#[derive(Clone)]
pub enum Choice<'a> {
    /// Nobody: the first way of all, our own kernel.
    First,
    /// Nobody: our own kernel on tensor cores where they take the layer, by one block a tile or as many as seem best.
    TensorCores { tf32: Tf32, clusters: bool },
    /// It is settled.
    Settled(Arc<dyn Way>),
    /// An earlier engine of the same network.
    Told(Told<'a>),
    /// The device.
    Timed(&'a Timer),
    /// Nobody: the first of the ways asked for that runs, found as [`Choice::Timed`] finds its own.
    Untimed(&'a Timer, Asked<'a>),
    /// Nobody yet: layers that are to be timed are put on the list, and run by our own kernel on tensor cores where that takes them.
    Foreseen(&'a Timer, &'a Mutex<Vec<Alone>>),
    /// Our own kernel; the ways that are asked for are put on the list.
    Listed(&'a Timer, Asked<'a>, &'a Mutex<Vec<Arc<dyn Way>>>),
    /// Our own kernel; every one of our own is put on the list, where there need be no device.
    Rehearsed(&'a Mutex<Vec<Arc<dyn Way>>>),
}

impl Choice<'_> {
    /// Where chains of layers may be one kernel: what TF32 may be used for in it.
    pub fn chains(&self) -> Option<Tf32> {
        match self {
            Choice::TensorCores { tf32, clusters } => clusters.then_some(*tf32),
            Choice::Told(told) => told.ways.iter().any(|way| way == CHAIN).then_some(told.tf32),
            Choice::Timed(timer) | Choice::Foreseen(timer, _) => Some(timer.tf32),
            Choice::First
            | Choice::Settled(_)
            | Choice::Untimed(..)
            | Choice::Listed(..)
            | Choice::Rehearsed(_) => None,
        }
    }

    /// May a convolution and the pool that reads it be one kernel?
    pub fn stems(&self) -> bool {
        match self {
            Choice::TensorCores { .. } | Choice::Timed(_) | Choice::Foreseen(..) => true,
            Choice::Told(told) => told.ways.iter().any(|way| way == STEM),
            Choice::First
            | Choice::Settled(_)
            | Choice::Untimed(..)
            | Choice::Listed(..)
            | Choice::Rehearsed(_) => false,
        }
    }
}

/// The ways to run this layer here that are asked for, our own first.
pub fn ways(a: &mut Assembler, timer: &Timer, layer: &Layer, tf32: Tf32, asked: Asked) -> Vec<Arc<dyn Way>> {
    let cuts = if timer.level == Level::Exhaustive { usize::MAX } else { CUTS };
    let mut out = if asked == Asked::Libraries { vec![] } else { own_ways(a, layer, tf32, cuts) };
    let name = if let Asked::Named(name) = asked { Some(name) } else { None };
    match &layer.kind {
        _ if asked == Asked::Own => {}
        LayerKind::Convolution(c) => out.extend(dnn::ways(a, timer, layer, c, tf32.convolution, name)),
        LayerKind::MatMul { transpose_a, transpose_b } => {
            out.extend(lt::ways(a, timer, layer, (*transpose_a, *transpose_b), tf32.product));
        }
        _ => {}
    }
    out.retain(|way| name.is_none_or(|name| way.name() == name));
    out
}

/// Those of the ways that are kernels of our own, with at most so many cuts of each kind; of [`usize::MAX`], all there are.
pub fn own_ways(a: &mut Assembler, layer: &Layer, tf32: Tf32, cuts: usize) -> Vec<Arc<dyn Way>> {
    let mut out: Vec<Arc<dyn Way>> = vec![Arc::new(Own(Kernel::Suitable))];
    if is_short(a, layer) {
        out.extend([Kernel::Direct, Kernel::Tiled].map(|k| -> Arc<dyn Way> { Arc::new(Own(k)) }));
    }
    if is_small(a, layer) {
        out.push(Arc::new(Own(Kernel::Split)));
    }
    let clusters = a.target.capability >= 90;
    if layer.inputs.len() > 1 && a.is_static(layer.inputs[1]) {
        let patches = tensor::patches(a, layer, tf32, clusters, cuts);
        out.extend(patches.into_iter().map(|patch| -> Arc<dyn Way> { Arc::new(OfPatches(patch)) }));
    }
    let bulks = tensor::bulks(a, layer, clusters, cuts.saturating_add(1));
    let outdone = !bulks.is_empty() && cuts != usize::MAX;
    let bulks = bulks.into_iter().chain(tensor::bulks_of_areas(a, layer, clusters, cuts.saturating_add(1)));
    // TF32 is faster still, where it is allowed.
    let in_parts = match tf32.product {
        true => vec![],
        false => tensor::bulks_in_parts(a, layer, clusters, cuts.saturating_add(1)),
    };
    let bulks = bulks.chain(in_parts);
    out.extend(bulks.map(|bulk| -> Arc<dyn Way> { Arc::new(ByBulkCopies(bulk)) }));
    if let Some(form) = tensor::row_form(a, layer, tf32) {
        let cuts = tensor::cuts(form, &a.target, clusters, cuts);
        out.extend(cuts.into_iter().map(|cut| -> Arc<dyn Way> { Arc::new(OfRows(cut)) }));
    }
    out.extend(
        on_tensor_cores(a, layer, tf32, clusters, cuts)
            .into_iter()
            .filter(|way| !(outdone && way.0.is_of_warpgroups()))
            .map(|way| -> Arc<dyn Way> { Arc::new(way) }),
    );
    // The first does without tensor cores.
    if out.len() > 1 && cuts != usize::MAX && is_large(a, layer) && tensor::form(a, layer, tf32).is_some() {
        out.remove(0);
    }
    out
}

/// Our own kernel on tensor cores.
pub struct OnTensorCores(pub Cut);

/// The same whose factors come by bulk copies.
pub struct ByBulkCopies(pub Bulk);

impl Way for ByBulkCopies {
    fn name(&self) -> String {
        self.0.name()
    }

    fn emit(&self, a: &mut Assembler, layer: &Layer) -> Result<(), Fault> {
        tensor::emit_bulk(a, layer, self.0)
    }
}

/// The same of whole rows of taps.
pub struct OfRows(pub Cut);

impl Way for OfRows {
    fn name(&self) -> String {
        format!("{}, rows of taps", self.0.name())
    }

    fn emit(&self, a: &mut Assembler, layer: &Layer) -> Result<(), Fault> {
        let LayerKind::Convolution(c) = &layer.kind else {
            return Err(format!("{} has no windows", layer.kind.name()));
        };
        let product = tensor::row_product(a, layer, c, self.0.depth)?;
        tensor::emit(a, product, self.0)
    }
}

/// Our own kernel on tensor cores for convolutions of several taps.
pub struct OfPatches(pub Patch);

impl Way for OfPatches {
    fn name(&self) -> String {
        self.0.name()
    }

    fn emit(&self, a: &mut Assembler, layer: &Layer) -> Result<(), Fault> {
        match &layer.kind {
            LayerKind::Convolution(c) => tensor::emit_patch(a, layer, c, self.0),
            other => Err(format!("{} has no windows", other.name())),
        }
    }
}

/// The ways on tensor cores that promise most.
fn on_tensor_cores(
    a: &mut Assembler,
    layer: &Layer,
    tf32: Tf32,
    clusters: bool,
    most: usize,
) -> Vec<OnTensorCores> {
    let Some(form) = tensor::form(a, layer, tf32) else { return vec![] };
    let cuts = tensor::cuts(form, &a.target, clusters, most);
    cuts.into_iter().map(OnTensorCores).collect()
}

/// Our own kernel: on tensor cores where they take the layer.
fn best_guess(a: &mut Assembler, layer: &Layer, tf32: Tf32, clusters: bool) -> Arc<dyn Way> {
    if let Some(way) = on_tensor_cores(a, layer, tf32, clusters, 1).into_iter().next() {
        return Arc::new(way);
    }
    let in_parts = match is_large(a, layer) {
        true => tensor::bulks_in_parts(a, layer, clusters, 1),
        false => vec![],
    };
    match in_parts.into_iter().next() {
        Some(bulk) => Arc::new(ByBulkCopies(bulk)),
        None => Arc::new(Own(Kernel::Suitable)),
    }
}

impl Way for OnTensorCores {
    fn name(&self) -> String {
        self.0.name()
    }

    fn emit(&self, a: &mut Assembler, layer: &Layer) -> Result<(), Fault> {
        let product = tensor::product(a, layer, self.0.depth)?;
        tensor::emit(a, product, self.0)
    }
}

/// Are its sums so short that a thread may well do some alone?
fn is_short(a: &Assembler, layer: &Layer) -> bool {
    let w = &a.network.ty(layer.inputs[1]).shape;
    matches!(layer.kind, LayerKind::Convolution(_)) && w[1] <= 16 && w[1..].iter().product::<usize>() <= 256
}

/// Has its result so few elements that a warp may well sum one alone?
fn is_small(a: &Assembler, layer: &Layer) -> bool {
    terms(a, layer) >= 32 && a.network.ty(layer.outputs[0]).elements() * 32 <= 4 * a.target.busy()
}

/// Has it so many multiplications that only tensor cores can be fastest?
fn is_large(a: &Assembler, layer: &Layer) -> bool {
    a.network.ty(layer.outputs[0]).elements().saturating_mul(terms(a, layer)) >= 1 << 23
}

/// Products that make one element of the result; 0 where that is not asked.
fn terms(a: &Assembler, layer: &Layer) -> usize {
    let w = a.network.ty(layer.inputs[1]);
    match &layer.kind {
        LayerKind::Convolution(c) if !c.transposed => w.shape[1..].iter().product(),
        LayerKind::MatMul { transpose_b, .. } => w.shape[w.rank() - if *transpose_b { 1 } else { 2 }],
        _ => 0,
    }
}

/// Our own kernels without tensor cores.
pub struct Own(pub Kernel);

impl Way for Own {
    fn name(&self) -> String {
        match self.0 {
            Kernel::Suitable => "own kernel".to_string(),
            other => format!("own kernel {other:?}").to_lowercase(),
        }
    }

    fn emit(&self, a: &mut Assembler, layer: &Layer) -> Result<(), Fault> {
        match &layer.kind {
            LayerKind::Convolution(c) => product::convolution(a, layer, c, self.0),
            LayerKind::MatMul { transpose_a, transpose_b } => {
                product::matmul(a, layer, *transpose_a, *transpose_b, self.0)
            }
            _ => Err(format!("{} has one way only", layer.kind.name())),
        }
    }
}

/// Emits a layer that has several ways in the one that is chosen.
pub fn emit(a: &mut Assembler, layer: &Layer) -> Result<(), Fault> {
    if a.network.ty(layer.outputs[0]).elements() == 0 {
        return Own(Kernel::Suitable).emit(a, layer);
    }
    let way: Arc<dyn Way> = match a.choice.clone() {
        Choice::First => Arc::new(Own(Kernel::Suitable)),
        Choice::TensorCores { tf32, clusters } => best_guess(a, layer, tf32, clusters),
        Choice::Settled(way) => way,
        Choice::Told(told) => told.way(a, layer)?,
        Choice::Timed(timer) => timer.choose(a, layer),
        Choice::Untimed(timer, asked) => timer.untimed(a, layer, asked),
        Choice::Foreseen(timer, list) => {
            if let Some(alone) = timer.unknown(a, layer) {
                list.lock().unwrap_or_else(PoisonError::into_inner).push(alone);
            }
            best_guess(a, layer, timer.tf32, a.target.capability >= 90)
        }
        Choice::Rehearsed(list) => {
            let ways = own_ways(a, layer, Tf32::default(), usize::MAX);
            list.lock().unwrap_or_else(PoisonError::into_inner).extend(ways);
            Arc::new(Own(Kernel::Suitable))
        }
        Choice::Listed(timer, asked, list) => {
            let ways = ways(a, timer, layer, timer.tf32, asked);
            list.lock().unwrap_or_else(PoisonError::into_inner).extend(ways);
            Arc::new(Own(Kernel::Suitable))
        }
    };
    a.program.ways.push(way.name());
    way.emit(a, layer)
}
