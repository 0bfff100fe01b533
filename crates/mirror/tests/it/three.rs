//! Backups of a Neo4j 3.0 server: the backup's directory is the database's.

use std::path::Path;

use client::Sink as _;
use formats::txlog::{BatchReader, LogHeader};
use formats::v3_0::{CheckPoint, Neostore, newest_check_points};
use formats::{LogPosition, TxId};
use fs::Busy;
use mirror::{
    Area, Backup, BackupType, Error, FindingKind, MANIFEST_NAME, Mirror, Point, Reason, Until,
    find_cut,
};
use wire::api::FileKind;

use crate::power::in_memory;

use crate::support::*;
use crate::three_support::*;

/// START and COMMIT, as long as they are or longer.
const END_BYTES: usize = 40;

/// The files in a backup's directory, but for the hidden ones that are ours.
pub fn files(dir: &Path) -> Vec<String> {
    let found = fs::walk(dir).unwrap().into_iter();
    let files = found.filter(|entry| entry.kind != fs::EntryKind::Dir);
    let names = files.map(|entry| entry.path.to_str().unwrap().to_owned());
    names.filter(|name| !name.starts_with(".neo4j-backup")).collect()
}

/// What real 3.0 would begin recovery with: LOG_VERSION names a log whose last check point stands
/// behind its header, points to itself, and is followed by these transactions to the file's end.
fn require_recoverable(dir: &Path, transactions: &[TxId]) {
    let neostore = Neostore::decode(&std::fs::read(dir.join("neostore")).unwrap()).unwrap();
    let version = neostore.log_version;
    let log = std::fs::read(dir.join(format!("neostore.transaction.db.{version}"))).unwrap();
    let header = LogHeader::decode(&log).unwrap().unwrap();
    assert_eq!(header.log_version, version);
    assert_eq!(header.last_append_index, transactions[0].0 - 1);
    let position = LogPosition { version, offset_bytes: 16 };
    let end = 16 + CheckPoint::ENTRY_BYTES as u64;
    let own = CheckPoint { start: 16, end, position };
    let mut reader = BatchReader::new(&log[16..], 16);
    assert_eq!(newest_check_points(&mut reader).unwrap(), [own]);
    let batches = batches(&log);
    assert_eq!(batches.iter().map(|batch| batch.tx_id).collect::<Vec<_>>(), transactions);
    assert_eq!(batches.last().unwrap().end, log.len() as u64);
}

/// A full backup and its increment are the directory of a 3.0 database with our hidden files in it,
/// byte for byte what the server sent; recovery would begin where it should, and `verify` is
/// content.
#[test]
fn a_backup_is_a_database_of_3_0() {
    for name in NAMES_3_0 {
        let server = Three::of(name);
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let copy = server.young();
        let full = copy.back_up(real(), dir).unwrap();
        assert_eq!((full.backup_type, full.reason), (BackupType::Full, Some(Reason::FirstBackup)));
        assert_eq!(full.areas(), [Area::Store], "{name}");
        let mut expected: Vec<_> = copy.bytes.iter().map(|(file, _)| file.path.clone()).collect();
        expected.sort_by(|a, b| Path::new(a).cmp(Path::new(b)));
        assert_eq!(files(dir), expected, "{name}");
        for (file, bytes) in &copy.bytes {
            assert!(std::fs::read(dir.join(&file.path)).unwrap() == *bytes, "{name}: {file:?}");
        }
        let ids: Vec<_> = server.transactions().iter().map(|batch| batch.tx_id).collect();
        require_recoverable(dir, &ids[..ids.len() / 2]);
        let report = verify(dir);
        assert!(report.is_clean(), "{name}: {:?}", report.findings);
        assert_eq!((report.files, report.unfinished), (copy.bytes.len() as u64, Vec::new()));
        assert!(is_same(state(dir).as_ref(), Some(&full)), "{name}");

        let next = server.increment(real(), dir).unwrap();
        assert_eq!((next.backup_type, next.reason), (BackupType::Incremental, None));
        assert_eq!(next.transactions, ids.len() as u64, "{name}");
        assert_eq!(next.last_tx.tx_id, *ids.last().unwrap());
        assert_eq!(next.first_consistent_tx_id, full.first_consistent_tx_id);
        assert_eq!(files(dir), expected, "{name}");
        for (file, bytes) in &copy.bytes {
            let bytes = if file.path == server.log_name() { server.log() } else { bytes };
            assert!(std::fs::read(dir.join(&file.path)).unwrap() == *bytes, "{name}: {file:?}");
        }
        require_recoverable(dir, &ids);
        let report = verify(dir);
        assert!(report.is_clean(), "{name}: {:?}", report.findings);

        // Nothing new: the last transaction comes again all the same.
        let again = server.increment(real(), dir).unwrap();
        assert_eq!((again.last_tx, again.transactions), (next.last_tx, next.transactions));
        assert_eq!(again.files, next.files);
        assert!(verify(dir).is_clean());
        let ours = [MANIFEST_NAME, ".neo4j-backup.lock", ".neo4j-backup.pages"];
        let hidden = fs::entries(dir).unwrap().into_iter().map(|(name, _)| name);
        let hidden: Vec<_> = hidden.filter(|name| name.as_encoded_bytes()[0] == b'.').collect();
        assert_eq!(hidden, ours);
    }
}

