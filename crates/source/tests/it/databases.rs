//! Which databases there are, and what each is in the middle of.

use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use formats::TimestampMs;
use formats::metadata::MetadataStore;
use source::{Error, HotCopy, Installation, LiveCopy as _, State};

use crate::home::Home;

fn state(home: &Home) -> (State, String) {
    let inspection = home.database().inspect();
    (inspection.state, inspection.detail.unwrap_or_default())
}

/// A store that was created just now.
fn make_young(home: &Home) {
    let path = home.store("neostore");
    let mut metadata = MetadataStore::decode(&std::fs::read(&path).unwrap()).unwrap();
    let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    metadata.store_id.creation_time = TimestampMs(i64::try_from(age.as_millis()).unwrap());
    std::fs::write(&path, metadata.encode()).unwrap();
}

/// What a young database lacks is still to come; an old one that lacks it is broken.
#[test]
fn a_broken_database_is_not_one_in_the_middle_of_its_creation() {
    type Break = fn(&Home);
    let breaks: [(&str, Break); 3] = [
        ("checkpoint", |home| std::fs::remove_file(home.log("checkpoint.0")).unwrap()),
        ("neostore.nodestore.db", |home| {
            std::fs::remove_file(home.store("neostore.nodestore.db")).unwrap();
        }),
        ("transactions", |home| std::fs::remove_dir_all(home.log("")).unwrap()),
    ];
    for (what, break_it) in breaks {
        let home = Home::of("5.26.30/mixed");
        break_it(&home);
        let (found, detail) = state(&home);
        assert_eq!(found, State::Unreadable, "{what}");
        assert!(detail.contains("incomplete") && detail.contains(what), "{detail}");
        assert!(matches!(HotCopy::begin(&home.database()), Err(Error::Incomplete { .. })));
        make_young(&home);
        let (found, detail) = state(&home);
        assert_eq!(found, State::Creating, "{what}");
        assert!(detail.contains(what), "{detail}");
    }
}

#[test]
fn states_are_told_apart_and_explained() {
    let home = Home::of("5.26.30/mixed");
    assert_eq!(state(&home).0, State::Offline);

    std::fs::create_dir(home.store("migrate")).unwrap();
    assert_eq!(state(&home).0, State::Migrating);
    assert!(matches!(HotCopy::begin(&home.database()), Err(Error::Migrating { .. })));

    let home = Home::of("5.26.30/mixed");
    std::fs::write(home.store("neostore"), [77; 8192]).unwrap();
    let (found, detail) = state(&home);
    assert_eq!(found, State::Corrupt);
    assert!(detail.contains("neostore: at offset 0"), "{detail}");

    let home = Home::of("5.26.30/mixed");
    std::fs::remove_dir_all(home.store("")).unwrap();
    std::fs::create_dir(home.store("")).unwrap();
    assert_eq!(state(&home).0, State::Creating);
    std::fs::write(home.store("block.x1.db"), b"").unwrap();
    let (found, detail) = state(&home);
    assert_eq!(found, State::Unsupported);
    assert!(detail.contains("block format"), "{detail}");
}

#[test]
fn other_formats_and_older_stores_are_refused_by_name() {
    let family = |name: &str| {
        let home = Home::of("5.26.30/mixed");
        let path = home.store("neostore");
        let bytes = std::fs::read(&path).unwrap();
        let mut metadata = formats::metadata::MetadataStore::decode(&bytes).unwrap();
        metadata.store_id.format_family = name.to_owned();
        std::fs::write(&path, metadata.encode()).unwrap();
        state(&home)
    };
    for name in ["high_limit", "multiversion"] {
        let (found, detail) = family(name);
        assert_eq!(found, State::Unsupported, "{name}");
        assert!(detail.contains(name), "{detail}");
    }
    let home = Home::of("5.26.30/mixed");
    let file = std::fs::File::options().write(true).open(home.store("neostore")).unwrap();
    file.write_all_at(&[0], 4 * 9 + 1).unwrap();
    let (found, detail) = state(&home);
    assert_eq!(found, State::Unsupported);
    assert!(detail.contains("5.0"), "{detail}");
}

#[test]
fn a_log_of_a_newer_server_is_refused_with_its_version() {
    let home = Home::of("5.26.30/mixed");
    let file = std::fs::File::options().write(true).open(home.log("checkpoint.0")).unwrap();
    file.write_all_at(&[33], 128).unwrap();
    let (found, detail) = state(&home);
    assert_eq!(found, State::Unsupported, "{detail}");
    assert!(detail.contains("kernel version 33"), "{detail}");
    assert!(detail.contains("checkpoint.0: at offset 128"), "{detail}");
}

