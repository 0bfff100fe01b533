//! A live server of Neo4j 3.0 under load, backups of it, and what the real server says of each.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;
use testkit::load::{Expected, Load, LoadOptions};
use testkit::process::Finished;
use testkit::program::Service;
use testkit::seed::{SeedOptions, seed};
use testkit::server::{Builder, Server};
use testkit::verdict::Figures;
use testkit::versions::{self, Version};
use testkit::{backup_tool, consistency, verdict};

use crate::scene::{arg, program};

pub const DATABASE: &str = "graph.db";
/// What it is called after a restore: the server is configured so.
const RESTORED: &str = "restored.db";
const UNEXPECTED_LINES: usize = 60;
const BETWEEN: Duration = Duration::from_secs(2);
/// Between what a server notes of a commit and what a writer sees of it.
const JITTER: Duration = Duration::from_secs(1);
const BACKUP_LIMIT: Duration = Duration::from_secs(120);

/// Writers, and in the long run indexes that come and go: a full backup of the server's own service fails when one
/// goes meanwhile, which takes time.
pub fn usual_load() -> LoadOptions {
    let usual = LoadOptions::default();
    let schema_every = usual.schema_every.filter(|_| versions::is_long_run());
    LoadOptions { writers: 3, kept: 15, schema_every, ..usual }
}

/// The same, where nothing of the schema changes.
pub fn without_schema_changes() -> LoadOptions {
    LoadOptions { schema_every: None, ..usual_load() }
}

/// A live server, both services, and a load once that has begun.
pub struct Scene {
    pub version: Version,
    pub live: Server,
    pub service: Service,
    pub load: Option<Load>,
    pub dir: TempDir,
}

/// When the last transaction of a copy was committed, or somewhat before: others of about the same time may have been
/// acknowledged, and lie behind it.
fn committed(report: &Value) -> Result<Instant> {
    let told = report["last_commit_time"].as_str().context("no time of the last commit")?;
    let since = Timestamp::now().duration_since(told.parse()?);
    let since = Duration::try_from(since).unwrap_or_default() + JITTER;
    Ok(Instant::now().checked_sub(since).unwrap_or_else(Instant::now))
}

