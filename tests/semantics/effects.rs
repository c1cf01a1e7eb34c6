//! In-place writes, aliases, state, and everything else that is more than a result.

use tch::{IValue, Kind, Tensor};
use tch_bridge::jit::Initial;
use tch_bridge::report::State;
use tests::engines_on;
use tests::script::{Script, floats, tensor};

/// Runs `body` as `forward(self, x, y)` on matrices of a few shapes.
pub fn check(body: &str) {
    let _on = engines_on();
    let source = format!("def forward(self, x, y):\n{}", indented(body));
    let script = Script::new(&source, &[]);
    script.agrees(&[
        &[tensor(floats(&[4, 3])), tensor(floats(&[4, 3]))],
        &[tensor(floats(&[5, 3])), tensor(floats(&[5, 3]))],
        &[tensor(floats(&[3, 4]).tr()), tensor(floats(&[4, 6]).slice(1, 0, 6, 2))],
    ]);
}

pub fn indented(body: &str) -> String {
    body.lines().map(|l| format!("    {l}\n")).collect()
}

#[test]
fn private_values_are_written() {
    check("z = torch.tanh(x) + y\nz.add_(1.0)\nz.mul_(y)\nz.relu_()\nreturn torch.exp(z) * 2.0");
    check("z = torch.zeros_like(x)\nz.copy_(torch.tanh(y))\nreturn torch.sigmoid(z + x)");
    check("z = x + y\nz += 1.0\nz *= x\nz -= y\nreturn torch.tanh(z)");
    check("z = torch.tanh(x)\nz.zero_()\nz.fill_(3.0)\nreturn torch.relu(z + y)");
    check("z = torch.exp(x)\nz.clamp_(0.2, 0.7)\nz.sqrt_()\nreturn torch.tanh(z) + 1.0");
}

#[test]
fn private_values_are_written_through_views() {
    check("z = torch.tanh(x)\nz[:, 0] = 1.0\nreturn torch.exp(z) + y");
    check("z = torch.tanh(x)\nz[1] = y[0]\nreturn torch.exp(z) + 1.0");
    check("z = torch.tanh(x)\nz[:, 1:].add_(2.0)\nreturn torch.exp(z) * y");
    check(
        "z = torch.tanh(x)\nz[0:2].mul_(y[0:2])\nw = torch.exp(z)\nz[0, 0] = 5.0\nreturn w + torch.sigmoid(z)",
    );
    check("z = torch.tanh(x)\nz[x > 0.0] = 7.0\nreturn torch.exp(z * 0.1) + y");
    check("z = torch.tanh(x)\nz[torch.tensor([0, 2])] = y[1]\nreturn torch.exp(z) + 1.0");
    check(
        "z = torch.tanh(x)\nz.index_put_([torch.tensor([0, 0, 1])], torch.ones_like(y[0:3]), True)\nreturn torch.exp(z)",
    );
    check("z = torch.tanh(x)\nz.view(-1)[2] = 4.0\nreturn torch.exp(z) + y");
    check("z = torch.tanh(x)\nv = z.t()\nv.add_(1.0)\nreturn torch.exp(z) + torch.exp(v).sum()");
    check("z = torch.tanh(x)\na, b = z[:, 0], z[:, 1]\na.mul_(3.0)\nb.add_(a)\nreturn torch.exp(z) - y");
    check("z = torch.tanh(x)\nz.narrow(0, 0, 2).copy_(y.narrow(0, 1, 2))\nreturn torch.sigmoid(z) + 1.0");
    check("z = torch.tanh(x)\nz.masked_fill_(y > 0.0, -1.0)\nreturn torch.exp(z) + 1.0");
    check("z = torch.tanh(x)\nz.index_fill_(0, torch.tensor([1]), 0.5)\nreturn torch.exp(z) + 1.0");
    check(
        "z = torch.tanh(x)\nz.scatter_(0, torch.tensor([[0, 1, 2]]), 9.0)\nreturn torch.exp(z * 0.1) + 1.0",
    );
    check("z = torch.tanh(x)\nz.diagonal().fill_(0.25)\nreturn torch.exp(z) + y");
}

