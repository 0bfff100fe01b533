//! Checkpoint files `checkpoint.N`: the header of a log file, then entries of fixed length,
//! little-endian but for the StoreId block. After the last entry only zeros.
//!
//! | field | kernel versions |
//! |---|---|
//! | u8 kernel version, u8 9 | all |
//! | i64, i64 checkpointed position: log version, offset | all |
//! | i64, i64 oldest not completed position | 18 on |
//! | i64 time, ms | all |
//! | 64 bytes StoreId block | all |
//! | i64 transaction id | all |
//! | i64 its append index, u8 its kernel version | 17 on |
//! | i32 its checksum, i64 its commit time, ms | all |
//! | i64 its consensus index | 6 on |
//! | i64 last append index covered | 17 on |
//! | i16 length of the reason, the reason in UTF-8, zeros | all |
//! | i32 CRC-32C of all before | all |
//!
//! An entry is 232 bytes long, from kernel version 32 on 486. Source:
//! `DetachedCheckpointLogEntrySerializer*`, 5.26 and 2026.08. Evidence: fixtures confirm kernel
//! versions 16 to 29, 31 and 32; 5 to 15 are inferred.

use crate::codec::{Codec, Decoder, Encoder, Input};
use crate::txlog::{LogFormatVersion, LogHeader};
use crate::{
    AppendIndex, Checksum, Error, ErrorKind, KernelVersion, LogPosition, LogVersion, Result,
    StoreId, TimestampMs, TxId,
};

const ENTRY_TYPE: u8 = 9;
const CHECKSUM_BYTES: usize = 4;
const CHECKSUM_BYTES_U64: u64 = 4;
/// From here on there is an oldest not completed position (5.22).
const OLDEST_POSITION: KernelVersion = KernelVersion(18);
/// From here on there is a consensus index (5.7).
const CONSENSUS_INDEX: KernelVersion = KernelVersion(6);
/// From here on entries are longer (2026.08).
const LONG_ENTRIES: KernelVersion = KernelVersion(32);

/// A checkpoint: every change before its position is in the store files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Kernel version of the entry; decides the layout.
    pub kernel_version: KernelVersion,
    /// Changes from here on may be missing in the store files.
    pub position: LogPosition,
    /// Recovery starts here; the same as `position` in the formats that we copy.
    pub oldest_not_completed: LogPosition,
    /// When it was taken.
    pub time: TimestampMs,
    /// The store.
    pub store_id: StoreId,
    /// The highest transaction that was closed when it was taken; may be ahead of `position`.
    pub tx_id: TxId,
    /// That transaction's append index; kernel versions from 17 on.
    pub append_index: Option<AppendIndex>,
    /// That transaction's kernel version; from 17 on.
    pub tx_kernel_version: Option<KernelVersion>,
    /// That transaction's checksum.
    pub tx_checksum: Checksum,
    /// That transaction's commit time.
    pub tx_commit_time: TimestampMs,
    /// That transaction's consensus index, -1 in Community; from 6 on.
    pub consensus_index: Option<i64>,
    /// Last append index that it covers; from 17 on.
    pub last_append_index: Option<i64>,
    /// Why it was taken, cut to fit.
    pub reason: String,
}

/// What stands after the last entry of a checkpoint file.
#[derive(Debug)]
pub enum Tail {
    /// Nothing, or zeros.
    Clean,
    /// Something that is no entry: one that is being written, or damage.
    Torn(Error),
}

/// A checkpoint file.
#[derive(Debug)]
pub struct CheckpointFile {
    /// Its header.
    pub header: LogHeader,
    /// Its entries, each with the offset after it.
    pub entries: Vec<(Checkpoint, u64)>,
    /// What follows.
    pub tail: Tail,
}

/// Reads a whole checkpoint file; `None` if its header is not written yet.
///
/// # Errors
/// Those of the header. A bad entry is no error here, but the [`Tail`].
pub fn decode_file(bytes: &[u8]) -> Result<Option<CheckpointFile>> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let Some(header) = LogHeader::decode(bytes)? else {
        return Err(Error::corrupt(0, "log header", "a log format", "zeros"));
    };
    if header.format == LogFormatVersion::V6 {
        return Err(Error::unsupported(0, "log format of a checkpoint file", "6"));
    }
    let mut entries = Vec::new();
    let mut at = LogHeader::SIZE_BYTES;
    loop {
        let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
        if rest.iter().all(|byte| *byte == 0) {
            return Ok(Some(CheckpointFile { header, entries, tail: Tail::Clean }));
        }
        match Checkpoint::decode(rest, at) {
            Ok((checkpoint, length)) => {
                at = at.saturating_add(length);
                entries.push((checkpoint, at));
            }
            Err(error) => {
                return Ok(Some(CheckpointFile { header, entries, tail: Tail::Torn(error) }));
            }
        }
    }
}

