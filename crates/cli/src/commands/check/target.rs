//! The target: is it a place for a backup, may this user write there, and is there room?

use std::path::{Path, PathBuf};

use mirror::{Backup, Look, SPARE_BYTES};
use rustix::process::{Resource, getrlimit};

use super::findings::{Check, Findings};
use crate::commands::backup::blocking;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, Result};
use crate::units;

/// Said of what the original tool has made.
pub const TAKEN_OVER: &str = "the next run takes it over";

/// The target, as far as the checks that follow need it.
pub struct Target {
    /// The directory, or the nearest one above it that exists.
    pub dir: PathBuf,
    /// What is there.
    pub found: Found,
}

/// What is at the target.
pub enum Found {
    /// What no run could use; that has been told.
    Unusable,
    /// Nothing.
    Blank,
    /// What Neo4j 3.0's own backup tool has made.
    Theirs,
    /// A backup.
    Backup(Box<Backup>),
    /// A backup that a run is writing to: what is read of it may be of two moments.
    Held(Box<Backup>),
}

impl Target {
    /// The backup that is there.
    pub fn backup(&self) -> Option<&Backup> {
        match &self.found {
            Found::Backup(backup) | Found::Held(backup) => Some(backup),
            Found::Unusable | Found::Blank | Found::Theirs => None,
        }
    }
}

/// What the next run would write.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs {
    /// For certain: full backups of databases that have none, and new transactions.
    pub at_least_bytes: u64,
    /// If every database got a new full backup beside the one that is there.
    pub full_bytes: u64,
    /// Whether some database has a backup.
    pub has_backup: bool,
    /// Whether some database gets a full backup.
    pub makes_full: bool,
}

/// Looks at the target, and tells.
pub async fn look(to: &Path, findings: &mut Findings) -> Target {
    let dir = to.to_owned();
    let looked: Result<Look> =
        blocking(move || mirror::look(&dir)).await.and_then(|looked| Ok(looked?));
    let check = Check::new("target");
    let look = match looked {
        Ok(look) => look,
        Err(failure) => {
            findings.error(check, failure);
            return Target { dir: nearest(to), found: Found::Unusable };
        }
    };
    let place = nearest(&look.dir);
    if let Some(holder) = &look.holder {
        let message = format!("{}: {holder} is backing up into it", look.dir.display());
        let hint =
            "another run fails, or waits with --retry-lock; beside a follower none is needed";
        findings.warning(check, message, hint);
    }
    let dirs = match &look.backup {
        Some(backup) => backup.written_dirs(),
        None => vec![place.clone()],
    };
    let denied = dirs.iter().find_map(|dir| fs::check_writable_dir(dir).err());
    if let Some(error) = denied {
        findings.error(check, error);
    } else if look.holder.is_none() {
        let what = match &look.backup {
            Some(backup) => {
                let databases = &backup.manifest().databases;
                let names: Vec<&str> = databases.iter().map(|entry| &*entry.name).collect();
                format!("a backup of {}", names.join(", "))
            }
            None if look.is_theirs => {
                format!("of Neo4j 3.0's own backup tool, {TAKEN_OVER}")
            }
            None if look.dir.is_dir() => "blank".to_owned(),
            None => format!("will be made in {}", place.display()),
        };
        findings.ok(check, format!("{}: {what}; this user may write there", look.dir.display()));
    }
    let is_held = look.holder.is_some();
    let found = match look.backup.map(Box::new) {
        None if look.is_theirs => Found::Theirs,
        None => Found::Blank,
        Some(backup) if is_held => Found::Held(backup),
        Some(backup) => Found::Backup(backup),
    };
    Target { dir: place, found }
}

/// Compares what a run needs with what is free.
pub fn space(dir: &Path, needs: Option<Needs>, findings: &mut Findings) {
    let check = Check::new("space");
    let free = match fs::free_bytes(dir) {
        Ok(free) => free,
        Err(error) => return findings.error(check, error),
    };
    let is_free = format!("{} are free", units::bytes(free));
    let Some(needs) = needs else {
        return findings.ok(check, format!("{is_free}; what a backup needs is not known"));
    };
    let least = units::bytes(needs.at_least_bytes);
    let spare = if needs.makes_full { SPARE_BYTES } else { 0 };
    if free < needs.at_least_bytes.saturating_add(spare) {
        let message = format!("{}: a backup needs {least}, {is_free}", dir.display());
        return findings.error(check, Failure::new(ExitCode::NoSpace, message));
    }
    let limit = getrlimit(Resource::Fsize).current;
    if let Some(limit) = limit.filter(|limit| *limit < needs.full_bytes) {
        let message = format!("no file may become longer than {}", units::bytes(limit));
        let hint = "raise the limit of a file's size (ulimit -f)";
        findings.warning(Check::new("file_size"), message, hint);
    }
    let full = units::bytes(needs.full_bytes);
    if needs.has_backup && free < needs.full_bytes.saturating_add(SPARE_BYTES) {
        let message = format!(
            "an increment fits, but a new full backup may need up to {full} beside the old one, and \
             {is_free}"
        );
        let hint = "free some space: logs that were pruned, or --full, make a new full backup";
        return findings.warning(check, message, hint);
    }
    match needs.has_backup {
        true => findings.ok(check, format!("{is_free}; a new full backup needs up to {full}")),
        false => findings.ok(check, format!("{is_free}; the backup needs {least}")),
    }
}

/// The directory itself, or the nearest one above it that exists.
fn nearest(dir: &Path) -> PathBuf {
    let found = fs::ancestors(dir).unwrap_or_default();
    found.into_iter().next().unwrap_or_else(|| PathBuf::from("/"))
}
