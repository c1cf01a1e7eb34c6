//! What happens keeps its place among what else happens: writes, checks, random numbers, statistics.

use crate::effects::{check, indented};
use tch::{CModule, IValue, Tensor};
use tch_bridge::jit::Initial;
use tests::engines_on;
use tests::script::{Script, floats, tensor};

#[test]
fn what_reads_written_memory_keeps_its_place() {
    let _on = engines_on();
    // The writes cannot be made values: they stand in a loop or branch, or reach an argument.
    let bodies = [
        "b = torch.zeros_like(x)\nfor i in range(x.size(0)):\n    b[i].copy_(x[i] * 2.0)\nreturn torch.exp(torch.tanh(b) * 2.0) + 1.0",
        "a = torch.tanh(x)\nb = torch.tanh(x)\nz = torch.exp(a) * 2.0\nif bool(x.sum() > -1000.0):\n    a.add_(1.0)\nreturn torch.exp(a) * 2.0 + z, b + a * 3.0",
        "y = x * 1.0\nw = torch.tanh(y + 0.0) * 2.0\nx.add_(1.0)\nreturn y, torch.exp(w) + 1.0",
        "z = torch.tanh(x) * 2.0 + 1.0\nx.add_(1.0)\nw = torch.tanh(x) * 3.0 + z\nx.mul_(0.5)\nreturn torch.exp(w) + torch.tanh(x) * 2.0, z",
        "l = [torch.tanh(x) * 2.0, torch.exp(x)]\nfor t in l:\n    t.add_(1.0)\ny = torch.sigmoid(l[0]) * 2.0 + l[1]\nfor t in l:\n    t.mul_(2.0)\nreturn torch.exp(y) + l[0] * 2.0 + 1.0, l[1]",
    ];
    for body in bodies {
        let script = Script::new(&format!("def forward(self, x):\n{}", indented(body)), &[]);
        let calls: Vec<[IValue; 1]> = [2, 4].iter().map(|n| [tensor(floats(&[*n, 3]))]).collect();
        script.agrees(&calls.iter().map(|c| &c[..]).collect::<Vec<_>>());
    }
}

#[test]
fn the_whole_is_not_added_to_a_part_of_itself() {
    let _on = engines_on();
    let script = Script::new(
        "def forward(self, x):\n    y = torch.tanh(x) * 2.0\n    y[::2] += y\n    return torch.exp(y) + 1.0\n",
        &[],
    );
    script.same(&[&[tensor(floats(&[1, 1]))], &[tensor(floats(&[1, 3]))]]);
}

#[test]
fn checks_are_kept_in_order() {
    let _on = engines_on();
    let source = "def forward(self, x):\n    y = torch.tanh(x) * 2.0\n    assert bool(x.sum() > 0.0), 'first'\n    z = torch.exp(y) + 1.0\n    self.n.add_(1.0)\n    assert bool(x.min() > 0.0), 'second'\n    return z * y\n";
    let script = Script::new(source, &[("n", Initial::Buffer(Tensor::zeros([1], tch::kind::FLOAT_CPU)))]);
    let good = floats(&[5]).abs() + 0.1;
    let half = Tensor::from_slice(&[9.0f32, -1.0, 1.0, 1.0, 1.0]);
    script.agrees(&[&[tensor(good.shallow_clone())], &[tensor(half)], &[tensor(-&good)], &[tensor(good)]]);
}

#[test]
fn random_numbers_are_the_hosts() {
    check("z = torch.tanh(x) * 2.0 + y\nn = torch.randn([4, 3])\nreturn (torch.exp(z) + 1.0).sum() * n");
    check(
        "a = torch.rand_like(x)\nz = torch.tanh(x) * 2.0 + a\nb = torch.rand_like(x)\nreturn torch.exp(z) * b + y",
    );
    check("z = torch.dropout(torch.tanh(x) * 2.0, 0.5, True)\nreturn torch.exp(z) + y * 2.0");
    check("z = torch.tanh(x) * 2.0\nz.uniform_(0.0, 1.0)\nreturn torch.exp(z) + y * 2.0");
    check("z = torch.bernoulli(torch.sigmoid(x)) * 2.0 + y\nreturn torch.exp(z) * 2.0 + torch.tanh(y)");
}

#[test]
fn random_numbers_that_nobody_uses_are_drawn_where_the_host_draws_them() {
    // The branch is decided once for all here, and in each call there.
    let last = "return torch.dropout(torch.tanh(x) * 2.0 + 1.0, 0.5, True) + y";
    check(&format!("a = torch.dropout(y, 0.5, True)\nif x.dim() == 1:\n    return a\n{last}"));
    check(&format!("a = torch.rand_like(y)\nif x.size(0) > 100:\n    y = y + a\n{last}"));
    check(&format!(
        "for i in range(x.size(0)):\n    a = torch.rand([2])\n    if x.dim() == 1:\n        y = y + a.sum()\n{last}"
    ));
    // The host draws none.
    check(&format!("a = torch.rand([3])\n{last}"));
    check(&format!("a = torch.rand([3])\nif False:\n    y = y + a.sum()\n{last}"));
    let _on = engines_on();
    let source = "def forward(self, x):\n    a = torch.rand([3])\n    if self.flag:\n        return a\n    return torch.dropout(torch.tanh(x) * 2.0 + 1.0, 0.5, True)\n";
    let script = Script::new(source, &[("flag", Initial::Value(IValue::Bool(false)))]);
    script.agrees(&[&[tensor(floats(&[5]))], &[tensor(floats(&[5]))]]);
    // In a file too.
    let file = std::env::temp_dir().join(format!("tch-trt-draws-{}.pt", std::process::id()));
    script.module.save(&file).expect("it is written");
    let loaded = CModule::load(&file).expect("it loads");
    std::fs::remove_file(&file).expect("it is there");
    let drawn = |module: &CModule| {
        tch::manual_seed(11);
        (0..3).map(|_| module.forward_ts(&[floats(&[5])]).expect("it answers")).collect::<Vec<_>>()
    };
    tests::assert_close(&Tensor::stack(&drawn(&loaded), 0), &Tensor::stack(&drawn(&script.module.host()), 0));
}

#[test]
fn statistics_are_updated_in_training() {
    let _on = engines_on();
    let source = "def forward(self, x):\n    y = torch.tanh(x) * 2.0 + 1.0\n    y = torch.batch_norm(y, self.w, self.b, self.m, self.v, True, 0.1, 1e-5, True)\n    return torch.relu(y) * 2.0 + torch.tanh(y)\n";
    let of = |v: f64| Tensor::full([3], v, tch::kind::FLOAT_CPU);
    let attributes = [
        ("w", Initial::Parameter(of(1.5))),
        ("b", Initial::Parameter(of(0.5))),
        ("m", Initial::Buffer(of(0.0))),
        ("v", Initial::Buffer(of(1.0))),
    ];
    let script = Script::new(source, &attributes);
    script.agrees(&[&[tensor(floats(&[4, 3, 5]))], &[tensor(floats(&[2, 3, 5]))]]);
}

#[test]
fn a_write_that_nobody_sees_may_still_fail() {
    let _on = engines_on();
    let source = "def forward(self, x):
    y = x * 2.0
    y.view(-1).zero_()
    return torch.tanh(x) + 1.5\n";
    let script = Script::new(source, &[]);
    script.agrees(&[&[tensor(floats(&[3, 4]))], &[tensor(floats(&[3, 4]).tr())]]);
}
