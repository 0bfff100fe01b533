//! The seam to the disk, and the real disk behind it.

use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Advice, fadvise};

use crate::{Error, Result};

/// How much is written before the disk is asked to begin with it.
const WINDOW_BYTES: u64 = 8 << 20;

/// Every operation that changes a disk. Paths are absolute or relative to the working directory.
pub trait Disk: Send + Sync + Debug {
    /// Creates one directory, which must not exist.
    fn create_dir(&self, path: &Path, mode: u32) -> Result<()>;
    /// Creates a file, which must not exist, for writing.
    fn create_file(&self, path: &Path, mode: u32) -> Result<Box<dyn DiskFile>>;
    /// Opens a file that exists for writing; never creates, never truncates.
    fn open_write(&self, path: &Path) -> Result<Box<dyn DiskFile>>;
    /// Renames; replaces a file at `to`, never a directory that is not empty.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    /// Removes one file or symbolic link.
    fn remove_file(&self, path: &Path) -> Result<()>;
    /// Removes a directory and all that is in it; follows no symbolic link, at no time.
    fn remove_dir_all(&self, path: &Path) -> Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> Result<()>;
    /// Gives a file or directory to a user and a group; follows no symbolic link.
    fn set_owner(&self, path: &Path, uid: u32, gid: u32) -> Result<()>;
    /// Sets permission bits, whatever the process's umask.
    fn set_mode(&self, path: &Path, mode: u32) -> Result<()>;

    /// Creates a directory with all its missing parents, and makes their names durable.
    fn create_dir_all(&self, path: &Path, mode: u32) -> Result<()> {
        if path.as_os_str().is_empty() || path.is_dir() {
            return Ok(());
        }
        let parent = parent_of(path);
        self.create_dir_all(parent, mode)?;
        match self.create_dir(path, mode) {
            // Another thread was quicker.
            Err(e) if e.kind == crate::Kind::Exists && path.is_dir() => Ok(()),
            Err(e) => Err(e),
            Ok(()) => self.sync_dir(parent),
        }
    }

    /// Writes a small file so that after a crash it is there whole or not at all, under its old
    /// content where it had one: written aside as `<name>.new`, synced, renamed, directory synced.
    fn replace_file(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".new");
        let aside = Path::new(&aside);
        match self.remove_file(aside) {
            Err(e) if !e.is_not_found() => return Err(e),
            _ => {}
        }
        let file = self.create_file(aside, mode)?;
        file.write_at(0, bytes)?;
        file.sync()?;
        drop(file);
        self.rename(aside, path)?;
        self.sync_dir(parent_of(path))
    }
}

/// A file open for writing. Used by several threads at once for different ranges.
pub trait DiskFile: Send + Sync + Debug {
    /// Writes all the bytes at an offset.
    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> Result<()>;
    /// Sets the file's length; new bytes are zeros.
    fn set_len(&self, size_bytes: u64) -> Result<()>;
    /// Makes all that has been written durable.
    fn sync(&self) -> Result<()>;
}

/// The disk itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl RealDisk {
    /// The disk, as the shared seam that other crates take.
    #[must_use]
    #[expect(clippy::new_ret_no_self, reason = "nobody needs the disk but behind its seam")]
    pub fn new() -> Arc<dyn Disk> {
        Arc::new(Self)
    }
}

#[derive(Debug)]
struct RealFile {
    file: File,
    path: std::path::PathBuf,
}

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path, mode: u32) -> Result<()> {
        DirBuilder::new().mode(mode).create(path).map_err(Error::io("create directory", path))
    }

    fn create_file(&self, path: &Path, mode: u32) -> Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)
            .map_err(Error::io("create", path))?;
        Ok(Box::new(RealFile { file, path: path.to_owned() }))
    }

    fn open_write(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        let no_follow = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
        let file = OpenOptions::new()
            .write(true)
            .custom_flags(no_follow)
            .open(path)
            .map_err(Error::io("open for writing", path))?;
        Ok(Box::new(RealFile { file, path: path.to_owned() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to).map_err(Error::io("rename", from))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        fs::remove_file(path).map_err(Error::io("remove", path))
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        // The standard library walks by descriptors and unlinks symbolic links unread.
        fs::remove_dir_all(path).map_err(Error::io("remove directory", path))
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let dir = File::open(path).map_err(Error::io("open directory", path))?;
        dir.sync_all().map_err(Error::io("sync directory", path))
    }

    fn set_owner(&self, path: &Path, uid: u32, gid: u32) -> Result<()> {
        std::os::unix::fs::lchown(path, Some(uid), Some(gid))
            .map_err(Error::io("change the owner of", path))
    }

    fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
        fs::set_permissions(path, Permissions::from_mode(mode))
            .map_err(Error::io("change the mode of", path))
    }
}

impl DiskFile for RealFile {
    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, offset_bytes).map_err(Error::io("write", &self.path))?;
        self.begin_writing_out(offset_bytes, bytes.len() as u64);
        Ok(())
    }

    fn set_len(&self, size_bytes: u64) -> Result<()> {
        self.file.set_len(size_bytes).map_err(Error::io("set the length of", &self.path))
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(Error::io("sync", &self.path))
    }
}

impl RealFile {
    /// Has the disk begin with what was written, whenever that reaches a window's end, so that the
    /// disk works while more is written and little is left to do for `sync`. It waits for nothing
    /// and promises nothing: an error of the disk is still `sync`'s to report.
    ///
    /// On the advice to forget, Linux starts to write out what is dirty in the range. That stays in
    /// memory meanwhile, but is the first to go when others need the memory.
    fn begin_writing_out(&self, offset_bytes: u64, length_bytes: u64) {
        let end = offset_bytes.saturating_add(length_bytes);
        let (first, last) = (offset_bytes / WINDOW_BYTES, end / WINDOW_BYTES);
        let length = last.saturating_sub(first).saturating_mul(WINDOW_BYTES);
        if let Some(length) = NonZeroU64::new(length) {
            // A file system that knows no advice does the work at `sync`.
            let _ = fadvise(&self.file, first * WINDOW_BYTES, Some(length), Advice::DontNeed);
        }
    }
}

/// The directory that holds a name.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => Path::new("/"),
    }
}

#[cfg(test)]
mod tests;
