//! A Neo4j 3.0 server's own backup service, and our client.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;
use testkit::load::{Expected, Load, LoadOptions};
use testkit::seed::{SeedOptions, seed};
use testkit::server::Server;
use testkit::versions::{self, Version};
use testkit::{backup_tool, consistency, verdict};

use crate::scene::{arg, copies, one_at_a_time, program};

const DATABASE: &str = "graph.db";
const BETWEEN: Duration = Duration::from_secs(2);
const BACKUP_LIMIT: Duration = Duration::from_secs(120);

/// Claim: against a 3.0 server's own service our client makes a full backup and increments under load, and
/// each is a database that real 3.0 recovers: by `restore`, and as it lies there; the original tool goes
/// on with it. Method: a load with legacy indexes; what must be there is told by the writers.
#[test]
fn backups_from_the_service_of_3_0() {
    let _guard = one_at_a_time();
    for version in versions::under_test_3_0("backups from the service of 3.0") {
        if let Err(error) = examine(&version, Whose::Theirs) {
            panic!("{}: {error:#}", version.name);
        }
    }
}

/// The same from our service beside the server.
#[test]
fn backups_from_ours_beside_3_0() {
    let _guard = one_at_a_time();
    for version in versions::under_test_3_0("backups from ours beside 3.0") {
        if let Err(error) = examine(&version, Whose::Ours) {
            panic!("{}: {error:#}", version.name);
        }
    }
}

/// Claim: the original tool, unchanged, makes a full backup and increments from our service beside a 3.0
/// server under load, and its own consistency check and ours find nothing.
#[test]
fn the_original_tool_and_our_service() {
    let _guard = one_at_a_time();
    for version in versions::under_test_3_0("the original tool and our service") {
        if let Err(error) = by_the_original(&version) {
            panic!("{}: {error:#}", version.name);
        }
    }
}

fn by_the_original(version: &Version) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("neo4j-backup-test-").tempdir()?;
    let mut live = Server::builder(version)
        .home(dir.path().join("live"))
        .setting("dbms.checkpoint.interval.time", "3s")
        .start()?;
    seed(&live, &SeedOptions { filler_nodes: 5_000 })?;
    let options = LoadOptions { writers: 3, kept: 15, ..LoadOptions::default() };
    let load = Load::start(&live, options)?;
    let service = program().serve(&["--config", arg(&live.conf())])?;
    let from = ([127, 0, 0, 1], service.port).into();
    for round in 0..copies(1, 10) {
        let to = dir.path().join(format!("backup-{round}"));
        let mut expected = Expected::default();
        for kind in ["full", "increment", "increment"] {
            let begun = Instant::now();
            let done = backup_tool::back_up(version, dir.path(), from, &to, BACKUP_LIMIT)?;
            ensure!(done.status.success(), "{kind}: {}", done.output);
            println!("{}: {kind} by the tool in {:.1?}", version.name, begun.elapsed());
            expected = load.history().expected(begun, Instant::now());
            std::thread::sleep(BETWEEN);
        }
        let home = dir.path().join("by-tool");
        std::fs::create_dir_all(home.join("data/databases"))?;
        copy(&to, &home.join("data/databases").join(DATABASE))?;
        started(version, &home, &expected)?;
    }
    println!("{}: {}", version.name, load.stop()?);
    live.stop()?;
    Ok(())
}

/// Whose service the backups come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Theirs,
    Ours,
}

fn examine(version: &Version, whose: Whose) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("neo4j-backup-test-").tempdir()?;
    let mut live = Server::builder(version)
        .home(dir.path().join("live"))
        .setting("dbms.tx_log.rotation.size", "1M")
        .setting("dbms.checkpoint.interval.time", "3s")
        .start()?;
    seed(&live, &SeedOptions { filler_nodes: 20_000 })?;
    let service = match whose {
        Whose::Theirs => None,
        Whose::Ours => Some(program().serve(&["--config", arg(&live.conf())])?),
    };
    let from = match &service {
        None => live.backup_address().to_string(),
        Some(service) => format!("127.0.0.1:{}", service.port),
    };
    let to = dir.path().join("quiet");
    let quiet = back_up(&from, &to)?;
    ensure!(quiet["type"] == "full", "{quiet}");
    let options = LoadOptions { writers: 3, kept: 15, ..LoadOptions::default() };
    let load = Load::start(&live, options)?;
    std::thread::sleep(BETWEEN * 2);
    // What the quiet server had is the beginning of what the busy one has.
    let begun = Instant::now();
    let grown = back_up(&from, &to)?;
    ensure!(grown["type"] == "incremental", "{grown}");
    let expected = load.history().expected(begun, Instant::now());
    restored(version, dir.path(), &to, &expected)?;
    for round in 0..copies(1, 10) {
        let to = dir.path().join(format!("backup-{round}"));
        let mut expected = Expected::default();
        for kind in ["full", "incremental", "incremental"] {
            let begun = Instant::now();
            let report = back_up(&from, &to)?;
            ensure!(report["type"] == kind, "{report}");
            expected = load.history().expected(begun, Instant::now());
            program().json(&["verify", "--from", arg(&to), "--json"])?;
            std::thread::sleep(BETWEEN);
        }
        restored(version, dir.path(), &to, &expected)?;
        // As the manual says: the backup is a database.
        let home = dir.path().join("by-hand");
        let data = home.join("data/databases");
        std::fs::create_dir_all(&data)?;
        copy(&to, &data.join(DATABASE))?;
        started(version, &home, &expected)?;
        // And the original tool goes on with it.
        let begun = Instant::now();
        let theirs = live.backup_address();
        let done = backup_tool::back_up(version, dir.path(), theirs, &to, BACKUP_LIMIT)?;
        ensure!(done.status.success(), "{}", done.output);
        let expected = load.history().expected(begun, Instant::now());
        let home = dir.path().join("by-tool");
        std::fs::create_dir_all(home.join("data/databases"))?;
        copy(&to, &home.join("data/databases").join(DATABASE))?;
        started(version, &home, &expected)?;
    }
    println!("{}: {}", version.name, load.stop()?);
    live.stop()?;
    Ok(())
}

fn back_up(from: &str, to: &Path) -> Result<Value> {
    let (report, took) = program().json(&["-host", from, "-to", arg(to), "--json"])?;
    eprintln!("{took:.1?}, {report}");
    Ok(report["databases"][0].clone())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = std::process::Command::new("cp").arg("-r").args([from, to]).status()?;
    ensure!(status.success(), "cp: {status}");
    Ok(())
}

/// What `restore` makes of a backup is right.
fn restored(version: &Version, dir: &Path, from: &Path, expected: &Expected) -> Result<()> {
    let home = dir.join("restored");
    let data = home.join("data");
    std::fs::create_dir_all(&home)?;
    program().json(&["restore", "--from", arg(from), "--to", arg(&data), "--json"])?;
    started(version, &home, expected)
}

/// Real 3.0 starts on a home, and has everything in it; the home is removed.
fn started(version: &Version, home: &Path, expected: &Expected) -> Result<()> {
    let mut server = Server::builder(version).home(home).start()?;
    let figures = verdict::examine(&server, expected).into_result()?;
    println!("{}: started in {:.1?}: {figures:?}", version.name, server.started_in());
    server.stop()?;
    consistency::check(version, home, DATABASE)?.into_result()?;
    Ok(std::fs::remove_dir_all(home)?)
}
