//! Do a database's transaction logs lead from checkpoint C to the last transaction E, without a
//! gap, and does recovery start at C?

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use formats::checkpoint::{Tail, decode_file};
use formats::txlog::{Batch, LogHeader};
use formats::v3_0::{COMPOSED_LOG_START_BYTES, CheckPoint};
use formats::{LogPosition, LogVersion, TxId};
use source::{LogReader, LogScan, log_path, scan_logs};

use crate::increment::log_sizes;
use crate::layout::Layout;
use crate::verify::{Finding, FindingKind};
use crate::{DatabaseEntry, Error, LastTx, Result};

/// Neo4j rotates a checkpoint file at 1 MiB; a much larger one is none of its.
const CHECKPOINT_FILE_BYTES_MAX: u64 = 64 << 20;
const CHECKPOINT_PREFIX: &str = "checkpoint.";

/// Everything that is wrong with the logs in a directory, measured by what the entry says.
pub(crate) fn findings(log_dir: &Path, entry: &DatabaseEntry) -> Vec<Finding> {
    let mut check = Check { log_dir, entry, findings: Vec::new() };
    check.logs();
    match Layout::of(&entry.store_id) {
        Layout::Data => check.checkpoint(),
        Layout::Database => check.recovery_start(),
    }
    check.findings
}

/// Reads what an increment brings, for [`check_increment`].
pub(crate) fn read_increment(log_dir: &Path, before: &DatabaseEntry) -> LogReader {
    LogReader::new(log_dir, increment_start(before), &before.store_id)
}

/// From the old last transaction on, so that the next one is compared with it.
fn increment_start(before: &DatabaseEntry) -> LogPosition {
    let old = before.last_tx;
    match old.start_bytes {
        Some(offset_bytes) => LogPosition { version: old.end.version, offset_bytes },
        None => old.end,
    }
}

/// Fails unless the logs go on from where a backup ended, without a gap, to where it ends now.
pub(crate) fn check_increment(
    reader: &LogReader,
    log_dir: &Path,
    before: &DatabaseEntry,
    after: &DatabaseEntry,
) -> Result<()> {
    let (old, from) = (before.last_tx, increment_start(before));
    let corrupt = |file: PathBuf, offset_bytes: Option<u64>, what: String| {
        Err(Error::Corrupt { file, offset_bytes, what })
    };
    let path = log_path(log_dir, from.version);
    let (scan, first) = match reader.finish(&log_sizes(after)) {
        Ok(scanned) => scanned,
        Err((good, error)) => {
            let path = log_path(log_dir, good.version);
            return corrupt(path, Some(good.offset_bytes), with_causes(&error));
        }
    };
    let anchored = u64::from(old.start_bytes.is_some());
    let expected = TxId(old.tx_id.0.saturating_add(1).saturating_sub(anchored));
    let joins = first.is_some_and(|first| {
        first.tx_id == expected && (anchored == 0 || first.checksum == old.checksum)
    });
    if !joins {
        let found = first.map_or("nothing".to_owned(), |first| first.tx_id.to_string());
        let what = format!("the log goes on with {found}, the backup ended with {}", old.tx_id);
        return corrupt(path, Some(from.offset_bytes), what);
    }
    if scan.between_bytes > 0 {
        let what = "a check point stands among the transactions".to_owned();
        return corrupt(path, Some(from.offset_bytes), what);
    }
    let new = after.transactions.saturating_sub(before.transactions);
    let found = scan.last.map(LastTx::from);
    if found != Some(after.last_tx)
        || scan.transactions != new.saturating_add(anchored)
        || !scan.clean_end
    {
        let what = format!(
            "the logs end with {}, the service said {}",
            found.map_or("nothing".to_owned(), |last| format!("{} at {}", last.tx_id, last.end)),
            format_args!("{} at {}", after.last_tx.tx_id, after.last_tx.end),
        );
        let end = found.map_or(from, |last| last.end);
        return corrupt(log_path(log_dir, end.version), Some(end.offset_bytes), what);
    }
    Ok(())
}

