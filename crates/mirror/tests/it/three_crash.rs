//! Whatever stops a backup of a Neo4j 3.0 server, the directory is the old backup or the new one.
//! Its files move into their places one by one, among those of the old backup.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs::fault::{Fault, FaultDisk, FaultKind, History, Replay, Survival};
use fs::{Busy, Disk};
use mirror::{DatabaseEntry, Error, Mirror};

use crate::power::*;
use crate::support::*;
use crate::three::files;
use crate::three_support::*;

/// Servers, each with other files: other indexes and counts, the last one another log.
struct Servers {
    old: Three,
    new: Three,
    next: Three,
}

/// What something happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Run {
    First,
    Increment,
    /// A full backup over that of another server.
    Full,
    /// One over its own, which has become shorter than it was.
    Again,
    /// One over what Neo4j's own tool has left.
    TakenOver,
    /// One of the same store, which takes over what has not changed.
    Renewal,
}

const RUNS: [Run; 6] =
    [Run::First, Run::Increment, Run::Full, Run::Again, Run::TakenOver, Run::Renewal];
/// Files of a database that was started on, and none of a backup of ours.
const STARTED: [&str; 3] = ["neostore.id", "logs/debug.log", "neostore.transaction.db.99"];
const PAGES: &str = ".neo4j-backup.pages";
/// What an ordinary run tries each of. Renames of single files are many.
const DECIDES_HERE: [&str; 3] = ["remove", "directory", ".json"];

impl Servers {
    fn new() -> Self {
        Self {
            old: Three::few_files("3.0.0/killed", "index/lucene/1"),
            new: Three::few_files("3.0.7/killed", "lucene/node/texts"),
            next: Three::few_files("3.0.0/rotated", "none"),
        }
    }

    /// Whose backup it is.
    fn of(&self, entry: &DatabaseEntry) -> &Three {
        let servers = [&self.old, &self.new, &self.next].into_iter();
        let mut servers = servers.filter(|server| server.store_id() == entry.store_id);
        servers.next().unwrap()
    }

    /// The next runs, without cleaning: an increment of what is there, a full backup of another
    /// server. By a process that goes on, or by new ones.
    fn next_runs(&self, dir: &Path, goes_on: Option<Mirror>, what: &dyn Fn() -> String) {
        let is_new = goes_on.is_none();
        let done = |entry: Result<DatabaseEntry, Error>| {
            let entry = entry.unwrap_or_else(|error| panic!("{error:?} {}", what()));
            match is_new {
                true => require_only(dir, &entry, what),
                false => drop(require_whole(dir, &[Some(&entry)], what)),
            }
            entry
        };
        let mirror = goes_on.unwrap_or_else(|| open(real(), dir).unwrap());
        if let Some(found) = state(dir) {
            done(self.of(&found).increment_into(&mirror));
        }
        let last = done(self.next.present().run(&mirror));
        drop(mirror);
        // What it could not remove at once is removed by the next.
        drop(open(real(), dir).unwrap());
        require_only(dir, &last, what);
    }
}

impl Run {
    /// What is there before it.
    fn begin(self, servers: &Servers, dir: &Path) -> Option<DatabaseEntry> {
        let copy = match self {
            Self::First => return None,
            Self::Increment | Self::Full => servers.old.young(),
            Self::Again => servers.old.present(),
            Self::Renewal => servers.old.with_pages(1).told(servers.old.transactions().len() / 2),
            Self::TakenOver => {
                servers.old.young().back_up(real(), dir).unwrap();
                for (name, _) in fs::entries(dir).unwrap() {
                    let path = dir.join(&name);
                    match name.to_string_lossy().starts_with(".neo4j-backup") {
                        true if path.is_dir() => std::fs::remove_dir_all(path).unwrap(),
                        true => std::fs::remove_file(path).unwrap(),
                        false => {}
                    }
                }
                std::fs::create_dir(dir.join("logs")).unwrap();
                for name in STARTED {
                    std::fs::write(dir.join(name), "theirs").unwrap();
                }
                return None;
            }
        };
        Some(copy.back_up(real(), dir).unwrap())
    }

    /// Fails where no backup is there, and what was there before is not whole.
    fn require_theirs(self, dir: &Path, before: &[(PathBuf, Vec<u8>)], what: &dyn Fn() -> String) {
        if self == Self::TakenOver && state(dir).is_none() {
            let mut now = tree(dir);
            now.retain(|(path, _)| !path.to_string_lossy().starts_with(".neo4j-backup"));
            assert!(now == before, "something of the tool's is lost {}", what());
        }
    }

    fn run(self, servers: &Servers, mirror: &Mirror) -> Result<DatabaseEntry, Error> {
        match self {
            Self::First | Self::Full | Self::TakenOver => servers.new.young().run(mirror),
            Self::Increment => servers.old.increment_into(mirror),
            Self::Again => servers.old.young().run(mirror),
            Self::Renewal => {
                servers.old.with_pages(2).told(servers.old.transactions().len()).run(mirror)
            }
        }
    }
}

fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Mirror, Error> {
    Mirror::open_for_write(disk, dir, Busy::Fail)
}

/// Where the backup is in a recorded directory.
fn backup(root: &Path) -> PathBuf {
    root.join("backup")
}

/// Fails unless a backup is there and nothing else: no file or directory of an older one.
fn require_only(dir: &Path, entry: &DatabaseEntry, what: &dyn Fn() -> String) {
    assert!(is_same(state(dir).as_ref(), Some(entry)), "another backup {}", what());
    let report = verify(dir);
    assert!(report.is_clean(), "{:?} {}", report.findings, what());
    assert_eq!(report.unfinished, [], "{}", what());
    let listed: BTreeSet<_> = entry.files.iter().map(|file| file.path.clone()).collect();
    assert_eq!(files(dir).into_iter().collect::<BTreeSet<_>>(), listed, "{}", what());
    let parents = listed.iter().flat_map(|path| Path::new(path).ancestors().skip(1));
    let parents: BTreeSet<_> = parents.filter(|path| *path != Path::new("")).collect();
    let mut found = fs::walk(dir).unwrap();
    found.retain(|entry| entry.kind == fs::EntryKind::Dir && !entry.path.starts_with(PAGES));
    let dirs: BTreeSet<_> = found.iter().map(|entry| entry.path.as_path()).collect();
    assert_eq!(dirs, parents, "{}", what());
    let pages = fs::entries(&dir.join(PAGES)).unwrap();
    assert!(pages.iter().all(|(name, _)| *name == *entry.generation), "{pages:?} {}", what());
    let is_aside = |(name, _): &(std::ffi::OsString, _)| name == ".neo4j-backup.json.new";
    assert!(!fs::entries(dir).unwrap().iter().any(is_aside), "{}", what());
}

/// Stops the program, or lets the operation fail, at every operation of every run: the old backup
/// or the new one is there, whole; the new one if success was told; and the next runs just work,
/// also those of a process that goes on.
fn disturbed_at_every_operation(fault: Fault, runs: &[Run]) {
    let servers = Servers::new();
    for run in if is_long() { &RUNS } else { runs } {
        let start = in_memory();
        let old = run.begin(&servers, &backup(start.path()));
        let theirs = tree(&backup(start.path()));
        let start = Replay::of(&History::of(start.path()).unwrap()).image(Survival::Most);
        let (mut at, mut frequent, mut seen) = (0, 0, BTreeSet::new());
        loop {
            let dir = in_memory();
            start.write_to(dir.path()).unwrap();
            let faulty = FaultDisk::new(fault, at);
            let to = backup(dir.path());
            let (done, mirror) = match open(Arc::new(faulty.clone()), &to) {
                Ok(mirror) => (run.run(&servers, &mirror), Some(mirror)),
                Err(error) => (Err(error), None),
            };
            // Half of the processes that can go on do.
            let goes_on = mirror.filter(|_| fault != Fault::Kill && at.is_multiple_of(2));
            if faulty.count() <= at {
                done.unwrap();
                break;
            }
            let operation = operation(&faulty, at);
            at += 1;
            if is_passed_over(&operation, &DECIDES_HERE, &mut frequent) {
                continue;
            }
            let told = done.as_ref().map(|entry| entry.last_tx.tx_id);
            let what = || format!("{run:?} {fault:?} {operation}: {told:?}");
            let found = state(&to);
            let is_new = !is_same(found.as_ref(), old.as_ref());
            match &done {
                Ok(new) => drop(require_whole(&to, &[Some(new)], &what)),
                Err(error) => {
                    require_whole(&to, &[found.as_ref()], &what);
                    let is_no_space = fault == Fault::FailOnce(FaultKind::NoSpace);
                    assert_eq!(error.is_no_space(), is_no_space, "{}", what());
                }
            }
            run.require_theirs(&to, &theirs, &what);
            seen.insert(is_new);
            servers.next_runs(&to, goes_on, &what);
        }
        let least = if *run == Run::Increment { 8 } else { 100 };
        assert!(at > least, "{run:?}: only {at} operations");
        assert_eq!(seen.len(), 2, "{run:?}: both outcomes were seen");
    }
}

/// The program is stopped.
#[test]
fn killed_at_every_operation() {
    disturbed_at_every_operation(Fault::Kill, &[Run::First, Run::Increment, Run::Full]);
}

/// An operation fails, once.
#[test]
fn a_device_fails_at_every_operation() {
    disturbed_at_every_operation(Fault::FailOnce(FaultKind::Device), &[Run::Increment, Run::Full]);
}

/// There is no space, once; that is what is told.
#[test]
fn a_disk_is_full_at_every_operation() {
    disturbed_at_every_operation(Fault::FailOnce(FaultKind::NoSpace), &[Run::Increment]);
}

/// Runs one after the other on one disk, and what each of them made.
struct Runs {
    servers: Servers,
    _dir: tempfile::TempDir,
    history: History,
    /// How many operations there had been when success was told, and of what.
    told: Vec<(usize, DatabaseEntry)>,
}

