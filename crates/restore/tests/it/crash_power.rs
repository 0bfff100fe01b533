//! A power failure at any moment of a restore leaves the old database or the new one, or nothing that
//! Neo4j would start on; see `fs::fault` for what it may take away.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs::Disk;
use fs::fault::{Fault, FaultKind, History, Image, Replay, Survival};
use restore::{Destination, Error, Report};

use crate::crash::{Found, found_in, old_files_kept_in};
use crate::power::*;
use crate::support::real;
use crate::{Fixture, names};

/// After another failure the next restore is tried only so often.
const NEXT_RUNS_EACH: usize = 5;

fn data(world: &Path) -> PathBuf {
    world.join("data")
}

fn restore(
    fixture: &Fixture,
    disk: &Arc<dyn Disk>,
    world: &Path,
    force: bool,
) -> Result<Report, Error> {
    fixture.restore_with(disk, &Destination::from_data(&data(world)), force)
}

/// Nothing, or the data directory of a server with an old database.
fn start(old: bool) -> Image {
    let world = in_memory();
    for half in ["databases/neo4j", "transactions/neo4j"].iter().filter(|_| old) {
        std::fs::create_dir_all(data(world.path()).join(half)).unwrap();
        std::fs::write(data(world.path()).join(half).join("old"), b"1").unwrap();
    }
    Replay::of(&History::of(world.path()).unwrap()).image(Survival::Least)
}

/// What is there. If it is neither the old database nor the new one, there is a journal by which the
/// next run finds the way back.
fn require_known(fixture: &Fixture, world: &Path, old: bool, what: &dyn Fn() -> String) -> Found {
    let found = found_in(fixture, &data(world));
    if found == Found::LogsOnly || (old && found == Found::Nothing) {
        let journal = data(world).join(".neo4j-backup-restoring/journal.json");
        let journal = std::fs::read_to_string(journal).unwrap_or_default();
        assert!(journal.contains("\"from\""), "{found:?} and no way back: {}", what());
    }
    found
}

/// A restore to what is left just works, and no old file is lost.
fn next_run(fixture: &Fixture, world: &Path, old: bool, force: bool, what: &dyn Fn() -> String) {
    let is_new = found_in(fixture, &data(world)) == Found::New;
    let again = restore(fixture, &real(), world, force || is_new);
    again.unwrap_or_else(|error| panic!("{error:?} {}", what()));
    assert_eq!(found_in(fixture, &data(world)), Found::New, "{}", what());
    let left = names(&data(world));
    assert!(!left.iter().any(|name| name.starts_with('.')), "{left:?} {}", what());
    assert_eq!(old_files_kept_in(&data(world)), if old { 2 } else { 0 }, "{}", what());
}

/// The power fails at every operation of a restore: never is a store beside other logs, nor without
/// logs, nor with half of its bytes; what was told to be restored is; the next run just works.
#[test]
fn power_fails_at_every_operation() {
    let fixture = Fixture::new();
    for old in [false, true] {
        let world = in_memory();
        start(old).write_to(world.path()).unwrap();
        let history = History::of(world.path()).unwrap();
        restore(&fixture, &history.disk(real()), world.path(), old).unwrap();
        let end = history.count();
        let mut seen = BTreeSet::new();
        let told = |at| usize::from(at == end);
        at_every_operation(&history, 0..=end, &survivals(), told, |failure| {
            let found = require_known(&fixture, failure.dir, old, &|| failure.what());
            assert!(failure.at < end || found == Found::New, "{found:?} {}", failure.what());
            seen.insert(found);
            next_run(&fixture, failure.dir, old, old, &|| failure.what());
        });
        let expected = match old {
            false => vec![Found::Nothing, Found::New, Found::LogsOnly],
            true => vec![Found::Nothing, Found::Old, Found::New, Found::LogsOnly],
        };
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
    }
}

/// A restore that fails or is killed at any of its operations, then another one, in the middle of
/// which the power fails: what the first one left in memory only is not taken for durable.
fn power_fails_after(fault: Fault, old: bool) {
    let fixture = Fixture::new();
    let start = start(old);
    let (mut at, mut frequent, mut looked_at) = (0, 0, 0);
    loop {
        let world = in_memory();
        start.write_to(world.path()).unwrap();
        let history = History::of(world.path()).unwrap();
        let (faulty, disk) = faulty(&history, fault, at);
        let done = restore(&fixture, &disk, world.path(), old);
        if faulty.count() <= at {
            done.unwrap();
            break;
        }
        let operation = operation(&faulty, at);
        at += 1;
        // What is copied is in nobody's way.
        let is_copy = operation.contains("-restoring/0/") && !operation.contains("rename");
        let decides = if is_copy { &[][..] } else { &DECIDES_BEFORE };
        if is_passed_over(&operation, decides, &mut frequent) {
            continue;
        }
        let failed = history.count();
        let force = old || found_in(&fixture, &data(world.path())) == Found::New;
        restore(&fixture, &history.disk(real()), world.path(), force).unwrap();
        let end = history.count();
        let told = |at| usize::from(at == end);
        let mut check = |failure: &Failure<'_>| {
            let what = || format!("{operation}: {done:?} then {}", failure.what());
            let found = require_known(&fixture, failure.dir, old, &what);
            assert!(failure.at < end || found == Found::New, "{found:?} {}", what());
            looked_at += 1;
            if looked_at % NEXT_RUNS_EACH == 0 {
                next_run(&fixture, failure.dir, old, force, &what);
            }
        };
        // Until the copy begins, and from the journal of renames on.
        let is_copy = |at: &usize| {
            let step = &history.trace(*at, at + 1)[0];
            step.contains("-restoring/0/") && !step.contains("rename")
        };
        let mut copies = (failed..end).filter(is_copy);
        let (begin, last) = match (copies.next(), copies.next_back()) {
            (Some(begin), Some(last)) => (begin, last),
            _ => (end, end),
        };
        at_every_operation(&history, failed..=begin, &FEW, told, &mut check);
        at_every_operation(&history, last + 1..=end, &FEW, told, &mut check);
    }
    assert!(at > 100, "only {at} operations");
}

#[test]
fn power_fails_after_a_killed_restore() {
    power_fails_after(Fault::Kill, false);
}

#[test]
fn power_fails_after_a_killed_restore_over_an_old_database() {
    power_fails_after(Fault::Kill, true);
}

#[test]
fn power_fails_after_a_failed_restore() {
    power_fails_after(Fault::FailOnce(FaultKind::Device), true);
}
