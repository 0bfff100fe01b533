//! A transaction in the server's logs, by its id.

use formats::txlog::{Batch, BatchReader, LogHeader};
use formats::{LogVersion, TxId};

use crate::checkpoint::numbered_files;
use crate::installation::Database;
use crate::read::{Held, HeldReader};
use crate::scan::{LOG_PREFIX, read_header};
use crate::{Error, Result};

/// What was found of a transaction.
pub(super) enum Found {
    /// It is there.
    There(LogVersion, Batch),
    /// All that are there are earlier; the last of them, if there is one.
    After(Option<TxId>),
    /// Its log is gone: later ones are there.
    Pruned,
}

/// Looks for a transaction. Ids grow from log to log, so no more of them are read than needed.
pub(super) fn find(database: &Database, tx_id: TxId) -> Result<Found> {
    let mut is_pruned = false;
    for (version, path) in numbered_files(&database.log_dir, LOG_PREFIX)?.into_iter().rev() {
        let Some(held) = Held::open_if_there(&path)? else { continue };
        if read_header(&held)?.is_none() {
            continue;
        }
        let reader = HeldReader::new(&held, LogHeader::V6_SIZE_BYTES, held.size_bytes()?);
        let mut reader = BatchReader::new(reader, LogHeader::V6_SIZE_BYTES);
        let mut earlier = None;
        loop {
            match reader.next_batch() {
                Ok(Some(batch)) if batch.tx_id == tx_id => return Ok(Found::There(version, batch)),
                Ok(Some(batch)) if batch.tx_id < tx_id => earlier = Some(batch.tx_id),
                Ok(Some(_)) => {
                    is_pruned = true;
                    break;
                }
                Ok(None) => break,
                // The end of a log that is being written to.
                Err(error) if error.is_incomplete() => break,
                Err(error) => return Err(Error::format(&path)(error)),
            }
        }
        if earlier.is_some() {
            return Ok(if is_pruned { Found::Pruned } else { Found::After(earlier) });
        }
    }
    Ok(if is_pruned { Found::Pruned } else { Found::After(None) })
}
