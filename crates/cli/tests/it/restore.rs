//! `restore`: what it puts where, and what it refuses.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::run::{Service, command, data_directory, finish, run, signal, tree};

fn made(dir: &Path) -> (PathBuf, PathBuf) {
    let data = data_directory(dir);
    let backup = dir.join("backup");
    let service = Service::start(&data, &[]);
    let ran = run(["-host", &service.address, "-to", backup.to_str().unwrap()]);
    assert_eq!(ran.status, 0, "{ran:?}");
    (data, backup)
}

/// To a blank directory; again only with --force, which keeps the old one.
#[test]
fn to_a_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (source, backup) = made(dir.path());
    let data = dir.path().join("restored");
    let line = ["restore", "--from", backup.to_str().unwrap(), "--to", data.to_str().unwrap()];
    let ran = run(line);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.stdout.contains("neo4j") && ran.stdout.contains("restored"), "{ran:?}");
    let name = Path::new("databases/neo4j/neostore.nodestore.db");
    assert_eq!(std::fs::read(data.join(name)).unwrap(), std::fs::read(source.join(name)).unwrap());

    let restored = tree(&data);
    let ran = run(line.iter().chain(&["--json"]));
    assert_eq!((ran.status, ran.code().as_str()), (31, "target_exists"), "{ran:?}");
    assert!(tree(&data) == restored, "the refused run changed something");
    let ran = run(line.iter().chain(&["--force", "--json"]));
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(ran.json()["databases"][0]["name"], "neo4j");
    assert!(ran.json()["databases"][0]["moved_aside"][0].is_string(), "{ran:?}");
    assert!(tree(&data).len() > restored.len());
}

/// By the configuration, with the logs in another place.
#[test]
fn where_the_configuration_wants_it() {
    let dir = tempfile::tempdir().unwrap();
    let (_, backup) = made(dir.path());
    let conf = dir.path().join("neo4j.conf");
    let path = |name: &str| dir.path().join(name);
    let text = format!(
        "server.directories.data={}\nserver.directories.transaction.logs.root={}\n",
        path("d").display(),
        path("t").display()
    );
    std::fs::write(&conf, text).unwrap();
    let (from, conf) = (backup.to_str().unwrap(), conf.to_str().unwrap());
    let ran = run(["restore", "--from", from, "--config", conf, "--json"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(path("d/databases/neo4j/neostore").exists());
    assert!(path("t/neo4j/checkpoint.0").exists());
}

/// As a user who is not root, in a directory that is root's: the files are that user's, and nobody
/// else may read them. If they cannot be the server's, nothing is left behind.
#[test]
fn as_another_user() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can run as another user");
        return;
    }
    const USER: u32 = 65534;
    let dir = tempfile::tempdir().unwrap();
    let (_, backup) = made(dir.path());
    let path = |name: &str| dir.path().join(name);
    let set_mode = |path: &Path, mode| {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    set_mode(dir.path(), 0o777);
    let mut chown = Command::new("chown");
    assert!(chown.args(["-R", &USER.to_string()]).arg(&backup).status().unwrap().success());
    // The build's directory may be one that others cannot reach.
    let program = path("neo4j-backup");
    std::fs::copy(env!("CARGO_BIN_EXE_neo4j-backup"), &program).unwrap();
    let run = |data: &Path| {
        let mut command = Command::new(&program);
        command.args(["restore", "--json", "--from"]).arg(&backup).arg("--to").arg(data);
        command.env_clear().stdout(Stdio::piped()).stderr(Stdio::piped());
        finish(command.uid(USER).gid(USER).current_dir("/").spawn().unwrap())
    };
    let new = path("new/data");
    let ran = run(&new);
    assert_eq!(ran.status, 0, "{ran:?}");
    for name in ["..", ".", "databases/neo4j", "databases/neo4j/neostore"] {
        let found = std::fs::metadata(new.join(name)).unwrap();
        let mode = if found.is_dir() { 0o700 } else { 0o600 };
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (USER, USER, mode), "{name}");
    }

    // The server runs as root, then, to whom this user cannot give files.
    let theirs = path("theirs");
    std::fs::create_dir(&theirs).unwrap();
    set_mode(&theirs, 0o777);
    let ran = run(&theirs);
    assert_eq!((ran.status, ran.code().as_str()), (30, "target_unusable"), "{ran:?}");
    assert_eq!(std::fs::read_dir(&theirs).unwrap().count(), 0);
    assert_eq!(run(&path("backup/new/data")).status, 30);
    assert!(!path("backup/new").exists());
}

