//! The JSON types of the HTTP API, version 1. `docs/openapi.json` says the same to other clients.

mod logs;

use formats::{Checksum, LogPosition, StoreId, TimestampMs, TxId};
use serde::{Deserialize, Serialize};

pub use logs::{CheckDatabase, CheckedDatabase, LogFile, Logs, MAX_LOG_FILES};

/// The port of the service, as the manual has it.
pub const DEFAULT_PORT: u16 = 6362;

/// A header of every answer, by which a client knows that it talks to this service.
pub const API_HEADER: &str = "neo4j-backup-api";
/// The value of [`API_HEADER`].
pub const API_VERSION: &str = "1";
/// Media type of a stream of frames.
pub const FRAMES_MEDIA_TYPE: &str = "application/vnd.neo4j-backup.frames";
/// The most files that a session may have: some 100 bytes each at either end.
pub const MAX_FILES: usize = 100_000;
/// The longest JSON body of an answer: [`MAX_FILES`] files with long names.
pub const MAX_ANSWER_BYTES: usize = 16 << 20;
/// The longest body of a request.
pub const MAX_REQUEST_BYTES: usize = 64 << 10;

/// The longest that `finish?wait=SECONDS` waits; a longer wait is as long as this.
pub const MAX_WAIT_SECONDS: u64 = 30;

/// Answer of `GET /v1/databases`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseList {
    /// Version of the service.
    pub service_version: String,
    /// The service's clock.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub time: Option<TimestampMs>,
    /// Every database that the service shows, `system` too.
    pub databases: Vec<Database>,
}

/// One database of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Its directory's name under `databases`.
    pub name: String,
    /// Whether it can be backed up, and if not, why.
    pub state: DatabaseState,
    /// What a person should know of the state, such as the reason why it is unsupported.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    /// Store id, where it could be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub store_id: Option<String>,
    /// Size of the store's files in bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub size_bytes: Option<u64>,
}

/// What a database is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseState {
    /// A server holds its lock: a hot copy can be made.
    Online,
    /// No server holds its lock. A copy can be made all the same.
    Offline,
    /// Its first checkpoint is not there yet.
    Creating,
    /// A store migration is under way.
    Migrating,
    /// A format that we refuse; `detail` names it.
    Unsupported,
    /// Its files cannot be read, or are missing; `detail` says which.
    Unreadable,
    /// Its files are damaged; `detail` says which, and where.
    Corrupt,
}

/// Body of `POST /v1/sessions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenSession {
    /// Name of the database to copy.
    pub database: String,
    /// What a backup ends with: then only the transactions after it are copied.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<After>,
}

/// What a backup ends with, by which the service tells whether the server has the same history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct After {
    /// Identity and format of the store that was backed up.
    pub store_id: StoreId,
    /// The store's external UUID, hex; a store of Neo4j 3.0 has none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub external_uuid: Option<String>,
    /// The backup's last transaction.
    pub last_tx: LastTx,
}

/// Answer of `POST /v1/sessions`: a hot copy has begun and its checkpoint's logs are held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Random name of the session.
    pub session_id: String,
    /// The session ends when no request has touched it for this long.
    pub lease_seconds: u64,
    /// Name of the database.
    pub database: String,
    /// Whether a server held the database's lock when the session began.
    pub state: DatabaseState,
    /// Identity and format of the store.
    pub store_id: StoreId,
    /// The store's external UUID (what the server shows as `databaseID` is derived from it), hex; a store
    /// of Neo4j 3.0 has none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub external_uuid: Option<String>,
    /// Checkpoint C: recovery of the backup starts here. Not in an increment.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub checkpoint: Option<CheckpointInfo>,
    /// A BLAKE3 is sent for each block of this many bytes; ranges begin at multiples of it.
    pub block_bytes: u64,
    /// The store's files, in the order in which they should be fetched: derived files first. None
    /// in an increment.
    pub files: Vec<FileInfo>,
    /// Derived files that could not be held whole; Neo4j rebuilds them.
    pub left_out: Vec<LeftOut>,
}

/// Answer of `GET /v1/sessions/{id}`, which also renews the lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// The session.
    pub session_id: String,
    /// The session ends when no request has touched it for this long.
    pub lease_seconds: u64,
    /// Whether `finish` has been asked for.
    pub finished: bool,
}

/// The checkpoint that a hot copy starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointInfo {
    /// The transaction that the entry names.
    pub tx_id: TxId,
    /// Where recovery starts to read the transaction logs.
    pub position: LogPosition,
    /// When it was taken.
    pub time: TimestampMs,
    /// Kernel version of the entry.
    pub kernel_version: formats::KernelVersion,
    /// Neo4j's words for why it was taken.
    pub reason: String,
}

