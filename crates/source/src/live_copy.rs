//! What a live database is copied by: a hot copy or an increment, of whichever version.

use formats::{StoreId, TimestampMs, TxId};

use crate::derived::LeftOut;
use crate::installation::{Database, State};
use crate::log_files::RecoveryStart;
use crate::logs::Waker;
use crate::scan::LastTx;
use crate::{After, Error, HotCopy, Increment, Result, v3_0};

/// A hot copy of a database, or its transactions after a backup's last one. Dropping it releases every descriptor.
/// Called from several threads at once.
pub trait LiveCopy: Send + Sync + 'static {
    /// Online or offline, as the copy began.
    fn state(&self) -> State;

    /// Identity and format of the store.
    fn store_id(&self) -> &StoreId;

    /// The store's external UUID; Neo4j 3.0 has none.
    fn external_uuid(&self) -> Option<[u8; 16]> {
        None
    }

    /// Where recovery of a hot copy starts.
    fn start(&self) -> Option<RecoveryStart> {
        None
    }

    /// Derived files that could not be held.
    fn left_out(&self) -> &[LeftOut] {
        &[]
    }

    /// The files of a hot copy, derived ones first; once finished, the logs and the checkpoint file too.
    fn files(&self) -> Vec<CopyFile> {
        Vec::new()
    }

    /// Whether so many bytes or more are to be copied.
    ///
    /// # Errors
    /// When the logs cannot be read.
    fn has_more_than(&self, bytes: u64) -> Result<bool> {
        let _ = bytes;
        Ok(true)
    }

    /// Fills `buf` with a file's bytes from `offset` on; short only at the end of what is to be
    /// copied, or where the file has become shorter. Store files before [`finish`](Self::finish) only, logs after it.
    ///
    /// # Errors
    /// When the file cannot be read, or not any more.
    fn read_at(&self, file: u32, offset: u64, buf: &mut [u8]) -> Result<usize>;

    /// As much from `offset` on as can be had at once: at most what [`read_at`](Self::read_at) would
    /// give, often nothing. Waits for neither the disk nor a lock.
    fn read_cached(&self, file: u32, offset: u64, buf: &mut [u8]) -> usize {
        let _ = (file, offset, buf);
        0
    }

    /// Whether the bytes of a tree that were read since the copy began, or since the last check,
    /// are one state of it. Files that are no trees always are.
    ///
    /// # Errors
    /// When there is no such file, or when it cannot be read.
    fn check_whole(&self, file: u32) -> Result<Checked> {
        let files = self.files();
        let found = files.iter().find(|found| found.id == file);
        let found = found.ok_or(Error::State("no such file in this copy"))?;
        Ok(Checked { whole: true, size_bytes: found.size_bytes })
    }

    /// Whether a transaction follows the backup's last one, or has begun to be written.
    ///
    /// # Errors
    /// When the logs cannot be read.
    fn has_news(&self) -> Result<bool> {
        Ok(true)
    }

    /// Has something called whenever [`has_news`](Self::has_news) may have become true.
    fn on_change(&self, wake: Waker) {
        let _ = wake;
    }

    /// Ends the copy: waits for reads under way, then looks for commit E, the last one that the logs hold now. The
    /// same answer again if it has ended already.
    ///
    /// # Errors
    /// When the logs cannot be read or are damaged, or when the store is not what it was.
    fn finish(&self) -> Result<Finished>;
}

impl Database {
    /// Begins a hot copy.
    ///
    /// # Errors
    /// When the database cannot be copied as it is.
    pub fn hot_copy(&self) -> Result<Box<dyn LiveCopy>> {
        Ok(match self.is_v3_0() {
            true => Box::new(v3_0::HotCopy::begin(self)?),
            false => Box::new(HotCopy::begin(self)?),
        })
    }

    /// Begins an increment.
    ///
    /// # Errors
    /// Those of [`Increment::begin`].
    pub fn increment(&self, after: After) -> Result<Box<dyn LiveCopy>> {
        Ok(match self.is_v3_0() {
            true => Box::new(v3_0::Increment::begin(self, after)?),
            false => Box::new(Increment::begin(self, after)?),
        })
    }
}

/// One file of a hot copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyFile {
    /// Its number within the copy.
    pub id: u32,
    /// What it is.
    pub kind: FileKind,
    /// Relative to the store directory, or to the log directory for logs and checkpoint files.
    pub path: String,
    /// How many bytes to copy.
    pub size_bytes: u64,
}

/// The kinds of files in a hot copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A record store or `neostore`.
    Record,
    /// A tree, to be checked after its last byte.
    Tree,
    /// A file of a Lucene index, held as part of a commit.
    Lucene,
    /// A transaction log file.
    Log,
    /// The checkpoint file.
    Checkpoint,
    /// Neo4j 3.0: a file of counts.
    Counts,
    /// Neo4j 3.0: a file of a legacy index, or their list.
    LegacyIndex,
}

/// Whether a tree was copied whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// It was.
    pub whole: bool,
    /// How many bytes to copy on the next try.
    pub size_bytes: u64,
}

/// A derived file that must not stay in the copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Its number within the copy.
    pub id: u32,
    /// Why.
    pub reason: String,
}

/// The end of a hot copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The logs from C to E and the checkpoint file up to C.
    pub files: Vec<CopyFile>,
    /// Derived files that were replaced or removed while the copy ran.
    pub stale: Vec<Stale>,
    /// E0: from this transaction on the copy is consistent.
    pub first_consistent_tx_id: TxId,
    /// E.
    pub last_tx: LastTx,
    /// Transactions from C to E.
    pub transactions: u64,
    /// Up to when there was nothing to be had but what goes up to E: when E began to be looked for, or where a
    /// transaction was being written behind it, the time of E.
    pub as_of: TimestampMs,
}

/// How a copy ended, and what its logs are read from.
pub(crate) struct End<L> {
    pub(crate) finished: Finished,
    pub(crate) logs: L,
}

impl<L> End<L> {
    /// The end that was found before, or else this one, which is kept.
    pub(crate) fn once(
        end: &mut Option<Self>,
        find: impl FnOnce() -> Result<Self>,
    ) -> Result<Finished> {
        if let Some(end) = end {
            return Ok(end.finished.clone());
        }
        let found = end.insert(find()?);
        Ok(found.finished.clone())
    }
}

/// The part of `buf` that lies before `size` when it is filled from `offset` on.
pub(crate) fn limit(buf: &mut [u8], offset: u64, size: u64) -> &mut [u8] {
    let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
    let length = buf.len().min(left);
    buf.get_mut(..length).unwrap_or_default()
}
