//! Neo4j's on-disk formats: bytes to values and back. Knows nothing of files or networks.
//!
//! Everything that Neo4j 5.20 to 2026.08 writes in the record formats `aligned` and `standard`
//! (and the older 5.x layouts that such a server still reads): transaction logs, checkpoint files,
//! the metadata store, the headers of record stores, the state of trees. And what Neo4j 3.0 writes
//! ([`v3_0`]), as the same neutral types where both have the thing. What is unknown is refused by
//! name: never a guess, never a panic. Unknown *flag bits* of known records are kept.
//!
//! ```
//! use formats::txlog::{BatchReader, LogHeader};
//!
//! fn last_transaction(log: &[u8]) -> Result<Option<formats::TxId>, formats::Error> {
//!     let data = log.get(128..).unwrap_or_default();
//!     let mut batches = BatchReader::new(data, LogHeader::SIZE_BYTES);
//!     let mut last = None;
//!     while let Some(batch) = batches.next_batch()? {
//!         last = Some(batch.tx_id);
//!     }
//!     Ok(last)
//! }
//! assert_eq!(last_transaction(&[0; 512]).unwrap(), None);
//! ```
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::as_conversions
    )
)]

pub mod checkpoint;
mod codec;
mod error;
mod ids;
mod kernel_version;
pub mod metadata;
pub mod record_store;
pub mod store_format;
mod store_id;
pub mod tree;
pub mod txlog;
pub mod v3_0;

pub use error::{Error, ErrorKind, Result};
pub use ids::{
    AppendIndex, Checksum, KernelVersion, LogPosition, LogVersion, StoreId, StoreUpgrade,
    TimestampMs, TxId,
};