/// Where a server's young copy was backed up to.
fn backed_up(server: &Three) -> tempfile::TempDir {
    let dir = in_memory();
    server.young().back_up(real(), dir.path()).unwrap();
    dir
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

/// A check point as a server writes it, in its own place.
fn check_point(server: &Three, offset_bytes: u64) -> [u8; CheckPoint::ENTRY_BYTES] {
    let version = server.young().finished.last_tx.end.version;
    CheckPoint::encode(LogPosition { version, offset_bytes })
}

/// What is not as the last run left it, also in directories that are not the backup's, is noticed
/// before anything is appended, and `verify` tells it.
#[test]
fn a_backup_that_was_changed_is_refused_untouched() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 11] = [
        ("a byte of a store", |dir| edit(&dir.join("neostore"), |bytes| bytes[5000] ^= 1)),
        ("a byte of the log", |dir| {
            edit(&dir.join("neostore.transaction.db.0"), |bytes| bytes[200] ^= 1);
        }),
        ("a byte of an index", |dir| {
            edit(&dir.join("schema/index/lucene/1/1/_2.cfs"), |bytes| bytes[7] ^= 1);
        }),
        ("a shorter log", |dir| {
            edit(&dir.join("neostore.transaction.db.0"), |bytes| bytes.truncate(1000));
        }),
        ("a file that is gone", |dir| {
            std::fs::remove_file(dir.join("neostore.nodestore.db")).unwrap();
        }),
        ("a user's file", |dir| std::fs::write(dir.join("letters"), b"dear").unwrap()),
        ("a user's file in a directory of an index", |dir| {
            std::fs::write(dir.join("schema/index/lucene/1/letters"), b"dear").unwrap();
        }),
        ("a user's file in a directory of his own", |dir| {
            std::fs::create_dir(dir.join("mine")).unwrap();
            std::fs::write(dir.join("mine/letters"), b"dear").unwrap();
        }),
        ("a server's lock", |dir| std::fs::write(dir.join("store_lock"), b"").unwrap()),
        ("a later log", |dir| {
            std::fs::write(dir.join("neostore.transaction.db.1"), b"").unwrap();
        }),
        ("a link", |dir| std::os::unix::fs::symlink("neostore", dir.join("link")).unwrap()),
    ];
    let server = Three::of("3.0.0/killed");
    for (what, change) in changes {
        let dir = backed_up(&server);
        change(dir.path());
        let before = tree(dir.path());
        let error = server.increment(real(), dir.path()).unwrap_err();
        assert!(matches!(error, Error::ChangedByHand { .. }), "{what}: {error}");
        assert!(tree(dir.path()) == before, "{what}: it was touched");
        assert!(!verify(dir.path()).is_clean(), "{what}");
    }
}

/// A full backup goes over a backup that a server was started on: what the server made goes with
/// the old files, what is not of a database stays and is told.
#[test]
fn a_full_backup_removes_only_what_is_a_databases() {
    let server = Three::of("3.0.0/killed");
    let dir = backed_up(&server);
    let dir = dir.path();
    let index = "schema/index/lucene/9/1/_0.cfs";
    let servers =
        ["neostore.id", "neostore.transaction.db.1", index, "store_lock", "logs/debug.log"];
    let users = ["letters", "mine/neostore"];
    for name in servers.iter().chain(&users) {
        std::fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
        std::fs::write(dir.join(name), b"1").unwrap();
    }
    server.present().back_up(real(), dir).unwrap();
    let report = verify(dir);
    let found: Vec<_> = report.findings.iter().map(|f| (f.kind, f.path.clone())).collect();
    assert_eq!(found, users.map(|name| (FindingKind::Extra, dir.join(name))));
    for name in users {
        assert_eq!(std::fs::read(dir.join(name)).unwrap(), b"1");
    }
    assert!(!dir.join("schema/index/lucene/9").exists());
    users.iter().for_each(|name| std::fs::remove_file(dir.join(name)).unwrap());
    server.increment(real(), dir).unwrap();
}

