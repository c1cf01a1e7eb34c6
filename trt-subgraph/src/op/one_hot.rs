//! Class numbers to indicator vectors.

use super::{Def, one};
use crate::network::expr::{Binary, Node};
use crate::network::{Expr, LayerKind};
use crate::source::{Args, Item, Lower, Refusal};
use crate::{DType, Literal, TensorType};

/// `result[..., c] = (self[...] == c)` in i64; a class outside `0..num_classes` fails at run time, as it does on the host.
fn one_hot(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    if lower.dtype(x) != DType::I64 {
        return Err(Refusal::Dtype { arg: "self", found: lower.dtype(x) });
    }
    let classes = match usize::try_from(args.int(lower, "num_classes")?) {
        Ok(n) if n > 0 => n,
        _ => return Err(Refusal::NotConstant { arg: "num_classes".into() }),
    };
    super::resample::bounded("num_classes", &[classes])?;
    let iota = TensorType::new(DType::I64, [classes]);
    let iota = Literal::from_i64(iota, 0..classes as i64).expect("as many as its type says");
    let iota = lower.builder.constant(iota);
    let checked = super::places::no_negative(lower, x, classes)?;
    let class = lower.add(LayerKind::Gather { axis: 0, elements: false }, &[iota, checked])?;
    let column = lower.reshape(class, [lower.shape(x), &[1]].concat())?;
    let mut same = Expr::binary(Binary::Eq);
    same.push(Node::Cast(DType::I64, same.root()));
    one(lower.pointwise(same, &[column, iota])?)
}

pub(super) const OPS: &[Def] =
    &[Def { schemas: &["aten::one_hot(Tensor self, int num_classes=-1) -> Tensor"], lower: one_hot }];
