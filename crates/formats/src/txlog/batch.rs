//! Batches: a transaction's START, its COMMANDs and its COMMIT, with the checksum over all. Those of
//! Neo4j 3.0 are read in [`crate::v3_0`], and chosen by the version byte of their first entry.

use std::io::Read;

use super::command::Command;
use super::entry::{
    CHUNK_END, CHUNK_START, COMMAND, COMMIT, Commit, ROLLBACK, START, Start, entry_head,
    unknown_entry,
};
use crate::codec::{Codec, Decoder, Input};
use crate::v3_0::{self, CheckPoint};
use crate::{AppendIndex, Checksum, Error, ErrorKind, KernelVersion, Result, TimestampMs, TxId};

/// One committed transaction of a log, whose checksum is right. (In 3.0 nothing proves that bytes
/// are right but that they can be read: its checksum is of START's additional header only.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Offset of its first byte in the file.
    pub start: u64,
    /// Offset after its last byte.
    pub end: u64,
    /// Kernel version of its entries.
    pub kernel_version: KernelVersion,
    /// The transaction.
    pub tx_id: TxId,
    /// Number of the batch; kernel versions from 17 on.
    pub append_index: Option<AppendIndex>,
    /// CRC-32C of the batch; in 3.0 the checksum of its START.
    pub checksum: Checksum,
    /// CRC-32C of the batch before it; kernel versions to 21.
    pub previous_checksum: Option<Checksum>,
    /// When the transaction began.
    pub start_time: TimestampMs,
    /// When it was committed.
    pub commit_time: TimestampMs,
    /// Number of its commands.
    pub commands: u64,
    /// The kernel version that it upgrades the database to.
    pub upgrade_to: Option<KernelVersion>,
}

/// What a log consists of.
#[derive(Clone, Copy, Debug)]
pub enum Item {
    /// A transaction.
    Batch(Batch),
    /// A check point of Neo4j 3.0.
    CheckPoint(CheckPoint),
}

impl Item {
    /// Offset after its last byte.
    #[must_use]
    pub fn end(&self) -> u64 {
        match self {
            Self::Batch(batch) => batch.end,
            Self::CheckPoint(check_point) => check_point.end,
        }
    }
}

/// Reads batches, and checks each one's checksum, in constant memory: a transaction, and even one
/// command of it, may be larger than what fits.
pub struct BatchReader<R> {
    input: Input<R>,
    boundary: u64,
    stopped_at_zero: bool,
    ended: bool,
}

const BUFFER_BYTES: usize = 256 << 10;
/// COMMIT behind its version and type byte.
const COMMIT_BODY_BYTES: u64 = 20;

impl<R: Read> BatchReader<R> {
    /// Reads from a place where a batch begins; `offset_bytes` is that place in the file.
    pub fn new(reader: R, offset_bytes: u64) -> Self {
        Self::with_buffer(reader, offset_bytes, BUFFER_BYTES)
    }

    /// [`BatchReader::new`] with a buffer of that size: a small one where most of what is tried is
    /// no batch at all.
    pub fn with_buffer(reader: R, offset_bytes: u64, buffer_bytes: usize) -> Self {
        Self {
            input: Input::new(reader, offset_bytes, buffer_bytes),
            boundary: offset_bytes,
            stopped_at_zero: false,
            ended: false,
        }
    }

    /// The next batch. `None` at the end of the bytes, or at a zero version byte, right behind a
    /// batch. After `None` or an error it stays there. Passes over check points.
    ///
    /// # Errors
    /// `Incomplete` if the bytes end inside a batch; `Corrupt`, `Checksum`, `Unsupported`, `Io`.
    pub fn next_batch(&mut self) -> Result<Option<Batch>> {
        loop {
            match self.next_item()? {
                Some(Item::Batch(batch)) => return Ok(Some(batch)),
                Some(Item::CheckPoint(_)) => {}
                None => return Ok(None),
            }
        }
    }

    /// The next check point of a log of Neo4j 3.0; the logs of Neo4j 5 have none. Passes over
    /// batches, and is otherwise as [`next_batch`](Self::next_batch).
    ///
    /// # Errors
    /// Those of [`next_batch`](Self::next_batch).
    pub fn next_check_point(&mut self) -> Result<Option<CheckPoint>> {
        loop {
            match self.next_item()? {
                Some(Item::CheckPoint(check_point)) => return Ok(Some(check_point)),
                Some(Item::Batch(_)) => {}
                None => return Ok(None),
            }
        }
    }

    /// The next batch or check point; otherwise as [`next_batch`](Self::next_batch).
    ///
    /// # Errors
    /// Those of [`next_batch`](Self::next_batch).
    pub fn next_item(&mut self) -> Result<Option<Item>> {
        if self.ended {
            return Ok(None);
        }
        let read = self.read_item();
        match &read {
            Ok(Some(item)) => self.boundary = item.end(),
            Ok(None) | Err(_) => self.ended = true,
        }
        read
    }

    /// Offset after the last good batch or check point.
    #[must_use]
    pub fn boundary(&self) -> u64 {
        self.boundary
    }

