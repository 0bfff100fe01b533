//! The header of transaction log files and checkpoint files: 128 bytes (format 6: 16), big-endian.
//!
//! | offset | type | name |
//! |---|---|---|
//! | 0 | u64 | log format version << 56, log version (the file's number) |
//! | 8 | i64 | format 9: last append index before this file; 8 and 6: last transaction id |
//! | 16 | i64 | format 9: the same again; format 8: the StoreId block begins here |
//! | 24 | 64 bytes | format 9: StoreId block |
//! | 88 (80) | | zeros, to 128 |
//!
//! Source: `LogHeader`, `LogFormat` V8 and V9, 5.26, and `LogHeaderWriter`, 3.0.0. Evidence: every
//! fixture of Neo4j 5 confirms format 9, the one of 5.19 format 8, real logs of 3.0.0 format 6.
//! There is no checksum: who reads a header compares it with the file's name, the store's id and
//! the batch before.

use crate::{Error, LogVersion, Result, StoreId};

/// The layouts of a log file that Neo4j 5.0 to 2026.08 writes by default, and that of 3.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormatVersion {
    /// Kernel version -6.
    V6,
    /// Kernel versions 5 to 16.
    V8,
    /// Kernel versions 17 to 32.
    V9,
}

/// A log file's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogHeader {
    /// The file's number.
    pub log_version: LogVersion,
    /// The layout.
    pub format: LogFormatVersion,
    /// Format 9: append index of the last batch before this file. Formats 8 and 6: its transaction
    /// id. Without meaning in checkpoint files.
    pub last_append_index: u64,
    /// The store that the log belongs to; format 6 does not tell.
    pub store_id: Option<StoreId>,
}

impl LogHeader {
    /// Size of the header in logs of Neo4j 5; data begins here.
    pub const SIZE_BYTES: u64 = 128;
    /// Size of the header in logs of Neo4j 3.0.
    pub const V6_SIZE_BYTES: u64 = 16;
    const SIZE: usize = 128;
    const V6_SIZE: usize = 16;

    /// Size of this header; data begins here.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        match self.format {
            LogFormatVersion::V6 => Self::V6_SIZE_BYTES,
            LogFormatVersion::V8 | LogFormatVersion::V9 => Self::SIZE_BYTES,
        }
    }

    /// Reads a header; `None` where the first 8 bytes are zero: the file was made, but its header
    /// is not written yet.
    ///
    /// # Errors
    /// `Unsupported` for other log formats, by name; `Incomplete`; `Corrupt`.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>> {
        let Some(word) = bytes.first_chunk::<8>() else {
            return Err(Error::incomplete(0, "a log header"));
        };
        if *word == [0; 8] {
            return Ok(None);
        }
        let [format, version @ ..] = *word;
        let format = match format {
            6 => LogFormatVersion::V6,
            8 => LogFormatVersion::V8,
            9 => LogFormatVersion::V9,
            7 => return Err(unsupported("7 (Neo4j 4.2 to 4.4)")),
            10 => return Err(unsupported("10 (enveloped)")),
            11 => return Err(unsupported("11 (future)")),
            other => return Err(unsupported(&other.to_string())),
        };
        let mut high = [0; 8];
        for (to, from) in high.iter_mut().skip(1).zip(version) {
            *to = from;
        }
        let store_id = match format {
            LogFormatVersion::V6 => None,
            LogFormatVersion::V8 | LogFormatVersion::V9 => Some(decode_rest(bytes, format)?),
        };
        let last = i64_at(bytes, 8)?;
        Ok(Some(Self {
            log_version: LogVersion(u64::from_be_bytes(high)),
            format,
            last_append_index: u64::try_from(last)
                .map_err(|_| Error::corrupt(8, "last append index", "0 or more", last))?,
            store_id,
        }))
    }

    /// The header's bytes; of the log version the low 56 bits. In formats 8 and 9 the store id is
    /// zeros where there is none.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::SIZE);
        let [_, version @ ..] = self.log_version.0.to_be_bytes();
        let last = self.last_append_index.to_be_bytes();
        bytes.push(match self.format {
            LogFormatVersion::V6 => 6,
            LogFormatVersion::V8 => 8,
            LogFormatVersion::V9 => 9,
        });
        bytes.extend(version);
        bytes.extend(last);
        if self.format == LogFormatVersion::V6 {
            return bytes;
        }
        if self.format == LogFormatVersion::V9 {
            bytes.extend(last);
        }
        bytes.extend(self.store_id.iter().flat_map(StoreId::encode_block));
        bytes.resize(Self::SIZE, 0);
        bytes
    }
}

/// Checks what a header of 128 bytes has besides the first 16, and reads its store id.
fn decode_rest(bytes: &[u8], format: LogFormatVersion) -> Result<StoreId> {
    let Some(header) = bytes.first_chunk::<{ LogHeader::SIZE }>() else {
        return Err(Error::incomplete(0, "a log header"));
    };
    let mut store_at = LogHeader::V6_SIZE;
    if format == LogFormatVersion::V9 {
        let (last, repeated) = (i64_at(header, 8)?, i64_at(header, 16)?);
        if last != repeated {
            return Err(Error::corrupt(16, "last append index, repeated", last, repeated));
        }
        store_at = 24;
    }
    let block = chunk_at::<{ StoreId::BLOCK_BYTES }>(header, store_at)?;
    let used = store_at.saturating_add(StoreId::BLOCK_BYTES);
    if header.iter().skip(used).any(|byte| *byte != 0) {
        return Err(Error::corrupt(offset(used), "log header padding", "zeros", "other bytes"));
    }
    StoreId::decode_block(&block, offset(store_at))
}

fn unsupported(found: &str) -> Error {
    Error::unsupported(0, "log format", found)
}

fn chunk_at<const N: usize>(header: &[u8], at: usize) -> Result<[u8; N]> {
    header
        .get(at..)
        .and_then(|rest| rest.first_chunk::<N>().copied())
        .ok_or_else(|| Error::incomplete(offset(at), "a log header"))
}

fn i64_at(header: &[u8], at: usize) -> Result<i64> {
    chunk_at(header, at).map(i64::from_be_bytes)
}

fn offset(at: usize) -> u64 {
    u64::try_from(at).unwrap_or(u64::MAX)
}
