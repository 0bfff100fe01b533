//! What is known of the pages of a backup's store, so that a renewal need not read it.
//!
//! `.neo4j-backup.pages/<generation>` has a [`Group`] of 64 bytes for each 64 KiB of a file, from the place
//! that the file's entry in the manifest names ([`FileEntry::pages_at`](crate::FileEntry::pages_at)). It
//! is written while the files come, and never changed after that: increments do not touch the store.
//!
//! Nothing relies on it. It is not synced, and whatever it says, a renewal compares the hash of every
//! block. Where it is missing or says nonsense, a renewal takes longer.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use fs::{Disk, DiskFile};
use wire::pages::{GROUP_BYTES, Group};

use crate::layout::{DIR_MODE, FILE_MODE, PAGES_NAME};
use crate::{Manifest, Result};

/// Its length for so many bytes of files.
pub(crate) fn length_of(bytes: u64) -> u64 {
    bytes.div_ceil(GROUP_BYTES as u64).saturating_mul(Group::BYTES as u64)
}

/// That of a new backup. Used by several threads at once.
#[derive(Debug)]
pub(crate) struct NewPages {
    file: Box<dyn DiskFile>,
    end: AtomicU64,
}

impl NewPages {
    pub fn create(disk: &dyn Disk, dir: &Path, generation: &str) -> Result<Self> {
        let pages = dir.join(PAGES_NAME);
        disk.create_dir_all(&pages, DIR_MODE)?;
        let file = disk.create_file(&pages.join(generation), FILE_MODE)?;
        Ok(Self { file, end: AtomicU64::new(0) })
    }

    /// A place for what is known of a file of that length.
    pub fn reserve(&self, size_bytes: u64) -> u64 {
        self.end.fetch_add(length_of(size_bytes), Ordering::Relaxed)
    }

    /// Writes what is known of a file from an offset on. The file's place is `at`.
    pub fn write(&self, at: u64, offset_bytes: u64, groups: &[Group]) -> Result<()> {
        let bytes: Vec<u8> = groups.iter().flat_map(Group::to_bytes).collect();
        let skipped = offset_bytes / GROUP_BYTES as u64 * Group::BYTES as u64;
        Ok(self.file.write_cached_at(at.saturating_add(skipped), &bytes)?)
    }
}

/// That of the backup that is there.
#[derive(Debug)]
pub(crate) struct Pages(File);

impl Pages {
    /// `None` where it cannot be read.
    pub fn open(dir: &Path, generation: &str) -> Option<Self> {
        File::open(dir.join(PAGES_NAME).join(generation)).ok().map(Self)
    }

    /// What is known of a range of a file, which begins at a multiple of [`GROUP_BYTES`]; `None` if nothing
    /// is. The file's place is `at`.
    pub fn read(&self, at: u64, range: &Range<u64>) -> Option<Vec<Group>> {
        let skipped = range.start / GROUP_BYTES as u64 * Group::BYTES as u64;
        let length = length_of(range.end.saturating_sub(range.start));
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        self.0.read_exact_at(&mut bytes, at.checked_add(skipped)?).ok()?;
        Some(bytes.as_chunks().0.iter().map(Group::from_bytes).collect())
    }
}

/// Removes that of a generation, if it is there.
pub(crate) fn remove(disk: &dyn Disk, dir: &Path, generation: &str) -> Result<()> {
    let path = dir.join(PAGES_NAME).join(generation);
    match path.exists() {
        true => Ok(disk.remove_file(&path)?),
        false => Ok(()),
    }
}

/// Removes all that the manifest names no generation of. Only while nothing is staged.
pub(crate) fn remove_others(disk: &dyn Disk, dir: &Path, manifest: &Manifest) -> Result<()> {
    let pages = dir.join(PAGES_NAME);
    if !pages.exists() {
        return Ok(());
    }
    for (name, _) in fs::entries(&pages)? {
        if !manifest.databases.iter().any(|entry| name == *entry.generation) {
            disk.remove_file(&pages.join(name))?;
        }
    }
    Ok(())
}
