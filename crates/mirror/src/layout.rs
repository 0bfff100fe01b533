//! Names in a backup directory, and what a directory is by the names in it.

use std::path::{Path, PathBuf};

use formats::StoreId;
use fs::{EntryKind, Place};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The manifest's name.
pub const MANIFEST_NAME: &str = ".neo4j-backup.json";
pub(crate) const LOCK_NAME: &str = ".neo4j-backup.lock";
pub(crate) const STAGED_NAME: &str = ".neo4j-backup.staged";
pub(crate) const TRASH_NAME: &str = ".neo4j-backup.trash";
pub(crate) const PAGES_NAME: &str = ".neo4j-backup.pages";
/// Where `Disk::replace_file` writes the manifest first.
pub(crate) const MANIFEST_ASIDE_NAME: &str = ".neo4j-backup.json.new";

/// The backup may hold passwords' hashes and all data: for its owner only.
pub(crate) const DIR_MODE: u32 = 0o700;
pub(crate) const FILE_MODE: u32 = 0o600;

/// Names that our own runs may leave in a directory that has no manifest yet.
pub(crate) const LEFTOVERS: [&str; 5] =
    [LOCK_NAME, STAGED_NAME, TRASH_NAME, PAGES_NAME, MANIFEST_ASIDE_NAME];
/// The directories in one of Neo4j 3.0's databases. The last has an embedded database's log, as the original
/// backup tool leaves it.
pub(crate) const DATABASE_DIRS: [&str; 3] = ["schema", "index", "logs"];
/// How many names of a foreign directory a message tells.
const FOUND_MAX: usize = 5;

/// How the files of a backup lie in its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// As in Neo4j's `data`: each database has a directory for its store, and one for its logs.
    Data,
    /// As in Neo4j 3.0: it is the directory of the one database, whose logs lie beside its store.
    Database,
}

impl Layout {
    /// That of a store's backup.
    pub fn of(store_id: &StoreId) -> Self {
        if store_id.is_v3_0() { Self::Database } else { Self::Data }
    }
}

/// The two directories of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// The store directory.
    Store,
    /// The transaction log directory.
    Transactions,
}

impl Area {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Store, Self::Transactions];

    /// Its name under `staged/<generation>`.
    #[must_use]
    pub fn staged_name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Transactions => "transactions",
        }
    }

    /// The name of the directory, in Neo4j's data directory, that has one such per database.
    #[must_use]
    pub fn root_name(self) -> &'static str {
        match self {
            Self::Store => "databases",
            Self::Transactions => "transactions",
        }
    }
}

/// What a directory is, as far as we may write to it.
pub(crate) enum Target {
    /// Missing, empty, or with nothing but what a killed first run of ours left.
    Blank,
    /// It has a manifest.
    Backup,
    /// A database of Neo4j 3.0 and nothing else, as that version's backup tool makes one.
    Theirs,
}

/// Decides what a directory is; refuses one with foreign content.
pub(crate) fn examine(dir: &Path) -> Result<Target> {
    match std::fs::metadata(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            if std::fs::symlink_metadata(dir).is_err() {
                return Ok(Target::Blank);
            }
            let found = vec!["a link that leads nowhere".to_owned()];
            return Err(Error::NotBlank { dir: dir.to_owned(), found });
        }
        Err(e) => return Err(fs::Error::io("look at", dir)(e).into()),
        Ok(found) if !found.is_dir() => {
            let found = vec!["a file instead of a directory".to_owned()];
            return Err(Error::NotBlank { dir: dir.to_owned(), found });
        }
        Ok(_) => {}
    }
    let names = fs::entries(dir)?;
    if names.iter().any(|(name, _)| name == MANIFEST_NAME) {
        return Ok(Target::Backup);
    }
    let is_theirs = source::v3_0::is_store(dir);
    let foreign = names.iter().filter(|(name, kind)| {
        let fresh_file_system = name == "lost+found" && *kind == EntryKind::Dir;
        let theirs = is_theirs && is_database_file(Path::new(name));
        !fresh_file_system && !theirs && !LEFTOVERS.iter().any(|leftover| name == leftover)
    });
    let found: Vec<String> =
        foreign.take(FOUND_MAX).map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    if found.is_empty() {
        return Ok(if is_theirs { Target::Theirs } else { Target::Blank });
    }
    Err(Error::NotBlank { dir: dir.to_owned(), found })
}

