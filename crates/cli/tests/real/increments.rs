//! The manual's sentences on incremental backups, each against a real server under load.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use testkit::load::{History, Load, LoadOptions};
use testkit::program::Service;
use testkit::server::Server;
use testkit::versions::{self, Version};
use testkit::{consistency, verdict};

use crate::scene::{Copy, Scene, arg, copies, one_at_a_time, program, start_and_examine};

pub const COMMITS_LIMIT: Duration = Duration::from_secs(120);

/// Backs up into the same directory and says how the user database was backed up.
pub fn again(scene: &Scene, service: &Service, expected: &str) -> Result<Copy> {
    let copy = scene.back_up(service, "backup", &[])?;
    let found = copy.database("neo4j")["type"].as_str().context("a type")?;
    ensure!(found == expected, "{found} instead of {expected}: {}", copy.report);
    Ok(copy)
}

/// Waits until every writer has committed something more, however slow the machine is.
pub fn wait_for_commits(load: &Load) -> Result<()> {
    let before = load.acknowledged_before(Instant::now());
    let since = Instant::now();
    while since.elapsed() < COMMITS_LIMIT {
        std::thread::sleep(Duration::from_millis(200));
        let now = load.acknowledged_before(Instant::now());
        if before.iter().zip(&now).all(|(before, now)| before < now) {
            return Ok(());
        }
    }
    bail!("a writer has committed nothing for {COMMITS_LIMIT:?}")
}

fn outcome(
    service: &Service,
    to: &Path,
    more: &[&str],
) -> Result<(Option<i32>, serde_json::Value)> {
    let port = service.port.to_string();
    let line = ["-host", "127.0.0.1", "-port", &port, "-to", arg(to), "--json"];
    program().outcome(&[line.as_slice(), more].concat())
}

/// A copy by hand, as the manual has it: "replace the files in the data directory".
pub fn copy_by_hand(backup: &Path, home: &Path) -> Result<()> {
    std::fs::create_dir_all(home)?;
    let status = Command::new("cp").arg("-r").arg(backup).arg(home.join("data")).status()?;
    ensure!(status.success());
    Ok(())
}

/// "Incremental when a backup is there and the logs since are present"; "it copies new transactions;
/// the result is consistent and current"; "backups are fully functional databases", both by
/// `restore` and by hand. Logs rotate and checkpoints are taken between and in the increments, and
/// the server is restarted once.
#[test]
fn increments_bring_the_backup_to_the_present() -> Result<()> {
    let _guard = one_at_a_time();
    // The other version has its increments in the test of renewals.
    for version in versions::one_under_test("increments", versions::V2026_08) {
        let mut scene =
            Scene::begin(&version, |server| server.setting("db.tx_log.rotation.size", "128k"))?;
        let service = scene.serve()?;
        let first = again(&scene, &service, "full")?;
        ensure!(first.database("neo4j")["reason"] == "first backup", "{}", first.report);
        let mut last = first;
        for _ in 0..copies(4, 10) {
            wait_for_commits(&scene.load)?;
            let next = again(&scene, &service, "incremental")?;
            let id = |copy: &Copy| copy.database("neo4j")["last_tx_id"].as_u64();
            ensure!(id(&next) > id(&last), "nothing new: {}", next.report);
            ensure!(next.report["databases"].as_array().is_some_and(|all| all.len() == 2));
            last = next;
        }
        let Scene { mut live, load, dir, .. } = scene;
        let before_restart = load.history();
        load.stop()?;
        live.stop()?;
        live.start_again()?;
        let load = Load::start(&live, LoadOptions::default())?;
        scene = Scene { version, live, load, dir };
        wait_for_commits(&scene.load)?;
        last = again(&scene, &service, "incremental")?;
        let histories = [before_restart, scene.load.history()];
        drop(service);
        let (version, dir) = scene.end()?;
        let by_hand = dir.path().join("by-hand");
        copy_by_hand(&last.backup, &by_hand)?;
        last.prove(&version, &dir.path().join("restored"))?;
        start_and_examine(&version, &by_hand, &last.expected, true)?;
        to_a_random_transaction(&version, dir.path(), &last, &histories)?;
    }
    Ok(())
}

