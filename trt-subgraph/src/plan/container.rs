//! The outer form: a head, a table, and sections of bytes, all of it under checksums. Knows nothing of what sections hold.
//!
//! ```text
//!  0  8  magic             8F 54 52 54 50 4C 4E 0A
//!  8  2  major version     another one is not read
//! 10  2  minor version     any is read
//! 12  4  number of sections
//! 16  8  length of the whole in bytes
//! 24  8  XXH3-64 of bytes 0..24 and of the table
//! 32     the table: 32 bytes for each section
//!         0  4  kind
//!         4  4  flags: bit 0, a reader that does not know the kind must refuse the plan
//!         8  8  offset from the beginning of the plan, a multiple of 64
//!        16  8  length in bytes
//!        24  8  XXH3-64 of its bytes
//! ```
//!
//! Numbers are little-endian. Sections follow the table in its order, with zeros between; the last byte of the last section is the last of the
//! plan. Every byte is therefore covered: by a checksum, or by having to be zero.

use super::PlanError;
use crate::Bytes;
use crate::bytes::ALIGNMENT;
use std::io::{self, Write};
use std::ops::Range;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The version of the form that is written, and the newest that is read.
pub const VERSION: (u16, u16) = (1, 0);

const MAGIC: [u8; 8] = *b"\x8fTRTPLN\n";
const HEAD: usize = 32;
const ENTRY: usize = 32;
const REQUIRED: u32 = 1;

/// A section that is to be written: its chunks one after the other, each at a multiple of 64 from the section's beginning.
pub struct Section<'a> {
    /// What it holds.
    pub kind: u32,
    /// Must a reader that does not know the kind refuse the plan?
    pub required: bool,
    /// Its bytes.
    pub chunks: Vec<&'a [u8]>,
}

/// Where each chunk lies in a section, and the section's length.
pub fn chunk_offsets(lengths: impl IntoIterator<Item = usize>) -> (Vec<usize>, usize) {
    let mut end = 0usize;
    let offsets = lengths.into_iter().map(|n| {
        let at = end.next_multiple_of(ALIGNMENT);
        end = at + n;
        at
    });
    (offsets.collect(), end)
}

impl Section<'_> {
    /// Its chunks with the zeros before each.
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut end = 0usize;
        self.chunks.iter().flat_map(move |chunk| {
            let gap = end.next_multiple_of(ALIGNMENT) - end;
            end += gap + chunk.len();
            [&ZEROS[..gap], chunk]
        })
    }
}

const ZEROS: [u8; ALIGNMENT] = [0; ALIGNMENT];

/// Writes a plan.
pub fn write(sections: &[Section], to: &mut dyn Write) -> io::Result<()> {
    let mut table = Vec::with_capacity(sections.len() * ENTRY);
    let mut end = HEAD + sections.len() * ENTRY;
    for section in sections {
        let mut hash = Xxh3::new();
        section.pieces().for_each(|piece| hash.update(piece));
        let length = chunk_offsets(section.chunks.iter().map(|c| c.len())).1;
        let offset = end.next_multiple_of(ALIGNMENT);
        end = offset + length;
        table.extend(section.kind.to_le_bytes());
        table.extend((if section.required { REQUIRED } else { 0 }).to_le_bytes());
        for word in [offset as u64, length as u64, hash.digest()] {
            table.extend(word.to_le_bytes());
        }
    }
    let mut head = Vec::with_capacity(HEAD);
    head.extend(MAGIC);
    head.extend(VERSION.0.to_le_bytes());
    head.extend(VERSION.1.to_le_bytes());
    head.extend((sections.len() as u32).to_le_bytes());
    head.extend((end as u64).to_le_bytes());
    let mut hash = Xxh3::new();
    hash.update(&head);
    hash.update(&table);
    head.extend(hash.digest().to_le_bytes());
    to.write_all(&head)?;
    to.write_all(&table)?;
    let mut at = HEAD + table.len();
    for section in sections {
        let gap = at.next_multiple_of(ALIGNMENT) - at;
        to.write_all(&ZEROS[..gap])?;
        at += gap;
        for piece in section.pieces() {
            to.write_all(piece)?;
            at += piece.len();
        }
    }
    Ok(())
}

/// A section that was read.
pub struct Found {
    /// What it holds.
    pub kind: u32,
    /// Where it lies in the plan.
    pub range: Range<usize>,
}

/// The sections of a plan whose every byte was checked. Those of kinds that have no `name` are left out, unless the plan says that they
/// must be understood.
pub fn read(bytes: &[u8], name: impl Fn(u32) -> Option<&'static str>) -> Result<Vec<Found>, PlanError> {
    let head = "head";
    if !bytes.starts_with(&MAGIC[..bytes.len().min(MAGIC.len())]) || bytes.is_empty() {
        return Err(PlanError::NotAPlan);
    }
    let cut = |expected: usize| PlanError::Truncated { found: bytes.len() as u64, expected: expected as u64 };
    if bytes.len() < HEAD {
        return Err(cut(HEAD));
    }
    let version = (short(bytes, 8), short(bytes, 10));
    if version.0 != VERSION.0 {
        return Err(PlanError::Version { found: version, known: VERSION });
    }
    let (count, length) = (word(bytes, 12) as usize, long(bytes, 16));
    if length > bytes.len() as u64 {
        return Err(PlanError::Truncated { found: bytes.len() as u64, expected: length });
    }
    let first = count.checked_mul(ENTRY).and_then(|n| n.checked_add(HEAD)).filter(|&n| n <= bytes.len());
    let first = first.ok_or_else(|| PlanError::damaged(head, "more sections than there is room for"))?;
    let mut hash = Xxh3::new();
    hash.update(&bytes[..HEAD - 8]);
    hash.update(&bytes[HEAD..first]);
    if hash.digest() != long(bytes, HEAD - 8) {
        return Err(PlanError::damaged(head, "its checksum does not hold"));
    }
    let (mut end, mut found) = (first, Vec::new());
    for entry in bytes[HEAD..first].chunks_exact(ENTRY) {
        let (kind, flags) = (word(entry, 0), word(entry, 4));
        let range = usize::try_from(long(entry, 8)).ok().zip(usize::try_from(long(entry, 16)).ok());
        let range = range.and_then(|(offset, length)| Some(offset..offset.checked_add(length)?));
        let range = range.filter(|r| r.start == end.next_multiple_of(ALIGNMENT) && r.end <= bytes.len());
        let range =
            range.ok_or_else(|| PlanError::damaged("table", "a section is not where it should be"))?;
        if bytes[end..range.start].iter().any(|&b| b != 0) {
            return Err(PlanError::damaged("space between sections", "it is not zero"));
        }
        if xxh3_64(&bytes[range.clone()]) != long(entry, 24) {
            return Err(PlanError::damaged(name(kind).unwrap_or("a section"), "its checksum does not hold"));
        }
        end = range.end;
        if name(kind).is_some() {
            found.push(Found { kind, range });
        } else if flags & REQUIRED != 0 {
            return Err(PlanError::Version { found: version, known: VERSION });
        }
    }
    if end as u64 != length || length != bytes.len() as u64 {
        return Err(PlanError::damaged(head, "there are bytes after the end"));
    }
    Ok(found)
}

fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

impl Found {
    /// Its bytes in the plan.
    pub fn bytes(&self, plan: &Bytes) -> Bytes {
        plan.part(self.range.clone()).expect("a section lies in its plan")
    }
}
