//! Are a backup's files as our last run left them?

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fs::Place;

use crate::backup::{Located, locate};
use crate::increment::hash_blocks;
use crate::{DatabaseEntry, Error, Result, verify};

/// When a file, or what is known of it, last changed. No program can set it.
type ChangeTime = (i64, i64);

/// Files whose time of change is not the one in the manifest, but of which this process knows that it
/// has seen to that itself, or that their bytes are right.
#[derive(Debug, Default)]
pub(crate) struct OwnChanges(Mutex<HashMap<Place, ChangeTime>>);

impl OwnChanges {
    /// A file that was written and then read and hashed.
    pub fn note(&self, path: &Path) {
        if let Ok(found) = std::fs::symlink_metadata(path) {
            self.known().insert(Place::from(&found), change_time(&found));
        }
    }

    /// Does something that changes the number of links of these files, and nothing else of them. Each
    /// has its time of change in the manifest with it.
    pub fn link<T>(
        &self,
        dir: &Path,
        files: &[(&Path, Option<&str>)],
        links: impl FnOnce() -> T,
    ) -> T {
        let written = manifest_time(dir).ok();
        let unchanged = |(path, changed): &&(&Path, Option<&str>)| {
            let found = std::fs::symlink_metadata(path).ok().zip(written);
            found.is_some_and(|(found, written)| self.is_old(&found, written, *changed))
        };
        let unchanged: Vec<_> = files.iter().filter(unchanged).collect();
        let done = links();
        unchanged.into_iter().for_each(|(path, _)| self.note(path));
        done
    }

    /// Puts the times of change of the files that are known to be right into their entry.
    pub fn tell(&self, entry: &mut DatabaseEntry, located: &Located) {
        for file in &mut entry.files {
            let Ok(found) = std::fs::symlink_metadata(located.file(file)) else { continue };
            if self.knows(&found) {
                file.changed = Some(text(change_time(&found)));
            }
        }
    }

    /// Whether a file is as the manifest has it, or was changed by nothing but us.
    fn is_old(&self, found: &Metadata, written: ChangeTime, changed: Option<&str>) -> bool {
        let now = change_time(found);
        // Not at the same time as the manifest: the kernel's clock has steps, long ones on a busy machine.
        (now < written && changed == Some(text(now).as_str())) || self.knows(found)
    }

    fn knows(&self, found: &Metadata) -> bool {
        self.known().get(&Place::from(found)) == Some(&change_time(found))
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Place, ChangeTime>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts the present time of change of each file into an entry whose files are known to be right.
pub(crate) fn note_times(entry: &mut DatabaseEntry, located: &Located) {
    for file in &mut entry.files {
        let found = std::fs::symlink_metadata(located.file(file));
        file.changed = found.ok().map(|found| text(change_time(&found)));
    }
}

/// Fails if a backup's files are not as our last run left them: if Neo4j was started on it, say, or
/// somebody changed a file.
///
/// A file whose time of change is the one in the manifest needs no second look; of any other (which may
/// be one of a backup that was moved as a whole) every byte is compared with its hashes.
pub(crate) fn require_unchanged(
    dir: &Path,
    entry: &DatabaseEntry,
    own_changes: &OwnChanges,
) -> Result<()> {
    let written = manifest_time(dir)?;
    let located = locate(dir, entry);
    let changed = |path: PathBuf, what: String| Err(Error::ChangedByHand { path, what });
    if let Some(path) = verify::unlisted(&located, entry)?.into_iter().next() {
        return changed(path, "is none of the backup's files".to_owned());
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
        if own_changes.is_old(&found, written, file.changed.as_deref()) {
            continue;
        }
        let opened = File::open(&path).map_err(fs::Error::io("open", &path))?;
        let mut blocks = Vec::new();
        hash_blocks(&opened, 0, listed, entry.block_bytes, &mut blocks)
            .map_err(fs::Error::io("read", &path))?;
        if blocks != file.blocks {
            return changed(path, "has other bytes than when it was written".to_owned());
        }
        // As it was before its bytes were read.
        own_changes.known().insert(Place::from(&found), change_time(&found));
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

fn text((seconds, nanoseconds): ChangeTime) -> String {
    format!("{seconds}.{nanoseconds:09}")
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
        let file = path("file");
        std::fs::write(&file, b"bytes").unwrap();
        let changed = text(change_time(&std::fs::metadata(&file).unwrap()));
        pause();
        std::fs::write(path(crate::MANIFEST_NAME), b"{}").unwrap();
        pause();
        let own = OwnChanges::default();
        let is_old = || {
            let written = manifest_time(dir.path()).unwrap();
            own.is_old(&std::fs::metadata(&file).unwrap(), written, Some(&changed))
        };
        let link = |name: &str| std::fs::hard_link(&file, path(name)).unwrap();
        let files = [(file.as_path(), Some(changed.as_str()))];
        assert!(is_old());
        own.link(dir.path(), &files, || link("ours"));
        assert!(is_old());
        pause();
        link("theirs");
        assert!(!is_old());
        own.link(dir.path(), &files, || link("ours too"));
        assert!(!is_old());
        // A newer manifest, of another database's commit, makes nothing right.
        pause();
        std::fs::write(path(crate::MANIFEST_NAME), b"{ }").unwrap();
        assert!(!is_old());
    }
}
