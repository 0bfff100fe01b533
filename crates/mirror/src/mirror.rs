//! A backup directory, held for writing.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use formats::{TimestampMs, TxId};
use fs::{Busy, Disk, EntryKind, Kind, Lock, Place};

use crate::backup::locate;
use crate::layout::{
    Area, DATABASE_DIRS, DIR_MODE, LOCK_NAME, Layout, MANIFEST_ASIDE_NAME, STAGED_NAME, TRASH_NAME,
    Target, examine, is_database_file, refuse_inside, staged_dir,
};
use crate::store::METADATA_STORE;
use crate::unchanged::{OwnChanges, note_times, require_unchanged};
use crate::{
    DatabaseEntry, Error, Increment, Manifest, Reason, Result, Staged, changes, increment,
    manifest, pages, take_over, verify,
};

/// A backup directory that this process alone writes to, until this and all its [`Staged`] are
/// dropped.
#[derive(Debug)]
pub struct Mirror {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) own_changes: OwnChanges,
    manifest: Mutex<Manifest>,
    /// A commit failed: what is on the disk may be the one or the other, and not be in its place.
    unsettled: AtomicBool,
    _lock: Lock,
}

impl Mirror {
    /// Takes a directory for writing: one that is missing or blank, or a backup. Refuses anything
    /// else without touching it. What a killed run left is completed or removed.
    pub fn open_for_write(disk: Arc<dyn Disk>, dir: &Path, busy: Busy) -> Result<Self> {
        let dir = fs::resolve(dir)?;
        // All refusals come before the first change, and again once the lock is ours.
        read_target(&dir)?;
        refuse_moved_lock(&dir)?;
        refuse_moved_roots(&dir)?;
        disk.create_dir_all(&dir, DIR_MODE)?;
        let lock = Lock::take(&dir.join(LOCK_NAME), busy).map_err(|e| in_use(&dir, e))?;
        let mut manifest = read_target(&dir)?.unwrap_or_else(Manifest::empty);
        refuse_moved_roots(&dir)?;
        take_over::refuse_used(&dir)?;
        // A killed run may have made directories or renamed the manifest, and not have synced that:
        // it must be durable before files of the backup that was there are given up.
        fs::sync_name(&*disk, &dir)?;
        disk.sync_dir(&dir)?;
        roll_all_forward(&*disk, &dir, &mut manifest)?;
        remove_leftovers(&*disk, &dir)?;
        pages::remove_others(&*disk, &dir, &manifest)?;
        let own_changes = OwnChanges::default();
        let manifest = Mutex::new(manifest);
        let unsettled = AtomicBool::new(false);
        let inner = Inner { disk, dir, own_changes, manifest, unsettled, _lock: lock };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The backup's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    pub(crate) fn own_changes(&self) -> &OwnChanges {
        &self.inner.own_changes
    }

    /// What the directory holds at present.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        self.inner.manifest().clone()
    }

    /// What the backup of a database ends with, for an increment to begin after; `None` where there is
    /// none. What a killed increment left is cut off.
    ///
    /// # Errors
    /// When the backup is not as our last run left it.
    pub fn after(&self, database: &str) -> Result<Option<wire::api::After>> {
        let Some(entry) = self.inner.settled()?.database(database).cloned() else {
            return Ok(None);
        };
        require_unchanged(&self.inner.dir, &entry, &self.inner.own_changes)?;
        increment::cut_tail(&self.inner, &entry)?;
        Ok(Some(entry.after()))
    }

    /// Notes that at a time of the server's clock there was nothing more than the backup has, if that is
    /// news and the backup still ends with that transaction.
    pub fn note_as_of(&self, database: &str, last_tx_id: TxId, as_of: TimestampMs) -> Result<()> {
        let is_news = |entry: &&DatabaseEntry| {
            entry.last_tx.tx_id == last_tx_id && entry.as_of.is_none_or(|noted| noted < as_of)
        };
        self.inner.change(|manifest| {
            let entry = manifest.database(database).filter(is_news)?;
            Some(DatabaseEntry { as_of: Some(as_of), ..entry.clone() })
        })
    }

    /// Has a backup of Neo4j 3.0 from the server's own service, which does not tell its database's name, be
    /// called as a service of ours calls it, which shows `databases`.
    pub fn name_as_server(&self, databases: &[wire::api::Database]) -> Result<()> {
        let mut manifest = self.inner.settled()?;
        let mut next = manifest.clone();
        if next.name_as_server(databases) {
            self.inner.write(&next)?;
            *manifest = next;
        }
        Ok(())
    }

    /// Begins to append the transactions of a session that was opened with [`Mirror::after`].
    pub fn append(&self, session: &wire::api::Session) -> Result<Increment> {
        Increment::begin(Arc::clone(&self.inner), session)
    }

    /// Begins a new full backup of a database; the present one stays until it is committed.
    pub fn begin(&self, session: &wire::api::Session, reason: Reason) -> Result<Staged> {
        self.inner.require_layout(session)?;
        Staged::begin(Arc::clone(&self.inner), session, reason)
    }
}

