//! Branches and loops, nested, with early ends.

use tch::IValue;
use tch_bridge::jit::Initial;
use tch_bridge::report::State;
use tests::engines_on;
use tests::measure::copied;
use tests::script::{Script, floats, tensor};

/// Runs `body` as `forward(self, x, n: int)` on positive and negative vectors, with different counts.
fn check(body: &str) {
    let _on = engines_on();
    let lines: String = body.lines().map(|l| format!("    {l}\n")).collect();
    let script = Script::new(&format!("def forward(self, x, n: int):\n{lines}"), &[]);
    let call = |sign: f64, n: i64| [tensor(floats(&[6]).abs() * sign), IValue::Int(n)];
    script.agrees(&[&call(1.0, 3), &call(-1.0, 3), &call(1.0, 0), &call(-1.0, 5), &call(1.0, 1)]);
}

#[test]
fn branches_on_data() {
    check(
        "if bool(x.sum() > 0.0):\n    y = torch.tanh(x) * 2.0 + 1.0\nelse:\n    y = torch.exp(x) - 3.0\nreturn torch.sigmoid(y) + x",
    );
    check(
        "y = torch.tanh(x) * 2.0\nif bool(y.max() > 0.5):\n    if bool(y.min() > 0.1):\n        y = torch.exp(y) * 2.0 + x\n    else:\n        y = torch.sigmoid(y) - x * 2.0\nreturn torch.tanh(y) + 1.0",
    );
    check(
        "y = torch.tanh(x) * 2.0\nif n > 2:\n    y = torch.exp(y) * float(n) + 1.0\nelif n == 0:\n    y = y - torch.sigmoid(x) * 2.0\nreturn torch.exp(y) * 0.5",
    );
    check("y = torch.tanh(x) * 2.0 + 1.0 if n > 1 else torch.exp(x) - 1.0\nreturn torch.sigmoid(y) * y");
    check(
        "y = x\nif bool(x.sum() > 0.0):\n    y = torch.tanh(x) * 2.0 + 1.0\n    y.add_(1.0)\nz = torch.exp(y) * 2.0\nreturn z + x",
    );
}

#[test]
fn branches_that_later_calls_take_get_engines() {
    let _on = engines_on();
    let source = "def forward(self, x):\n    if bool(x.sum() > 0.0):\n        y = torch.tanh(x) * 2.0 + 1.0\n    else:\n        y = torch.exp(x) - torch.sigmoid(x) * 3.0\n    return y\n";
    let script = Script::new(source, &[]);
    let (positive, negative) = ([tensor(floats(&[6]).abs())], [tensor(-floats(&[2, 3]).abs().reshape([6]))]);
    script.agrees(&[&positive]);
    assert_eq!(script.module.report().engines(), 2, "one ahead, one within: {}", script.module.report());
    script.agrees(&[&negative, &negative, &positive]);
    assert_eq!(script.module.report().engines(), 3, "{}", script.module.report());
    // Told before, without a call.
    let script = Script::new(source, &[]);
    let longer = [tensor(-floats(&[9]).abs())];
    for call in [&positive, &longer, &positive, &longer] {
        tch::no_grad(|| script.module.compile_method("forward", call)).expect("the module compiles");
    }
    let report = script.module.report();
    assert_eq!(report.engines(), 3, "{report}");
    script.agrees(&[&longer, &positive]);
    assert!(tests::served(&script.module) > 0, "{}", script.module.report());
}

#[test]
fn what_may_be_missing_next_to_numbers() {
    check(
        "v: Optional[Tensor] = None\nz = torch.tanh(x) * 3.0\nif n > 1:\n    v = z\ny = z * 2.0\nif v is not None:\n    y = y + v\nreturn torch.exp(y) * 2.0",
    );
}

