//! Roundings that make no difference.

use super::{Binary, Expr, Node, Scalar};
use crate::DType;
use half::{bf16, f16};

impl Expr {
    /// Positions of the casts that storing the result as `stored`, a type of halves, makes needless: the last one, and one below bounds that
    /// are themselves numbers of that type. Nothing else reads what they give. `dtypes` are the nodes' types.
    pub fn rounded_later(&self, stored: DType, dtypes: &[DType]) -> Vec<usize> {
        let exact = |v: f64| match stored {
            DType::F16 => f16::from_f64(v).to_f64() == v,
            DType::BF16 => bf16::from_f64(v).to_f64() == v,
            _ => false,
        };
        let mut found = vec![];
        if !matches!(stored, DType::F16 | DType::BF16) || self.nodes.is_empty() {
            return found;
        }
        let mut uses = vec![0; self.nodes.len()];
        for node in &self.nodes {
            node.map(|r| {
                uses[r as usize] += 1;
                r
            });
        }
        let is_bound =
            |r: u32| matches!(self.nodes[r as usize], Node::Const(_, Scalar::Float(v)) if exact(v));
        let is_float = |r: u32| matches!(dtypes[r as usize], DType::F32 | DType::F16 | DType::BF16);
        let mut at = self.root();
        loop {
            let inner = match self.nodes[at as usize] {
                Node::Cast(to, x) if to == stored && is_float(x) => {
                    found.push(at as usize);
                    x
                }
                Node::Cast(DType::F32, x) if is_float(x) => x,
                Node::Binary(Binary::Max | Binary::Min, x, y) if is_float(at) && is_bound(y) => x,
                Node::Binary(Binary::Max | Binary::Min, x, y) if is_float(at) && is_bound(x) => y,
                _ => return found,
            };
            if uses[inner as usize] > 1 {
                return found;
            }
            at = inner;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(nodes: &[Node], stored: DType) -> Vec<usize> {
        let expr = Expr { nodes: nodes.to_vec() };
        let dtypes = expr.dtypes(&[DType::F32]).expect("well typed");
        expr.rounded_later(stored, &dtypes)
    }

    #[test]
    fn one_rounding_is_enough_below_bounds() {
        let bounded = |bound: f64, f| {
            vec![
                Node::Input(0),
                Node::Cast(DType::F16, 0),
                Node::Const(DType::F16, Scalar::Float(bound)),
                Node::Binary(f, 1, 2),
            ]
        };
        assert_eq!(found(&bounded(0.0, Binary::Max), DType::F16), [1]);
        assert_eq!(found(&bounded(6.0, Binary::Min), DType::F16), [1]);
        // A bound between two halves, another function, another type.
        assert!(found(&bounded(0.1, Binary::Max), DType::F16).is_empty());
        assert!(found(&bounded(0.0, Binary::Add), DType::F16).is_empty());
        assert!(found(&bounded(0.0, Binary::Max), DType::BF16).is_empty());
        assert!(found(&bounded(0.0, Binary::Max), DType::F32).is_empty());
        // The last one, and the one below it.
        let mut twice = bounded(0.0, Binary::Max);
        twice.extend([Node::Cast(DType::F32, 3), Node::Cast(DType::F16, 4)]);
        assert_eq!(found(&twice, DType::F16), [5, 1]);
        // What is rounded is read elsewhere too.
        let mut shared = bounded(0.0, Binary::Max);
        shared.extend([Node::Binary(Binary::Mul, 3, 1)]);
        assert!(found(&shared, DType::F16).is_empty());
        shared.pop();
        shared.extend([Node::Binary(Binary::Max, 1, 3)]);
        assert!(found(&shared, DType::F16).is_empty());
    }
}
