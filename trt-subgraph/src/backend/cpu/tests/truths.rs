//! Truth values that are neither 0 nor 1 in memory, as inputs and as weights.

use super::{machines, run};
use crate::backend::reference::evaluate;
use crate::network::Network;
use crate::{Literal, Random};

#[test]
fn any_byte_but_0_is_true() {
    let text = "input %m: bool[6,70]
        input %x: f32[6,70]
        param \"kept\": bool[6,70]
        %k: bool[6,70] = parameter 0
        %n = pointwise(%m, %k) { i0 * not(i1) }
        %f = pointwise(%m, %x) { i1 * f32(i0) }
        %i = pointwise(%k) { i64(i0) }
        %s = reduce(%i) op=sum axes=[0,1]
        output %n
        output %f
        output %s";
    let network = Network::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let mut random = Random::new(1);
    let mut masks = || {
        let plain = random.literal_in(network.ty(network.inputs[0]).clone(), 0.0, 2.0);
        let mut odd = plain.clone();
        odd.bytes_mut().iter_mut().for_each(|byte| *byte *= *random.pick(&[1, 2, 128, 255]));
        (plain, odd)
    };
    let ((mask, odd_mask), (kept, odd_kept)) = (masks(), masks());
    let x = random.literal(network.ty(network.inputs[1]).clone());
    let expected = evaluate(&network, &[kept], &[mask, x.clone()]).expect("it runs");
    for (machine, team) in machines() {
        let found = run(&network, machine, team, &vec![odd_kept.clone()], &[odd_mask.clone(), x.clone()]);
        let bytes = |all: &[Literal]| all.iter().map(|l| l.bytes().to_vec()).collect::<Vec<_>>();
        assert_eq!(bytes(&found), bytes(&expected));
    }
}
