//! How results lie in memory, and what depends on it: whether an operator gives its argument or a copy.

use tch::{IValue, Tensor};
use tch_bridge::TrtModule;
use tch_bridge::jit::{Initial, Module};
use tests::script::{floats, tensor};
use tests::{engines_on, options, served};

/// The same elements with the same strides in memory of their own.
fn fresh(t: &Tensor) -> Tensor {
    let (sizes, strides) = (t.size(), t.stride());
    // What repeats one element is written once.
    let once: Vec<i64> =
        sizes.iter().zip(&strides).map(|(&n, &s)| if s == 0 { n.min(1) } else { n }).collect();
    let mut out = Tensor::empty_strided(&once, &strides, (t.kind(), t.device()));
    out.copy_(&t.as_strided(&once, &strides, None));
    out.as_strided(&sizes, &strides, None)
}

fn tensors(value: IValue) -> Vec<Tensor> {
    match value {
        IValue::Tensor(t) => vec![t],
        IValue::Tuple(all) => all.into_iter().flat_map(tensors).collect(),
        _ => vec![],
    }
}

/// Runs `body` as `forward(self, x)` on each of these, twice: values, strides, sharing and what is left in `x` are the host's.
fn check(body: &str, calls: &[Tensor]) {
    let _on = engines_on();
    let lines: String = body.lines().map(|l| format!("    {l}\n")).collect();
    let source = format!("def forward(self, x):\n{lines}");
    let compile = || Module::from_source(&source, &[] as &[(&str, Initial)]).expect("it compiles");
    let host = compile().method("forward").expect("it is defined");
    let module = TrtModule::wrap(compile().to_cmodule(), &options()).expect("it can be wrapped");
    for x in calls.iter().chain(calls) {
        let (mine, theirs) = (fresh(x), fresh(x));
        let want: IValue = host.run(&[tensor(mine.shallow_clone())]).expect("the host runs it");
        let got = module.forward_is(&[tensor(theirs.shallow_clone())]).expect("engines run it");
        let (mut want, mut got) = (tensors(want), tensors(got));
        want.push(mine);
        got.push(theirs);
        let about = |what: &str| {
            format!("{what} of\n{body}\nfor {:?} {:?}\n{}", x.size(), x.stride(), module.report())
        };
        for (g, w) in got.iter().zip(&want) {
            assert!(g.allclose(w, 1e-5, 1e-6, true), "{}: {g} instead of {w}", about("values"));
            assert_eq!(g.stride(), w.stride(), "{}", about("strides"));
        }
        let sharing = |all: &[Tensor]| -> Vec<bool> {
            all.iter().flat_map(|a| all.iter().map(move |b| a.data_ptr() == b.data_ptr())).collect()
        };
        assert_eq!(sharing(&got), sharing(&want), "{}", about("sharing"));
    }
    assert!(served(&module) > 0, "no engine served\n{}", module.report());
}

/// A matrix whose columns lie one after the other.
fn columns(rows: i64, columns: i64) -> Tensor {
    floats(&[columns, rows]).tr()
}

#[test]
fn what_is_written_keeps_its_strides() {
    let square = [columns(4, 4), columns(4, 4)];
    check("z = torch.exp(x)\nz.copy_((x * 2.0)[:, :1])\nreturn (z * 2.0).clone().t_()", &square);
    check("z = torch.clamp(x, max=2.0)\nz.masked_fill_(z > 0.0, 1.0)\nreturn torch.exp(z) * 2.0", &square);
    check("z = x * 1.0\nz.copy_(torch.tanh(x).t())\nreturn torch.exp(z)", &square);
    check(
        "z = torch.tanh(x)\nz.scatter_(0, torch.tensor([[0, 1, 2, 0]]), 9.0)\nreturn torch.exp(z)",
        &square,
    );
    check(
        "z = torch.tanh(x)\nz.index_add_(0, torch.tensor([0, 0]), z[1:3] * 2.0)\nreturn torch.exp(z), z",
        &square,
    );
    check("z = torch.tanh(x)\nz.cumsum_(0)\nreturn torch.exp(z) + 1.0", &square);
    check("z = torch.tanh(x)\nz.tril_()\nz.t().triu_(1)\nreturn torch.exp(z) + 1.0", &square);
    check("z = torch.tanh(x)\nz.t()[0].fill_(z.sum())\nreturn torch.exp(z) + 1.0", &square);
}

