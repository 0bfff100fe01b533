//! A power failure at every operation of a run that was recorded.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use fs::Disk;
use fs::fault::{Fault, FaultDisk, History, Replay, Survival};

/// All that the disk may have kept.
pub fn survivals() -> Vec<Survival> {
    use Survival::{Data, Least, Lengths, Most, Names, Some};
    let seeds = if is_long() { 1..=12 } else { 1..=2 };
    [Least, Most, Names, Lengths, Data].into_iter().chain(seeds.map(Some)).collect()
}

/// For power failures in what comes after another failure.
pub const FEW: [Survival; 3] = [Survival::Least, Survival::Names, Survival::Some(1)];
/// Of what there is most of, and decides nothing, an ordinary run looks at one in so many.
const FREQUENT_EACH: usize = 7;

pub fn is_long() -> bool {
    std::env::var_os("NEO4J_BACKUP_TEST_LONG").is_some()
}

/// What decides at a power failure: renames and syncs, the manifest and the journals.
const DECIDES: [&str; 4] = ["rename", "sync", ".json", "changes"];
/// At another fault, before it: only the syncs of directories.
pub const DECIDES_BEFORE: [&str; 4] = ["rename", "sync directory", ".json", "changes"];

/// Whether an operation, as traces have it, need not be looked at in an ordinary run: it has none of
/// these words, and is not one of those that are looked at all the same, counted in `frequent`.
pub fn is_passed_over(operation: &str, decides: &[&str], frequent: &mut usize) -> bool {
    if is_long() || decides.iter().any(|word| operation.contains(word)) {
        return false;
    }
    *frequent += 1;
    !frequent.is_multiple_of(FREQUENT_EACH)
}

/// Thousands of syncs: on a real disk they would take minutes.
pub fn in_memory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// A recorded disk whose operation number `at` meets a fault. After one that was no kill, what a sync
/// failed to save is lost, though a later one tells of success.
pub fn faulty(history: &History, fault: Fault, at: usize) -> (FaultDisk, Arc<dyn Disk>) {
    let faulty = FaultDisk::new(fault, at);
    let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
    let disk = match fault {
        Fault::Kill => history.disk(disk),
        _ => history.disk_that_forgets(disk),
    };
    (faulty, disk)
}

/// The operation of that number, as the trace has it.
pub fn operation(faulty: &FaultDisk, at: usize) -> String {
    let is_it = |line: &String| line.starts_with(&format!("{at} "));
    faulty.trace().into_iter().find(is_it).unwrap()
}

/// One moment of a history, and what was there then.
pub struct Failure<'a> {
    /// So many operations had been done.
    pub at: usize,
    pub survival: Survival,
    /// What the disk kept.
    pub dir: &'a Path,
    history: &'a History,
}

impl Failure<'_> {
    /// For a failing test's message.
    pub fn what(&self) -> String {
        let last = self.history.trace(self.at.saturating_sub(12), self.at + 1);
        format!("operation {} {:?} {last:#?}", self.at, self.survival)
    }
}

/// Fails the power before each of these operations. What the disk kept takes the place of the directory
/// whose history it is: journals name their paths. What has been looked at already, with the same
/// result expected (`expected` of the number of operations), is passed over.
pub fn at_every_operation(
    history: &History,
    operations: RangeInclusive<usize>,
    survivals: &[Survival],
    expected: impl Fn(usize) -> usize,
    mut check: impl FnMut(&Failure<'_>),
) -> usize {
    let dir = history.root();
    let mut replay = Replay::of(history);
    let mut seen = BTreeSet::new();
    let (mut frequent, mut checked) = (0, 0);
    for at in operations {
        let next = history.trace(at, at + 1);
        if next.iter().any(|operation| is_passed_over(operation, &DECIDES, &mut frequent)) {
            continue;
        }
        replay.go_to(at);
        for survival in survivals {
            let image = replay.image(*survival);
            if !seen.insert((image.digest(), expected(at))) {
                continue;
            }
            empty(&dir);
            image.write_to(&dir).unwrap();
            check(&Failure { at, survival: *survival, dir: &dir, history });
            checked += 1;
        }
    }
    checked
}

fn empty(dir: &Path) {
    for (name, kind) in fs::entries(dir).unwrap() {
        let path = dir.join(name);
        match kind {
            fs::EntryKind::Dir => std::fs::remove_dir_all(path),
            _ => std::fs::remove_file(path),
        }
        .unwrap();
    }
}