impl Scene {
    /// Starts a server with these settings besides the usual ones, fills it, and starts our service beside it.
    pub fn begin(version: &Version, configure: impl FnOnce(Builder) -> Builder) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("neo4j-backup-test-").tempdir()?;
        let builder = Server::builder(version)
            .home(dir.path().join("live"))
            .setting("dbms.tx_log.rotation.size", "1M")
            .setting("dbms.checkpoint.interval.time", "3s");
        let live = configure(builder).start()?;
        seed(&live, &SeedOptions { filler_nodes: 10_000 })?;
        let service = program().serve(&["--config", arg(&live.conf())])?;
        Ok(Self { version: *version, live, service, load: None, dir })
    }

    /// Has writers write from now on.
    pub fn load(&mut self, options: LoadOptions) -> Result<()> {
        self.load = Some(Load::start(&self.live, options)?);
        std::thread::sleep(BETWEEN * 2);
        Ok(())
    }

    /// A place beside the server.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where our service listens.
    pub fn ours(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.service.port).into()
    }

    /// Where the server's own does.
    pub fn theirs(&self) -> SocketAddr {
        self.live.backup_address()
    }

    /// A backup by our client; what must be in it.
    pub fn back_up(&self, from: SocketAddr, to: &Path, kind: &str) -> Result<Expected> {
        self.back_up_with(from, to, kind, &[])
    }

    /// The same with more options.
    pub fn back_up_with(
        &self,
        from: SocketAddr,
        to: &Path,
        kind: &str,
        more: &[&str],
    ) -> Result<Expected> {
        let (begun, from) = (Instant::now(), from.to_string());
        let args = [&["-host", &from, "-to", arg(to), "--json"], more].concat();
        let (report, took) = program().json(&args)?;
        ensure!((report["verified"] == true) == (kind == "full"), "{report}");
        let report: &Value = &report["databases"][0];
        eprintln!("{}: {took:.1?}, {report}", self.version.name);
        ensure!(report["type"] == kind, "{report}");
        let expected = self.expected(begun.max(committed(report)?));
        program().json(&["verify", "--from", arg(to), "--json"])?;
        std::thread::sleep(BETWEEN / 2);
        Ok(expected)
    }

    /// The server's log files lie beside a backup.
    pub fn has_forensics(&self, name: &str) -> Result<()> {
        let prefix = format!("{name}.forensics-");
        for entry in std::fs::read_dir(self.dir.path())? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                let log = std::fs::read(entry.path().join("neostore.transaction.db.0"))?;
                ensure!(formats::txlog::LogHeader::decode(&log)?.is_some(), "no log");
                return Ok(());
            }
        }
        anyhow::bail!("no forensics of {name}")
    }

    /// A backup by the original tool, which checks a full one itself.
    pub fn by_the_tool(&self, from: SocketAddr, to: &Path) -> Result<Expected> {
        let (done, expected) = self.run_the_tool(from, to)?;
        ensure!(done.status.success(), "{}", done.output);
        Ok(expected)
    }

    /// A run of the original tool, however it ends; what must be in the backup if it ends well.
    pub fn run_the_tool(&self, from: SocketAddr, to: &Path) -> Result<(Finished, Expected)> {
        let begun = Instant::now();
        let done = backup_tool::back_up(&self.version, self.dir.path(), from, to, BACKUP_LIMIT)?;
        println!("{}: the tool: {} in {:.1?}", self.version.name, done.status, begun.elapsed());
        Ok((done, self.expected(begun)))
    }

    /// What must be in a backup that was begun then and is complete now.
    pub fn expected(&self, begun: Instant) -> Expected {
        self.expected_between(begun, Instant::now())
    }

    /// What must be in a backup that ends with a moment, by the clock that the server has, too.
    pub fn expected_at(&self, moment: Instant) -> Expected {
        self.expected_between(moment - JITTER, moment + JITTER)
    }

    fn expected_between(&self, from: Instant, to: Instant) -> Expected {
        let expected = |load: &Load| load.history().expected(from, to);
        self.load.as_ref().map_or_else(Expected::default, expected)
    }

    /// What `restore` makes of a backup is right.
    pub fn restored(&self, from: &Path, expected: &Expected) -> Result<Figures> {
        self.restored_with(from, expected, &[])
    }

    /// The same with more options.
    pub fn restored_with(
        &self,
        from: &Path,
        expected: &Expected,
        more: &[&str],
    ) -> Result<Figures> {
        let home = self.path("restored");
        let conf = home.join("conf/neo4j.conf");
        std::fs::create_dir_all(home.join("conf"))?;
        std::fs::write(&conf, format!("dbms.active_database={RESTORED}\n"))?;
        let line = ["restore", "--from", arg(from), "--config", arg(&conf), "--json"];
        program().json(&[&line[..], more].concat())?;
        self.started(&home, RESTORED, expected)
    }

    /// A backup that is copied to a database's place is right.
    pub fn by_hand(&self, from: &Path, expected: &Expected) -> Result<Figures> {
        let home = self.path("by-hand");
        let databases = home.join("data/databases");
        std::fs::create_dir_all(&databases)?;
        let mut cp = std::process::Command::new("cp");
        let status = cp.arg("-r").args([from, &databases.join(DATABASE)]).status()?;
        ensure!(status.success(), "cp: {status}");
        self.started(&home, DATABASE, expected)
    }

    /// Real 3.0 starts on a home, and has everything in it; the home is removed.
    pub fn started(&self, home: &Path, database: &str, expected: &Expected) -> Result<Figures> {
        let builder = Server::builder(&self.version).home(home);
        let mut server = builder.setting("dbms.active_database", database).start()?;
        let figures = verdict::examine(&server, expected).into_result()?;
        println!("{}: started in {:.1?}: {figures:?}", self.version.name, server.started_in());
        server.stop()?;
        consistency::check(&self.version, home, database)?.into_result()?;
        std::fs::remove_dir_all(home)?;
        Ok(figures)
    }

    /// Fails unless something has been written since; 3.0.0 breaks now and then by itself.
    pub fn has_written_since(&self, begun: Instant) -> Result<()> {
        let history = self.load.as_ref().map(Load::history);
        let latency = history.map(|history| history.latency(begun, Instant::now()));
        let is_alive = latency.is_some_and(|latency| latency.count > 0);
        ensure!(is_alive, "nothing was written\n{}", self.unexpected()?);
        Ok(())
    }

    /// What the server says of the last error that it did not expect.
    fn unexpected(&self) -> Result<String> {
        let log = std::fs::read(self.live.home().join("logs/debug.log"))?;
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        let is_it = |line: &&str| line.contains("unexpected error") && !line.contains("Deadlock");
        let last = lines.iter().rposition(is_it).unwrap_or(lines.len());
        Ok(lines.iter().skip(last).take(UNEXPECTED_LINES).copied().collect::<Vec<_>>().join("\n"))
    }

    /// Ends load and server; the directory stays.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(load) = self.load.take() {
            let totals = load.stop().map_err(|error| match self.unexpected() {
                Ok(log) => error.context(log),
                Err(_) => error,
            })?;
            println!("{}: {totals}", self.version.name);
        }
        self.live.stop()?;
        Ok(())
    }

    /// Ends load and server.
    pub fn end(mut self) -> Result<()> {
        self.stop()
    }
}
