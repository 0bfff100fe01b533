//! Does a backup hold what its manifest says, and can it be recovered? All findings, not the first.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::{Path, PathBuf};

use formats::TxId;
use fs::EntryKind;

use crate::backup::Located;
use crate::blocks::{CheckedBlocks, FileRef};
use crate::increment::{log_sizes, version_of};
use crate::layout::{Area, Layout, is_own_name};
use crate::{Backup, DatabaseEntry, Progress, Result, chain, check_blocks, store};

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Names of the databases that were read.
    pub databases: Vec<String>,
    /// Files that the manifest lists.
    pub files: u64,
    /// Bytes that the manifest lists.
    pub bytes: u64,
    /// Everything that is wrong, sorted by place.
    pub findings: Vec<Finding>,
    /// Log files with bytes behind the last transaction, and how many: of an increment that is under
    /// way or was never committed. They are not part of the backup.
    pub unfinished: Vec<(PathBuf, u64)>,
    /// Whether a run replaced the backup meanwhile: then findings mean nothing.
    pub replaced_meanwhile: bool,
}

/// One thing that is wrong with a backup.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The database; empty for what belongs to none.
    pub database: String,
    /// The file or directory.
    pub path: PathBuf,
    /// Where in the file, if at one place.
    pub offset_bytes: Option<u64>,
    /// The last transaction that was right before it, for logs.
    pub after_tx: Option<TxId>,
    /// What kind.
    pub kind: FindingKind,
    /// In words: lowercase, one line.
    pub what: String,
}

/// Kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// A file is not there.
    Missing,
    /// Something is there that the manifest does not list.
    Extra,
    /// A link or directory where a file should be.
    NotAFile,
    /// A file has another length.
    Size,
    /// A block has other bytes.
    Block,
    /// A file cannot be read.
    Unreadable,
    /// The metadata store is not that of the store that was backed up.
    Metadata,
    /// The transaction logs do not lead from C to E.
    Logs,
    /// The checkpoint file does not end with C.
    Checkpoint,
}

impl Report {
    /// Whether the backup is exactly what the manifest says, and recoverable.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && !self.replaced_meanwhile
    }
}

impl FindingKind {
    /// Its name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::NotAFile => "not_a_file",
            Self::Size => "size",
            Self::Block => "block",
            Self::Unreadable => "unreadable",
            Self::Metadata => "metadata",
            Self::Logs => "logs",
            Self::Checkpoint => "checkpoint",
        }
    }
}

impl Finding {
    pub(crate) fn new(database: &str, path: PathBuf, kind: FindingKind, what: &str) -> Self {
        let (database, what) = (database.to_owned(), what.to_owned());
        Self { database, path, offset_bytes: None, after_tx: None, kind, what }
    }

