//! Reading a backup's files block by block on several threads, each block checked.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::changes::Changes;
use crate::verify::{Finding, FindingKind};
use crate::{Backup, DatabaseEntry, FileEntry};

/// Called with how many more bytes have been read.
pub type Progress<'a> = &'a (dyn Fn(u64) + Sync);

/// Bytes of one read: small enough to stay in the processor's cache until they are hashed.
const READ_BYTES: usize = 256 << 10;
/// Bytes of one piece of work, where blocks are smaller.
const UNIT_BYTES: u64 = 4 << 20;
/// Threads beyond this only wait for the disk.
const THREADS_MAX: usize = 16;

/// What [`check_blocks`] tells of the files that it reads.
pub trait CheckedBlocks: Sync {
    /// The error with which it may stop everything.
    type Error: Send;

    /// Bytes of a file, not yet known to be right: their block's hash comes after them.
    fn bytes(&self, file: FileRef<'_>, offset_bytes: u64, bytes: &[u8]) -> Result<(), Self::Error>;
    /// A piece of a file has been read, whether right or not; its bytes have all been told.
    fn piece_done(&self, file: FileRef<'_>, bytes: u64) -> Result<(), Self::Error>;
}

/// A file of a database of a backup.
#[derive(Clone, Copy, Debug)]
pub struct FileRef<'a> {
    /// Number of the database among the entries.
    pub database: usize,
    /// Number of the file in the entry.
    pub index: usize,
    /// The file.
    pub file: &'a FileEntry,
}

/// Reads every block of the entries' files and compares it with its hash. All that is wrong is
/// found; files that are missing or of another length are found too.
pub fn check_blocks<C: CheckedBlocks>(
    backup: &Backup,
    entries: &[&DatabaseEntry],
    progress: Progress<'_>,
    visit: &C,
) -> Result<Vec<Finding>, C::Error> {
    let units = units(entries);
    let next = AtomicUsize::new(0);
    let findings = Mutex::new(Vec::new());
    let failed = Mutex::new(None);
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, THREADS_MAX);
    let work = || {
        let mut worker = Worker { backup, entries, open: None, buffer: vec![0; READ_BYTES] };
        while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut found = Vec::new();
            let done = worker.unit(unit, progress, visit, &mut found);
            findings.lock().unwrap_or_else(PoisonError::into_inner).append(&mut found);
            if let Err(error) = done {
                next.store(units.len(), Ordering::Relaxed);
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut findings = findings.into_inner().unwrap_or_else(PoisonError::into_inner);
    findings.sort();
    findings.dedup();
    Ok(findings)
}

/// A run of whole blocks of one file.
struct Unit {
    database: usize,
    index: usize,
    start: u64,
    end: u64,
}

fn units(entries: &[&DatabaseEntry]) -> Vec<Unit> {
    let mut units = Vec::new();
    for (database, entry) in entries.iter().enumerate() {
        let blocks = (UNIT_BYTES / entry.block_bytes).max(1);
        let step = blocks.saturating_mul(entry.block_bytes);
        for (index, file) in entry.files.iter().enumerate() {
            let mut start = 0u64;
            loop {
                let end = file.size_bytes.min(start.saturating_add(step));
                units.push(Unit { database, index, start, end });
                if end == file.size_bytes {
                    break;
                }
                start = end;
            }
        }
    }
    units
}

struct Worker<'a> {
    backup: &'a Backup,
    entries: &'a [&'a DatabaseEntry],
    /// The file that the last unit was of; `None` inside if it cannot be read.
    open: Option<Open>,
    buffer: Vec<u8>,
}

struct Open {
    database: usize,
    index: usize,
    path: PathBuf,
    file: Option<File>,
    changes: Option<Arc<Changes>>,
}

impl Worker<'_> {
    fn unit<C: CheckedBlocks>(
        &mut self,
        unit: &Unit,
        progress: Progress<'_>,
        visit: &C,
        found: &mut Vec<Finding>,
    ) -> Result<(), C::Error> {
        let Some(entry) = self.entries.get(unit.database).copied() else { return Ok(()) };
        let Some(file) = entry.files.get(unit.index) else { return Ok(()) };
        let same = |open: &Open| (open.database, open.index) == (unit.database, unit.index);
        if !self.open.as_ref().is_some_and(same) {
            self.open = Some(open(self.backup, entry, file, unit, found));
        }
        let reference = FileRef { database: unit.database, index: unit.index, file };
        let Some(Open { path, file: Some(opened), changes, .. }) = &self.open else {
            progress(unit.end.saturating_sub(unit.start));
            return Ok(());
        };
        let changes = changes.as_deref();
        let reader = Blocks { entry, reference, path, opened, changes, progress };
        reader.read(unit, &mut self.buffer, visit, found)?;
        visit.piece_done(reference, unit.end.saturating_sub(unit.start))
    }
}

