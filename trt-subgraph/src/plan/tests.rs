//! Whatever the bytes are, reading them gives the plan that was written or an error.

use super::container::{Section, write};
use super::*;
use crate::backend::cpu::Cpu;
use crate::backend::reference::{Reference, evaluate};
use crate::backend::{Io, Stream};
use crate::{Literal, Random};

/// A network with a parameter, a small constant, a large one and one with a NaN that has a payload.
fn network() -> (Network, Vec<Literal>) {
    let text = "input %x: f32[2,20]\nparam \"a \\\"b\\\"\": f32[20]\nparam \"unused\": f16[3]\n\
                %w: f32[20] = parameter 0\n%half: f32[] = constant {0.5}\n%row: f32[20] = constant {7...}\n\
                %odd: f32[1] = constant {nan}\n%y = pointwise(%x, %w, %half, %row, %odd) { (i0 * i1 + i2) * i3 + \
                select(isnan(i4), 1:f32, 2:f32) }  # from here\n%v, %p = topk(%y) axis=1 k=3\noutput %v, %p, %x";
    let mut network = Network::parse(text).unwrap();
    network.parameters[1].name = "line\nbreak \u{1F600}".to_string();
    for layer in &mut network.layers {
        if let crate::network::LayerKind::Constant(l) = &mut layer.kind
            && l.f64_at(0).is_nan()
        {
            *l = Literal::from_bytes(l.ty().clone(), &0x7fc0_1234u32.to_ne_bytes()).unwrap();
        }
    }
    let mut random = Random::new(1);
    let weights = network.parameters.iter().map(|p| random.literal(p.ty.clone())).collect();
    (network, weights)
}

fn bytes() -> Vec<u8> {
    let (network, weights) = network();
    Recipe::new(&network, &weights).inputs(["x"]).note("model", "small").to_bytes().unwrap()
}

fn run(engine: &mut dyn Engine, inputs: &[Literal]) -> Vec<Literal> {
    let mut outputs: Vec<Literal> = engine.signature().outputs.iter().cloned().map(Literal::zeros).collect();
    let from: Vec<*const u8> = inputs.iter().map(|l| l.bytes().as_ptr()).collect();
    let to: Vec<*mut u8> = outputs.iter_mut().map(|l| l.bytes_mut().as_mut_ptr()).collect();
    // SAFETY: the tensors are of the signature's types.
    unsafe { engine.run(&Io { inputs: &from, outputs: &to }, Stream::NONE) }.unwrap();
    outputs
}

#[test]
fn what_is_written_reads_back() {
    let (network, weights) = network();
    let plan = Plan::from_bytes(bytes()).unwrap();
    assert_eq!(plan.network(), &network);
    assert_eq!(plan.inputs()[0].name, "x");
    assert_eq!(plan.outputs()[2].name, "output2");
    assert_eq!(plan.notes()["model"], "small");
    assert!(plan.holds_weights() && plan.backend().is_none());
    for (at, weight) in weights.iter().enumerate() {
        let held = Held(&plan.0);
        let found = held.parameter(at);
        assert!((found.data as usize).is_multiple_of(64) && found.ty == weight.ty());
        // SAFETY: a parameter of that type.
        let found = unsafe { std::slice::from_raw_parts(found.data, found.ty.bytes()) };
        assert_eq!(found, weight.bytes());
    }
    let x = Random::new(2).literal(network.ty(network.inputs[0]).clone());
    let expected = evaluate(&network, &weights, std::slice::from_ref(&x)).unwrap();
    let mut engine = plan.engine(&Reference, plan.options()).unwrap();
    assert_eq!(run(&mut *engine, &[x]), expected);
}

#[test]
fn every_flipped_byte_is_noticed() {
    let good = bytes();
    for at in 0..good.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            assert!(Plan::from_bytes(bad).is_err(), "byte {at} flipped by {flip:#x} went unnoticed");
        }
    }
}

#[test]
fn every_truncation_and_every_addition_is_noticed() {
    let good = bytes();
    for length in 0..good.len() {
        let error = Plan::from_bytes(good[..length].to_vec()).unwrap_err();
        let expected = if length == 0 {
            matches!(error, PlanError::NotAPlan)
        } else {
            matches!(error, PlanError::Truncated { .. })
        };
        assert!(expected, "{length} bytes: {error}");
    }
    let error = Plan::from_bytes([&good[..], &[0]].concat()).unwrap_err();
    assert!(matches!(error, PlanError::Damaged { .. }), "{error}");
}

