//! Slices: of slices are one, of everything are none; of a concatenation they read only the operands that they touch.

use super::Pass;
use crate::network::layer::Range;
use crate::network::{Draft, Edit, LayerKind, Patch};

pub(super) const PASS: Pass = Pass { name: "slice", rule: |_| Box::new(rule) };

fn rule(draft: &Draft, at: usize) -> Option<Edit> {
    let layer = draft.layer(at);
    let LayerKind::Slice { ranges } = &layer.kind else { return None };
    let (x, result) = (layer.inputs[0], layer.outputs[0]);
    let whole = |(r, &n): (&Range, &usize)| *r == Range::full(n) || (n == 1 && r.len == 1);
    let mut patch = Patch::new(draft, &layer.origin);
    if ranges.iter().zip(&draft.ty(x).shape).all(whole) {
        return patch.only(result, x);
    }
    let inner = draft.producer(x)?;
    match &inner.kind {
        LayerKind::Slice { ranges: first } => {
            let ranges = first.iter().zip(ranges).map(|(&a, &b)| after(a, b)).collect();
            let new = patch.add(LayerKind::Slice { ranges }, &inner.inputs).ok()?;
            patch.only(result, new)
        }
        LayerKind::Concat { axis } => {
            let (low, high) = bounds(ranges[*axis])?;
            let (mut start, mut before, mut touched) = (0, 0, Vec::new());
            for &v in &inner.inputs {
                let end = start + draft.ty(v).shape[*axis];
                if start <= high && low < end {
                    touched.push(v);
                } else if end <= low {
                    before = end;
                }
                start = end;
            }
            if touched.len() == inner.inputs.len() || (touched.len() > 1 && !draft.only_reader(x, at)) {
                return None;
            }
            let part = match touched[..] {
                [one] => one,
                _ => patch.add(inner.kind.clone(), &touched).ok()?,
            };
            let mut ranges = ranges.clone();
            ranges[*axis].start -= before;
            let new = patch.add(LayerKind::Slice { ranges }, &[part]).ok()?;
            patch.only(result, new)
        }
        _ => None,
    }
}

/// Range `second` of what range `first` picks.
fn after(first: Range, second: Range) -> Range {
    if second.len == 0 {
        return Range { start: 0, step: 1, len: 0 };
    }
    let start = (first.start as isize + second.start as isize * first.step) as usize;
    Range { start, step: first.step * second.step, len: second.len }
}

/// The lowest and the highest position of a range; `None` when it picks nothing.
fn bounds(r: Range) -> Option<(usize, usize)> {
    let last = (r.start as isize + r.step * (r.len.checked_sub(1)? as isize)) as usize;
    Some((r.start.min(last), r.start.max(last)))
}

#[cfg(test)]
mod tests {
    use crate::network::layer::Range;
    use crate::network::{Builder, LayerKind, ValueId};
    use crate::pass::check::{self, f32s};

    fn slice(b: &mut Builder, x: ValueId, start: usize, step: isize, len: usize) -> ValueId {
        let columns = b.ty(x).shape[1];
        let ranges = vec![Range { start, step, len }, Range::full(columns)];
        b.add(LayerKind::Slice { ranges }, &[x]).unwrap()
    }

    #[test]
    fn chains_are_one_and_the_whole_is_none() {
        let mut b = Builder::new();
        let x = b.input(f32s(&[10, 2]));
        let y = slice(&mut b, x, 9, -2, 5);
        let y = slice(&mut b, y, 3, -1, 2);
        let z = slice(&mut b, x, 0, 1, 10);
        let none = slice(&mut b, y, 0, 1, 0);
        let out = check::pass("slice", b.finish(vec![y, z, none]), true);
        assert_eq!(check::kinds(&out), "slice slice");
    }

    #[test]
    fn only_the_operands_that_are_read() {
        for (start, step, len, left) in
            [(2, 1, 3, ""), (4, -1, 3, "slice"), (1, 1, 3, "concat slice"), (1, 2, 4, "concat slice")]
        {
            let mut b = Builder::new();
            let parts: Vec<ValueId> = [2, 3, 4].map(|n| b.input(f32s(&[n, 2]))).to_vec();
            let y = b.add(LayerKind::Concat { axis: 0 }, &parts).unwrap();
            let y = slice(&mut b, y, start, step, len);
            assert_eq!(check::kinds(&check::pass("slice", b.finish(vec![y]), true)), left);
        }
    }
}
