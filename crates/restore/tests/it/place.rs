use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fs::Disk;
use fs::fault::{Fault, FaultDisk, FaultKind};
use restore::{Destination, Error, Options};

use crate::support::{Copy, FIXTURES, real, tree};
use crate::{Fixture, assert_is, names};

/// Into a directory that is missing: all databases are there, byte for byte, nothing else is; the
/// backup is unchanged.
#[test]
fn a_missing_data_directory_is_made() {
    let fixture = Fixture::new();
    let before = tree(&fixture.backup());
    let data = fixture.path("new/data");
    let to = Destination::from_data(&data);
    let options = Options { to, databases: Vec::new(), force: false, until: None };
    let report =
        restore::restore(&real(), &fixture.backup(), &options, &|_| (), &AtomicBool::new(false))
            .unwrap();
    let restored: Vec<_> = report.databases.iter().map(|db| &*db.entry.name).collect();
    assert_eq!(restored, ["neo4j", "system"]);
    assert!(report.cleaned.is_empty());
    assert_is(&fixture.copy, &data.join("databases/neo4j"), &data.join("transactions/neo4j"));
    let system = Copy::of(FIXTURES[1], "system");
    assert_is(&system, &data.join("databases/system"), &data.join("transactions/system"));
    assert_eq!(names(&data), ["databases", "transactions"]);
    assert!(tree(&fixture.backup()) == before);
    // There are no modes to take after, and the files hold password hashes.
    let made = [PathBuf::new(), PathBuf::from("data")].into_iter();
    let made = made.chain(fs::walk(&fixture.path("new")).unwrap().into_iter().map(|e| e.path));
    for path in made.map(|path| fixture.path("new").join(path)) {
        let found = std::fs::metadata(&path).unwrap();
        let expected = if found.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(found.permissions().mode() & 0o7777, expected, "{}", path.display());
    }
}

/// Whichever operation fails: directories that were made for a restore that was not done are not
/// left behind. What was there, and what others put there, stays.
#[test]
fn a_failed_restore_leaves_no_directories() {
    let fixture = Fixture::new();
    let above = fixture.path("new");
    let to = Destination::from_data(&above.join("deep/data"));
    let mut at = 0;
    let mut errors = 0;
    loop {
        drop(std::fs::remove_dir_all(&above));
        let disk = FaultDisk::new(Fault::FailOnce(FaultKind::Device), at);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let done = fixture.restore_with(&shared, &to, false);
        if disk.count() <= at {
            break;
        }
        match done {
            Ok(_) | Err(restore::Error::NotDurable { .. }) => {}
            // What cannot be removed stays.
            Err(_) if disk.trace()[at].contains(" remove ") => {}
            Err(error) => {
                errors += 1;
                assert!(!above.exists(), "operation {at}: {error} {:?}", names(&above));
            }
        }
        at += 1;
    }
    assert!(errors > 90, "only {errors} errors");
    std::fs::remove_dir_all(&above).unwrap();
    std::fs::create_dir_all(above.join("deep")).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(FaultDisk::new(Fault::FailOnce(FaultKind::Device), 3));
    fixture.restore_with(&disk, &to, false).unwrap_err();
    assert!(names(&above.join("deep")).is_empty());
}

/// Beside other databases; with `force` the old directories are moved aside, whole, and named.
#[test]
fn old_directories_are_moved_aside() {
    let fixture = Fixture::new();
    let data = fixture.data();
    let old = data.join("databases/neo4j");
    std::fs::create_dir_all(old.join("schema")).unwrap();
    std::fs::create_dir_all(data.join("databases/other")).unwrap();
    std::fs::write(old.join("schema/precious"), b"1").unwrap();
    std::fs::create_dir_all(data.join("transactions/neo4j")).unwrap();
    std::fs::write(data.join("transactions/neo4j/checkpoint.7"), b"2").unwrap();
    assert!(matches!(fixture.restore(false), Err(restore::Error::DatabaseExists { .. })));
    let report = fixture.restore(true).unwrap();
    assert_is(&fixture.copy, &old, &data.join("transactions/neo4j"));
    let aside = &report.databases[0].moved_aside;
    assert_eq!(aside.len(), 2);
    let find = |name: &str| aside.iter().find(|path| path.ends_with(name)).unwrap();
    assert_eq!(std::fs::read(find("store").join("schema/precious")).unwrap(), b"1");
    assert_eq!(std::fs::read(find("transactions").join("checkpoint.7")).unwrap(), b"2");
    assert!(aside.iter().all(|path| path.starts_with(data.join("neo4j-backup-replaced"))));
    assert_eq!(names(&data), ["databases", "neo4j-backup-replaced", "transactions"]);
    assert_eq!(names(&data.join("databases")), ["neo4j", "other"]);
    // And once more: both old copies are kept.
    fixture.restore(true).unwrap();
    assert_eq!(names(&data.join("neo4j-backup-replaced")).len(), 2);
}

