//! A power failure at any moment leaves the old backup or the new one; see `fs::fault` for what it
//! may take away.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use client::Sink as _;
use fs::fault::{Fault, FaultKind, History, Replay, Survival};
use fs::{Busy, Disk};
use mirror::{DatabaseEntry, Error, Mirror, Reason};

use crate::power::*;
use crate::support::*;

/// One log that grows, and one that rotates meanwhile.
const NAMES: [&str; 2] = ["2026.08.1/killed", "5.26.30/rotated"];
/// Shorter than the file is, and long enough to be taken over by a renewal.
const SHORTENED_BYTES: u64 = 40_000;

fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Mirror, Error> {
    Mirror::open_for_write(disk, dir, Busy::Fail)
}

/// Where the backup is in a recorded directory.
fn backup(root: &Path) -> PathBuf {
    root.join("backup")
}

/// A server's past and present, and runs that bring them into a backup.
struct Server {
    name: &'static str,
    young: Copy,
    present: Copy,
    /// By the transaction that an increment begins after, and where that begins, if it is known.
    steps: RefCell<BTreeMap<(u64, Option<u64>), Step>>,
}

impl Server {
    fn new(name: &'static str) -> Self {
        let (young, present) =
            (Young::of(name).copy("neo4j"), Copy::at(whole(name).path(), "neo4j"));
        Self { name, young, present, steps: RefCell::default() }
    }

    fn increment(&self, disk: Arc<dyn Disk>, dir: &Path) -> Result<DatabaseEntry, Error> {
        let mirror = open(disk, dir)?;
        let after = mirror.after("neo4j")?.unwrap();
        let mut steps = self.steps.borrow_mut();
        let new = || Step::of(self.name, &after, "neo4j");
        let key = (after.last_tx.tx_id.0, after.last_tx.start_bytes);
        steps.entry(key).or_insert_with(new).run(&mirror)
    }

    fn full(&self, disk: Arc<dyn Disk>, dir: &Path, mark: u8) -> Result<DatabaseEntry, Error> {
        let mut copy = self.present.changed(mark);
        // One file has changed in nothing but its length.
        copy.cut(1002, SHORTENED_BYTES - u64::from(mark));
        copy.back_up(disk, dir)
    }

    /// Half of a full backup.
    fn lose_full(&self, mirror: &Mirror) {
        let copy = self.present.changed(2);
        let staged = mirror.begin(&copy.session, Reason::Requested).unwrap();
        let half = copy.bytes.len() / 2;
        copy.bytes
            .iter()
            .take(half)
            .for_each(|(f, bytes)| feed_file(&staged, f, bytes, BLOCK_BYTES).unwrap());
    }

    /// An increment, but for the end of its last file.
    fn lose_increment(&self, mirror: &Mirror) {
        let step = Step::of(self.name, &mirror.after("neo4j").unwrap().unwrap(), "neo4j");
        let increment = mirror.append(&step.session).unwrap();
        for (file, from, bytes) in &step.bytes {
            increment.create(file).unwrap();
            increment.write_at(file.id, *from, &bytes[..bytes.len() / 2]).unwrap();
        }
    }

    /// Runs without cleaning: an increment and a full backup, which of them first is `order`'s to say.
    fn next_runs(&self, dir: &Path, order: usize, what: &dyn Fn() -> String) {
        for full in if order.is_multiple_of(2) { [false, true] } else { [true, false] } {
            let run = match full || state(dir).is_none() {
                true => self.full(real(), dir, 7),
                false => self.increment(real(), dir),
            };
            let entry = run.unwrap_or_else(|error| panic!("full: {full}: {error:?} {}", what()));
            assert_eq!(entry.last_tx.tx_id, self.present.finished.last_tx.tx_id, "{}", what());
            require_whole(dir, &[Some(&entry)], what);
            let names: Vec<_> = fs::entries(dir).unwrap().into_iter().map(|e| e.0).collect();
            let ours = [".neo4j-backup.json", ".neo4j-backup.lock", ".neo4j-backup.pages"];
            let expected = [&ours[..], &["databases", "transactions"]].concat();
            assert_eq!(names, expected, "leftovers {}", what());
            let pages = fs::entries(&dir.join(".neo4j-backup.pages")).unwrap();
            assert!(pages.iter().all(|(name, _)| *name == *entry.generation), "{pages:?}");
            assert_eq!(verify(dir).unfinished, [], "{}", what());
        }
        assert_eq!(mark(dir), Some(7), "{}", what());
    }
}

