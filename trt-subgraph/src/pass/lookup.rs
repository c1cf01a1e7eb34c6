//! Picked rows are multiplied before they are picked: a product of rows of a static table, an embedding, and static weights becomes
//! rows of the table times the weights, which `prepare` computes.
//!
//! ```text
//! x = gather(table, index)
//! y = matmul(x, w) + bias      =>   y = gather(matmul(table, w) + bias, index)
//! ```
//!
//! It is done where the new table is no larger than the weights that a call no longer reads.

use super::Pass;
use super::operands::joined;
use crate::network::{Draft, Edit, LayerKind, Patch};

pub(super) const PASS: Pass = Pass { name: "lookup", rule: |_| Box::new(rule) };

fn rule(draft: &Draft, at: usize) -> Option<Edit> {
    let layer = draft.layer(at);
    let LayerKind::MatMul { transpose_a: false, .. } = layer.kind else { return None };
    let result = layer.outputs[0];
    let picks = draft.producer(layer.inputs[0])?;
    let LayerKind::Gather { axis: 0, elements: false } = picks.kind else { return None };
    let table = picks.inputs[0];
    let shape = &draft.ty(table).shape;
    let fixed = |v| draft.is_static(v);
    let matrices = shape.len() == 2 && draft.ty(layer.inputs[1]).rank() == 2;
    if fixed(result) || !fixed(table) || !layer.inputs[1..].iter().all(|&v| fixed(v)) {
        return None;
    }
    if !matrices || shape[0] > shape[1] {
        return None;
    }
    let mut patch = Patch::new(draft, joined(&picks.origin, &layer.origin));
    let mut inputs = vec![table, layer.inputs[1]];
    for &v in &layer.inputs[2..] {
        // The same for every row.
        let row = match draft.ty(v).shape.split_last() {
            Some((&width, rest)) if rest.iter().all(|&n| n == 1) => vec![width],
            None => vec![],
            _ => return None,
        };
        inputs.push(patch.reshape(v, row).ok()?);
    }
    let wide = patch.fused(layer.kind.clone(), &inputs, layer.epilogue.clone()).ok()?[0];
    let new = patch.add(picks.kind.clone(), &[wide, picks.inputs[1]]).ok()?;
    patch.only(result, new)
}

#[cfg(test)]
mod tests {
    use crate::network::expr::{Binary, Node, Scalar};
    use crate::network::{Builder, Expr, LayerKind, Network};
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

    #[test]
    fn long_tables_and_what_differs_by_row_stay() {
        for network in [product(6, &[5]), product(3, &[3, 5])] {
            assert_eq!(check::run_kinds(&check::pass("lookup", network, true)), "pointwise gather matmul+");
        }
    }
}
