//! Batches in parts: which networks are cut, and that they compute the same.

use super::{agrees, machines};
use crate::Literal;
use crate::backend::cpu::apart::cut;
use crate::backend::cpu::engine::CpuEngine;
use crate::backend::{Engine, Io, RunError, Stream};
use crate::network::Network;

/// A network of one layer, with weights of 6 x 4, 4 x 4 and 2 x 3 x 3 x 3 and a number.
fn layer(inputs: &str, layer: &str) -> String {
    let inputs = inputs.replace("; ", "\ninput ");
    format!(
        "input {inputs}\nparam \"w\": f32[4,4]\nparam \"v\": f32[6,4]\nparam \"f\": f32[2,3,3,3]\nparam \"s\": f32[]\n\
         %w: f32[4,4] = parameter 0\n%v: f32[6,4] = parameter 1\n%f: f32[2,3,3,3] = parameter 2\n%s: f32[] = parameter 3\n\
         %y = {layer}\noutput %y"
    )
}

/// The number of parts on each machine.
fn parts(text: &str) -> Vec<Option<usize>> {
    let network = Network::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let run = network.split().run;
    machines().iter().map(|(machine, _)| cut(&run, machine).map(|apart| apart.parts)).collect()
}

#[test]
fn layers_that_keep_rows_apart_are_cut() {
    for (seed, (inputs, kind)) in [
        ("%x: f32[6,4]", "matmul(%x, %w)"),
        ("%x: f32[6,4]; %r: f32[6,4]", "matmul(%x, %w, %r) { i0 * i1 }"),
        ("%x: f32[6,5,4]", "matmul(%x, %x) transpose_b=true"),
        ("%x: f32[6,3,4]", "matmul(%w, %x) transpose_b=true"),
        ("%x: f32[6,3,4]", "reshape(%x) shape=[18,4]"),
        ("%x: f32[6,3,4]", "permute(%x) axes=[0,2,1]"),
        ("%x: f32[6,3,4]", "slice(%x) ranges=[0:1:6,1:1:2,3:-2:2]"),
        ("%x: f32[6,3,4]; %r: f32[6,1,4]", "concat(%x, %r) axis=1"),
        ("%x: f32[6,3,4]", "reduce(%x) op=sum axes=[1]"),
        ("%x: f32[6,3,4]", "reduce(%x) op=argmax axes=[2]"),
        ("%x: f32[6,3,4]", "softmax(%x) axis=1"),
        ("%x: f32[6,3,4]", "normalize(%x) axes=[1,2] eps=0.1"),
        ("%x: f32[6,3,4]", "scan(%x) op=sum axis=2"),
        ("%x: f32[6,1,4]", "broadcast(%x) shape=[6,3,4]"),
        ("%x: f32[6,4,4]", "pointwise(%x, %w) { i0 * i1 }"),
        ("%x: i64[6,2]", "gather(%v, %k) axis=0"),
        ("%x: f32[6,3,9,9]", "convolution(%x, %f) padding=[(1,1),(0,0)]"),
        ("%x: f32[6,3,8,8]", "pool(%x) op=max window=[2,2] stride=[2,2]"),
    ]
    .into_iter()
    .enumerate()
    {
        let text = of_indices(layer(inputs, kind));
        let found = parts(&text);
        for ((machine, _), parts) in machines().iter().zip(found) {
            assert_eq!(parts, if machine.threads == 3 { Some(3) } else { None }, "{text}");
        }
        agrees(&text, seed as u64);
    }
}

#[test]
fn weights_that_take_longer_than_the_rows_are_read_once() {
    let text = "input %x: f32[6,1024]
        param \"w\": f32[1024,1024]
        %w: f32[1024,1024] = parameter 0
        %y = matmul(%x, %w)
        output %y";
    assert!(parts(text).iter().all(Option::is_none));
    let many = text.replace("[6,", "[6000,");
    assert!(parts(&many).iter().all(|n| n.is_some_and(|n| n > 1)), "{:?}", parts(&many));
}

