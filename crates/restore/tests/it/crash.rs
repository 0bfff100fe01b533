use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use fs::Disk;
use fs::fault::{Fault, FaultDisk, FaultKind};
use restore::Destination;

use crate::support::tree;
use crate::{Fixture, assert_is, names};

/// What is at the places where Neo4j looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    Nothing,
    Old,
    New,
    /// Transaction logs without a store: Neo4j does not take them for a database.
    LogsOnly,
}

fn found(fixture: &Fixture) -> Found {
    let data = fixture.data();
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
    let kept = tree(&fixture.data().join("neo4j-backup-replaced"));
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
        let mut errors = 0;
        loop {
            reset(&fixture, true);
            let disk = FaultDisk::new(Fault::FailOnce(kind), at);
            let shared: Arc<dyn Disk> = Arc::new(disk.clone());
            let done =
                fixture.restore_with(&shared, &Destination::from_data(&fixture.data()), true);
            if disk.count() <= at {
                break;
            }
            match done {
                Ok(_) => assert_eq!(found(&fixture), Found::New, "operation {at}"),
                Err(error) => {
                    errors += 1;
                    let state = found(&fixture);
                    let fine = state == Found::Old || state == Found::New;
                    assert!(fine, "operation {at}: {state:?} {error} {:?}", disk.trace());
                    assert_eq!(error.is_no_space(), kind == FaultKind::NoSpace, "{error:?}");
                }
            }
            fixture.restore(true).unwrap();
            at += 1;
        }
        assert!(errors > 90, "only {errors} errors");
    }
}
