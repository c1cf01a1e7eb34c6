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
        Failure { error: e.to_string() }
    }
}

impl From<JitError> for Failure {
    fn from(e: JitError) -> Failure {
        Failure { error: e.to_string() }
    }
}
