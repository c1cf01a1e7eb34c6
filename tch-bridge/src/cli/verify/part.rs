//! A run of an engine's calls by itself, between the host's values.

use crate::divide::literal_of;
use crate::engine::{ClusterEngine, Entry};
use crate::jit::{TensorView, ValueId};
use crate::types::type_of_view;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use tch::{Device, IValue, Tensor};
use trt_subgraph::backend::{CompileOptions, Io, Stream, reference};
use trt_subgraph::network::Network;
use trt_subgraph::source::{Arg, Border, Call, Input, InputKind, SourceGraph, Var};
use trt_subgraph::{Literal, compare, cost, pass, tolerance};

/// More operations than this, and the reference backend is too slow to be asked.
const SMALL: f64 = 2e9;

/// An engine, and the host's values around and within it.
pub(crate) struct Whole<'a> {
    pub(crate) engine: &'a ClusterEngine,
    /// By number of the value; those that the run computed.
    pub(crate) kept: &'a HashMap<u32, IValue>,
}

/// Some of its calls.
pub(crate) struct Part {
    pub(crate) source: SourceGraph,
    pub(crate) parameters: Handles,
    pub(crate) border: Border,
    /// The host's inputs and outputs.
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) expected: Vec<Tensor>,
    /// Everything that comes from outside, literals of the source included.
    given: Vec<(ValueId, IValue)>,
}

/// Tensors by identity.
pub(crate) struct Handles(Vec<Tensor>);

impl Handles {
    /// Second handles to the same tensors.
    pub(crate) fn clone_handles(&self) -> Vec<Tensor> {
        self.0.iter().map(Tensor::shallow_clone).collect()
    }
}

impl Whole<'_> {
    /// The calls of this range alone; `None` where something other than tensors and numbers crosses its border, or its calls
    /// did not run.
    pub(crate) fn part(&self, range: Range<usize>) -> Option<Part> {
        let source = self.engine.source();
        let calls = &source.calls[range.clone()];
        let defined: HashSet<Var> = calls.iter().flat_map(|c| c.outputs.iter().copied()).collect();
        let parameters: HashMap<Var, usize> =
            source.parameters.iter().enumerate().map(|(at, (var, _))| (*var, at)).collect();
        let mut cut = Cut {
            whole: self,
            defined: &defined,
            parameters: &parameters,
            part: Part::empty(),
            known: HashSet::new(),
        };
        for call in calls {
            let args = call.args.iter().map(|a| cut.argument(a)).collect::<Option<Vec<_>>>()?;
            cut.part.source.calls.push(Call { args, ..call.clone() });
        }
        cut.part.source.device = source.device.clone();
        let mut later: HashSet<Var> = source.outputs.iter().copied().collect();
        for arg in source.calls[range.end..].iter().flat_map(|c| &c.args) {
            arg.for_each_var(&mut |v| _ = later.insert(v));
        }
        let mut part = cut.part;
        for &var in calls.iter().flat_map(|c| &c.outputs).filter(|v| later.contains(v)) {
            match self.kept.get(&var.0)? {
                IValue::Tensor(t) => {
                    part.source.outputs.push(var);
                    part.expected.push(t.shallow_clone());
                }
                IValue::Int(_) | IValue::Double(_) | IValue::Bool(_) => {}
                _ => return None,
            }
        }
        // Tensors come before ints in a border.
        part.source.inputs.sort_by_key(|input| input.kind == InputKind::Int);
        let ty = |t: &Tensor| type_of_view(&TensorView::of(t));
        part.border.tensors = part.tensors.iter().map(ty).collect::<Option<_>>()?;
        part.border.parameters = part.parameters.0.iter().map(ty).collect::<Option<_>>()?;
        (!part.expected.is_empty()).then_some(part)
    }
}

struct Cut<'a> {
    whole: &'a Whole<'a>,
    defined: &'a HashSet<Var>,
    parameters: &'a HashMap<Var, usize>,
    part: Part,
    known: HashSet<Var>,
}

