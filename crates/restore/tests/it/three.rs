//! Restores of backups of Neo4j 3.0: everything of a database lies in one directory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use formats::TxId;
use fs::Disk;
use fs::fault::{Fault, FaultDisk};
use mirror::{Point, Until};
use restore::{Destination, Error, Options, Report};

use crate::names;
use crate::power::in_memory;
use crate::support::{real, tree};
use crate::three_support::{DATABASE, NAMES_3_0, Three};

/// A backup and its increment, and where they are restored to.
struct Restored {
    dir: tempfile::TempDir,
    server: Three,
}

impl Restored {
    fn new(server: Three) -> Self {
        let dir = in_memory();
        let restored = Self { dir, server };
        restored.server.young().back_up(real(), &restored.backup()).unwrap();
        restored.server.increment(real(), &restored.backup()).unwrap();
        restored
    }

    fn backup(&self) -> PathBuf {
        self.dir.path().join("backup")
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The database's directory, as a 3.0 server has it.
    fn database(&self) -> PathBuf {
        self.data().join("databases").join(DATABASE)
    }

    fn restore(&self, until: Option<TxId>, force: bool) -> Result<Report, Error> {
        self.restore_with(&real(), until, force)
    }

    fn restore_with(
        &self,
        disk: &Arc<dyn Disk>,
        until: Option<TxId>,
        force: bool,
    ) -> Result<Report, Error> {
        let until = until.map(|id| Until { point: Point::TxId(id), inclusive: true });
        let to = Destination::from_data(&self.data());
        let options = Options { to, databases: Vec::new(), force, until };
        restore::restore(disk, &self.backup(), &options, &|_| (), &AtomicBool::new(false))
    }

    /// Fails unless the database's directory is the backup's, but for what is ours, its log cut
    /// there.
    fn assert_is(&self, end: usize) {
        let mut expected = tree(&self.backup());
        expected.retain(|(path, _)| !path.to_str().unwrap().starts_with(".neo4j-backup"));
        let is_log = |path: &Path| path == Path::new(&self.server.log_name());
        let log = expected.iter_mut().find(|(path, _)| is_log(path)).unwrap();
        log.1.truncate(end);
        assert!(tree(&self.database()) == expected);
        let log = std::fs::read(self.database().join(self.server.log_name())).unwrap();
        assert!(log == self.server.log()[..end]);
    }

    fn assert_is_all(&self) {
        self.assert_is(self.server.log().len());
    }
}

/// A restored database is one directory with the very files of the backup, none of ours among them,
/// and there is no directory for its logs.
#[test]
fn everything_is_in_one_directory() {
    for name in NAMES_3_0 {
        let restored = Restored::new(Three::of(name));
        let before = tree(&restored.backup());
        let report = restored.restore(None, false).unwrap();
        let [done] = &report.databases[..] else { panic!("{name}: {report:?}") };
        let database = restored.database().canonicalize().unwrap();
        assert_eq!((&done.store, &done.transactions), (&database, &database), "{name}");
        assert_eq!((done.cut, done.moved_aside.len()), (None, 0));
        restored.assert_is_all();
        assert_eq!(names(&restored.data()), ["databases"], "{name}");
        assert!(tree(&restored.backup()) == before, "{name}: the backup was touched");
    }
}

/// To every transaction that is possible: all is as in the backup, its log cut behind that
/// transaction.
#[test]
fn to_any_transaction() {
    let restored = Restored::new(Three::of("3.0.0/killed"));
    let all = restored.server.transactions().to_vec();
    let first = all[all.len() / 2 - 1].tx_id;
    let last = all.last().unwrap().tx_id;
    for batch in &all[all.len() / 2 - 1..] {
        let report = restored.restore(Some(batch.tx_id), false).unwrap();
        let cut = report.databases[0].cut.unwrap();
        assert_eq!((cut.tx_id, cut.left_out), (batch.tx_id, last.0 - batch.tx_id.0));
        restored.assert_is(batch.end as usize);
        std::fs::remove_dir_all(restored.data()).unwrap();
    }
    for id in [first.0 - 1, last.0 + 1] {
        let refused = restored.restore(Some(TxId(id)), false).unwrap_err();
        assert!(matches!(refused, Error::Backup(mirror::Error::OutOfRange { .. })), "{refused}");
        assert!(!restored.data().exists());
    }
}

/// A database that is there is refused untouched; with force it is moved aside as a whole.
#[test]
fn an_existing_database_is_moved_aside() {
    let restored = Restored::new(Three::of("3.0.7/killed"));
    let old = restored.database().join("schema/old");
    std::fs::create_dir_all(old.parent().unwrap()).unwrap();
    std::fs::write(&old, b"1").unwrap();
    let before = tree(&restored.data());
    let error = restored.restore(None, false).unwrap_err();
    assert!(matches!(&error, Error::DatabaseExists { database, .. } if database == DATABASE));
    assert!(tree(&restored.data()) == before);
    let report = restored.restore(None, true).unwrap();
    restored.assert_is_all();
    let [aside] = &report.databases[0].moved_aside[..] else { panic!("{report:?}") };
    assert_eq!(tree(aside), [("schema".into(), Vec::new()), ("schema/old".into(), b"1".to_vec())]);
    assert_eq!(names(&restored.data()), ["databases", "neo4j-backup-replaced"]);
}

/// One byte of any file is another, or the file is gone: nothing is restored, an old database
/// stays.
#[test]
fn a_damaged_backup_is_not_restored() {
    let restored = Restored::new(Three::few_files("3.0.0/killed", "index/lucene/1"));
    std::fs::create_dir_all(restored.database()).unwrap();
    std::fs::write(restored.database().join("old"), b"1").unwrap();
    let before = tree(&restored.data());
    let files = tree(&restored.backup()).into_iter().filter(|(path, bytes)| {
        !bytes.is_empty() && !path.to_str().unwrap().starts_with(".neo4j-backup")
    });
    let mut tried = 0;
    for (path, good) in files {
        let damaged = restored.backup().join(&path);
        let mut bad = good.clone();
        bad[good.len() / 3] ^= 0x10;
        std::fs::write(&damaged, bad).unwrap();
        let flipped = restored.restore(None, true);
        std::fs::remove_file(&damaged).unwrap();
        for done in [flipped, restored.restore(None, true)] {
            let Err(Error::Corrupt { findings }) = done else { panic!("{path:?}: {done:?}") };
            assert!(findings.iter().any(|finding| finding.path == damaged), "{findings:?}");
            assert!(tree(&restored.data()) == before, "{path:?}");
        }
        std::fs::write(&damaged, good).unwrap();
        tried += 1;
    }
    assert!(tried > 8, "only {tried} files");
    restored.restore(None, true).unwrap();
    restored.assert_is_all();
}

/// A restore that is killed at any of its operations leaves the old database, the new one or none;
/// the next run undoes what was half done, and restores; old files are never lost.
#[test]
fn killed_at_every_operation() {
    let restored = Restored::new(Three::few_files("3.0.0/killed", "index/lucene/1"));
    let old = restored.database().join("old");
    let mut seen = BTreeSet::new();
    let mut at = 0;
    loop {
        drop(std::fs::remove_dir_all(restored.data()));
        std::fs::create_dir_all(restored.database()).unwrap();
        std::fs::write(&old, b"1").unwrap();
        let disk = FaultDisk::new(Fault::Kill, at);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let done = restored.restore_with(&shared, None, true);
        if disk.count() <= at {
            done.unwrap();
            break;
        }
        let is_new = restored.database().exists() && !old.exists();
        if is_new {
            restored.assert_is_all();
        } else {
            assert!(done.is_err(), "operation {at}: {:?}", disk.trace());
        }
        seen.insert((old.exists(), is_new));
        let again = restored.restore(None, true);
        again.unwrap_or_else(|error| panic!("operation {at}: {error} {:?}", disk.trace()));
        restored.assert_is_all();
        let left = names(&restored.data());
        assert_eq!(left, ["databases", "neo4j-backup-replaced"], "operation {at}");
        let kept = tree(&restored.data().join("neo4j-backup-replaced"));
        let kept = kept.iter().filter(|(path, _)| path.ends_with("old")).count();
        assert_eq!(kept, 1, "operation {at}: lost");
        at += 1;
    }
    assert!(at > 50, "only {at} operations");
    assert_eq!(seen.len(), 3, "{seen:?}");
}
