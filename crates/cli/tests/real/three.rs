//! Neo4j 3.0: its own backup service and tool, and ours, each with each.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use testkit::follower::Follower;
use testkit::load::{Expected, Load, LoadOptions};
use testkit::program::Service;
use testkit::seed::{SeedOptions, seed};
use testkit::server::Server;
use testkit::versions::{self, Version};
use testkit::{backup_tool, consistency, verdict};

use crate::scene::{arg, copies, one_at_a_time, program};

const DATABASE: &str = "graph.db";
/// What it is called after a restore: the server is configured so.
const RESTORED: &str = "restored.db";
const BETWEEN: Duration = Duration::from_secs(2);
/// Increments of a follower, each of a few transactions.
const LEAST_FOLLOWED: usize = 50;
const BACKUP_LIMIT: Duration = Duration::from_secs(120);

/// Claim: a 3.0 database that is written to is backed up by our client from the server's own service and
/// from ours beside it, each going on with what came from the other, and by the original tool from ours.
/// Whatever comes of it is a database that real 3.0 recovers: by `restore`, and as it lies there. The
/// original tool goes on with our client's backups, and ours with the tool's. A follower has each transaction all
/// the while. Method: a load with legacy indexes, indexes that come and go, short logs; what must be
/// there is told by the writers.
#[test]
fn backups_of_3_0() {
    let _guard = one_at_a_time();
    for version in versions::under_test_3_0("backups of 3.0") {
        if let Err(error) = examine(&version) {
            panic!("{}: {error:#}", version.name);
        }
    }
}

fn examine(version: &Version) -> Result<()> {
    let mut scene = Scene::begin(version)?;
    let (ours, theirs) = (scene.ours(), scene.theirs());
    // Nothing is written: the server sends no transactions at all.
    let quiet = scene.path("quiet");
    scene.back_up_with(theirs, &quiet, "full", &["-gather-forensics"])?;
    scene.has_forensics("quiet")?;
    scene.load()?;
    scene.back_up(ours, &quiet, "incremental")?;
    let from = ours.to_string();
    let follower = Follower::start(&program(), &["-host", &from, "-to", arg(&quiet)])?;
    for round in 0..copies(1, 10) {
        let to = scene.path(&format!("theirs-{round}"));
        scene.back_up(theirs, &to, "full")?;
        scene.back_up(ours, &to, "incremental")?;
        let expected = scene.back_up(theirs, &to, "incremental")?;
        scene.restored(&to, &expected)?;

        let to = scene.path(&format!("ours-{round}"));
        scene.back_up(ours, &to, "full")?;
        let expected = scene.back_up(theirs, &to, "incremental")?;
        if versions::is_long_run() {
            // As the manual says: the backup is a database.
            scene.by_hand(&to, &expected)?;
        }
        let expected = scene.by_the_tool(theirs, &to)?;
        scene.by_hand(&to, &expected)?;

        let to = scene.path(&format!("tool-{round}"));
        scene.by_the_tool(ours, &to)?;
        scene.by_the_tool(ours, &to)?;
        // Ours goes on with the tool's, that with ours, and ours with that.
        scene.back_up(theirs, &to, "incremental")?;
        scene.by_the_tool(theirs, &to)?;
        let expected = scene.back_up(ours, &to, "incremental")?;
        scene.restored(&to, &expected)?;
    }
    let (followed, events) = (follower.durable(DATABASE).len(), follower.events());
    let alarms: Vec<_> = events.iter().filter(|event| event.kind() == "alarm").collect();
    ensure!(followed > LEAST_FOLLOWED && alarms.is_empty(), "{followed}, {alarms:?}");
    follower.stop()?;
    let expected = scene.back_up(ours, &quiet, "incremental")?;
    if versions::is_long_run() {
        scene.restored(&quiet, &expected)?;
    }
    scene.end()
}

/// A live server, both services, and a load once that has begun.
struct Scene {
    version: Version,
    live: Server,
    service: Service,
    load: Option<Load>,
    dir: TempDir,
}

