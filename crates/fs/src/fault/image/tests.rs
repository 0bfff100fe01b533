use super::*;
use crate::fault::{Fault, FaultDisk, FaultKind};
use crate::{Disk, RealDisk, walk};

const ALL: [Survival; 8] = [
    Survival::Least,
    Survival::Most,
    Survival::Names,
    Survival::Lengths,
    Survival::Data,
    Survival::Some(1),
    Survival::Some(2),
    Survival::Some(3),
];

/// Names and bytes under a directory.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let bytes = |path: &Path| std::fs::read(dir.join(path)).unwrap_or_default();
    walk(dir).unwrap().into_iter().map(|entry| (entry.path.clone(), bytes(&entry.path))).collect()
}

fn after(replay: &Replay, survival: Survival) -> BTreeMap<PathBuf, Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    replay.image(survival).write_to(dir.path()).unwrap();
    tree(dir.path())
}

/// Runs something on a recorded disk, and gives what is left of the files at its end.
fn left(survival: Survival, run: fn(&dyn Disk, &Path) -> Result<()>) -> Vec<(String, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("old"), b"old").unwrap();
    let history = History::of(dir.path()).unwrap();
    run(&*history.disk(RealDisk::new()), dir.path()).unwrap();
    let mut replay = Replay::of(&history);
    replay.go_to(history.count());
    assert_eq!(after(&replay, Survival::Most), tree(dir.path()), "all that was done is known");
    let left = after(&replay, survival).into_iter();
    left.map(|(path, bytes)| (path.display().to_string(), bytes)).collect()
}

/// What is left, for each of some [`Survival`]s.
type Expected<'a> = &'a [(Survival, &'a [(&'a str, &'a [u8])])];

fn check(run: fn(&dyn Disk, &Path) -> Result<()>, expected: Expected<'_>) {
    for (survival, expected) in expected {
        let expected: Vec<_> =
            expected.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        assert_eq!(left(*survival, run), expected, "{survival:?}");
    }
}

/// Neither the bytes nor the name of a new file last without a sync, and each has a sync of its own.
#[test]
fn names_and_bytes_last_when_each_was_synced() {
    use Survival::{Data, Least, Lengths, Names};
    let old: (&str, &[u8]) = ("old", b"old");
    check(
        |disk, dir| disk.create_file(&dir.join("new"), 0o600)?.write_at(0, b"new"),
        &[
            (Least, &[old]),
            (Names, &[("new", b""), old]),
            (Lengths, &[("new", b"\0\0\0"), old]),
            (Data, &[old]),
        ],
    );
    check(
        |disk, dir| {
            let file = disk.create_file(&dir.join("new"), 0o600)?;
            file.write_at(0, b"new")?;
            file.sync()?;
            file.write_at(3, b"er")
        },
        &[(Least, &[old]), (Names, &[("new", b"new"), old]), (Data, &[old])],
    );
    check(
        |disk, dir| {
            disk.create_file(&dir.join("new"), 0o600)?.write_at(0, b"new")?;
            disk.sync_dir(dir)
        },
        &[(Least, &[("new", b""), old]), (Data, &[("new", b"new"), old])],
    );
    check(|disk, dir| disk.remove_file(&dir.join("old")), &[(Least, &[old]), (Names, &[])]);
    check(
        |disk, dir| disk.open_write(&dir.join("old"))?.set_len(1),
        &[(Least, &[old]), (Lengths, &[("old", b"o")]), (Data, &[("old", b"o")])],
    );
}

/// A file that is renamed over another without having been synced is there with no bytes: the bug
/// that this is all about.
#[test]
fn a_rename_may_last_without_the_bytes() {
    check(
        |disk, dir| {
            disk.create_file(&dir.join("aside"), 0o600)?.write_at(0, b"new")?;
            disk.rename(&dir.join("aside"), &dir.join("old"))
        },
        &[
            (Survival::Least, &[("old", b"old")]),
            (Survival::Names, &[("old", b"")]),
            (Survival::Lengths, &[("old", b"\0\0\0")]),
            (Survival::Data, &[("old", b"old")]),
        ],
    );
}

/// What is written by one name of a file is there by the other; the names last on their own.
#[test]
fn names_share_their_bytes() {
    check(
        |disk, dir| {
            disk.create_dir(&dir.join("d"), 0o700)?;
            disk.sync_dir(dir)?;
            disk.hard_link(&dir.join("old"), &dir.join("d/link"))?;
            let file = disk.open_write(&dir.join("d/link"))?;
            file.write_at(0, b"N")?;
            file.sync()
        },
        &[
            (Survival::Least, &[("d", b""), ("old", b"Nld")]),
            (Survival::Names, &[("d", b""), ("d/link", b"Nld"), ("old", b"Nld")]),
        ],
    );
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), b"1").unwrap();
    std::fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
    let copy = tempfile::tempdir().unwrap();
    let image = Replay::of(&History::of(dir.path()).unwrap()).image(Survival::Least);
    image.write_to(copy.path()).unwrap();
    std::fs::write(copy.path().join("a"), b"2").unwrap();
    assert_eq!(std::fs::read(copy.path().join("b")).unwrap(), b"2");
}

