//! Renewals of a real server's backup, and runs that are killed in the middle of them.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testkit::follower::Follower;
use testkit::program::Service;
use testkit::random::Random;
use testkit::versions;

use crate::increments::{COMMITS_LIMIT, again, copy_by_hand, wait_for_commits};
use crate::scene::{Copy, Scene, arg, copies, one_at_a_time, program, start_and_examine};

/// When the logs have grown too long, the store is brought up to date: only what has changed in it
/// comes, E0 moves, and increments go on from there. A requested full backup is made in the same way.
/// Then followers that renew all the time are killed at any moment, and the service too.
#[test]
fn a_renewal_brings_only_what_has_changed() -> Result<()> {
    let _guard = one_at_a_time();
    for version in versions::one_under_test("renewal", versions::V5_26) {
        let scene =
            Scene::begin(&version, |server| server.setting("db.checkpoint.interval.time", "2s"))?;
        let mut service = scene.serve()?;
        let mut last = again(&scene, &service, "full")?;
        for round in 0..copies(2, 6) {
            wait_for_checkpoint(&scene, &last)?;
            let arguments: &[&str] =
                if round == 1 { &["--full"] } else { &["--renew-after", "1KiB"] };
            let reason = if round == 1 { "requested" } else { "renewal" };
            let renewed = scene.back_up(&service, "backup", arguments)?;
            let (before, after) = (last.database("neo4j"), renewed.database("neo4j"));
            ensure!(after["type"] == "full" && after["reason"] == reason, "{after}");
            let number = |entry: &Value, name: &str| entry[name].as_u64().unwrap_or_default();
            let moved = number(after, "first_consistent_tx_id");
            ensure!(moved > number(before, "first_consistent_tx_id"), "E0 stays at {moved}");
            let (came, size) = (number(after, "bytes_transferred"), number(after, "size_bytes"));
            ensure!(came * 2 < size, "{came} of {size} bytes came");
            program().json(&["verify", "--from", arg(&renewed.backup), "--json"])?;
            last = again(&scene, &service, "incremental")?;
        }
        service = kill_at_any_moment(&scene, service, copies(4, 60))?;
        last = again(&scene, &service, "incremental")?;
        drop(service);
        let (version, dir) = scene.end()?;
        last.prove(&version, &dir.path().join("restored"))?;
        if versions::is_long_run() {
            let home = dir.path().join("by-hand");
            copy_by_hand(&last.backup, &home)?;
            start_and_examine(&version, &home, &last.expected, true)?;
        }
    }
    Ok(())
}

/// `kill -9` of a follower in the middle of increments and renewals, every third time of the service: what
/// is there is whole, holds what it says by the judgement of real Neo4j (a sample), and the next run
/// goes on without help.
fn kill_at_any_moment(scene: &Scene, mut service: Service, times: usize) -> Result<Service> {
    let to = scene.dir.path().join("backup");
    let mut random = Random::new(u64::from(std::process::id()));
    let mut last = 0;
    for time in 0..times {
        let port = service.port.to_string();
        let line = ["-host", "127.0.0.1", "-port", &port, "-to", arg(&to), "--renew-after", "1KiB"];
        let follower = Follower::start(&program(), &line)?;
        let is_followed = |event: &testkit::follower::Event| event.kind() == "following";
        follower.wait_for("the begin", 0, COMMITS_LIMIT, is_followed)?;
        std::thread::sleep(Duration::from_millis(random.next() % 3000));
        let events = follower.events();
        if time % 3 == 2 {
            signal_kill(service.pid())?;
            std::thread::sleep(Duration::from_millis(random.next() % 500));
            follower.kill()?;
            drop(service);
            service = scene.serve()?;
        } else {
            follower.kill()?;
        }
        program().json(&["verify", "--from", arg(&to), "--json"])?;
        let (info, _) = program().json(&["info", "--from", arg(&to), "--json"])?;
        let entry = info["databases"]
            .as_array()
            .and_then(|all| all.iter().find(|it| it["name"] == "neo4j"));
        let now = entry.and_then(|it| it["last_tx_id"].as_u64()).context("no last transaction")?;
        let told = events.iter().filter_map(|event| event.last_tx_id("neo4j")).max().unwrap_or(0);
        ensure!(now >= told.max(last), "{now} is less than {told}, which was told, or {last}");
        eprintln!("killed {time}: at {now}, {} events", events.len());
        last = now;
        if time % 2 == 0 {
            spoil_pages(&to)?;
        }
        if time % 20 == 3 {
            prove_sample(scene, &to, now, time)?;
        }
    }
    Ok(service)
}

/// What is known of the store's pages is no part of the backup: it may say anything, and the next renewal is
/// right all the same.
fn spoil_pages(backup: &std::path::Path) -> Result<()> {
    for entry in std::fs::read_dir(backup.join(".neo4j-backup.pages"))? {
        let path = entry?.path();
        let mut bytes = std::fs::read(&path)?;
        bytes.iter_mut().step_by(97).for_each(|byte| *byte ^= 0x10);
        std::fs::write(&path, bytes)?;
    }
    Ok(())
}

/// Real Neo4j starts on what a killed run left, and it holds exactly that transaction and those before.
fn prove_sample(scene: &Scene, backup: &std::path::Path, tx_id: u64, number: usize) -> Result<()> {
    let home = scene.dir.path().join(format!("sample-{number}"));
    let data = home.join("data");
    program().json(&["restore", "--from", arg(backup), "--to", arg(&data), "--json"])?;
    let expected = scene.load.history().expected_at(tx_id);
    start_and_examine(&scene.version, &home, &expected, false)?;
    std::fs::remove_dir_all(home).context("remove the sample")
}

fn signal_kill(pid: u32) -> Result<()> {
    let status = Command::new("kill").args(["-9", &pid.to_string()]).status()?;
    ensure!(status.success());
    Ok(())
}

/// Waits until the server has taken a checkpoint after a backup's last transaction.
fn wait_for_checkpoint(scene: &Scene, copy: &Copy) -> Result<()> {
    wait_for_commits(&scene.load)?;
    let (before, since) = (scene.checkpoints()?, Instant::now());
    while scene.checkpoints()? == before {
        ensure!(since.elapsed() < COMMITS_LIMIT, "no checkpoint after {}", copy.report);
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