/// "Any commit from E0 to E": the real server says that this is its last transaction, and the content
/// is what the writers were told to be committed up to there.
fn to_a_random_transaction(
    version: &Version,
    dir: &Path,
    last: &Copy,
    histories: &[Arc<History>],
) -> Result<()> {
    let from = arg(&last.backup);
    let list = ["info", "--from", from, "--database", "neo4j", "--transactions", "--json"];
    let output = program().command(&list).output()?;
    ensure!(output.status.success());
    let lines = String::from_utf8(output.stdout)?;
    let lines: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let restorable = lines.iter().filter(|line| line["restorable"] == true);
    let ids: Vec<u64> = restorable.filter_map(|line| line["tx_id"].as_u64()).collect();
    ensure!(ids.len() > 1, "{ids:?}");
    // Not the last, which the other restores are of.
    let id = ids[std::process::id() as usize % (ids.len() - 1)];
    let home = dir.join("earlier");
    let (to, id_text) = (home.join("data"), id.to_string());
    let line = ["restore", "--from", from, "--to", arg(&to), "--database", "neo4j", "--json"];
    let (report, _) = program().json(&[&line[..], &["--until", &id_text]].concat())?;
    ensure!(report["databases"][0]["last_tx_id"].as_u64() == Some(id), "{report}");
    let reaches = |history: &&Arc<History>| history.last_tx_id() >= Some(id);
    let history = histories.iter().find(reaches).or(histories.last()).context("no history")?;
    let expected = history.expected_at(id);
    eprintln!("{}: to {id} of {}..={}: {expected:?}", version.name, ids[0], ids[ids.len() - 1]);
    let mut server = Server::builder(version).home(&home).start()?;
    let mut connection = server.connect()?;
    connection.begin()?;
    connection.number("RETURN 1")?;
    let last = connection.commit()?.context("no id")?;
    ensure!(last == id, "the server's last transaction is {last}, not {id}");
    verdict::examine(&server, &expected).into_result()?;
    server.stop()?;
    consistency::check(version, &home, "neo4j")?.into_result()
}

/// "Logs already removed by the retention policy: full backup instead", and the old one stays until
/// then; `--no-fallback` makes it a failure that changes nothing.
#[test]
fn pruned_logs_lead_to_a_full_backup() -> Result<()> {
    let _guard = one_at_a_time();
    for version in versions::one_under_test("pruned logs", versions::V2026_08) {
        let scene = Scene::begin(&version, |server| {
            server
                .setting("db.tx_log.rotation.size", "128k")
                .setting("db.tx_log.rotation.retention_policy", "keep_none")
                .setting("db.checkpoint.interval.time", "2s")
        })?;
        let service = scene.serve()?;
        again(&scene, &service, "full")?;
        std::thread::sleep(Duration::from_secs(8));
        let to = scene.dir.path().join("backup");
        let manifest = std::fs::read(to.join(".neo4j-backup.json"))?;
        let (code, failed) = outcome(&service, &to, &["--no-fallback", "--database", "neo4j"])?;
        ensure!(code == Some(22) && failed["error"]["code"] == "logs_pruned", "{failed}");
        ensure!(std::fs::read(to.join(".neo4j-backup.json"))? == manifest, "it was changed");
        let fallback = again(&scene, &service, "full")?;
        ensure!(fallback.database("neo4j")["reason"] == "logs pruned", "{}", fallback.report);
        drop(service);
        let (version, dir) = scene.end()?;
        fallback.prove(&version, &dir.path().join("restored"))?;
    }
    Ok(())
}

/// "Fails when it holds a backup of a different store"; a server that was restored from an older
/// backup has another history under the same store id; a backup that Neo4j was started on is none of
/// ours any more. Each is refused with a code of its own, and nothing is changed.
#[test]
fn what_an_increment_refuses() -> Result<()> {
    let _guard = one_at_a_time();
    for version in versions::one_under_test("what an increment refuses", versions::V5_26) {
        refusals(&version)?;
    }
    Ok(())
}

fn refusals(version: &Version) -> Result<()> {
    let scene = Scene::begin(version, |server| server)?;
    let service = scene.serve()?;
    let old = scene.back_up(&service, "old", &[])?;
    std::thread::sleep(Duration::from_secs(2));
    let newer = scene.back_up(&service, "newer", &[])?;
    drop(service);
    let (version, dir) = scene.end()?;

    // The same store, restored to an earlier state, that went another way from there.
    let home = dir.path().join("restored");
    let data = home.join("data");
    program().json(&["restore", "--from", arg(&old.backup), "--to", arg(&data), "--json"])?;
    let mut live = testkit::server::Server::builder(&version).home(&home).start()?;
    let load = Load::start(&live, LoadOptions::default())?;
    std::thread::sleep(Duration::from_secs(8));
    load.stop()?;
    let service = program().serve(&["--config", arg(&live.conf())])?;
    let before = std::fs::read(newer.backup.join(".neo4j-backup.json"))?;
    let (code, refused) = outcome(&service, &newer.backup, &["--database", "neo4j"])?;
    ensure!(code == Some(24) && refused["error"]["code"] == "diverged", "{code:?} {refused}");
    eprintln!("{refused}");
    ensure!(std::fs::read(newer.backup.join(".neo4j-backup.json"))? == before, "it was changed");
    program().json(&["verify", "--from", arg(&newer.backup), "--json"])?;
    // The backup that it was restored from is part of its history.
    let (code, joined) = outcome(&service, &old.backup, &["--database", "neo4j"])?;
    ensure!(code == Some(0) && joined["databases"][0]["type"] == "incremental", "{joined}");
    drop(service);
    live.stop()?;

    // Neo4j was started on the backup itself.
    let started = dir.path().join("started");
    copy_by_hand(&newer.backup, &started)?;
    testkit::server::Server::builder(&version).home(&started).start()?.stop()?;
    let service = program().serve(&["--config", arg(&live.conf())])?;
    let (code, refused) = outcome(&service, &started.join("data"), &["--database", "neo4j"])?;
    eprintln!("{refused}");
    ensure!(code == Some(36) && refused["error"]["code"] == "backup_changed", "{code:?} {refused}");
    drop(service);

    // Another store under the same name.
    let other = dir.path().join("other");
    let mut live = testkit::server::Server::builder(&version).home(&other).start()?;
    let service = program().serve(&["--config", arg(&live.conf())])?;
    let (code, refused) = outcome(&service, &newer.backup, &["--database", "neo4j"])?;
    eprintln!("{refused}");
    ensure!(code == Some(23) && refused["error"]["code"] == "other_store", "{code:?} {refused}");
    drop(service);
    live.stop()?;
    Ok(())
}