#[test]
fn versions_are_told_apart() {
    let mut newer = bytes();
    newer[8] += 1;
    let error = Plan::from_bytes(newer).unwrap_err();
    assert_eq!(error, PlanError::Version { found: (VERSION.0 + 1, VERSION.1), known: VERSION });
    assert_eq!(Plan::from_bytes(b"\x89PNG\r\n\x1a\n and so on".to_vec()).unwrap_err(), PlanError::NotAPlan);
}

/// A plan of these sections.
fn of(sections: &[(u32, bool, &[u8])]) -> Result<Plan, PlanError> {
    let sections: Vec<Section> =
        sections.iter().map(|&(kind, required, b)| Section { kind, required, chunks: vec![b] }).collect();
    let mut out = Vec::new();
    write(&sections, &mut out).unwrap();
    Plan::from_bytes(out)
}

const TEXT: &str = "input %x: f32[2]\n%y = pointwise(%x) { neg(i0) }\noutput %y";
const ABOUT: &str = r#"{"inputs":[{"name":"x","dtype":"F32","shape":[2]}],"outputs":[{"name":"y","dtype":"F32","shape":[2]}],"later":{}}"#;

#[test]
fn sections_of_later_versions_are_skipped_unless_they_matter() {
    let plain = [(META, true, ABOUT.as_bytes()), (NETWORK, true, TEXT.as_bytes()), (TENSORS, true, &[][..])];
    of(&plain).unwrap();
    let mut more = plain.to_vec();
    more.insert(1, (99, false, b"something new"));
    of(&more).unwrap();
    more[1].1 = true;
    assert!(matches!(of(&more).unwrap_err(), PlanError::Version { .. }));
    for missing in 0..3 {
        let mut less = plain.to_vec();
        less.remove(missing);
        assert!(matches!(of(&less).unwrap_err(), PlanError::Damaged { .. }));
        let mut twice = plain.to_vec();
        twice.push(plain[missing]);
        assert!(matches!(of(&twice).unwrap_err(), PlanError::Damaged { .. }));
    }
}

/// Checksums that hold say nothing about sense.
#[test]
fn nonsense_with_good_checksums_is_refused() {
    let huge = "340282366920938463463374607431768211455";
    let deep = format!("input %x: f32[2]\n%y = pointwise(%x) {{ {}i0 }}\noutput %y", "neg(".repeat(100_000));
    let texts = [
        "input %x: f32[1099511627776]\noutput %x".to_string(),
        "input %x: f32[4294967296,4294967296]\noutput %x".to_string(),
        "%c: f32[68719476736] = constant {0...}\noutput %c".to_string(),
        format!("input %x: f32[{huge}]\noutput %x"),
        "input %x: f32[1,1,4]\n%y = pad(%x) border=[(0,0),(0,0),(18446744073709551615,1)] mode=constant(0)\noutput %y".to_string(),
        "input %x: f32[1,1,4]\n%y = pool(%x) op=max window=[4] padding=[(18446744073709551615,18446744073709551615)]\noutput %y".to_string(),
        "input %x: f32[1,1,4]\n%y = pool(%x) op=max window=[9223372036854775807] dilation=[9223372036854775807]\noutput %y".to_string(),
        "input %x: f32[1,1,4]\ninput %w: f32[1,1,3]\n%y = convolution(%x, %w) groups=9223372036854775808 transposed=true\noutput %y".to_string(),
        "input %x: f32[1,1,4]\ninput %w: f32[1,1,3]\n%y = convolution(%x, %w) stride=[9223372036854775808] transposed=true\noutput %y".to_string(),
        deep,
        "output %x".to_string(),
        "%p: f32[2] = prepared 0\noutput %p".to_string(),
        "%p: f32[2] = parameter 7\noutput %p".to_string(),
    ];
    for text in texts {
        let error =
            of(&[(META, true, ABOUT.as_bytes()), (NETWORK, true, text.as_bytes()), (TENSORS, true, &[])]);
        assert!(matches!(error, Err(PlanError::Damaged { .. })), "{text:.80}: {error:?}");
    }
    let about = [
        "",
        "{}",
        "null",
        "[1,2]",
        "\u{7f}",
        r#"{"inputs":[],"outputs":[]}"#,
        r#"{"inputs":[{"name":"x","dtype":"F32","shape":[2]}],"outputs":[{"name":"y","dtype":"F32","shape":[-2]}]}"#,
    ];
    for about in about {
        assert!(
            of(&[(META, true, about.as_bytes()), (NETWORK, true, TEXT.as_bytes()), (TENSORS, true, &[])])
                .is_err()
        );
    }
    for at in [0u64, 64, 65, u64::MAX] {
        let about = ABOUT.replace(
            "\"later\"",
            &format!(
                r#""parameters":[{{"name":"w","dtype":"F32","shape":[1099511627775],"at":{at}}}],"later""#
            ),
        );
        let text = format!("param \"w\": f32[1099511627775]\n{TEXT}");
        let error = of(&[
            (META, true, about.as_bytes()),
            (NETWORK, true, text.as_bytes()),
            (TENSORS, true, &[0; 99]),
        ]);
        assert!(matches!(error, Err(PlanError::Damaged { part: "tensors", .. })), "{error:?}");
    }
}

