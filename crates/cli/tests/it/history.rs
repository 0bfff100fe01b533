//! `info --transactions` and `restore --until`: from the list to the moment before the mistake.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::growing::Growing;
use crate::run::{Service, copy, run, tree};

/// A data directory of a server that was killed, and a backup of it: a full one when it had half of its
/// transactions, and an increment.
fn backed_up(dir: &Path) -> PathBuf {
    let mut server = Growing::new(dir);
    let service = Service::start(&server.data, &[]);
    let to = dir.join("backup");
    let line = ["-host", &service.address, "-to", to.to_str().unwrap(), "--json"];
    assert_eq!(run(line).status, 0);
    let rest = server.rest();
    server.commit(rest);
    let again = run(line);
    assert_eq!(again.json()["databases"][0]["type"], "incremental", "{again:?}");
    to
}

fn lines(args: &[&str]) -> Vec<Value> {
    let ran = run(args);
    assert_eq!(ran.status, 0, "{ran:?}");
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["tx_id"].as_u64().unwrap()).collect()
}

#[test]
fn from_the_list_to_the_moment_before() {
    let dir = tempfile::tempdir().unwrap();
    let from = backed_up(dir.path());
    let from = from.to_str().unwrap();
    let list = ["info", "--from", from, "--transactions", "--json"];
    let all = lines(&list);
    let info = run(["info", "--from", from, "--json"]).json()["databases"][0].clone();
    let (first, last) = (&info["first_consistent_tx_id"], &info["last_tx_id"]);
    let (first, last) = (first.as_u64().unwrap(), last.as_u64().unwrap());
    assert_eq!(Some(all.len() as u64), info["transactions"].as_u64());
    assert_eq!(ids(&all).last(), Some(&last));
    for line in &all {
        assert_eq!(line["database"], "neo4j");
        assert_eq!(line["restorable"], line["tx_id"].as_u64().unwrap() >= first);
        assert!(line["bytes"].as_u64() > Some(0) && line["commands"].as_u64() > Some(0), "{line}");
    }
    let (first_text, last_text) = (first.to_string(), last.to_string());
    let some = lines(&[&list[..], &["--since", &first_text, "--until", &first_text]].concat());
    assert_eq!(ids(&some), [first]);
    let time = all.last().unwrap()["commit_time"].as_str().unwrap();
    let latest = lines(&[&list[..], &["--since", time]].concat());
    assert!(ids(&latest).contains(&last) && !ids(&latest).contains(&first), "{latest:?}");
    let text = run(&list[..4]);
    assert!(text.stdout.contains(&last_text) && text.stdout.contains(time), "{text:?}");

    // By the id, or before the one that follows: the same.
    let mut restored = Vec::new();
    for (how, id) in [("--until", first), ("--before", first + 1)] {
        let to = dir.path().join(how);
        let id = id.to_string();
        let line = ["restore", "--from", from, "--to", to.to_str().unwrap(), how, &id, "--json"];
        let ran = run(line);
        assert_eq!(ran.status, 0, "{ran:?}");
        let database = &ran.json()["databases"][0];
        assert_eq!(database["last_tx_id"].as_u64(), Some(first));
        assert_eq!(database["left_out_transactions"].as_u64(), Some(last - first));
        restored.push(tree(&to));
    }
    assert!(restored[0] == restored[1]);
    let to = dir.path().join("time");
    let line = ["restore", "--from", from, "--to", to.to_str().unwrap(), "--until", time];
    let ran = run(line);
    assert!(ran.status == 0 && ran.stdout.contains(&format!("transaction {last} of {time}")));
    assert!(tree(&to) != restored[0]);
    let to = dir.path().join("one-less");
    let one_less = (last - 1).to_string();
    let ran = run(["restore", "--from", from, "--to", to.to_str().unwrap(), "--until", &one_less]);
    assert!(ran.stdout.contains("left out      1 transaction after it"), "{ran:?}");
    // The time of an increment is one of waiting, too.
    let told = run(["info", "--from", from]).stdout;
    let moved = told.lines().find(|line| line.contains("transferred")).unwrap();
    assert!(moved.contains(" in ") && !moved.contains("/s"), "{told}");
}

