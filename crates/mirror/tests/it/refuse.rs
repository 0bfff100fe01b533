use std::os::unix::fs::symlink;
use std::path::Path;

use client::Sink;
use fs::Busy;
use mirror::{Error, Mirror};
use wire::api::{FileInfo, FileKind, Session};

use crate::support::*;

fn open(dir: &Path) -> Result<Mirror, Error> {
    Mirror::open_for_write(real(), dir, Busy::Fail)
}

/// A directory with anything foreign in it is refused, the names are told, nothing is touched.
#[test]
fn foreign_content_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("letters"), b"dear").unwrap();
    std::fs::create_dir(dir.path().join(".neo4j-backup.staged")).unwrap();
    let before = tree(dir.path());
    let Err(Error::NotBlank { found, .. }) = open(dir.path()) else { panic!() };
    assert_eq!(found, ["letters"]);
    assert!(tree(dir.path()) == before);
    let file = dir.path().join("letters");
    assert!(matches!(open(&file), Err(Error::NotBlank { .. })));
}

/// Blank is: missing, empty, a fresh file system, what a killed first run left.
#[test]
fn blank_directories_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    open(&dir.path().join("missing/deep")).unwrap();
    open(dir.path().join("missing/deep").as_path()).unwrap();
    let fresh = dir.path().join("fresh");
    std::fs::create_dir_all(fresh.join("lost+found")).unwrap();
    std::fs::create_dir_all(fresh.join(".neo4j-backup.staged/123/store")).unwrap();
    std::fs::write(fresh.join(".neo4j-backup.lock"), b"").unwrap();
    std::fs::write(fresh.join(".neo4j-backup.json.new"), b"{").unwrap();
    open(&fresh).unwrap();
    let names: Vec<_> = fs::entries(&fresh).unwrap().into_iter().map(|e| e.0).collect();
    assert_eq!(names, [".neo4j-backup.lock", "lost+found"]);
}

/// Neo4j's data directory and everything in it is no place for a backup, by whatever path.
#[test]
fn a_target_inside_the_source_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir_all(data.join("databases/neo4j")).unwrap();
    std::fs::create_dir_all(data.join("transactions/neo4j")).unwrap();
    std::fs::write(data.join("databases/neo4j/neostore"), b"").unwrap();
    std::fs::write(data.join("transactions/neo4j/neostore.transaction.db.4"), b"").unwrap();
    symlink(&data, dir.path().join("link")).unwrap();
    // A root for the logs of its own, and a mount of `databases` under another name.
    std::fs::create_dir_all(dir.path().join("logs/system")).unwrap();
    std::fs::write(dir.path().join("logs/system/neostore.transaction.db.0"), b"").unwrap();
    std::fs::create_dir_all(dir.path().join("mount/neo4j")).unwrap();
    std::fs::write(dir.path().join("mount/store_lock"), b"").unwrap();
    for itself in ["logs", "mount", "data", "data/databases/neo4j", "link"] {
        let error = open(&dir.path().join(itself)).unwrap_err();
        assert!(matches!(error, Error::HoldsNeo4j { .. }), "{itself}: {error}");
    }
    for inside in [
        "logs/backup",
        "mount/backup",
        "data/backup",
        "data/databases",
        "data/databases/backup",
        "data/databases/neo4j/backup",
        "data/transactions/neo4j/backup",
        "link/backup",
        "data/../data/backup",
    ] {
        let error = open(&dir.path().join(inside)).unwrap_err();
        assert!(matches!(error, Error::InsideSource { .. }), "{inside}: {error}");
        assert!(!error.hint().is_empty());
    }
    open(&dir.path().join("beside")).unwrap();
}

