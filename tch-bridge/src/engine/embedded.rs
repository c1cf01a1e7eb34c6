//! Plans in a saved module: engines with their prepared weights, so that loading on a machine of the same kind prepares nothing.
//!
//! The module's parameters stay what counts. A plan tells from which values its weights were prepared; it serves a module that
//! holds those values, and only where its fingerprint is this machine's. Otherwise the engine is built anew.

use super::entry::Shape;
use super::weights::DenseWeights;
use serde::{Deserialize, Serialize};
use trt_subgraph::Bytes;
use trt_subgraph::backend::{Backend, CompileOptions, Engine};
use trt_subgraph::network::{Network, ValueId};
use trt_subgraph::plan::{Plan, PlanError, Recipe};

/// An engine for one shape, and what calls need to know of it.
#[derive(Clone, Debug)]
pub(crate) struct Embedded {
    pub(crate) facts: Facts,
    /// The plan, which checks itself when it is read.
    pub(crate) plan: Bytes,
}

/// What a saved module's header keeps of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) shape: Shape,
    /// The digest of the parameters.
    pub(super) weights: String,
    /// Sizes and strides of each tensor result.
    pub(super) results: Vec<(Vec<i64>, Vec<i64>)>,
    pub(crate) ints: Vec<i64>,
    /// Layers before all passes.
    pub(crate) layers: usize,
    /// Bytes of the plan.
    pub(crate) bytes: u64,
}

/// An engine that was made of an embedded plan.
pub(super) struct Restored {
    pub(super) engine: Box<dyn Engine>,
    pub(super) network: Network,
}

/// What an engine is embedded as.
pub(super) struct Ingredients<'a> {
    pub(super) network: &'a Network,
    pub(super) results: &'a [(Vec<i64>, Vec<i64>)],
    pub(super) ints: &'a [i64],
    pub(super) layers: usize,
    pub(super) weights: &'a DenseWeights,
    /// What the engine gave of itself.
    pub(super) saved: &'a [u8],
}

impl Embedded {
    /// The engine as it is embedded, with the weights that it was prepared from.
    pub(super) fn new(
        shape: Shape,
        of: &Ingredients<'_>,
        backend: &dyn Backend,
        options: &CompileOptions,
    ) -> Result<Embedded, String> {
        let fingerprint = backend.fingerprint(options).ok_or("the backend saves no engines")?;
        let recipe = Recipe::without_weights(of.network).backend(backend.name()).options(options.clone());
        let plan =
            recipe.engine(backend.name(), fingerprint, of.saved).to_bytes().map_err(|e| e.to_string())?;
        let weights = of.weights.digest().ok_or("its weights cannot be read")?;
        let facts = Facts {
            shape,
            weights,
            results: of.results.to_vec(),
            ints: of.ints.to_vec(),
            layers: of.layers,
            bytes: plan.len() as u64,
        };
        Ok(Embedded { facts, plan: Bytes::aligned(&plan) })
    }

    #[cfg(test)]
    pub(super) fn for_tests(shape: Shape, plan: &[u8]) -> Embedded {
        let (weights, bytes) = (String::new(), plan.len() as u64);
        let facts = Facts { shape, weights, results: vec![], ints: vec![], layers: 1, bytes };
        Embedded { facts, plan: Bytes::aligned(plan) }
    }

