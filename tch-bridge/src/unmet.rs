//! What options ask of a module that it does not have.

use crate::jit::Module;
use crate::nearest::suggestion;
use crate::{Error, Options, saved};

/// Has the module the submodules that are to stay on the host?
pub(crate) fn submodules(host: &Module, options: &Options) -> Result<(), Error> {
    if options.exclude_modules.is_empty() {
        return Ok(());
    }
    let all = host.submodule_names();
    let Some(path) = options.exclude_modules.iter().find(|path| !all.contains(path)) else { return Ok(()) };
    let outermost: Vec<&str> = all.iter().map(String::as_str).filter(|p| !p.contains('.')).take(8).collect();
    let there = match outermost.is_empty() {
        true => "it has none".to_string(),
        false => format!("its outermost ones are {}", outermost.join(", ")),
    };
    let there = there + &suggestion(path, all.iter().map(String::as_str));
    Err(Error::Submodule { path: path.clone(), there })
}

/// Are the bounds such, and of arguments that a method takes?
pub(crate) fn bounds(host: &Module, options: &Options) -> Result<(), Error> {
    if options.bounds.is_empty() {
        return Ok(());
    }
    let mut arguments = Vec::new();
    for method in saved::own_methods(host) {
        arguments.extend(host.method(&method)?.arguments().into_iter().map(|a| a.name));
    }
    arguments.sort();
    arguments.dedup();
    options.bounds.iter().try_for_each(|bounds| bounds.check(&arguments))
}