/// Fails unless one of these is there, with all its bytes and a mark. Says which.
fn require_whole(
    dir: &Path,
    expected: &[Option<&DatabaseEntry>],
    what: &dyn Fn() -> String,
) -> usize {
    let index = crate::support::require_whole(dir, expected, what);
    assert!(state(dir).is_none() || mark(dir).is_some());
    index
}

/// Runs one after the other on one disk, and what each of them made.
struct Runs {
    server: Server,
    _dir: tempfile::TempDir,
    history: History,
    /// How many operations there had been when success was told, and of what.
    told: Vec<(usize, DatabaseEntry)>,
}

impl Runs {
    /// A first backup, an increment, and a renewal that takes over what has not changed.
    fn of(name: &'static str) -> Self {
        let server = Server::new(name);
        let dir = in_memory();
        let history = History::of(dir.path()).unwrap();
        let disk = || history.disk(real());
        let to = backup(dir.path());
        let mut told = Vec::new();
        let mut tell = |entry: Result<DatabaseEntry, Error>| {
            told.push((history.count(), entry.unwrap()));
        };
        tell(server.young.changed(1).back_up(disk(), &to));
        tell(server.increment(disk(), &to));
        tell(server.full(disk(), &to, 2));
        let mut replay = Replay::of(&history);
        replay.go_to(history.count());
        let copy = in_memory();
        replay.image(Survival::Most).write_to(copy.path()).unwrap();
        let mut there = tree(dir.path());
        there.retain(|(path, _)| !path.ends_with(".neo4j-backup.lock"));
        assert!(tree(copy.path()) == there, "the history does not know all that was done");
        Self { server, _dir: dir, history, told }
    }

    /// What has been told by then, and what may be there instead.
    fn expected(&self, at: usize) -> [Option<&DatabaseEntry>; 2] {
        let told = self.told.iter().filter(|(told, _)| *told <= at).count();
        let entry = |index: usize| self.told.get(index).map(|(_, entry)| entry);
        let old = told.checked_sub(1).and_then(entry);
        [old, entry(told).or(old)]
    }
}

/// A power failure at every operation of a first backup, an increment and a renewal: what is there is
/// the old backup or the new one, and the new one once success was told, however much of what was not
/// synced has survived. `verify` reads it as it is, and the next runs just work.
fn power_fails_at_every_operation(name: &'static str) {
    let runs = Runs::of(name);
    let mut seen = BTreeSet::new();
    let told = |at| runs.told.iter().filter(|(told, _)| *told <= at).count();
    let checked = at_every_operation(
        &runs.history,
        0..=runs.history.count(),
        &survivals(),
        told,
        |failure| {
            let dir = backup(failure.dir);
            let what = || failure.what();
            let found = require_whole(&dir, &runs.expected(failure.at), &what);
            seen.insert((told(failure.at), found));
            runs.server.next_runs(&dir, failure.at, &what);
        },
    );
    assert!(checked > 150, "only {checked} images");
    let both = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0)];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), both, "both outcomes of each run");
}

#[test]
fn power_fails_at_every_operation_where_a_log_grows() {
    power_fails_at_every_operation(NAMES[0]);
}

#[test]
fn power_fails_at_every_operation_where_a_log_rotates() {
    power_fails_at_every_operation(NAMES[1]);
}

/// The power fails in the middle of a roll-forward, and again in the middle of the next run's, which
/// completes it: it is the new backup all the time.
#[test]
fn power_fails_again_during_the_next_roll_forward() {
    let runs = Runs::of(NAMES[0]);
    let (end, new) = &runs.told[2];
    let is_commit = |at: &usize| {
        let step = runs.history.trace(*at, at + 1);
        step[0].contains(" rename ") && step[0].ends_with(".neo4j-backup.json.new")
    };
    // The first is of the roll-forward's end.
    let commit = (0..*end).rev().filter(is_commit).nth(1).unwrap();
    let mut checked = 0;
    at_every_operation(
        &runs.history,
        commit..=*end,
        &FEW,
        |_| 0,
        |first| {
            let old_or_new = runs.expected(first.at);
            if require_whole(&backup(first.dir), &old_or_new, &|| first.what()) == 0 {
                return;
            }
            let history = History::of(first.dir).unwrap();
            drop(open(history.disk(real()), &backup(first.dir)).unwrap());
            checked += at_every_operation(
                &history,
                0..=history.count(),
                &FEW,
                |_| 0,
                |second| {
                    let what = || format!("{} then {}", first.what(), second.what());
                    require_whole(&backup(second.dir), &[Some(new)], &what);
                    if second.at == history.count() {
                        runs.server.next_runs(&backup(second.dir), first.at, &what);
                    }
                },
            );
        },
    );
    assert!(checked > 50, "only {checked} images");
}

