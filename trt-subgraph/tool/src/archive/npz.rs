//! NumPy's .npz archives. Reading: of each array the header is checked against the bytes that are there, arrays in Fortran's order
//! and of either byte order are taken. The form is <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use super::{Array, Element};
use std::error::Error;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::mem::ManuallyDrop;
use std::path::Path;
use trt_subgraph::DType;
use zip::result::ZipError;
use zip::write::FileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

type Fault = Box<dyn Error>;

/// What numbers of these names are, under NumPy's name without byte order.
const TYPES: [(&str, Element); 11] = [
    ("b1", Element::Real(DType::Bool)),
    ("u1", Element::Real(DType::U8)),
    ("i1", Element::Real(DType::I8)),
    ("i2", Element::Real(DType::I16)),
    ("i4", Element::Real(DType::I32)),
    ("i8", Element::Real(DType::I64)),
    ("f2", Element::Real(DType::F16)),
    ("f4", Element::Real(DType::F32)),
    ("f8", Element::Real(DType::F64)),
    ("c8", Element::Complex(DType::F32)),
    ("c16", Element::Complex(DType::F64)),
];

/// All arrays of an archive, in its order.
pub(super) fn read(path: &Path) -> Result<Vec<(String, Array)>, Fault> {
    let damaged = |e: ZipError| match e {
        ZipError::InvalidArchive(why) => cut_short(why),
        ZipError::Io(e) if e.kind() == ErrorKind::UnexpectedEof => cut_short("it ends too soon"),
        e => e.into(),
    };
    let mut archive = ZipArchive::new(File::open(path)?).map_err(damaged)?;
    let mut arrays = Vec::new();
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).map_err(damaged)?;
        let Some(name) = entry.name().strip_suffix(".npy").map(str::to_owned) else { continue };
        let size = entry.size();
        let array = array(&mut entry, size).map_err(|e| format!("`{name}`: {e}"))?;
        if arrays.iter().any(|(other, _)| *other == name) {
            return Err(format!("two arrays are called `{name}`").into());
        }
        arrays.push((name, array));
    }
    Ok(arrays)
}

/// What to say of an archive that does not read as one.
fn cut_short(why: &str) -> Fault {
    format!("the .npz archive is truncated or damaged ({why}); copy or write it again").into()
}

/// Writes an archive of these tensors.
pub(super) fn write(path: &Path, tensors: &[(String, Array)]) -> Result<(), Fault> {
    // One that is dropped before it is finished tries to finish, and prints that it cannot.
    let mut archive = ManuallyDrop::new(ZipWriter::new(File::create(path)?));
    let stored = FileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
    for (name, tensor) in tensors {
        let element = tensor.element();
        let (named, _) = TYPES.iter().find(|(_, known)| *known == element).ok_or_else(|| {
            format!("`{name}` has elements of {element}, for which .npz has no type; .safetensors has one")
        })?;
        let order = if element.size() == 1 { '|' } else { '<' };
        let axes: String = tensor.shape().iter().map(|size| format!("{size},")).collect();
        let mut header =
            format!("{{'descr': '{order}{named}', 'fortran_order': False, 'shape': ({axes}), }}");
        // Data begins at a multiple of 64 bytes, after a line's end.
        const AHEAD: usize = 10;
        let end = (AHEAD + header.len() + 1).next_multiple_of(64);
        header.extend(std::iter::repeat_n(' ', end - AHEAD - header.len() - 1));
        header.push('\n');
        archive.start_file(format!("{name}.npy"), stored)?;
        archive.write_all(b"\x93NUMPY\x01\x00")?;
        archive.write_all(&u16::try_from(header.len())?.to_le_bytes())?;
        archive.write_all(header.as_bytes())?;
        archive.write_all(tensor.bytes())?;
    }
    archive.finish()?.sync_all()?;
    Ok(())
}

/// One array, which with its header takes `size` bytes.
fn array(from: &mut dyn Read, size: u64) -> Result<Array, Fault> {
    let mut start = [0; 10];
    if from.read_exact(&mut start).is_err() || !start.starts_with(b"\x93NUMPY") {
        return Err("this is no array in NumPy's form".into());
    }
    if !(1..=3).contains(&start[6]) {
        let (major, minor) = (start[6], start[7]);
        return Err(format!("NumPy's form {major}.{minor} is not known; 1.0 to 3.0 are").into());
    }
    let mut length = u64::from(u16::from_le_bytes([start[8], start[9]]));
    let mut before = 10;
    if start[6] > 1 {
        let mut more = [0; 2];
        from.read_exact(&mut more)?;
        length += u64::from(u16::from_le_bytes(more)) << 16;
        before = 12;
    }
    if before + length > size {
        return Err(format!("it ends before its header of {length} bytes does").into());
    }
    let mut header = String::new();
    from.take(length).read_to_string(&mut header)?;
    let header = Header::parse(&header).ok_or_else(|| format!("its header is not understood: {header}"))?;
    let named =
        TYPES.iter().find(|(name, _)| *name == header.element.trim_start_matches(['<', '>', '=', '|']));
    let &(_, element) = named.ok_or_else(|| {
        let known: Vec<&str> = TYPES.iter().map(|t| t.0).collect();
        format!("elements of type {} are not taken; these are: {}", header.element, known.join(", "))
    })?;
    let wanted = header.shape.iter().try_fold(element.size() as u64, |n, &d| n.checked_mul(d));
    let wanted = wanted.ok_or("its shape is too large")?;
    let found = size.saturating_sub(before + length);
    if found != wanted {
        return Err(format!("{found} bytes of data where its shape needs {wanted}").into());
    }
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)?;
    if header.element.starts_with('>') {
        let (Element::Real(part) | Element::Complex(part)) = element;
        bytes.chunks_exact_mut(part.size()).for_each(<[u8]>::reverse);
    }
    let shape: Vec<usize> = header.shape.iter().map(|&d| d as usize).collect();
    if header.fortran {
        bytes = row_major(&bytes, &shape, element.size());
    }
    Ok(Array::new(element, shape, bytes).ok_or("its shape is too large")?)
}

