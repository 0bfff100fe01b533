//! The metadata store, `neostore`: slots of 9 bytes in its first page, big-endian.
//!
//! | slot | content |
//! |---|---|
//! | 0, 1 | external store UUID |
//! | 2, 3 | database UUID; not in use in Community |
//! | 4 | -3523014627327384477: marks the layout of Neo4j 5 |
//! | 5 to 12 | the 64-byte StoreId block |
//!
//! A slot is u8 in use, u64 value. It holds no transaction id and no log position: those come from
//! the checkpoint and the logs. Source: `MetaDataStore`, `MetaDataLayout`, 5.26. Evidence: every
//! fixture's file is encoded to the same bytes; the names of stores before 5.0 are inferred. That of
//! 3.0 is [`Neostore`].

use crate::v3_0::{Neostore, store_version_name};
use crate::{Error, LogVersion, Result, StoreId};

const LAYOUT_MARK: i64 = -3_523_014_627_327_384_477;
const SLOT_BYTES: usize = 9;
const SLOTS: usize = 13;
/// Offset of slot 4.
const MARK_AT: u64 = 36;

/// The metadata store's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataStore {
    /// Random at creation, kept across a format migration. Neo4j derives `databaseID` from it.
    pub external_uuid: [u8; 16],
    /// The database UUID, where it is in use.
    pub database_uuid: Option<[u8; 16]>,
    /// Identity and format of the store.
    pub store_id: StoreId,
}

/// Whose store it is, of either generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Identity and format of the store.
    pub store_id: StoreId,
    /// See [`MetadataStore`]; a store of 3.0 has none.
    pub external_uuid: Option<[u8; 16]>,
    /// Neo4j 3.0 only: the log that recovery begins to look at, see [`Neostore`].
    pub log_version: Option<LogVersion>,
}

impl Identity {
    /// Reads the first page (or the first 135 bytes) of `neostore`.
    ///
    /// # Errors
    /// `Unsupported` for stores that are neither of Neo4j 5 nor of 3.0; `Incomplete`; `Corrupt`.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        match Neostore::decode(bytes) {
            Ok(found) => {
                let (store_id, log_version) = (found.store_id(), Some(found.log_version));
                return Ok(Self { store_id, external_uuid: None, log_version });
            }
            // Then it is not one of 3.0.
            Err(error) if error.is_unsupported() || error.is_incomplete() => {}
            Err(error) => return Err(error),
        }
        let MetadataStore { store_id, external_uuid, .. } = MetadataStore::decode(bytes)?;
        Ok(Self { store_id, external_uuid: Some(external_uuid), log_version: None })
    }
}

impl MetadataStore {
    /// Size of the file.
    pub const FILE_BYTES: usize = 8192;

    /// Reads the first page (or the first 117 bytes) of `neostore`.
    ///
    /// # Errors
    /// `Unsupported` for a store older than 5.0, `Incomplete` for a short file, `Corrupt`.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut slots = [None; SLOTS];
        let (records, _) = bytes.as_chunks::<SLOT_BYTES>();
        if records.len() < SLOTS {
            let offset = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            return Err(Error::incomplete(offset, "the metadata store"));
        }
        let places = (0_u64..).step_by(SLOT_BYTES);
        for ((slot, record), at) in slots.iter_mut().zip(records).zip(places) {
            let [in_use, value @ ..] = *record;
            *slot = match in_use {
                0 => None,
                1 => Some(value),
                other => return Err(Error::corrupt(at, "in use", "0 or 1", other)),
            };
        }
        let [uuid_high, uuid_low, database_high, database_low, mark, block @ ..] = slots;
        check_mark(mark)?;
        let mut store_id = [0; StoreId::BLOCK_BYTES];
        let (words, _) = store_id.as_chunks_mut::<8>();
        for (word, value) in words.iter_mut().zip(block) {
            *word = value
                .ok_or_else(|| Error::corrupt(45, "store id slots", "in use", "not in use"))?;
        }
        let (Some(high), Some(low)) = (uuid_high, uuid_low) else {
            return Err(Error::corrupt(0, "external store UUID", "in use", "not in use"));
        };
        if database_high.is_some() != database_low.is_some() {
            return Err(Error::corrupt(18, "database UUID", "two halves", "one"));
        }
        Ok(Self {
            external_uuid: join(high, low),
            database_uuid: database_high.zip(database_low).map(|(high, low)| join(high, low)),
            store_id: StoreId::decode_block(&store_id, 46)?,
        })
    }

    /// The whole file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::FILE_BYTES);
        let mut put = |in_use: bool, value: &[u8]| {
            for word in value.chunks(8) {
                bytes.push(u8::from(in_use));
                bytes.extend(word);
            }
        };
        put(true, &self.external_uuid);
        put(self.database_uuid.is_some(), &self.database_uuid.unwrap_or_default());
        put(true, &LAYOUT_MARK.to_be_bytes());
        put(true, &self.store_id.encode_block());
        bytes.resize(Self::FILE_BYTES, 0);
        bytes
    }
}

/// Slot 4 held the store's version before 5.0: u8 length, then ASCII, from the low byte up.
fn check_mark(mark: Option<[u8; 8]>) -> Result<()> {
    let Some(mark) = mark else {
        return Err(Error::corrupt(
            MARK_AT,
            "mark of the metadata's layout",
            "in use",
            "not in use",
        ));
    };
    if i64::from_be_bytes(mark) == LAYOUT_MARK {
        return Ok(());
    }
    let found = store_version_name(mark).map_or_else(
        || "with an unknown metadata layout (older than Neo4j 5.0?)".to_owned(),
        |name| format!("{name} (older than Neo4j 5.0)"),
    );
    Err(Error::unsupported(MARK_AT, "store", found))
}

fn join(high: [u8; 8], low: [u8; 8]) -> [u8; 16] {
    let mut joined = [0; 16];
    for (to, from) in joined.iter_mut().zip(high.into_iter().chain(low)) {
        *to = from;
    }
    joined
}
