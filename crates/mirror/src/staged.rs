//! A backup being made: where a copy's bytes go until it is committed.

mod file;

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use client::{Base, Sink, SinkError};
use fs::Flusher;
use jiff::Timestamp;
use wire::api::{CheckpointInfo, FileInfo, Finished, Session};
use wire::pages::Group;

use crate::backup::{Located, locate};
use crate::changes::Journal;
use crate::layout::{Area, DIR_MODE, STAGED_NAME, is_database_name, is_plain_path, staged_dir};
use crate::manifest::{Checkpoint, FileEntry, HASH_BYTES, LeftOut};
use crate::mirror::Inner;
use crate::pages::{self, NewPages, Pages};
use crate::unchanged::{note_times, require_unchanged};
use crate::{BackupType, DatabaseEntry, Error, Reason, Result, chain, store};
use file::{Old, StagedFile};

/// More hashes than this would need too much memory: a session has at most 65536 by design.
const BLOCKS_MAX: u64 = 1 << 20;
/// More files than any store has.
const FILES_MAX: usize = 1 << 20;
/// Smaller files are copied as a whole: among them the store's metadata, which is read before the
/// changes are in their places.
const BASE_BYTES_MIN: u64 = 16 << 10;
/// Space that must be left over when the copy begins.
pub const SPARE_BYTES: u64 = 16 << 20;

/// A new full backup of one database. Dropped before [`Staged::commit`], it is removed again and
/// the backup that was there stays as it was.
#[derive(Debug)]
pub struct Staged {
    inner: Arc<Inner>,
    session: Session,
    reason: Reason,
    generation: String,
    dir: PathBuf,
    started: Timestamp,
    space: Space,
    files: RwLock<BTreeMap<u32, Arc<StagedFile>>>,
    /// The backup that is there, as far as it can serve; and where its changed pages go.
    base: Option<(BaseBackup, Arc<Journal>)>,
    pages: NewPages,
    flusher: Mutex<Option<Flusher>>,
    /// Of all files that have begun: each has a hash in memory.
    blocks: AtomicU64,
    committed: AtomicBool,
}

/// A backup of the same store, whose files the new one takes over as far as they have not changed.
#[derive(Debug)]
struct BaseBackup {
    entry: DatabaseEntry,
    located: Located,
    /// What is known of its store without reading it; `None` if it shall be read.
    pages: Option<Pages>,
}

/// How much space a new backup takes beside what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// If nothing has changed.
    pub at_least_bytes: u64,
    /// If everything has.
    pub at_most_bytes: u64,
    /// What is free.
    pub free_bytes: u64,
}

/// What is known once all bytes have come.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<'a> {
    /// The service's last answer.
    pub finished: &'a Finished,
    /// Derived files that were discarded, with the reasons; those that the session left out from
    /// the beginning, and stale ones, need not be in it.
    pub left_out: &'a [wire::api::LeftOut],
    /// Bytes that came over the network.
    pub bytes_transferred: u64,
    /// Checkpoint C, of a full copy.
    pub checkpoint: Option<&'a CheckpointInfo>,
}

impl Staged {
    pub(crate) fn begin(inner: Arc<Inner>, session: &Session, reason: Reason) -> Result<Self> {
        check_session(session)?;
        let base = BaseBackup::find(&inner, session, reason);
        let needed = session.files.iter().filter(|file| {
            base.as_ref().and_then(|base| base.file(file)).is_none_or(|old| !old.can_be_linked())
        });
        let needed = needed.fold(0u64, |sum, f| sum.saturating_add(f.size_bytes));
        let all = session.files.iter().fold(0u64, |sum, f| sum.saturating_add(f.size_bytes));
        let needed = needed.saturating_add(pages::length_of(all));
        require_space(&inner.dir, needed.saturating_add(SPARE_BYTES))?;
        let started = Timestamp::now();
        let generation = new_generation(started, &inner.dir)?;
        let dir = staged_dir(&inner.dir, &generation);
        let guard = inner.manifest();
        inner.disk.create_dir_all(&inner.dir.join(STAGED_NAME), DIR_MODE)?;
        inner.disk.create_dir(&dir, DIR_MODE)?;
        drop(guard);
        let base = match base {
            Some(base) => Some((base, Journal::create(&*inner.disk, &dir)?)),
            None => None,
        };
        let pages = NewPages::create(&*inner.disk, &inner.dir, &generation)?;
        let space = Space {
            at_least_bytes: needed,
            at_most_bytes: all.saturating_add(pages::length_of(all)),
            free_bytes: fs::free_bytes(&inner.dir)?,
        };
        let staged = Self {
            inner,
            base,
            pages,
            space,
            session: session.clone(),
            reason,
            generation,
            dir,
            started,
            files: RwLock::default(),
            flusher: Mutex::new(Some(Flusher::start())),
            blocks: AtomicU64::new(0),
            committed: AtomicBool::new(false),
        };
        for area in Area::ALL {
            staged.inner.disk.create_dir(&staged.dir.join(area.staged_name()), DIR_MODE)?;
        }
        Ok(staged)
    }

