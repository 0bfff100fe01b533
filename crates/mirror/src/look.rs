//! A look at a target: would [`Mirror::open_for_write`](crate::Mirror::open_for_write) take it, and
//! could an increment begin? Changes nothing.

use std::path::{Path, PathBuf};

use fs::{Holder, Lock};
use wire::api::After;

use crate::layout::{LOCK_NAME, Target, examine, refuse_inside, staged_dir};
use crate::mirror::{refuse_moved_lock, refuse_moved_roots};
use crate::unchanged::{OwnChanges, require_unchanged};
use crate::{Area, Backup, DatabaseEntry, Result, take_over};

/// What a target is.
#[derive(Debug)]
pub struct Look {
    /// The directory, which may be missing.
    pub dir: PathBuf,
    /// The backup that is there; `None` where the target is missing or blank.
    pub backup: Option<Backup>,
    /// Whether a database lies there as Neo4j 3.0's own backup tool leaves it, and no backup of ours.
    pub is_theirs: bool,
    /// Another run that is writing to it.
    pub holder: Option<Holder>,
}

/// Looks at a target.
///
/// # Errors
/// When no backup could be made there, whatever the databases.
pub fn look(dir: &Path) -> Result<Look> {
    let dir = fs::resolve(dir)?;
    refuse_inside(&dir)?;
    let target = examine(&dir)?;
    let backup = match target {
        Target::Blank | Target::Theirs => None,
        Target::Backup => Some(Backup::open(&dir)?),
    };
    refuse_moved_lock(&dir)?;
    refuse_moved_roots(&dir)?;
    let holder = Lock::holder(&dir.join(LOCK_NAME))?;
    take_over::refuse_used(&dir)?;
    Ok(Look { dir, backup, is_theirs: matches!(target, Target::Theirs), holder })
}

impl Backup {
    /// Whether the run that committed a database's backup was cut off before all was in its place. The
    /// next run goes on with that first.
    #[must_use]
    pub fn is_unfinished(&self, entry: &DatabaseEntry) -> bool {
        staged_dir(self.dir(), &entry.generation).is_dir()
    }

    /// What a database's backup ends with, for a question whether an increment could begin after it.
    /// Reads every file that may have changed since the manifest was written.
    ///
    /// # Errors
    /// When the backup is not as our last run left it.
    pub fn after(&self, entry: &DatabaseEntry) -> Result<After> {
        if !self.is_unfinished(entry) {
            require_unchanged(self.dir(), entry, &OwnChanges::default())?;
        }
        Ok(entry.after())
    }

    /// The directories that a run would write in, as far as they exist.
    #[must_use]
    pub fn written_dirs(&self) -> Vec<PathBuf> {
        let mut dirs = vec![self.dir().to_owned()];
        for entry in &self.manifest().databases {
            let located = self.locate(entry);
            dirs.extend(Area::ALL.map(|area| located.dir(area).to_owned()));
        }
        dirs.extend(Area::ALL.map(|area| self.dir().join(area.root_name())));
        dirs.retain(|dir| dir.is_dir());
        dirs
    }
}
