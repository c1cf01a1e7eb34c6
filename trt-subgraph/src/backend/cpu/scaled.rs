//! Weights times a factor of fewer elements, as a folded batch norm leaves them: multiplied while they are packed, so that a refit goes
//! over them once.

use super::assemble::Assembler;
use super::view::{Slot, View};
use crate::DType;
use crate::network::expr::{Binary, Node};
use crate::network::{Expr, TensorType, ValueId};

/// A tensor as packings find it.
#[derive(Clone, Debug)]
pub struct Scaled {
    /// The tensor, not multiplied yet.
    pub view: View,
    /// What its elements are multiplied by, stretched to its shape. Both are f32.
    pub factor: Option<View>,
}

impl From<View> for Scaled {
    fn from(view: View) -> Scaled {
        Scaled { view, factor: None }
    }
}

impl Scaled {
    /// Both parts seen otherwise, in the same way.
    pub fn map(&self, f: impl Fn(&View) -> View) -> Scaled {
        Scaled { view: f(&self.view), factor: self.factor.as_ref().map(f) }
    }

    /// The same elements in row-major order under another shape, where strides can say it.
    pub fn reshape(&self, shape: &[usize]) -> Option<Scaled> {
        let factor = match &self.factor {
            Some(factor) => Some(factor.reshape(shape)?),
            None => None,
        };
        Some(Scaled { view: self.view.reshape(shape)?, factor })
    }

    /// What a step that reads it touches.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        [Some(self.view.slot), self.factor.as_ref().map(|f| f.slot)].into_iter().flatten()
    }

    /// Is one factor all that is multiplied along these axes?
    pub fn is_even_along(&self, mut axes: std::ops::Range<usize>) -> bool {
        self.factor.as_ref().is_none_or(|f| axes.all(|a| f.strides[a] == 0 || f.shape[a] == 1))
    }
}

impl Assembler<'_> {
    /// The product itself, in memory.
    pub fn multiplied(&mut self, from: Scaled) -> View {
        let Some(factor) = from.factor else { return from.view };
        let out = self.temporary(&from.view.ty(), &from.view.order());
        self.pointwise(&Expr::binary(Binary::Mul), &[DType::F32; 2], &[from.view, factor], out.clone());
        out
    }

    /// Puts off the multiplication that ends `value = expr(operands)`, where the other factor has fewer elements than the one that has all;
    /// emits the steps for that one. Whoever views the value has it multiplied.
    pub fn postpone(&mut self, value: ValueId, expr: &Expr, operands: &[View]) -> bool {
        let ty = self.network.ty(value).clone();
        let is_f32 = ty.dtype == DType::F32 && operands.iter().all(|v| v.dtype == DType::F32);
        if !self.postpones || !is_f32 || self.is_bound(value) {
            return false;
        }
        let Some((whole, factor)) = factors(expr, operands, &ty.shape) else { return false };
        let read: Vec<u32> = (factor.nodes.iter())
            .filter_map(|n| if let Node::Input(i) = n { Some(*i) } else { None })
            .collect();
        let inputs: Vec<View> = read.iter().map(|&i| operands[i as usize].clone()).collect();
        let place = |i: u32| read.iter().position(|&r| r == i).unwrap_or(0) as u32;
        let places: Vec<u32> = (0..operands.len() as u32).map(place).collect();
        let shape = stretched(&inputs);
        let small = match &inputs[..] {
            [one] if factor.nodes.len() == 1 => one.clone(),
            _ => {
                let order: Vec<usize> = (0..shape.len()).collect();
                let out = self.temporary(&TensorType::new(DType::F32, shape), &order);
                self.pointwise(
                    &factor.rename(&places),
                    &vec![DType::F32; inputs.len()],
                    &inputs,
                    out.clone(),
                );
                out
            }
        };
        let factor = Some(small.stretch(&ty.shape));
        self.postponed.insert(value, Scaled { view: operands[whole].clone(), factor });
        true
    }
}

/// The operand that has all elements of `shape`, and the expression by whose fewer results it is multiplied.
fn factors(expr: &Expr, operands: &[View], shape: &[usize]) -> Option<(usize, Expr)> {
    let Node::Binary(Binary::Mul, a, b) = *expr.nodes.last()? else { return None };
    let split = |whole: u32, other: u32| {
        let Node::Input(at) = expr.nodes[whole as usize] else { return None };
        let factor = expr.clone().finish(other);
        let read: Vec<View> = (operands.iter().enumerate())
            .filter(|(i, _)| factor.nodes.contains(&Node::Input(*i as u32)))
            .map(|(_, v)| v.clone())
            .collect();
        let fewer =
            !read.is_empty() && 2 * stretched(&read).iter().product::<usize>() <= shape.iter().product();
        (operands[at as usize].shape == shape && fewer).then_some((at as usize, factor))
    };
    split(a, b).or_else(|| split(b, a))
}

/// The shape to which tensors stretch.
fn stretched(views: &[View]) -> Vec<usize> {
    let rank = views.iter().map(View::rank).max().unwrap_or(0);
    let size = |from_end: usize| {
        let sizes = views.iter().filter_map(|v| v.shape.iter().rev().nth(from_end));
        sizes.copied().find(|&n| n != 1).unwrap_or(1)
    };
    (0..rank).rev().map(size).collect()
}
