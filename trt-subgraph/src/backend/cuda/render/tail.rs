//! How every kernel ends: the epilogue on a value in registers, and its store.

use super::index::sum;
use super::scalar::{expression_for, storage_type};
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
    /// That operand's number whose packs the kernel itself has brought near, and code for the place of the one at hand.
    pub brought: Option<(usize, String)>,
    /// Code for the place that the pack of results at hand is put into, rather than where it is stored.
    pub kept: Option<String>,
}

impl Tail {
    /// Stores values of the type that `out` computes in, as they are.
    pub fn plain(out: View) -> Tail {
        Tail::of(out.clone(), None, vec![out.dtype], vec![])
    }

    /// With the epilogue `expr`, which was written for these element types, and its operands.
    pub fn of(out: View, expr: Option<Expr>, typing: Vec<DType>, operands: Vec<View>) -> Tail {
        Tail { out, expr, typing, operands, brought: None, kept: None }
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
        let (mut code, result) = self.value("e", value, positions, index);
        let _ = writeln!(code, "put(y[({index})({})], {result});", sum(positions, &self.out.strides));
        format!("{{\n{}}}\n", indent(&code))
    }

    /// Code for the epilogue of `value` at these positions, and its result; the operands are the parameters `{stem}1`, `{stem}2`, ...
    pub fn value(&self, stem: &str, value: &str, positions: &[String], index: &str) -> (String, String) {
        let Some(expr) = &self.expr else { return (String::new(), value.to_string()) };
        let mut code = String::new();
        let mut inputs = vec![value.to_string()];
        for (i, view) in self.operands.iter().enumerate() {
            let (name, at) = (i + 1, sum(positions, &view.strides));
            let _ = writeln!(code, "const auto u{name} = get({stem}{name}[({index})({at})]);");
            inputs.push(format!("u{name}"));
        }
        let (steps, result) = expression_for(self.out.dtype, expr, &self.typing, &inputs, "t");
        code.push_str(&steps);
        (code, result)
    }

    /// How many neighbours along `axis` of the result one access stores: as 16 bytes hold, where they lie side by side.
    pub fn pack(&self, axis: usize) -> usize {
        let mut pack = 16 / self.out.dtype.size();
        while pack > 1 && !(self.out.shape[axis].is_multiple_of(pack) && in_runs(&self.out, axis, pack)) {
            pack /= 2;
        }
        pack
    }

    /// [`Tail::parameters`] for [`Tail::store_packed`].
    pub fn parameters_packed(&self, draft: &mut Draft, axis: usize, pack: usize) {
        if self.kept.is_none() {
            draft.write("y", &self.out);
            draft.aligned(pack * self.out.dtype.size());
        }
        let all = self.operands.iter().enumerate();
        for (i, view) in all.filter(|(i, _)| self.place_brought(*i).is_none()) {
            draft.read(&format!("e{}", i + 1), view);
            if in_runs(view, axis, pack) {
                draft.aligned(pack * view.dtype.size());
            }
        }
    }

    /// Code that ends with the `pack` values of the array `values` at these positions, and the next ones along `axis`.
    pub fn store_packed(
        &self,
        values: &str,
        positions: &[String],
        along: (usize, usize),
        index: &str,
    ) -> String {
        let mut code = String::new();
        let mut inputs = vec![];
        for (i, view) in self.operands.iter().enumerate() {
            let (name, at) = (i + 1, format!("({index})({})", sum(positions, &view.strides)));
            inputs.push(match self.lies(view, along) {
                Lies::Beside(pack) => {
                    let place = self.place_brought(i).map_or(format!("e{name} + {at}"), str::to_string);
                    let _ =
                        writeln!(code, "const {pack} u{name} = *reinterpret_cast<const {pack}*>({place});");
                    format!("get(u{name}.at[j])")
                }
                Lies::Once => {
                    let _ = writeln!(code, "const auto u{name} = get(e{name}[{at}]);");
                    format!("u{name}")
                }
                Lies::Apart(step) => format!("get(e{name}[{at} + j * {step}])"),
            });
        }
        code.push_str(&self.stored(values, inputs, positions, along, index));
        format!("{{\n{}}}\n", indent(&code))
    }