impl Inner {
    /// Puts an entry in place of the one of the same generation: the commit of an increment.
    pub(crate) fn replace(&self, entry: DatabaseEntry) -> Result<()> {
        self.change(|_| Some(entry))
    }

    /// Puts what is made of the manifest into it; nobody else changes it meanwhile.
    fn change(&self, entry: impl FnOnce(&Manifest) -> Option<DatabaseEntry>) -> Result<()> {
        let mut manifest = self.settled()?;
        let Some(entry) = entry(&manifest) else { return Ok(()) };
        let mut next = manifest.clone();
        next.set(entry);
        self.write(&next)?;
        *manifest = next;
        Ok(())
    }

    fn write(&self, manifest: &Manifest) -> Result<()> {
        let written = manifest::write(&*self.disk, &self.dir, manifest);
        written.inspect_err(|_| self.unsettled.store(true, Ordering::SeqCst))
    }

    /// After a commit that failed: what is on the disk holds, as for the next process. Not what this one
    /// believes: to go on from an older state would cut off what the manifest lists.
    pub(crate) fn settled(&self) -> Result<MutexGuard<'_, Manifest>> {
        let mut manifest = self.manifest();
        if !self.unsettled.load(Ordering::SeqCst) {
            return Ok(manifest);
        }
        self.disk.sync_dir(&self.dir)?;
        *manifest = match read_target(&self.dir)? {
            Some(found) => found,
            None if manifest.databases.is_empty() => Manifest::empty(),
            // What it is mounted on, say.
            None => return Err(Error::no_manifest(&self.dir)),
        };
        roll_all_forward(&*self.disk, &self.dir, &mut manifest)?;
        self.unsettled.store(false, Ordering::SeqCst);
        Ok(manifest)
    }

    /// Fails if a backup of the session's database cannot be together with those that are there.
    fn require_layout(&self, session: &wire::api::Session) -> Result<()> {
        let manifest = self.settled()?;
        let layout = Layout::of(&session.store_id);
        if layout == Layout::Data && matches!(examine(&self.dir)?, Target::Theirs) {
            return Err(Error::HoldsNeo4j { dir: self.dir.clone() });
        }
        let clashes = |old: &&DatabaseEntry| match (Layout::of(&old.store_id), layout) {
            (Layout::Data, Layout::Data) => false,
            (Layout::Database, Layout::Database) => old.name != session.database,
            _ => true,
        };
        match manifest.databases.iter().find(clashes) {
            None => Ok(()),
            Some(old) => Err(Error::OtherLayout {
                dir: self.dir.clone(),
                found: format!("database {:?} of format {}", old.name, old.store_id.format_name()),
                wanted: format!(
                    "database {:?} of format {}",
                    session.database,
                    session.store_id.format_name()
                ),
            }),
        }
    }

    /// Also guards the directories of staging and trash against a commit that tidies them up.
    pub(crate) fn manifest(&self) -> MutexGuard<'_, Manifest> {
        self.manifest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a staged generation the backup of its database: the commit and the roll-forward.
    pub(crate) fn commit(&self, entry: DatabaseEntry) -> Result<()> {
        let mut manifest = self.settled()?;
        let mut next = manifest.clone();
        // An increment that was made meanwhile is not taken back.
        if entry.reason == Some(Reason::Renewal)
            && next.database(&entry.name).is_none_or(|old| old.last_tx.tx_id > entry.last_tx.tx_id)
        {
            return Err(Error::untrusted("a renewal that ends before the backup does"));
        }
        let old = next.database(&entry.name).map(|old| old.generation.clone());
        next.set(entry);
        self.write(&next)?;
        *manifest = next;
        let done = roll_all_forward(&*self.disk, &self.dir, &mut manifest);
        let done = done.inspect_err(|_| self.unsettled.store(true, Ordering::SeqCst));
        let done = done.and_then(|()| match old {
            Some(old) => pages::remove(&*self.disk, &self.dir, &old),
            None => Ok(()),
        });
        match done {
            Err(Error::Disk(error)) => Err(Error::RollForward(error)),
            done => done,
        }
    }
}

