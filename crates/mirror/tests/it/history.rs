//! The transactions of a backup, and where its logs are cut for a point in time.

use std::path::Path;

use formats::{TimestampMs, TxId};
use fs::Busy;
use mirror::{
    Backup, Cut, DatabaseEntry, Error, Mirror, Point, Transaction, Until, find_cut, transactions,
};

use crate::support::*;

const NAMES: [&str; 4] =
    ["5.26.30/killed", "2026.08.1/killed", "5.26.30/rotated", "2026.08.1/rotated"];

/// A full backup and an increment, so that E0 lies between C and E.
fn backed_up(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    Young::of(name).copy("neo4j").back_up(real(), dir.path()).unwrap();
    let mirror = Mirror::open_for_write(real(), dir.path(), Busy::Fail).unwrap();
    let after = mirror.after("neo4j").unwrap().unwrap();
    Step::of(name, &after, "neo4j").run(&mirror).unwrap();
    dir
}

fn open(dir: &Path) -> (Backup, DatabaseEntry) {
    let backup = Backup::open(dir).unwrap();
    let entry = backup.manifest().database("neo4j").unwrap().clone();
    (backup, entry)
}

fn list(backup: &Backup, entry: &DatabaseEntry) -> Vec<Transaction> {
    let mut all = Vec::new();
    transactions(backup, entry, &mut |transaction| all.push(*transaction)).unwrap();
    all
}

fn cut(dir: &Path, point: Point, inclusive: bool) -> Result<Cut, Error> {
    let (backup, entry) = open(dir);
    find_cut(&backup, &entry, Until { point, inclusive })
}

fn out_of_range(cut: Result<Cut, Error>) -> bool {
    matches!(cut, Err(Error::OutOfRange { .. }))
}

/// Every id from E0 to E is a place to cut, by itself and by the one before which; no other is.
#[test]
fn ids_from_e0_to_e() {
    for name in NAMES {
        let dir = backed_up(name);
        let (backup, entry) = open(dir.path());
        let all = list(&backup, &entry);
        let (e0, e) = (entry.first_consistent_tx_id, entry.last_tx.tx_id);
        assert_eq!(all.len() as u64, entry.transactions);
        assert_eq!(all.last().unwrap().tx_id, e);
        assert!(all.iter().any(|t| t.restorable) && all.iter().any(|t| !t.restorable), "{name}");
        let mut ends = Vec::new();
        for (transaction, index) in all.iter().zip(1..) {
            let id = transaction.tx_id;
            let next = TxId(id.0 + 1);
            let until = cut(dir.path(), Point::TxId(id), true);
            let before = cut(dir.path(), Point::TxId(next), false);
            if id < e0 {
                assert!(!transaction.restorable);
                assert!(out_of_range(until) && out_of_range(before), "{name} {id}");
                continue;
            }
            assert!(transaction.restorable);
            let until = until.unwrap();
            assert_eq!(until, before.unwrap());
            assert_eq!((until.tx_id, until.commit_time), (id, Some(transaction.commit_time)));
            assert_eq!(until.left_out, entry.transactions - index);
            assert_eq!(until.out_of_order, 0);
            ends.push(until.end);
        }
        assert_eq!(ends.last(), Some(&entry.last_tx.end));
        assert!(ends.is_sorted() && ends.windows(2).all(|pair| pair[0] != pair[1]));
        if name.ends_with("rotated") {
            assert!(ends.first().unwrap().version < ends.last().unwrap().version, "{name}");
        }
        for (id, inclusive) in [(0, true), (e.0 + 1, true), (e.0 + 2, false), (e0.0, false)] {
            assert!(out_of_range(cut(dir.path(), Point::TxId(TxId(id)), inclusive)), "{name} {id}");
        }
    }
}

/// A time is the transactions up to the first that is later; not before E0's, nor after the moment
/// up to which the backup has everything.
#[test]
fn times_from_e0_to_the_latest_run() {
    for name in NAMES {
        let dir = backed_up(name);
        let (backup, entry) = open(dir.path());
        let all = list(&backup, &entry);
        for transaction in all.iter().filter(|t| t.restorable) {
            let time = transaction.commit_time;
            let until = cut(dir.path(), Point::Time(time), true).unwrap();
            assert!(until.tx_id >= transaction.tx_id);
            let first_left_out = all.iter().find(|t| t.tx_id > until.tx_id);
            assert!(first_left_out.is_none_or(|next| next.commit_time > time));
            match cut(dir.path(), Point::Time(time), false) {
                Ok(before) => assert!(before.commit_time.unwrap() < time),
                Err(error) => {
                    assert!(matches!(error, Error::OutOfRange { .. }), "{error}");
                    let earlier = all.iter().filter(|t| t.restorable && t.commit_time < time);
                    assert_eq!(earlier.count(), 0);
                }
            }
        }
        let covered = entry.covered_until();
        assert!(covered > entry.last_tx.commit_time, "the run began later");
        let last = cut(dir.path(), Point::Time(covered), true).unwrap();
        assert_eq!((last.tx_id, last.left_out), (entry.last_tx.tx_id, 0));
        assert!(out_of_range(cut(dir.path(), Point::Time(TimestampMs(covered.0 + 1)), true)));
        assert!(out_of_range(cut(dir.path(), Point::Time(entry.checkpoint.time), true)));
    }
}

