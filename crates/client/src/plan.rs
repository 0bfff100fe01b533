//! Judges what a service says before anything is made of it, and cuts files into ranges.

use std::collections::HashSet;
use std::ops::Range;

use wire::api::{FileInfo, FileKind, Finished, LastTx, MAX_FILES, Session};
use wire::names::LOG_PREFIX;

use crate::error::{Error, Result};

/// Files longer than this are fetched in several ranges at once.
pub(crate) const RANGE_BYTES: u64 = 64 << 20;
const BLOCK_BYTES: std::ops::RangeInclusive<u64> = (4 << 10)..=(1 << 40);
const MAX_FILE_BYTES: u64 = i64::MAX as u64;
/// Reasons and names in an answer are for people; longer ones are cut.
const MAX_TEXT: usize = 1000;

/// Which files a session has had so far: no number and no path may come twice.
#[derive(Default)]
pub(crate) struct Seen {
    ids: HashSet<u32>,
    paths: HashSet<String>,
    total_bytes: u64,
    /// What the backup ends with, for an increment.
    after: Option<LastTx>,
    /// How many checkpoint files there must be: one in a full copy, but none of Neo4j 3.0.
    checkpoint_files: usize,
}

impl Seen {
    pub(crate) fn after(after: Option<LastTx>) -> Self {
        Self { after, ..Self::default() }
    }

    /// Checks the answer to `POST /v1/sessions`.
    pub(crate) fn session(&mut self, session: &mut Session, database: &str) -> Result<()> {
        let id = &session.session_id;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if id.is_empty() || id.len() > 64 || !id.chars().all(plain) {
            return refuse("the session's id is not a plain word");
        }
        if session.database != database {
            return refuse(format!("asked for {database:?}, got {:?}", session.database));
        }
        if !session.block_bytes.is_power_of_two() || !BLOCK_BYTES.contains(&session.block_bytes) {
            return refuse(format!("blocks of {} bytes", session.block_bytes));
        }
        if !(1..=86_400).contains(&session.lease_seconds) {
            return refuse(format!("a lease of {} seconds", session.lease_seconds));
        }
        if session.checkpoint.is_some() == self.after.is_some() {
            return refuse("asked for an increment and got a full copy, or the other way round");
        }
        if self.after.is_some() && !session.files.is_empty() {
            return refuse("an increment with files of the store");
        }
        let has_one = self.after.is_none() && !session.store_id.is_v3_0();
        self.checkpoint_files = usize::from(has_one);
        if session.left_out.len() > MAX_FILES {
            return refuse("too many files are left out");
        }
        for left_out in &mut session.left_out {
            tidy(&mut left_out.path);
            tidy(&mut left_out.reason);
        }
        self.files(&session.files, false)
    }

    /// Checks the answer to `finish`.
    pub(crate) fn finished(&mut self, finished: &mut Finished) -> Result<()> {
        for stale in &mut finished.stale {
            tidy(&mut stale.reason);
        }
        self.files(&finished.files, true)?;
        let count = |kind| finished.files.iter().filter(|file| file.kind == kind).count();
        if count(FileKind::Log) == 0 || count(FileKind::Checkpoint) != self.checkpoint_files {
            return refuse("there must be transaction logs and one checkpoint file");
        }
        if let Some(after) = self.after {
            let (last, count) = (finished.last_tx, finished.transactions);
            if last.tx_id < after.tx_id
                || last.end < after.end
                || (last.tx_id == after.tx_id) != (count == 0)
            {
                let what = format!("{count} transactions from {} to {}", after.tx_id, last.tx_id);
                return refuse(what);
            }
        }
        Ok(())
    }

    /// How many bytes of a log file the backup has already.
    pub(crate) fn has_bytes(&self, file: &FileInfo) -> u64 {
        let Some(after) = self.after else { return 0 };
        let path = format!("{LOG_PREFIX}{}", after.end.version);
        if file.path == path { after.end.offset_bytes.min(file.size_bytes) } else { 0 }
    }

    fn files(&mut self, files: &[FileInfo], in_transactions: bool) -> Result<()> {
        if self.ids.len().saturating_add(files.len()) > MAX_FILES {
            return refuse(format!("more than {MAX_FILES} files"));
        }
        for file in files {
            wire::names::check_path(file.kind, &file.path)
                .map_err(|e| Error::Protocol(e.to_string()))?;
            if file.kind.in_transactions() != in_transactions {
                return refuse(format!("{} does not belong here", file.path));
            }
            if !self.ids.insert(file.id) {
                return refuse(format!("two files have number {}", file.id));
            }
            if !self.paths.insert(file.path.clone()) {
                return refuse(format!("two files are named {}", file.path));
            }
            let total = self.total_bytes.checked_add(file.size_bytes);
            match total {
                Some(total) if total <= MAX_FILE_BYTES => self.total_bytes = total,
                _ => return refuse(format!("{} of {} bytes", file.path, file.size_bytes)),
            }
        }
        self.no_file_is_a_directory(files)
    }

    fn no_file_is_a_directory(&self, files: &[FileInfo]) -> Result<()> {
        for file in files {
            for (at, _) in file.path.match_indices('/') {
                if self.paths.contains(&file.path[..at]) {
                    return refuse(format!("{} lies in a file", file.path));
                }
            }
        }
        Ok(())
    }
}

/// The ranges of a file from the block on that holds an offset, each but the last a whole number of
/// blocks; an empty file has one.
pub(crate) fn ranges(
    from_bytes: u64,
    size_bytes: u64,
    block_bytes: u64,
    range_bytes: u64,
) -> Vec<Range<u64>> {
    let step = range_bytes.max(block_bytes);
    let mut ranges = Vec::new();
    let mut start = from_bytes - from_bytes % block_bytes;
    while start < size_bytes {
        let end = start.saturating_add(step).min(size_bytes);
        ranges.push(start..end);
        start = end;
    }
    if ranges.is_empty() {
        ranges.push(0..0);
    }
    ranges
}

/// Makes text of a service's fit for a line on a terminal.
pub(crate) fn tidy(text: &mut String) {
    let fine = |c: char| !c.is_control();
    if text.len() > MAX_TEXT || !text.chars().all(fine) {
        *text = text.chars().filter(|c| fine(*c)).take(MAX_TEXT).collect();
    }
}

fn refuse<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::Protocol(what.into()))
}
