//! Where a path really is: compared by device and inode, not by its spelling.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

use crate::{Error, Result};

/// The identity of a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}

impl Place {
    /// The identity of what a path leads to, symbolic links followed; `None` if nothing is there.
    pub fn of(path: &Path) -> Result<Option<Self>> {
        match std::fs::metadata(path) {
            Ok(metadata) => Ok(Some(Self::from(&metadata))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("look at", path)(e)),
        }
    }
}

impl From<&Metadata> for Place {
    fn from(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// An absolute path without `..`, so that nothing is created on the way to it but what lies below.
/// A `..` is where the links before it lead, so these must exist.
pub fn resolve(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).map_err(Error::io("resolve", path))?;
    let mut resolved = PathBuf::new();
    for component in absolute.components() {
        if component == std::path::Component::ParentDir {
            resolved = resolved.canonicalize().map_err(Error::io("resolve", &resolved))?;
            resolved.pop();
        } else {
            resolved.push(component);
        }
    }
    Ok(resolved)
}

/// The real directories from a path up to the root: the path itself first if it exists, else its
/// nearest ancestor that does. Symbolic links are resolved.
pub fn ancestors(path: &Path) -> Result<Vec<PathBuf>> {
    let absolute = std::path::absolute(path).map_err(Error::io("resolve", path))?;
    for there in absolute.ancestors() {
        match there.canonicalize() {
            Ok(real) => return Ok(real.ancestors().map(Path::to_owned).collect()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("resolve", there)(e)),
        }
    }
    Ok(vec![PathBuf::from("/")])
}

/// Whether a path is, or would be created as, the directory `outer` or something in it.
pub fn is_inside(path: &Path, outer: &Path) -> Result<bool> {
    let Some(outer) = Place::of(outer)? else { return Ok(false) };
    for ancestor in ancestors(path)? {
        if Place::of(&ancestor)? == Some(outer) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether something else is mounted on a path: a file system, or a part of one, also of the same. What
/// is not there is no mount point. A kernel before 5.8 does not notice a part of the same file system.
pub fn is_mount_point(path: &Path) -> Result<bool> {
    let asked = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS);
    match asked {
        Ok(found) if found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) => {
            Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
        }
        _ => is_other_device(path),
    }
}

fn is_other_device(path: &Path) -> Result<bool> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let Some(own) = Place::of(path)? else { return Ok(false) };
    match parent {
        Some(parent) => Ok(Place::of(parent)?.is_some_and(|parent| parent.device != own.device)),
        None => Ok(path.has_root()),
    }
}

/// How many bytes this user can still write on the file system of a directory.
pub fn free_bytes(dir: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(dir).map_err(Error::os("ask for the free space of", dir))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inside is inside through symbolic links, through `..`, and for what does not exist yet.
    #[test]
    fn inside_is_decided_by_inode() {
        let dir = tempfile::tempdir().unwrap();
        let outer = dir.path().join("outer");
        std::fs::create_dir_all(outer.join("deep")).unwrap();
        std::fs::create_dir_all(dir.path().join("other")).unwrap();
        std::os::unix::fs::symlink(&outer, dir.path().join("link")).unwrap();
        let check = |path: &str, expected: bool| {
            assert_eq!(is_inside(&dir.path().join(path), &outer).unwrap(), expected, "{path}");
        };
        check("outer", true);
        check("outer/deep", true);
        check("outer/missing/more", true);
        check("link/deep", true);
        check("link/missing", true);
        check("other/../outer/deep", true);
        check("other", false);
        check("outer2", false);
        check("", false);
        assert!(!is_inside(&outer, &dir.path().join("nothing")).unwrap());
    }

    /// A way through what does not exist leads nowhere; a link on the way is followed.
    #[test]
    fn dots_are_resolved_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::os::unix::fs::symlink(root.join("a/b"), root.join("link")).unwrap();
        assert_eq!(resolve(&root.join("a/../new")).unwrap(), root.join("new"));
        assert_eq!(resolve(&root.join("link/../new")).unwrap(), root.join("a/new"));
        assert_eq!(resolve(&root.join("link/new/")).unwrap(), root.join("link/new"));
        assert!(resolve(&root.join("missing/../new")).unwrap_err().is_not_found());
    }

    /// There is some space here, and a directory that is missing is an error, not zero.
    #[test]
    fn free_space_is_asked_of_the_system() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free_bytes(dir.path()).unwrap() > 0);
        assert!(free_bytes(&dir.path().join("nothing")).unwrap_err().is_not_found());
        assert!(!is_mount_point(dir.path()).unwrap());
        assert!(!is_mount_point(&dir.path().join("nothing")).unwrap());
        for (path, expected) in [("/proc", true), ("/", true), ("/proc/self", false)] {
            assert_eq!(is_mount_point(Path::new(path)).unwrap(), expected, "{path}");
        }
        assert!(is_other_device(Path::new("/proc")).unwrap());
        assert!(!is_other_device(dir.path()).unwrap());
    }
}