    pub(crate) fn at(self, offset: u64) -> Self {
        Self { offset_bytes: Some(offset), ..self }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(offset) = self.offset_bytes {
            write!(f, " at offset {offset}")?;
        }
        if let Some(tx_id) = self.after_tx {
            write!(f, " after transaction {tx_id}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Reads every byte of a backup: files against the manifest, then logs from C to E.
pub fn verify(backup: &Backup, progress: Progress<'_>) -> Result<Report> {
    let entries: Vec<&DatabaseEntry> = backup.manifest().databases.iter().collect();
    let mut report = Report {
        databases: entries.iter().map(|entry| entry.name.clone()).collect(),
        files: entries.iter().map(|entry| entry.files.len() as u64).sum(),
        bytes: entries.iter().map(|entry| entry.size_bytes()).sum(),
        findings: extra_names(backup)?,
        unfinished: unfinished(backup)?,
        replaced_meanwhile: false,
    };
    let logs = std::thread::scope(|scope| {
        let logs = scope.spawn(|| {
            entries.iter().flat_map(|entry| recovery_findings(backup, entry)).collect::<Vec<_>>()
        });
        let Ok(mut blocks) = check_blocks(backup, &entries, progress, &Unseen);
        report.findings.append(&mut blocks);
        logs.join()
    });
    report.findings.extend(logs.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
    report.findings.sort();
    report.replaced_meanwhile = !backup.is_current()?;
    Ok(report)
}

/// What keeps Neo4j from recovering one database: its store's identity, and its logs from checkpoint
/// C to the last transaction.
#[must_use]
pub fn recovery_findings(backup: &Backup, entry: &DatabaseEntry) -> Vec<Finding> {
    let located = backup.locate(entry);
    let mut findings = store::findings(&located, entry);
    findings.extend(chain::findings(located.dir(Area::Transactions), entry));
    findings
}

/// Nobody looks at the bytes.
struct Unseen;

impl CheckedBlocks for Unseen {
    type Error = Infallible;

    fn bytes(&self, _: FileRef<'_>, _: u64, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }

    fn piece_done(&self, _: FileRef<'_>, _: u64) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Names that nothing in the manifest accounts for. A server that was started on the backup, or a
/// file that was copied into it, shows here.
fn extra_names(backup: &Backup) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut extra = |database: &str, path: PathBuf| {
        let what = "not in the manifest";
        findings.push(Finding::new(database, path, FindingKind::Extra, what));
    };
    let is_database = |entry: &DatabaseEntry| Layout::of(&entry.store_id) == Layout::Database;
    // Where all of it is a database's, what else is there is found as the database's.
    let is_data = !backup.manifest().databases.iter().any(is_database);
    for (name, _) in fs::entries(backup.dir())?.into_iter().filter(|_| is_data) {
        let is_root = Area::ALL.iter().any(|area| name == area.root_name());
        if !is_root && !is_own_name(&name) {
            extra("", backup.dir().join(name));
        }
    }
    for area in Area::ALL.into_iter().filter(|_| is_data) {
        let root = backup.dir().join(area.root_name());
        for (name, _) in fs::entries(&root)? {
            if backup.manifest().database(&name.to_string_lossy()).is_none() {
                extra("", root.join(name));
            }
        }
    }
    for entry in &backup.manifest().databases {
        for path in unlisted(&backup.locate(entry), entry)? {
            extra(&entry.name, path);
        }
    }
    Ok(findings)
}

fn unfinished(backup: &Backup) -> Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for entry in &backup.manifest().databases {
        let log_dir = backup.locate(entry).dir(Area::Transactions).to_owned();
        let sizes = log_sizes(entry);
        for (name, _) in fs::entries(&log_dir)? {
            let version = name.to_str().and_then(version_of);
            if version < Some(entry.last_tx.end.version) {
                continue;
            }
            let path = log_dir.join(&name);
            let length = std::fs::symlink_metadata(&path).map_or(0, |found| found.len());
            let listed = version.and_then(|version| sizes.get(&version)).copied();
            let more = length.saturating_sub(listed.unwrap_or(0));
            if more > 0 || listed.is_none() {
                found.push((path, more));
            }
        }
    }
    Ok(found)
}

/// What lies in a backup's directory that is a database's, and is neither a listed file, nor a directory,
/// nor ours; relative.
pub(crate) fn unlisted_files(dir: &Path, entry: &DatabaseEntry) -> Result<Vec<PathBuf>> {
    let known: BTreeSet<&Path> = entry.files.iter().map(|file| Path::new(&file.path)).collect();
    let mut found = Vec::new();
    for (name, kind) in fs::entries(dir)? {
        let name = PathBuf::from(name);
        if is_own_name(name.as_os_str()) {
            continue;
        }
        match kind {
            EntryKind::Dir => {
                let inside = fs::walk(&dir.join(&name))?;
                let files = inside.into_iter().filter(|entry| entry.kind != EntryKind::Dir);
                found.extend(files.map(|entry| name.join(entry.path)));
            }
            _ => found.push(name),
        }
    }
    found.retain(|path| !known.contains(path.as_path()));
    Ok(found)
}

/// What lies in a database's directories and is neither a listed file nor a directory of one.
pub(crate) fn unlisted(located: &Located, entry: &DatabaseEntry) -> Result<Vec<PathBuf>> {
    if Layout::of(&entry.store_id) == Layout::Database {
        // What is there while the new files come is removed at the end.
        if located.is_moving() {
            return Ok(Vec::new());
        }
        let dir = located.dir(Area::Store);
        return Ok(unlisted_files(dir, entry)?.iter().map(|path| dir.join(path)).collect());
    }
    let mut found = Vec::new();
    for area in Area::ALL {
        found.extend(unlisted_of(located.dir(area), area, entry)?);
    }
    Ok(found)
}

fn unlisted_of(dir: &Path, area: Area, entry: &DatabaseEntry) -> Result<Vec<PathBuf>> {
    let mut known = BTreeSet::new();
    for file in entry.files.iter().filter(|file| file.area == area) {
        known.extend(Path::new(&file.path).ancestors());
    }
    // Log files behind the last transaction: of an increment that was never committed.
    let is_tail = |found: &fs::Entry| {
        area == Area::Transactions
            && found.path.to_str().and_then(version_of) > Some(entry.last_tx.end.version)
    };
    let is_unlisted = |found: &fs::Entry| {
        !is_tail(found) && !known.contains(found.path.as_path()) && found.kind != EntryKind::Dir
            || found.kind == EntryKind::Link
    };
    let found = fs::walk(dir)?;
    Ok(found.iter().filter(|e| is_unlisted(e)).map(|e| dir.join(&e.path)).collect())
}
