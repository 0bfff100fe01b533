//! What can be wrong with a backup directory.

use std::path::{Path, PathBuf};

/// Result with a mirror [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a backup directory cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The target holds something that is no backup of ours.
    #[error("{}: not empty and not a backup: found {}", dir.display(), found.join(", "))]
    NotBlank {
        /// The target.
        dir: PathBuf,
        /// Some of the names in it.
        found: Vec<String>,
    },
    /// There is no manifest.
    #[error("{}: {}", dir.display(), without_manifest(*holds_neo4j))]
    NotABackup {
        /// The directory.
        dir: PathBuf,
        /// Whether Neo4j's files are in it all the same.
        holds_neo4j: bool,
    },
    /// The manifest's bytes do not fit its checksum, or what it says cannot be.
    #[error("{}: the manifest is damaged: {what}", path.display())]
    ManifestDamaged {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The manifest is of a later version of this tool.
    #[error("{}: format version {version} is newer than this program", path.display())]
    ManifestNewer {
        /// The manifest.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
    /// The target itself has Neo4j's files in it, and no manifest.
    #[error("{}: {}", dir.display(), without_manifest(true))]
    HoldsNeo4j {
        /// The target.
        dir: PathBuf,
    },
    /// A directory of the backup does not lie in it.
    #[error("{}: a link or a mount point: a backup cannot replace what lies elsewhere", path.display())]
    PartElsewhere {
        /// The directory.
        path: PathBuf,
    },
    /// The lock is no file in the backup's directory.
    #[error("{}: the lock is a link or a mount point: it would keep nobody out", path.display())]
    LockElsewhere {
        /// The lock.
        path: PathBuf,
    },
    /// The target lies in a Neo4j data directory.
    #[error("{}: inside the Neo4j data directory {}", dir.display(), data.display())]
    InsideSource {
        /// The target.
        dir: PathBuf,
        /// The data directory.
        data: PathBuf,
    },
    /// The target lies in another backup.
    #[error("{}: inside the backup {}", dir.display(), backup.display())]
    InsideBackup {
        /// The target.
        dir: PathBuf,
        /// The backup that is around it.
        backup: PathBuf,
    },
    /// Another run writes to the target.
    #[error("{}: in use by {holder}", dir.display())]
    InUse {
        /// The target.
        dir: PathBuf,
        /// Who holds the lock.
        holder: fs::Holder,
    },
    /// The target holds a backup of this database already.
    #[error("{}: already holds a backup of database {database:?}", dir.display())]
    BackupExists {
        /// The target.
        dir: PathBuf,
        /// The database.
        database: String,
    },
    /// A backup's file is not as our last run left it.
    #[error("{}: {what}: the backup was changed, or Neo4j was started on it", path.display())]
    ChangedByHand {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: String,
    },
    /// The backup has no such database.
    #[error("{}: no database {name:?} in this backup, only {}", dir.display(), known.join(", "))]
    NoSuchDatabase {
        /// The backup.
        dir: PathBuf,
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The server has another history than the one that was backed up.
    #[error(
        "{}: at offset {offset_bytes} the server's transaction has other bytes than the backup's",
        file.display()
    )]
    Diverged {
        /// The backup's log.
        file: PathBuf,
        /// The first byte that differs.
        offset_bytes: u64,
    },
    /// The server was upgraded, and its own backup service writes in its version what an older one logged.
    #[error(
        "{}: from offset {offset_bytes} on the transactions are those of the backup in the way of another version: \
         the server has been upgraded, and what cannot be compared is not gone on from",
        file.display()
    )]
    Rewritten {
        /// The backup's log.
        file: PathBuf,
        /// The first byte that differs.
        offset_bytes: u64,
    },
    /// The target holds backups of the other kind of server.
    #[error("{}: holds a backup of {found}, which cannot be together with one of {wanted}", dir.display())]
    OtherLayout {
        /// The target.
        dir: PathBuf,
        /// What is there.
        found: String,
        /// What was to be added.
        wanted: String,
    },
    /// The copy would not fit.
    #[error("{}: {needed_bytes} bytes are needed, {free_bytes} are free", dir.display())]
    NoSpace {
        /// The target.
        dir: PathBuf,
        /// What the copy needs.
        needed_bytes: u64,
        /// What there is.
        free_bytes: u64,
    },
    /// A name or size from the service that no honest service sends.
    #[error("the service's answer was refused: {what}")]
    Untrusted {
        /// What is wrong with it.
        what: String,
    },
    /// The copy is not whole, so it was not kept.
    #[error("the copy is incomplete: {file}: {what}")]
    Incomplete {
        /// The file.
        file: String,
        /// What is missing.
        what: String,
    },
    /// The copy's bytes are not what they should be, so it was not kept.
    #[error("{}{}: {what}", file.display(), at(*offset_bytes))]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where, if known.
        offset_bytes: Option<u64>,
        /// What is wrong.
        what: String,
    },
    /// The backup's logs do not lead to its last transaction.
    #[error("{} at offset {offset_bytes}: {what}", file.display())]
    DamagedLogs {
        /// The log file.
        file: PathBuf,
        /// After the last transaction that is right.
        offset_bytes: u64,
        /// What is wrong.
        what: String,
    },
    /// The database cannot be restored to that moment.
    #[error("database {database:?} cannot be restored {wanted}: the backup goes from {range}")]
    OutOfRange {
        /// The database.
        database: String,
        /// What was asked for.
        wanted: String,
        /// E0 and E with their times, and until when the backup has everything.
        range: String,
    },
    /// The new backup is complete and committed; only tidying up behind it failed.
    #[error("the backup is complete, but its files could not be moved into place")]
    RollForward(#[source] fs::Error),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] fs::Error),
}

