//! The manifest: what a backup holds, so that it can be restored with confidence and anything
//! missing or changed is noticed.

mod document;

use formats::{Checksum, KernelVersion, LogPosition, StoreId, TimestampMs, TxId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub(crate) use document::{read, write};

use crate::increment::version_of;
use crate::layout::{Area, Layout, is_database_name, is_plain_path};

/// The version of the manifest that this program writes.
pub const FORMAT_VERSION: u64 = 1;
/// A BLAKE3's length in bytes.
pub(crate) const HASH_BYTES: usize = 32;

/// All databases of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT_VERSION`].
    pub format_version: u64,
    /// Version of the program that wrote the manifest.
    pub tool_version: String,
    /// When the directory got its first backup.
    pub created: Timestamp,
    /// One entry per database, sorted by name.
    pub databases: Vec<DatabaseEntry>,
}

/// The backup of one database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseEntry {
    /// The database's name.
    pub name: String,
    /// The name under which its files were staged; see the crate's documentation.
    pub generation: String,
    /// How the latest run got it.
    #[serde(rename = "type")]
    pub backup_type: BackupType,
    /// Why the latest run was a full one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Reason>,
    /// Identity and format of the store.
    pub store_id: StoreId,
    /// The same as one word.
    pub store_id_text: String,
    /// The store's external UUID, hex; a store of Neo4j 3.0 has none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub external_uuid: Option<String>,
    /// Checkpoint C: recovery starts here.
    pub checkpoint: Checkpoint,
    /// E0: from this transaction on the copy is consistent.
    pub first_consistent_tx_id: TxId,
    /// E: the last transaction.
    pub last_tx: LastTx,
    /// How many transactions lie between C and E.
    pub transactions: u64,
    /// By the server's clock: when its logs began to be read to their end, the last time that somebody
    /// did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub as_of: Option<TimestampMs>,
    /// When the run began.
    pub started: Timestamp,
    /// When all files were complete.
    pub finished: Timestamp,
    /// Bytes that came over the network.
    pub bytes_transferred: u64,
    /// From start to finish.
    pub duration_ms: u64,
    /// Derived files that Neo4j rebuilds when it starts.
    pub left_out: Vec<LeftOut>,
    /// There is one hash for each block of so many bytes; only a file's last block is shorter.
    pub block_bytes: u64,
    /// Every file, sorted by area and path.
    pub files: Vec<FileEntry>,
}

/// How a backup was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupType {
    /// All files were copied.
    Full,
    /// New transactions were appended.
    Incremental,
}

/// Why a full backup was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// There was no backup to go on from.
    #[serde(rename = "first backup")]
    FirstBackup,
    /// It was asked for.
    #[serde(rename = "requested")]
    Requested,
    /// The server's logs no longer reached back to the backup's last transaction.
    #[serde(rename = "logs pruned")]
    LogsPruned,
    /// Neo4j 3.0's own backup tool had made the backup, or gone on with it.
    #[serde(rename = "taken over")]
    TakenOver,
    /// The backup's logs had grown too long.
    #[serde(rename = "renewal")]
    Renewal,
}

/// The checkpoint that a backup starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The transaction that the entry names.
    pub tx_id: TxId,
    /// Where recovery starts to read the transaction logs.
    pub position: LogPosition,
    /// When it was taken.
    pub time: TimestampMs,
    /// Kernel version of the server that wrote it.
    pub kernel_version: KernelVersion,
    /// Neo4j's words for why it was taken.
    pub reason: String,
}

/// The transaction that a backup ends with.
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

/// A derived file or directory that is not in the backup.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeftOut {
    /// Path relative to the store directory.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Which of the database's two directories it is in.
    pub area: Area,
    /// Path relative to that directory, parts separated by `/`.
    pub path: String,
    /// What it is.
    pub kind: FileKind,
    /// Its length.
    pub size_bytes: u64,
    /// When its inode last changed (`ctime`), as it was when its bytes were known to be these: seconds
    /// and nanoseconds. Whoever finds another must look at the bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub changed: Option<String>,
    /// Where in `.neo4j-backup.pages/<generation>` it is told what is known of its pages.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pages_at: Option<u64>,
    /// The BLAKE3 of each block, one after the other; hex in the document.
    #[serde(with = "document::hex")]
    pub blocks: Vec<u8>,
}