/// "Fails when it holds a backup of a previous version": the store was migrated to another format since. A
/// code of its own, nothing is changed, and `--full` replaces the backup.
#[test]
fn a_migrated_store_is_refused() -> Result<()> {
    let _guard = one_at_a_time();
    for version in versions::one_under_test("a migrated store", versions::V5_26) {
        if !versions::is_long_run() {
            eprintln!("LONG RUN ONLY a migrated store");
            continue;
        }
        let standard = |server: testkit::server::Builder| server.setting("db.format", "standard");
        let scene = Scene::begin(&version, standard)?;
        let service = scene.serve()?;
        let old = scene.back_up(&service, "backup", &[])?;
        let Scene { version, mut live, load, dir } = scene;
        load.stop()?;
        live.stop()?;
        let migrate = ["database", "migrate", "--to-format=aligned", "neo4j"];
        let done = testkit::admin::run(&version, live.home(), &migrate, COMMITS_LIMIT)?;
        ensure!(done.status.success(), "{}", done.output);
        live.start_again()?;
        let load = Load::start(&live, LoadOptions::default())?;
        let scene = Scene { version, live, load, dir };
        wait_for_commits(&scene.load)?;
        let before = std::fs::read(old.backup.join(".neo4j-backup.json"))?;
        let (code, refused) = outcome(&service, &old.backup, &["--database", "neo4j"])?;
        eprintln!("{refused}");
        ensure!(code == Some(25) && refused["error"]["code"] == "store_migrated", "{refused}");
        ensure!(std::fs::read(old.backup.join(".neo4j-backup.json"))? == before, "it was changed");
        let new = scene.back_up(&service, "backup", &["--full"])?;
        ensure!(new.database("neo4j")["store_format"] == "record-aligned-1.1", "{}", new.report);
        drop(service);
        let (version, dir) = scene.end()?;
        new.prove(&version, &dir.path().join("restored"))?;
    }
    Ok(())
}

/// "A kernel upgrade inside the logs is no failure: it continues." The server is stopped, started by a
/// newer Neo4j on the same directories, which upgrades the database at its first write: two layouts of
/// log entries in one directory, and an increment over both.
#[test]
fn an_increment_goes_on_over_an_upgrade_of_the_server() -> Result<()> {
    let _guard = one_at_a_time();
    let (old, new) = (versions::V5_26, versions::V2026_08);
    let under_test = versions::under_test("an upgrade in place");
    if !versions::is_long_run() || under_test.len() < 2 {
        eprintln!("LONG RUN OF BOTH VERSIONS ONLY an upgrade in place");
        return Ok(());
    }
    let scene = Scene::begin(&old, |server| server)?;
    let service = scene.serve()?;
    let full = again(&scene, &service, "full")?;
    let before = full.database("neo4j")["kernel_version"].as_u64().context("a version")?;
    std::thread::sleep(Duration::from_secs(2));
    let Scene { mut live, load, dir, .. } = scene;
    let old_history = load.history();
    load.stop()?;
    live.stop()?;
    let live = Server::builder(&new).home(live.home()).start()?;
    let load = Load::start(&live, LoadOptions::default())?;
    let scene = Scene { version: new, live, load, dir };
    wait_for_commits(&scene.load)?;
    let last = again(&scene, &service, "incremental")?;
    ensure!(last.database("neo4j")["kernel_version"].as_u64() == Some(before), "C is the old one");
    let histories = [old_history, scene.load.history()];
    drop(service);
    let (version, dir) = scene.end()?;
    let kinds = kernel_versions(&last.backup.join("transactions/neo4j"))?;
    ensure!(kinds.len() == 2, "the logs are of kernel versions {kinds:?}");
    last.prove(&version, &dir.path().join("restored"))?;
    to_a_random_transaction(&version, dir.path(), &last, &histories)
}

/// The kernel versions of the entries in a directory's logs.
fn kernel_versions(logs: &Path) -> Result<BTreeSet<u8>> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(logs)? {
        let path = entry?.path();
        if !path.to_string_lossy().contains("neostore.transaction.db.") {
            continue;
        }
        let bytes = std::fs::read(&path)?;
        let from = usize::try_from(formats::txlog::LogHeader::SIZE_BYTES)?;
        let mut reader = formats::txlog::BatchReader::new(&bytes[from..], from as u64);
        while let Some(batch) = reader.next_batch()? {
            found.insert(batch.kernel_version.0);
        }
    }
    Ok(found)
}
