//! An increment: the transactions after one that a backup ends with.
//!
//! Whether the server still has the same history is decided by that transaction itself: its id, its
//! checksum and its commit time must stand in the server's logs. The store's id does not decide it,
//! for a server that was restored, or cloned, goes on under the same one.

use std::sync::{Arc, Mutex, PoisonError};

use formats::txlog::{Batch, BatchReader, LogHeader};
use formats::{LogPosition, LogVersion, StoreId, TxId};

use crate::checkpoint::numbered_files;
use crate::installation::{Database, State};
use crate::live_copy::{CopyFile, End, FileKind, Finished, LiveCopy, limit};
use crate::logs::{Cuts, HeldLogs, Waker};
use crate::read::{Held, HeldReader};
use crate::scan::{LOG_PREFIX, LastTx, Scanner, log_path, read_header};
use crate::{Error, Result, now};

/// What a backup ends with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct After {
    /// Identity of the store that was backed up.
    pub store_id: StoreId,
    /// The store's external UUID, if it has one.
    pub external_uuid: Option<[u8; 16]>,
    /// The backup's last transaction.
    pub last_tx: LastTx,
}

/// The logs after a backup's last transaction, held. Dropping it releases every descriptor.
pub struct Increment {
    database: Database,
    state: State,
    after: After,
    /// Where the backup's last transaction begins.
    anchor: LogPosition,
    logs: Arc<HeldLogs>,
    end: Mutex<Option<End<Vec<Arc<Held>>>>>,
}

impl Increment {
    /// Finds the backup's last transaction in the server's logs and holds them from there on.
    ///
    /// # Errors
    /// [`Error::OtherStore`], [`Error::Migrated`], [`Error::Diverged`]; [`Error::LogPruned`] where the
    /// logs do not reach back that far.
    pub fn begin(database: &Database, after: After) -> Result<Self> {
        let metadata = database.metadata()?;
        database.check_not_migrating()?;
        let (found, expected) = (&metadata.store_id, &after.store_id);
        let same_uuid = Some(metadata.external_uuid) == after.external_uuid;
        if !found.is_same_store(expected) || !same_uuid {
            let path = database.store_dir.clone();
            // A migration keeps the UUID and the time, and nothing else.
            let migrated = same_uuid && found.creation_time == expected.creation_time;
            let (found, expected) = (found.to_string(), expected.to_string());
            return Err(match migrated {
                true => Error::Migrated { path, found, expected },
                false => Error::OtherStore { path, found, expected },
            });
        }
        let store_id = &metadata.store_id;
        let held = anchor(database, &after.last_tx, store_id).and_then(|anchor| {
            let logs = HeldLogs::hold(&database.log_dir, anchor, store_id)?;
            Ok((anchor, logs))
        });
        let (anchor, logs) = match held {
            Ok((anchor, logs)) if is_there(&logs, anchor, &after.last_tx)? => (anchor, logs),
            Ok(_) | Err(Error::Changed { .. } | Error::LogPruned { .. }) => {
                return Err(explain(database, &after.last_tx, store_id)?);
            }
            Err(error) => return Err(error),
        };
        logs.watch()?;
        let state = database.live_state()?;
        let database = database.clone();
        Ok(Self { database, state, after, anchor, logs, end: Mutex::new(None) })
    }

    fn find_end(&self) -> Result<End<Vec<Arc<Held>>>> {
        let as_of = now();
        let after = &self.after.last_tx;
        let tail = self.logs.tail_from(self.anchor.version)?;
        let (last_tx, cuts, is_unfinished) = match self.read_tail(tail)? {
            Some(found) => found,
            // From the backup's last transaction on, so that the next one is checked against it.
            None => {
                let (scanner, cuts) = self.logs.read_to_end(self.anchor, self.store_id())?;
                let last = scanner.last.filter(|_| scanner.first_tx == Some(after.tx_id));
                match last {
                    Some(last) => (last, cuts, scanner.is_unfinished),
                    None => return Err(self.is_gone()?),
                }
            }
        };
        // Without a new one the backup's own words, which may have its end at the next file's start.
        let last_tx = if last_tx.tx_id == after.tx_id { *after } else { last_tx };
        let mut files = Vec::new();
        let mut logs = Vec::new();
        for (version, cut) in cuts.range(after.end.version..=last_tx.end.version) {
            let Some(held) = self.logs.get(*version) else { continue };
            let id = u32::try_from(files.len()).unwrap_or(u32::MAX);
            let path = format!("{LOG_PREFIX}{version}");
            files.push(CopyFile { id, kind: FileKind::Log, path, size_bytes: *cut });
            logs.push(held);
        }
        let finished = Finished {
            files,
            stale: Vec::new(),
            first_consistent_tx_id: last_tx.tx_id,
            last_tx,
            // Ids have no gaps.
            transactions: last_tx.tx_id.0.saturating_sub(after.tx_id.0),
            as_of: if is_unfinished { last_tx.commit_time } else { as_of },
        };
        Ok(End { finished, logs })
    }

