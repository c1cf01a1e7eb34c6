//! Which memory a value may lie in, through lists, dicts, objects and loops: what is not written moves into engines, what is written
//! is never read too early or too late.

use super::effects::{check, indented};
use tch::{IValue, Tensor};
use tch_bridge::jit::Initial;
use tch_bridge::report::State;
use tests::engines_on;
use tests::measure::copied;
use tests::script::{Script, floats, tensor};

/// The part of the operations that engines take, in the form that was compiled last.
fn share(script: &Script) -> f64 {
    let report = script.module.report();
    let State::Divided { blocks, .. } = &report.methods[0].state else { panic!("{report}") };
    let mut coverage = partitioner::Coverage::default();
    blocks.iter().for_each(|b| coverage += b.partition.coverage);
    coverage.fraction()
}

fn images(sizes: &[[i64; 3]]) -> [IValue; 1] {
    [IValue::TensorList(sizes.iter().map(|s| floats(s)).collect())]
}

/// A detector's beginning: images of several sizes in one batch, a dict of features, heads that share weights.
const DETECTOR: &str = "
def forward(self, images: List[Tensor], targets: Optional[List[Dict[str, Tensor]]] = None):
    images = [image for image in images]
    if targets is not None:
        copies: List[Dict[str, Tensor]] = []
        for target in targets:
            copy: Dict[str, Tensor] = {}
            for k, v in target.items():
                copy[k] = v
            copies.append(copy)
        targets = copies
    for i in range(len(images)):
        image = images[i]
        target = targets[i] if targets is not None else None
        assert image.dim() == 3, 'images have three axes, not {}'.format(image.shape)
        images[i] = (image - 0.5) / 0.25
        if targets is not None and target is not None:
            target['boxes'] = target['boxes'] * 2.0
            targets[i] = target
    sizes = [list(image.shape) for image in images]
    most = sizes[0]
    for size in sizes[1:]:
        for axis, n in enumerate(size):
            most[axis] = max(most[axis], n)
    batch = images[0].new_full([len(images)] + most, 0.0)
    for i in range(batch.shape[0]):
        image = images[i]
        batch[i, : image.shape[0], : image.shape[1], : image.shape[2]].copy_(image)
    features: Dict[str, Tensor] = {}
    x = torch.conv2d(batch, self.w, None, [1, 1], [1, 1])
    x.relu_()
    features['0'] = x
    x = torch.conv2d(x, self.v, None, [2, 2], [1, 1])
    x.add_(1.0)
    features['1'] = x
    self.grids = [list(f.shape[-2:]) for f in list(features.values())]
    outputs: List[Tensor] = []
    for feature in list(features.values()):
        out = torch.relu_(torch.conv2d(feature, self.v, None, [1, 1], [1, 1]))
        outputs.append(out.permute(0, 2, 3, 1).reshape(out.size(0), -1, out.size(1)))
    scores = torch.cat(outputs, 1).sigmoid()
    found: List[Dict[str, Tensor]] = []
    for i in range(len(images)):
        best = scores[i].max(1)[0]
        found.append({'scores': best[best > 0.5]})
    return found
";

#[test]
fn what_a_detector_computes_is_in_engines_whatever_the_sizes() {
    let _on = engines_on();
    let (w, v) = (Initial::Buffer(floats(&[8, 3, 3, 3])), Initial::Buffer(floats(&[8, 8, 3, 3])));
    let grids = Initial::Value(IValue::GenericList(vec![IValue::IntList(vec![0])]));
    let script = Script::new(DETECTOR, &[("w", w), ("v", v), ("grids", grids)]);
    for n in 0..7 {
        script.agrees(&[&images(&[[3, 8 + n, 9], [3, 7, 12 - n]])]);
        // Four forms for one set of sizes each; the last one is for all others.
        assert!(share(&script) > 0.9, "{n}: {}", script.module.report());
    }
    let target = |n| {
        let boxes = (IValue::String("boxes".into()), IValue::Tensor(floats(&[n, 4])));
        IValue::GenericDict(vec![boxes])
    };
    let targets = IValue::GenericList(vec![target(1), target(2)]);
    let [list] = images(&[[3, 8, 9], [3, 7, 12]]);
    script.agrees(&[&[list, targets]]);
}

