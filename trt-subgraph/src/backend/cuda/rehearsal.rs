//! What can be checked of an engine where there is no device: that its program is sound and its kernels compile.

use super::assemble::Assembler;
use super::compile::{dump, translate};
use super::library::Nvrtc;
use super::render::{Kernel, module};
use super::saved::{Told, digest};
use super::tactic::Choice;
use super::target::Target;
use crate::backend::{CompileError, Tf32, Unavailable};
use crate::network::Network;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Collects the kernels of networks for one kind of GPU, each once.
pub struct Rehearsal {
    target: Target,
    kernels: BTreeMap<String, (Kernel, Vec<String>)>,
}

impl Rehearsal {
    /// For GPUs of this compute capability (major * 10 + minor). Fails where there is no run-time compiler.
    pub fn new(capability: u32) -> Result<Rehearsal, Unavailable> {
        Nvrtc::get().map_err(|why| Unavailable { backend: "cuda", why })?;
        Ok(Rehearsal { target: Target { capability, multiprocessors: 132 }, kernels: BTreeMap::new() })
    }

    /// Assembles both halves of a verified network and checks on a device that is not there that no step leaves its memory or finds it
    /// overwritten, and that the programs of a saved engine come out as they were.
    pub fn add(&mut self, network: &Network) -> Result<(), CompileError> {
        let on_tensor_cores =
            Choice::TensorCores { tf32: Tf32::default(), clusters: self.target.capability >= 90 };
        self.add_by(network, [Choice::First, on_tensor_cores])
    }

    /// The same of a network, of which one layer has several ways to run: in every way of our own.
    pub fn add_every_way(&mut self, network: &Network) -> Result<(), CompileError> {
        let list = Mutex::new(Vec::new());
        self.add_by(network, [Choice::Rehearsed(&list)])?;
        let ways = list.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.add_by(network, ways.into_iter().map(Choice::Settled))
    }

