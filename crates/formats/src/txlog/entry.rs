//! Log entries: u8 kernel version, u8 type, body; little-endian.
//!
//! | type | name | body |
//! |---|---|---|
//! | 1 | START | i64 time, i64 last committed transaction, `[P]`, `[A]`, `[S]`, i32 n, n bytes |
//! | 3 | COMMAND | a command |
//! | 5 | COMMIT | i64 transaction id, i64 time, i32 checksum |
//! | 10 | CHUNK_START | i64 time, i64 chunk, i64 previous batch's append index, `[A]` |
//! | 11 | CHUNK_END | i64 transaction id, i64 chunk, i32 checksum |
//! | 12 | ROLLBACK | i64 transaction id, i64 time, `[A]`, i32 checksum |
//!
//! - P: i32 previous checksum, to kernel version 21
//! - A: i64 append index, from 17 on
//! - S: i64 sequence number, from 30 on
//!
//! Source: `LogEntrySerializationSets`, 5.26 and 2026.08. Evidence: fixtures of kernel versions 16
//! to 22, 29, 31 and 32 confirm START, COMMAND and COMMIT; the others are inferred from code.

use std::io::Read;

use super::command::Command;
use crate::codec::{Codec, Decoder, Encoder, Input};
use crate::{Error, KernelVersion, Result};

pub(super) const START: u8 = 1;
pub(super) const COMMAND: u8 = 3;
pub(super) const COMMIT: u8 = 5;
pub(super) const CHUNK_START: u8 = 10;
pub(super) const CHUNK_END: u8 = 11;
pub(super) const ROLLBACK: u8 = 12;

/// The additional header of START holds a consensus index or nothing.
const ADDITIONAL_BYTES_MAX: u32 = 8;

/// A log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A transaction begins.
    Start(Start),
    /// One change.
    Command(Command),
    /// A transaction ends.
    Commit(Commit),
    /// A chunk of a transaction begins (multiversion formats).
    ChunkStart(ChunkStart),
    /// A chunk ends.
    ChunkEnd(ChunkEnd),
    /// A chunked transaction is rolled back.
    Rollback(Rollback),
}

/// The beginning of a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// When the transaction began, ms.
    pub time: i64,
    /// The last transaction that was committed then.
    pub last_tx_id: i64,
    /// Checksum of the batch before this one; kernel versions to 21.
    pub previous_checksum: i32,
    /// Number of this batch; kernel versions from 17 on.
    pub append_index: i64,
    /// -1 in Community; kernel versions from 30 on.
    pub sequence_number: i64,
    /// Consensus index, big-endian, or nothing.
    pub additional_header: Vec<u8>,
}

/// The end of a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// The transaction's id.
    pub tx_id: i64,
    /// When it was committed, ms.
    pub time: i64,
    /// CRC-32C from the first byte of the batch up to this field.
    pub checksum: i32,
}

/// The beginning of a chunk that is not the first of its transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChunkStart {
    /// When it was written, ms.
    pub time: i64,
    /// Number of the chunk in its transaction.
    pub chunk_id: i64,
    /// Append index of the transaction's previous chunk.
    pub previous_append_index: i64,
    /// Number of this batch; kernel versions from 17 on.
    pub append_index: i64,
}

/// The end of a chunk that is not the last of its transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChunkEnd {
    /// The transaction.
    pub tx_id: i64,
    /// Number of the chunk.
    pub chunk_id: i64,
    /// CRC-32C from the first byte of the batch up to this field.
    pub checksum: i32,
}

/// A chunked transaction was rolled back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollback {
    /// The transaction.
    pub tx_id: i64,
    /// When, ms.
    pub time: i64,
    /// Number of this batch; kernel versions from 17 on.
    pub append_index: i64,
    /// CRC-32C of this entry up to this field.
    pub checksum: i32,
}

impl Start {
    /// Where the append index stands in the entry, from kernel version 17 on.
    pub(super) fn append_index_at(version: KernelVersion) -> u64 {
        // Behind version and type byte, two i64, and what was the previous checksum.
        if version < KernelVersion::NO_PREVIOUS_CHECKSUM { 22 } else { 18 }
    }

    pub(super) fn visit<C: Codec>(&mut self, codec: &mut C, version: KernelVersion) -> Result<()> {
        codec.i64(&mut self.time)?;
        codec.i64(&mut self.last_tx_id)?;
        if version < KernelVersion::NO_PREVIOUS_CHECKSUM {
            codec.i32(&mut self.previous_checksum)?;
        }
        if version >= KernelVersion::APPEND_INDEX {
            codec.i64(&mut self.append_index)?;
        }
        if version >= KernelVersion::SEQUENCE_NUMBER {
            codec.i64(&mut self.sequence_number)?;
        }
        let what = "length of START's additional header";
        codec.string(what, &mut self.additional_header, ADDITIONAL_BYTES_MAX)
    }
}

impl Commit {
    /// Everything but the checksum.
    pub(super) fn visit_before_checksum<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        codec.i64(&mut self.tx_id)?;
        codec.i64(&mut self.time)
    }
}

impl ChunkStart {
    fn visit<C: Codec>(&mut self, codec: &mut C, version: KernelVersion) -> Result<()> {
        codec.i64(&mut self.time)?;
        codec.i64(&mut self.chunk_id)?;
        codec.i64(&mut self.previous_append_index)?;
        if version >= KernelVersion::APPEND_INDEX {
            codec.i64(&mut self.append_index)?;
        }
        Ok(())
    }
}

