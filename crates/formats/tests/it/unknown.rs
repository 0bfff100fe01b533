//! Goal: what we do not know is refused by its name, at its place; unknown bits of known records
//! are kept. Method: every version, entry type, command type and format there could be.

use formats::checkpoint::{Checkpoint, Tail, decode_file};
use formats::metadata::MetadataStore;
use formats::txlog::{
    BatchReader, Change, Command, Entry, EntryReader, GroupRecord, LogHeader, MetadataRecord,
    NodeRecord, RelationshipRecord,
};
use formats::{Error, KernelVersion, StoreId, TimestampMs, store_format};

use crate::fixtures::{log_dirs, numbered};
use crate::golden::bytes;
use crate::values::{batch, store_id};

#[track_caller]
fn assert_unsupported(error: &Error, offset_bytes: u64, text: &str) {
    assert!(error.is_unsupported(), "{error}");
    assert!(error.to_string().contains(text), "{error} instead of {text}");
    assert_eq!(error.offset_bytes, offset_bytes, "{error}");
}

fn first_batch(bytes: &[u8]) -> Result<Option<formats::txlog::Batch>, Error> {
    BatchReader::new(bytes, 1000).next_batch()
}

#[test]
fn kernel_versions() {
    for version in 0..=255_u8 {
        let known = (5..=32).contains(&version);
        let version = KernelVersion(version);
        assert_eq!(version.check(7).is_ok(), known, "{version}");
        if known {
            let bytes = batch(version, 5, &[]);
            assert_eq!(first_batch(&bytes).unwrap().unwrap().kernel_version, version);
            continue;
        }
        let name = match version.0 {
            // Neo4j 3.0's is known, in other places.
            0 | 247 | 250 => continue,
            1..=4 => format!("kernel version {version} (Neo4j 4.x)"),
            33..=126 => format!("kernel version {version} (newer than 2026.08)"),
            127 => format!("kernel version {version} (future)"),
            246 => "kernel version -10 (Neo4j 3.0.10 to 4.1)".to_owned(),
            248 => "kernel version -8 (Neo4j 2.3.5)".to_owned(),
            249 => "kernel version -7 (Neo4j 2.2.10)".to_owned(),
            251 => "kernel version -5 (Neo4j 2.3)".to_owned(),
            252 => "kernel version -4 (Neo4j 2.2.4)".to_owned(),
            254 => "kernel version -2 (Neo4j 2.2)".to_owned(),
            255 => "kernel version -1 (Neo4j 2.1)".to_owned(),
            _ => format!("kernel version {version} is not supported"),
        };
        assert_unsupported(&version.check(7).unwrap_err(), 7, &name);
        let mut bytes = batch(KernelVersion(20), 5, &[]);
        let commit_at = bytes.len() - 22;
        bytes[0] = version.0;
        assert_unsupported(&first_batch(&bytes).unwrap_err(), 1000, &name);
        assert_unsupported(&EntryReader::new(&bytes[..], 9).next_entry().unwrap_err(), 9, &name);
        bytes[0] = 20;
        bytes[commit_at] = version.0;
        let at = 1000 + commit_at as u64;
        assert_unsupported(&first_batch(&bytes).unwrap_err(), at, &name);
        assert_unsupported(&Checkpoint::decode(&[version.0; 486], 128).unwrap_err(), 128, &name);
    }
}

#[test]
fn a_known_kernel_version_in_the_middle_of_a_batch_is_damage() {
    for other in (5..=32).filter(|other| *other != 20) {
        let mut bytes = batch(KernelVersion(20), 5, &[]);
        let commit_at = bytes.len() - 22;
        bytes[commit_at] = other;
        let error = first_batch(&bytes).unwrap_err();
        assert_eq!(error.offset_bytes, 1000 + commit_at as u64, "{error}");
        assert!(!error.is_unsupported() && !error.is_incomplete(), "{error}");
    }
}

