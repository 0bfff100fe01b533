//! `info`: what a backup holds, by its manifest alone.

use mirror::{Backup, DatabaseEntry, Point, Transaction, Until, transactions};
use serde::Serialize;

use super::report::DatabaseReport;
use crate::args::InfoArgs;
use crate::exit_code::ExitCode;
use crate::output::{Ended, Output, print};
use crate::units;

#[derive(Serialize)]
struct Document {
    databases: Vec<DatabaseReport>,
    format_version: u64,
    tool_version: String,
    created: String,
}

/// One transaction, on a line of its own.
#[derive(Serialize)]
struct TransactionLine<'a> {
    database: &'a str,
    tx_id: u64,
    commit_time: String,
    bytes: u64,
    commands: u64,
    /// Whether the database can be restored to it.
    restorable: bool,
}

/// Lines are printed so many bytes at a time: there may be millions.
const CHUNK_BYTES: usize = 64 << 10;

pub fn run(args: &InfoArgs, output: Output) -> Ended {
    let backup = Backup::open(&args.from)?;
    let entries = backup.select(&args.databases)?;
    if args.transactions {
        return list(args, &backup, &entries, output);
    }
    let manifest = backup.manifest();
    let document = Document {
        databases: entries.into_iter().map(DatabaseReport::from).collect(),
        format_version: manifest.format_version,
        tool_version: manifest.tool_version.clone(),
        created: format!("{:.3}", manifest.created),
    };
    for database in &document.databases {
        database.tell(output);
    }
    output.document(&document);
    Ok(ExitCode::Ok)
}

/// Lists transactions as the logs are read.
fn list(args: &InfoArgs, backup: &Backup, entries: &[&DatabaseEntry], output: Output) -> Ended {
    let since = args.since.map(|moment| moment.until(false));
    let until = args.until.map(|moment| moment.until(true));
    let is_wanted = |of: &Transaction| {
        since.is_none_or(|since| !belongs(of, since))
            && until.is_none_or(|until| belongs(of, until))
    };
    let mut lines = String::new();
    for entry in entries {
        if !output.json {
            lines.push_str(&format!("{}: {HEADING}\n", entry.name));
        }
        transactions(backup, entry, &mut |transaction| {
            if !is_wanted(transaction) {
                return;
            }
            lines.push_str(&line(&entry.name, transaction, output));
            lines.push('\n');
            if lines.len() > CHUNK_BYTES {
                print(std::mem::take(&mut lines).trim_end());
            }
        })?;
    }
    if !lines.is_empty() {
        print(lines.trim_end());
    }
    Ok(ExitCode::Ok)
}

const HEADING: &str = "transaction, commit time, bytes, commands";

fn line(database: &str, transaction: &Transaction, output: Output) -> String {
    let Transaction { tx_id, commit_time, bytes, commands, restorable } = *transaction;
    let commit_time = units::timestamp(commit_time.0);
    if output.json {
        let tx_id = tx_id.0;
        let line = TransactionLine { database, tx_id, commit_time, bytes, commands, restorable };
        return serde_json::to_string(&line).unwrap_or_default();
    }
    let note = if restorable { "" } else { "  (before what can be restored to)" };
    format!("  {tx_id:>10}  {commit_time}  {bytes:>10}  {commands:>8}{note}")
}

fn belongs(transaction: &Transaction, until: Until) -> bool {
    let order = match until.point {
        Point::TxId(id) => transaction.tx_id.cmp(&id),
        Point::Time(time) => transaction.commit_time.cmp(&time),
    };
    if until.inclusive { order.is_le() } else { order.is_lt() }
}
