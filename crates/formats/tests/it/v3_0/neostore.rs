//! Goal: a store is known for what it is. Method: golden bytes of `neostore`, damaged ones, and those
//! of other versions.

use formats::metadata::MetadataStore;
use formats::v3_0::Neostore;
use formats::{
    Checksum, LogPosition, LogVersion, StoreId, StoreUpgrade, TimestampMs, TxId, store_format,
};

use crate::golden::bytes;

/// The store id is that of a real server's answers.
const NEOSTORE: &str = "
    01 000001a2066e7dfb ; creation time
    01 d0b25ce1e1f773a3 ; random
    01 0000000000000008 ; log version
    01 0000000000001e17 ; last transaction
    01 00372e412e307606 ; store version
    01 ffffffffffffffff ; first graph property
    01 0000000000000011 ; last transaction that made a constraint
    01 0000000000000001 ; upgrade: transaction
    01 000001a2066e7dfb ;   time
    01 ffffffdab0f57c39 ; checksum of the last transaction
    01 0000000000000000 ; checksum of the upgrade's transaction
    01 0000000000000000 ; last closed: log version
    01 000000000001d768 ;   offset
";

/// What follows in a store of 3.0.0, of 3.0.7, and of 3.0.0 that 3.0.7 has taken over.
const LATER: [(&str, Option<i64>, Option<i64>); 3] = [
    ("00*9 00*9", None, None),
    ("01 000001a21cf7ee4e 01 00*8", Some(0x01A2_1CF7_EE4E), Some(0)),
    ("01 000001a21cfb7828 00*9", Some(0x01A2_1CFB_7828), None),
];

fn file(later: &str) -> Vec<u8> {
    bytes(&format!("{NEOSTORE} {later} 00*8057"))
}

fn neostore() -> Neostore {
    Neostore {
        creation_time: TimestampMs(0x01A2_066E_7DFB),
        random: 0xD0B2_5CE1_E1F7_73A3_u64.cast_signed(),
        log_version: LogVersion(8),
        last_tx_id: TxId(0x1E17),
        first_graph_property: -1,
        last_constraint_tx_id: TxId(17),
        upgrade: StoreUpgrade { time: TimestampMs(0x01A2_066E_7DFB), tx_id: TxId(1) },
        last_tx_checksum: Checksum(0xFFFF_FFDA_B0F5_7C39),
        upgrade_checksum: Checksum(0),
        last_closed: LogPosition { version: LogVersion(0), offset_bytes: 0x1_D768 },
        last_commit_time: None,
        upgrade_commit_time: None,
    }
}

#[test]
fn golden() {
    for (later, last, upgrade) in LATER {
        let file = file(later);
        assert_eq!(file.len(), MetadataStore::FILE_BYTES);
        let expected = Neostore {
            last_commit_time: last.map(TimestampMs),
            upgrade_commit_time: upgrade.map(TimestampMs),
            ..neostore()
        };
        assert_eq!(Neostore::decode(&file).unwrap(), expected);
        assert_eq!(Neostore::decode(&file[..Neostore::USED_BYTES]).unwrap(), expected);
        assert_eq!(expected.encode(), file);
        for length in 0..Neostore::USED_BYTES {
            let cut = Neostore::decode(&file[..length]).unwrap_err();
            assert!(cut.is_incomplete(), "cut at {length}: {cut}");
        }
    }
}

#[test]
fn damage_is_an_error_or_shows() {
    let mut file = file("01 000001a21cf7ee4e 01 000001a21cf7ee4d");
    for at in 0..Neostore::USED_BYTES {
        for pattern in [0x80, 0x01, 0xFF, 0x1D] {
            file[at] ^= pattern;
            match Neostore::decode(&file) {
                Ok(found) => {
                    assert!(!matches!(at / 9, 4) && at % 9 != 0, "at {at}");
                    assert_eq!(found.encode(), file, "at {at}");
                }
                Err(error) => {
                    assert!(!error.is_incomplete(), "at {at}: {error}");
                    assert_eq!(error.offset_bytes / 9, at as u64 / 9, "at {at}: {error}");
                }
            }
            file[at] ^= pattern;
        }
    }
}

