//! Branches and loops that the sizes of the arguments decide, and those that only seem so.

use tch::{IValue, Tensor};
use tch_bridge::jit::Initial;
use tch_bridge::report::{MethodReport, State};
use tests::engines_on;
use tests::script::{Script, floats, tensor};

/// How many engines serve each compiled form.
fn engines(script: &Script) -> Vec<usize> {
    let count =
        |m: &MethodReport| if let State::Divided { engines, .. } = &m.state { engines.len() } else { 0 };
    script.module.report().methods.iter().map(count).collect()
}

fn script(body: &str, attributes: &[(&str, Initial)]) -> Script {
    let lines: String = body.lines().map(|l| format!("    {l}\n")).collect();
    Script::new(&format!("def forward(self, x):\n{lines}"), attributes)
}

const WINDOWS: &str = "
y = torch.tanh(x) * 2.0
shift = [2, 1]
own = shift.copy()
if y.size(0) < 4:
    own[0] = 0
if y.size(1) < 4:
    own[1] = 0
if sum(own) > 0:
    y = torch.roll(y, [own[0], own[1]], [0, 1])
z = torch.constant_pad_nd(y, [0, (4 - y.size(1) % 4) % 4]) * 3.0
if z.size(1) > y.size(1):
    z = torch.exp(z)
return torch.sigmoid(z) + 1.0";

const PIECES: &str = "
pieces: List[Tensor] = []
total = 0
for i in range(x.size(0)):
    piece = torch.tanh(x[i]) * float(i + 1)
    if i % 2 == 1:
        piece = torch.exp(piece)
    pieces.append(piece + 1.0)
    total += int(pieces[i].size(0))
return torch.stack(pieces) * 2.0 + float(total)";

#[test]
fn a_form_for_one_set_of_sizes_has_no_branches_on_them() {
    let _on = engines_on();
    for body in [WINDOWS, PIECES] {
        let one = script(body.trim(), &[]);
        one.agrees(&[&[tensor(floats(&[5, 6]))]]);
        assert_eq!(engines(&one), [1], "{}", one.module.report());
        let rows = [5, 3, 4, 2, 6, 1, 7, 3];
        let calls: Vec<_> = rows.iter().map(|&n| [tensor(floats(&[n, 9 - n]))]).collect();
        one.agrees(&calls.iter().map(|c| &c[..]).collect::<Vec<_>>());
        // Four forms for one set of sizes each, one for all others.
        assert_eq!(engines(&one).len(), 5, "{}", one.module.report());
    }
}

#[test]
fn what_elements_decide_stays_open() {
    let _on = engines_on();
    let x = |values: &[f32]| [tensor(Tensor::from_slice(values))];
    let calls = [x(&[1.0, 2.0, 3.0]), x(&[-1.0, 0.0, 3.0]), x(&[-1.0, -2.0, -3.0]), x(&[2.0, 0.5, 1.0])];
    for body in [
        "n = int(x.nonzero().size(0))\ny = torch.tanh(x) * 2.0\nif n > 2:\n    y = torch.exp(y)\nreturn y + 1.0",
        "k = [0, 0]\nif bool(x.sum() > 0.0):\n    k[0] = 1\ny = torch.tanh(x) * 2.0\nif sum(k) > 0:\n    y = torch.exp(y)\nreturn y + 1.0",
        "k: List[int] = []\nfor i in range(x.size(0)):\n    if bool(x[i] > 0.0):\n        k.append(i)\ny = torch.tanh(x) * 2.0\nfor i in range(len(k)):\n    y = y * 1.5\nreturn y + 1.0",
        "y = x[x > 0.0]\nz = torch.tanh(x) * 2.0\nif y.size(0) > 1:\n    z = torch.exp(z)\nreturn z + 1.0, torch.exp(y)",
        "t = torch.zeros([x.size(0)])\nt += x\ny = torch.tanh(x) * 2.0\nif bool(t[0] > 0.0):\n    y = torch.exp(y)\nreturn y + 1.0",
        "t = torch.zeros([x.size(0)])\nfor i in range(x.size(0)):\n    t[i] = x[i]\n    t = t.clone()\ny = torch.tanh(x) * 2.0\nif bool(t.sum() > 0.0):\n    y = torch.exp(y)\nreturn y + 1.0",
        "m = x.size(0)\nwhile bool(x[m - 1] < 0.0) and m > 1:\n    m -= 1\ny = torch.tanh(x) * 2.0\nif m > 1:\n    y = torch.exp(y)\nreturn y[:m] + 1.0",
    ] {
        script(body, &[]).agrees(&calls.iter().map(|c| &c[..]).collect::<Vec<_>>());
    }
}

