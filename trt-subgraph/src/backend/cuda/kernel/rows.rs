//! Softmax and normalisation: statistics of each group, then every element again, from registers where a group fits.

use super::super::assemble::{Assembler, Fault};
use super::super::layout::order_of;
use super::super::render::sum_type;
use super::super::render::{Draft, indent, split, storage_type};
use super::team::Team;
use crate::backend::view::View;
use crate::network::Layer;
use std::fmt::Write;

/// Softmax along `axis`, or its logarithm.
pub fn softmax(a: &mut Assembler, layer: &Layer, axis: usize, log: bool) -> Result<(), Fault> {
    let t = sum_type(a.network.ty(layer.inputs[0]).dtype);
    let f = if t == "f64" { "" } else { "f" };
    // As the reference has it: NaN is no largest element, but makes the sum NaN.
    let statistics = vec![
        Statistic {
            name: "largest",
            start: "-1.0f / 0.0f",
            element: "v > largest ? v : largest".to_string(),
            combine: "p < q ? q : p",
            finish: String::new(),
        },
        Statistic {
            name: "total",
            start: "0",
            element: format!("total + exp{f}(v - largest)"),
            combine: "p + q",
            finish: if log {
                format!("const {t} shift = largest, logarithm = log{f}(total);\n")
            } else {
                String::new()
            },
        },
    ];
    let value =
        if log { "v - shift - logarithm".to_string() } else { format!("exp{f}(v - largest) / total") };
    emit(a, "softmax", layer, &[axis], &statistics, &value)
}

/// `(x - mean) / sqrt(var + eps)`, or `x / sqrt(mean(x^2) + eps)`, with statistics over `axes`.
pub fn normalize(a: &mut Assembler, layer: &Layer, axes: &[usize], eps: f64, rms: bool) -> Result<(), Fault> {
    let ty = a.network.ty(layer.inputs[0]).clone();
    let t = sum_type(ty.dtype);
    let f = if t == "f64" { "" } else { "f" };
    let size: usize = axes.iter().map(|&i| ty.shape[i]).product();
    let centred = if rms { "v" } else { "(v - mean)" };
    let mut statistics = vec![];
    if !rms {
        statistics.push(Statistic {
            name: "mean",
            start: "0",
            element: "mean + v".to_string(),
            combine: "p + q",
            finish: format!("mean = mean / ({t}){size}.0;\n"),
        });
    }
    statistics.push(Statistic {
        name: "squares",
        start: "0",
        element: format!("fused({centred}, {centred}, squares)"),
        combine: "p + q",
        finish: format!("const {t} scale = ({t})1 / sqrt{f}(squares / ({t}){size}.0 + ({t}){eps:e});\n"),
    });
    emit(a, "normalize", layer, axes, &statistics, &format!("{centred} * scale"))
}

/// A value folded over a group.
struct Statistic {
    name: &'static str,
    start: &'static str,
    /// What it becomes with element `v`.
    element: String,
    /// What two of them, `p` and `q`, are together.
    combine: &'static str,
    /// What follows when it is complete.
    finish: String,
}

/// Most elements that a thread keeps in registers.
const KEPT: usize = 32;

