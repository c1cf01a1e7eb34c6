//! Element types: promotion, overflow, precision.

use tch::{IValue, Kind, Tensor};
use tests::script::{Script, floats, tensor};
use tests::{BEYOND, KINDS, engines_on};

/// The number that TorchScript knows each kind by.
const CODES: [i64; 10] = [6, 7, 5, 15, 4, 3, 2, 1, 0, 11];

/// Small whole numbers of any kind, some negative where there are such.
fn of(kind: Kind, shape: &[i64]) -> Tensor {
    let whole = (floats(shape) * 3.0).round();
    match kind {
        Kind::Uint8 | Kind::Bool => whole.abs().to_kind(kind),
        _ => whole.to_kind(kind),
    }
}

#[test]
fn promotion_of_every_pair() {
    let _on = engines_on();
    let source = "def forward(self, x, y):\n    return x + y, x * y, x > y, x / (y.abs() + 1), torch.maximum(x, y), torch.where(x == y, x, y), x * 2, x * 1.5, x + True\n";
    let script = Script::new(source, &[]);
    for a in KINDS {
        for b in KINDS {
            script.call(&[tensor(of(a, &[2, 3])), tensor(of(b, &[3]))]);
            script.call(&[tensor(of(a, &[2, 3])), tensor(of(b, &[]))]);
            script.call(&[tensor(of(a, &[2, 3])), tensor(of(b, &[3]))]);
        }
    }
}

#[test]
fn every_kind_through_one_program() {
    let _on = engines_on();
    for body in [
        "return (x + x) * x - x, x.sum(), x.to(6).tanh() * 2.0 + 1.0",
        "return x.abs() * 3 + 1, torch.exp(x), x.float() / 3",
        "return x // 2 + x % 3, torch.tanh(x / 2)",
        "return x.cumsum(0) * 2, x.amax(0) + x.amin(0), x.argmax(0) + 1",
        "return torch.cat([x, x * 2], 0) + 1, torch.stack([x, x + 1]).sum(0)",
        "return (x ** 2) * 2 + x, x.clamp(0, 2) + 1",
    ] {
        let script = Script::new(&format!("def forward(self, x):\n    {body}\n"), &[]);
        for kind in KINDS {
            script.same(&[&[tensor(of(kind, &[3, 4]))]]);
        }
    }
}

#[test]
fn whole_numbers_wrap_around() {
    let _on = engines_on();
    let source = "def forward(self, x):\n    return x * x * x + x, x.sum(), x.cumprod(0), -x - 1, x * 3\n";
    let script = Script::new(source, &[]);
    for (kind, top) in [
        (Kind::Int64, i64::MAX),
        (Kind::Int, i64::from(i32::MAX)),
        (Kind::Int16, i64::from(i16::MAX)),
        (Kind::Int8, i64::from(i8::MAX)),
        (Kind::Uint8, i64::from(u8::MAX)),
    ] {
        let x = Tensor::from_slice(&[top, top - 1, top / 2 + 1, 3]).to_kind(kind);
        script.agrees(&[&[tensor(x)]]);
    }
}

#[test]
fn floats_that_no_whole_number_holds_become_the_hosts() {
    let _on = engines_on();
    for code in [0, 1, 2, 3, 4] {
        let source = format!(
            "def forward(self, x):
    return x.to({code}), (x * 2.0).to({code}) + 1, x.sum(1, dtype={code}), x.prod(0, dtype={code}), x.cumsum(1, dtype={code})\n"
        );
        let script = Script::new(&source, &[]);
        for kind in [Kind::Double, Kind::Float, Kind::Half, Kind::BFloat16] {
            script.same(&[&[tensor(Tensor::from_slice(&BEYOND).reshape([6, 2]).to_kind(kind))]]);
        }
    }
}

#[test]
fn zeros_have_the_hosts_signs() {
    let _on = engines_on();
    let x = Tensor::from_slice(&[-0.0f32, 0.0, -0.1, 0.1, -0.5, 0.5, -2.0, 2.0]);
    for function in ["elu(x)", "selu(x)", "celu(x)", "expm1(x)"] {
        // Infinities tell the signs.
        let script = Script::new(&format!("def forward(self, x):\n    return 1.0 / torch.{function}\n"), &[]);
        script.agrees(&[&[tensor(x.shallow_clone())]]);
    }
}

