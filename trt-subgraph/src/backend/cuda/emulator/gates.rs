//! Products of few rows with the gates that read them, as recurrent cells and gated layers have them.

use super::super::kernel::gated;
use super::tests::{agrees, ty};
use crate::DType;
use crate::network::expr::{Binary, Node, Scalar, Unary};
use crate::network::layer::Range;
use crate::network::{Builder, Expr, LayerKind, ValueId};

/// What a step of a recurrent cell reads and how large it is.
struct Cell {
    dtype: DType,
    rows: usize,
    inputs: usize,
    units: usize,
    /// Are weights given as `[N, K]`?
    transposed: bool,
    /// Are they the same in every call?
    fixed: bool,
}

impl Cell {
    fn weight(&self, b: &mut Builder, name: &str, k: usize, n: usize) -> ValueId {
        let ty = ty(self.dtype, &if self.transposed { [n, k] } else { [k, n] });
        if self.fixed { b.parameter(name, ty) } else { b.input(ty) }
    }

    fn product(&self, b: &mut Builder, x: ValueId, w: ValueId, more: ValueId) -> ValueId {
        let kind = LayerKind::MatMul { transpose_a: false, transpose_b: self.transposed };
        let sum = Expr::binary(Binary::Add);
        b.fused(kind, &[x, w, more], Some(sum)).expect("well typed")[0]
    }

    fn columns(&self, b: &mut Builder, v: ValueId, start: usize) -> ValueId {
        let mut ranges: Vec<Range> = b.ty(v).shape.iter().map(|&n| Range::full(n)).collect();
        *ranges.last_mut().expect("a matrix") = Range { start, step: 1, len: self.units };
        b.add(LayerKind::Slice { ranges }, &[v]).expect("well typed")
    }

    /// The part of the gates that an input gives.
    fn part(&self, b: &mut Builder) -> ValueId {
        let x = b.input(ty(self.dtype, &[1, self.rows, self.inputs]));
        let w = self.weight(b, "w", self.inputs, 4 * self.units);
        let bias = b.parameter("bias", ty(self.dtype, &[4 * self.units]));
        self.product(b, x, w, bias)
    }

    /// Four gates on a part and a product that adds it; gives the hidden and the cell state.
    fn lstm(&self, b: &mut Builder, part: ValueId) -> [ValueId; 2] {
        let Cell { dtype, rows, units, .. } = *self;
        let (hidden, last) = (b.input(ty(dtype, &[rows, units])), b.input(ty(dtype, &[rows, units])));
        let w = self.weight(b, "u", units, 4 * units);
        let part = b.add(LayerKind::Reshape { shape: vec![rows, 4 * units] }, &[part]).expect("well typed");
        let sum = self.product(b, hidden, w, part);
        let [i, f, g, o] = [0, 1, 2, 3].map(|gate| self.columns(b, sum, gate * units));
        let mut e = Expr::default();
        let [i_, f_, g_, c_] = [0, 1, 2, 3].map(|at| e.push(Node::Input(at)));
        let [i_, f_] = [i_, f_].map(|v| e.push(Node::Unary(Unary::Sigmoid, v)));
        let g_ = e.push(Node::Unary(Unary::Tanh, g_));
        let (kept, new) =
            (e.push(Node::Binary(Binary::Mul, f_, c_)), e.push(Node::Binary(Binary::Mul, i_, g_)));
        let sum = e.push(Node::Binary(Binary::Add, kept, new));
        let cell = b.add(LayerKind::Pointwise(e.finish(sum)), &[i, f, g, last]).expect("well typed");
        let mut e = Expr::default();
        let [o_, c_] = [0, 1].map(|at| e.push(Node::Input(at)));
        let (o_, c_) = (e.push(Node::Unary(Unary::Sigmoid, o_)), e.push(Node::Unary(Unary::Tanh, c_)));
        let product = e.push(Node::Binary(Binary::Mul, o_, c_));
        let hidden = b.add(LayerKind::Pointwise(e.finish(product)), &[o, cell]).expect("well typed");
        [hidden, cell]
    }
}

