//! Handwritten digits as a [`Dataset`]: images `[N, 1, 28, 28]` of `f32` in 0 to 1, labels `[N]` of `i64` in 0 to 9.

use crate::idx::{self, IdxFault};
use std::path::{Path, PathBuf};
use std::{error, fmt, fs, io};
use tch::vision::dataset::Dataset;
use tch::{Kind, Tensor};

/// Width and height of the images.
pub const SIDE: i64 = 28;

/// Number of classes.
pub const CLASSES: i64 = 10;

/// Every fifth of the shipped images is held out, so that the writers of the held-out digits are known to training.
const HELD_OUT: i64 = 5;

/// Why the digits could not be had; each names the file to blame.
#[derive(Debug)]
pub enum DigitsError {
    /// The file cannot be read.
    Read(PathBuf, io::Error),
    /// The file is not in the format that it should have.
    Format(PathBuf, IdxFault),
    /// The images are not of the size that is expected, or there are none.
    Images(PathBuf, [usize; 3]),
    /// The number of labels is not that of the images, or a label is not a digit.
    Labels(PathBuf),
}

impl fmt::Display for DigitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, error) => write!(
                f,
                "{}: {error}; the folder wants the four files of MNIST under the names that they have there, decompressed",
                path.display()
            ),
            Self::Format(path, fault) => write!(f, "{}: {fault}", path.display()),
            Self::Images(path, [n, height, width]) => {
                write!(f, "{}: holds {n} images of {height}x{width}", path.display())?;
                write!(f, ", one or more of {SIDE}x{SIDE} were expected")
            }
            Self::Labels(path) => {
                write!(f, "{}: the labels are not one digit, 0 to 9, for each image", path.display())
            }
        }
    }
}

impl error::Error for DigitsError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Read(_, error) => Some(error),
            Self::Format(_, fault) => Some(fault),
            Self::Images(..) | Self::Labels(_) => None,
        }
    }
}

/// The digits that ship with the project, see `data/optdigits/README.md`: 1,797 images of 8x8 pixels in 0 to 16,
/// upscaled bilinearly. Image `i` is held out where `i % 5 == 4`: 1,438 to train, 359 held out.
pub fn shipped() -> Result<Dataset, DigitsError> {
    let images = include_bytes!("data/optdigits/images-idx3-ubyte");
    let labels = include_bytes!("data/optdigits/labels-idx1-ubyte");
    let images = tensor_of_images(Path::new("images-idx3-ubyte"), images, 8)? / 16.;
    let labels = tensor_of_labels(Path::new("labels-idx1-ubyte"), labels, images.size()[0])?;
    let images = images.upsample_bilinear2d([SIDE, SIDE], false, None, None);
    let held_out = Tensor::arange(images.size()[0], (Kind::Int64, images.device())).remainder(HELD_OUT);
    let held_out = held_out.eq(HELD_OUT - 1);
    let pick = |tensor: &Tensor, mask: &Tensor| tensor.index_select(0, &mask.nonzero().squeeze_dim(1));
    let train = held_out.logical_not();
    Ok(Dataset {
        train_images: pick(&images, &train),
        train_labels: pick(&labels, &train),
        test_images: pick(&images, &held_out),
        test_labels: pick(&labels, &held_out),
        labels: CLASSES,
    })
}

/// Are there as many images as a step of training and a batch of testing take?
pub fn ensure_enough(data: &Dataset) -> anyhow::Result<()> {
    const LEAST: i64 = 64;
    let [train, test] = [&data.train_images, &data.test_images].map(|images| images.size()[0]);
    let enough = train.min(test) >= LEAST;
    anyhow::ensure!(
        enough,
        "{train} images to train with and {test} to test with are too few: {LEAST} of each are needed"
    );
    Ok(())
}