struct Blocks<'a> {
    entry: &'a DatabaseEntry,
    reference: FileRef<'a>,
    path: &'a PathBuf,
    opened: &'a File,
    changes: Option<&'a Changes>,
    progress: Progress<'a>,
}

impl Blocks<'_> {
    fn read<C: CheckedBlocks>(
        &self,
        unit: &Unit,
        buffer: &mut [u8],
        visit: &C,
        found: &mut Vec<Finding>,
    ) -> Result<(), C::Error> {
        fs::will_need(self.opened, unit.start, unit.end.saturating_sub(unit.start));
        let mut start = unit.start;
        while start < unit.end {
            let end = unit.end.min(start.saturating_add(self.entry.block_bytes));
            let mut hasher = blake3::Hasher::new();
            let mut at = start;
            while at < end {
                let want = usize::try_from(end.saturating_sub(at)).unwrap_or(READ_BYTES);
                let length = want.min(buffer.len());
                let Some(piece) = buffer.get_mut(..length) else { break };
                let read = match self.changes {
                    Some(changes) => {
                        changes.read_at(&self.reference.file.path, self.opened, at, piece)
                    }
                    None => self.opened.read_exact_at(piece, at),
                };
                if let Err(error) = read {
                    found.push(self.unreadable(at, &error));
                    break;
                }
                hasher.update(piece);
                visit.bytes(self.reference, at, piece)?;
                (self.progress)(piece.len() as u64);
                at = at.saturating_add(piece.len() as u64);
            }
            if at < end {
                (self.progress)(unit.end.saturating_sub(at));
                return Ok(());
            }
            let index = start.checked_div(self.entry.block_bytes).unwrap_or(0);
            if self.reference.file.block(index) != Some(hasher.finalize().as_bytes()) {
                found.push(self.finding(start, FindingKind::Block, "the bytes have changed"));
            }
            start = end;
        }
        Ok(())
    }

    /// A read that ends early belongs to the wrong length, which `open` has found.
    fn unreadable(&self, at: u64, error: &std::io::Error) -> Finding {
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            return self.finding(at, FindingKind::Size, "the file ends within this block");
        }
        self.finding(at, FindingKind::Unreadable, &error.to_string())
    }

    fn finding(&self, offset: u64, kind: FindingKind, what: &str) -> Finding {
        Finding::new(&self.entry.name, self.path.clone(), kind, what).at(offset)
    }
}

fn open(
    backup: &Backup,
    entry: &DatabaseEntry,
    file: &FileEntry,
    unit: &Unit,
    found: &mut Vec<Finding>,
) -> Open {
    let path = backup.locate(entry).file(file);
    let finding = |kind, what: &str| Finding::new(&entry.name, path.clone(), kind, what);
    let changes = backup.changes(entry, file);
    let opened = match std::fs::symlink_metadata(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            found.push(finding(FindingKind::Missing, "the file is missing"));
            None
        }
        Err(e) => {
            found.push(finding(FindingKind::Unreadable, &e.to_string()));
            None
        }
        Ok(metadata) if !metadata.is_file() => {
            found.push(finding(FindingKind::NotAFile, "not an ordinary file"));
            None
        }
        Ok(metadata) => {
            let (size, expected) = (metadata.len(), file.size_bytes);
            // What lies behind the last transaction is not part of the backup.
            let is_tail = size > expected && entry.is_newest_log(file);
            if size != expected && !is_tail && changes.is_none() {
                let what = format!("{size} bytes long instead of {expected}");
                found.push(finding(FindingKind::Size, &what));
            }
            match File::open(&path) {
                Ok(opened) => Some(opened),
                Err(e) => {
                    found.push(finding(FindingKind::Unreadable, &e.to_string()));
                    None
                }
            }
        }
    };
    Open { database: unit.database, index: unit.index, path, file: opened, changes }
}
