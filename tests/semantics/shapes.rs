//! Sizes and strides at run time: new ones, empty ones, none, odd ones.

use tch::{IValue, Kind, Tensor};
use tch_bridge::jit::Initial;
use tch_bridge::report::State;
use tch_bridge::{Options, TrtModule};
use tests::script::{Script, floats, tensor};
use tests::{engines_on, options, served};

const NETWORK: &str = "def forward(self, x):\n    y = torch.conv2d(x, self.w, self.b, [1, 1], [1, 1])\n    y = torch.relu(torch.max_pool2d(y, [2, 2]))\n    z = torch.tanh(y.mean([2, 3])) * 2.0\n    return y, z\n";

fn network(options: &Options) -> Script {
    let attributes =
        [("w", Initial::Parameter(floats(&[8, 3, 3, 3]))), ("b", Initial::Parameter(floats(&[8])))];
    Script::with(NETWORK, &attributes, options)
}

#[test]
fn any_batch_and_size() {
    let _on = engines_on();
    let script = network(&options());
    for (n, h, w) in [(1, 8, 8), (2, 8, 8), (1, 7, 9), (5, 16, 4), (1, 8, 8), (3, 2, 2), (1, 8, 8)] {
        script.agrees(&[&[tensor(floats(&[n, 3, h, w]))]]);
    }
}

#[test]
fn memory_formats_are_kept() {
    let _on = engines_on();
    let script = network(&options());
    let x = floats(&[2, 3, 8, 8]);
    let last = x.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
    for _ in 0..2 {
        script.call(&[tensor(x.shallow_clone())]);
        script.call(&[tensor(last.shallow_clone())]);
    }
    let host = tch_bridge::jit::Module::from_source(
        NETWORK,
        &[("w", Initial::Parameter(floats(&[8, 3, 3, 3]))), ("b", Initial::Parameter(floats(&[8])))],
    )
    .unwrap();
    let module = TrtModule::wrap(host.to_cmodule(), &options()).unwrap();
    for x in [&x, &last, &x, &last] {
        let strides = |v: IValue| match v {
            IValue::Tuple(all) => all
                .iter()
                .map(|v| if let IValue::Tensor(t) = v { t.stride() } else { vec![] })
                .collect::<Vec<_>>(),
            _ => vec![],
        };
        let want = strides(host.method("forward").unwrap().run(&[tensor(x.shallow_clone())]).unwrap());
        let got = strides(module.forward_is(&[tensor(x.shallow_clone())]).unwrap());
        assert_eq!(got, want, "strides of the results");
    }
    assert!(served(&module) > 0);
}

#[test]
fn empty_tensors_and_single_numbers() {
    let _on = engines_on();
    let source = "def forward(self, x):\n    y = torch.tanh(x) * 2.0 + 1.0\n    return torch.exp(y), y.sum(), y.reshape(-1)\n";
    let script = Script::new(source, &[]);
    let calls = [vec![], vec![0], vec![1], vec![0, 3], vec![3, 0], vec![1, 1, 1], vec![2, 0, 3], vec![4, 3]];
    for shape in calls {
        script.same(&[&[tensor(floats(&shape))]]);
    }
    let script = network(&options());
    script.same(&[&[tensor(floats(&[0, 3, 8, 8]))]]);
}

#[test]
fn odd_strides() {
    let _on = engines_on();
    let source = "def forward(self, x):\n    y = torch.tanh(x) * 2.0 + 1.0\n    return torch.exp(y), y.sum(1), torch.softmax(y, 0) @ y.t()\n";
    let script = Script::new(source, &[]);
    let base = floats(&[8, 6]);
    let one = floats(&[1, 6]).as_strided([1, 6], [77, 1], 0);
    let overlapping = floats(&[9]).as_strided([4, 6], [1, 1], 0);
    for x in [
        base.tr(),
        base.slice(0, 0, 8, 3),
        base.slice(1, 1, 6, 2),
        base.narrow(0, 3, 2),
        base.get(0).unsqueeze(0).expand([5, 6], false),
        base.flip([1]),
        base.unfold(0, 2, 1).select(2, 1),
        one,
        overlapping,
        Tensor::from(2.0f32).expand([3, 2], false),
    ] {
        script.agrees(&[&[tensor(x)]]);
    }
}

#[test]
fn a_bounded_number_of_shapes_is_kept() {
    let _on = engines_on();
    let few = Options { specialisations: 3, ..options() };
    let script = Script::with("def forward(self, x): return torch.tanh(x) * 2.0 + 1.0", &[], &few);
    for n in (1..9).chain(1..9) {
        script.agrees(&[&[tensor(floats(&[n]))]]);
    }
    let report = script.module.report();
    for method in &report.methods {
        let State::Divided { engines, .. } = &method.state else { panic!("{report}") };
        assert!(engines.iter().all(|e| e.shapes.len() <= 3), "{report}");
    }
}

#[test]
fn sequences_of_any_length() {
    let _on = engines_on();
    let source = "def forward(self, x):\n    q, k, v = (x @ self.w).chunk(3, -1)\n    y = torch.scaled_dot_product_attention(q, k, v, None, 0.0, True)\n    return torch.layer_norm(x + y, [8]) * 2.0\n";
    let script = Script::new(source, &[("w", Initial::Parameter(floats(&[8, 24])))]);
    for (b, n) in [(1, 4), (2, 4), (1, 9), (3, 1), (1, 17), (2, 4)] {
        script.agrees(&[&[tensor(floats(&[b, n, 8]))]]);
    }
}

#[test]
fn another_kind_or_rank_is_another_form() {
    let _on = engines_on();
    let script = Script::new("def forward(self, x): return torch.tanh(x).sum(-1) * 2.0 + 1.0", &[]);
    for _ in 0..2 {
        script.same(&[
            &[tensor(floats(&[3]))],
            &[tensor(floats(&[3, 2]))],
            &[tensor(floats(&[3, 2]).to_kind(Kind::Double))],
            &[tensor(floats(&[2, 3, 2]).to_kind(Kind::Half))],
            &[tensor(floats(&[3, 2]).to_kind(Kind::Int64))],
        ]);
    }
}