impl Checkpoint {
    /// Length of an entry of this kernel version.
    #[must_use]
    pub fn entry_bytes(version: KernelVersion) -> usize {
        if version >= LONG_ENTRIES { 486 } else { 232 }
    }

    /// Reads the entry at the beginning of `bytes`, which stand at `offset_bytes` of the file;
    /// gives it and its length.
    ///
    /// # Errors
    /// `Incomplete`, `Corrupt`, `Checksum`, `Unsupported`.
    pub fn decode(bytes: &[u8], offset_bytes: u64) -> Result<(Self, u64)> {
        let [version, entry_type, ..] = *bytes else {
            return Err(Error::incomplete(offset_bytes, "a checkpoint"));
        };
        let version = KernelVersion(version).check(offset_bytes)?;
        if entry_type != ENTRY_TYPE {
            let at = offset_bytes.saturating_add(1);
            return Err(other_entry(at, entry_type));
        }
        let length = Self::entry_bytes(version);
        let Some(entry) = bytes.get(..length) else {
            return Err(Error::incomplete(offset_bytes, "a checkpoint"));
        };
        check_checksum(entry, offset_bytes)?;
        let mut input = Input::new(entry, offset_bytes, length);
        let mut fields = Fields::default();
        let mut decoder = Decoder { input: &mut input, keep: true };
        fields.visit(&mut decoder, version)?;
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        let end = offset_bytes.saturating_add(length);
        fields.read_reason(&mut decoder, end.saturating_sub(CHECKSUM_BYTES_U64))?;
        Ok((fields.into_checkpoint(version, offset_bytes)?, length))
    }

    /// The entry's bytes; a reason that does not fit is cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let length = Self::entry_bytes(self.kernel_version);
        let mut encoder = Encoder::default();
        // Encoding a fixed layout into memory has no way to fail.
        let _ = Fields::of(self).visit(&mut encoder, self.kernel_version);
        let mut bytes = encoder.bytes;
        let room = length.saturating_sub(bytes.len()).saturating_sub(CHECKSUM_BYTES + 2);
        let mut cut = self.reason.len().min(room);
        while !self.reason.is_char_boundary(cut) {
            cut = cut.saturating_sub(1);
        }
        let reason = self.reason.get(..cut).unwrap_or_default().as_bytes();
        bytes.extend(i16::try_from(cut).unwrap_or(0).to_le_bytes());
        bytes.extend(reason);
        bytes.resize(length.saturating_sub(CHECKSUM_BYTES), 0);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend(checksum.to_le_bytes());
        bytes
    }
}

fn other_entry(at: u64, entry_type: u8) -> Error {
    match entry_type {
        // No version's entry: most likely bytes that are not written yet.
        0 => Error::corrupt(at, "type of a checkpoint entry", ENTRY_TYPE, 0),
        7 | 8 => Error::unsupported(at, "checkpoint entry", format!("{entry_type} (of Neo4j 4)")),
        other => Error::unsupported(at, "checkpoint entry", other),
    }
}

fn check_checksum(entry: &[u8], offset_bytes: u64) -> Result<()> {
    let Some((body, stored)) = entry.split_last_chunk::<CHECKSUM_BYTES>() else {
        return Err(Error::incomplete(offset_bytes, "a checkpoint"));
    };
    let (stored, computed) = (u32::from_le_bytes(*stored), crc32c::crc32c(body));
    if stored == computed {
        return Ok(());
    }
    Err(Error { kind: ErrorKind::Checksum { tx_id: None, stored, computed }, offset_bytes })
}

/// The fields as they stand in the bytes.
struct Fields {
    version: u8,
    entry_type: u8,
    position: [i64; 2],
    oldest: [i64; 2],
    time: i64,
    store_id: [u8; StoreId::BLOCK_BYTES],
    tx_id: i64,
    append_index: i64,
    tx_version: u8,
    checksum: i32,
    commit_time: i64,
    consensus_index: i64,
    last_append_index: i64,
    /// Only read: an encoder appends the reason itself.
    reason: Vec<u8>,
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            version: 0,
            entry_type: ENTRY_TYPE,
            position: [0; 2],
            oldest: [0; 2],
            time: 0,
            store_id: [0; StoreId::BLOCK_BYTES],
            tx_id: 0,
            append_index: 0,
            tx_version: 0,
            checksum: 0,
            commit_time: 0,
            consensus_index: 0,
            last_append_index: 0,
            reason: Vec::new(),
        }
    }
}

