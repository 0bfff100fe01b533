use std::os::unix::fs::symlink;

use super::*;
use crate::fault::{Fault, FaultDisk, FaultKind};
use crate::{EntryKind, Flusher, Kind, entries, sync_name, sync_tree, walk};

/// A directory of ours that holds a link to somebody else's is removed; what the link leads to
/// stays. The same for a link in the place of the directory itself.
#[test]
fn removal_never_follows_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let theirs = dir.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("precious"), b"1").unwrap();
    for disk in [RealDisk::new(), Arc::new(FaultDisk::new(Fault::None, 0)) as Arc<dyn Disk>] {
        let ours = dir.path().join("ours");
        fs::create_dir_all(ours.join("deep")).unwrap();
        symlink(&theirs, ours.join("deep/link")).unwrap();
        assert_eq!(walk(&ours).unwrap()[1].kind, EntryKind::Link);
        disk.remove_dir_all(&ours).unwrap();
        assert!(!ours.exists());
        assert!(theirs.join("precious").exists());
    }
    let link = dir.path().join("link");
    symlink(&theirs, &link).unwrap();
    drop(RealDisk.remove_dir_all(&link));
    assert!(theirs.join("precious").exists());
}

/// Whatever goes past the page cache and what does not, the file holds the bytes that were written:
/// aligned and not, whole pages and not, written over, at a file's end that is no page's.
#[test]
fn direct_and_cached_writes_make_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let size = (3 << 20) + 77;
    let file = RealDisk.create_file(&path, 0o600).unwrap();
    file.set_len(size as u64).unwrap();
    let mut expected = vec![0; size];
    let memory: Vec<u8> =
        (0..2 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let aligned = memory.as_ptr().align_offset(ALIGNMENT_BYTES);
    for (from, offset, length) in [
        (aligned, 0, 1 << 20),
        (aligned + 1, 1 << 20, 1 << 20),
        (aligned, (1 << 20) + 512, 300_000),
        (aligned + 4096, 64 << 10, 100_000),
        (aligned, 2 << 20, 131_072 + 9),
        (aligned, size - 77 - (1 << 17), (1 << 17) + 77),
    ] {
        let bytes = &memory[from..from + length];
        file.write_at(offset as u64, bytes).unwrap();
        expected[offset..offset + length].copy_from_slice(bytes);
    }
    file.sync().unwrap();
    assert!(fs::read(&path).unwrap() == expected);
    file.set_len(5).unwrap();
    assert!(fs::read(&path).unwrap() == expected[..5]);
}

/// The system's errors become the kinds that callers act on.
#[test]
fn errors_have_kinds() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    RealDisk.create_file(&file, 0o600).unwrap();
    assert_eq!(RealDisk.create_file(&file, 0o600).unwrap_err().kind, Kind::Exists);
    let missing = dir.path().join("missing");
    assert_eq!(RealDisk.open_write(&missing).unwrap_err().kind, Kind::NotFound);
    let full = FaultDisk::new(Fault::FailOnce(FaultKind::NoSpace), 0);
    assert_eq!(full.create_dir(&missing, 0o700).unwrap_err().kind, Kind::NoSpace);
    let real_full = RealDisk.open_write(Path::new("/dev/full")).unwrap();
    assert_eq!(real_full.write_at(0, b"x").unwrap_err().kind, Kind::NoSpace);
    let read_only = RealDisk.create_dir(Path::new("/proc/neo4j-backup"), 0o700).unwrap_err();
    assert!(matches!(read_only.kind, Kind::NotFound | Kind::Denied | Kind::ReadOnly));
}

/// A link in the place of a file that is to be written is refused.
#[test]
fn a_file_is_not_opened_through_a_link() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("theirs"), b"1").unwrap();
    symlink(dir.path().join("theirs"), dir.path().join("link")).unwrap();
    let error = RealDisk.open_write(&dir.path().join("link")).unwrap_err();
    assert_eq!(error.kind, Kind::Other);
}

/// The mode of what a link leads to is not changed by the link's name, nor is a pipe waited for;
/// files and directories get the mode that is asked for.
#[test]
fn a_mode_is_not_set_through_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
    fs::write(dir.path().join("file"), b"1").unwrap();
    fs::create_dir(dir.path().join("dir")).unwrap();
    let pipe = std::process::Command::new("mkfifo").arg(dir.path().join("pipe")).status().unwrap();
    assert!(pipe.success());
    for name in ["file", "dir", "pipe"] {
        RealDisk.set_mode(&dir.path().join(name), 0o640).unwrap();
        assert_eq!(mode(name) & 0o7777, 0o640, "{name}");
        symlink(dir.path().join(name), dir.path().join("link")).unwrap();
        assert!(RealDisk.set_mode(&dir.path().join("link"), 0o777).is_err(), "{name}");
        assert_eq!(mode(name) & 0o7777, 0o640, "{name}");
        fs::remove_file(dir.path().join("link")).unwrap();
    }
}