    /// Offset after the last byte that was looked at. If reading failed and every byte from here
    /// on is zero, then it may be the live tail of a log.
    #[must_use]
    pub fn consumed(&self) -> u64 {
        self.input.offset()
    }

    /// Whether reading ended at a zero byte in the place of a batch.
    #[must_use]
    pub fn stopped_at_zero(&self) -> bool {
        self.stopped_at_zero
    }

    fn read_item(&mut self) -> Result<Option<Item>> {
        if self.input.peek()?.is_some_and(|version| KernelVersion(version).is_3_0()) {
            return v3_0::read_item(&mut self.input).map(Some);
        }
        Ok(self.read_batch()?.map(Item::Batch))
    }

    fn read_batch(&mut self) -> Result<Option<Batch>> {
        let start = self.input.offset();
        self.input.start_crc();
        let Some((version, type_code)) = entry_head(&mut self.input)? else {
            self.stopped_at_zero = self.input.peek()?.is_some();
            return Ok(None);
        };
        check_begins_batch(start, type_code)?;
        let mut head = Start::default();
        head.visit(&mut Decoder { input: &mut self.input, keep: true }, version)?;
        let mut commands = 0_u64;
        let mut upgrade_to = None;
        loop {
            match self.next_type(version)? {
                COMMAND => {
                    let mut decoder = Decoder { input: &mut self.input, keep: false };
                    let command = Command::decode(&mut decoder, version)?;
                    commands = commands.saturating_add(1);
                    upgrade_to = command.upgrade_to().or(upgrade_to);
                }
                COMMIT => break,
                other => {
                    let at = self.input.offset().saturating_sub(1);
                    return Err(match other {
                        START => Error::corrupt(at, "log entry", "COMMAND or COMMIT", "START"),
                        CHUNK_START | CHUNK_END | ROLLBACK => chunked(at),
                        other => unknown_entry(at, other),
                    });
                }
            }
        }
        let (commit, checksum) = self.read_commit()?;
        let id_at = self.input.offset().saturating_sub(COMMIT_BODY_BYTES);
        let index_at = start.saturating_add(Start::append_index_at(version));
        Ok(Some(Batch {
            start,
            end: self.input.offset(),
            kernel_version: version,
            tx_id: TxId(positive(id_at, "transaction id", commit.tx_id)?),
            append_index: (version >= KernelVersion::APPEND_INDEX)
                .then(|| positive(index_at, "append index", head.append_index).map(AppendIndex))
                .transpose()?,
            checksum,
            previous_checksum: (version < KernelVersion::NO_PREVIOUS_CHECKSUM)
                .then_some(Checksum::from(head.previous_checksum.cast_unsigned())),
            start_time: TimestampMs(head.time),
            commit_time: TimestampMs(commit.time),
            commands,
            upgrade_to,
        }))
    }

    /// The type of the batch's next entry, which must be there and of the same kernel version.
    fn next_type(&mut self, version: KernelVersion) -> Result<u8> {
        let at = self.input.offset();
        let Some((found, type_code)) = entry_head(&mut self.input)? else {
            return Err(match self.input.peek()? {
                None => Error::incomplete(at, "a transaction"),
                Some(zero) => Error::corrupt(at, "kernel version of an entry", version, zero),
            });
        };
        if found != version {
            return Err(Error::corrupt(at, "kernel version of an entry", version, found));
        }
        Ok(type_code)
    }

    fn read_commit(&mut self) -> Result<(Commit, Checksum)> {
        let mut commit = Commit::default();
        commit.visit_before_checksum(&mut Decoder { input: &mut self.input, keep: false })?;
        let computed = self.input.crc();
        let at = self.input.offset();
        Decoder { input: &mut self.input, keep: false }.i32(&mut commit.checksum)?;
        let stored = commit.checksum.cast_unsigned();
        if stored != computed {
            let tx_id = u64::try_from(commit.tx_id).ok().map(TxId);
            let kind = ErrorKind::Checksum { tx_id, stored, computed };
            return Err(Error { kind, offset_bytes: at });
        }
        Ok((commit, Checksum::from(stored)))
    }
}

fn check_begins_batch(start: u64, type_code: u8) -> Result<()> {
    let at = start.saturating_add(1);
    match type_code {
        START => Ok(()),
        CHUNK_START | CHUNK_END | ROLLBACK => Err(chunked(at)),
        COMMAND => Err(Error::corrupt(at, "log entry", "START", "COMMAND")),
        COMMIT => Err(Error::corrupt(at, "log entry", "START", "COMMIT")),
        other => Err(unknown_entry(at, other)),
    }
}

/// The formats that we copy never chunk a transaction.
fn chunked(at: u64) -> Error {
    Error::unsupported(at, "log entry", "of a chunked transaction (multiversion)")
}

pub(crate) fn positive(at: u64, what: &'static str, value: i64) -> Result<u64> {
    match u64::try_from(value) {
        Ok(value) if value > 0 => Ok(value),
        _ => Err(Error::corrupt(at, what, "above 0", value)),
    }
}