#[test]
fn int64_and_float64_are_never_narrowed() {
    let _on = engines_on();
    let script = Script::new("def forward(self, x, y):\n    return x + 1, x * 3 - y, (x - y) // 2\n", &[]);
    let big = 1_i64 << 53;
    script
        .agrees(&[&[tensor(Tensor::from_slice(&[big + 1, big + 3])), tensor(Tensor::from_slice(&[big, 7]))]]);
    let script = Script::new(
        "def forward(self, x):\n    return torch.tanh(x) + 1e-12, x * (1.0 + 1e-12), x.sum()\n",
        &[],
    );
    let x = Tensor::from_slice(&[1.0 + 1e-13, 1e-300, 1e300]);
    script.agrees(&[&[tensor(x.shallow_clone())]]);
    let Some(IValue::Tuple(got)) = script.call(&[tensor(x.shallow_clone())]) else { panic!("a tuple") };
    let IValue::Tensor(scaled) = &got[1] else { panic!("a tensor") };
    assert_eq!(scaled, &(&x * (1.0 + 1e-12)));
}

#[test]
fn half_precision_rounds_as_the_host_does() {
    let _on = engines_on();
    // Each result is within two units of the last place of the host's: the order of additions is the engine's own.
    for (kind, unit) in [(Kind::Half, 2f64.powi(-10)), (Kind::BFloat16, 2f64.powi(-7))] {
        for body in [
            "torch.tanh(x @ y) * 2.0",
            "torch.softmax(x @ y, 1)",
            "torch.layer_norm(x @ y, [8]) + 1.0",
            "(x * 1.5 + x).sum(1)",
        ] {
            let source = format!("def forward(self, x, y):\n    return {body}\n");
            let module = tch_bridge::jit::Module::from_source::<&str>(&source, &[]).unwrap();
            let host = tch_bridge::jit::Module::from_source::<&str>(&source, &[]).unwrap();
            let module = tch_bridge::TrtModule::wrap(module.to_cmodule(), &tests::options()).unwrap();
            let arguments = [floats(&[5, 6]).to_kind(kind), floats(&[6, 8]).to_kind(kind)];
            for _ in 0..2 {
                let got = module.forward_ts(&arguments).unwrap();
                let want = host.method("forward").unwrap().run_tensors(&arguments).unwrap().remove(0);
                assert_eq!((got.kind(), got.size()), (want.kind(), want.size()));
                let (got, want) = (got.to_kind(Kind::Double), want.to_kind(Kind::Double));
                let off = ((got - &want).abs() / want.abs().clamp_min(1.0)).max().double_value(&[]);
                assert!(off <= 2.0 * unit, "{body} in {kind:?}: off by {off:e}");
            }
        }
    }
}

#[test]
fn a_write_keeps_the_type_of_what_is_written() {
    let _on = engines_on();
    for body in [
        "z.add_(y)",
        "z.mul_(y).sub_(1)",
        "z.gt_(y)",
        "z.lt_(0)",
        "z.copy_(y)",
        "z[0] = y[0]",
        "z.fill_(y[0, 0])",
        "z[y > 0] = 2",
        "z.masked_fill_(y > 0, 3)",
        "z.maximum(y)",
        "z.div_(y.abs() + 1)",
        "z.clamp_(-1, 1)",
        "z.add_(y[0:1])",
        "z.pow_(2)",
        "z.pow_(0.5)",
        "z.mul_(2.5)",
        "z.sub_(0.5)",
        "z.div_(2)",
        "z.sqrt_()",
        "z.sigmoid_()",
        "z.floor_()",
        "z.cumsum_(0)",
        "z.clamp_(min=0.5)",
        "z.t().mul_(1.5)",
        "z[0].add_(0.5)",
        "z = z.gt(1)\n    z.mul_(2)",
        "z = z.gt(1)\n    z.bitwise_not_()",
    ] {
        let source =
            format!("def forward(self, x, y):\n    z = x * 2\n    {body}\n    return z + z, z.t() * 2\n");
        let script = Script::new(&source, &[]);
        for a in KINDS {
            for b in [Kind::Float, Kind::Double, Kind::Half, Kind::Int64, Kind::Bool] {
                script.same(&[&[tensor(of(a, &[3, 3])), tensor(of(b, &[3, 3]))]]);
            }
        }
    }
}

#[test]
fn conversions() {
    let _on = engines_on();
    for code in CODES {
        let script = Script::new(
            &format!(
                "def forward(self, x):\n    return (x * 1).to({code}), x.to({code}).to(6) + 1.0, x.type_as(x) * 2\n"
            ),
            &[],
        );
        for from in KINDS {
            script.same(&[&[tensor(of(from, &[3, 2]))]]);
        }
    }
    let script =
        Script::new("def forward(self, x):\n    return x.to(4) + 1, x.to(3) * 2, (x > 0).to(6) * x\n", &[]);
    script.same(&[&[tensor(Tensor::from_slice(&[1.9f32, -1.9, 0.0, 100.5]))]]);
}