/// Reads the manifest of a target, if it has one; refuses what we must not write to.
fn read_target(dir: &Path) -> Result<Option<Manifest>> {
    refuse_inside(dir)?;
    match examine(dir)? {
        Target::Blank | Target::Theirs => Ok(None),
        Target::Backup => manifest::read(dir).map(Some),
    }
}

fn in_use(dir: &Path, error: fs::Error) -> Error {
    match error.kind {
        Kind::InUse(holder) => Error::InUse { dir: dir.to_owned(), holder },
        _ => error.into(),
    }
}

/// The lock has to be a plain file in the target: one that lies elsewhere keeps nobody out who uses the
/// directory by another way.
pub(crate) fn refuse_moved_lock(dir: &Path) -> Result<()> {
    let path = dir.join(LOCK_NAME);
    let Ok(lock) = std::fs::symlink_metadata(&path) else { return Ok(()) };
    if lock.is_file() && !is_elsewhere(dir, &path)? {
        return Ok(());
    }
    Err(Error::LockElsewhere { path })
}

/// The renames of a commit need plain directories on one file system, and cannot move a mount point.
pub(crate) fn refuse_moved_roots(dir: &Path) -> Result<()> {
    let moved = |root: &Path| -> Result<bool> {
        let Ok(metadata) = std::fs::symlink_metadata(root) else { return Ok(false) };
        Ok(!metadata.is_dir() || is_elsewhere(dir, root)?)
    };
    for name in DATABASE_DIRS {
        let path = dir.join(name);
        if moved(&path)? {
            return Err(Error::PartElsewhere { path });
        }
    }
    for area in Area::ALL {
        let root = dir.join(area.root_name());
        if moved(&root)? {
            return Err(Error::PartElsewhere { path: root });
        }
        for (name, _) in fs::entries(&root)? {
            let path = root.join(name);
            if fs::is_mount_point(&path)? {
                return Err(Error::PartElsewhere { path });
            }
        }
    }
    Ok(())
}

/// Whether what is in a directory by its name lies on another file system, or is mounted.
fn is_elsewhere(dir: &Path, path: &Path) -> Result<bool> {
    let device = |place: Option<Place>| place.map(|place| place.device);
    Ok(fs::is_mount_point(path)? || device(Place::of(dir)?) != device(Place::of(path)?))
}

/// Completes what was committed and is not in its place yet.
fn roll_all_forward(disk: &dyn Disk, dir: &Path, manifest: &mut Manifest) -> Result<()> {
    let mut touched = false;
    for entry in &mut manifest.databases {
        if roll_forward(disk, dir, entry)? {
            note_times(entry, &locate(dir, entry));
            touched = true;
        }
    }
    if touched {
        manifest::write(disk, dir, manifest)?;
    }
    Ok(())
}

/// Brings what is still staged of a committed entry into its place. Does nothing where nothing
/// is, so it can be repeated after a crash at any of its steps.
///
/// `true` if files of the old backup live on in it: these have changed last after the manifest, which
/// should be written once more, so that nobody has to look whether they still are what it says.
fn roll_forward(disk: &dyn Disk, dir: &Path, entry: &DatabaseEntry) -> Result<bool> {
    let staged = staged_dir(dir, &entry.generation);
    if !staged.is_dir() {
        return Ok(false);
    }
    let mut touched = changes::apply(disk, &staged, locate(dir, entry).dir(Area::Store))?;
    if Layout::of(&entry.store_id) == Layout::Database {
        // A rename is the last change of what it renames.
        touched = true;
        place_files(disk, dir, &staged, entry)?;
    } else {
        place_directories(disk, dir, &staged, entry)?;
    }
    // Only what is ours: copies of other databases may be under way.
    let trash = Area::ALL.map(|area| trash_of(dir, entry, area));
    for path in trash.iter().chain([&staged]).filter(|path| path.is_dir()) {
        disk.remove_dir_all(path)?;
    }
    for path in [TRASH_NAME, STAGED_NAME].map(|name| dir.join(name)) {
        if path.is_dir() && fs::entries(&path)?.is_empty() {
            disk.remove_dir_all(&path)?;
        }
    }
    disk.sync_dir(dir)?;
    Ok(touched)
}