/// Edits of a sound text, with checksums that hold: a plan or an error, never a panic.
#[test]
fn garbled_texts_do_not_panic() {
    let (network, weights) = network();
    let text = portable::Portable::of(&network).unwrap().text;
    let plan = Recipe::new(&network, &weights).to_bytes().unwrap();
    let plan = Plan::from_bytes(plan).unwrap();
    let about = serde_json::to_vec(&plan.0.meta).unwrap();
    let pieces = [
        "0",
        "9",
        "18446744073709551615",
        "-",
        "%",
        "(",
        "[",
        "]",
        "{",
        "}",
        ",",
        "f64",
        "i0",
        "parameter",
        "\n",
        "#",
        "é",
    ];
    let (mut random, mut read) = (Random::new(3), 0);
    for _ in 0..3000 {
        let mut bad = text.clone();
        for _ in 0..1 + random.below(3) {
            let mut at = random.below(bad.len());
            while !bad.is_char_boundary(at) {
                at -= 1;
            }
            let end = (at + random.below(4)).min(bad.len());
            let end = (end..=bad.len()).find(|&e| bad.is_char_boundary(e)).unwrap();
            bad.replace_range(at..end, pieces[random.below(pieces.len())]);
        }
        read += of(&[(META, true, &about), (NETWORK, true, bad.as_bytes()), (TENSORS, true, &plan.0.tensors)])
            .is_ok() as usize;
    }
    assert!(read < 3000, "no edit did harm");
}

#[test]
fn weights_may_be_kept_elsewhere() {
    let (network, weights) = network();
    let plan = Plan::from_bytes(Recipe::without_weights(&network).to_bytes().unwrap()).unwrap();
    assert!(!plan.holds_weights() && plan.network() == &network);
    let error = plan.engine(&Reference, &CompileOptions::default()).map(drop).unwrap_err();
    assert_eq!(error, PlanError::NeedsWeights { name: "a \"b\"".to_string(), engine: None });
    let x = Random::new(2).literal(network.ty(network.inputs[0]).clone());
    let mut engine = plan.engine_with(&Reference, plan.options(), &weights).unwrap();
    let found = run(&mut *engine, std::slice::from_ref(&x));
    assert_eq!(found, evaluate(&network, &weights, &[x]).unwrap());
    let others = vec![weights[1].clone(), weights[0].clone()];
    let error = plan.engine_with(&Reference, plan.options(), &others).map(drop).unwrap_err();
    assert!(matches!(error, PlanError::Weight { .. }), "{error}");
}

#[test]
fn what_makes_no_plan_is_refused() {
    let (network, weights) = network();
    let twice = Recipe::new(&network, &weights).outputs(["a", "a"]).to_bytes().unwrap_err();
    assert!(matches!(twice, PlanError::Unfit(_)), "{twice}");
    let few = Recipe::new(&network, &weights).outputs(["a", "b"]).to_bytes().unwrap_err();
    assert_eq!(few, PlanError::Unfit("there are 2 names for 3 outputs".to_string()));
    let half = Recipe::new(&network.split().run, &weights).to_bytes().unwrap_err();
    assert!(matches!(half, PlanError::Unfit(_)), "{half}");
    let others = vec![weights[1].clone(), weights[0].clone()];
    assert!(matches!(Recipe::new(&network, &others).to_bytes().unwrap_err(), PlanError::Weight { .. }));
}