    /// The last transaction, where each file ends, and whether something unfinished follows, by the files
    /// from `tail` on. Those before it were finished long ago, and whoever appends them to a backup reads
    /// every transaction of them. `None` if the tail is all that there is, or has no transaction: then
    /// everything must be read.
    fn read_tail(&self, tail: LogVersion) -> Result<Option<(LastTx, Cuts, bool)>> {
        let first = self.anchor.version;
        if tail <= first {
            return Ok(None);
        }
        if !is_there(&self.logs, self.anchor, &self.after.last_tx)? {
            return Err(self.is_gone()?);
        }
        let from = LogPosition { version: tail, offset_bytes: LogHeader::SIZE_BYTES };
        let (scanner, mut cuts) = self.logs.read_to_end(from, self.store_id())?;
        let Some(last_tx) = scanner.last else { return Ok(None) };
        for version in (first.0..tail.0).map(LogVersion) {
            let Some(held) = self.logs.get(version) else { return Ok(None) };
            cuts.insert(version, held.size_bytes()?);
        }
        Ok(Some((last_tx, cuts, scanner.is_unfinished)))
    }

    /// The backup's last transaction was there when this began: the server has another history since, or
    /// what is seen now passes.
    fn is_gone(&self) -> Result<Error> {
        let after = &self.after.last_tx;
        Ok(match explain(&self.database, after, self.store_id())? {
            diverged @ Error::Diverged { .. } => diverged,
            _ => {
                let path = log_path(&self.database.log_dir, self.anchor.version);
                let what = format!("transaction {} is no longer at {}", after.tx_id, self.anchor);
                Error::Changed { path, what }
            }
        })
    }
}

impl LiveCopy for Increment {
    fn state(&self) -> State {
        self.state
    }

    fn store_id(&self) -> &StoreId {
        &self.after.store_id
    }

    fn external_uuid(&self) -> Option<[u8; 16]> {
        self.after.external_uuid
    }

