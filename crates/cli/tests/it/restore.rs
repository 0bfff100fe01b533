//! `restore`: what it puts where, and what it refuses.

use std::path::{Path, PathBuf};

use crate::run::{Service, data_directory, run, tree};

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