fn without_manifest(holds_neo4j: bool) -> String {
    match holds_neo4j {
        true => "holds Neo4j's files, but no manifest: a data directory, another tool's backup, or part \
                 of a copy"
            .to_owned(),
        false => format!("not a backup: no {} in it", crate::MANIFEST_NAME),
    }
}

fn at(offset_bytes: Option<u64>) -> String {
    offset_bytes.map_or_else(String::new, |offset| format!(" at offset {offset}"))
}

impl Error {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotBlank { .. } => "name an empty or missing directory, or one with a backup",
            Self::HoldsNeo4j { .. } | Self::NotABackup { holds_neo4j: true, .. } => {
                "name another directory; a backup that was copied needs its .neo4j-backup.json"
            }
            Self::PartElsewhere { .. } => {
                "move what is in it to its place in the backup, or mount the backup's directory as a whole"
            }
            Self::LockElsewhere { .. } => {
                "remove or unmount it, and nothing else: the next run makes a new one"
            }
            Self::NotABackup { .. } => "name the directory that was given to -to",
            Self::ManifestDamaged { .. } => {
                "the backup cannot be trusted: make a new one into another directory"
            }
            Self::ManifestNewer { .. } => "use the version of neo4j-backup that wrote it, or later",
            Self::InsideSource { .. } => "keep backups outside of Neo4j's data directory",
            Self::InsideBackup { .. } => "name a directory of its own for each backup",
            Self::InUse { .. } => "wait until the other run has ended",
            Self::BackupExists { .. } => {
                "--full replaces it by a new full backup once that is complete"
            }
            Self::ChangedByHand { .. } => {
                "the verify command tells all that differs; --full replaces the backup"
            }
            Self::Diverged { .. } => {
                "the server was restored, or is another one, or a member of a cluster that is behind (ask another \
                 member); --full replaces the backup"
            }
            Self::Rewritten { .. } => "--full replaces the backup",
            Self::OtherLayout { .. } => "name another directory: each server has one of its own",
            Self::NoSuchDatabase { .. } => "the info command lists a backup's databases",
            Self::NoSpace { .. } => {
                "free some space (a new full backup stands beside the old one until it is complete)"
            }
            Self::Untrusted { .. } => "check that host and port are those of your own service",
            Self::Incomplete { .. } | Self::Corrupt { .. } => {
                "the backup that was there is unchanged; run again, and check the source if it stays"
            }
            Self::DamagedLogs { .. } => "the verify command tells all that is damaged",
            Self::OutOfRange { .. } => {
                "info --transactions lists the transactions; an older backup may reach further back"
            }
            Self::RollForward(_) => "the next run, info, verify and restore work all the same",
            Self::Disk(error) => error.hint(),
        }
    }

    /// Whether the disk is full, or the copy would not fit on it.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::NoSpace { .. } => true,
            Self::Disk(error) | Self::RollForward(error) => error.kind == fs::Kind::NoSpace,
            _ => false,
        }
    }

    pub(crate) fn no_manifest(dir: &Path) -> Self {
        Self::NotABackup { dir: dir.to_owned(), holds_neo4j: crate::layout::holds_neo4j(dir) }
    }

    pub(crate) fn untrusted(what: impl Into<String>) -> Self {
        Self::Untrusted { what: what.into() }
    }

    pub(crate) fn incomplete(file: &str, what: impl Into<String>) -> Self {
        Self::Incomplete { file: file.to_owned(), what: what.into() }
    }

    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::ManifestDamaged { path: path.to_owned(), what: what.into() }
    }
}
