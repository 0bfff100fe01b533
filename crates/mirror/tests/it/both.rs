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
