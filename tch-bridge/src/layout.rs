//! In which order a tensor's axes lie in memory. The host's results follow their operands in that, so engines' must too.

/// Tensors of more dimensions count as lying in the order of their axes.
const MOST: usize = 8;

/// The axes of a tensor from the outermost in memory to the innermost, and which of them repeat one element (their stride is 0); the
/// default is the order of the axes themselves without repetition. Of an operand, also whether there are gaps, where that tells
/// something: dense tensors whose order differs in axes of one element alone count as lying in the order of their axes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct AxisOrder {
    axes: [u8; MOST],
    /// 0 stands for the axes' own order, whatever their number.
    rank: u8,
    /// A bit for each axis, the first one the lowest.
    repeated: u8,
    gaps: bool,
}

/// Added to the number of an axis that repeats one element, and to those of all axes where there are gaps.
const REPEATS: usize = 8;
const GAPS: usize = 16;

impl AxisOrder {
    /// The order of these strides: the one in which [`AxisOrder::strides`] gives a dense tensor its strides back, those of axes of one
    /// element too.
    pub(crate) fn of(sizes: &[i64], strides: &[i64]) -> AxisOrder {
        let rank = strides.len();
        if rank > MOST {
            return AxisOrder::default();
        }
        // Beside axes that do, those of one element count as repeating it, too, where they say so: operators do not tell them apart.
        let repeats = (0..rank).any(|i| sizes[i] > 1 && strides[i] == 0);
        let repeated = (0..rank).filter(|&i| repeats && strides[i] == 0).fold(0, |bits, i| bits | 1 << i);
        // Of axes of one stride, those of one element are the inner ones.
        let place = |i: usize| (std::cmp::Reverse(strides[i]), sizes[i] <= 1);
        if repeated == 0 && (1..rank).all(|i| place(i - 1) <= place(i)) {
            return AxisOrder::default();
        }
        let mut axes: [u8; MOST] = std::array::from_fn(|i| i as u8);
        axes[..rank].sort_by_key(|&i| place(i as usize));
        axes[rank..].fill(0);
        AxisOrder { axes, rank: rank as u8, repeated, gaps: false }
    }

    /// The order of an operand of these strides.
    pub(crate) fn of_operand(sizes: &[i64], strides: &[i64]) -> AxisOrder {
        let mut order = AxisOrder::of(sizes, strides);
        if strides.len() > MOST || sizes.iter().all(|&n| n > 1) {
            return order;
        }
        let mut gaps = false;
        order.each_stride(sizes, |axis, step| gaps |= sizes[axis] > 1 && step != strides[axis]);
        if gaps && order.rank == 0 {
            order.rank = strides.len() as u8;
            order.axes[..strides.len()].iter_mut().zip(0..).for_each(|(to, axis)| *to = axis);
        }
        AxisOrder { gaps, ..order }
    }

    /// The default where an axis repeats its elements.
    pub(crate) fn unless_repeated(self) -> AxisOrder {
        if self.repeated == 0 { self } else { AxisOrder::default() }
    }

    /// The order that [`AxisOrder::numbers`] gives as these numbers; `None` where they are no such thing.
    pub(crate) fn of_numbers(numbers: &[usize]) -> Option<AxisOrder> {
        let mut order = AxisOrder::default();
        let each_once = (0..numbers.len()).all(|i| numbers.iter().any(|n| n % REPEATS == i));
        if numbers.len() > MOST || !each_once || numbers.iter().any(|&n| n >= 2 * GAPS) {
            return None;
        }
        order.axes.iter_mut().zip(numbers).for_each(|(to, n)| *to = (n % REPEATS) as u8);
        order.rank = numbers.len() as u8;
        let repeated = numbers.iter().filter(|&&n| n & REPEATS != 0);
        order.repeated = repeated.fold(0, |bits, n| bits | 1 << (n % REPEATS));
        order.gaps = numbers.first().is_some_and(|n| n & GAPS != 0);
        Some(order)
    }

    /// The axes, outermost first, with 8 added to those that repeat one element and 16 where there are gaps; empty for the default.
    pub(crate) fn numbers(&self) -> Vec<usize> {
        let added = |yes: bool, what: usize| if yes { what } else { 0 };
        let number = |axis| axis + added(self.repeats(axis), REPEATS) + added(self.gaps, GAPS);
        self.axes().into_iter().flatten().map(number).collect()
    }

