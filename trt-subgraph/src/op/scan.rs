//! Running sums and products.

use super::reduce::accumulator;
use super::{Def, one};
use crate::network::layer::{LayerKind, ScanOp};
use crate::source::{Args, Item, Lower, Refusal};

/// Along one axis, in `dtype` if given; integers and `Bool` in i64.
fn scan(lower: &mut Lower, args: &Args, op: ScanOp) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let axis = args.axis(lower, "dim", lower.shape(x).len())?;
    let x = accumulator(lower, args, x)?;
    if lower.shape(x).is_empty() {
        return one(x);
    }
    one(lower.add(LayerKind::Scan { op, axis }, &[x])?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &["aten::cumsum(Tensor self, int dim, *, ScalarType? dtype=None) -> Tensor"],
        lower: |l, a| scan(l, a, ScanOp::Sum),
    },
    Def {
        schemas: &["aten::cumprod(Tensor self, int dim, *, ScalarType? dtype=None) -> Tensor"],
        lower: |l, a| scan(l, a, ScanOp::Prod),
    },
];
