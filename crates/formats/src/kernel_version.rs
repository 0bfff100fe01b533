//! The kernel versions that we know: those of Neo4j 5, and two of 3.0. What servers before 5 wrote
//! counts down from 0; the rest of it is known by name only.

use crate::{Error, KernelVersion, Result};

impl KernelVersion {
    /// Neo4j 3.0.0 and 3.0.1: -6.
    pub const V3_0: Self = Self(0xFA);
    /// Neo4j 3.0.2 to 3.0.9: -9.
    pub const V3_0_2: Self = Self(0xF7);
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

    /// Whether its log entries are those of Neo4j 3.0.
    #[must_use]
    pub fn is_3_0(self) -> bool {
        self == Self::V3_0 || self == Self::V3_0_2
    }

    /// Whether a log of that version goes on with this one: the same or a newer one. No server goes
    /// on from logs of 3.0 with those of 5, nor back.
    pub(crate) fn follows(self, last: Self) -> bool {
        match (last.is_3_0(), self.is_3_0()) {
            (false, false) => self >= last,
            // They count down.
            (true, true) => self <= last,
            _ => false,
        }
    }

    /// Checks a version byte of Neo4j 5 that stands at `offset_bytes`.
    ///
    /// # Errors
    /// `Unsupported` for every version outside of [`OLDEST`](Self::OLDEST) to
    /// [`NEWEST`](Self::NEWEST), by name; `Corrupt` for those of 3.0, which we know in other places.
    pub fn check(self, offset_bytes: u64) -> Result<Self> {
        if (Self::OLDEST..=Self::NEWEST).contains(&self) {
            return Ok(self);
        }
        if self.is_3_0() {
            let expected = format_args!("{} to {}", Self::OLDEST, Self::NEWEST);
            return Err(Error::corrupt(offset_bytes, "kernel version", expected, self));
        }
        let name = match self.0 {
            1..=4 => format!("{self} (Neo4j 4.x)"),
            33..=126 => format!("{self} (newer than 2026.08)"),
            // Neo4j's own tests write it.
            127 => format!("{self} (future)"),
            246 => "-10 (Neo4j 3.0.10 to 4.1)".to_owned(),
            248 => "-8 (Neo4j 2.3.5)".to_owned(),
            249 => "-7 (Neo4j 2.2.10)".to_owned(),
            251 => "-5 (Neo4j 2.3)".to_owned(),
            252 => "-4 (Neo4j 2.2.4)".to_owned(),
            254 => "-2 (Neo4j 2.2)".to_owned(),
            255 => "-1 (Neo4j 2.1)".to_owned(),
            _ => self.to_string(),
        };
        Err(Error::unsupported(offset_bytes, "kernel version", name))
    }
}