    /// The axes, outermost first; `None` for the default.
    pub(crate) fn axes(&self) -> Option<impl DoubleEndedIterator<Item = usize> + '_> {
        (self.rank > 0).then(|| self.axes[..self.rank as usize].iter().map(|&i| i as usize))
    }

    /// Does this axis repeat one element?
    pub(crate) fn repeats(&self, axis: usize) -> bool {
        axis < MOST && self.repeated & (1 << axis) != 0
    }

    /// The strides of a tensor of these sizes that lies in this order; of gaps there is one after each element.
    pub(crate) fn strides(&self, sizes: &[i64]) -> Vec<i64> {
        let mut strides = vec![0; sizes.len()];
        self.each_stride(sizes, |axis, step| strides[axis] = step);
        strides
    }

    /// Shows each axis with its stride, but those that repeat one element.
    fn each_stride(&self, sizes: &[i64], mut show: impl FnMut(usize, i64)) {
        let mut step = if self.gaps { 2 } else { 1 };
        let mut place = |axis: usize| {
            if !self.repeats(axis) {
                show(axis, step);
                step *= sizes[axis].max(1);
            }
        };
        match self.axes() {
            Some(axes) => axes.rev().for_each(&mut place),
            None => (0..sizes.len()).rev().for_each(&mut place),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(order: AxisOrder) -> Option<Vec<usize>> {
        order.axes().map(Iterator::collect)
    }

    #[test]
    fn gaps_beside_axes_of_one_element_are_told() {
        // A transposed line with gaps is no dense line, one without is.
        let line = AxisOrder::of_operand(&[1, 2], &[5, 2]);
        assert_eq!(line.strides(&[1, 2]), [4, 2]);
        assert_eq!(AxisOrder::of_numbers(&line.numbers()), Some(line));
        assert_eq!(AxisOrder::of_operand(&[1, 2], &[7, 1]), AxisOrder::default());
        assert_eq!(AxisOrder::of_operand(&[3, 2], &[5, 2]), AxisOrder::default());
        assert_eq!(AxisOrder::of_operand(&[], &[]), AxisOrder::default());
    }

    #[test]
    fn channels_last_and_back() {
        let order = AxisOrder::of(&[2, 3, 4, 5], &[60, 1, 15, 3]);
        assert_eq!(axes(order), Some(vec![0, 2, 3, 1]));
        assert_eq!(order.strides(&[2, 3, 4, 5]), [60, 1, 15, 3]);
        let point = AxisOrder::of(&[2, 3, 1, 1], &[3, 1, 3, 3]);
        assert_eq!(point.strides(&[2, 3, 1, 1]), [3, 1, 3, 3]);
        let grey = AxisOrder::of(&[2, 1, 4, 4], &[16, 1, 4, 1]);
        assert_eq!(grey.strides(&[2, 1, 4, 4]), [16, 1, 4, 1]);
        let column = AxisOrder::of(&[1, 3], &[1, 1]);
        assert_eq!(column.strides(&[1, 3]), [1, 1]);
    }

    #[test]
    fn rows_are_the_default() {
        assert_eq!(AxisOrder::of(&[2, 3], &[3, 1]), AxisOrder::default());
        assert_eq!(AxisOrder::of(&[2, 3], &[6, 2]), AxisOrder::default());
        assert_eq!(AxisOrder::of(&[], &[]), AxisOrder::default());
        assert_eq!(AxisOrder::of(&[2, 1, 4], &[4, 4, 1]), AxisOrder::default());
        assert_eq!(AxisOrder::of(&[3, 1], &[1, 1]), AxisOrder::default());
        assert_eq!(AxisOrder::default().strides(&[2, 0, 3]), [3, 3, 1]);
        assert_eq!(axes(AxisOrder::of(&[2, 3], &[1, 2])), Some(vec![1, 0]));
        assert_eq!(AxisOrder::of_numbers(&[1, 0]), Some(AxisOrder::of(&[2, 3], &[1, 2])));
        assert_eq!(
            (AxisOrder::of_numbers(&[]), AxisOrder::of_numbers(&[0, 2])),
            (Some(AxisOrder::default()), None)
        );
    }

    #[test]
    fn repeated_elements_have_no_room() {
        let rows = AxisOrder::of(&[4, 2, 3], &[0, 1, 2]);
        assert_eq!(axes(rows), Some(vec![2, 1, 0]));
        assert_eq!((rows.numbers(), rows.unless_repeated()), (vec![2, 1, 8], AxisOrder::default()));
        assert_eq!(rows.strides(&[5, 2, 3]), [0, 1, 2]);
        assert_eq!(AxisOrder::of_numbers(&[2, 1, 8]), Some(rows));
        assert_eq!(AxisOrder::of(&[3, 4], &[1, 0]).numbers(), [0, 9]);
        assert_eq!(AxisOrder::of(&[3, 1], &[1, 0]), AxisOrder::default());
        let line = AxisOrder::of(&[3, 6, 1, 5, 6], &[36, 6, 0, 0, 1]);
        assert_eq!(line.strides(&[3, 6, 1, 5, 6]), [36, 6, 0, 0, 1]);
        assert_eq!((AxisOrder::of_numbers(&[0, 8]), AxisOrder::of_numbers(&[32])), (None, None));
    }

    #[test]
    fn gaps_tell_something_beside_axes_of_one_element() {
        let sliced = AxisOrder::of_operand(&[3, 6, 1], &[18, 3, 4]);
        assert_eq!((sliced.numbers(), sliced.strides(&[3, 6, 1])), (vec![16, 18, 17], vec![12, 2, 12]));
        assert_eq!(AxisOrder::of_numbers(&[16, 18, 17]), Some(sliced));
        assert_eq!(AxisOrder::of_operand(&[3, 6, 1], &[6, 1, 6]).numbers(), [0, 2, 1]);
        let outer = AxisOrder::of_operand(&[3, 6, 1], &[78, 13, 4]);
        assert_eq!((outer.numbers(), outer.strides(&[3, 6, 1])), (vec![16, 17, 18], vec![12, 2, 2]));
        assert_eq!(AxisOrder::of_operand(&[3, 6], &[2, 12]).numbers(), [1, 0]);
    }
}
