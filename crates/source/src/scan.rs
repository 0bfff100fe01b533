//! Reading transaction logs over several files: every checksum, every id, to the last commit.

use std::ops::Range;
use std::path::Path;

use formats::txlog::{Batch, BatchReader, Chain, LogHeader};
use formats::{
    Checksum, ErrorKind, KernelVersion, LogPosition, LogVersion, StoreId, TimestampMs, TxId,
};

use crate::read::{Held, HeldReader};
use crate::{Error, Result};

/// The prefix of transaction log files: `neostore.transaction.db.N`.
pub const LOG_PREFIX: &str = "neostore.transaction.db.";

/// A transaction as a backup's end: what "same history" is decided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastTx {
    /// Its id.
    pub tx_id: TxId,
    /// Its checksum.
    pub checksum: Checksum,
    /// Its commit time.
    pub commit_time: TimestampMs,
    /// Where its first byte is in the file of `end`; unknown where only a checkpoint tells of it.
    pub start_bytes: Option<u64>,
    /// The position after its last byte.
    pub end: LogPosition,
}

/// What a scan of a log directory found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogScan {
    /// The last transaction; `None` if no batch follows the start.
    pub last: Option<LastTx>,
    /// How many batches follow the start.
    pub transactions: u64,
    /// Each file with the offset after its last batch, oldest first.
    pub files: Vec<(LogVersion, u64)>,
    /// Whether nothing but zeros follows the last batch.
    pub clean_end: bool,
    /// How many bytes stand before batches that are of none: check points of Neo4j 3.0.
    pub between_bytes: u64,
}

/// What each batch is shown to as it is read.
pub type Visit<'a> = &'a mut dyn FnMut(LogVersion, &Batch);

/// How long each log file is as far as it matters: what lies behind is not looked at.
pub type LogSizes = std::collections::BTreeMap<LogVersion, u64>;

/// Reads logs that nobody writes to, from a position to their end. A finished file must end at a
/// commit; after the last file's last commit only zeros are tolerated as clean.
pub fn scan_logs(
    log_dir: &Path,
    sizes: &LogSizes,
    from: LogPosition,
    store_id: &StoreId,
    visit: Visit<'_>,
) -> Result<LogScan> {
    let mut scanner = Scanner::new(from, store_id.clone());
    let mut files = Vec::new();
    let mut clean_end = true;
    let newest = sizes.keys().next_back();
    for ((version, size), index) in sizes.range(from.version..).zip(0_u64..) {
        let expected = LogVersion(from.version.0.saturating_add(index));
        if *version != expected {
            return Err(Error::LogPruned { path: log_path(log_dir, expected) });
        }
        let held = Held::open(&log_path(log_dir, *version))?;
        if !scanner.enter(*version, &held)? {
            clean_end = held.is_zero_from(0)?;
            break;
        }
        let end = scanner.file(&held, *size, visit)?;
        files.push((*version, scanner.position.offset_bytes));
        if newest == Some(version) {
            clean_end = end.is_clean(&held)?;
        } else {
            end.expect_boundary(&held, scanner.position)?;
        }
    }
    if files.is_empty() {
        return Err(Error::LogPruned { path: log_path(log_dir, from.version) });
    }
    let Scanner { last, transactions, between_bytes, .. } = scanner;
    Ok(LogScan { last, transactions, files, clean_end, between_bytes })
}

/// The path of a transaction log file.
pub fn log_path(log_dir: &Path, version: LogVersion) -> std::path::PathBuf {
    log_dir.join(format!("{LOG_PREFIX}{version}"))
}

/// How the reading of one file ended.
pub enum FileEnd {
    /// End of file, exactly after a batch.
    Boundary,
    /// Something that is no batch: zeros, or bytes that do not parse (then with the error).
    Tail { consumed: u64, error: Option<formats::Error> },
}

impl FileEnd {
    /// How far the bytes were looked at.
    pub fn consumed(&self) -> Option<u64> {
        match self {
            Self::Boundary => None,
            Self::Tail { consumed, .. } => Some(*consumed),
        }
    }

