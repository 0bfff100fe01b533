//! Neo4j 3.0 (record format `standard`, store version `v0.A.7`): what it writes where it does not
//! write what Neo4j 5 does. Big-endian, all of it.
//!
//! The neutral types carry it as far as they can, and are reached without a word about a version:
//!
//! - [`BatchReader`](crate::txlog::BatchReader) reads logs of both, and gives the same
//!   [`Batch`](crate::txlog::Batch): its append index, previous checksum and upgrade are `None`, its
//!   kernel version is [`V3_0`](crate::KernelVersion::V3_0) or [`V3_0_2`](crate::KernelVersion::V3_0_2).
//! - [`LogHeader`](crate::txlog::LogHeader) reads headers of both: format 6 is 16 bytes long and has
//!   no store id.
//! - [`StoreId`](crate::StoreId) has one field more, which is `None` in Neo4j 5: the upgrade.
//!   `v0.A.7` is `standard`, major 0, minor 7.
//! - [`RecordStore`](crate::record_store::RecordStore) describes the files of both: [`MANDATORY`].
//!
//! What they cannot carry: [`MetadataStore`](crate::metadata::MetadataStore) has an external UUID,
//! which a 3.0 store lacks, and [`Checkpoint`](crate::checkpoint::Checkpoint) a store id, a
//! transaction and a time, of which a [`CheckPoint`] of 3.0 has none. So [`Neostore`] and
//! [`CheckPoint`] are types of their own.
//!
//! Log entries have a version each, -6 (3.0.0, 3.0.1) or -9 (3.0.2 to 3.0.9); a database that was
//! upgraded in place has -9 behind -6, in one file. They differ in the command that gives names of
//! legacy indexes their numbers, and nowhere else ([`Command`]). Neo4j 3.0.10 and later write -10,
//! which is refused by name.
//!
//! Sources are classes of 3.0.0 and, for -9, of 3.0.7. Those of 3.0.1, 3.0.2, 3.0.3, 3.0.4 and 3.0.6
//! read and write the same; 3.0.8 and 3.0.9 are inferred.

mod batch;
mod check_point;
mod command;
mod composed_log;
mod counts;
mod entry;
mod index_config;
mod legacy_index;
mod lucene;
mod neostore;
mod record;
mod recovery_start;
mod rest;
mod store_files;

pub(crate) use batch::read_item;
pub use check_point::CheckPoint;
pub use command::Command;
pub use composed_log::{COMPOSED_LOG_START_BYTES, LOG_BYTES_MAX, composed_log_start};
pub use counts::CountsFile;
pub use entry::{Commit, Entry, EntryReader, Start};
pub use index_config::{IndexConfig, LegacyIndex};
pub use legacy_index::{IndexHeader, IndexName, IndexOption, IndexValue};
pub use lucene::{LuceneCommit, lucene_commit, lucene_segment_files};
pub use neostore::Neostore;
pub(crate) use neostore::store_version_name;
pub use record::{GroupRecord, PropertyRecord};
pub use recovery_start::{
    Place, RecoveryStart, Refused, keep_newest, newest_check_points, place_in_log, recovery_start,
};
pub use store_files::{
    COUNTS, LABEL_SCAN_STORE, LEGACY_INDEX_CONFIG, LEGACY_INDEXES, MANDATORY, SCHEMA_INDEXES,
};

use crate::codec::Codec;
use crate::{Error, Result};

/// Visits an i64 that is never negative.
fn visit_natural<C: Codec>(codec: &mut C, what: &'static str, field: &mut u64) -> Result<()> {
    let at = codec.offset();
    // -1 while encoding more than fits: refused below.
    let mut value = i64::try_from(*field).unwrap_or(-1);
    codec.i64(&mut value)?;
    *field = u64::try_from(value).map_err(|_| Error::corrupt(at, what, "0 or more", value))?;
    Ok(())
}

/// Visits a 16-bit integer without a sign.
fn visit_u16<C: Codec>(codec: &mut C, field: &mut u16) -> Result<()> {
    let mut value = field.cast_signed();
    codec.i16(&mut value)?;
    *field = value.cast_unsigned();
    Ok(())
}
