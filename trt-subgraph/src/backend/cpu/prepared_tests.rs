//! Engines of several networks on one set of prepared weights.

use crate::Literal;
use crate::backend::{Backend, CompileOptions, Engine, Io, Prepared, Stream};
use crate::network::Network;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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
fn what_many_layers_read_is_prepared_once() {
    let network = |steps: usize| {
        let step = |i: usize| {
            format!(
                "%h{i} = matmul(%h{}, %w, %b) transpose_a=false transpose_b=true {{ i0 + i1 }}
                 %c{i} = convolution(%c{}, %v) stride=[1,1] padding=[(1,1),(1,1)] dilation=[1,1] groups=1\n",
                i - 1,
                i - 1
            )
        };
        let text = format!(
            "input %h0: f32[4,64]
             input %c0: f32[1,32,8,8]
             param \"w\": f32[64,64]
             param \"v\": f32[32,32,3,3]
             param \"b\": f32[64]
             %w: f32[64,64] = parameter 0
             %v: f32[32,32,3,3] = parameter 1
             %b: f32[64] = parameter 2
             {}output %h{steps}
             output %c{steps}",
            (1..=steps).map(step).collect::<String>()
        );
        Network::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
    };
    let bytes = |steps| {
        let network = network(steps);
        let ones = |ty: &crate::TensorType| {
            Literal::from_f64(ty.clone(), vec![1.0; ty.elements()]).expect("as many")
        };
        let parameters: Vec<Literal> = network.parameters.iter().map(|p| ones(&p.ty)).collect();
        compile(&network, &parameters, &[]).describe().weight_bytes
    };
    assert_eq!(bytes(1), bytes(5));
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

/// A layer on `%x` and the weight `%p`, the shapes of these two, and that of a factor of the weight.
const SCALED: [(&str, &str, &str, &str); 11] = [
    ("convolution(%x, %p)", "1,40,8,8", "50,40,1,1", "50,1,1,1"),
    ("convolution(%x, %p)", "1,40,8,8", "50,40,1,1", "1,40,1,1"),
    ("convolution(%x, %p) padding=[(1,1),(1,1)]", "1,32,12,12", "36,32,3,3", "36,1,1,1"),
    ("convolution(%x, %p) padding=[(1,1),(1,1)]", "1,32,12,12", "36,32,3,3", "1,32,1,1"),
    ("convolution(%x, %p) stride=[2,2]", "1,19,12,12", "36,19,3,3", "36,1,1,1"),
    ("convolution(%x, %p) groups=2", "1,40,8,8", "48,20,3,3", "48,1,1,1"),
    ("convolution(%x, %p) groups=32", "1,32,8,8", "32,1,3,3", "32,1,1,1"),
    ("convolution(%x, %p) transposed=true", "1,32,6,6", "32,24,3,3", "1,24,1,1"),
    ("matmul(%x, %p)", "6,70", "70,17", "17"),
    ("matmul(%x, %p)", "6,70", "70,17", "70,1"),
    ("matmul(%x, %p) transpose_b=true", "6,70", "45,70", "45,1"),
];

/// Results of a text after its parameters `w` and `s`.
fn scaled(rest: &str, weight: &str, factor: &str) -> Network {
    let text = format!(
        "{rest}
         param \"w\": f32[{weight}]
         param \"s\": f32[{factor}]
         %w: f32[{weight}] = parameter 0
         %s: f32[{factor}] = parameter 1"
    );
    let (inputs, lines): (Vec<&str>, Vec<&str>) = rest.lines().partition(|line| line.starts_with("input"));
    let declared = text.lines().skip(rest.lines().count());
    let text = inputs.into_iter().chain(declared).chain(lines).collect::<Vec<_>>().join("\n");
    let network = Network::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    network.verify().unwrap_or_else(|e| panic!("{e}\n{text}"));
    network
}

/// Values of no pattern, one for each element of the parameters.
fn values(network: &Network, seed: usize) -> Vec<Literal> {
    let value = |i: usize| ((i * i * 31 + i * 7 + seed) % 1009) as f64 / 300.0 - 1.7;
    let literal = |ty: &crate::TensorType| {
        Literal::from_f64(ty.clone(), (0..ty.elements()).map(value)).expect("one for each element")
    };
    network.parameters.iter().map(|p| literal(&p.ty)).collect()
}

#[test]
fn a_weight_is_multiplied_while_it_is_packed_and_every_bit_is_the_same() {
    const PRODUCT: &str = "%p = pointwise(%w, %s) { i0 * rsqrt(abs(i1) + 0.5:f32) }";
    for (layer, x, weight, factor) in SCALED {
        let with = |product: &str, layer: &str| {
            let layer = format!("input %x: f32[{x}]\n{product}%y = {layer}\noutput %y");
            scaled(&layer, weight, factor)
        };
        let fused = with(&format!("{PRODUCT}\n"), layer);
        let plain = with("", &layer.replace("%p", "%w"));
        let product = scaled(&format!("{PRODUCT}\noutput %p"), weight, factor);
        let expected = |parameters: &Vec<Literal>| {
            let multiplied = run(&mut *compile(&product, parameters, &[]));
            let ty = parameters[0].ty().clone();
            let weight = Literal::from_f64(ty, multiplied).expect("one for each element");
            run(&mut *compile(&plain, &vec![weight, parameters[1].clone()], &[]))
        };
        let (old, new) = (values(&fused, 1), values(&fused, 5));
        let mut engine = compile(&fused, &old, &[]);
        assert_eq!(run(&mut *engine), expected(&old), "{layer} {factor}");
        engine.refit(&new).expect("it prepares");
        assert_eq!(run(&mut *engine), expected(&new), "{layer} {factor}");
        assert_ne!(expected(&old), expected(&new));
    }
}

#[test]
fn a_product_that_is_asked_for_itself_is_there_too() {
    let text = "input %x: f32[6,70]
%p = pointwise(%w, %s) { i0 * i1 }
%q = reshape(%p) shape=[17,70]
%y = matmul(%x, %p)
%z = matmul(%x, %q) transpose_b=true
%t = pointwise(%y, %z) { i0 + i1 }
output %p
output %t";
    let network = scaled(text, "70,17", "17");
    let parameters = values(&network, 3);
    let (w, s) = (parameters[0].to_f64(), parameters[1].to_f64());
    let expected: Vec<f64> =
        w.iter().enumerate().map(|(i, &w)| f64::from(w as f32 * s[i % 17] as f32)).collect();
    assert_eq!(run(&mut *compile(&network, &parameters, &[])), expected);
}

#[test]
fn calls_beside_refits_see_one_set_of_weights_or_the_other() {
    let network = network(4, "neg(i0)");
    let (one, other) = (parameters(0.25), parameters(-0.5));
    let engine = compile(&network, &one, &[]);
    let answers = [&one, &other].map(|weights| run(&mut *compile(&network, weights, &[])));
    assert_ne!(answers[0], answers[1]);
    let (stop, calls) = (AtomicBool::new(false), [const { AtomicUsize::new(0) }; 3]);
    std::thread::scope(|threads| {
        let callers = calls.each_ref().map(|calls| {
            let (mut fork, stop, answers) = (engine.fork(), &stop, &answers);
            threads.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let got = run(&mut *fork);
                    assert!(answers.contains(&got), "a mixture of old and new weights");
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        // On a busy machine a caller may be late.
        let called = || calls.iter().all(|calls| calls.load(Ordering::Relaxed) > 10);
        let mut rounds = 0;
        while rounds < 200 || (!called() && !callers.iter().any(|caller| caller.is_finished())) {
            engine.refit(&other).expect("it prepares");
            engine.refit(&one).expect("it prepares");
            rounds += 1;
        }
        stop.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.join().expect("each call saw one of them");
        }
    });
    // The last one was of these.
    assert_eq!(run(&mut *engine.fork()), answers[0]);
}
