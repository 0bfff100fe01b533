//! Goal: the bytes of the commands of legacy indexes. Method: real bytes, and where there are none,
//! written by hand from the description; decoded, encoded, and cut at every place.

use formats::KernelVersion;
use formats::v3_0::{Command, Entry, IndexHeader, IndexName, IndexOption, IndexValue};

use super::golden::{check_command, check_entry};
use super::values::VERSIONS;
use crate::golden::bytes;

fn header(kinds: u8, long_nodes: u8) -> IndexHeader {
    IndexHeader { kinds, long_nodes, name_id: 1, key_id: 1 }
}

#[test]
fn a_real_removal_of_a_node_from_an_index() {
    let define = Entry::Command(Command::IndexDefine {
        header: IndexHeader::default(),
        names: vec![IndexName { name: b"lidx".to_vec(), id: 1 }],
        keys: vec![IndexName { name: b"k".to_vec(), id: 1 }],
    });
    check_entry("fa03 0a 0000 0000 0000 01 0004 6c696478 0001 01 0001 6b 0001", &define);
    // The same in 3.0.7.
    check_entry("f703 0a 0000 0000 0000 0001 0004 6c696478 0001 0001 0001 6b 0001", &define);
    check_command(
        "0d 00 00 0001 0001 000001f4",
        Command::IndexRemove { header: header(0, 0), id: 500, value: IndexValue::default() },
    );
}

#[test]
fn each_type_of_value() {
    for (kinds, text) in [
        (0, ""),
        (1 << 2, "8001"),
        (2 << 2, "80000001"),
        (3 << 2, "8000000000000001"),
        (4 << 2, "3fc00000"),
        (5 << 2, "3ff8000000000000"),
    ] {
        check_command(
            &format!("0b {kinds:02x} 00 0001 0001 000001f4 {text}"),
            Command::IndexAddNode {
                header: header(kinds, 0),
                id: 500,
                value: IndexValue(bytes(text)),
            },
        );
    }
    check_command(
        "0b 18 00 0001 0001 fffffffe 0003 00 c3bc61 ; a string of 3 bytes",
        Command::IndexAddNode {
            header: header(0x18, 0),
            id: -2,
            value: IndexValue(bytes("c3bc61")),
        },
    );
    let long = "61*65538";
    check_command(
        &format!("0b 19 00 0001 0001 0000000080000000 0002 01 {long} ; long id and string"),
        Command::IndexAddNode {
            header: header(0x19, 0),
            id: 1 << 31,
            value: IndexValue(bytes(long)),
        },
    );
}

#[test]
fn relationships_of_an_index_have_their_nodes() {
    for (long_nodes, start, end) in [
        (0x00, "0000000a", "0000000b"),
        (0x80, "000000000000000a", "0000000b"),
        (0x40, "0000000a", "000000000000000b"),
        (0xC0, "000000000000000a", "000000000000000b"),
    ] {
        check_command(
            &format!("0c 1a {long_nodes:02x} 0001 0001 00000009 0001 00 78 {start} {end}"),
            Command::IndexAddRelationship {
                header: header(0x1A, long_nodes),
                id: 9,
                value: IndexValue(b"x".to_vec()),
                start_node: 10,
                end_node: 11,
            },
        );
    }
}

#[test]
fn creation_and_deletion_of_an_index() {
    check_command(
        "0e 00 00 0001 ffff",
        Command::IndexDelete { header: IndexHeader { key_id: 0xFFFF, ..header(0, 0) } },
    );
    check_command(
        "0f 00 00 0001 ffff
         0002                                        ; two options
         0004 74797065 0005 6578616374               ; type exact
         0008 70726f7669646572 0006 6c7563656e65     ; provider lucene",
        Command::IndexCreate {
            header: IndexHeader { key_id: 0xFFFF, ..header(0, 0) },
            options: vec![
                IndexOption { key: b"type".to_vec(), value: b"exact".to_vec() },
                IndexOption { key: b"provider".to_vec(), value: b"lucene".to_vec() },
            ],
        },
    );
}

#[test]
fn what_does_not_fit_is_not_encoded() {
    for version in VERSIONS {
        let encode = |command| Entry::Command(command).encode(version);
        let add = |kinds, id, value: &[u8]| {
            encode(Command::IndexAddNode {
                header: header(kinds, 0),
                id,
                value: IndexValue(value.to_vec()),
            })
        };
        add(1 << 2, 1, &[0; 2]).unwrap();
        add(1 << 2, 1, &[0; 3]).unwrap_err();
        add(0, 1, &[0]).unwrap_err();
        add(7 << 2, 1, &[]).unwrap_err();
        add(0, 1 << 31, &[]).unwrap_err();
        add(1, 1 << 31, &[]).unwrap();
        add(6 << 2, 1, &vec![0; (1 << 23) - 1]).unwrap();
        add(6 << 2, 1, &vec![0; 1 << 23]).unwrap_err();
        let names = |count, length| {
            let names = vec![IndexName { name: vec![0; length], id: 0 }; count];
            encode(Command::IndexDefine { header: header(0, 0), names, keys: vec![] })
        };
        let most = if version == KernelVersion::V3_0 { 127 } else { 65_534 };
        names(most, 1).unwrap();
        names(most + 1, 1).unwrap_err();
        names(70_000, 1).unwrap_err();
        names(1, 32767).unwrap();
        names(1, 32768).unwrap_err();
    }
}