/// A directory with something in it is not removed by mistake.
#[test]
fn only_an_empty_directory_is_removed_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    assert!(RealDisk.remove_dir(&dir.path().join("a")).is_err());
    RealDisk.remove_dir(&dir.path().join("a/b")).unwrap();
    RealDisk.remove_dir(&dir.path().join("a")).unwrap();
    assert!(!dir.path().join("a").exists());
}

/// A disk that fails for good does so with every later operation; a full one still removes.
#[test]
fn a_disk_that_fails_for_good() {
    for (kind, removes) in [(FaultKind::NoSpace, true), (FaultKind::Device, false)] {
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultDisk::new(Fault::FailFrom(kind), 1);
        let path = |name: &str| dir.path().join(name);
        disk.create_dir(&path("a"), 0o700).unwrap();
        assert!(disk.create_dir(&path("b"), 0o700).is_err());
        assert!(disk.rename(&path("a"), &path("b")).is_err());
        assert_eq!(disk.remove_dir(&path("a")).is_ok(), removes);
        assert!(disk.sync_dir(dir.path()).is_err());
        assert_eq!(disk.count(), 5);
    }
}

/// A small file is replaced whole, its mode is the asked one, and a stale `.new` is no hindrance;
/// a fault at each of the operations leaves the old content or the new one.
#[test]
fn replace_file_is_all_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    RealDisk.replace_file(&path, b"old", 0o640).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    fs::write(dir.path().join("file.new"), b"stale").unwrap();
    let counting = FaultDisk::new(Fault::None, 0);
    counting.replace_file(&path, b"old", 0o640).unwrap();
    let mut outcomes = std::collections::BTreeSet::new();
    for at in 0..counting.count() {
        RealDisk.replace_file(&path, b"old", 0o640).unwrap();
        fs::write(dir.path().join("file.new"), b"stale").unwrap();
        let error = FaultDisk::new(Fault::Kill, at).replace_file(&path, b"new!", 0o640);
        assert!(error.is_err(), "operation {at}");
        outcomes.insert(fs::read(&path).unwrap());
    }
    assert_eq!(outcomes, [b"old".to_vec(), b"new!".to_vec()].into());
}

/// Directories are made with their parents, a second time does nothing, and a tree is synced.
#[test]
fn directories_are_made_with_their_parents() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b/c");
    RealDisk.create_dir_all(&deep, 0o700).unwrap();
    RealDisk.create_dir_all(&deep, 0o700).unwrap();
    assert_eq!(fs::metadata(&deep).unwrap().permissions().mode() & 0o777, 0o700);
    let counting = FaultDisk::new(Fault::None, 0);
    sync_tree(&counting, &dir.path().join("a")).unwrap();
    assert_eq!(counting.count(), 3, "{:?}", counting.trace());
    assert_eq!(entries(&dir.path().join("a")).unwrap().len(), 1);
    assert!(entries(&dir.path().join("nothing")).unwrap().is_empty());
}

/// What the flusher was asked to sync is synced by the time it has finished; its first error is
/// not lost.
#[test]
fn the_flusher_syncs_and_reports() {
    let dir = tempfile::tempdir().unwrap();
    for (at, fails) in [(2, true), (9, false)] {
        let disk = FaultDisk::new(Fault::FailOnce(FaultKind::Device), at);
        let file: Arc<dyn DiskFile> =
            disk.create_file(&dir.path().join(at.to_string()), 0o600).unwrap().into();
        file.write_at(0, b"bytes").unwrap();
        let flusher = Flusher::start();
        flusher.sync(Arc::clone(&file));
        assert_eq!(flusher.finish().is_err(), fails);
        assert_eq!(disk.count(), 3, "{:?}", disk.trace());
    }
}

/// The early start of writing out, at each window's end and over several windows at once, changes
/// no byte and no length.
#[test]
fn bytes_stay_what_they_are_while_they_are_written_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let bytes: Vec<u8> = (0..3 * WINDOW_BYTES + 5).map(|at| (at % 251) as u8).collect();
    for piece_bytes in [1 << 20, (1 << 20) - 7, bytes.len()] {
        let file = RealDisk.create_file(&path, 0o600).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        for (index, piece) in bytes.chunks(piece_bytes).enumerate() {
            file.write_at((index * piece_bytes) as u64, piece).unwrap();
        }
        file.sync().unwrap();
        assert!(fs::read(&path).unwrap() == bytes, "pieces of {piece_bytes}");
        RealDisk.remove_file(&path).unwrap();
    }
}

/// A directory's name is synced where it is, but not that of a mounted file system, nor the root's; an
/// error of the disk is one.
#[test]
fn a_name_is_synced_on_its_own_file_system() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("a")).unwrap();
    let counting = FaultDisk::new(Fault::None, 0);
    sync_name(&counting, &dir.path().join("a")).unwrap();
    assert_eq!(counting.count(), 1);
    for path in ["/proc", "/"] {
        sync_name(&counting, Path::new(path)).unwrap();
        assert_eq!(counting.count(), 1, "{path}");
    }
    let failing = FaultDisk::new(Fault::FailOnce(FaultKind::Device), 0);
    assert!(sync_name(&failing, &dir.path().join("a")).is_err());
}
