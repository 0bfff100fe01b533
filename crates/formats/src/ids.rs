//! The identifiers that every layer speaks, whatever the server's generation.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A committed transaction's id. Transaction 1 is the virtual base transaction: never in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TxId(pub u64);

/// Number of a batch in the order of appending; equals the transaction id in record formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AppendIndex(pub u64);

/// The sequence number of a log file: `N` of `neostore.transaction.db.N` and `checkpoint.N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogVersion(pub u64);

/// A byte position in the sequence of transaction log files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogPosition {
    /// The log file.
    pub version: LogVersion,
    /// Offset from the file's first byte, header included, in bytes.
    pub offset_bytes: u64,
}

/// Checksum of a transaction, as Neo4j keeps it: the CRC-32C of its bytes, or in 3.0 a hash of
/// 64 bits (see [`v3_0`](crate::v3_0)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Checksum(pub u64);

impl Checksum {
    /// The value before the first transaction of a database: `0xDEAD5EED`. In 3.0 it is 0.
    pub const BASE: Self = Self(0xDEAD_5EED);
}

impl From<u32> for Checksum {
    fn from(crc: u32) -> Self {
        Self(crc.into())
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimestampMs(pub i64);

/// The version byte that begins each log entry (20 is Neo4j 5.25 and 5.26, 32 is 2026.08, 0xFA is
/// the -6 of 3.0.0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KernelVersion(pub u8);

/// Identity and format of a store, the same bytes in log headers, checkpoints and `neostore`; in 3.0
/// in `neostore` only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StoreId {
    /// When the store was created.
    pub creation_time: TimestampMs,
    /// A random number, drawn anew by a migration.
    pub random: i64,
    /// The storage engine: `record`.
    pub engine: String,
    /// The format family: `aligned` or `standard`.
    pub format_family: String,
    /// Major version of the format.
    pub major: i8,
    /// Minor version of the format.
    pub minor: i8,
    /// Neo4j 3.0 only: the store's last upgrade. Without it in JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<StoreUpgrade>,
}

/// When a store was brought to its format; a new store, when it was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StoreUpgrade {
    /// When.
    pub time: TimestampMs,
    /// The last transaction before it; 1 for a new store.
    pub tx_id: TxId,
}

impl StoreId {
    /// The format's name as Neo4j shows it to users, such as `record-aligned-1.1`; that of 3.0 is
    /// `standard-v0.A.7`.
    #[must_use]
    pub fn format_name(&self) -> String {
        if self.is_v3_0() {
            return format!("{}-v{}.A.{}", self.format_family, self.major, self.minor);
        }
        format!("{}-{}-{}.{}", self.engine, self.format_family, self.major, self.minor)
    }
}

impl fmt::Display for StoreId {
    /// `record-aligned-1.1:<creation time, hex>-<random, hex>`: one word, safe in file names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:x}-{:016x}", self.format_name(), self.creation_time.0, self.random)
    }
}

impl fmt::Display for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for AppendIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for LogVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.version, self.offset_bytes)
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 8 digits for a CRC-32C, 16 for what does not fit.
        let digits = if self.0 >> 32 == 0 { 8 } else { 16 };
        write!(f, "{:0digits$x}", self.0)
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_3_0() {
            return self.0.cast_signed().fmt(f);
        }
        self.0.fmt(f)
    }
}