/// A directory that is moved takes along what is in it, at once; what is in it was synced or not.
#[test]
fn a_moved_directory_is_in_one_place() {
    let run = |disk: &dyn Disk, dir: &Path| {
        disk.create_dir_all(&dir.join("from/tree"), 0o700)?;
        disk.create_dir_all(&dir.join("to"), 0o700)?;
        disk.create_file(&dir.join("from/tree/file"), 0o600)?.sync()?;
        disk.sync_dir(&dir.join("from/tree"))?;
        disk.rename(&dir.join("from/tree"), &dir.join("to/tree"))
    };
    let old: (&str, &[u8]) = ("old", b"old");
    let before: &[(&str, &[u8])] =
        &[("from", b""), ("from/tree", b""), ("from/tree/file", b""), old, ("to", b"")];
    let moved: &[(&str, &[u8])] =
        &[("from", b""), old, ("to", b""), ("to/tree", b""), ("to/tree/file", b"")];
    check(run, &[(Survival::Least, before), (Survival::Names, moved)]);
}

/// After a sync that failed another one makes nothing durable but what was written since.
#[test]
fn a_failed_sync_forgets() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), [b'o'; 1024]).unwrap();
    let history = History::of(dir.path()).unwrap();
    let faulty = FaultDisk::counting(Some("sync"), Fault::FailOnce(FaultKind::Device), 0);
    let disk = history.disk_that_forgets(Arc::new(faulty));
    let file = disk.open_write(&dir.path().join("file")).unwrap();
    file.write_at(0, &[b'1'; 1024]).unwrap();
    file.sync().unwrap_err();
    file.write_at(600, b"2").unwrap();
    file.sync().unwrap();
    let mut replay = Replay::of(&history);
    replay.go_to(history.count());
    let bytes = &after(&replay, Survival::Least)[Path::new("file")];
    assert_eq!((bytes[0], bytes[511], bytes[512], bytes[600]), (b'o', b'o', b'1', b'2'));
    assert_eq!(after(&replay, Survival::Most)[Path::new("file")][0], b'1');
}

/// A small file is replaced whole: whenever the power fails, and whatever survives of what was not
/// synced, it is the old one or the new one, and the new one once that was told.
#[test]
fn replace_file_outlasts_a_power_failure() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    RealDisk.replace_file(&path, &[b'1'; 2000], 0o600).unwrap();
    std::fs::write(dir.path().join("file.new"), b"stale").unwrap();
    let history = History::of(dir.path()).unwrap();
    history.disk(RealDisk::new()).replace_file(&path, &[b'2'; 3000], 0o600).unwrap();
    assert_eq!(history.count(), 6, "{:?}", history.trace(0, usize::MAX));
    let mut replay = Replay::of(&history);
    let mut seen = BTreeSet::new();
    for count in 0..=history.count() {
        replay.go_to(count);
        for survival in ALL {
            let found = after(&replay, survival)[Path::new("file")].clone();
            let is_new = found == [b'2'; 3000];
            assert!(is_new || found == [b'1'; 2000], "{count} {survival:?}");
            assert!(is_new || count < history.count(), "{survival:?}: lost after success");
            seen.insert((count, is_new));
        }
    }
    assert!(seen.contains(&(5, false)) && seen.contains(&(5, true)), "{seen:?}");
}
