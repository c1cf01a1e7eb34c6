//! Why a command found nothing: always something that the user can change.

use serde::Serialize;
use std::fmt;
use std::path::Path;
use trt_subgraph::files;

/// One sentence for the user.
#[derive(Debug, Serialize)]
pub struct Failure {
    error: String,
}

impl Failure {
    /// The file cannot be read or written.
    pub fn file(path: &Path, why: impl fmt::Display) -> Failure {
        Failure { error: format!("{}: {why}", path.display()) }
    }

    /// Writes a file, whole or not at all.
    pub fn or_written(path: &Path, text: &str) -> Result<(), Failure> {
        let fail = |e: std::io::Error| Failure::unwritten(path, e);
        files::write(path, |other| std::fs::write(other, text).map_err(fail), fail)
    }

    /// The file could not be written, as far as one can tell before there is anything to write.
    pub fn unless_writable(path: &Path) -> Result<(), Failure> {
        files::may_write(path).map_err(|e| Failure::unwritten(path, e))
    }

    /// The same of files in a folder, which may have to be made.
    pub fn unless_fillable(folder: &Path) -> Result<(), Failure> {
        files::may_fill(folder).map_err(|e| Failure::unwritten(folder, e))
    }

    /// The file cannot be written.
    pub fn unwritten(path: &Path, why: impl fmt::Display) -> Failure {
        Failure { error: format!("cannot write {}: {why}", path.display()) }
    }

    /// The command line is not understood: the first sentence of what clap says of it.
    pub fn usage(error: &clap::Error) -> Failure {
        let text = error.render().to_string();
        let sentence = text.split("\n\n").next().unwrap_or_default();
        let lines: Vec<&str> = sentence.trim_start_matches("error: ").lines().map(str::trim).collect();
        Failure { error: lines.join(" ") }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}

impl From<String> for Failure {
    fn from(error: String) -> Failure {
        Failure { error }
    }
}