#[test]
fn entry_types() {
    for entry_type in 0..=255_u8 {
        let mut first = batch(KernelVersion(20), 5, &[]);
        let mut later = first.clone();
        let later_at = later.len() - 21;
        first[1] = entry_type;
        later[later_at] = entry_type;
        let later_at = 1000 + later_at as u64;
        let first = first_batch(&first);
        let later = first_batch(&later);
        let name = match entry_type {
            1 => {
                assert!(first.is_ok());
                assert_eq!(later.unwrap_err().offset_bytes, later_at);
                continue;
            }
            5 => {
                assert_eq!(first.unwrap_err().offset_bytes, 1001);
                assert!(later.is_ok());
                continue;
            }
            3 => {
                assert!(!first.unwrap_err().is_unsupported());
                continue;
            }
            0 => {
                for (error, at) in [(first, 1001), (later, later_at)] {
                    let error = error.unwrap_err();
                    assert!(!error.is_unsupported() && error.offset_bytes == at, "{error}");
                }
                continue;
            }
            7 | 8 => "(checkpoint of Neo4j 4)".to_owned(),
            9 => "9 (checkpoint in a transaction log)".to_owned(),
            10..=12 => "chunked transaction".to_owned(),
            13 => "13 (empty transaction of enveloped logs)".to_owned(),
            other => format!("log entry {other} is not supported"),
        };
        assert_unsupported(&first.unwrap_err(), 1001, &name);
        assert_unsupported(&later.unwrap_err(), later_at, &name);
    }
}

#[test]
fn command_types() {
    let early = KernelVersion(6);
    for (version, command_type) in [early, KernelVersion(20), KernelVersion(32)]
        .into_iter()
        .flat_map(|version| (0..=255_u8).map(move |command_type| (version, command_type)))
    {
        let bytes = [[version.0, 3, command_type].as_slice(), &[0; 512]].concat();
        let read = EntryReader::new(&bytes[..], 50).next_entry();
        let name = match command_type {
            22..=27 | 30 if version == early => format!("command {command_type} with kernel"),
            1..=5 | 8 | 9 | 16..=20 | 22..=27 | 30 => {
                let Ok(Some((_, Entry::Command(command)))) = read else { panic!("{read:?}") };
                assert_eq!(command.type_code(), command_type);
                continue;
            }
            0 => {
                let error = read.unwrap_err();
                assert!(!error.is_unsupported() && error.offset_bytes == 52, "{error}");
                continue;
            }
            6 | 7 | 10..=15 | 21 => format!("command {command_type} (legacy"),
            28 => "command 28 (multiversion index update)".to_owned(),
            other => format!("command {other} is not supported"),
        };
        assert_unsupported(&read.unwrap_err(), 52, &name);
    }
}

#[test]
fn schema_value_types() {
    for (array, value_type) in
        [false, true].into_iter().flat_map(|array| (0..=255_u8).map(move |tag| (array, tag)))
    {
        let tags = if array { "0b 00*4" } else { "" };
        let map = bytes(&format!(
            "14 03 12 00*8 01 00 00 ; a schema rule
             01 00*3 01 00*3 61     ; map of one entry 'a'
             {tags} {value_type:02x} 00*8"
        ));
        let at = if array { 28 } else { 23 };
        assert_eq!(map[at], value_type);
        let read = EntryReader::new(&map[..], 0).next_entry();
        let name = match (array, value_type) {
            (false, 0 | 1 | 3..=10) | (true, 2..=10) => {
                assert!(read.is_ok(), "{value_type}: {read:?}");
                continue;
            }
            // An array of no elements, of type 0.
            (false, 11) | (true, 0 | 1) => {
                let at = if array { at } else { at + 5 };
                let error = read.unwrap_err();
                assert!(!error.is_unsupported() && error.offset_bytes == at as u64, "{error}");
                continue;
            }
            (false, other) => format!("schema value of type {other} is not supported"),
            (true, other) => format!("schema array of type {other} is not supported"),
        };
        assert_unsupported(&read.unwrap_err(), at as u64, &name);
    }
}

#[test]
fn log_formats() {
    let dir = &log_dirs()[0];
    let header = std::fs::read(&numbered(dir, "neostore.transaction.db.")[0].1).unwrap();
    for format in (0..=255_u8).filter(|format| !matches!(format, 6 | 8 | 9)) {
        let mut header = header[..128].to_vec();
        // Another log version than 0, so that format 0 is not a blank header.
        header[7] = 1;
        header[0] = format;
        let name = match format {
            7 => "log format 7 (Neo4j 4.2 to 4.4)".to_owned(),
            10 => "log format 10 (enveloped)".to_owned(),
            11 => "log format 11 (future)".to_owned(),
            other => format!("log format {other} is not supported"),
        };
        assert_unsupported(&LogHeader::decode(&header).unwrap_err(), 0, &name);
        assert_unsupported(&decode_file(&header).unwrap_err(), 0, &name);
    }
}

