//! `cargo xtask demo`: the main job from end to end, on a real server that is being written to.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use testkit::load::{Load, LoadOptions};
use testkit::program::Service;
use testkit::seed::{SeedOptions, seed};
use testkit::server::Server;
use testkit::versions::{Generation, Version};
use testkit::{consistency, verdict, versions};

use crate::{demo_3_0, program};

/// Starts a real Neo4j Community, writes to it, backs it up over the network meanwhile, restores
/// the backup to a second directory, starts Neo4j there and compares.
#[derive(clap::Args)]
pub struct Options {
    /// The server's version: 5.26, 2026 or 3.0.
    #[arg(long, default_value = "5.26")]
    server: String,
    /// Keep everything, and the original server running, for playing.
    #[arg(long)]
    keep: bool,
    /// How much the copy is slowed down, so that checkpoints happen in its middle.
    #[arg(long, default_value = "20MiB")]
    limit_rate: String,
}

/// Runs the demonstration.
pub fn run(options: &Options) -> Result<()> {
    let mut known = versions::SUPPORTED.iter().chain(&versions::SUPPORTED_3_0);
    let version = known
        .find(|version| version.name.starts_with(&options.server))
        .with_context(|| format!("no server version {}", options.server))?;
    let dir = tempfile::Builder::new().prefix("neo4j-backup-demo-").tempdir()?;
    let _running = match version.generation {
        Generation::Three => demo_3_0::run(version, &dir)?,
        Generation::Five => run_5(options, version, &dir)?,
    };
    if options.keep {
        let dir: PathBuf = dir.keep();
        println!("== kept in {}; the service and the first server run until Enter", dir.display());
        std::io::stdin().read_line(&mut String::new())?;
    }
    Ok(())
}

/// Server and service are given back, running.
fn run_5(options: &Options, version: &Version, dir: &TempDir) -> Result<(Server, Service)> {
    let path = |name: &str| dir.path().join(name).display().to_string();

    let program = program::build()?;
    println!("== Neo4j Community {} (fetched with Maven if it is not here yet)", version.name);
    let live = Server::builder(version).home(path("live")).start()?;
    seed(&live, &SeedOptions { filler_nodes: 100_000 })?;
    println!("   runs on {} after {:.1?}; seeded", live.bolt_uri(), live.started_in());

    let load = Load::start(&live, LoadOptions::default())?;
    let history = load.history();
    std::thread::sleep(Duration::from_secs(3));
    let service = program.serve(&["--config", &live.conf().display().to_string()])?;
    println!("== neo4j-backup serve listens on 127.0.0.1:{}", service.port);

    let begun = Instant::now();
    let port = service.port.to_string();
    let backup = path("backup");
    let (report, took) = program.json(&[
        "backup",
        "-host",
        "127.0.0.1",
        "-port",
        &port,
        "-to",
        &backup,
        "--limit-rate",
        &options.limit_rate,
        "--json",
        "--quiet",
    ])?;
    let ended = Instant::now();
    println!("== neo4j-backup -host 127.0.0.1 -port {port} -to {backup}");
    print_backup(&report, took);
    let expected = service.expected(&history, &report, (begun, ended))?;
    let totals = load.stop()?;
    println!("   the writers meanwhile: {totals}");

    let (_, took) = program.json(&["verify", "--from", &backup, "--json", "--quiet"])?;
    println!("== neo4j-backup verify: every byte is right ({took:.1?})");
    let restored = path("restored/data");
    let (_, took) =
        program.json(&["restore", "--from", &backup, "--to", &restored, "--json", "--quiet"])?;
    println!("== neo4j-backup restore --to {restored} ({took:.1?})");

    let mut second = Server::builder(version).home(path("restored")).start()?;
    println!("== Neo4j starts on it: {} after {:.1?}", second.bolt_uri(), second.started_in());
    let figures = verdict::examine(&second, &expected).into_result()?;
    let users = verdict::examine_users(&second, &expected).into_result()?;
    println!(
        "   {} nodes, {} relationships, {} indexes online, {} users; each writer's transactions \
         without a gap: {:?} (acknowledged before the copy ended: {:?})",
        figures.nodes,
        figures.relationships,
        figures.indexes,
        users.users.unwrap_or(0),
        figures.writers,
        expected.writers.iter().map(|writer| writer.at_least).collect::<Vec<_>>()
    );
    second.stop()?;
    for database in ["neo4j", "system"] {
        let report = consistency::check(version, second.home(), database)?;
        ensure!(report.is_consistent(), "{database}: {}", report.inconsistencies);
    }
    println!("== neo4j-admin database check: neo4j and system are consistent");
    Ok((live, service))
}

/// A path as it is on a command line.
pub fn text(path: &Path) -> String {
    path.display().to_string()
}

/// What a run of `backup` told.
pub fn print_backup(report: &Value, took: Duration) {
    for database in report["databases"].as_array().into_iter().flatten() {
        let bytes = database["bytes_transferred"].as_u64().unwrap_or(0);
        println!(
            "   {}: {} files, {:.1} MiB, checkpoint at transaction {}, last transaction {}",
            database["name"].as_str().unwrap_or("?"),
            database["files"],
            bytes as f64 / f64::from(1 << 20),
            database["checkpoint_tx_id"],
            database["last_tx_id"],
        );
    }
    println!("   in {took:.1?}, while the server was written to");
}
