//! Copying a backup's files into staging while they are being verified.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fs::{Disk, DiskFile, Flusher};
use mirror::{Area, CheckedBlocks, Cut, DatabaseEntry, FileRef};

use crate::destination::{Owner, create_owned};
use crate::plan::Plan;
use crate::{Error, Result};

/// The files of a restore, made one after the other by several threads.
pub(crate) struct Copy<'a> {
    disk: &'a dyn Disk,
    owner: Owner,
    files: Vec<Vec<CopyFile>>,
    flusher: Flusher,
    cancelled: &'a AtomicBool,
}

struct CopyFile {
    path: PathBuf,
    /// How many of its bytes are restored.
    kept_bytes: u64,
    open: Mutex<State>,
    done: AtomicU64,
}

enum State {
    New,
    Open(Arc<dyn DiskFile>),
    Complete,
    /// It is not restored.
    LeftOut,
}

impl<'a> Copy<'a> {
    pub fn new(
        disk: &'a dyn Disk,
        owner: Owner,
        databases: &[(&DatabaseEntry, Option<Cut>)],
        plan: &Plan,
        cancelled: &'a AtomicBool,
    ) -> Self {
        let staged = |database: usize, area: Area| {
            plan.half(database, area).map_or_else(PathBuf::new, |half| half.staged.clone())
        };
        let mut files = Vec::new();
        for (database, (entry, cut)) in databases.iter().enumerate() {
            let store = staged(database, Area::Store);
            let transactions = staged(database, Area::Transactions);
            let file = |file: &mirror::FileEntry| {
                let kept = cut.map_or(Some(file.size_bytes), |cut| cut.kept_bytes(file));
                CopyFile {
                    path: match file.area {
                        Area::Store => store.join(&file.path),
                        Area::Transactions => transactions.join(&file.path),
                    },
                    kept_bytes: kept.unwrap_or(0),
                    open: Mutex::new(kept.map_or(State::LeftOut, |_| State::New)),
                    done: AtomicU64::new(0),
                }
            };
            files.push(entry.files.iter().map(file).collect());
        }
        Self { disk, owner, files, flusher: Flusher::start(), cancelled }
    }

    /// Waits until all is durable. Fails if a file is not complete.
    pub fn finish(self) -> Result<()> {
        for file in self.files.iter().flatten() {
            let state = file.open.lock().unwrap_or_else(PoisonError::into_inner);
            if !matches!(*state, State::Complete | State::LeftOut) {
                let incomplete = std::io::Error::other("the copy is incomplete");
                return Err(fs::Error::io("copy", &file.path)(incomplete).into());
            }
        }
        Ok(self.flusher.finish()?)
    }

    /// Its copy, unless it is left out.
    fn file(&self, file: FileRef<'_>) -> Option<&CopyFile> {
        let copy = self.files.get(file.database)?.get(file.index)?;
        let state = copy.open.lock().unwrap_or_else(PoisonError::into_inner);
        (!matches!(*state, State::LeftOut)).then_some(copy)
    }

    fn open(&self, copy: &CopyFile) -> Result<Arc<dyn DiskFile>> {
        let mut state = copy.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Open(file) = &*state {
            return Ok(Arc::clone(file));
        }
        if let Some(parent) = copy.path.parent() {
            create_owned(self.disk, parent, self.owner)?;
        }
        let file: Arc<dyn DiskFile> =
            self.disk.create_file(&copy.path, self.owner.file_mode)?.into();
        self.owner.apply(self.disk, &copy.path, self.owner.file_mode)?;
        if copy.kept_bytes > 0 {
            file.set_len(copy.kept_bytes)?;
        }
        *state = State::Open(Arc::clone(&file));
        Ok(file)
    }
}

impl CheckedBlocks for Copy<'_> {
    type Error = Error;

    fn bytes(&self, file: FileRef<'_>, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        let Some(copy) = self.file(file) else { return Ok(()) };
        let open = self.open(copy)?;
        let kept = copy.kept_bytes.saturating_sub(offset_bytes);
        let kept = usize::try_from(kept).unwrap_or(usize::MAX).min(bytes.len());
        match bytes.get(..kept) {
            Some(kept) if !kept.is_empty() => Ok(open.write_at(offset_bytes, kept)?),
            _ => Ok(()),
        }
    }

    fn piece_done(&self, file: FileRef<'_>, bytes: u64) -> Result<()> {
        let Some(copy) = self.file(file) else { return Ok(()) };
        let open = self.open(copy)?;
        let before = copy.done.fetch_add(bytes, Ordering::SeqCst);
        let after = before.saturating_add(bytes);
        if after == file.file.size_bytes {
            *copy.open.lock().unwrap_or_else(PoisonError::into_inner) = State::Complete;
            self.flusher.sync(open);
        }
        Ok(())
    }
}