#[test]
fn loops_carry_memory() {
    check(
        "v = x * 2.0\nb = v + 3.0\nc = torch.softmax(b, 0)\nfor i in range(n):\n    v.mul_(0.5)\n    if i == 1:\n        continue\n    v = c\nreturn torch.exp(b * c), x + 0.0",
    );
    check(
        "a = torch.tanh(x) * 2.0\ny = x\nb = torch.exp(a) + 1.0\nfor i in range(n):\n    y.zero_()\n    y = a\nreturn torch.sigmoid(a) * b, x + 0.0",
    );
    check(
        "a = torch.tanh(x) * 2.0\ny = a\nb = torch.exp(a) + 1.0\nfor i in range(n):\n    y = torch.exp(y * 0.1)\ny.add_(1.0)\nreturn torch.sigmoid(a) * b",
    );
    check(
        "a, c = torch.tanh(x), torch.exp(x)\nb = a + c\nfor i in range(n):\n    a.mul_(0.5)\n    a, c = c, a\nreturn a * 2.0 + c, b * c, x + 0.0",
    );
    check(
        "y = x.clone()\nif x.dim() == 1:\n    y = y * 2.0\nfor i in range(n):\n    y.add_(1.0)\n    y = x\nreturn torch.exp(x * 0.01) + 1.0",
    );
}

#[test]
fn loops() {
    check(
        "y = torch.tanh(x)\nfor i in range(n):\n    y = torch.sigmoid(y * 0.5) + y * float(i)\nreturn torch.exp(y * 0.01) + 1.0",
    );
    check(
        "y = torch.tanh(x)\nfor i in range(4):\n    y = torch.sigmoid(y * 0.5) + y\nreturn torch.tanh(y) * 2.0 + n",
    );
    check(
        "y = torch.tanh(x) * 2.0\ni = 0\nwhile i < n:\n    y = torch.exp(y * 0.1) + torch.tanh(y)\n    i += 1\nreturn y * 2.0 + float(i)",
    );
    check(
        "y = torch.tanh(x) * 2.0\nwhile bool(y.abs().sum() > 1.0):\n    y = torch.tanh(y) * 0.7 - y * 0.1\nreturn torch.exp(y) + 1.0",
    );
    check(
        "out = torch.zeros([4])\nfor i in range(n):\n    for j in range(i):\n        out = torch.tanh(out + x[0:4] * float(j)) * 2.0\nreturn torch.exp(out) + 1.0",
    );
    check(
        "l: List[Tensor] = []\nfor i in range(n + 1):\n    l.append(torch.tanh(x[i:]) * 2.0 + 1.0)\nreturn torch.cat(l) + torch.exp(x).sum()",
    );
    check(
        "y = torch.tanh(x) * 2.0\nfor i in range(n):\n    y[i] = torch.exp(x[i]) * 2.0 + y.sum()\nreturn torch.sigmoid(y) + x",
    );
    check(
        "y = torch.tanh(x)\nfor i in range(n):\n    y = torch.cat([y, torch.exp(y) * 0.1 + 1.0])\nreturn torch.tanh(y * 0.01) + 1.0",
    );
    check(
        "y = torch.tanh(x) + 1.0\nfor i in range(n):\n    y = y.double() * 2.0 if i == 1 else torch.tanh(y) * 1.5\nreturn torch.exp(-y) + 1.0",
    );
}

#[test]
fn early_ends() {
    check(
        "y = torch.tanh(x) * 2.0\nif bool(x.sum() > 0.0):\n    return torch.exp(y) + 1.0\nz = torch.sigmoid(y) * 3.0\nreturn z - x",
    );
    check(
        "y = torch.tanh(x) * 2.0\nfor i in range(10):\n    if i == n:\n        break\n    y = torch.tanh(y * 0.5) + 0.1\nreturn torch.exp(y) + 1.0",
    );
    check(
        "y = torch.tanh(x) * 2.0\nfor i in range(n):\n    if i % 2 == 0:\n        continue\n    y = torch.tanh(y * 0.5) + 0.1\nreturn torch.exp(y) + 1.0",
    );
    check(
        "y = torch.tanh(x) * 2.0\nfor i in range(n):\n    y = torch.tanh(y * 0.5) + 0.1\n    if bool(y.sum() < 2.0):\n        return torch.exp(y) * 2.0\nreturn torch.sigmoid(y) + 1.0",
    );
    check(
        "y = torch.tanh(x) * 2.0\nassert n != 0, 'no steps'\nif n == 5:\n    assert bool(x.sum() > 0.0), 'negative'\nreturn torch.exp(y) + float(n)",
    );
    check(
        "y = torch.tanh(x) * 2.0\ni = 0\nwhile True:\n    y = torch.tanh(y) + 0.5 * torch.exp(-y)\n    i += 1\n    if i > n:\n        break\nreturn y * 2.0",
    );
}

