//! What can go wrong on a disk.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::lock::Holder;

/// Result with a disk [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// The kinds that callers tell apart.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The file system or the user's quota is full.
    NoSpace,
    /// The file system is mounted read-only.
    ReadOnly,
    /// It is not there.
    NotFound,
    /// It is there already.
    Exists,
    /// The user may not do this.
    Denied,
    /// Another process holds the lock.
    InUse(Holder),
    /// Source and destination of a rename are on different file systems.
    CrossDevice,
    /// The process, or the system, has as many files open as it may.
    TooManyFiles,
    /// Anything else, a failing device above all.
    Other,
}

/// A failed operation: what was tried, on which path, and what the system said.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}", path.display())]
pub struct Error {
    /// What callers decide by.
    pub kind: Kind,
    /// Verb, such as `write`.
    pub doing: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// The system's error.
    #[source]
    pub source: io::Error,
}

impl Error {
    /// Wraps a system's error; made for `map_err`.
    pub fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { kind: kind(&source), doing, path: path.to_owned(), source }
    }

    /// As [`Error::io`], for errors of rustix.
    pub(crate) fn os(doing: &'static str, path: &Path) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::io(doing, path)(errno.into())
    }

    /// Whether the path does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind == Kind::NotFound
    }

    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self.kind {
            Kind::NoSpace => "free some space, or choose a directory on a larger file system",
            Kind::ReadOnly => "remount the file system writable, or choose another directory",
            Kind::NotFound => "check the path",
            Kind::Exists => "remove it, or choose another directory",
            Kind::Denied => "check owner and permissions, or run as another user",
            Kind::InUse(_) => "wait until the other run has ended",
            Kind::CrossDevice => "both places must be on one file system",
            Kind::TooManyFiles => "raise the limit of open files (ulimit -Hn), or that of the host",
            Kind::Other => "look into the system's log for faults of the device",
        }
    }
}

fn kind(error: &io::Error) -> Kind {
    use io::ErrorKind as E;
    if matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE)) {
        return Kind::TooManyFiles;
    }
    match error.kind() {
        E::NotADirectory | E::InvalidFilename => Kind::NotFound,
        E::StorageFull | E::QuotaExceeded | E::FileTooLarge => Kind::NoSpace,
        E::ReadOnlyFilesystem => Kind::ReadOnly,
        E::NotFound => Kind::NotFound,
        E::AlreadyExists => Kind::Exists,
        E::PermissionDenied => Kind::Denied,
        E::CrossesDevices => Kind::CrossDevice,
        _ => Kind::Other,
    }
}
