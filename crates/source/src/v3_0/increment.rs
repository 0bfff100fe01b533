//! The transactions behind one that a backup ends with, as the end of the backup's composed log.
//!
//! The backup's positions are not the server's. So the backup's last transaction is looked for by its id, and
//! bytes before it, of which whole blocks are asked for, are counted backwards from it.

use std::sync::{Arc, Mutex, PoisonError};

use formats::txlog::{Batch, BatchReader, LogHeader};
use formats::v3_0::LOG_BYTES_MAX;
use formats::{LogPosition, LogVersion, StoreId, TxId};

use super::composed::ComposedLog;
use super::copy::composed_end;
use super::find::{Found, find};
use super::neostore;
use crate::increment::{After, ends_before, is_same, other_transaction};
use crate::installation::{Database, State};
use crate::live_copy::{CopyFile, End, FileKind, Finished, LiveCopy};
use crate::logs::{HeldLogs, Waker};
use crate::read::{Held, HeldReader};
use crate::scan::{LOG_PREFIX, LastTx, Run, log_path};
use crate::{Error, Result, now};

/// So much before the backup's end is held, where it is there: a block of which the backup has a part.
const BEFORE_BYTES: u64 = 2 << 20;

/// The logs after a backup's last transaction, held. Dropping it releases every descriptor.
pub struct Increment {
    state: State,
    after: After,
    /// The end of the backup's last transaction in the server's logs.
    anchor: LogPosition,
    /// Where reading begins, before that.
    from: LogPosition,
    logs: Arc<HeldLogs>,
    end: Mutex<Option<End<ComposedLog>>>,
}

impl Increment {
    /// Finds the backup's last transaction in the server's logs and holds them from there on.
    ///
    /// # Errors
    /// [`Error::OtherStore`], [`Error::Migrated`], [`Error::Diverged`]; [`Error::LogPruned`] where the
    /// logs do not reach back that far.
    pub fn begin(database: &Database, after: After) -> Result<Self> {
        let (stored, _) = neostore(database)?;
        let store_id = stored.store_id();
        if store_id != after.store_id {
            let path = database.store_dir.clone();
            let migrated = (store_id.creation_time, store_id.random)
                == (after.store_id.creation_time, after.store_id.random);
            let (found, expected) = (store_id.to_string(), after.store_id.to_string());
            return Err(match migrated {
                true => Error::Migrated { path, found, expected },
                false => Error::OtherStore { path, found, expected },
            });
        }
        let (version, batch) = anchor(database, &after.last_tx, stored.last_tx_id)?;
        let anchor = LogPosition { version, offset_bytes: batch.end };
        let from = before(database, anchor)?;
        let logs = HeldLogs::hold(&database.log_dir, from, &store_id)?;
        logs.watch()?;
        let state = database.live_state()?;
        Ok(Self { state, after, anchor, from, logs, end: Mutex::new(None) })
    }

    fn find_end(&self) -> Result<End<ComposedLog>> {
        let as_of = now();
        let old = &self.after.last_tx;
        let (scanner, _) = self.logs.read_to_end(self.from, self.store_id())?;
        let Some(last) = scanner.last.filter(|last| last.tx_id >= old.tx_id) else {
            let path = log_path(self.logs.log_dir(), self.anchor.version);
            let what = format!("transaction {} is no longer at {}", old.tx_id, self.anchor);
            return Err(Error::Changed { path, what });
        };
        let behind = |run: &Run| {
            let begin = match run.version.cmp(&self.anchor.version) {
                std::cmp::Ordering::Less => run.end,
                std::cmp::Ordering::Equal => run.start.max(self.anchor.offset_bytes),
                std::cmp::Ordering::Greater => run.start,
            };
            run.end.saturating_sub(begin)
        };
        let new_bytes = scanner.runs.iter().map(behind).fold(0, u64::saturating_add);
        let version = old.end.version;
        let size_bytes = old.end.offset_bytes.saturating_add(new_bytes);
        if size_bytes > LOG_BYTES_MAX {
            let path = log_path(self.logs.log_dir(), self.anchor.version);
            let what = format!(
                "the backup's log would be {size_bytes} bytes long, and 3.0 cannot recover so many"
            );
            return Err(Error::NoIncrement { path, what });
        }
        let position = LogPosition { version, offset_bytes: size_bytes };
        let last_tx = match last.tx_id == old.tx_id {
            true => *old,
            false => composed_end(last, position),
        };
        let log = ComposedLog::new(&self.logs, &scanner.runs, version, size_bytes)?;
        let path = format!("{LOG_PREFIX}{version}");
        let finished = Finished {
            files: vec![CopyFile { id: 0, kind: FileKind::Log, path, size_bytes }],
            stale: Vec::new(),
            first_consistent_tx_id: last_tx.tx_id,
            last_tx,
            // Ids have no gaps.
            transactions: last_tx.tx_id.0.saturating_sub(old.tx_id.0),
            as_of: if scanner.is_unfinished { last_tx.commit_time } else { as_of },
        };
        Ok(End { finished, logs: log })
    }
}