#[test]
fn an_axis_of_one_element_tells_nothing_of_more() {
    let calls = [columns(6, 1), columns(6, 3), columns(6, 1), columns(1, 3), columns(5, 4)];
    check("return torch.exp(x) * 2.0 + 1.0", &calls);
    check("z = torch.exp(x) * 2.0\nreturn torch.tanh(z.t()) + 1.0, z", &calls);
    let rows = [floats(&[1, 4]), floats(&[3, 4]), floats(&[3, 1])];
    check("z = torch.exp(x) * 2.0\nreturn torch.tanh(z.t()) + 1.0, z", &rows);
    check("z = torch.exp(x).view(-1, 2)\nreturn torch.tanh(z.t()) + 1.0", &[floats(&[2]), floats(&[6])]);
    let grey = |n: i64| floats(&[n, 4, 4, 1]).permute([0, 3, 1, 2]);
    check(
        "z = torch.tanh(x)\nz.relu_()\nreturn torch.exp(z.contiguous()) + 1.0, torch.exp(z)",
        &[grey(1), grey(2)],
    );
}

#[test]
fn what_repeats_its_elements_says_less_of_strides() {
    let rows = |n: i64| floats(&[1, 5]).expand([n, 5], false);
    let calls = [rows(3), rows(6), floats(&[4, 5]), columns(3, 5), rows(1), rows(2)];
    check("return torch.exp(x) * 2.0 + 1.0, torch.tanh(x.t()) + 1.0", &calls);
    check("z = torch.exp(x[:1] * 2.0).expand(x.size())\nreturn z, torch.tanh(z.t()) + 1.0", &calls);
    // An axis of one element beside one that repeats its elements has no stride either.
    let lines = |n: i64| floats(&[n, 6, 1, 6]).expand([n, 6, 5, 6], false).unsqueeze(2);
    check("return torch.cos(x * 2.0), torch.exp(x) + 1.0", &[lines(3), lines(2)]);
    let planes = |n: i64| floats(&[n, 4, 1, 3]).permute([0, 3, 1, 2]).expand([n, 3, 4, 2], false);
    check("z = torch.relu(x * 2.0)\nreturn z.clone(), torch.exp(z.flip(1)) + 1.0", &[planes(2), planes(1)]);
}

/// Every second of an even number of rows leaves channels innermost; of an odd number the images lie nearer than their rows say.
#[test]
fn sizes_decide_whether_a_slice_has_channels_innermost() {
    let images = |rows: i64| floats(&[4, rows, 6, 4]).permute([0, 3, 1, 2]);
    let body = "return torch.sinh(torch.rms_norm(x[:, :, ::2], [x.size(-1)]))";
    check(body, &[images(6), images(5), images(7), images(8)]);
}

#[test]
fn empty_results_have_strides_too() {
    let calls = [floats(&[3, 4]), floats(&[0, 4]), floats(&[3, 0]), columns(0, 4), columns(4, 0)];
    check("y = torch.exp(x) * 2.0\nreturn y, torch.roll(y, 1, 0), torch.sort(y, 1)[0] + 1.0", &calls);
    check("y = torch.exp(x) * 2.0\nreturn y[:, 4:], (y * 3.0)[3:], torch.tanh(y)[1:1]", &calls);
    check("y = torch.exp(x) * 2.0\nreturn torch.cat([y, y], 1), y.t(), y.flip(0), y.sum(0)", &calls);
}

#[test]
fn strides_decide_between_a_copy_and_the_argument_itself() {
    let calls = [columns(6, 1), columns(6, 3), columns(4, 4), columns(1, 4), columns(6, 1)];
    for same in [
        "contiguous()",
        "float()",
        "to(6)",
        "reshape([-1, x.size(1)])",
        "reshape([-1])",
        "flatten()",
        "type_as(x)",
        "expand_as(x)",
        "reshape_as(x)",
        "t().contiguous().t()",
        "t().reshape([x.size(1), x.size(0)])",
        "clone().contiguous()",
    ] {
        check(
            &format!("v = torch.exp(x) * 2.0\nw = v.{same}\nw[0] = 5.0\nreturn v, w, torch.tanh(v) + 1.0"),
            &calls,
        );
        check(
            &format!("v = torch.exp(x) * 2.0\nw = v.{same}\nv[0] = 5.0\nreturn w, torch.tanh(w) + 1.0"),
            &calls,
        );
        check(&format!("w = x.{same}\nw[0] = 5.0\nreturn torch.tanh(x) * 2.0 + 1.0"), &calls);
        check(&format!("w = (x + 1.0).{same}\nreturn w, torch.tanh(w) * 2.0"), &calls);
    }
    check(
        "v = {'a': torch.exp(x) * 2.0}\nv['a'].copy_(torch.tanh(x.t().contiguous()).t())\nreturn v['a'] * 2.0",
        &[columns(4, 4)],
    );
}

