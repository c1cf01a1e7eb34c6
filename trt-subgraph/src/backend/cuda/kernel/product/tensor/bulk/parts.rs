//! Products of f32 on tensor cores that take halves: each factor is a sum of three parts of 8 bits, exactly, and of the nine products of
//! parts the six that count are summed. A step's sums begin at zero and are added to those of the steps before in f32: tensor cores cut off
//! what does not fit, which over long sums would shift them.
//!
//! The right factor is prepared in parts; the left one comes as it is, and is taken apart on the way into the tensor cores. Where a sum
//! is not finite, it is computed again as it is defined: an infinity has no parts.

use super::super::super::super::super::assemble::{Assembler, Fault, Packing};
use super::super::super::super::super::boxes::ROW;
use super::super::super::super::super::render::{Draft, indent, index_type};
use super::super::super::super::pointwise::thread;
use super::super::super::Product;
use super::super::{Form, form as tensor_form, form::of_matmul};
use super::factors::rows;
use super::{Bulk, release};
use crate::backend::Tf32;
use crate::backend::view::View;
use crate::network::{Layer, LayerKind};
use crate::{DType, TensorType};

/// Parts of a number.
pub const PARTS: usize = 3;
/// Products of parts that count, beside one of halves.
pub const PRODUCTS: f64 = 6.0;
/// As many bytes as halves have.
pub const WIDER: usize = 2;
/// Elements along `k` that change places: lanes so read units of 16 bytes, no two of eight in the same banks.
const MIXED: usize = 32;

/// The size of the layer, as if it were of halves, where it can be computed like this.
pub fn form(a: &mut Assembler, layer: &Layer) -> Option<Form> {
    let LayerKind::MatMul { transpose_a, .. } = layer.kind else { return None };
    let [x, w] = [layer.inputs[0], layer.inputs[1]];
    let (matrix, of_f32) = (a.network.ty(w).rank() == 2, a.network.ty(x).dtype == DType::F32);
    if a.target.capability != 90 || transpose_a || !matrix || !of_f32 || !a.is_static(w) {
        return None;
    }
    let form = tensor_form(a, layer, Tf32 { convolution: false, product: true })?;
    // Copies are told places as numbers of 32 bits, and so are the parts counted.
    let parts = PARTS * form.n * padded(form.k / DType::F32.size());
    let countable = [form.m, form.n, form.k, parts].iter().all(|n| (1..1 << 30).contains(n));
    let form = Form { k: form.k / WIDER, ..form };
    (form.batch == 1 && countable && rows(&a.view(x)).is_some()).then_some(form)
}

/// The layer as a product, whose right factor is the first of the parts that follow each other.
pub fn product(a: &mut Assembler, layer: &Layer) -> Result<Product, Fault> {
    let LayerKind::MatMul { transpose_a, transpose_b } = layer.kind else {
        return Err(format!("{} is no matrix product", layer.kind.name()));
    };
    let ty = a.network.ty(layer.inputs[1]).clone();
    let (n, k) = if transpose_b { (ty.shape[0], ty.shape[1]) } else { (ty.shape[1], ty.shape[0]) };
    let all = TensorType::new(DType::BF16, [PARTS, n, padded(k)]);
    let (bytes, of_all) = (all.bytes(), all.clone());
    let pack = move |a: &mut Assembler, from: View, slot, offset| {
        let from = if transpose_b { from } else { from.permute(&[1, 0]) };
        take_apart(a, &from, View { offset, ..View::row_major(slot, &of_all) })
    };
    let packing = Packing::new(format!("parts, {transpose_b} {all:?}"), Box::new(pack));
    let (slot, offset) = a.packed(layer.inputs[1], bytes, packing)?;
    let row = padded(k) as isize;
    let strides = if transpose_b { vec![row, 1] } else { vec![1, row] };
    let right = View { slot, offset, shape: ty.shape, strides, dtype: DType::BF16 };
    of_matmul(a, layer, (transpose_a, transpose_b), 4, right)
}

/// All parts of the right factor.
pub fn all(p: &Product) -> View {
    let (slot, offset) = (p.b.view.slot, p.b.view.offset);
    let ty = TensorType::new(DType::BF16, [PARTS, p.n, padded(p.k)]);
    View { offset, ..View::row_major(slot, &ty) }
}

/// Elements of a row of the right factor's parts.
pub fn padded(k: usize) -> usize {
    k.next_multiple_of(MIXED)
}

/// Code that says which `k` is in place `at` of the right factor: of 32 in two halves, lane `l` of four has number 8 `l` and the next three
/// of the left factor in the first half and the four after those in the second.
fn which(ty: &str) -> String {
    format!(
        "const {ty} k = at / {MIXED} * {MIXED} + (at % 8 / 2 * 2 + at % {MIXED} / 16) * 4 + at % 16 / 8 * 2 + at % 2;\n"
    )
}

