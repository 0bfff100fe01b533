//! Listing and syncing trees of directories. Symbolic links are named, never followed.

use std::ffi::OsString;
use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};

use crate::{Disk, Error, Kind, Place, Result};

/// How deep a tree may be; Neo4j's is four deep.
const DEPTH_MAX: usize = 64;

/// What a name in a directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// An ordinary file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link, to whatever.
    Link,
    /// A socket, a pipe or a device.
    Other,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, or its path relative to where [`walk`] began.
    pub path: PathBuf,
    /// What it stands for.
    pub kind: EntryKind,
    /// A file's length; 0 for anything else.
    pub size_bytes: u64,
}

/// The names in one directory, sorted. A directory that is missing has none.
pub fn entries(dir: &Path) -> Result<Vec<(OsString, EntryKind)>> {
    let mut found = Vec::new();
    for entry in read_dir(dir)? {
        found.push((entry.file_name(), kind(dir, &entry)?));
    }
    found.sort();
    Ok(found)
}

/// All names under a directory, parents before what is in them, sorted. A directory that is
/// missing has none.
pub fn walk(dir: &Path) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    walk_into(dir, Path::new(""), 0, &mut found)?;
    Ok(found)
}

/// Makes the names of a whole tree durable, the deepest first, `dir` itself last.
pub fn sync_tree(disk: &dyn Disk, dir: &Path) -> Result<()> {
    for entry in walk(dir)?.iter().rev() {
        if entry.kind == EntryKind::Dir {
            disk.sync_dir(&dir.join(&entry.path))?;
        }
    }
    disk.sync_dir(dir)
}

/// Makes the name of a directory durable that is there, but may have been made by a run that was killed
/// before it had synced it. Where this user may not read what is around it, he has not made it, nor
/// where another file system is: that has perhaps nothing that could be synced.
pub fn sync_name(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let Some(parent) = dir.parent() else { return Ok(()) };
    let device = |path| Place::of(path).map(|place| place.map(|place| place.device));
    if device(dir)? != device(parent)? {
        return Ok(());
    }
    match disk.sync_dir(parent) {
        Err(error) if error.kind != Kind::Denied => Err(error),
        _ => Ok(()),
    }
}

fn walk_into(root: &Path, below: &Path, depth: usize, found: &mut Vec<Entry>) -> Result<()> {
    let dir = root.join(below);
    if depth > DEPTH_MAX {
        let deep = std::io::Error::other("the directories are nested too deeply");
        return Err(Error::io("list", &dir)(deep));
    }
    for (name, kind) in entries(&dir)? {
        let path = below.join(name);
        let size_bytes = match kind {
            EntryKind::File => size_bytes(&root.join(&path))?,
            _ => 0,
        };
        found.push(Entry { path: path.clone(), kind, size_bytes });
        if kind == EntryKind::Dir {
            walk_into(root, &path, depth + 1, found)?;
        }
    }
    Ok(())
}

fn size_bytes(path: &Path) -> Result<u64> {
    fs::symlink_metadata(path).map(|m| m.len()).map_err(Error::io("look at", path))
}

fn read_dir(dir: &Path) -> Result<Vec<DirEntry>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.collect::<std::io::Result<_>>().map_err(Error::io("list", dir)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::io("list", dir)(e)),
    }
}

fn kind(dir: &Path, entry: &DirEntry) -> Result<EntryKind> {
    let file_type = entry.file_type().map_err(Error::io("list", dir))?;
    Ok(if file_type.is_file() {
        EntryKind::File
    } else if file_type.is_dir() {
        EntryKind::Dir
    } else if file_type.is_symlink() {
        EntryKind::Link
    } else {
        EntryKind::Other
    })
}