impl Cut<'_> {
    fn argument(&mut self, arg: &Arg) -> Option<Arg> {
        match arg {
            Arg::Var(var) if self.defined.contains(var) => Some(arg.clone()),
            Arg::Var(var) => self.outside(*var),
            Arg::List(items) => items.iter().map(|a| self.argument(a)).collect::<Option<_>>().map(Arg::List),
            _ => Some(arg.clone()),
        }
    }

    fn outside(&mut self, var: Var) -> Option<Arg> {
        let fresh = self.known.insert(var);
        if let Some(&at) = self.parameters.get(&var) {
            if fresh {
                self.part.source.parameters.push(self.whole.engine.source().parameters[at].clone());
                self.part.parameters.0.push(self.whole.engine.parameters().tensors()[at].shallow_clone());
            }
            return Some(Arg::Var(var));
        }
        let value = self.whole.kept.get(&var.0)?;
        let copy = match value {
            IValue::Tensor(t) => {
                if fresh {
                    self.part.source.inputs.push(Input { var, kind: InputKind::Tensor });
                    self.part.tensors.push(t.shallow_clone());
                }
                IValue::Tensor(t.shallow_clone())
            }
            IValue::Int(v) => {
                if fresh {
                    self.part.source.inputs.push(Input { var, kind: InputKind::Int });
                    self.part.border.ints.push(*v);
                }
                IValue::Int(*v)
            }
            IValue::Double(v) => IValue::Double(*v),
            IValue::Bool(v) => IValue::Bool(*v),
            IValue::None => return Some(Arg::None),
            _ => return None,
        };
        let literal = match copy {
            IValue::Double(v) => Arg::Float(v),
            IValue::Bool(v) => Arg::Bool(v),
            _ => Arg::Var(var),
        };
        if fresh {
            self.part.given.push((ValueId(var.0), copy));
        }
        Some(literal)
    }
}

impl Part {
    fn empty() -> Part {
        Part {
            source: SourceGraph::default(),
            parameters: Handles(Vec::new()),
            border: Border::default(),
            tensors: Vec::new(),
            expected: Vec::new(),
            given: Vec::new(),
        }
    }

    /// What a module of these calls takes.
    pub(crate) fn given_ids(&self) -> Vec<ValueId> {
        self.given.iter().map(|(id, _)| *id).collect()
    }

    /// What a module of these calls gives.
    pub(crate) fn output_ids(&self) -> Vec<ValueId> {
        self.source.outputs.iter().map(|v| ValueId(v.0)).collect()
    }

    /// The arguments of that module, under its names for them.
    pub(crate) fn arguments(&self) -> Vec<(String, Tensor)> {
        let tensor = |value: &IValue| match value {
            IValue::Tensor(t) => t.shallow_clone(),
            IValue::Int(v) => Tensor::from(*v),
            IValue::Double(v) => Tensor::from(*v),
            IValue::Bool(v) => Tensor::from(*v),
            _ => unreachable!("a part takes tensors and numbers"),
        };
        self.given.iter().enumerate().map(|(at, (_, value))| (format!("x{at}"), tensor(value))).collect()
    }

    /// The network that is compiled for these calls.
    pub(crate) fn network(&self, engine: &ClusterEngine) -> Result<Network, String> {
        let part = engine
            .for_part(self.source.clone(), self.parameters.clone_handles())
            .map_err(|e| e.to_string())?;
        Ok(part.laid(&Entry::of(self.border.clone(), &self.tensors, part.device()))?.network)
    }

    /// The first layer whose value, computed by the backend from the inputs, is not what the reference computes. Not found on
    /// a GPU.
    pub(crate) fn first_wrong_layer(&self, engine: &ClusterEngine) -> Option<String> {
        if engine.device() != Device::Cpu {
            return None;
        }
        let network = self.network(engine).ok()?;
        if network.layers.iter().map(|l| cost::cost(&network, l).operations).sum::<f64>() > SMALL {
            return None;
        }
        let literals = |ts: &[Tensor]| ts.iter().map(literal_of).collect::<Option<Vec<Literal>>>();
        let (parameters, inputs) = (literals(&self.parameters.0)?, literals(&self.tensors)?);
        for at in 0..network.layers.len() {
            let upto = upto(&network, at);
            let expected = reference::evaluate(&upto, &parameters, &inputs).ok()?;
            let Ok(mut compiled) = engine.backend().compile(&upto, &parameters, &CompileOptions::default())
            else {
                continue;
            };
            let mut found: Vec<Literal> = expected.iter().map(|l| Literal::zeros(l.ty().clone())).collect();
            let from: Vec<*const u8> = inputs.iter().map(|l| l.bytes().as_ptr()).collect();
            let to: Vec<*mut u8> = found.iter_mut().map(|l| l.bytes_mut().as_mut_ptr()).collect();
            // SAFETY: literals are dense CPU memory, where the backend runs; those of the inputs and the fresh ones have the network's types.
            unsafe { compiled.run(&Io { inputs: &from, outputs: &to }, Stream::NONE) }.ok()?;
            let same = |(a, b): (&Literal, &Literal)| compare(a, b, 10.0 * tolerance(b.ty().dtype)).is_ok();
            if !found.iter().zip(&expected).all(same) {
                return Some(network.line(&network.layers[at]));
            }
        }
        None
    }
}

/// The network whose outputs are those of the layer at this position.
fn upto(network: &Network, at: usize) -> Network {
    let cut = Network {
        layers: network.layers[..=at].to_vec(),
        outputs: network.layers[at].outputs.clone(),
        ..network.clone()
    };
    let dead = pass::by_name("dead").expect("there is a pass of this name");
    dead.run(cut, &pass::Options::default(), &mut usize::MAX.clone())
}
