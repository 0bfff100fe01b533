//! The record stores: which files a store of Neo4j 5 has, and the headers of those that have one.
//! (Those of 3.0: [`v3_0`](crate::v3_0).)
//!
//! Pages of 8192 bytes, big-endian. `aligned`: records never cross a page. `standard`: a page is
//! cut to whole records, so the offset of a record is its id times its size.
//! Source: `StoreType`, `RecordFormat` 5.26; verified on real stores.

use crate::{Error, Result};

/// One mandatory file of a store: without it Neo4j does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordStore {
    name: &'static str,
    record_bytes: u16,
    header: Header,
}

/// What stands in the first four bytes of a store (i32, big-endian), in the place of record 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// Nothing: record 0 is a record.
    None,
    /// The record size.
    RecordSize,
    /// The number of relationships from which on a node is dense.
    DenseThreshold,
}

/// The mandatory files, `neostore` first.
pub const MANDATORY: &[RecordStore] = &mandatory(store("neostore.schemastore.db", 8, Header::None));

/// All mandatory files, of which only the schema store is not the same in 3.0.
pub(crate) const fn mandatory(schema: RecordStore) -> [RecordStore; 15] {
    [
        store("neostore", 9, Header::None),
        store("neostore.nodestore.db", 15, Header::None),
        store("neostore.nodestore.db.labels", 64, Header::RecordSize),
        store("neostore.relationshipstore.db", 34, Header::None),
        store("neostore.relationshipgroupstore.db", 25, Header::DenseThreshold),
        store("neostore.propertystore.db", 41, Header::None),
        store("neostore.propertystore.db.strings", 128, Header::RecordSize),
        store("neostore.propertystore.db.arrays", 128, Header::RecordSize),
        store("neostore.propertystore.db.index", 9, Header::None),
        store("neostore.propertystore.db.index.keys", 38, Header::RecordSize),
        store("neostore.labeltokenstore.db", 5, Header::None),
        store("neostore.labeltokenstore.db.names", 38, Header::RecordSize),
        store("neostore.relationshiptypestore.db", 5, Header::None),
        store("neostore.relationshiptypestore.db.names", 38, Header::RecordSize),
        schema,
    ]
}

/// Trees beside the record stores that Neo4j rebuilds; each record store but `neostore` has one
/// more, its name with `.id` behind it.
pub const DERIVED_TREES: &[&str] =
    &["neostore.counts.db", "neostore.relationshipgroupstore.degrees.db", "neostore.indexstats.db"];

pub(crate) const fn store(name: &'static str, record_bytes: u16, header: Header) -> RecordStore {
    RecordStore { name, record_bytes, header }
}

impl RecordStore {
    /// The file's name.
    #[must_use]
    pub const fn file_name(&self) -> &'static str {
        self.name
    }

    /// Size of a record in bytes, as Neo4j writes it by default.
    #[must_use]
    pub const fn record_bytes(&self) -> u16 {
        self.record_bytes
    }

    /// Checks the first bytes of the file. An empty file is legal: nothing was flushed yet.
    ///
    /// # Errors
    /// `Incomplete` for fewer than 4 bytes, `Corrupt` for a header that cannot be.
    pub fn check_header(&self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() || self.header == Header::None {
            return Ok(());
        }
        let Some(header) = bytes.first_chunk::<4>() else {
            return Err(Error::incomplete(0, "a record store's header"));
        };
        let value = i32::from_be_bytes(*header);
        let good = match self.header {
            Header::None => true,
            // The record's own header is 8 bytes; a page holds at least one record.
            Header::RecordSize => (9..=8192).contains(&value),
            Header::DenseThreshold => value > 0,
        };
        // Preallocated and not yet written: legal as an empty file is.
        if good || value == 0 {
            return Ok(());
        }
        let expected = match self.header {
            Header::DenseThreshold => "a threshold above 0",
            _ => "9 to 8192",
        };
        Err(Error::corrupt(0, "record store header", expected, value))
    }
}
