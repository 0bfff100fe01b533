//! The transactions behind one, by its id alone: what the backup protocol of 3.0 asks for.

use std::sync::Arc;

use formats::txlog::{BatchReader, LogHeader};
use formats::{LogPosition, StoreId, TxId};

use super::composed::{BEGINNING_BYTES, ComposedLog};
use super::neostore;
use crate::checkpoint::numbered_files;
use crate::installation::Database;
use crate::logs::HeldLogs;
use crate::read::{Held, HeldReader};
use crate::scan::{LOG_PREFIX, read_header};
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
        let Some(from) = begin(database, tx_id)? else { return Ok(Self { store_id, log: None }) };
        let logs: Arc<HeldLogs> = HeldLogs::hold(&database.log_dir, from, &store_id)?;
        let (scanner, _) = logs.read_to_end(from, &store_id)?;
        let lengths = scanner.runs.iter().map(|run| run.end.saturating_sub(run.start));
        let end = lengths.fold(BEGINNING_BYTES, u64::saturating_add);
        let log = ComposedLog::new(&logs, &scanner.runs, neostore.log_version, end)?;
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

/// Where the transaction behind that one begins; `None` if there is none yet.
fn begin(database: &Database, tx_id: TxId) -> Result<Option<LogPosition>> {
    let wanted = TxId(tx_id.0.saturating_add(1));
    // Whether a later one is in a log that is newer.
    let mut is_later = false;
    for (version, path) in numbered_files(&database.log_dir, LOG_PREFIX)?.into_iter().rev() {
        let Some(held) = Held::open_if_there(&path)? else { continue };
        if read_header(&held)?.is_none() {
            continue;
        }
        let reader = HeldReader::new(&held, LogHeader::V6_SIZE_BYTES, held.size_bytes()?);
        let mut reader = BatchReader::new(reader, LogHeader::V6_SIZE_BYTES);
        let mut is_earlier = false;
        loop {
            let batch = match reader.next_batch() {
                Ok(Some(batch)) => batch,
                Ok(None) => break,
                // The end of a log that is being written to.
                Err(error) if error.is_incomplete() => break,
                Err(error) => return Err(Error::format(&path)(error)),
            };
            if batch.tx_id == wanted {
                return Ok(Some(LogPosition { version, offset_bytes: batch.start }));
            }
            if batch.tx_id > wanted {
                is_later = true;
                break;
            }
            is_earlier = true;
        }
        if is_earlier {
            break;
        }
    }
    match is_later {
        true => {
            let log_dir = &database.log_dir;
            let oldest = numbered_files(log_dir, LOG_PREFIX)?.into_iter().next();
            let path = oldest.map_or_else(|| log_dir.clone(), |(_, path)| path);
            Err(Error::LogPruned { path })
        }
        false => Ok(None),
    }
}