#[test]
fn layers_that_mix_rows_are_not() {
    for (inputs, kind) in [
        ("%x: f32[6,4]", "matmul(%x, %x) transpose_b=true"),
        ("%x: f32[4,6]", "matmul(%x, %w) transpose_a=true"),
        ("%x: f32[6,4]", "matmul(%v, %x) transpose_b=true"),
        ("%x: f32[6]", "reduce(%x, %s) op=sum axes=[0] { i0 * i1 }"),
        ("%x: f32[6,4]; %r: f32[1,4]", "pointwise(%x, %r) { i0 + i1 }"),
        ("%x: f32[6,4]; %r: f32[4]", "pointwise(%x, %r) { i0 + i1 }"),
        ("%x: f32[6,4]", "pointwise(%x, %v) { i0 + i1 }"),
        ("%x: f32[6,4]", "matmul(%x, %w, %v) { i0 + i1 }"),
        ("%x: f32[6,4]", "broadcast(%x) shape=[5,6,4]"),
        ("%x: f32[6,4]", "reshape(%x) shape=[4,6]"),
        ("%x: f32[6,4]", "reshape(%x) shape=[1,24]"),
        ("%x: f32[6,3,4]", "permute(%x) axes=[1,0,2]"),
        ("%x: f32[6,4]", "slice(%x) ranges=[5:-1:6,0:1:4]"),
        ("%x: f32[6,4]", "slice(%x) ranges=[0:1:3,0:1:4]"),
        ("%x: f32[6,4]", "concat(%x, %v) axis=1"),
        ("%x: f32[6,4]; %r: f32[6,4]", "concat(%x, %r) axis=0"),
        ("%x: f32[6,4]", "pad(%x) border=[(0,6),(0,0)] mode=circular"),
        ("%x: f32[6,4]", "reduce(%x) op=sum axes=[0] keep=true"),
        ("%x: f32[6,4]", "softmax(%x) axis=0"),
        ("%x: f32[6,4]", "normalize(%x) axes=[0,1] eps=0.1"),
        ("%x: f32[6,4]", "scan(%x) op=sum axis=0"),
        ("%x: i64[6,4]; %t: f32[6,4]", "gather(%t, %k) axis=0 elements=true"),
        ("%x: i64[6]; %t: f32[6,4]", "gather(%t, %k) axis=0"),
        ("%x: i64[6]", "gather(%v, %k) axis=1"),
    ] {
        let text = of_indices(layer(inputs, kind));
        assert!(parts(&text).iter().all(Option::is_none), "{text}");
        agrees(&text, 0);
    }
}

#[test]
fn every_row_of_a_network_with_several_results() {
    let text = "input %x: f32[12,3,7,7]
        input %s: f32[12,1]
        input %k: i64[12,2]
        param \"f\": f32[8,3,3,3]
        param \"w\": f32[5,72]
        param \"t\": f32[9,5]
        %f: f32[8,3,3,3] = parameter 0
        %w: f32[5,72] = parameter 1
        %t: f32[9,5] = parameter 2
        %c = convolution(%x, %f) stride=[2,2] { max(i0, 0:f32) }
        %r = reshape(%c) shape=[12,72]
        %m = matmul(%r, %w, %s) transpose_b=true { i0 * i1 }
        %l = pointwise(%k) { rem(i0, 9:i64) }
        %g = gather(%t, %l) axis=0
        %a = reduce(%g) op=sum axes=[1]
        %y = pointwise(%m, %a) { i0 + i1 }
        %v, %p = topk(%y) axis=1 k=2 largest=true
        output %v, %p, %c, %m";
    for seed in 0..6 {
        agrees(text, seed);
    }
    let found = parts(text);
    for ((machine, _), parts) in machines().iter().zip(found) {
        assert!(parts.is_some_and(|n| n > 1 && n.is_multiple_of(machine.threads)) || machine.threads == 1);
    }
}

#[test]
fn an_error_in_one_part_is_that_of_the_call() {
    let text = "input %i: i64[6,2]
        param \"t\": f32[5,64]
        %t: f32[5,64] = parameter 0
        %g = gather(%t, %i) axis=0
        %y = reduce(%g) op=max axes=[1]
        output %y";
    let network = Network::parse(text).expect("it parses");
    let parameters = vec![Literal::zeros(network.parameters[0].ty.clone())];
    for (machine, team) in machines() {
        let mut engine = CpuEngine::compile(&network, machine, team, &parameters, &[]).expect("it compiles");
        let mut out = Literal::zeros(engine.signature().outputs[0].clone());
        let to = [out.bytes_mut().as_mut_ptr()];
        for wrong in 0..12 {
            let mut indices = [4i64; 12];
            for (index, expected) in
                [(5, Err(RunError::Index { layer: String::new(), index: 5, size: 5 })), (-5, Ok(()))]
            {
                indices[wrong] = index;
                let io = Io { inputs: &[indices.as_ptr().cast()], outputs: &to };
                // SAFETY: inputs and outputs are of the signature.
                assert_eq!(unsafe { engine.run(&io, Stream::NONE) }, expected);
            }
        }
    }
}

/// With `%k` a valid index made of `%x`, where it is read.
fn of_indices(text: String) -> String {
    text.replace("%y = gather", "%k = pointwise(%x) { rem(i0, 4:i64) }\n%y = gather")
}
