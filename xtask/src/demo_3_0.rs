//! `cargo xtask demo --server 3.0`: the main job on a real Neo4j 3.0, with its own service and its own tool.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tempfile::TempDir;
use testkit::load::{Expected, Load, LoadOptions};
use testkit::program::{Program, Service};
use testkit::seed::{SeedOptions, seed};
use testkit::server::Server;
use testkit::versions::Version;
use testkit::{backup_tool, consistency, verdict};

use crate::demo::{print_backup, text};
use crate::program;

const DATABASE: &str = "graph.db";
/// Between two backups, so that there is something new.
const PAUSE: Duration = Duration::from_secs(3);
const TOOL_LIMIT: Duration = Duration::from_secs(300);

/// A server that is written to, and our program.
struct Demo<'a> {
    version: &'a Version,
    program: Program,
    live: Server,
    load: Load,
    dir: &'a TempDir,
}

/// Runs the demonstration in a directory; server and service are given back, running.
pub fn run(version: &Version, dir: &TempDir) -> Result<(Server, Service)> {
    let program = program::build()?;
    println!("== Neo4j Enterprise {} (fetched with Maven if it is not here yet)", version.name);
    let live = Server::builder(version).home(dir.path().join("live")).start()?;
    seed(&live, &SeedOptions { filler_nodes: 20_000 })?;
    println!("   runs on {} after {:.1?}; seeded", live.bolt_uri(), live.started_in());
    // Now and then 3.0.0 itself breaks when an index is dropped under load.
    let options =
        LoadOptions { writers: 3, kept: 15, schema_every: None, ..LoadOptions::default() };
    let load = Load::start(&live, options)?;
    std::thread::sleep(PAUSE);
    let demo = Demo { version, program, live, load, dir };

    let theirs = demo.live.backup_address();
    println!("== the server's own backup service listens on {theirs}");
    demo.back_up(theirs, "ours")?;
    let from_theirs = demo.back_up(theirs, "ours")?;

    let service = demo.program.serve(&["--config", &text(&demo.live.conf())])?;
    let ours = SocketAddr::from((Ipv4Addr::LOCALHOST, service.port));
    println!("== neo4j-backup serve, beside the server, listens on {ours}");
    demo.by_the_tool(ours, "tools")?;
    demo.by_the_tool(ours, "tools")?;
    println!("== ours goes on with what the original tool has made");
    let from_ours = demo.back_up(ours, "tools")?;

    demo.restore("ours", &from_theirs)?;
    demo.restore("tools", &from_ours)?;
    println!("   the writers meanwhile: {}", demo.load.stop()?);
    Ok((demo.live, service))
}

impl Demo<'_> {
    fn path(&self, name: &str) -> String {
        text(&self.dir.path().join(name))
    }

    /// A backup by our client; what must be in it.
    fn back_up(&self, from: SocketAddr, name: &str) -> Result<Expected> {
        let (begun, port, to) = (Instant::now(), from.port().to_string(), self.path(name));
        let line = ["-host", "127.0.0.1", "-port", &port, "-to", &to];
        let (report, took) = self.program.json(&[&line[..], &["--json", "--quiet"]].concat())?;
        println!("== neo4j-backup {}: {}", line.join(" "), report["databases"][0]["type"]);
        print_backup(&report, took);
        let expected = self.load.history().expected(begun, Instant::now());
        std::thread::sleep(PAUSE);
        Ok(expected)
    }

    /// A backup by the original tool, unchanged, which checks a full one itself.
    fn by_the_tool(&self, from: SocketAddr, name: &str) -> Result<()> {
        let (begun, to) = (Instant::now(), self.dir.path().join(name));
        let done = backup_tool::back_up(self.version, self.dir.path(), from, &to, TOOL_LIMIT)?;
        ensure!(done.status.success(), "{}", done.output);
        let line = format!("-host 127.0.0.1 -port {} -to {}", from.port(), to.display());
        println!("== org.neo4j.backup.BackupTool {line}: well in {:.1?}", begun.elapsed());
        std::thread::sleep(PAUSE);
        Ok(())
    }

    /// Restores a backup, and has a real server start on it.
    fn restore(&self, name: &str, expected: &Expected) -> Result<()> {
        let (from, home) = (self.path(name), self.dir.path().join(format!("restored-{name}")));
        let data = text(&home.join("data"));
        self.program.json(&["verify", "--from", &from, "--json", "--quiet"])?;
        let line = ["restore", "--from", &from, "--to", &data];
        let (_, took) = self.program.json(&[&line[..], &["--json", "--quiet"]].concat())?;
        println!("== neo4j-backup {} ({took:.1?})", line.join(" "));
        self.start(&home, expected)
    }

    fn start(&self, home: &Path, expected: &Expected) -> Result<()> {
        let mut server = Server::builder(self.version).home(home).start()?;
        println!("== Neo4j starts on it: {} after {:.1?}", server.bolt_uri(), server.started_in());
        let figures = verdict::examine(&server, expected).into_result()?;
        println!(
            "   {} nodes, {} relationships, {} indexes online; each writer's transactions without a \
             gap: {:?} (acknowledged before the copy began: {:?})",
            figures.nodes,
            figures.relationships,
            figures.indexes,
            figures.writers,
            expected.writers.iter().map(|writer| writer.at_least).collect::<Vec<_>>()
        );
        server.stop()?;
        consistency::check(self.version, home, DATABASE)?.into_result()?;
        println!("== its own consistency checker finds nothing");
        Ok(())
    }
}
