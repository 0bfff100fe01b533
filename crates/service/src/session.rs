//! Sessions: hot copies with a lease.
//!
//! A session is *copying* until `finish`, then *finished*. No byte of a store file is read once it
//! is finished: each read happens inside a read lock that `finish` takes for writing before it
//! asks the source for the end of the logs.

mod registry;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use wire::api::{self, Checked, ErrorCode, ErrorDetail, FileInfo, FileKind, Finished};

use crate::answer::detail;
use crate::catalog::{Begun, HotCopy};

pub(crate) use registry::Registry;

/// The smallest block of a full copy.
const MIN_BLOCK_BYTES: u64 = 1 << 20;
/// The block of a short increment, whose first block is partly what the backup has already.
const INCREMENT_BLOCK_BYTES: u64 = 64 << 10;
/// How many blocks a session's files have together, unless it has more files than that.
const MAX_BLOCKS: u64 = 65_536;

/// One hot copy that is being served.
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) database: String,
    pub(crate) block_bytes: u64,
    pub(crate) is_increment: bool,
    owner: String,
    copy: Box<dyn HotCopy>,
    files: RwLock<HashMap<u32, File>>,
    /// True once the session is finished. Each read of a store file holds it for reading.
    finishing: RwLock<bool>,
    /// One `finish` at a time; whether one has succeeded.
    finished: Mutex<bool>,
    closed: AtomicBool,
    changed: OnceLock<Arc<Notify>>,
    users: AtomicUsize,
    touched: Mutex<Instant>,
}

/// A file of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct File {
    pub(crate) kind: FileKind,
    pub(crate) size_bytes: u64,
}

/// While it lives the session's lease does not run out.
pub(crate) struct InUse(pub(crate) Arc<Session>);

impl Session {
    /// A session of a hot copy, and what the client is told of it.
    pub(crate) fn new(
        id: String,
        owner: String,
        database: String,
        begun: Begun,
        lease: Duration,
    ) -> (Self, api::Session) {
        let is_increment = begun.checkpoint.is_none();
        let block_bytes = match is_increment && !begun.is_long {
            true => INCREMENT_BLOCK_BYTES,
            false => block_bytes(&begun.files),
        };
        let session = Self {
            id: id.clone(),
            database: database.clone(),
            block_bytes,
            is_increment,
            owner,
            copy: begun.copy,
            files: RwLock::new(table(&begun.files).collect()),
            finishing: RwLock::new(false),
            finished: Mutex::new(false),
            closed: AtomicBool::new(false),
            changed: OnceLock::new(),
            users: AtomicUsize::new(0),
            touched: Mutex::new(Instant::now()),
        };
        let answer = api::Session {
            session_id: id,
            lease_seconds: lease.as_secs().max(1),
            database,
            state: begun.state,
            store_id: begun.store_id,
            external_uuid: begun.external_uuid,
            checkpoint: begun.checkpoint,
            block_bytes,
            files: begun.files,
            left_out: begun.left_out,
        };
        (session, answer)
    }