/// One file of a hot copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInfo {
    /// Number of the file within the session.
    pub id: u32,
    /// What it is, and so what must hold for its copy.
    pub kind: FileKind,
    /// Path relative to the database's store directory (or, for `log` and `checkpoint`, to its
    /// transaction log directory), parts separated by `/`.
    pub path: String,
    /// How many bytes to copy.
    pub size_bytes: u64,
}

/// The kinds of files in a hot copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A record store or `neostore`: may be copied fuzzy.
    Record,
    /// A tree: whole only if `check` says so after the last byte.
    Tree,
    /// A file of a Lucene index: held open, never changes.
    Lucene,
    /// A transaction log file, cut at a commit.
    Log,
    /// The checkpoint file, cut after checkpoint C.
    Checkpoint,
    /// Neo4j 3.0: one of the two files of counts, whole.
    Counts,
    /// Neo4j 3.0: a legacy index, or the list of them; held open. No server can rebuild it.
    LegacyIndex,
}

impl FileKind {
    /// Whether the file belongs into the transaction log directory.
    #[must_use]
    pub fn in_transactions(self) -> bool {
        matches!(self, Self::Log | Self::Checkpoint)
    }

    /// Whether Neo4j can rebuild the file.
    #[must_use]
    pub fn is_derived(self) -> bool {
        matches!(self, Self::Tree | Self::Lucene | Self::Counts)
    }
}

/// A derived file or directory that is not in the copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Path relative to the store directory.
    pub path: String,
    /// Why it is not in the copy.
    pub reason: String,
}

/// Answer of `POST /v1/sessions/{id}/files/{file}/check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Whether what was read of the file since the session began, or since the last check, is one
    /// state of the file. If not, fetch the file again from its start or leave it out.
    pub whole: bool,
    /// How many bytes to fetch on the next try: a tree grows.
    pub size_bytes: u64,
}

/// Answer of `POST /v1/sessions/{id}/finish?wait=SECONDS`. In an increment it comes when there are
/// transactions to be had, or after the wait (none without it). After it no store byte can be fetched any more.
///
/// In an increment the log files begin with the one that holds the end of `after`, there is no
/// checkpoint file, and `transactions` counts those after `after`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// The transaction logs from C on, cut at commit E, and the checkpoint file, cut after C.
    pub files: Vec<FileInfo>,
    /// Derived files that were replaced or removed since they were fetched (an index was dropped,
    /// say): discard them, they do not belong to the store that the logs lead to.
    pub stale: Vec<StaleFile>,
    /// E0: from this transaction on the copy is consistent.
    pub first_consistent_tx_id: TxId,
    /// E: the last transaction of the copy.
    pub last_tx: LastTx,
    /// How many transactions lie between C and E.
    pub transactions: u64,
    /// Up to when there was nothing but what E ends with: when the service began to look for E, by the clock
    /// of its host, which is the server's. Where a transaction was being written, the time of E.
    pub as_of: TimestampMs,
}

/// A derived file of the session that must not stay in the copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaleFile {
    /// Number of the file within the session.
    pub id: u32,
    /// Why.
    pub reason: String,
}

/// The transaction that a backup ends with; what "same history" is decided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastTx {
    /// Its id.
    pub tx_id: TxId,
    /// Its checksum.
    pub checksum: Checksum,
    /// Its commit time.
    pub commit_time: TimestampMs,
    /// Where its first byte is in the file of `end`; unknown where only a checkpoint tells of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub start_bytes: Option<u64>,
    /// The position after its last byte.
    pub end: LogPosition,
}

/// Body of every answer that is not a success, and of an `Error` frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// What went wrong, for machines and for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// Stable code.
    pub code: ErrorCode,
    /// Lowercase, one line, names file, offset and transaction where known.
    pub message: String,
    /// What the operator can do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}

/// The codes of the API's errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request is malformed.
    BadRequest,
    /// No token or certificate, or one that is not known.
    Unauthorized,
    /// The token's scope does not reach this far.
    Forbidden,
    /// No such path, database, session or file.
    NotFound,
    /// The session is not in the state that the request needs (such as store bytes after `finish`).
    Conflict,
    /// A limit is reached, or the service is stopping: try again later.
    Busy,
    /// The source's files are of a format that we refuse, or being created or migrated.
    SourceUnusable,
    /// The source's files cannot be read.
    SourceUnreadable,
    /// The source's files are damaged.
    SourceCorrupt,
    /// Logs that the copy needs are gone.
    LogsPruned,
    /// The server's store is not the one that was backed up.
    OtherStore,
    /// The server's store was migrated to another format since it was backed up.
    StoreMigrated,
    /// The server's history is not the one that was backed up.
    Diverged,
    /// A defect of the service.
    Internal,
    /// A code of a later version of the service.
    #[serde(other)]
    Unknown,
}
