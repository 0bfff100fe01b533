//! Check points: entries of 18 bytes between the batches of a log.
//!
//! | offset | type | name |
//! |---|---|---|
//! | 0 | i8, u8 | version -6 or -9, type 7 |
//! | 2 | i64 | log version |
//! | 10 | i64 | offset in that file |
//!
//! Recovery takes the last one in file order, wherever it stands, and goes on from where it tells.
//! Its version says nothing of the transactions around it: 3.0.7, which writes -9, takes -6 as well,
//! while 3.0.0 knows -6 only. Source: `CheckPoint`, 3.0.0. Evidence: real logs of 3.0.0 and 3.0.7;
//! 3.0.7 recovered from a check point of version -6 before transactions of version -9.

use super::entry::CHECK_POINT;
use crate::{KernelVersion, LogPosition};

/// A check point in a log: every change before its position is in the store files. 3.0.0 writes
/// wrong positions now and then: see [`recovery_start`](super::recovery_start()).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckPoint {
    /// Offset of the entry's first byte in its file.
    pub start: u64,
    /// Offset after its last byte.
    pub end: u64,
    /// What it tells: where recovery begins.
    pub position: LogPosition,
}

impl CheckPoint {
    /// Length of the entry.
    pub const ENTRY_BYTES: usize = 18;

    /// The entry's bytes, of 3.0.0's version (-6), which later servers take too; values from 2^63 on
    /// become 2^63 - 1.
    #[must_use]
    pub fn encode(position: LogPosition) -> [u8; Self::ENTRY_BYTES] {
        let mut entry = [0; Self::ENTRY_BYTES];
        let [version, offset] = [position.version.0, position.offset_bytes]
            .map(|value| value.min(i64::MAX.cast_unsigned()));
        let bytes = [KernelVersion::V3_0.0, CHECK_POINT].into_iter();
        let bytes = bytes.chain(version.to_be_bytes()).chain(offset.to_be_bytes());
        entry.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        entry
    }
}
