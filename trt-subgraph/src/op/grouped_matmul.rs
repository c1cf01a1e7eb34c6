//! Products of runs of rows with a matrix each, as mixtures of experts have them.

use super::matmul::{of_ranks, pair, product};
use super::{Def, one};
use crate::DType;
use crate::network::LayerKind;
use crate::source::{Args, Item, Lower, Refusal};

/// Runs of the rows of `self[T, K]` by matrices `mat2[E, K, N]`, or matrices `self[E, M, K]` by runs of the columns of `mat2[K, T]`;
/// run `e` ends before `offs[e]`. Without offsets it is a batch of products. What lies behind the last run the host leaves as its memory
/// was, so any value there is as good.
fn grouped_matmul(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (a, b) = pair(lower, args, "self", "mat2")?;
    let dtype = lower.dtype(a);
    if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) {
        return Err(Refusal::Dtype { arg: "self", found: dtype });
    }
    if args.has("bias") {
        return Err(Refusal::Invalid("a bias".into()));
    }
    if args.opt_dtype(lower, "out_dtype")?.is_some_and(|out| out != dtype) {
        return Err(Refusal::Invalid("'out_dtype' is not the type of 'self'".into()));
    }
    let ranks = [lower.ty(a).rank(), lower.ty(b).rank()];
    let Some(offsets) = args.opt_tensor("offs")? else {
        let (a, b) = of_ranks(lower, args, ["self", "mat2"], [3, 3])?;
        return one(product(lower, a, b)?);
    };
    if lower.dtype(offsets) != DType::I32 {
        return Err(Refusal::Dtype { arg: "offs", found: lower.dtype(offsets) });
    }
    match ranks {
        [2, 3] => one(lower.add(LayerKind::GroupedMatMul, &[a, b, offsets])?),
        [3, 2] => {
            let (rows, w) = (lower.permute(b, vec![1, 0])?, lower.permute(a, vec![0, 2, 1])?);
            let out = lower.add(LayerKind::GroupedMatMul, &[rows, w, offsets])?;
            one(lower.permute(out, vec![1, 0])?)
        }
        // The gradient of the matrices.
        [2, 2] => Err(Refusal::Attribute { arg: "offs".into(), why: "runs along the sum".into() }),
        _ => Err(Refusal::Invalid("offsets for products that have none, or of scalars or vectors".into())),
    }
}

pub(super) const OPS: &[Def] = &[Def {
    schemas: &[
        "aten::_grouped_mm(Tensor self, Tensor mat2, Tensor? offs=None, Tensor? bias=None, ScalarType? out_dtype=None) -> Tensor",
    ],
    lower: grouped_matmul,
}];
