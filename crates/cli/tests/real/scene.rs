//! A live server under load, copies of it, and what the real server says of each.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tempfile::TempDir;
use testkit::load::{Expected, Load, LoadOptions};
use testkit::program::{Program, Service};
use testkit::seed::{SeedOptions, seed};
use testkit::server::{Builder, Server};
use testkit::verdict::Figures;
use testkit::versions::{self, Version};
use testkit::{consistency, verdict};

/// The executable under test.
pub fn program() -> Program {
    Program::at(env!("CARGO_BIN_EXE_neo4j-backup"))
}

/// Servers want the whole machine: one test with servers at a time.
pub fn one_at_a_time() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Copies of each kind in this run.
pub fn copies(ordinary: usize, long: usize) -> usize {
    if versions::is_long_run() { long } else { ordinary }
}

/// A directory's path as an argument.
pub fn arg(path: &Path) -> &str {
    path.to_str().expect("a temporary directory's name is UTF-8")
}

/// A live server under load.
pub struct Scene {
    pub version: Version,
    pub live: Server,
    pub load: Load,
    pub dir: TempDir,
}

impl Scene {
    /// Starts a server with these settings, fills it and puts it under load.
    pub fn begin(version: &Version, configure: impl FnOnce(Builder) -> Builder) -> Result<Self> {
        Self::begin_with(version, configure, LoadOptions::default())
    }

    /// The same under another load.
    pub fn begin_with(
        version: &Version,
        configure: impl FnOnce(Builder) -> Builder,
        load: LoadOptions,
    ) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("neo4j-backup-test-").tempdir()?;
        let builder = Server::builder(version).home(dir.path().join("live"));
        let live = configure(builder).start()?;
        seed(&live, &SeedOptions { filler_nodes: 40_000 })?;
        let load = Load::start(&live, load)?;
        // Something to lose before the first checkpoint of a copy.
        std::thread::sleep(std::time::Duration::from_secs(4));
        Ok(Self { version: *version, live, load, dir })
    }

    /// Starts the service beside the live server.
    pub fn serve(&self) -> Result<Service> {
        program().serve(&["--config", arg(&self.live.conf())])
    }

    /// A full backup while the load goes on.
    pub fn back_up(&self, service: &Service, name: &str, more: &[&str]) -> Result<Copy> {
        let to = self.dir.path().join(name);
        let port = service.port.to_string();
        let mut args = vec!["-host", "127.0.0.1", "-port", &port, "-to", arg(&to), "--json"];
        args.extend(more);
        let checkpoints = self.checkpoints()?;
        let begun = Instant::now();
        let (report, took) = program().json(&args)?;
        let ended = Instant::now();
        let expected = service.expected(&self.load.history(), &report, (begun, ended))?;
        let crossed = self.checkpoints()? - checkpoints;
        eprintln!(
            "{} {name}: {took:.1?}, {crossed} checkpoints crossed, {report}",
            self.version.name
        );
        Ok(Copy { backup: to, report, expected, crossed })
    }

    /// How many checkpoints of the user database there were, as far as their files are there.
    pub fn checkpoints(&self) -> Result<u64> {
        let logs = self.live.data_dir().join("transactions/neo4j");
        let mut newest = 0;
        for entry in std::fs::read_dir(logs)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("checkpoint.")) {
                let file = formats::checkpoint::decode_file(&std::fs::read(&path)?)?;
                newest += file.map_or(0, |file| file.entries.len() as u64);
            }
        }
        Ok(newest)
    }

    /// The name of the newest checkpoint file of the user database.
    pub fn newest_checkpoint_file(&self) -> Result<String> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.live.data_dir().join("transactions/neo4j"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Some(number) = name.strip_prefix("checkpoint.") {
                names.push((number.parse::<u64>()?, name));
            }
        }
        Ok(names.into_iter().max().context("no checkpoint file")?.1)
    }

    /// Ends load and server; the directory stays.
    pub fn end(self) -> Result<(Version, TempDir)> {
        let Self { version, mut live, load, dir } = self;
        eprintln!("{}: {}", version.name, load.stop()?);
        live.stop()?;
        Ok((version, dir))
    }
}

/// One backup and what must be in it.
pub struct Copy {
    pub backup: PathBuf,
    pub report: Value,
    pub expected: Expected,
    pub crossed: u64,
}

impl Copy {
    /// The report's part on one database.
    pub fn database(&self, name: &str) -> &Value {
        let databases = self.report["databases"].as_array().expect("a list of databases");
        databases.iter().find(|database| database["name"] == name).expect("the database")
    }

    /// Verifies, restores to a new home, and has the real server prove the result.
    pub fn prove(&self, version: &Version, home: &Path) -> Result<Figures> {
        program().json(&["verify", "--from", arg(&self.backup), "--json"])?;
        let data = home.join("data");
        program().json(&["restore", "--from", arg(&self.backup), "--to", arg(&data), "--json"])?;
        let figures = start_and_examine(version, home, &self.expected, true)?;
        eprintln!("{}: {figures:?}", home.display());
        Ok(figures)
    }
}

/// Starts a real server on a restored home, examines what is in it, stops it, and has the real
/// checker look at every database.
pub fn start_and_examine(
    version: &Version,
    home: &Path,
    expected: &Expected,
    with_system: bool,
) -> Result<Figures> {
    let mut server = Server::builder(version).home(home).start().context("start the restored")?;
    let figures = verdict::examine(&server, expected).into_result()?;
    if with_system {
        verdict::examine_users(&server, expected).into_result()?;
    }
    server.stop()?;
    for database in ["neo4j", "system"] {
        consistency::check(version, home, database)?.into_result().context(database)?;
    }
    Ok(figures)
}
