//! How much is tried before an engine is there.

use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// How much is tried to find the fastest way of running a layer. In saved forms it is the number that users know: 0, 1, 2.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Level {
    /// 0: nothing is timed; each layer runs as its sizes suggest. Building is fastest.
    Guess,
    /// 1: a GPU times the ways that promise most; a CPU goes by sizes, which are seldom wrong there.
    #[default]
    Usual,
    /// 2: everything that is known is timed, on a CPU too. Building takes several times as long.
    Exhaustive,
}

impl From<Level> for u8 {
    fn from(level: Level) -> u8 {
        level as u8
    }
}

impl TryFrom<u8> for Level {
    type Error = String;

    fn try_from(number: u8) -> Result<Level, String> {
        let all = [Level::Guess, Level::Usual, Level::Exhaustive];
        all.get(usize::from(number))
            .copied()
            .ok_or_else(|| format!("there is no level {number}; there are 0, 1, 2"))
    }
}

impl FromStr for Level {
    type Err = ();

    fn from_str(text: &str) -> Result<Level, ()> {
        text.parse::<u8>().ok().and_then(|number| Level::try_from(number).ok()).ok_or(())
    }
}
