//! A transaction in the server's logs, by its id.

use formats::txlog::Batch;
use formats::{LogVersion, TxId};

use crate::Result;
use crate::checkpoint::numbered_files;
use crate::installation::Database;
use crate::read::Held;
use crate::scan::{LOG_PREFIX, read_header};

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
        let Some(header) = read_header(&held)? else { continue };
        // At least so many are in earlier logs.
        if tx_id.0 <= header.last_append_index {
            is_pruned = true;
            continue;
        }
        let log = database.log_index.read(&held)?;
        let (Some(first), Some(last)) = (log.first(), log.last) else { continue };
        if last.tx_id < tx_id {
            return Ok(if is_pruned { Found::Pruned } else { Found::After(Some(last.tx_id)) });
        }
        if let Some(batch) = log.find(&held, tx_id)? {
            return Ok(Found::There(version, batch));
        }
        is_pruned = true;
        if first < tx_id {
            return Ok(Found::Pruned);
        }
    }
    Ok(if is_pruned { Found::Pruned } else { Found::After(None) })
}
