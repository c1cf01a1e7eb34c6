//! Why a command found nothing: always something that the user can change.

use crate::Error;
use crate::jit::JitError;
use serde::Serialize;
use std::error::Error as _;
use std::fmt;
use std::path::Path;
use trt_subgraph::files;

/// One sentence for the user.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    error: String,
}

impl Failure {
    /// The file cannot be read or written.
    pub(crate) fn file(path: &Path, why: impl fmt::Display) -> Failure {
        Failure { error: format!("{}: {why}", path.display()) }
    }

    /// Writes a file, whole or not at all.
    pub(crate) fn or_written(path: &Path, text: &str) -> Result<(), Failure> {
        let fail = |e: std::io::Error| Failure::unwritten(path, e);
        files::write(path, |other| std::fs::write(other, text).map_err(fail), fail)
    }

    /// The file could not be written, as far as one can tell before there is anything to write.
    pub(crate) fn unless_writable(path: &Path) -> Result<(), Failure> {
        files::may_write(path).map_err(|e| Failure::unwritten(path, e))
    }

    /// The same of files in a folder, which may have to be made.
    pub(crate) fn unless_fillable(folder: &Path) -> Result<(), Failure> {
        files::may_fill(folder).map_err(|e| Failure::unwritten(folder, e))
    }

    /// The file cannot be written.
    pub(crate) fn unwritten(path: &Path, why: impl fmt::Display) -> Failure {
        Failure { error: format!("cannot write {}: {why}", path.display()) }
    }

    /// The shared library cannot be opened. The linker's own words begin with its name, most often.
    pub(crate) fn library(path: &Path, why: &libloading::Error) -> Failure {
        let why = why.source().map_or_else(|| why.to_string(), ToString::to_string);
        if why.starts_with(&*path.to_string_lossy()) { why.into() } else { Failure::file(path, why) }
    }

    /// The command line is not understood: the first sentence of what clap says of it.
    pub(crate) fn usage(error: &clap::Error) -> Failure {
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

impl From<Error> for Failure {
    fn from(e: Error) -> Failure {
        match e {
            Error::Torch(e) => e.into(),
            // The option that opens a library has a name here.
            _ => Failure {
                error: e.to_string().replace("load its library first", "give its library by --library FILE"),
            },
        }
    }
}

impl From<JitError> for Failure {
    fn from(e: JitError) -> Failure {
        let error = match &e {
            JitError::Runtime(message) => format!("the model failed: {}{}", in_short(message), hint(message)),
            JitError::Argument(message) => {
                let parts: Vec<&str> = message.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
                format!("wrong argument: {}", parts.join("; "))
            }
            _ => e.to_string(),
        };
        Failure { error }
    }
}

/// What may be meant where the model was given floating-point numbers for positions.
fn hint(message: &str) -> &'static str {
    let wants_integers = ["scalar types: Long, Int", "used as indices must be long"];
    match wants_integers.iter().any(|words| message.contains(words)) {
        true => "; integers from 0 up to, and without, N are written --input \"(1,128)@i64[0,N)\"",
        false => "",
    }
}

/// Of a TorchScript traceback what was raised, and the innermost place in the model's source.
fn in_short(message: &str) -> String {
    let Some(at) = message.find("Traceback of TorchScript") else { return message.to_string() };
    let raised = message.lines().rev().find(|l| l.contains("Error: ")).unwrap_or_default().trim();
    let marked = message.lines().rev().find(|l| l.contains("<--- HERE"));
    let marked =
        marked.and_then(|l| message[..message.find(l)?].lines().rev().find(|l| !l.trim().is_empty()));
    match (raised.is_empty(), marked) {
        (true, _) => message[..at].trim().to_string(),
        (false, None) => raised.to_string(),
        (false, Some(line)) => format!("{raised}, at `{}`", line.trim()),
    }
}