    /// What it takes on the disk, logs not counted.
    #[must_use]
    pub fn space(&self) -> Space {
        self.space
    }

    /// Proves that the copy is whole and leads from C to E, and makes it the database's backup.
    /// On an error the backup that was there is unchanged, except for [`Error::RollForward`].
    pub fn commit(&self, outcome: &Outcome<'_>) -> Result<DatabaseEntry> {
        for stale in &outcome.finished.stale {
            if self.files().contains_key(&stale.id) {
                self.forget(stale.id)?;
            }
        }
        let flusher = lock(&self.flusher).take();
        let Some(flusher) = flusher else {
            return Err(Error::untrusted("a copy that is committed twice"));
        };
        let mut entry = self.entry(outcome)?;
        flusher.finish()?;
        if let Some((_, journal)) = &self.base {
            let files = self.files();
            let listed = files.values().filter_map(|file| file.listed()).collect();
            journal.finish(&*self.inner.disk, &self.dir, listed)?;
            // Once committed it must be possible to write them all into their places.
            require_space(&self.inner.dir, journal.length_bytes())?;
        }
        fs::sync_tree(&*self.inner.disk, &self.dir)?;
        self.inner.disk.sync_dir(&self.inner.dir.join(STAGED_NAME))?;
        let staged = Located::staged(&self.dir);
        let mut findings = store::findings(&staged, &entry);
        findings.extend(chain::findings(staged.dir(Area::Transactions), &entry));
        if let Some(finding) = findings.into_iter().next() {
            let (file, offset_bytes, what) = (finding.path, finding.offset_bytes, finding.what);
            return Err(Error::Corrupt { file, offset_bytes, what });
        }
        note_times(&mut entry, &staged);
        // From here on the files must not be removed, whatever fails.
        self.committed.store(true, Ordering::SeqCst);
        let done = self.inner.commit(entry.clone());
        if done.is_err() && !self.is_named_by_manifest() {
            self.committed.store(false, Ordering::SeqCst);
        }
        done.map(|()| entry)
    }

    /// Asked of the disk, because a rename that reports an error may have happened.
    fn is_named_by_manifest(&self) -> bool {
        match crate::manifest::read(&self.inner.dir) {
            Ok(manifest) => manifest.databases.iter().any(|e| e.generation == self.generation),
            Err(Error::NotABackup { .. }) => false,
            Err(_) => true,
        }
    }

    fn entry(&self, outcome: &Outcome<'_>) -> Result<DatabaseEntry> {
        let finished = outcome.finished;
        let files = self.finished_files(finished)?;
        let now = Timestamp::now();
        let duration_ms = now.duration_since(self.started).as_millis();
        Ok(DatabaseEntry {
            name: self.session.database.clone(),
            generation: self.generation.clone(),
            backup_type: BackupType::Full,
            reason: Some(self.reason),
            store_id: self.session.store_id.clone(),
            store_id_text: self.session.store_id.to_string(),
            external_uuid: self.session.external_uuid.clone(),
            checkpoint: Checkpoint::from(
                outcome
                    .checkpoint
                    .ok_or_else(|| Error::untrusted("a full copy without a checkpoint"))?,
            ),
            first_consistent_tx_id: finished.first_consistent_tx_id,
            last_tx: (&finished.last_tx).into(),
            transactions: finished.transactions,
            as_of: Some(finished.as_of),
            started: self.started,
            finished: now,
            bytes_transferred: outcome.bytes_transferred,
            duration_ms: u64::try_from(duration_ms).unwrap_or(0),
            left_out: self.left_out(outcome),
            block_bytes: self.session.block_bytes,
            files,
        })
    }