#[test]
fn arguments_are_written() {
    check("z = torch.tanh(x) + y\nx.add_(1.0)\nreturn torch.exp(z) * x");
    check("z = torch.tanh(x) * 2.0\nx[:, 0] = 0.0\nw = torch.tanh(x) * 2.0\nreturn z - w");
    check("y.copy_(torch.tanh(x) * 2.0 + 1.0)\nreturn torch.exp(y) + x");
    check("x[y > 0.0] = 0.0\nz = torch.exp(x) + y\nx.mul_(3.0)\nreturn torch.tanh(z) + x");
    check("v = x.t()\nv.add_(1.0)\nreturn torch.tanh(x) * 2.0 + y");
    check("v = x[0]\nz = torch.tanh(x) * 2.0\nv.zero_()\nreturn z + torch.tanh(x)");
}

#[test]
fn an_argument_passed_twice_is_one_memory() {
    let _on = engines_on();
    let source = "def forward(self, x, y):\n    z = torch.tanh(y) * 2.0\n    x.add_(1.0)\n    return z + torch.tanh(y) * 3.0\n";
    let script = Script::new(source, &[]);
    script.agrees(&[&[tensor(floats(&[3, 2])), tensor(floats(&[3, 2]))]]);
    for _ in 0..3 {
        let x = floats(&[3, 2]);
        let want = x.tanh() * 2.0 + (&x + 1.0).tanh() * 3.0;
        let same = [tensor(x.shallow_clone()), tensor(x.shallow_clone())];
        let Ok(IValue::Tensor(got)) = script.module.forward_is(&same) else { panic!("a tensor") };
        tests::assert_close(&got, &want);
        let whole = floats(&[4, 2]);
        let (a, b) = (whole.narrow(0, 0, 3), whole.narrow(0, 1, 3));
        let want = b.tanh() * 2.0;
        let parts = [tensor(a), tensor(b.shallow_clone())];
        let Ok(IValue::Tensor(got)) = script.module.forward_is(&parts) else { panic!("a tensor") };
        tests::assert_close(&got, &(want + b.tanh() * 3.0));
    }
}

#[test]
fn results_that_share_memory_with_arguments_may_be_written_later() {
    let _on = engines_on();
    let source =
        "def forward(self, x):\n    v = x.view(-1)\n    return v, torch.tanh(x) * 2.0 + 1.0, x.t(), x\n";
    let script = Script::new(source, &[]);
    script.agrees(&[&[tensor(floats(&[3, 2]))]]);
    let x = floats(&[3, 2]);
    let Ok(IValue::Tuple(got)) = script.module.forward_is(&[tensor(x.shallow_clone())]) else {
        panic!("a tuple")
    };
    let [IValue::Tensor(v), IValue::Tensor(fresh), IValue::Tensor(t), IValue::Tensor(same)] = &got[..] else {
        panic!("four tensors")
    };
    let before = fresh.copy();
    drop(v.shallow_clone().fill_(5.0));
    assert_eq!(x.double_value(&[2, 1]), 5.0, "a view of the argument is a view of it with engines too");
    assert_eq!((t.double_value(&[0, 0]), same.double_value(&[0, 0])), (5.0, 5.0));
    assert_eq!(fresh, &before);
}

#[test]
fn results_that_share_memory_with_each_other_may_be_written_later() {
    let _on = engines_on();
    let source = "def forward(self, x):\n    z = torch.tanh(x) * 2.0 + 1.0\n    return z, z.view(-1), z[0], z.detach()\n";
    let script = Script::new(source, &[]);
    script.agrees(&[&[tensor(floats(&[3, 2]))]]);
    let Ok(IValue::Tuple(got)) = script.module.forward_is(&[tensor(floats(&[3, 2]))]) else {
        panic!("a tuple")
    };
    let [IValue::Tensor(z), IValue::Tensor(flat), IValue::Tensor(row), IValue::Tensor(same)] = &got[..]
    else {
        panic!("four tensors")
    };
    drop(z.shallow_clone().fill_(4.0));
    assert_eq!(
        (flat.double_value(&[5]), row.double_value(&[1]), same.double_value(&[1, 1])),
        (4.0, 4.0, 4.0)
    );
}