/// A backup is no place for another backup; a link into it changes nothing.
#[test]
fn a_target_inside_a_backup_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    Copy::of(FIXTURES[0], "neo4j").back_up(real(), dir.path()).unwrap();
    for inside in ["another", "databases", "databases/neo4j", "transactions/x"] {
        let error = open(&dir.path().join(inside)).unwrap_err();
        let refused = matches!(error, Error::InsideBackup { .. } | Error::InsideSource { .. });
        assert!(refused, "{inside}: {error}");
    }
    open(dir.path()).unwrap();
}

/// A way that leads nowhere creates nothing; a link to nothing is no target.
#[test]
fn odd_ways_to_a_target_are_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let error = open(&dir.path().join("missing/../target")).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    symlink(dir.path().join("nothing"), dir.path().join("link")).unwrap();
    let error = open(&dir.path().join("link")).unwrap_err();
    assert!(matches!(error, Error::NotBlank { .. }), "{error}");
    let names: Vec<_> = fs::entries(dir.path()).unwrap().into_iter().map(|e| e.0).collect();
    assert_eq!(names, ["link"]);
}

/// While a first backup is being made it has no manifest yet, but is one all the same.
#[test]
fn a_target_inside_a_first_backup_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path()).unwrap();
    let error = open(&dir.path().join("another")).unwrap_err();
    assert!(matches!(error, Error::InsideBackup { .. }), "{error}");
}

/// A copy of a backup without its manifest is told as what it is, to a writer and to a reader, although
/// the lock is in it; while a first backup is made there is no manifest either, and others just wait.
#[test]
fn a_copy_without_its_manifest_is_told() {
    let dir = tempfile::tempdir().unwrap();
    Copy::of(FIXTURES[0], "neo4j").back_up(real(), dir.path()).unwrap();
    std::fs::remove_file(dir.path().join(mirror::MANIFEST_NAME)).unwrap();
    assert!(dir.path().join(".neo4j-backup.lock").exists());
    let before = tree(dir.path());
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, Error::HoldsNeo4j { .. }), "{error}");
    let read = mirror::Backup::open(dir.path()).unwrap_err();
    assert!(matches!(read, Error::NotABackup { holds_neo4j: true, .. }), "{read}");
    assert_eq!((read.to_string(), read.hint()), (error.to_string(), error.hint()));
    assert!(tree(dir.path()) == before);

    let blank = tempfile::tempdir().unwrap();
    let first = open(blank.path()).unwrap();
    let copy = Copy::of(FIXTURES[0], "neo4j");
    let staged = first.begin(&copy.session, mirror::Reason::FirstBackup).unwrap();
    assert!(matches!(open(blank.path()), Err(Error::InUse { .. })));
    let read = mirror::Backup::open(blank.path()).unwrap_err();
    assert!(matches!(read, Error::NotABackup { holds_neo4j: false, .. }), "{read}");
    drop(staged);
}

/// A second run is told who holds the target; waiting works.
#[test]
fn a_target_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap();
    let Err(Error::InUse { holder, .. }) = open(dir.path()) else { panic!() };
    assert_eq!(holder.pid, std::process::id());
    drop(first);
    open(dir.path()).unwrap();
}

/// A damaged manifest, or one of a later version, stops a writer before it touches anything.
#[test]
fn a_bad_manifest_stops_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    Copy::of(FIXTURES[0], "neo4j").back_up(real(), dir.path()).unwrap();
    let path = dir.path().join(mirror::MANIFEST_NAME);
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, good.replace("\"full\"", "\"fool\"")).unwrap();
    std::fs::create_dir_all(dir.path().join(".neo4j-backup.staged/1")).unwrap();
    let before = tree(dir.path());
    assert!(matches!(open(dir.path()), Err(Error::ManifestDamaged { .. })));
    std::fs::remove_file(&path).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(matches!(mirror::Backup::open(dir.path()), Err(Error::ManifestDamaged { .. })));
    std::fs::remove_file(&path).unwrap();
    let newer = good.replace("\"format_version\": 1", "\"format_version\": 9");
    std::fs::write(&path, &newer).unwrap();
    assert!(matches!(open(dir.path()), Err(Error::ManifestNewer { version: 9, .. })));
    std::fs::write(&path, good.replace("\"full\"", "\"fool\"")).unwrap();
    assert!(tree(dir.path()) == before);
}