    /// Whether bytes that are no whole batch follow the last one.
    pub fn is_unfinished(&self) -> bool {
        matches!(self, Self::Tail { error: Some(_), .. })
    }

    /// Whether nothing but zeros follows the last batch.
    pub fn is_clean(&self, held: &Held) -> Result<bool> {
        match self {
            Self::Boundary => Ok(true),
            Self::Tail { consumed, error: None } => held.is_zero_from(*consumed),
            Self::Tail { error: Some(_), .. } => Ok(false),
        }
    }

    /// Whether this is how the log of a running server may end: after a batch, or inside one that
    /// is being written. Where a batch is complete but wrong, or an intact batch stands behind
    /// what does not parse, the log is damaged in its middle: never a place to cut. In 3.0, where no checksum is
    /// of a batch's content, only one after `last` counts, the last before the tail.
    pub fn is_live_tail(
        &self,
        held: &Held,
        boundary: LogPosition,
        last: Option<TxId>,
    ) -> Result<bool> {
        let Self::Tail { consumed, error: Some(error) } = self else { return self.is_clean(held) };
        // A checksum field of zeros is one that is not written yet.
        let complete_but_wrong =
            matches!(error.kind, ErrorKind::Checksum { stored, .. } if stored != 0);
        if complete_but_wrong || error.is_unsupported() {
            return Ok(false);
        }
        let ends = error.is_incomplete() || held.is_zero_from(*consumed)?;
        let from = boundary.offset_bytes.saturating_add(1);
        let is_3_0 = read_header(held)?.is_some_and(|header| header.store_id.is_none());
        let is_intact = |batch: &Batch| !is_3_0 || Some(batch.tx_id) > last;
        Ok(ends && !has_batch_between(held, from..*consumed, is_3_0, is_intact)?)
    }

    /// Fails unless the file ended exactly after a batch.
    pub fn expect_boundary(self, held: &Held, boundary: LogPosition) -> Result<()> {
        match self {
            Self::Boundary => Ok(()),
            Self::Tail { error: Some(error), .. } => Err(Error::format(held.path())(error)),
            Self::Tail { error: None, .. } => Err(Error::Changed {
                path: held.path().to_owned(),
                what: format!("zeros at offset {}, but a newer file exists", boundary.offset_bytes),
            }),
        }
    }

    /// The error of a tail that is neither zeros nor a batch.
    pub fn into_error(self, held: &Held, boundary: LogPosition) -> Error {
        match self {
            Self::Tail { error: Some(error), .. } => Error::format(held.path())(error),
            _ => Error::Changed {
                path: held.path().to_owned(),
                what: format!(
                    "bytes that are not zero follow the end of the log at offset {}",
                    boundary.offset_bytes
                ),
            },
        }
    }
}

/// The entry type of START.
const START: u8 = 1;
/// How much is searched at a time.
const WINDOW_BYTES: usize = 256 << 10;
/// Enough to see that most of what begins like a START is none.
const TRIAL_BUFFER_BYTES: usize = 512;
/// How many times the searched bytes may be parsed again, from different places.
const TRIALS_MAX: u64 = 16;