/// Moves staged directories into their places, and those that are there into the trash.
fn place_directories(
    disk: &dyn Disk,
    dir: &Path,
    staged: &Path,
    entry: &DatabaseEntry,
) -> Result<()> {
    for area in Area::ALL {
        let from = staged.join(area.staged_name());
        let root = dir.join(area.root_name());
        if !from.is_dir() {
            // A killed run renamed it, and may not have synced that.
            disk.sync_dir(&root)?;
            continue;
        }
        disk.create_dir_all(&root, DIR_MODE)?;
        let to = root.join(&entry.name);
        if std::fs::symlink_metadata(&to).is_ok() {
            let trash = trash_of(dir, entry, area);
            if trash.exists() {
                disk.remove_dir_all(&trash)?;
            }
            disk.create_dir_all(&dir.join(TRASH_NAME), DIR_MODE)?;
            disk.rename(&to, &trash)?;
        }
        disk.rename(&from, &to)?;
        disk.sync_dir(&root)?;
        disk.sync_dir(staged)?;
    }
    Ok(())
}

/// Moves staged files into the backup's directory, over those that are there, and removes what else is
/// there of the old backup.
fn place_files(disk: &dyn Disk, dir: &Path, staged: &Path, entry: &DatabaseEntry) -> Result<()> {
    for old in verify::unlisted_files(dir, entry)? {
        if is_database_file(&old) {
            disk.remove_file(&dir.join(old))?;
        }
    }
    // A killed run may have made directories, and not have synced their names: what moves into one
    // that is there would be lost with it.
    sync_database_dirs(disk, dir)?;
    let mut files: Vec<_> = entry.files.iter().collect();
    // Without `neostore` no server takes it for a database.
    files.sort_by_key(|file| file.path == METADATA_STORE);
    for file in files {
        let from = staged.join(file.area.staged_name()).join(&file.path);
        // A killed run has moved it already.
        if std::fs::symlink_metadata(&from).is_err() {
            continue;
        }
        let to = dir.join(&file.path);
        if let Some(parent) = to.parent() {
            disk.create_dir_all(parent, DIR_MODE)?;
        }
        disk.rename(&from, &to)?;
    }
    for name in DATABASE_DIRS {
        remove_empty_dirs(disk, &dir.join(name))?;
    }
    sync_database_dirs(disk, dir)?;
    disk.sync_dir(dir)?;
    fs::sync_tree(disk, staged)?;
    Ok(())
}

fn sync_database_dirs(disk: &dyn Disk, dir: &Path) -> Result<()> {
    for path in DATABASE_DIRS.map(|name| dir.join(name)).iter().filter(|path| path.is_dir()) {
        fs::sync_tree(disk, path)?;
    }
    Ok(())
}

/// Removes the directories of a tree that no file lies in.
fn remove_empty_dirs(disk: &dyn Disk, root: &Path) -> Result<()> {
    let found = fs::walk(root)?;
    let dirs = found.iter().filter(|entry| entry.kind == EntryKind::Dir);
    for path in dirs.rev().map(|entry| root.join(&entry.path)).chain([root.to_owned()]) {
        if path.is_dir() && fs::entries(&path)?.is_empty() {
            disk.remove_dir_all(&path)?;
        }
    }
    Ok(())
}

fn trash_of(dir: &Path, entry: &DatabaseEntry, area: Area) -> PathBuf {
    dir.join(TRASH_NAME).join(format!("{}-{}", entry.generation, area.staged_name()))
}

/// Removes everything that an earlier run staged or threw away. Only after all roll-forwards.
fn remove_leftovers(disk: &dyn Disk, dir: &Path) -> Result<()> {
    for name in [TRASH_NAME, STAGED_NAME, MANIFEST_ASIDE_NAME] {
        let path = dir.join(name);
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() {
            remove_each(disk, &path)?;
        } else {
            disk.remove_file(&path)?;
        }
        disk.sync_dir(dir)?;
    }
    Ok(())
}

fn remove_each(disk: &dyn Disk, dir: &Path) -> Result<()> {
    for (name, kind) in fs::entries(dir)? {
        let path = dir.join(name);
        match kind {
            EntryKind::Dir => disk.remove_dir_all(&path)?,
            _ => disk.remove_file(&path)?,
        }
    }
    disk.remove_dir_all(dir)?;
    Ok(())
}
