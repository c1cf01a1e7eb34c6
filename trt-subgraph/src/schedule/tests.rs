//! A plan is carried out on bytes: every layer writes its own mark over its results and finds the marks of its operands.

use super::*;
use crate::network::expr::{Binary, Unary};
use crate::network::layer::Range;
use crate::network::{Builder, Expr};
use crate::{DType, Random, TensorType};
use std::collections::HashMap;

/// Row-major values, where a slice along the outermost axes may be a view.
struct Views;

impl Memory for Views {
    fn scratch(&self, _: &Network, at: usize) -> usize {
        if at.is_multiple_of(5) { 100 } else { 0 }
    }

    fn view(&self, network: &Network, at: usize) -> Option<usize> {
        let layer = &network.layers[at];
        match &layer.kind {
            LayerKind::Reshape { .. } => Some(0),
            LayerKind::Slice { ranges } => {
                let ty = network.ty(layer.inputs[0]);
                let inner = ranges.iter().zip(&ty.shape).skip(1).all(|(r, &n)| *r == Range::full(n));
                let row: usize = ty.shape[1..].iter().product();
                (inner && ranges[0].step == 1).then(|| ranges[0].start * row * ty.dtype.size())
            }
            _ => None,
        }
    }
}

/// A byte of a value, by the value that was computed and the byte's position in it.
type Mark = (ValueId, usize);

/// The marks in every storage.
#[derive(Default)]
struct Machine {
    bytes: HashMap<(Base, usize), Mark>,
}

impl Machine {
    fn write(&mut self, place: Place, marks: &[Mark]) {
        for (i, &mark) in marks.iter().enumerate() {
            self.bytes.insert((place.base, place.offset + i), mark);
        }
    }

    fn expect(&self, place: Place, marks: &[Mark]) {
        for (i, mark) in marks.iter().enumerate() {
            let found = self.bytes.get(&(place.base, place.offset + i));
            assert_eq!(found, Some(mark), "byte {i} at {place:?}");
        }
    }
}

/// Runs the plan. A view holds the marks of its part of the operand, a concatenation those of its operands in turn.
fn carry_out(network: &Network, memory: &dyn Memory, plan: &Plan) {
    let mut machine = Machine::default();
    let mut marks: HashMap<ValueId, Vec<Mark>> = HashMap::new();
    let place = |v: ValueId| plan.places[v.index()].expect("a place");
    let own = |v: ValueId| (0..network.ty(v).bytes()).map(|i| (v, i)).collect::<Vec<Mark>>();
    for &v in &network.inputs {
        machine.write(place(v), &own(v));
        marks.insert(v, own(v));
    }
    for (at, layer) in network.layers.iter().enumerate() {
        let scratch = vec![(ValueId(u32::MAX), 0); memory.scratch(network, at)];
        machine.write(Place { base: Base::Arena, offset: plan.scratch[at] }, &scratch);
        for v in &layer.inputs {
            machine.expect(place(*v), &marks[v]);
        }
        let y = layer.outputs[0];
        let content = match (memory.view(network, at), &layer.kind) {
            (Some(offset), _) => marks[&layer.inputs[0]][offset..][..network.ty(y).bytes()].to_vec(),
            (None, LayerKind::Concat { .. }) => layer.inputs.iter().flat_map(|v| marks[v].clone()).collect(),
            (None, _) => own(y),
        };
        machine.write(place(y), &content);
        let end = place(y).offset + content.len();
        assert!(place(y).base != Base::Arena || end <= plan.arena);
        marks.insert(y, content);
    }
    for (v, i) in &plan.copies {
        machine.expect(place(*v), &marks[v]);
        machine.write(Place { base: Base::Output(*i), offset: 0 }, &marks[v]);
    }
    for (i, v) in network.outputs.iter().enumerate() {
        machine.expect(Place { base: Base::Output(i), offset: 0 }, &marks[v]);
    }
}

fn f32s(shape: &[usize]) -> TensorType {
    TensorType::new(DType::F32, shape)
}