/// Whether an intact batch may begin anywhere in a range that does not parse from its start. True
/// also if that is too much work to tell: bytes can be made to look like batches without end.
fn has_batch_between(
    held: &Held,
    range: Range<u64>,
    is_3_0: bool,
    is_intact: impl Fn(&Batch) -> bool,
) -> Result<bool> {
    let Range { start: from, end: to } = range;
    let size = held.size_bytes()?;
    let versions = KernelVersion::OLDEST.0..=KernelVersion::NEWEST.0;
    let mut budget = to.saturating_sub(from).saturating_mul(TRIALS_MAX);
    let mut buf = vec![0; WINDOW_BYTES];
    let mut at = from;
    while at < to {
        let read = held.read_at(at, &mut buf)?;
        let bytes = buf.get(..read).unwrap_or_default();
        for ((offset, index), pair) in (at..to).zip(0..).zip(bytes.windows(2)) {
            let [version, kind] = *pair else { continue };
            let is_version = match is_3_0 {
                true => KernelVersion(version).is_3_0(),
                false => versions.contains(&version),
            };
            if kind != START || !is_version {
                continue;
            }
            let here = bytes.get(index..).unwrap_or_default();
            let mut trial = BatchReader::with_buffer(here, offset, TRIAL_BUFFER_BYTES);
            match trial.next_batch() {
                Ok(Some(batch)) if is_intact(&batch) => return Ok(true),
                Err(error) if error.is_incomplete() => {}
                _ => continue,
            }
            let mut reader = BatchReader::new(HeldReader::new(held, offset, size), offset);
            if matches!(reader.next_batch(), Ok(Some(batch)) if is_intact(&batch)) {
                return Ok(true);
            }
            let parsed = reader.consumed().saturating_sub(offset);
            match budget.checked_sub(parsed) {
                Some(rest) => budget = rest,
                None => return Ok(true),
            }
        }
        if read < 2 {
            break;
        }
        // The last byte may be the first of a pair.
        at = at.saturating_add(read as u64).saturating_sub(1);
    }
    Ok(false)
}

/// Walks batches over the border of files; keeps the chain.
pub struct Scanner {
    /// What the next batch must go on from.
    pub chain: Chain,
    store_id: StoreId,
    first: LogVersion,
    /// The position after the last good batch, or where the next one would begin.
    pub position: LogPosition,
    /// The last batch.
    pub last: Option<LastTx>,
    /// The first batch's transaction.
    pub first_tx: Option<TxId>,
    /// Batches so far.
    pub transactions: u64,
    /// Bytes before batches that are of none.
    pub between_bytes: u64,
    /// Whether a batch that is being written follows.
    pub is_unfinished: bool,
    /// Where the batches are: one for each file, but where check points of 3.0 stand between them.
    pub runs: Vec<Run>,
}

/// Batches that lie together in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub version: LogVersion,
    pub start: u64,
    pub end: u64,
}

