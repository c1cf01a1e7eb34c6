//! Lists and dicts that are made, filled, looked up and written.

use super::effects::{check, indented};
use tch::IValue;
use tch_bridge::jit::Initial;
use tests::engines_on;
use tests::script::{Script, floats, tensor};

#[test]
fn lists_and_dicts_are_written() {
    check(
        "l = [torch.tanh(x), y]\nl.append(torch.exp(x) + 1.0)\nl[0] = l[2] * 2.0\nreturn torch.cat(l, 1) + 1.0",
    );
    check(
        "l = [torch.tanh(x), y]\nm = l\nm.append(torch.exp(x) + 1.0)\nz = torch.cat(l, 0)\nl.pop()\nreturn torch.tanh(torch.cat(m, 0)).sum() + z",
    );
    check(
        "d = {'a': torch.tanh(x) * 2.0}\nd['b'] = torch.exp(y) + 1.0\nz = d['a'] + d['b']\nd['a'] = z\nreturn torch.sigmoid(d['a']) * z",
    );
    check(
        "l: List[Tensor] = []\nfor i in range(3):\n    l.append(torch.tanh(x) * float(i) + y)\nreturn torch.stack(l).sum(0) * 2.0",
    );
    check(
        "l = [torch.tanh(x)]\nm = [l]\nl.append(torch.exp(x))\nz = torch.cat(m[0], 0)\nl.append(y * 2.0)\nreturn torch.cat(m[0], 0) + torch.cat(l, 0) * z.sum()",
    );
    check(
        "l = [torch.tanh(x)]\nif bool(y.sum() > 0.0):\n    l.append(torch.exp(x))\nl.append(y * 2.0)\nfor i in range(2):\n    z = torch.cat(l, 0)\n    l.append(z * 0.5)\nreturn torch.cat(l, 0) + 1.0",
    );
    check(
        "d = {'a': torch.tanh(x) * 2.0}\nfor i in range(3):\n    z = d['a'] * 0.5 + y\n    d['a'] = z\nd['b'] = d['a'] + 1.0\nreturn torch.sigmoid(d['a']) * d['b']",
    );
    check("l = [x, y]\nl[0].add_(1.0)\nz = torch.tanh(x) * 2.0 + y\nl[1] = z\nreturn torch.exp(l[0]) + l[1]");
    check(
        "l = [torch.tanh(x), torch.tanh(y)]\nfor t in l:\n    t.mul_(2.0)\nreturn torch.exp(l[0]) + torch.exp(l[1])",
    );
}

/// Once the list is made as a whole, torch's passes take such a write for dead code: the host's own executor from the second call on.
#[test]
fn elements_of_lists_that_grew_are_written() {
    let _on = engines_on();
    for write in ["l[-1].add_(1.0)", "l[0].add_(1.0)", "l[1].relu_()", "l[1][0] = 2.0", "l[-1].t().mul_(3.0)"]
    {
        for grown in [
            "l = [x * 1.0]\nl.append(torch.softmax(y, 1))",
            "l = [torch.exp(x)]\nl.append(torch.softmax(torch.cat(l, 1), 1))",
            "l = [torch.exp(x)]\nl.insert(0, torch.sigmoid(l[-1]))",
        ] {
            for end in ["return torch.cat(l, 1) + 1.0", "l.append(x - 1.0)\nreturn torch.cat(l, 1)"] {
                let body = indented(&format!("{grown}\n{write}\n{end}"));
                let script = Script::new(&format!("def forward(self, x, y):\n{body}"), &[]);
                script.agrees_at_first(&[tensor(floats(&[5, 3])), tensor(floats(&[5, 3]).flip([0]))]);
            }
        }
    }
}

