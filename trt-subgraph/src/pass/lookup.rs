//! Picked rows are multiplied before they are picked: a product of rows of static tables, embeddings, and static weights becomes rows of
//! the tables times the weights, which `prepare` computes.
//!
//! ```text
//! x = gather(table, index)
//! y = matmul(x, w) + bias           =>   y = gather(matmul(table, w) + bias, index)
//!
//! x = concat(gather(t, i), gather(u, j))
//! y = relu(matmul(x, [w; v]) + b)   =>   y = relu(gather(matmul(t, w), i) + gather(matmul(u, v), j) + b)
//! ```
//!
//! One table is done where the new one is no larger than the weights that a call no longer reads. Larger ones, and several, where
//! [`Options::table_bytes`] allow: the call trades products for memory.

use super::operands::{Formula, RESULT, joined};
use super::{Options, Pass};
use crate::network::expr::Binary;
use crate::network::layer::Range;
use crate::network::{Draft, Edit, Expr, Layer, LayerKind, Patch, ValueId};

pub(super) const PASS: Pass = Pass {
    name: "lookup",
    rule: |options: &Options| {
        let bytes = options.table_bytes;
        Box::new(move |draft, at| rule(draft, at, bytes))
    },
};

/// Terms of a sum from which on reading what it gives costs less than adding it up: 4 bytes of memory take as long as 20 terms at
/// 150 billion operations and 15 GB a second.
const LEAST_TERMS: usize = 32;

fn rule(draft: &Draft, at: usize, bytes: usize) -> Option<Edit> {
    let layer = draft.layer(at);
    let LayerKind::MatMul { transpose_a: false, transpose_b } = layer.kind else { return None };
    let weights = draft.ty(layer.inputs[1]);
    let fixed = |v| draft.is_static(v);
    // What the epilogue reads is the same for every row.
    let same = |&v: &ValueId| fixed(v) && draft.ty(v).shape.iter().rev().skip(1).all(|&n| n == 1);
    if fixed(layer.outputs[0]) || !fixed(layer.inputs[1]) || weights.rank() != 2 {
        return None;
    }
    if !layer.inputs[2..].iter().all(same) {
        return None;
    }
    let (terms, width) = match transpose_b {
        true => (weights.shape[1], weights.shape[0]),
        false => (weights.shape[0], weights.shape[1]),
    };
    let picks = picks(draft, layer.inputs[0])?;
    let rows: usize = picks.iter().map(|p| draft.ty(p.inputs[0]).shape[0]).sum();
    let affordable = rows * width * weights.dtype.size() <= bytes && terms >= LEAST_TERMS;
    match &picks[..] {
        [alone] if rows <= terms || affordable => one(draft, layer, alone),
        [_, _, ..] if affordable && weights.dtype.size() >= 4 => several(draft, layer, &picks),
        _ => None,
    }
}

/// The layers that pick rows of static tables of which the rows of `x` are put together.
fn picks(draft: &Draft, x: ValueId) -> Option<Vec<&Layer>> {
    let pick = |v: ValueId| {
        let picks = draft.producer(v)?;
        let is_row = matches!(picks.kind, LayerKind::Gather { axis: 0, elements: false });
        let table = *picks.inputs.first()?;
        (is_row && draft.is_static(table) && draft.ty(table).rank() == 2).then_some(picks)
    };
    if let Some(alone) = pick(x) {
        return Some(vec![alone]);
    }
    let mut whole = draft.producer(x)?;
    if let LayerKind::Reshape { .. } = whole.kind {
        let from = whole.inputs[0];
        if draft.ty(from).shape.last() != draft.ty(x).shape.last() {
            return None;
        }
        whole = draft.producer(from)?;
    }
    let last = draft.ty(whole.outputs[0]).rank().checked_sub(1)?;
    match whole.kind {
        LayerKind::Concat { axis } if axis == last => whole.inputs.iter().map(|&v| pick(v)).collect(),
        _ => None,
    }
}

/// The product of rows of one table.
fn one(draft: &Draft, layer: &Layer, picks: &Layer) -> Option<Edit> {
    let mut patch = Patch::new(draft, joined(&picks.origin, &layer.origin));
    let mut inputs = vec![picks.inputs[0], layer.inputs[1]];
    for &v in &layer.inputs[2..] {
        inputs.push(row(&mut patch, v)?);
    }
    let wide = patch.fused(layer.kind.clone(), &inputs, layer.epilogue.clone()).ok()?[0];
    let new = patch.add(picks.kind.clone(), &[wide, picks.inputs[1]]).ok()?;
    patch.only(layer.outputs[0], new)
}

/// The product of rows of several tables, side by side.
fn several(draft: &Draft, layer: &Layer, picks: &[&Layer]) -> Option<Edit> {
    let LayerKind::MatMul { transpose_b, .. } = layer.kind else { return None };
    let mut patch = Patch::new(draft, &layer.origin);
    let (mut sum, mut values, mut start) = (Expr::identity(), Vec::new(), 0);
    for (i, picks) in picks.iter().enumerate() {
        let len = draft.ty(picks.inputs[0]).shape[1];
        let mut ranges: Vec<Range> =
            draft.ty(layer.inputs[1]).shape.iter().map(|&n| Range::full(n)).collect();
        ranges[transpose_b as usize] = Range { start, step: 1, len };
        let weights = patch.add(LayerKind::Slice { ranges }, &[layer.inputs[1]]).ok()?;
        let wide = patch.add(layer.kind.clone(), &[picks.inputs[0], weights]).ok()?;
        values.push(patch.add(picks.kind.clone(), &[wide, picks.inputs[1]]).ok()?);
        if i > 0 {
            let add = Expr::binary(Binary::Add);
            sum =
                add.compose(&[(&sum, &(0..i as u32).collect::<Vec<_>>()), (&Expr::identity(), &[i as u32])]);
        }
        start += len;
    }
    let mut formula = Formula::of_epilogue(layer)?;
    for v in &mut formula.values[1..] {
        *v = row(&mut patch, *v)?;
    }
    let sum = Formula { expr: sum, values };
    let fused = formula.inline(|v| (v == RESULT).then(|| sum.clone()));
    if !fused.fits() {
        return None;
    }
    let rows = patch.pointwise(fused.expr, &fused.values).ok()?;
    let new = patch.reshape(rows, draft.ty(layer.outputs[0]).shape.clone()).ok()?;
    patch.only(layer.outputs[0], new)
}

