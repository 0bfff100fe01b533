//! The seam to the disk, and the real disk behind it.
//!
//! Bulk data goes past the page cache where the file system allows it (`O_DIRECT`): measured on
//! ext4, that halves what writing costs the processors, and the cache keeps what the programs on
//! this host work with, of which a database may be one.

use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{Advice, FallocateFlags, OFlags, fadvise, fallocate};
use rustix::io::Errno;

use crate::{Error, Result};

/// How much is written before the disk is asked to begin with it.
const WINDOW_BYTES: u64 = 8 << 20;
/// What direct I/O wants: addresses in memory and offsets in the file that are multiples of it.
const ALIGNMENT_BYTES: usize = 4096;
/// Less than this is not worth a descriptor for direct I/O.
const DIRECT_MIN_BYTES: usize = 64 << 10;

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
    /// Gives a file a second name, which must not exist. `false` where that is not possible: not every
    /// file system has links, not everybody may make them, and a file has only so many.
    fn hard_link(&self, from: &Path, to: &Path) -> Result<bool>;
    /// Removes one file or symbolic link.
    fn remove_file(&self, path: &Path) -> Result<()>;
    /// Removes one directory, which must be empty.
    fn remove_dir(&self, path: &Path) -> Result<()>;
    /// Removes a directory and all that is in it; follows no symbolic link, at no time.
    fn remove_dir_all(&self, path: &Path) -> Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> Result<()>;
    /// Gives a file or directory to a user and a group; follows no symbolic link.
    fn set_owner(&self, path: &Path, uid: u32, gid: u32) -> Result<()>;
    /// Sets the permission bits of a file or directory, whatever the process's umask. Fails on a
    /// symbolic link.
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
            // One that is there is taken for durable from then on.
            Ok(()) => self.sync_dir(parent).inspect_err(|_| drop(self.remove_dir(path))),
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
    /// Writes all the bytes at an offset. Goes fastest with many bytes at once, whose address and
    /// offset are multiples of 4096.
    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> Result<()>;
    /// The same for bytes that are read again soon: they stay in memory until then.
    fn write_cached_at(&self, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        self.write_at(offset_bytes, bytes)
    }
    /// Sets the file's length; new bytes are zeros, for which there is space on the disk if the file
    /// system can promise that.
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
    path: PathBuf,
    /// The same file for direct I/O, once something was worth it; `None` where that is not possible.
    direct: OnceLock<Option<File>>,
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
        Ok(RealFile::boxed(file, path))
    }

    fn open_write(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        let no_follow = OFlags::NOFOLLOW.bits() as i32;
        let file = OpenOptions::new()
            .write(true)
            .custom_flags(no_follow)
            .open(path)
            .map_err(Error::io("open for writing", path))?;
        Ok(RealFile::boxed(file, path))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to).map_err(Error::io("rename", from))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<bool> {
        let Err(error) = fs::hard_link(from, to) else { return Ok(true) };
        match Errno::from_io_error(&error) {
            Some(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK | Errno::XDEV) => {
                Ok(false)
            }
            _ => Err(Error::io("link", from)(error)),
        }
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        fs::remove_file(path).map_err(Error::io("remove", path))
    }

    fn remove_dir(&self, path: &Path) -> Result<()> {
        fs::remove_dir(path).map_err(Error::io("remove directory", path))
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
        // By a descriptor: others may put a link in its place meanwhile. It must not wait for the
        // other end of a pipe either.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
        file.and_then(|file| file.set_permissions(Permissions::from_mode(mode)))
            .map_err(Error::io("change the mode of", path))
    }
}

impl DiskFile for RealFile {
    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        let direct = self.write_directly(offset_bytes, bytes)?;
        let rest = bytes.get(direct..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        self.write_cached_at(offset_bytes.saturating_add(direct as u64), rest)
    }

    fn write_cached_at(&self, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, offset_bytes).map_err(Error::io("write", &self.path))?;
        self.begin_writing_out(offset_bytes, bytes.len() as u64);
        Ok(())
    }

    fn set_len(&self, size_bytes: u64) -> Result<()> {
        self.reserve(size_bytes)?;
        self.file.set_len(size_bytes).map_err(Error::io("set the length of", &self.path))
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(Error::io("sync", &self.path))
    }
}

impl RealFile {
    fn boxed(file: File, path: &Path) -> Box<dyn DiskFile> {
        Box::new(Self { file, path: path.to_owned(), direct: OnceLock::new() })
    }

    /// Writes as many of the bytes as direct I/O takes, from the first on: all whole pages if
    /// everything is aligned, else none.
    fn write_directly(&self, offset_bytes: u64, bytes: &[u8]) -> Result<usize> {
        let whole = bytes.len() - bytes.len() % ALIGNMENT_BYTES;
        let aligned = offset_bytes.is_multiple_of(ALIGNMENT_BYTES as u64)
            && bytes.as_ptr().align_offset(ALIGNMENT_BYTES) == 0;
        if whole < DIRECT_MIN_BYTES || !aligned {
            return Ok(0);
        }
        let Some(direct) = self.direct.get_or_init(|| self.open_direct()) else { return Ok(0) };
        match direct.write_all_at(bytes.get(..whole).unwrap_or_default(), offset_bytes) {
            Ok(()) => Ok(whole),
            // The file system or the device wants something else: the usual way always works.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(0),
            Err(error) => Err(Error::io("write", &self.path)(error)),
        }
    }

    fn open_direct(&self) -> Option<File> {
        let flags = (OFlags::DIRECT | OFlags::NOFOLLOW).bits() as i32;
        let direct = OpenOptions::new().write(true).custom_flags(flags).open(&self.path).ok()?;
        let (own, there) = (self.file.metadata().ok()?, direct.metadata().ok()?);
        ((own.dev(), own.ino()) == (there.dev(), there.ino())).then_some(direct)
    }

    /// Has the file system set aside the space: a full disk is found before the first byte, the
    /// file lies in few pieces, and several writers need not wait for each other.
    fn reserve(&self, size_bytes: u64) -> Result<()> {
        loop {
            match fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, size_bytes) {
                Err(Errno::INTR) => {}
                Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => {
                    return Err(Error::io("set aside space for", &self.path)(error.into()));
                }
                // Others mean that this file system cannot: then space is found while writing.
                _ => return Ok(()),
            }
        }
    }

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