#[test]
fn results_share_memory_through_branches_and_lists() {
    let _on = engines_on();
    for body in [
        "w = z.view(-1)\n    if n > 1:\n        w = z\n    return z, w",
        "l = [z, torch.exp(z) + 1.0]\n    return l[0], l",
        "a, b = z.chunk(2, 0)\n    return a, z, b",
        "a, b = torch.split(z, 1)\n    return z, (b, a.t())",
        "d = {'a': z}\n    return d, z[0]",
        "w = z.to(6)\n    l = [z * 1.0]\n    l.append(w)\n    if n > 100:\n        l.append(x)\n    return z, l",
        "l: List[Tensor] = []\n    for i in range(n):\n        l.append(z.to(6))\n    return l, n",
        "l: List[Tensor] = []\n    m: List[Tensor] = []\n    l.append(z)\n    m.append(z.to(6))\n    if n > 100:\n        l.append(x)\n        m.append(x)\n    return l, m",
        "d: Dict[str, Tensor] = {}\n    if n > 0:\n        d['b'] = z.to(6)\n    d['c'] = z\n    return d, n",
    ] {
        let source =
            format!("def forward(self, x, n: int):\n    z = torch.tanh(x) * 2.0 + 1.0\n    {body}\n");
        let script = Script::new(&source, &[]);
        let arguments = [tensor(floats(&[2, 3])), IValue::Int(2)];
        for _ in 0..3 {
            let Some(IValue::Tuple(got)) = script.call(&arguments) else { panic!("a tuple") };
            let mut all = Vec::new();
            got.iter().for_each(|v| tensors(v, &mut all));
            let memory = |t: &Tensor| tch_bridge::jit::TensorView::of(t).storage_id();
            let shared = all.iter().filter(|t| memory(t) == memory(&all[0])).count();
            assert!(
                shared >= 2,
                "{body}: {shared} of {} share memory\n{}",
                all.len(),
                script.module.report()
            );
        }
    }
}

fn tensors(value: &IValue, out: &mut Vec<Tensor>) {
    match value {
        IValue::Tensor(t) => out.push(t.shallow_clone()),
        IValue::TensorList(l) => out.extend(l.iter().map(Tensor::shallow_clone)),
        IValue::Tuple(l) | IValue::GenericList(l) => l.iter().for_each(|v| tensors(v, out)),
        IValue::GenericDict(d) => d.iter().for_each(|(_, v)| tensors(v, out)),
        _ => {}
    }
}

#[test]
fn attributes_are_written() {
    let _on = engines_on();
    let count = || Initial::Buffer(Tensor::zeros([3], tch::kind::FLOAT_CPU));
    let weight = || Initial::Parameter(floats(&[3]));
    let x: &[&[IValue]] = &[&[tensor(floats(&[4, 3]))]];
    let source = "def forward(self, x):\n    y = torch.tanh(x * self.w) + 1.0\n    self.n.add_(y.sum(0))\n    return torch.exp(y) * self.n\n";
    Script::new(source, &[("n", count()), ("w", weight())]).agrees(x);
    let source = "def forward(self, x):\n    y = torch.tanh(x * self.w) + 1.0\n    self.w.mul_(0.5)\n    return torch.exp(y) * self.w\n";
    Script::new(source, &[("w", weight())]).agrees(x);
    let source = "def forward(self, x):\n    y = torch.tanh(x) + self.n\n    self.n = torch.exp(y).sum(0)\n    return torch.sigmoid(y) * self.n\n";
    Script::new(source, &[("n", count())]).agrees(x);
    let source = "def forward(self, x):\n    self.n[1] = torch.tanh(x).sum() * 2.0\n    return torch.exp(x) * self.n + 1.0\n";
    Script::new(source, &[("n", count())]).agrees(x);
    let source =
        "def forward(self, x):\n    self.k = self.k + 1\n    return torch.tanh(x) * float(self.k) + 1.0\n";
    Script::new(source, &[("k", Initial::Value(IValue::Int(0)))]).same(x);
    let source = "def forward(self, x):\n    y = torch.tanh(x) * 2.0 + 1.0\n    v = self.n.view(-1)\n    v.add_(1.0)\n    return y * self.n + torch.exp(self.n)\n";
    Script::new(source, &[("n", count())]).agrees(x);
}

