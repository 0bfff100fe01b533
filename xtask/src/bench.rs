//! `cargo xtask bench`: speed and memory on a real database, beside the tools that everybody has.

mod database;
mod follow;
mod foreground;
mod increments;
mod memory;
mod ratios;
mod renewal;
mod table;
mod three;
mod timed;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use testkit::program::Program;
use testkit::versions;

use crate::program;
use table::Table;

/// The server's version: the one that most people run.
const VERSION: &versions::Version = &versions::V5_26;

/// Measures speed, memory and what the server's users notice, on a database of Neo4j's own import.
#[derive(clap::Args)]
pub struct Options {
    /// The least size of the database; it is made once and kept under target/.
    #[arg(long, default_value_t = 3.0)]
    size_gib: f64,
    /// Keep what was copied, in this directory.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Only this part.
    #[arg(long)]
    only: Option<Part>,
    /// How often each thing is measured; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long each part of the load runs, in seconds.
    #[arg(long, default_value_t = 20)]
    load_seconds: u64,
}

/// Parts of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Makes the database, if it is not there yet.
    Database,
    /// Rates of backup, restore and verify, beside `cp` and `b3sum`.
    Ratios,
    /// Peak resident memory.
    Memory,
    /// The load's transactions with and without a backup.
    Foreground,
    /// Increments: their least time, and their rate beside `cp`.
    Increments,
    /// A renewal beside a full backup.
    Renewal,
    /// How far a follower is behind, and what it costs.
    Follow,
    /// Neo4j 3.0: both ends of ours beside the originals.
    #[value(name = "3.0")]
    V3_0,
}

/// What all parts need.
struct Bench<'a> {
    options: &'a Options,
    program: Program,
    /// The home of a server with the big database; never changed by a part.
    home: PathBuf,
    /// Empty, on the same disk as the database.
    work: PathBuf,
}

impl Bench<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }
}

/// Runs the parts and prints a table.
pub fn run(options: &Options) -> Result<()> {
    let begun = Instant::now();
    let program = program::build()?;
    // Neither needs the big database.
    let home = match options.only {
        Some(Part::Increments | Part::Follow | Part::V3_0) => database::place(options.size_gib)?,
        _ => database::home(options.size_gib)?,
    };
    let mut temporary = None;
    let work = match &options.keep {
        Some(dir) => dir.clone(),
        None => {
            let beside = home.parent().context("the home's directory")?;
            let made = tempfile::Builder::new().prefix("work-").tempdir_in(beside)?;
            temporary.insert(made).path().to_owned()
        }
    };
    std::fs::create_dir_all(&work)?;
    let work = work.canonicalize()?;
    let bench = Bench { options, program, home, work };
    let wanted = |part| options.only.is_none_or(|only| only == part);
    let mut table = Table::default();
    print!("{}", machine(&bench)?);
    if wanted(Part::Ratios) {
        ratios::measure(&bench, &mut table)?;
    }
    if wanted(Part::Memory) {
        memory::measure(&bench, &mut table)?;
    }
    if wanted(Part::Foreground) {
        foreground::measure(&bench, &mut table)?;
    }
    if wanted(Part::Increments) {
        increments::measure(&bench, &mut table)?;
    }
    if wanted(Part::Renewal) {
        renewal::measure(&bench, &mut table)?;
    }
    if wanted(Part::Follow) {
        follow::measure(&bench, &mut table)?;
    }
    if wanted(Part::V3_0) {
        three::measure(&bench, &mut table)?;
    }
    print!("\n{table}");
    eprintln!("xtask bench: {:.0?}", begun.elapsed());
    Ok(())
}

/// On what, and of what.
fn machine(bench: &Bench<'_>) -> Result<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let of = |name: &str, text: &str| -> String {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or("?", |(_, value)| value.trim()).to_owned()
    };
    let cores = std::thread::available_parallelism()?;
    let (date, _) = timed::output("date", &["-u", "+%Y-%m-%d %H:%M UTC"])?;
    let (mount, _) =
        timed::output("df", &["--output=source,fstype", &bench.work.display().to_string()])?;
    let mount = mount.lines().last().unwrap_or_default();
    let mount = mount.split_whitespace().collect::<Vec<_>>().join(", ");
    let data = bench.home.join("data");
    let tree = if data.is_dir() { timed::tree(&data)? } else { timed::Tree::default() };
    Ok(format!(
        "{}; {cores} cores ({}), {} of memory, Linux {}; disk {mount}; \
         Neo4j {}, {:.2} GiB in {} files\n",
        date.trim(),
        of("model name", &cpus),
        of("MemTotal", &read("/proc/meminfo")),
        read("/proc/sys/kernel/osrelease").trim(),
        VERSION.name,
        gib(tree.bytes),
        tree.files.len(),
    ))
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