    /// All files, each complete; every file that was promised, and no other.
    fn finished_files(&self, finished: &Finished) -> Result<Vec<FileEntry>> {
        let staged = self.files();
        let is_stale = |id| finished.stale.iter().any(|stale| stale.id == id);
        let mut promised = BTreeMap::new();
        for file in self.session.files.iter().chain(&finished.files) {
            promised.insert(file.id, file);
            let may_be_missing = file.kind.is_derived();
            if !may_be_missing && !staged.contains_key(&file.id) {
                return Err(Error::incomplete(&file.path, "was never copied"));
            }
        }
        let mut entries = Vec::new();
        for (id, file) in &*staged {
            let info = file.info();
            let same = promised.get(id).is_some_and(|promised| {
                promised.path == info.path
                    && promised.kind == info.kind
                    // Log files grow no more after `finish`; trees may have been copied anew.
                    && (info.kind.is_derived() || promised.size_bytes == file.size_bytes())
            });
            if !same || is_stale(*id) {
                return Err(Error::untrusted(format!("file {:?} was not promised", info.path)));
            }
            entries.push(file.entry()?);
        }
        entries.sort_by(|a, b| (a.area, &a.path).cmp(&(b.area, &b.path)));
        Ok(entries)
    }

    fn left_out(&self, outcome: &Outcome<'_>) -> Vec<LeftOut> {
        let mut left_out: BTreeMap<String, String> = BTreeMap::new();
        let mut add = |path: &str, reason: &str| {
            left_out.insert(path.to_owned(), reason.to_owned());
        };
        let staged = self.files();
        for file in &self.session.files {
            if !staged.contains_key(&file.id) {
                let stale = outcome.finished.stale.iter().find(|stale| stale.id == file.id);
                add(&file.path, stale.map_or("it did not hold still", |stale| &stale.reason));
            }
        }
        for file in self.session.left_out.iter().chain(outcome.left_out) {
            add(&file.path, &file.reason);
        }
        for file in staged.values() {
            left_out.remove(&file.info().path);
        }
        left_out.into_iter().map(|(path, reason)| LeftOut { path, reason }).collect()
    }

    fn files(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<u32, Arc<StagedFile>>> {
        self.files.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, id: u32) -> Result<Arc<StagedFile>> {
        let found = self.files().get(&id).cloned();
        found.ok_or_else(|| Error::untrusted(format!("bytes of file {id}, which has not begun")))
    }

    /// Counts blocks of a file, each of which has a hash in memory.
    fn count_blocks(&self, path: &str, blocks: u64) -> Result<()> {
        let add = |sum: u64| sum.checked_add(blocks).filter(|sum| *sum <= BLOCKS_MAX);
        match self.blocks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => Ok(()),
            Err(sum) => Err(Error::untrusted(format!("{path:?} brings {blocks} blocks to {sum}"))),
        }
    }

    fn begin_file(&self, info: &FileInfo, is_unsized: bool) -> Result<()> {
        check_file(info)?;
        if !is_unsized {
            self.count_blocks(&info.path, info.size_bytes.div_ceil(self.session.block_bytes))?;
        }
        let area = if info.kind.in_transactions() { Area::Transactions } else { Area::Store };
        let path = self.dir.join(area.staged_name()).join(&info.path);
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        if files.contains_key(&info.id) || files.len() >= FILES_MAX {
            return Err(Error::untrusted(format!("file {:?} begins twice", info.path)));
        }
        if let Some(parent) = path.parent() {
            self.inner.disk.create_dir_all(parent, DIR_MODE)?;
        }
        let file = if is_unsized {
            let (disk, block_bytes) = (&*self.inner.disk, self.session.block_bytes);
            StagedFile::create_unsized(disk, path, info, block_bytes)?
        } else {
            self.new_file(path, info)?
        };
        files.insert(info.id, Arc::new(file));
        Ok(())
    }

