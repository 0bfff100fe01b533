//! Are a backup's files as our last run left them?

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fs::Place;

use crate::backup::locate;
use crate::increment::hash_blocks;
use crate::layout::Area;
use crate::{DatabaseEntry, Error, Result, verify};

/// When a file, or what is known of it, last changed. No program can set it.
type ChangeTime = (i64, i64);

/// Files that changed after the manifest was written, or too little before it for the kernel's clock,
/// but only by what this process did to them.
#[derive(Debug, Default)]
pub(crate) struct OwnChanges(Mutex<HashMap<Place, ChangeTime>>);

impl OwnChanges {
    /// A file that was written and then read and hashed.
    pub fn note(&self, path: &Path) {
        if let Ok(found) = std::fs::symlink_metadata(path) {
            self.known().insert(Place::from(&found), change_time(&found));
        }
    }

    /// Does something that changes the number of links of these files, and nothing else of them.
    pub fn link<T>(&self, dir: &Path, files: &[&Path], links: impl FnOnce() -> T) -> T {
        let written = manifest_time(dir).ok();
        let unchanged = |path: &&&Path| {
            let found = std::fs::symlink_metadata(path);
            found.is_ok_and(|found| written.is_some_and(|written| self.is_old(&found, written)))
        };
        let unchanged: Vec<_> = files.iter().filter(unchanged).collect();
        let done = links();
        unchanged.into_iter().for_each(|path| self.note(path));
        done
    }

    /// Whether a file last changed before the manifest was written, or by what we did.
    fn is_old(&self, found: &Metadata, written: ChangeTime) -> bool {
        let changed = change_time(found);
        // Not at the same time: the kernel's clock for this has steps, long ones on a busy machine.
        changed < written || self.known().get(&Place::from(found)) == Some(&changed)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Place, ChangeTime>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fails if a backup's files are not as our last run left them: if Neo4j was started on it, say, or
/// somebody changed a file.
///
/// A file that last changed before the manifest was written needs no second look; of any other
/// (which may be one of a backup that was moved as a whole) every byte is compared with its hashes.
pub(crate) fn require_unchanged(
    dir: &Path,
    entry: &DatabaseEntry,
    own_changes: &OwnChanges,
) -> Result<()> {
    let written = manifest_time(dir)?;
    let located = locate(dir, entry);
    let changed = |path: PathBuf, what: String| Err(Error::ChangedByHand { path, what });
    for area in Area::ALL {
        if let Some(path) = verify::unlisted(located.dir(area), area, entry)?.into_iter().next() {
            return changed(path, "is none of the backup's files".to_owned());
        }
    }
    for file in &entry.files {
        let path = located.file(file);
        let found = match std::fs::symlink_metadata(&path) {
            Ok(found) => found,
            Err(error) => return changed(path, error.to_string()),
        };
        let (size, listed) = (found.len(), file.size_bytes);
        if !found.is_file() || size < listed || (size > listed && !entry.is_newest_log(file)) {
            return changed(path, format!("is {size} bytes long instead of {listed}"));
        }
        if own_changes.is_old(&found, written) {
            continue;
        }
        let opened = File::open(&path).map_err(fs::Error::io("open", &path))?;
        let mut blocks = Vec::new();
        hash_blocks(&opened, 0, listed, entry.block_bytes, &mut blocks)
            .map_err(fs::Error::io("read", &path))?;
        if blocks != file.blocks {
            return changed(path, "has other bytes than when it was written".to_owned());
        }
    }
    Ok(())
}

fn manifest_time(dir: &Path) -> Result<ChangeTime> {
    let manifest = dir.join(crate::MANIFEST_NAME);
    let written = std::fs::metadata(&manifest).map_err(fs::Error::io("look at", &manifest))?;
    Ok(change_time(&written))
}

fn change_time(metadata: &Metadata) -> ChangeTime {
    (metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link that we make is no change; one of somebody else's is, and so is a file that had changed
    /// before ours.
    #[test]
    fn only_our_links_are_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let pause = || std::thread::sleep(std::time::Duration::from_millis(50));
        std::fs::write(path("file"), b"bytes").unwrap();
        pause();
        std::fs::write(path(crate::MANIFEST_NAME), b"{}").unwrap();
        pause();
        let own = OwnChanges::default();
        let written = manifest_time(dir.path()).unwrap();
        let is_old = || own.is_old(&std::fs::metadata(path("file")).unwrap(), written);
        let link = |name: &str| std::fs::hard_link(path("file"), path(name)).unwrap();
        assert!(is_old());
        own.link(dir.path(), &[&path("file")], || link("ours"));
        assert!(is_old());
        pause();
        link("theirs");
        assert!(!is_old());
        own.link(dir.path(), &[&path("file")], || link("ours too"));
        assert!(!is_old());
    }
}