#[test]
fn databases_are_found_through_links_and_odd_names_are_shown_but_refused() {
    let home = Home::of("5.26.30/mixed");
    let volume = tempfile::tempdir().unwrap();
    let moved = volume.path().join("neo4j");
    crate::home::copy(&home.store(""), &moved);
    std::fs::remove_dir_all(home.store("")).unwrap();
    std::os::unix::fs::symlink(&moved, home.dir.path().join("databases/neo4j")).unwrap();
    std::fs::write(home.dir.path().join("databases/store_lock"), b"").unwrap();
    crate::home::copy(&moved, &home.dir.path().join("databases/odd name\n"));
    std::fs::create_dir(home.dir.path().join("databases/lost+found")).unwrap();
    std::fs::create_dir(home.dir.path().join("databases/.hidden")).unwrap();
    let databases = home.installation().databases().unwrap();
    let names: Vec<&str> = databases.iter().map(|database| database.name.as_str()).collect();
    assert_eq!(names, ["neo4j", "odd name\n"]);
    assert_eq!(databases[0].inspect().state, State::Offline);
    assert_eq!(databases[1].inspect().state, State::Unsupported);
    assert!(home.begin().finish().is_ok());
}

#[test]
fn the_configuration_decides_where_things_are() {
    let home = Home::of("5.26.30/mixed");
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    std::fs::create_dir_all(at("neo/conf")).unwrap();
    crate::home::copy(&home.dir.path().join("databases"), &at("neo/other/databases"));
    crate::home::copy(&home.dir.path().join("transactions"), &at("logs"));
    let conf = at("neo/conf/neo4j.conf");
    let text = format!(
        "server.directories.data=other\nserver.directories.transaction.logs.root={}\nx.y=1\n",
        at("logs").display()
    );
    std::fs::write(&conf, text).unwrap();
    let installation = Installation::from_config(&conf).unwrap();
    assert_eq!(installation.data_dir(), at("neo/other"));
    assert!(HotCopy::begin(&installation.database("neo4j").unwrap()).is_ok());
    let missing = installation.database("nope");
    assert!(matches!(missing, Err(Error::NoSuchDatabase { .. })));

    std::fs::write(&conf, "server.directories.neo4j_home=..\n").unwrap();
    let installation = Installation::from_config(&conf).unwrap();
    assert_eq!(installation.data_dir(), at("neo/conf/../data"));
    assert!(matches!(installation.databases(), Err(Error::NotNeo4j { .. })));
    assert!(matches!(Installation::from_data(root.path()), Err(Error::NotNeo4j { .. })));
}

/// Names, sizes, modes and times of everything below a directory.
fn everything(dir: &Path) -> Vec<(PathBuf, u64, u32, [i64; 6])> {
    let mut found = Vec::new();
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let meta = path.metadata().unwrap();
        let times = [
            meta.atime(),
            meta.atime_nsec(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        ];
        if path.is_dir() {
            // Listing a directory may touch its access time.
            let times = [0, 0, times[2], times[3], times[4], times[5]];
            found.push((path.clone(), 0, meta.permissions().mode(), times));
            found.extend(everything(&path));
        } else {
            let size = meta.len();
            let mode = meta.permissions().mode();
            found.push((path.clone(), size, mode, times));
        }
    }
    found
}

/// A whole copy leaves no trace below the data directory: no byte, no file, no lock, no time of
/// modification or change, and (for the owner and root) no time of access.
#[test]
fn a_copy_leaves_no_trace() {
    let home = Home::of("5.26.30/trees");
    let before = everything(home.dir.path());
    let copy = home.begin();
    for file in copy.files() {
        crate::home::read(&copy, file.id);
        copy.check_whole(file.id).unwrap();
    }
    for file in copy.finish().unwrap().files {
        crate::home::read(&copy, file.id);
    }
    assert_eq!(home.database().inspect().state, State::Offline);
    drop(copy);
    assert_eq!(everything(home.dir.path()), before);
    // The check itself must be able to fail.
    std::fs::read(home.store("neostore")).unwrap();
    std::fs::write(home.log("checkpoint.0.tmp"), b"").unwrap();
    assert_ne!(everything(home.dir.path()), before);
}
