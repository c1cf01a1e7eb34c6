//! A float64 copy of a method: who of two that differ is nearer to the truth?

use super::super::leaves::widened;
use crate::jit::{Graph, JitError, Module};
use crate::saved;
use std::path::Path;
use tch::{Device, IValue, Kind};

pub(crate) struct Judge {
    graph: Graph,
    device: Device,
}

impl Judge {
    /// Reads the module anew, onto this device, and makes all its floating-point tensors, constants and casts float64.
    ///
    /// # Errors
    /// As [`Module::load`] and [`Module::prepare`].
    pub(crate) fn load(path: &Path, method: &str, device: Device) -> Result<Judge, JitError> {
        let module = Module::load(path, Some(device))?;
        module.set_training(false)?;
        for mut named in module.named_tensors()? {
            if named.tensor.is_floating_point() && named.tensor.kind() != Kind::Double {
                let wide = tch::no_grad(|| named.tensor.f_detach().and_then(|t| t.f_to_kind(Kind::Double)));
                let set = wide.and_then(|wide| named.tensor.f_set_data(&wide));
                set.map_err(|e| JitError::Runtime(format!("{} has no float64 form: {e}", named.name)))?;
            }
        }
        Ok(Judge { graph: module.prepare(&saved::host_method(&module, method))?.widen()?, device })
    }

    /// What the method gives in float64. What it does to its own state stays.
    ///
    /// # Errors
    /// What the model raises, as where its code asks for one floating-point type.
    pub(crate) fn run(&self, values: &[IValue]) -> Result<IValue, JitError> {
        Ok(self.graph.observe(&widened(values, self.device)?)?.0)
    }
}