#[test]
fn lists_and_dicts_that_grow_divide_nothing() {
    let _on = engines_on();
    let one_engine = |body: &str, attributes: &[(&str, Initial)]| {
        let script = Script::new(&format!("def forward(self, x):\n{}", indented(body)), attributes);
        script.agrees(&[&[tensor(floats(&[2, 3]))], &[tensor(floats(&[4, 3]))]]);
        assert_eq!(script.module.report().engines(), 1, "{}", script.module.report());
    };
    one_engine(
        "l = [torch.tanh(x)]\nl.append(torch.exp(torch.cat(l, 1)))\nassert torch.cat(l, 1).dim() == 2, 'a matrix'\nl.append(torch.sigmoid(torch.cat(l, 1)) * 2.0)\nreturn torch.cat(l, 1) + 1.0",
        &[],
    );
    one_engine(
        "d: Dict[str, Tensor] = {}\nd['a'] = torch.tanh(x) * 2.0\nd['b'] = torch.exp(d['a']) + 1.0\nd['a'] = torch.sigmoid(d['b'] - d['a'])\nreturn torch.exp(d['a'] * 2.0) + d['b']",
        &[],
    );
    let names = IValue::GenericDict(vec![(IValue::String("layer".into()), IValue::String("out".into()))]);
    one_engine(
        "d: Dict[str, Tensor] = {}\nif 'layer' in self.names:\n    d[self.names['layer']] = torch.tanh(x) * 2.0\nreturn torch.exp(d['out'] * 2.0) + 1.0",
        &[("names", Initial::Value(names))],
    );
    let axes = IValue::IntList(vec![1, 0]);
    one_engine(
        "y = torch.permute(torch.tanh(x), self.axes)\nif self.axes[0] == 1:\n    y = torch.exp(y) * 2.0\nreturn torch.softmax(y, self.axes[1]) + 1.0",
        &[("axes", Initial::Value(axes))],
    );
}

#[test]
fn lists_of_numbers_in_attributes_may_change() {
    let _on = engines_on();
    let source = "def forward(self, x, n: int):\n    y = torch.tanh(x).sum(self.axes) * 2.0\n    if n >= 0:\n        self.axes[0] = n\n    return torch.exp(y) + 1.0\ndef grow(self):\n    self.axes.append(1)\n";
    let script = Script::new(source, &[("axes", Initial::Value(IValue::IntList(vec![0])))]);
    let call = |n: i64| [tensor(floats(&[2, 3])), IValue::Int(n)];
    script.same(&[&call(-1), &call(1), &call(-1), &call(0)]);
    let fixed = "def forward(self, x):\n    y = torch.tanh(x).sum(self.axes) * 2.0\n    return torch.exp(y) + 1.0\ndef set(self, n: int):\n    self.axes[0] = n\n    return n\n";
    let script = Script::new(fixed, &[("axes", Initial::Value(IValue::IntList(vec![0])))]);
    let x = floats(&[2, 3]);
    for n in [0, 1, 0, 1] {
        script.module.method_is("set", &[IValue::Int(n)]).expect("it is set");
        let Ok(IValue::Tensor(got)) = script.module.forward_is(&[tensor(x.shallow_clone())]) else {
            panic!("a tensor")
        };
        let want = (x.tanh().sum_dim_intlist([n].as_slice(), false, None) * 2.0).exp() + 1.0;
        tests::assert_close(&got, &want);
    }
}

#[test]
fn a_list_argument_is_written() {
    let _on = engines_on();
    let source = "def forward(self, l: List[Tensor]):\n    z = torch.tanh(l[0]) * 2.0 + l[1]\n    l[0] = z\n    l[1].add_(1.0)\n    return torch.exp(z) + l[1]\n";
    let script = Script::new(source, &[]);
    let list = || [IValue::TensorList(vec![floats(&[3]), floats(&[3])])];
    script.agrees(&[&list(), &list()]);
}

#[test]
fn what_lists_hold_is_written() {
    check("c = torch.cos(x)\nv = x.permute([0, 1])\nv.add_(1.0)\nreturn torch.cat([x, c]) * 2.0");
    check("x.mul_(2.0)\nreturn torch.exp(torch.cat([x, y]))");
    check(
        "z = torch.sin(x) + y\nv = z.permute([1, 0])\nv.cumsum_(0)\nreturn torch.stack([z, torch.cos(x)]) * 2.0",
    );
    check(
        "z = torch.tanh(x) * 2.0\nl = list(torch.unbind(z))\nz[:, 1:] = 0.0\nreturn l[0] + 1.0, torch.exp(y) * 2.0",
    );
    check("z = torch.tanh(x) * 2.0\nl = [z] + [y]\nz[0] = 0.0\nreturn torch.cat(l) * 2.0");
    check("z = torch.tanh(x) * 2.0\nl = [z, y][0:1]\nz[0] = 0.0\nreturn torch.cat(l) * 2.0");
}