    fn has_more_than(&self, bytes: u64) -> Result<bool> {
        let end = self.after.last_tx.end;
        let next = LogVersion(end.version.0.saturating_add(1));
        if self.logs.get(LogVersion(next.0.saturating_add(1))).is_some() {
            return Ok(true);
        }
        // What is not written yet is zeros; what is has no long run of them.
        let mut there = [0; 512];
        for (version, offset) in [(end.version, end.offset_bytes), (next, LogHeader::SIZE_BYTES)] {
            if let Some(held) = self.logs.get(version) {
                let read = held.read_at(offset.saturating_add(bytes), &mut there)?;
                if there.iter().take(read).any(|byte| *byte != 0) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn read_at(&self, file: u32, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let found = {
            let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
            let index = file as usize;
            end.as_ref().and_then(|end| {
                let described = end.finished.files.get(index)?;
                Some((Arc::clone(end.logs.get(index)?), described.size_bytes))
            })
        };
        let Some((held, size_bytes)) = found else {
            return Err(Error::State("no such file in this increment"));
        };
        let buf = limit(buf, offset, size_bytes);
        let read = held.read_quietly(offset, buf)?;
        if read < buf.len() {
            let what = "became shorter although it was finished".to_owned();
            return Err(Error::Changed { path: held.path().to_owned(), what });
        }
        Ok(read)
    }

    fn on_change(&self, wake: Waker) {
        self.logs.on_change(wake);
    }

    fn has_news(&self) -> Result<bool> {
        let LogPosition { mut version, mut offset_bytes } = self.after.last_tx.end;
        while let Some(held) = self.logs.get(version) {
            let mut first = [0];
            if held.read_at(offset_bytes, &mut first)? == 1 && first != [0] {
                return Ok(true);
            }
            version = LogVersion(version.0.saturating_add(1));
            offset_bytes = LogHeader::SIZE_BYTES;
        }
        Ok(false)
    }

    fn finish(&self) -> Result<Finished> {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        End::once(&mut end, || self.find_end())
    }
}

/// Where the backup's last transaction must begin in the server's logs.
fn anchor(database: &Database, last_tx: &LastTx, store_id: &StoreId) -> Result<LogPosition> {
    let end = last_tx.end;
    if let Some(offset_bytes) = last_tx.start_bytes {
        return Ok(LogPosition { version: end.version, offset_bytes });
    }
    // The backup has no transaction after its checkpoint, so only the end of it is known. A
    // transaction lies in one file: this one, or the one before.
    let before = end.offset_bytes <= LogHeader::SIZE_BYTES;
    let version = LogVersion(end.version.0.saturating_sub(u64::from(before)));
    let from = LogPosition { version, offset_bytes: LogHeader::SIZE_BYTES };
    let path = log_path(&database.log_dir, version);
    let Some(held) = Held::open_if_there(&path)? else { return Err(Error::LogPruned { path }) };
    let mut scanner = Scanner::new(from, store_id.clone());
    scanner.enter(version, &held)?;
    let mut start = None;
    scanner.file(&held, held.size_bytes()?, &mut |_, batch: &Batch| {
        if batch.tx_id == last_tx.tx_id {
            start = Some(batch.start);
        }
    })?;
    match start {
        Some(offset_bytes) => Ok(LogPosition { version, offset_bytes }),
        None => Err(Error::Changed { path, what: format!("has no {}", last_tx.tx_id) }),
    }
}

fn is_there(logs: &HeldLogs, anchor: LogPosition, last_tx: &LastTx) -> Result<bool> {
    let Some(held) = logs.get(anchor.version) else { return Ok(false) };
    let size = held.size_bytes()?;
    let reader = HeldReader::new(&held, anchor.offset_bytes, size);
    match BatchReader::new(reader, anchor.offset_bytes).next_batch() {
        Ok(Some(batch)) => Ok(is_same(&batch, last_tx)),
        Err(error) if error.is_io() => Err(Error::format(held.path())(error)),
        Ok(None) | Err(_) => Ok(false),
    }
}

pub(crate) fn is_same(batch: &Batch, last_tx: &LastTx) -> bool {
    (batch.tx_id, batch.checksum, batch.commit_time)
        == (last_tx.tx_id, last_tx.checksum, last_tx.commit_time)
}

/// The server has another transaction in the place of the backup's last.
pub(crate) fn other_transaction(found: &Batch, last_tx: &LastTx) -> String {
    format!(
        "transaction {} has checksum {} and commit time {} ms at offset {}, in the backup checksum {} and \
         commit time {} ms",
        found.tx_id,
        found.checksum,
        found.commit_time.0,
        found.start,
        last_tx.checksum,
        last_tx.commit_time.0
    )
}

/// The server has no such transaction yet as the backup's last.
pub(crate) fn ends_before(last: TxId, last_tx: &LastTx) -> String {
    let LastTx { tx_id, checksum, .. } = last_tx;
    format!(
        "the server's last transaction is {last}, the backup's is {tx_id} (checksum {checksum}), unless \
         the server is a member of a cluster that is behind"
    )
}

/// Why the backup's last transaction is not where it was: all logs are read for it.
fn explain(database: &Database, last_tx: &LastTx, store_id: &StoreId) -> Result<Error> {
    let mut last: Option<TxId> = None;
    let mut found: Option<(LogVersion, Batch)> = None;
    for (version, path) in numbered_files(&database.log_dir, LOG_PREFIX)? {
        let Some(held) = Held::open_if_there(&path)? else { continue };
        let from = LogPosition { version, offset_bytes: LogHeader::SIZE_BYTES };
        let Some(header) = read_header(&held)? else { continue };
        // In a store's logs a batch is a transaction, and they are counted alike.
        last = last.max(Some(TxId(header.last_append_index)));
        let mut scanner = Scanner::new(from, store_id.clone());
        scanner.enter(version, &held)?;
        scanner.file(&held, held.size_bytes()?, &mut |version, batch| {
            last = last.max(Some(batch.tx_id));
            if batch.tx_id == last_tx.tx_id {
                found = Some((version, *batch));
            }
        })?;
    }
    let path = log_path(&database.log_dir, last_tx.end.version);
    let tx_id = last_tx.tx_id;
    Ok(match (found, last) {
        (Some((version, batch)), _) if !is_same(&batch, last_tx) => Error::Diverged {
            path: log_path(&database.log_dir, version),
            what: other_transaction(&batch, last_tx),
        },
        // The same transaction in another place: the logs were written anew.
        (Some(_), _) => Error::LogPruned { path },
        (None, Some(last)) if last < tx_id => {
            Error::Diverged { path: database.log_dir.clone(), what: ends_before(last, last_tx) }
        }
        (None, Some(_)) => Error::LogPruned { path },
        // The server is being restored, say: that says nothing of its history.
        (None, None) => Error::Changed {
            path: database.log_dir.clone(),
            what: "has no transaction log with a header".to_owned(),
        },
    })
}
