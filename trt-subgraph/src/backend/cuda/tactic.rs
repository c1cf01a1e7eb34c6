//! Ways to run one layer, and who chooses among them.
//!
//! A [`Way`] emits the steps of a layer in one manner: by one of our kernels, by a library's plan, by several of them. Whoever knows
//! another manner adds it to [`ways`]; nothing else has to change. On a device, each is assembled alone, timed, and the fastest taken;
//! without one the first is.

use super::assemble::{Assembler, Fault};
use super::kernel::product;
use super::timer::Timer;
use super::{dnn, lt};
use crate::backend::Tf32;
use crate::network::{Layer, LayerKind};
use std::sync::{Arc, Mutex, PoisonError};

/// One manner of running a layer.
pub trait Way: Send + Sync {
    /// For reports.
    fn name(&self) -> String;

    /// Emits the layer's steps and defines its results.
    fn emit(&self, a: &mut Assembler, layer: &Layer) -> Result<(), Fault>;
}

/// Who chooses.
#[derive(Clone)]
pub enum Choice<'a> {
    /// Nobody: the first way of all, our own kernel.
    First,
    /// It is settled.
    Settled(Arc<dyn Way>),
    /// The device.
    Timed(&'a Timer),
    /// Our own kernel; every way is put on the list.
    Listed(&'a Timer, &'a Mutex<Vec<Arc<dyn Way>>>),
}

/// Every way to run this layer here, our own kernel first.
pub fn ways(a: &mut Assembler, timer: &Timer, layer: &Layer, tf32: Tf32) -> Vec<Arc<dyn Way>> {
    let mut out: Vec<Arc<dyn Way>> = vec![Arc::new(Own)];
    match &layer.kind {
        LayerKind::Convolution(c) => out.extend(dnn::ways(a, timer, layer, c, tf32.convolution)),
        LayerKind::MatMul { transpose_a, transpose_b } => {
            out.extend(lt::ways(a, timer, layer, (*transpose_a, *transpose_b), tf32.product));
        }
        _ => {}
    }
    out
}

/// Our own kernels without tensor cores.
pub struct Own;

impl Way for Own {
    fn name(&self) -> String {
        "own kernel".to_string()
    }

    fn emit(&self, a: &mut Assembler, layer: &Layer) -> Result<(), Fault> {
        match &layer.kind {
            LayerKind::Convolution(c) => product::convolution(a, layer, c),
            LayerKind::MatMul { transpose_a, transpose_b } => {
                product::matmul(a, layer, *transpose_a, *transpose_b)
            }
            _ => Err(format!("{} has one way only", layer.kind.name())),
        }
    }
}

/// Emits a layer that has several ways in the one that is chosen.
pub fn emit(a: &mut Assembler, layer: &Layer) -> Result<(), Fault> {
    if a.network.ty(layer.outputs[0]).elements() == 0 {
        return Own.emit(a, layer);
    }
    let way: Arc<dyn Way> = match a.choice.clone() {
        Choice::First => Arc::new(Own),
        Choice::Settled(way) => way,
        Choice::Timed(timer) => timer.choose(a, layer),
        Choice::Listed(timer, list) => {
            let ways = ways(a, timer, layer, timer.tf32);
            list.lock().unwrap_or_else(PoisonError::into_inner).extend(ways);
            Arc::new(Own)
        }
    };
    way.emit(a, layer)
}
