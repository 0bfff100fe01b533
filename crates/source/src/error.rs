//! What can be wrong with a source.

use std::path::{Path, PathBuf};

/// Result with a source [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a database cannot be found, read or copied. Names the file, and the offset where known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory is not what the operator said that it is.
    #[error("{}: not a Neo4j {what}", path.display())]
    NotNeo4j {
        /// What was looked for, such as `data directory`.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// The configuration file cannot be understood.
    #[error("{}: {message}", path.display())]
    Config {
        /// The configuration file.
        path: PathBuf,
        /// What is wrong, with the key and the line.
        message: String,
    },
    /// No database of that name.
    #[error("no database named {name:?} in {}", data.display())]
    NoSuchDatabase {
        /// The name.
        name: String,
        /// The data directory.
        data: PathBuf,
    },
    /// Its first checkpoint is not there yet.
    #[error("database {name:?} is being created: {detail}")]
    Creating {
        /// The database.
        name: String,
        /// What is missing.
        detail: String,
    },
    /// Files are missing, and it is too old to be in the middle of its creation.
    #[error("database {name:?} is incomplete: {detail}")]
    Incomplete {
        /// The database.
        name: String,
        /// What is missing.
        detail: String,
    },
    /// A store migration is under way.
    #[error("database {name:?} is being migrated: {} exists", path.display())]
    Migrating {
        /// The database.
        name: String,
        /// The migration's directory.
        path: PathBuf,
    },
    /// A file could not be opened, read or listed.
    #[error("{doing} {}", path.display())]
    Io {
        /// Verb, such as `read`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The bytes of a file are damaged or of a version that we refuse.
    #[error("{}: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, and at which offset.
        source: formats::Error,
    },
    /// A store that we refuse as a whole.
    #[error("{}: {what} is not supported", path.display())]
    Unsupported {
        /// Its name, such as `block format`.
        what: String,
        /// The directory.
        path: PathBuf,
    },
    /// A log file that the copy needs is gone.
    #[error("{}: the transaction log was pruned before it could be opened", path.display())]
    LogPruned {
        /// The log file.
        path: PathBuf,
    },
    /// An increment cannot be: a new full backup can.
    #[error("{}: {what}", path.display())]
    NoIncrement {
        /// The log file.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// A backup of another store.
    #[error("{}: the store is {found}, the backup is of {expected}", path.display())]
    OtherStore {
        /// The store's directory.
        path: PathBuf,
        /// Its store id.
        found: String,
        /// The backup's store id.
        expected: String,
    },
    /// A backup of the store as it was before a migration to another format.
    #[error("{}: the store was migrated: it is {found}, the backup is of {expected}", path.display())]
    Migrated {
        /// The store's directory.
        path: PathBuf,
        /// Its store id.
        found: String,
        /// The backup's store id.
        expected: String,
    },
    /// The server's history is not the one that the backup has.
    #[error("{}: the server's history is not the backup's: {what}", path.display())]
    Diverged {
        /// The log file, or the log directory.
        path: PathBuf,
        /// The transaction and both checksums.
        what: String,
    },
    /// The source changed in a way that a hot copy cannot follow.
    #[error("{}: {what}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// What happened.
        what: String,
    },
    /// A request that does not fit the copy's state, such as store bytes after its end.
    #[error("{0}")]
    State(&'static str),
}

impl Error {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }

    pub(crate) fn format(path: &Path) -> impl FnOnce(formats::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Format { path, source }
    }

    /// Whether a file or directory is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }
}
