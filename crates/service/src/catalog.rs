//! The seam to a source: what the service asks of whatever holds the databases.

use formats::{StoreId, TxId};
use wire::api::{
    After, Checked, CheckpointInfo, Database, DatabaseState, ErrorCode, ErrorDetail, FileInfo,
    Finished, LeftOut, Logs,
};

use crate::answer::detail;

/// The databases of one server. Called from blocking threads.
pub trait Catalog: Send + Sync + 'static {
    /// All databases, whatever their state.
    ///
    /// # Errors
    /// When they cannot be listed.
    fn databases(&self) -> Result<Vec<Database>, ErrorDetail>;
    /// Begins a hot copy, or an increment: only the transactions after what a backup ends with.
    ///
    /// # Errors
    /// When there is no such database, or when it cannot be copied. An increment also when it is not
    /// the same store, when the server's history is another one, or when its logs are pruned.
    fn begin(&self, database: &str, after: Option<&After>) -> Result<Begun, ErrorDetail>;
    /// Whether a database is one of Neo4j 3.0, whose protocol is spoken then.
    ///
    /// # Errors
    /// When there is no such database.
    fn is_v3_0(&self, _database: &str) -> Result<bool, ErrorDetail> {
        Ok(false)
    }
    /// Neo4j 3.0: the transactions behind one, by its id alone, as that version's protocol asks for them.
    ///
    /// # Errors
    /// When there is no such database, when it is none of Neo4j 3.0, or when its logs are pruned.
    fn behind(&self, database: &str, _tx_id: TxId) -> Result<Behind, ErrorDetail> {
        let message = format!("{database:?} is no database of Neo4j 3.0");
        Err(detail(ErrorCode::SourceUnusable, message, None))
    }
    /// What there is of a database's transaction logs. Settings and time are left to the caller.
    ///
    /// # Errors
    /// When there is no such database, or when its logs cannot be read.
    fn logs(&self, database: &str) -> Result<Logs, ErrorDetail> {
        let message = format!("nothing is known of the logs of {database:?}");
        Err(detail(ErrorCode::NotFound, message, None))
    }
}

/// Reads from an offset on; fewer bytes than asked only at the end.
type ReadAt = Box<dyn Fn(u64, &mut [u8]) -> Result<usize, ErrorDetail> + Send>;

/// The transactions behind one, held.
pub struct Behind {
    /// Identity and format of the store.
    pub store_id: StoreId,
    /// How long they are together; 0 where none follows yet.
    pub size_bytes: u64,
    /// Reads them.
    pub read_at: ReadAt,
}

/// A hot copy that has begun, and what is known of it from the start.
pub struct Begun {
    /// The copy.
    pub copy: Box<dyn HotCopy>,
    /// Whether a server held the database's lock.
    pub state: DatabaseState,
    /// Identity and format of the store.
    pub store_id: StoreId,
    /// The store's external UUID, hex.
    pub external_uuid: Option<String>,
    /// Checkpoint C; none in an increment.
    pub checkpoint: Option<CheckpointInfo>,
    /// Whether much is to be copied: then an increment has blocks as large as a full copy's.
    pub is_long: bool,
    /// The store's files, derived files first.
    pub files: Vec<FileInfo>,
    /// Derived files that are not in the copy.
    pub left_out: Vec<LeftOut>,
}

/// A hot copy; dropping it releases what it holds. Called from several blocking threads at once.
pub trait HotCopy: Send + Sync + 'static {
    /// Reads from a file; fewer bytes than asked only at the file's end.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn read_at(&self, file: u32, offset_bytes: u64, buf: &mut [u8]) -> Result<usize, ErrorDetail>;
    /// Of what [`HotCopy::read_at`] would read, the first bytes that can be had without waiting for
    /// a disk or a lock: they are read where they are sent, without a change of threads. Other
    /// bytes, or all, are asked for with `read_at`.
    fn read_cached(&self, file: u32, offset_bytes: u64, buf: &mut [u8]) -> usize {
        let _ = (file, offset_bytes, buf);
        0
    }
    /// Whether what was read of a tree is one state of it, and its size for the next try.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn check_whole(&self, file: u32) -> Result<Checked, ErrorDetail>;
    /// Whether an increment may have transactions by now.
    ///
    /// # Errors
    /// When the logs cannot be read.
    fn has_news(&self) -> Result<bool, ErrorDetail> {
        Ok(true)
    }
    /// Has something called whenever [`HotCopy::has_news`] may have become true. It does not block.
    fn on_change(&self, wake: Box<dyn Fn() + Send + Sync>) {
        let _ = wake;
    }
    /// Ends the copy and cuts the logs. The same answer when called again.
    ///
    /// # Errors
    /// When the logs cannot be read or are damaged.
    fn finish(&self) -> Result<Finished, ErrorDetail>;
}
