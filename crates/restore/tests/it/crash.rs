use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fs::Disk;
use fs::fault::{Fault, FaultDisk, FaultKind};
use restore::{Destination, Error, Options};

use crate::support::tree;
use crate::{Fixture, assert_is, names};

/// What is at the places where Neo4j looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Found {
    Nothing,
    Old,
    New,
    /// Transaction logs without a store: Neo4j does not take them for a database.
    LogsOnly,
}

fn found(fixture: &Fixture) -> Found {
    found_in(fixture, &fixture.data())
}

/// The same for another data directory.
pub fn found_in(fixture: &Fixture, data: &Path) -> Found {
    let (store, logs) = (data.join("databases/neo4j"), data.join("transactions/neo4j"));
    let is_old = |dir: &Path| dir.join("old").exists();
    match (store.exists(), logs.exists()) {
        (false, false) => Found::Nothing,
        (false, true) => Found::LogsOnly,
        (true, true) if is_old(&store) && is_old(&logs) => Found::Old,
        (true, true) => {
            assert_is(&fixture.copy, &store, &logs);
            Found::New
        }
        (true, false) => panic!("a store without its logs"),
    }
}

fn reset(fixture: &Fixture, old: bool) {
    drop(std::fs::remove_dir_all(fixture.data()));
    if old {
        for half in ["databases/neo4j", "transactions/neo4j"] {
            std::fs::create_dir_all(fixture.data().join(half)).unwrap();
            std::fs::write(fixture.data().join(half).join("old"), b"1").unwrap();
        }
    }
}

/// How many of the two old files were moved aside.
fn old_files_kept(fixture: &Fixture) -> usize {
    old_files_kept_in(&fixture.data())
}

pub fn old_files_kept_in(data: &Path) -> usize {
    let kept = tree(&data.join("neo4j-backup-replaced"));
    kept.iter().filter(|(path, _)| path.ends_with("old")).count()
}

/// A restore that is killed at any of its operations never leaves a store beside other logs, nor a
/// store without logs; the next run undoes it, and restores; old files are never lost.
#[test]
fn killed_at_every_operation() {
    let fixture = Fixture::new();
    for old in [false, true] {
        let mut seen = BTreeSet::new();
        let mut at = 0;
        loop {
            reset(&fixture, old);
            let disk = FaultDisk::new(Fault::Kill, at);
            let shared: Arc<dyn Disk> = Arc::new(disk.clone());
            let done = fixture.restore_with(&shared, &Destination::from_data(&fixture.data()), old);
            if disk.count() <= at {
                done.unwrap();
                break;
            }
            let state = found(&fixture);
            assert!(done.is_err() || state == Found::New, "operation {at}: {:?}", disk.trace());
            seen.insert(state);
            // What the next run finds is a new database or what was there before.
            let again = fixture.restore(old || state == Found::New);
            again.unwrap_or_else(|error| panic!("operation {at}: {error} {:?}", disk.trace()));
            assert_eq!(found(&fixture), Found::New);
            let left = names(&fixture.data());
            assert!(!left.iter().any(|name| name.starts_with('.')), "operation {at}: {left:?}");
            if old {
                assert_eq!(old_files_kept(&fixture), 2, "operation {at}: lost {left:?}");
            }
            at += 1;
        }
        assert!(at > 100, "only {at} operations");
        let expected = match old {
            false => vec![Found::Nothing, Found::New, Found::LogsOnly],
            true => vec![Found::Nothing, Found::Old, Found::New, Found::LogsOnly],
        };
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
    }
}

/// The same where the database's name is a link to a link to its directory: when the old one has
/// been moved aside, the links lead to nothing, and still the next run knows what they stood for.
#[test]
fn killed_at_every_operation_behind_links() {
    let fixture = Fixture::new();
    let (data, volume) = (fixture.data(), fixture.path("volume"));
    let mut at = 0;
    let mut undone = 0;
    loop {
        drop(std::fs::remove_dir_all(&volume));
        reset(&fixture, true);
        std::fs::create_dir_all(volume.join("deep/stores")).unwrap();
        std::fs::rename(data.join("databases/neo4j"), volume.join("deep/stores/one")).unwrap();
        symlink("deep/stores/one", volume.join("link")).unwrap();
        symlink("../../volume/link", data.join("databases/neo4j")).unwrap();
        let disk = FaultDisk::new(Fault::Kill, at);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        drop(fixture.restore_with(&shared, &Destination::from_data(&data), true));
        if disk.count() <= at {
            break;
        }
        let again = fixture.restore(true);
        let again = again.unwrap_or_else(|e| panic!("operation {at}: {e} {:?}", disk.trace()));
        undone += again.cleaned.len();
        assert_eq!(found(&fixture), Found::New, "operation {at}");
        assert_eq!(old_files_kept(&fixture), 2, "operation {at}");
        assert_eq!(names(&volume), ["deep", "link"], "operation {at}");
        assert_eq!(names(&volume.join("deep/stores")), ["one"], "operation {at}");
        at += 1;
    }
    assert!(undone > 0);
}

