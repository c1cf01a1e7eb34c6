//! Plans with engines in them.

use super::{Held, Plan, PlanError, Recipe};
use crate::backend::{Backend, CompileOptions};

impl Plan {
    /// This plan with a saved engine of `backend`, built now, instead of others of that backend: where the fingerprint is the same,
    /// engines are made of it without preparing anything. `with_weights` keeps the portable weights beside it, which other machines
    /// need; without them it is as small as before. A backend that saves nothing adds nothing, and then the weights stay.
    pub fn prepared(
        &self,
        backend: &dyn Backend,
        options: &CompileOptions,
        with_weights: bool,
    ) -> Result<Vec<u8>, PlanError> {
        let engine = self.engine(backend, options)?;
        let saved = engine.save().zip(backend.fingerprint(options));
        let held = Held(&self.0);
        let keep = self.holds_weights() && (with_weights || saved.is_none());
        let network = self.network();
        let mut recipe = if keep { Recipe::new(network, &held) } else { Recipe::without_weights(network) };
        recipe = recipe
            .inputs(self.inputs().iter().map(|p| &p.name))
            .outputs(self.outputs().iter().map(|p| &p.name))
            .backend(backend.name())
            .options(options.clone());
        for (key, value) in self.notes() {
            recipe = recipe.note(key, value);
        }
        for (other, bytes) in self.engines().iter().zip(&self.0.engines) {
            if other.backend != backend.name() || saved.is_none() {
                recipe = recipe.engine(&other.backend, other.fingerprint.clone(), bytes);
            }
        }
        if let Some((bytes, fingerprint)) = &saved {
            recipe = recipe.engine(backend.name(), fingerprint.clone(), bytes);
        }
        recipe.to_bytes()
    }
}