/// Half a database counts as one: a store without logs, logs without a store, an empty directory.
#[test]
fn half_a_database_is_not_merged_with() {
    let fixture = Fixture::new();
    for half in ["databases/neo4j", "transactions/neo4j"] {
        let path = fixture.data().join(half);
        std::fs::create_dir_all(&path).unwrap();
        let error = fixture.restore(false).unwrap_err();
        assert!(matches!(error, restore::Error::DatabaseExists { .. }), "{half}: {error}");
        assert_eq!(fixture.restore(true).unwrap().databases[0].moved_aside.len(), 1);
        std::fs::remove_dir_all(fixture.data()).unwrap();
    }
}

/// Roots elsewhere, a root that is a link, a database that is a link, one whose link leads to
/// nothing yet: the files go where the links lead, the links stay.
#[test]
fn links_and_other_roots_are_followed() {
    let fixture = Fixture::new();
    let (data, volume) = (fixture.data(), fixture.path("volume"));
    std::fs::create_dir_all(data.join("databases")).unwrap();
    std::fs::create_dir_all(volume.join("tx")).unwrap();
    std::fs::create_dir_all(volume.join("store/neo4j")).unwrap();
    symlink(volume.join("tx"), data.join("transactions")).unwrap();
    symlink("../../volume/store/neo4j", data.join("databases/neo4j")).unwrap();
    let report = fixture.restore(true).unwrap();
    assert_eq!(report.databases[0].moved_aside.len(), 1);
    assert_is(&fixture.copy, &volume.join("store/neo4j"), &volume.join("tx/neo4j"));
    assert!(data.join("databases/neo4j").is_symlink());
    std::fs::remove_dir_all(volume.join("store/neo4j")).unwrap();
    std::fs::remove_dir_all(volume.join("tx/neo4j")).unwrap();
    let report = fixture.restore(false).unwrap();
    assert!(report.databases[0].moved_aside.is_empty());
    assert_is(&fixture.copy, &volume.join("store/neo4j"), &volume.join("tx/neo4j"));
    assert_eq!(names(&volume.join("tx")), ["neo4j"]);
}

/// A root on another file system: staged there, in place there, nothing left there.
#[test]
fn roots_may_be_on_different_file_systems() {
    let fixture = Fixture::new();
    let other = tempfile::tempdir().unwrap();
    let device = |path: &std::path::Path| std::fs::metadata(path).unwrap().dev();
    if device(other.path()) == device(fixture.dir.path()) {
        // No second file system on this machine.
        return;
    }
    std::fs::create_dir_all(fixture.data()).unwrap();
    symlink(other.path(), fixture.data().join("transactions")).unwrap();
    std::fs::create_dir(other.path().join("neo4j")).unwrap();
    let report = fixture.restore(true).unwrap();
    let store = fixture.data().join("databases/neo4j");
    assert_is(&fixture.copy, &store, &other.path().join("neo4j"));
    let aside = &report.databases[0].moved_aside[0];
    assert!(aside.is_dir());
    // Beside the root, because that is on its file system and none of Neo4j's.
    let beside = other.path().parent().unwrap().canonicalize().unwrap();
    assert_eq!(aside.parent().unwrap().parent().unwrap(), beside.join("neo4j-backup-replaced"));
    std::fs::remove_dir_all(aside.parent().unwrap()).unwrap();
    drop(std::fs::remove_dir(beside.join("neo4j-backup-replaced")));
}

/// Owner and modes are those of the data directory, so that its server can write the files.
#[test]
fn owner_and_modes_are_kept() {
    let fixture = Fixture::new();
    let data = fixture.data();
    std::fs::create_dir_all(&data).unwrap();
    let is_root = std::fs::metadata(&data).unwrap().uid() == 0;
    let uid = if is_root { 4321 } else { std::fs::metadata(&data).unwrap().uid() };
    if is_root {
        std::os::unix::fs::chown(&data, Some(uid), Some(uid)).unwrap();
    }
    for (mode, file_mode) in [(0o750, 0o640), (0o700, 0o600), (0o777, 0o666)] {
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(mode)).unwrap();
        fixture.restore(true).unwrap();
        for root in ["databases", "transactions"] {
            for entry in fs::walk(&data.join(root).join("neo4j")).unwrap() {
                let path = data.join(root).join("neo4j").join(&entry.path);
                let found = std::fs::metadata(&path).unwrap();
                let expected = if entry.kind == fs::EntryKind::Dir { mode } else { file_mode };
                assert_eq!(found.permissions().mode() & 0o7777, expected, "{}", path.display());
                assert_eq!(found.uid(), uid, "{}", path.display());
            }
        }
    }
}

/// A restore that is told to end in the middle of the copy leaves nothing, what was there stays, and
/// the next one works.
#[test]
fn a_cancelled_restore_leaves_nothing() {
    let fixture = Fixture::new();
    fixture.restore(false).unwrap();
    let before = tree(&fixture.data());
    let cancelled = AtomicBool::new(false);
    let cancel = |_: u64| cancelled.store(true, Ordering::Relaxed);
    let to = Destination::from_data(&fixture.data());
    let options = Options { to, databases: vec!["neo4j".into()], force: true, until: None };
    let done = restore::restore(&real(), &fixture.backup(), &options, &cancel, &cancelled);
    assert!(matches!(done, Err(Error::Cancelled)), "{done:?}");
    assert!(tree(&fixture.data()) == before);
    fixture.restore(true).unwrap();
}