/// Whatever a hostile service names, nothing is written outside of the target.
#[test]
fn hostile_names_and_sizes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("target");
    let copy = Copy::of(FIXTURES[0], "neo4j");
    let mirror = open(&target).unwrap();
    for name in ["", ".", "..", "a/b", "/", "../x", ".hidden", "a\0b", &"x".repeat(300)] {
        let mut session = copy.session.clone();
        session.database = name.to_owned();
        let error = mirror.begin(&session, mirror::Reason::FirstBackup).unwrap_err();
        assert!(matches!(error, Error::Untrusted { .. }), "{name:?}: {error}");
    }
    let staged = mirror.begin(&copy.session, mirror::Reason::FirstBackup).unwrap();
    for path in ["", ".", "..", "/etc/x", "../x", "a/../b", "a//b", "a/", "a\0b"] {
        let file = FileInfo { id: 1, kind: FileKind::Record, path: path.to_owned(), size_bytes: 1 };
        assert!(staged.create(&file).is_err(), "{path:?}");
    }
    let file =
        |kind, path: &str, size_bytes| FileInfo { id: 9, kind, path: path.into(), size_bytes };
    staged.create(&file(FileKind::Log, "deep/neostore.transaction.db.0", 1)).unwrap_err();
    staged.create(&file(FileKind::Record, "huge", u64::MAX)).unwrap_err();
    staged.create(&file(FileKind::Record, "neostore", 10)).unwrap();
    staged.create(&file(FileKind::Record, "again", 10)).unwrap_err();
    staged.write_at(9, 5, &[0; 6]).unwrap_err();
    staged.write_at(9, u64::MAX, &[0; 6]).unwrap_err();
    staged.write_at(8, 0, &[0; 6]).unwrap_err();
    staged.block(9, 4096, [0; 32]).unwrap_err();
    staged.block(9, 5, [0; 32]).unwrap_err();
    // Each is allowed, together they have too many blocks.
    let session = Session { block_bytes: 16, ..copy.session.clone() };
    let small = mirror.begin(&session, mirror::Reason::FirstBackup).unwrap();
    let many = |id| FileInfo { id, ..file(FileKind::Record, &format!("many{id}"), 2 << 20) };
    let refused = (100..120).find_map(|id| small.create(&many(id)).err()).unwrap();
    assert!(refused.to_string().contains("blocks"), "{refused}");
    drop((small, staged, mirror));
    let names: Vec<_> = fs::entries(dir.path()).unwrap().into_iter().map(|e| e.0).collect();
    assert_eq!(names, ["target"]);
    let mut session = copy.session.clone();
    session.files[0].size_bytes = 1 << 60;
    session.block_bytes = 1 << 50;
    let error = open(&target).unwrap().begin(&session, mirror::Reason::FirstBackup).unwrap_err();
    assert!(error.is_no_space(), "{error}");
}

