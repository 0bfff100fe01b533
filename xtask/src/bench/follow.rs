//! A follower: how long after its acknowledgement a transaction is durable in the mirror, and what the
//! service costs when there is nothing to do.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use testkit::follower::Follower;
use testkit::load::{Load, LoadOptions};
use testkit::seed::{SeedOptions, seed};
use testkit::server::Server;

use super::table::Table;
use super::{Bench, VERSION, text, timed};

const WARM_UP: Duration = Duration::from_secs(20);
const IDLE: Duration = Duration::from_secs(20);
const LIMIT: Duration = Duration::from_secs(60);
const BAR: Duration = Duration::from_secs(1);
/// Of the times in /proc: USER_HZ, which Linux keeps at this.
const TICKS_PER_SECOND: f64 = 100.0;

/// On a small server under load, with rotations, checkpoints and renewals in it.
pub fn measure(bench: &Bench<'_>, table: &mut Table) -> Result<()> {
    let home = bench.path("followed");
    timed::remove(&home)?;
    let mut server = Server::builder(VERSION)
        .home(&home)
        .setting("db.tx_log.rotation.size", "1m")
        .setting("db.tx_log.rotation.retention_policy", "1 files")
        .setting("db.checkpoint.interval.time", "10s")
        .start()?;
    seed(&server, &SeedOptions { filler_nodes: 10_000 })?;
    let service = bench.program.serve(&["--config", &text(&server.conf())])?;
    let (port, to) = (service.port.to_string(), text(&bench.path("mirror")));
    timed::remove(&bench.path("mirror"))?;
    let options = LoadOptions {
        pause: Duration::from_millis(20),
        schema_every: None,
        users_every: None,
        ..LoadOptions::default()
    };
    let load = Load::start(&server, options)?;
    let line = ["-host", "127.0.0.1", "-port", &port, "-to", &to, "--renew-after", "4MiB"];
    let follower = Follower::start(&bench.program, &line)?;
    thread::sleep(WARM_UP);
    let history = load.history();
    let begun = Instant::now();
    let length =
        Duration::from_secs(bench.options.load_seconds) * bench.options.rounds.try_into()?;
    thread::sleep(length);
    let ended = Instant::now();
    let totals = load.stop()?;
    let last = history.last_tx_id().context("no transaction")?;
    follower.reaches("neo4j", last, LIMIT)?;
    let (lags, lost) = history.lags((begun, ended), &follower.durable("neo4j"));
    ensure!(lost == 0 && !lags.is_empty(), "{lost} transactions never arrived");
    let part = |percent: usize| lags[(lags.len() * percent / 100).min(lags.len() - 1)];
    let events = follower.events();
    let renewals = events.iter().filter(|event| event.value["reason"] == "renewal").count();
    eprintln!("xtask bench: {totals}; {} lags, {renewals} renewals", lags.len());
    let shown = |lag: Duration| format!("{:.0} ms", lag.as_secs_f64() * 1000.0);
    table.figure("follow: durable after the acknowledgement, p50", shown(part(50)));
    table.bar("follow: the same, p99", shown(part(99)), "<= 1 s", part(99) <= BAR);
    table.figure("follow: the same, the longest", shown(part(100)));

    let (of_service, of_follower) = (ticks(service.pid())?, ticks(follower.pid())?);
    thread::sleep(IDLE);
    let cost = |before: u64, after: u64| {
        let spent = (after - before) as f64 / TICKS_PER_SECOND;
        format!("{:.2} % of a processor", spent / IDLE.as_secs_f64() * 100.0)
    };
    table.figure(
        "follow: the service, idle, two databases followed",
        cost(of_service, ticks(service.pid())?),
    );
    table.figure("follow: the follower, idle", cost(of_follower, ticks(follower.pid())?));
    follower.stop()?;
    let alone = ticks(service.pid())?;
    thread::sleep(IDLE);
    table.figure("the service, idle, nobody asks", cost(alone, ticks(service.pid())?));
    drop(service);
    server.stop()?;
    timed::remove(&bench.path("mirror"))?;
    timed::remove(&home)
}

/// The processor's time that a process has used, in the kernel's ticks.
fn ticks(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(") ").context("no name")?.1;
    let fields: Vec<&str> = fields.split(' ').collect();
    let field =
        |index: usize| -> Result<u64> { Ok(fields.get(index).context("too few fields")?.parse()?) };
    // utime and stime, the fields 14 and 15 of proc(5); the first here is the third there.
    Ok(field(11)? + field(12)?)
}
