//! Neo4j's on-disk formats: bytes to values and back. Knows nothing of files or networks.

mod ids;

pub use ids::{
    AppendIndex, Checksum, KernelVersion, LogPosition, LogVersion, StoreId, TimestampMs, TxId,
};
