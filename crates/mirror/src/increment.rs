//! An increment: new bytes of the transaction logs, appended in place.
//!
//! Log bytes behind what the manifest says are not part of the backup, so the manifest's rename is
//! the commit here too: before it nothing has changed, whatever was appended. What a killed run
//! appended is cut off again by the next one.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use client::{Sink, SinkError};
use formats::LogVersion;
use fs::DiskFile;
use jiff::Timestamp;
use source::{LOG_PREFIX, LogReader, LogSizes, log_path};
use wire::api::{FileInfo, FileKind, Session};

use crate::backup::locate;
use crate::known::Known;
use crate::layout::{Area, FILE_MODE, Layout};
use crate::manifest::{FileEntry, HASH_BYTES};
use crate::mirror::Inner;
use crate::staged::{Outcome, require_space};
use crate::{BackupType, DatabaseEntry, Error, Result, chain};

const READ_BYTES: usize = 256 << 10;
/// The length of a file that shows at its end.
const UNSIZED: u64 = u64::MAX;

/// New transactions for the backup of one database. Dropped before [`Increment::commit`], what was
/// appended is cut off again and the backup is as it was.
#[derive(Debug)]
pub struct Increment {
    inner: Arc<Inner>,
    before: DatabaseEntry,
    log_dir: PathBuf,
    /// Blocks of this length come.
    session_block_bytes: u64,
    started: Timestamp,
    files: Mutex<BTreeMap<u32, Appended>>,
    /// Reads what comes.
    reader: LogReader,
    committed: AtomicBool,
}

#[derive(Clone, Debug)]
struct Appended {
    path: PathBuf,
    name: String,
    file: Arc<dyn DiskFile>,
    /// Bytes that the backup has already; these must come again as they are.
    old_bytes: u64,
    size_bytes: u64,
    complete: bool,
    known: Arc<Mutex<Known>>,
    blocks: Arc<Mutex<Received>>,
}

/// The hashes of blocks that have come, by their offsets.
type Received = BTreeMap<u64, [u8; HASH_BYTES]>;

impl Appended {
    fn blocks(&self) -> std::sync::MutexGuard<'_, Received> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares new bytes that begin with some that the backup has.
    fn compare(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut own = vec![0; bytes.len()];
        let opened = File::open(&self.path).map_err(fs::Error::io("open", &self.path))?;
        opened.read_exact_at(&mut own, offset).map_err(fs::Error::io("read", &self.path))?;
        self.known().compare(offset, &own, bytes);
        Ok(())
    }

    /// Fails where a byte differs. A server that cannot tell whether it has the same history shows it by them.
    fn require_same(&self, is_3_0: bool, differs_at: impl Fn(&Known) -> Option<u64>) -> Result<()> {
        let known = self.known();
        let Some(offset_bytes) = differs_at(&known) else { return Ok(()) };
        let file = self.path.clone();
        if is_3_0 && known.is_other_version() {
            return Err(Error::Rewritten { file, offset_bytes });
        }
        if self.size_bytes == UNSIZED {
            return Err(Error::Diverged { file, offset_bytes });
        }
        let what = "the server's log has other bytes than the backup's".to_owned();
        Err(Error::Corrupt { file, offset_bytes: Some(offset_bytes), what })
    }
}

impl Increment {
    pub(crate) fn begin(inner: Arc<Inner>, session: &Session) -> Result<Self> {
        let Some(before) = inner.manifest().database(&session.database).cloned() else {
            return Err(Error::untrusted("an increment of a database that has no backup"));
        };
        if session.store_id != before.store_id || session.external_uuid != before.external_uuid {
            return Err(Error::untrusted("an increment of another store"));
        }
        let log_dir = locate(&inner.dir, &before).dir(Area::Transactions).to_owned();
        Ok(Self {
            reader: chain::read_increment(&log_dir, &before),
            inner,
            before,
            log_dir,
            session_block_bytes: session.block_bytes,
            started: Timestamp::now(),
            files: Mutex::default(),
            committed: AtomicBool::new(false),
        })
    }