/// A directory of the database that lies elsewhere cannot be replaced: told before anything is written.
#[test]
fn a_part_that_lies_elsewhere_is_refused_untouched() {
    let server = Three::of(NAMES_3_0[0]);
    for name in ["schema", "index"] {
        let dir = tempfile::tempdir().unwrap();
        let (to, elsewhere) = (dir.path().join("backup"), dir.path().join("elsewhere"));
        server.young().back_up(real(), &to).unwrap();
        std::fs::rename(to.join(name), &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, to.join(name)).unwrap();
        let before = tree(dir.path());
        let refused = server.present().back_up(real(), &to).unwrap_err();
        assert!(matches!(refused, Error::PartElsewhere { .. }), "{name}: {refused:?}");
        assert!(tree(dir.path()) == before, "{name}: something was changed");
    }
}

/// Only one database of 3.0 is in a directory, under its name, and none of Neo4j 5 beside it.
#[test]
fn other_databases_are_refused_untouched() {
    let (three, five) = (Three::of("3.0.0/killed"), Copy::of(FIXTURES[0], "neo4j"));
    let mut other = Three::of("3.0.7/killed").young();
    other.session.database = "other.db".to_owned();
    let graph_db = Copy::of(FIXTURES[0], DATABASE);
    let cases = [
        ("5 under another name", &three.young(), &five),
        ("5 under the same name", &three.young(), &graph_db),
        ("another name", &three.young(), &other),
        ("3.0 beside 5", &five, &three.young()),
        ("3.0 over 5", &graph_db, &three.young()),
    ];
    for (what, old, new) in cases {
        let dir = in_memory();
        old.back_up(real(), dir.path()).unwrap();
        let before = tree(dir.path());
        let error = new.back_up(real(), dir.path()).unwrap_err();
        assert!(matches!(error, Error::OtherLayout { .. }), "{what}: {error}");
        assert!(!error.hint().is_empty());
        assert!(tree(dir.path()) == before, "{what}: it was touched");
        assert!(verify(dir.path()).is_clean(), "{what}");
    }
}

/// The backup's last transaction comes again with its bytes in another order, as those of a legacy index do from
/// another member of a cluster: it is the same one. What is there stays, with hashes that are right.
#[test]
fn another_order_is_the_same_history() {
    // From its transactions' begin, and in blocks with hashes.
    for (name, from_begin) in NAMES_3_0.into_iter().flat_map(|name| [(name, false), (name, true)]) {
        let server = Three::of(name);
        let dir = backed_up(&server);
        let last = state(dir.path()).unwrap().last_tx;
        let (start, end) = (last.start_bytes.unwrap() as usize, last.end.offset_bytes as usize);
        let swapped = |at: usize| {
            let mut log = server.log().to_vec();
            log.swap(at, at + 1);
            log
        };
        let is_readable = |at: &usize| {
            let log = swapped(*at);
            let mut reader = BatchReader::new(&log[start..end], start as u64);
            let read = reader.next_batch();
            log != server.log() && read.is_ok_and(|it| it.unwrap().end == last.end.offset_bytes)
        };
        let at = (start + END_BYTES..end - END_BYTES).find(is_readable).unwrap();
        let mirror = Mirror::open_for_write(real(), dir.path(), Busy::Fail).unwrap();
        let mut step = server.step(&mirror.after(DATABASE).unwrap().unwrap());
        let from = if from_begin { 0 } else { start };
        (step.bytes[0].1, step.bytes[0].2) = (from as u64, swapped(at)[from..].to_vec());
        step.run(&mirror).unwrap();
        drop(mirror);
        assert!(std::fs::read(dir.path().join(server.log_name())).unwrap() == server.log());
        assert!(verify(dir.path()).is_clean(), "{name}: {:?}", verify(dir.path()).findings);
    }
}

