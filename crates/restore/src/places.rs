//! The renames that a restore can have done or is about to do, told from all others.
//!
//! The directories belong to the user who runs the server, and restores are run by root. So what a
//! journal says is not enough to rename by.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use mirror::Area;

use crate::destination::resolve;
use crate::journal::Move;
use crate::plan::{REPLACED_NAME, STAGING_NAME};
use crate::{Destination, Result};

/// The directories that a restore to a destination renames in.
#[derive(Debug)]
pub(crate) struct Places {
    /// Of which a database's halves are direct children.
    roots: Vec<PathBuf>,
    /// Where staging directories are, and those for old databases.
    bases: Vec<PathBuf>,
}

impl Places {
    /// `to` without links on the way.
    pub fn of(to: &Destination) -> Result<Self> {
        let mut roots = Vec::new();
        for area in Area::ALL {
            let root = to.root(area);
            roots.push(root.to_owned());
            for (name, kind) in fs::entries(root)? {
                if kind != fs::EntryKind::Link {
                    continue;
                }
                // One that cannot be resolved is no database's.
                let place = resolve(&root.join(name)).unwrap_or_default();
                roots.extend(place.parent().map(Path::to_owned));
            }
        }
        let around = roots.iter().filter_map(|root| root.parent());
        let mut bases: Vec<_> = around.map(Path::to_owned).collect();
        bases.push(to.data().to_owned());
        bases.extend(roots.iter().cloned());
        Ok(Self { roots, bases })
    }

    /// Fails unless these renames are ones that a restore does, and lead through no link.
    pub fn check(&self, staging: &[PathBuf], moves: &[Move]) -> Result<(), String> {
        for dir in staging {
            if !self.is_staging(dir) {
                return Err(format!("names {}, which is no staging directory", dir.display()));
            }
        }
        for Move { from, to } in moves {
            let ours = (self.is_staged(from)? && self.is_place(to))
                || (self.is_place(from) && self.is_aside(to)?);
            if !ours {
                let (from, to) = (from.display(), to.display());
                return Err(format!("names a rename that no restore does: {from} to {to}"));
            }
        }
        Ok(())
    }

    fn is_place(&self, path: &Path) -> bool {
        let root = path.file_name().and(path.parent());
        root.is_some_and(|root| self.roots.iter().any(|known| known == root))
    }

    fn is_staging(&self, dir: &Path) -> bool {
        let base = dir.parent().filter(|_| dir.file_name().is_some_and(|n| n == STAGING_NAME));
        base.is_some_and(|base| self.bases.iter().any(|known| known == base))
    }

    fn is_staged(&self, path: &Path) -> Result<bool, String> {
        two_above(path, |dir| self.is_staging(dir))
    }

    fn is_aside(&self, path: &Path) -> Result<bool, String> {
        two_above(path, |dir| {
            let base = dir.parent().filter(|_| dir.file_name().is_some_and(is_replaced));
            base.is_some_and(|base| self.bases.iter().any(|known| known == base))
        })
    }
}

/// Whether a path has two names below a directory that `is` accepts. Fails if that or what is
/// between them is there as something else than a directory, such as a link.
fn two_above(path: &Path, is: impl Fn(&Path) -> bool) -> Result<bool, String> {
    let Some(parent) = path.file_name().and(path.parent()) else { return Ok(false) };
    let Some(above) = parent.file_name().and(parent.parent()) else { return Ok(false) };
    if !is(above) {
        return Ok(false);
    }
    for dir in [above, parent] {
        if std::fs::symlink_metadata(dir).is_ok_and(|found| !found.is_dir()) {
            return Err(format!("leads through {}, which is not a directory", dir.display()));
        }
    }
    Ok(true)
}

/// Whether old databases are moved into a directory of this name.
pub(crate) fn is_replaced(name: &OsStr) -> bool {
    name.to_string_lossy().trim_start_matches('.') == REPLACED_NAME
}
