//! A log of Neo4j 3.0 that is damaged in its middle, which no checksum tells, and one that is too long.

use formats::txlog::{Batch, BatchReader};
use formats::v3_0::LOG_BYTES_MAX;
use formats::{LogPosition, LogVersion, TxId};
use source::v3_0::Behind;
use source::{After, Database, Error, LastTx};

use crate::home::ThreeHome;

const HEADER_BYTES: u64 = 16;
/// Only some bytes are looked at.
const STEP: usize = 61;
/// Places that are tried.
const PLACES: usize = 3;

/// Without check points: recovery starts at the log's beginning.
fn home() -> ThreeHome {
    let home = ThreeHome::of("killed");
    let log = std::fs::read(home.log()).unwrap();
    let of = |batch: &Batch| log[batch.start as usize..batch.end as usize].to_vec();
    let batches: Vec<_> = read(&log).0.iter().map(of).collect();
    let header = log[..HEADER_BYTES as usize].to_vec();
    std::fs::write(home.log(), [header, batches.concat()].concat()).unwrap();
    home
}

/// The transactions of a log, and whether it ended in the middle of one.
fn read(log: &[u8]) -> (Vec<Batch>, bool) {
    let mut reader = BatchReader::new(&log[HEADER_BYTES as usize..], HEADER_BYTES);
    let mut found = Vec::new();
    loop {
        match reader.next_batch() {
            Ok(Some(batch)) => found.push(batch),
            Ok(None) => return (found, false),
            Err(error) => return (found, error.is_incomplete()),
        }
    }
}

/// A length that has become so large that the log seems to end in the middle of its transaction, as that of a
/// running server may: others follow, so it is not taken for the log's end by a full copy, an increment, or what
/// the tool of 3.0 asks for.
#[test]
fn no_damage_in_the_middle_is_taken_for_the_end() {
    let home = home();
    let log = std::fs::read(home.log()).unwrap();
    let start = home.database().hot_copy().unwrap().start().unwrap().tx_id;
    let (whole, _) = read(&log);
    let mut behind = whole.iter().filter(|batch| batch.tx_id > start);
    let (first, last) = (behind.next().unwrap(), behind.next_back().unwrap());
    let seems_to_end = |at: &u64| {
        let mut damaged = log.clone();
        damaged[*at as usize] = 0x7F;
        let (found, is_incomplete) = read(&damaged);
        is_incomplete && found.last().is_some_and(|end| end.tx_id < TxId(last.tx_id.0 - 1))
    };
    let places: Vec<u64> = (first.end..last.start).step_by(STEP).filter(seems_to_end).collect();
    assert!(places.len() > PLACES, "{} such places", places.len());
    std::thread::scope(|scope| {
        for at in places.iter().step_by(places.len() / PLACES) {
            scope.spawn(|| is_noticed(&log, *at, first));
        }
    });
}

fn is_noticed(log: &[u8], at: u64, first: &Batch) {
    let home = home();
    let mut damaged = log.to_vec();
    damaged[at as usize] = 0x7F;
    std::fs::write(home.log(), damaged).unwrap();
    let database = home.database();
    let finished = database.hot_copy().and_then(|copy| copy.finish());
    assert!(matches!(finished, Err(Error::Format { .. })), "damaged at {at}: {finished:?}");

    let after = after(&database, first, first.end);
    let finished = database.increment(after).and_then(|increment| increment.finish());
    assert!(matches!(finished, Err(Error::Format { .. })), "damaged at {at}: {finished:?}");
    let sent = Behind::find(&database, first.tx_id).map(|behind| behind.size_bytes());
    assert!(sent.is_err(), "damaged at {at}: {sent:?}");
}

/// What a backup ends with whose log has that length and ends with a transaction of the server's.
fn after(database: &Database, last: &Batch, offset_bytes: u64) -> After {
    let last_tx = LastTx {
        tx_id: last.tx_id,
        checksum: last.checksum,
        commit_time: last.commit_time,
        start_bytes: Some(offset_bytes - (last.end - last.start)),
        end: LogPosition { version: LogVersion(0), offset_bytes },
    };
    let store_id = database.inspect().store_id.unwrap();
    After { store_id, external_uuid: None, last_tx }
}

/// A backup's log that would become longer than 3.0 can recover is not gone on from, and one that just is not, is.
#[test]
fn a_log_that_would_be_too_long_has_no_increment() {
    let home = home();
    let (batches, _) = read(&std::fs::read(home.log()).unwrap());
    let (first, last) = (batches[batches.len() - 2], batches[batches.len() - 1]);
    let new_bytes = last.end - last.start;
    let database = home.database();
    for (length, fits) in
        [(LOG_BYTES_MAX - new_bytes, true), (LOG_BYTES_MAX - new_bytes + 1, false)]
    {
        let increment = database.increment(after(&database, &first, length)).unwrap();
        match increment.finish() {
            Ok(finished) => assert!(fits && finished.files[0].size_bytes == LOG_BYTES_MAX),
            Err(error) => assert!(!fits && matches!(error, Error::NoIncrement { .. }), "{error}"),
        }
    }
}