/// A random network of pointwise, reshape, slice and concat layers over `[rows, 4]` and `[rows * 4]`.
fn random(random: &mut Random) -> Network {
    let mut next = |n: usize| random.below(n);
    let mut b = Builder::new();
    let mut all: Vec<ValueId> = (0..1 + next(3)).map(|_| b.input(f32s(&[1 + next(20), 4]))).collect();
    for _ in 0..next(40) {
        let x = all[next(all.len())];
        let shape = b.ty(x).shape.clone();
        let (rows, flat) = (shape[0], shape.len() == 1);
        let (kind, inputs) = match next(6) {
            0 if flat => (LayerKind::Reshape { shape: vec![rows / 4, 4] }, vec![x]),
            0 => (LayerKind::Reshape { shape: vec![rows * 4] }, vec![x]),
            1 if !flat && rows > 1 => {
                let start = next(rows - 1);
                let range = Range { start, step: 1, len: 1 + next(rows - start - 1) };
                (LayerKind::Slice { ranges: vec![range, Range::full(4)] }, vec![x])
            }
            2 | 3 if rows < 200 => {
                let alike = all.iter().copied().filter(|&v| b.ty(v).rank() == shape.len());
                let alike: Vec<ValueId> = alike.collect();
                let n = 1 + next(3);
                (LayerKind::Concat { axis: 0 }, (0..n).map(|_| alike[next(alike.len())]).collect())
            }
            _ => {
                let same: Vec<ValueId> = all.iter().copied().filter(|&v| b.ty(v) == b.ty(x)).collect();
                match next(2) {
                    0 => (LayerKind::Pointwise(Expr::unary(Unary::Exp)), vec![x]),
                    _ => (LayerKind::Pointwise(Expr::binary(Binary::Add)), vec![x, same[next(same.len())]]),
                }
            }
        };
        all.push(b.add(kind, &inputs).expect("well typed"));
    }
    let outputs = (0..1 + next(4)).map(|_| all[next(all.len())]).collect();
    let mut network = b.finish(outputs);
    network.sort_and_drop_dead();
    network
}

#[test]
fn random_plans_hold_what_layers_read() {
    let mut numbers = Random::new(1);
    for _ in 0..300 {
        let network = random(&mut numbers);
        for memory in [&Dense as &dyn Memory, &Views] {
            carry_out(&network, memory, &plan(&network, memory));
        }
    }
}

#[test]
fn a_chain_works_in_place_in_the_output() {
    let mut b = Builder::new();
    let x = b.input(f32s(&[4, 4]));
    let mut y = x;
    for _ in 0..5 {
        y = b.add(LayerKind::Pointwise(Expr::unary(Unary::Exp)), &[y]).unwrap();
    }
    y = b.add(LayerKind::Reshape { shape: vec![16] }, &[y]).unwrap();
    let plan = plan(&b.finish(vec![y]), &Dense);
    assert_eq!(plan.arena, 0);
    assert!(plan.copies.is_empty());
    let output = Some(Place { base: Base::Output(0), offset: 0 });
    assert!(plan.places[1..].iter().all(|&p| p == output));
}

#[test]
fn joined_operands_lie_in_the_result() {
    let mut b = Builder::new();
    let x = b.input(f32s(&[1, 2, 3]));
    let parts: Vec<ValueId> =
        [Unary::Exp, Unary::Neg].map(|f| b.add(LayerKind::Pointwise(Expr::unary(f)), &[x]).unwrap()).to_vec();
    let y = b.add(LayerKind::Concat { axis: 1 }, &[parts[0], x, parts[1]]).unwrap();
    let plan = plan(&b.finish(vec![y]), &Dense);
    let at = |v: ValueId| plan.places[v.index()].unwrap();
    assert_eq!(at(parts[0]), Place { base: Base::Output(0), offset: 0 });
    assert_eq!(at(parts[1]), Place { base: Base::Output(0), offset: 48 });
    assert_eq!(at(x).base, Base::Input(0));
}

#[test]
fn outputs_that_are_inputs_or_repeated_are_copied() {
    let mut b = Builder::new();
    let x = b.input(f32s(&[4]));
    let y = b.add(LayerKind::Pointwise(Expr::unary(Unary::Exp)), &[x]).unwrap();
    let plan = plan(&b.finish(vec![x, y, y]), &Dense);
    assert_eq!(plan.copies, [(x, 0), (y, 2)]);
    assert_eq!(plan.arena, 0);
}