/// Emits the parts of a matrix: each is what the ones before leave, rounded.
fn take_apart(a: &mut Assembler, from: &View, to: View) -> Result<(), Fault> {
    let [n, k] = [from.shape[0], from.shape[1]];
    let count = n * padded(k);
    let ty = index_type(&[from, &to], PARTS * count);
    let mut draft = Draft::new("parts");
    draft.cover(count, 256);
    draft.read("x", from);
    draft.write("y", &to);
    draft.body = format!(
        "{head}const {ty} n = i / {row}, at = i % {row};
{which}const f32 v = k < {k} ? get(x[n * {per_row} + k * {per_k}]) : 0.0f;
f32 first = round_bf16(v), second = 0.0f, third = 0.0f;
if (fabsf(v) < {INFINITY}) {{
    if (is_inf(first)) first = __int_as_float(__float_as_int(v) & (int)0xffff0000);
    second = round_bf16(v - first);
    third = v - first - second;
}}
put(y[i], first);
put(y[i + {count}], second);
put(y[i + {count} * 2], third);
",
        head = thread(ty, count),
        row = padded(k),
        which = which(ty),
        per_row = from.strides[0],
        per_k = from.strides[1],
    );
    a.launch(draft)
}

/// In a kernel's text.
const INFINITY: &str = "__int_as_float(0x7f800000)";

/// The products of a warpgroup's steps.
pub fn steps(bulk: Bulk, (low, high): (&str, &str), quarters: usize) -> String {
    let [rows, columns] = bulk.tile;
    format!(
        "#pragma unroll 1
for (int s = {low}; s < {high}; ++s) {{
    const unsigned char* const from = pool + at * {stage};
    await_bytes(&full[at], again);
    f32 now[{eighths}][4];
    multiply_parts<{eighths}, {quarters}>(now, from + wm / 64 * {of_group}, {of_box}, from + {columns_at} + wn * {ROW}, {of_part});
    #pragma unroll
    for (int j = 0; j < {eighths}; ++j)
        #pragma unroll
        for (int c = 0; c < 4; ++c) sums[0][j][c] += now[j][c];
    if (s + {stages} < last) {{
        before = at;
{release}    }}
    if (++at == {stages}) at = 0, again ^= 1;
}}
",
        stage = bulk.stage(),
        stages = bulk.stages,
        eighths = bulk.part[1] / 8,
        of_group = 64 * ROW,
        of_box = rows * ROW,
        columns_at = bulk.columns_at(),
        of_part = columns * ROW,
        release = indent(&indent(&release(bulk))),
    )
}

/// Steps' elements along `k` that are there, in quarters of a step.
pub fn quarters(k: usize) -> usize {
    if k > MIXED { 4 } else { 2 }
}

/// Code that computes again the sums that are not finite, of this block's steps, from the left factor and all parts of the right one.
pub fn again(
    draft: &mut Draft,
    p: &Product,
    bulk: Bulk,
    (x, parts): (&View, &View),
) -> Result<String, Fault> {
    draft.read("whole", x);
    draft.read("parts", parts);
    let (ty, eighths) = (p.index(), bulk.part[1] / 8);
    let row = rows(x).ok_or("rows that do not follow each other")?;
    let each = |what: &str| {
        format!(
            "#pragma unroll
for (int j = 0; j < {eighths}; ++j)
    #pragma unroll
    for (int c = 0; c < 4; ++c) {what}
"
        )
    };
    let one = format!(
        "f32 sum = 0.0f;
{find}const {ty} m = m0 + wm + e % 4 / 2 * 8 + lane / 4, n = n0 + wn + e / 4 * 8 + lane % 4 * 2 + e % 2;
if (fabsf(sum) < {INFINITY} || m >= {rows} || n >= {columns}) continue;
sum = 0.0f;
#pragma unroll 1
for ({ty} at = ({ty})first * {step}; at < ({ty})last * {step} && at < {padded}; ++at) {{
    {which}    const bf16* const of = parts + (n * {padded} + at);
    if (k < {k}) sum = fmaf(whole[m * {row} + k], get(of[0]) + (get(of[{part}]) + get(of[{part} * 2])), sum);
}}
{set}",
        find = each("if (e == j * 4 + c) sum = sums[0][j][c];"),
        set = each("if (e == j * 4 + c) sums[0][j][c] = sum;"),
        which = which(ty),
        rows = p.m,
        columns = p.n,
        step = ROW / 2,
        padded = padded(p.k),
        k = p.k,
        part = format!("({ty}){}", p.n * padded(p.k)),
    );
    Ok(format!(
        "bool finite = true;
{}if (!finite) {{
    #pragma unroll 1
    for (int e = 0; e < {}; ++e) {{
{}    }}
}}
",
        each(&format!("finite = finite && fabsf(sums[0][j][c]) < {INFINITY};")),
        4 * eighths,
        indent(&indent(&one)),
    ))
}