struct Check<'a> {
    log_dir: &'a Path,
    entry: &'a DatabaseEntry,
    findings: Vec<Finding>,
}

/// The last batch that was right.
type LastGood = Option<(LogVersion, u64, TxId)>;

impl Check<'_> {
    fn logs(&mut self) {
        let from = self.entry.checkpoint.position;
        let mut last_good: LastGood = None;
        let sizes = log_sizes(self.entry);
        let is_3_0 = Layout::of(&self.entry.store_id) == Layout::Database;
        // Where the next batch must begin, and where one does not.
        let mut next = COMPOSED_LOG_START_BYTES as u64;
        let mut gap = None;
        let mut visit = |version, batch: &Batch| {
            if is_3_0 && batch.start != next {
                gap.get_or_insert((next, last_good));
            }
            next = batch.end;
            last_good = Some((version, batch.end, batch.tx_id));
        };
        let store_id = &self.entry.store_id;
        let scanned = scan_logs(self.log_dir, &sizes, from, store_id, &mut visit);
        let is_whole = scanned.as_ref().is_ok_and(|scan| scan.clean_end);
        if is_3_0 && is_whole && sizes.values().next_back() != Some(&next) {
            gap.get_or_insert((next, last_good));
        }
        // Recovery of 3.0 takes the last check point, wherever it points.
        if let Some((offset, after)) = gap {
            let what = "a check point follows, so that recovery would not begin where it should";
            let (path, after) = (log_path(self.log_dir, from.version), after.map(|(_, _, id)| id));
            self.log(path, Some(offset), after, what.to_owned());
        }
        match scanned {
            Ok(scan) => self.compare(&scan),
            Err(error) => {
                let (version, offset, tx_id) = match last_good {
                    Some((version, offset, tx_id)) => (version, offset, Some(tx_id)),
                    None => (from.version, from.offset_bytes, None),
                };
                let what = with_causes(&error);
                self.log(log_path(self.log_dir, version), Some(offset), tx_id, what);
            }
        }
    }

    fn compare(&mut self, scan: &LogScan) {
        let expected = self.entry.last_tx;
        let first = self.entry.first_consistent_tx_id;
        if first > expected.tx_id {
            let what = format!("consistent only from {first} on, but ends with {}", expected.tx_id);
            self.log(self.log_dir.to_owned(), None, None, what);
        }
        let found = scan.last.map(LastTx::from);
        let end = log_path(self.log_dir, expected.end.version);
        match found {
            Some(found) if found == expected => {}
            Some(found) => {
                let path = log_path(self.log_dir, found.end.version);
                let what = format!(
                    "the logs end with transaction {} (checksum {}, at {}), \
                     the backup with {} (checksum {}, at {})",
                    found.tx_id,
                    found.checksum,
                    found.end, //
                    expected.tx_id,
                    expected.checksum,
                    expected.end,
                );
                self.log(path, Some(found.end.offset_bytes), Some(found.tx_id), what);
            }
            None if self.entry.transactions == 0 => {}
            None => {
                let position = self.entry.checkpoint.position;
                let what = format!(
                    "no transaction follows checkpoint {position}, the backup ends with {}",
                    expected.tx_id
                );
                self.log(end.clone(), Some(position.offset_bytes), None, what);
            }
        }
        if scan.transactions != self.entry.transactions {
            let (found, expected) = (scan.transactions, self.entry.transactions);
            let what = format!("{found} transactions instead of {expected}");
            self.log(end.clone(), None, None, what);
        }
        if !scan.clean_end {
            let what = "something that is no transaction follows the last one".to_owned();
            let path = scan.files.last().map_or(end, |(v, _)| log_path(self.log_dir, *v));
            self.log(path, scan.files.last().map(|(_, at)| *at), None, what);
        }
    }

    fn checkpoint(&mut self) {
        let Some((version, path)) = self.newest_checkpoint_file() else {
            let what = "there is no checkpoint file";
            self.checkpoint_finding(self.log_dir.to_owned(), None, what);
            return;
        };
        let bytes = match read_capped(&path) {
            Ok(bytes) => bytes,
            Err(error) => return self.checkpoint_finding(path, None, &error.to_string()),
        };
        let file = match decode_file(&bytes) {
            Ok(Some(file)) => file,
            Ok(None) => return self.checkpoint_finding(path, None, "the file is blank"),
            Err(error) => return self.checkpoint_finding(path, None, &with_causes(&error)),
        };
        if file.header.log_version != version {
            let what = format!("its header says that it is number {}", file.header.log_version);
            self.checkpoint_finding(path.clone(), None, &what);
        }
        if let Tail::Torn(error) = &file.tail {
            self.checkpoint_finding(path.clone(), None, &with_causes(error));
        }
        let expected = &self.entry.checkpoint;
        match file.entries.last() {
            None => self.checkpoint_finding(path, None, "no checkpoint is in the file"),
            Some((found, end)) => {
                let starts = found.oldest_not_completed.min(found.position);
                if (found.tx_id, starts) != (expected.tx_id, expected.position) {
                    let what = format!(
                        "the last checkpoint is of transaction {} at {starts}, not of {} at {}",
                        found.tx_id, expected.tx_id, expected.position
                    );
                    self.checkpoint_finding(path, Some(*end), &what);
                }
            }
        }
    }

    /// A log of Neo4j 3.0 begins with a check point that points to its own place.
    fn recovery_start(&mut self) {
        let position = self.entry.checkpoint.position;
        let path = log_path(self.log_dir, position.version);
        let mut start = [0; COMPOSED_LOG_START_BYTES];
        let read = std::fs::File::open(&path).and_then(|file| file.read_exact_at(&mut start, 0));
        if let Err(error) = read {
            return self.checkpoint_finding(path, None, &error.to_string());
        }
        let expected = (LogHeader::V6_SIZE_BYTES, Some(position.version), self.entry.log_files());
        let header = LogHeader::decode(&start).ok().flatten().map(|header| header.log_version);
        if (position.offset_bytes, header, 1) != expected {
            let what = "not the one log that the backup has, or of another number";
            return self.checkpoint_finding(path, Some(0), what);
        }
        let (_, entry) = start.split_at(COMPOSED_LOG_START_BYTES - CheckPoint::ENTRY_BYTES);
        if *entry != CheckPoint::encode(position) {
            let what = "no check point that points to its own place";
            self.checkpoint_finding(path, Some(LogHeader::V6_SIZE_BYTES), what);
        }
    }

    fn newest_checkpoint_file(&mut self) -> Option<(LogVersion, PathBuf)> {
        let names = match fs::entries(self.log_dir) {
            Ok(names) => names,
            Err(error) => {
                let what = with_causes(&error);
                self.checkpoint_finding(self.log_dir.to_owned(), None, &what);
                return None;
            }
        };
        let versions = names.iter().filter_map(|(name, _)| {
            let number = name.to_str()?.strip_prefix(CHECKPOINT_PREFIX)?;
            number.parse().ok().map(LogVersion)
        });
        let newest = versions.max()?;
        Some((newest, self.log_dir.join(format!("{CHECKPOINT_PREFIX}{newest}"))))
    }

    fn log(&mut self, path: PathBuf, offset: Option<u64>, after: Option<TxId>, what: String) {
        let finding = Finding::new(&self.entry.name, path, FindingKind::Logs, &what);
        self.findings.push(Finding { offset_bytes: offset, after_tx: after, ..finding });
    }

    fn checkpoint_finding(&mut self, path: PathBuf, offset: Option<u64>, what: &str) {
        let finding = Finding::new(&self.entry.name, path, FindingKind::Checkpoint, what);
        self.findings.push(Finding { offset_bytes: offset, ..finding });
    }
}

fn read_capped(path: &Path) -> std::io::Result<Vec<u8>> {
    let size = std::fs::metadata(path)?.len();
    if size > CHECKPOINT_FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("{size} bytes long: not a checkpoint file")));
    }
    std::fs::read(path)
}

/// An error with all its causes, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