#[test]
fn optional_arguments() {
    let _on = engines_on();
    let source = "def forward(self, x, m: Optional[Tensor] = None, s: float = 2.0):\n    y = torch.tanh(x) * s\n    if m is not None:\n        y = torch.exp(y) * m + 1.0\n    return torch.sigmoid(y) - x\n";
    let script = Script::new(source, &[]);
    let x = || tensor(floats(&[2, 3]));
    script.agrees(&[
        &[x()],
        &[x(), x()],
        &[x(), IValue::None, IValue::Double(3.0)],
        &[x(), x(), IValue::Double(0.5)],
        &[x(), IValue::None],
    ]);
}

#[test]
fn methods_call_each_other() {
    let _on = engines_on();
    let source = "def scaled(self, x, s: float):\n    return torch.tanh(x @ self.w) * s\ndef twice(self, x):\n    return self.scaled(self.scaled(x, 2.0), 0.5) + x\ndef forward(self, x):\n    y = self.twice(x)\n    if bool(y.sum() > 0.0):\n        y = self.twice(y)\n    return torch.exp(y) + self.scaled(x, 1.0)\n";
    let script = Script::new(source, &[("w", Initial::Parameter(floats(&[3, 3])))]);
    script.agrees(&[&[tensor(floats(&[2, 3]))], &[tensor(floats(&[5, 3]))], &[tensor(floats(&[2, 3]))]]);
}

#[test]
fn checks_on_ranks() {
    let _on = engines_on();
    let source = "def forward(self, x):\n    assert x.dim() == 2 or x.dim() == 3, 'a matrix or a batch of them'\n    batched = x.dim() == 3\n    if not batched:\n        x = x.unsqueeze(0)\n    y = torch.tanh(x @ self.w) * 2.0\n    if not batched:\n        y = y.squeeze(0)\n    return torch.exp(y) + 1.0\n";
    let script = Script::new(source, &[("w", Initial::Parameter(floats(&[3, 4])))]);
    script.agrees(&[
        &[tensor(floats(&[2, 3]))],
        &[tensor(floats(&[2, 5, 3]))],
        &[tensor(floats(&[3]))],
        &[tensor(floats(&[1, 2, 3, 3]))],
    ]);
}

#[test]
fn checks_on_ranks_of_what_was_written_in_place_leave_one_engine() {
    let _on = engines_on();
    let source = "def forward(self, x):\n    y = torch.relu_(torch.matmul(x, self.w) * 2.0)\n    assert len(y.size()) > 1, 'rows'\n    return torch.exp(y).mean(-1) + 1.0\n";
    let script = Script::new(source, &[("w", Initial::Parameter(floats(&[3, 4])))]);
    script.agrees(&[&[tensor(floats(&[2, 3]))]]);
    let report = script.module.report();
    let State::Divided { whole, .. } = &report.methods[0].state else { panic!("{report}") };
    assert!(*whole, "{report}");
    script.agrees(&[&[tensor(floats(&[5, 3]))], &[tensor(floats(&[3]))], &[tensor(floats(&[1, 2, 3]))]]);
}

#[test]
fn branches_on_modes() {
    let _on = engines_on();
    let source = "def forward(self, x):\n    why = ''\n    if torch.is_grad_enabled():\n        why = 'gradients are recorded'\n    y = torch.tanh(x @ self.w) * 2.0\n    if len(why) == 0:\n        y = torch.exp(y) + 1.0\n    return torch.sigmoid(y) * 3.0\n";
    let script = Script::new(source, &[("w", Initial::Buffer(floats(&[3, 4])))]);
    let call = [tensor(floats(&[2, 3]))];
    tch::no_grad(|| script.agrees(&[&call]));
    assert_eq!(script.module.report().engines(), 1, "{}", script.module.report());
    script.agrees(&[&call]);
    tch::no_grad(|| script.agrees(&[&call]));
}