/// The MNIST digits in folder `dir`, under the four names and in the format of their publication, decompressed.
pub fn mnist(dir: &Path) -> Result<Dataset, DigitsError> {
    let part = |name: &str| -> Result<_, DigitsError> {
        let path = dir.join(format!("{name}-images-idx3-ubyte"));
        let images = tensor_of_images(&path, &read(&path)?, SIDE as usize)? / 255.;
        let path = dir.join(format!("{name}-labels-idx1-ubyte"));
        let labels = tensor_of_labels(&path, &read(&path)?, images.size()[0])?;
        Ok((images, labels))
    };
    let (train_images, train_labels) = part("train")?;
    let (test_images, test_labels) = part("t10k")?;
    Ok(Dataset { train_images, train_labels, test_images, test_labels, labels: CLASSES })
}

fn read(path: &Path) -> Result<Vec<u8>, DigitsError> {
    fs::read(path).map_err(|error| DigitsError::Read(path.into(), error))
}

/// `[N, 1, side, side]` of `f32`, unscaled.
fn tensor_of_images(path: &Path, bytes: &[u8], side: usize) -> Result<Tensor, DigitsError> {
    let (sizes, data) = idx::parse::<3>(bytes).map_err(|fault| DigitsError::Format(path.into(), fault))?;
    if sizes[0] == 0 || sizes[1..] != [side, side] {
        return Err(DigitsError::Images(path.into(), sizes));
    }
    Ok(Tensor::from_slice(data).view([-1, 1, side as i64, side as i64]).to_kind(Kind::Float))
}

/// `[n]` of `i64`.
fn tensor_of_labels(path: &Path, bytes: &[u8], n: i64) -> Result<Tensor, DigitsError> {
    let (sizes, data) = idx::parse::<1>(bytes).map_err(|fault| DigitsError::Format(path.into(), fault))?;
    if sizes[0] as i64 != n || data.iter().any(|&label| i64::from(label) >= CLASSES) {
        return Err(DigitsError::Labels(path.into()));
    }
    Ok(Tensor::from_slice(data).to_kind(Kind::Int64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_digits_are_whole() {
        let digits = shipped().unwrap();
        assert_eq!(digits.train_images.size(), [1438, 1, 28, 28]);
        assert_eq!(digits.test_images.size(), [359, 1, 28, 28]);
        assert_eq!((digits.train_labels.size1().unwrap(), digits.test_labels.size1().unwrap()), (1438, 359));
        assert_eq!(
            (digits.train_images.min().double_value(&[]), digits.train_images.max().double_value(&[])),
            (0., 1.)
        );
        // The file begins 0 1 2 3 4 5 6 7 8 9 0 ...
        assert_eq!(digits.train_labels.int64_value(&[4]), 5);
        assert_eq!(digits.test_labels.int64_value(&[1]), 9);
    }

    #[test]
    fn an_mnist_folder_is_read_and_its_faults_name_the_file() {
        let dir = std::env::temp_dir().join(format!("digits-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let write = |name: &str, header: &[u8], data: Vec<u8>| {
            fs::write(dir.join(name), [header, &data].concat()).unwrap()
        };
        for part in ["train", "t10k"] {
            let image = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28];
            write(&format!("{part}-images-idx3-ubyte"), &image, vec![255; 2 * 784]);
            write(&format!("{part}-labels-idx1-ubyte"), &[0, 0, 8, 1, 0, 0, 0, 2], vec![3, 9]);
        }
        let digits = mnist(&dir).unwrap();
        assert_eq!(digits.test_images.size(), [2, 1, 28, 28]);
        assert_eq!(digits.test_images.min().double_value(&[]), 1.);
        assert_eq!(Vec::<i64>::try_from(&digits.train_labels).unwrap(), [3, 9]);

        write("t10k-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 2], vec![3, 10]);
        assert!(
            matches!(mnist(&dir), Err(DigitsError::Labels(path)) if path.ends_with("t10k-labels-idx1-ubyte"))
        );
        fs::remove_file(dir.join("train-images-idx3-ubyte")).unwrap();
        let message = mnist(&dir).unwrap_err().to_string();
        assert!(message.contains("train-images-idx3-ubyte: "), "{message}");
        fs::remove_dir_all(&dir).unwrap();
    }
}
