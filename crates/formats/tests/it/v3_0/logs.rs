//! Goal: the one reader of logs reads those of 3.0, and nothing passes for what it is not. Method:
//! logs with check points, cuts, other versions and types, and every way that bytes may arrive.

use std::io::Read;

use formats::txlog::{Batch, BatchReader, Chain, EntryReader, Link, LogFormatVersion, LogHeader};
use formats::v3_0::{CheckPoint, Command, Entry};
use formats::{Error, KernelVersion, LogVersion, TxId, v3_0};

use super::values::{VERSIONS, batch, batch_of, position, start};

#[track_caller]
fn assert_unsupported(error: &Error, offset_bytes: u64, text: &str) {
    assert!(error.is_unsupported(), "{error}");
    assert!(error.to_string().contains(text), "{error} instead of {text}");
    assert_eq!(error.offset_bytes, offset_bytes, "{error}");
}

/// An error that is damage: nothing unknown, and not a matter of more bytes.
#[track_caller]
fn assert_corrupt(error: &Error, offset_bytes: u64) {
    assert!(!error.is_unsupported() && !error.is_incomplete() && !error.is_io(), "{error}");
    assert_eq!(error.offset_bytes, offset_bytes, "{error}");
}

fn first_batch(bytes: &[u8]) -> Result<Option<Batch>, Error> {
    BatchReader::new(bytes, 1000).next_batch()
}

fn counts() -> Command {
    Command::NodeCounts { label: -1, delta: 1 }
}

/// Transactions 2 and 3 with check points around them, and the ends of all five.
fn log() -> (Vec<u8>, Vec<u64>) {
    let mut log = Vec::new();
    let mut ends = Vec::new();
    for piece in [
        CheckPoint::encode(position(0, 16)).to_vec(),
        batch(2, &[counts()]),
        CheckPoint::encode(position(0, 34)).to_vec(),
        CheckPoint::encode(position(0, 0)).to_vec(),
        batch(3, &[]),
    ] {
        log.extend(piece);
        ends.push(16 + log.len() as u64);
    }
    (log, ends)
}

