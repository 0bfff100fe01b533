//! Increments: appended in place, all or nothing.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs::fault::{Fault, FaultDisk, FaultKind};
use fs::{Busy, Disk};
use mirror::{Backup, BackupType, DatabaseEntry, Error, Mirror, Reason};

use crate::support::*;

/// One log that grows, and one that rotates meanwhile.
const NAMES: [&str; 4] =
    ["5.26.30/killed", "2026.08.1/killed", "5.26.30/rotated", "2026.08.1/rotated"];

fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Mirror, Error> {
    Mirror::open_for_write(disk, dir, Busy::Fail)
}

/// A whole incremental run.
fn increment(disk: Arc<dyn Disk>, dir: &Path, name: &str) -> Result<DatabaseEntry, Error> {
    let mirror = open(disk, dir)?;
    let after = mirror.after("neo4j")?.unwrap();
    Step::of(name, &after, "neo4j").run(&mirror)
}

fn entry(dir: &Path) -> DatabaseEntry {
    Backup::open(dir).unwrap().manifest().database("neo4j").unwrap().clone()
}

/// Where a copy of `young` was backed up to.
fn backed_up(young: &Young) -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let dir = dir.unwrap();
    let full = young.copy("neo4j").back_up(real(), dir.path()).unwrap();
    assert_eq!((full.backup_type, full.reason), (BackupType::Full, Some(Reason::FirstBackup)));
    dir
}

/// The log files of a backup, with their lengths.
fn logs(dir: &Path) -> Vec<(PathBuf, u64)> {
    let logs = dir.join("transactions/neo4j");
    let names = fs::entries(&logs).unwrap().into_iter().map(|(name, _)| name);
    names.map(|name| (logs.join(&name), logs.join(&name).metadata().unwrap().len())).collect()
}

#[test]
fn an_increment_brings_the_backup_to_the_present() {
    for name in NAMES {
        let young = Young::of(name);
        let dir = backed_up(&young);
        let before = entry(dir.path());
        let after = increment(real(), dir.path(), name).unwrap();
        assert_eq!(after.backup_type, BackupType::Incremental, "{name}");
        assert_eq!(after.reason, None);
        assert!(after.last_tx.tx_id > before.last_tx.tx_id, "{name}");
        assert_eq!(after.first_consistent_tx_id, before.first_consistent_tx_id);
        assert_eq!(after.checkpoint, before.checkpoint);
        assert_eq!(entry(dir.path()), after);
        let home = whole(name);
        let copy = Copy::at(home.path(), "neo4j");
        let last = copy.finished.last_tx;
        assert_eq!((after.last_tx.tx_id, after.last_tx.end), (last.tx_id, last.end), "{name}");
        for file in copy.bytes.iter().filter(|(f, _)| f.path.contains(".db.0")) {
            if file.0.kind == wire::api::FileKind::Log {
                let path = dir.path().join("transactions/neo4j").join(&file.0.path);
                assert!(std::fs::read(path).unwrap() == file.1, "{name}: other bytes");
            }
        }
        let report = verify(dir.path());
        assert!(report.is_clean(), "{name}: {:?}", report.findings);

        // Nothing new: still a run that ends well.
        let again = increment(real(), dir.path(), name).unwrap();
        assert_eq!((again.last_tx, again.transactions), (after.last_tx, after.transactions));
        assert_eq!(again.files, after.files);
        assert!(verify(dir.path()).is_clean());
    }
}

/// The backup has no transaction after its checkpoint, so that only the checkpoint tells of its
/// last one.
#[test]
fn an_increment_after_a_backup_without_a_transaction() {
    let name = "5.26.30/mixed";
    let dir = tempfile::tempdir().unwrap();
    let full = Copy::of(name, "neo4j").back_up(real(), dir.path()).unwrap();
    assert_eq!((full.transactions, full.last_tx.start_bytes), (0, None));
    let again = increment(real(), dir.path(), name).unwrap();
    assert_eq!(again.last_tx, full.last_tx);
    assert!(verify(dir.path()).is_clean());
}