impl LiveCopy for Increment {
    fn state(&self) -> State {
        self.state
    }

    fn store_id(&self) -> &StoreId {
        &self.after.store_id
    }

    fn has_more_than(&self, bytes: u64) -> Result<bool> {
        let mut version = self.anchor.version;
        let mut sum = 0_u64;
        let mut begin = self.anchor.offset_bytes;
        while let Some(held) = self.logs.get(version) {
            sum = sum.saturating_add(held.size_bytes()?.saturating_sub(begin));
            version = LogVersion(version.0.saturating_add(1));
            begin = LogHeader::V6_SIZE_BYTES;
        }
        Ok(sum > bytes)
    }

    fn read_at(&self, file: u32, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        match end.as_ref() {
            Some(end) if file == 0 => end.logs.read_at(offset, buf),
            _ => Err(Error::State("no such file in this increment")),
        }
    }

    fn on_change(&self, wake: Waker) {
        self.logs.on_change(wake);
    }

    fn has_news(&self) -> Result<bool> {
        let LogPosition { mut version, offset_bytes: mut begin } = self.anchor;
        while let Some(held) = self.logs.get(version) {
            let reader = HeldReader::new(&held, begin, held.size_bytes()?);
            match BatchReader::new(reader, begin).next_batch() {
                Ok(None) => {}
                Err(error) if error.is_io() => return Err(Error::format(held.path())(error)),
                Ok(Some(_)) | Err(_) => return Ok(true),
            }
            version = LogVersion(version.0.saturating_add(1));
            begin = LogHeader::V6_SIZE_BYTES;
        }
        Ok(false)
    }

    fn finish(&self) -> Result<Finished> {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        End::once(&mut end, || self.find_end())
    }
}

/// The log and the place in it of the backup's last transaction. `stored` is the last one that `neostore` tells
/// of.
fn anchor(database: &Database, last_tx: &LastTx, stored: TxId) -> Result<(LogVersion, Batch)> {
    let found = find(database, last_tx.tx_id)?;
    let last = match found {
        Found::There(version, batch) if last_tx.start_bytes.is_some() => {
            return match is_same(&batch, last_tx) {
                true => Ok((version, batch)),
                false => Err(Error::Diverged {
                    path: log_path(&database.log_dir, version),
                    what: other_transaction(&batch, last_tx),
                }),
            };
        }
        Found::After(last) => Some(last.unwrap_or(stored)),
        // Where it was in no log when the backup was made, nothing has told its commit time.
        Found::There(..) | Found::Pruned => None,
    };
    Err(match last {
        Some(last) if last < last_tx.tx_id => {
            Error::Diverged { path: database.log_dir.clone(), what: ends_before(last, last_tx) }
        }
        _ => Error::LogPruned { path: log_path(&database.log_dir, last_tx.end.version) },
    })
}

/// Where to begin to read, so that enough lies before a position, where it is there.
fn before(database: &Database, anchor: LogPosition) -> Result<LogPosition> {
    let open = |version| Held::open_if_there(&log_path(&database.log_dir, version));
    let mut from = anchor;
    let mut wanted = BEFORE_BYTES;
    let mut held = open(anchor.version)?;
    while let Some(log) = held {
        let end = from.offset_bytes;
        let begin = database.log_index.read(&log)?.before(end.saturating_sub(wanted));
        from.offset_bytes = begin;
        wanted = wanted.saturating_sub(end.saturating_sub(begin));
        let Some(older) = from.version.0.checked_sub(1).filter(|_| wanted > 0) else { break };
        held = open(LogVersion(older))?;
        if let Some(log) = &held {
            from = LogPosition { version: LogVersion(older), offset_bytes: log.size_bytes()? };
        }
    }
    Ok(from)
}
