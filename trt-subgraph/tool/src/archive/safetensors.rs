//! .safetensors files, whose form is <https://github.com/huggingface/safetensors>.

use super::{Array, Element};
use safetensors::{Dtype, SafeTensorError, SafeTensors, View};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use trt_subgraph::DType;

/// The element types that are taken, and their names in files.
const TYPES: [(&str, Dtype, DType); 10] = [
    ("BOOL", Dtype::BOOL, DType::Bool),
    ("U8", Dtype::U8, DType::U8),
    ("I8", Dtype::I8, DType::I8),
    ("I16", Dtype::I16, DType::I16),
    ("I32", Dtype::I32, DType::I32),
    ("I64", Dtype::I64, DType::I64),
    ("F16", Dtype::F16, DType::F16),
    ("BF16", Dtype::BF16, DType::BF16),
    ("F32", Dtype::F32, DType::F32),
    ("F64", Dtype::F64, DType::F64),
];

/// All tensors of a file, in the order of their bytes.
pub(super) fn read(path: &Path) -> Result<Vec<(String, Array)>, String> {
    let file = std::fs::read(path).map_err(|e| e.to_string())?;
    let tensors =
        SafeTensors::deserialize(&file).map_err(|e| foreign_type(&file).unwrap_or_else(|| in_words(&e)))?;
    let mut views = tensors.tensors();
    views.sort_by_key(|(name, view)| (view.data().as_ptr() as usize, name.clone()));
    let one = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        let known = TYPES.iter().find(|(_, dtype, _)| *dtype == view.dtype());
        let &(.., dtype) = known.ok_or_else(|| not_taken(&name, &format!("{:?}", view.dtype())))?;
        let array = Array::new(Element::Real(dtype), view.shape().to_vec(), view.data().to_vec());
        Ok((name, array.ok_or_else(|| in_words(&SafeTensorError::TensorInvalidInfo))?))
    };
    views.into_iter().map(one).collect()
}

/// Writes a file of these tensors.
pub(super) fn write(path: &Path, tensors: &[(String, Array)]) -> Result<(), String> {
    fn one((name, array): &(String, Array)) -> Result<(&str, Written<'_>), String> {
        let known = TYPES.iter().find(|(.., dtype)| Element::Real(*dtype) == array.element());
        let &(_, dtype, _) = known.ok_or_else(|| {
            format!(
                "`{name}` has elements of {}, for which .safetensors has no type; .npz has one",
                array.element()
            )
        })?;
        Ok((name, Written { dtype, array }))
    }
    let tensors = tensors.iter().map(one).collect::<Result<Vec<_>, String>>()?;
    let none: Option<HashMap<String, String>> = None;
    safetensors::serialize_to_file(tensors, &none, path).map_err(|e| in_words(&e))
}

struct Written<'a> {
    dtype: Dtype,
    array: &'a Array,
}

impl View for Written<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        self.array.shape()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.array.bytes().into()
    }

    fn data_len(&self) -> usize {
        self.array.bytes().len()
    }
}

fn not_taken(name: &str, dtype: &str) -> String {
    let known: Vec<&str> = TYPES.iter().map(|t| t.0).collect();
    format!("`{name}`: elements of type {dtype} are not taken; these are: {}", known.join(", "))
}

/// The first tensor whose elements are of a type that is not taken, where there is one. The header of such a file does not read as one.
fn foreign_type(file: &[u8]) -> Option<String> {
    let (length, rest) = file.split_first_chunk()?;
    let header = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let header: BTreeMap<String, Value> = serde_json::from_slice(header).ok()?;
    let mut types = header.iter().filter_map(|(name, tensor)| Some((name, tensor.get("dtype")?.as_str()?)));
    let (name, dtype) = types.find(|(_, dtype)| TYPES.iter().all(|(known, ..)| known != dtype))?;
    Some(not_taken(name, dtype))
}

/// What is wrong with a file.
fn in_words(error: &SafeTensorError) -> String {
    let why = match error {
        SafeTensorError::IoError(e) => return e.to_string(),
        SafeTensorError::HeaderTooSmall => "it is shorter than the 8 bytes with the length of the header",
        SafeTensorError::HeaderTooLarge => "its first 8 bytes give the header more than 100 MB",
        SafeTensorError::InvalidHeaderLength => "it ends before its header does",
        SafeTensorError::InvalidHeader => "its header is not UTF-8",
        SafeTensorError::InvalidHeaderStart => "its header does not begin with `{`",
        SafeTensorError::InvalidHeaderDeserialization => "its header is not the JSON that describes tensors",
        SafeTensorError::JsonError(e) => {
            return format!("its header is not the JSON that describes tensors: {e}");
        }
        SafeTensorError::InvalidOffset(name) => {
            return format!("the bytes of `{name}` do not follow those of the tensor before it");
        }
        SafeTensorError::TensorInvalidInfo | SafeTensorError::InvalidTensorView(..) => {
            "a tensor has more or fewer bytes than its type and shape need"
        }
        SafeTensorError::MetadataIncompleteBuffer => "it ends before or after its last tensor",
        SafeTensorError::ValidationOverflow => "a tensor's size is beyond all numbers",
        SafeTensorError::TensorNotFound(name) => return format!("it has no tensor `{name}`"),
    };
    format!("this is no whole .safetensors file: {why}")
}
