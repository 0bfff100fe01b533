//! The kernel versions that we know.

use crate::{Error, KernelVersion, Result};

impl KernelVersion {
    /// The oldest that a Neo4j 5 server writes (5.0).
    pub const OLDEST: Self = Self(5);
    /// The newest that we know (2026.08).
    pub const NEWEST: Self = Self(32);

    /// From here on creates and deletes have commands of their own (5.11 wrote the first).
    pub(crate) const CREATE_AND_DELETE_COMMANDS: Self = Self(10);
    /// From here on START and the like carry an append index (5.20).
    pub(crate) const APPEND_INDEX: Self = Self(17);
    /// From here on START carries no previous checksum (2025.05).
    pub(crate) const NO_PREVIOUS_CHECKSUM: Self = Self(22);
    /// From here on START carries a transaction sequence number (2026.06).
    pub(crate) const SEQUENCE_NUMBER: Self = Self(30);

    /// Checks a version byte that stands at `offset_bytes`.
    ///
    /// # Errors
    /// `Unsupported` for every version outside of [`OLDEST`](Self::OLDEST) to
    /// [`NEWEST`](Self::NEWEST).
    pub fn check(self, offset_bytes: u64) -> Result<Self> {
        if (Self::OLDEST..=Self::NEWEST).contains(&self) {
            return Ok(self);
        }
        let name = match self.0 {
            1..=4 => format!("{self} (Neo4j 4.x)"),
            33..=126 => format!("{self} (newer than 2026.08)"),
            // Neo4j's own tests write these two.
            127 | 254 => format!("{self} (future)"),
            246 => "-10 (Neo4j 2.3)".to_owned(),
            _ => self.to_string(),
        };
        Err(Error::unsupported(offset_bytes, "kernel version", name))
    }
}
