//! The order of a restore.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fs::{Busy, Disk, Kind, Lock};
use jiff::Timestamp;
use mirror::{
    Area, Backup, Cut, DatabaseEntry, Progress, Until, check_blocks, find_cut, recovery_findings,
};

use crate::copy::Copy;
use crate::destination::{Owner, create_owned, create_private, is_there, require_private};
use crate::journal::Journal;
use crate::plan::{Plan, STAGING_NAME};
use crate::{Destination, Error, Result};

const LOCK_NAME: &str = "lock";

/// What to restore, and where to.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server's directories.
    pub to: Destination,
    /// Names of databases; all of the backup's if empty.
    pub databases: Vec<String>,
    /// Move databases that exist aside instead of refusing.
    pub force: bool,
    /// Where in their history; at the backup's end if `None`. A transaction id is of one database.
    pub until: Option<Until>,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The databases, sorted by name.
    pub databases: Vec<Restored>,
    /// What an earlier run had left, and was undone or removed.
    pub cleaned: Vec<PathBuf>,
}

/// One database that was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What the backup says of it.
    pub entry: DatabaseEntry,
    /// Where in its history, if not at the backup's end.
    pub cut: Option<Cut>,
    /// Its store directory.
    pub store: PathBuf,
    /// Its transaction log directory.
    pub transactions: PathBuf,
    /// Where its old directories are now.
    pub moved_aside: Vec<PathBuf>,
}

/// Restores databases of a backup; see the crate's documentation. On an error, nothing of the
/// destination has changed, except that what an earlier run had left may be gone; two errors say
/// otherwise, [`Error::NotDurable`] and [`Error::NotUndone`].
///
/// Once `cancelled` is set it ends with [`Error::Cancelled`], unless all is copied and verified by
/// then: what is left takes no time, and is done.
pub fn restore(
    disk: &Arc<dyn Disk>,
    from: &Path,
    options: &Options,
    progress: Progress<'_>,
    cancelled: &AtomicBool,
) -> Result<Report> {
    let mut made = Vec::new();
    let watch = Watch { progress, cancelled };
    let report = restore_noting(&**disk, from, options, &watch, &mut made);
    if report.is_err() {
        for dir in made.iter().rev() {
            // One with something in it stays.
            let _ = disk.remove_dir(dir);
        }
    }
    report
}

/// Adds the directories that it made, and that are not removed by undoing, to `made`.
fn restore_noting(
    disk: &dyn Disk,
    from: &Path,
    options: &Options,
    watch: &Watch<'_>,
    made: &mut Vec<PathBuf>,
) -> Result<Report> {
    let backup = Backup::open(from)?;
    let selected = backup.select(&options.databases)?;
    let named: Vec<_> = selected.into_iter().map(|entry| options.to.named(entry)).collect();
    let entries: Vec<&DatabaseEntry> = named.iter().collect();
    if entries.is_empty() {
        return Err(Error::NothingToRestore { backup: from.to_owned() });
    }
    let cut = |entry: &&DatabaseEntry| {
        options.until.map(|until| find_cut(&backup, entry, until)).transpose()
    };
    let cuts = entries.iter().map(cut).collect::<Result<Vec<_>, _>>()?;
    // A later run, started elsewhere, must find what the journal names.
    let to = options.to.absolute()?;
    to.refuse_foreign(backup.dir())?;
    to.refuse_running(&entries)?;
    let staging = to.data().join(STAGING_NAME);
    // Before the first change.
    if is_there(&staging) {
        require_private(&staging)?;
    } else if !options.force {
        // There is no earlier run that has to be undone.
        to.refuse_existing(&entries)?;
    }
    let owner = to.prepare(disk, &entries, made)?;
    // Journals and renames are of real directories, whatever name led there this time.
    let to = to.real()?;
    let staging = to.data().join(STAGING_NAME);
    if !is_there(&staging) {
        made.push(staging.clone());
    }
    create_private(disk, &staging)?;
    let lock = Lock::take(&staging.join(LOCK_NAME), Busy::Fail).map_err(|e| in_use(&to, e))?;
    let run = Run { disk, backup: &backup, entries, cuts, to: &to, owner, staging };
    let cleaned = run.undo_earlier()?;
    let done = run.restore(options.force, watch);
    let is_in_place = matches!(done, Ok(_) | Err(Error::NotDurable { .. }));
    // What is in place is not undone: then this removes only what was staged.
    let undone = run.undo_earlier();
    // The journal is needed until there is nothing left to undo.
    if (is_in_place || undone.is_ok())
        && let Err(error) = disk.remove_dir_all(&run.staging)
    {
        tracing::warn!(%error, "cannot remove the staging directory");
    }
    drop(lock);
    match (done, undone) {
        (Err(error), Err(undo)) if !is_in_place => {
            Err(Error::NotUndone { source: Box::new(error), undo: Box::new(undo) })
        }
        (done, undone) => {
            if let Err(error) = undone {
                tracing::warn!(%error, "cannot clean up after the restore");
            }
            done.map(|databases| Report { databases, cleaned })
        }
    }
}

/// Who watches a restore, and can end it.
struct Watch<'a> {
    progress: Progress<'a>,
    cancelled: &'a AtomicBool,
}

impl Watch<'_> {
    fn require_wanted(&self) -> Result<()> {
        if self.cancelled.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }
}

