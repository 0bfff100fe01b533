//! One log made of parts of several: what a copy of a 3.0 database has of its logs.

use std::sync::Arc;

use formats::txlog::BatchReader;
use formats::v3_0::{COMPOSED_LOG_START_BYTES, composed_log_start};
use formats::{LogVersion, TxId};

use crate::logs::HeldLogs;
use crate::read::{Held, HeldReader};
use crate::scan::{Run, log_path};
use crate::{Error, Result};

/// Header and check point, before the first transaction.
pub(super) const BEGINNING_BYTES: u64 = COMPOSED_LOG_START_BYTES as u64;

/// A log that begins with a check point that points to its own place, and goes on with transactions that lie
/// in other logs, check points between them left out.
pub(super) struct ComposedLog {
    beginning: Option<Vec<u8>>,
    pieces: Vec<Piece>,
    pub(super) size_bytes: u64,
}

/// Transactions that lie together in a log of the server's.
struct Piece {
    log: Arc<Held>,
    /// Where in that.
    from: u64,
    /// Where in the composed log, which may begin within the piece or behind it.
    at: i64,
    length: u64,
}

impl ComposedLog {
    /// Of all the transactions in these runs.
    pub(super) fn whole(logs: &HeldLogs, runs: &[Run], version: LogVersion) -> Result<Self> {
        let end = runs.iter().map(Run::length).fold(BEGINNING_BYTES, u64::saturating_add);
        Self::new(logs, runs, version, end)
    }

    /// Of the transactions in these runs; the last of them ends at `end` of the composed log.
    pub(super) fn new(
        logs: &HeldLogs,
        runs: &[Run],
        version: LogVersion,
        end: u64,
    ) -> Result<Self> {
        let mut at = i64::try_from(end).unwrap_or(i64::MAX);
        let mut pieces = Vec::new();
        let mut first = None;
        for run in runs.iter().rev() {
            let length = run.length();
            at = at.saturating_sub_unsigned(length);
            let Some(log) = logs.get(run.version) else {
                return Err(Error::LogPruned { path: logs.path(run.version) });
            };
            let begin = i64::try_from(BEGINNING_BYTES).unwrap_or(i64::MAX);
            if first.is_none() && at <= begin {
                first = Some(first_in(&log, run, begin.saturating_sub(at).unsigned_abs())?);
            }
            pieces.push(Piece { log, from: run.start, at, length });
        }
        pieces.reverse();
        let before = |first: TxId| TxId(first.0.saturating_sub(1));
        let beginning = first.map(|first| composed_log_start(version, before(first)));
        Ok(Self { beginning, pieces, size_bytes: end })
    }

    /// A log without transactions, behind that one.
    pub(super) fn empty(version: LogVersion, last: TxId) -> Self {
        let beginning = Some(composed_log_start(version, last));
        Self { beginning, pieces: Vec::new(), size_bytes: BEGINNING_BYTES }
    }

    /// Fills `buf` from `offset` on; short only at the end.
    pub(super) fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut filled = 0_usize;
        while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(filled as u64);
            if at >= self.size_bytes {
                break;
            }
            let read = self.read_some(at, rest)?;
            filled = filled.saturating_add(read);
        }
        Ok(filled)
    }

    fn read_some(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        if offset < BEGINNING_BYTES {
            let beginning = self.beginning.as_deref().ok_or_else(|| self.pruned())?;
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            return Ok(fill(buf, beginning.get(from..).unwrap_or_default()));
        }
        let at = i64::try_from(offset).unwrap_or(i64::MAX);
        let index = self.pieces.partition_point(|piece| piece.at <= at).checked_sub(1);
        let Some(piece) = index.and_then(|index| self.pieces.get(index)) else {
            return Err(self.pruned());
        };
        let skipped = at.saturating_sub(piece.at).unsigned_abs();
        let left = piece.length.saturating_sub(skipped);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let buf = buf.get_mut(..length).unwrap_or_default();
        let read = piece.log.read_quietly(piece.from.saturating_add(skipped), buf)?;
        if read < length || length == 0 {
            let what = "became shorter although it was finished".to_owned();
            return Err(Error::Changed { path: piece.log.path().to_owned(), what });
        }
        Ok(read)
    }

    /// What lies before all pieces: in a log that is gone.
    fn pruned(&self) -> Error {
        let path = self.pieces.first().map(|piece| piece.log.path().to_owned());
        Error::LogPruned { path: path.unwrap_or_default() }
    }
}

/// As much of these bytes as there is room for.
pub(super) fn fill(buf: &mut [u8], bytes: &[u8]) -> usize {
    buf.iter_mut().zip(bytes).map(|(to, from)| *to = *from).count()
}

/// The transaction that begins so far behind the begin of a run.
fn first_in(log: &Held, run: &Run, skipped: u64) -> Result<TxId> {
    let begin = run.start.saturating_add(skipped);
    let reader = HeldReader::new(log, run.start, run.end);
    let mut reader = BatchReader::new(reader, run.start);
    while let Some(batch) = reader.next_batch().map_err(Error::format(log.path()))? {
        if batch.start == begin {
            return Ok(batch.tx_id);
        }
    }
    // The backup came from the service of a server that had been upgraded, say.
    let what = format!("no transaction begins at offset {begin}, as the backup has it");
    Err(Error::NoIncrement { path: log.path().to_owned(), what })
}

impl HeldLogs {
    fn path(&self, version: LogVersion) -> std::path::PathBuf {
        log_path(self.log_dir(), version)
    }
}