impl Run {
    /// How long they are together.
    pub fn length(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

impl Scanner {
    pub fn new(from: LogPosition, store_id: StoreId) -> Self {
        Self {
            chain: Chain::start_anywhere(),
            store_id,
            first: from.version,
            position: from,
            last: None,
            first_tx: None,
            transactions: 0,
            between_bytes: 0,
            is_unfinished: false,
            runs: Vec::new(),
        }
    }

    /// Checks a file's header, and stands at its first batch. False: no header is written yet.
    pub fn enter(&mut self, version: LogVersion, held: &Held) -> Result<bool> {
        let Some(header) = read_header(held)? else { return Ok(false) };
        check_header(held, &header, version, &self.store_id)?;
        if version != self.first {
            self.chain.check_header(&header).map_err(Error::format(held.path()))?;
            self.position = LogPosition { version, offset_bytes: header.size_bytes() };
        }
        Ok(true)
    }

    /// Reads batches from the present position on, of a file that is so long.
    pub fn file(&mut self, held: &Held, size: u64, visit: Visit<'_>) -> Result<FileEnd> {
        if size < self.position.offset_bytes {
            let what = format!("{size} bytes long, but the log goes on at {}", self.position);
            return Err(Error::Changed { path: held.path().to_owned(), what });
        }
        let from = self.position.offset_bytes;
        self.bytes(held, HeldReader::new(held, from, size), visit)
    }

    /// Reads batches from the present position on, of a file whose bytes from there on these are.
    pub fn bytes(
        &mut self,
        held: &Held,
        bytes: impl std::io::Read,
        visit: Visit<'_>,
    ) -> Result<FileEnd> {
        let mut reader = BatchReader::new(bytes, self.position.offset_bytes);
        loop {
            match reader.next_batch() {
                Ok(Some(batch)) => self.take(held, &batch, visit)?,
                Ok(None) if reader.stopped_at_zero() => {
                    return Ok(FileEnd::Tail { consumed: reader.boundary(), error: None });
                }
                Ok(None) => return Ok(FileEnd::Boundary),
                Err(error) if error.is_io() => return Err(Error::format(held.path())(error)),
                Err(error) => {
                    return Ok(FileEnd::Tail { consumed: reader.consumed(), error: Some(error) });
                }
            }
        }
    }

    fn take(&mut self, held: &Held, batch: &Batch, visit: Visit<'_>) -> Result<()> {
        self.chain.check(batch).map_err(Error::format(held.path()))?;
        let between = batch.start.saturating_sub(self.position.offset_bytes);
        self.between_bytes = self.between_bytes.saturating_add(between);
        self.position.offset_bytes = batch.end;
        let version = self.position.version;
        match self.runs.last_mut() {
            Some(run) if (run.version, run.end) == (version, batch.start) => run.end = batch.end,
            _ => self.runs.push(Run { version, start: batch.start, end: batch.end }),
        }
        self.transactions = self.transactions.saturating_add(1);
        self.first_tx.get_or_insert(batch.tx_id);
        self.last = Some(LastTx {
            tx_id: batch.tx_id,
            checksum: batch.checksum,
            commit_time: batch.commit_time,
            start_bytes: Some(batch.start),
            end: self.position,
        });
        visit(self.position.version, batch);
        Ok(())
    }
}

/// The header of a log file; `None` if it is not written yet.
pub fn read_header(held: &Held) -> Result<Option<LogHeader>> {
    let mut bytes = [0; 128];
    let read = held.read_at(0, &mut bytes)?;
    let bytes = bytes.get(..read).unwrap_or_default();
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    LogHeader::decode(bytes).map_err(Error::format(held.path()))
}

/// Fails unless a header is that of this file of this store.
pub fn check_header(
    held: &Held,
    header: &LogHeader,
    version: LogVersion,
    store_id: &StoreId,
) -> Result<()> {
    let changed = |what: String| Err(Error::Changed { path: held.path().to_owned(), what });
    if header.log_version != version {
        return changed(format!("its header says that it is number {}", header.log_version));
    }
    match &header.store_id {
        Some(found) if found.is_same_store(store_id) => Ok(()),
        Some(found) => changed(format!("belongs to store {found}, not to {store_id}")),
        // It does not tell.
        None if store_id.is_v3_0() => Ok(()),
        None => changed(format!("is a log of Neo4j 3.0, not of store {store_id}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first batch of a real log.
    fn batch() -> Vec<u8> {
        let path = "../../fixtures/5.26.30/mixed/transactions/neo4j/neostore.transaction.db.0";
        let log = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let batch = BatchReader::new(&log[128..], 128).next_batch().unwrap().unwrap();
        log[batch.start as usize..batch.end as usize].to_vec()
    }

    fn found(bytes: &[u8]) -> bool {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let held = Held::open(file.path()).unwrap();
        has_batch_between(&held, 1..bytes.len() as u64, false, |_| true).unwrap()
    }

    /// However far behind what does not parse, at any place in a window, and behind what only begins
    /// like a batch.
    #[test]
    fn an_intact_batch_is_found_wherever_it_is() {
        let batch = batch();
        let start_of_one = &batch[..40];
        for distance in [1, WINDOW_BYTES - 1, WINDOW_BYTES, WINDOW_BYTES + 1, 70 << 20] {
            let mut bytes = vec![b'x'; distance];
            bytes.extend_from_slice(start_of_one);
            assert!(!found(&bytes), "{distance}");
            bytes.extend_from_slice(&batch);
            assert!(found(&bytes), "{distance}");
        }
    }

    /// Data of a user's that looks like the start of batches again and again takes no time that
    /// grows with its square: this would not end.
    #[test]
    fn bytes_that_look_like_starts_are_searched_in_bounded_time() {
        assert!(!found(&[5, 1].repeat(4 << 20)));
        let start_of_one = batch()[..40].to_vec();
        found(&start_of_one.repeat(200_000));
    }
}
