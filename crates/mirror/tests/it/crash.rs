use std::collections::BTreeSet;
use std::sync::Arc;

use fs::fault::{Fault, FaultDisk, FaultKind};

use crate::power::in_memory;
use crate::support::*;

/// A run that is killed at any of its operations leaves the old backup or the new one, whole and
/// verified (or, in a blank directory, nothing that hinders); the next run just works.
#[test]
fn killed_at_every_operation() {
    let base = Copy::of(FIXTURES[1], "neo4j");
    let (old, new, next) = (base.changed(1), base.changed(2), base.changed(3));
    for first in [true, false] {
        let mut seen = BTreeSet::new();
        let mut at = 0;
        loop {
            let dir = in_memory();
            let dir = dir.path().join("backup");
            if !first {
                old.back_up(real(), &dir).unwrap();
            }
            let disk = FaultDisk::new(Fault::Kill, at);
            let done = new.back_up(Arc::new(disk.clone()), &dir);
            if disk.count() <= at {
                done.unwrap();
                break;
            }
            let found = mark(&dir);
            let expected: &[_] = if first { &[None, Some(2)] } else { &[Some(1), Some(2)] };
            assert!(expected.contains(&found), "operation {at}: {found:?} {:?}", disk.trace());
            if found.is_some() {
                let report = verify(&dir);
                assert!(report.is_clean(), "operation {at}: {:?}", report.findings);
            }
            if done.is_ok() {
                assert_eq!(found, Some(2), "operation {at}");
            }
            seen.insert(found);
            next.back_up(real(), &dir).unwrap();
            assert_eq!(mark(&dir), Some(3), "operation {at}");
            assert!(verify(&dir).is_clean(), "operation {at}");
            let names = fs::entries(&dir).unwrap().len();
            assert_eq!(names, 5, "operation {at}: leftovers");
            let pages = fs::entries(&dir.join(".neo4j-backup.pages")).unwrap().len();
            assert_eq!(pages, 1, "operation {at}: leftovers");
            at += 1;
        }
        assert!(at > 100, "only {at} operations");
        assert_eq!(seen.len(), 2, "both outcomes were seen");
    }
}

/// One operation that fails (a full disk, a failing device) is an error or does no harm: never is
/// a success told of a backup that is not whole, and the old one stays.
#[test]
fn failed_at_every_operation() {
    let base = Copy::of(FIXTURES[1], "neo4j");
    let (old, new) = (base.changed(1), base.changed(2));
    for kind in [FaultKind::NoSpace, FaultKind::Device] {
        let mut errors = 0;
        let mut at = 0;
        loop {
            let dir = in_memory();
            old.back_up(real(), dir.path()).unwrap();
            let disk = FaultDisk::new(Fault::FailOnce(kind), at);
            let done = new.back_up(Arc::new(disk.clone()), dir.path());
            if disk.count() <= at {
                break;
            }
            let found = mark(dir.path());
            match &done {
                Ok(_) => assert_eq!(found, Some(2), "operation {at}"),
                Err(error) => {
                    errors += 1;
                    assert_eq!(error.is_no_space(), kind == FaultKind::NoSpace, "{error:?}");
                    assert!(matches!(found, Some(1 | 2)), "operation {at}");
                }
            }
            let report = verify(dir.path());
            assert!(report.is_clean(), "operation {at}: {:?}", report.findings);
            old.back_up(real(), dir.path()).unwrap();
            at += 1;
        }
        assert!(errors > 90, "only {errors} errors in {at} operations");
    }
}