impl Fields {
    fn of(checkpoint: &Checkpoint) -> Self {
        let position = |at: LogPosition| {
            [at.version.0, at.offset_bytes].map(|value| i64::try_from(value).unwrap_or(i64::MAX))
        };
        let id = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        Self {
            version: checkpoint.kernel_version.0,
            entry_type: ENTRY_TYPE,
            position: position(checkpoint.position),
            oldest: position(checkpoint.oldest_not_completed),
            time: checkpoint.time.0,
            store_id: checkpoint.store_id.encode_block(),
            tx_id: id(checkpoint.tx_id.0),
            append_index: checkpoint.append_index.map_or(0, |index| id(index.0)),
            tx_version: checkpoint.tx_kernel_version.map_or(0, |version| version.0),
            // That of a batch of Neo4j 5, so it fits.
            checksum: u32::try_from(checkpoint.tx_checksum.0).unwrap_or(u32::MAX).cast_signed(),
            commit_time: checkpoint.tx_commit_time.0,
            consensus_index: checkpoint.consensus_index.unwrap_or(0),
            last_append_index: checkpoint.last_append_index.unwrap_or(0),
            reason: Vec::new(),
        }
    }

    fn visit<C: Codec>(&mut self, codec: &mut C, version: KernelVersion) -> Result<()> {
        codec.u8(&mut self.version)?;
        codec.u8(&mut self.entry_type)?;
        self.position.iter_mut().try_for_each(|field| codec.i64(field))?;
        if version >= OLDEST_POSITION {
            self.oldest.iter_mut().try_for_each(|field| codec.i64(field))?;
        } else {
            self.oldest = self.position;
        }
        codec.i64(&mut self.time)?;
        codec.fixed(&mut self.store_id)?;
        codec.i64(&mut self.tx_id)?;
        if version >= KernelVersion::APPEND_INDEX {
            codec.i64(&mut self.append_index)?;
            codec.u8(&mut self.tx_version)?;
        }
        codec.i32(&mut self.checksum)?;
        codec.i64(&mut self.commit_time)?;
        if version >= CONSENSUS_INDEX {
            codec.i64(&mut self.consensus_index)?;
        }
        if version >= KernelVersion::APPEND_INDEX {
            codec.i64(&mut self.last_append_index)?;
        }
        Ok(())
    }

    /// Reads the reason, which must end before `checksum_at`.
    fn read_reason<C: Codec>(&mut self, codec: &mut C, checksum_at: u64) -> Result<()> {
        let at = codec.offset();
        let mut length = 0;
        codec.i16(&mut length)?;
        let room = checksum_at.saturating_sub(codec.offset());
        match u64::try_from(length) {
            Ok(length) if length <= room => codec.blob(length, &mut self.reason),
            _ => {
                let expected = format_args!("0 to {room}");
                Err(Error::corrupt(at, "length of a checkpoint's reason", expected, length))
            }
        }
    }

    fn into_checkpoint(self, version: KernelVersion, at: u64) -> Result<Checkpoint> {
        let natural = |what: &'static str, value: i64| {
            u64::try_from(value).map_err(|_| Error::corrupt(at, what, "0 or more", value))
        };
        let position = |[log_version, offset]: [i64; 2]| {
            Ok(LogPosition {
                version: LogVersion(natural("log version of a checkpoint", log_version)?),
                offset_bytes: natural("log offset of a checkpoint", offset)?,
            })
        };
        let indexed = version >= KernelVersion::APPEND_INDEX;
        Ok(Checkpoint {
            kernel_version: version,
            position: position(self.position)?,
            oldest_not_completed: position(self.oldest)?,
            time: TimestampMs(self.time),
            store_id: StoreId::decode_block(&self.store_id, at)?,
            tx_id: TxId(natural("transaction id of a checkpoint", self.tx_id)?),
            append_index: indexed
                .then(|| natural("append index of a checkpoint", self.append_index))
                .transpose()?
                .map(AppendIndex),
            tx_kernel_version: indexed.then_some(KernelVersion(self.tx_version)),
            tx_checksum: Checksum::from(self.checksum.cast_unsigned()),
            tx_commit_time: TimestampMs(self.commit_time),
            consensus_index: (version >= CONSENSUS_INDEX).then_some(self.consensus_index),
            last_append_index: indexed.then_some(self.last_append_index),
            reason: String::from_utf8_lossy(&self.reason).into_owned(),
        })
    }
}
