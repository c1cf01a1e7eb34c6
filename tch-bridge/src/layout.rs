//! In which order a tensor's axes lie in memory. The host's results follow their operands in that, so engines' must too.

/// Tensors of more dimensions count as lying in the order of their axes.
const MOST: usize = 8;

/// The axes of a tensor from the outermost in memory to the innermost; the default is the order of the axes themselves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct AxisOrder {
    axes: [u8; MOST],
    /// 0 stands for the axes' own order, whatever their number.
    rank: u8,
}

impl AxisOrder {
    /// The order of these strides: the one in which [`AxisOrder::dense`] gives a dense tensor its strides back, those of axes of one
    /// element too. Where an axis repeats its elements (its stride is 0), there is none but the default.
    pub(crate) fn of(sizes: &[i64], strides: &[i64]) -> AxisOrder {
        let rank = strides.len();
        let repeats = |i: usize| sizes[i] > 1 && strides[i] == 0;
        // Of axes of one stride, those of one element are the inner ones.
        let place = |i: usize| (std::cmp::Reverse(strides[i]), sizes[i] <= 1);
        if rank > MOST || (1..rank).all(|i| place(i - 1) <= place(i)) || (0..rank).any(repeats) {
            return AxisOrder::default();
        }
        let mut axes: [u8; MOST] = std::array::from_fn(|i| i as u8);
        axes[..rank].sort_by_key(|&i| place(i as usize));
        axes[rank..].fill(0);
        AxisOrder { axes, rank: rank as u8 }
    }

    /// The order that [`AxisOrder::axes`] gives as these axes, empty for the default; `None` where they are no such thing.
    pub(crate) fn of_axes(axes: &[usize]) -> Option<AxisOrder> {
        let mut order = AxisOrder { axes: [0; MOST], rank: 0 };
        let each_once = (0..axes.len()).all(|i| axes.contains(&i));
        if axes.len() > MOST || !each_once {
            return None;
        }
        order.axes.iter_mut().zip(axes).for_each(|(to, &axis)| *to = axis as u8);
        order.rank = axes.len() as u8;
        Some(order)
    }

    /// The axes, outermost first; `None` for the default.
    pub(crate) fn axes(&self) -> Option<impl Iterator<Item = usize> + '_> {
        (self.rank > 0).then(|| self.axes[..self.rank as usize].iter().map(|&i| i as usize))
    }

    /// The sizes and strides of a dense tensor in this order whose sizes *in memory*, outermost first, are given.
    pub(crate) fn dense(&self, in_memory: &[i64]) -> (Vec<i64>, Vec<i64>) {
        let rank = in_memory.len();
        let mut steps = vec![1; rank];
        for i in (1..rank).rev() {
            steps[i - 1] = steps[i] * in_memory[i].max(1);
        }
        let (mut sizes, mut strides) = (in_memory.to_vec(), steps.clone());
        for (i, axis) in self.axes().into_iter().flatten().enumerate() {
            (sizes[axis], strides[axis]) = (in_memory[i], steps[i]);
        }
        (sizes, strides)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(order: AxisOrder) -> Option<Vec<usize>> {
        order.axes().map(Iterator::collect)
    }

    #[test]
    fn channels_last_and_back() {
        let order = AxisOrder::of(&[2, 3, 4, 5], &[60, 1, 15, 3]);
        assert_eq!(axes(order), Some(vec![0, 2, 3, 1]));
        assert_eq!(order.dense(&[2, 4, 5, 3]), (vec![2, 3, 4, 5], vec![60, 1, 15, 3]));
        let point = AxisOrder::of(&[2, 3, 1, 1], &[3, 1, 3, 3]);
        assert_eq!(point.dense(&[2, 1, 1, 3]), (vec![2, 3, 1, 1], vec![3, 1, 3, 3]));
        let grey = AxisOrder::of(&[2, 1, 4, 4], &[16, 1, 4, 1]);
        assert_eq!(grey.dense(&[2, 4, 4, 1]), (vec![2, 1, 4, 4], vec![16, 1, 4, 1]));
        let column = AxisOrder::of(&[1, 3], &[1, 1]);
        assert_eq!(column.dense(&[3, 1]), (vec![1, 3], vec![1, 1]));
    }

    #[test]
    fn rows_are_the_default() {
        assert_eq!(AxisOrder::of(&[2, 3], &[3, 1]), AxisOrder::default());
        assert_eq!(AxisOrder::of(&[2, 3], &[6, 2]), AxisOrder::default());
        assert_eq!(AxisOrder::of(&[2, 3], &[0, 1]), AxisOrder::default());
        assert_eq!(AxisOrder::of(&[], &[]), AxisOrder::default());
        assert_eq!(AxisOrder::of(&[2, 1, 4], &[4, 4, 1]), AxisOrder::default());
        assert_eq!(AxisOrder::of(&[3, 1], &[1, 1]), AxisOrder::default());
        assert_eq!(AxisOrder::default().dense(&[2, 0, 3]), (vec![2, 0, 3], vec![3, 3, 1]));
        assert_eq!(axes(AxisOrder::of(&[2, 3], &[1, 2])), Some(vec![1, 0]));
        assert_eq!(AxisOrder::of_axes(&[1, 0]), Some(AxisOrder::of(&[2, 3], &[1, 2])));
        assert_eq!(
            (AxisOrder::of_axes(&[]), AxisOrder::of_axes(&[0, 2])),
            (Some(AxisOrder::default()), None)
        );
    }
}
