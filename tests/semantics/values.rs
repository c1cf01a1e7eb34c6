//! What goes in and comes out, and what crosses a cluster's border besides tensors.

use tch::{Device, IValue, Kind, Tensor};
use tch_bridge::jit::Initial;
use tests::engines_on;
use tests::script::{Script, floats, tensor};

fn x() -> IValue {
    tensor(floats(&[4, 3]))
}

/// Runs a whole `forward` with these calls.
fn check(source: &str, calls: &[&[IValue]]) {
    let _on = engines_on();
    Script::new(source, &[]).agrees(calls);
}

#[test]
fn results_of_every_kind() {
    for result in [
        "(y, z)",
        "[y, z]",
        "{'y': y, 'z': z}",
        "(y, (z, [y, z]), {'a': (y, 1)})",
        "(y, None, z)",
        "(y, 1, 2.5, True, 'text', y.size(0))",
        "(y, y.shape, float(z.sum()) > 0.0)",
        "(y, torch.device('cpu'), y.device)",
        "([1, 2], [1.5], [True], ['a'], [y])",
        "(y.dtype, y)",
        "(x, y)",
        "(y, y)",
    ] {
        let source = format!(
            "def forward(self, x):\n    y = torch.tanh(x) * 2.0 + 1.0\n    z = torch.exp(y) - x\n    return {result}\n"
        );
        let _on = engines_on();
        Script::new(&source, &[]).same(&[&[x()], &[tensor(floats(&[2, 3]))]]);
    }
}

#[test]
fn nothing_is_returned() {
    let _on = engines_on();
    let source = "def forward(self, x):\n    self.n.add_(torch.tanh(x).sum() * 2.0)\n";
    let script = Script::new(source, &[("n", Initial::Buffer(Tensor::zeros([1], tch::kind::FLOAT_CPU)))]);
    script.same(&[&[x()]]);
}

#[test]
fn containers_as_arguments() {
    check(
        "def forward(self, p: Tuple[Tensor, Tensor]):\n    a, b = p\n    y = torch.tanh(a) * 2.0 + b\n    return torch.exp(y), b\n",
        &[&[IValue::Tuple(vec![x(), x()])]],
    );
    check(
        "def forward(self, l: List[Tensor]):\n    y = torch.cat(l) * 2.0\n    return torch.tanh(y) + 1.0\n",
        &[
            &[IValue::TensorList(vec![floats(&[2, 3]), floats(&[1, 3])])],
            &[IValue::TensorList(vec![floats(&[2, 3])])],
            &[IValue::TensorList(vec![floats(&[2, 3]), floats(&[2, 3]), floats(&[4, 3])])],
        ],
    );
    check(
        "def forward(self, d: Dict[str, Tensor]):\n    y = torch.tanh(d['a']) * 2.0 + d['b']\n    return {'c': torch.exp(y), 'a': d['a']}\n",
        &[&[IValue::GenericDict(vec![(IValue::String("a".into()), x()), (IValue::String("b".into()), x())])]],
    );
    check(
        "def forward(self, p: Tuple[Tensor, Optional[Tensor], Tuple[int, float]]):\n    a, m, (i, f) = p\n    y = torch.tanh(a) * f + float(i)\n    if m is not None:\n        y = y * m\n    return torch.exp(y) + 1.0\n",
        &[
            &[IValue::Tuple(vec![
                x(),
                IValue::None,
                IValue::Tuple(vec![IValue::Int(2), IValue::Double(0.5)]),
            ])],
            &[IValue::Tuple(vec![x(), x(), IValue::Tuple(vec![IValue::Int(3), IValue::Double(0.5)])])],
        ],
    );
}

