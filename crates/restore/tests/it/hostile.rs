//! The data directory belongs to somebody who would like root to rename and to delete for him.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use restore::{Destination, Error, Options};
use rustix::process::geteuid;

use crate::support::{real, tree};
use crate::{Fixture, assert_is, names};

const STAGING: &str = ".neo4j-backup-restoring";

/// A staging directory as a run that was killed leaves it, with this journal in it.
fn interrupted(fixture: &Fixture, staging: &[&Path], moves: &[(&Path, &Path)]) {
    let own = fixture.data().join(STAGING);
    std::fs::create_dir_all(&own).unwrap();
    std::fs::set_permissions(&own, Permissions::from_mode(0o700)).unwrap();
    let text = |path: &Path| format!("{:?}", path.to_str().unwrap());
    let staging: Vec<_> = staging.iter().map(|dir| text(dir)).collect();
    let moves =
        moves.iter().map(|(from, to)| format!("{{\"from\":{},\"to\":{}}}", text(from), text(to)));
    let moves: Vec<_> = moves.collect();
    let journal =
        format!("{{\"staging\":[{}],\"moves\":[{}]}}", staging.join(","), moves.join(","));
    std::fs::write(own.join("journal.json"), journal).unwrap();
    std::fs::write(own.join("lock"), b"").unwrap();
}

/// All that is there, but for the text in the lock file.
fn all(fixture: &Fixture) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = tree(fixture.dir.path());
    found.retain(|(path, _)| !path.ends_with("lock"));
    found
}

/// A link in the place of the staging directory, one that others may write to, one of another user,
/// a file: refused, whatever is in it, and nothing is touched. So on the data directory's own file
/// system, and beside a root on another.
#[test]
fn a_staging_directory_of_others_is_refused() {
    let fixture = Fixture::new();
    let data = fixture.data();
    for dir in ["databases", "transactions", STAGING] {
        std::fs::create_dir_all(data.join(dir)).unwrap();
    }
    let (staging, theirs) = (data.join(STAGING), fixture.path("theirs"));
    std::fs::write(staging.join("precious"), b"1").unwrap();
    std::fs::rename(&staging, &theirs).unwrap();
    let refused = |what: &str| {
        for force in [false, true] {
            let before = all(&fixture);
            let error = fixture.restore(force).unwrap_err();
            assert!(matches!(error, Error::Staging { .. }), "{what}: {error}");
            assert!(error.to_string().contains(what), "{what}: {error}");
            assert!(all(&fixture) == before, "{what}");
        }
    };
    symlink(&theirs, &staging).unwrap();
    refused("not a directory");
    std::fs::remove_file(&staging).unwrap();
    std::fs::write(&staging, b"").unwrap();
    refused("not a directory");
    std::fs::remove_file(&staging).unwrap();
    std::fs::rename(&theirs, &staging).unwrap();
    std::fs::set_permissions(&staging, Permissions::from_mode(0o770)).unwrap();
    refused("mode 0770");
    std::fs::set_permissions(&staging, Permissions::from_mode(0o700)).unwrap();
    if geteuid().is_root() {
        std::os::unix::fs::chown(&staging, Some(4321), Some(4321)).unwrap();
        refused("user 4321");
        std::os::unix::fs::chown(&staging, Some(0), Some(0)).unwrap();
    } else {
        eprintln!("SKIPPED: only root can give a directory to another user");
    }
    fixture.restore(false).unwrap();
    assert_eq!(names(&data), ["databases", "transactions"]);
}

/// As above, for the second staging directory that a root on another file system needs.
#[test]
fn a_staging_directory_of_others_is_refused_everywhere() {
    let fixture = Fixture::new();
    let other = tempfile::tempdir().unwrap();
    let device = |path: &Path| std::fs::metadata(path).unwrap().dev();
    if device(other.path()) == device(fixture.dir.path()) {
        eprintln!("SKIPPED: there is no second file system");
        return;
    }
    let (volume, theirs) = (other.path().join("volume"), other.path().join("theirs"));
    std::fs::create_dir_all(volume.join("tx")).unwrap();
    std::fs::create_dir(&theirs).unwrap();
    std::fs::create_dir(fixture.data()).unwrap();
    symlink(volume.join("tx"), fixture.data().join("transactions")).unwrap();
    symlink(&theirs, volume.join(STAGING)).unwrap();
    let error = fixture.restore(true).unwrap_err();
    assert!(matches!(error, Error::Staging { .. }), "{error}");
    assert!(names(&theirs).is_empty());
    assert!(volume.join(STAGING).is_symlink());
    assert!(names(&volume.join("tx")).is_empty());
    std::fs::remove_file(volume.join(STAGING)).unwrap();
    fixture.restore(true).unwrap();
    assert_eq!(names(&volume), ["tx"]);
}

