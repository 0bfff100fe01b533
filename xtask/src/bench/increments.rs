//! Increments: how long a run takes that finds a thousand small transactions, and how fast it brings a
//! GiB of logs, beside `cp` of the same files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testkit::bolt::Connection;
use testkit::params;
use testkit::server::Server;

use super::ratios::{backup_command, median};
use super::table::Table;
use super::{Bench, VERSION, memory, text, timed};

const SMALL: u32 = 1000;
const SMALL_BAR_S: f64 = 0.3;
const LOG_BYTES: u64 = 1 << 30;
const LOG_BAR: f64 = 0.9;
/// A node's text in the transactions that make long logs, and how many nodes one makes.
const TEXT_BYTES: usize = 8000;
const NODES: i64 = 1000;

/// On a small database of its own: its size does not matter for an increment.
pub fn measure(bench: &Bench<'_>, table: &mut Table) -> Result<()> {
    let home = bench.path("small");
    timed::remove(&home)?;
    let server = Server::builder(VERSION)
        .home(&home)
        .setting("db.tx_log.rotation.size", "256m")
        .setting("db.checkpoint.interval.time", "15m")
        .setting("db.checkpoint.interval.tx", 1_000_000)
        .start()?;
    let mut service = bench.program.serve(&["--config", &text(&server.conf())])?;
    let mut connection = server.connect()?;
    let to = bench.path("increments");
    timed::remove(&to)?;
    timed::run(&mut backup_command(bench, service.port, &to, &[]))?;
    // Nothing in these rounds is to be a renewal.
    let again = || backup_command(bench, service.port, &to, &["--renew-after", "never"]);
    let mut times = Vec::new();
    for round in 1..=bench.options.rounds.max(3) {
        for number in 0..SMALL {
            connection.run("CREATE (:Small {n: $n})", params! { "n" => i64::from(number) })?;
        }
        let took = timed::run(&mut again())?;
        eprintln!("xtask bench: round {round}: an increment of {SMALL} transactions: {took:.3?}");
        times.push(took.as_secs_f64());
    }
    let shown = format!("{:.3} s", median(&mut times));
    let holds = median(&mut times) < SMALL_BAR_S;
    table.bar("increment of 1,000 transactions, start to exit", shown, "< 0.3 s", holds);

    let mut ratios = Vec::new();
    for round in 1..=bench.options.rounds {
        let before = logs(&to)?;
        write_logs(&mut connection)?;
        let copied = bench.path("target");
        timed::remove(&copied)?;
        let new = new_logs(&server.data_dir(), &before)?;
        timed::own_memory(LOG_BYTES * 2)?;
        let cp = copy(&new, &copied)?;
        timed::remove(&copied)?;
        timed::own_memory(LOG_BYTES * 2)?;
        let ours = timed::run(&mut again())?;
        let moved = transferred(bench, &to)?;
        ensure!(moved >= LOG_BYTES, "only {moved} bytes of logs");
        let (bytes_ours, bytes_cp) =
            (moved as f64, new.iter().map(|log| log.1).sum::<u64>() as f64);
        let ratio = (bytes_ours / ours.as_secs_f64()) / (bytes_cp / cp.as_secs_f64());
        eprintln!(
            "xtask bench: round {round}: {:.2} GiB of logs: {ours:.2?}, `cp` + `sync -f` {cp:.2?}",
            super::gib(moved)
        );
        ratios.push(ratio);
    }
    let ratio = median(&mut ratios);
    let shown = format!("{:.0} %", ratio * 100.0);
    table.bar("1 GiB of logs, of `cp` + `sync -f`", shown, ">= 90 %", ratio >= LOG_BAR);

    write_logs(&mut connection)?;
    let client = timed::peak_of(&mut again())?;
    let serving = timed::resident_peak(service.child()).context("the service ended")?;
    memory::row(table, "memory of a long increment: client", client);
    memory::row(table, "memory of a long increment: service", serving);
    drop((service, server));
    timed::remove(&to)?;
    timed::remove(&home)
}

/// At least as many bytes of logs as are wanted.
fn write_logs(connection: &mut Connection) -> Result<()> {
    let text = "x".repeat(TEXT_BYTES);
    let each = u64::try_from(TEXT_BYTES)? * u64::try_from(NODES)?;
    let query = "UNWIND range(1, $count) AS n CREATE (:Long {text: $text + toString(n)})";
    for _ in 0..LOG_BYTES.div_ceil(each) {
        connection.run(query, params! { "count" => NODES, "text" => text.as_str() })?;
    }
    Ok(())
}

/// The log files of the user database, with the lengths that they have in a backup.
fn logs(backup: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(backup.join("transactions/neo4j"))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("neostore.transaction") {
            found.push((entry.path(), entry.metadata()?.len()));
        }
    }
    Ok(found)
}

/// The server's log files that are newer than a backup's newest, or that one, with their lengths; not the
/// one that is written to, most of which is preallocated.
fn new_logs(data: &Path, before: &[(PathBuf, u64)]) -> Result<Vec<(PathBuf, u64)>> {
    let mut new = Vec::new();
    for (path, size) in logs(data)? {
        let old = before.iter().find(|old| old.0.file_name() == path.file_name());
        let newest = before.iter().max_by_key(|old| number(&old.0));
        if old.is_none() || newest == old {
            new.push((path, size));
        }
    }
    new.sort_by_key(|file| number(&file.0));
    new.pop();
    Ok(new)
}

fn number(path: &Path) -> u64 {
    path.extension().and_then(|number| number.to_string_lossy().parse().ok()).unwrap_or(0)
}

/// `cp` of these files.
fn copy(files: &[(PathBuf, u64)], to: &Path) -> Result<Duration> {
    std::fs::create_dir_all(to)?;
    let mut command = Command::new("sh");
    command.args(["-c", "to=$1; shift; cp \"$@\" \"$to\" && sync -f \"$to\"", "sh"]).arg(to);
    command.args(files.iter().map(|file| &file.0));
    timed::run(&mut command)
}

/// What the last run on a backup of the user database moved.
fn transferred(bench: &Bench<'_>, backup: &Path) -> Result<u64> {
    let (info, _) = bench.program.json(&["info", "--from", &text(backup), "--json"])?;
    let databases = info["databases"].as_array().context("no databases")?;
    let neo4j = databases.iter().find(|database| database["name"] == "neo4j");
    neo4j.and_then(|it: &Value| it["bytes_transferred"].as_u64()).context("no bytes")
}