#[test]
fn compiling_ahead_changes_neither_state_nor_arguments() {
    let _on = engines_on();
    let source = "def forward(self, x):\n    self.k += 1\n    self.n.add_(torch.rand_like(x).sum(0))\n    y = torch.tanh(x) * self.w + 1.0\n    x.mul_(2.0)\n    return torch.exp(y) + self.n * float(self.k)\n";
    let n = Initial::Buffer(Tensor::zeros([3], tch::kind::FLOAT_CPU));
    let attributes =
        [("n", n), ("w", Initial::Parameter(floats(&[3]))), ("k", Initial::Value(IValue::Int(0)))];
    let script = Script::new(source, &attributes);
    for rows in [4, 7] {
        let x = floats(&[rows, 3]);
        let kept = x.copy();
        tch::manual_seed(1);
        let expected = Tensor::rand([2], tch::kind::FLOAT_CPU);
        tch::manual_seed(1);
        tch::no_grad(|| script.module.compile(&[&x])).unwrap();
        assert_eq!(x, kept, "the argument is as it was");
        assert_eq!(Tensor::rand([2], tch::kind::FLOAT_CPU), expected, "no random number was drawn");
    }
    let report = script.module.report();
    let State::Divided { engines, .. } = &report.methods[0].state else { panic!("{report}") };
    assert!(
        !engines.is_empty() && engines.iter().all(|e| e.shapes.len() == 2),
        "built for both shapes\n{report}"
    );
    // Each call compares the answer, the arguments and the attributes with a host that was never compiled for.
    for rows in [4, 7, 4] {
        script.call(&[tensor(floats(&[rows, 3]))]);
    }
    assert_eq!(tests::served(&script.module), 3, "{}", script.module.report());
}

#[test]
fn attributes_are_replaced_by_other_methods() {
    let _on = engines_on();
    let source = "def reset(self):\n    self.n = self.n * 0.0 + 5.0\ndef forward(self, x):\n    y = torch.tanh(x) * self.n\n    return torch.exp(y) + self.n\n";
    let attributes = [("n", Initial::Buffer(Tensor::ones([3], tch::kind::FLOAT_CPU)))];
    let module = tch_bridge::jit::Module::from_source(source, &attributes).unwrap();
    let module = tch_bridge::TrtModule::wrap(module.to_cmodule(), &tests::options()).unwrap();
    let x = floats(&[2, 3]);
    for _ in 0..2 {
        tests::assert_close(&module.forward_ts(&[&x]).unwrap(), &(x.tanh().exp() + 1.0));
    }
    module.method_is::<IValue>("reset", &[]).unwrap();
    for _ in 0..2 {
        tests::assert_close(&module.forward_ts(&[&x]).unwrap(), &((x.tanh() * 5.0).exp() + 5.0));
    }
    assert!(tests::served(&module) > 0, "{}", module.report());
}

#[test]
fn attributes_that_share_memory() {
    let _on = engines_on();
    let base = floats(&[6]);
    let (whole, part) = (base.shallow_clone(), base.narrow(0, 0, 3));
    let source = "def forward(self, x):\n    y = torch.tanh(x * self.part) + 1.0\n    self.whole.add_(1.0)\n    return y * torch.exp(self.part)\n";
    let attributes = [("whole", Initial::Buffer(whole)), ("part", Initial::Buffer(part.shallow_clone()))];
    let module = tch_bridge::jit::Module::from_source(source, &attributes).unwrap();
    let module = tch_bridge::TrtModule::wrap(module.to_cmodule(), &tests::options()).unwrap();
    for _ in 0..3 {
        let x = floats(&[2, 3]);
        let want = ((&x * &part).tanh() + 1.0) * (&part + 1.0).exp();
        tests::assert_close(&module.forward_ts(&[&x]).unwrap(), &want);
    }
}