    /// Proves that what has come goes on from the backup's last transaction without a gap, and makes
    /// it part of the backup. On an error the backup is as it was.
    pub fn commit(&self, outcome: &Outcome<'_>) -> Result<DatabaseEntry> {
        let finished = outcome.finished;
        let files: Vec<Appended> = self.lock().values().cloned().collect();
        let mut entry = self.before.clone();
        for file in &files {
            if !file.complete {
                return Err(Error::incomplete(&file.name, "its end never came"));
            }
        }
        if files.iter().any(|file| file.old_bytes == 0) {
            self.inner.disk.sync_dir(&self.log_dir)?;
        }
        entry.backup_type = BackupType::Incremental;
        entry.reason = None;
        entry.last_tx = (&finished.last_tx).into();
        entry.transactions = entry.transactions.saturating_add(finished.transactions);
        for file in &files {
            list_unhashed(&mut entry, file);
        }
        self.require_promised(&entry, finished)?;
        // All three are for what has come: the disk writes it while the processors read it.
        let hashed = std::thread::scope(|scope| {
            let syncing = scope.spawn(|| files.iter().try_for_each(|file| file.file.sync()));
            let hashing = scope.spawn(|| self.hash(&files));
            let checked = match finished.transactions {
                0 => Ok(()),
                _ => chain::check_increment(&self.reader, &self.log_dir, &self.before, &entry),
            };
            let hashed = hashing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            syncing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            checked.and(hashed)
        })?;
        for (file, blocks) in files.iter().zip(hashed) {
            set_blocks(&mut entry, file, blocks);
            self.inner.own_changes.note(&file.path);
        }
        self.inner.own_changes.tell(&mut entry, &locate(&self.inner.dir, &self.before));
        let now = Timestamp::now();
        // What was known before stays so, if a transaction is being written now.
        entry.as_of = entry.as_of.max(Some(finished.as_of));
        entry.started = self.started;
        entry.finished = now;
        entry.duration_ms =
            u64::try_from(now.duration_since(self.started).as_millis()).unwrap_or(0);
        entry.bytes_transferred = outcome.bytes_transferred;
        self.committed.store(true, Ordering::SeqCst);
        let done = self.inner.replace(entry.clone());
        if done.is_err() && !self.is_listed(&entry) {
            self.committed.store(false, Ordering::SeqCst);
        }
        done.map(|()| entry)
    }

    /// Asked of the disk, because a rename that reports an error may have happened.
    fn is_listed(&self, entry: &DatabaseEntry) -> bool {
        let found = crate::manifest::read(&self.inner.dir);
        found.map_or(true, |manifest| manifest.database(&entry.name) == Some(entry))
    }

    /// The hashes of all blocks of each file: those that were whole before, and the others as they came, or
    /// read again where those are of other blocks.
    fn hash(&self, files: &[Appended]) -> Result<Vec<Vec<u8>>> {
        files.iter().map(|file| self.hash_file(file)).collect()
    }

    fn hash_file(&self, file: &Appended) -> Result<Vec<u8>> {
        let block_bytes = self.before.block_bytes;
        let first = file.old_bytes.checked_div(block_bytes).unwrap_or(0);
        let kept = usize::try_from(first).unwrap_or(usize::MAX).saturating_mul(HASH_BYTES);
        let mut blocks = Vec::new();
        let is_it = |old: &&FileEntry| is_log_of(old, file) && file.old_bytes > 0;
        if let Some(old) = self.before.files.iter().find(is_it) {
            blocks.extend_from_slice(old.blocks.get(..kept).unwrap_or_default());
        }
        let starts = (first..file.size_bytes.div_ceil(block_bytes))
            .map(|index| index.saturating_mul(block_bytes));
        let received: Option<Vec<_>> = starts.map(|at| file.blocks().get(&at).copied()).collect();
        // The hash of what came is not that of what is kept, where that is in another order.
        let received = received.filter(|_| file.known().differs_at().is_none());
        if let Some(received) = received {
            blocks.extend(received.concat());
            return Ok(blocks);
        }
        let opened = File::open(&file.path).map_err(fs::Error::io("open", &file.path))?;
        hash_blocks(&opened, first, file.size_bytes, block_bytes, &mut blocks)
            .map_err(fs::Error::io("read", &file.path))?;
        Ok(blocks)
    }

