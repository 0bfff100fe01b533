//! The metadata store, `neostore`: 15 slots of 9 bytes in its first page. A slot is u8 1, i64 value.
//!
//! | slot | content |
//! |---|---|
//! | 0, 1 | creation time, ms; random number |
//! | 2 | log version: where recovery looks for the last check point |
//! | 3 | last committed transaction |
//! | 4 | store version: the length of its name in the lowest byte, then the name, upwards |
//! | 5 | first property of the graph itself, -1 for none |
//! | 6 | last transaction that made a constraint |
//! | 7, 8 | last transaction before the last upgrade (1), its time (that of the creation) |
//! | 9 | checksum of the transaction of slot 3 |
//! | 10 | checksum of the transaction of slot 7 (0) |
//! | 11, 12 | position behind the last closed transaction: log version, offset |
//! | 13 | when the transaction of slot 3 was committed, ms |
//! | 14 | when the transaction of slot 7 was committed (0) |
//!
//! Slots 13 and 14 are of 3.0.4 and later. Before they are zeros, which stay in 14 when a later server
//! takes the store over.
//! The slots 3, 9 and 11 to 13 change with each transaction, and are on disk as old as the last flush
//! of the page; 11 and 12 may be wrong as a check point's position may. Slots 0, 1, 4, 7 and 8 are
//! the store's id.
//! Source: `MetaDataStore`, 3.0.0 and 3.0.7. Evidence: real stores of both, and of one upgraded to the
//! other, are encoded to the same bytes.

use crate::metadata::MetadataStore;
use crate::{
    Checksum, Error, LogPosition, LogVersion, Result, StoreId, StoreUpgrade, TimestampMs, TxId,
};

const SLOT_BYTES: usize = 9;
/// Those that every store has.
const SLOTS: usize = 13;
/// Those of 3.0.4 and later.
const LATER_SLOTS: usize = 2;
const LOG_VERSION: usize = 2;
const STORE_VERSION: usize = 4;
/// `v0.A.7`, as it stands in its slot.
const V0_A_7: i64 = 0x0037_2E41_2E30_7606;

/// The metadata store's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neostore {
    /// When the store was created.
    pub creation_time: TimestampMs,
    /// Random at creation.
    pub random: i64,
    /// The number of the log that is written to.
    pub log_version: LogVersion,
    /// The last committed transaction.
    pub last_tx_id: TxId,
    /// First property of the graph itself, -1 for none.
    pub first_graph_property: i64,
    /// Last transaction that made a constraint.
    pub last_constraint_tx_id: TxId,
    /// The last upgrade.
    pub upgrade: StoreUpgrade,
    /// Checksum of `last_tx_id`.
    pub last_tx_checksum: Checksum,
    /// Checksum of the upgrade's transaction.
    pub upgrade_checksum: Checksum,
    /// Behind the last closed transaction; not to be believed.
    pub last_closed: LogPosition,
    /// When `last_tx_id` was committed; `None` before 3.0.4.
    pub last_commit_time: Option<TimestampMs>,
    /// When the upgrade's transaction was committed; `None` if a server before 3.0.4 made the store.
    pub upgrade_commit_time: Option<TimestampMs>,
}

impl Neostore {
    /// So many bytes from the file's first hold all of it: to be read at once.
    pub const USED_BYTES: usize = (SLOTS + LATER_SLOTS) * SLOT_BYTES;