impl Runs {
    /// A first backup, an increment, and a full backup of another server.
    fn new() -> Self {
        let servers = Servers::new();
        let dir = in_memory();
        let history = History::of(dir.path()).unwrap();
        let (disk, to) = (|| history.disk(real()), backup(dir.path()));
        let mut told = Vec::new();
        let mut tell = |entry: Result<DatabaseEntry, Error>| {
            told.push((history.count(), entry.unwrap()));
        };
        tell(servers.old.young().back_up(disk(), &to));
        tell(servers.old.increment(disk(), &to));
        tell(servers.new.young().back_up(disk(), &to));
        Self { servers, _dir: dir, history, told }
    }

    /// How many runs had told success by then.
    fn told(&self, at: usize) -> usize {
        self.told.iter().filter(|(told, _)| *told <= at).count()
    }

    /// What has been told by then, and what may be there instead.
    fn expected(&self, at: usize) -> [Option<&DatabaseEntry>; 2] {
        let entry = |index: usize| self.told.get(index).map(|(_, entry)| entry);
        let old = self.told(at).checked_sub(1).and_then(entry);
        [old, entry(self.told(at)).or(old)]
    }
}

/// A power failure at every operation of a first backup, an increment and a full backup of another
/// server: the old backup or the new one is there, and the new one once success was told, however
/// much of what was not synced has survived; and the next runs just work.
#[test]
fn power_fails_at_every_operation() {
    let runs = Runs::new();
    let mut seen = BTreeSet::new();
    let survivals = if is_long() { survivals() } else { FEW.to_vec() };
    let checked = at_every_operation(
        &runs.history,
        0..=runs.history.count(),
        &survivals,
        |at| runs.told(at),
        |failure| {
            let dir = backup(failure.dir);
            let what = || failure.what();
            let found = require_whole(&dir, &runs.expected(failure.at), &what);
            seen.insert((runs.told(failure.at), found));
            runs.servers.next_runs(&dir, None, &what);
        },
    );
    assert!(checked > 150, "only {checked} images");
    let both = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0)];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), both, "both outcomes of each run");
}

/// A run is killed or fails at any of its operations, and the power in the middle of the next one,
/// which completes the roll-forward or removes what is left: what the first left in memory only is
/// not taken for durable. An ordinary run tries one of `each` operations.
fn power_fails_after(run: Run, fault: Fault, each: usize) {
    let each = if is_long() { 1 } else { each };
    let servers = Servers::new();
    let start = in_memory();
    let old = run.begin(&servers, &backup(start.path()));
    let start = Replay::of(&History::of(start.path()).unwrap()).image(Survival::Least);
    let (mut at, mut frequent, mut checked) = (0, 0, 0);
    loop {
        let dir = in_memory();
        start.write_to(dir.path()).unwrap();
        let to = backup(dir.path());
        let history = History::of(dir.path()).unwrap();
        let (faulty, disk) = faulty(&history, fault, at);
        let done = open(disk, &to).and_then(|mirror| run.run(&servers, &mirror));
        if faulty.count() <= at {
            done.unwrap();
            break;
        }
        let operation = operation(&faulty, at);
        at += each;
        if is_passed_over(&operation, &DECIDES_HERE, &mut frequent) {
            continue;
        }
        let failed = history.count();
        let after = state(&to);
        drop(open(history.disk(real()), &to).unwrap());
        let opened = history.count();
        checked += at_every_operation(
            &history,
            failed..=opened,
            &FEW,
            |_| 0,
            |failure| {
                let told = done.as_ref().map(|entry| entry.last_tx.tx_id);
                let what = || format!("{operation}: {told:?} then {}", failure.what());
                let expected = match &done {
                    Ok(_) => vec![after.as_ref()],
                    Err(_) => vec![old.as_ref(), after.as_ref()],
                };
                require_whole(&backup(failure.dir), &expected, &what);
                if failure.at == opened {
                    servers.next_runs(&backup(failure.dir), None, &what);
                }
            },
        );
    }
    assert!(checked > 10, "only {checked} images");
}

/// There was no backup before.
#[test]
fn power_fails_after_a_killed_first_backup() {
    power_fails_after(Run::First, Fault::Kill, 7);
}

/// What a killed increment appended is not durable, nor cut off.
#[test]
fn power_fails_after_a_killed_increment() {
    power_fails_after(Run::Increment, Fault::Kill, 1);
}

/// The same after a failure, which may lose what a sync was to save.
#[test]
fn power_fails_after_a_failed_increment() {
    power_fails_after(Run::Increment, Fault::FailOnce(FaultKind::Device), 1);
}

/// The old backup and the new one are in the same directory.
#[test]
fn power_fails_after_a_killed_full_backup() {
    power_fails_after(Run::Full, Fault::Kill, 3);
}

/// The same after a failure, which may lose what a sync was to save.
#[test]
fn power_fails_after_a_failed_full_backup() {
    power_fails_after(Run::Full, Fault::FailOnce(FaultKind::Device), 7);
}