    /// The operands of `count` packs as arrays, and code that loads those of pack `r` at these positions, for [`Tail::store_loaded`]. `None`
    /// where there are none, or more than a thread should keep.
    pub fn load_packed(
        &self,
        count: usize,
        positions: &[String],
        along: (usize, usize),
        index: &str,
    ) -> Option<(String, String)> {
        /// Most bytes that a thread keeps.
        const MOST: usize = 128;
        let (mut arrays, mut code, mut bytes) = (String::new(), String::new(), 0);
        for (i, view) in self.operands.iter().enumerate() {
            let (name, at) = (i + 1, format!("({index})({})", sum(positions, &view.strides)));
            match self.lies(view, along) {
                Lies::Beside(pack) => {
                    let place = self.place_brought(i).map_or(format!("e{name} + {at}"), str::to_string);
                    let _ = writeln!(arrays, "{pack} u{name}[{count}];");
                    let _ = writeln!(code, "u{name}[r] = *reinterpret_cast<const {pack}*>({place});");
                    bytes += count * along.1 * view.dtype.size();
                }
                Lies::Once => {
                    let _ = writeln!(arrays, "{} u{name}[{count}];", storage_type(view.dtype));
                    let _ = writeln!(code, "u{name}[r] = e{name}[{at}];");
                    bytes += count * view.dtype.size().max(4);
                }
                Lies::Apart(_) => return None,
            }
        }
        (bytes > 0 && bytes <= MOST).then_some((arrays, code))
    }

    /// As [`Tail::store_packed`], of pack `r` whose operands were loaded by [`Tail::load_packed`].
    pub fn store_loaded(
        &self,
        values: &str,
        positions: &[String],
        along: (usize, usize),
        index: &str,
    ) -> String {
        let input = |(i, view): (usize, &View)| match self.lies(view, along) {
            Lies::Beside(_) => format!("get(u{}[r].at[j])", i + 1),
            _ => format!("get(u{}[r])", i + 1),
        };
        let inputs = self.operands.iter().enumerate().map(input).collect();
        format!("{{\n{}}}\n", indent(&self.stored(values, inputs, positions, along, index)))
    }

    fn place_brought(&self, operand: usize) -> Option<&str> {
        self.brought.as_ref().filter(|(i, _)| *i == operand).map(|(_, place)| place.as_str())
    }

    /// How an operand's neighbours along the axis lie, as many as are stored at once.
    fn lies(&self, view: &View, (axis, pack): (usize, usize)) -> Lies {
        if pack > 1 && in_runs(view, axis, pack) {
            Lies::Beside(format!("Pack<{}, {pack}>", storage_type(view.dtype)))
        } else if view.strides[axis] == 0 {
            Lies::Once
        } else {
            Lies::Apart(view.strides[axis])
        }
    }

    /// Code that stores a pack of results, from operands that are these expressions of `j`.
    fn stored(
        &self,
        values: &str,
        operands: Vec<String>,
        positions: &[String],
        (_, pack): (usize, usize),
        index: &str,
    ) -> String {
        let mut inputs = vec![format!("{values}[j]")];
        inputs.extend(operands);
        let mut element = String::new();
        let result = match &self.expr {
            None => inputs.swap_remove(0),
            Some(expr) => {
                for (i, input) in inputs.iter_mut().enumerate() {
                    let _ = writeln!(element, "const auto v{i} = {input};");
                    *input = format!("v{i}");
                }
                let (steps, result) = expression_for(self.out.dtype, expr, &self.typing, &inputs, "t");
                element.push_str(&steps);
                result
            }
        };
        let memory = format!("Pack<{}, {pack}>", self.out_type());
        let _ = writeln!(element, "put(packed.at[j], {result});");
        let own = || format!("y + ({index})({})", sum(positions, &self.out.strides));
        let place = self.kept.clone().unwrap_or_else(own);
        format!(
            "{memory} packed;\n#pragma unroll\nfor (int j = 0; j < {pack}; ++j) {{\n{}}}\n*reinterpret_cast<{memory}*>({place}) = packed;\n",
            indent(&element),
        )
    }

    /// The type of an element of the result in memory.
    pub fn out_type(&self) -> &'static str {
        storage_type(self.out.dtype)
    }
}

/// How neighbours lie in memory.
enum Lies {
    /// Side by side, as this type.
    Beside(String),
    /// They are one.
    Once,
    /// So many elements from each other.
    Apart(isize),
}

/// Do neighbours along this axis lie side by side, in runs that begin at multiples of `pack` elements?
pub fn in_runs(view: &View, axis: usize, pack: usize) -> bool {
    let whole =
        |i: usize| i == axis || view.shape[i] == 1 || view.strides[i].unsigned_abs().is_multiple_of(pack);
    let aligned = view.offset.unsigned_abs().is_multiple_of(pack * view.dtype.size());
    view.strides[axis] == 1 && aligned && (0..view.rank()).all(whole)
}

/// Every line four columns to the right.
pub fn indent(code: &str) -> String {
    code.lines()
        .map(|line| if line.is_empty() { "\n".to_string() } else { format!("    {line}\n") })
        .collect()
}
