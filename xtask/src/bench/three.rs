//! Neo4j 3.0: our client and our service beside the originals, in all four pairs.
//!
//! The same server and database for all, which is idle while it is copied. The Java tool runs with the JVM's own
//! settings, and without its check; ours without reading back what it has written.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use testkit::server::{Builder, Server};
use testkit::{backup_tool, jars, params, versions};

use super::ratios::median;
use super::table::Table;
use super::{Bench, gib, memory, text, timed};

const VERSION: &versions::Version = &versions::V3_0_0;
const SIZE_GIB: f64 = 1.0;
/// What a node takes up in its stores; measured.
const BYTES_PER_NODE: f64 = 6_500.0;
const NODES_PER_TRANSACTION: i64 = 500;
const SMALL: u32 = 1000;
const JAVA_FLAGS: [&str; 2] = ["-Xms128m", "-Xmx1g"];
const CP_SYNC: &str = "mkdir -p \"$2\" && cd \"$1\" && \
                       cp -r $(ls | grep -v neostore.transaction) \"$2\" && sync -f \"$2\"";

/// Who copies from whom, in the order of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Cp,
    JavaFromJava,
    OursFromJava,
    OursFromOurs,
    JavaFromOurs,
}

const STEPS: [Step; 5] =
    [Step::Cp, Step::JavaFromJava, Step::OursFromJava, Step::OursFromOurs, Step::JavaFromOurs];

/// What is compared, with what, and how many times as fast it must be.
const BARS: [(&str, Step, Step, f64); 4] = [
    (
        "our client from the Java server, of the Java tool",
        Step::OursFromJava,
        Step::JavaFromJava,
        1.5,
    ),
    ("our client from our service, of both Java", Step::OursFromOurs, Step::JavaFromJava, 5.0),
    ("the Java tool from our service, of both Java", Step::JavaFromOurs, Step::JavaFromJava, 1.0),
    ("our client from our service, of `cp -r` + `sync -f`", Step::OursFromOurs, Step::Cp, 0.9),
];
const INCREMENT_BAR: f64 = 10.0;

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Cp => "3.0: `cp -r` + `sync -f` without the logs",
            Self::JavaFromJava => "3.0: the Java tool from the Java server",
            Self::OursFromJava => "3.0: our client from the Java server",
            Self::OursFromOurs => "3.0: our client from our service",
            Self::JavaFromOurs => "3.0: the Java tool from our service",
        }
    }
}

/// The peers.
struct Pair<'a> {
    bench: &'a Bench<'a>,
    database: PathBuf,
    theirs: SocketAddr,
    ours: SocketAddr,
}

impl Pair<'_> {
    fn command(&self, step: Step, to: &Path) -> Result<Command> {
        Ok(match step {
            Step::Cp => {
                let mut command = Command::new("sh");
                command.args(["-c", CP_SYNC, "sh"]).args([&self.database, to]);
                command
            }
            Step::JavaFromJava => self.java(self.theirs, to)?,
            Step::JavaFromOurs => self.java(self.ours, to)?,
            Step::OursFromJava => self.client(self.theirs, to),
            Step::OursFromOurs => self.client(self.ours, to),
        })
    }

    fn java(&self, from: SocketAddr, to: &Path) -> Result<Command> {
        let (host, port, to) = (from.ip().to_string(), from.port().to_string(), text(to));
        let args = ["-host", &host, "-port", &port, "-to", &to, "-verify", "false"];
        let mut command = backup_tool::command(VERSION, &JAVA_FLAGS, &args)?;
        command.current_dir(&self.bench.work).stderr(std::process::Stdio::null());
        Ok(command)
    }

    fn client(&self, from: SocketAddr, to: &Path) -> Command {
        let (host, port, to) = (from.ip().to_string(), from.port().to_string(), text(to));
        let args = ["-host", &host, "-port", &port, "-to", &to, "-verify", "false", "--quiet"];
        self.bench.program.command(&args)
    }
}

/// Runs the rounds.
pub fn measure(bench: &Bench<'_>, table: &mut Table) -> Result<()> {
    let server = configured(&home(bench)?).start()?;
    let mut service = bench.program.serve(&["--config", &text(&server.conf())])?;
    let ours = SocketAddr::from((Ipv4Addr::LOCALHOST, service.port));
    let database = server.database_dir();
    let source = timed::tree(&database)?;
    eprintln!("xtask bench: 3.0: {:.2} GiB", gib(source.bytes));
    let pair = Pair { bench, database, theirs: server.backup_address(), ours };

    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); STEPS.len()];
    for round in 1..=bench.options.rounds {
        for step in STEPS {
            let to = bench.path("target");
            timed::remove(&to)?;
            timed::warm(&source.files)?;
            timed::own_memory(source.bytes.saturating_mul(3) / 2)?;
            let took = timed::run(&mut pair.command(step, &to)?)?;
            eprintln!("xtask bench: round {round}: {}: {took:.2?}", step.name());
            times[step as usize].push(took);
        }
    }
    for step in STEPS {
        let shown: Vec<_> =
            times[step as usize].iter().map(|took| format!("{:.2}", took.as_secs_f64())).collect();
        let mut rates: Vec<f64> = times[step as usize]
            .iter()
            .map(|took| source.bytes as f64 / f64::from(1 << 20) / took.as_secs_f64())
            .collect();
        table.figure(
            step.name(),
            format!("{:.0} MiB/s ({} s)", median(&mut rates), shown.join(", ")),
        );
    }
    for (what, step, beside, bar) in BARS {
        let pairs = times[step as usize].iter().zip(&times[beside as usize]);
        let mut ratios: Vec<f64> =
            pairs.map(|(own, other)| other.as_secs_f64() / own.as_secs_f64()).collect();
        let ratio = median(&mut ratios);
        table.bar(what, format!("{ratio:.2} times"), &format!(">= {bar}"), ratio >= bar);
    }
    increments(&pair, &server, table)?;
    peaks(&pair, table)?;
    let peak = timed::resident_peak(service.child()).context("the service ended")?;
    memory::row(table, "3.0: memory of our service, after all that", peak);
    timed::remove(&bench.path("target"))
}

