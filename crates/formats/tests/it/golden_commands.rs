//! Goal: the bytes of the commands that change records of the graph. Method: written by hand from
//! the description, decoded and encoded.

use formats::txlog::{
    Change, Command, DynamicRecord, Entry, GroupRecord, NodeRecord, PropertyBlock, PropertyRecord,
    RelationshipRecord,
};

use crate::golden::check_entry;

/// A node in use with inline labels.
const NODE: &str = "
    01        ; flags: in use
    01        ; dense
    0a 00*7   ; first relationship or group
    0b 00*7   ; first property
    01 00*3 10 00*3 ; label field
    00*4      ; dynamic label records: none";

/// A node not in use that frees a dynamic label record.
const FREED_NODE: &str = "
    00        ; flags
    01 00*3   ; one dynamic label record
    07 00*7   ;   id
    ff*4      ;   type -1
    20        ;   flags: first of its chain, not in use";

fn node() -> NodeRecord {
    NodeRecord {
        flags: 1,
        dense: 1,
        next_relationship: 10,
        next_property: 11,
        labels: 0x10_0000_0001,
        ..NodeRecord::default()
    }
}

fn freed_node() -> NodeRecord {
    let record = DynamicRecord { id: 7, kind: -1, flags: 0x20, ..DynamicRecord::default() };
    NodeRecord { label_records: vec![record], ..NodeRecord::default() }
}

#[test]
fn node_commands() {
    let change = Change::Update { before: node(), after: freed_node() };
    check_entry(
        &format!("14 03 01 ; version, COMMAND, node update\n 2a 00*7 ; id\n{NODE}{FREED_NODE}"),
        &Entry::Command(Command::Node { id: 42, change }),
    );
    check_entry(
        &format!("0a 03 16 ; version, COMMAND, node create\n 2a 00*7 ; id\n{NODE}"),
        &Entry::Command(Command::Node { id: 42, change: Change::Create(node()) }),
    );
    check_entry(
        &format!("20 03 17 ; version, COMMAND, node delete\n 2a 00*7 ; id\n{NODE}"),
        &Entry::Command(Command::Node { id: 42, change: Change::Delete(node()) }),
    );
}

#[test]
fn a_node_with_a_secondary_unit_and_dynamic_labels() {
    let text = "
        14 03 16    ; version, COMMAND, node create
        2a 00*7     ; id
        8d          ; flags: in use, requires and has a secondary unit, and one unknown bit
        00          ; not dense
        ff*8        ; no relationship
        ff*8        ; no property
        07 00*3 80 00*3 ; label field: dynamic, record 7
        2b 00*7     ; secondary unit
        01 00*3     ; one dynamic label record
        07 00*7     ;   id
        ff*4        ;   type -1
        21          ;   flags: in use, first of its chain
        03 00*3     ;   length
        ff*8        ;   no next record
        aa bb cc    ;   data";
    let record =
        DynamicRecord { id: 7, kind: -1, flags: 0x21, next: -1, data: vec![0xAA, 0xBB, 0xCC] };
    let node = NodeRecord {
        flags: 0x8D,
        dense: 0,
        next_relationship: -1,
        next_property: -1,
        labels: 0x80_0000_0007,
        secondary: 43,
        label_records: vec![record],
    };
    check_entry(text, &Entry::Command(Command::Node { id: 42, change: Change::Create(node) }));
}

/// A property record with a block of one long and a block whose value lies in a dynamic record.
const PROPERTY: &str = "
    41        ; flags: in use, of a node
    ff*8      ; next record: none
    0c 00*7   ; previous record
    2a 00*7   ; owner
    02        ; blocks
    08        ;   block 0: 8 bytes
    01 02 03 04 05 06 07 08 ; its long
    00*4      ;   no value records
    10        ;   block 1: 16 bytes
    11*8 22*8 ;   its longs
    01 00*3   ;   one value record
    63 00*7   ;     id
    09 00*3   ;     type: string
    23        ;     flags: in use, created, first of its chain
    02 00*3   ;     length
    ff*8      ;     no next record
    68 69     ;     data
    01 00*3   ; one deleted record
    64 00*7   ;   id
    0a 00*3   ;   type: array
    00        ;   flags";