/// The backup's last transaction comes again with another byte in it, at whatever place: the server
/// has another history. Nothing has changed then.
#[test]
fn another_history_is_refused_untouched() {
    let server = Three::of("3.0.7/killed");
    let dir = backed_up(&server);
    let before = tree(dir.path());
    let last = state(dir.path()).unwrap().last_tx;
    let (start, end) = (last.start_bytes.unwrap(), last.end.offset_bytes);
    for at in [start, start + 1, (start + end) / 2, end - 1] {
        let mirror = Mirror::open_for_write(real(), dir.path(), Busy::Fail).unwrap();
        let mut step = server.step(&mirror.after(DATABASE).unwrap().unwrap());
        step.bytes[0].2[(at - start) as usize] ^= 1;
        let error = step.run(&mirror).unwrap_err();
        let Error::Diverged { file, offset_bytes } = &error else { panic!("{at}: {error}") };
        assert_eq!((file, *offset_bytes), (&dir.path().join(server.log_name()), at));
        drop(mirror);
        assert!(tree(dir.path()) == before, "{at}: it was touched");
    }
    // An upgraded server would send it so, and nothing of it could be compared.
    let mirror = Mirror::open_for_write(real(), dir.path(), Busy::Fail).unwrap();
    let mut step = server.step(&mirror.after(DATABASE).unwrap().unwrap());
    assert_eq!(step.bytes[0].2[0], 0xF7);
    step.bytes[0].2[0] = 0xFA;
    let error = step.run(&mirror).unwrap_err();
    assert!(
        matches!(error, Error::Rewritten { offset_bytes, .. } if offset_bytes == start),
        "{error}"
    );
    drop(mirror);
    assert!(tree(dir.path()) == before, "it was touched");
    server.increment(real(), dir.path()).unwrap();
}

/// A full copy whose log has a check point more, none, or one that points elsewhere, or whose
/// `neostore` names another log: recovery would not begin where it should. It is never committed.
#[test]
fn a_log_that_recovery_would_not_read_from_its_beginning_is_refused() {
    let server = Three::of("3.0.0/killed");
    let dir = backed_up(&server);
    let before = tree(dir.path());
    let (first, last) = (server.transactions()[0], *server.transactions().last().unwrap());
    let middle = server.transactions()[server.transactions().len() / 2].end;
    let more = |at: u64| server.with(at, &check_point(&server, at)).present();
    let mut told = more(last.end);
    told.finished.last_tx.end.offset_bytes += CheckPoint::ENTRY_BYTES as u64;
    let log = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut copy = server.present();
        change(&mut copy.bytes_of(&server.log_name()).1);
        copy
    };
    let mut other_number = server.present();
    // Slot 2.
    other_number.bytes_of("neostore").1[2 * 9 + 8] ^= 1;
    let mut two = server.present();
    let next = wire::api::FileInfo {
        id: 5000,
        kind: FileKind::Log,
        path: "neostore.transaction.db.1".into(),
        size_bytes: 16,
    };
    let header = LogHeader::decode(server.log()).unwrap().unwrap();
    let header = LogHeader {
        log_version: formats::LogVersion(1),
        last_append_index: last.tx_id.0,
        ..header
    };
    two.finished.files.push(next.clone());
    two.bytes.push((next, header.encode()));
    let mut elsewhere = server.present();
    elsewhere.session.checkpoint.as_mut().unwrap().position.offset_bytes = first.start;
    let copies = [
        ("a check point before the first transaction", more(first.start)),
        ("a check point before the first one, of the same place", {
            server.with(first.start, &check_point(&server, 16)).present()
        }),
        ("a check point among them", more(middle)),
        ("a check point behind the last", more(last.end)),
        ("a check point behind the last, and the end told behind it", told),
        ("no check point", { log(&|bytes| drop(bytes.splice(16..16, [0; 18]))) }),
        ("one that points behind it", {
            log(&|bytes| bytes[16..34].copy_from_slice(&check_point(&server, 34)))
        }),
        ("another number in the header", log(&|bytes| bytes[6] ^= 1)),
        ("another number in neostore", other_number),
        ("a second log", two),
        ("another place of the checkpoint", elsewhere),
    ];
    for (what, copy) in copies {
        let error = copy.back_up(real(), dir.path()).map(|_| ()).expect_err(what);
        let refused = matches!(error, Error::Corrupt { .. } | Error::Untrusted { .. });
        assert!(refused, "{what}: {error}");
        assert!(tree(dir.path()) == before, "{what}: it was touched");
    }
    assert!(verify(dir.path()).is_clean());
    server.present().back_up(real(), dir.path()).unwrap();
}

