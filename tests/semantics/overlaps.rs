//! Writes that read other parts of the memory that they write. The host refuses some of them, and others see what is written already.

use super::effects::indented;
use tch::IValue;
use tests::engines_on;
use tests::script::{Script, floats, tensor};

/// `write` on `y: f32[4,6]`, as a program.
fn script(write: &str) -> Script {
    let body = format!("y = torch.tanh(x) * 2.0\n{write}\nreturn torch.exp(y) + 1.0, y");
    Script::new(&format!("def forward(self, x, k: int):\n{}", indented(&body)), &[])
}

fn call(k: i64) -> [IValue; 2] {
    [tensor(floats(&[4, 6])), IValue::Int(k)]
}

#[test]
fn parts_that_may_overlap_are_the_hosts() {
    let _on = engines_on();
    for write in [
        "y[:, 1:] += y[:, :-1]",
        "y[1:] += y[:-1]",
        "y[1:].add_(y[:-1])",
        "y[1:] = y[:-1]",
        "y[k:] = y[:-k]",
        "y *= y[:, :1]",
        "y.sub_(y[0])",
        "y[:, ::2].add_(y[:, 1:4])",
        "y[k] -= y[1:2].squeeze(0)",
        "y.t()[1:].mul_(y.t()[:-1])",
        "a, b = y.chunk(2)\ny[1:3] += a",
        "y[:3].mul_(y.permute(0, 1)[1:])",
        "y.view(-1)[1:].add_(y.view(-1)[:-1])",
        "y[:].copy_(y[:, :1])",
        "y[:, :4] += y[:, -4:]",
    ] {
        let script = script(write);
        script.same(&[&call(1), &call(2)]);
    }
}

#[test]
fn parts_that_do_not_overlap_stay_in_engines() {
    let _on = engines_on();
    for write in [
        "y[:2] += y[2:]",
        "y[:, k:2 * k] *= y[:, :k]",
        "y[:, 3:] = y[:, :3]",
        "y[0] = y[3]",
        "y[k] -= y[0]",
        "y[0, :3] += y[0, 3:]",
        "y[-2:] = y[:-2]",
        "y[1:] += y[0]",
        "y.mul_(y)",
        "y[:, 1] = y[:, 0] * y[:, 2]",
    ] {
        let script = script(write);
        script.agrees(&[&call(1), &call(2)]);
        assert_eq!(script.module.report().engines(), 1, "{write}\n{}", script.module.report());
    }
}
