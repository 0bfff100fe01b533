//! What the server's users notice of a backup: transactions per second, and the slow ones.

use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use testkit::load::{History, Latency, Load, LoadOptions};
use testkit::server::Server;

use super::ratios::backup_command;
use super::table::Table;
use super::{Bench, VERSION, database, text, timed};

const WARM_UP: Duration = Duration::from_secs(30);
const BETWEEN: Duration = Duration::from_secs(3);
const LIMIT_RATE: &str = "50MiB";

/// What runs beside the load.
const MODES: [(&str, Option<&[&str]>); 3] = [
    ("no backup", None),
    ("one backup after the other", Some(&[])),
    ("a backup with --limit-rate 50MiB", Some(&["--limit-rate", LIMIT_RATE])),
];

/// The same load, for the same time, in each mode; in turn, since a server becomes faster or
/// slower over time.
pub fn measure(bench: &Bench<'_>, table: &mut Table) -> Result<()> {
    let home = database::copy(&bench.home, bench.path("live"))?;
    let server = Server::builder(VERSION).home(&home).start()?;
    let service = bench.program.serve(&["--config", &text(&server.conf())])?;
    // Changes of the schema come seldom and take long: they would hide what is measured.
    let options = LoadOptions { schema_every: None, users_every: None, ..LoadOptions::default() };
    let load = Load::start(&server, options)?;
    let history = load.history();
    thread::sleep(WARM_UP);
    let mut found: [Vec<Latency>; 3] = Default::default();
    for round in 1..=bench.options.rounds {
        for (index, (name, backup)) in MODES.into_iter().enumerate() {
            thread::sleep(BETWEEN);
            let latency = window(bench, &history, service.port, backup)?;
            eprintln!(
                "xtask bench: round {round}: {name}: {:.1}/s, p50 {:.1?}, p99 {:.1?}, max {:.1?}",
                latency.per_second, latency.p50, latency.p99, latency.max
            );
            found[index].push(latency);
        }
    }
    load.stop()?;
    for ((name, _), latencies) in MODES.into_iter().zip(&found) {
        let of = |pick: &dyn Fn(&Latency) -> f64| {
            let mut values: Vec<f64> = latencies.iter().map(pick).collect();
            super::ratios::median(&mut values)
        };
        let measured = format!(
            "{:.0} transactions/s, p50 {:.1} ms, p99 {:.1} ms",
            of(&|l| l.per_second),
            of(&|l| l.p50.as_secs_f64() * 1000.0),
            of(&|l| l.p99.as_secs_f64() * 1000.0)
        );
        table.figure(&format!("load, {name}"), measured);
    }
    drop((service, server));
    timed::remove(&home)
}

/// One window of the load, with backups all the time if wanted.
fn window(
    bench: &Bench<'_>,
    history: &History,
    port: u16,
    backup: Option<&[&str]>,
) -> Result<Latency> {
    let length = Duration::from_secs(bench.options.load_seconds);
    let ended = AtomicBool::new(false);
    let (latency, backups) = thread::scope(|scope| {
        let backups = scope.spawn(|| match backup {
            None => Ok(()),
            Some(more) => backups(bench, port, more, &ended),
        });
        let begun = Instant::now();
        thread::sleep(length);
        let latency = history.latency(begun, begun + length);
        ended.store(true, Ordering::Relaxed);
        (latency, backups.join())
    });
    backups.ok().context("a thread panicked")??;
    Ok(latency)
}

fn backups(bench: &Bench<'_>, port: u16, more: &[&str], ended: &AtomicBool) -> Result<()> {
    let to = bench.path("target");
    while !ended.load(Ordering::Relaxed) {
        if to.exists() {
            std::fs::remove_dir_all(&to)?;
        }
        let mut command = backup_command(bench, port, &to, more);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        wait_or_interrupt(&mut child, ended)?;
    }
    timed::remove(&to)
}

fn wait_or_interrupt(child: &mut Child, ended: &AtomicBool) -> Result<()> {
    loop {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "backup: {status}");
            return Ok(());
        }
        if ended.load(Ordering::Relaxed) {
            // A backup that the window's end cuts off has done its part.
            child.kill()?;
            child.wait()?;
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
}
