//! How much of a layer's epilogue the library does.

use super::super::assemble::Assembler;
use super::ALIGNMENT;
use crate::DType;
use crate::network::Layer;
use crate::network::expr::{Binary, Expr, Node, Ref};

/// What becomes of the sums. Operands are named by their position among the layer's inputs.
#[derive(Clone, PartialEq, Debug)]
pub struct Ending {
    /// The operand that the library adds to each of our rows.
    pub bias: Option<usize>,
    /// The operand, as large as the result, that the library adds.
    pub addend: Option<usize>,
    /// The element type of the library's result.
    pub out: DType,
    /// What a kernel does to the library's result, which is its operand 0, with further ones.
    pub rest: Option<(Expr, Vec<usize>)>,
}

/// Inputs of a matrix product, after which its epilogue's operands follow.
const OWN: usize = 2;

impl Ending {
    /// All that can be left to the library first, then what any of its algorithms can do.
    pub fn of(a: &mut Assembler, layer: &Layer) -> Vec<Ending> {
        let (own, y) = (a.network.ty(layer.inputs[0]).dtype, a.network.ty(layer.outputs[0]).clone());
        let Some(expr) = &layer.epilogue else {
            return vec![Ending { bias: None, addend: None, out: own, rest: None }];
        };
        let columns = y.shape[y.rank() - 1];
        let mut of_row = Vec::new();
        let mut of_result = Vec::new();
        for &v in &layer.inputs[OWN..] {
            let ty = a.network.ty(v).clone();
            let fits = ty.dtype == own && own != DType::F64;
            of_row.push(fits && ty.shape.last() == Some(&columns) && ty.elements() == columns);
            of_result.push(
                fits && ty.shape == y.shape && !a.is_static(v) && {
                    let view = a.view(v);
                    view.is_row_major() && view.offset % ALIGNMENT as isize == 0 && !a.is_given(view.slot)
                },
            );
        }
        let mut typing = vec![own];
        typing.extend(layer.inputs[OWN..].iter().map(|&v| a.network.ty(v).dtype));
        let types = expr.dtypes(&typing).expect("a verified expression");
        // Where the result is stored in more than the sum's own type, so is the sum.
        let narrow = y.dtype == own || own == DType::F64;
        let plain = Ending {
            bias: None,
            addend: None,
            out: if narrow { own } else { DType::F32 },
            rest: Some((expr.clone(), (OWN..layer.inputs.len()).collect())),
        };
        let mut out = Vec::new();
        if y.dtype == own {
            out.extend(whole(expr, &types, &of_row, &of_result));
        }
        if narrow {
            out.extend(begun(expr, &types, &of_row));
        }
        let most = out.into_iter().next();
        most.into_iter().chain([plain]).collect()
    }
}

/// The epilogue as a sum of the product, a row and a tensor like the result, if it is one.
fn whole(expr: &Expr, types: &[DType], of_row: &[bool], of_result: &[bool]) -> Option<Ending> {
    let (mut sums, mut bias, mut addend) = (0, None, None);
    let mut open = vec![expr.root()];
    while let Some(at) = open.pop() {
        match expr.nodes[at as usize] {
            Node::Binary(Binary::Add, p, q) => open.extend([p, q]),
            // Sums are rounded at the end alone.
            Node::Cast(to, from) if at == expr.root() || widens(types[from as usize], to) => open.push(from),
            Node::Input(0) => sums += 1,
            Node::Input(i) if of_row[i as usize - 1] && bias.is_none() => bias = Some(i as usize - 1 + OWN),
            Node::Input(i) if of_result[i as usize - 1] && addend.is_none() => {
                addend = Some(i as usize - 1 + OWN);
            }
            _ => return None,
        }
    }
    (sums == 1 && (bias.is_some() || addend.is_some())).then_some(Ending {
        bias,
        addend,
        out: types[expr.root() as usize],
        rest: None,
    })
}