    fn new_file(&self, path: PathBuf, info: &FileInfo) -> Result<StagedFile> {
        let block_bytes = self.session.block_bytes;
        let is_known = !info.kind.in_transactions() && info.size_bytes >= BASE_BYTES_MIN;
        let pages_at = is_known.then(|| self.pages.reserve(info.size_bytes));
        let mut old = None;
        if let Some((base, journal)) = &self.base {
            old = base.file(info);
            let linked = old.as_ref().filter(|old| old.can_be_linked());
            let link = |old: &Old| {
                let files = [(old.path.as_path(), old.changed.as_deref())];
                let (disk, own_changes) = (&self.inner.disk, &self.inner.own_changes);
                own_changes.link(&self.inner.dir, &files, || disk.hard_link(&old.path, &path))
            };
            if let Some(linked) = linked
                && link(linked)?
            {
                let linked = linked.clone();
                let changed = journal.file();
                return Ok(StagedFile::linked(changed, path, info, block_bytes, pages_at, linked));
            }
        }
        require_space(&self.inner.dir, info.size_bytes)?;
        StagedFile::create(&*self.inner.disk, path, info, block_bytes, pages_at, old)
    }

    fn forget(&self, id: u32) -> Result<()> {
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = files.remove(&id) else {
            return Err(Error::untrusted(format!("file {id} ends, which has not begun")));
        };
        // A discarded file that Neo4j cannot rebuild must begin anew: `commit` looks for it.
        let links: Vec<_> = file.linked_to().into_iter().collect();
        let disk = &*self.inner.disk;
        self.inner.own_changes.link(&self.inner.dir, &links, || file.remove(disk))
    }
}

impl BaseBackup {
    /// The backup of the same store, if it is as our last run left it.
    fn find(inner: &Inner, session: &Session, reason: Reason) -> Option<Self> {
        let entry = inner.manifest().database(&session.database).cloned()?;
        if entry.store_id != session.store_id || entry.external_uuid != session.external_uuid {
            return None;
        }
        if let Err(error) = require_unchanged(&inner.dir, &entry, &inner.own_changes) {
            tracing::info!(%error, "copying everything");
            return None;
        }
        let located = locate(&inner.dir, &entry);
        // Whoever asks for a full backup may do so because of damage in the old one: that is found by
        // reading it.
        let is_requested = reason == Reason::Requested;
        let pages = Pages::open(&inner.dir, &entry.generation).filter(|_| !is_requested);
        Some(Self { entry, located, pages })
    }

    /// The old version of a file.
    fn file(&self, info: &FileInfo) -> Option<Old> {
        let area = if info.kind.in_transactions() { Area::Transactions } else { Area::Store };
        let is_it = |old: &&FileEntry| {
            old.area == area && old.path == info.path && old.kind == info.kind.into()
        };
        let old = self.entry.files.iter().find(is_it)?;
        let path = self.located.file(old);
        // In the checkpoint file and small ones there is nothing to be saved.
        let is_worth_it = old.size_bytes >= BASE_BYTES_MIN;
        let in_transactions = area == Area::Transactions;
        is_worth_it.then_some(Old {
            path,
            size_bytes: old.size_bytes,
            changed: old.changed.clone(),
            in_transactions,
            block_bytes: self.entry.block_bytes,
            blocks: old.blocks.clone(),
            pages_at: old.pages_at,
            linked_as: None,
        })
    }
}

impl Old {
    /// Logs are not: what lies behind their end in the manifest would be in the link, too. And
    /// somebody else may have made links to a backup, to keep it as it is.
    fn can_be_linked(&self) -> bool {
        let links = std::fs::symlink_metadata(&self.path).map(|found| found.nlink());
        !self.in_transactions && links.is_ok_and(|links| links == 1)
    }
}

impl Sink for Staged {
    fn create(&self, file: &FileInfo) -> Result<(), SinkError> {
        Ok(self.begin_file(file, false)?)
    }

    fn create_unsized(&self, file: &FileInfo) -> Result<(), SinkError> {
        Ok(self.begin_file(file, true)?)
    }

    fn base(&self, file: u32) -> Option<Base> {
        self.files().get(&file).and_then(|file| file.base())
    }

    fn base_groups(&self, file: u32, range: Range<u64>) -> Result<Vec<Group>, SinkError> {
        let file = self.file(file)?;
        let pages = self.base.as_ref().and_then(|(base, _)| base.pages.as_ref());
        match pages.zip(file.old_pages_at()).and_then(|(pages, at)| pages.read(at, &range)) {
            Some(groups) => Ok(groups),
            None => Ok(file.read_groups(range)?),
        }
    }

