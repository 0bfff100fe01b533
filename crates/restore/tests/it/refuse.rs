use std::path::Path;
use std::sync::atomic::AtomicBool;

use mirror::FindingKind;
use restore::{Destination, Error, Options};
use rustix::process::{Flock, FlockType};

use crate::support::{real, tree};
use crate::{Fixture, names};

/// A flipped byte in any file of the backup: nothing is restored, an old database stays, no
/// leftovers.
#[test]
fn a_damaged_backup_is_not_restored() {
    let fixture = Fixture::new();
    std::fs::create_dir_all(fixture.data().join("databases/neo4j")).unwrap();
    std::fs::write(fixture.data().join("databases/neo4j/old"), b"1").unwrap();
    std::fs::create_dir_all(fixture.data().join("transactions")).unwrap();
    let before = tree(&fixture.data());
    let mut tried = 0;
    for root in ["databases/neo4j", "transactions/neo4j"] {
        for entry in fs::walk(&fixture.backup().join(root)).unwrap() {
            let path = fixture.backup().join(root).join(&entry.path);
            if entry.size_bytes == 0 {
                continue;
            }
            let good = std::fs::read(&path).unwrap();
            let mut bad = good.clone();
            bad[good.len() / 3] ^= 0x10;
            std::fs::write(&path, &bad).unwrap();
            let Err(Error::Corrupt { findings }) = fixture.restore(true) else { panic!() };
            assert!(findings.iter().any(|f| f.kind == FindingKind::Block && f.path == path));
            assert!(tree(&fixture.data()) == before, "{}", path.display());
            std::fs::remove_file(&path).unwrap();
            let Err(Error::Corrupt { findings }) = fixture.restore(true) else { panic!() };
            assert!(findings.iter().any(|f| f.kind == FindingKind::Missing && f.path == path));
            std::fs::write(&path, &good).unwrap();
            tried += 1;
        }
    }
    assert!(tried > 15);
    assert!(tree(&fixture.data()) == before);
    fixture.restore(true).unwrap();
}

/// Only what the manifest lists is restored: stale files beside it would be believed by Neo4j.
#[test]
fn extra_files_in_the_backup_are_not_restored() {
    let fixture = Fixture::new();
    std::fs::write(fixture.backup().join("databases/neo4j/neostore.counts.db"), b"x").unwrap();
    fixture.restore(false).unwrap();
    assert!(!fixture.data().join("databases/neo4j/neostore.counts.db").exists());
}

/// A running server is known by its POSIX locks, held by another process; nothing is touched.
#[test]
fn a_running_server_is_not_disturbed() {
    for name in ["databases/store_lock", "databases/neo4j/database_lock"] {
        let fixture = Fixture::new();
        let lock = fixture.data().join(name);
        std::fs::create_dir_all(lock.parent().unwrap()).unwrap();
        std::fs::write(&lock, b"").unwrap();
        let script = "import fcntl,sys,time\nf=open(sys.argv[1],'r+')\n\
                      fcntl.lockf(f,fcntl.LOCK_EX)\nprint('held',flush=True)\ntime.sleep(60)";
        let mut holder = std::process::Command::new("python3")
            .args(["-c", script])
            .arg(&lock)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = std::io::BufReader::new(holder.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        let before = tree(&fixture.data());
        let error = fixture.restore(true).unwrap_err();
        holder.kill().unwrap();
        holder.wait().unwrap();
        let Error::DatabaseRunning { pid, .. } = error else { panic!("{error}") };
        assert_eq!(pid, holder.id());
        assert!(tree(&fixture.data()) == before);
        fixture.restore(true).unwrap();
    }
    let free = Flock::from(FlockType::WriteLock);
    assert!(free.pid.is_none());
}

/// Neither into the backup, nor into something in it, nor into another backup, by any path.
#[test]
fn a_backup_is_no_destination() {
    let fixture = Fixture::new();
    std::os::unix::fs::symlink(fixture.backup(), fixture.path("link")).unwrap();
    let before = tree(&fixture.backup());
    for to in ["backup", "backup/data", "backup/databases/neo4j", "link/x", "data/../backup"] {
        std::fs::create_dir_all(fixture.data()).unwrap();
        let to = Destination::from_data(&fixture.path(to));
        let error = fixture.restore_with(&real(), &to, true).unwrap_err();
        assert!(matches!(error, Error::InsideBackup { .. }), "{error}");
        assert!(!error.hint().is_empty());
    }
    assert!(tree(&fixture.backup()) == before);
    // The other way round is common: backups kept in the data directory's file system.
    std::fs::rename(fixture.backup(), fixture.data().join("backup")).unwrap();
    std::fs::create_dir(fixture.data().join("databases")).unwrap();
    let options = Options {
        to: Destination::from_data(&fixture.data()),
        databases: Vec::new(),
        force: false,
        until: None,
    };
    restore::restore(
        &real(),
        &fixture.data().join("backup"),
        &options,
        &|_| (),
        &AtomicBool::new(false),
    )
    .unwrap();
}

/// A directory with something else in it, a file, a backup that is none, a database that it does
/// not have.
#[test]
fn mistaken_names_are_refused() {
    let fixture = Fixture::new();
    let home = fixture.path("home");
    std::fs::create_dir_all(home.join("data")).unwrap();
    std::fs::create_dir_all(home.join("conf")).unwrap();
    let error = fixture.restore_with(&real(), &Destination::from_data(&home), true).unwrap_err();
    let Error::NotADataDirectory { found, .. } = error else { panic!("{error}") };
    assert_eq!(found, ["conf", "data"]);
    assert_eq!(names(&home), ["conf", "data"]);
    std::fs::write(fixture.path("file"), b"").unwrap();
    let to = Destination::from_data(&fixture.path("file"));
    assert!(fixture.restore_with(&real(), &to, true).is_err());
    let options = |name: &str| Options {
        to: Destination::from_data(&fixture.data()),
        databases: vec![name.to_owned()],
        force: false,
        until: None,
    };
    let restore = |from: &Path, name| {
        restore::restore(&real(), from, &options(name), &|_| (), &AtomicBool::new(false))
    };
    assert!(matches!(
        restore(&home, "neo4j"),
        Err(Error::Backup(mirror::Error::NotABackup { .. }))
    ));
    assert!(matches!(
        restore(&fixture.backup(), "other"),
        Err(Error::Backup(mirror::Error::NoSuchDatabase { .. }))
    ));
    assert!(!fixture.data().exists());
}
