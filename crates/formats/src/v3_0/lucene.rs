//! Lucene directories (5.5.0 files): the label index, schema indexes and legacy indexes.
//!
//! Files are written once. A commit is the file `segments_<N>`, N in base 36, which names the files
//! that it consists of; `write.lock` and `pending_segments_*` belong to no commit. A file that is
//! whole: u32 0x3fd76c17, and at its end u32 0xc02893e8, i32 0, i64 CRC-32 of all before the CRC.
//! Source: `CodecUtil`, `IndexFileNames`, Lucene 5.5.0. Evidence: every file of real stores of 3.0.0.

use std::io::Read;

use crate::{Error, ErrorKind, Result};

const MAGIC: u32 = 0x3FD7_6C17;
const FOOTER_MAGIC: u32 = 0xC028_93E8;
const FOOTER_BYTES: usize = 16;
const CRC_BYTES: usize = 8;
const HEADER_BYTES: usize = 4;
const PIECE_BYTES: usize = 64 << 10;

/// A file of a Lucene directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LuceneFile {
    /// Its checksum is right.
    Whole,
    /// It has no bytes: a segment that is not finished, and that no commit names.
    Empty,
}

/// N of the commit `segments_N`; `None` for a file that is no commit.
#[must_use]
pub fn lucene_commit(name: &str) -> Option<u64> {
    let number = name.strip_prefix("segments_")?;
    let digits = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
    number.bytes().all(digits).then(|| u64::from_str_radix(number, 36).ok()).flatten()
}

/// Whether a file is not to be copied: the writer's lock, or a commit that is being written.
#[must_use]
pub fn is_lucene_transient(name: &str) -> bool {
    name == "write.lock" || name.starts_with("pending_segments_")
}

/// Reads a whole file in constant memory, and checks both ends and the checksum.
///
/// # Errors
/// `Incomplete` for less than header and footer, `Corrupt`, `Checksum`, `Io`.
pub fn check_lucene_file(mut file: impl Read) -> Result<LuceneFile> {
    let mut crc = crc32fast::Hasher::new();
    let mut at = 0_u64;
    let mut first = Vec::new();
    // The last bytes so far; all before them are in `crc`.
    let mut last = Vec::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => {
                let read = piece.get(..read).unwrap_or_default();
                at = at.saturating_add(u64::try_from(read.len()).unwrap_or(u64::MAX));
                let missing = HEADER_BYTES.saturating_sub(first.len()).min(read.len());
                first.extend(read.iter().take(missing));
                last.extend(read);
                let done = last.len().saturating_sub(CRC_BYTES + FOOTER_BYTES);
                crc.update(last.get(..done).unwrap_or_default());
                last.drain(..done);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error { kind: ErrorKind::Io(error), offset_bytes: at }),
        }
    }
    if at == 0 {
        return Ok(LuceneFile::Empty);
    }
    let (Some(header), Some((body, footer))) =
        (first.first_chunk::<HEADER_BYTES>(), last.split_last_chunk::<FOOTER_BYTES>())
    else {
        return Err(Error::incomplete(at, "a Lucene file"));
    };
    if u32::from_be_bytes(*header) != MAGIC {
        let found = format_args!("{:08x}", u32::from_be_bytes(*header));
        return Err(Error::corrupt(0, "Lucene file", "3fd76c17", found));
    }
    crc.update(body);
    check_footer(*footer, at, crc)
}

fn check_footer(footer: [u8; 16], end: u64, mut crc: crc32fast::Hasher) -> Result<LuceneFile> {
    let (head, stored) = footer.split_at(CRC_BYTES);
    crc.update(head);
    let footer_at = end.saturating_sub(16);
    if head != (u64::from(FOOTER_MAGIC) << 32).to_be_bytes() {
        let found = head.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let what = "footer of a Lucene file";
        return Err(Error::corrupt(footer_at, what, "c02893e800000000", found));
    }
    let computed = crc.finalize();
    let stored = stored.first_chunk::<CRC_BYTES>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    let crc_at = end.saturating_sub(8);
    let Ok(stored) = u32::try_from(stored) else {
        let found = format_args!("{stored:016x}");
        return Err(Error::corrupt(crc_at, "checksum of a Lucene file", "32 bits", found));
    };
    if stored == computed {
        return Ok(LuceneFile::Whole);
    }
    let kind = ErrorKind::Checksum { tx_id: None, stored, computed };
    Err(Error { kind, offset_bytes: crc_at })
}
