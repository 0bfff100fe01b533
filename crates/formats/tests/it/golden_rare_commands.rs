//! Goal: the bytes of the commands for tokens, counts, schema, metadata and change capture.
//! Method: written by hand from the description, decoded and encoded.

use formats::KernelVersion;
use formats::txlog::{
    Command, DynamicRecord, Enrichment, Entry, MetadataRecord, PropertyKeyRecord, SchemaMap,
    SchemaMapEntry, SchemaRecord, SchemaValue, TokenRecord,
};

use crate::golden::check_entry;

#[test]
fn token_commands() {
    const TOKENS: &str = "
        02 00*3  ; id
        00       ; before: flags
        00*4     ;   first name record
        00*4     ;   no name records
        21       ; after: flags, in use, internal
        05 00*3  ;   first name record
        01 00*3  ;   one name record
        05 00*7  ;     id
        ff*4     ;     type -1
        01       ;     flags: in use
        01 00*3  ;     length
        ff*8     ;     no next record
        41       ;     'A'";
    let name = DynamicRecord { id: 5, kind: -1, flags: 1, next: -1, data: b"A".to_vec() };
    let before = TokenRecord::default();
    let after = TokenRecord { flags: 0x21, name_id: 5, name_records: vec![name.clone()] };
    let (id, same) = (2, (before.clone(), after.clone()));
    check_entry(
        &format!("14 03 04 ; version, COMMAND, relationship type token\n{TOKENS}"),
        &Entry::Command(Command::RelationshipTypeToken { id, before, after }),
    );
    let (before, after) = same;
    check_entry(
        &format!("20 03 08 ; version, COMMAND, label token\n{TOKENS}"),
        &Entry::Command(Command::LabelToken { id, before, after }),
    );
    let key = "
        14 03 05 ; version, COMMAND, property key token
        02 00*3  ; id
        00       ; before: flags
        00*4     ;   property count
        00*4     ;   first name record
        00*4     ;   no name records
        01       ; after: flags, in use
        03 00*3  ;   property count
        05 00*3  ;   first name record
        01 00*3  ;   one name record
        05 00*7  ;     id
        ff*4     ;     type -1
        01       ;     flags: in use
        01 00*3  ;     length
        ff*8     ;     no next record
        41       ;     'A'";
    let before = PropertyKeyRecord::default();
    let after =
        PropertyKeyRecord { flags: 1, property_count: 3, name_id: 5, name_records: vec![name] };
    check_entry(key, &Entry::Command(Command::PropertyKeyToken { id, before, after }));
}

#[test]
fn counts_and_degree_commands() {
    check_entry(
        "14 03 10 ; version, COMMAND, relationship counts
         ff*4     ; start label: any
         03 00*3  ; type
         04 00*3  ; end label
         fe ff*7  ; delta -2",
        &Entry::Command(Command::RelationshipCounts {
            start_label: -1,
            kind: 3,
            end_label: 4,
            delta: -2,
        }),
    );
    check_entry(
        "14 03 11 ; version, COMMAND, node counts
         02 00*3  ; label
         01 00*7  ; delta",
        &Entry::Command(Command::NodeCounts { label: 2, delta: 1 }),
    );
    check_entry(
        "20 03 14 ; version, COMMAND, group degree
         16 00*7  ; group 5, loop: 5 << 2 | 2
         03 00*7  ; delta",
        &Entry::Command(Command::GroupDegree { key: 22, delta: 3 }),
    );
}