#[test]
fn counting_calls_pins_nothing_else() {
    for counted in ["self.n.add_(1)", "self.n += 1", "self.n = self.n.add_(2).sub_(1)", "self.n = self.n + 1"]
    {
        counts(counted);
    }
}

fn counts(counted: &str) {
    let _on = engines_on();
    let source = "def forward(self, x, y):\n    COUNT\n    self.k = self.k + 1\n    z = torch.tanh(x @ self.w) * 2.0 + y\n    return torch.relu(z @ self.u) + y, self.n * 2\n";
    let source = source.replace("COUNT", counted);
    let (tied, x, y) = (floats(&[3, 3]), floats(&[4, 3]), floats(&[4, 3]));
    let attributes = [
        ("w", Initial::Parameter(tied.shallow_clone())),
        ("u", Initial::Parameter(tied.shallow_clone())),
        ("n", Initial::Buffer(Tensor::zeros([1], tch::kind::INT64_CPU))),
        ("k", Initial::Value(IValue::Int(0))),
    ];
    let module = tch_bridge::jit::Module::from_source(&source, &attributes).unwrap();
    let module = tch_bridge::TrtModule::wrap(module.to_cmodule(), &tests::options()).unwrap();
    let want = ((x.matmul(&tied).tanh() * 2.0 + &y).matmul(&tied)).relu() + &y;
    for call in 1..4 {
        let Ok(IValue::Tuple(got)) =
            tch::no_grad(|| module.forward_is(&[tensor(x.copy()), tensor(y.copy())]))
        else {
            panic!("a tuple")
        };
        let [IValue::Tensor(got), IValue::Tensor(count)] = &got[..] else { panic!("two tensors") };
        tests::assert_close(got, &want);
        assert_eq!(count.int64_value(&[0]), 2 * call);
    }
    let report = module.report();
    // The count itself may be an engine of its own.
    let said = report.to_string();
    assert!(said.contains(": 7 nodes (matmul x2, add.Tensor x2, tanh"), "{counted}: {report}");
    assert!(tests::served(&module) >= 2, "{counted}: {report}");
}

#[test]
fn a_detached_or_copied_value_is_another_one() {
    check("z = torch.tanh(x)\nc = z.clone()\nz.add_(1.0)\nreturn torch.exp(c) + z * y");
    check("z = torch.tanh(x)\nc = z.detach()\nc.add_(1.0)\nreturn torch.exp(z) + c * y");
    check("z = torch.tanh(x)\nc = z.contiguous()\nz.add_(1.0)\nreturn torch.exp(c) + z * y");
    check("z = torch.tanh(x)\nc = z.to(6)\nz.add_(1.0)\nreturn torch.exp(c) + z * y");
    check("z = torch.tanh(x)\nc = z.reshape(-1)\nz.add_(1.0)\nreturn torch.exp(c).sum() + z * y");
    check("z = torch.tanh(x).t()\nc = z.reshape(-1)\nz.add_(1.0)\nreturn torch.exp(c).sum() + z.t() * y");
    check("z = torch.tanh(x)\nc = z.expand([2, -1, -1])\nz.add_(1.0)\nreturn torch.exp(c).sum(0) + z * y");
}

#[test]
fn the_results_kind_is_kept() {
    let _on = engines_on();
    let script = Script::new("def forward(self, x):\n    return torch.tanh(x).add_(1).mul_(2)\n", &[]);
    for kind in [Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16] {
        script.same(&[&[tensor(floats(&[7]).to_kind(kind))]]);
    }
}
