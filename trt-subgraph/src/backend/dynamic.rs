//! Why a shared library is of no use.

use std::error::Error as _;

/// The dynamic linker's own words: the error itself says only which of its functions failed.
pub(crate) fn reason(error: &libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}