/// A run that is killed at any of its operations leaves the old state or the new one, whole and
/// verified, and the next run just works. What it appended is not part of the backup.
#[test]
fn killed_at_every_operation() {
    for name in ["2026.08.1/killed", "5.26.30/rotated"] {
        let young = Young::of(name);
        let mut seen = BTreeSet::new();
        let mut at = 0;
        loop {
            let dir = backed_up(&young);
            let before = entry(dir.path());
            let disk = FaultDisk::new(Fault::Kill, at);
            let done = increment(Arc::new(disk.clone()), dir.path(), name);
            if disk.count() <= at {
                done.unwrap();
                break;
            }
            let found = entry(dir.path());
            let is_new = found.last_tx != before.last_tx;
            assert!(is_new || found == before, "operation {at}");
            assert!(is_new || done.is_err(), "operation {at}: {:?}", disk.trace());
            seen.insert(is_new);
            let report = verify(dir.path());
            assert!(report.is_clean(), "operation {at}: {:?}", report.findings);
            let next = increment(real(), dir.path(), name).unwrap();
            assert!(next.last_tx.tx_id > before.last_tx.tx_id);
            assert!(verify(dir.path()).is_clean(), "operation {at}");
            for (path, length) in logs(dir.path()) {
                let file = next.files.iter().find(|file| path.ends_with(&file.path));
                assert_eq!(file.map(|file| file.size_bytes), Some(length), "operation {at}");
            }
            at += 1;
        }
        assert!(at > 8, "only {at} operations");
        assert_eq!(seen.len(), 2, "both outcomes were seen");
    }
}

/// One operation that fails, or all from one on: an error leaves the backup as it was.
#[test]
fn failed_at_every_operation() {
    for name in ["2026.08.1/killed", "5.26.30/rotated"] {
        let young = Young::of(name);
        let faults = [FaultKind::NoSpace, FaultKind::Device]
            .map(|k| [Fault::FailOnce(k), Fault::FailFrom(k)]);
        for fault in faults.into_iter().flatten() {
            let mut errors = 0;
            let mut at = 0;
            loop {
                let dir = backed_up(&young);
                let before = entry(dir.path());
                let disk = FaultDisk::new(fault, at);
                let done = increment(Arc::new(disk.clone()), dir.path(), name);
                if disk.count() <= at {
                    break;
                }
                let found = entry(dir.path());
                match &done {
                    Ok(new) => assert_eq!(&found, new),
                    Err(_) => {
                        errors += 1;
                        // A rename whose directory could not be synced has happened all the same.
                        assert!(found == before || found.last_tx != before.last_tx, "{at}");
                    }
                }
                let report = verify(dir.path());
                assert!(report.is_clean(), "{fault:?} {at}: {:?}", report.findings);
                increment(real(), dir.path(), name).unwrap();
                assert!(verify(dir.path()).is_clean(), "{fault:?} {at}");
                at += 1;
            }
            assert!(errors > 6, "{fault:?}: only {errors} errors in {at} operations");
        }
    }
}