#[test]
fn operators_that_may_give_their_argument() {
    for same in [
        "v.type_as(x)",
        "torch.atleast_2d(v)",
        "torch.einsum('ij', [v])",
        "torch.broadcast_tensors([v, v])[0]",
        "torch.unsafe_chunk(v, 2)[0]",
        "torch.unsafe_split(v, 3)[0]",
        "torch.dropout(v, 0.5, False)",
        "torch.pixel_shuffle(v.view(1, 1, 4, 4), 1)",
    ] {
        let body = format!("v = torch.exp(x) * 2.0\nw = {same}\nw.add_(1.0)\nreturn v * 3.0 + 1.0, v");
        check(&body, &[floats(&[4, 4])]);
    }
}

#[test]
fn gaps_tell_where_axes_of_one_element_lie() {
    let every_second = |rows: i64, columns: i64| floats(&[rows, 2 * columns]).slice(1, 0, 2 * columns, 2);
    check(
        "v = x.t()\na = (v + v) * v\nreturn torch.stack([a, a]) * a",
        &[every_second(3, 8), every_second(1, 2), every_second(2, 1), floats(&[1, 2]), every_second(1, 1)],
    );
}

#[test]
fn a_write_through_a_reshape_is_seen_as_gaps_allow() {
    let wide = floats(&[2, 3, 4]);
    for scattered in ["slice_scatter(v, v[:, :1], 1, 0, 1)", "select_scatter(v, v[:, 0] * 2.0, 1, 0)"] {
        check(
            &format!(
                "v = x[:, :, 1:]\nw = torch.{scattered}\nr = w.reshape(w.size(0), -1)\nr.mul_(2.0)\nreturn w + 1.0, torch.tanh(r)"
            ),
            &[wide.shallow_clone(), floats(&[1, 3, 4]), floats(&[2, 1, 2])],
        );
    }
}

#[test]
fn a_program_may_ask_how_a_view_lies() {
    for body in [
        "a = (x * 2.0)[:, 1:3]\nr = a + 1.0\nif a.storage_offset() > 0:\n    return r * a.stride(0)\nreturn r * 100.0",
        "q, k, v = (x * 2.0).view(4, 3, 2).unbind(1)\nr = q + k\nif not v.is_contiguous():\n    r = r + v\nreturn torch.tanh(r)",
        "a = (x * 2.0)[:, 1:3]\nreturn torch.as_strided(x, [2, 2], [a.stride(0), 1]) * 2.0, a + 1.0",
        "a = (x * 2.0)[:, 1:]\nn = 0\nfor i in range(2):\n    n += a.stride(0)\n    a = a[:, 1:]\nreturn torch.tanh(a) * n",
        "s = [(x * 2.0)[1:]]\ns.append(s[0].t())\nreturn torch.tanh(s[1]) * s[1].stride(1)",
        "a = torch.select_scatter(x[:, ::2], x[:, 0] * 2.0, 1, 0)\nreturn torch.tanh(a) * a.stride(1)",
        "a = torch.slice_scatter(x[:, 1:5], x[:, :1] * 2.0, 1, 0, 1).t()\nif a.is_contiguous():\n    return torch.tanh(a)\nreturn torch.relu(a)",
        "y = x * 2.0\nz = y.view(-1)\nif y.is_set_to(z.view(4, 6)):\n    return torch.relu(z)\nreturn torch.tanh(z)",
    ] {
        check(body, &[floats(&[4, 6])]);
    }
}

#[test]
fn windows_that_are_a_result_overlap() {
    for windows in ["unfold(1, 3, 1)", "unfold(0, 2, 1).transpose(0, 1)", "unfold(1, 3, 1).unfold(1, 2, 1)"] {
        check(&format!("return torch.tanh(x * 2.0).{windows}"), &[floats(&[4, 6])]);
    }
}

#[test]
fn writes_beside_shapes_that_change_in_place() {
    for body in [
        "z = y[:2]\ny.t_()\ny[0] = 1.0\nreturn z + 0.0",
        "z = y[:2]\nz.t_()\nz[0] = 1.0\nreturn torch.relu(y)",
        "z = y[:2]\ny.unsqueeze_(0)\ny[0, 1] = 1.0\nreturn torch.tanh(z) * 2.0",
        "z = y.t()\nz.swapaxes_(0, 1)\nz.mul_(2.0)\ny.add_(1.0)\nreturn z + 0.0, torch.relu(y)",
        "y.set_(x)\ny.add_(1.0)\nreturn y * 1.0, torch.relu(x)",
        "w = y + 1.0\ny.set_(w)\nw.add_(1.0)\nreturn y * 1.0, w",
        "w = y.view(-1)\ny.resize_([2, 2])\ny.add_(1.0)\nreturn torch.relu(w)",
        "z = y[1:]\nz.resize_([2, 2])\nz.add_(1.0)\nreturn y, torch.relu(z)",
        "w = y.view(-1)\ny.as_strided_([3, 2], [2, 1])\ny[0] = 5.0\nreturn torch.relu(w)",
    ] {
        check(&format!("y = x * 2.0\n{body}"), &[floats(&[4, 6])]);
    }
}
