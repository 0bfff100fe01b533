//! A big database, made by Neo4j's own import and kept.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use testkit::random::Random;
use testkit::seed::{SeedOptions, seed};
use testkit::server::Server;
use testkit::{admin, jars};

use super::{VERSION, gib, timed};

/// What a node takes up with its properties and its relationships; measured, and a little less.
const BYTES_PER_NODE: f64 = 1_700.0;
const RELATIONSHIPS_PER_NODE: u64 = 3;
const IMPORT_LIMIT: Duration = Duration::from_secs(900);

/// Where [`home`] would be; its directory is there.
pub fn place(size_gib: f64) -> Result<PathBuf> {
    let dir = jars::cache_dir(VERSION).join(format!("bench-{size_gib}"));
    fs::create_dir_all(&dir)?;
    Ok(dir.canonicalize()?.join("home"))
}

/// A copy of a home, for a server that writes.
///
/// Neo4j preallocates its logs, and the file system reads nothing where they are not written yet. A plain
/// `cp` writes zeros there, which a backup would read each time.
pub fn copy(home: &Path, to: PathBuf) -> Result<PathBuf> {
    timed::remove(&to)?;
    timed::run(Command::new("cp").args(["-r", "--sparse=always"]).args([home, &to]))?;
    Ok(to)
}

/// The home of a stopped server whose database has at least that size; made if it is not there.
///
/// After the import a real server has run on it: logs, checkpoints, `system` and the indexes of
/// testkit's load are there.
pub fn home(size_gib: f64) -> Result<PathBuf> {
    let home = place(size_gib)?;
    if home.is_dir() {
        return Ok(home);
    }
    let partial = home.with_file_name("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(partial.join("conf"))?;
    let begun = Instant::now();
    import(&partial, (size_gib * f64::from(1 << 30) / BYTES_PER_NODE) as u64)?;
    eprintln!("xtask bench: imported after {:.0?}", begun.elapsed());
    let mut server = Server::builder(VERSION).home(&partial).start()?;
    let mut connection = server.connect()?;
    connection.query("CREATE INDEX person_number IF NOT EXISTS FOR (p:Person) ON (p.number)")?;
    connection.query("CALL db.awaitIndexes(120)")?;
    seed(&server, &SeedOptions::default())?;
    server.stop()?;
    let made = timed::tree(&partial.join("data/databases"))?.bytes;
    eprintln!("xtask bench: {:.2} GiB made in {:.0?}", gib(made), begun.elapsed());
    ensure!(gib(made) >= size_gib, "only {:.2} GiB", gib(made));
    fs::rename(&partial, &home)?;
    Ok(home)
}

fn import(home: &Path, nodes: u64) -> Result<()> {
    let csv = home.join("csv");
    fs::create_dir_all(&csv)?;
    File::create(home.join("conf/neo4j.conf"))?;
    write_nodes(&csv.join("nodes.csv"), nodes)?;
    write_relationships(&csv.join("relationships.csv"), nodes)?;
    let argument = |name: &str| format!("--{name}={}", csv.join(name).display());
    let (nodes, relationships) = (argument("nodes") + ".csv", argument("relationships") + ".csv");
    // Else it lands where this runs.
    let report = argument("report-file");
    let args = [
        "database",
        "import",
        "full",
        "neo4j",
        nodes.as_str(),
        relationships.as_str(),
        report.as_str(),
        "--id-type=integer",
        "--max-off-heap-memory=1g",
    ];
    let done = admin::run(VERSION, home, &args, IMPORT_LIMIT)?;
    ensure!(done.status.success(), "import: {}", done.output);
    fs::remove_dir_all(csv).context("remove the CSV files")
}

fn create(path: &Path) -> Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| path.display().to_string())?;
    Ok(BufWriter::with_capacity(1 << 20, file))
}

/// Nodes with short and long strings, numbers and an array.
fn write_nodes(path: &Path, nodes: u64) -> Result<()> {
    let mut out = create(path)?;
    let mut random = Random::new(1);
    let header = ":ID,number:long,name,text,note,readings:long[],:LABEL";
    writeln!(out, "{header}")?;
    for id in 0..nodes {
        write!(out, "{id},{id},name {id} {:08x},", random.next() as u32)?;
        for _ in 0..44 {
            write!(out, "{:016x} ", random.next())?;
        }
        write!(out, ",")?;
        for _ in 0..8 {
            write!(out, "{:016x} ", random.next())?;
        }
        write!(out, ",")?;
        for at in 0..20 {
            write!(out, "{}{}", if at == 0 { "" } else { ";" }, random.next() >> 14)?;
        }
        writeln!(out, ",Person")?;
    }
    Ok(out.flush()?)
}

fn write_relationships(path: &Path, nodes: u64) -> Result<()> {
    let mut out = create(path)?;
    let mut random = Random::new(2);
    writeln!(out, ":START_ID,:END_ID,:TYPE,since:long")?;
    for id in 0..nodes * RELATIONSHIPS_PER_NODE {
        let (from, to) = (id % nodes, random.next() % nodes);
        writeln!(out, "{from},{to},KNOWS,{}", random.next() >> 40)?;
    }
    Ok(out.flush()?)
}