/// The epilogue as what follows the sum of the product and a row, if nothing else reads the product.
fn begun(expr: &Expr, types: &[DType], of_row: &[bool]) -> Option<Ending> {
    let position = |node: Node| expr.nodes.iter().position(|n| *n == node).map(|at| at as Ref);
    let product = position(Node::Input(0))?;
    let mut readers = (0..expr.nodes.len()).filter(|&at| reads(expr.nodes[at], product));
    let (sum, None) = (readers.next()?, readers.next()) else { return None };
    let Node::Binary(Binary::Add, p, q) = expr.nodes[sum] else { return None };
    let row = match (expr.nodes[p as usize], expr.nodes[q as usize]) {
        (Node::Input(0), Node::Input(i)) | (Node::Input(i), Node::Input(0)) if i > 0 => i,
        _ => return None,
    };
    if !of_row[row as usize - 1] {
        return None;
    }
    let mut rest = expr.clone();
    rest.nodes[sum] = Node::Input(0);
    let rest = rest.clone().finish(rest.root());
    let mut operands: Vec<u32> = rest
        .nodes
        .iter()
        .filter_map(|n| if let Node::Input(i) = n { Some(*i) } else { None })
        .filter(|i| *i > 0)
        .collect();
    operands.sort_unstable();
    operands.dedup();
    let mut names = vec![0; expr.arity().max(1)];
    for (new, &old) in operands.iter().enumerate() {
        names[old as usize] = new as u32 + 1;
    }
    Some(Ending {
        bias: Some(row as usize - 1 + OWN),
        addend: None,
        out: types[product as usize],
        rest: Some((rest.rename(&names), operands.iter().map(|&i| i as usize - 1 + OWN).collect())),
    })
}

/// Does a cast between these keep every number?
fn widens(from: DType, to: DType) -> bool {
    from == to || to == DType::F32 && matches!(from, DType::F16 | DType::BF16)
}

fn reads(node: Node, what: Ref) -> bool {
    let mut found = false;
    node.map(|r| {
        found |= r == what;
        r
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::expr::{Scalar, Unary};

    /// Pushes the nodes and gives the expression with the types of its nodes; every operand is a half.
    fn halves(nodes: &[Node]) -> (Expr, Vec<DType>) {
        let expr = Expr { nodes: nodes.to_vec() };
        let types = expr.dtypes(&[DType::F16; 3]).expect("well typed");
        (expr, types)
    }

    const WIDE: DType = DType::F32;

    #[test]
    fn sums_are_the_librarys() {
        // f16(f32(i1) + f32(i0 + i2))
        let (expr, types) = halves(&[
            Node::Input(0),
            Node::Input(2),
            Node::Binary(Binary::Add, 0, 1),
            Node::Cast(WIDE, 2),
            Node::Input(1),
            Node::Cast(WIDE, 4),
            Node::Binary(Binary::Add, 5, 3),
            Node::Cast(DType::F16, 6),
        ]);
        let ending = whole(&expr, &types, &[false, true], &[true, false]).expect("a sum");
        assert_eq!((ending.bias, ending.addend, ending.rest), (Some(3), Some(2), None));
        assert_eq!(
            whole(&expr, &types, &[false, true], &[false, false]),
            None,
            "an operand of another shape"
        );
    }

    #[test]
    fn a_sum_of_the_product_with_itself_is_none() {
        let (expr, types) = halves(&[Node::Input(0), Node::Input(1), Node::Binary(Binary::Add, 0, 0)]);
        assert_eq!(whole(&expr, &types, &[true], &[false]), None);
    }

    #[test]
    fn what_follows_a_row_is_left() {
        // exp(i0 + i1) * i2, then (i0 + i1) * (i0 - 1).
        let (expr, types) = halves(&[
            Node::Input(0),
            Node::Input(1),
            Node::Binary(Binary::Add, 0, 1),
            Node::Unary(Unary::Exp, 2),
            Node::Input(2),
            Node::Binary(Binary::Mul, 3, 4),
        ]);
        let ending = begun(&expr, &types, &[true, false]).expect("begins with a row");
        let (rest, operands) = ending.rest.expect("more follows");
        assert_eq!((ending.bias, operands, rest.arity()), (Some(2), vec![3], 2));
        assert_eq!(begun(&expr, &types, &[false, true]), None, "the first operand is no row");
        let mut merged = Expr::default();
        let x = merged.push(Node::Input(0));
        let b = merged.push(Node::Input(1));
        let sum = merged.push(Node::Binary(Binary::Add, x, b));
        let one = merged.push(Node::Const(DType::F16, Scalar::Float(1.0)));
        let far = merged.push(Node::Binary(Binary::Sub, x, one));
        merged.push(Node::Binary(Binary::Mul, sum, far));
        let types = merged.dtypes(&[DType::F16; 2]).expect("well typed");
        assert_eq!(begun(&merged, &types, &[true]), None);
    }
}
