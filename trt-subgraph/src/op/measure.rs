//! What a tensor is: sizes, rank, element type, device. All of it is known while lowering.

use super::Def;
use crate::source::{Args, Item, Lower, Refusal, code_of_dtype};

fn size(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let shape = lower.shape(args.tensor("self")?);
    if !args.has("dim") {
        return Ok(vec![Item::List(shape.iter().map(|&n| Item::Int(n as i64)).collect())]);
    }
    if shape.is_empty() {
        return Err(Refusal::Invalid("a 0-d tensor has no sizes".into()));
    }
    let axis = args.axis(lower, "dim", shape.len())?;
    Ok(vec![Item::Int(shape[axis] as i64)])
}

fn dim(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    Ok(vec![Item::Int(lower.shape(args.tensor("self")?).len() as i64)])
}

fn numel(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    Ok(vec![Item::Int(lower.ty(args.tensor("self")?).elements() as i64)])
}

fn len(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let first = lower.shape(args.tensor("t")?).first();
    let n = *first.ok_or_else(|| Refusal::Invalid("a 0-d tensor has no length".into()))?;
    Ok(vec![Item::Int(n as i64)])
}

fn dtype(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    Ok(vec![Item::Int(code_of_dtype(lower.dtype(args.tensor("a")?)).into())])
}

fn is_floating_point(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    Ok(vec![Item::Bool(lower.dtype(args.tensor("self")?).is_float())])
}

fn device(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    args.tensor("a")?;
    Ok(vec![Item::Str(lower.device.0.clone())])
}

fn is_cuda(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    args.tensor("a")?;
    Ok(vec![Item::Bool(lower.device.0.starts_with("cuda"))])
}

fn is_complex(_: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    args.tensor("self")?;
    Ok(vec![Item::Bool(false)])
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::size(Tensor self) -> int[]",
            "aten::size.int(Tensor self, int dim) -> int",
            "aten::sym_size(Tensor self) -> SymInt[]",
            "aten::sym_size.int(Tensor self, int dim) -> SymInt",
        ],
        lower: size,
    },
    Def { schemas: &["aten::dim(Tensor self) -> int"], lower: dim },
    Def {
        schemas: &["aten::numel(Tensor self) -> int", "aten::sym_numel(Tensor self) -> SymInt"],
        lower: numel,
    },
    Def { schemas: &["aten::len.Tensor(Tensor t) -> int"], lower: len },
    Def { schemas: &["prim::dtype(Tensor a) -> int"], lower: dtype },
    Def { schemas: &["prim::device(Tensor a) -> Device"], lower: device },
    Def { schemas: &["prim::is_cuda(Tensor a) -> bool"], lower: is_cuda },
    Def { schemas: &["aten::is_floating_point(Tensor self) -> bool"], lower: is_floating_point },
    Def { schemas: &["aten::is_complex(Tensor self) -> bool"], lower: is_complex },
];