/// The kinds of files in a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A record store or `neostore`.
    Record,
    /// A tree that Neo4j could rebuild.
    Tree,
    /// A file of a Lucene index that Neo4j could rebuild.
    Lucene,
    /// A transaction log file.
    Log,
    /// The checkpoint file.
    Checkpoint,
    /// Neo4j 3.0: one of the two files of counts.
    Counts,
    /// Neo4j 3.0: a legacy index, or the list of them, which no server can rebuild.
    LegacyIndex,
}

impl Manifest {
    /// One without databases.
    pub(crate) fn empty() -> Self {
        Self {
            format_version: FORMAT_VERSION,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            created: Timestamp::now(),
            databases: Vec::new(),
        }
    }

    /// The backup of a database, if there is one.
    #[must_use]
    pub fn database(&self, name: &str) -> Option<&DatabaseEntry> {
        self.databases.iter().find(|entry| entry.name == name)
    }

    /// The server's own service of Neo4j 3.0 does not tell its database's name, ours does: a backup that came from the
    /// former gets the name. Whether something has changed.
    pub(crate) fn name_as_server(&mut self, databases: &[wire::api::Database]) -> bool {
        let [entry] = self.databases.as_mut_slice() else { return false };
        if !entry.store_id.is_v3_0() || databases.iter().any(|it| it.name == entry.name) {
            return false;
        }
        let store_id = Some(entry.store_id.to_string());
        let Some(same) = databases.iter().find(|it| it.store_id == store_id) else { return false };
        entry.name.clone_from(&same.name);
        true
    }

    /// Puts an entry in, in place of an older one of the same database.
    pub(crate) fn set(&mut self, entry: DatabaseEntry) {
        self.databases.retain(|other| other.name != entry.name);
        self.databases.push(entry);
        self.databases.sort_by(|a, b| a.name.cmp(&b.name));
        env!("CARGO_PKG_VERSION").clone_into(&mut self.tool_version);
    }

    /// Fails with what cannot be. A manifest that passes leads nowhere outside of its directory.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut names: Vec<&str> = self.databases.iter().map(|entry| &*entry.name).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() != self.databases.len() {
            return Err("a database is listed twice".to_owned());
        }
        self.databases.iter().try_for_each(DatabaseEntry::check)
    }
}

