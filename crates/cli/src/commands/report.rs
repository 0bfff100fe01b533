//! What is told of the backup of one database, by `backup` and by `info` alike.

use std::time::Duration;

use mirror::{DatabaseEntry, Reason};
use serde::Serialize;

use crate::failure::one_line;
use crate::output::Output;
use crate::units;

/// The backup of one database. The names of the fields are a contract.
#[derive(Debug, Serialize)]
pub struct DatabaseReport {
    name: String,
    r#type: mirror::BackupType,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    store_id: String,
    store_format: String,
    kernel_version: u8,
    checkpoint_tx_id: u64,
    first_consistent_tx_id: u64,
    last_tx_id: u64,
    last_commit_time: String,
    transactions: u64,
    bytes_transferred: u64,
    size_bytes: u64,
    files: usize,
    left_out: Vec<mirror::LeftOut>,
    /// Up to when it has everything, by the server's clock.
    covered_until: String,
    started: String,
    finished: String,
    duration_ms: u64,
}

/// A reason as it is in the manifest.
pub fn word(reason: Reason) -> &'static str {
    match reason {
        Reason::FirstBackup => "first backup",
        Reason::Requested => "requested",
        Reason::LogsPruned => "logs pruned",
        Reason::TakenOver => "taken over",
        Reason::Renewal => "renewal",
    }
}

impl From<&DatabaseEntry> for DatabaseReport {
    fn from(entry: &DatabaseEntry) -> Self {
        Self {
            name: entry.name.clone(),
            r#type: entry.backup_type,
            reason: entry.reason,
            store_id: entry.store_id_text.clone(),
            store_format: entry.store_id.format_name(),
            kernel_version: entry.checkpoint.kernel_version.0,
            checkpoint_tx_id: entry.checkpoint.tx_id.0,
            first_consistent_tx_id: entry.first_consistent_tx_id.0,
            last_tx_id: entry.last_tx.tx_id.0,
            last_commit_time: units::timestamp(entry.last_tx.commit_time.0),
            transactions: entry.transactions,
            bytes_transferred: entry.bytes_transferred,
            size_bytes: entry.size_bytes(),
            files: entry.files.len(),
            left_out: entry.left_out.clone(),
            covered_until: units::timestamp(entry.covered_until().0),
            started: format!("{:.3}", entry.started),
            finished: format!("{:.3}", entry.finished),
            duration_ms: entry.duration_ms,
        }
    }
}

impl DatabaseReport {
    /// Tells it in a few lines.
    pub fn tell(&self, output: Output) {
        let time = Duration::from_millis(self.duration_ms);
        let kind = match self.r#type {
            mirror::BackupType::Full => "full backup",
            mirror::BackupType::Incremental => "incremental backup",
        };
        let reason = self.reason.map_or_else(String::new, |reason| format!(" ({})", word(reason)));
        output.line(format!("{}: {kind}{reason} of {}", self.name, self.started));
        let fact = |name: &str, value: &str| output.line(format!("  {name:<13} {value}"));
        let (files, size) = (self.files, units::bytes(self.size_bytes));
        fact("files", &format!("{files} of {size} together"));
        let moved = units::bytes(self.bytes_transferred);
        let rate = match self.r#type {
            mirror::BackupType::Full => {
                format!(" ({})", units::rate(self.bytes_transferred, time))
            }
            // A follower's waits for transactions most of the time.
            mirror::BackupType::Incremental => String::new(),
        };
        fact("transferred", &format!("{moved} in {}{rate}", units::time(time)));
        fact("store", &self.store_id);
        let (first, last) = (self.first_consistent_tx_id, self.last_tx_id);
        fact("consistent", &format!("from transaction {first} to {last}"));
        let recovery = format!("from transaction {}", self.checkpoint_tx_id);
        fact("recovery", &format!("{recovery}, kernel version {}", self.kernel_version));
        fact("last commit", &self.last_commit_time);
        fact("complete", &format!("until {} by the server's clock", self.covered_until));
        for left_out in &self.left_out {
            let (path, reason) = (one_line(&left_out.path), one_line(&left_out.reason));
            fact("left out", &format!("{path}: {reason}; Neo4j rebuilds it"));
        }
    }
}