#[test]
fn numbers_and_texts_as_arguments() {
    check(
        "def forward(self, x, i: int, f: float, b: bool, s: str):\n    y = torch.tanh(x) * f + float(i)\n    if b:\n        y = torch.exp(y) * 2.0\n    if s == 'twice':\n        y = y * 2.0 - torch.sigmoid(y)\n    return y + x\n",
        &[
            &[x(), IValue::Int(2), IValue::Double(0.5), IValue::Bool(true), IValue::String("once".into())],
            &[x(), IValue::Int(3), IValue::Double(1.5), IValue::Bool(false), IValue::String("twice".into())],
            &[x(), IValue::Int(2), IValue::Double(0.25), IValue::Bool(true), IValue::String("twice".into())],
        ],
    );
    check(
        "def forward(self, x, sizes: List[int], scale: List[float]):\n    y = torch.tanh(x).reshape(sizes) * scale[0]\n    return torch.exp(y) + scale[1]\n",
        &[
            &[x(), IValue::IntList(vec![2, 6]), IValue::DoubleList(vec![0.5, 2.0])],
            &[x(), IValue::IntList(vec![12]), IValue::DoubleList(vec![1.5, 3.0])],
            &[x(), IValue::IntList(vec![-1, 2]), IValue::DoubleList(vec![0.5, 2.0])],
        ],
    );
    check(
        "def forward(self, x, d: Device, k: int):\n    y = torch.tanh(x).to(d) * 2.0\n    return torch.exp(y).to(k) + 1\n",
        &[
            &[x(), IValue::Device(Device::Cpu), IValue::Int(6)],
            &[x(), IValue::Device(Device::Cpu), IValue::Int(7)],
        ],
    );
}

#[test]
fn ints_from_shapes() {
    let calls: &[&[IValue]] = &[&[x()], &[tensor(floats(&[2, 5]))], &[tensor(floats(&[7, 1]))], &[x()]];
    for body in [
        "n = x.size(0)\ny = torch.tanh(x).reshape(n * x.size(1))\nreturn torch.exp(y) * float(n), n + 1",
        "b, c = x.shape\ny = torch.tanh(x).view(1, b, c).expand(2, b, c) * 2.0\nreturn torch.exp(y), [b, c, b // 2]",
        "h = (x.size(1) + 1) // 2\ny = torch.tanh(x)[:, h:] * 2.0\nreturn torch.exp(y) + 1.0, torch.tanh(x)[:, :h] * 2.0 + float(h)",
        "y = torch.arange(x.size(1)) * 2 + 1\nreturn torch.tanh(x) * y + x.numel()",
        "y = torch.zeros([x.size(0), 2]) + 1.0\nreturn torch.cat([torch.tanh(x) * 2.0, y], 1)",
        "y = torch.tanh(x) / float(x.size(-1)) ** 0.5\nreturn torch.exp(y) + math.sqrt(x.size(0))",
        "y = torch.tanh(x) * 2.0\ns = y.sum(0)\nk = s.size(0)\nz = torch.exp(s).unsqueeze(1).repeat(1, k)\nreturn z + 1.0, k",
    ] {
        let lines: String = body.lines().map(|l| format!("    {l}\n")).collect();
        let body = format!("def forward(self, x):\n{lines}");
        check(&body.replace("math.sqrt(x.size(0))", "float(x.size(0)) ** 0.5"), calls);
    }
}

#[test]
fn scalars_are_tensors_without_dimensions() {
    check(
        "def forward(self, x, s):\n    y = torch.tanh(x) * s + s * 2.0\n    m = y.mean()\n    return torch.exp(y - m) + m * s, m\n",
        &[
            &[x(), tensor(Tensor::from(2.0f32))],
            &[x(), tensor(Tensor::from(0.5f64))],
            &[x(), tensor(Tensor::from(3i64))],
            &[tensor(floats(&[])), tensor(Tensor::from(3.0f32))],
        ],
    );
}

#[test]
fn weights_that_are_shared() {
    let _on = engines_on();
    let w = floats(&[3, 3]);
    let source = "def forward(self, x):\n    y = torch.tanh(x @ self.a) * 2.0\n    return torch.exp(y @ self.b) + x @ self.a.t()\n";
    let module = tch_bridge::jit::Module::from_source(
        source,
        &[("a", Initial::Parameter(w.shallow_clone())), ("b", Initial::Parameter(w.shallow_clone()))],
    )
    .unwrap();
    let module = tch_bridge::TrtModule::wrap(module.to_cmodule(), &tests::options()).unwrap();
    for round in 0..4 {
        let x = floats(&[2, 3]);
        let want = ((x.matmul(&w).tanh() * 2.0).matmul(&w)).exp() + x.matmul(&w.tr());
        tests::assert_close(&module.forward_ts(&[&x]).unwrap(), &want);
        if round == 1 {
            tch::no_grad(|| drop(w.shallow_clone().g_mul_scalar_(0.5)));
        }
    }
    assert!(tests::served(&module) > 0);
}