    /// Every log that was promised is there as long as promised, and no other.
    fn require_promised(
        &self,
        entry: &DatabaseEntry,
        finished: &wire::api::Finished,
    ) -> Result<()> {
        let sizes = log_sizes(entry);
        for file in &finished.files {
            let version = version_of(&file.path);
            if version.and_then(|version| sizes.get(&version)) != Some(&file.size_bytes) {
                return Err(Error::incomplete(&file.path, "was never copied"));
            }
        }
        let newest = sizes.keys().next_back().copied();
        if newest != Some(finished.last_tx.end.version) {
            return Err(Error::untrusted("log files that the last transaction does not reach"));
        }
        // Then nothing is read.
        if finished.transactions == 0 && entry.last_tx != self.before.last_tx {
            return Err(Error::untrusted("another last transaction, and none that is new"));
        }
        // In Neo4j 3.0 what follows it could be a check point, which recovery would take.
        if self.is_3_0() && sizes.values().next_back() != Some(&entry.last_tx.end.offset_bytes) {
            return Err(Error::untrusted("a log that does not end with the last transaction"));
        }
        Ok(())
    }

    fn begin_file(&self, info: &FileInfo, size_bytes: u64) -> Result<()> {
        let refuse = |what: &str| Err(Error::untrusted(format!("{:?} {what}", info.path)));
        let end = self.before.last_tx.end;
        let version = match version_of(&info.path) {
            Some(version) if info.kind == FileKind::Log && version >= end.version => version,
            _ => return refuse("does not belong to an increment"),
        };
        let mut files = self.lock();
        if files.values().any(|file| file.name == info.path) || files.contains_key(&info.id) {
            return refuse("begins twice");
        }
        let old = self.before.files.iter().find(|file| {
            file.area == Area::Transactions && file.path == info.path && version == end.version
        });
        // A backup of Neo4j 3.0 has one log; a second would have to be removed by hand if we are
        // killed.
        if old.is_none() && self.is_3_0() {
            return refuse("is a second log");
        }
        let old_bytes = old.map_or(0, |old| old.size_bytes);
        if size_bytes < old_bytes {
            return refuse("is shorter than the backup's");
        }
        let is_unsized = size_bytes == UNSIZED;
        let new_bytes = if is_unsized { 0 } else { size_bytes.saturating_sub(old_bytes) };
        require_space(&self.inner.dir, new_bytes)?;
        let path = self.log_dir.join(&info.path);
        let file = match old {
            Some(old) => {
                check_last_block(&path, old, self.before.block_bytes)?;
                self.inner.disk.open_write(&path)?
            }
            None => self.inner.disk.create_file(&path, FILE_MODE)?,
        };
        let appended = Appended {
            path,
            name: info.path.clone(),
            file: file.into(),
            old_bytes,
            size_bytes,
            complete: false,
            known: Arc::new(Mutex::new(Known::new())),
            blocks: Arc::default(),
        };
        files.insert(info.id, appended.clone());
        drop(files);
        if !is_unsized {
            appended.file.set_len(size_bytes)?;
        }
        Ok(())
    }

    fn file(&self, id: u32) -> Result<Appended> {
        let found = self.lock().get(&id).cloned();
        found.ok_or_else(|| Error::untrusted(format!("bytes of file {id}, which has not begun")))
    }