#[test]
fn state_that_counts_calls_is_seen() {
    let _on = engines_on();
    let count = ("count", Initial::Value(IValue::Int(0)));
    let body = "self.count += 1\ny = torch.tanh(x) * 2.0\nif x.size(0) > 2:\n    y = torch.exp(y) + float(self.count)\nif self.count > 3:\n    y = y * 2.0\nreturn y + 1.0";
    let counting = script(body, &[count]);
    counting.agrees(&[&[tensor(floats(&[4]))], &[tensor(floats(&[2]))]]);
}

/// What a branch on data computes in one round of a loop alone, in the call that is observed, is another in each round.
#[test]
fn what_rounds_of_loops_decide_is_theirs() {
    let _on = engines_on();
    let rounds = |signs: [f32; 3]| [tensor(floats(&[6])), tensor(tch::Tensor::from_slice(&signs))];
    for inner in [
        "y = torch.tanh(y) * float(i) + 1.0",
        "k = i + 1\n            y = torch.tanh(y) + float(k * 10)",
        "y = torch.tanh(y) + x[i:i + 1] * 2.0",
        "y = torch.tanh(y) * c[i] + 1.0",
        "y = torch.softmax(y.view(2, 3), 0 if i == 0 else 1).view(-1) * 2.0",
        "if i == 0:\n                y = torch.tanh(y) * 2.0\n            else:\n                y = torch.sigmoid(y) - 3.0",
        "for j in range(i + 1):\n                y = torch.tanh(y) * float(j + 1) + float(i)",
    ] {
        let source = format!(
            "def forward(self, x, s):\n    c = [0.5, 1.5, 2.5]\n    y = x\n    for i in range(3):\n        if bool(s[i] > 0.0):\n            {inner}\n        else:\n            y = torch.exp(y * 0.1) - 1.0\n    return y * 2.0 + x\n"
        );
        let script = Script::new(&source, &[]);
        let calls =
            [[1.0, -1.0, -1.0], [-1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, 1.0, 1.0], [-1.0; 3]].map(rounds);
        script.agrees(&calls.iter().map(|c| &c[..]).collect::<Vec<_>>());
    }
    let source = "def forward(self, x):\n    y = x\n    for i in range(x.size(0)):\n        if i == 2:\n            y = torch.tanh(y) * float(i)\n        for j in range(1):\n            y = y + float(i + j)\n    return torch.exp(y * 0.1) + 1.0\n";
    Script::new(source, &[]).agrees(&[
        &[tensor(floats(&[6]))],
        &[tensor(floats(&[2]))],
        &[tensor(floats(&[3]))],
    ]);
}

#[test]
fn a_weight_of_other_sizes_makes_another_form() {
    let _on = engines_on();
    let weight = ("w", Initial::Buffer(floats(&[3, 4])));
    let body = "y = torch.tanh(torch.matmul(x, self.w)) * 2.0\nif y.size(1) > 3:\n    y = torch.exp(y)\nreturn y + 1.0";
    let script = script(body, &[weight]);
    let x = floats(&[2, 3]);
    script.agrees(&[&[tensor(x.shallow_clone())]]);
    let narrow = floats(&[3, 2]);
    script.attribute("w").set_data(&narrow);
    let got = script.module.forward_ts(&[&x]).expect("it answers");
    assert!(got.allclose(&((x.matmul(&narrow).tanh() * 2.0) + 1.0), 1e-5, 1e-6, false), "{got}");
}

#[test]
fn sizes_that_tensors_hold_are_known_where_they_decide_shapes() {
    let _on = engines_on();
    for body in [
        "n = torch.tensor(x.size(0))\ny = torch.tanh(x) * n\nw = y[y > 0.2]\nz = torch.exp(x + w.sum())\nreturn (z * 2.0).reshape([int(n), -1]) + n",
        "n = torch.tensor(x.size(0)) * 2 - 1\ny = torch.tanh(x) * n\nw = y[y > 0.2]\nz = torch.exp(x + w.sum())\nreturn torch.linspace(0.5, float(n), int(n)).sum() * z + n",
        "keep = torch.arange(x.size(0)) % 2 == 0\ny = torch.tanh(x) * keep.unsqueeze(-1)\nw = y[y > 0.2]\nz = torch.exp(x + w.sum())\nreturn torch.sigmoid(z[keep] * 2.0)",
        "keep = torch.arange(x.size(0)) % 2 == 0\ny = torch.tanh(x)[keep] * 2.0\nreturn torch.exp(y) + 1.0, keep",
    ] {
        let script = script(body, &[]);
        let calls: Vec<_> = [5, 3, 8].map(|n| [tensor(floats(&[n, 4]))]).into();
        script.agrees(&calls.iter().map(|c| &c[..]).collect::<Vec<_>>());
        let report = script.module.report();
        let built = |m: &MethodReport| match &m.state {
            State::Divided { engines, .. } => {
                engines.iter().flat_map(|e| &e.shapes).all(|s| s.refused.is_none())
            }
            _ => false,
        };
        assert!(report.methods.iter().all(built), "{report}");
    }
}