/// What is the same for every row, as one.
fn row(patch: &mut Patch, v: ValueId) -> Option<ValueId> {
    let shape = patch.ty(v).shape.last().map(|&width| vec![width]).unwrap_or_default();
    patch.reshape(v, shape).ok()
}

#[cfg(test)]
mod tests {
    use crate::network::expr::{Binary, Node, Scalar, Unary};
    use crate::network::{Builder, Expr, LayerKind, Network};
    use crate::pass::Options;
    use crate::pass::check::{self, f32s};
    use crate::{DType, TensorType};

    /// `table[rows, 4]` at an index of shape `[2, 3]`, times a weight, and a bias of this shape.
    fn product(rows: usize, bias: &[usize]) -> Network {
        let mut b = Builder::new();
        let index = b.input(TensorType::new(DType::I64, [2, 3]));
        let size = Node::Const(DType::I64, Scalar::Int(rows as i64));
        let inside = Expr { nodes: vec![Node::Input(0), size, Node::Binary(Binary::Rem, 0, 1)] };
        let index = b.add(LayerKind::Pointwise(inside), &[index]).unwrap();
        let table = b.parameter("table", f32s(&[rows, 4]));
        let (w, bias) = (b.parameter("w", f32s(&[5, 4])), b.parameter("bias", f32s(bias)));
        let x = b.add(LayerKind::Gather { axis: 0, elements: false }, &[table, index]).unwrap();
        let kind = LayerKind::MatMul { transpose_a: false, transpose_b: true };
        let y = b.fused(kind, &[x, w, bias], Some(Expr::binary(Binary::Add))).unwrap();
        b.finish(y)
    }

    #[test]
    fn short_tables_are_multiplied_ahead() {
        let out = check::pass("lookup", product(3, &[1, 5]), true);
        assert_eq!(check::run_kinds(&out), "pointwise gather");
    }

    /// `relu([user[rows, 24], item[2 rows, 16]] w + bias)`, the rows put together in shape `[2, 3, 40]` and reshaped to `[6, 40]`.
    fn two_tables(rows: usize, transpose_b: bool) -> Network {
        let mut b = Builder::new();
        let mut parts = Vec::new();
        for (i, (rows, width)) in [(rows, 24), (2 * rows, 16)].into_iter().enumerate() {
            let index = b.input(TensorType::new(DType::I64, [2, 3]));
            let size = Node::Const(DType::I64, Scalar::Int(rows as i64));
            let inside = Expr { nodes: vec![Node::Input(0), size, Node::Binary(Binary::Rem, 0, 1)] };
            let index = b.add(LayerKind::Pointwise(inside), &[index]).unwrap();
            let table = b.parameter(format!("table {i}"), f32s(&[rows, width]));
            parts.push(b.add(LayerKind::Gather { axis: 0, elements: false }, &[table, index]).unwrap());
        }
        let x = b.add(LayerKind::Concat { axis: 2 }, &parts).unwrap();
        let x = b.add(LayerKind::Reshape { shape: vec![6, 40] }, &[x]).unwrap();
        let w = b.parameter("w", f32s(if transpose_b { &[5, 40] } else { &[40, 5] }));
        let bias = b.parameter("bias", f32s(&[1, 5]));
        let epilogue = Expr {
            nodes: vec![
                Node::Input(0),
                Node::Input(1),
                Node::Binary(Binary::Add, 0, 1),
                Node::Unary(Unary::Tanh, 2),
            ],
        };
        let y = b
            .fused(LayerKind::MatMul { transpose_a: false, transpose_b }, &[x, w, bias], Some(epilogue))
            .unwrap();
        b.finish(y)
    }

    #[test]
    fn several_tables_are_multiplied_where_memory_allows() {
        for (transpose_b, bytes, kinds) in [
            (true, 3 * 4 * 5 * 4, "pointwise pointwise gather gather pointwise reshape"),
            (false, 3 * 4 * 5 * 4, "pointwise pointwise gather gather pointwise reshape"),
            (true, 3 * 4 * 5 * 4 - 1, "pointwise gather pointwise gather concat reshape matmul+"),
        ] {
            let options = Options { table_bytes: bytes, ..Options::default() };
            let out = check::pass_with("lookup", two_tables(4, transpose_b), &options, false);
            assert_eq!(check::run_kinds(&out), kinds);
        }
    }

    #[test]
    fn long_tables_and_what_differs_by_row_stay() {
        for network in [product(6, &[5]), product(3, &[3, 5])] {
            assert_eq!(check::run_kinds(&check::pass("lookup", network, true)), "pointwise gather matmul+");
        }
    }
}
