//! How every kernel ends: the epilogue on a value in registers, and its store.

use super::index::sum;
use super::scalar::{expression, storage_type};
use super::source::Draft;
use crate::DType;
use crate::backend::view::View;
use crate::network::Expr;
use std::fmt::Write;

/// Where results go, and what is done to them before.
#[derive(Clone, Debug)]
pub struct Tail {
    /// Where the results are stored.
    pub out: View,
    /// The epilogue; `None` stores the value itself.
    pub expr: Option<Expr>,
    /// The element types that the epilogue is written for: of the kind's own result, then of the operands.
    pub typing: Vec<DType>,
    /// The epilogue's further operands, stretched to the result's shape.
    pub operands: Vec<View>,
}

impl Tail {
    /// Stores values of the type that `out` computes in, as they are.
    pub fn plain(out: View) -> Tail {
        Tail { typing: vec![out.dtype], out, expr: None, operands: vec![] }
    }

    /// All tensors that it touches.
    pub fn views(&self) -> Vec<&View> {
        std::iter::once(&self.out).chain(&self.operands).collect()
    }

    /// Adds its parameters: `y`, and `e1`, `e2`, ... for the operands.
    pub fn parameters(&self, draft: &mut Draft) {
        draft.write("y", &self.out);
        for (i, view) in self.operands.iter().enumerate() {
            draft.read(&format!("e{}", i + 1), view);
        }
    }

    /// Code that ends with `value` (of the type that the kind's own result computes in) at these positions of the result, one for each
    /// axis.
    pub fn store(&self, value: &str, positions: &[String], index: &str) -> String {
        let mut code = String::new();
        let at = |v: &View| format!("({index})({})", sum(positions, &v.strides));
        let result = match &self.expr {
            None => value.to_string(),
            Some(expr) => {
                let mut inputs = vec![value.to_string()];
                for (i, view) in self.operands.iter().enumerate() {
                    let _ = writeln!(code, "const auto u{0} = get(e{0}[{1}]);", i + 1, at(view));
                    inputs.push(format!("u{}", i + 1));
                }
                let (steps, result) = expression(expr, &self.typing, &inputs, "t");
                code.push_str(&steps);
                result
            }
        };
        let _ = writeln!(code, "put(y[{}], {result});", at(&self.out));
        format!("{{\n{}}}\n", indent(&code))
    }

    /// The type of an element of the result in memory.
    pub fn out_type(&self) -> &'static str {
        storage_type(self.out.dtype)
    }
}

/// Every line four columns to the right.
pub fn indent(code: &str) -> String {
    code.lines()
        .map(|line| if line.is_empty() { "\n".to_string() } else { format!("    {line}\n") })
        .collect()
}