#[test]
fn lengths_that_follow_from_data() {
    check(
        "l = [torch.tanh(x)]\nif bool(x.sum() > 0.0):\n    l.append(x)\ny = torch.exp(x) * 2.0\nif len(l) > 1:\n    y = torch.sigmoid(y) + 1.0\nreturn torch.tanh(y) * 3.0",
    );
    check(
        "l = [True]\nif bool(x.sum() > 0.0):\n    l.append(False)\ny = torch.exp(x) * 2.0\nif all(l):\n    y = torch.sigmoid(y) + 1.0\nreturn torch.tanh(y) * 3.0",
    );
    check(
        "l = x.size()\nif bool(x.sum() > 0.0):\n    l.append(1)\ny = torch.exp(x) * 2.0\nif len(l) > 1:\n    y = torch.sigmoid(y) + 1.0\nreturn torch.tanh(y) * 3.0",
    );
}

#[test]
fn attributes_of_another_rank() {
    let _on = engines_on();
    let source = "def forward(self, x):\n    y = torch.tanh(x) * 2.0\n    if self.h.dim() == 1:\n        y = torch.exp(y) + self.h\n    return torch.sigmoid(y) * 3.0\ndef set(self, h: Tensor):\n    self.h = h\n    return h\n";
    let script = Script::new(source, &[("h", Initial::Buffer(floats(&[3])))]);
    let x = floats(&[2, 3]);
    for h in [floats(&[3]), floats(&[1, 3]), floats(&[3])] {
        script.module.method_is("set", &[tensor(h.shallow_clone())]).expect("it is set");
        let y = x.tanh() * 2.0;
        let want = if h.dim() == 1 { y.exp() + h } else { y }.sigmoid() * 3.0;
        for _ in 0..2 {
            let Ok(IValue::Tensor(got)) = script.module.forward_is(&[tensor(x.shallow_clone())]) else {
                panic!("a tensor")
            };
            tests::assert_close(&got, &want);
        }
    }
}

#[test]
fn parameters_of_another_kind() {
    let _on = engines_on();
    let source = "def forward(self, x):\n    y = torch.tanh(x) * 2.0\n    if self.w.dtype == 6:\n        y = torch.exp(y) + 1.0\n    return torch.sigmoid(y) * 3.0\n";
    let w = floats(&[3]);
    let script = Script::new(source, &[("w", Initial::Buffer(w))]);
    let x = floats(&[2, 3]);
    for kind in [tch::Kind::Float, tch::Kind::Double, tch::Kind::Float] {
        let mut own = script.attribute("w");
        own.set_data(&own.to_kind(kind));
        let y = x.tanh() * 2.0;
        let want = if kind == tch::Kind::Float { y.exp() + 1.0 } else { y }.sigmoid() * 3.0;
        for _ in 0..2 {
            let Ok(IValue::Tensor(got)) = script.module.forward_is(&[tensor(x.shallow_clone())]) else {
                panic!("a tensor")
            };
            tests::assert_close(&got, &want);
        }
    }
}

#[test]
fn two_arguments_or_one_twice() {
    let _on = engines_on();
    let source = "def forward(self, x, y):\n    z = torch.tanh(x) * 2.0\n    if x is y:\n        z = torch.exp(z) + 1.0\n    return torch.sigmoid(z) * y\n";
    let script = Script::new(source, &[]);
    let (x, y) = (floats(&[3]), floats(&[3]));
    for _ in 0..3 {
        for (a, b) in [(&x, &x), (&x, &y)] {
            let z = a.tanh() * 2.0;
            let want = if std::ptr::eq(a, b) { z.exp() + 1.0 } else { z }.sigmoid() * b;
            let arguments = [tensor(a.shallow_clone()), tensor(b.shallow_clone())];
            let Ok(IValue::Tensor(got)) = script.module.forward_is(&arguments) else { panic!("a tensor") };
            tests::assert_close(&got, &want);
        }
    }
}

