//! Why a command found nothing: always something that the user can change.

use crate::Error;
use crate::jit::JitError;
use serde::Serialize;
use std::fmt;
use std::path::Path;

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
            _ => Failure { error: e.to_string() },
        }
    }
}

impl From<JitError> for Failure {
    fn from(e: JitError) -> Failure {
        let error = match &e {
            JitError::Runtime(message) => format!("the model failed: {}", in_short(message)),
            _ => e.to_string(),
        };
        Failure { error }
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
