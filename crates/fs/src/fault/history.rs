//! What a disk was asked to do, written down, so that a power failure can be had at any moment of it.
//!
//! # What the model assumes
//!
//! What POSIX and Linux's manual promise, and no more than the weakest of the usual file systems
//! (ext4, XFS, btrfs) gives:
//!
//! - Bytes and the length of a file are durable once the file was synced after them. Of what was not,
//!   any part may survive: all, nothing, single sectors of 512 bytes, the new length with zeros where
//!   the bytes should be.
//! - A name that was made, linked or removed is durable once its directory was synced after that. A
//!   synced file whose name was not is lost; a name may survive whose file was not synced (this is the
//!   file of no length after a rename). Syncing a file does nothing for its name, and syncing a
//!   directory nothing for the directory's own name.
//! - A rename takes the old name away and puts the new one there at once, also between directories.
//!   It is durable once the directory of the new name was synced.
//! - What happened to one name happened in its order. Changes of different names, in the same
//!   directory as well, survive independently of each other.
//! - Names of a file share its bytes: what is written by one of them is there by the other.
//! - After a sync that failed the bytes since the sync before may be lost for good, though they can
//!   still be read: Linux takes the pages for clean, and the next sync, which succeeds, does nothing
//!   for them. A directory's sync can be tried again: a journal that fails stops the file system.
//!
//! # What it leaves out
//!
//! Owners and modes count as durable at once. Of bytes that were written twice between two syncs only
//! the last version may survive. Disks that lie about their caches, and damage to what was durable,
//! are not modelled. What changes files past the [`Disk`] (the lock's file) is not seen.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Disk, DiskFile, EntryKind, Place, Result, walk};

/// Number of a file, directory or link.
pub(super) type Node = usize;
/// The directory under which everything is recorded.
pub(super) const ROOT: Node = 0;

/// All changes of what lies under a directory, and what was there before. Clones share it.
#[derive(Clone, Debug)]
pub struct History {
    log: Arc<Mutex<Log>>,
}

#[derive(Debug)]
pub(super) struct Log {
    root: PathBuf,
    /// All that there ever was.
    pub nodes: Vec<Kind>,
    /// The names at present.
    pub names: Names,
    /// Those at the beginning, all of which are durable.
    pub first_names: Names,
    pub steps: Vec<Step>,
}

/// What each directory holds.
pub(super) type Names = BTreeMap<Node, BTreeMap<OsString, Node>>;

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Dir {
        mode: u32,
    },
    /// With the bytes that it had at the beginning.
    File {
        mode: u32,
        bytes: Arc<Vec<u8>>,
    },
    Link {
        to: PathBuf,
    },
}

#[derive(Debug)]
pub(super) struct Step {
    pub doing: &'static str,
    path: PathBuf,
    pub change: Change,
}

#[derive(Debug)]
pub(super) enum Change {
    /// Names that change at once: directory, name, what it is now.
    Names(Vec<(Node, OsString, Option<Node>)>),
    Write(Node, u64, Vec<u8>),
    SetLen(Node, u64),
    Sync(Node),
    /// What was not durable by now will never be, unless it is written again.
    SyncFailed(Node),
    SyncDir(Node),
}

impl History {
    /// Begins with what lies under a directory; all of it is durable.
    pub fn of(root: &Path) -> Result<Self> {
        let mut log = Log {
            root: root.to_owned(),
            nodes: vec![Kind::Dir { mode: 0o700 }],
            names: BTreeMap::from([(ROOT, BTreeMap::new())]),
            first_names: BTreeMap::new(),
            steps: Vec::new(),
        };
        let mut places = BTreeMap::new();
        for entry in walk(root)? {
            let path = root.join(&entry.path);
            let read = |what| crate::Error::io(what, &path);
            let metadata = std::fs::symlink_metadata(&path).map_err(read("look at"))?;
            let mode = metadata.permissions().mode() & 0o7777;
            let place = Place::from(&metadata);
            let known = places.get(&(place.device, place.inode)).copied();
            let node = match (known, entry.kind) {
                (Some(node), EntryKind::File) => node,
                (_, EntryKind::Dir) => log.add(Kind::Dir { mode }),
                (_, EntryKind::Link) => {
                    let to = std::fs::read_link(&path).map_err(read("read"))?;
                    log.add(Kind::Link { to })
                }
                _ => {
                    let bytes = Arc::new(std::fs::read(&path).map_err(read("read"))?);
                    log.add(Kind::File { mode, bytes })
                }
            };
            if metadata.nlink() > 1 && entry.kind == EntryKind::File {
                places.insert((place.device, place.inode), node);
            }
            log.change_names("find", &path, vec![(path.clone(), Some(node))]);
        }
        log.steps.clear();
        log.first_names = log.names.clone();
        Ok(Self { log: Arc::new(Mutex::new(log)) })
    }

