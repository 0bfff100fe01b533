//! Runs that are cut short: by a signal, or by a service that goes away.

use std::path::Path;
use std::process::Child;
use std::time::Duration;

use crate::backup::{backup, wait_for_staging};
use crate::run::{Service, command, copy, data_directory, finish, signal, tree};
use rustix::process::Signal;

/// A copy that takes longer than these tests.
fn slow_backup(service: &Service, to: &Path) -> Child {
    let line = ["-host", service.address.as_str(), "-to", to.to_str().unwrap(), "--json"];
    let child = command(line).args(["--limit-rate", "64KiB"]).spawn().unwrap();
    wait_for_staging(to);
    child
}

/// The service dies in the middle of the first of several databases: all are lost in the same way,
/// at once for those that have not begun; no backup, and a later run works.
#[test]
fn a_service_that_dies() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    for name in ["other", "third"] {
        for part in ["databases", "transactions"] {
            copy(&data.join(part).join("neo4j"), &data.join(part).join(name));
        }
    }
    let service = Service::start(&data, &["--lease", "2s"]);
    let to = dir.path().join("backup");
    let child = slow_backup(&service, &to);
    service.kill();
    let ran = finish(child);
    assert_eq!((ran.status, ran.code().as_str()), (13, "connection_lost"), "{ran:?}");
    let document = ran.json();
    let failed = document["failed"].as_array().unwrap();
    assert_eq!(failed.len(), 3, "{ran:?}");
    assert!(failed.iter().all(|one| one["error"]["code"] == "connection_lost"), "{ran:?}");
    assert!(document["databases"].as_array().is_some_and(Vec::is_empty), "{ran:?}");
    let service = Service::start(&data, &[]);
    assert_eq!(backup(&service, &to, &[]).status, 0);
}

/// Databases that fail in different ways, and none that does not: nothing is called complete.
#[test]
fn all_fail_in_different_ways() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    std::fs::create_dir(data.join("databases/fresh")).unwrap();
    let service = Service::start(&data, &[]);
    let more = ["--database", "fresh", "--database", "x*"];
    let ran = backup(&service, &dir.path().join("backup"), &more);
    assert_eq!((ran.status, ran.code().as_str()), (50, "partial"), "{ran:?}");
    let hint = ran.json()["error"]["hint"].clone();
    assert!(hint.as_str().is_some_and(|hint| hint.contains("none has a new")), "{hint}");
}

/// Two runs on one directory: the second says who is there, or waits for its end, however that comes.
#[test]
fn the_second_run_waits_or_fails() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    let service = Service::start(&data, &["--lease", "2s"]);
    let to = dir.path().join("backup");
    let mut first = slow_backup(&service, &to);
    for more in [&[][..], &["--retry-lock", "1s"]] {
        let ran = backup(&service, &to, more);
        assert_eq!((ran.status, ran.code().as_str()), (32, "target_in_use"), "{ran:?}");
        let holder = format!("process {} on ", first.id());
        assert!(ran.json()["error"]["message"].as_str().unwrap().contains(&holder), "{ran:?}");
    }
    let line = ["-host", service.address.as_str(), "-to", to.to_str().unwrap(), "--json"];
    let second = command(line).args(["--retry-lock", "1m"]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    first.kill().unwrap();
    first.wait().unwrap();
    let ran = finish(second);
    assert_eq!(ran.status, 0, "{ran:?}");
}

/// `timeout` and supervisors send a signal to the process and to its group: that is one signal, and
/// the run cleans up. The same for a service, which a second one later does stop at once.
#[test]
fn the_same_signal_twice() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    let mut service = Service::start(&data, &["--grace", "30s"]);
    let to = dir.path().join("backup");
    let child = slow_backup(&service, &to);
    for _ in 0..20 {
        signal(&child, Signal::TERM);
        signal(&child, Signal::INT);
    }
    let ran = finish(child);
    assert_eq!((ran.status, ran.code().as_str()), (130, "interrupted"), "{ran:?}");
    assert!(!ran.stderr.contains("interrupted again"), "{ran:?}");
    let left = tree(&to);
    assert!(left.iter().all(|(path, _)| path.ends_with(".neo4j-backup.lock")), "{left:?}");

    let child = slow_backup(&service, &to);
    service.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(50));
    service.signal(Signal::INT);
    std::thread::sleep(Duration::from_millis(500));
    assert!(service.runs(), "the copy goes on for the grace time");
    let ended = service.stop();
    assert_eq!(ended.status, 130, "{ended:?}");
    assert!(ended.stderr.contains("interrupted again"), "{ended:?}");
    signal(&child, Signal::INT);
    assert_eq!(finish(child).code(), "interrupted");
}
