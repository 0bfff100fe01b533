//! Goal: the bytes of each entry, and of the commands that change the graph. Method: real bytes of
//! 3.0.0 from the wire and from logs, and where there are none, written by hand from the
//! description; decoded, encoded, and cut at every place.

use formats::txlog::{
    BatchReader, DynamicRecord, LogFormatVersion, LogHeader, NodeRecord, PropertyBlock,
    PropertyKeyRecord, RelationshipRecord, TokenRecord,
};
use formats::v3_0::{
    CheckPoint, Command, Commit, Entry, EntryReader, GroupRecord, PropertyRecord, Start,
};
use formats::{Checksum, KernelVersion, LogVersion, TimestampMs, TxId};

use super::values::position;
use crate::golden::bytes;

/// Checks that the bytes are this entry, that the entry is these bytes, and that no part of them is
/// any entry.
pub fn check_entry(text: &str, expected: &Entry) {
    let bytes = bytes(text);
    let mut reader = EntryReader::new(&bytes[..], 16);
    let decoded = reader.next_entry().unwrap_or_else(|e| panic!("{e}\n{text}"));
    let version = KernelVersion(bytes[0]);
    assert_eq!(decoded, Some((version, expected.clone())), "{text}");
    assert_eq!(reader.offset_bytes(), 16 + bytes.len() as u64, "{text}");
    assert_eq!(expected.encode(version).unwrap(), bytes, "{text}");
    for length in 1..bytes.len() {
        let error = EntryReader::new(&bytes[..length], 16).next_entry().unwrap_err();
        assert!(error.is_incomplete(), "cut at {length}: {error}\n{text}");
        assert!((16..=16 + length as u64).contains(&error.offset_bytes), "{error}\n{text}");
    }
}

/// Checks a command that has the same bytes in every version.
pub fn check_command(text: &str, command: Command) {
    let entry = Entry::Command(command);
    for version in ["fa", "f7"] {
        check_entry(&format!("{version} 03 {text}"), &entry);
    }
}

#[test]
fn a_log_header_is_16_bytes_without_a_store_id() {
    for (text, version, last) in [
        ("06000000 00000000 00000000 00000001", 0, 1),
        ("06000000 00000000 00000000 0000031a", 0, 794),
        ("06000000 00000007 00000000 00000102", 7, 258),
    ] {
        let bytes = bytes(text);
        let expected = LogHeader {
            log_version: LogVersion(version),
            format: LogFormatVersion::V6,
            last_append_index: last,
            store_id: None,
        };
        assert_eq!(LogHeader::decode(&bytes).unwrap(), Some(expected.clone()));
        assert_eq!(expected.encode(), bytes);
        assert_eq!(expected.size_bytes(), 16);
        for length in 0..16 {
            let cut = LogHeader::decode(&bytes[..length]).unwrap_err();
            assert!(cut.is_incomplete(), "cut at {length}: {cut}");
        }
    }
    let negative = LogHeader::decode(&bytes("06 00*7 ff*8")).unwrap_err();
    assert_eq!(negative.offset_bytes, 8, "{negative}");
}

#[test]
fn entries_of_a_real_log() {
    check_entry(
        "fa01 ffffffff ffffffff 000001a2066e2126 0000000000000001 00000008 b0f57c394d8297a5",
        &Entry::Start(Start {
            master_id: -1,
            author_id: -1,
            time: 0x01A2_066E_2126,
            last_tx_id: 1,
            additional_header: bytes("b0f57c394d8297a5"),
        }),
    );
    check_entry(
        "fa05 0000000000000002 000001a2066e2130",
        &Entry::Commit(Commit { tx_id: 2, time: 0x01A2_066E_2130 }),
    );
    check_entry(
        "fa07 0000000000000000 00000000000a4ba3",
        &Entry::CheckPoint(position(0, 0xA_4BA3)),
    );
    check_entry("fa07 0000000000000000 0000000000000010", &Entry::CheckPoint(position(0, 16)));
}

#[test]
fn the_checksum_of_a_transaction_is_of_its_start() {
    let checksum = |master_id, author_id, header: &str| {
        let additional_header = bytes(header);
        Start { master_id, author_id, additional_header, ..Start::default() }.checksum().0
    };
    // As the server itself keeps it: -160274898746.
    assert_eq!(checksum(-1, -1, "b0f57c394d8297a5").cast_signed(), -160_274_898_746);
    assert_eq!(checksum(-1, -1, ""), 0xFFFF_FFDA_0000_0001);
    assert_eq!(checksum(0, 0, "ff"), 30);
    assert_eq!(checksum(1, 5, "00"), 42 << 32 | 31);
}

#[test]
fn checksums_are_shown_with_8_or_16_digits() {
    assert_eq!(Checksum(0xDEAD_5EED).to_string(), "dead5eed");
    assert_eq!(Checksum(1).to_string(), "00000001");
    assert_eq!(Checksum(0xFFFF_FFDA_0000_0001).to_string(), "ffffffda00000001");
    assert_eq!(Checksum(1 << 32).to_string(), "0000000100000000");
    assert_eq!(serde_json::to_string(&Checksum(u64::MAX)).unwrap(), "18446744073709551615");
    assert_eq!(KernelVersion::V3_0.to_string(), "-6");
    assert_eq!(KernelVersion::V3_0_2.to_string(), "-9");
}

