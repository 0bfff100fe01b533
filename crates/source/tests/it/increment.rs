//! Which history an increment joins: only the one that the backup has.

use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use formats::txlog::{BatchReader, LogHeader};
use formats::{LogPosition, LogVersion};
use source::{After, Error, Increment, LastTx, LiveCopy as _, LogReader, LogSizes, scan_logs};

use crate::home::Home;

const FIRST: &str = "neostore.transaction.db.0";
const SECOND: &str = "neostore.transaction.db.1";

/// What a backup of all of the fixture ends with.
fn after(home: &Home) -> After {
    let copy = home.begin();
    let last_tx = copy.finish().unwrap().last_tx;
    After { store_id: copy.store_id().clone(), external_uuid: copy.external_uuid(), last_tx }
}

/// The end of the first log file, where the second goes on.
fn after_the_first_file(home: &Home) -> After {
    let second = std::fs::read(home.log(SECOND)).unwrap();
    std::fs::remove_file(home.log(SECOND)).unwrap();
    // The first checkpoint is of the first file.
    let all = std::fs::read(home.log("checkpoint.0")).unwrap();
    let entry = if home.fact("kernel_version") == 32 { 486 } else { 232 };
    std::fs::write(home.log("checkpoint.0"), &all[..128 + entry]).unwrap();
    let after = after(home);
    std::fs::write(home.log(SECOND), second).unwrap();
    std::fs::write(home.log("checkpoint.0"), all).unwrap();
    after
}

fn refused(home: &Home, after: &After) -> Error {
    Increment::begin(&home.database(), after.clone()).err().expect("it must be refused")
}

#[test]
fn an_increment_goes_on_over_a_rotation_and_ends_where_a_copy_would() {
    for name in ["5.26.30/rotated", "2026.08.1/rotated"] {
        let home = Home::of(name);
        let all = after(&home).last_tx;
        let before = after_the_first_file(&home);
        assert_eq!(before.last_tx.end.version, LogVersion(0));
        let increment = Increment::begin(&home.database(), before.clone()).unwrap();
        let finished = increment.finish().unwrap();
        assert_eq!((finished.last_tx.tx_id, finished.last_tx.end), (all.tx_id, all.end), "{name}");
        assert_eq!(finished.transactions, all.tx_id.0 - before.last_tx.tx_id.0, "{name}");
        assert_eq!(finished, increment.finish().unwrap());
        let names: Vec<&str> = finished.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(names, [FIRST, SECOND], "{name}");
        let file = &finished.files[1];
        let mut bytes = vec![0; usize::try_from(file.size_bytes).unwrap()];
        assert_eq!(increment.read_at(file.id, 0, &mut bytes).unwrap(), bytes.len());
        assert!(std::fs::read(home.log(SECOND)).unwrap().starts_with(&bytes));
    }
}

#[test]
fn nothing_new_is_an_increment_without_transactions() {
    let home = Home::of("5.26.30/killed");
    let after = after(&home);
    let finished = Increment::begin(&home.database(), after.clone()).unwrap().finish().unwrap();
    assert_eq!((finished.last_tx, finished.transactions), (after.last_tx, 0));
    assert!(finished.as_of > after.last_tx.commit_time);
    // A transaction that is being written has its commit time already.
    let log = std::fs::read(home.log(FIRST)).unwrap();
    let end = after.last_tx.end.offset_bytes as usize;
    std::fs::write(home.log(FIRST), [&log[..end], &log[128..160]].concat()).unwrap();
    let finished = Increment::begin(&home.database(), after.clone()).unwrap().finish().unwrap();
    assert_eq!((finished.last_tx, finished.as_of), (after.last_tx, after.last_tx.commit_time));
}

