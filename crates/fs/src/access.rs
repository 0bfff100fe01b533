//! Whether this user may do something, asked of the system without doing it.

use std::path::Path;

use rustix::fs::{Access, access};

use crate::{Error, Result};

/// Fails unless this user may make and remove names in a directory. A file system that is mounted
/// read-only says so as well.
pub fn check_writable_dir(dir: &Path) -> Result<()> {
    let wanted = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    access(dir, wanted).map_err(Error::os("write in", dir))
}

/// Fails unless this user may read a file, or list a directory.
pub fn check_readable(path: &Path) -> Result<()> {
    let list = if path.is_dir() { Access::EXEC_OK } else { Access::EXISTS };
    access(path, Access::READ_OK | list).map_err(Error::os("read", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that is there, and one that is not.
    #[test]
    fn the_system_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        check_writable_dir(dir.path()).unwrap();
        check_readable(dir.path()).unwrap();
        let missing = dir.path().join("missing");
        assert!(check_writable_dir(&missing).unwrap_err().is_not_found());
        assert!(check_readable(&missing).unwrap_err().is_not_found());
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
    }
}
