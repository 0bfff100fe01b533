//! Why a restore was not done.

use std::path::PathBuf;

use mirror::Finding;

/// Result with a restore [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why nothing was restored. What was there is there still, but for [`Error::NotDurable`] and
/// [`Error::NotUndone`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The backup cannot be read.
    #[error(transparent)]
    Backup(#[from] mirror::Error),
    /// The backup is damaged.
    #[error("the backup is damaged in {}", places(findings))]
    Corrupt {
        /// All that is wrong with it.
        findings: Vec<Finding>,
    },
    /// A run replaced the backup while it was being read.
    #[error("{}: a new backup replaced this one meanwhile", backup.display())]
    ReplacedMeanwhile {
        /// The backup.
        backup: PathBuf,
    },
    /// The backup has no databases.
    #[error("{}: there is no database in this backup", backup.display())]
    NothingToRestore {
        /// The backup.
        backup: PathBuf,
    },
    /// A server uses the database.
    #[error("{}: locked by a running server (process {pid})", lock.display())]
    DatabaseRunning {
        /// The lock that the server holds.
        lock: PathBuf,
        /// The server; 0 if it runs in another container.
        pid: u32,
    },
    /// The database is there already, or one half of it is.
    #[error("database {database:?} exists: {}", path.display())]
    DatabaseExists {
        /// The database.
        database: String,
        /// The directory.
        path: PathBuf,
    },
    /// The destination is a backup, or lies in one.
    #[error("{}: inside the backup {}", to.display(), backup.display())]
    InsideBackup {
        /// The destination.
        to: PathBuf,
        /// The backup.
        backup: PathBuf,
    },
    /// The destination is no data directory of Neo4j.
    #[error("{}: not a Neo4j data directory: found {}", to.display(), found.join(", "))]
    NotADataDirectory {
        /// The destination.
        to: PathBuf,
        /// Some of the names in it.
        found: Vec<String>,
    },
    /// A database's directory cannot be replaced as a whole.
    #[error("{}: a mount point, which cannot be replaced", path.display())]
    MountPoint {
        /// The directory.
        path: PathBuf,
    },
    /// Files could not be given to the user who runs the server.
    #[error("{}: belongs to user {uid}, to whom this user cannot give files", path.display())]
    Owner {
        /// The directory whose owner was to be kept.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// The databases would not fit.
    #[error("{}: {needed_bytes} bytes are needed, {free_bytes} are free", path.display())]
    NoSpace {
        /// Where.
        path: PathBuf,
        /// What the databases need.
        needed_bytes: u64,
        /// What there is.
        free_bytes: u64,
    },
    /// Another restore into the same directory is running.
    #[error("{}: another restore is running: {holder}", to.display())]
    InUse {
        /// The destination.
        to: PathBuf,
        /// Who.
        holder: fs::Holder,
    },
    /// What has a staging directory's name may be somebody else's work, so it was not touched.
    #[error("{}: {what}", path.display())]
    Staging {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// What an earlier run left cannot be understood or believed, so it was not touched.
    #[error("{}: {what}", path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// It was told to end.
    #[error("interrupted")]
    Cancelled,
    /// All is in place, but the disk did not say that it will stay there.
    #[error("{}: the databases are in place, but may not outlast a power failure", to.display())]
    NotDurable {
        /// The destination.
        to: PathBuf,
        /// What the disk said.
        source: fs::Error,
    },
    /// The restore failed, and so did undoing what it had begun.
    #[error("the restore failed half way and could not be undone ({undo})")]
    NotUndone {
        /// Why it failed.
        source: Box<Error>,
        /// Why it could not be undone.
        undo: Box<Error>,
    },
    /// The server's lock could not be asked for.
    #[error(transparent)]
    Source(#[from] source::Error),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] fs::Error),
}

fn places(findings: &[Finding]) -> String {
    let first = findings.first().map_or_else(String::new, ToString::to_string);
    match findings.len() {
        1 => format!("one place: {first}"),
        count => format!("{count} places, the first: {first}"),
    }
}

impl Error {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Backup(error) => error.hint(),
            Self::Corrupt { .. } => "the verify command lists all damage; restore another backup",
            Self::ReplacedMeanwhile { .. } => "run again",
            Self::NothingToRestore { .. } => "the info command shows what a backup holds",
            Self::DatabaseRunning { .. } => "stop the server first",
            Self::DatabaseExists { .. } => {
                "--force moves the old directories aside, into neo4j-backup-replaced"
            }
            Self::InsideBackup { .. } => "name the data directory of a Neo4j server",
            Self::NotADataDirectory { .. } => {
                "name the directory with databases/ and transactions/ in it, or a new one"
            }
            Self::MountPoint { .. } => {
                "mount the directory above it instead, or restore elsewhere and copy by hand"
            }
            Self::Owner { .. } => "run as that user, or as root",
            Self::NoSpace { .. } => "free some space (old directories are only moved aside)",
            Self::InUse { .. } => "wait until the other run has ended",
            Self::Staging { .. } => {
                "if another user's restore was cut off, run it again as that user; else look at \
                 it, then remove it by hand"
            }
            Self::Journal { .. } => {
                "if a restore was cut off, run it again with the same --to or --config; else look at \
                 the directory, then remove it by hand"
            }
            Self::Cancelled => "run it again; nothing was changed",
            Self::NotDurable { .. } => {
                "look into the system's log for faults of the device, then restore again with --force"
            }
            Self::NotUndone { .. } => {
                "do not start the server before a restore has run again: it undoes what this one \
                 has begun"
            }
            Self::Source(_) => "check owner and permissions of the server's files",
            Self::Disk(error) => error.hint(),
        }
    }

    /// Whether the disk is full, or the databases would not fit on it.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::NoSpace { .. } => true,
            Self::Disk(error) | Self::NotDurable { source: error, .. } => {
                error.kind == fs::Kind::NoSpace
            }
            Self::NotUndone { source, .. } => source.is_no_space(),
            _ => false,
        }
    }
}