/// Resizes what it is given beside images, which may be nothing.
const RESIZER: &str = "
def resize(self, image, target: Optional[Dict[str, Tensor]]) -> Tuple[Tensor, Optional[Dict[str, Tensor]]]:
    image = image * 2.0
    if target is None:
        return image, target
    target['boxes'] = target['boxes'] * 2.0
    return image, target

def forward(self, images: List[Tensor], targets: Optional[List[Dict[str, Tensor]]] = None):
    images = [image for image in images]
    for i in range(len(images)):
        target = targets[i] if targets is not None else None
        image, target = self.resize(images[i] - 0.5, target)
        images[i] = image
        if targets is not None and target is not None:
            targets[i] = target
    if targets is not None:
        for target in targets:
            assert bool((target['boxes'] > -9.0).all()), 'boxes lie in images'
    x = torch.conv2d(torch.stack(images), self.w)
    return torch.relu_(x).sigmoid()
";

#[test]
fn an_argument_that_is_left_out_is_none_wherever_loops_carry_it() {
    let _on = engines_on();
    let script = Script::new(RESIZER, &[("w", Initial::Buffer(floats(&[8, 3, 3, 3])))]);
    let [list] = images(&[[3, 8, 9], [3, 8, 9]]);
    script.agrees(&[std::slice::from_ref(&list), &[copied(&list), IValue::None]]);
    assert_eq!(share(&script), 1.0, "{}", script.module.report());
    let target = || {
        let boxes = (IValue::String("boxes".into()), IValue::Tensor(floats(&[2, 4])));
        IValue::GenericDict(vec![boxes])
    };
    script.agrees(&[&[list, IValue::GenericList(vec![target(), target()])]]);
}

#[test]
fn what_is_written_after_it_went_somewhere_is_seen_there() {
    // Through a dict of pairs, a list of lists, a slice, an unpacked tuple, an optional.
    check(
        "z = torch.tanh(x)\nd = dict([('a', z), ('b', y)])\nz.add_(1.0)\nreturn torch.exp(d['a']) * 2.0 + d['b']",
    );
    check(
        "z = torch.tanh(x)\nd = dict([('a', z), ('a', y * 2.0)])\nd['a'].mul_(3.0)\nreturn torch.exp(z) * 2.0 + d['a']",
    );
    check(
        "l = [torch.tanh(x), torch.exp(y), x * y]\nm = l[0:3:2]\nm[1].add_(1.0)\nm[0] = y\nreturn torch.cat(l, 0).exp() * 2.0, torch.cat(m, 0) + 1.0",
    );
    check(
        "l = [torch.tanh(x), torch.exp(y)]\nm = l[-1:5]\nl[1] = x * 2.0\nm[0].mul_(2.0)\nreturn torch.cat(l, 0) + 1.0, torch.cat(m, 0).exp()",
    );
    check(
        "z = torch.tanh(x)\nt = (z, y * 2.0)\na, b = t\na.add_(b)\nreturn torch.exp(t[0]) * 2.0 + torch.tanh(z)",
    );
    check(
        "z: Optional[Tensor] = None\nfor i in range(3):\n    if z is not None:\n        z.mul_(2.0)\n    else:\n        z = torch.tanh(x)\nassert z is not None\nw = torch.exp(z) + y\nz.add_(1.0)\nreturn w * 2.0 + z",
    );
    // A loop that is unrolled leaves a write whose result nobody uses.
    check(
        "l = [x, torch.tanh(x)]\nz = l[1]\nfor i in range(x.size(0)):\n    z += 1.0\nreturn torch.stack(l) * 2.0 + y",
    );
    check(
        "z = torch.tanh(x)\nl = [x, z]\nfor i in range(x.size(0)):\n    z += 1.0\nreturn torch.stack(l) * 2.0 + y",
    );
    // What a loop carries may be what it started from.
    check(
        "z = torch.tanh(x)\nw = z\nfor i in range(int(y.size(0))):\n    w.add_(1.0)\n    if i > 0:\n        w = torch.exp(w * 0.1)\nreturn torch.exp(z * 0.1) * 2.0 + w",
    );
    // Views of what went into a list that a loop writes.
    check(
        "l: List[Tensor] = []\nz = torch.tanh(x)\nfor i in range(z.size(0)):\n    l.append(z[i])\nfor t in l:\n    t.mul_(2.0)\nreturn torch.exp(z) + y, torch.stack(l) * 2.0",
    );
    // Arguments in lists and dicts of the graph's own.
    check(
        "l = [x]\nd = {'a': l[0]}\nw = torch.exp(x) * 2.0\nd['a'].add_(1.0)\nreturn torch.tanh(x) + w, l[0] * 2.0",
    );
}