#[test]
fn values_from_the_first_call_are_not_kept() {
    check(
        "k = int(x.sum() * 10.0) % 3 + 1\ny = torch.tanh(x) * float(k)\nz = y[k:] * 2.0 + torch.exp(y[:-k])\nreturn torch.sigmoid(z) + 1.0",
    );
    check("m = float(x.max())\ny = torch.tanh(x) * m + 1.0\nreturn torch.exp(y * 0.1) * m");
    check("m = x.max().item()\ny = torch.tanh(x) * m + 1.0\nreturn torch.exp(y * 0.1) + m");
    check("k = torch.nonzero(x > 0.3)\ny = torch.tanh(x)[k] * 2.0 + 1.0\nreturn torch.exp(y) + y.sum()");
    check("y = torch.tanh(x)[x > 0.3] * 2.0 + 1.0\nreturn torch.exp(y) + y.sum()");
    check(
        "f = bool(x.sum() > 0.0)\ny = torch.tanh(x) * 2.0 + float(f)\nreturn torch.exp(y) + (1.0 if f else 2.0)",
    );
    check(
        "s = 'a' if n > 2 else 'b'\ny = torch.tanh(x) * (2.0 if s == 'a' else 3.0)\nreturn torch.exp(y) + 1.0",
    );
}

#[test]
fn changes_that_last_keep_their_place_among_what_fails() {
    let _on = engines_on();
    let x = |rows: i64| tensor(floats(&[rows, 6]));
    let number = IValue::Int;
    // What fails stands after the change, before it, on both sides.
    let after = "def forward(self, x, n: int):\n    y = x.relu() * 2.0\n    self.b.add_(1)\n    return torch.exp(y).view(n, -1) * 2\n";
    let script = Script::new(after, &[("b", Initial::Buffer(floats(&[6])))]);
    script.agrees(&[&[x(4), number(4)], &[x(4), number(5)], &[x(4), number(3)]]);
    let argument = "def forward(self, x, y):\n    z = torch.tanh(y) * 2\n    x.add_(1)\n    return torch.exp(z).view(2, 12) * 2\n";
    Script::new(argument, &[]).agrees(&[&[x(4), x(4)], &[x(4), x(5)], &[x(4), x(4)]]);
    let before = "def forward(self, x):\n    z = torch.exp(torch.tanh(x) * 2).view(2, 12) * 1.5\n    self.n += 1\n    return torch.sigmoid(z) * self.n\n";
    let script = Script::new(before, &[("n", Initial::Value(IValue::Int(0)))]);
    script.agrees(&[&[x(4)], &[x(5)], &[x(4)], &[x(3)], &[x(4)]]);
    let both = "def forward(self, x, n: int):\n    y = torch.exp(x.relu()) * 2.0\n    self.c += 1\n    z = torch.tanh(y.view(n, -1)) * 2.0\n    self.c += 10\n    return torch.sigmoid(z) * self.c\n";
    let script = Script::new(both, &[("c", Initial::Value(IValue::Int(0)))]);
    script.agrees(&[&[x(4), number(4)], &[x(4), number(5)], &[x(4), number(4)]]);
}

#[test]
fn guards_come_before_what_they_guard() {
    let _on = engines_on();
    let source = "def forward(self, x, n: int):\n    y = torch.exp(x.relu()) * 2.0\n    assert n != 5, 'five'\n    return torch.tanh(y).view(n, -1) * 2\n";
    let script = Script::new(source, &[]);
    let call = |n: i64| [tensor(floats(&[4, 6])), IValue::Int(n)];
    script.agrees(&[&call(4), &call(5), &call(3)]);
    let told = script.module.forward_is(&call(5)).expect_err("it raises").to_string();
    assert!(told.contains("five"), "{told}");
}

#[test]
fn tuples_of_branches_that_arguments_decide() {
    let _on = engines_on();
    let source = "def forward(self, x, y: Optional[Tensor], k: Optional[int]):
    if y is None:
        r = (x * 3.0, y)
    else:
        r = (x + y, y * 2.0)
    if k is not None:
        b = r[1]
        if b is None:
            r = (r[0] * 3.0, b)
        else:
            r = (r[0] + b, b * 2.0)
    return r[0], r[0].exp()\n";
    let script = Script::new(source, &[]);
    let x = || tensor(floats(&[4, 8]));
    for y in [x(), IValue::None] {
        for k in [IValue::Int(2), IValue::None] {
            script.agrees(&[&[x(), copied(&y), copied(&k)]]);
        }
    }
}