#[test]
fn checkpoint_entry_types() {
    let dir = &log_dirs()[0];
    let mut file = std::fs::read(&numbered(dir, "checkpoint.")[0].1).unwrap();
    for entry_type in (0..=255_u8).filter(|entry_type| *entry_type != 9) {
        file[129] = entry_type;
        let Tail::Torn(error) = decode_file(&file).unwrap().unwrap().tail else { panic!() };
        let name = match entry_type {
            0 => {
                assert!(!error.is_unsupported() && error.offset_bytes == 129, "{error}");
                continue;
            }
            7 | 8 => format!("checkpoint entry {entry_type} (of Neo4j 4)"),
            other => format!("checkpoint entry {other} is not supported"),
        };
        assert_unsupported(&error, 129, &name);
    }
}

#[test]
fn store_formats() {
    let check = |engine: &str, family: &str, major, minor| {
        let (engine, format_family) = (engine.to_owned(), family.to_owned());
        store_format::supported(&StoreId { engine, format_family, major, minor, ..store_id() })
    };
    check("record", "aligned", 1, 1).unwrap();
    check("record", "standard", 1, 1).unwrap();
    let refused = [
        ("record", "aligned", 0, 1, "record-aligned-0.1 (older than Neo4j 5.0)"),
        ("record", "aligned", 1, 2, "record-aligned-1.2 (unknown version)"),
        ("record", "standard", 2, 1, "record-standard-2.1 (unknown version)"),
        ("record", "high_limit", 1, 1, "record-high_limit-1.1 (high_limit, Enterprise)"),
        ("record", "multiversion", 1, 1, "record-multiversion-1.1 (multiversion)"),
        ("block", "block", 1, 1, "block-block-1.1 (block format, Enterprise)"),
        ("sharded", "block", 1, 1, "sharded-block-1.1 (sharded, Enterprise)"),
        ("spd", "spd", 1, 1, "spd-spd-1.1 (unknown)"),
    ];
    for (engine, family, major, minor, name) in refused {
        assert_unsupported(&check(engine, family, major, minor).unwrap_err(), 0, name);
    }
}

#[test]
fn stores_older_than_5_and_unknown_store_ids() {
    let store = MetadataStore { external_uuid: [7; 16], database_uuid: None, store_id: store_id() };
    let whole = store.encode();
    // Slot 4 of a 4.x store: the length of the version's name and the name, from the low byte up.
    for (mark, name) in [
        (*b"0.3.4FA\x07", "store AF4.3.0 (older than Neo4j 5.0)"),
        (*b"\0a.9.0v\x06", "store v0.9.a (older than Neo4j 5.0)"),
        (*b"\xffa.9.0v\x06", "with an unknown metadata layout"),
        ([0; 8], "with an unknown metadata layout"),
    ] {
        let mut file = whole.clone();
        file[37..45].copy_from_slice(&mark);
        assert_unsupported(&MetadataStore::decode(&file).unwrap_err(), 36, name);
    }
    let mut file = whole;
    file[46] = 2;
    let error = MetadataStore::decode(&file).unwrap_err();
    assert_unsupported(&error, 46, "store id version 2");
}

#[test]
fn unknown_flag_bits_are_kept() {
    for flags in 0..=255_u8 {
        let group =
            GroupRecord { flags: flags & !8, external_degrees: flags, ..Default::default() };
        let relationship =
            RelationshipRecord { flags: 1 | flags & !8, extra: flags, ..Default::default() };
        let node = NodeRecord { flags, ..NodeRecord::default() };
        let value = MetadataRecord { flags, value: 1 };
        for command in [
            Command::Node { id: 1, change: Change::Create(node) },
            Command::Relationship { id: 1, change: Change::Create(relationship) },
            Command::RelationshipGroup { id: 1, before: group.clone(), after: group.clone() },
            Command::Metadata { key: 1, before: value.clone(), after: value },
        ] {
            let entry = Entry::Command(command);
            let version = KernelVersion(20);
            let bytes = entry.encode(version).unwrap();
            let read = EntryReader::new(&bytes[..], 0).next_entry().unwrap();
            assert_eq!(read, Some((version, entry)));
        }
    }
}

#[test]
fn the_store_ids_names_are_ascii_and_fit() {
    let long = StoreId { engine: "e".repeat(70), format_family: "f".repeat(70), ..store_id() };
    let cut = StoreId::decode_block(&long.encode_block(), 0);
    assert!(cut.is_err_and(|error| !error.is_unsupported()));
    let fits = StoreId { engine: "e".repeat(21), format_family: "f".repeat(22), ..store_id() };
    assert_eq!(StoreId::decode_block(&fits.encode_block(), 0).unwrap(), fits);
    let other = StoreId { creation_time: TimestampMs(0), ..fits.clone() };
    assert!(!fits.is_same_store(&other) && fits.is_same_store(&fits));
}
