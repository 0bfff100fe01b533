//! `restore`: databases of a backup to where Neo4j starts on them.

use mirror::{Backup, Point};
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
    /// `null` if it is that of the checkpoint and not in the logs.
    last_commit_time: Option<String>,
    /// How many transactions of the backup follow.
    left_out_transactions: u64,
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
        let until = args.until.map(|moment| moment.until(true));
        let until = until.or(args.before.map(|moment| moment.until(false)));
        let options = Options { to, databases: args.databases, force: args.force, until };
        let entries = backup.select(&options.databases)?;
        if entries.len() != 1 && until.is_some_and(|until| matches!(until.point, Point::TxId(_))) {
            let what = "a transaction's id is of one database: name it with --database";
            return Err(Failure::usage(what));
        }
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
    for restored in &report.databases {
        let Restored { entry, store, transactions, moved_aside, .. } = restored;
        let (last, time, left_out) = end(restored);
        let time = time.map_or_else(String::new, |time| format!(" of {time}"));
        let (files, size) = (entry.files.len(), units::bytes(entry.size_bytes()));
        output.line(format!("{}: restored up to transaction {last}{time}", entry.name));
        output.line(format!("  {files} files of {size} together"));
        if left_out > 0 {
            let plural = if left_out == 1 { "" } else { "s" };
            output.line(format!("  left out      {left_out} transaction{plural} after it"));
        }
        output.line(format!("  store         {}", store.display()));
        output.line(format!("  transactions  {}", transactions.display()));
        if let Some(count) = restored.cut.map(|cut| cut.out_of_order).filter(|count| *count > 0) {
            output.warning(format!(
                "{}: of the transactions after {last}, {count} have a commit time that would belong \
                 to what was asked for: the server's clock was set back, and ids decide",
                entry.name
            ));
        }
        for path in moved_aside {
            output.line(format!("  moved aside   {}", path.display()));
        }
    }
}

/// The last transaction, when it was committed, and how many were left out after it.
fn end(restored: &Restored) -> (u64, Option<String>, u64) {
    let last = restored.entry.last_tx;
    match restored.cut {
        Some(cut) => {
            (cut.tx_id.0, cut.commit_time.map(|time| units::timestamp(time.0)), cut.left_out)
        }
        None => (last.tx_id.0, Some(units::timestamp(last.commit_time.0)), 0),
    }
}

fn document(report: &Report) -> Document {
    let database = |restored: &Restored| {
        let entry = &restored.entry;
        let (last_tx_id, last_commit_time, left_out_transactions) = end(restored);
        DatabaseDocument {
            name: entry.name.clone(),
            store_id: entry.store_id_text.clone(),
            last_tx_id,
            last_commit_time,
            left_out_transactions,
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