    /// A disk that does everything by another one, and writes it down.
    pub fn disk(&self, disk: Arc<dyn Disk>) -> Arc<dyn Disk> {
        Arc::new(Recorder { disk, history: self.clone(), forgets: false })
    }

    /// The same for a disk whose failed syncs lose what was to be synced. (That of a killed process
    /// does not: it never tried.)
    pub fn disk_that_forgets(&self, disk: Arc<dyn Disk>) -> Arc<dyn Disk> {
        Arc::new(Recorder { disk, history: self.clone(), forgets: true })
    }

    /// The directory under which everything is recorded.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.lock().root.clone()
    }

    /// How many operations there have been.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().steps.len()
    }

    /// Some operations, for a failing test's message.
    #[must_use]
    pub fn trace(&self, from: usize, to: usize) -> Vec<String> {
        let log = self.lock();
        let line = |(at, step): (usize, &Step)| {
            let path = step.path.strip_prefix(&log.root).unwrap_or(&step.path);
            format!("{at} {} {}", step.doing, path.display())
        };
        log.steps.iter().enumerate().take(to).skip(from).map(line).collect()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn add(&mut self, kind: Kind) -> Node {
        let node = self.nodes.len();
        if matches!(kind, Kind::Dir { .. }) {
            self.names.insert(node, BTreeMap::new());
        }
        self.nodes.push(kind);
        node
    }

    fn find(&self, path: &Path) -> Option<Node> {
        let mut node = ROOT;
        for name in path.strip_prefix(&self.root).ok()? {
            node = *self.names.get(&node)?.get(name)?;
        }
        Some(node)
    }

    /// Names outside of the root are not recorded.
    fn change_names(
        &mut self,
        doing: &'static str,
        path: &Path,
        names: Vec<(PathBuf, Option<Node>)>,
    ) {
        let mut changes = Vec::new();
        for (path, node) in names {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
            let Some(dir) = self.find(parent) else { continue };
            let Some(names) = self.names.get_mut(&dir) else { continue };
            match node {
                Some(node) => names.insert(name.to_owned(), node),
                None => names.remove(name),
            };
            changes.push((dir, name.to_owned(), node));
        }
        if !changes.is_empty() {
            self.push(doing, path, Change::Names(changes));
        }
    }

    fn push(&mut self, doing: &'static str, path: &Path, change: Change) {
        self.steps.push(Step { doing, path: path.to_owned(), change });
    }
}

#[derive(Debug)]
struct Recorder {
    disk: Arc<dyn Disk>,
    history: History,
    forgets: bool,
}

#[derive(Debug)]
struct RecordedFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    /// `None` for a file that is not under the root.
    node: Option<Node>,
    history: History,
    forgets: bool,
}

impl Recorder {
    fn file(&self, file: Box<dyn DiskFile>, path: &Path, node: Option<Node>) -> Box<dyn DiskFile> {
        let (history, forgets) = (self.history.clone(), self.forgets);
        Box::new(RecordedFile { file, path: path.to_owned(), node, history, forgets })
    }

    fn remove(
        &self,
        doing: &'static str,
        path: &Path,
        remove: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let mut log = self.history.lock();
        remove()?;
        // What was made past this disk is not known.
        if log.find(path).is_some() {
            log.change_names(doing, path, vec![(path.to_owned(), None)]);
        }
        Ok(())
    }
}

