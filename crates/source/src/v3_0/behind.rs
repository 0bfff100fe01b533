//! The transactions behind one, by its id alone: what the backup protocol of 3.0 asks for.

use std::sync::Arc;

use formats::{LogPosition, StoreId, TxId};

use super::composed::{BEGINNING_BYTES, ComposedLog};
use super::find::{Found, find};
use super::neostore;
use crate::checkpoint::numbered_files;
use crate::installation::Database;
use crate::logs::HeldLogs;
use crate::scan::LOG_PREFIX;
use crate::{Error, Result};

/// The transactions behind one, up to the server's last.
pub struct Behind {
    store_id: StoreId,
    log: Option<ComposedLog>,
}

impl Behind {
    /// Finds them.
    ///
    /// # Errors
    /// [`Error::LogPruned`] where the logs do not reach back that far.
    pub fn find(database: &Database, tx_id: TxId) -> Result<Self> {
        let (neostore, _) = neostore(database)?;
        let store_id = neostore.store_id();
        let Some(from) = begin(database, tx_id, neostore.last_tx_id)? else {
            return Ok(Self { store_id, log: None });
        };
        let logs: Arc<HeldLogs> = HeldLogs::hold(&database.log_dir, from, &store_id)?;
        let (scanner, _) = logs.read_to_end(from, &store_id)?;
        let log = ComposedLog::whole(&logs, &scanner.runs, neostore.log_version)?;
        Ok(Self { store_id, log: Some(log) })
    }

    /// Identity and format of the store.
    #[must_use]
    pub fn store_id(&self) -> &StoreId {
        &self.store_id
    }

    /// How long they are together.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.log.as_ref().map_or(0, |log| log.size_bytes.saturating_sub(BEGINNING_BYTES))
    }

    /// Fills `buf` with their bytes from `offset` on; short only at the end.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        match &self.log {
            Some(log) => log.read_at(offset.saturating_add(BEGINNING_BYTES), buf),
            None => Ok(0),
        }
    }
}

/// Where the transaction behind that one begins; `None` if there is none yet. `stored` is the last one that
/// `neostore` tells of.
fn begin(database: &Database, tx_id: TxId, stored: TxId) -> Result<Option<LogPosition>> {
    match find(database, TxId(tx_id.0.saturating_add(1)))? {
        Found::There(version, batch) => {
            Ok(Some(LogPosition { version, offset_bytes: batch.start }))
        }
        // No log has one: a slave of a cluster copied a store that has them.
        Found::After(Some(_)) => Ok(None),
        Found::After(None) if tx_id >= stored => Ok(None),
        Found::After(None) | Found::Pruned => {
            let log_dir = &database.log_dir;
            let oldest = numbered_files(log_dir, LOG_PREFIX)?.into_iter().next();
            let path = oldest.map_or_else(|| log_dir.clone(), |(_, path)| path);
            Err(Error::LogPruned { path })
        }
    }
}
