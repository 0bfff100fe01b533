//! The transactions of a backup, and the points in time that it can be restored to.
//!
//! A restore to a point in time leaves out the end of the logs: Neo4j recovers from checkpoint C to
//! where they end. The copied pages may hold anything that was committed up to E0, so a database can
//! be restored to any commit from E0 to the last one, and to nothing before.
//!
//! Commit times follow the server's clock, which may be set back; ids do not. So a time means: up to
//! the first transaction that was committed later than it, whatever times come after.

use std::path::Path;

use formats::txlog::Batch;
use formats::{LogPosition, LogVersion, TimestampMs, TxId};
use jiff::Timestamp;
use source::{LogScan, log_path, scan_logs};

use crate::increment::{log_sizes, version_of};
use crate::layout::Area;
use crate::{Backup, DatabaseEntry, Error, FileEntry, LastTx, Result, chain};

/// A transaction has its commit time before it is written to the log; how long before at most.
const COMMIT_MS: i64 = 2000;

/// A committed transaction of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its id.
    pub tx_id: TxId,
    /// When it was committed, by the server's clock.
    pub commit_time: TimestampMs,
    /// Its length in the log.
    pub bytes: u64,
    /// How many commands it has: about one for each record that it changes.
    pub commands: u64,
    /// Whether the database can be restored to it: it is not before E0.
    pub restorable: bool,
}

/// A moment in a database's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The commit of a transaction.
    TxId(TxId),
    /// A time of the server's clock.
    Time(TimestampMs),
}

/// Where a restore ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Until {
    /// The moment.
    pub point: Point,
    /// Whether what was committed at the moment itself belongs to it.
    pub inclusive: bool,
}

/// What of a database's logs is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The last transaction.
    pub tx_id: TxId,
    /// When it was committed; unknown if it is checkpoint C's and not in the logs.
    pub commit_time: Option<TimestampMs>,
    /// The position after it.
    pub end: LogPosition,
    /// How many transactions of the backup follow.
    pub left_out: u64,
    /// How many of these were committed before the moment all the same, by a clock that was set back.
    pub out_of_order: u64,
}

impl Until {
    fn includes(self, batch: &Batch) -> bool {
        match (self.point, self.inclusive) {
            (Point::TxId(id), true) => batch.tx_id <= id,
            (Point::TxId(id), false) => batch.tx_id < id,
            (Point::Time(time), true) => batch.commit_time <= time,
            (Point::Time(time), false) => batch.commit_time < time,
        }
    }

    /// Whether a backup may lack something that belongs to the moment.
    fn is_after(self, entry: &DatabaseEntry) -> bool {
        match (self.point, self.inclusive) {
            (Point::TxId(id), true) => id > entry.last_tx.tx_id,
            (Point::TxId(id), false) => id.0 > entry.last_tx.tx_id.0.saturating_add(1),
            (Point::Time(time), _) => time > entry.covered_until(),
        }
    }
}

impl std::fmt::Display for Until {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.inclusive { "until " } else { "before " })?;
        match self.point {
            Point::TxId(id) => write!(f, "transaction {id}"),
            Point::Time(time) => f.write_str(&rfc3339(time)),
        }
    }
}

impl Cut {
    /// How much of a file is restored; `None` if the file is not.
    #[must_use]
    pub fn kept_bytes(&self, file: &FileEntry) -> Option<u64> {
        let version = version_of(&file.path).filter(|_| file.area == Area::Transactions);
        match version {
            Some(version) if version > self.end.version => None,
            Some(version) if version == self.end.version => Some(self.end.offset_bytes),
            _ => Some(file.size_bytes),
        }
    }
}

impl DatabaseEntry {
    /// Up to when the backup has everything, by the server's clock: its logs were read to their end some
    /// time after that, so that what had its time by then was written.
    #[must_use]
    pub fn covered_until(&self) -> TimestampMs {
        let before = |as_of: TimestampMs| TimestampMs(as_of.0.saturating_sub(COMMIT_MS));
        self.as_of.map_or(self.last_tx.commit_time, before).max(self.last_tx.commit_time)
    }
}

/// Shows every transaction of a database's logs, in their order.
pub fn transactions(
    backup: &Backup,
    entry: &DatabaseEntry,
    visit: &mut dyn FnMut(&Transaction),
) -> Result<()> {
    scan(backup, entry, &mut |_, batch| {
        visit(&Transaction {
            tx_id: batch.tx_id,
            commit_time: batch.commit_time,
            bytes: batch.end.saturating_sub(batch.start),
            commands: batch.commands,
            restorable: batch.tx_id >= entry.first_consistent_tx_id,
        });
    })
}

