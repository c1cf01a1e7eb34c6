//! The binary version of CIFAR-10 as a [`Dataset`]: images `[N, 3, 32, 32]` of `f32` in 0 to 1, labels `[N]` of `i64` in 0 to 9.
//!
//! Each file is a run of records: a byte for the label, then 1,024 bytes for each of red, green and blue, row after row.

use std::path::{Path, PathBuf};
use std::{error, fmt, fs, io};
use tch::vision::dataset::Dataset;
use tch::{Kind, Tensor};

/// Number of classes.
pub const CLASSES: i64 = 10;

/// Bytes of an image, and of a record.
const IMAGE: usize = 3 * 32 * 32;
const RECORD: usize = 1 + IMAGE;

/// Why the images could not be had; each names the file to blame.
#[derive(Debug)]
pub enum CifarError {
    /// The file cannot be read.
    Read(PathBuf, io::Error),
    /// The file, of so many bytes, is no whole number of records, or of none.
    Length(PathBuf, usize),
    /// A record, which counts from 0, has a label that is no class.
    Label(PathBuf, usize, u8),
}

impl fmt::Display for CifarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, error) => write!(
                f,
                "{}: {error}; the folder wants data_batch_1.bin to data_batch_5.bin and test_batch.bin, from the binary version of CIFAR-10",
                path.display()
            ),
            Self::Length(path, bytes) => write!(
                f,
                "{}: {bytes} bytes are no whole number of images of {RECORD} bytes; it was cut off, or is not from the binary version of CIFAR-10: unpack it again",
                path.display()
            ),
            Self::Label(path, record, label) => write!(
                f,
                "{}: image {record} has label {label}, labels are 0 to 9; is it from the binary version of CIFAR-10 (not CIFAR-100)?",
                path.display()
            ),
        }
    }
}

impl error::Error for CifarError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Read(_, error) => Some(error),
            Self::Length(..) | Self::Label(..) => None,
        }
    }
}

/// The images in a folder: five files to train with, one held out, each of one image or more.
pub fn load(folder: &Path) -> Result<Dataset, CifarError> {
    let training: Vec<(Tensor, Tensor)> = (1..=5)
        .map(|i| file(&folder.join(format!("data_batch_{i}.bin"))))
        .collect::<Result<_, CifarError>>()?;
    let (images, labels): (Vec<Tensor>, Vec<Tensor>) = training.into_iter().unzip();
    let (test_images, test_labels) = file(&folder.join("test_batch.bin"))?;
    Ok(Dataset {
        train_images: Tensor::cat(&images, 0),
        train_labels: Tensor::cat(&labels, 0),
        test_images,
        test_labels,
        labels: CLASSES,
    })
}

fn file(path: &Path) -> Result<(Tensor, Tensor), CifarError> {
    let bytes = fs::read(path).map_err(|error| CifarError::Read(path.into(), error))?;
    if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
        return Err(CifarError::Length(path.into(), bytes.len()));
    }
    let odd = bytes.chunks_exact(RECORD).position(|record| i64::from(record[0]) >= CLASSES);
    if let Some(record) = odd {
        return Err(CifarError::Label(path.into(), record, bytes[record * RECORD]));
    }
    let records = Tensor::from_slice(&bytes).view([-1, RECORD as i64]);
    let images = records.narrow(1, 1, IMAGE as i64).reshape([-1, 3, 32, 32]).to_kind(Kind::Float) / 255.0;
    Ok((images, records.select(1, 0).to_kind(Kind::Int64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_read_and_its_faults_name_the_file() {
        let folder = std::env::temp_dir().join(format!("cifar-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        // Red is 0, green counts the columns, blue is 255.
        let image: Vec<u8> = (0..IMAGE)
            .map(|i| match i / 1024 {
                0 => 0,
                1 => (i % 32) as u8,
                _ => 255,
            })
            .collect();
        let record = |label: u8| [&[label][..], &image].concat();
        for i in 1..=5 {
            fs::write(folder.join(format!("data_batch_{i}.bin")), [record(i), record(9)].concat()).unwrap();
        }
        let held_out = folder.join("test_batch.bin");
        fs::write(&held_out, record(7)).unwrap();
        let data = load(&folder).unwrap();
        assert_eq!(data.train_images.size(), [10, 3, 32, 32]);
        assert_eq!(Vec::<i64>::try_from(&data.train_labels).unwrap(), [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]);
        assert_eq!(Vec::<i64>::try_from(&data.test_labels).unwrap(), [7]);
        let pixel = |at: [i64; 4]| (data.test_images.double_value(&at) * 255.0).round();
        let pixels = [[0, 0, 3, 5], [0, 1, 3, 5], [0, 2, 3, 5]].map(pixel);
        assert_eq!(pixels, [0.0, 5.0, 255.0]);

        fs::write(&held_out, &record(7)[..3000]).unwrap();
        let message = load(&folder).unwrap_err().to_string();
        assert!(message.contains("test_batch.bin: 3000 bytes"), "{message}");
        fs::write(&held_out, [record(7), record(12)].concat()).unwrap();
        let message = load(&folder).unwrap_err().to_string();
        assert!(message.contains("test_batch.bin: image 1 has label 12"), "{message}");
        fs::write(&held_out, "").unwrap();
        assert!(matches!(load(&folder), Err(CifarError::Length(_, 0))));
        fs::remove_file(folder.join("data_batch_3.bin")).unwrap();
        let message = load(&folder).unwrap_err().to_string();
        assert!(message.contains("data_batch_3.bin: ") && message.contains("the folder wants"), "{message}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
