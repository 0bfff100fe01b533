//! Log entries: i8 version (-6 or -9), u8 type, body.
//!
//! | type | name | body |
//! |---|---|---|
//! | 1 | START | i32 master, i32 author, i64 time, i64 last committed transaction, i32 n, n bytes |
//! | 3 | COMMAND | a command |
//! | 5 | COMMIT | i64 transaction id, i64 time |
//! | 7 | CHECK POINT | i64 log version, i64 offset: where recovery begins |
//!
//! A zero byte in the place of a version ends the log. Nothing is padded, nothing has a checksum.
//! Every entry of a transaction is of the same version.
//! Source: `LogEntryVersion`, `LogEntryParsersV2_3`, `LogEntryWriter`, 3.0.0 and 3.0.7. Evidence: real
//! logs of both, and of a database that went from one to the other.

use std::io::Read;

use super::command::Command;
use super::visit_natural;
use crate::codec::{BigEndianDecoder, BigEndianEncoder, Codec, Input};
use crate::{Checksum, Error, KernelVersion, LogPosition, LogVersion, Result};

pub(super) const START: u8 = 1;
pub(super) const COMMAND: u8 = 3;
pub(super) const COMMIT: u8 = 5;
pub(super) const CHECK_POINT: u8 = 7;

/// The additional header of START holds 8 random bytes; a reader of 3.0 takes any number.
const ADDITIONAL_BYTES_MAX: u32 = 1 << 10;

/// A log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A transaction begins.
    Start(Start),
    /// One change.
    Command(Command),
    /// A transaction ends.
    Commit(Commit),
    /// Every change before this position is in the store files; see [`CheckPoint`](super::CheckPoint).
    CheckPoint(LogPosition),
}

/// The beginning of a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// The cluster's master when it was begun; -1 outside of clusters.
    pub master_id: i32,
    /// The cluster's member that began it; -1 outside of clusters.
    pub author_id: i32,
    /// When the transaction began, ms.
    pub time: i64,
    /// The last transaction that was committed then.
    pub last_tx_id: i64,
    /// 8 random bytes, which tell transactions of the same id apart.
    pub additional_header: Vec<u8>,
}

/// The end of a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// The transaction's id.
    pub tx_id: i64,
    /// When it was committed, ms.
    pub time: i64,
}

impl Start {
    /// The transaction's checksum: above, 37 times the master plus the author; below, Java's hash of
    /// the additional header. Each has 32 bits and overflows. It says nothing of the commands.
    #[must_use]
    pub fn checksum(&self) -> Checksum {
        let high = self.master_id.wrapping_mul(37).wrapping_add(self.author_id);
        let hash = |hash: i32, byte: &u8| {
            hash.wrapping_mul(31).wrapping_add(i32::from(byte.cast_signed()))
        };
        let low = self.additional_header.iter().fold(1, hash);
        Checksum(u64::from(high.cast_unsigned()) << 32 | u64::from(low.cast_unsigned()))
    }

    pub(super) fn visit<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        codec.i32(&mut self.master_id)?;
        codec.i32(&mut self.author_id)?;
        codec.i64(&mut self.time)?;
        codec.i64(&mut self.last_tx_id)?;
        let what = "length of START's additional header";
        codec.string(what, &mut self.additional_header, ADDITIONAL_BYTES_MAX)
    }
}

impl Commit {
    pub(super) fn visit<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        codec.i64(&mut self.tx_id)?;
        codec.i64(&mut self.time)
    }
}

/// Visits the body of CHECK POINT.
pub(super) fn visit_position<C: Codec>(codec: &mut C, position: &mut LogPosition) -> Result<()> {
    visit_natural(codec, "log version of a check point", &mut position.version.0)?;
    visit_natural(codec, "offset of a check point", &mut position.offset_bytes)
}

impl Entry {
    /// The type byte.
    #[must_use]
    pub fn type_code(&self) -> u8 {
        match self {
            Self::Start(_) => START,
            Self::Command(_) => COMMAND,
            Self::Commit(_) => COMMIT,
            Self::CheckPoint(_) => CHECK_POINT,
        }
    }

    /// The entry's bytes as a server of this kernel version writes them.
    ///
    /// # Errors
    /// `Corrupt` for a value that no reader would take, such as a list that is too long.
    pub fn encode(&self, version: KernelVersion) -> Result<Vec<u8>> {
        let mut entry = self.clone();
        let mut encoder = BigEndianEncoder::default();
        encoder.bytes.extend([version.0, self.type_code()]);
        if let Self::Command(command) = &entry {
            encoder.bytes.push(command.type_code());
        }
        entry.visit_body(&mut encoder, version)?;
        Ok(encoder.bytes)
    }

    fn visit_body<C: Codec>(&mut self, codec: &mut C, version: KernelVersion) -> Result<()> {
        match self {
            Self::Start(start) => start.visit(codec),
            Self::Command(command) => command.visit_body(codec, version),
            Self::Commit(commit) => commit.visit(codec),
            Self::CheckPoint(position) => visit_position(codec, position),
        }
    }

    fn decode<C: Codec>(codec: &mut C, type_code: u8, version: KernelVersion) -> Result<Self> {
        let at = codec.offset();
        let mut entry = match type_code {
            COMMAND => return Ok(Self::Command(Command::decode(codec, version)?)),
            START => Self::Start(Start::default()),
            COMMIT => Self::Commit(Commit::default()),
            CHECK_POINT => {
                Self::CheckPoint(LogPosition { version: LogVersion(0), offset_bytes: 0 })
            }
            other => return Err(unknown_entry(at.saturating_sub(1), other)),
        };
        entry.visit_body(codec, version)?;
        Ok(entry)
    }
}

pub(super) fn unknown_entry(at: u64, type_code: u8) -> Error {
    let name = match type_code {
        // No entry: most likely bytes that are not written yet.
        0 => return Error::corrupt(at, "type of a log entry", "1 to 7", 0),
        2 => "prepare",
        4 => "done",
        6 => "two-phase commit",
        _ => return Error::unsupported(at, "log entry of Neo4j 3.0", type_code),
    };
    Error::unsupported(at, "log entry of Neo4j 3.0", format!("{type_code} ({name})"))
}

/// Reads the version and type byte of an entry; `None` at the end or at a zero version byte.
pub(super) fn entry_head<R: Read>(input: &mut Input<R>) -> Result<Option<(KernelVersion, u8)>> {
    if input.peek()?.is_none_or(|version| version == 0) {
        return Ok(None);
    }
    let at = input.offset();
    let mut decoder = BigEndianDecoder { input, keep: false };
    let mut version = 0;
    decoder.u8(&mut version)?;
    let version = KernelVersion(version);
    if !version.is_3_0() {
        // What we know neither here nor elsewhere has a name of its own.
        version.check(at)?;
        return Err(Error::corrupt(at, "version of a log entry", "-6 or -9", version));
    }
    let mut type_code = 0;
    decoder.u8(&mut type_code)?;
    Ok(Some((version, type_code)))
}

/// Reads entries as values, one by one: for tools and tests. Backups are read by
/// [`BatchReader`](crate::txlog::BatchReader).
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
        let mut decoder = BigEndianDecoder { input: &mut self.input, keep: true };
        Ok(Some((version, Entry::decode(&mut decoder, type_code, version)?)))
    }

    /// Offset in the file after the last entry; after an error, after the last byte looked at.
    #[must_use]
    pub fn offset_bytes(&self) -> u64 {
        self.input.offset()
    }
}
