//! What the tests share.

pub mod measure;
pub mod script;

use std::sync::{Mutex, MutexGuard, PoisonError};
use tch::{Kind, Tensor};
use tch_bridge::report::State;
use tch_bridge::{Options, TrtModule};

static SWITCH: Mutex<()> = Mutex::new(());

/// Engines on for one test; tests that turn the switch run one after the other.
pub struct EnginesOn(#[allow(dead_code, reason = "held for its lock")] MutexGuard<'static, ()>);

/// Turns engines on until the guard is dropped.
pub fn engines_on() -> EnginesOn {
    let guard = SWITCH.lock().unwrap_or_else(PoisonError::into_inner);
    tch_bridge::set_enabled(true);
    EnginesOn(guard)
}

impl Drop for EnginesOn {
    fn drop(&mut self) {
        tch_bridge::clear_enabled();
    }
}

/// What is logged from the first call of [`logged`] on.
struct Log(Mutex<String>);

static LOG: Log = Log(Mutex::new(String::new()));

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += &format!("{}\n", record.args());
    }

    fn flush(&self) {}
}

/// Lines that were logged since the last call, from the level of information on; nothing at the first.
pub fn logged() -> String {
    if log::set_logger(&LOG).is_ok() {
        log::set_max_level(log::LevelFilter::Info);
    }
    std::mem::take(&mut *LOG.0.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Floats that some integer type does not hold.
pub const BEYOND: [f64; 12] = [
    3e9 + 1.0,
    -3e9 - 1.0,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    1e19,
    300.7,
    -200.2,
    -129.5,
    40000.0,
    7e4,
    2147483648.0,
];

/// Every element type that the host computes with and engines take.
pub const KINDS: [Kind; 10] = [
    Kind::Float,
    Kind::Double,
    Kind::Half,
    Kind::BFloat16,
    Kind::Int64,
    Kind::Int,
    Kind::Int16,
    Kind::Int8,
    Kind::Uint8,
    Kind::Bool,
];

/// Takes whatever is legal and builds engines inside the call that needs them.
pub fn options() -> Options {
    let mut options = Options::waiting();
    options.take_all = true;
    options
}

/// How many calls the engines of a module served.
pub fn served(module: &TrtModule) -> u64 {
    let of = |state: &State| match state {
        State::Divided { engines, .. } => engines.iter().map(|e| e.served).max().unwrap_or(0),
        _ => 0,
    };
    module.report().methods.iter().map(|m| of(&m.state)).sum()
}

/// Same type, same shape, NaN where NaN, and within 1e-5 of the tensor's scale (exact for integers).
///
/// # Panics
/// When that is not so.
pub fn assert_close(got: &Tensor, want: &Tensor) {
    assert_eq!((got.kind(), got.size()), (want.kind(), want.size()));
    if want.numel() == 0 {
        return;
    }
    let (got, want) = (got.to_kind(Kind::Double), want.to_kind(Kind::Double));
    let nan = want.isnan();
    assert!(got.isnan().equal(&nan), "NaN in other places:\n{got}\n{want}");
    let got = got.where_self(&nan.logical_not(), &Tensor::from(0.0));
    let want = want.where_self(&nan.logical_not(), &Tensor::from(0.0));
    let scale = want.abs().clamp_max(1e300).max().double_value(&[]).max(1e-30);
    let equal = got.eq_tensor(&want);
    let off =
        (&got - &want).abs().where_self(&equal.logical_not(), &Tensor::from(0.0)).max().double_value(&[]);
    assert!(off <= 1e-5 * scale, "off by {off:e} at a scale of {scale:e}:\n{got}\n{want}");
}

/// The code in the documents that users read first: it compiles.
#[cfg(doctest)]
pub mod documents {
    #[doc = include_str!("../README.md")]
    pub struct Readme;
    #[doc = include_str!("../docs/quick-start.md")]
    pub struct QuickStart;
    #[doc = include_str!("../docs/training.md")]
    pub struct Training;
    #[doc = include_str!("../docs/shapes.md")]
    pub struct Shapes;
    #[doc = include_str!("../docs/wrapping.md")]
    pub struct Wrapping;
    #[doc = include_str!("../docs/precision.md")]
    pub struct Precision;
    #[doc = include_str!("../docs/serving.md")]
    pub struct Serving;
    #[doc = include_str!("../docs/network-builder.md")]
    pub struct NetworkBuilder;
}
