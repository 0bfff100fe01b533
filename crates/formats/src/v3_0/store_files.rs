//! Which files a store directory of 3.0 has besides its logs (`neostore.transaction.db.N`).
//!
//! Record i of a store is at i times its size: a page is cut to whole records. Files grow by whole
//! pages; one that nothing was flushed to is empty. Source: `StoreFactory`, 3.0.0. Evidence: real
//! stores of 3.0.0.

use crate::record_store::{Header, RecordStore, mandatory, store};

/// The mandatory files, `neostore` first. Without one the server does not start, or silently has
/// lost something.
pub const MANDATORY: &[RecordStore] =
    &mandatory(store("neostore.schemastore.db", 64, Header::RecordSize));

/// Counts, written by turns: see [`CountsFile`](super::CountsFile). Derived, but one that is stale
/// must not be kept.
pub const COUNTS: [&str; 2] = ["neostore.counts.db.a", "neostore.counts.db.b"];

/// Directory of the label index (Lucene). Derived.
pub const LABEL_SCAN_STORE: &str = "schema/label/lucene/labelStore";

/// Directory of the schema indexes (Lucene), one directory in it for each rule's id. Derived.
pub const SCHEMA_INDEXES: &str = "schema/index/lucene";

/// Directory of the legacy (manual) indexes (Lucene): `node/<name>` and `relationship/<name>` in it.
/// Nothing can rebuild them: they are the user's data.
pub const LEGACY_INDEXES: &str = "index/lucene";

/// The configuration of the legacy indexes: see [`IndexConfig`](super::IndexConfig). User data. It
/// is replaced by a rename, and so may be missing for a moment.
pub const LEGACY_INDEX_CONFIG: &str = "index.db";