/// A copy that lacks a file, a block or an end, that has bytes nobody promised, or whose logs do
/// not lead to what the service said, is never committed.
#[test]
fn a_copy_that_is_not_whole_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let good = Copy::of(FIXTURES[0], "neo4j");
    good.back_up(real(), dir.path()).unwrap();
    let before = std::fs::read(dir.path().join(mirror::MANIFEST_NAME)).unwrap();
    let check = |what: &str, copy: &Copy| {
        let error = copy.back_up(real(), dir.path()).map(|_| ()).expect_err(what);
        assert!(!error.hint().is_empty());
        let after = std::fs::read(dir.path().join(mirror::MANIFEST_NAME)).unwrap();
        assert!(after == before, "{what}: {error}");
        error
    };
    let mut copy = good.clone();
    copy.bytes.retain(|(file, _)| file.path != "neostore.nodestore.db");
    assert!(matches!(check("a file", &copy), Error::Incomplete { .. }));
    let mut copy = good.clone();
    copy.bytes.retain(|(file, _)| file.path != "neostore.nodestore.db");
    copy.session.files.retain(|file| file.path != "neostore.nodestore.db");
    assert!(matches!(check("a file that the service does not name", &copy), Error::Corrupt { .. }));
    let mut copy = good.clone();
    let last = copy.bytes_of("neostore").1.len();
    copy.bytes_of("neostore").1[..last].rotate_left(1);
    assert!(matches!(check("another metadata store", &copy), Error::Corrupt { .. }));
    let mut copy = good.clone();
    copy.session.external_uuid = Some("00".to_owned());
    assert!(matches!(check("another external UUID", &copy), Error::Corrupt { .. }));
    let mut copy = good.clone();
    copy.bytes_of("neostore.transaction.db.0").1.truncate(5000);
    assert!(matches!(check("half a file", &copy), Error::Incomplete { .. }));
    let mut copy = good.clone();
    let extra = FileInfo { id: 5000, kind: FileKind::Lucene, path: "x".into(), size_bytes: 1 };
    copy.bytes.push((extra, vec![1]));
    assert!(matches!(check("a file too many", &copy), Error::Untrusted { .. }));
    let mut copy = good.clone();
    copy.bytes_of("neostore.transaction.db.0").1[151_700] ^= 1;
    assert!(matches!(check("a flipped byte", &copy), Error::Corrupt { .. }));
    let mut copy = good.clone();
    copy.finished.last_tx.checksum.0 ^= 1;
    assert!(matches!(check("a checksum", &copy), Error::Corrupt { .. }));
    let mut copy = good.clone();
    copy.finished.last_tx.tx_id.0 += 1;
    assert!(matches!(check("a later end", &copy), Error::Corrupt { .. }));
    let mut copy = good.clone();
    copy.finished.transactions += 1;
    assert!(matches!(check("another number", &copy), Error::Corrupt { .. }));
    let mut copy = good.clone();
    copy.finished.first_consistent_tx_id.0 = copy.finished.last_tx.tx_id.0 + 1;
    assert!(matches!(check("consistent after its end", &copy), Error::Corrupt { .. }));
    let mut copy = good.clone();
    copy.session.checkpoint.as_mut().unwrap().tx_id.0 -= 1;
    assert!(matches!(check("another checkpoint", &copy), Error::Corrupt { .. }));
    let mut copy = good.clone();
    copy.session.store_id.random ^= 1;
    assert!(matches!(check("another store", &copy), Error::Corrupt { .. }));
    assert!(verify(dir.path()).is_clean());
}

/// New bytes over a block make its hash worthless: the block must be told again.
#[test]
fn a_block_written_again_must_be_hashed_again() {
    let dir = tempfile::tempdir().unwrap();
    let copy = Copy::of(FIXTURES[0], "neo4j");
    let mirror = open(dir.path()).unwrap();
    let staged = mirror.begin(&copy.session, mirror::Reason::FirstBackup).unwrap();
    let file = FileInfo { id: 1, kind: FileKind::Record, path: "f".into(), size_bytes: 5000 };
    staged.create(&file).unwrap();
    staged.write_at(1, 0, &[1; 5000]).unwrap();
    staged.block(1, 0, [0; 32]).unwrap();
    staged.block(1, 4096, [0; 32]).unwrap();
    staged.write_at(1, 4095, &[2]).unwrap();
    let error = staged.complete(1, 5000).unwrap_err();
    assert!(error.to_string().contains("offset 0"), "{error}");
    staged.block(1, 0, [0; 32]).unwrap();
    staged.complete(1, 5000).unwrap();
    staged.write_at(1, 0, &[1]).unwrap_err();
}
