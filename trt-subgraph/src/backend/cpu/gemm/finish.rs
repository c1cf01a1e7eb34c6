//! The part of an epilogue that tiles do themselves: a bias, a residual, bounds.

use super::formula::Formula;
use super::window;
use crate::DType;
use crate::backend::cpu::assemble::{Assembler, Fault, Packing};
use crate::backend::cpu::kernel::bias;
use crate::backend::cpu::scaled::Scaled;
use crate::backend::cpu::step::{Address, place};
use crate::backend::cpu::view::{Slot, View};
use crate::network::expr::{Binary, Node, Scalar};
use crate::network::{Expr, Layer};

/// What is done to each sum, in this order. Tensors have the axes that tiles walk.
#[derive(Default)]
pub struct Finish {
    /// A vector along the columns, added; room for whole vectors is behind it.
    pub bias: Option<(Slot, isize)>,
    /// A tensor of the result's shape, added.
    pub residual: Option<View>,
    /// Bounds; NaN stays.
    pub clamp: Option<(f32, f32)>,
    /// Anything else, where there are no bounds.
    pub formula: Option<Formula>,
}

impl Finish {
    /// What tiles can do of a layer's epilogue, and what remains. `axis` has the columns; `positions` gives a tensor of the
    /// result's shape as tiles walk it, if they can. `narrow`: tiles can store bf16, too.
    pub fn split(
        a: &mut Assembler,
        layer: &Layer,
        axis: usize,
        (lanes, narrow): (usize, bool),
        positions: impl Fn(&View) -> Option<View>,
    ) -> Result<(Finish, Option<Expr>), Fault> {
        let mut out = Finish::default();
        let positions = |view: &View| positions(view).filter(|v| window::pitch(v).is_some());
        let mut rest = layer.epilogue.clone();
        let own = layer.kind.arity().unwrap_or(0);
        let result = a.network.ty(layer.outputs[0]).clone();
        let taken = |dtype| dtype == DType::F32 || narrow && dtype == DType::BF16;
        let types: Vec<DType> = layer.inputs.iter().map(|&v| a.network.ty(v).dtype).collect();
        let operands = [&types[..1], &types[own..]].concat();
        if !taken(result.dtype) || !types.iter().copied().all(taken) {
            return Ok((out, rest));
        }
        if let Some(expr) = rest.as_mut().filter(|_| narrow) {
            *expr = in_f32(expr, &operands, result.dtype);
            rest = rest.filter(|expr| *expr != Expr::identity());
        }
        if let Some((value, after)) = bias::split(a, layer, axis, rest.as_ref()) {
            let columns = result.shape[axis];
            let pack = move |a: &mut Assembler, from: Scaled, slot, offset| {
                let from = a.multiplied(from);
                let from = a.converted(from, DType::F32);
                let from = from.reshape(&[columns]).ok_or("a vector along the columns")?;
                a.copy(&from, View { slot, offset, strides: vec![1], ..from.clone() });
                Ok(())
            };
            let packing = Packing::new("line".into(), Box::new(pack));
            out.bias = Some(a.packed(value, columns.next_multiple_of(lanes) * 4 + lanes * 4, packing)?);
            rest = after;
        }
        if let Some((operand, after)) = rest.as_ref().and_then(bias::peel) {
            let value = layer.inputs[own + operand - 1];
            if a.network.ty(value) == &result
                && let Some(view) = positions(&a.view(value))
            {
                out.residual = Some(view);
                rest = after;
            }
        }
        if let Some(bounds) = rest.as_ref().and_then(bounds) {
            out.clamp = Some(bounds);
            rest = None;
        }
        if let Some(expr) = &rest {
            out.formula = Formula::new(a, layer, expr, axis, positions);
            rest = rest.filter(|_| out.formula.is_none());
        }
        let rest = rest.map(|expr| if narrow { widened(&expr, &operands, result.dtype) } else { expr });
        Ok((out, rest))
    }

    /// What a step with this finish stores: the result itself, which may be of bf16, where nothing remains to be done to it.
    pub fn stores(a: &Assembler, layer: &Layer, narrow: bool) -> DType {
        match a.network.ty(layer.outputs[0]).dtype {
            DType::BF16 if narrow => DType::BF16,
            _ => DType::F32,
        }
    }

    /// The slots that it reads.
    pub fn touches(&self) -> impl Iterator<Item = Slot> {
        let formula = self.formula.iter().flat_map(Formula::touches);
        self.bias.map(|b| b.0).into_iter().chain(self.residual.as_ref().map(|v| v.slot)).chain(formula)
    }

    /// Where bias and residual lie; null where there is none.
    pub fn addresses(&self, addresses: &[Address]) -> [Address; 2] {
        let null = Address::new(std::ptr::null_mut());
        let bias = self.bias.map_or(null, |(slot, offset)| place(addresses, slot, offset));
        [bias, self.residual.as_ref().map_or(null, |v| place(addresses, v.slot, v.offset))]
    }

    /// In words.
    pub fn describe(&self) -> String {
        let parts = [
            self.bias.map(|_| " + bias".to_string()),
            self.residual.as_ref().map(|_| " + residual".to_string()),
            self.clamp.map(|(low, high)| format!(", in {low}..{high}")),
            self.formula.as_ref().map(|f| format!(", {} operations", f.operations())),
        ];
        parts.into_iter().flatten().collect()
    }
}

