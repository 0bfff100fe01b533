//! A renewal and increments of one database by one process: a follower goes on while it renews.

use std::path::Path;
use std::sync::Arc;

use fs::Busy;
use fs::fault::{Fault, FaultDisk, FaultKind};
use mirror::{Backup, BackupType, Mirror, Reason, Staged};

use crate::power::in_memory;
use crate::support::*;

fn open(dir: &Path) -> Mirror {
    Mirror::open_for_write(real(), dir, Busy::Fail).unwrap()
}

fn renewal(mirror: &Mirror, copy: &Copy) -> Staged {
    let staged = mirror.begin(&copy.session, Reason::Renewal).unwrap();
    copy.feed(&staged).unwrap();
    staged
}

/// What an increment brings while a renewal is staged is not lost: a renewal that ends before it is
/// refused, one that ends behind it takes its place, and increments go on.
#[test]
fn a_renewal_takes_no_increment_back() {
    for name in FIXTURES {
        let young = Young::of(name);
        let dir = tempfile::tempdir().unwrap();
        let old = young.copy("neo4j");
        old.back_up(real(), dir.path()).unwrap();
        let mirror = open(dir.path());
        let staged = renewal(&mirror, &old);
        let after = mirror.after("neo4j").unwrap().unwrap();
        let increment = Step::of(name, &after, "neo4j").run(&mirror).unwrap();
        let refused = staged.commit(&old.outcome()).unwrap_err();
        assert!(refused.to_string().contains("ends before the backup"), "{refused}");
        drop(staged);
        assert_eq!(mirror.manifest().database("neo4j"), Some(&increment));
        assert!(verify(dir.path()).is_clean());

        let home = whole(name);
        let new = Copy::at(home.path(), "neo4j").changed(3);
        let staged = renewal(&mirror, &new);
        assert_eq!(mirror.after("neo4j").unwrap().unwrap().last_tx.tx_id, increment.last_tx.tx_id);
        let renewed = staged.commit(&new.outcome()).unwrap();
        assert_eq!(
            (renewed.backup_type, renewed.reason),
            (BackupType::Full, Some(Reason::Renewal))
        );
        assert_eq!(mark(dir.path()), Some(3));
        let after = mirror.after("neo4j").unwrap().unwrap();
        Step::of(name, &after, "neo4j").run(&mirror).unwrap();
        assert!(verify(dir.path()).is_clean());
    }
}

/// A process that goes on after any one operation of an increment or a renewal has failed: what it does
/// next begins from what is on the disk, not from what it believes.
#[test]
fn a_process_goes_on_after_a_failure() {
    let name = FIXTURES[0];
    let home = whole(name);
    let (young, whole) =
        (Young::of(name).copy("neo4j").changed(1), Copy::at(home.path(), "neo4j").changed(3));
    for renews in [false, true] {
        let (mut at, mut failures) = (0, 0);
        loop {
            let dir = in_memory();
            young.back_up(real(), dir.path()).unwrap();
            let disk = FaultDisk::new(Fault::FailOnce(FaultKind::Device), at);
            let opened = Mirror::open_for_write(Arc::new(disk.clone()), dir.path(), Busy::Fail);
            at += 1;
            let Ok(mirror) = opened else { continue };
            let once = || match renews {
                true => {
                    let staged = mirror.begin(&whole.session, Reason::Renewal)?;
                    whole.feed(&staged)?;
                    staged.commit(&whole.outcome())
                }
                false => {
                    let after = mirror.after("neo4j")?.unwrap();
                    Step::of(name, &after, "neo4j").run(&mirror)
                }
            };
            failures += usize::from(once().is_err());
            if disk.count() < at {
                break;
            }
            let after = mirror.after("neo4j").unwrap().unwrap();
            Step::of(name, &after, "neo4j").run(&mirror).unwrap();
            let report = verify(dir.path());
            assert!(
                report.is_clean(),
                "operation {}: {:?} {:?}",
                at - 1,
                report.findings,
                disk.trace()
            );
            let found = Backup::open(dir.path()).unwrap().manifest().clone();
            assert_eq!(mirror.manifest(), found, "operation {}", at - 1);
            let last = found.database("neo4j").unwrap().last_tx.tx_id;
            assert_eq!(last, whole.finished.last_tx.tx_id, "operation {}", at - 1);
        }
        assert!(failures > if renews { 60 } else { 8 }, "{failures} of {at}");
    }
}

