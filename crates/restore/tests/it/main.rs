//! Restores of backups made from real servers' files, and what forbids or disturbs them.

mod crash;
mod crash_power;
mod hostile;
mod place;
mod point;
#[path = "../../../mirror/tests/it/power.rs"]
mod power;
mod refuse;
#[allow(dead_code, reason = "shared with the tests of mirror, which use all of it")]
#[path = "../../../mirror/tests/it/support.rs"]
mod support;

mod three;
#[allow(dead_code, reason = "shared with the tests of mirror, which use all of it")]
#[path = "../../../mirror/tests/it/three_support.rs"]
mod three_support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fs::Disk;
use restore::{Destination, Error, Options, Report};

use support::{Copy, FIXTURES, real};

/// A directory with a backup of `neo4j` (and of `system`) in `backup`.
struct Fixture {
    dir: tempfile::TempDir,
    copy: Copy,
}

impl Fixture {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let (dir, copy) = (dir.unwrap(), Copy::of(FIXTURES[0], "neo4j"));
        let fixture = Self { dir, copy };
        fixture.copy.back_up(real(), &fixture.backup()).unwrap();
        Copy::of(FIXTURES[1], "system").back_up(real(), &fixture.backup()).unwrap();
        fixture
    }

    fn backup(&self) -> PathBuf {
        self.path("backup")
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn restore(&self, force: bool) -> Result<Report, Error> {
        self.restore_with(&real(), &Destination::from_data(&self.data()), force)
    }

    fn restore_with(
        &self,
        disk: &Arc<dyn Disk>,
        to: &Destination,
        force: bool,
    ) -> Result<Report, Error> {
        let options =
            Options { to: to.clone(), databases: vec!["neo4j".into()], force, until: None };
        restore::restore(disk, &self.backup(), &options, &|_| (), &AtomicBool::new(false))
    }
}

/// Fails unless the copy's files, and no others, are in these two directories.
fn assert_is(copy: &Copy, store: &Path, transactions: &Path) {
    let mut count = 0;
    for (file, bytes) in &copy.bytes {
        let dir = if file.kind.in_transactions() { transactions } else { store };
        let path = dir.join(&file.path);
        assert!(std::fs::read(&path).unwrap() == *bytes, "{}", path.display());
        count += 1;
    }
    let files = [store, transactions].map(|dir| {
        let found = fs::walk(dir).unwrap();
        found.iter().filter(|entry| entry.kind != fs::EntryKind::Dir).count()
    });
    assert_eq!(files.iter().sum::<usize>(), count);
}

/// The names in a directory.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::entries(dir).unwrap();
    entries.into_iter().map(|(name, _)| name.into_string().unwrap()).collect()
}