    /// Reads the first page (or the first 135 bytes) of `neostore`.
    ///
    /// # Errors
    /// `Unsupported` for a store of another version, by name; `Incomplete`; `Corrupt`.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let (records, _) = bytes.as_chunks::<SLOT_BYTES>();
        let (slots, later) = match records.split_first_chunk::<SLOTS>() {
            Some((slots, [last_commit, upgrade_commit, ..])) => {
                (slots, [last_commit, upgrade_commit])
            }
            _ => {
                let offset = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                return Err(Error::incomplete(offset, "the metadata store"));
            }
        };
        // First, so that another version's file is not called damaged.
        check_version(slots)?;
        let mut values = [0; SLOTS];
        for (value, (at, slot)) in values.iter_mut().zip(places().zip(slots)) {
            *value = read_slot(at, slot)?.ok_or_else(|| Error::corrupt(at, "in use", 1, 0))?;
        }
        let mut times = [None; LATER_SLOTS];
        for (time, (at, slot)) in times.iter_mut().zip(places().skip(SLOTS).zip(later)) {
            *time = read_slot(at, slot)?.map(TimestampMs);
        }
        let [last_commit_time, upgrade_commit_time] = times;
        let natural = |at: usize, what: &'static str, value: i64| {
            let at = places().nth(at).unwrap_or(0).saturating_add(1);
            u64::try_from(value).map_err(|_| Error::corrupt(at, what, "0 or more", value))
        };
        let [creation_time, random, log_version, last_tx_id, _, first_graph_property, ..] = values;
        let [.., constraint_tx, upgrade_tx, upgrade_time, last, upgrade, version, offset] = values;
        Ok(Self {
            creation_time: TimestampMs(creation_time),
            random,
            log_version: LogVersion(natural(LOG_VERSION, "log version", log_version)?),
            last_tx_id: TxId(natural(3, "last transaction", last_tx_id)?),
            first_graph_property,
            last_constraint_tx_id: TxId(natural(6, "constraint's transaction", constraint_tx)?),
            upgrade: StoreUpgrade {
                time: TimestampMs(upgrade_time),
                tx_id: TxId(natural(7, "upgrade's transaction", upgrade_tx)?),
            },
            last_tx_checksum: Checksum(last.cast_unsigned()),
            upgrade_checksum: Checksum(upgrade.cast_unsigned()),
            last_closed: LogPosition {
                version: LogVersion(natural(11, "log version of the last closed", version)?),
                offset_bytes: natural(12, "offset of the last closed", offset)?,
            },
            last_commit_time,
            upgrade_commit_time,
        })
    }

    /// The whole file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MetadataStore::FILE_BYTES);
        let slots = [
            self.creation_time.0.cast_unsigned(),
            self.random.cast_unsigned(),
            self.log_version.0,
            self.last_tx_id.0,
            V0_A_7.cast_unsigned(),
            self.first_graph_property.cast_unsigned(),
            self.last_constraint_tx_id.0,
            self.upgrade.tx_id.0,
            self.upgrade.time.0.cast_unsigned(),
            self.last_tx_checksum.0,
            self.upgrade_checksum.0,
            self.last_closed.version.0,
            self.last_closed.offset_bytes,
        ];
        let later = [self.last_commit_time, self.upgrade_commit_time]
            .map(|time| time.map(|time| time.0.cast_unsigned()));
        for value in slots.map(Some).into_iter().chain(later) {
            bytes.push(u8::from(value.is_some()));
            bytes.extend(value.unwrap_or(0).to_be_bytes());
        }
        bytes.resize(MetadataStore::FILE_BYTES, 0);
        bytes
    }

    /// The store's identity and format.
    #[must_use]
    pub fn store_id(&self) -> StoreId {
        Self::identity(self.creation_time, self.random, self.upgrade)
    }

    /// The store's identity from 40 bytes, as the backup protocol sends it: the slots 0, 1, 4, 8 and 7,
    /// without their first byte.
    ///
    /// # Errors
    /// `Unsupported` for a store of another version; `Corrupt`.
    pub fn decode_store_id(bytes: &[u8; 40]) -> Result<StoreId> {
        let (words, _) = bytes.as_chunks::<8>();
        let [creation_time, random, version, time, tx_id] =
            *words.first_chunk::<5>().ok_or_else(|| Error::incomplete(0, "a store's id"))?;
        check_version_word(version, 16)?;
        let (creation_time, random) =
            (i64::from_be_bytes(creation_time), i64::from_be_bytes(random));
        let (time, tx_id) = (TimestampMs(i64::from_be_bytes(time)), i64::from_be_bytes(tx_id));
        let tx_id = u64::try_from(tx_id)
            .map_err(|_| Error::corrupt(32, "upgrade's transaction", "0 or more", tx_id))?;
        let upgrade = StoreUpgrade { time, tx_id: TxId(tx_id) };
        Ok(Self::identity(TimestampMs(creation_time), random, upgrade))
    }

    /// The same 40 bytes of an identity; `None` if it is not one of a 3.0 store.
    #[must_use]
    pub fn encode_store_id(store_id: &StoreId) -> Option<[u8; 40]> {
        let upgrade = store_id.upgrade?;
        let words = [
            store_id.creation_time.0.to_be_bytes(),
            store_id.random.to_be_bytes(),
            V0_A_7.to_be_bytes(),
            upgrade.time.0.to_be_bytes(),
            upgrade.tx_id.0.to_be_bytes(),
        ];
        words.as_flattened().first_chunk().copied()
    }

    fn identity(creation_time: TimestampMs, random: i64, upgrade: StoreUpgrade) -> StoreId {
        StoreId {
            creation_time,
            random,
            engine: "record".to_owned(),
            format_family: "standard".to_owned(),
            major: 0,
            minor: 7,
            upgrade: Some(upgrade),
        }
    }

    /// Sets the log version in the file's first bytes, and leaves all others as they are. In a
    /// backup it must be the number of the highest log: 3.0 looks for a check point from there
    /// downwards, and silently recovers nothing where that log is not.
    ///
    /// # Errors
    /// Those of [`decode`](Self::decode); then nothing is changed.
    pub fn set_log_version(bytes: &mut [u8], version: LogVersion) -> Result<()> {
        Self::decode(bytes)?;
        let (records, _) = bytes.as_chunks_mut::<SLOT_BYTES>();
        if let Some([_, value @ ..]) = records.get_mut(LOG_VERSION) {
            *value = version.0.to_be_bytes();
        }
        Ok(())
    }
}