/// A file that somebody changed is noticed, also while a renewal has links to it, and after one that
/// was given up.
#[test]
fn links_hide_no_change() {
    for give_up_first in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let copy = Copy::of(FIXTURES[0], "neo4j").changed(1);
        copy.back_up(real(), dir.path()).unwrap();
        let mirror = open(dir.path());
        let staged = renewal(&mirror, &copy);
        if give_up_first {
            drop(staged);
            mirror.after("neo4j").unwrap();
        }
        let path = dir.path().join("databases/neo4j/schema/index/range-1.0/1000/some file");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[50_000] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let refused = mirror.after("neo4j").unwrap_err();
        assert!(matches!(refused, mirror::Error::ChangedByHand { .. }), "{refused}");
    }
}

/// A change by hand is not forgotten when the manifest is written anew for another database.
#[test]
fn another_databases_commit_hides_no_change() {
    let dir = tempfile::tempdir().unwrap();
    let copies = ["neo4j", "other"].map(|name| Copy::of(FIXTURES[0], name).changed(1));
    for copy in &copies {
        copy.back_up(real(), dir.path()).unwrap();
    }
    let pause = || std::thread::sleep(std::time::Duration::from_millis(50));
    pause();
    let path = dir.path().join("databases/other/schema/index/range-1.0/1000/some file");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[50_000] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    pause();
    let mirror = open(dir.path());
    assert!(mirror.after("neo4j").unwrap().is_some());
    copies[0].run(&mirror).unwrap();
    pause();
    let require_refused = |mirror: &Mirror| {
        let refused = mirror.after("other").unwrap_err();
        assert!(matches!(refused, mirror::Error::ChangedByHand { .. }), "{refused}");
    };
    require_refused(&mirror);
    drop(mirror);
    require_refused(&open(dir.path()));
}

/// Somebody keeps the backup as it is by links (`cp -al`) while a renewal is staged: his files stay what
/// they are.
#[test]
fn other_peoples_links_are_not_written_through() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) =
        (Copy::of(FIXTURES[0], "neo4j").changed(1), Copy::of(FIXTURES[0], "neo4j").changed(3));
    old.back_up(real(), dir.path()).unwrap();
    let mirror = open(dir.path());
    let staged = renewal(&mirror, &new);
    let file = dir.path().join("databases/neo4j/schema/index/range-1.0/1000/some file");
    let (kept, before) = (dir.path().with_extension("kept"), std::fs::read(&file).unwrap());
    std::fs::hard_link(&file, &kept).unwrap();
    staged.commit(&new.outcome()).unwrap();
    assert_eq!(mark(dir.path()), Some(3));
    assert!(std::fs::read(&kept).unwrap() == before, "it was written to");
    std::fs::remove_file(kept).unwrap();
    assert!(verify(dir.path()).is_clean());
    assert_eq!(fs::entries(file.parent().unwrap()).unwrap().len(), 1, "leftovers");
    mirror.after("neo4j").unwrap();
}

/// Whoever reads a backup is not disturbed by increments, which only add to it.
#[test]
fn reading_goes_on_while_a_mirror_follows() {
    let young = Young::of(FIXTURES[0]);
    let dir = tempfile::tempdir().unwrap();
    young.copy("neo4j").back_up(real(), dir.path()).unwrap();
    let backup = Backup::open(dir.path()).unwrap();
    let mirror = open(dir.path());
    let after = mirror.after("neo4j").unwrap().unwrap();
    Step::of(FIXTURES[0], &after, "neo4j").run(&mirror).unwrap();
    let report = mirror::verify(&backup, &|_| ()).unwrap();
    assert!(report.is_clean() && !report.replaced_meanwhile, "{report:?}");
    let home = whole(FIXTURES[0]);
    Copy::at(home.path(), "neo4j").run(&mirror).unwrap();
    assert!(!backup.is_current().unwrap());
}