/// Transaction 2 of a real database, 112 bytes.
const PERSON: &str = "
    fa01 ffffffff ffffffff 000001a206a36e6e 0000000000000001 00000008 d2063d926cae525c
    fa03 08 00000000
      00 ffffffff 00000000
      01 00000001 00000001
         0000000000000001 ffffffff 03 00000006 ffffffffffffffff 506572736f6e
    fa05 0000000000000002 000001a206a36e7f";

#[test]
fn a_whole_real_transaction() {
    let log = bytes(PERSON);
    assert_eq!(log.len(), 112);
    let batch = BatchReader::new(&log[..], 16).next_batch().unwrap().unwrap();
    assert_eq!((batch.start, batch.end, batch.commands), (16, 128, 1));
    assert_eq!((batch.tx_id, batch.kernel_version), (TxId(2), KernelVersion::V3_0));
    assert_eq!(batch.start_time, TimestampMs(0x01A2_06A3_6E6E));
    assert_eq!(batch.commit_time, TimestampMs(0x01A2_06A3_6E7F));
    assert_eq!((batch.append_index, batch.previous_checksum, batch.upgrade_to), (None, None, None));
    assert_eq!(batch.checksum.0 >> 32, 0xFFFF_FFDA);
    for length in 1..112 {
        let error = BatchReader::new(&log[..length], 16).next_batch().unwrap_err();
        assert!(error.is_incomplete(), "cut at {length}: {error}");
    }
}

#[test]
fn the_beginning_of_a_stream_and_the_end_of_a_log() {
    let stream = bytes(
        "fa01 ffffffff ffffffff 000001a2066eb02c 000000000000031a 00000008 d8542cf05e0cff57 fa03 02",
    );
    let mut reader = EntryReader::new(&stream[..], 0);
    let Some((KernelVersion::V3_0, Entry::Start(start))) = reader.next_entry().unwrap() else {
        panic!()
    };
    assert_eq!((start.last_tx_id, start.time), (794, 0x01A2_066E_B02C));
    assert!(reader.next_entry().unwrap_err().is_incomplete());
    assert_eq!(CheckPoint::encode(position(0, 16))[..], bytes("fa07 00*8 00*7 10"));
}

#[test]
fn tokens() {
    let name =
        |id, data: &[u8]| DynamicRecord { id, kind: -1, flags: 3, next: -1, data: data.to_vec() };
    let unused = TokenRecord { flags: 0, name_id: -1, name_records: vec![] };
    let person = TokenRecord { flags: 1, name_id: 1, name_records: vec![name(1, b"Person")] };
    let images = "00 ffffffff 00000000
        01 00000001 00000001 0000000000000001 ffffffff 03 00000006 ffffffffffffffff 506572736f6e";
    check_command(
        &format!("08 00000000 {images}"),
        Command::LabelToken { id: 0, before: unused.clone(), after: person.clone() },
    );
    check_command(
        &format!("04 00000003 {images}"),
        Command::RelationshipTypeToken { id: 3, before: unused, after: person },
    );
    check_command(
        "05         ; property key
         00000002   ; id
         00 00000000 ffffffff 00000000 ; before: not in use, count, name, no records
         01 00000000 00000007 00000001 ; after
            0000000000000007 ffffffff 03 00000004 ffffffffffffffff 6e616d65",
        Command::PropertyKeyToken {
            id: 2,
            before: PropertyKeyRecord { name_id: -1, ..PropertyKeyRecord::default() },
            after: PropertyKeyRecord {
                flags: 1,
                property_count: 0,
                name_id: 7,
                name_records: vec![name(7, b"name")],
            },
        },
    );
}

#[test]
fn nodes() {
    let after = NodeRecord {
        flags: 1,
        next_relationship: 0,
        next_property: 1,
        labels: 0x10_0000_0000,
        ..NodeRecord::default()
    };
    // Real bytes of a creation.
    check_command(
        "01 0000000000000000
         00 00000000
         01 00 0000000000000000 0000000000000001 0000001000000000 00000000",
        Command::Node { id: 0, before: NodeRecord::default(), after: after.clone() },
    );
    let freed = DynamicRecord { id: 7, kind: -1, flags: 2, ..DynamicRecord::default() };
    check_command(
        "01 000000000000002a          ; node 42
         0d 01                        ; in use, requires and has a secondary unit; dense
            0000000000000000 0000000000000001 ; first group, first property
            0000001000000000          ; label field
            000000000000002b          ; secondary unit
            00000000                  ; no label records
         00                           ; after: not in use
            00000001 0000000000000007 ffffffff 02 ; a freed label record",
        Command::Node {
            id: 42,
            before: NodeRecord { flags: 13, dense: 1, secondary: 43, ..after },
            after: NodeRecord { label_records: vec![freed], ..NodeRecord::default() },
        },
    );
}

