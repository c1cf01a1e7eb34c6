//! Convolutions that follow each other in bands of lines.

use super::{EPILOGUES, machines, operands, run};
use crate::backend::Engine;
use crate::backend::cpu::engine::CpuEngine;
use crate::backend::cpu::machine::Machine;
use crate::network::Network;
use crate::{Literal, Random, TensorType};
use std::fmt::Write;

/// Some convolutions over an image, one after the other.
fn chain(seed: u64) -> String {
    let mut random = Random::new(8000 + seed);
    let mut pick = |from: &[usize]| *random.pick(from);
    let (n, mut h, mut w, mut c) =
        (pick(&[1, 1, 2, 3]), pick(&[9, 20, 33]), pick(&[8, 17, 30]), pick(&[3, 8, 16, 20]));
    let mut head = format!("input %v0: f32[{n},{c},{h},{w}]\n");
    let (mut body, mut parameters) = (String::new(), 0);
    let mut kept = None;
    let count = pick(&[2, 3, 3, 4, 9]);
    for i in 0..count {
        let alone = c > 3 && pick(&[0, 1]) == 1;
        let (kh, kw) = if alone {
            (pick(&[3, 3, 5, 2]), pick(&[3, 5, 7, 4]))
        } else {
            (pick(&[1, 1, 3]), pick(&[1, 1, 3]))
        };
        let (sh, sw) = (pick(&[1, 1, 1, 2]), pick(&[1, 1, 1, 2]));
        let (dh, dw) = (pick(&[1, 1, 1, 2]), pick(&[1, 1, 1, 2]));
        let o = if alone { c } else { pick(&[4, 8, 15, 24, 32]) };
        let pad = [(kh, dh), (kw, dw)].map(|(k, d)| ((k - 1) * d / 2, (k - 1) * d - (k - 1) * d / 2));
        let far = usize::from(kh > 1 && pick(&[0, 0, 0, 1]) == 1);
        let pad = [(pad[0].0 + far, pad[0].1), pad[1]];
        let [oh, ow] = [(h, pad[0], kh, dh, sh), (w, pad[1], kw, dw, sw)]
            .map(|(size, pad, k, d, s)| (size + pad.0 + pad.1 - (k - 1) * d - 1) / s + 1);
        // What was kept is added where it fits.
        let fits = |at: &(usize, [usize; 4])| at.1 == [n, o, oh, ow];
        let residual: Option<(usize, [usize; 4])> = kept.filter(fits).filter(|_| pick(&[0, 1]) == 1);
        let mut epilogue = EPILOGUES[pick(&[0, 1, 2, 5, 8])];
        let mut given = operands(epilogue).replace("%b", &format!("%b{i}"));
        if let Some((at, _)) = residual {
            (epilogue, given) = ("{ i0 + i1 }", format!(", %v{at}"));
        }
        let inputs = if alone { 1 } else { c };
        let _ = write!(head, "param \"w{i}\": f32[{o},{inputs},{kh},{kw}]\nparam \"b{i}\": f32[{o},1,1]\n");
        let _ = write!(
            body,
            "%w{i}: f32[{o},{inputs},{kh},{kw}] = parameter {parameters}
             %b{i}: f32[{o},1,1] = parameter {}
             %v{} = convolution(%v{i}, %w{i}{given}) stride=[{sh},{sw}] padding=[({},{}),({},{})] \
                 dilation=[{dh},{dw}] groups={} {epilogue}\n",
            parameters + 1,
            i + 1,
            pad[0].0,
            pad[0].1,
            pad[1].0,
            pad[1].1,
            if alone { c } else { 1 }
        );
        parameters += 2;
        (h, w, c) = (oh, ow, o);
        if pick(&[0, 0, 1]) == 1 {
            kept = Some((i + 1, [n, c, h, w]));
        }
    }
    format!("{head}{body}output %v{count}")
}

/// Every element is what it is where nothing is in bands, but for the order in which tiles of other heights add.
#[test]
fn bands_of_lines_go_through_all_steps() {
    let mut taken = 0;
    for seed in 0..400 {
        let text = chain(seed);
        let network = Network::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        network.verify().unwrap_or_else(|e| panic!("{e}\n{text}"));
        let mut random = Random::new(seed);
        let mut value = |ty: &TensorType| random.literal_in(ty.clone(), -1.0, 1.0);
        let parameters: Vec<Literal> = network.parameters.iter().map(|p| value(&p.ty)).collect();
        let inputs: Vec<Literal> = network.inputs.iter().map(|&v| value(network.ty(v))).collect();
        for (machine, team) in machines() {
            let what = format!("{:?}, {} threads, seed {seed}\n{text}", machine.isa, machine.threads);
            // Caches that hold everything, some lines, and few.
            let [whole, some, few] = [1 << 30, 1 << 15, 1 << 13].map(|cache| {
                let machine = Machine { cache, ..machine.clone() };
                let engine = CpuEngine::compile(&network, machine.clone(), team.clone(), &parameters, &[]);
                let steps = engine.expect("it compiles").describe().steps;
                let bands = steps.iter().filter(|s| s.contains("bands of")).count();
                (bands, run(&network, machine, team.clone(), &parameters, &inputs))
            });
            assert_eq!(whole.0, 0);
            taken += some.0 + few.0;
            let whole = whole.1[0].to_f64();
            let largest = whole.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
            for found in [some, few] {
                let off =
                    found.1[0].to_f64().iter().zip(&whole).map(|(f, w)| (f - w).abs()).fold(0.0, f64::max);
                assert!(off <= 1e-4 * largest, "off by {off}: {what}");
            }
        }
    }
    assert!(taken > 500, "{taken}");
}
