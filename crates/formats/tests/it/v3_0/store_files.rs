//! Goal: the other files of a store, and which of them may be kept. Method: golden bytes, every
//! truncation and every flipped byte.

use formats::record_store;
use formats::v3_0::{CountsFile, IndexConfig, LegacyIndex, MANDATORY, lucene_commit};
use formats::{Error, TxId};

use crate::golden::bytes;

#[test]
fn record_stores_are_those_of_5_but_for_the_schema() {
    assert_eq!(MANDATORY.len(), 15);
    for (ours, fives) in MANDATORY.iter().zip(record_store::MANDATORY) {
        assert_eq!(ours.file_name(), fives.file_name());
        let schema = ours.file_name() == "neostore.schemastore.db";
        assert_eq!(ours == fives, !schema, "{}", ours.file_name());
    }
    let schema = MANDATORY.last().unwrap();
    assert_eq!(schema.record_bytes(), 64);
    schema.check_header(&bytes("00000040")).unwrap();
    schema.check_header(&[]).unwrap();
    schema.check_header(&bytes("ffffffff")).unwrap_err();
    assert!(schema.check_header(&bytes("000000")).unwrap_err().is_incomplete());
}

const COUNTS_HEAD: &str = "
    00*16 4e656f436f756e7453746f7265 000156 ; NeoCountStore
    00*16 00*7 63 00*7 02                   ; transaction 99, minor version 2
";

/// All nodes, nodes of label 3, relationships, index statistics and an index's sample.
const COUNTS_DATA: &str = "
    01 00*11 00000003          00*8 00*7 05
    01 00*11 ffffffff          00*8 00*7 0a
    02 00*3 ffffffff 00000001 ffffffff 00*8 00*7 0b
    7f 00*3 00000003 00000007 00*3 01 00*7 01 00*7 0c
    7f 00*3 00000003 00000007 00*3 02 00*7 01 00*7 0c";

fn check(bytes: &[u8]) -> Result<CountsFile, Error> {
    CountsFile::check(bytes)
}

#[test]
fn counts_files_are_whole_or_not_to_be_kept() {
    let expected = CountsFile { tx_id: TxId(99), minor_version: 2 };
    let mut file = bytes(&format!("{COUNTS_HEAD} {COUNTS_DATA} 00*16 00*8 00*7 05"));
    assert_eq!(check(&file).unwrap(), expected);
    // A new database has none, and that is -1.
    let none = bytes(&format!("{COUNTS_HEAD} 00*16 00*8 ff*8"));
    assert_eq!((none.len(), check(&none).unwrap()), (96, expected));
    for length in 0..file.len() {
        let cut = check(&file[..length]).unwrap_err();
        assert!(cut.is_incomplete(), "cut at {length}: {cut}");
    }
    for behind in [1, 31, 32, 64] {
        let error = check(&[&file[..], &vec![0; behind]].concat()).unwrap_err();
        assert!(error.offset_bytes >= file.len() as u64, "{behind}: {error}");
    }
    // Out of order, or twice: of another moment.
    for (from, to) in [(64, 96), (128, 64), (64, 160)] {
        let mut other = file.clone();
        other.copy_within(from..from + 32, to);
        let error = check(&other).unwrap_err();
        assert!(!error.is_incomplete(), "{from} to {to}: {error}");
    }
    let half = file.len() - 32 - 3 * 32;
    file[half..].fill(0);
    check(&file).unwrap_err();
}

#[test]
fn damage_to_a_counts_file_shows_where_it_is_no_count() {
    let expected = CountsFile { tx_id: TxId(99), minor_version: 2 };
    let mut file = bytes(&format!("{COUNTS_HEAD} {COUNTS_DATA} 00*16 00*8 00*7 05"));
    for at in 0..file.len() {
        file[at] ^= 0x80;
        match check(&file) {
            // The counts themselves, and keys that are still in their order.
            Ok(found) if found == expected => assert!((64..224).contains(&at), "at {at}"),
            Ok(found) => assert!((48..64).contains(&at), "at {at}: {found:?}"),
            Err(error) => assert!(!error.is_io(), "at {at}: {error}"),
        }
        file[at] ^= 0x80;
    }
    let other = bytes("00*16 4e656f436f756e7453746f7265 000157 00*16 00*16");
    assert!(check(&other).unwrap_err().is_unsupported());
}

#[test]
fn counts_are_kept_for_a_recovery_that_begins_right_behind_them_or_before() {
    let fits = |tx_id, first, last| {
        CountsFile { tx_id: TxId(tx_id), minor_version: 0 }.fits(TxId(first), TxId(last))
    };
    assert!(fits(99, 100, 120));
    assert!(fits(105, 100, 120));
    assert!(fits(120, 100, 120));
    // The server would wait for 99 for ever; or count 121 twice.
    assert!(!fits(98, 100, 120));
    assert!(!fits(121, 100, 120));
    let file = |tx_id, minor_version| CountsFile { tx_id: TxId(tx_id), minor_version };
    assert!(file(100, 0) > file(99, 7) && file(99, 8) > file(99, 7));
}

#[test]
fn commits_and_what_is_not_to_be_copied() {
    for (name, expected) in [
        ("segments_1", Some(1)),
        ("segments_z", Some(35)),
        ("segments_10", Some(36)),
        ("segments_2a", Some(82)),
        ("segments_3w5e11264sgsf", Some(u64::MAX)),
        ("segments_3w5e11264sgsg", None),
        ("segments_", None),
        ("segments_+1", None),
        ("segments_Z", None),
        ("segments", None),
        ("pending_segments_1", None),
        ("_0.cfs", None),
    ] {
        assert_eq!(lucene_commit(name), expected, "{name}");
    }
}

#[test]
fn the_configuration_of_legacy_indexes() {
    // Real bytes of the format, written out: 2-byte units.
    let text = |text: &str| {
        let units: String = text.encode_utf16().map(|unit| format!("{unit:04x}")).collect();
        format!("{:08x} {units}", text.encode_utf16().count())
    };
    let file = bytes(&format!(
        "6e656f346a2d696e646578 00000001 ; neo4j-index, version 1
         00000001                        ; one index of nodes
         {} 00000002 {} {} {} {}
         00000000                        ; none of relationships",
        text("lidx\u{1F600}"),
        text("type"),
        text("exact"),
        text("provider"),
        text("lucene"),
    ));
    let option = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let expected = IndexConfig {
        nodes: vec![LegacyIndex {
            name: "lidx\u{1F600}".to_owned(),
            options: vec![option("type", "exact"), option("provider", "lucene")],
        }],
        relationships: vec![],
    };
    assert_eq!(IndexConfig::decode(&file).unwrap(), expected);
    assert_eq!(expected.encode(), file);
    let more = IndexConfig::decode(&[&file[..], &[0]].concat()).unwrap_err();
    assert_eq!(more.offset_bytes, file.len() as u64, "{more}");
    for at in [0, 10, 14] {
        let mut other = file.clone();
        other[at] ^= 2;
        assert!(IndexConfig::decode(&other).unwrap_err().is_unsupported());
    }
    // Half of a pair.
    let half = bytes("6e656f346a2d696e646578 00000001 00000001 00000001 d800 00000000 00000000");
    assert_eq!(IndexConfig::decode(&half).unwrap_err().offset_bytes, 23);
}