    fn groups(&self, file: u32, offset_bytes: u64, groups: &[Group]) -> Result<(), SinkError> {
        match self.file(file)?.pages_at() {
            Some(at) => Ok(self.pages.write(at, offset_bytes, groups)?),
            None => Ok(()),
        }
    }

    fn base_block(&self, file: u32, range: Range<u64>) -> Option<[u8; 32]> {
        self.files().get(&file).and_then(|file| file.base_block(range))
    }

    fn read_base(&self, file: u32, offset_bytes: u64, buf: &mut [u8]) -> Result<(), SinkError> {
        Ok(self.file(file)?.read_base(offset_bytes, buf)?)
    }

    fn write_at(&self, file: u32, offset_bytes: u64, bytes: &[u8]) -> Result<(), SinkError> {
        Ok(self.file(file)?.write_at(offset_bytes, bytes)?)
    }

    fn block(&self, file: u32, offset_bytes: u64, hash: [u8; 32]) -> Result<(), SinkError> {
        let file = self.file(file)?;
        if file.is_unsized() {
            self.count_blocks(&file.info().path, 1)?;
        }
        Ok(file.block(offset_bytes, hash)?)
    }

    fn complete(&self, file: u32, size_bytes: u64) -> Result<(), SinkError> {
        let open = self.file(file)?.complete(size_bytes)?;
        if let Some(flusher) = &*lock(&self.flusher) {
            flusher.sync(open);
        }
        Ok(())
    }

    fn discard(&self, file: u32) -> Result<(), SinkError> {
        Ok(self.forget(file)?)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.committed.load(Ordering::SeqCst) {
            return;
        }
        drop(lock(&self.flusher).take());
        let files = self.files();
        // Where too many are open, there is none left to remove the directory with.
        files.values().for_each(|file| file.close());
        let links: Vec<_> = files.values().filter_map(|file| file.linked_to()).collect();
        let remove = || self.inner.disk.remove_dir_all(&self.dir);
        if let Err(error) = self.inner.own_changes.link(&self.inner.dir, &links, remove) {
            // The next run removes it.
            tracing::warn!(dir = %self.dir.display(), %error, "cannot remove an unfinished copy");
        }
        let removed = pages::remove(&*self.inner.disk, &self.inner.dir, &self.generation);
        if let Err(error) = removed {
            tracing::warn!(%error, "cannot remove what is known of an unfinished copy");
        }
        // Not if another database is being staged; nobody begins to while this is held.
        let _guard = self.inner.manifest();
        let _ = self.inner.disk.remove_dir(&self.inner.dir.join(STAGED_NAME));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn check_session(session: &Session) -> Result<()> {
    if !is_database_name(&session.database) {
        let what = format!("{:?} cannot be a database's name", session.database);
        return Err(Error::untrusted(what));
    }
    if session.block_bytes == 0 {
        return Err(Error::untrusted("blocks of no length"));
    }
    let blocks = |file: &FileInfo| file.size_bytes.div_ceil(session.block_bytes);
    let sum = session.files.iter().fold(0u64, |sum, file| sum.saturating_add(blocks(file)));
    if sum > BLOCKS_MAX || session.files.len() > FILES_MAX {
        return Err(Error::untrusted(format!("{sum} blocks in {} files", session.files.len())));
    }
    Ok(())
}

fn check_file(info: &FileInfo) -> Result<()> {
    let fits_area = !info.kind.in_transactions() || !info.path.contains('/');
    if !is_plain_path(&info.path) || !fits_area {
        return Err(Error::untrusted(format!("{:?} is no file name for a backup", info.path)));
    }
    Ok(())
}

pub(crate) fn require_space(dir: &Path, needed_bytes: u64) -> Result<()> {
    let free_bytes = fs::free_bytes(dir)?;
    if free_bytes < needed_bytes {
        return Err(Error::NoSpace { dir: dir.to_owned(), needed_bytes, free_bytes });
    }
    Ok(())
}

/// A name that sorts by time and has never been used.
fn new_generation(now: Timestamp, dir: &Path) -> Result<String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|e| {
        fs::Error::io("draw a random name in", dir)(std::io::Error::other(e.to_string()))
    })?;
    Ok(format!("{}-{:016x}", now.strftime("%Y%m%dT%H%M%SZ"), u64::from_be_bytes(random)))
}

const _: () = assert!(HASH_BYTES == 32);