/// Finds where a database's logs have to end.
///
/// # Errors
/// [`Error::OutOfRange`] if the moment is before E0, or after what the backup has.
pub fn find_cut(backup: &Backup, entry: &DatabaseEntry, until: Until) -> Result<Cut> {
    let mut finder = Finder { entry, until, kept: None, first: None, e0_time: None, after: (0, 0) };
    scan(backup, entry, &mut |version, batch| finder.take(version, batch))?;
    finder.cut()
}

struct Finder<'a> {
    entry: &'a DatabaseEntry,
    until: Until,
    /// The last transaction that belongs to the moment, and the position after it.
    kept: Option<(Batch, LogPosition)>,
    first: Option<TxId>,
    e0_time: Option<TimestampMs>,
    /// How many follow; how many of these belong to the moment all the same.
    after: (u64, u64),
}

impl Finder<'_> {
    fn take(&mut self, version: LogVersion, batch: &Batch) {
        self.first.get_or_insert(batch.tx_id);
        if batch.tx_id == self.entry.first_consistent_tx_id {
            self.e0_time = Some(batch.commit_time);
        }
        let belongs = self.until.includes(batch);
        let (after, of_those) = &mut self.after;
        if belongs && *after == 0 {
            self.kept = Some((*batch, LogPosition { version, offset_bytes: batch.end }));
            return;
        }
        *after = after.saturating_add(1);
        *of_those = of_those.saturating_add(u64::from(belongs));
    }

    fn cut(self) -> Result<Cut> {
        let (left_out, out_of_order) = self.after;
        let cut = match self.kept {
            Some((batch, end)) => Cut {
                tx_id: batch.tx_id,
                commit_time: Some(batch.commit_time),
                end,
                left_out,
                out_of_order,
            },
            None => Cut {
                tx_id: self.before_the_logs(),
                commit_time: None,
                end: self.entry.checkpoint.position,
                left_out,
                out_of_order,
            },
        };
        // What was committed before the checkpoint was so before its time.
        let is_before = match self.until.point {
            Point::Time(time) if cut.commit_time.is_none() => time < self.entry.checkpoint.time,
            Point::Time(_) => false,
            Point::TxId(id) => id.0 < cut.tx_id.0.saturating_add(u64::from(!self.until.inclusive)),
        };
        let is_early = is_before || cut.tx_id < self.entry.first_consistent_tx_id;
        if is_early || self.until.is_after(self.entry) {
            return Err(self.out_of_range());
        }
        Ok(cut)
    }

    /// The last transaction that the logs do not have.
    fn before_the_logs(&self) -> TxId {
        let first = self.first.map(|first| TxId(first.0.saturating_sub(1)));
        first.unwrap_or(self.entry.checkpoint.tx_id)
    }

    fn out_of_range(&self) -> Error {
        let entry = self.entry;
        let first_time = self.e0_time.unwrap_or(entry.checkpoint.time);
        let range = format!(
            "transaction {} ({}) to {} ({}) and has everything until {}",
            entry.first_consistent_tx_id,
            rfc3339(first_time),
            entry.last_tx.tx_id,
            rfc3339(entry.last_tx.commit_time),
            rfc3339(entry.covered_until()),
        );
        Error::OutOfRange { database: entry.name.clone(), wanted: self.until.to_string(), range }
    }
}

/// Reads the logs from checkpoint C to the last transaction. Fails if they do not lead there.
fn scan(
    backup: &Backup,
    entry: &DatabaseEntry,
    visit: &mut dyn FnMut(LogVersion, &Batch),
) -> Result<()> {
    let log_dir = backup.locate(entry).dir(Area::Transactions).to_owned();
    let from = entry.checkpoint.position;
    let mut last_good = from;
    let mut noting = |version, batch: &Batch| {
        last_good = LogPosition { version, offset_bytes: batch.end };
        visit(version, batch);
    };
    let scanned = scan_logs(&log_dir, &log_sizes(entry), from, &entry.store_id, &mut noting);
    match scanned {
        Ok(scan) if leads_to_the_end(&scan, entry) => Ok(()),
        Ok(_) => {
            let what = format!("the logs end here and not with {}", entry.last_tx.tx_id);
            Err(damaged(&log_dir, last_good, what))
        }
        Err(error) => Err(damaged(&log_dir, last_good, chain::with_causes(&error))),
    }
}

fn leads_to_the_end(scan: &LogScan, entry: &DatabaseEntry) -> bool {
    let last = scan.last.map(LastTx::from);
    scan.transactions == entry.transactions && last.is_none_or(|last| last == entry.last_tx)
}

fn damaged(log_dir: &Path, at: LogPosition, what: String) -> Error {
    let file = log_path(log_dir, at.version);
    Error::DamagedLogs { file, offset_bytes: at.offset_bytes, what }
}

fn rfc3339(time: TimestampMs) -> String {
    match Timestamp::from_millisecond(time.0) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => format!("{} ms since 1970", time.0),
    }
}