/// Bytes behind the last transaction are news, in the same file or the next one, and nothing else; who
/// wants to know is told.
#[test]
fn news_is_told() {
    let home = Home::of("5.26.30/rotated");
    let before = after_the_first_file(&home);
    let moved = LogPosition { version: LogVersion(1), offset_bytes: 128 };
    let last_tx = source::LastTx { end: moved, start_bytes: None, ..before.last_tx };
    for after in [before.clone(), After { last_tx, ..before }] {
        let second = std::fs::read(home.log(SECOND)).unwrap();
        std::fs::remove_file(home.log(SECOND)).unwrap();
        let increment = Increment::begin(&home.database(), after).unwrap();
        let (sender, told) = std::sync::mpsc::channel();
        increment.on_change(Box::new(move || {
            let _ = sender.send(Instant::now());
        }));
        assert!(!increment.has_news().unwrap());
        // A file that has only its header is none.
        std::fs::write(home.log(SECOND), &second[..128]).unwrap();
        std::thread::sleep(Duration::from_millis(150));
        assert!(!increment.has_news().unwrap());
        let since = Instant::now();
        std::fs::write(home.log(SECOND), &second).unwrap();
        while !increment.has_news().unwrap() {
            told.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        assert!(
            told.recv_timeout(Duration::from_secs(10)).unwrap() > since - Duration::from_secs(1)
        );
        assert!(increment.finish().unwrap().transactions > 0);
    }
}

/// A backup without a transaction after its checkpoint knows only where its last one ends; that may
/// be in the file before.
#[test]
fn the_last_transaction_is_found_without_its_first_byte() {
    let home = Home::of("5.26.30/rotated");
    let mut after = after_the_first_file(&home);
    after.last_tx.start_bytes = None;
    let here = Increment::begin(&home.database(), after.clone()).unwrap().finish().unwrap();
    after.last_tx.end = LogPosition { version: LogVersion(1), offset_bytes: 128 };
    let behind = Increment::begin(&home.database(), after).unwrap().finish().unwrap();
    assert_eq!((here.last_tx, here.transactions), (behind.last_tx, behind.transactions));
    assert!(here.transactions > 0);
}

#[test]
fn another_store_is_refused() {
    let home = Home::of("5.26.30/killed");
    let good = after(&home);
    let mut other = good.clone();
    other.store_id.creation_time.0 ^= 1;
    assert!(matches!(refused(&home, &other), Error::OtherStore { .. }));
    // What a migration from another format leaves of a store's id.
    let mut before = good.clone();
    before.store_id.random ^= 1;
    before.store_id.format_family = "standard".to_owned();
    assert!(matches!(refused(&home, &before), Error::Migrated { .. }));
    let mut other = good;
    other.external_uuid = Some([1; 16]);
    assert!(matches!(refused(&home, &other), Error::OtherStore { .. }));
}

/// The transaction has another checksum or commit time, or the server does not have it yet, or it is
/// the id of another place.
#[test]
fn another_history_is_refused_with_the_transaction() {
    let home = Home::of("5.26.30/killed");
    let good = after(&home);
    let id = good.last_tx.tx_id.0.to_string();
    let mut other = good.clone();
    other.last_tx.checksum.0 ^= 1;
    let error = refused(&home, &other);
    assert!(matches!(error, Error::Diverged { .. }), "{error}");
    let checksums = [good.last_tx.checksum, other.last_tx.checksum].map(|sum| sum.to_string());
    assert!(checksums.iter().chain([&id]).all(|word| error.to_string().contains(word)), "{error}");
    let mut other = good.clone();
    other.last_tx.commit_time.0 += 1;
    assert!(matches!(refused(&home, &other), Error::Diverged { .. }));
    let mut other = good.clone();
    other.last_tx.tx_id.0 += 1;
    let error = refused(&home, &other);
    assert!(matches!(error, Error::Diverged { .. }) && error.to_string().contains(&id), "{error}");
    // As far as the server's log goes, and further.
    let mut other = good;
    other.last_tx.start_bytes = other.last_tx.start_bytes.map(|start| start + (1 << 30));
    other.last_tx.end.offset_bytes += 1 << 30;
    other.last_tx.tx_id.0 += 1000;
    assert!(matches!(refused(&home, &other), Error::Diverged { .. }));
}

/// The file is gone, or the logs were made anew and the transaction is elsewhere now.
#[test]
fn logs_that_do_not_reach_back_are_told() {
    let home = Home::of("5.26.30/rotated");
    let mut after = after_the_first_file(&home);
    std::fs::remove_file(home.log(FIRST)).unwrap();
    let error = refused(&home, &after);
    assert!(matches!(error, Error::LogPruned { .. }), "{error}");
    after.last_tx.start_bytes = None;
    assert!(matches!(refused(&home, &after), Error::LogPruned { .. }));

    let home = Home::of("5.26.30/killed");
    let mut after = super::increment::after(&home);
    after.last_tx.start_bytes = after.last_tx.start_bytes.map(|start| start - 1);
    assert!(matches!(refused(&home, &after), Error::LogPruned { .. }));
}

/// The logs are held from the begin on: pruning takes nothing away any more.
#[test]
fn held_logs_outlive_pruning() {
    let home = Home::of("5.26.30/rotated");
    let before = after_the_first_file(&home);
    let increment = Increment::begin(&home.database(), before).unwrap();
    std::fs::remove_file(home.log(FIRST)).unwrap();
    let finished = increment.finish().unwrap();
    let mut byte = [0; 8];
    assert_eq!(increment.read_at(finished.files[0].id, 200, &mut byte).unwrap(), 8);
}

/// A server whose logs are not all there yet (it is being restored, say) has pruned nothing; one whose
/// empty log says that it goes on after our last transaction has, and one that goes on before it is
/// another.
#[test]
fn logs_without_a_transaction() {
    let home = Home::of("5.26.30/killed");
    let after = after(&home);
    let log = std::fs::read(home.log(FIRST)).unwrap();
    std::fs::write(home.log(FIRST), b"").unwrap();
    assert!(matches!(refused(&home, &after), Error::Changed { .. }));
    std::fs::remove_file(home.log(FIRST)).unwrap();
    assert!(matches!(refused(&home, &after), Error::Changed { .. }));
    let mut header = log[..128].to_vec();
    header[7] = 1;
    for (last, is_pruned) in [(after.last_tx.tx_id.0 - 1, false), (after.last_tx.tx_id.0, true)] {
        header[8..16].copy_from_slice(&last.to_be_bytes());
        header[16..24].copy_from_slice(&last.to_be_bytes());
        std::fs::write(home.log(SECOND), &header).unwrap();
        let error = refused(&home, &after);
        assert_eq!(matches!(error, Error::LogPruned { .. }), is_pruned, "{last}: {error}");
        assert_eq!(matches!(error, Error::Diverged { .. }), !is_pruned, "{last}: {error}");
    }
}

/// The fixture's logs cut into more files, of so many transactions each; where each transaction is now.
fn split(home: &Home, each: usize) -> Vec<LastTx> {
    let mut header = None;
    let mut batches = Vec::new();
    for name in [FIRST, SECOND] {
        let bytes = std::fs::read(home.log(name)).unwrap();
        header = header.or(LogHeader::decode(&bytes).unwrap());
        let mut reader = BatchReader::new(&bytes[128..], 128);
        while let Some(batch) = reader.next_batch().unwrap() {
            batches.push((batch, bytes[batch.start as usize..batch.end as usize].to_vec()));
        }
        std::fs::remove_file(home.log(name)).unwrap();
    }
    let mut header = header.unwrap();
    let mut moved = Vec::new();
    for (number, part) in (0..).zip(batches.chunks(each)) {
        header.log_version = LogVersion(number);
        let mut bytes = header.encode().to_vec();
        for (batch, body) in part {
            let start_bytes = Some(bytes.len() as u64);
            bytes.extend_from_slice(body);
            let end = LogPosition { version: header.log_version, offset_bytes: bytes.len() as u64 };
            let (tx_id, checksum, commit_time) = (batch.tx_id, batch.checksum, batch.commit_time);
            moved.push(LastTx { tx_id, checksum, commit_time, start_bytes, end });
            header.last_append_index = batch.append_index.unwrap().0;
        }
        std::fs::write(home.log(&format!("neostore.transaction.db.{number}")), bytes).unwrap();
    }
    moved
}

/// Of many log files only the newest two are read for the end, and it is the same end.
#[test]
fn the_end_is_found_in_the_newest_files() {
    let home = Home::of("5.26.30/rotated");
    let after = after(&home);
    let all = split(&home, 6);
    let newest = all.last().unwrap().end.version;
    assert!(newest > LogVersion(5), "{newest}");
    let finish = |at: usize| {
        let after = After { last_tx: all[at], ..after.clone() };
        Increment::begin(&home.database(), after).unwrap().finish()
    };
    let check = |at: usize| {
        let (after, finished) = (all[at], finish(at).unwrap());
        assert_eq!(finished.last_tx, *all.last().unwrap(), "from {at}");
        assert_eq!(finished.transactions as usize, all.len() - 1 - at, "from {at}");
        let versions = after.end.version.0..=newest.0;
        let expected = versions.map(|version| {
            let path = format!("neostore.transaction.db.{version}");
            let size_bytes = std::fs::metadata(home.log(&path)).unwrap().len();
            (path, size_bytes)
        });
        let found = finished.files.iter().map(|file| (file.path.clone(), file.size_bytes));
        assert!(found.eq(expected), "from {at}: {:?}", finished.files);
    };
    (0..all.len()).for_each(check);
    // A newest file that has only its header.
    let mut header = std::fs::read(home.log(&format!("neostore.transaction.db.{newest}"))).unwrap();
    header.truncate(128);
    header[7] += 1;
    let last_tx = all.last().unwrap().tx_id.0;
    header[8..16].copy_from_slice(&last_tx.to_be_bytes());
    header[16..24].copy_from_slice(&last_tx.to_be_bytes());
    std::fs::write(home.log(&format!("neostore.transaction.db.{}", newest.0 + 1)), header).unwrap();
    (0..all.len()).for_each(check);

    // What is wrong before them whoever takes it must find: here it is not looked at.
    let flip = |version: u64, at: u64| {
        let path = home.log(&format!("neostore.transaction.db.{version}"));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at as usize] ^= 0x10;
        std::fs::write(path, bytes).unwrap();
    };
    let sizes = |last: u64| {
        let size = |version| {
            let path = home.log(&format!("neostore.transaction.db.{version}"));
            (LogVersion(version), std::fs::metadata(path).unwrap().len())
        };
        (0..=last).map(size).collect::<LogSizes>()
    };
    flip(2, 300);
    assert!(finish(3).is_ok());
    let from = LogPosition { version: LogVersion(0), offset_bytes: 128 };
    let reader = LogReader::new(&home.log(""), from, &after.store_id);
    let (position, _) = reader.finish(&sizes(newest.0)).unwrap_err();
    assert!(position.version == LogVersion(1) || position.version == LogVersion(2));
    flip(2, 300);
    flip(newest.0 - 1, 300);
    assert!(finish(3).is_ok(), "the newest two are {newest} and the one behind it");
    flip(newest.0, 300);
    assert!(finish(3).is_err());
}

