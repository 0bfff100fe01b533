//! What the service tells of a database's transaction logs, and whether a copy could begin.

use formats::{LogVersion, TimestampMs, TxId};
use serde::{Deserialize, Serialize};

use super::{After, CheckpointInfo, DatabaseState};

/// The most log files that an answer lists.
pub const MAX_LOG_FILES: usize = 256;

/// Answer of `GET /v1/databases/{database}/logs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    /// `db.tx_log.rotation.retention_policy`, or the server's default; absent where the service was
    /// started without a configuration.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retention_policy: Option<String>,
    /// `db.tx_log.rotation.size`, likewise.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rotation_size_bytes: Option<u64>,
    /// `db.checkpoint.interval.time`, likewise.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub checkpoint_interval_ms: Option<u64>,
    /// The last checkpoint. The server prunes logs only when it takes one.
    pub checkpoint: CheckpointInfo,
    /// The service's clock.
    pub time: TimestampMs,
    /// How many log files there are.
    pub files_count: u64,
    /// The newest [`MAX_LOG_FILES`] of them, oldest first.
    pub files: Vec<LogFile>,
}

/// A transaction log file of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// Its number.
    pub version: LogVersion,
    /// Its length; the newest file is usually longer than what is written to it.
    pub size_bytes: u64,
    /// Its first transaction; absent where it has none yet, or one so large that it was not read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_tx_id: Option<TxId>,
    /// When that was committed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_commit_time: Option<TimestampMs>,
}

/// Body of `POST /v1/databases/{database}/check`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckDatabase {
    /// What a backup ends with: then it is asked whether an increment could begin.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<After>,
}

/// Answer of `POST /v1/databases/{database}/check`: a copy could begin. It did begin, and was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedDatabase {
    /// Whether a server holds the database's lock.
    pub state: DatabaseState,
    /// How many files of the store there are to fetch; none in an increment.
    pub files_count: u64,
    /// Their length together.
    pub size_bytes: u64,
}