    fn write(&self, id: u32, offset: u64, bytes: &[u8]) -> Result<()> {
        let file = self.file(id)?;
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= file.size_bytes);
        if end.is_none() || file.complete {
            return Err(Error::untrusted(format!("bytes behind the end of {:?}", file.name)));
        }
        // New bytes make an earlier hash of their blocks worthless.
        let first = offset.saturating_sub(offset.checked_rem(self.before.block_bytes).unwrap_or(0));
        file.blocks().retain(|at, _| *at < first || Some(*at) >= end);
        let known = usize::try_from(file.old_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (known, new) = bytes.split_at_checked(known).unwrap_or((bytes, &[]));
        if !known.is_empty() {
            file.compare(offset, known)?;
            if !self.is_3_0() {
                file.require_same(false, Known::differs_at)?;
            }
        }
        if !new.is_empty() {
            file.file.write_at(offset.saturating_add(known.len() as u64), new)?;
        }
        if let Some(version) = version_of(&file.name) {
            self.reader.written(version, file.size_bytes, offset, bytes);
        }
        Ok(())
    }

    fn complete_file(&self, id: u32, size_bytes: u64) -> Result<()> {
        match self.lock().get_mut(&id) {
            Some(file) if file.size_bytes == size_bytes || file.size_bytes == UNSIZED => {
                file.require_same(self.is_3_0(), Known::lacks_at)?;
                file.size_bytes = size_bytes;
                file.complete = true;
                Ok(())
            }
            _ => Err(Error::untrusted(format!("file {id} ends at {size_bytes}"))),
        }
    }

