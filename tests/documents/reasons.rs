//! What `docs/errors.md` says of modules without engines: its rows are the report's and the log's own words.

use super::{ERRORS, module};
use partitioner::{Code, Stay};
use tch::{IValue, Tensor};
use tch_bridge::jit::Module;
use tch_bridge::report::{MethodReport, State};
use tch_bridge::{Bounds, Options, TrtModule};
use tests::{engines_on, logged};

/// The phrases of the first column.
fn rows() -> Vec<&'static str> {
    let (_, table) = ERRORS.split_once("\n| what the report says").expect("the table is there");
    let cell = |line: &'static str| line.strip_prefix("| ")?.split(" | ").next();
    let cells = table.lines().skip(2).map_while(cell);
    cells.flat_map(|c| c.trim_end_matches(" (in the log)").split(", ")).collect()
}

fn with(source: &str, options: &Options) -> TrtModule {
    let module = Module::from_source::<&str>(source, &[]).expect("the source compiles");
    TrtModule::wrap(module.to_cmodule(), options).expect("the options can be met")
}

/// The report after one call on these arguments.
fn report(source: &str, options: Options, arguments: &[IValue]) -> String {
    let module = with(source, &Options { wait: true, ..options });
    tch::no_grad(|| module.forward_is(arguments)).expect("the host can run it");
    module.report().to_string()
}

fn x() -> Tensor {
    Tensor::randn([4, 8], tch::kind::FLOAT_CPU)
}

/// What reports and log say of modules that stay on the host, each for another reason.
fn provoked() -> String {
    let taken = || Options { take_all: true, ..Options::default() };
    let f32_in = [IValue::Tensor(x())];
    let complex = [IValue::Tensor(Tensor::complex(&x(), &x()))];
    let one = Options { min_block_size: Some(1), ..Options::default() };
    let small = Options { min_block_size: Some(99), ..Options::default() };
    let pinned = Options { exclude_ops: vec!["aten::exp".into()], ..taken() };
    let mut said: String = [
        ("def forward(self, x): return torch.exp(torch.fft_fft(x).abs())", taken(), &f32_in),
        ("def forward(self, x): return torch.sin(x * 2.0)", taken(), &complex),
        ("def forward(self, x): return torch.exp(x.add_(1.0))", taken(), &f32_in),
        ("def forward(self, x): return x.view([8, 4]), torch.exp(x)", taken(), &f32_in),
        ("def forward(self, x): return torch.dropout(torch.exp(x), 0.5, True)", taken(), &f32_in),
        ("def forward(self, x: Tensor):\n    if bool(x.sum() > 1e9):\n        x = torch.exp(x) * 2.0\n    return torch.tanh(x)", taken(), &f32_in),
        ("def forward(self, x): return torch.exp(x) * 2.0", small, &f32_in),
        ("def forward(self, x): return torch.exp(x)", pinned, &f32_in),
        ("def forward(self, x): return x + 1.0", one, &f32_in),
    ]
    .into_iter()
    .map(|(source, options, arguments)| report(source, options, arguments))
    .collect();

    let source = "def forward(self, x): return torch.exp(x) * 2.0";
    let fresh = module(source);
    said += &fresh.report().to_string();
    tch_bridge::set_enabled(false);
    said += &fresh.report().to_string();
    tch_bridge::set_enabled(true);

    let recording = with(source, &Options { wait: true, ..taken() });
    recording.compile(&[x()]).expect("it compiles");
    for _ in 0..2 {
        drop(recording.forward_ts(&[x().set_requires_grad(true)]).expect("the host serves"));
    }
    said += &recording.report().to_string();

    let bounds = vec![Bounds::new("x", [1, 8], [2, 8])];
    let bounded = with(source, &Options { wait: true, bounds, ..taken() });
    drop(tch::no_grad(|| bounded.forward_ts(&[x()])).expect("the host serves"));
    said + &logged()
}

/// What hangs on time, or on graphs that are too large to show here; by hand.
fn made() -> String {
    let building = MethodReport { method: "forward".into(), backend: None, state: State::Building };
    let failed = State::Failed("…".into());
    let failed = MethodReport { state: failed, ..building.clone() };
    let none = trt_subgraph::backend::Unavailable { backend: "cpu", why: "there is no oneDNN".into() };
    let codes = [Code::Dtype, Code::Rank, Code::Shape, Code::Attribute, Code::Backend].map(|c| c.to_string());
    let stays = [Stay::Bound, Stay::NotConvex, Stay::Free].map(|s| s.to_string());
    format!("{building}{failed}{none}\n{}\n{}\n", codes.join("\n"), stays.join("\n"))
}

#[test]
fn every_explained_reason_is_real_and_every_reason_explained() {
    let _on = engines_on();
    drop(logged());
    let (provoked, made, rows) = (provoked(), made(), rows());
    for row in &rows {
        assert!(provoked.contains(row) || made.contains(row), "no such reason: {row}\n{provoked}");
    }
    let by_hand = rows.iter().filter(|row| !provoked.contains(**row)).count();
    assert!(by_hand < rows.len() / 2, "{by_hand} of {} rows were not provoked\n{provoked}", rows.len());
    let codes = [
        Code::NoSuchOp,
        Code::Dtype,
        Code::Rank,
        Code::Shape,
        Code::Attribute,
        Code::Mutates,
        Code::Aliases,
        Code::Effect,
        Code::Control,
        Code::Backend,
        Code::Pinned,
        Code::NotSeen,
    ];
    let stays = [
        Stay::Bound,
        Stay::NotConvex,
        Stay::Free,
        Stay::TooSmall { compute: 1, needed: 2 },
        Stay::NotWorth { gain_ns: -1.0 },
    ];
    for reason in codes.iter().map(Code::to_string).chain(stays.iter().map(Stay::to_string)) {
        assert!(rows.iter().any(|row| reason.starts_with(row)), "not in docs/errors.md: {reason}");
    }
}
