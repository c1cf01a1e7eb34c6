//! Prepared weights as they are saved: one line that tells how they are packed, then the bytes as an engine uses them.

use super::program::Program;
use super::wanted::Wanted;
use crate::Bytes;
use crate::network::Network;
use xxhash_rust::xxh3::Xxh3;

/// Bytes before the weights, of which the first 16 tell.
const LINE: usize = 64;

/// How prepared weights are packed: equal for equal packings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packed {
    digest: u64,
    bytes: u64,
}

/// How prepared weights are made: equal, beside an equal [`Packed`], where the same parameters give the same bytes, whatever the networks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recipe(u128);

impl Recipe {
    /// Of the `prepare` half of a network and its program. `None` where oneDNN chose layouts, of which nothing is told.
    pub fn of(program: &Program, prepare: &Network) -> Option<Recipe> {
        let mut hash = Xxh3::new();
        hash.update(prepare.to_string().as_bytes());
        program.steps.iter().for_each(|(step, _)| hash.update(step.form().as_bytes()));
        program.layouts.is_empty().then(|| Recipe(hash.digest128()))
    }
}

impl Packed {
    /// Of the places and forms that `run` wants.
    pub fn of(wanted: &Wanted) -> Packed {
        let mut hash = Xxh3::new();
        for (prepared, offset) in wanted.places() {
            hash.update(&(prepared as u64).to_le_bytes());
            hash.update(&(offset as u64).to_le_bytes());
        }
        Packed { digest: hash.digest(), bytes: wanted.bytes as u64 }
    }

    /// Taking into account the steps that fill them; oneDNN may choose layouts by the number of threads.
    pub fn by(self, prepare: &Program, threads: usize) -> Packed {
        let mut hash = Xxh3::new();
        hash.update(&self.digest.to_le_bytes());
        for (step, _) in &prepare.steps {
            hash.update(step.describe().as_bytes());
            hash.update(&[0]);
        }
        if !prepare.layouts.is_empty() {
            hash.update(&(threads as u64).to_le_bytes());
        }
        Packed { digest: hash.digest(), ..self }
    }

    /// The saved form of weights that are packed so.
    pub fn save(self, weights: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(LINE + weights.len());
        out.extend(self.digest.to_le_bytes());
        out.extend(self.bytes.to_le_bytes());
        out.resize(LINE, 0);
        out.extend(weights);
        out
    }

    /// The weights of a saved form; `None` when it is of others, or packed otherwise.
    pub fn load(self, saved: &Bytes) -> Option<Bytes> {
        let line = saved.get(..LINE)?;
        let told = |at: usize| line[at..at + 8] == [self.digest, self.bytes][at / 8].to_le_bytes();
        let weights = saved.part(LINE..saved.len())?;
        (told(0) && told(8) && weights.len() as u64 == self.bytes).then_some(weights)
    }
}