/// An increment that recovery would not read to its end, or that is not what was promised, changes
/// nothing.
#[test]
fn a_wrong_increment_is_refused_untouched() {
    let server = Three::of("3.0.0/killed");
    let dir = backed_up(&server);
    let before = tree(dir.path());
    let mirror = Mirror::open_for_write(real(), dir.path(), Busy::Fail).unwrap();
    let after = mirror.after(DATABASE).unwrap().unwrap();
    drop(mirror);
    let last = server.transactions().last().unwrap().end;
    let middle = server.transactions()[server.transactions().len() - 2].end;
    let more = |at: u64| server.with(at, &check_point(&server, at)).step(&after);
    let young = Step { finished: server.young().finished, ..server.step(&after) };
    let changed = |change: &dyn Fn(&mut Step)| {
        let mut step = server.step(&after);
        change(&mut step);
        step
    };
    let nothing_new = changed(&|step| {
        let log = step.finished.files[0].clone();
        step.finished = server.young().finished;
        step.finished.transactions = 0;
        step.finished.files = vec![log];
    });
    let shorter = |transactions: u64| {
        changed(&|step| {
            let size = after.last_tx.end.offset_bytes - 1;
            let (file, from, bytes) = &mut step.bytes[0];
            bytes.truncate((size - *from) as usize);
            file.size_bytes = size;
            let log = file.clone();
            if transactions == 0 {
                step.finished = server.young().finished;
            }
            step.finished.transactions = transactions;
            step.finished.files = vec![log];
        })
    };
    let steps = [
        ("a check point before its first transaction", more(after.last_tx.end.offset_bytes)),
        ("a check point among its transactions", more(middle)),
        ("a check point at its end", more(last)),
        ("another store", changed(&|step| step.session.store_id.random ^= 1)),
        ("another database", changed(&|step| step.session.database = "other".to_owned())),
        ("other bytes behind the last transaction", {
            changed(&|step| *step.bytes[0].2.last_mut().unwrap() ^= 1)
        }),
        ("another number", changed(&|step| step.finished.transactions += 1)),
        ("another end", young),
        ("more bytes than are told of", nothing_new),
        ("less than the backup has", shorter(0)),
        ("less than the backup has, for more transactions", shorter(3)),
        ("another last transaction, and none that is new", {
            changed(&|step| step.finished.transactions = 0)
        }),
        ("half of it", changed(&|step| step.bytes.clear())),
        ("a store file", changed(&|step| step.bytes[0].0.path = "neostore".to_owned())),
        ("another log", {
            changed(&|step| {
                step.bytes[0].0.path = "neostore.transaction.db.1".to_owned();
                step.finished.files[0].path = "neostore.transaction.db.1".to_owned();
                step.finished.last_tx.end.version.0 = 1;
            })
        }),
    ];
    for (what, step) in steps {
        let mirror = Mirror::open_for_write(real(), dir.path(), Busy::Fail).unwrap();
        step.run(&mirror).map(|_| ()).expect_err(what);
        drop(mirror);
        assert!(tree(dir.path()) == before, "{what}: it was touched");
    }
    // Not even until the run ends: one that is killed could not remove it.
    let mirror = Mirror::open_for_write(real(), dir.path(), Busy::Fail).unwrap();
    let good = server.step(&after);
    let increment = mirror.append(&good.session).unwrap();
    let mut second = good.bytes[0].0.clone();
    second.path = "neostore.transaction.db.1".to_owned();
    increment.create_unsized(&second).unwrap_err();
    assert!(tree(dir.path()) == before);
    drop((increment, mirror));
    server.increment(real(), dir.path()).unwrap();
    assert!(verify(dir.path()).is_clean());
}

/// Every transaction from the copy's end on is a place to cut, and none before.
#[test]
fn a_backup_is_cut_at_any_of_its_transactions_since_the_copy() {
    let server = Three::of("3.0.0/killed");
    let dir = backed_up(&server);
    server.increment(real(), dir.path()).unwrap();
    let backup = Backup::open(dir.path()).unwrap();
    let entry = backup.manifest().database(DATABASE).unwrap();
    let all = server.transactions();
    for (batch, index) in all.iter().zip(1..) {
        let until = Until { point: Point::TxId(batch.tx_id), inclusive: true };
        let cut = find_cut(&backup, entry, until);
        if batch.tx_id < entry.first_consistent_tx_id {
            assert!(matches!(cut, Err(Error::OutOfRange { .. })), "{}", batch.tx_id);
            continue;
        }
        let cut = cut.unwrap();
        assert_eq!((cut.tx_id, cut.end.offset_bytes), (batch.tx_id, batch.end));
        assert_eq!(cut.left_out, (all.len() - index) as u64);
    }
}
