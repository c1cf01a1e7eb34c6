//! Concatenations: of one thing are none, within one another are one; neighbouring slices of one value join again.

use super::Pass;
use crate::network::layer::Range;
use crate::network::{Draft, Edit, LayerKind, Patch, ValueId};

pub(super) const PASS: Pass = Pass { name: "concat", rule: |_| Box::new(rule) };

fn rule(draft: &Draft, at: usize) -> Option<Edit> {
    let layer = draft.layer(at);
    let LayerKind::Concat { axis } = layer.kind else { return None };
    let mut patch = Patch::new(draft, &layer.origin);
    let mut inputs: Vec<ValueId> = Vec::new();
    for &v in &layer.inputs {
        match draft.producer(v) {
            _ if draft.ty(v).shape[axis] == 0 => {}
            Some(inner) if inner.kind == layer.kind && draft.only_reader(v, at) => {
                inputs.extend(&inner.inputs);
            }
            _ => inputs.push(v),
        }
    }
    if inputs.is_empty() {
        inputs.push(layer.inputs[0]);
    }
    let mut joined: Vec<ValueId> = Vec::new();
    let mut run: Option<(ValueId, Vec<Range>)> = None;
    for &v in &inputs {
        let part = slice(draft, v);
        match (&mut run, part) {
            (Some((x, ranges)), Some((y, more))) if *x == y && follows(ranges, more, axis) => {
                ranges[axis].len += more[axis].len;
                let kind = LayerKind::Slice { ranges: ranges.clone() };
                joined.pop();
                joined.push(patch.add(kind, &[y]).ok()?);
            }
            (_, part) => {
                joined.push(v);
                run = part.map(|(x, r)| (x, r.to_vec()));
            }
        }
    }
    if joined == layer.inputs && joined.len() > 1 {
        return None;
    }
    let new = match joined[..] {
        [one] => one,
        _ => patch.add(LayerKind::Concat { axis }, &joined).ok()?,
    };
    patch.only(layer.outputs[0], new)
}

fn slice(draft: &Draft, v: ValueId) -> Option<(ValueId, &[Range])> {
    let layer = draft.producer(v)?;
    match &layer.kind {
        LayerKind::Slice { ranges } => Some((layer.inputs[0], ranges)),
        _ => None,
    }
}

/// Does `b` start where `a` ends along `axis`, and pick the same elsewhere?
fn follows(a: &[Range], b: &[Range], axis: usize) -> bool {
    let elsewhere = (0..a.len()).all(|i| i == axis || a[i] == b[i]);
    elsewhere && a[axis].step == 1 && b[axis].step == 1 && a[axis].start + a[axis].len == b[axis].start
}

#[cfg(test)]
mod tests {
    use crate::network::layer::Range;
    use crate::network::{Builder, LayerKind, ValueId};
    use crate::pass::check::{self, f32s};

    fn concat(b: &mut Builder, parts: &[ValueId]) -> ValueId {
        b.add(LayerKind::Concat { axis: 0 }, parts).unwrap()
    }

    fn rows(b: &mut Builder, x: ValueId, start: usize, len: usize) -> ValueId {
        b.add(LayerKind::Slice { ranges: vec![Range { start, step: 1, len }, Range::full(2)] }, &[x]).unwrap()
    }

    #[test]
    fn nested_ones_are_flat_and_single_or_empty_operands_go() {
        let mut b = Builder::new();
        let [x, y, empty] = [3, 4, 0].map(|n| b.input(f32s(&[n, 2])));
        let inner = concat(&mut b, &[x, y]);
        let outer = concat(&mut b, &[inner, empty, x]);
        let single = concat(&mut b, &[y, empty]);
        let out = check::pass("concat", b.finish(vec![outer, single]), true);
        assert_eq!(check::kinds(&out), "concat");
        assert_eq!(out.layers[0].inputs.len(), 3);
        assert_eq!(out.outputs[1], out.inputs[1]);
    }

    #[test]
    fn an_inner_one_that_others_read_stays() {
        let mut b = Builder::new();
        let x = b.input(f32s(&[3, 2]));
        let inner = concat(&mut b, &[x, x]);
        let outer = concat(&mut b, &[inner, x]);
        let out = check::pass("concat", b.finish(vec![outer, inner]), true);
        assert_eq!(check::kinds(&out), "concat concat");
    }

    #[test]
    fn slices_that_cover_the_whole_are_the_whole() {
        let mut b = Builder::new();
        let x = b.input(f32s(&[9, 2]));
        let parts: Vec<ValueId> = [(0, 2), (2, 3), (5, 4)].map(|(s, n)| rows(&mut b, x, s, n)).to_vec();
        let whole = concat(&mut b, &parts);
        let most = concat(&mut b, &parts[1..]);
        let swapped = concat(&mut b, &[parts[1], parts[0]]);
        let out = check::optimize(b.finish(vec![whole, most, swapped]));
        assert_eq!(out.outputs[0], out.inputs[0]);
        assert_eq!(check::kinds(&out), "slice slice concat slice");
    }
}