impl ChunkEnd {
    fn visit<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        codec.i64(&mut self.tx_id)?;
        codec.i64(&mut self.chunk_id)?;
        codec.i32(&mut self.checksum)
    }
}

impl Rollback {
    fn visit<C: Codec>(&mut self, codec: &mut C, version: KernelVersion) -> Result<()> {
        codec.i64(&mut self.tx_id)?;
        codec.i64(&mut self.time)?;
        if version >= KernelVersion::APPEND_INDEX {
            codec.i64(&mut self.append_index)?;
        }
        codec.i32(&mut self.checksum)
    }
}

impl Entry {
    /// The type byte.
    #[must_use]
    pub fn type_code(&self) -> u8 {
        match self {
            Self::Start(_) => START,
            Self::Command(_) => COMMAND,
            Self::Commit(_) => COMMIT,
            Self::ChunkStart(_) => CHUNK_START,
            Self::ChunkEnd(_) => CHUNK_END,
            Self::Rollback(_) => ROLLBACK,
        }
    }

    /// The entry's bytes as a server of this kernel version writes them.
    ///
    /// # Errors
    /// `Corrupt` for a value that no reader would take, such as a list that is too long.
    pub fn encode(&self, version: KernelVersion) -> Result<Vec<u8>> {
        let mut entry = self.clone();
        let mut encoder = Encoder::default();
        encoder.bytes.extend([version.0, self.type_code()]);
        if let Self::Command(command) = &entry {
            encoder.bytes.push(command.type_code());
        }
        entry.visit_body(&mut encoder, version)?;
        Ok(encoder.bytes)
    }

    fn visit_body<C: Codec>(&mut self, codec: &mut C, version: KernelVersion) -> Result<()> {
        match self {
            Self::Start(start) => start.visit(codec, version),
            Self::Command(command) => command.visit_body(codec, version),
            Self::Commit(commit) => {
                commit.visit_before_checksum(codec)?;
                codec.i32(&mut commit.checksum)
            }
            Self::ChunkStart(start) => start.visit(codec, version),
            Self::ChunkEnd(end) => end.visit(codec),
            Self::Rollback(rollback) => rollback.visit(codec, version),
        }
    }

    fn decode<C: Codec>(codec: &mut C, type_code: u8, version: KernelVersion) -> Result<Self> {
        let at = codec.offset();
        let mut entry = match type_code {
            COMMAND => return Ok(Self::Command(Command::decode(codec, version)?)),
            START => Self::Start(Start::default()),
            COMMIT => Self::Commit(Commit::default()),
            CHUNK_START => Self::ChunkStart(ChunkStart::default()),
            CHUNK_END => Self::ChunkEnd(ChunkEnd::default()),
            ROLLBACK => Self::Rollback(Rollback::default()),
            other => return Err(unknown_entry(at.saturating_sub(1), other)),
        };
        entry.visit_body(codec, version)?;
        Ok(entry)
    }
}

pub(super) fn unknown_entry(at: u64, type_code: u8) -> Error {
    let name = match type_code {
        // No version's entry: most likely bytes that are not written yet.
        0 => return Error::corrupt(at, "type of a log entry", "1 to 12", 0),
        7 | 8 => "checkpoint of Neo4j 4",
        9 => "checkpoint in a transaction log",
        13 => "empty transaction of enveloped logs",
        _ => return Error::unsupported(at, "log entry", type_code),
    };
    Error::unsupported(at, "log entry", format!("{type_code} ({name})"))
}

/// Reads the version and type byte of an entry; `None` at the end or at a zero version byte.
pub(super) fn entry_head<R: Read>(input: &mut Input<R>) -> Result<Option<(KernelVersion, u8)>> {
    if input.peek()?.is_none_or(|version| version == 0) {
        return Ok(None);
    }
    let at = input.offset();
    let mut decoder = Decoder { input, keep: false };
    let mut version = 0;
    decoder.u8(&mut version)?;
    let version = KernelVersion(version).check(at)?;
    let mut type_code = 0;
    decoder.u8(&mut type_code)?;
    Ok(Some((version, type_code)))
}

/// Reads entries as values, one by one, with no check of checksums: for tools and tests. Backups
/// are read by [`BatchReader`](super::BatchReader).
pub struct EntryReader<R> {
    input: Input<R>,
    ended: bool,
}

impl<R: Read> EntryReader<R> {
    /// Reads from a place where an entry begins; `offset_bytes` is that place in the file.
    pub fn new(reader: R, offset_bytes: u64) -> Self {
        Self { input: Input::new(reader, offset_bytes, 64 << 10), ended: false }
    }

    /// The next entry; `None` at the end of the bytes or at a zero version byte. After `None` or
    /// an error it stays there.
    ///
    /// # Errors
    /// `Incomplete`, `Corrupt`, `Unsupported`, `Io`.
    pub fn next_entry(&mut self) -> Result<Option<(KernelVersion, Entry)>> {
        if self.ended {
            return Ok(None);
        }
        let read = self.read_entry();
        self.ended = !matches!(read, Ok(Some(_)));
        read
    }

    fn read_entry(&mut self) -> Result<Option<(KernelVersion, Entry)>> {
        let Some((version, type_code)) = entry_head(&mut self.input)? else { return Ok(None) };
        let mut decoder = Decoder { input: &mut self.input, keep: true };
        Ok(Some((version, Entry::decode(&mut decoder, type_code, version)?)))
    }

    /// Offset in the file after the last entry; after an error, after the last byte looked at.
    #[must_use]
    pub fn offset_bytes(&self) -> u64 {
        self.input.offset()
    }
}
