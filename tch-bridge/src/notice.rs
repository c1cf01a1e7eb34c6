//! Faults of what the user set, which no call can return: each is said once.

use log::LevelFilter;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Says a sentence unless that was done: as an error in the log, or on the error stream in a program without a log.
pub(crate) fn once(sentence: String) {
    if !SAID.lock().unwrap_or_else(PoisonError::into_inner).insert(sentence.clone()) {
        return;
    }
    match log::max_level() {
        LevelFilter::Off => eprintln!("tch-trt: {sentence}"),
        _ => log::error!("{sentence}"),
    }
}
