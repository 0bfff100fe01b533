//! A renewal and increments of one database by one process: a follower goes on while it renews.

use std::path::Path;

use fs::Busy;
use mirror::{BackupType, Mirror, Reason, Staged};

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