/// A file that is not as the last run left it is noticed before anything is appended.
#[test]
fn a_backup_that_was_changed_is_refused_untouched() {
    type Change = fn(&Path);
    fn flip(path: &Path, at: u64) {
        let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }
    let changes: [(&str, Change); 7] = [
        ("a byte of a store", |dir| flip(&dir.join("databases/neo4j/neostore"), 5000)),
        ("a byte of the log", |dir| {
            flip(&dir.join("transactions/neo4j/neostore.transaction.db.0"), 200);
        }),
        ("a longer checkpoint file", |dir| {
            let path = dir.join("transactions/neo4j/checkpoint.0");
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_len(1 << 20).unwrap();
        }),
        ("a shorter log", |dir| {
            let path = dir.join("transactions/neo4j/neostore.transaction.db.0");
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_len(1000).unwrap();
        }),
        ("a file that is gone", |dir| {
            std::fs::remove_file(dir.join("databases/neo4j/neostore.nodestore.db")).unwrap();
        }),
        ("a file that was not there", |dir| {
            std::fs::write(dir.join("databases/neo4j/database_lock"), b"").unwrap();
        }),
        ("a checkpoint file that was not there", |dir| {
            std::fs::write(dir.join("transactions/neo4j/checkpoint.1"), b"").unwrap();
        }),
    ];
    let young = Young::of(NAMES[1]);
    for (what, change) in changes {
        let dir = backed_up(&young);
        change(dir.path());
        let before = tree(dir.path());
        let error = increment(real(), dir.path(), NAMES[1]).unwrap_err();
        assert!(matches!(error, Error::ChangedByHand { .. }), "{what}: {error}");
        assert!(tree(dir.path()) == before, "{what}: it was touched");
    }
}

/// A backup that was moved as a whole has files that are younger than its manifest; their bytes
/// show that it is the same.
#[test]
fn a_backup_may_be_moved() {
    let young = Young::of(NAMES[1]);
    let dir = backed_up(&young);
    let moved = tempfile::tempdir().unwrap();
    let to = moved.path().join("moved");
    let copied = std::process::Command::new("cp").arg("-r").arg(dir.path()).arg(&to).status();
    assert!(copied.unwrap().success());
    std::thread::sleep(std::time::Duration::from_millis(20));
    let neostore = to.join("databases/neo4j/neostore");
    std::fs::write(&neostore, std::fs::read(&neostore).unwrap()).unwrap();
    increment(real(), &to, NAMES[1]).unwrap();
    assert!(verify(&to).is_clean());
}

/// What does not go on from the backup's end, or is not what was promised, changes nothing.
#[test]
fn a_wrong_increment_is_refused_untouched() {
    let young = Young::of(NAMES[1]);
    let dir = backed_up(&young);
    let before = tree(dir.path());
    let good = {
        let mirror = open(real(), dir.path()).unwrap();
        Step::of(NAMES[1], &mirror.after("neo4j").unwrap().unwrap(), "neo4j")
    };
    type Change = fn(&mut Step);
    let changes: [(&str, Change); 10] = [
        ("another store", |step| step.session.store_id.random ^= 1),
        ("another database", |step| step.session.database = "other".to_owned()),
        ("other bytes before the end", |step| step.bytes[0].2[10] ^= 1),
        ("other bytes behind it", |step| step.bytes[0].2[1200] ^= 1),
        ("a later end", |step| step.finished.last_tx.tx_id.0 += 1),
        ("another number", |step| step.finished.transactions += 1),
        ("a later end, and nothing that is new", |step| step.finished.transactions = 0),
        ("a store file", |step| {
            step.bytes[0].0.path = "neostore".to_owned();
            step.bytes[0].0.kind = wire::api::FileKind::Record;
        }),
        ("an older log", |step| {
            step.bytes[0].0.path = "neostore.transaction.db.00".to_owned();
        }),
        ("half of it", |step| {
            step.bytes.clear();
        }),
    ];
    for (what, change) in changes {
        let mut step = good.clone();
        change(&mut step);
        let mirror = open(real(), dir.path()).unwrap();
        step.run(&mirror).map(|_| ()).expect_err(what);
        drop(mirror);
        let mut now = tree(dir.path());
        now.retain(|(path, _)| path != Path::new(".neo4j-backup.lock"));
        let mut then = before.clone();
        then.retain(|(path, _)| path != Path::new(".neo4j-backup.lock"));
        assert!(now == then, "{what}: it was touched");
    }
    increment(real(), dir.path(), NAMES[1]).unwrap();
}