impl DatabaseEntry {
    /// The sum of its files' lengths.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size_bytes))
    }

    /// What it ends with, for an increment to begin after.
    pub(crate) fn after(&self) -> wire::api::After {
        let (store_id, external_uuid) = (self.store_id.clone(), self.external_uuid.clone());
        wire::api::After { store_id, external_uuid, last_tx: (&self.last_tx).into() }
    }

    /// How long the transaction logs since checkpoint C are: what a restored server has to recover.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        let from = self.checkpoint.position;
        let length = |file: &FileEntry| match version_of(&file.path) {
            Some(version) if version > from.version => file.size_bytes,
            Some(version) if version == from.version => {
                file.size_bytes.saturating_sub(from.offset_bytes)
            }
            _ => 0,
        };
        let logs = self.files.iter().filter(|file| file.area == Area::Transactions);
        logs.map(length).fold(0, u64::saturating_add)
    }

    /// The directories that a server has for it: Neo4j 3.0 keeps the logs in the store's.
    #[must_use]
    pub fn areas(&self) -> &'static [Area] {
        match Layout::of(&self.store_id) {
            Layout::Data => &Area::ALL,
            Layout::Database => &[Area::Store],
        }
    }

    /// How many log files it has.
    pub(crate) fn log_files(&self) -> usize {
        self.files.iter().filter(|file| file.kind == FileKind::Log).count()
    }

    /// Whether a file is the log that the last transaction is in. It may be longer than listed:
    /// what lies behind is of an increment under way, or of one that was never committed.
    pub(crate) fn is_newest_log(&self, file: &FileEntry) -> bool {
        file.area == Area::Transactions && version_of(&file.path) == Some(self.last_tx.end.version)
    }

    fn check(&self) -> Result<(), String> {
        let name = &self.name;
        let generation = self.generation.as_bytes();
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        if !is_database_name(name) {
            return Err(format!("{name:?} cannot be a database's name"));
        }
        if generation.is_empty() || generation.len() > 64 || !generation.iter().all(plain) {
            return Err(format!("{:?} cannot be a generation's name", self.generation));
        }
        if self.block_bytes == 0 {
            return Err(format!("database {name:?} has blocks of no length"));
        }
        let mut paths: Vec<(Area, &str)> =
            self.files.iter().map(|file| (file.area, &*file.path)).collect();
        paths.sort_unstable();
        paths.dedup();
        if paths.len() != self.files.len() {
            return Err(format!("database {name:?} lists a file twice"));
        }
        self.files.iter().try_for_each(|file| file.check(self.block_bytes))
    }
}

impl FileEntry {
    /// The hash of a block, by its number.
    #[must_use]
    pub fn block(&self, index: u64) -> Option<&[u8]> {
        let start = usize::try_from(index).ok()?.checked_mul(HASH_BYTES)?;
        self.blocks.get(start..start.checked_add(HASH_BYTES)?)
    }

    fn check(&self, block_bytes: u64) -> Result<(), String> {
        if !is_plain_path(&self.path) {
            return Err(format!("{:?} is no file name for a backup", self.path));
        }
        let blocks = self.size_bytes.div_ceil(block_bytes);
        if Some(self.blocks.len() as u64) != blocks.checked_mul(HASH_BYTES as u64) {
            return Err(format!("{:?} has not one hash per block", self.path));
        }
        Ok(())
    }
}

impl From<&wire::api::CheckpointInfo> for Checkpoint {
    fn from(info: &wire::api::CheckpointInfo) -> Self {
        Self {
            tx_id: info.tx_id,
            position: info.position,
            time: info.time,
            kernel_version: info.kernel_version,
            reason: info.reason.clone(),
        }
    }
}

impl From<&wire::api::LastTx> for LastTx {
    fn from(last: &wire::api::LastTx) -> Self {
        Self {
            tx_id: last.tx_id,
            checksum: last.checksum,
            commit_time: last.commit_time,
            start_bytes: last.start_bytes,
            end: last.end,
        }
    }
}

impl From<source::LastTx> for LastTx {
    fn from(last: source::LastTx) -> Self {
        Self {
            tx_id: last.tx_id,
            checksum: last.checksum,
            commit_time: last.commit_time,
            start_bytes: last.start_bytes,
            end: last.end,
        }
    }
}

impl From<&LastTx> for wire::api::LastTx {
    fn from(last: &LastTx) -> Self {
        Self {
            tx_id: last.tx_id,
            checksum: last.checksum,
            commit_time: last.commit_time,
            start_bytes: last.start_bytes,
            end: last.end,
        }
    }
}

impl From<wire::api::FileKind> for FileKind {
    fn from(kind: wire::api::FileKind) -> Self {
        match kind {
            wire::api::FileKind::Record => Self::Record,
            wire::api::FileKind::Tree => Self::Tree,
            wire::api::FileKind::Lucene => Self::Lucene,
            wire::api::FileKind::Log => Self::Log,
            wire::api::FileKind::Checkpoint => Self::Checkpoint,
            wire::api::FileKind::Counts => Self::Counts,
            wire::api::FileKind::LegacyIndex => Self::LegacyIndex,
        }
    }
}

#[cfg(test)]
mod tests;
