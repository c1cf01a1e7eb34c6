//! The log: what the user asked to see, and the warnings of this process for those who have to say why something was left to the host.

use env_logger::{Env, Logger};
use log::{LevelFilter, Log, Metadata, Record};
use std::io::Write;
use std::sync::{Mutex, OnceLock, PoisonError};

struct Kept {
    shown: Logger,
    warnings: Mutex<Vec<String>>,
}

static KEPT: OnceLock<Kept> = OnceLock::new();

/// Shows errors, and what `RUST_LOG` asks for.
pub fn init() {
    let mut shown = env_logger::Builder::from_env(Env::default().default_filter_or("error"));
    let shown = shown.format(|to, record| writeln!(to, "{}: {}", record.level(), record.args())).build();
    let most = shown.filter().max(LevelFilter::Warn);
    let kept = KEPT.get_or_init(|| Kept { shown, warnings: Mutex::default() });
    // A logger that is set already asks `of_program`.
    drop(log::set_logger(kept));
    log::set_max_level(most);
}

/// The log that [`init`] set up, if it was called.
pub fn of_program() -> Option<&'static dyn Log> {
    KEPT.get().map(|kept| kept as &dyn Log)
}

/// What was warned of so far, in one line; `unknown` where nothing was.
pub fn reason(unknown: &str) -> String {
    let warnings = KEPT.get().map(|kept| kept.warnings.lock().unwrap_or_else(PoisonError::into_inner));
    match warnings {
        Some(warnings) if !warnings.is_empty() => warnings.join("; "),
        _ => unknown.to_string(),
    }
}

/// Each warning so far, once.
pub fn warnings() -> Vec<String> {
    KEPT.get()
        .map(|kept| kept.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone())
        .unwrap_or_default()
}

/// Does this, whose warnings are not the user's.
pub fn without_warnings<T>(work: impl FnOnce() -> T) -> T {
    let before = warnings().len();
    let done = work();
    if let Some(kept) = KEPT.get() {
        kept.warnings.lock().unwrap_or_else(PoisonError::into_inner).truncate(before);
    }
    done
}

impl Log for Kept {
    fn enabled(&self, about: &Metadata) -> bool {
        about.level() <= LevelFilter::Warn || self.shown.enabled(about)
    }

    fn log(&self, record: &Record) {
        if record.level() <= LevelFilter::Warn {
            let text = record.args().to_string();
            let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
            if !warnings.contains(&text) {
                warnings.push(text);
            }
        }
        if self.shown.matches(record) {
            self.shown.log(record);
        }
    }

    fn flush(&self) {
        self.shown.flush();
    }
}
