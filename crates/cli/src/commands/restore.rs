//! `restore`: databases of a backup to where Neo4j starts on them.

use mirror::Backup;
use restore::{Destination, Options, Report, Restored};
use serde::Serialize;
use source::Installation;

use super::runtime;
use crate::args::RestoreArgs;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, Result};
use crate::output::{Ended, Output};
use crate::progress::Progress;
use crate::units;

#[derive(Serialize)]
struct Document {
    databases: Vec<DatabaseDocument>,
    /// What an earlier run had left.
    cleaned: Vec<String>,
}

#[derive(Serialize)]
struct DatabaseDocument {
    name: String,
    store_id: String,
    last_tx_id: u64,
    last_commit_time: String,
    files: usize,
    size_bytes: u64,
    store: String,
    transactions: String,
    moved_aside: Vec<String>,
}

pub fn run(args: RestoreArgs, output: Output) -> Ended {
    let to = destination(&args)?;
    let report = runtime::cancellable(move |cancelled| {
        let backup = Backup::open(&args.from)?;
        let options = Options { to, databases: args.databases, force: args.force };
        let entries = backup.select(&options.databases)?;
        let progress = Progress::start("restore", output);
        let meter = progress.meter();
        meter.set_total(entries.iter().map(|entry| entry.size_bytes()).sum());
        let disk = fs::RealDisk::new();
        let progress = |bytes| meter.add_done(bytes);
        Ok(restore::restore(&disk, &args.from, &options, &progress, cancelled)?)
    })?;
    tell(&report, output);
    output.document(&document(&report));
    Ok(ExitCode::Ok)
}

fn destination(args: &RestoreArgs) -> Result<Destination> {
    match (&args.to, &args.config) {
        (Some(data), _) => Ok(Destination::from_data(data)),
        (None, Some(config)) => {
            Ok(Destination::from_installation(&Installation::from_config(config)?))
        }
        (None, None) => Err(Failure::usage("neither --to nor --config is given")),
    }
}

fn tell(report: &Report, output: Output) {
    for path in &report.cleaned {
        output.warning(format!("{}: left by an earlier restore, undone", path.display()));
    }
    for Restored { entry, store, transactions, moved_aside } in &report.databases {
        let (last, time) = (entry.last_tx.tx_id.0, units::timestamp(entry.last_tx.commit_time.0));
        let (files, size) = (entry.files.len(), units::bytes(entry.size_bytes()));
        output.line(format!("{}: restored up to transaction {last} of {time}", entry.name));
        output.line(format!("  {files} files of {size} together"));
        output.line(format!("  store         {}", store.display()));
        output.line(format!("  transactions  {}", transactions.display()));
        for path in moved_aside {
            output.line(format!("  moved aside   {}", path.display()));
        }
    }
}

fn document(report: &Report) -> Document {
    let database = |restored: &Restored| {
        let entry = &restored.entry;
        DatabaseDocument {
            name: entry.name.clone(),
            store_id: entry.store_id_text.clone(),
            last_tx_id: entry.last_tx.tx_id.0,
            last_commit_time: units::timestamp(entry.last_tx.commit_time.0),
            files: entry.files.len(),
            size_bytes: entry.size_bytes(),
            store: restored.store.display().to_string(),
            transactions: restored.transactions.display().to_string(),
            moved_aside: restored.moved_aside.iter().map(|p| p.display().to_string()).collect(),
        }
    };
    Document {
        databases: report.databases.iter().map(database).collect(),
        cleaned: report.cleaned.iter().map(|path| path.display().to_string()).collect(),
    }
}