// The lock is held during each operation, so that they are written down in the order in which they
// happened.
impl Disk for Recorder {
    fn create_dir(&self, path: &Path, mode: u32) -> Result<()> {
        let mut log = self.history.lock();
        self.disk.create_dir(path, mode)?;
        let node = log.add(Kind::Dir { mode });
        log.change_names("create directory", path, vec![(path.to_owned(), Some(node))]);
        Ok(())
    }

    fn create_file(&self, path: &Path, mode: u32) -> Result<Box<dyn DiskFile>> {
        let mut log = self.history.lock();
        let file = self.disk.create_file(path, mode)?;
        let node = log.add(Kind::File { mode, bytes: Arc::default() });
        log.change_names("create", path, vec![(path.to_owned(), Some(node))]);
        Ok(self.file(file, path, Some(node)))
    }

    fn open_write(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        let log = self.history.lock();
        let file = self.disk.open_write(path)?;
        Ok(self.file(file, path, log.find(path)))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut log = self.history.lock();
        self.disk.rename(from, to)?;
        let node = log.find(from);
        log.change_names("rename", from, vec![(from.to_owned(), None), (to.to_owned(), node)]);
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<bool> {
        let mut log = self.history.lock();
        let done = self.disk.hard_link(from, to)?;
        if done {
            let node = log.find(from);
            log.change_names("link", from, vec![(to.to_owned(), node)]);
        }
        Ok(done)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.remove("remove", path, || self.disk.remove_file(path))
    }

    fn remove_dir(&self, path: &Path) -> Result<()> {
        self.remove("remove directory", path, || self.disk.remove_dir(path))
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        for entry in walk(path)?.iter().rev() {
            let path = path.join(&entry.path);
            match entry.kind {
                EntryKind::Dir => self.remove_dir(&path)?,
                _ => self.remove_file(&path)?,
            }
        }
        self.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        let mut log = self.history.lock();
        self.disk.sync_dir(path)?;
        if let Some(node) = log.find(path) {
            log.push("sync directory", path, Change::SyncDir(node));
        }
        Ok(())
    }

    fn set_owner(&self, path: &Path, uid: u32, gid: u32) -> Result<()> {
        self.disk.set_owner(path, uid, gid)
    }

    fn set_mode(&self, path: &Path, new: u32) -> Result<()> {
        let mut log = self.history.lock();
        self.disk.set_mode(path, new)?;
        let node = log.find(path);
        if let Some(Kind::Dir { mode } | Kind::File { mode, .. }) =
            node.and_then(|node| log.nodes.get_mut(node))
        {
            *mode = new;
        }
        Ok(())
    }
}

impl DiskFile for RecordedFile {
    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        let mut log = self.history.lock();
        let done = self.file.write_at(offset_bytes, bytes);
        let mut written = bytes.to_vec();
        if done.is_err() {
            // As much as there is of it now.
            let there = std::fs::File::open(&self.path).and_then(|file| {
                let size = file.metadata()?.len().saturating_sub(offset_bytes);
                written.truncate(usize::try_from(size).unwrap_or(usize::MAX));
                file.read_exact_at(&mut written, offset_bytes)
            });
            there.map_err(crate::Error::io("read", &self.path))?;
        }
        if let Some(node) = self.node.filter(|_| !written.is_empty()) {
            log.push("write", &self.path, Change::Write(node, offset_bytes, written));
        }
        done
    }

    fn set_len(&self, size_bytes: u64) -> Result<()> {
        let mut log = self.history.lock();
        self.file.set_len(size_bytes)?;
        if let Some(node) = self.node {
            log.push("set the length of", &self.path, Change::SetLen(node, size_bytes));
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        let mut log = self.history.lock();
        let done = self.file.sync();
        let change: Option<fn(Node) -> Change> = match (&done, self.forgets) {
            (Ok(()), _) => Some(Change::Sync),
            (Err(_), true) => Some(Change::SyncFailed),
            (Err(_), false) => None,
        };
        if let (Some(change), Some(node)) = (change, self.node) {
            log.push("sync", &self.path, change(node));
        }
        done
    }
}