#[test]
fn the_log_version_is_set_and_nothing_else() {
    let mut file = file(LATER[1].0);
    // Bytes that we know no meaning of are kept.
    file[500] = 7;
    let before = file.clone();
    Neostore::set_log_version(&mut file, LogVersion(9)).unwrap();
    let changed: Vec<usize> = (0..file.len()).filter(|at| file[*at] != before[*at]).collect();
    assert_eq!(changed, [26]);
    assert_eq!(Neostore::decode(&file).unwrap().log_version, LogVersion(9));
    let mut other = bytes("00*135");
    Neostore::set_log_version(&mut other, LogVersion(9)).unwrap_err();
    assert_eq!(other, [0; 135]);
}

#[test]
fn other_versions_are_refused_by_name() {
    let mut file = file(LATER[0].0);
    for (version, name) in [
        (*b"\x008.A.0v\x06", "store v0.A.8 (not Neo4j 3.0's v0.A.7)"),
        (*b"\x006.A.0v\x06", "store v0.A.6 (not Neo4j 3.0's v0.A.7)"),
        (*b"\x007.A.0h\x06", "store h0.A.7 (not Neo4j 3.0's v0.A.7)"),
        (*b"7.A.0v\0\x06", "store with no version's name (not"),
        ([0; 8], "store with no version's name (not"),
        ((-3_523_014_627_327_384_477_i64).to_be_bytes(), "store with no version's name (not"),
    ] {
        file[37..45].copy_from_slice(&version);
        let error = Neostore::decode(&file).unwrap_err();
        assert!(error.is_unsupported() && error.offset_bytes == 36, "{error}");
        assert!(error.to_string().contains(name), "{error} instead of {name}");
        // Even where other slots are not in use.
        let rest = file.split_off(45);
        file.extend([0; 90]);
        assert!(Neostore::decode(&file).unwrap_err().is_unsupported());
        file.truncate(45);
        file.extend(rest);
    }
    let error = MetadataStore::decode(&neostore().encode()).unwrap_err();
    assert!(error.to_string().contains("store v0.A.7 (older than Neo4j 5.0)"), "{error}");
}

#[test]
fn the_store_id_carries_the_upgrade_and_is_shown_by_its_version() {
    let id = neostore().store_id();
    store_format::supported(&id).unwrap();
    assert_eq!(id.format_name(), "standard-v0.A.7");
    assert_eq!(id.to_string(), "standard-v0.A.7:1a2066e7dfb-d0b25ce1e1f773a3");
    assert!(id.is_same_store(&id));
    let upgraded = StoreUpgrade { tx_id: TxId(2), ..id.upgrade.unwrap() };
    let random = id.random.wrapping_add(1);
    for other in [
        StoreId { upgrade: Some(upgraded), ..id.clone() },
        StoreId { upgrade: None, ..id.clone() },
        StoreId { random, ..id.clone() },
        StoreId { creation_time: TimestampMs(0), ..id.clone() },
    ] {
        assert!(!id.is_same_store(&other), "{other:?}");
    }
    for (major, minor) in [(0, 8), (0, 6), (1, 7), (1, 1)] {
        store_format::supported(&StoreId { major, minor, ..id.clone() }).unwrap_err();
    }
    store_format::supported(&StoreId { upgrade: None, ..id.clone() }).unwrap_err();
    let json = serde_json::to_string(&id).unwrap();
    assert!(json.ends_with(r#","minor":7,"upgrade":{"time":1795404234235,"tx_id":1}}"#), "{json}");
    assert_eq!(serde_json::from_str::<StoreId>(&json).unwrap(), id);
    // In Neo4j 5 nothing is said of it.
    let json = serde_json::to_string(&crate::values::store_id()).unwrap();
    assert!(json.ends_with(r#","major":1,"minor":1}"#), "{json}");
    assert_eq!(serde_json::from_str::<StoreId>(&json).unwrap(), crate::values::store_id());
}