/// An operation that fails makes the restore fail and what was there stays, or does no harm.
#[test]
fn failed_at_every_operation() {
    let fixture = Fixture::new();
    for kind in [FaultKind::NoSpace, FaultKind::Device] {
        let mut at = 0;
        let (mut errors, mut not_durable) = (0, 0);
        loop {
            reset(&fixture, true);
            let disk = FaultDisk::new(Fault::FailOnce(kind), at);
            let shared: Arc<dyn Disk> = Arc::new(disk.clone());
            let done =
                fixture.restore_with(&shared, &Destination::from_data(&fixture.data()), true);
            if disk.count() <= at {
                break;
            }
            let state = found(&fixture);
            match done {
                Ok(_) => assert_eq!(state, Found::New, "operation {at}"),
                Err(error) => {
                    errors += 1;
                    let in_place = matches!(error, Error::NotDurable { .. });
                    not_durable += usize::from(in_place);
                    let expected = if in_place { Found::New } else { Found::Old };
                    assert_eq!(state, expected, "operation {at}: {error} {:?}", disk.trace());
                    assert_eq!(error.is_no_space(), kind == FaultKind::NoSpace, "{error:?}");
                }
            }
            fixture.restore(true).unwrap();
            at += 1;
        }
        assert!(errors > 90, "only {errors} errors");
        // The two directories of the last rename.
        assert_eq!(not_durable, 2);
    }
}

/// A disk that works no more from any operation on, so that what was begun cannot be undone either:
/// all is old or all is new, or the error says that it is not and the journal is there, from which
/// the next run, with a disk that works, finds the way. Old files are never lost.
#[test]
fn failed_for_good_from_every_operation() {
    let fixture = Fixture::new();
    let journal = fixture.data().join(".neo4j-backup-restoring/journal.json");
    for kind in [FaultKind::NoSpace, FaultKind::Device] {
        let mut at = 0;
        let mut halves = BTreeSet::new();
        loop {
            reset(&fixture, true);
            let disk = FaultDisk::new(Fault::FailFrom(kind), at);
            let shared: Arc<dyn Disk> = Arc::new(disk.clone());
            let done =
                fixture.restore_with(&shared, &Destination::from_data(&fixture.data()), true);
            if disk.count() <= at {
                done.unwrap();
                break;
            }
            let state = found(&fixture);
            let told = format!("operation {at}: {state:?} {done:?} {:?}", disk.trace());
            match done {
                Ok(_) | Err(Error::NotDurable { .. }) => assert_eq!(state, Found::New, "{told}"),
                Err(error) => {
                    let is_half = !matches!(state, Found::Old);
                    let said = matches!(error, Error::NotUndone { .. });
                    assert!(!is_half || (said && journal.exists()), "{told}");
                    assert_eq!(error.is_no_space(), kind == FaultKind::NoSpace, "{told}");
                    if is_half {
                        halves.insert(state);
                    }
                }
            }
            let undone = fixture.restore(true).unwrap_or_else(|e| panic!("{e}: {told}")).cleaned;
            assert!(!matches!(state, Found::Nothing | Found::LogsOnly) || undone.len() > 1);
            assert_eq!(found(&fixture), Found::New, "{told}");
            assert_eq!(old_files_kept(&fixture), 2, "{told}");
            let left = names(&fixture.data());
            assert!(!left.iter().any(|name| name.starts_with('.')), "{left:?} {told}");
            at += 1;
        }
        assert!(at > 100, "only {at} operations");
        assert_eq!(halves.into_iter().collect::<Vec<_>>(), [Found::Nothing, Found::LogsOnly]);
    }
}

/// A run is killed when all is in place, its journal stays; a server runs and the last database is
/// removed. The next run must not take that for a restore half done and undo the other database.
#[test]
fn what_is_complete_is_not_undone_later() {
    let fixture = Fixture::new();
    let options = |database: &[&str]| Options {
        to: Destination::from_data(&fixture.data()),
        databases: database.iter().map(|name| (*name).to_owned()).collect(),
        force: false,
        until: None,
    };
    let restore = |disk: &FaultDisk, databases: &[&str]| {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        restore::restore(
            &shared,
            &fixture.backup(),
            &options(databases),
            &|_| (),
            &AtomicBool::new(false),
        )
    };
    const SYNC: Option<&str> = Some("sync directory");
    let counting = FaultDisk::counting(SYNC, Fault::None, 0);
    restore(&counting, &[]).unwrap();
    let found = (0..counting.count()).find(|at| {
        reset(&fixture, false);
        let killed = restore(&FaultDisk::counting(SYNC, Fault::Kill, *at), &[]);
        matches!(killed, Err(Error::NotDurable { .. }))
    });
    assert!(found.is_some());
    let data = fixture.data();
    for half in ["databases/system", "transactions/system"] {
        std::fs::remove_dir_all(data.join(half)).unwrap();
    }
    std::fs::write(data.join("databases/neo4j/written-since"), b"1").unwrap();
    restore(&counting, &["system"]).unwrap();
    assert!(data.join("databases/neo4j/written-since").exists());
    assert!(data.join("databases/system/neostore").exists());
    assert_eq!(names(&data), ["databases", "transactions"]);
}
