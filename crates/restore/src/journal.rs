//! What a run is about to rename, written down first, so that the next run can undo it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use fs::Disk;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use crate::destination::{is_there, require_private};
use crate::places::{Places, is_replaced};
use crate::{Destination, Error, Result};

const JOURNAL_NAME: &str = "journal.json";
/// A journal has a few lines per database.
const SIZE_BYTES_MAX: u64 = 16 << 20;

/// One rename.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Move {
    pub from: PathBuf,
    pub to: PathBuf,
}

/// A run's staging directories and renames, in their order. While there are no renames, nothing
/// but staging has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Journal {
    pub staging: Vec<PathBuf>,
    pub moves: Vec<Move>,
}

impl Move {
    /// Each rename's target was free before it, so a target without a source means: done.
    fn is_done(&self) -> bool {
        !is_there(&self.from) && is_there(&self.to)
    }
}

impl Journal {
    /// Reads what an earlier run to the same destination wrote, and checks it.
    pub fn read(dir: &Path, to: &Destination) -> Result<Option<Self>> {
        let path = dir.join(JOURNAL_NAME);
        let journal =
            |what: &dyn ToString| Error::Journal { path: path.clone(), what: what.to_string() };
        let mut file = match File::open(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(fs::Error::io("open", &path))?,
        };
        let metadata = file.metadata().map_err(fs::Error::io("look at", &path))?;
        if metadata.uid() != geteuid().as_raw() {
            return Err(journal(&format!("belongs to user {}", metadata.uid())));
        }
        if metadata.len() > SIZE_BYTES_MAX {
            return Err(journal(&"too long"));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(fs::Error::io("read", &path))?;
        let read: Self = serde_json::from_slice(&bytes).map_err(|e| journal(&e))?;
        read.check(dir, to)?;
        Ok(Some(read))
    }

    /// Fails if it has a rename that no restore to this destination does, or if a staging directory
    /// is not this user's.
    pub fn check(&self, dir: &Path, to: &Destination) -> Result<()> {
        let path = dir.join(JOURNAL_NAME);
        let checked = Places::of(to)?.check(&self.staging, &self.moves);
        checked.map_err(|what| Error::Journal { path, what })?;
        self.staging.iter().filter(|dir| is_there(dir)).try_for_each(|dir| require_private(dir))
    }

    pub fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<()> {
        let path = dir.join(JOURNAL_NAME);
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::Journal { path: path.clone(), what: e.to_string() })?;
        Ok(disk.replace_file(&path, &bytes, 0o600)?)
    }

    /// Does the renames, each durable before the next.
    pub fn perform(&self, disk: &dyn Disk) -> Result<()> {
        for Move { from, to } in &self.moves {
            if is_there(to) {
                let what = "came into being meanwhile".to_owned();
                return Err(Error::Journal { path: to.clone(), what });
            }
            rename(disk, from, to)?;
        }
        Ok(())
    }

    /// Whether all renames were done, of which the last one tells: nobody else takes anything out of
    /// a staging directory. What it put in place may be gone again, by a server that ran since.
    pub fn is_complete(&self) -> bool {
        let taken = |from: &Path| !is_there(from) && from.parent().is_some_and(is_there);
        self.moves.last().is_some_and(|last| last.is_done() || taken(&last.from))
    }

    /// Undoes the renames that were done, the last first, unless all were. Returns what it undid.
    pub fn undo(&self, disk: &dyn Disk) -> Result<Vec<PathBuf>> {
        let mut undone = Vec::new();
        if self.is_complete() {
            return Ok(undone);
        }
        for moved in self.moves.iter().rev().filter(|moved| moved.is_done()) {
            rename(disk, &moved.to, &moved.from)?;
            undone.push(moved.to.clone());
        }
        // The directories that were made for old ones to be moved into.
        for parent in self.moves.iter().filter_map(|moved| moved.to.parent()) {
            let ours = parent.parent().and_then(Path::file_name).is_some_and(is_replaced);
            if ours && is_there(parent) && fs::entries(parent)?.is_empty() {
                disk.remove_dir(parent)?;
            }
        }
        Ok(undone)
    }

    /// Makes durable what was renamed. A run that was killed may have renamed something, or undone it,
    /// and not have synced that: it is seen, but without the journal nobody would know of it.
    pub fn sync(&self, disk: &dyn Disk) -> Result<()> {
        let names = self.moves.iter().flat_map(|moved| [&moved.to, &moved.from]);
        let dirs: BTreeSet<&Path> = names.filter_map(|name| name.parent()).collect();
        for dir in dirs.into_iter().filter(|dir| is_there(dir)) {
            disk.sync_dir(dir)?;
        }
        Ok(())
    }
}

fn rename(disk: &dyn Disk, from: &Path, to: &Path) -> Result<()> {
    disk.rename(from, to)?;
    for dir in [to.parent(), from.parent()].into_iter().flatten() {
        disk.sync_dir(dir)?;
    }
    Ok(())
}
