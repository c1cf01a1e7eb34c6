//! What a saved module with engines looks like: the user's module, whose compiled methods `M` have become
//!
//! | method or attribute | |
//! |---|---|
//! | `M` | asks the forms in turn and calls the first one that fits, else the host's own |
//! | `trt_M_host` | the method as it was |
//! | `trt_M_N`, N from 0 | a compiled form: engines, and the nodes that they replace |
//! | `trt_M_N_form` | whether that form may serve a call |
//! | `trt_M_N_engine_K` | its engines |

use crate::Error;
use crate::jit::{JitError, Module};
use crate::method::MethodState;
use std::sync::Arc;

const MARK: &str = "trt_";
const HOST: &str = "_host";

/// The name of the host's own form of a method.
pub(crate) fn host_name(method: &str) -> String {
    format!("{MARK}{method}{HOST}")
}

/// The names of a compiled form: its method, and the attribute that tells whether it fits.
pub(crate) fn form_names(method: &str, at: usize) -> (String, String) {
    let name = format!("{MARK}{method}_{at}");
    let form = format!("{name}_form");
    (name, form)
}

/// The method of the module that is the host's own form of `method`.
pub(crate) fn host_method(module: &Module, method: &str) -> String {
    let own = host_name(method);
    if module.method_names().contains(&own) { own } else { method.to_string() }
}

/// The user's methods of a module: without those that saving adds.
pub(crate) fn own_methods(module: &Module) -> Vec<String> {
    let all = module.method_names();
    let compiled = |name: &String| all.contains(&host_name(name));
    let added = |name: &String| all.iter().filter(|m| compiled(m)).any(|method| belongs(name, method));
    all.iter().filter(|name| !added(name)).cloned().collect()
}

/// Did saving add this method or attribute for `method`?
fn belongs(name: &str, method: &str) -> bool {
    let rest = name.strip_prefix(MARK).and_then(|n| n.strip_prefix(method)).and_then(|n| n.strip_prefix('_'));
    rest.is_some_and(|rest| rest == &HOST[1..] || rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// A module like this one without what saving added. It shares all parameters.
#[cfg(feature = "tool")]
pub(crate) fn without_engines(module: &Module) -> Result<Module, JitError> {
    let compiled: Vec<String> =
        own_methods(module).into_iter().filter(|method| host_method(module, method) != *method).collect();
    let names = module.method_names().into_iter().chain(module.attribute_names());
    let dropped: Vec<String> =
        names.filter(|name| compiled.iter().any(|m| name == m || belongs(name, m))).collect();
    let plain = module.fork(&dropped)?;
    compiled.iter().try_for_each(|method| module.copy_method(&host_name(method), &plain, method))?;
    Ok(plain)
}

/// A copy of `host` in which the methods that have compiled forms are as described above. It shares all parameters.
pub(crate) fn with_engines(host: &Module, states: &[Arc<MethodState>]) -> Result<Module, Error> {
    // What follows leaves out an attribute of a method's name.
    host.check_names()?;
    let compiled: Vec<&Arc<MethodState>> = states.iter().filter(|s| s.has_forms()).collect();
    let names: Vec<String> = host.method_names().into_iter().chain(host.attribute_names()).collect();
    let taken = |name: &&String| compiled.iter().any(|s| **name == s.name || belongs(name, &s.name));
    let dropped: Vec<&String> = names.iter().filter(taken).collect();
    for name in &dropped {
        // Only a module that was loaded with engines may have such names.
        let clash = compiled.iter().find(|s| belongs(name, &s.name) && !s.was_loaded());
        if let Some(state) = clash {
            return Err(JitError::Argument(format!(
                "the module has an attribute or method `{name}`, which `{}` with engines needs; rename it",
                state.name
            ))
            .into());
        }
    }
    let target = host.fork(&dropped)?;
    for state in compiled {
        state.add_to(host, &target)?;
    }
    Ok(target)
}
