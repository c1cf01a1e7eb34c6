//! What can go wrong between Rust and torch, with torch's message and without its C++ stack.

use std::fmt;
use std::path::PathBuf;

/// An error of the TorchScript layer.
#[derive(Debug)]
#[non_exhaustive]
pub enum JitError {
    /// The operating system refused the file.
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not a TorchScript archive.
    NotTorchScript(String),
    /// The file starts as a TorchScript archive but ends too early or is damaged.
    Damaged(String),
    /// torch refuses what the archive holds: it is damaged, or of another version of torch, or for another device.
    Unreadable(String),
    /// The file calls an operator that is not registered in this process.
    UnknownOperator {
        /// The operator, `namespace::name`.
        name: String,
        /// Where the model's code calls it first.
        message: String,
    },
    /// The file holds an object of a class that is not registered in this process.
    UnknownClass {
        /// The class, such as `__torch__.torch.classes.ns.Name`.
        name: String,
        /// torch's message.
        message: String,
    },
    /// TorchScript source does not compile.
    Source(String),
    /// A wrong name, number, type or kind of an argument.
    Argument(String),
    /// An operator that torch does not have, `namespace::name.overload`.
    NoSuchOperator(String),
    /// A graph rewrite that would break the graph.
    Graph(String),
    /// torch could not allocate.
    OutOfMemory(String),
    /// An operator failed while the model ran.
    Runtime(String),
    /// Rust code that torch called panicked.
    Panicked(String),
    /// Rust code that torch called returned an error.
    Closure(Box<dyn std::error::Error + Send + Sync>),
}

impl JitError {
    /// Reads the kind that `cpp/shim.h` puts before the message.
    pub(crate) fn from_torch(raw: &str) -> Self {
        let mut chars = raw.chars();
        let kind = chars.next();
        let message = without_stack(chars.as_str());
        match kind {
            Some('a') => Self::Argument(message),
            Some('g') => Self::Graph(message),
            Some('m') => Self::OutOfMemory(message),
            Some('o') => Self::NoSuchOperator(message),
            Some('s') => Self::Source(message),
            _ => Self::Runtime(message),
        }
    }

    /// As [`Self::from_torch`], for a failure to read an archive.
    pub(crate) fn from_load(error: &cxx::Exception) -> Self {
        let error = Self::from_torch(error.what());
        let (Self::Runtime(message) | Self::Source(message)) = error else { return error };
        if let Some(name) = quoted_after(&message, "Unknown builtin op: ", '.') {
            return Self::UnknownOperator { name, message: used_at(message) };
        }
        if let Some(name) = quoted_after(&message, "Unknown type name '", '\'') {
            return Self::UnknownClass { name, message: used_at(message) };
        }
        if message.contains("file not found") || message.contains("Legacy model format") {
            let legacy = message.contains("Legacy model format");
            let why = if legacy { message } else { "an archive without a module".to_owned() };
            return Self::NotTorchScript(why);
        }
        if message.contains("PytorchStreamReader") || message.contains("end of") {
            return Self::Damaged(message);
        }
        Self::Unreadable(message)
    }
}

impl From<cxx::Exception> for JitError {
    fn from(error: cxx::Exception) -> Self {
        Self::from_torch(error.what())
    }
}

/// The innermost place of torch's message about code in an archive, which lists all its callers; the message where it has no such place.
fn used_at(message: String) -> String {
    let place = || {
        let (_, rest) = message.split_once("File \"")?;
        let (file, rest) = rest.split_once("\", line ")?;
        let line: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let shown = &rest[..rest.find("<--- HERE")?];
        let code = shown.lines().rev().skip(1).find(|l| !l.trim().is_empty())?.trim();
        Some(format!("`{code}`, {file}, line {line}"))
    };
    place().unwrap_or(message)
}

fn quoted_after(message: &str, before: &str, end: char) -> Option<String> {
    let start = message.find(before)? + before.len();
    let rest = &message[start..];
    Some(rest[..rest.find(end).unwrap_or(rest.len())].trim().to_owned())
}

/// `message` up to torch's C++ stack; tch's own panics carry it escaped.
pub(crate) fn without_stack(message: &str) -> String {
    let marks = ["\nException raised from ", "\\nException raised from ", "\nframe #"];
    let end = marks.iter().filter_map(|mark| message.find(mark)).min();
    let message = message[..end.unwrap_or(message.len())].trim();
    // "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: ..."
    let enforced = message.find("[enforce fail at ").zip(message.find("DefaultCPUAllocator: "));
    match enforced.filter(|(from, to)| from < to) {
        Some((from, to)) => [&message[..from], &message[to..]].concat(),
        None => message.to_owned(),
    }
}

/// An error in torch's words, without its C++ stack and without tch's words around them.
pub(crate) fn words(error: &dyn fmt::Display) -> String {
    let text = without_stack(&error.to_string());
    text.strip_prefix("Internal torch error: ").map_or(text.clone(), str::to_owned)
}

impl fmt::Display for JitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "cannot use {}: {source}", path.display()),
            Self::NotTorchScript(message) => write!(
                f,
                "not a TorchScript file: {message}; torch.jit.trace(model, example).save(file) writes one, and torch.jit.script(model).save(file)"
            ),
            Self::Damaged(message) => write!(f, "the TorchScript file is truncated or damaged: {message}"),
            Self::Unreadable(message) => write!(f, "torch cannot read the TorchScript file: {message}"),
            Self::UnknownOperator { name, message } => write!(
                f,
                "the file calls the operator {name}, which is not registered; load its library first: {message}"
            ),
            Self::UnknownClass { name, message } => write!(
                f,
                "the file holds an object of class {name}, which is not registered; load its library first: {message}"
            ),
            Self::Source(message) => write!(f, "TorchScript source does not compile: {message}"),
            Self::Argument(message) => write!(f, "wrong argument: {message}"),
            Self::NoSuchOperator(name) => write!(f, "torch has no operator {name}"),
            Self::Graph(message) => write!(f, "the graph cannot be rewritten so: {message}"),
            Self::OutOfMemory(message) => write!(f, "out of memory: {message}"),
            Self::Runtime(message) => write!(f, "the model failed: {message}"),
            Self::Panicked(message) => write!(f, "code called by torch panicked: {message}"),
            Self::Closure(source) => write!(f, "code called by torch failed: {source}"),
        }
    }
}

impl std::error::Error for JitError {
    /// What lies behind the reason that the message already gives.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => source.source(),
            Self::Closure(source) => source.source(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_trace_the_innermost_place_is_told() {
        let trace = "Unknown builtin op: a::b.\nNone is like it.\n:\n  File \"code/m.py\", line 18\n  _1 = f()\n  _2 = ops.a.b(x)\n       \
                     ~~~~~~~ <--- HERE\n  return _2\n'f' is called\n  File \"g.py\", line 2\n  f(x)\n  ~ <--- HERE\n";
        assert_eq!(used_at(trace.into()), "`_2 = ops.a.b(x)`, code/m.py, line 18");
        assert_eq!(used_at("nothing more".into()), "nothing more");
    }

    #[test]
    fn message_loses_kind_and_stack() {
        let error = JitError::from_torch("rno such thing\nException raised from f at g.cpp:1\nframe #0: h");
        let JitError::Runtime(message) = error else { panic!("{error:?}") };
        assert_eq!(message, "no such thing");
        let torch = tch::TchError::Torch(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory\nframe #0: c10".into(),
        );
        assert_eq!(words(&torch), "DefaultCPUAllocator: can't allocate memory");
    }
}
