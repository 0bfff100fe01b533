//! How long a server keeps a log file.
//!
//! Neo4j prunes at a checkpoint, never the file that the checkpoint points to. From there it goes back
//! file by file until a limit is passed, and removes all that are older (`ThresholdBasedPruneStrategy`
//! of 5.26; releases differ by one file where the limit is a time, so the earlier moment is taken). So
//! a file goes, at the next checkpoint, when
//!
//! - time: the first transaction of the file after it is older than the limit,
//! - size: the files after it are as long as the limit, the newest with what is preallocated,
//! - files: so many come after it,
//! - transactions: so many were committed since the beginning of the file after it.

use std::time::Duration;

use formats::{LogVersion, TimestampMs};
use wire::api::{LogFile, Logs};

use super::policy::{Limits, Policy};

/// A shorter time says nothing of how fast logs grow.
const GROWTH_TIME_MIN_MS: i64 = 60_000;
/// What is forecast beyond this is as good as for ever.
const YEARS_MS: u64 = 10 * 365 * 86_400_000;

/// A log file of the server that somebody still needs.
#[derive(Clone, Copy, Debug)]
pub struct Needed {
    /// Its number.
    pub version: LogVersion,
    /// It has transactions up to here, if not later ones as well.
    pub commit_time: TimestampMs,
}

/// How long a log file stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// So long, as far as it can be told; nil if it may go at the next checkpoint.
    pub time: Option<Duration>,
    /// At most until so much more has been written to the logs, where that cannot be told in time.
    pub bytes: Option<u64>,
    /// At most until so many more transactions have been committed, likewise.
    pub transactions: Option<u64>,
}

/// How fast logs grow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    bytes_per_ms: f64,
    transactions_per_ms: f64,
}

impl Growth {
    /// From the oldest file whose beginning is known to the last checkpoint.
    pub fn of(logs: &Logs) -> Option<Self> {
        let end = &logs.checkpoint;
        let known = |file: &&LogFile| file.version <= end.position.version;
        let mut files = logs.files.iter().filter(known);
        let (first, tx_id, time) =
            files.find_map(|file| Some((file, file.first_tx_id?, file.first_commit_time?)))?;
        let past = logs.files.iter();
        let past = past.filter(|f| f.version >= first.version && f.version < end.position.version);
        let bytes =
            past.fold(end.position.offset_bytes, |sum, file| sum.saturating_add(file.size_bytes));
        let ms = end.time.0.saturating_sub(time.0);
        if ms < GROWTH_TIME_MIN_MS {
            return None;
        }
        let transactions = end.tx_id.0.saturating_sub(tx_id.0).saturating_add(1);
        let per_ms = |count: u64| count as f64 / ms as f64;
        Some(Self { bytes_per_ms: per_ms(bytes), transactions_per_ms: per_ms(transactions) })
    }

    /// Bytes in a day.
    pub fn bytes_per_day(self) -> u64 {
        (self.bytes_per_ms * 86_400_000.0) as u64
    }
}

/// How long a file stays under a policy; `None` for ever.
pub fn estimate(logs: &Logs, policy: Policy, needed: Needed) -> Option<Estimate> {
    let Policy::Limits(limits) = policy else { return None };
    let growth = Growth::of(logs);
    let time = limits.time_ms.map(|limit| time_left(logs, limit, needed));
    let bytes = bytes_left(logs, &limits, needed);
    let transactions = limits.transactions.map(|limit| transactions_left(logs, limit, needed));
    let in_time = |count: Option<u64>, per_ms: fn(Growth) -> f64| match (count, growth) {
        (Some(0), _) => Some(0),
        (Some(count), Some(growth)) => Some((count as f64 / per_ms(growth)) as u64),
        _ => None,
    };
    let by_bytes = in_time(bytes, |growth| growth.bytes_per_ms);
    let by_transactions = in_time(transactions, |growth| growth.transactions_per_ms);
    let soonest = [time, by_bytes, by_transactions].into_iter().flatten().min();
    let time = soonest.map(|ms| Duration::from_millis(ms.min(YEARS_MS)));
    let bytes = bytes.filter(|_| by_bytes.is_none());
    let transactions = transactions.filter(|_| by_transactions.is_none());
    Some(Estimate { time, bytes, transactions })
}

/// The file after the one that is needed.
fn next(logs: &Logs, needed: Needed) -> Option<&LogFile> {
    logs.files.iter().find(|file| file.version > needed.version)
}

fn time_left(logs: &Logs, limit_ms: u64, needed: Needed) -> u64 {
    // The newest file has not seen its last transaction: that is not older than now.
    let Some(next) = next(logs, needed) else { return limit_ms };
    let last =
        next.first_commit_time.map_or(needed.commit_time, |time| time.max(needed.commit_time));
    let age_ms = u64::try_from(logs.time.0.saturating_sub(last.0)).unwrap_or(0);
    limit_ms.saturating_sub(age_ms)
}

/// What may be written until so many files, or files of such a length, come after the needed one.
fn bytes_left(logs: &Logs, limits: &Limits, needed: Needed) -> Option<u64> {
    let (newest, after) = (logs.files.last()?, files_after(logs, needed));
    let length = after.iter().fold(0_u64, |sum, file| sum.saturating_add(file.size_bytes));
    let longest = logs.files.iter().map(|file| file.size_bytes).max().unwrap_or(0);
    let rotation_bytes = logs.rotation_size_bytes.unwrap_or(longest).max(1);
    let by_files = limits
        .files
        .map(|files| files.saturating_sub(u64::try_from(after.len()).unwrap_or(u64::MAX)));
    let by_size =
        limits.size_bytes.map(|size| size.saturating_sub(length).div_ceil(rotation_bytes));
    // Before the first rotation the needed file is the newest, and that is never pruned.
    let rotations = by_files.into_iter().chain(by_size).min()?.max(u64::from(after.is_empty()));
    let Some(whole) = rotations.checked_sub(1) else { return Some(0) };
    let end = logs.checkpoint.position;
    // How far the newest file is written is known where the checkpoint lies in it. Else it may be full.
    let written = if end.version == newest.version { end.offset_bytes } else { rotation_bytes };
    let rest = rotation_bytes.saturating_sub(written);
    Some(whole.saturating_mul(rotation_bytes).saturating_add(rest))
}

fn files_after(logs: &Logs, needed: Needed) -> &[LogFile] {
    let at = logs.files.partition_point(|file| file.version <= needed.version);
    logs.files.get(at..).unwrap_or_default()
}

fn transactions_left(logs: &Logs, limit: u64, needed: Needed) -> u64 {
    let begin = next(logs, needed).and_then(|file| file.first_tx_id);
    let since = begin.map_or(0, |tx_id| logs.checkpoint.tx_id.0.saturating_sub(tx_id.0));
    limit.saturating_sub(since)
}

#[cfg(test)]
mod tests;
