//! An engine as plans keep it: how each layer was run, the machine code of its kernels, and the prepared weights.
//!
//! ```text
//! 0  8   length of the JSON
//! 8      JSON: the ways of layers, a digest of the programs, where code and weights lie
//! ...    code of each kernel, then the weights, each at a multiple of 64
//! ```
//!
//! Assembling is quick and needs no device, so programs are assembled anew, by the ways that are told, and have to come out as they were:
//! the digest says so. Kernels whose code is there are not compiled; nothing is timed.

use super::assemble::{Assembler, Fault};
use super::compile::{Compiled, Text, compile, know};
use super::device::Device;
use super::program::{Action, Program, Source};
use super::tactic::{Asked, Way, own_ways, ways};
use super::target::Target;
use super::timer::Timer;
use crate::Bytes;
use crate::backend::{Level, Tf32};
use crate::bytes::ALIGNMENT;
use crate::network::Layer;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// Bytes before the JSON.
const HEAD: usize = 8;

#[derive(Serialize, Deserialize)]
struct How {
    /// The names of the ways of layers that have several, in the order of their steps.
    ways: Vec<String>,
    /// Of both programs, see [`digest`].
    programs: String,
    kernels: Vec<Code>,
    weights: Range<usize>,
}

/// Where a kernel's machine code lies, from the end of the JSON on, rounded up.
#[derive(Serialize, Deserialize)]
struct Code {
    text: Text,
    at: Range<usize>,
}

/// What was saved of an engine.
pub struct Saved {
    how: How,
    rest: Bytes,
}

impl Saved {
    /// The saved form of an engine with these programs (`prepare`, `run`) and prepared weights.
    pub fn write(programs: [&Program; 2], target: &Target, weights: &[u8]) -> Result<Vec<u8>, String> {
        let mut end = 0usize;
        let mut place = |bytes: usize| {
            let at = end.next_multiple_of(ALIGNMENT);
            end = at + bytes;
            at..end
        };
        let (mut kernels, mut chunks): (Vec<Code>, Vec<Arc<Vec<u8>>>) = Default::default();
        for program in programs {
            for Compiled { kernel, code } in compile(program, target)? {
                let text = Text::of(&program.kernels[kernel].0);
                if !kernels.iter().any(|k| k.text == text) {
                    kernels.push(Code { text, at: place(code.len()) });
                    chunks.push(code);
                }
            }
        }
        let ways = programs[1].ways.clone();
        let how = How { ways, programs: digest(programs), kernels, weights: place(weights.len()) };
        let json = serde_json::to_vec(&how).map_err(|e| e.to_string())?;
        let mut out = (json.len() as u64).to_le_bytes().to_vec();
        out.extend(json);
        let pieces = chunks.iter().map(|code| &code[..]).chain([weights]);
        for piece in pieces {
            out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
            out.extend(piece);
        }
        Ok(out)
    }

    /// Reads a saved form; whatever the bytes are, that is an error or a form whose parts lie in it.
    pub fn read(bytes: &Bytes) -> Result<Saved, String> {
        let cut = || "the saved engine is cut off".to_string();
        let length = bytes.get(..HEAD).ok_or_else(cut)?;
        let length = u64::from_le_bytes(length.try_into().expect("eight bytes"));
        let end = usize::try_from(length).ok().and_then(|n| n.checked_add(HEAD)).ok_or_else(cut)?;
        let json = bytes.get(HEAD..end).ok_or_else(cut)?;
        let how: How = serde_json::from_slice(json).map_err(|e| format!("the saved engine: {e}"))?;
        let start = end.checked_next_multiple_of(ALIGNMENT).unwrap_or(end).min(bytes.len());
        let rest = bytes.part(start..bytes.len()).ok_or_else(cut)?;
        let ranges = how.kernels.iter().map(|k| &k.at).chain([&how.weights]);
        for range in ranges {
            rest.get(range.clone()).ok_or_else(cut)?;
        }
        Ok(Saved { how, rest })
    }

    /// Makes its code known, so that these kernels are not compiled.
    pub fn teach(&self, target: &Target) {
        for Code { text, at } in &self.how.kernels {
            know(*text, target, || self.rest[at.clone()].to_vec());
        }
    }

    /// The prepared weights.
    pub fn weights(&self) -> &[u8] {
        &self.rest[self.how.weights.clone()]
    }

    /// Who tells each layer the way that it was run.
    pub fn told<'a>(&'a self, device: &'a Arc<Device>, tf32: Tf32, level: Level) -> Told<'a> {
        Told { ways: &self.how.ways, tf32, libraries: Some((device, level)) }
    }

    /// Are these the programs of the engine that was saved?
    pub fn check(&self, programs: [&Program; 2], weight_bytes: usize) -> Result<(), String> {
        if self.how.weights.len() != weight_bytes || self.how.programs != digest(programs) {
            return Err("the engine was saved of other programs".to_string());
        }
        Ok(())
    }
}

/// The ways of an earlier engine of the same network.
#[derive(Clone, Copy)]
pub struct Told<'a> {
    /// By their names, in the order of the layers that have several.
    pub ways: &'a [String],
    pub tf32: Tf32,
    /// Where the libraries' ways are asked for, if they are.
    pub libraries: Option<(&'a Arc<Device>, Level)>,
}