/// What stands in a slot that begins at `at`; `None` if it was never written.
fn read_slot(at: u64, slot: &[u8; SLOT_BYTES]) -> Result<Option<i64>> {
    let [in_use, value @ ..] = *slot;
    match (in_use, i64::from_be_bytes(value)) {
        (1, value) => Ok(Some(value)),
        (0, 0) => Ok(None),
        _ => Err(Error::corrupt(at, "in use", 1, in_use)),
    }
}

/// Where each slot begins.
fn places() -> impl Iterator<Item = u64> {
    (0_u64..).step_by(SLOT_BYTES)
}

fn check_version(slots: &[[u8; SLOT_BYTES]; SLOTS]) -> Result<()> {
    let at = places().nth(STORE_VERSION).unwrap_or(0);
    let [in_use, version @ ..] = slots.get(STORE_VERSION).copied().unwrap_or_default();
    if in_use != 1 {
        return Err(Error::corrupt(at, "store version", "in use", in_use));
    }
    check_version_word(version, at)
}

fn check_version_word(version: [u8; 8], at: u64) -> Result<()> {
    if i64::from_be_bytes(version) == V0_A_7 {
        return Ok(());
    }
    let found = store_version_name(version).unwrap_or_else(|| "with no version's name".to_owned());
    Err(Error::unsupported(at, "store", format!("{found} (not Neo4j 3.0's v0.A.7)")))
}

/// The name of a store's version before Neo4j 5: u8 length, then ASCII, from the low byte up.
pub(crate) fn store_version_name(mut version: [u8; 8]) -> Option<String> {
    version.reverse();
    let [length, name @ ..] = version;
    let (name, rest) = name.split_at_checked(usize::from(length))?;
    let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    let named = is_name && rest.iter().all(|byte| *byte == 0);
    named.then(|| String::from_utf8_lossy(name).into_owned())
}