fn emit(
    a: &mut Assembler,
    what: &'static str,
    layer: &Layer,
    axes: &[usize],
    statistics: &[Statistic],
    value: &str,
) -> Result<(), Fault> {
    let x = a.view(layer.inputs[0]);
    let tail = a.tail(layer, &order_of(&x))?;
    if tail.out.elements() == 0 {
        return Ok(());
    }
    let team = Team::new(&x, axes, &tail.views(), a.target.busy());
    let t = sum_type(x.dtype);
    let mut draft = Draft::new(what);
    team.cover(&mut draft);
    draft.read("x", &x);
    draft.aligned(team.pack * x.dtype.size());
    // The axis along which a thread's units lie, where the results can be stored like that too.
    let along = within(&x, axes).last().copied();
    let along = along.filter(|&axis| team.pack > 1 && tail.pack(axis).is_multiple_of(team.pack));
    match along {
        Some(axis) => tail.parameters_packed(&mut draft, axis, team.pack),
        None => tail.parameters(&mut draft),
    }
    let mut body = team.shared(t);
    body.push_str(&team.begin());
    let memory = storage_type(x.dtype);
    let (units, threads, pack) = (team.size / team.pack, team.threads, team.pack);
    let rounds = units.div_ceil(threads);
    let kept = rounds * pack <= KEPT;
    if kept {
        let _ = writeln!(
            body,
            "{t} kept[{}];\n#pragma unroll\nfor (int k = 0; k < {rounds}; ++k) {{",
            rounds * pack
        );
        let mut load =
            format!("const {ty} n = lane + k * {threads};\nif (n < {units}) {{\n", ty = team.index);
        let mut inner = team.inside.split("n", team.index, "r");
        let at = format!("base + {}", team.inside.offset(0, "r"));
        if pack > 1 {
            let p = format!("Pack<{memory}, {pack}>");
            let _ = writeln!(inner, "const {p} p = *reinterpret_cast<const {p}*>(x + ({at}));");
            let _ = writeln!(
                inner,
                "#pragma unroll\nfor (int j = 0; j < {pack}; ++j) kept[k * {pack} + j] = get(p.at[j]);"
            );
        } else {
            let _ = writeln!(inner, "kept[k] = get(x[{at}]);");
        }
        load.push_str(&indent(&inner));
        load.push_str("}\n");
        body.push_str(&indent(&load));
        body.push_str("}\n");
    }
    let each = |element: &str| match kept {
        true => from_registers(&team, rounds, element),
        false => team.each("x", memory, element),
    };
    for s in statistics {
        let _ = writeln!(body, "{t} {} = {};", s.name, s.start);
        body.push_str(&each(&format!("{} = {};\n", s.name, s.element)));
        let function = format!("[]({t} p, {t} q) {{ return ({t})({}); }}", s.combine);
        let _ = writeln!(body, "{} = {};", s.name, team.combine(s.name, &function));
        body.push_str(&s.finish);
    }
    let at = position(&x, axes, &team);
    let positions = positions(&x, axes, &team);
    let _ = writeln!(body, "if (!active) return;");
    if let Some(axis) = along.filter(|_| kept) {
        let store = tail.store_packed("results", &positions, (axis, pack), team.index);
        let results = format!(
            "{t} results[{pack}];\n#pragma unroll\nfor (int j = 0; j < {pack}; ++j) {{\n    const auto v = kept[k * {pack} + j];\n    results[j] = {value};\n}}\n"
        );
        let unit = format!("const {} r = n * {pack};\n{at}{results}{store}", team.index);
        body.push_str(&units_from_registers(&team, rounds, &unit));
    } else {
        let store = tail.store("result", &positions, team.index);
        body.push_str(&each(&format!("const {t} result = {value};\n{at}{store}")));
    }
    draft.body = body;
    a.launch(draft)
}

/// A loop over the thread's elements as [`Team::each`], from registers.
fn from_registers(team: &Team, rounds: usize, body: &str) -> String {
    let pack = team.pack;
    let element = format!(
        "#pragma unroll
for (int j = 0; j < {pack}; ++j) {{
    const {ty} r = n * {pack} + j;
    const auto v = kept[k * {pack} + j];
{}}}\n",
        indent(body),
        ty = team.index,
    );
    units_from_registers(team, rounds, &element)
}

/// A loop over what the thread keeps, as many elements at a time as it loads at once: unit `n` of the group, in round `k`.
fn units_from_registers(team: &Team, rounds: usize, body: &str) -> String {
    let (ty, units, threads) = (team.index, team.size / team.pack, team.threads);
    let inner = format!("const {ty} n = lane + k * {threads};\nif (n < {units}) {{\n{}}}\n", indent(body));
    format!("#pragma unroll\nfor (int k = 0; k < {rounds}; ++k) {{\n{}}}\n", indent(&inner))
}

/// Declares `w0`, ...: the positions of element `r` of a group along the reduced axes, in the order of the team's loops.
fn position(x: &View, axes: &[usize], team: &Team) -> String {
    let sizes: Vec<usize> = within(x, axes).iter().map(|&a| x.shape[a]).collect();
    split(&sizes, "r", team.index, "w")
}

fn positions(x: &View, axes: &[usize], team: &Team) -> Vec<String> {
    let within = within(x, axes);
    let mut all = team.positions(true);
    for (i, &axis) in within.iter().enumerate() {
        all[axis] = format!("w{i}");
    }
    all
}

/// The reduced axes, outermost in memory first.
fn within(x: &View, axes: &[usize]) -> Vec<usize> {
    x.order().into_iter().filter(|a| axes.contains(a)).collect()
}