/// A saved engine gives the bits of the one that saved it, and is passed over where it does not fit.
#[test]
fn saved_engines_are_used_where_they_fit() {
    let text = "input %x: f32[1,8,9,9]\nparam \"w\": f32[16,8,3,3]\nparam \"m\": f32[64,10]\n%w: f32[16,8,3,3] = parameter 0\n\
                %m: f32[64,10] = parameter 1\n%y = convolution(%x, %w) stride=[2,2]\n%a = reshape(%y) shape=[4,64]\n\
                %z = matmul(%a, %m)\noutput %z";
    let network = Network::parse(text).unwrap();
    let mut random = Random::new(4);
    let weights: Vec<Literal> = network.parameters.iter().map(|p| random.literal(p.ty.clone())).collect();
    let x = [random.literal(network.ty(network.inputs[0]).clone())];
    let options = CompileOptions { threads: 2, ..CompileOptions::default() };
    let mut built = Cpu.compile(&network, &weights, &options).unwrap();
    let expected = run(&mut *built, &x);
    let (saved, fingerprint) = (built.save().unwrap(), Cpu.fingerprint(&options).unwrap());
    // No weights: whatever is right came out of the saved engine.
    let plan = |fingerprint: &str, saved: &[u8]| {
        let recipe = Recipe::without_weights(&network).engine("cpu", fingerprint.to_string(), saved);
        Plan::from_bytes(recipe.to_bytes().unwrap()).unwrap()
    };
    let fitting = plan(&fingerprint, &saved);
    assert!(fitting.is_built_for(&Cpu, &options) && !fitting.is_built_for(&Reference, &options));
    for threads in [1, 2, 3] {
        let mut engine = fitting.engine(&Cpu, &CompileOptions { threads, ..options.clone() }).unwrap();
        assert_eq!(run(&mut *engine, &x), expected);
        let doubled: Vec<Literal> = weights
            .iter()
            .map(|w| Literal::from_f64(w.ty().clone(), w.to_f64().iter().map(|v| 2.0 * v)).unwrap())
            .collect();
        engine.refit(&doubled).unwrap();
        assert_eq!(run(&mut *engine, &x)[0].f64_at(0), 4.0 * expected[0].f64_at(0));
    }
    let whole =
        Plan::from_bytes(Recipe::new(&network, &weights).inputs(["x"]).note("a", "b").to_bytes().unwrap())
            .unwrap();
    for with_weights in [true, false] {
        let prepared = Plan::from_bytes(whole.prepared(&Cpu, &options, with_weights).unwrap()).unwrap();
        assert_eq!((prepared.inputs(), prepared.notes()), (whole.inputs(), whole.notes()));
        assert_eq!((prepared.holds_weights(), prepared.backend()), (with_weights, Some("cpu")));
        assert!(prepared.is_built_for(&Cpu, &options) && prepared.engines().len() == 1);
        assert_eq!(run(&mut *prepared.engine(&Cpu, &options).unwrap(), &x), expected);
    }
    let foreign = plan("another machine", &saved);
    assert!(!foreign.is_built_for(&Cpu, &options));
    for unfit in [
        foreign,
        plan(&fingerprint, &saved[..saved.len() - 1]),
        plan(&fingerprint, &[]),
        plan(&fingerprint, &[7; 640]),
    ] {
        assert!(matches!(
            unfit.engine(&Cpu, &options).map(drop),
            Err(PlanError::NeedsWeights { engine: Some(_), .. })
        ));
        let mut engine = unfit.engine_with(&Cpu, &options, &weights).unwrap();
        assert_eq!(run(&mut *engine, &x), expected);
    }
}

#[test]
fn files_appear_whole_and_stay_valid_when_replaced() {
    let folder = std::env::temp_dir().join(format!("trt-plan-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("small.plan");
    let (network, weights) = network();
    let recipe = Recipe::new(&network, &weights);
    recipe.save(&path).unwrap();
    let old = Plan::open(&path).unwrap();
    Recipe::new(&network, &weights).note("version", "2").save(&path).unwrap();
    assert_eq!(Plan::open(&path).unwrap().notes().len(), 1);
    assert_eq!((old.notes().len(), old.network()), (0, &network));
    let refused = Recipe::new(&network.split().run, &weights).save(&path).unwrap_err();
    assert!(matches!(refused, PlanError::Unfit(_)));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "a failed attempt left something");
    std::fs::write(&path, &bytes()[..100]).unwrap();
    assert!(matches!(Plan::open(&path).unwrap_err(), PlanError::Truncated { found: 100, .. }));
    for (name, text) in [("missing", "missing"), (".", "not a regular file")] {
        let error = Plan::open(folder.join(name)).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
    let nowhere = recipe.save(folder.join("no/such/folder.plan")).unwrap_err();
    assert!(matches!(nowhere, PlanError::Io { .. }));
    std::fs::remove_dir_all(&folder).unwrap();
}
