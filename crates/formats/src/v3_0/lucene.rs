//! Lucene directories (5.5.0 files): the label index, schema indexes and legacy indexes.
//!
//! Files are written once. A commit is the file `segments_<N>`, N in base 36, which names the files
//! that it consists of; `write.lock` and `pending_segments_*` belong to no commit. A file that is
//! whole: u32 0x3fd76c17, and at its end u32 0xc02893e8, i32 0, i64 CRC-32 of all before the CRC.
//!
//! | after 0x3fd76c17 | `segments_<N>` | `_x.si` |
//! |---|---|---|
//! | string, i32, 16 bytes, u8 + bytes | `segments`, 6, id, N | `Lucene50SegmentInfo`, 1, id, nothing |
//! | | 3 vint release, i64 version, i32 counter, i32 n | 3 i32 release, i32 documents, u8 compound |
//! | | if n > 0: 3 vint oldest release | map: diagnostics |
//! | | n segments, map: user data | set: its files; map: attributes |
//!
//! A segment: string name, u8 1 and 16 bytes of its id (or u8 0), string codec, i64 generation of its deletions
//! (-1: none), i32 deletions, i64, i64, set of files, i32 n, n times (i32 field, set of files). Strings are
//! a vint length and UTF-8, sets a vint count and strings, maps a vint count and pairs of strings.
//! Source: `CodecUtil`, `IndexFileNames`, `SegmentInfos`, `Lucene50SegmentInfoFormat`, Lucene 5.5.0. Evidence:
//! every file of real stores of 3.0.0.

use super::rest::Rest;
use crate::{Error, Result};

const MAGIC: u32 = 0x3FD7_6C17;
const FOOTER_BYTES: usize = 16;
/// A random number that a segment and a commit has.
const ID_BYTES: usize = 16;

/// N of the commit `segments_N`; `None` for a file that is no commit.
#[must_use]
pub fn lucene_commit(name: &str) -> Option<u64> {
    let number = name.strip_prefix("segments_")?;
    let digits = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
    number.bytes().all(digits).then(|| u64::from_str_radix(number, 36).ok()).flatten()
}

/// What a commit consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LuceneCommit {
    /// Its segments, such as `_2`; the `.si` file of each names the segment's files.
    pub segments: Vec<String>,
    /// Its other files: what was deleted and changed in its segments since they were written.
    pub files: Vec<String>,
}

impl LuceneCommit {
    /// Reads a whole `segments_<N>`; the checksum is not looked at.
    ///
    /// # Errors
    /// `Incomplete`; `Unsupported` for another version; `Corrupt`.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut rest = Rest::of_lucene(bytes);
        rest.header("segments", 6)?;
        rest.releases()?;
        rest.take(8 + 4)?;
        let count = rest.count()?;
        if count > 0 {
            rest.releases()?;
        }
        let mut found = Self { segments: Vec::new(), files: Vec::new() };
        for _ in 0..count {
            let name = rest.string()?;
            if rest.u8()? == 1 {
                rest.take(ID_BYTES)?;
            }
            rest.string()?;
            if let Ok(deletions @ 1..) = u64::try_from(rest.i64()?) {
                found.files.push(format!("{name}_{}.liv", in_base_36(deletions)));
            }
            rest.take(4 + 8 + 8)?;
            found.files.extend(rest.set()?);
            for _ in 0..rest.count()? {
                rest.take(4)?;
                found.files.extend(rest.set()?);
            }
            found.segments.push(name);
        }
        rest.map()?;
        rest.footer()?;
        Ok(found)
    }
}

/// The files of a segment, as a whole `.si` file names them, itself among them; the checksum is not looked
/// at.
///
/// # Errors
/// `Incomplete`; `Unsupported` for another version; `Corrupt`.
pub fn lucene_segment_files(bytes: &[u8]) -> Result<Vec<String>> {
    let mut rest = Rest::of_lucene(bytes);
    rest.header("Lucene50SegmentInfo", 1)?;
    rest.take(3 * 4 + 4 + 1)?;
    rest.map()?;
    let files = rest.set()?;
    rest.map()?;
    rest.footer()?;
    Ok(files)
}

fn in_base_36(mut number: u64) -> String {
    let mut digits = Vec::new();
    while number > 0 {
        let digit = u32::try_from(number % 36).unwrap_or(0);
        digits.extend(char::from_digit(digit, 36));
        number /= 36;
    }
    digits.iter().rev().collect()
}

impl<'a> Rest<'a> {
    fn of_lucene(bytes: &'a [u8]) -> Self {
        Self::new(bytes, "a Lucene file", "count in a Lucene file")
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(self.take(1)?.first().copied().unwrap_or(0))
    }

    fn i64(&mut self) -> Result<i64> {
        Ok(self.take(8)?.first_chunk::<8>().map_or(0, |bytes| i64::from_be_bytes(*bytes)))
    }

    /// Seven bits in each byte, the lowest first; the highest bit says that more follow.
    fn vint(&mut self) -> Result<usize> {
        let at = self.at;
        let mut number = 0_u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.u8()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(usize::try_from(number).unwrap_or(usize::MAX));
            }
        }
        Err(Error::corrupt(at, "number in a Lucene file", "5 bytes", "more"))
    }

    fn string(&mut self) -> Result<String> {
        let length = self.vint()?;
        let at = self.at;
        String::from_utf8(self.take(length)?.to_vec())
            .map_err(|_| Error::corrupt(at, "string in a Lucene file", "UTF-8", "other bytes"))
    }

    fn set(&mut self) -> Result<Vec<String>> {
        let mut strings = Vec::new();
        for _ in 0..self.vint()? {
            strings.push(self.string()?);
        }
        Ok(strings)
    }

    fn map(&mut self) -> Result<()> {
        for _ in 0..self.vint()? {
            self.string()?;
            self.string()?;
        }
        Ok(())
    }

    fn releases(&mut self) -> Result<()> {
        for _ in 0..3 {
            self.vint()?;
        }
        Ok(())
    }

    fn header(&mut self, codec: &str, version: i32) -> Result<()> {
        let magic = self.i32()?;
        if magic.cast_unsigned() != MAGIC {
            return Err(Error::corrupt(0, "Lucene file", "3fd76c17", format_args!("{magic:08x}")));
        }
        let (named, at) = (self.string()?, self.at);
        let found = self.i32()?;
        if named != codec || found != version {
            let found = format!("{named:?} of version {found}");
            return Err(Error::unsupported(at, "Lucene file", found));
        }
        self.take(ID_BYTES)?;
        let suffix = usize::from(self.u8()?);
        self.take(suffix).map(drop)
    }

    fn footer(&mut self) -> Result<()> {
        match self.bytes.len() {
            FOOTER_BYTES => Ok(()),
            less @ ..FOOTER_BYTES => {
                let more = u64::try_from(less).unwrap_or(u64::MAX);
                Err(Error::incomplete(self.at.saturating_add(more), "a Lucene file"))
            }
            _ => Err(Error::corrupt(self.at, "Lucene file", "its end", "more bytes")),
        }
    }
}
