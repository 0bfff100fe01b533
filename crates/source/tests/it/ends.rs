//! Where a copy ends: at the last commit, whatever follows it, and never in front of damage.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use source::{Error, FileKind, Finished, HotCopy, LiveCopy as _, LogSizes, scan_logs};

use crate::home::{Home, read};

const LOG: &str = "neostore.transaction.db.0";

/// The offset after the last commit of the fixture's only log.
fn end_of(home: &Home) -> u64 {
    home.begin().finish().unwrap().last_tx.end.offset_bytes
}

fn change(home: &Home, name: &str, change: impl FnOnce(&std::fs::File)) {
    let file = std::fs::File::options().write(true).read(true).open(home.log(name)).unwrap();
    change(&file);
}

/// Removes every checkpoint but the first, so that the copy has transactions to replay.
fn keep_first_checkpoint(home: &Home) {
    let entry = if home.fact("kernel_version") == 32 { 486 } else { 232 };
    change(home, "checkpoint.0", |file| file.set_len(128 + entry).unwrap());
}

#[test]
fn the_last_transaction_is_what_the_server_says_and_the_checkpoint_file_ends_at_c() {
    for name in [
        "5.26.30/mixed",
        "5.26.30/rotated",
        "5.26.30/killed",
        "5.26.30/standard",
        "2026.08.1/mixed",
        "2026.08.1/rotated",
        "2026.08.1/killed",
        "5.26.30-upgraded-to-2026.08.1/upgrade",
        "5.19.0-upgraded-to-5.26.30/upgrade",
    ] {
        let home = Home::of(name);
        let copy = home.begin();
        let finished = copy.finish().unwrap();
        assert_eq!(home.fact("last_transaction_id"), finished.last_tx.tx_id.0, "{name}");
        assert_eq!(finished.first_consistent_tx_id, finished.last_tx.tx_id);
        let checkpoint = finished.files.last().unwrap();
        assert_eq!(checkpoint.kind, FileKind::Checkpoint, "{name}");
        let bytes = read(&copy, checkpoint.id);
        assert_eq!(bytes.len() as u64, checkpoint.size_bytes);
        let file = formats::checkpoint::decode_file(&bytes).unwrap().unwrap();
        assert_eq!(&file.entries.last().unwrap().0, copy.checkpoint(), "{name}");
        assert_eq!(file.entries.last().unwrap().1, checkpoint.size_bytes, "{name}");
    }
}

/// Also over an upgrade, where the next log has a header of another format.
#[test]
fn all_transactions_after_c_are_counted_over_a_rotation() {
    let upgraded = "5.19.0-upgraded-to-5.26.30/upgrade";
    for name in ["5.26.30/rotated", "2026.08.1/rotated", upgraded] {
        let home = Home::of(name);
        if name == upgraded {
            std::fs::remove_file(home.log("checkpoint.1")).unwrap();
        }
        keep_first_checkpoint(&home);
        let copy = home.begin();
        let finished = copy.finish().unwrap();
        let logs: Vec<_> = finished.files.iter().filter(|f| f.kind == FileKind::Log).collect();
        assert_eq!(logs.len(), 2, "{name}");
        let from_c = finished.last_tx.tx_id.0 - copy.checkpoint().tx_id.0;
        assert_eq!(finished.transactions, from_c, "{name}");
        assert!(finished.transactions > 10, "{name}");
    }
}

#[test]
fn no_store_byte_can_be_read_after_the_end_and_the_end_stays_the_same() {
    let home = Home::of("5.26.30/mixed");
    let copy = home.begin();
    let mut buf = [0; 64];
    assert_eq!(copy.read_at(0, 0, &mut buf).unwrap(), 64);
    let finished = copy.finish().unwrap();
    assert!(matches!(copy.read_at(0, 0, &mut buf), Err(Error::State(_))));
    change(&home, LOG, |file| file.write_all_at(&[7; 9], 150_000).unwrap());
    assert_eq!(copy.finish().unwrap(), finished);
}

#[test]
fn a_preallocated_tail_is_cut_off() {
    let home = Home::of("5.26.30/mixed");
    let end = end_of(&home);
    change(&home, LOG, |file| file.set_len(256 << 20).unwrap());
    let copy = home.begin();
    let finished = copy.finish().unwrap();
    assert_eq!(finished.last_tx.end.offset_bytes, end);
    assert_eq!(finished.files[0].size_bytes, end);
    assert_eq!(read(&copy, finished.files[0].id).len() as u64, end);
}

