//! Goal: a length in the bytes decides nothing by itself: neither memory nor time are spent beyond
//! what the bytes are. Method: the largest lengths that fit, with hardly any bytes behind them, and
//! damage at every place.

use formats::KernelVersion;
use formats::txlog::BatchReader;
use formats::v3_0::{EntryReader, IndexConfig};

use super::values::{VERSIONS, batch_of, command, start};
use crate::golden::bytes;

/// Entries up to a 32-bit length, and what it promises.
const LENGTHS: [(&str, &str); 9] = [
    ("START's additional header", "fa 01 00*24"),
    ("label records", "fa 03 01 00*8 00"),
    ("data of a label record", "fa 03 01 00*8 00 00000001 00*12 01"),
    ("value records", "fa 03 02 00*8 00*25 01 08 00*8"),
    ("deleted records", "fa 03 02 00*8 00*26"),
    ("relationship type's name records", "fa 03 04 00*4 00*5"),
    ("property key's name records", "fa 03 05 00*4 00*9"),
    ("schema records before", "fa 03 07"),
    ("schema records after", "fa 03 07 00*4"),
];

/// The same with a length of 8, 16 or 24 bits.
const SHORT_LENGTHS: [(&str, &str, &str); 10] = [
    ("property blocks", "fa 03 02 00*8 00*25", "05"),
    ("property block's size", "fa 03 02 00*8 00*25 01", "28"),
    ("names", "fa 03 0a 00*6", "80"),
    ("keys", "fa 03 0a 00*6 00", "ff"),
    ("name", "fa 03 0a 00*6 01", "ffff"),
    ("names of 3.0.7", "f7 03 0a 00*6", "ffff"),
    ("keys of 3.0.7", "f7 03 0a 00*6 00*2", "fffe"),
    ("options", "fa 03 0f 00*6", "8000"),
    ("option's value", "fa 03 0f 00*6 0001 0000", "ffff"),
    ("value", "fa 03 0b 18 00*5 00*4", "ffff80"),
];

fn assert_error(what: &str, entry: &[u8]) {
    let read = EntryReader::new(entry, 16).next_entry();
    let error = read.map(|_| ()).expect_err(what);
    assert!((16..=16 + entry.len() as u64).contains(&error.offset_bytes), "{what}: {error}");
    assert!(!error.is_unsupported(), "{what}: {error}");
    let mut log =
        if entry[1] == 1 { Vec::new() } else { start(5).encode(KernelVersion(entry[0])).unwrap() };
    log.extend(entry);
    let skipped = BatchReader::new(&log[..], 16).next_batch().unwrap_err();
    assert!(!skipped.is_checksum() && !skipped.is_io(), "{what}: {skipped}");
}

#[test]
fn huge_and_negative_lengths_are_errors_at_once() {
    for behind in ["", "06", "00*64", "ff*64"] {
        for (what, before) in LENGTHS {
            for length in ["7fffffff", "ffffffff", "80000000", "40000000"] {
                let text = format!("{before} {length} {behind}");
                assert_error(&format!("{what}: {text}"), &bytes(&text));
            }
        }
        for (what, before, length) in SHORT_LENGTHS {
            let text = format!("{before} {length} {behind}");
            assert_error(&format!("{what}: {text}"), &bytes(&text));
        }
    }
}

#[test]
fn an_additional_header_of_more_than_1024_bytes_is_an_error_at_its_length() {
    for (length, is_read) in [(1024, true), (1025, false), (1 << 20, false)] {
        let head = format!("fa 01 00*24 {length:08x} 00*{length}");
        let commit = "fa 05 00*7 05 00*8";
        let log = bytes(&format!("{head} {commit}"));
        match BatchReader::new(&log[..], 1000).next_batch() {
            Ok(batch) => assert!(is_read && batch.is_some(), "{length}"),
            Err(error) => {
                assert!(!is_read && !error.is_incomplete(), "{length}: {error}");
                assert_eq!(error.offset_bytes, 1026, "{length}: {error}");
            }
        }
    }
}

#[test]
fn lengths_of_an_index_configuration_are_errors_at_once() {
    let head = "6e656f346a2d696e646578 00000001";
    for before in ["", "00000001", "00000001 00*4", "00000001 00*4 00000001 00*4", "00*4"] {
        for length in ["7fffffff", "ffffffff", "80000000"] {
            let bytes = bytes(&format!("{head} {before} {length} 00*64"));
            let error = IndexConfig::decode(&bytes).unwrap_err();
            assert!(error.offset_bytes <= bytes.len() as u64, "{before} {length}: {error}");
        }
    }
}

#[test]
fn damage_at_every_place_of_many_commands_is_no_panic() {
    use proptest::strategy::{Strategy, ValueTree};
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = proptest::collection::vec(command(), 1..4);
    for round in 0..100 {
        let commands = strategy.new_tree(&mut runner).unwrap().current();
        let mut bytes = batch_of(VERSIONS[round % 2], 5, &commands);
        for at in 0..bytes.len() {
            for pattern in [0x80, 0x01, 0xFF, 0x1D] {
                bytes[at] ^= pattern;
                let mut reader = BatchReader::new(&bytes[..], 16);
                let end = match reader.next_batch() {
                    Ok(Some(batch)) => batch.end,
                    Ok(None) => 16,
                    Err(error) => error.offset_bytes,
                };
                assert!((16..=16 + bytes.len() as u64).contains(&end), "{at}: {end}");
                bytes[at] ^= pattern;
            }
        }
    }
}
