//! Engines of several networks on one set of prepared weights.

use crate::Literal;
use crate::backend::{Backend, CompileOptions, Engine, Io, Prepared, Stream};
use crate::network::Network;

/// A convolution, one by minimal filtering, and a product, whose weights are all packed.
fn network(batch: usize, bias: &str) -> Network {
    let text = format!(
        "input %x: f32[{batch},32,8,8]
         param \"w\": f32[32,32,3,3]
         param \"v\": f32[24,32,1,1]
         param \"m\": f32[24,10]
         param \"b\": f32[10]
         %w: f32[32,32,3,3] = parameter 0
         %v: f32[24,32,1,1] = parameter 1
         %m: f32[24,10] = parameter 2
         %b: f32[10] = parameter 3
         %c = pointwise(%b) {{ {bias} }}
         %y = convolution(%x, %w) stride=[1,1] padding=[(1,1),(1,1)] dilation=[1,1] groups=1
         %z = convolution(%y, %v) stride=[1,1] padding=[(0,0),(0,0)] dilation=[1,1] groups=1
         %p = permute(%z) axes=[0,2,3,1]
         %q = reshape(%p) shape=[{},24]
         %o = matmul(%q, %m, %c) {{ i0 + i1 }}
         output %o",
        batch * 64
    );
    let network = Network::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    network.verify().unwrap_or_else(|e| panic!("{e}\n{text}"));
    network
}

fn parameters(scale: f64) -> Vec<Literal> {
    let value = |i: usize| scale * ((i * 7 % 11) as f64 - 5.0);
    let literal = |ty: &crate::TensorType| {
        Literal::from_f64(ty.clone(), (0..ty.elements()).map(value)).expect("one for each element")
    };
    network(1, "neg(i0)").parameters.iter().map(|p| literal(&p.ty)).collect()
}

fn compile(network: &Network, parameters: &Vec<Literal>, others: &[Prepared]) -> Box<dyn Engine> {
    let options = CompileOptions { threads: 2, ..CompileOptions::default() };
    super::Cpu.compile_beside(network, parameters, &options, others).expect("it compiles")
}

/// What an engine gives for ones.
fn run(engine: &mut dyn Engine) -> Vec<f64> {
    let signature = engine.signature().clone();
    let ones = |ty: &crate::TensorType| {
        Literal::from_f64(ty.clone(), vec![1.0; ty.elements()]).expect("one for each element")
    };
    let inputs: Vec<Literal> = signature.inputs.iter().map(ones).collect();
    let mut outputs: Vec<Literal> = signature.outputs.into_iter().map(Literal::zeros).collect();
    let from: Vec<*const u8> = inputs.iter().map(|l| l.bytes().as_ptr()).collect();
    let to: Vec<*mut u8> = outputs.iter_mut().map(|l| l.bytes_mut().as_mut_ptr()).collect();
    // SAFETY: inputs and outputs were made of the signature.
    unsafe { engine.run(&Io { inputs: &from, outputs: &to }, Stream::NONE) }.expect("it runs");
    outputs[0].to_f64()
}

#[test]
fn a_batch_beside_another_packs_no_weights() {
    let (old, new) = (parameters(0.25), parameters(-0.5));
    let mut one = compile(&network(1, "neg(i0)"), &old, &[]);
    let beside = [one.prepared().expect("they can be shared")];
    // These values are not looked at: the prepared ones are there.
    let mut four = compile(&network(4, "neg(i0)"), &new, &beside);
    assert!(four.prepared().expect("they can be shared").is(&beside[0]));
    let mut alone = compile(&network(4, "neg(i0)"), &old, &[]);
    assert!(!alone.prepared().expect("they can be shared").is(&beside[0]));
    assert_eq!(run(&mut *four), run(&mut *alone));
    // A refit of one is one of both.
    let before = run(&mut *one);
    four.refit(&new).expect("it prepares");
    let mut fresh = compile(&network(1, "neg(i0)"), &new, &[]);
    let after = run(&mut *one);
    assert_eq!(after, run(&mut *fresh));
    assert_ne!(before, after);
}

#[test]
fn other_values_of_the_same_parameters_are_not_shared() {
    let old = parameters(0.25);
    let one = compile(&network(1, "neg(i0)"), &old, &[]);
    let beside = [one.prepared().expect("they can be shared")];
    let mut other = compile(&network(1, "tanh(i0)"), &old, &beside);
    assert!(!other.prepared().expect("they can be shared").is(&beside[0]));
    let mut alone = compile(&network(1, "tanh(i0)"), &old, &[]);
    assert_eq!(run(&mut *other), run(&mut *alone));
}