/// Tells a reader of a file in one of the ways in which it may come, by its number.
fn feed(reader: &LogReader, version: LogVersion, size: u64, bytes: &[u8], from: LogPosition) {
    let written = |at: usize, piece: &[u8]| reader.written(version, size, at as u64, piece);
    let pieces = |step: usize, start: usize| {
        let rest = bytes.get(start..).unwrap_or_default();
        for (index, piece) in rest.chunks(step).enumerate() {
            written(start + index * step, piece);
        }
    };
    match version.0 % 6 {
        // As a client does; in one piece; byte by byte, of which the first has not even the header.
        0 => pieces(1000, 0),
        1 => pieces(usize::MAX, 0),
        2 => pieces(if bytes.len() < 20_000 { 1 } else { 9999 }, 0),
        // From the middle of what is read on, or from before it on.
        3 => pieces(700, 300.max(from.offset_bytes as usize / 2)),
        // A piece that comes twice, and one that never comes.
        4 => {
            pieces(1000, 0);
            written(0, bytes);
        }
        _ => written(0, &bytes[..bytes.len() / 2]),
    }
}

/// Files read by themselves and joined are what they are read one after the other: whatever byte is wrong,
/// whichever file is missing.
#[test]
fn files_read_as_they_come_are_files_read_one_after_the_other() {
    let home = Home::of("5.26.30/rotated");
    let store_id = after(&home).store_id;
    let all = split(&home, 12);
    let last = all.last().unwrap().end.version.0;
    let dir = home.log("");
    let path = |version: u64| home.log(&format!("neostore.transaction.db.{version}"));
    let size = |version| (LogVersion(version), std::fs::metadata(path(version)).unwrap().len());
    let sizes: LogSizes = (0..=last).map(size).collect();
    let compare = |sizes: &LogSizes, from: LogPosition, what: &str| {
        let mut first = None;
        let one_by_one = scan_logs(&dir, sizes, from, &store_id, &mut |_, batch| {
            first.get_or_insert(*batch);
        });
        let reader = LogReader::new(&dir, from, &store_id);
        // Some as they are written, in pieces of any length; others not before the end.
        for (version, size) in sizes {
            let bytes = std::fs::read(path(version.0)).unwrap_or_default();
            let bytes = &bytes[..bytes.len().min(*size as usize)];
            feed(&reader, *version, *size, bytes, from);
        }
        match (one_by_one, reader.finish(sizes)) {
            (Ok(scan), Ok(found)) => assert_eq!(found, (scan, first), "{what}"),
            (Err(error), Err((_, found))) => {
                assert_eq!(error.to_string(), found.to_string(), "{what}");
            }
            (left, right) => panic!("{what}: {left:?}, {right:?}"),
        }
    };
    let start = LogPosition { version: LogVersion(0), offset_bytes: 128 };
    compare(&sizes, start, "whole");
    for tx in &all {
        compare(&sizes, tx.end, "from a transaction's end");
    }
    compare(&sizes, LogPosition { offset_bytes: 140, ..start }, "from the middle of one");
    compare(&LogSizes::new(), start, "nothing");
    for version in 0..=last {
        let mut fewer = sizes.clone();
        fewer.remove(&LogVersion(version));
        compare(&fewer, start, "without a file");
        let bytes = std::fs::read(path(version)).unwrap();
        for at in (0..128).chain((128..bytes.len()).step_by(701)) {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0x10;
            std::fs::write(path(version), &wrong).unwrap();
            compare(&sizes, start, &format!("file {version}, byte {at}"));
        }
        std::fs::write(path(version), vec![0; bytes.len()]).unwrap();
        compare(&sizes, start, &format!("file {version} blank"));
        std::fs::write(path(version), &bytes[..bytes.len() - 9]).unwrap();
        compare(&sizes, start, &format!("file {version} shorter"));
        let cut = LogSizes::from_iter(sizes.iter().map(|(v, size)| match v.0 == version {
            true => (*v, size - 9),
            false => (*v, *size),
        }));
        compare(&cut, start, &format!("file {version} cut"));
        std::fs::remove_file(path(version)).unwrap();
        compare(&sizes, start, &format!("file {version} gone"));
        std::fs::write(path(version), bytes).unwrap();
    }
}

