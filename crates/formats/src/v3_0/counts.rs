//! The counts files, `neostore.counts.db.a` and `.b`: records of 32 bytes, a key and a value of 16.
//!
//! | record | key | value |
//! |---|---|---|
//! | 0 | zeros | `NeoCountStore`, 00 01 56 |
//! | 1 | zeros | i64 transaction up to which counts are included, i64 minor version |
//! | data | nodes, relationships, index statistics or samples: ascending, not zeros | |
//! | last | zeros | i64 0, i64 number of data records, -1 if there are none |
//!
//! The server opens the valid one with the higher transaction and minor version, and counts anew if
//! there is none. Source: `AbstractKeyValueStore`, `CountsTracker`, 3.0.0. Evidence: real stores of
//! 3.0.0.

use std::io::Read;

use crate::{Error, ErrorKind, Result, TxId};

const RECORD_BYTES: usize = 32;
const RECORD_BYTES_U64: u64 = 32;
const HALF_BYTES: usize = 16;
const MAGIC: &[u8; HALF_BYTES] = b"NeoCountStore\0\x01\x56";

/// A counts file that is whole. Of two the greater is the one that the server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CountsFile {
    /// Counts of transactions up to this one are included.
    pub tx_id: TxId,
    /// Tells files of the same transaction apart.
    pub minor_version: u64,
}

type Record = [[u8; HALF_BYTES]; 2];

impl CountsFile {
    /// Reads a whole file in constant memory.
    ///
    /// # Errors
    /// `Incomplete`, `Corrupt`, `Unsupported` (another magic), `Io`.
    pub fn check(mut file: impl Read) -> Result<Self> {
        let mut at = 0_u64;
        let mut next = || {
            let record = read_record(&mut file, at)?;
            at = at.saturating_add(RECORD_BYTES_U64);
            Ok::<_, Error>(record.map(|record| (record, at.saturating_sub(RECORD_BYTES_U64))))
        };
        let absent = |at| Error::incomplete(at, "a counts file");
        let ([key, magic], _) = next()?.ok_or_else(|| absent(0))?;
        if key != [0; HALF_BYTES] || magic != *MAGIC {
            return Err(Error::unsupported(0, "counts file", "without NeoCountStore 1.V"));
        }
        let ([key, version], at) = next()?.ok_or_else(|| absent(RECORD_BYTES_U64))?;
        if key != [0; HALF_BYTES] {
            return Err(Error::corrupt(at, "key of the counts' version", "zeros", "other bytes"));
        }
        let [tx_id, minor_version] = longs(version);
        let natural = |what: &'static str, value: i64| {
            u64::try_from(value).map_err(|_| Error::corrupt(at, what, "0 or more", value))
        };
        let found = Self {
            tx_id: TxId(natural("transaction of the counts", tx_id)?),
            minor_version: natural("minor version of the counts", minor_version)?,
        };
        let mut count = 0_i64;
        let mut before = [0; HALF_BYTES];
        loop {
            let after = count.saturating_add(2).cast_unsigned().saturating_mul(RECORD_BYTES_U64);
            let ([key, value], at) = next()?.ok_or_else(|| absent(after))?;
            if key == [0; HALF_BYTES] {
                check_trailer(at, value, count)?;
                return match next()? {
                    None => Ok(found),
                    Some((_, at)) => {
                        Err(Error::corrupt(at, "counts file", "its end", "more records"))
                    }
                };
            }
            if key <= before {
                return Err(Error::corrupt(at, "key of a count", "a greater one", "a smaller one"));
            }
            before = key;
            count = count.saturating_add(1);
        }
    }

    /// Whether the server may keep this file for a recovery that replays the transactions from
    /// `first` to `last`. With older counts it waits for ever for the transactions between; newer
    /// ones are wrong. Without any file it counts anew.
    #[must_use]
    pub fn fits(&self, first: TxId, last: TxId) -> bool {
        first.0.saturating_sub(1) <= self.tx_id.0 && self.tx_id <= last
    }
}

fn check_trailer(at: u64, value: [u8; HALF_BYTES], count: i64) -> Result<()> {
    let expected = [0, if count == 0 { -1 } else { count }];
    let found = longs(value);
    if found == expected {
        return Ok(());
    }
    let [expected, found] = [expected, found].map(|[zero, count]| format!("{zero}, {count}"));
    Err(Error::corrupt(at, "number of counts", expected, found))
}

fn longs(value: [u8; HALF_BYTES]) -> [i64; 2] {
    let (words, _) = value.as_chunks::<8>();
    let mut longs = [0; 2];
    longs.iter_mut().zip(words).for_each(|(long, word)| *long = i64::from_be_bytes(*word));
    longs
}

/// The record at an offset; `None` at the end.
fn read_record(file: &mut impl Read, at: u64) -> Result<Option<Record>> {
    let mut bytes = [0; RECORD_BYTES];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(Error::incomplete(at, "a record of a counts file")),
            Ok(read) => filled = filled.saturating_add(read),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error { kind: ErrorKind::Io(error), offset_bytes: at }),
        }
    }
    let (halves, _) = bytes.as_chunks::<HALF_BYTES>();
    let mut record = Record::default();
    record.iter_mut().zip(halves).for_each(|(to, from)| *to = *from);
    Ok(Some(record))
}