/// Until when a backup has everything is by the server's clock, whatever that of the client says; and a
/// mirror with nothing to append keeps up to when that was so.
#[test]
fn times_are_the_servers() {
    let dir = backed_up("5.26.30/killed");
    let (_, entry) = open(dir.path());
    let (last, as_of) = (entry.last_tx.tx_id, entry.as_of.unwrap());
    let hour = jiff::SignedDuration::from_hours(1);
    for started in [entry.started + hour, entry.started - hour] {
        let skewed = mirror::DatabaseEntry { started, finished: started, ..entry.clone() };
        assert_eq!(skewed.covered_until(), entry.covered_until());
    }
    assert!(entry.covered_until() < as_of, "what has its time may not be written yet");
    let earlier = mirror::DatabaseEntry { as_of: None, ..entry.clone() };
    assert_eq!(earlier.covered_until(), entry.last_tx.commit_time);

    let target = mirror::Mirror::open_for_write(real(), dir.path(), fs::Busy::Fail).unwrap();
    let later = |ms| TimestampMs(as_of.0 + ms);
    target.note_as_of("neo4j", last, later(90_000)).unwrap();
    // Of another end, older, of another database: no news.
    target.note_as_of("neo4j", TxId(last.0 - 1), later(95_000)).unwrap();
    target.note_as_of("neo4j", last, later(80_000)).unwrap();
    target.note_as_of("system", last, later(80_000)).unwrap();
    drop(target);
    let (_, noted) = open(dir.path());
    assert_eq!(noted, mirror::DatabaseEntry { as_of: Some(later(90_000)), ..entry });
}

/// Without a transaction after the checkpoint there is one point, and it needs no log.
#[test]
fn a_backup_without_a_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let entry = Copy::of("5.26.30/mixed", "neo4j").back_up(real(), dir.path()).unwrap();
    assert_eq!((entry.transactions, entry.first_consistent_tx_id), (0, entry.checkpoint.tx_id));
    let only = cut(dir.path(), Point::TxId(entry.last_tx.tx_id), true).unwrap();
    assert_eq!((only.tx_id, only.end, only.left_out), (entry.last_tx.tx_id, entry.last_tx.end, 0));
    let at = |time| cut(dir.path(), Point::Time(time), true);
    assert_eq!(at(entry.checkpoint.time).unwrap(), only);
    assert_eq!(at(entry.covered_until()).unwrap(), only);
    assert!(out_of_range(at(TimestampMs(entry.checkpoint.time.0 - 1))));
    let id = entry.last_tx.tx_id.0;
    assert!(out_of_range(cut(dir.path(), Point::TxId(TxId(id - 1)), true)));
    assert!(out_of_range(cut(dir.path(), Point::TxId(TxId(id)), false)));
}

/// Damage in the logs is named, not passed over.
#[test]
fn damaged_logs_are_no_history() {
    let dir = backed_up("5.26.30/killed");
    let (backup, entry) = open(dir.path());
    let path = dir.path().join("transactions/neo4j/neostore.transaction.db.0");
    let mut log = std::fs::read(&path).unwrap();
    let last = log.len() - 30;
    log[last] ^= 1;
    std::fs::write(&path, log).unwrap();
    let until = Until { point: Point::TxId(entry.first_consistent_tx_id), inclusive: true };
    let found = find_cut(&backup, &entry, until);
    assert!(matches!(found, Err(Error::DamagedLogs { .. })), "{found:?}");
}

/// Sets a transaction's commit time in the log, and makes its checksum fit.
fn set_commit_time(log: &mut [u8], tx_id: TxId, time: TimestampMs) {
    let mut reader = formats::txlog::BatchReader::new(&log[128..], 128);
    let batches = std::iter::from_fn(|| reader.next_batch().unwrap());
    let batch = batches.into_iter().find(|batch| batch.tx_id == tx_id).unwrap();
    let (start, end) = (batch.start as usize, batch.end as usize);
    // COMMIT ends with the time and the checksum, which is over all before it.
    log[end - 12..end - 4].copy_from_slice(&time.0.to_le_bytes());
    let checksum = crc32c::crc32c(&log[start..end - 4]);
    log[end - 4..end].copy_from_slice(&checksum.to_le_bytes());
}

/// The server's clock was set forward and back again: a time leaves out the first later transaction
/// and all that follow, and says how many of these have earlier times.
#[test]
fn a_clock_that_was_set_back() {
    // Without a chain of checksums, so that one transaction can be changed.
    let dir = backed_up("2026.08.1/killed");
    let (backup, entry) = open(dir.path());
    let all = list(&backup, &entry);
    let restorable: Vec<_> = all.iter().filter(|t| t.restorable).collect();
    let [_, jumped, next, ..] = *restorable.as_slice() else { panic!("{all:?}") };
    let path = dir.path().join("transactions/neo4j/neostore.transaction.db.0");
    let mut log = std::fs::read(&path).unwrap();
    let hour_later = TimestampMs(entry.last_tx.commit_time.0 + 3_600_000);
    set_commit_time(&mut log, jumped.tx_id, hour_later);
    std::fs::write(&path, log).unwrap();

    let last = entry.last_tx.commit_time;
    let found = cut(dir.path(), Point::Time(last), true).unwrap();
    assert_eq!(found.tx_id, restorable[0].tx_id);
    assert_eq!(found.left_out, restorable.len() as u64 - 1);
    assert_eq!(found.out_of_order, restorable.len() as u64 - 2);
    // By its id it can be reached all the same.
    let by_id = cut(dir.path(), Point::TxId(next.tx_id), true).unwrap();
    assert_eq!((by_id.tx_id, by_id.out_of_order), (next.tx_id, 0));
    assert_eq!(cut(dir.path(), Point::Time(hour_later), true).unwrap().left_out, 0);
}