#[test]
fn schema_commands() {
    let text = "
        14 03 12     ; version, COMMAND, schema rule
        04 00*7      ; id
        01           ; the rule follows
        00           ; before: flags, not in use
        03           ; after: flags, in use, created
        01           ;   a constraint
        0d 00*7      ;   first property
        05 00*3      ; map of 5 entries
        01 00*3 61   ; 'a'
        09           ;   string
        02 00*3 78 79 ;  'xy'
        01 00*3 62   ; 'b'
        0b           ;   array
        02 00*3      ;   of 2
        05           ;   32-bit integers
        07 00*3 ff*4 ;   7, -1
        01 00*3 63   ; 'c'
        06           ;   64-bit integer
        09 00*7      ;   9
        01 00*3 64   ; 'd'
        01           ;   false
        01 00*3 65   ; 'e'
        0b           ;   array
        02 00*3      ;   of 2
        09           ;   strings
        00*4         ;   ''
        01 00*3 7a   ;   'z'";
    let entry = |key: &str, value| SchemaMapEntry { key: key.into(), value };
    let entries = vec![
        entry("a", SchemaValue::string("xy")),
        entry("b", SchemaValue::ints(&[7, -1])),
        entry("c", SchemaValue::long(9)),
        entry("d", SchemaValue::boolean(false)),
        entry("e", SchemaValue::strings(&["", "z"])),
    ];
    let after = SchemaRecord { flags: 3, schema_flags: 1, next_property: 13 };
    let before = SchemaRecord::default();
    let map = SchemaMap { entries };
    check_entry(
        text,
        &Entry::Command(Command::SchemaRule { id: 4, has_rule: 1, before, after, map }),
    );
    check_entry(
        "14 03 12 ; version, COMMAND, schema rule
         04 00*7  ; id
         00       ; no rule follows
         00       ; before: flags, not in use
         00       ; after: flags, not in use",
        &Entry::Command(Command::SchemaRule {
            id: 4,
            has_rule: 0,
            before: SchemaRecord::default(),
            after: SchemaRecord::default(),
            map: SchemaMap::default(),
        }),
    );
}

#[test]
fn an_upgrade_names_its_target_bare_or_with_the_log_format() {
    for (value, target) in [("14 00*7", 20), ("20 09 00*6", 32)] {
        let text = format!(
            "10 03 13 ; version, COMMAND, metadata
             ff*8     ; key -1: upgrade
             01       ; before: in use
             10 00*7  ;   kernel version 16
             01       ; after: in use
             {value}  ;   log format and kernel version"
        );
        let value = if target == 20 { 20 } else { 0x0920 };
        let command = Command::Metadata {
            key: -1,
            before: MetadataRecord { flags: 1, value: 16 },
            after: MetadataRecord { flags: 1, value },
        };
        assert_eq!(command.upgrade_to(), Some(KernelVersion(target)));
        check_entry(&text, &Entry::Command(command));
    }
}

#[test]
fn enrichment_commands_have_user_metadata_from_kernel_version_11_on() {
    let text = |version: &str, length: &str, data: &str| {
        format!(
            "{version} 03 1e  ; version, COMMAND, enrichment
             05 00*7   ; last committed transaction
             02        ; mode: full
             01 00*3 73 ; server 's'
             ff*4      ; no authenticated user
             00*4      ; executing user ''
             ff*4 ff*4 ff*4 ff*4 ; connection details, protocol, id, client address: none
             01 00*3 75 ; request URI 'u'
             01 00*3   ; length of entities
             00*4      ; of details
             02 00*3   ; of changes
             00*4      ; of values
             {length}  ; of user metadata
             aa        ; entities
             bb cc     ; changes
             {data}    ; user metadata"
        )
    };
    let some = |text: &str| Some(text.as_bytes().to_vec());
    let enrichment = |user_metadata: &[u8]| {
        Entry::Command(Command::Enrichment(Box::new(Enrichment {
            last_tx_id: 5,
            mode: 2,
            strings: [some("s"), None, some(""), None, None, None, None, some("u")],
            buffers: [vec![0xAA], vec![], vec![0xBB, 0xCC], vec![], user_metadata.to_vec()],
        })))
    };
    check_entry(&text("07", "", ""), &enrichment(&[]));
    check_entry(&text("0a", "", ""), &enrichment(&[]));
    check_entry(&text("0b", "01 00*3", "dd"), &enrichment(&[0xDD]));
    check_entry(&text("20", "00*4", ""), &enrichment(&[]));
}
