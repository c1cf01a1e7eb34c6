//! Runs of rows with a matrix each.

use super::tests::{Batch, ty};
use crate::network::LayerKind;
use crate::network::expr::{Binary, Unary};
use crate::network::{Expr, ValueId};
use crate::{DType, Literal};

impl Batch {
    /// A tensor that is computed in the call, of these values.
    fn computed(&mut self, dtype: DType, values: &[i64]) -> ValueId {
        let of = ty(dtype, &[values.len()]);
        let known = self.b.constant(Literal::from_i64(of.clone(), values.iter().copied()).expect("as many"));
        let x = self.b.input(of);
        let zero = self.b.add(LayerKind::Pointwise(Expr::binary(Binary::Sub)), &[x, x]).expect("well typed");
        self.b.add(LayerKind::Pointwise(Expr::binary(Binary::Add)), &[known, zero]).expect("well typed")
    }
}

#[test]
fn rows_meet_the_matrix_of_their_run() {
    let mut batch = Batch::default();
    for (dtype, [rows, k, n], offsets) in [
        (DType::F32, [70, 40, 50], &[10, 10, 43, 70][..]),
        (DType::F16, [9, 33, 70], &[2, 3, 9]),
        (DType::BF16, [200, 20, 20], &[64, 150]),
        (DType::F64, [20, 5, 3], &[0, 7, 20]),
        // Rows of no run, runs that overlap, runs that reach beyond the end or start before the first row.
        (DType::F32, [40, 17, 33], &[5, 20]),
        (DType::F32, [40, 17, 33], &[25, 10, 30]),
        (DType::F32, [40, 17, 33], &[30, 60, 90]),
        (DType::F32, [40, 17, 33], &[-4, 20, 40]),
        (DType::F32, [3, 0, 4], &[2, 3]),
        (DType::F32, [3, 4, 4], &[]),
    ] {
        for (turned, wide) in [(false, DType::I32), (true, DType::I64)] {
            let x = batch.b.input(ty(dtype, &[rows, k]));
            let w = [offsets.len(), if turned { n } else { k }, if turned { k } else { n }];
            let mut w = batch.b.input(ty(dtype, &w));
            if turned {
                w = batch.b.add(LayerKind::Permute { axes: vec![0, 2, 1] }, &[w]).expect("well typed");
            }
            let offsets = batch.computed(wide, offsets);
            let end = turned.then(|| Expr::unary(Unary::Tanh));
            let y = batch.b.fused(LayerKind::GroupedMatMul, &[x, w, offsets], end).expect("well typed");
            batch.outputs.extend(y);
        }
    }
    batch.agrees();
}
