//! Transaction log files `neostore.transaction.db.N`: a header, then batches of entries.

mod batch;
mod chain;
mod command;
mod entry;
mod header;
mod record;
mod schema_map;

pub(crate) use batch::positive;
pub use batch::{Batch, BatchReader, Item};
pub use chain::{Chain, Link};
pub use command::{Change, Command, Enrichment};
pub use entry::{ChunkEnd, ChunkStart, Commit, Entry, EntryReader, Rollback, Start};
pub use header::{LogFormatVersion, LogHeader};
pub use record::{
    DynamicRecord, GroupRecord, MetadataRecord, NodeRecord, PropertyBlock, PropertyKeyRecord,
    PropertyRecord, RelationshipRecord, SchemaRecord, TokenRecord,
};
pub(crate) use record::{HAS_SECONDARY, visit_blocks};
pub use schema_map::{SchemaMap, SchemaMapEntry, SchemaValue};