    /// A file of the session by its number.
    pub(crate) fn file(&self, id: u32) -> Result<File, ErrorDetail> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        files.get(&id).copied().ok_or_else(|| {
            detail(ErrorCode::NotFound, format!("the session has no file {id}"), None)
        })
    }

    /// Reads a file, but a store file only while the session is copying.
    pub(crate) fn read_at(
        &self,
        id: u32,
        kind: FileKind,
        offset_bytes: u64,
        buf: &mut [u8],
    ) -> Result<usize, ErrorDetail> {
        if self.closed.load(Ordering::Acquire) {
            return Err(detail(ErrorCode::NotFound, "the session has ended", None));
        }
        if kind.in_transactions() {
            return self.copy.read_at(id, offset_bytes, buf);
        }
        let finishing = self.finishing.read().unwrap_or_else(PoisonError::into_inner);
        if *finishing {
            return Err(after_finish());
        }
        self.copy.read_at(id, offset_bytes, buf)
    }

    /// Of what [`Session::read_at`] would read, the first bytes that can be had without waiting.
    pub(crate) fn read_cached(
        &self,
        id: u32,
        kind: FileKind,
        offset_bytes: u64,
        buf: &mut [u8],
    ) -> usize {
        let Ok(finishing) = self.finishing.try_read() else { return 0 };
        if self.closed.load(Ordering::Acquire) || (*finishing && !kind.in_transactions()) {
            return 0;
        }
        self.copy.read_cached(id, offset_bytes, buf)
    }

    /// Whether what was read of a tree is whole.
    pub(crate) fn check_whole(&self, id: u32) -> Result<Checked, ErrorDetail> {
        if self.file(id)?.kind != FileKind::Tree {
            return Err(detail(ErrorCode::BadRequest, format!("file {id} is not a tree"), None));
        }
        let finishing = self.finishing.read().unwrap_or_else(PoisonError::into_inner);
        if *finishing {
            return Err(after_finish());
        }
        let checked = self.copy.check_whole(id)?;
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.get_mut(&id) {
            file.size_bytes = checked.size_bytes;
        }
        Ok(checked)
    }

    /// Whether there is something for `finish` to find, or nobody wants it any more.
    pub(crate) fn has_news(&self) -> Result<bool, ErrorDetail> {
        Ok(self.closed.load(Ordering::Acquire) || self.copy.has_news()?)
    }

    /// Is notified whenever [`Session::has_news`] may have become true.
    pub(crate) fn changed(&self) -> Arc<Notify> {
        let watch = || {
            let changed = Arc::new(Notify::new());
            let wake = Arc::clone(&changed);
            self.copy.on_change(Box::new(move || wake.notify_waiters()));
            changed
        };
        Arc::clone(self.changed.get_or_init(watch))
    }

    /// Ends the copying: running streams of store files end with an error.
    pub(crate) fn finish(&self) -> Result<Finished, ErrorDetail> {
        // Once the lock is had, no read is under way and each later one sees the flag.
        *self.finishing.write().unwrap_or_else(PoisonError::into_inner) = true;
        let mut succeeded = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        let finished = self.copy.finish()?;
        self.files.write().unwrap_or_else(PoisonError::into_inner).extend(table(&finished.files));
        *succeeded = true;
        Ok(finished)
    }

    /// Whether `finish` has been asked for.
    pub(crate) fn is_finishing(&self) -> bool {
        *self.finishing.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the client got all that it needs for a good copy. Does not wait for `finish`.
    fn is_finished(&self) -> bool {
        self.finished.try_lock().is_ok_and(|finished| *finished)
    }

    fn touch(&self) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn is_expired(&self, lease: Duration) -> bool {
        let touched = *self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        self.users.load(Ordering::Acquire) == 0 && touched.elapsed() > lease
    }
}

impl InUse {
    fn new(session: Arc<Session>) -> Self {
        session.users.fetch_add(1, Ordering::AcqRel);
        session.touch();
        Self(session)
    }
}

impl Clone for InUse {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.0))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.touch();
        self.0.users.fetch_sub(1, Ordering::AcqRel);
    }
}

fn after_finish() -> ErrorDetail {
    detail(
        ErrorCode::Conflict,
        "the session is finished: no store file can be read any more",
        Some("open a new session"),
    )
}

fn table(files: &[FileInfo]) -> impl Iterator<Item = (u32, File)> + '_ {
    files.iter().map(|file| (file.id, File { kind: file.kind, size_bytes: file.size_bytes }))
}

/// 1 MiB, doubled until there are few enough blocks for a manifest that fits into memory.
fn block_bytes(files: &[FileInfo]) -> u64 {
    let non_empty = files.iter().filter(|file| file.size_bytes > 0).count();
    let max = MAX_BLOCKS.max(2 * u64::try_from(non_empty).unwrap_or(u64::MAX / 2));
    let mut block_bytes = MIN_BLOCK_BYTES;
    while files.iter().map(|file| file.size_bytes.div_ceil(block_bytes)).sum::<u64>() > max {
        block_bytes *= 2;
    }
    block_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(sizes: &[u64]) -> Vec<FileInfo> {
        let file = |(id, size_bytes): (usize, &u64)| FileInfo {
            id: u32::try_from(id).unwrap(),
            kind: FileKind::Record,
            path: String::new(),
            size_bytes: *size_bytes,
        };
        sizes.iter().enumerate().map(file).collect()
    }

    #[test]
    fn blocks_grow_with_the_database() {
        let mib = 1 << 20;
        assert_eq!(block_bytes(&[]), mib);
        assert_eq!(block_bytes(&files(&[0, 1, mib])), mib);
        assert_eq!(block_bytes(&files(&[mib * 65_536])), mib);
        assert_eq!(block_bytes(&files(&[mib * 65_536, 1])), 2 * mib);
        assert_eq!(block_bytes(&files(&[mib * 1_048_576])), 16 * mib);
        assert_eq!(block_bytes(&files(&vec![1; 100_000])), mib);
    }
}
