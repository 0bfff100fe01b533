//! How a log begins that is composed of others' transactions: a backup of a 3.0 database has one.
//!
//! | bytes | content |
//! |---|---|
//! | 0..16 | header |
//! | 16..34 | a check point that points to its own place |
//! | 34.. | transactions, without check points |
//!
//! Recovery starts at that check point, wherever the log ends. Evidence: 3.0.0 and 3.0.7 recovered from such
//! logs.

use super::check_point::CheckPoint;
use crate::txlog::{LogFormatVersion, LogHeader};
use crate::{LogPosition, LogVersion, TxId};

/// So many bytes come before the first transaction.
pub const COMPOSED_LOG_START_BYTES: usize = LOG_HEADER_BYTES + CheckPoint::ENTRY_BYTES;
/// No log may be longer: 3.0 compares offsets with 32 bits.
pub const LOG_BYTES_MAX: u64 = 0x7FFF_FFFF;

const LOG_HEADER_BYTES: usize = 16;

/// These bytes, of the log with that number, whose first transaction follows that one.
#[must_use]
pub fn composed_log_start(version: LogVersion, before: TxId) -> Vec<u8> {
    let position = LogPosition { version, offset_bytes: LogHeader::V6_SIZE_BYTES };
    let header = LogHeader {
        log_version: version,
        format: LogFormatVersion::V6,
        last_append_index: before.0,
        store_id: None,
    };
    [header.encode(), CheckPoint::encode(position).to_vec()].concat()
}