/// The last transaction is only half there: before zeros, and at the end of the file.
#[test]
fn a_transaction_that_is_being_written_is_left_out() {
    for preallocated in [true, false] {
        let home = Home::of("5.26.30/mixed");
        keep_first_checkpoint(&home);
        let whole = home.begin().finish().unwrap();
        let end = whole.last_tx.end.offset_bytes;
        change(&home, LOG, |file| {
            file.set_len(end - 9).unwrap();
            if preallocated {
                file.set_len(1 << 20).unwrap();
            }
        });
        let finished = home.begin().finish().unwrap();
        assert_eq!(finished.last_tx.tx_id.0, whole.last_tx.tx_id.0 - 1, "{preallocated}");
        // It has its commit time already: there is more than this copy by then.
        assert_eq!(finished.as_of, finished.last_tx.commit_time);
        assert!(whole.as_of > whole.last_tx.commit_time);
    }
}

#[test]
fn a_transaction_that_is_completed_meanwhile_is_taken() {
    let home = Home::of("5.26.30/mixed");
    keep_first_checkpoint(&home);
    let whole = home.begin().finish().unwrap();
    let end = whole.last_tx.end.offset_bytes;
    // The last bytes come late, and out of order: the checksum before what it covers.
    let bytes = std::fs::read(home.log(LOG)).unwrap();
    let hole = end as usize - 30..end as usize - 20;
    change(&home, LOG, |file| file.write_all_at(&[0; 10], hole.start as u64).unwrap());
    let copy = home.begin();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(100));
            change(&home, LOG, |file| {
                file.write_all_at(&bytes[hole.clone()], hole.start as u64).unwrap();
            });
        });
        assert_eq!(copy.finish().unwrap().last_tx, whole.last_tx);
    });
}

type Damage = fn(&std::fs::File, u64);

/// A parse error that is followed by anything but zeros is damage, and so is a complete
/// transaction with a wrong checksum: never a place to cut.
#[test]
fn damage_is_refused_and_named() {
    let damages: [(&str, Damage); 4] = [
        ("junk after the last commit", |file, end| file.write_all_at(&[0x55; 50], end).unwrap()),
        ("junk behind zeros", |file, end| file.write_all_at(&[1], end + 3000).unwrap()),
        ("a flipped byte in the last transaction", |file, end| flip(file, end - 15)),
        ("a flipped byte in the middle", |file, end| flip(file, end / 2)),
    ];
    // Also while a next file is there that has no header yet, as in the middle of a rotation.
    let next_files = [None, Some(0), Some(4096)];
    let check = |name: &str, damage: Damage, next: Option<usize>| {
        let home = Home::of("5.26.30/mixed");
        keep_first_checkpoint(&home);
        let end = end_of(&home);
        change(&home, LOG, |file| damage(file, end));
        if let Some(bytes) = next {
            std::fs::write(home.log("neostore.transaction.db.1"), vec![0; bytes]).unwrap();
        }
        let error = home.begin().finish().unwrap_err();
        assert!(error.to_string().contains(LOG), "{name}, {next:?}: {error}");
        assert!(error.to_string().contains("at offset"), "{name}, {next:?}: {error}");
    };
    std::thread::scope(|scope| {
        for (name, damage) in damages {
            for next in next_files {
                scope.spawn(move || check(name, damage, next));
            }
        }
    });
}

