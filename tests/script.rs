//! TorchScript from source, with and without engines, side by side.

use crate::measure::{copied, distance};
use crate::{options, served};
use tch::{IValue, Tensor};
use tch_bridge::jit::{Initial, Module};
use tch_bridge::{Options, TrtModule};

/// One program twice: as the host runs it, and with engines. Attributes are not shared between the two.
pub struct Script {
    host: Module,
    /// The one with engines.
    pub module: TrtModule,
    /// Its own handle to the module with engines, for a look at its attributes.
    shared: Module,
}

impl Script {
    /// Compiles `source`, the methods of a module with these attributes; engines take whatever is legal.
    ///
    /// # Panics
    /// When torch does not compile the source.
    pub fn new(source: &str, attributes: &[(&str, Initial)]) -> Script {
        Script::with(source, attributes, &options())
    }

    /// As [`Script::new`] with these options.
    ///
    /// # Panics
    /// When torch does not compile the source.
    pub fn with(source: &str, attributes: &[(&str, Initial)], options: &Options) -> Script {
        let compile = || {
            let own: Vec<(&str, Initial)> = attributes.iter().map(|(n, i)| (*n, twin(i))).collect();
            Module::from_source(source, &own).expect("the source compiles")
        };
        let (host, shared) = (compile(), compile());
        let module = TrtModule::wrap(shared.to_cmodule(), options).expect("the options can be met");
        Script { host, module, shared }
    }

    /// Calls `forward` both ways, each with its own copy of the arguments, and gives the answer. What both return, or that both
    /// raise, what the arguments hold afterwards and what the module's tensors hold afterwards must agree.
    ///
    /// # Panics
    /// When they do not.
    pub fn call(&self, arguments: &[IValue]) -> Option<IValue> {
        let copies = || arguments.iter().map(copied).collect::<Vec<_>>();
        let (for_host, for_engines) = (copies(), copies());
        tch::manual_seed(0);
        let want = self.host.method("forward").and_then(|m| m.run(&for_host));
        tch::manual_seed(0);
        let got = self.module.forward_is(&for_engines);
        let show = || self.module.report().to_string();
        let got = match (got, want) {
            (Ok(got), Ok(want)) => {
                near(&got, &want).unwrap_or_else(|why| panic!("the answer: {why}\n{}", show()));
                Some(got)
            }
            (Err(_), Err(_)) => None,
            (Ok(got), Err(e)) => panic!("{got:?} where the host raises {e}\n{}", show()),
            (Err(e), Ok(want)) => panic!("{e} where the host gives {want:?}\n{}", show()),
        };
        for (at, (got, want)) in for_engines.iter().zip(&for_host).enumerate() {
            near(got, want).unwrap_or_else(|why| panic!("argument {at} afterwards: {why}\n{}", show()));
        }
        let tensors = |m: &Module| m.named_tensors().expect("its tensors can be listed");
        for (got, want) in tensors(&self.shared).iter().zip(tensors(&self.host)) {
            let (got, want) = (&IValue::Tensor(got.tensor.shallow_clone()), &IValue::Tensor(want.tensor));
            near(got, want).unwrap_or_else(|why| panic!("an attribute afterwards: {why}\n{}", show()));
        }
        got
    }

    /// The tensor that the module with engines has under this name, by identity.
    ///
    /// # Panics
    /// When there is none.
    pub fn attribute(&self, name: &str) -> Tensor {
        let all = self.shared.named_tensors().expect("its tensors can be listed");
        all.into_iter().find(|t| t.name == name).expect("an attribute of this name").tensor
    }

    /// Three calls with each list of arguments; the engines must have served some.
    ///
    /// # Panics
    /// When an answer differs, or no engine served.
    pub fn agrees(&self, calls: &[&[IValue]]) {
        self.same(calls);
        assert!(served(&self.module) > 0, "no engine served\n{}", self.module.report());
    }

    /// Four calls with these arguments, each of which answers as the host does when it is asked for the first time.
    ///
    /// # Panics
    /// When an answer differs, or no engine served.
    pub fn agrees_at_first(&self, arguments: &[IValue]) {
        let copies = || arguments.iter().map(copied).collect::<Vec<_>>();
        let want = self.host.method("forward").and_then(|m| m.run(&copies())).expect("the host answers");
        for _ in 0..4 {
            let got = self.module.forward_is(&copies()).expect("an answer");
            near(&got, &want).unwrap_or_else(|why| panic!("the answer: {why}\n{}", self.module.report()));
        }
        assert!(served(&self.module) > 0, "no engine served\n{}", self.module.report());
    }

    /// Three calls with each list of arguments, whoever serves.
    ///
    /// # Panics
    /// When an answer differs.
    pub fn same(&self, calls: &[&[IValue]]) {
        for arguments in std::iter::repeat_n(calls, 3).flatten() {
            self.call(arguments);
        }
    }
}

/// Equal but for rounding: within 1e-5 of the tensor's scale; whole numbers exactly.
fn near(got: &IValue, want: &IValue) -> Result<(), String> {
    match distance(got, want, false)? {
        off if off <= 1e-5 => Ok(()),
        off => Err(format!("off by {off:e}:\n{got:?}\n{want:?}")),
    }
}

/// The same initial value in memory of its own.
fn twin(initial: &Initial) -> Initial {
    match initial {
        Initial::Parameter(t) => Initial::Parameter(t.copy()),
        Initial::Buffer(t) => Initial::Buffer(t.copy()),
        Initial::Value(v) => Initial::Value(copied(v)),
    }
}

/// A tensor argument.
pub fn tensor(t: Tensor) -> IValue {
    IValue::Tensor(t)
}

/// Random numbers, float32.
pub fn floats(shape: &[i64]) -> Tensor {
    Tensor::randn(shape, tch::kind::FLOAT_CPU)
}