/// The user who runs the server cannot make root rename or delete what is not his: neither by a
/// link in the place of the staging directory, nor by a journal in it.
#[test]
fn what_others_planted_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_, backup) = made(dir.path());
    let (data, theirs) = (dir.path().join("restored"), dir.path().join("theirs"));
    std::fs::create_dir_all(data.join("databases")).unwrap();
    std::fs::create_dir(&theirs).unwrap();
    std::fs::write(theirs.join("precious"), b"1").unwrap();
    let staging = data.join(".neo4j-backup-restoring");
    let line = ["restore", "--from", backup.to_str().unwrap(), "--to", data.to_str().unwrap()];
    let refused = || {
        let before = tree(&theirs);
        let ran = run(line.iter().chain(&["--force", "--json"]));
        assert_eq!((ran.status, ran.code().as_str()), (30, "target_unusable"), "{ran:?}");
        assert!(tree(&theirs) == before && !data.join("databases/neo4j").exists(), "{ran:?}");
    };
    std::os::unix::fs::symlink(&theirs, &staging).unwrap();
    refused();
    std::fs::remove_file(&staging).unwrap();
    std::fs::create_dir(&staging).unwrap();
    std::fs::set_permissions(&staging, Permissions::from_mode(0o700)).unwrap();
    let journal = serde_json::json!({
        "staging": [&staging],
        "moves": [
            { "from": theirs.join("stolen"), "to": theirs.join("precious") },
            { "from": staging.join("0/store"), "to": data.join("databases/neo4j") },
        ],
    });
    std::fs::write(staging.join("journal.json"), journal.to_string()).unwrap();
    refused();
}

/// What is damaged is not restored, and what the backup does not have neither.
#[test]
fn refusals() {
    let dir = tempfile::tempdir().unwrap();
    let (_, backup) = made(dir.path());
    let data = dir.path().join("restored");
    let (from, to) = (backup.to_str().unwrap(), data.to_str().unwrap());
    let line = ["restore", "--from", from, "--to", to, "--json"];
    let ran = run(line.iter().chain(&["--database", "other"]));
    assert_eq!((ran.status, ran.code().as_str()), (21, "no_such_database"), "{ran:?}");

    let store = backup.join("databases/neo4j/neostore.nodestore.db");
    let mut bytes = std::fs::read(&store).unwrap();
    bytes[1] ^= 4;
    std::fs::write(&store, bytes).unwrap();
    let ran = run(line);
    assert_eq!((ran.status, ran.code().as_str()), (40, "corrupt_data"), "{ran:?}");
    assert!(!data.join("databases/neo4j").exists());
}

/// Ctrl-C while files are copied: nothing of it is left. When the signal comes too late, all is
/// there; then it is tried again.
#[test]
fn an_interrupted_restore_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_, backup) = made(dir.path());
    let data = dir.path().join("restored");
    let staging = data.join(".neo4j-backup-restoring/journal.json");
    let line = ["restore", "--from", backup.to_str().unwrap(), "--to", data.to_str().unwrap()];
    for _ in 0..50 {
        let child = command(line).arg("--json").spawn().unwrap();
        while !staging.exists() && !data.join("databases/neo4j").exists() {
            std::thread::yield_now();
        }
        signal(&child, rustix::process::Signal::INT);
        let ran = finish(child);
        if ran.status == 130 {
            assert_eq!(ran.code(), "interrupted");
            assert!(!data.exists(), "{:?}", tree(&data));
            return;
        }
        assert_eq!(ran.status, 0, "{ran:?}");
        std::fs::remove_dir_all(&data).unwrap();
    }
    panic!("no restore was interrupted");
}
