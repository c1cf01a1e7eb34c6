//! Names of variables, and results, that torch has trouble with.

use tch::nn::{self, VarStore};
use tch::{Device, IValue, Kind, Tensor};
use tch_bridge::jit::{Initial, Module};
use tch_bridge::{Error, TrtModule};
use tests::{assert_close, engines_on, options};

/// A matrix product with one variable of this name, alone or in a part of the module.
fn traced(name: &str, is_part: bool) -> Result<(TrtModule, Tensor), Error> {
    let vs = VarStore::new(Device::Cpu);
    let (path, last) = if is_part { (vs.root() / name, "weight") } else { (vs.root(), name) };
    let w = path.var(last, &[8, 8], nn::Init::Randn { mean: 0.0, stdev: 1.0 });
    let x = Tensor::ones([4, 8], (Kind::Float, Device::Cpu));
    let sample = [x.shallow_clone()];
    let module = tch::no_grad(|| TrtModule::trace(&vs, &sample, |xs| xs[0].matmul(&w).relu(), &options()))?;
    tch::no_grad(|| module.compile(&[&x]))?;
    Ok((module, x))
}

#[test]
fn a_name_that_no_file_can_hold_is_told_when_saving() {
    let _on = engines_on();
    let path = std::env::temp_dir().join(format!("tch-trt-names-{}.pt", std::process::id()));
    for is_part in [false, true] {
        for name in ["l", "0", "a b", "a'b", "a-b", "self", "list", "int"] {
            let (module, x) = traced(name, is_part).expect(name);
            module.save(&path).expect(name);
            let loaded = TrtModule::load(&path, &options()).expect(name);
            let answers = [&module, &loaded].map(|m| tch::no_grad(|| m.forward_ts(&[&x])).expect(name));
            assert_close(&answers[0], &answers[1]);
        }
        std::fs::remove_file(&path).expect("it was written");
        for name in [
            "class",
            "None",
            "True",
            "del",
            "forward",
            "né",
            "a\"b",
            "a\\b",
            "a\nb",
            "torch",
            "__parameters__",
        ] {
            let (module, _) = traced(name, is_part).expect(name);
            let said = module.save(&path).expect_err(name).to_string();
            assert!(said.contains(&format!("the attribute `{name}` cannot be written")), "{said}");
            assert!(!path.exists(), "{name}");
        }
        let said = traced("training", is_part).map(|_| ()).expect_err("each module has it").to_string();
        assert!(said.contains("`training") && said.contains("rename it"), "{said}");
    }
}

#[test]
fn code_may_give_a_variable_itself() {
    let _on = engines_on();
    let vs = VarStore::new(Device::Cpu);
    let mut w = vs.root().var("w", &[2], nn::Init::Const(1.0));
    let elsewhere = Tensor::from_slice(&[5f32, 6.0]);
    let x = Tensor::from_slice(&[2f32, 3.0]);
    let trace = |given: &Tensor| {
        tch::no_grad(|| TrtModule::trace(&vs, &[x.copy()], |_| given.shallow_clone(), &options()))
    };
    for given in [&w, &elsewhere] {
        let module = trace(given).expect("it is traced");
        assert_eq!(tch::no_grad(|| module.forward_ts(&[&x])).expect("it answers"), *given);
    }
    let module = trace(&w).expect("it is traced");
    let _filled = tch::no_grad(|| w.fill_(7.0));
    let got = module.forward_ts(&[&x]).expect("it answers");
    assert_eq!(got, w);
    got.sum(Kind::Float).backward();
    assert_eq!(Vec::<f32>::try_from(w.grad()).expect("two numbers"), [1.0, 1.0]);
    // In a tuple, beside what is computed.
    let parts = [("w", Initial::Parameter(w.shallow_clone()))];
    let pair = |xs: &[Tensor]| {
        let both = vec![IValue::Tensor(w.shallow_clone()), IValue::Tensor(&xs[0] + 1.0)];
        Ok::<_, std::convert::Infallible>(IValue::Tuple(both))
    };
    let module = tch::no_grad(|| Module::trace("forward", &[x.copy()], &parts, pair)).expect("it is traced");
    let method = module.method("forward").expect("it is there");
    let got = method.run_tensors(&[&x]).expect("it answers");
    assert_eq!((&got[0], &got[1]), (&w, &(&x + 1.0)));
}