/// Each with its own code, the range in the message, and nothing made.
#[test]
fn moments_that_cannot_be_restored_to() {
    let dir = tempfile::tempdir().unwrap();
    let from = backed_up(dir.path());
    let to = dir.path().join("restored");
    let info = run(["info", "--from", from.to_str().unwrap(), "--json"]).json();
    let [first, last] = ["first_consistent_tx_id", "last_tx_id"]
        .map(|name| info["databases"][0][name].as_u64().unwrap());
    let (before, after) = ((first - 1).to_string(), (last + 1).to_string());
    let line =
        ["restore", "--from", from.to_str().unwrap(), "--to", to.to_str().unwrap(), "--json"];
    for (how, moment) in [
        ("--until", &*before),
        ("--until", &after),
        ("--before", &before),
        ("--until", "2020-01-01T00:00:00Z"),
        ("--before", "2999-01-01T00:00:00+01:00"),
    ] {
        let ran = run([&line[..], &[how, moment]].concat());
        assert_eq!((ran.status, &*ran.code()), (37, "out_of_range"), "{how} {moment}: {ran:?}");
        let message = ran.json()["error"]["message"].to_string();
        assert!(message.contains(&first.to_string()) && message.contains(&last.to_string()));
        assert!(!to.exists());
    }
    for bad in [
        &["--until", "2026-01-01T00:00:00"][..],
        &["--until", "yesterday"],
        &["--until", "5", "--before", "6"],
    ] {
        assert_eq!(run([&line[..], bad].concat()).status, 2, "{bad:?}");
    }
    let info = ["info", "--from", from.to_str().unwrap(), "--since", "5"];
    assert_eq!(run(info).status, 2);
}

/// An id that the backup does not have, and a range that ends before it begins, are told with the range
/// that is there; a time without transactions is an empty list.
#[test]
fn ranges_that_are_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let from = backed_up(dir.path());
    let list = ["info", "--from", from.to_str().unwrap(), "--transactions"];
    let all = ids(&lines(&[&list[..], &["--json"]].concat()));
    let (first, last) = (all[0], all[all.len() - 1]);
    let [before, middle, after] = [first - 1, first + 1, last + 1].map(|id| id.to_string());
    for range in [
        &["--since", &*after][..],
        &["--until", &before],
        &["--since", &middle, "--until", &first.to_string()],
        &["--since", "2026-01-02T00:00:00Z", "--until", "2026-01-01T00:00:00Z"],
    ] {
        let ran = run([&list[..], range].concat());
        assert_eq!((ran.status, &*ran.stdout), (37, ""), "{range:?}: {ran:?}");
        assert!(ran.stderr.contains(&format!("{first} to {last}")), "{range:?}: {ran:?}");
        let ran = run([&list[..], range, &["--json"]].concat());
        assert_eq!((ran.status, ran.stdout.lines().count()), (37, 1), "{range:?}: {ran:?}");
        assert_eq!(ran.code(), "out_of_range");
        assert_eq!(ran.json()["database"], "neo4j");
    }
    let none = lines(&[&list[..], &["--json", "--since", "2999-01-01T00:00:00Z"]].concat());
    assert!(none.is_empty(), "{none:?}");
    let nothing = run(["info", "--from", "/nothing", "--transactions", "--json"]);
    assert_eq!((nothing.status, nothing.stdout.lines().count()), (34, 1), "{nothing:?}");
}

/// A database that is damaged does not hide another, and its error is one line among the others.
#[test]
fn a_damaged_database_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let data = Growing::new(dir.path()).data;
    for part in ["databases", "transactions"] {
        copy(&data.join(part).join("neo4j"), &data.join(part).join("second"));
    }
    let service = Service::start(&data, &[]);
    let to = dir.path().join("backup");
    let to = to.to_str().unwrap();
    assert_eq!(run(["-host", &service.address, "-to", to]).status, 0);
    let list = ["info", "--from", to, "--transactions", "--json"];
    let whole = lines(&list);
    assert!(whole.len() > 2);
    let log = dir.path().join("backup/transactions/second/neostore.transaction.db.0");
    let bytes = std::fs::read(&log).unwrap();
    std::fs::write(&log, &bytes[..bytes.len() - 10]).unwrap();
    let ran = run(list);
    assert_eq!(ran.status, 50, "{ran:?}");
    let told: Vec<Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |all: &[Value], name: &str| all.iter().filter(|it| it["database"] == name).count();
    assert_eq!(of(&told, "neo4j"), of(&whole, "neo4j"));
    let error = told.last().unwrap();
    assert_eq!(
        (&error["database"], &error["error"]["code"]),
        (&"second".into(), &"corrupt_data".into())
    );
    let text = run(&list[..4]);
    assert_eq!(text.status, 50, "{text:?}");
    assert!(text.stderr.contains("second"), "{text:?}");
}