/// Gates and the products that they read are one kernel, whatever the sizes, and wherever the weights come from.
#[test]
fn gates_with_their_products() {
    for (dtype, rows, inputs, units, transposed, fixed) in [
        (DType::F32, 1, 512, 160, true, true),
        (DType::F16, 3, 48, 33, true, true),
        (DType::BF16, 2, 1160, 20, false, true),
        (DType::F64, 8, 7, 5, true, false),
        (DType::F32, 1, 40, 24, false, false),
    ] {
        let cell = Cell { dtype, rows, inputs, units, transposed, fixed };
        let mut b = Builder::new();
        let part = cell.part(&mut b);
        let outputs = cell.lstm(&mut b, part);
        let network = b.finish(outputs.to_vec());
        let found = gated::find(&network.split().run, &Default::default());
        assert_eq!(found.len(), 1, "{network}");
        let group = found.values().next().expect("one");
        assert_eq!((group.products.len(), group.gates.len(), group.starts.concat().len()), (2, 2, 8));
        agrees(&network);
    }
}

/// A part of the gates may be rows of a table, whose positions are computed.
#[test]
fn gates_of_picked_rows() {
    for (dtype, rows, units) in [(DType::F32, 1, 40), (DType::F16, 3, 9)] {
        let cell = Cell { dtype, rows, inputs: units, units, transposed: true, fixed: true };
        let mut b = Builder::new();
        let table = b.parameter("table", ty(dtype, &[7, 4 * units]));
        let index = b.input(ty(DType::I64, &[1, rows]));
        let one = Node::Const(DType::I64, Scalar::Int(1));
        let next = Expr { nodes: vec![Node::Input(0), one, Node::Binary(Binary::Add, 0, 1)] };
        let index = b.add(LayerKind::Pointwise(next), &[index]).expect("well typed");
        let kind = LayerKind::Gather { axis: 0, elements: false };
        let part = b.add(kind, &[table, index]).expect("well typed");
        let outputs = cell.lstm(&mut b, part);
        let network = b.finish(outputs.to_vec());
        let found = gated::find(&network.split().run, &Default::default());
        assert_eq!(found.values().next().map(|group| group.lookups.len()), Some(1), "{network}");
        agrees(&network);
    }
}

/// Two halves of one product that are multiplied, and two products of which one epilogue is a relu, as a gated layer has them.
#[test]
fn gates_of_halves_and_of_two_products() {
    let cell = Cell { dtype: DType::F16, rows: 4, inputs: 64, units: 24, transposed: true, fixed: true };
    let mut b = Builder::new();
    let x = b.input(ty(DType::F16, &[4, 64]));
    let bias = b.parameter("bias", ty(DType::F16, &[48]));
    let w = cell.weight(&mut b, "w", 64, 48);
    let y = cell.product(&mut b, x, w, bias);
    let halves = [0, 24].map(|start| cell.columns(&mut b, y, start));
    let gated = b.add(LayerKind::Pointwise(Expr::binary(Binary::Mul)), &halves).expect("well typed");
    let bias = b.parameter("other bias", ty(DType::F16, &[1]));
    let [left, right] = ["v", "u"].map(|name| {
        let w = cell.weight(&mut b, name, 24, 30);
        cell.product(&mut b, gated, w, bias)
    });
    let sum = b.add(LayerKind::Pointwise(Expr::binary(Binary::Mul)), &[left, right]).expect("well typed");
    let network = b.finish(vec![gated, sum]);
    assert_eq!(gated::find(&network.split().run, &Default::default()).len(), 2, "{network}");
    agrees(&network);
}

/// What others read of a product has to be in memory: it stays a layer of its own.
#[test]
fn products_that_others_read_stay() {
    let cell = Cell { dtype: DType::F32, rows: 1, inputs: 64, units: 24, transposed: true, fixed: true };
    let mut b = Builder::new();
    let x = b.input(ty(DType::F32, &[1, 64]));
    let bias = b.parameter("bias", ty(DType::F32, &[48]));
    let w = cell.weight(&mut b, "w", 64, 48);
    let y = cell.product(&mut b, x, w, bias);
    let halves = [0, 24].map(|start| cell.columns(&mut b, y, start));
    let gated = b.add(LayerKind::Pointwise(Expr::binary(Binary::Mul)), &halves).expect("well typed");
    let network = b.finish(vec![gated, halves[1]]);
    assert_eq!(gated::find(&network.split().run, &Default::default()).len(), 0, "{network}");
    agrees(&network);
}