#[test]
fn relationships_and_groups() {
    let after = RelationshipRecord {
        flags: 3,
        first_node: 10,
        second_node: 11,
        kind: 258,
        chain: [12, 13, 14, -1],
        next_property: -1,
        extra: 3,
        secondary: 0,
    };
    check_command(
        "03 0000000000000005         ; relationship 5
         00 ffffffff                 ; before: not in use, type -1
         03                          ; after: in use, created
            000000000000000a 000000000000000b 00000102 ; nodes, type
            000000000000000c 000000000000000d ; start node's chain: previous, next
            000000000000000e ffffffffffffffff ; end node's chain
            ffffffffffffffff 03      ; no property; first in both chains",
        Command::Relationship {
            id: 5,
            before: RelationshipRecord { kind: -1, ..RelationshipRecord::default() },
            after: after.clone(),
        },
    );
    check_command(
        "03 0000000000000005
         0b 000000000000000a 000000000000000b 00000102 000000000000000c 000000000000000d
            000000000000000e ffffffffffffffff ffffffffffffffff 03 0000000000000063
         00 00000102",
        Command::Relationship {
            id: 5,
            before: RelationshipRecord { flags: 11, secondary: 99, ..after },
            after: RelationshipRecord { kind: 258, ..RelationshipRecord::default() },
        },
    );
    let unused = GroupRecord { next: -1, first: [-1; 3], owner: -1, ..GroupRecord::default() };
    check_command(
        "09 0000000000000003          ; group 3
         00 0000 ff*8 ff*8 ff*8 ff*8 ff*8 ; before: all fields, though not in use
         09 fffe                      ; after: has a secondary unit; type 65534
            0000000000000004          ; next group
            0000000000000005 0000000000000006 ffffffffffffffff ; outgoing, incoming, loop
            0000000000000007          ; node
            0000000000000008          ; secondary unit",
        Command::RelationshipGroup {
            id: 3,
            before: unused,
            after: GroupRecord {
                flags: 9,
                kind: 65534,
                next: 4,
                first: [5, 6, -1],
                owner: 7,
                secondary: 8,
            },
        },
    );
}

#[test]
fn properties() {
    let value = DynamicRecord { id: 9, kind: 9, flags: 3, next: -1, data: b"text".to_vec() };
    let freed = DynamicRecord { id: 8, kind: 10, flags: 0, ..DynamicRecord::default() };
    check_command(
        "02 0000000000000001          ; property record 1
         00 ff*8 ff*8 ff*8 00 00000000 ; before: not in use, all fields
         0b                           ; after: in use, of a relationship, has a secondary unit
            0000000000000002 ffffffffffffffff 0000000000000003 ; next, previous, owner
            0000000000000004          ; secondary unit
            02                        ; two blocks
            08 0000000090000001       ; of 8 bytes: a string
               00000001 0000000000000009 00000009 03 00000004 ffffffffffffffff 74657874
            10 0000000068000002 0000000000000007 ; of 16 bytes: a long
               00000000
            00000001 0000000000000008 0000000a 00 ; a freed array record",
        Command::Property {
            id: 1,
            before: PropertyRecord {
                next: -1,
                previous: -1,
                owner: -1,
                ..PropertyRecord::default()
            },
            after: PropertyRecord {
                flags: 11,
                next: 2,
                previous: -1,
                owner: 3,
                secondary: 4,
                blocks: vec![
                    PropertyBlock { words: bytes("0000000090000001"), value_records: vec![value] },
                    PropertyBlock {
                        words: bytes("0000000068000002 0000000000000007"),
                        value_records: vec![],
                    },
                ],
                deleted_records: vec![freed],
            },
        },
    );
}

#[test]
fn counts_and_the_graphs_own_properties() {
    // Real bytes.
    check_command("11 ffffffff 0000000000000005", Command::NodeCounts { label: -1, delta: 5 });
    check_command(
        "10 00000001 00000002 ffffffff ffffffffffffffff",
        Command::RelationshipCounts { start_label: 1, kind: 2, end_label: -1, delta: -1 },
    );
    check_command(
        "06 ffffffffffffffff 0000000000000100",
        Command::Neostore { before: -1, after: 256 },
    );
}

#[test]
fn schema_rules() {
    // The data of a real index rule: label 0, property key 1.
    let rule = "00000000 01 00000006 6c7563656e65 00000003 312e30 0001 0000000000000001";
    let data = bytes(rule);
    assert_eq!(data.len(), 0x20);
    let record = DynamicRecord { id: 1, kind: -1, flags: 3, next: -1, data };
    let text = format!("00000001 0000000000000001 ffffffff 03 00000020 ffffffffffffffff {rule}");
    check_command(
        &format!("07 {text} {text} 01"),
        Command::SchemaRule {
            before: vec![record.clone()],
            after: vec![record.clone()],
            created: 1,
        },
    );
    let dropped = DynamicRecord { id: 1, kind: -1, flags: 2, ..DynamicRecord::default() };
    check_command(
        &format!("07 {text} 00000001 0000000000000001 ffffffff 02 00"),
        Command::SchemaRule { before: vec![record], after: vec![dropped], created: 0 },
    );
}
