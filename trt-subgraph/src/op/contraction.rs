//! Products of tensors with named axes, summed over the names that are not kept: what einsum and tensordot are made of.

use crate::DType;
use crate::network::expr::Binary;
use crate::network::layer::ReduceOp;
use crate::network::{Expr, LayerKind, ValueId};
use crate::source::{Lower, Refusal};

/// The name of an axis.
pub(super) type Label = u32;

/// A tensor with a name for each axis, none twice.
#[derive(Clone)]
pub(super) struct Labelled {
    /// The tensor.
    pub value: ValueId,
    /// Its axes' names.
    pub labels: Vec<Label>,
}

impl Labelled {
    fn has(&self, label: Label) -> bool {
        self.labels.contains(&label)
    }

    /// Summed over the axes whose names are not kept.
    pub(super) fn sum_but(self, lower: &mut Lower, keep: &[Label]) -> Result<Labelled, Refusal> {
        let gone = |label: &Label| !keep.contains(label);
        let axes: Vec<usize> = (0..self.labels.len()).filter(|&i| gone(&self.labels[i])).collect();
        if axes.is_empty() {
            return Ok(self);
        }
        let sum = LayerKind::Reduce { op: ReduceOp::Sum, axes, keep: false };
        let value = lower.add(sum, &[self.value])?;
        Ok(Labelled { value, labels: self.labels.into_iter().filter(|l| keep.contains(l)).collect() })
    }

    /// With its axes in this order, which names each of them once.
    pub(super) fn ordered(self, lower: &mut Lower, order: &[Label]) -> Result<ValueId, Refusal> {
        let at = |label| self.labels.iter().position(|l| l == label).expect("the order names every axis");
        lower.permute(self.value, order.iter().map(at).collect())
    }

    /// Without axes of one element that a partner stretches.
    fn without_stretched(self, lower: &mut Lower, partner: &Labelled) -> Result<Labelled, Refusal> {
        let shape = lower.shape(self.value).to_vec();
        let size =
            |label| partner.labels.iter().position(|&l| l == label).map(|i| lower.shape(partner.value)[i]);
        let stays = |i: usize| shape[i] != 1 || size(self.labels[i]).is_none_or(|n| n == 1);
        let kept: Vec<usize> = (0..shape.len()).filter(|&i| stays(i)).collect();
        let value = lower.reshape(self.value, kept.iter().map(|&i| shape[i]).collect::<Vec<_>>())?;
        Ok(Labelled { value, labels: kept.into_iter().map(|i| self.labels[i]).collect() })
    }
}

/// The product of two tensors, summed over the names that are not in `keep`. Axes of one name have one size, or one element.
pub(super) fn contract(
    lower: &mut Lower,
    a: Labelled,
    b: Labelled,
    keep: &[Label],
) -> Result<Labelled, Refusal> {
    let (a, b) = (a.clone().without_stretched(lower, &b)?, b.without_stretched(lower, &a)?);
    let of_a: Vec<Label> = [keep, &b.labels[..]].concat();
    let of_b: Vec<Label> = [keep, &a.labels[..]].concat();
    let (a, b) = (a.sum_but(lower, &of_a)?, b.sum_but(lower, &of_b)?);
    let (shared, rows): (Vec<Label>, Vec<Label>) = a.labels.iter().partition(|&&l| b.has(l));
    let (batch, inner): (Vec<Label>, Vec<Label>) = shared.into_iter().partition(|l| keep.contains(l));
    let columns: Vec<Label> = b.labels.iter().copied().filter(|&l| !a.has(l)).collect();
    let sizes = |lower: &Lower, of: &Labelled, names: &[Label]| -> Vec<usize> {
        let at = |l| of.labels.iter().position(|m| m == l).expect("a name of the tensor");
        names.iter().map(|l| lower.shape(of.value)[at(l)]).collect()
    };
    let (batch_sizes, inner_sizes) = (sizes(lower, &a, &batch), sizes(lower, &a, &inner));
    if batch_sizes != sizes(lower, &b, &batch) || inner_sizes != sizes(lower, &b, &inner) {
        return Err(Refusal::Invalid("axes of one name differ in size".into()));
    }
    let (row_sizes, column_sizes) = (sizes(lower, &a, &rows), sizes(lower, &b, &columns));
    let left = a.ordered(lower, &[&batch[..], &rows, &inner].concat())?;
    let right = b.ordered(lower, &[&batch[..], &inner, &columns].concat())?;
    let product = |sizes: &[usize]| sizes.iter().product::<usize>();
    let (n, k) = (product(&batch_sizes), product(&inner_sizes));
    let left = lower.reshape(left, [n, product(&row_sizes), k])?;
    let right = lower.reshape(right, [n, k, product(&column_sizes)])?;
    let out = if inner.is_empty() {
        lower.pointwise(Expr::binary(Binary::Mul), &[left, right])?
    } else {
        lower.add(LayerKind::MatMul { transpose_a: false, transpose_b: false }, &[left, right])?
    };
    let value = lower.reshape(out, [batch_sizes, row_sizes, column_sizes].concat())?;
    Ok(Labelled { value, labels: [batch, rows, columns].concat() })
}

/// Refuses operands of different types, or of `Bool`.
pub(super) fn one_numeric_type(
    lower: &Lower,
    arg: &'static str,
    operands: &[ValueId],
) -> Result<(), Refusal> {
    let first = operands.first().map(|&v| lower.dtype(v));
    let odd = |d: &DType| *d == DType::Bool || Some(*d) != first;
    match operands.iter().map(|&v| lower.dtype(v)).find(odd) {
        Some(found) => Err(Refusal::Dtype { arg, found }),
        None => Ok(()),
    }
}
