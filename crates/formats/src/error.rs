//! What can be wrong with bytes.

use crate::TxId;

/// Result with a formats [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why bytes are not what they should be, and where. The file's name is known to the caller.
#[derive(Debug, thiserror::Error)]
#[error("at offset {offset_bytes}: {kind}")]
pub struct Error {
    /// What is wrong.
    #[source]
    pub kind: ErrorKind,
    /// Offset in the file, in bytes.
    pub offset_bytes: u64,
}

/// The kinds of errors; callers act differently on each.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bytes end inside a value: normal at a live log's tail.
    #[error("the bytes end inside {0}")]
    Incomplete(&'static str),
    /// A value that cannot be.
    #[error("{what}: expected {expected}, found {found}")]
    Corrupt {
        /// The field.
        what: &'static str,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A transaction (or an entry, then without an id) whose CRC-32C is wrong.
    #[error(
        "checksum of {}: stored {stored:08x}, computed {computed:08x}",
        tx_id.map_or_else(|| "the entry".to_owned(), |id| format!("transaction {id}"))
    )]
    Checksum {
        /// The transaction, as far as its bytes can be believed.
        tx_id: Option<TxId>,
        /// The checksum that the bytes carry.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// A version, format, entry or command that we do not know, or refuse.
    #[error("{what} {found} is not supported")]
    Unsupported {
        /// The kind of thing, such as `kernel version`.
        what: &'static str,
        /// Which one.
        found: String,
    },
    /// The bytes could not be read.
    #[error("read: {0}")]
    Io(#[source] std::io::Error),
}

impl Error {
    /// Whether the bytes end inside a value.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        matches!(self.kind, ErrorKind::Incomplete(_))
    }

    /// Whether it is something that we do not know, rather than damage.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        matches!(self.kind, ErrorKind::Unsupported { .. })
    }

    /// Whether a checksum is wrong.
    #[must_use]
    pub fn is_checksum(&self) -> bool {
        matches!(self.kind, ErrorKind::Checksum { .. })
    }

    /// Whether the bytes could not be read at all.
    #[must_use]
    pub fn is_io(&self) -> bool {
        matches!(self.kind, ErrorKind::Io(_))
    }

    pub(crate) fn incomplete(offset_bytes: u64, what: &'static str) -> Self {
        Self { kind: ErrorKind::Incomplete(what), offset_bytes }
    }

    pub(crate) fn corrupt(
        offset_bytes: u64,
        what: &'static str,
        expected: impl ToString,
        found: impl ToString,
    ) -> Self {
        let (expected, found) = (expected.to_string(), found.to_string());
        Self { kind: ErrorKind::Corrupt { what, expected, found }, offset_bytes }
    }

    pub(crate) fn unsupported(offset_bytes: u64, what: &'static str, found: impl ToString) -> Self {
        Self { kind: ErrorKind::Unsupported { what, found: found.to_string() }, offset_bytes }
    }
}
