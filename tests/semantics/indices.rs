//! Elements written by position: repeated positions, those that count from the end, those that are none.

use tch::{IValue, Tensor};
use tests::engines_on;
use tests::script::{Script, floats, tensor};

/// Runs `return {value}` and a form in place as `forward(self, x, i, y)` for each of these index tensors, the first of which is good.
fn check(value: &str, write: &str, y: &[i64], indices: &[Tensor]) {
    let _on = engines_on();
    let calls: Vec<[IValue; 3]> = indices
        .iter()
        .map(|i| [tensor(floats(&[5, 3])), tensor(i.shallow_clone()), tensor(floats(y))])
        .collect();
    let calls: Vec<&[IValue]> = calls.iter().map(|c| &c[..]).collect();
    for body in [
        format!("    return torch.exp(torch.tanh({value})) * 2.0\n"),
        format!("    z = torch.tanh(x) * 2.0\n    {write}\n    return torch.exp(z) + 1.0\n"),
        format!("    z = x\n    w = torch.tanh(z) * 2.0\n    {write}\n    return w + torch.tanh(z)\n"),
    ] {
        Script::new(&format!("def forward(self, x, i, y):\n{body}"), &[]).agrees(&calls);
    }
}

fn vector(values: &[i64]) -> Tensor {
    Tensor::from_slice(values)
}

#[test]
fn what_counts_from_the_end_is_read_only_where_the_host_reads_it() {
    let _on = engines_on();
    for (value, good) in [
        ("torch.index_select(x, 0, i)", vector(&[4, 0, 1])),
        ("torch.gather(x, 0, i)", vector(&[4, 0, 1]).view([1, 3])),
        ("torch.take_along_dim(x, i, 0)", vector(&[4, 0, 1]).view([1, 3])),
        ("torch.take_along_dim(x, i)", vector(&[4, 0, 14])),
        ("torch.take(x, i)", vector(&[4, 0, 14])),
        ("x[i]", vector(&[4, 0, 1])),
        ("torch.embedding(x, i)", vector(&[4, 0, 1])),
    ] {
        let body = format!("def forward(self, x, i):\n    return torch.exp(torch.tanh({value})) * 2.0\n");
        let of = |index: Tensor| [tensor(floats(&[5, 3])), tensor(index)];
        let (far, near) = (of(&good + 100), of(&good - 5));
        Script::new(&body, &[]).agrees(&[&of(good), &near, &far]);
    }
}

#[test]
fn slices_by_a_vector() {
    let indices = [
        vector(&[0, 3, 1]),
        vector(&[2, 2, 2]),
        vector(&[4, 0, 4]),
        vector(&[-1, 0, 1]),
        vector(&[0, 5, 1]),
        vector(&[0, 1, i64::MAX]),
        vector(&[i64::MIN, 1, 2]),
    ];
    check("torch.index_add(x, 0, i, y)", "z.index_add_(0, i, y)", &[3, 3], &indices);
    check("torch.index_add(x, 0, i, y, alpha=-2)", "z.index_add_(0, i, y, alpha=3)", &[3, 3], &indices);
    check("torch.index_copy(x, 0, i, y)", "z.index_copy_(0, i, y)", &[3, 3], &indices);
    check("torch.index_fill(x, 0, i, 0.5)", "z.index_fill_(0, i, 0.5)", &[3, 3], &indices);
    check(
        "torch.index_reduce(x, 0, i, y, 'mean')",
        "z.index_reduce_(0, i, y, 'amax', include_self=False)",
        &[3, 3],
        &indices,
    );
    check("torch.index_put(x, [i], y, True)", "z.index_put_([i], y, True)", &[3, 3], &indices);
    check("torch.index_put(x, [i], y[:1])", "z[i] = y[0]", &[3, 3], &indices);
    check("torch.index_put(x, [i, i - i], y[0, 0])", "z[i, i * 0] = 2.0", &[3, 3], &indices);
}

#[test]
fn elements_by_an_index() {
    let of = |values: &[i64]| vector(values).reshape([3, 2]);
    let indices = [
        of(&[0, 3, 1, 1, 4, 2]),
        of(&[2, 2, 2, 2, 2, 2]),
        of(&[0, 0, 0, 4, 0, 0]),
        of(&[0, -1, 1, 1, 4, 2]),
        of(&[0, 3, 1, 5, 4, 2]),
        of(&[0, 3, 1, 1, 4, i64::MIN]),
    ];
    let y = &[4, 3];
    check("torch.scatter(x, 0, i, 0.5)", "z.scatter_(0, i, 0.5)", y, &indices);
    check("torch.scatter(x, 0, i, y)", "z.scatter_(0, i, y)", y, &indices);
    check("torch.scatter_add(x, 0, i, y)", "z.scatter_add_(0, i, y)", y, &indices);
    for (way, own) in
        [("sum", "True"), ("prod", "False"), ("mean", "True"), ("amax", "False"), ("amin", "True")]
    {
        let rest = format!("(0, i, y, '{way}', include_self={own})");
        let value = format!("torch.scatter_reduce(x, {}", &rest[1..]);
        check(&value, &format!("z.scatter_reduce_{rest}"), y, &indices);
    }
}

#[test]
fn elements_where_a_mask_holds() {
    let of = |values: &[i64]| vector(values).reshape([5, 1]);
    // With all rows there are too few elements.
    let indices = [of(&[1, 0, 0, 0, 1]), of(&[0, 0, 0, 0, 0]), of(&[1, 1, 1, 1, 1])];
    check("torch.masked_scatter(x, i > 0, y)", "z.masked_scatter_(i > 0, y)", &[4, 3], &indices);
}

#[test]
fn views_are_put_back() {
    let _on = engines_on();
    for body in [
        "torch.diagonal_scatter(x, y[0], 0) + torch.diagonal_scatter(x, y[0, :2], -3)",
        "torch.select_scatter(x, y[0], 0, -1) * torch.select_scatter(x, x[:, 0], 1, 2)",
        "torch.slice_scatter(x, y[:2], 0, 1, 5, 2) - torch.slice_scatter(x, y, 0, -3)",
    ] {
        let source = format!("def forward(self, x, y):\n    return torch.tanh({body}) * 2.0\n");
        Script::new(&source, &[]).agrees(&[&[tensor(floats(&[5, 3])), tensor(floats(&[3, 3]))]]);
    }
}
