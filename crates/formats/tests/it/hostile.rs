//! Goal: a length in the bytes decides nothing by itself: neither memory nor time are spent beyond
//! what the bytes are. Method: the largest lengths that fit, with hardly any bytes behind them.

use std::io::Read;

use formats::KernelVersion;
use formats::txlog::{BatchReader, EntryReader};

use crate::golden::bytes;
use crate::values::start;

/// Commands up to a length, and what they promise.
const LENGTHS: [(&str, &str); 11] = [
    ("label records", "14 03 16 00*8 00"),
    ("value records", "14 03 18 00*33 01 08 00*8"),
    ("deleted records", "14 03 18 00*33 00"),
    ("token name records", "14 03 08 00*4 00*5"),
    ("key name records", "14 03 05 00*4 00*9"),
    ("data of a dynamic record", "14 03 16 00*8 00 01 00*3 00*12 01"),
    ("schema map entries", "14 03 12 00*8 01 00 00"),
    ("schema map key", "14 03 12 00*8 01 00 00 01 00*3"),
    ("schema string", "14 03 12 00*8 01 00 00 01 00*3 00*4 09"),
    ("schema array", "14 03 12 00*8 01 00 00 01 00*3 00*4 0b"),
    ("enrichment string", "14 03 1e 00*9"),
];

#[test]
fn huge_and_negative_lengths_are_errors_at_once() {
    for (what, before) in LENGTHS {
        for length in ["ffffff7f", "ffffffff", "fffeffff", "00000080", "00000040"] {
            for behind in ["", "06", "09", "00*64", "ff*64"] {
                let entry = bytes(&format!("{before} {length} {behind}"));
                let place = format!("{what} {length} {behind}");
                let read = EntryReader::new(&entry[..], 128).next_entry();
                if what == "enrichment string" && length == "ffffffff" {
                    // It has none.
                    continue;
                }
                let error = read.map(|_| ()).expect_err(&place);
                let end = 128 + entry.len() as u64;
                assert!((128..=end).contains(&error.offset_bytes), "{place}: {error}");
                let mut log = start(5).encode(KernelVersion(20)).unwrap();
                log.extend(&entry);
                let skipped = BatchReader::new(&log[..], 128).next_batch().unwrap_err();
                assert!(!skipped.is_checksum() && !skipped.is_io(), "{place}: {skipped}");
            }
        }
    }
}

#[test]
fn an_additional_header_of_more_than_8_bytes_is_an_error_at_its_length() {
    for (version, at) in [(16, 22), (20, 30), (22, 26), (32, 34)] {
        let mut start = start(5).encode(KernelVersion(version)).unwrap();
        assert_eq!(start.len(), at + 4);
        start[at] = 9;
        start.extend([0; 64]);
        let error = BatchReader::new(&start[..], 0).next_batch().unwrap_err();
        assert_eq!(error.offset_bytes, at as u64, "{error}");
    }
}

#[test]
fn ids_that_no_server_gives_are_errors_at_their_place() {
    let batch = |index: i64, tx_id: i64, version: u8| {
        let version = KernelVersion(version);
        let mut bytes = start(index).encode(version).unwrap();
        let commit = crate::values::commit(version, tx_id, &bytes);
        bytes.extend(commit);
        bytes
    };
    for id in [0, -1, i64::MIN] {
        for (version, index_at) in [(20, 22), (22, 18), (32, 18)] {
            let bytes = batch(id, 5, version);
            let error = BatchReader::new(&bytes[..], 0).next_batch().unwrap_err();
            assert_eq!(error.offset_bytes, index_at, "{error}");
            let bytes = batch(5, id, version);
            let error = BatchReader::new(&bytes[..], 0).next_batch().unwrap_err();
            assert_eq!(error.offset_bytes, bytes.len() as u64 - 20, "{error}");
        }
    }
}

/// Endless bytes.
struct Endless(u8);

impl Read for Endless {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        buf.fill(self.0);
        Ok(buf.len())
    }
}

#[test]
fn endless_bytes_end_in_an_error_or_at_zero() {
    let mut zeros = BatchReader::new(Endless(0), 128);
    assert_eq!(zeros.next_batch().unwrap(), None);
    assert!(zeros.stopped_at_zero());
    for byte in 1..=255 {
        assert!(BatchReader::new(Endless(byte), 128).next_batch().is_err(), "{byte}");
        // Entries alone may be: COMMIT with transaction id 0x0505050505050505.
        let entry = EntryReader::new(Endless(byte), 128).next_entry();
        assert_eq!(entry.is_ok(), matches!(byte, 5 | 10..=12), "{byte}");
    }
}

/// A reader that fails behind some bytes.
struct Failing(usize);

impl Read for Failing {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let batch = crate::values::batch(KernelVersion(20), 5, &[]);
        let count = self.0.min(batch.len());
        if count == 0 {
            return Err(std::io::Error::other("no more"));
        }
        buf[..count].copy_from_slice(&batch[..count]);
        self.0 = 0;
        Ok(count)
    }
}

#[test]
fn a_failing_reader_is_its_own_kind_of_error() {
    for given in 0..56_u64 {
        let mut reader = BatchReader::new(Failing(given as usize), 1000);
        let error = reader.next_batch().unwrap_err();
        assert!(error.is_io() && error.offset_bytes == 1000 + given, "{error}");
        assert_eq!((reader.consumed(), reader.boundary()), (1000 + given, 1000));
        assert_eq!(reader.next_batch().unwrap(), None);
        assert!(!reader.stopped_at_zero());
    }
}
