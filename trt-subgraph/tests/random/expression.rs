//! Random pointwise layers and epilogues.

use super::Generator;
use super::shapes::Proposal;
use trt_subgraph::network::expr::{Binary, Expr, Node, Ref, Scalar, Unary};
use trt_subgraph::network::ty::broadcast;
use trt_subgraph::network::{LayerKind, ValueId};
use trt_subgraph::{DType, TensorType};

/// Functions that keep small errors small.
const SMOOTH: [Unary; 5] = [Unary::Tanh, Unary::Sigmoid, Unary::Neg, Unary::Abs, Unary::Erf];

/// Functions of floats that compute nothing new, or jump.
const EXACT: [Unary; 7] =
    [Unary::Neg, Unary::Abs, Unary::Sign, Unary::Floor, Unary::Ceil, Unary::Round, Unary::Trunc];

impl Generator {
    /// An expression over one to three tensors that broadcast.
    pub(super) fn pointwise(&mut self) -> Option<Proposal> {
        let first = self.any();
        let mut inputs = vec![first];
        let mut shape = self.ty(first).shape;
        for _ in 0..self.random.below(3) {
            let v = self.partner(&shape);
            if let Some(both) = broadcast([&shape[..], &self.ty(v).shape]) {
                shape = both;
                inputs.push(v);
            }
        }
        let exact = self.all_exact(&inputs);
        let types: Vec<TensorType> = inputs.iter().map(|&v| self.ty(v)).collect();
        let dtypes: Vec<DType> = types.iter().map(|t| t.dtype).collect();
        let jumps = exact && self.random.chance(0.5);
        let expr = self.expression(&dtypes, jumps, exact);
        Some(Proposal { kind: LayerKind::Pointwise(expr), inputs, keeps_exact: jumps })
    }

    /// An expression over a result and up to two tensors that broadcast to it.
    pub(super) fn epilogue(&mut self, result: &TensorType) -> (Expr, Vec<ValueId>) {
        let mut more = Vec::new();
        for _ in 0..self.random.below(3) {
            let v = self.partner(&result.shape);
            if broadcast([&result.shape[..], &self.ty(v).shape]).as_deref() == Some(&result.shape) {
                more.push(v);
            }
        }
        let dtypes: Vec<DType> =
            std::iter::once(result.dtype).chain(more.iter().map(|&v| self.ty(v).dtype)).collect();
        (self.expression(&dtypes, false, false), more)
    }

    /// A tensor that likely broadcasts with `shape`: one that exists, or a new one.
    fn partner(&mut self, shape: &[usize]) -> ValueId {
        if self.random.chance(0.6) {
            for _ in 0..8 {
                let v = self.any();
                if broadcast([shape, &self.ty(v).shape]).is_some() {
                    return v;
                }
            }
        }
        let skip = self.random.below(shape.len() + 1);
        let sizes =
            shape[skip..].iter().map(|&n| if self.random.chance(0.4) { 1 } else { n }).collect::<Vec<_>>();
        let dtype = self.any_type().dtype;
        self.source(TensorType::new(dtype, sizes), None)
    }

    /// A few steps over operands of these types; those of other types than the first are converted where that is sound.
    fn expression(&mut self, dtypes: &[DType], jumps: bool, exact: bool) -> Expr {
        let mut e = Expr::default();
        let to = dtypes[0];
        let mut at: Vec<Ref> = vec![e.push(Node::Input(0))];
        for (i, &d) in dtypes.iter().enumerate().skip(1) {
            let input = e.push(Node::Input(i as u32));
            if d == to {
                at.push(input);
            } else if to.is_float() || !d.is_float() || exact {
                at.push(e.push(Node::Cast(to, input)));
            }
        }
        for _ in 0..1 + self.random.below(4) {
            let (a, b) = (*self.random.pick(&at), *self.random.pick(&at));
            let step = self.step(&mut e, to, a, b, jumps);
            at.push(e.push(step));
        }
        let root = *at.last().expect("there is an operand");
        e.finish(root)
    }

    fn step(&mut self, e: &mut Expr, d: DType, a: Ref, b: Ref, jumps: bool) -> Node {
        let binary = |r: &mut Self, from: &[Binary]| Node::Binary(*r.random.pick(from), a, b);
        let compare = [Binary::Eq, Binary::Ne, Binary::Lt, Binary::Le, Binary::Gt, Binary::Ge];
        if d == DType::Bool {
            return match self.random.below(3) {
                0 => Node::Unary(Unary::Not, a),
                1 => binary(self, &compare),
                _ => binary(
                    self,
                    &[Binary::And, Binary::Or, Binary::Xor, Binary::Add, Binary::Mul, Binary::Max],
                ),
            };
        }
        let choice = self.random.below(4);
        if choice == 0 && (jumps || d.is_int()) {
            let condition = binary(self, &compare);
            return Node::Select(e.push(condition), b, a);
        }
        if d.is_int() {
            const ANY: [Binary; 8] = [
                Binary::Add,
                Binary::Sub,
                Binary::Mul,
                Binary::Max,
                Binary::Min,
                Binary::And,
                Binary::Or,
                Binary::Xor,
            ];
            const BY_CONSTANT: [Binary; 6] =
                [Binary::FloorDiv, Binary::TruncDiv, Binary::Rem, Binary::Fmod, Binary::Shl, Binary::Shr];
            return match choice {
                1 => Node::Unary(*self.random.pick(&[Unary::Neg, Unary::Abs, Unary::Sign, Unary::Not]), a),
                2 => {
                    let constant = e.push(Node::Const(d, Scalar::Int(1 + self.random.below(4) as i64)));
                    Node::Binary(*self.random.pick(&BY_CONSTANT), a, constant)
                }
                _ => binary(self, &ANY),
            };
        }
        match (choice, jumps) {
            (1, true) => Node::Unary(*self.random.pick(&EXACT), a),
            (_, true) => binary(self, &[Binary::Max, Binary::Min]),
            (1, false) => Node::Unary(*self.random.pick(&SMOOTH), a),
            (2, false) => {
                let value = [0.5, -1.5, 0.0, 1.0, 2.0][self.random.below(5)];
                let constant = e.push(Node::Const(d, Scalar::Float(value)));
                let f = *self.random.pick(&[Binary::Add, Binary::Mul, Binary::Max, Binary::Min, Binary::Sub]);
                Node::Binary(f, a, constant)
            }
            (_, false) => binary(self, &[Binary::Add, Binary::Sub, Binary::Mul, Binary::Max, Binary::Min]),
        }
    }
}
