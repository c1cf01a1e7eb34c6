//! What enters a cluster, as far as its engines depend on it.

use crate::jit::TensorView;
use crate::layout::AxisOrder;
use crate::types::dtype_of_kind;
use serde::{Deserialize, Serialize};
use trt_subgraph::TensorType;
use trt_subgraph::backend::Tf32;
use trt_subgraph::source::Border;

/// What an engine is built for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Entry {
    pub(crate) border: Border,
    /// How each tensor input lies in memory: how the results lie follows from that on the host.
    pub(crate) orders: Vec<AxisOrder>,
    /// Where torch lets f32 factors be rounded.
    pub(crate) tf32: Tf32,
}

impl Entry {
    /// The entry of these tensors, whose types are the border's.
    #[cfg(feature = "tool")]
    pub(crate) fn of(border: Border, tensors: &[tch::Tensor], device: tch::Device) -> Entry {
        let orders = tensors.iter().map(|t| order_of(&TensorView::of(t))).collect();
        Entry { border, orders, tf32: crate::jit::tf32_on(device) }
    }

    /// Is it that of these inputs, where torch allows so much?
    pub(crate) fn fits(&self, inputs: &[TensorView<'_>], ints: &[i64], tf32: Tf32) -> bool {
        self.border.ints == ints
            && self.tf32 == tf32
            && self.border.tensors.len() == inputs.len()
            && self.border.tensors.iter().zip(inputs).all(|(ty, view)| is_of_type(view, ty))
            && self.orders.iter().zip(inputs).all(|(order, view)| *order == order_of(view))
    }
}

pub(super) fn order_of(view: &TensorView<'_>) -> AxisOrder {
    AxisOrder::of_operand(view.sizes(), view.strides())
}

fn is_of_type(view: &TensorView<'_>, ty: &TensorType) -> bool {
    let sizes = view.sizes();
    view.kind().and_then(dtype_of_kind) == Some(ty.dtype)
        && ty.shape.len() == sizes.len()
        && ty.shape.iter().zip(sizes).all(|(&a, &b)| a as i64 == b)
}

/// An [`Entry`] without the parameters, whose types are the module's matter, as a saved module keeps it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Shape {
    pub(crate) tensors: Vec<TensorType>,
    pub(crate) ints: Vec<i64>,
    /// How each tensor lies in memory, as [`AxisOrder::numbers`] says it.
    pub(crate) orders: Vec<Vec<usize>>,
}

impl Shape {
    pub(crate) fn of(entry: &Entry) -> Shape {
        let Entry { border, orders, .. } = entry;
        Shape {
            tensors: border.tensors.clone(),
            ints: border.ints.clone(),
            orders: orders.iter().map(AxisOrder::numbers).collect(),
        }
    }

    /// The entry beside parameters of these types; `None` where an order is none.
    pub(crate) fn entry(&self, parameters: Vec<TensorType>, tf32: Tf32) -> Option<Entry> {
        let orders: Vec<_> = self.orders.iter().map(|o| AxisOrder::of_numbers(o)).collect::<Option<_>>()?;
        let border = Border { tensors: self.tensors.clone(), ints: self.ints.clone(), parameters };
        (orders.len() == border.tensors.len()).then_some(Entry { border, orders, tf32 })
    }
}
