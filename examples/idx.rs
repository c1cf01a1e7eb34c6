//! The IDX format of the MNIST files: two zero bytes, the element type, the rank, the sizes as big-endian `u32`,
//! then the elements in row-major order. Only unsigned bytes (type 8) are read.

use std::fmt;

/// What is wrong with the bytes of an IDX file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdxFault {
    /// It does not begin with `00 00 08 rank`: another format, compressed, or another element type.
    Magic,
    /// It ends within its header.
    Header,
    /// It has another rank than asked for.
    Rank {
        /// The rank in the file.
        found: usize,
        /// The rank that was asked for.
        expected: usize,
    },
    /// It is shorter or longer than its header says.
    Length {
        /// Bytes that follow the header.
        found: usize,
        /// Elements that the header announces, `None` where that number overflows.
        expected: Option<usize>,
    },
}

impl fmt::Display for IdxFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => write!(f, "not an IDX file of unsigned bytes (is it still compressed? gunzip it)"),
            Self::Header => write!(f, "ends within its header: it was cut off, get it again"),
            Self::Rank { found, expected } => write!(f, "has {found} dimensions, {expected} were expected"),
            Self::Length { found, expected: Some(expected) } => {
                write!(
                    f,
                    "holds {found} bytes of data, its header announces {expected}: it was cut off, get it again"
                )
            }
            Self::Length { expected: None, .. } => write!(f, "announces more data than a machine can hold"),
        }
    }
}

impl std::error::Error for IdxFault {}

/// The sizes and the elements of the IDX file `bytes`, which must have rank `RANK`.
pub fn parse<const RANK: usize>(bytes: &[u8]) -> Result<([usize; RANK], &[u8]), IdxFault> {
    let Some((&[0, 0, 8, rank], rest)) = bytes.split_first_chunk() else { return Err(IdxFault::Magic) };
    if usize::from(rank) != RANK {
        return Err(IdxFault::Rank { found: rank.into(), expected: RANK });
    }
    let (header, data) = rest.split_at_checked(4 * RANK).ok_or(IdxFault::Header)?;
    let mut sizes = [0; RANK];
    for (size, word) in sizes.iter_mut().zip(header.as_chunks::<4>().0) {
        *size = u32::from_be_bytes(*word) as usize;
    }
    let expected = sizes.iter().try_fold(1, |product: usize, &size| product.checked_mul(size));
    if expected != Some(data.len()) {
        return Err(IdxFault::Length { found: data.len(), expected });
    }
    Ok((sizes, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: [u8; 12] = [0, 0, 8, 1, 0, 0, 0, 4, 9, 8, 7, 6];

    #[test]
    fn reads_sizes_and_elements() {
        assert_eq!(parse::<1>(&SMALL), Ok(([4], &[9, 8, 7, 6][..])));
    }

    #[test]
    fn names_each_fault() {
        assert_eq!(parse::<1>(b"\x1f\x8b\x08\x01"), Err(IdxFault::Magic));
        assert_eq!(parse::<1>(&SMALL[..3]), Err(IdxFault::Magic));
        assert_eq!(parse::<3>(&SMALL), Err(IdxFault::Rank { found: 1, expected: 3 }));
        assert_eq!(parse::<1>(&SMALL[..6]), Err(IdxFault::Header));
        assert_eq!(parse::<1>(&SMALL[..11]), Err(IdxFault::Length { found: 3, expected: Some(4) }));
        let vast = [[0, 0, 8, 3].as_slice(), &[255; 12]].concat();
        assert_eq!(parse::<3>(&vast), Err(IdxFault::Length { found: 0, expected: None }));
    }
}