struct Run<'a> {
    disk: &'a dyn Disk,
    backup: &'a Backup,
    entries: Vec<&'a DatabaseEntry>,
    /// One for each entry.
    cuts: Vec<Option<Cut>>,
    to: &'a Destination,
    owner: Owner,
    /// The staging directory in the data directory, which has the lock and the journal.
    staging: PathBuf,
}

impl Run<'_> {
    /// Undoes and removes what a run left that was killed or has failed.
    fn undo_earlier(&self) -> Result<Vec<PathBuf>> {
        let mut cleaned = Vec::new();
        if let Some(mut journal) = Journal::read(&self.staging, self.to)? {
            cleaned = journal.undo(self.disk)?;
            journal.sync(self.disk)?;
            // Once files that it names are removed, it could no longer be told what was done.
            journal.moves.clear();
            journal.write(self.disk, &self.staging)?;
            cleaned.extend(journal.staging.iter().filter(|dir| is_there(dir)).cloned());
            for dir in journal.staging.iter().filter(|dir| **dir != self.staging) {
                if is_there(dir) {
                    self.disk.remove_dir_all(dir)?;
                }
            }
        }
        let mut left = fs::entries(&self.staging)?;
        left.retain(|(name, _)| name != LOCK_NAME);
        for (name, kind) in &left {
            let path = self.staging.join(name);
            match kind {
                fs::EntryKind::Dir => self.disk.remove_dir_all(&path)?,
                _ => self.disk.remove_file(&path)?,
            }
        }
        if !left.is_empty() {
            self.disk.sync_dir(&self.staging)?;
        }
        Ok(cleaned)
    }

    fn restore(&self, force: bool, watch: &Watch<'_>) -> Result<Vec<Restored>> {
        if !force {
            self.to.refuse_existing(&self.entries)?;
        }
        let time = Timestamp::now().strftime("%Y%m%dT%H%M%S.%3fZ").to_string();
        let plan = Plan::make(self.disk, self.to, &self.entries, &time)?;
        plan.require_space()?;
        let mut journal = Journal { staging: plan.staging.clone(), moves: Vec::new() };
        journal.check(&self.staging, self.to)?;
        journal.write(self.disk, &self.staging)?;
        plan.create_staging(self.disk, self.owner)?;
        self.copy(&plan, watch)?;
        if !self.backup.is_current()? {
            return Err(Error::ReplacedMeanwhile { backup: self.backup.dir().to_owned() });
        }
        // Asked again: the copy took its time.
        self.to.refuse_running(&self.entries)?;
        if !force {
            self.to.refuse_existing(&self.entries)?;
        }
        let old: Vec<_> = plan.old().map(|half| (half.database, half.aside.clone())).collect();
        journal.moves = plan.moves();
        journal.check(&self.staging, self.to)?;
        for (_, aside) in &old {
            if let Some(parent) = aside.parent() {
                create_owned(self.disk, parent, self.owner)?;
            }
        }
        journal.write(self.disk, &self.staging)?;
        journal.perform(self.disk).map_err(|error| match error {
            Error::Disk(source) if journal.is_complete() => {
                Error::NotDurable { to: self.to.data().to_owned(), source }
            }
            other => other,
        })?;
        Ok(self.restored(&plan, &old))
    }

    /// Copies all files and verifies all that the backup says of them, in one pass.
    fn copy(&self, plan: &Plan, watch: &Watch<'_>) -> Result<()> {
        let databases: Vec<_> =
            self.entries.iter().copied().zip(self.cuts.iter().copied()).collect();
        let copy = Copy::new(self.disk, self.owner, &databases, plan, watch.cancelled);
        let (blocks, logs) = std::thread::scope(|scope| {
            let logs = scope.spawn(|| {
                let logs =
                    self.entries.iter().flat_map(|entry| recovery_findings(self.backup, entry));
                logs.collect::<Vec<_>>()
            });
            let blocks = check_blocks(self.backup, &self.entries, watch.progress, &copy);
            (blocks, logs.join())
        });
        let mut findings = blocks?;
        findings.extend(logs.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        findings.sort();
        if !findings.is_empty() {
            if !self.backup.is_current()? {
                return Err(Error::ReplacedMeanwhile { backup: self.backup.dir().to_owned() });
            }
            return Err(Error::Corrupt { findings });
        }
        watch.require_wanted()?;
        copy.finish()?;
        for half in &plan.halves {
            fs::sync_tree(self.disk, &half.staged)?;
        }
        watch.require_wanted()
    }

    fn restored(&self, plan: &Plan, old: &[(usize, PathBuf)]) -> Vec<Restored> {
        let place = |database: usize, area: Area| {
            plan.half(database, area).map_or_else(PathBuf::new, |half| half.place.clone())
        };
        let entries = self.entries.iter().zip(&self.cuts).enumerate();
        let restored = entries.map(|(database, (entry, cut))| Restored {
            entry: (*entry).clone(),
            cut: *cut,
            store: place(database, Area::Store),
            transactions: place(database, Area::Transactions),
            moved_aside: old
                .iter()
                .filter(|(other, _)| *other == database)
                .map(|(_, aside)| aside.clone())
                .collect(),
        });
        restored.collect()
    }
}

fn in_use(to: &Destination, error: fs::Error) -> Error {
    match error.kind {
        Kind::InUse(holder) => Error::InUse { to: to.data().to_owned(), holder },
        _ => error.into(),
    }
}