fn flip(file: &std::fs::File, at: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

/// Bytes of the log after C, flipped: reading fails, or ends where it would have. What is behind
/// the flipped byte must never be lost in silence.
#[test]
fn no_flipped_byte_shortens_a_backup() {
    let home = Home::of("2026.08.1/killed");
    keep_first_checkpoint(&home);
    let copy = home.begin();
    let (c, whole) = (copy.checkpoint().position, copy.finish().unwrap().last_tx);
    let log_bytes = std::fs::metadata(home.log(LOG)).unwrap().len();
    let sizes = LogSizes::from([(c.version, log_bytes)]);
    let scan = || scan_logs(&home.log(""), &sizes, c, copy.store_id(), &mut |_, _| ());
    assert_eq!(scan().unwrap().last, Some(whole));
    for at in (c.offset_bytes..whole.end.offset_bytes).step_by(97) {
        change(&home, LOG, |file| flip(file, at));
        if let Ok(scan) = scan() {
            assert!(!scan.clean_end || scan.last == Some(whole), "flipped byte at {at}");
        }
        change(&home, LOG, |file| flip(file, at));
    }
}

/// The same for a live log, whose tail is judged more leniently: it may be in the middle of a
/// write. Only damage to the very last transaction can look like that.
#[test]
fn no_flipped_byte_shortens_a_hot_copy() {
    std::thread::scope(|scope| {
        for tenth in 0..10 {
            scope.spawn(move || {
                let home = Home::of("2026.08.1/killed");
                keep_first_checkpoint(&home);
                let copy = home.begin();
                let (c, whole) = (copy.checkpoint().position, copy.finish().unwrap().last_tx);
                let length = whole.end.offset_bytes - c.offset_bytes;
                let at = c.offset_bytes + length * tenth / 10 + 7;
                change(&home, LOG, |file| flip(file, at));
                let finished = home.begin().finish();
                assert!(
                    finished.as_ref().is_err() || finished.unwrap().last_tx == whole,
                    "flipped byte at {at}"
                );
            });
        }
    });
}

#[test]
fn pruned_and_rotated_files_stay_readable_while_held() {
    let home = Home::of("5.26.30/rotated");
    keep_first_checkpoint(&home);
    let expected = home.begin().finish().unwrap();
    let second = std::fs::read(home.log("neostore.transaction.db.1")).unwrap();
    std::fs::remove_file(home.log("neostore.transaction.db.1")).unwrap();
    let copy = home.begin();
    // The server rotates, and prunes at its next checkpoint.
    std::fs::write(home.log("neostore.transaction.db.1"), second).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    std::fs::remove_file(home.log(LOG)).unwrap();
    let finished = copy.finish().unwrap();
    assert_eq!(finished.last_tx, expected.last_tx);
    assert_eq!(read(&copy, finished.files[0].id).len() as u64, finished.files[0].size_bytes);
}

#[test]
fn a_file_that_was_pruned_before_it_could_be_held_fails_the_copy() {
    let home = Home::of("5.26.30/rotated");
    keep_first_checkpoint(&home);
    std::fs::remove_file(home.log(LOG)).unwrap();
    assert!(matches!(HotCopy::begin(&home.database()), Err(Error::LogPruned { .. })));

    let home = Home::of("5.26.30/rotated");
    keep_first_checkpoint(&home);
    std::fs::rename(home.log("neostore.transaction.db.1"), home.log("neostore.transaction.db.2"))
        .unwrap();
    let error = HotCopy::begin(&home.database()).err().unwrap();
    assert!(matches!(error, Error::LogPruned { .. }), "{error}");
    assert!(error.to_string().contains("neostore.transaction.db.1"), "{error}");

    let home = Home::of("5.26.30/rotated");
    keep_first_checkpoint(&home);
    let second = home.log("neostore.transaction.db.1");
    let third = std::fs::read(&second).unwrap();
    std::fs::remove_file(&second).unwrap();
    let copy = home.begin();
    std::fs::write(home.log("neostore.transaction.db.2"), third).unwrap();
    assert!(matches!(copy.finish(), Err(Error::LogPruned { .. })));
}

#[test]
fn a_new_file_without_a_header_is_not_there_yet() {
    let home = Home::of("5.26.30/rotated");
    keep_first_checkpoint(&home);
    let expected = home.begin().finish().unwrap();
    for bytes in [0, 8, 4096] {
        std::fs::write(home.log("neostore.transaction.db.2"), vec![0; bytes]).unwrap();
        let found = home.begin().finish().unwrap();
        let expected = Finished { as_of: found.as_of, ..expected.clone() };
        assert_eq!(found, expected, "{bytes} bytes");
    }
}

#[test]
fn a_torn_checkpoint_entry_is_waited_for_and_then_refused() {
    let home = Home::of("5.26.30/mixed");
    let whole = std::fs::read(home.log("checkpoint.0")).unwrap();
    let end = home.begin().finish().unwrap().files.last().unwrap().size_bytes as usize;
    std::fs::write(home.log("checkpoint.0"), &whole[..end - 100]).unwrap();
    let database = home.database();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(100));
            let mut file =
                std::fs::File::options().append(true).open(home.log("checkpoint.0")).unwrap();
            file.write_all(&whole[end - 100..]).unwrap();
        });
        assert!(HotCopy::begin(&database).is_ok());
    });
    std::fs::write(home.log("checkpoint.0"), &whole[..end - 100]).unwrap();
    let error = HotCopy::begin(&database).err().unwrap();
    assert!(error.to_string().contains("checkpoint.0: at offset"), "{error}");
}
