//! Bisection against backends that are wrong on purpose.

use super::bisect::bisect;
use super::compare::Tolerance;
use crate::jit::{Initial, Module};
use crate::{Options, TrtModule};
use std::sync::Arc;
use tch::{IValue, Kind, Tensor};
use trt_subgraph::backend::reference::Reference;
use trt_subgraph::backend::{Backend, CompileError, CompileOptions, Engine, Unavailable, Weights};
use trt_subgraph::network::{Layer, LayerKind, Network};
use trt_subgraph::source::Refusal;

/// The reference backend on networks that it first spoils.
struct Faulty(fn(&mut Layer));

impl Backend for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn probe(&self) -> Result<String, Unavailable> {
        Reference.probe()
    }

    fn supports(&self, network: &Network, layer: &Layer) -> Result<(), Refusal> {
        Reference.supports(network, layer)
    }

    fn compile(
        &self,
        network: &Network,
        weights: &dyn Weights,
        options: &CompileOptions,
    ) -> Result<Box<dyn Engine>, CompileError> {
        let mut spoilt = network.clone();
        spoilt.layers.iter_mut().for_each(self.0);
        Reference.compile(&spoilt, weights, options)
    }
}

const SOURCE: &str = "
def forward(self, x):
    a = torch.relu(torch.matmul(x, self.w))
    b = torch.tanh(a) * 2.0
    c = torch.softmax(b, -1)
    return torch.sigmoid(c + a)
";

fn module(fault: fn(&mut Layer), excluded: &str) -> (TrtModule, Vec<IValue>) {
    tch::manual_seed(1);
    let random = |shape: [i64; 2]| Tensor::randn(shape, (Kind::Float, tch::Device::Cpu));
    let host = Module::from_source(SOURCE, &[("w", Initial::Parameter(random([6, 5])))]).unwrap();
    let options = Options { take_all: true, exclude_ops: vec![excluded.into()], ..Options::waiting() };
    let module = TrtModule::with_backend(host, Arc::new(Faulty(fault)), &options).unwrap();
    let values = vec![IValue::Tensor(random([4, 6]))];
    tch::no_grad(|| module.compile_method("forward", &values)).unwrap();
    (module, values)
}

/// Softmax becomes its logarithm.
fn logarithm(layer: &mut Layer) {
    if let LayerKind::Softmax { log, .. } = &mut layer.kind {
        *log = true;
    }
}

#[test]
fn one_wrong_operator_is_named_in_its_engine() {
    let (module, values) = module(logarithm, "aten::tanh");
    let mut found = bisect(&module, "forward", &values, Tolerance::default()).unwrap().expect("it is wrong");
    assert_eq!(found.engine, 1, "aten::tanh stays on the host and parts two engines");
    assert_eq!(found.call_names(), ["aten::softmax.int"]);
    assert!(found.layer.as_ref().is_some_and(|l| l.contains("softmax")), "{:?}", found.layer);

    let folder = std::env::temp_dir().join(format!("tch-trt-bisect-{}", std::process::id()));
    found.write(&folder, " --rtol 1e-5").unwrap();
    assert_eq!(found.files.len(), 3, "{:?}", found.files);
    assert!(
        found.repeat.as_ref().is_some_and(|r| r.ends_with("--take-all --rtol 1e-5")),
        "{:?}",
        found.repeat
    );
    let alone = Module::load(folder.join("differs.pt"), None).unwrap();
    let inputs = Tensor::read_safetensors(folder.join("differs.safetensors")).unwrap();
    let given: Vec<Tensor> = alone
        .method("forward")
        .unwrap()
        .arguments()
        .iter()
        .map(|a| {
            inputs
                .iter()
                .find(|(name, _)| *name == a.name)
                .expect("each argument has its tensor")
                .1
                .shallow_clone()
        })
        .collect();
    let result = alone.method("forward").unwrap().run_tensors(&given).unwrap();
    assert!(result[0].allclose(&given[0].softmax(-1, Kind::Float), 1e-6, 1e-6, false));
    assert!(Network::parse(&std::fs::read_to_string(folder.join("differs.network")).unwrap()).is_ok());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_fault_of_fusion_names_what_was_fused() {
    let (module, values) =
        module(|layer| drop(layer.epilogue.take_if(|_| matches!(layer.kind, LayerKind::MatMul { .. }))), "");
    let found = bisect(&module, "forward", &values, Tolerance::default()).unwrap().expect("it is wrong");
    assert_eq!((found.engine, found.call_names()), (0, vec!["aten::matmul", "aten::relu"]));
    assert!(found.layer.as_ref().is_some_and(|l| l.contains("matmul")), "{:?}", found.layer);
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let (module, values) = module(|_| {}, "");
    assert!(bisect(&module, "forward", &values, Tolerance::default()).unwrap().is_none());
}