/// The run that something happens to, before the one during which the power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    First,
    Increment,
    Renewal,
}

impl Run {
    fn run(self, server: &Server, disk: Arc<dyn Disk>, dir: &Path) -> Result<DatabaseEntry, Error> {
        match self {
            Self::First | Self::Renewal => server.full(disk, dir, 2),
            Self::Increment => server.increment(disk, dir),
        }
    }
}

/// A run that fails or is killed at any of its operations, then others, in the middle of which the
/// power fails: what the first one left in memory only is not taken for durable by the next.
fn power_fails_after(name: &'static str, run: Run, fault: Fault) {
    let server = Server::new(name);
    let start = in_memory();
    let full = || server.young.changed(1).back_up(real(), &backup(start.path())).unwrap();
    let old = (run != Run::First).then(full);
    let start = Replay::of(&History::of(start.path()).unwrap()).image(Survival::Least);
    let (mut at, mut frequent) = (0, 0);
    loop {
        let dir = in_memory();
        start.write_to(dir.path()).unwrap();
        let to = backup(dir.path());
        let history = History::of(dir.path()).unwrap();
        let (faulty, disk) = faulty(&history, fault, at);
        let done = run.run(&server, disk, &to);
        if faulty.count() <= at {
            done.unwrap();
            break;
        }
        let operation = operation(&faulty, at);
        at += 1;
        if is_passed_over(&operation, &DECIDES_BEFORE, &mut frequent) {
            continue;
        }
        let failed = history.count();
        let after = state(&to);
        // One that completes the roll-forward, or removes what is left, and one that is whole.
        drop(open(history.disk(real()), &to).unwrap());
        let opened = history.count();
        let next = server.full(history.disk(real()), &to, 3).unwrap();
        let end = history.count();
        let told = |at| usize::from(at == end);
        let check = |failure: &Failure<'_>| {
            let what = || format!("{operation}: {done:?} then {}", failure.what());
            let expected = match (failure.at == end, &done) {
                (true, _) => vec![Some(&next)],
                (false, Ok(_)) => vec![after.as_ref(), Some(&next)],
                (false, Err(_)) => vec![old.as_ref(), after.as_ref(), Some(&next)],
            };
            require_whole(&backup(failure.dir), &expected, &what);
        };
        at_every_operation(&history, failed..=opened, &FEW, told, check);
        at_every_operation(&history, end..=end, &FEW, told, check);
    }
    assert!(at > 8, "only {at} operations");
}

#[test]
fn power_fails_after_a_killed_first_backup() {
    power_fails_after(NAMES[0], Run::First, Fault::Kill);
}

#[test]
fn power_fails_after_a_killed_increment() {
    power_fails_after(NAMES[1], Run::Increment, Fault::Kill);
}

#[test]
fn power_fails_after_a_failed_increment() {
    for kind in [FaultKind::NoSpace, FaultKind::Device] {
        power_fails_after(NAMES[1], Run::Increment, Fault::FailOnce(kind));
    }
}

#[test]
fn power_fails_after_a_killed_renewal() {
    power_fails_after(NAMES[0], Run::Renewal, Fault::Kill);
}

#[test]
fn power_fails_after_a_failed_renewal() {
    power_fails_after(NAMES[0], Run::Renewal, Fault::FailOnce(FaultKind::Device));
}

/// The connection is lost in the middle of a run, and the power fails until what had come is removed:
/// the old backup is there all the time.
#[test]
fn power_fails_while_a_lost_connection_is_cleaned_up() {
    let server = Server::new(NAMES[1]);
    let start = in_memory();
    let old = server.young.changed(1).back_up(real(), &backup(start.path())).unwrap();
    let start = Replay::of(&History::of(start.path()).unwrap()).image(Survival::Least);
    for full in [false, true] {
        let dir = in_memory();
        start.write_to(dir.path()).unwrap();
        let history = History::of(dir.path()).unwrap();
        let mirror = open(history.disk(real()), &backup(dir.path())).unwrap();
        match full {
            true => server.lose_full(&mirror),
            false => server.lose_increment(&mirror),
        }
        drop(mirror);
        at_every_operation(
            &history,
            0..=history.count(),
            &FEW,
            |_| 0,
            |failure| {
                let what = || failure.what();
                require_whole(&backup(failure.dir), &[Some(&old)], &what);
                server.next_runs(&backup(failure.dir), failure.at, &what);
            },
        );
    }
}