    /// The engine, for these weights.
    ///
    /// # Errors
    /// Why it has to be built anew, for the log and the report.
    pub(super) fn restore(
        &self,
        weights: &DenseWeights,
        backend: &dyn Backend,
        options: &CompileOptions,
    ) -> Result<Restored, String> {
        let plan = Plan::from_bytes(self.plan.clone()).map_err(|e| format!("its plan is not used: {e}"))?;
        if !plan.is_built_for(backend, options) {
            let of = plan.engines().first().map_or("nothing", |e| e.fingerprint.as_str());
            let here = backend.fingerprint(options).unwrap_or_else(|| backend.name().to_string());
            return Err(format!("its plan was made for '{of}', this is '{here}'"));
        }
        if weights.digest().as_ref() != Some(&self.facts.weights) {
            return Err("the weights are others than its plan was made from".to_string());
        }
        if !self.gives(plan.network()) {
            return Err("its plan has other results than it should".to_string());
        }
        let types: Vec<_> = plan.network().parameters.iter().map(|p| p.ty.clone()).collect();
        let inputs: Vec<_> = plan.inputs().iter().map(|p| p.ty.clone()).collect();
        if types != weights.types() || inputs != self.facts.shape.tensors {
            return Err("its plan takes other tensors than it should".to_string());
        }
        let engine = plan.engine(backend, options).map_err(|e| match e {
            // What does not load is built anew, for which a plan needs weights.
            PlanError::NeedsWeights { engine: Some(why), .. } => {
                format!("the engine in its plan is of no use here: {why}")
            }
            e => format!("its plan is not used: {e}"),
        })?;
        Ok(Restored { engine, network: plan.network().clone() })
    }

    /// Does a network have results of as many elements as are said to be kept of each?
    fn gives(&self, network: &Network) -> bool {
        let fits = |(&v, (sizes, strides)): (&ValueId, &(Vec<i64>, Vec<i64>))| {
            // What repeats is kept once.
            let kept = sizes.iter().zip(strides).map(|(&n, &s)| if s == 0 && n > 1 { 1 } else { n });
            sizes.len() == strides.len()
                && kept.map(|n| usize::try_from(n).ok()).try_fold(1usize, |all, n| all.checked_mul(n?))
                    == Some(network.ty(v).elements())
        };
        network.outputs.len() == self.facts.results.len()
            && network.outputs.iter().zip(&self.facts.results).all(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Tensor};
    use trt_subgraph::backend::Weights;
    use trt_subgraph::backend::cpu::Cpu;

    #[test]
    fn a_plan_is_used_for_its_machine_and_its_weights_alone() {
        let text = "input %x: f32[2]\nparam \"w\": f32[2]\n%w: f32[2] = parameter 0\n%y = pointwise(%x, %w) { i0 * i1 }\noutput %y";
        let network = Network::parse(text).expect("it parses");
        let weights = |values: &[f32]| {
            DenseWeights::read(&[Tensor::from_slice(values)], Device::Cpu).expect("it is dense")
        };
        let (own, options) =
            (weights(&[2.0, 3.0]), CompileOptions { threads: 1, ..CompileOptions::default() });
        assert_eq!(own.parameter(0).ty.shape, [2]);
        let saved = Cpu.compile(&network, &own, &options).expect("it compiles").save().expect("it saves");
        let shape = Shape {
            tensors: vec![network.ty(network.inputs[0]).clone()],
            ints: vec![],
            orders: vec![vec![]],
        };
        let results = [(vec![2], vec![1])];
        let of = Ingredients {
            network: &network,
            results: &results,
            ints: &[],
            layers: 1,
            weights: &own,
            saved: &saved,
        };
        let embedded = Embedded::new(shape.clone(), &of, &Cpu, &options).expect("it is embedded");
        assert!(embedded.restore(&own, &Cpu, &options).is_ok());
        let why = |e: &Embedded, w: &DenseWeights| e.restore(w, &Cpu, &options).err().expect("it is refused");
        assert!(why(&embedded, &weights(&[2.0, 3.5])).contains("the weights are others"));
        let elsewhere = Recipe::without_weights(&network).engine("cpu", "another machine".into(), &saved);
        let plan = Bytes::aligned(&elsewhere.to_bytes().expect("it is a plan"));
        let moved = Embedded { facts: embedded.facts.clone(), plan };
        assert!(why(&moved, &own).contains("made for 'another machine', this is '"));
        let other =
            Shape { tensors: vec![trt_subgraph::TensorType::new(trt_subgraph::DType::F32, [3])], ..shape };
        let facts = Facts { shape: other, ..embedded.facts.clone() };
        assert!(why(&Embedded { facts, plan: embedded.plan.clone() }, &own).contains("other tensors"));
    }
}