/// Fails if the directory is, or lies in, a Neo4j data directory or another backup. Decided by
/// inode and by what lies there, whatever the path's spelling.
pub(crate) fn refuse_inside(dir: &Path) -> Result<()> {
    let own = Place::of(dir)?;
    let mut places = Vec::new();
    for ancestor in fs::ancestors(dir)? {
        let is_dir_itself = own.is_some() && Place::of(&ancestor)? == own;
        let has_manifest = ancestor.join(MANIFEST_NAME).is_file();
        // A first backup that is being made has no manifest yet.
        let is_ours = has_manifest || ancestor.join(LOCK_NAME).is_file();
        if is_ours && !is_dir_itself {
            return Err(Error::InsideBackup { dir: dir.to_owned(), backup: ancestor });
        }
        if !has_manifest {
            places.push((ancestor, is_dir_itself));
        }
    }
    for (ancestor, is_dir_itself) in places {
        if !holds_neo4j(&ancestor) {
            continue;
        }
        let dir = dir.to_owned();
        if !is_dir_itself {
            return Err(Error::InsideSource { dir, data: ancestor });
        }
        // The first backup may have been committed meanwhile.
        if !ancestor.join(MANIFEST_NAME).is_file() && !source::v3_0::is_store(&dir) {
            return Err(Error::HoldsNeo4j { dir });
        }
    }
    Ok(())
}

/// Whether Neo4j's files lie in a directory: in its `data`, in what is mounted there, or in a copy.
pub(crate) fn holds_neo4j(dir: &Path) -> bool {
    is_data_directory(dir) || is_root_of_databases(dir) || is_database_directory(dir)
}

/// Whether a directory looks like Neo4j's `data`: databases lie in its `databases`.
fn is_data_directory(dir: &Path) -> bool {
    let root = dir.join(Area::Store.root_name());
    let names = fs::entries(&root).unwrap_or_default();
    is_root_of_databases(&root)
        || names.iter().any(|(name, _)| root.join(name).join("neostore").exists())
}

/// Whether a directory looks like the one of all databases, or of all their logs, wherever that is
/// mounted: a server's lock lies in it, or `system`, which every server has.
fn is_root_of_databases(dir: &Path) -> bool {
    dir.join("store_lock").exists() || is_database_directory(&dir.join("system"))
}

/// Whether a directory is a database's: a store or its transaction logs lie in it.
fn is_database_directory(dir: &Path) -> bool {
    let names = fs::entries(dir).unwrap_or_default();
    let mut names = names.iter().map(|(name, _)| name.to_string_lossy());
    names.any(|name| name == "neostore" || name.starts_with(source::LOG_PREFIX))
}

/// Whether a file is one of a database of Neo4j 3.0, or one that its server makes of them; by its path.
pub(crate) fn is_database_file(path: &Path) -> bool {
    let first = path.iter().next().map(|name| name.to_string_lossy());
    first.is_some_and(|first| {
        first.starts_with("neostore")
            || first.starts_with("index.db")
            || first == "store_lock"
            || is_log_of_tool(&first)
            || DATABASE_DIRS.contains(&&*first)
    })
}

/// Whether it is what the backup tool of 3.0.7 leaves beside the database: its log, by the time of its run. That of 3.0.0 is
/// in `logs`.
fn is_log_of_tool(name: &str) -> bool {
    let time = name.strip_prefix("debug.log");
    let is_time = |time: &str| time.bytes().all(|byte| byte.is_ascii_digit());
    time.is_some_and(|time| time.is_empty() || time.strip_prefix('.').is_some_and(is_time))
}

/// Whether a name in a backup's directory is ours, or the file system's.
pub(crate) fn is_own_name(name: &std::ffi::OsStr) -> bool {
    name == MANIFEST_NAME || name == "lost+found" || LEFTOVERS.iter().any(|own| name == *own)
}

/// Whether a name can be a database's directory: one plain path component, not hidden.
#[must_use]
pub fn is_database_name(name: &str) -> bool {
    is_component(name) && !name.starts_with('.')
}

/// Whether a relative path is made of plain components only, so that it stays where it is joined.
pub(crate) fn is_plain_path(path: &str) -> bool {
    path.len() <= 1024 && path.split('/').count() <= 16 && path.split('/').all(is_component)
}

fn is_component(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.len() <= 255 && !name.contains(['/', '\0'])
}

/// Where a generation is staged.
pub(crate) fn staged_dir(dir: &Path, generation: &str) -> PathBuf {
    dir.join(STAGED_NAME).join(generation)
}