    fn is_3_0(&self) -> bool {
        Layout::of(&self.before.store_id) == Layout::Database
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Appended>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Increment {
    fn create(&self, file: &FileInfo) -> Result<(), SinkError> {
        Ok(self.begin_file(file, file.size_bytes)?)
    }

    fn create_unsized(&self, file: &FileInfo) -> Result<(), SinkError> {
        Ok(self.begin_file(file, UNSIZED)?)
    }

    fn wants_order(&self) -> bool {
        true
    }

    fn write_at(&self, file: u32, offset_bytes: u64, bytes: &[u8]) -> Result<(), SinkError> {
        Ok(self.write(file, offset_bytes, bytes)?)
    }

    fn block(&self, file: u32, offset_bytes: u64, hash: [u8; HASH_BYTES]) -> Result<(), SinkError> {
        // The blocks of a short increment are not those of the manifest.
        if self.session_block_bytes == self.before.block_bytes {
            self.file(file)?.blocks().insert(offset_bytes, hash);
        }
        Ok(())
    }

    fn complete(&self, file: u32, size_bytes: u64) -> Result<(), SinkError> {
        Ok(self.complete_file(file, size_bytes)?)
    }

    fn discard(&self, file: u32) -> Result<(), SinkError> {
        Err(Error::untrusted(format!("file {file} is a log, which cannot be discarded")).into())
    }
}

impl Drop for Increment {
    fn drop(&mut self) {
        if self.committed.load(Ordering::SeqCst) {
            return;
        }
        drop(std::mem::take(&mut *self.lock()));
        // A write that hung may end late: others have gone on since, and what they appended stays.
        let guard = self.inner.manifest();
        if guard.database(&self.before.name) != Some(&self.before) {
            return;
        }
        if let Err(error) = cut_tail(&self.inner, &self.before) {
            // The next run cuts it off.
            let dir = self.log_dir.display();
            tracing::warn!(%dir, %error, "cannot cut off an unfinished increment");
        }
    }
}

fn is_log_of(entry: &FileEntry, file: &Appended) -> bool {
    entry.area == Area::Transactions && entry.path == file.name
}

/// Puts a file's new length into the entry; its hashes follow.
fn list_unhashed(entry: &mut DatabaseEntry, file: &Appended) {
    let new = FileEntry {
        area: Area::Transactions,
        path: file.name.clone(),
        kind: crate::FileKind::Log,
        size_bytes: file.size_bytes,
        changed: None,
        pages_at: None,
        blocks: Vec::new(),
    };
    entry.files.retain(|old| !is_log_of(old, file));
    entry.files.push(new);
    entry.files.sort_by(|a, b| (a.area, &a.path).cmp(&(b.area, &b.path)));
}

fn set_blocks(entry: &mut DatabaseEntry, file: &Appended, blocks: Vec<u8>) {
    if let Some(listed) = entry.files.iter_mut().find(|listed| is_log_of(listed, file)) {
        listed.blocks = blocks;
    }
}

/// Cuts off what an increment appended that was never committed.
pub(crate) fn cut_tail(inner: &Inner, entry: &DatabaseEntry) -> Result<()> {
    let log_dir = locate(&inner.dir, entry).dir(Area::Transactions).to_owned();
    let sizes = log_sizes(entry);
    let mut removed = false;
    for (name, _) in fs::entries(&log_dir)? {
        let Some(version) = name.to_str().and_then(version_of) else { continue };
        let path = log_path(&log_dir, version);
        match sizes.get(&version) {
            None if version > entry.last_tx.end.version => {
                inner.disk.remove_file(&path)?;
                removed = true;
            }
            Some(size_bytes) if version == entry.last_tx.end.version => {
                let found = std::fs::symlink_metadata(&path);
                if found.map_err(fs::Error::io("look at", &path))?.len() > *size_bytes {
                    let file = inner.disk.open_write(&path)?;
                    file.set_len(*size_bytes)?;
                    file.sync()?;
                }
            }
            _ => {}
        }
    }
    if removed {
        inner.disk.sync_dir(&log_dir)?;
    }
    Ok(())
}

/// The number in the name of a transaction log file.
pub(crate) fn version_of(name: &str) -> Option<LogVersion> {
    let number = name.strip_prefix(LOG_PREFIX)?;
    number.parse().ok().filter(|version: &u64| version.to_string() == number).map(LogVersion)
}

/// The block that new bytes are appended to must be what it was.
fn check_last_block(path: &Path, old: &FileEntry, block_bytes: u64) -> Result<()> {
    let index = old.size_bytes.checked_div(block_bytes).unwrap_or(0);
    let opened = File::open(path).map_err(fs::Error::io("open", path))?;
    let mut hash = Vec::new();
    hash_blocks(&opened, index, old.size_bytes, block_bytes, &mut hash)
        .map_err(fs::Error::io("read", path))?;
    if hash.is_empty() || old.block(index) == Some(hash.as_slice()) {
        return Ok(());
    }
    let what = "the block before its end has other bytes than when it was written".to_owned();
    Err(Error::ChangedByHand { path: path.to_owned(), what })
}

/// Hashes blocks from the one with that number on, up to a length.
pub(crate) fn hash_blocks(
    file: &File,
    first: u64,
    size_bytes: u64,
    block_bytes: u64,
    hashes: &mut Vec<u8>,
) -> std::io::Result<()> {
    let mut at = first.saturating_mul(block_bytes);
    let mut buffer = vec![0; READ_BYTES];
    while at < size_bytes {
        let end = at.saturating_add(block_bytes).min(size_bytes);
        let mut hasher = blake3::Hasher::new();
        while at < end {
            let want = usize::try_from(end.saturating_sub(at)).unwrap_or(READ_BYTES);
            let length = want.min(buffer.len());
            let Some(piece) = buffer.get_mut(..length) else { break };
            file.read_exact_at(piece, at)?;
            hasher.update(piece);
            at = at.saturating_add(length as u64);
        }
        hashes.extend_from_slice(hasher.finalize().as_bytes());
    }
    Ok(())
}

/// The sizes of the logs, as a scan wants them.
pub(crate) fn log_sizes(entry: &DatabaseEntry) -> LogSizes {
    let logs = entry.files.iter().filter(|file| file.area == Area::Transactions);
    logs.filter_map(|file| Some((version_of(&file.path)?, file.size_bytes))).collect()
}
