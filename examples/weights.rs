//! Trained weights on their way from tch into a network by hand.

use anyhow::{Context, Result, anyhow, ensure};
use std::collections::BTreeMap;
use std::path::Path;
use tch::nn::VarStore;
use tch::{Kind, Tensor};
use trt_subgraph::define::Definition;
use trt_subgraph::network::ValueId;
use trt_subgraph::{DType, Literal, TensorType};

/// f32 tensors by their names.
pub struct Weights(BTreeMap<String, Tensor>);

impl Weights {
    /// The variables of a network in tch, as they are now.
    pub fn of(vs: &VarStore) -> Weights {
        Weights(vs.variables().into_iter().map(|(name, tensor)| (name, tensor.detach().copy())).collect())
    }

    /// Those in a file that [`VarStore::save`] wrote.
    pub fn load(path: &Path) -> Result<Weights> {
        let list = Tensor::load_multi(path).with_context(|| format!("no weights in {}", path.display()))?;
        Ok(Weights(list.into_iter().collect()))
    }

    /// The tensor of a name.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        self.0.get(name).with_context(|| {
            let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
            format!("there is no weight '{name}'; there are: {}", known.join(", "))
        })
    }

    /// Puts one into a network, under its name.
    pub fn enter(&self, n: &mut Definition, name: &str) -> Result<ValueId> {
        Ok(n.weight(name, literal(self.get(name)?)?)?)
    }
}

/// Loads a file into the variables of a network, as [`VarStore::load`] does. libtorch's reader of `.pt` files ends the process where one was cut
/// off, so it is seen first that the archive has its end.
pub fn load(vs: &mut VarStore, file: &str) -> Result<()> {
    let bytes = std::fs::read(file)?;
    ensure!(
        !bytes.starts_with(b"PK") || is_whole(&bytes),
        "the file is truncated or damaged: it ends before its archive does"
    );
    vs.load(file).map_err(|e| {
        // libtorch's C++ stack says nothing to whoever gave the file.
        let words = e.to_string();
        let end = ["\nException raised from ", "\nframe #"].iter().filter_map(|mark| words.find(mark)).min();
        anyhow!("{}", words[..end.unwrap_or(words.len())].trim_end())
    })
}

/// Does a zip archive have its last record, with nothing missing behind it? The record is described in section 4.3.16 of PKWARE's APPNOTE.
fn is_whole(bytes: &[u8]) -> bool {
    const RECORD: usize = 22;
    let Some(last) = bytes.len().checked_sub(RECORD) else { return false };
    let first = last.saturating_sub(usize::from(u16::MAX));
    (first..=last).any(|at| {
        let comment = usize::from(u16::from_le_bytes([bytes[at + RECORD - 2], bytes[at + RECORD - 1]]));
        bytes[at..].starts_with(b"PK\x05\x06") && at + RECORD + comment == bytes.len()
    })
}

/// An f32 tensor for the network API.
pub fn literal(tensor: &Tensor) -> Result<Literal> {
    ensure!(tensor.kind() == Kind::Float, "a tensor of {:?}; f32 was expected", tensor.kind());
    let shape: Vec<usize> = tensor.size().into_iter().map(|n| n as usize).collect();
    let values = Vec::<f32>::try_from(tensor.f_flatten(0, -1)?)?;
    let literal = Literal::from_f64(TensorType::new(DType::F32, shape), values.into_iter().map(f64::from));
    Ok(literal.expect("a tensor has as many elements as its shape says"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn a_file_that_was_cut_off_is_told() {
        let (mut vs, path) =
            (VarStore::new(Device::Cpu), std::env::temp_dir().join(format!("cut-{}.ot", std::process::id())));
        let _w = vs.root().randn("w", &[64, 64], 0.0, 1.0);
        vs.save(&path).unwrap();
        let (whole, file) = (std::fs::read(&path).unwrap(), path.to_str().unwrap());
        load(&mut vs, file).unwrap();
        for length in [whole.len() - 10, whole.len() / 2, 100] {
            std::fs::write(&path, &whole[..length]).unwrap();
            let said = load(&mut vs, file).unwrap_err().to_string();
            assert!(said.contains("truncated or damaged"), "{length}: {said}");
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn weights_keep_their_names_and_values() {
        let vs = VarStore::new(Device::Cpu);
        let w = tch::no_grad(|| vs.root().sub("a").randn("w", &[2, 3], 0.0, 1.0).t_copy().t_());
        let path = std::env::temp_dir().join(format!("weights-{}.ot", std::process::id()));
        vs.save(&path).unwrap();
        for weights in [Weights::of(&vs), Weights::load(&path).unwrap()] {
            let mut n = Definition::new();
            let entered = weights.enter(&mut n, "a.w").unwrap();
            assert_eq!(n.ty(entered), &TensorType::new(DType::F32, [2, 3]));
            let values = literal(weights.get("a.w").unwrap()).unwrap();
            assert_eq!(values.f64_at(5), w.double_value(&[1, 2]));
            let message = weights.enter(&mut n, "w").unwrap_err().to_string();
            assert_eq!(message, "there is no weight 'w'; there are: a.w");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(Weights::load(&path).is_err() && literal(&w.to_kind(Kind::Half)).is_err());
    }
}
