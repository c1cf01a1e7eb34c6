//! The documents tell the truth: each message that `docs/errors.md` explains is provoked here, each variable is listed, each command is
//! one that there is.

mod commands;
mod plans;
mod reasons;

use std::path::PathBuf;
use tch::nn::{self, VarStore};
use tch::{Device, IValue, Kind, Tensor};
use tch_bridge::env::{self, EnvError};
use tch_bridge::jit::{JitError, Module};
use tch_bridge::{Bounds, Error, Options, TrtModule};
use tests::engines_on;

const ERRORS: &str = include_str!("../../docs/errors.md");
const QUICK_START: &str = include_str!("../../docs/quick-start.md");

/// Does `message` have the form of `heading`, in which `…` stands for any text?
fn fits(message: &str, heading: &str) -> bool {
    let mut parts = heading.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = message.strip_prefix(first) else { return false };
    let mut open = false;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        open = part.is_empty();
    }
    open || rest.is_empty()
}

/// A file of this process alone, gone when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, bytes: &[u8]) -> Scratch {
        let path = std::env::temp_dir().join(format!("tch-trt-documents-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).expect("there is room");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

fn load(name: &str, bytes: &[u8]) -> Error {
    let file = Scratch::new(name, bytes);
    TrtModule::load(&file.0, &Options::default()).expect_err("the file is bad")
}

fn module(source: &str) -> TrtModule {
    let module = Module::from_source::<&str>(source, &[]).expect("the source compiles");
    TrtModule::wrap(module.to_cmodule(), &Options::default()).expect("the defaults can be met")
}

fn of_files() -> Vec<Error> {
    let good = Module::from_source::<&str>("def forward(self, x): return torch.neg(x)", &[]);
    let good = good.and_then(|m| m.save_bytes()).expect("it can be saved");
    let mut foreign = good.clone();
    let at = foreign.windows(9).position(|w| w == b"torch.neg").expect("the code is not compressed");
    foreign[at..at + 9].copy_from_slice(b"ops.a.neg");
    vec![
        TrtModule::load("no/such/model.pt", &Options::default()).expect_err("it is not there"),
        load("text.pt", b"<!doctype html>"),
        load("cut.pt", &good[..good.len() / 3]),
        load("foreign.pt", &foreign),
    ]
}

fn of_calls() -> Vec<Error> {
    let x = Tensor::zeros([2], (Kind::Float, Device::Cpu));
    let one = module("def forward(self, x): return torch.mm(x, x)");
    let two = module("def forward(self, x): return x, x");
    let text = [IValue::String("x".into())];
    let vs = VarStore::new(Device::Cpu);
    let traced = TrtModule::trace(
        &vs,
        &[x.shallow_clone()],
        |_| panic!("the network has a fault"),
        &Options::default(),
    );
    two.compile(&[&x]).expect("it compiles");
    let named = |name: &str| {
        let vs = VarStore::new(Device::Cpu);
        let w = (vs.root() / name).var("w", &[2], nn::Init::Const(1.0));
        tch::no_grad(|| TrtModule::trace(&vs, &[x.shallow_clone()], |xs| &xs[0] * &w, &Options::default()))
    };
    let unwritten = named("class").expect("it is traced").save(std::env::temp_dir().join("no-such.pt"));
    let without = Options { exclude_modules: vec!["layer4".into()], ..Options::default() };
    let left_out = TrtModule::wrap(one.host(), &without);
    let bounded = Options { bounds: vec![Bounds::new("image", [1], [2])], ..Options::default() };
    let unbounded = TrtModule::wrap(one.host(), &bounded);
    let folder = std::env::temp_dir().join("no-such-folder").join("report.txt");
    vec![
        one.forward_is(&text).expect_err("text is no tensor"),
        one.method_ts("backward", &[&x]).expect_err("there is no such method"),
        one.forward_ts(&[&x]).expect_err("a vector is no matrix"),
        two.forward_ts(&[&x]).expect_err("two tensors are not one"),
        traced.expect_err("the code panics"),
        named("training").expect_err("the module has it"),
        unwritten.expect_err("it is a keyword"),
        left_out.expect_err("there is no such submodule"),
        unbounded.expect_err("there is no such argument"),
        two.report().write(folder).expect_err("there is no such folder"),
    ]
}

/// What this process cannot provoke without harm to its other tests: made by hand.
fn made() -> Vec<Error> {
    let class = JitError::UnknownClass { name: "__torch__.A".into(), message: "Unknown type name".into() };
    let none = trt_subgraph::backend::Unavailable { backend: "cpu", why: "there is no oneDNN".into() };
    let variable = EnvError { name: "USE_TRT", value: "banana".into(), values: "1, 0" };
    vec![Error::Load { path: "a.pt".into(), source: class }, none.into(), variable.into()]
}

#[test]
fn every_explained_message_is_real_and_every_message_explained() {
    let _on = engines_on();
    let headings: Vec<&str> =
        ERRORS.lines().filter_map(|l| l.strip_prefix("### `")?.strip_suffix('`')).collect();
    let errors = [of_files(), of_calls(), made()].into_iter().flatten();
    let messages: Vec<String> = errors.map(|e| e.to_string()).chain(plans::errors()).collect();
    for message in &messages {
        assert!(headings.iter().any(|h| fits(message, h)), "not in docs/errors.md: {message}");
    }
    for heading in &headings {
        assert!(messages.iter().any(|m| fits(m, heading)), "no such message: {heading}");
    }
}

#[test]
fn every_variable_is_listed() {
    for v in env::ALL {
        let row = format!("| `{}` | {} | {} | {} |", v.name, v.values, v.default, v.doc);
        assert!(QUICK_START.contains(&row), "docs/quick-start.md lacks: {row}");
    }
}