/// An expression over operands of f32 and bf16 as one over the same in f32, for a result that is rounded to `result` when it is stored. What
/// rounds nothing, or what is rounded the same way later, is left out.
fn in_f32(expr: &Expr, operands: &[DType], result: DType) -> Expr {
    let dtypes = expr.dtypes(operands).expect("a verified expression");
    let is_float = |r: u32| matches!(dtypes[r as usize], DType::F32 | DType::BF16);
    let needless = if result == DType::BF16 { expr.rounded_later(result, &dtypes) } else { vec![] };
    let mut out = Expr::default();
    let mut places: Vec<u32> = Vec::with_capacity(expr.nodes.len());
    for (at, node) in expr.nodes.iter().enumerate() {
        let place = match *node {
            Node::Cast(DType::F32, x) if is_float(x) => places[x as usize],
            Node::Cast(DType::BF16, x) if needless.contains(&at) => places[x as usize],
            Node::Cast(DType::BF16, x) => {
                let rounded = out.push(Node::Cast(DType::BF16, places[x as usize]));
                out.push(Node::Cast(DType::F32, rounded))
            }
            Node::Const(DType::BF16, v) => out.push(Node::Const(DType::F32, v)),
            other => out.push(other.map(|r| places[r as usize])),
        };
        places.push(place);
    }
    let root = places[expr.root() as usize];
    out.finish(root)
}

/// The way back: an expression in f32 as one over operands of these types.
fn widened(expr: &Expr, operands: &[DType], result: DType) -> Expr {
    let mut out = Expr::default();
    let mut places: Vec<u32> = Vec::with_capacity(expr.nodes.len());
    for node in &expr.nodes {
        let mut place = out.push(node.map(|r| places[r as usize]));
        if let Node::Input(i) = *node
            && operands[i as usize] != DType::F32
        {
            place = out.push(Node::Cast(DType::F32, place));
        }
        places.push(place);
    }
    let root = places[expr.root() as usize];
    let root = if result == DType::F32 { root } else { out.push(Node::Cast(result, root)) };
    out.finish(root)
}

/// The bounds of an expression that holds input 0 between literals and does nothing else.
fn bounds(expr: &Expr) -> Option<(f32, f32)> {
    let (bounds, inner) = held(expr)?;
    (expr.nodes[inner as usize] == Node::Input(0)).then_some(bounds)
}

/// The literals between which an expression holds one of its nodes, infinite where it does not.
pub fn held(expr: &Expr) -> Option<((f32, f32), u32)> {
    let (mut low, mut high) = (f32::NEG_INFINITY, f32::INFINITY);
    let literal = |r: u32| match expr.nodes[r as usize] {
        Node::Const(DType::F32, Scalar::Float(v)) if !v.is_nan() => Some(v as f32),
        _ => None,
    };
    let mut at = expr.root();
    while let Node::Binary(f @ (Binary::Max | Binary::Min), x, y) = expr.nodes[at as usize] {
        let (inner, bound) = literal(y).map(|v| (x, v)).or_else(|| literal(x).map(|v| (y, v)))?;
        match f {
            Binary::Max if low == f32::NEG_INFINITY => low = bound,
            Binary::Min if high == f32::INFINITY => high = bound,
            _ => return None,
        }
        at = inner;
    }
    (low <= high).then_some(((low, high), at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::expr::Unary;

    fn with(f: Binary, inner: &Expr, bound: f64) -> Expr {
        let mut e = inner.clone();
        let x = e.root();
        let c = e.push(Node::Const(DType::F32, Scalar::Float(bound)));
        e.push(Node::Binary(f, x, c));
        e
    }

    #[test]
    fn bounds_of_rectifiers() {
        let relu = with(Binary::Max, &Expr::identity(), 0.0);
        assert_eq!(bounds(&relu), Some((0.0, f32::INFINITY)));
        assert_eq!(bounds(&with(Binary::Min, &relu, 6.0)), Some((0.0, 6.0)));
        assert_eq!(bounds(&with(Binary::Min, &relu, -1.0)), None);
        assert_eq!(bounds(&with(Binary::Max, &relu, f64::NAN)), None);
        assert_eq!(bounds(&with(Binary::Max, &Expr::unary(Unary::Neg), 0.0)), None);
    }

    #[test]
    fn roundings_that_storing_does_are_left_out_and_no_others() {
        let types = [DType::BF16, DType::F32, DType::BF16];
        let cases = [
            ("bf16(max(f32(i0) + i1, 0:f32))", "max(i0 + i1, 0:f32)"),
            ("max(bf16(bf16(i0 + bf16(i1)) + i2), 0:bf16)", "max(f32(bf16(i0 + f32(bf16(i1)))) + i2, 0:f32)"),
            ("max(bf16(f32(i0) + i1), 0.25:bf16)", "max(i0 + i1, 0.25:f32)"),
            ("max(bf16(f32(i0) + i1), 0.1:bf16)", "max(f32(bf16(i0 + i1)), 0.1:f32)"),
            ("t0 = bf16(f32(i0) + i1); max(t0, 0:bf16) * t0", "t0 = f32(bf16(i0 + i1)); max(t0, 0:f32) * t0"),
            ("f32(i0) + i1 + f32(i2)", "i0 + i1 + i2"),
            ("f32(i0 + i2) + i1", "i0 + i2 + i1"),
            ("f32(i0 < i2) + i1", "f32(i0 < i2) + i1"),
        ];
        let f32s = [DType::F32; 3];
        for (given, wanted) in cases {
            let expr = Expr::parse(given).unwrap_or_else(|e| panic!("{given}: {e:?}"));
            let result = *expr.dtypes(&types).expect("well typed").last().expect("a root");
            let found = in_f32(&expr, &types, result);
            found.dtypes(&f32s).unwrap_or_else(|e| panic!("{given}: {e:?}"));
            assert_eq!(found.to_string(), wanted, "{given}");
            let back = widened(&found, &types, result);
            assert_eq!(back.dtypes(&types).expect("well typed").last(), Some(&result), "{given}");
        }
    }
}