    fn add_by<'a>(
        &mut self,
        network: &Network,
        choices: impl IntoIterator<Item = Choice<'a>>,
    ) -> Result<(), CompileError> {
        let fault = |(layer, why)| CompileError::Layer { layer, why };
        let split = super::split(network);
        let mut programs = Vec::new();
        for choice in choices {
            let assembled = |choice| {
                let (run, wanted) = Assembler::new(&split.run, self.target, choice).run()?;
                let prepare = Assembler::new(&split.prepare, self.target, Choice::First);
                Ok([prepare.prepare(wanted)?, run])
            };
            let [prepare, run] = assembled(choice).map_err(fault)?;
            let told = Told { ways: &run.ways, tf32: Tf32::default(), libraries: None };
            let [again, rerun] = assembled(Choice::Told(told)).map_err(fault)?;
            if digest([&prepare, &run]) != digest([&again, &rerun]) {
                let why = "told its own ways, it comes out another".to_string();
                return Err(CompileError::Layer { layer: "the program".to_string(), why });
            }
            programs.extend([run, prepare]);
        }
        for program in programs {
            program.check().map_err(|why| CompileError::Layer { layer: "the program".to_string(), why })?;
            for (kernel, origins) in program.kernels {
                self.kernels.entry(module([(0, &kernel, &[][..])])).or_insert((kernel, origins));
            }
        }
        Ok(())
    }

    /// How many kernels were collected.
    pub fn kernels(&self) -> usize {
        self.kernels.len()
    }

    /// Compiles every `step`-th kernel from the `first` on to machine code; gives its size in bytes. The error holds the compiler's
    /// words and the kernels' text.
    pub fn compile(&self, first: usize, step: usize) -> Result<usize, String> {
        let chosen: Vec<&(Kernel, Vec<String>)> =
            self.kernels.values().skip(first).step_by(step.max(1)).collect();
        let mut bytes = 0;
        for part in chosen.chunks(64) {
            let text =
                module(part.iter().enumerate().map(|(at, (kernel, origins))| (at, kernel, &origins[..])));
            dump(|| text.clone(), &self.target);
            bytes += translate(&text, &self.target).map_err(|why| format!("{why}\n{text}"))?.len();
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::expr::{Binary, Node, Scalar};
    use crate::network::layer::Range;
    use crate::network::{Builder, Expr, LayerKind};
    use crate::{DType, TensorType};

    /// The kernels of a network's `run` half, without the prelude, and its arena's size.
    fn rendered(network: &Network) -> (String, usize) {
        let target = Target { capability: 90, multiprocessors: 132 };
        let run = super::super::split(network).run;
        let (program, _) = Assembler::new(&run, target, Choice::First).run().unwrap();
        program.check().unwrap();
        let kernels = program.kernels.iter().enumerate().map(|(at, (k, origins))| (at, k, &origins[..]));
        let text = module(kernels);
        (text[module([]).len()..].to_string(), program.arena)
    }

    #[test]
    fn a_kernel_reads_as_its_layer() {
        let mut b = Builder::new();
        let x = b.input(TensorType::new(DType::F16, [2, 3, 8]));
        let bias = b.input(TensorType::new(DType::F16, [3, 1]));
        let zero = Node::Const(DType::F16, Scalar::Float(0.0));
        let add = Node::Binary(Binary::Add, 0, 1);
        let nodes = vec![Node::Input(0), Node::Input(1), add, zero, Node::Binary(Binary::Max, 2, 3)];
        let y = b.add(LayerKind::Pointwise(Expr { nodes }), &[x, bias]).unwrap();
        let (text, arena) = rendered(&b.finish(vec![y]));
        let expected = r#"
// pointwise
extern "C" __global__ void __launch_bounds__(256) pointwise_0(f16* __restrict__ y, const f16* x0, const f16* x1) {
    release_next();
    await_previous();
    const int i = (int)BLOCK * 256 + THREAD;
    if (i >= 6) return;
    const int a1 = i % 3;
    const int a0 = i / 3;
    const Pack<f16, 8> p0 = *reinterpret_cast<const Pack<f16, 8>*>(x0 + (a0 * 24 + a1 * 8));
    const auto v1 = get(x1[a1]);
    Pack<f16, 8> r;
    #pragma unroll
    for (int j = 0; j < 8; ++j) {
        const auto v0 = get(p0.at[j]);
        const f32 t2 = v0 + v1;
        const f32 t4 = max_of(t2, (0e0f));
        put(r.at[j], t4);
    }
    *reinterpret_cast<Pack<f16, 8>*>(y + (a0 * 24 + a1 * 8)) = r;
}
"#;
        assert_eq!(text, expected, "{text}");
        assert_eq!(arena, 0);
    }

    #[test]
    fn movement_costs_nothing() {
        let mut b = Builder::new();
        let x = b.input(TensorType::new(DType::F32, [4, 6]));
        let exp = Expr::unary(crate::network::expr::Unary::Exp);
        let y = b.add(LayerKind::Pointwise(exp.clone()), &[x]).unwrap();
        let y = b.add(LayerKind::Permute { axes: vec![1, 0] }, &[y]).unwrap();
        let ranges = vec![Range { start: 5, step: -2, len: 3 }, Range::full(4)];
        let y = b.add(LayerKind::Slice { ranges }, &[y]).unwrap();
        let y = b.add(LayerKind::Reshape { shape: vec![3, 1, 4] }, &[y]).unwrap();
        let y = b.add(LayerKind::Broadcast { shape: vec![3, 5, 4] }, &[y]).unwrap();
        let y = b.add(LayerKind::Pointwise(exp), &[y]).unwrap();
        let (text, arena) = rendered(&b.finish(vec![y]));
        assert_eq!(text.matches("__global__").count(), 2, "{text}");
        assert_eq!(arena, 128);
    }

    #[test]
    fn parts_are_written_where_they_are_joined() {
        for (shape, axis) in [(vec![4, 6], 1), (vec![1, 4, 6], 0)] {
            let mut b = Builder::new();
            let x = b.input(TensorType::new(DType::F32, [4, 6]));
            let exp = Expr::unary(crate::network::expr::Unary::Exp);
            let parts = [0, 1].map(|_| {
                let part = b.add(LayerKind::Pointwise(exp.clone()), &[x]).unwrap();
                b.add(LayerKind::Reshape { shape: shape.clone() }, &[part]).unwrap()
            });
            let y = b.add(LayerKind::Concat { axis }, &parts).unwrap();
            let (text, arena) = rendered(&b.finish(vec![y]));
            assert_eq!((text.matches("__global__").count(), arena), (1, 0), "{text}");
        }
    }
}