/// A thousand small transactions, brought by each tool from the Java server to a backup of its own.
fn increments(pair: &Pair<'_>, server: &Server, table: &mut Table) -> Result<()> {
    let steps = [Step::JavaFromJava, Step::OursFromJava, Step::OursFromOurs];
    let to = |step: Step| pair.bench.path(&format!("increments-{step:?}"));
    for step in steps {
        timed::remove(&to(step))?;
        timed::run(&mut pair.command(step, &to(step))?)?;
    }
    let mut connection = server.connect()?;
    let mut times = vec![Vec::new(); STEPS.len()];
    for round in 1..=pair.bench.options.rounds {
        for number in 0..SMALL {
            connection.run("CREATE (:Small {n: $n})", params! { "n" => i64::from(number) })?;
        }
        for step in steps {
            let took = timed::run(&mut pair.command(step, &to(step))?)?;
            eprintln!(
                "xtask bench: round {round}: {SMALL} transactions: {}: {took:.3?}",
                step.name()
            );
            times[step as usize].push(took.as_secs_f64());
        }
    }
    for step in [Step::OursFromJava, Step::OursFromOurs] {
        let pairs = times[step as usize].iter().zip(&times[Step::JavaFromJava as usize]);
        let mut ratios: Vec<f64> = pairs.map(|(own, other)| other / own).collect();
        let (ratio, own) = (median(&mut ratios), median(&mut times[step as usize].clone()));
        let what = format!("{}: 1,000 transactions, of the Java tool", step.name());
        let shown = format!("{ratio:.1} times ({own:.3} s)");
        table.bar(&what, shown, &format!(">= {INCREMENT_BAR}"), ratio >= INCREMENT_BAR);
    }
    steps.into_iter().try_for_each(|step| timed::remove(&to(step)))
}

fn peaks(pair: &Pair<'_>, table: &mut Table) -> Result<()> {
    for (what, step) in [
        ("3.0: memory of our client, from the Java server", Step::OursFromJava),
        ("3.0: memory of our client, from our service", Step::OursFromOurs),
    ] {
        let to = pair.bench.path("target");
        timed::remove(&to)?;
        memory::row(table, what, timed::peak_of(&mut pair.command(step, &to)?)?);
    }
    Ok(())
}

fn configured(home: &Path) -> Builder {
    Server::builder(VERSION)
        .home(home)
        .heap("1g")
        .setting("dbms.memory.pagecache.size", "1500m")
        .setting("dbms.tx_log.rotation.retention_policy", "false")
        .setting("dbms.checkpoint.interval.time", "15m")
}

/// The home of a stopped server whose database has at least a GiB; made once, by Cypher, and copied.
fn home(bench: &Bench<'_>) -> Result<PathBuf> {
    let home = jars::cache_dir(VERSION).join(format!("bench-{SIZE_GIB}"));
    if !home.is_dir() {
        let partial = home.with_extension("partial");
        timed::remove(&partial)?;
        make(&partial)?;
        std::fs::rename(&partial, &home)?;
    }
    super::database::copy(&home, bench.path("home-3.0"))
}

fn make(home: &Path) -> Result<()> {
    let begun = Instant::now();
    std::fs::create_dir_all(home)?;
    let mut server = configured(home).start()?;
    let mut connection = server.connect()?;
    connection.query("CREATE INDEX ON :Filler(i)")?;
    let nodes = (SIZE_GIB * f64::from(1 << 30) / BYTES_PER_NODE) as i64;
    for start in (0..nodes).step_by(usize::try_from(NODES_PER_TRANSACTION)?) {
        connection.run(
            "UNWIND range($start, $start + $count - 1) AS i CREATE (:Filler {i: i, \
             longs: [x IN range(1, 1000) | toInteger(rand() * 1000000000000000)]})",
            params! { "start" => start, "count" => NODES_PER_TRANSACTION },
        )?;
    }
    server.stop()?;
    let made = timed::tree(&server.database_dir())?.bytes;
    eprintln!("xtask bench: 3.0: {:.2} GiB made in {:.0?}", gib(made), begun.elapsed());
    ensure!(gib(made) >= SIZE_GIB, "only {:.2} GiB", gib(made));
    Ok(())
}
