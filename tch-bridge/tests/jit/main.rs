//! The TorchScript layer against a real libtorch.

mod engine;
mod graph;
mod module;
mod observe;
mod trace;

use std::io::{Cursor, Read, Write};

use tch::Tensor;

/// Asserts equality of shape and every element.
pub fn assert_same(a: &Tensor, b: &Tensor) {
    assert_eq!(a.size(), b.size());
    assert!(a.equal(b), "{a:?} and {b:?} differ");
}

/// A vector of f32.
pub fn vector(values: &[f32]) -> Tensor {
    Tensor::from_slice(values)
}

/// The archive with each file's name and text mapped.
pub fn rewritten(archive: &[u8], name: impl Fn(&str) -> String, text: impl Fn(&str) -> String) -> Vec<u8> {
    let mut from = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
    let mut to = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::FileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for i in 0..from.len() {
        let mut file = from.by_index(i).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        to.start_file(name(file.name()), options).unwrap();
        to.write_all(&String::from_utf8(bytes).map_or_else(|e| e.into_bytes(), |s| text(&s).into_bytes()))
            .unwrap();
    }
    to.finish().unwrap().into_inner()
}