impl Told<'_> {
    /// The way of the next layer that has several.
    pub fn way(&self, a: &mut Assembler, layer: &Layer) -> Result<Arc<dyn Way>, Fault> {
        let name = self.ways.get(a.program.ways.len()).ok_or("the engine was saved of fewer layers")?;
        let own = own_ways(a, layer, self.tf32, usize::MAX).into_iter().find(|way| way.name() == *name);
        if let Some(own) = own {
            return Ok(own);
        }
        let missing = || format!("there is no way '{name}' here");
        let (device, level) = self.libraries.ok_or_else(missing)?;
        let timer = Timer::of(device, self.tf32, level)?;
        ways(a, &timer, layer, self.tf32, Asked::Named(name)).pop().ok_or_else(missing)
    }
}

/// Of all that decides what `prepare` writes where and what `run` does with it: steps, kernels, arguments, slots.
pub fn digest(programs: [&Program; 2]) -> String {
    let mut hash = Xxh3::new();
    for program in programs {
        for kernel in &program.kernels {
            hash.update(format!("{:?}\n", Text::of(&kernel.0)).as_bytes());
        }
        for step in &program.steps {
            let action = match &step.action {
                Action::Launch(launch) => format!("{launch:?}"),
                Action::Call(call) => call.describe(),
            };
            hash.update(format!("{action} {:?}\n", step.arguments).as_bytes());
        }
        for (slot, offset) in program.slots.iter().zip(&program.offsets) {
            let slot = match slot {
                Source::Constant(literal) => format!("constant {}", literal.ty()),
                other => format!("{other:?}"),
            };
            hash.update(format!("{slot} {offset}\n").as_bytes());
        }
        hash.update(format!("{}\n", program.arena).as_bytes());
    }
    format!("{:032x}", hash.digest128())
}

#[cfg(test)]
mod tests {
    use super::super::library::Nvrtc;
    use super::super::tactic::Choice;
    use super::*;
    use crate::network::Network;

    const NETWORK: &str = "input %x: f16[2,64,14,14]\nparam \"w\": f16[64,64,3,3]\nparam \"v\": f16[64,16]\n\
        %w: f16[64,64,3,3] = parameter 0\n%v: f16[64,16] = parameter 1\n\
        %y = convolution(%x, %w) padding=[(1,1),(1,1)]\n%s = reduce(%y) op=mean axes=[2,3] keep=false\n\
        %z = matmul(%s, %v)\noutput %z";

    fn assembled(network: &Network, target: Target, choice: Choice) -> [Program; 2] {
        let split = network.split();
        let (run, wanted) = Assembler::new(&split.run, target, choice).run().unwrap();
        let prepare = Assembler::new(&split.prepare, target, Choice::First);
        [prepare.prepare(wanted).unwrap(), run]
    }

    #[test]
    fn a_saved_engine_is_assembled_again_without_a_compiler() {
        if let Err(why) = Nvrtc::get() {
            return eprintln!("not run: {why}");
        }
        let network = Network::parse(NETWORK).unwrap();
        let target = Target { capability: 90, multiprocessors: 132 };
        let guess = Choice::TensorCores { tf32: Tf32::default(), clusters: true };
        let [prepare, run] = assembled(&network, target, guess);
        assert_eq!(run.ways.len(), 2, "{:?}", run.ways);
        let weights: Vec<u8> = (0..100).collect();
        let bytes = Saved::write([&prepare, &run], &target, &weights).unwrap();
        let saved = Saved::read(&Bytes::from(bytes.clone())).unwrap();
        assert_eq!(saved.weights(), weights);
        assert!(saved.how.kernels.iter().all(|k| saved.rest[k.at.clone()].starts_with(b"\x7fELF")));
        let told = Told { ways: &saved.how.ways, tf32: Tf32::default(), libraries: None };
        let again = assembled(&network, target, Choice::Told(told));
        saved.check([&again[0], &again[1]], weights.len()).unwrap();
        // An architecture that nothing was compiled for has this code as soon as it is taught.
        let other = Target { capability: 1234, ..target };
        saved.teach(&other);
        for (compiled, code) in compile(&run, &other).unwrap().iter().zip(compile(&run, &target).unwrap()) {
            assert_eq!(compiled.code, code.code);
        }
        let first = assembled(&network, target, Choice::First);
        assert!(saved.check([&first[0], &first[1]], weights.len()).is_err());
        assert!(saved.check([&again[0], &again[1]], weights.len() + 1).is_err());
    }

    #[test]
    fn whatever_the_bytes_are_reading_does_not_crash() {
        let how = How { ways: vec![], programs: String::new(), kernels: vec![], weights: 0..4 };
        let json = serde_json::to_vec(&how).unwrap();
        let mut good = (json.len() as u64).to_le_bytes().to_vec();
        good.extend(json);
        good.resize(good.len().next_multiple_of(ALIGNMENT), 0);
        good.extend([1, 2, 3, 4]);
        assert_eq!(Saved::read(&Bytes::from(good.clone())).unwrap().weights(), [1, 2, 3, 4]);
        for cut in 0..good.len() {
            assert!(Saved::read(&Bytes::from(good[..cut].to_vec())).is_err(), "{cut}");
        }
        for at in 0..good.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= flip;
                drop(Saved::read(&Bytes::from(bad)).map(|saved| saved.weights().len()));
            }
        }
    }
}
