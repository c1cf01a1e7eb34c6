//! What libtorch and the bridge say, as a command's failure.

use crate::Error;
use crate::jit::JitError;
use std::error::Error as _;
use std::path::Path;
use trt_tool::Failure;

/// The shared library cannot be opened. The linker's own words begin with its name, most often.
pub(crate) fn of_library(path: &Path, why: &libloading::Error) -> Failure {
    let why = why.source().map_or_else(|| why.to_string(), ToString::to_string);
    if why.starts_with(&*path.to_string_lossy()) { why.into() } else { Failure::file(path, why) }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Failure {
        match e {
            Error::Torch(e) => e.into(),
            // The option that opens a library has a name here.
            _ => Failure::from(
                e.to_string().replace("load its library first", "give its library by --library FILE"),
            ),
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
        Failure::from(error)
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