fn property() -> PropertyRecord {
    let value = DynamicRecord { id: 99, kind: 9, flags: 0x23, next: -1, data: b"hi".to_vec() };
    let freed = DynamicRecord { id: 100, kind: 10, ..DynamicRecord::default() };
    let words = [[0x11; 8], [0x22; 8]].concat();
    PropertyRecord {
        flags: 0x41,
        next: -1,
        previous: 12,
        owner: 42,
        blocks: vec![
            PropertyBlock { words: vec![1, 2, 3, 4, 5, 6, 7, 8], value_records: Vec::new() },
            PropertyBlock { words, value_records: vec![value] },
        ],
        deleted_records: vec![freed],
    }
}

#[test]
fn property_commands() {
    const BLANK: &str = "
        80      ; flags: of a relationship
        ff*8    ; next record
        ff*8    ; previous record
        ff*8    ; owner: unknown
        00      ; no blocks
        00*4    ; no deleted records";
    let blank = PropertyRecord {
        flags: 0x80,
        next: -1,
        previous: -1,
        owner: -1,
        ..PropertyRecord::default()
    };
    let change = Change::Update { before: blank, after: property() };
    check_entry(
        &format!("14 03 02 ; version, COMMAND, update\n 0d 00*7 ; id\n{BLANK}{PROPERTY}"),
        &Entry::Command(Command::Property { id: 13, change }),
    );
    check_entry(
        &format!("14 03 18 ; version, COMMAND, create\n 0d 00*7 ; id\n{PROPERTY}"),
        &Entry::Command(Command::Property { id: 13, change: Change::Create(property()) }),
    );
    check_entry(
        &format!("20 03 19 ; version, COMMAND, delete\n 0d 00*7 ; id\n{PROPERTY}"),
        &Entry::Command(Command::Property { id: 13, change: Change::Delete(property()) }),
    );
}

const RELATIONSHIP: &str = "
    03      ; flags: in use, created
    01 00*7 ; first node
    02 00*7 ; second node
    03 00*3 ; type
    04 00*7 ; first node's chain: previous
    05 00*7 ;   next
    06 00*7 ; second node's chain: previous
    07 00*7 ;   next
    ff*8    ; first property: none
    0b      ; first in both chains, second node dense";

fn relationship() -> RelationshipRecord {
    RelationshipRecord {
        flags: 3,
        first_node: 1,
        second_node: 2,
        kind: 3,
        chain: [4, 5, 6, 7],
        next_property: -1,
        extra: 11,
        secondary: 0,
    }
}

#[test]
fn relationship_commands() {
    const UNUSED: &str = "
        00      ; flags
        03 00*3 ; type";
    let unused = RelationshipRecord { kind: 3, ..RelationshipRecord::default() };
    let change = Change::Update { before: unused, after: relationship() };
    check_entry(
        &format!("10 03 03 ; version, COMMAND, update\n 08 00*7 ; id\n{UNUSED}{RELATIONSHIP}"),
        &Entry::Command(Command::Relationship { id: 8, change }),
    );
    check_entry(
        &format!("14 03 1a ; version, COMMAND, create\n 08 00*7 ; id\n{RELATIONSHIP}"),
        &Entry::Command(Command::Relationship { id: 8, change: Change::Create(relationship()) }),
    );
    check_entry(
        &format!("20 03 1b ; version, COMMAND, delete\n 08 00*7 ; id\n{RELATIONSHIP}"),
        &Entry::Command(Command::Relationship { id: 8, change: Change::Delete(relationship()) }),
    );
}

#[test]
fn relationship_group_command() {
    let text = "
        14 03 09 ; version, COMMAND, relationship group
        05 00*7  ; id
        02       ; before: flags, created, not in use: all fields are there nonetheless
        00*4     ;   type
        00*8     ;   next group
        00*8     ;   first outgoing
        00*8     ;   first incoming
        00*8     ;   first loop
        00*8     ;   owner
        00       ;   no external degrees
        09       ; after: in use, has a secondary unit
        01 00*3  ;   type
        ff*8     ;   next group
        0a 00*7  ;   first outgoing
        0b 00*7  ;   first incoming
        0c 00*7  ;   first loop
        2a 00*7  ;   owner
        05       ;   external degrees: outgoing, loop
        63 00*7  ;   secondary unit";
    let before = GroupRecord { flags: 2, ..GroupRecord::default() };
    let after = GroupRecord {
        flags: 9,
        kind: 1,
        next: -1,
        first: [10, 11, 12],
        owner: 42,
        external_degrees: 5,
        secondary: 99,
    };
    check_entry(text, &Entry::Command(Command::RelationshipGroup { id: 5, before, after }));
}
