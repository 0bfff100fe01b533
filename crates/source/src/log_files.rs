//! What is in a database's log directory, by the first transaction of each file: enough to tell how
//! far back the logs reach and how fast they grow, without reading them.

use formats::checkpoint::Checkpoint;
use formats::txlog::{BatchReader, LogHeader};
use formats::{LogVersion, StoreId, TimestampMs, TxId};

use crate::checkpoint::{find_checkpoint, numbered_files};
use crate::installation::Database;
use crate::read::{Held, HeldReader};
use crate::scan::{LOG_PREFIX, check_header, read_header};
use crate::{Error, Result};

/// A first transaction that is longer is not read to its end.
const FIRST_BATCH_BYTES_MAX: u64 = 4 << 20;
const BUFFER_BYTES: usize = 16 << 10;

/// A database's logs, as far as a look at each file's head tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFiles {
    /// The last checkpoint.
    pub checkpoint: Checkpoint,
    /// How many log files there are.
    pub count: u64,
    /// The newest of them, oldest first.
    pub files: Vec<LogFile>,
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
        let store_id = self.metadata()?.store_id;
        let checkpoint = find_checkpoint(self)?.checkpoint;
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
        Ok(LogFiles { checkpoint, count, files })
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
    let from = LogHeader::SIZE_BYTES;
    let end = size_bytes.min(from.saturating_add(FIRST_BATCH_BYTES_MAX));
    let reader = HeldReader::new(held, from, end);
    match BatchReader::with_buffer(reader, from, BUFFER_BYTES).next_batch() {
        Ok(batch) => Ok(batch.map(|batch| (batch.tx_id, batch.commit_time))),
        Err(error) if error.is_io() => Err(Error::format(held.path())(error)),
        // Longer than that, or being written. Whether it is damaged is a copy's to tell.
        Err(_) => Ok(None),
    }
}
