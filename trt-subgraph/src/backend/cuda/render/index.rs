//! Index arithmetic with the sizes and strides folded in.

use crate::backend::view::View;
use std::fmt::Write;

/// Nested loops over several tensors at once: for each, outermost first, its size and one step for each tensor, in elements. Sizes of 1
/// are left out and loops that continue each other are one.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Loops {
    pub axes: Vec<(usize, Vec<isize>)>,
}

impl Loops {
    /// Loops over the axes `order` (outermost first) of views of one shape.
    pub fn new(views: &[&View], order: &[usize]) -> Loops {
        let mut axes: Vec<(usize, Vec<isize>)> = Vec::new();
        for &axis in order.iter().filter(|&&a| views[0].shape[a] != 1) {
            let (n, steps) =
                (views[0].shape[axis], views.iter().map(|v| v.strides[axis]).collect::<Vec<_>>());
            match axes.last_mut() {
                Some((size, outer)) if (0..steps.len()).all(|k| outer[k] == steps[k] * n as isize) => {
                    (*size, *outer) = (*size * n, steps);
                }
                _ => axes.push((n, steps)),
            }
        }
        Loops { axes }
    }

    /// Number of iterations.
    pub fn len(&self) -> usize {
        self.axes.iter().map(|a| a.0).product()
    }

    /// The size and steps of the innermost loop; one iteration where there is none.
    pub fn inner(&self, tensors: usize) -> (usize, Vec<isize>) {
        self.axes.last().cloned().unwrap_or((1, vec![0; tensors]))
    }

    /// The innermost loop in units of `width` iterations, which divides it.
    pub fn packed(mut self, width: usize) -> Loops {
        if let Some((size, steps)) = self.axes.last_mut() {
            *size /= width;
            steps.iter_mut().for_each(|s| *s *= width as isize);
        }
        self.axes.retain(|axis| axis.0 != 1);
        self
    }

    /// Declares the loops' positions `{prefix}0`, `{prefix}1`, ... from a flat position.
    pub fn split(&self, flat: &str, ty: &str, prefix: &str) -> String {
        split(&self.axes.iter().map(|a| a.0).collect::<Vec<_>>(), flat, ty, prefix)
    }

    /// Where tensor `k` is at the positions `{prefix}0`, ...
    pub fn offset(&self, k: usize, prefix: &str) -> String {
        let names: Vec<String> = (0..self.axes.len()).map(|i| format!("{prefix}{i}")).collect();
        sum(&names, &self.axes.iter().map(|a| a.1[k]).collect::<Vec<_>>())
    }
}

/// Declares `{prefix}0`, ... (type `ty`), the positions along axes of these sizes, from a row-major flat position.
pub fn split(sizes: &[usize], flat: &str, ty: &str, prefix: &str) -> String {
    let mut code = String::new();
    let mut below = 1usize;
    for (i, &n) in sizes.iter().enumerate().rev() {
        let position = match below {
            1 => flat.to_string(),
            below => format!("{flat} / {below}"),
        };
        let position = if i == 0 { position } else { format!("{position} % {n}") };
        let _ = writeln!(code, "const {ty} {prefix}{i} = {position};");
        below = below.saturating_mul(n.max(1));
    }
    code
}

/// `a * 2 + b`: positions times steps, without what is zero.
pub fn sum(positions: &[String], steps: &[isize]) -> String {
    let terms: Vec<String> = (positions.iter().zip(steps))
        .filter(|(p, s)| **s != 0 && *p != "0")
        .map(|(p, s)| if *s == 1 { p.clone() } else { format!("{p} * {s}") })
        .collect();
    if terms.is_empty() { "0".to_string() } else { terms.join(" + ") }
}

/// `int` where all positions in these tensors and `count` iterations fit, else `i64`.
pub fn index_type(views: &[&View], count: usize) -> &'static str {
    let reach = |v: &View| -> u128 {
        v.shape
            .iter()
            .zip(&v.strides)
            .map(|(&n, s)| n.saturating_sub(1) as u128 * s.unsigned_abs() as u128)
            .sum()
    };
    // Room for a block's worth of threads past the end, and for offsets that are summed before they are used.
    let limit = 1u128 << 30;
    if (count as u128) < limit && views.iter().all(|v| reach(v) < limit) { "int" } else { "i64" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::view::Slot;
    use crate::{DType, TensorType};

    #[test]
    fn sizes_and_steps_are_folded() {
        let x = View::row_major(Slot(0), &TensorType::new(DType::F32, [2, 3, 1, 4]));
        let row = View::row_major(Slot(0), &TensorType::new(DType::F32, [4])).stretch(&[2, 3, 1, 4]);
        let loops = Loops::new(&[&x, &row], &x.order());
        assert_eq!(loops.axes, [(6, vec![4, 0]), (4, vec![1, 1])]);
        assert_eq!(loops.split("i", "int", "a"), "const int a1 = i % 4;\nconst int a0 = i / 4;\n");
        assert_eq!(
            (loops.offset(0, "a"), loops.offset(1, "a")),
            ("a0 * 4 + a1".to_string(), "a1".to_string())
        );
        assert_eq!(Loops::new(&[&x], &x.order()).axes, [(24, vec![1])]);
    }

    #[test]
    fn large_tensors_have_wide_indices() {
        let small = View::row_major(Slot(0), &TensorType::new(DType::U8, [1 << 29]));
        let large = View::row_major(Slot(0), &TensorType::new(DType::U8, [1 << 31]));
        assert_eq!(index_type(&[&small], 1 << 29), "int");
        assert_eq!(index_type(&[&large], 1 << 31), "i64");
        let spread = View { shape: vec![4], strides: vec![1 << 30], ..small };
        assert_eq!(index_type(&[&spread], 4), "i64");
    }
}
