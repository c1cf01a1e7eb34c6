//! Loop nests over several tensors at once.

use super::view::View;

/// Sizes of nested loops, outermost first, and for each of `K` tensors the distance of one step, in elements.
#[derive(Clone, Debug)]
pub struct Nest<const K: usize> {
    /// (size, steps) of each loop; sizes of 1 are left out and loops that continue each other are one.
    pub loops: Vec<(usize, [isize; K])>,
}

impl<const K: usize> Nest<K> {
    /// Loops over the axes `order` (outermost first) of views of one shape.
    pub fn new(views: [&View; K], order: &[usize]) -> Nest<K> {
        let axes = order.iter().map(|&a| (views[0].shape[a], views.map(|v| v.strides[a])));
        Nest { loops: merge(axes) }
    }

    /// Number of iterations.
    pub fn len(&self) -> usize {
        self.loops.iter().map(|l| l.0).product()
    }

    /// Takes the innermost loop off; a loop of one step when there is none.
    pub fn pop(&mut self) -> (usize, [isize; K]) {
        self.loops.pop().unwrap_or((1, [0; K]))
    }

    /// Where iteration `index` is in each tensor, in elements.
    #[inline]
    pub fn offsets(&self, mut index: usize) -> [isize; K] {
        let mut out = [0; K];
        for (size, steps) in self.loops.iter().rev() {
            let i = index % size;
            index /= size;
            for (o, s) in out.iter_mut().zip(steps) {
                *o += i as isize * s;
            }
        }
        out
    }
}

fn merge<const K: usize>(axes: impl Iterator<Item = (usize, [isize; K])>) -> Vec<(usize, [isize; K])> {
    let mut out: Vec<(usize, [isize; K])> = Vec::new();
    for (n, steps) in axes.filter(|a| a.0 != 1) {
        match out.last_mut() {
            Some((size, outer)) if (0..K).all(|k| outer[k] == steps[k] * n as isize) => {
                (*size, *outer) = (*size * n, steps);
            }
            _ => out.push((n, steps)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::view::Slot;
    use crate::{DType, TensorType};

    #[test]
    fn axes_that_continue_each_other_are_one_loop() {
        let x = View::row_major(Slot(0), &TensorType::new(DType::F32, [2, 3, 1, 4]));
        assert_eq!(Nest::new([&x, &x], &x.order()).loops, [(24, [1, 1])]);
        let row = View::row_major(Slot(0), &TensorType::new(DType::F32, [1, 4])).stretch(&[2, 3, 1, 4]);
        let nest = Nest::new([&x, &row], &x.order());
        assert_eq!(nest.loops, [(6, [4, 0]), (4, [1, 1])]);
        assert_eq!((nest.len(), nest.offsets(9)), (24, [9, 1]));
    }
}