#[test]
fn check_points_between_transactions_are_passed_over() {
    let (log, ends) = log();
    for length in 0..=log.len() {
        let cut = 16 + length as u64;
        let mut reader = BatchReader::new(&log[..length], 16);
        let mut found = Vec::new();
        let error = loop {
            match reader.next_batch() {
                Ok(Some(batch)) => found.push(batch.tx_id.0),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        let whole = |at: usize| ends[at] <= cut;
        let expected = [(1, 2), (4, 3)].into_iter().filter(|(at, _)| whole(*at));
        assert_eq!(found, expected.map(|(_, id)| id).collect::<Vec<_>>(), "cut at {cut}");
        // The boundary is behind the last whole thing, check points among them.
        let boundary = ends.iter().copied().rfind(|end| *end <= cut).unwrap_or(16);
        assert_eq!(reader.boundary(), boundary, "cut at {cut}");
        assert_eq!(error.is_none(), boundary == cut, "cut at {cut}: {error:?}");
        assert!(error.is_none_or(|error| error.is_incomplete()), "cut at {cut}");
        assert!(!reader.stopped_at_zero());
    }
}

#[test]
fn check_points_have_their_own_offset_and_tell_a_position() {
    let (log, ends) = log();
    let mut reader = BatchReader::new(&log[..], 16);
    let mut found = Vec::new();
    while let Some(check_point) = reader.next_check_point().unwrap() {
        found.push(check_point);
    }
    let expected = [(0, 16), (2, 34), (3, 0)].map(|(at, offset)| CheckPoint {
        start: ends[at] - 18,
        end: ends[at],
        position: position(0, offset),
    });
    assert_eq!(found, expected);
    assert_eq!(reader.boundary(), ends[4]);
}

#[test]
fn a_check_point_inside_a_transaction_is_damage() {
    let mut bytes = start(5).encode(KernelVersion::V3_0).unwrap();
    let at = 1000 + bytes.len() as u64 + 1;
    bytes.extend(CheckPoint::encode(position(0, 16)));
    bytes.extend(&batch(5, &[])[bytes.len() - 18..]);
    assert_corrupt(&first_batch(&bytes).unwrap_err(), at);
}

#[test]
fn a_zero_ends_a_log_between_transactions_only() {
    let (mut log, ends) = log();
    log.extend([0; 4096]);
    let mut reader = BatchReader::new(&log[..], 16);
    while reader.next_batch().unwrap().is_some() {}
    assert!(reader.stopped_at_zero());
    assert_eq!(reader.boundary(), ends[4]);
    // Inside, what is behind the last byte that was looked at tells whether it is a torn tail.
    let whole = batch(5, &[counts()]);
    for length in 1..whole.len() {
        let mut bytes = whole.clone();
        bytes[length..].fill(0);
        bytes.extend([0; 64]);
        let mut reader = BatchReader::new(&bytes[..], 0);
        match reader.next_batch() {
            // A time that ends in zeros, and the like.
            Ok(Some(batch)) => assert!(batch.end <= whole.len() as u64, "{length}"),
            Ok(None) => panic!("zero from {length}: no transaction"),
            Err(error) => {
                assert!(!error.is_unsupported(), "zero from {length}: {error}");
                let rest = usize::try_from(reader.consumed()).unwrap();
                assert!(bytes[rest..].iter().all(|byte| *byte == 0), "zero from {length}");
            }
        }
    }
}

#[test]
fn zeros_before_a_commands_type_are_passed_over() {
    let mut bytes = start(5).encode(KernelVersion::V3_0).unwrap();
    bytes.extend([0xFA, 3, 0, 0, 0]);
    bytes.extend(&Entry::Command(counts()).encode(KernelVersion::V3_0).unwrap()[2..]);
    let whole = batch(5, &[]);
    bytes.extend(&whole[whole.len() - 18..]);
    assert_eq!(first_batch(&bytes).unwrap().unwrap().commands, 1);
    let error = first_batch(&bytes[..bytes.len() - 18 - 13]).unwrap_err();
    assert!(error.is_incomplete(), "{error}");
}

#[test]
fn versions() {
    let older = [
        (246, "-10 (Neo4j 3.0.10 to 4.1)"),
        (248, "-8 (Neo4j 2.3.5)"),
        (249, "-7 (Neo4j 2.2.10)"),
        (251, "-5 (Neo4j 2.3)"),
        (252, "-4 (Neo4j 2.2.4)"),
        (254, "-2 (Neo4j 2.2)"),
        (255, "-1 (Neo4j 2.1)"),
    ];
    let whole = batch(5, &[]);
    let commit_at = whole.len() - 18;
    let ours = |version: &u8| VERSIONS.contains(&KernelVersion(*version));
    for version in (1..=255_u8).filter(|version| !ours(version)) {
        let name = older.iter().find(|(older, _)| *older == version).map(|(_, name)| *name);
        let (mut first, mut later) = (whole.clone(), whole.clone());
        first[0] = version;
        later[commit_at] = version;
        let at = 1000 + commit_at as u64;
        let later = first_batch(&later).unwrap_err();
        let entry = v3_0::EntryReader::new(&first[..], 9).next_entry().unwrap_err();
        if (5..=32).contains(&version) {
            // Known, but not in this place.
            assert_corrupt(&later, at);
            assert_corrupt(&entry, 9);
            continue;
        }
        let name = name.unwrap_or("kernel version");
        assert_unsupported(&first_batch(&first).unwrap_err(), 1000, name);
        assert_unsupported(&later, at, name);
        assert_unsupported(&entry, 9, name);
    }
}

#[test]
fn a_transaction_has_one_version_and_a_log_may_have_two() {
    let [older, newer] = VERSIONS;
    let check_point = |version| Entry::CheckPoint(position(0, 16)).encode(version).unwrap();
    let log = [
        check_point(older),
        batch_of(older, 2, &[counts()]),
        check_point(newer),
        check_point(older),
        batch_of(newer, 3, &[counts()]),
    ];
    let bytes = log.concat();
    let mut reader = BatchReader::new(&bytes[..], 16);
    let mut chain = Chain::start_anywhere();
    for expected in [older, newer] {
        let batch = reader.next_batch().unwrap().unwrap();
        assert_eq!(batch.kernel_version, expected);
        chain.check(&batch).unwrap();
    }
    // An upgrade has no way back.
    let back = first_batch(&batch_of(older, 4, &[])).unwrap().unwrap();
    assert_corrupt(&chain.check(&back).unwrap_err(), 1000);
    for (version, other) in [(older, newer), (newer, older)] {
        let mut bytes = batch_of(version, 5, &[counts()]);
        for at in [38, bytes.len() - 18] {
            bytes[at] = other.0;
            assert_corrupt(&first_batch(&bytes).unwrap_err(), 1000 + at as u64);
            bytes[at] = version.0;
        }
        first_batch(&bytes).unwrap();
    }
}

#[test]
fn the_versions_of_3_0_elsewhere_are_damage() {
    for version in VERSIONS {
        assert_corrupt(&version.check(7).unwrap_err(), 7);
        let mut other = crate::values::batch(KernelVersion(20), 5, &[]);
        let commit_at = other.len() - 22;
        other[commit_at] = version.0;
        assert_corrupt(&first_batch(&other).unwrap_err(), 1000 + commit_at as u64);
        let bytes = batch_of(version, 5, &[]);
        let error = EntryReader::new(&bytes[..], 9).next_entry().unwrap_err();
        assert_corrupt(&error, 9);
    }
    let file = [
        LogHeader {
            log_version: LogVersion(0),
            format: LogFormatVersion::V6,
            last_append_index: 1,
            store_id: None,
        }
        .encode(),
        vec![0; 112],
    ]
    .concat();
    let error = formats::checkpoint::decode_file(&file).unwrap_err();
    assert_unsupported(&error, 0, "log format of a checkpoint file 6");
}

#[test]
fn entry_types() {
    for entry_type in 0..=255_u8 {
        let mut first = batch(5, &[]);
        let mut later = first.clone();
        let later_at = later.len() - 17;
        first[1] = entry_type;
        later[later_at] = entry_type;
        let later_at = 1000 + later_at as u64;
        let (first, later) = (first_batch(&first), first_batch(&later));
        let name = match entry_type {
            1 => {
                assert!(first.is_ok());
                assert_corrupt(&later.unwrap_err(), later_at);
                continue;
            }
            3 | 5 => {
                assert_corrupt(&first.unwrap_err(), 1001);
                continue;
            }
            7 => {
                // START's bytes are the position -1, -1.
                assert_corrupt(&first.unwrap_err(), 1002);
                assert_corrupt(&later.unwrap_err(), later_at);
                continue;
            }
            0 => {
                assert_corrupt(&first.unwrap_err(), 1001);
                assert_corrupt(&later.unwrap_err(), later_at);
                continue;
            }
            2 => "log entry of Neo4j 3.0 2 (prepare)".to_owned(),
            4 => "log entry of Neo4j 3.0 4 (done)".to_owned(),
            6 => "log entry of Neo4j 3.0 6 (two-phase commit)".to_owned(),
            other => format!("log entry of Neo4j 3.0 {other} is not supported"),
        };
        assert_unsupported(&first.unwrap_err(), 1001, &name);
        assert_unsupported(&later.unwrap_err(), later_at, &name);
    }
}

#[test]
fn command_types() {
    for command_type in 1..=255_u8 {
        let bytes = [[0xFA, 3, command_type].as_slice(), &[0; 512]].concat();
        let read = v3_0::EntryReader::new(&bytes[..], 50).next_entry();
        if command_type <= 17 {
            let Ok(Some((_, Entry::Command(command)))) = read else { panic!("{read:?}") };
            assert_eq!(command.type_code(), command_type);
            continue;
        }
        let name = format!("command of Neo4j 3.0 {command_type} is not supported");
        assert_unsupported(&read.unwrap_err(), 52, &name);
        let log = [start(5).encode(KernelVersion::V3_0).unwrap(), bytes].concat();
        assert_unsupported(&first_batch(&log).unwrap_err(), 1000 + 38 + 2, &name);
    }
}

#[test]
fn ids_that_no_server_gives_are_errors_at_their_place() {
    for id in [0, -1, i64::MIN] {
        let bytes = batch(id, &[]);
        assert_corrupt(&first_batch(&bytes).unwrap_err(), 1000 + bytes.len() as u64 - 16);
    }
    for (at, wrong) in [(2, CheckPoint::ENTRY_BYTES), (10, CheckPoint::ENTRY_BYTES)] {
        let mut entry = CheckPoint::encode(position(1, 16));
        entry[at] = 0x80;
        let error = BatchReader::new(&entry[..wrong], 0).next_batch().unwrap_err();
        assert_corrupt(&error, at as u64);
    }
}

#[test]
fn a_chain_has_no_gap_and_never_changes_between_3_0_and_5() {
    let read = |bytes: &[u8]| first_batch(bytes).unwrap().unwrap();
    let ours = |tx_id| read(&batch(tx_id, &[]));
    let newer = |tx_id| read(&batch_of(KernelVersion::V3_0_2, tx_id, &[]));
    let fives = |tx_id| read(&crate::values::batch(KernelVersion(32), tx_id, &[]));
    let mut chain = Chain::start_anywhere();
    chain.check(&newer(5)).unwrap();
    chain.check(&fives(6)).unwrap_err();
    let mut chain = Chain::start_anywhere();
    chain.check(&ours(5)).unwrap();
    for wrong in [ours(5), ours(7), newer(7), fives(6)] {
        assert_corrupt(&chain.check(&wrong).unwrap_err(), 1000);
        assert_eq!(chain.last(), Some(&Link::from(&ours(5))));
    }
    chain.check(&ours(6)).unwrap();
    assert_eq!(chain.last().unwrap().tx_id, TxId(6));
    // Nor is a log of both read as one history.
    let both = [crate::values::batch(KernelVersion(32), 5, &[]), batch(6, &[])].concat();
    let mut reader = BatchReader::new(&both[..], 1000);
    let mut chain = Chain::start_anywhere();
    chain.check(&reader.next_batch().unwrap().unwrap()).unwrap();
    chain.check(&reader.next_batch().unwrap().unwrap()).unwrap_err();
}

#[test]
fn a_header_may_lag_but_not_be_ahead_of_the_logs_before_it() {
    let header = |last_append_index| LogHeader {
        log_version: LogVersion(3),
        format: LogFormatVersion::V6,
        last_append_index,
        store_id: None,
    };
    let link = Link::from(&first_batch(&batch(5, &[])).unwrap().unwrap());
    let chain = Chain::after(link);
    chain.check_header(&header(5)).unwrap();
    chain.check_header(&header(4)).unwrap();
    assert_eq!(chain.check_header(&header(6)).unwrap_err().offset_bytes, 8);
}

/// Gives at most so many bytes a read.
struct Chopped<'a>(&'a [u8], usize);

impl Read for Chopped<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let size = self.1.min(buf.len());
        self.0.read(&mut buf[..size])
    }
}

#[test]
fn how_bytes_arrive_makes_no_difference() {
    // Longer than the buffer, so that every kind of field crosses its border.
    let mut log = Vec::new();
    let mut count = 0;
    while log.len() < 3 << 20 {
        count += 1;
        log.extend(batch(count, &vec![counts(); count as usize % 5]));
        if count % 3 == 0 {
            log.extend(CheckPoint::encode(position(0, 16 + log.len() as u64)));
        }
    }
    for size in [1, 7, 65_537, usize::MAX] {
        let mut reader = BatchReader::new(Chopped(&log, size), 16);
        for id in 1..=count {
            assert_eq!(reader.next_batch().unwrap().unwrap().tx_id, TxId(id.cast_unsigned()));
        }
        assert_eq!(reader.next_batch().unwrap(), None);
        assert_eq!(reader.boundary(), 16 + log.len() as u64);
    }
}