/// What has come in its order is not read again.
#[test]
fn bytes_that_came_in_their_order_are_read_as_they_came() {
    let home = Home::of("5.26.30/rotated");
    let store_id = after(&home).store_id;
    let version = LogVersion(1);
    let path = home.log("neostore.transaction.db.1");
    let bytes = std::fs::read(&path).unwrap();
    let sizes = LogSizes::from([(version, bytes.len() as u64)]);
    for (step, start) in [(1000, 0), (700, 128), (7, 129), (usize::MAX, 0)] {
        let from = LogPosition { version, offset_bytes: 128 };
        let expected = scan_logs(&home.log(""), &sizes, from, &store_id, &mut |_, _| {}).unwrap();
        let reader = LogReader::new(&home.log(""), from, &store_id);
        for (index, piece) in bytes[start..].chunks(step).enumerate() {
            reader.written(version, bytes.len() as u64, (start + index * step) as u64, piece);
        }
        // Whoever read it now would find damage.
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[bytes[300] ^ 1], 300).unwrap();
        assert_eq!(reader.finish(&sizes).unwrap().0, expected, "pieces of {step} from {start}");
        assert_ne!(
            scan_logs(&home.log(""), &sizes, from, &store_id, &mut |_, _| {}).ok(),
            Some(expected)
        );
        file.write_all_at(&bytes[300..301], 300).unwrap();
    }
}
