//! What is in a database's log directory, by the first transaction of each file: enough to tell how
//! far back the logs reach and how fast they grow, without reading them.

use formats::checkpoint::Checkpoint;
use formats::txlog::BatchReader;
use formats::{KernelVersion, LogPosition, LogVersion, StoreId, TimestampMs, TxId};

use crate::checkpoint::{find_checkpoint, numbered_files};
use crate::installation::Database;
use crate::read::{Held, HeldReader};
use crate::scan::{LOG_PREFIX, check_header, read_header};
use crate::{Error, Result, v3_0};

/// A first transaction that is longer is not read to its end.
const FIRST_BATCH_BYTES_MAX: u64 = 4 << 20;
const BUFFER_BYTES: usize = 16 << 10;

/// A database's logs, as far as a look at each file's head tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFiles {
    /// Where recovery would start: at the last checkpoint.
    pub start: RecoveryStart,
    /// How many log files there are.
    pub count: u64,
    /// The newest of them, oldest first.
    pub files: Vec<LogFile>,
}

/// Where recovery starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryStart {
    /// The last transaction whose changes are in the stores.
    pub tx_id: TxId,
    /// Transactions from here on are applied once more.
    pub position: LogPosition,
    /// When the checkpoint was taken.
    pub time: TimestampMs,
    /// The version of its entry.
    pub kernel_version: KernelVersion,
    /// Why it was taken.
    pub reason: String,
}

impl From<&Checkpoint> for RecoveryStart {
    fn from(checkpoint: &Checkpoint) -> Self {
        Self {
            tx_id: checkpoint.tx_id,
            position: checkpoint.oldest_not_completed.min(checkpoint.position),
            time: checkpoint.time,
            kernel_version: checkpoint.kernel_version,
            reason: checkpoint.reason.clone(),
        }
    }
}

/// A transaction log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Its number.
    pub version: LogVersion,
    /// Its length, preallocated bytes among them.
    pub size_bytes: u64,
    /// Its first transaction and when that was committed, if it has one that is not too long.
    pub first: Option<(TxId, TimestampMs)>,
}

impl Database {
    /// Looks at the newest `at_most` log files, and at the last checkpoint.
    pub fn log_files(&self, at_most: usize) -> Result<LogFiles> {
        let (store_id, start) = match self.is_v3_0() {
            true => v3_0::logs_start(self)?,
            false => (self.metadata()?.store_id, (&find_checkpoint(self)?.checkpoint).into()),
        };
        let listed = numbered_files(&self.log_dir, LOG_PREFIX)?;
        let mut files = Vec::new();
        for (version, path) in listed.iter().skip(listed.len().saturating_sub(at_most)) {
            // Gone since it was listed: pruned.
            let Some(held) = Held::open_if_there(path)? else { continue };
            let size_bytes = held.size_bytes()?;
            let first = first_transaction(&held, *version, size_bytes, &store_id)?;
            files.push(LogFile { version: *version, size_bytes, first });
        }
        let count = u64::try_from(listed.len()).unwrap_or(u64::MAX);
        Ok(LogFiles { start, count, files })
    }
}

fn first_transaction(
    held: &Held,
    version: LogVersion,
    size_bytes: u64,
    store_id: &StoreId,
) -> Result<Option<(TxId, TimestampMs)>> {
    let Some(header) = read_header(held)? else { return Ok(None) };
    check_header(held, &header, version, store_id)?;
    let from = header.size_bytes();
    let end = size_bytes.min(from.saturating_add(FIRST_BATCH_BYTES_MAX));
    let reader = HeldReader::new(held, from, end);
    match BatchReader::with_buffer(reader, from, BUFFER_BYTES).next_batch() {
        Ok(batch) => Ok(batch.map(|batch| (batch.tx_id, batch.commit_time))),
        Err(error) if error.is_io() => Err(Error::format(held.path())(error)),
        // Longer than that, or being written. Whether it is damaged is a copy's to tell.
        Err(_) => Ok(None),
    }
}