#[test]
fn complex_numbers_stay_on_the_host() {
    check(
        "def forward(self, x):\n    y = torch.tanh(x) * 2.0 + 1.0\n    z = torch.fft_fft(y).abs() if False else torch.view_as_real(torch.complex(y, y))\n    return torch.exp(z * 0.1) + 1.0\n",
        &[&[x()]],
    );
    let _on = engines_on();
    let script =
        Script::new("def forward(self, x):\n    return (x * 2.0 + 1.0).abs() + x.real.tanh() * 2.0\n", &[]);
    script.same(&[&[tensor(Tensor::complex(&floats(&[3]), &floats(&[3])))]]);
}

#[test]
fn integers_and_masks_as_arguments() {
    check(
        "def forward(self, x, i, m):\n    y = torch.tanh(x)[i] * 2.0\n    y = y.masked_fill(m.unsqueeze(1), -1.0)\n    return torch.exp(y), i + 1, ~m\n",
        &[&[
            x(),
            tensor(Tensor::from_slice(&[0i64, 3, -1])),
            tensor(Tensor::from_slice(&[true, false, true])),
        ]],
    );
    let _on = engines_on();
    let script = Script::new("def forward(self, x, i):\n    return torch.exp(torch.tanh(x)[i] * 2.0)\n", &[]);
    let index = |v: i64| tensor(Tensor::from_slice(&[v, 0]));
    script.agrees(&[
        &[x(), index(3)],
        &[x(), index(4)],
        &[x(), index(-4)],
        &[x(), index(-5)],
        &[x(), index(1)],
    ]);
    let kinds = [Kind::Int, Kind::Uint8, Kind::Bool];
    let calls: Vec<[IValue; 2]> =
        kinds.map(|k| [x(), tensor(Tensor::from_slice(&[1i64, 0, 1, 1]).to_kind(k))]).into();
    calls.iter().for_each(|c| script.same(&[c]));
}

#[test]
fn a_neutral_number_in_an_attribute_is_still_a_number() {
    let _on = engines_on();
    let source = "def forward(self, x):\n    m = x > 0.5\n    z = torch.tanh(x) * 2.0\n    return m + self.zero, m * self.one, z + self.zero, z, x - self.zero\n";
    let attributes = [("zero", Initial::Value(IValue::Int(0))), ("one", Initial::Value(IValue::Int(1)))];
    let script = Script::new(source, &attributes);
    script.agrees(&[&[tensor(floats(&[3, 4]))]]);
    let x = floats(&[3, 4]);
    let Ok(IValue::Tuple(got)) = script.module.forward_is(&[tensor(x)]) else { panic!("a tuple") };
    let [_, _, IValue::Tensor(sum), IValue::Tensor(z), _] = &got[..] else { panic!("five tensors") };
    let before = z.copy();
    drop(sum.shallow_clone().fill_(7.0));
    assert_eq!(z, &before, "a sum is memory of its own");
}

/// Numbers of which no three neighbours are nearly equal.
fn waves(rows: i64) -> Tensor {
    (Tensor::arange(rows * 3, tch::kind::FLOAT_CPU) * 2.0 + 1.0).sin().reshape([rows, 3])
}

#[test]
fn what_may_be_none_crosses_where_it_is_not() {
    let source = "def forward(self, x):
    w: Optional[Tensor] = None
    axis: Optional[int] = None
    if float(x.sum()) > 0.0:
        w = x.sum(0)
        axis = 1
    y = torch.layer_norm(torch.tanh(x) * 3.0, [3], w, None)
    return y, torch.argmax(y + x, axis)
";
    let _on = engines_on();
    let some = |rows| [tensor(waves(rows).abs())];
    let none = || [tensor(-waves(4).abs())];
    let taken = "(tanh, mul.Scalar, layer_norm, add.Tensor, argmax)";
    for (calls, is_taken) in [([some(4), none(), some(2)], true), ([none(), some(4), none()], false)] {
        let script = Script::new(source, &[]);
        script.agrees(&calls.each_ref().map(|c| &c[..]));
        let report = script.module.report().to_string();
        assert_eq!(report.contains(taken), is_taken, "{report}");
    }
}

#[test]
fn what_is_none_at_first() {
    let source = "def forward(self, x):
    w: Optional[Tensor] = None
    axis: Optional[int] = None
    total = x
    for i in range(3):
        y = torch.layer_norm(torch.tanh(total) * 3.0, [3], w, None)
        total = total + y * 0.1 + torch.argmax(y, axis).sum() * 0.01
        if float(total.sum()) > -20.0 + 100.0 * i:
            w = total.sum(0)
            axis = 1
        else:
            w = None
    return total
";
    check(source, &[&[tensor(waves(4))], &[tensor(-waves(4).abs())], &[tensor(waves(2))]]);
}