#[test]
fn flags_that_none_decides_are_decided_and_no_others() {
    check(
        "z: Optional[Tensor] = None\nw = torch.tanh(x)\nfor i in range(3):\n    if z is None:\n        w = torch.exp(w * 0.5)\n        if i == 1:\n            z = w\n    else:\n        w = w + z\nreturn w * 2.0 + y",
    );
    check(
        "z: Optional[Tensor] = None\nw = torch.tanh(x)\nfor i in range(3):\n    if z is not None:\n        w = w + z\nif z is None:\n    w = torch.exp(w) * 2.0\nreturn w + y",
    );
    check(
        "z: Optional[Tensor] = None\nn = 0\nwhile z is None and n < 4:\n    n += 1\n    if n > 2:\n        z = torch.tanh(x) * float(n)\nassert z is not None\nreturn torch.exp(z) + y",
    );
    check(
        "f = False\nw = torch.tanh(x)\nfor i in range(3):\n    if f:\n        w = torch.exp(w * 0.5)\n    f = not f\nreturn w * 2.0 + y",
    );
}

#[test]
fn an_attribute_that_the_graph_sets_is_what_it_set() {
    let _on = engines_on();
    let body = "z = torch.tanh(x)\nself.kept = [z, x * 2.0]\nz.add_(1.0)\nw = torch.exp(self.kept[0]) + self.kept[1]\nself.kept[1].mul_(2.0)\nreturn w * 2.0 + torch.sigmoid(self.kept[1])";
    let source = format!("def forward(self, x):\n{}", indented(body));
    let kept = || Initial::Value(IValue::TensorList(vec![Tensor::zeros([1], tch::kind::FLOAT_CPU)]));
    let script = Script::new(&source, &[("kept", kept())]);
    script.same(&[&[tensor(floats(&[2, 3]))], &[tensor(floats(&[2, 3]))], &[tensor(floats(&[4, 3]))]]);
    // What was set by the call before.
    let body = "w = torch.exp(self.kept[0] * 0.1).sum() + torch.tanh(x)\nself.kept[0].add_(1.0)\nz = torch.exp(self.kept[0] * 0.1).sum() * 2.0\nself.kept = [torch.tanh(x) * 2.0]\nreturn w + z";
    let script = Script::new(&format!("def forward(self, x):\n{}", indented(body)), &[("kept", kept())]);
    script.same(&[&[tensor(floats(&[2, 3]))], &[tensor(floats(&[2, 3]))], &[tensor(floats(&[2, 3]))]]);
}

#[test]
fn lists_of_tensors_that_grow_in_attributes_are_read_as_they_are() {
    let _on = engines_on();
    let empty = || Initial::Value(IValue::TensorList(Vec::new()));
    for body in [
        "y = torch.tanh(x) * 2.0\n    self.l.append(y)\n    return torch.exp(y) * len(self.l)",
        "y = torch.tanh(x) * 2.0\n    if len(self.l) == 0:\n        self.l.append(y)\n    else:\n        self.l[0].add_(1.0)\n    return torch.exp(y) + self.l[0]",
        "y = torch.tanh(x) * 2.0\n    self.l.append(y)\n    return torch.exp(torch.cat(self.l, 0)) + 1.0",
    ] {
        let script = Script::new(&format!("def forward(self, x):\n    {body}\n"), &[("l", empty())]);
        script.agrees(&[&[tensor(floats(&[2, 3]))]]);
    }
}