impl Scene {
    fn begin(version: &Version) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("neo4j-backup-test-").tempdir()?;
        let live = Server::builder(version)
            .home(dir.path().join("live"))
            .setting("dbms.tx_log.rotation.size", "1M")
            .setting("dbms.checkpoint.interval.time", "3s")
            .start()?;
        seed(&live, &SeedOptions { filler_nodes: 10_000 })?;
        let service = program().serve(&["--config", arg(&live.conf())])?;
        Ok(Self { version: *version, live, service, load: None, dir })
    }

    fn load(&mut self) -> Result<()> {
        let options = LoadOptions { writers: 3, kept: 15, ..LoadOptions::default() };
        self.load = Some(Load::start(&self.live, options)?);
        std::thread::sleep(BETWEEN * 2);
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn ours(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.service.port).into()
    }

    fn theirs(&self) -> SocketAddr {
        self.live.backup_address()
    }

    /// A backup by our client; what must be in it.
    fn back_up(&self, from: SocketAddr, to: &Path, kind: &str) -> Result<Expected> {
        self.back_up_with(from, to, kind, &[])
    }

    fn back_up_with(
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
        let expected = self.expected(begun);
        program().json(&["verify", "--from", arg(to), "--json"])?;
        std::thread::sleep(BETWEEN / 2);
        Ok(expected)
    }

    /// The server's log files lie beside a backup.
    fn has_forensics(&self, name: &str) -> Result<()> {
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
    fn by_the_tool(&self, from: SocketAddr, to: &Path) -> Result<Expected> {
        let begun = Instant::now();
        let done = backup_tool::back_up(&self.version, self.dir.path(), from, to, BACKUP_LIMIT)?;
        ensure!(done.status.success(), "{}", done.output);
        println!("{}: by the tool in {:.1?}", self.version.name, begun.elapsed());
        Ok(self.expected(begun))
    }

    fn expected(&self, begun: Instant) -> Expected {
        let now = Instant::now();
        self.load
            .as_ref()
            .map_or_else(Expected::default, |load| load.history().expected(begun, now))
    }

    /// What `restore` makes of a backup is right.
    fn restored(&self, from: &Path, expected: &Expected) -> Result<()> {
        let home = self.path("restored");
        let conf = home.join("conf/neo4j.conf");
        std::fs::create_dir_all(home.join("conf"))?;
        std::fs::write(&conf, format!("dbms.active_database={RESTORED}\n"))?;
        program().json(&["restore", "--from", arg(from), "--config", arg(&conf), "--json"])?;
        self.started(&home, RESTORED, expected)
    }

    /// A backup that is copied to a database's place is right.
    fn by_hand(&self, from: &Path, expected: &Expected) -> Result<()> {
        let home = self.path("by-hand");
        let databases = home.join("data/databases");
        std::fs::create_dir_all(&databases)?;
        let mut cp = std::process::Command::new("cp");
        let status = cp.arg("-r").args([from, &databases.join(DATABASE)]).status()?;
        ensure!(status.success(), "cp: {status}");
        self.started(&home, DATABASE, expected)
    }

    /// Real 3.0 starts on a home, and has everything in it; the home is removed.
    fn started(&self, home: &Path, database: &str, expected: &Expected) -> Result<()> {
        let builder = Server::builder(&self.version).home(home);
        let mut server = builder.setting("dbms.active_database", database).start()?;
        let figures = verdict::examine(&server, expected).into_result()?;
        println!("{}: started in {:.1?}: {figures:?}", self.version.name, server.started_in());
        server.stop()?;
        consistency::check(&self.version, home, database)?.into_result()?;
        Ok(std::fs::remove_dir_all(home)?)
    }

    fn end(mut self) -> Result<()> {
        if let Some(load) = self.load.take() {
            println!("{}: {}", self.version.name, load.stop()?);
        }
        self.live.stop()?;
        Ok(())
    }
}