/// A journal that names what no restore moves is an error, and nothing is renamed or removed.
#[test]
fn a_journal_of_others_is_not_believed() {
    let fixture = Fixture::new();
    let (data, theirs) = (fixture.data(), fixture.path("theirs"));
    let own = data.join(STAGING);
    for dir in ["databases/neo4j", "transactions", "neo4j-backup-replaced/neo4j-1"] {
        std::fs::create_dir_all(data.join(dir)).unwrap();
    }
    for dir in ["x/store", STAGING] {
        std::fs::create_dir_all(theirs.join(dir)).unwrap();
        std::fs::write(theirs.join(dir).join("precious"), b"1").unwrap();
    }
    symlink(theirs.join("x"), data.join("neo4j-backup-replaced/link")).unwrap();
    symlink(&theirs, data.join("elsewhere")).unwrap();
    let replaced = data.join("neo4j-backup-replaced");
    let place = data.join("databases/other");
    let away = theirs.join("away");
    let staged = own.join("0/store");
    let wrong_moves: &[(PathBuf, PathBuf)] = &[
        // From anywhere, to anywhere.
        (away.clone(), theirs.join("x")),
        (place.clone(), theirs.join("x")),
        (place.clone(), theirs.join("x/store")),
        (away.clone(), data.join("databases/neo4j")),
        (staged.clone(), theirs.join("x")),
        (theirs.join(STAGING).join("0/store"), place.clone()),
        // Out of the directories, past them, not deep enough, too deep.
        (staged.clone(), data.join("databases/../../theirs/x")),
        (staged.clone(), data.join("databases/..")),
        (own.join("../../theirs/away"), data.join("databases/neo4j")),
        (own.join("0/.."), data.join("databases/neo4j")),
        (place.clone(), replaced.join("../store")),
        (own.join("0"), data.join("databases/neo4j")),
        (own.clone(), data.join("databases/neo4j")),
        (staged.clone(), data.join("databases/neo4j/store")),
        (place.clone(), replaced.join("neo4j-1")),
        (place.clone(), data.join("databases/neo4j")),
        // Through a link.
        (place.clone(), replaced.join("link/store")),
        (place.clone(), data.join("elsewhere/neo4j-backup-replaced/x/store")),
        (PathBuf::from("away"), PathBuf::from("databases/neo4j")),
    ];
    let refused = |staging: &[&Path], moves: &[(&Path, &Path)]| {
        interrupted(&fixture, staging, moves);
        let before = all(&fixture);
        let error = fixture.restore(true).unwrap_err();
        assert!(matches!(error, Error::Journal { .. }), "{staging:?} {moves:?}: {error}");
        assert!(all(&fixture) == before, "{staging:?} {moves:?}");
    };
    for (from, to) in wrong_moves {
        // Not the last one, which decides whether all was done.
        let last = (&*staged, &*data.join("databases/last"));
        refused(&[&own], &[(from, to), last]);
        refused(&[&own], &[(from, to)]);
    }
    for dir in [&theirs.join(STAGING), &theirs, &data, &own.join("0"), &data.join("databases")] {
        refused(&[&own, dir], &[]);
    }
    if geteuid().is_root() {
        interrupted(&fixture, &[&own], &[]);
        std::os::unix::fs::chown(own.join("journal.json"), Some(4321), None).unwrap();
        let error = fixture.restore(true).unwrap_err();
        assert!(matches!(error, Error::Journal { .. }), "{error}");
    } else {
        eprintln!("SKIPPED: only root can give a file to another user");
    }
    std::fs::remove_dir_all(&own).unwrap();
    fixture.restore(true).unwrap();
}

/// What is moved aside does not go where a link leads.
#[test]
fn old_directories_are_not_moved_through_a_link() {
    let fixture = Fixture::new();
    let (data, theirs) = (fixture.data(), fixture.path("theirs"));
    std::fs::create_dir_all(data.join("databases/neo4j")).unwrap();
    std::fs::create_dir_all(data.join("transactions/neo4j")).unwrap();
    std::fs::create_dir(&theirs).unwrap();
    symlink(&theirs, data.join("neo4j-backup-replaced")).unwrap();
    let before = all(&fixture);
    let error = fixture.restore(true).unwrap_err();
    assert!(matches!(error, Error::Journal { .. }), "{error}");
    assert!(all(&fixture) == before);
}

/// While files are copied, nobody else can get at them; the databases' owner gets them in the end.
#[test]
fn the_staging_directory_is_ours_until_the_end() {
    let fixture = Fixture::new();
    let data = fixture.data();
    std::fs::create_dir_all(&data).unwrap();
    std::fs::set_permissions(&data, Permissions::from_mode(0o777)).unwrap();
    let uid = if geteuid().is_root() { 4321 } else { geteuid().as_raw() };
    std::os::unix::fs::chown(&data, Some(uid), None).unwrap();
    let looked = std::sync::atomic::AtomicUsize::new(0);
    let look = |_: u64| {
        let found = std::fs::symlink_metadata(data.join(STAGING)).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o777), (geteuid().as_raw(), 0o700));
        looked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    };
    let to = Destination::from_data(&data);
    let options = Options { to, databases: vec!["neo4j".into()], force: false, until: None };
    restore::restore(&real(), &fixture.backup(), &options, &look, &AtomicBool::new(false)).unwrap();
    assert!(looked.into_inner() > 0);
    assert_is(&fixture.copy, &data.join("databases/neo4j"), &data.join("transactions/neo4j"));
    for half in ["databases/neo4j", "transactions/neo4j"] {
        let found = std::fs::metadata(data.join(half)).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o777), (uid, 0o777));
    }
}