/// The elements, of `size` bytes each, whose first axis was the innermost, with the last axis innermost.
fn row_major(bytes: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut place = vec![0; shape.len()];
    for _ in 0..bytes.len() / size {
        let at = place.iter().zip(shape).rev().fold(0, |at, (i, d)| at * d + i);
        out.extend_from_slice(&bytes[at * size..][..size]);
        for (i, d) in place.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < *d {
                break;
            }
            *i = 0;
        }
    }
    out
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (4, 8), }`
struct Header {
    /// With the byte order before it.
    element: String,
    /// The first axis is the innermost in memory.
    fortran: bool,
    shape: Vec<u64>,
}

impl Header {
    fn parse(text: &str) -> Option<Header> {
        let after = |key: &str| Some(text.split_once(key)?.1.trim_start().strip_prefix(':')?.trim_start());
        let element = match after("'descr'")?.strip_prefix('\'') {
            Some(rest) => rest.split_once('\'')?.0.to_owned(),
            None => "with fields".to_owned(),
        };
        let order = after("'fortran_order'")?;
        let fortran = order.starts_with("True");
        if !fortran && !order.starts_with("False") {
            return None;
        }
        let axes = after("'shape'")?.strip_prefix('(')?.split_once(')')?.0;
        let axes = axes.split(',').map(str::trim).filter(|axis| !axis.is_empty());
        Some(Header { element, fortran, shape: axes.map(|axis| axis.parse().ok()).collect::<Option<_>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_forms_that_are_whole_are_read() {
        let why = |bytes: &[u8]| array(&mut &bytes[..], bytes.len() as u64).unwrap_err().to_string();
        let mut whole = bytes("{'descr': '<i2', 'fortran_order': False, 'shape': (1,), }\n", &[1, 0]);
        assert!(why(b"text").contains("no array") && why(b"a longer text").contains("no array"));
        whole[8..10].copy_from_slice(&5000u16.to_le_bytes());
        assert!(why(&whole).contains("it ends before its header of 5000 bytes does"));
        whole[6] = 2;
        assert!(why(&whole).contains("it ends before its header"));
        whole[6] = 9;
        assert!(why(&whole).contains("form 9.0 is not known"));
    }

    fn bytes(header: &str, data: &[u8]) -> Vec<u8> {
        [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
    }

    fn read(header: &str, data: &[u8]) -> Result<Array, String> {
        let bytes = bytes(header, data);
        array(&mut &bytes[..], bytes.len() as u64).map_err(|e| e.to_string())
    }

    #[test]
    fn arrays_of_either_order_are_read() {
        let rows = |shape: &[usize], values: &[i16]| {
            let bytes = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
            Array::new(Element::Real(DType::I16), shape.to_vec(), bytes).unwrap()
        };
        let data: Vec<u8> = (0..6i16).flat_map(i16::to_le_bytes).collect();
        let read_as = |order: &str, shape: &str| {
            read(&format!("{{'descr': '<i2', 'fortran_order': {order}, 'shape': {shape}, }}\n"), &data)
                .unwrap()
        };
        assert_eq!(read_as("False", "(2, 3)"), rows(&[2, 3], &[0, 1, 2, 3, 4, 5]));
        assert_eq!(read_as("True", "(2, 3)"), rows(&[2, 3], &[0, 2, 4, 1, 3, 5]));
        assert_eq!(read_as("True", "(1, 3, 2)"), rows(&[1, 3, 2], &[0, 3, 1, 4, 2, 5]));
        let data: Vec<u8> = (0..6i16).flat_map(i16::to_be_bytes).collect();
        let turned = read("{'shape': (6,), 'fortran_order': False, 'descr': '>i2'}", &data).unwrap();
        assert_eq!(turned, rows(&[6], &[0, 1, 2, 3, 4, 5]));
        let number = read("{'descr': '<f8', 'fortran_order': True, 'shape': ()}", &2.5f64.to_le_bytes());
        assert_eq!(number.unwrap().bytes(), 2.5f64.to_ne_bytes());
        let parts: Vec<u8> = [1f32, 2.0].iter().flat_map(|v| v.to_be_bytes()).collect();
        let pair = read("{'descr': '>c8', 'fortran_order': False, 'shape': (1,)}", &parts).unwrap();
        assert_eq!(pair.bytes(), [1f32, 2.0].map(f32::to_ne_bytes).concat());
    }

    #[test]
    fn what_is_wrong_is_told() {
        let of = |descr: &str, shape: &str| {
            read(&format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"), &[0; 8])
                .unwrap_err()
        };
        assert!(of("'<u4'", "(2,)").contains("elements of type <u4 are not taken"));
        assert!(of("[('a', '<f4')]", "(2,)").contains("with fields are not taken"));
        assert!(of("'<f4'", "(3,)").contains("8 bytes of data where its shape needs 12"));
        assert!(of("'<f4'", "(4294967296, 4294967296)").contains("too large"));
        assert!(of("'<f4'", "2").contains("not understood"));
    }
}
