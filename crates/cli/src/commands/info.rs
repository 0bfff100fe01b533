//! `info`: what a backup holds, by its manifest alone; its transactions, by its logs.

use formats::TxId;
use mirror::{Backup, DatabaseEntry, Point, Transaction, Until, transactions};
use serde::Serialize;

use super::report::DatabaseReport;
use crate::args::InfoArgs;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, FailureBody, Result};
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

/// What could not be listed, on a line among those.
#[derive(Serialize)]
struct ErrorLine<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<&'a str>,
    error: FailureBody,
}

/// Lines are printed so many bytes at a time: there may be millions.
const CHUNK_BYTES: usize = 64 << 10;

pub fn run(args: &InfoArgs, output: Output) -> Ended {
    if args.transactions {
        return match list(args, output) {
            Err(failure) if output.json => {
                print_error(None, &failure);
                Ok(failure.code)
            }
            ended => ended,
        };
    }
    let backup = Backup::open(&args.from)?;
    let entries = backup.select(&args.databases)?;
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

/// Lists transactions. A database that cannot be listed does not hide the others.
fn list(args: &InfoArgs, output: Output) -> Ended {
    let backup = Backup::open(&args.from)?;
    let entries = backup.select(&args.databases)?;
    let range = Range {
        since: args.since.map(|moment| moment.until(false)),
        until: args.until.map(|moment| moment.until(true)),
    };
    let mut failed = Vec::new();
    for entry in &entries {
        if let Err(failure) = list_one(&backup, entry, &range, output) {
            failed.push((entry.name.as_str(), failure));
        }
    }
    let all_failed = failed.len() == entries.len();
    if !all_failed {
        // Ids are each database's own: it is enough if one has them.
        failed.retain(|(_, failure)| failure.code != ExitCode::OutOfRange);
    }
    let Some((_, first)) = failed.first() else { return Ok(ExitCode::Ok) };
    let is_alike = all_failed && failed.iter().all(|(_, failure)| failure.code == first.code);
    let code = if is_alike { first.code } else { ExitCode::Partial };
    if output.json {
        failed.iter().for_each(|(name, failure)| print_error(Some(name), failure));
        return Ok(code);
    }
    if entries.len() == 1 {
        return Err(first.clone());
    }
    failed.iter().for_each(|(name, failure)| output.failure_of(name, failure));
    Err(Failure::new(code, format!("{} of {} databases failed", failed.len(), entries.len())))
}

/// Lists the transactions of a database as its logs are read.
fn list_one(backup: &Backup, entry: &DatabaseEntry, range: &Range, output: Output) -> Result<()> {
    let (mut lines, mut first, mut is_any) = (String::new(), None, false);
    if !output.json {
        lines.push_str(&format!("{}: {HEADING}\n", entry.name));
    }
    let read = transactions(backup, entry, &mut |transaction| {
        first.get_or_insert(transaction.tx_id);
        if !range.has(transaction) {
            return;
        }
        is_any = true;
        lines.push_str(&line(&entry.name, transaction, output));
        lines.push('\n');
        if lines.len() > CHUNK_BYTES {
            print(std::mem::take(&mut lines).trim_end());
        }
    });
    if read.is_ok() && !is_any {
        range.refuse(entry, first)?;
    }
    if !lines.is_empty() {
        print(lines.trim_end());
    }
    Ok(read?)
}

fn print_error(database: Option<&str>, failure: &Failure) {
    let line = ErrorLine { database, error: failure.body() };
    print(&serde_json::to_string(&line).unwrap_or_default());
}

/// What is to be listed.
struct Range {
    since: Option<Until>,
    until: Option<Until>,
}

impl Range {
    fn has(&self, transaction: &Transaction) -> bool {
        self.since.is_none_or(|since| !belongs(transaction, since))
            && self.until.is_none_or(|until| belongs(transaction, until))
    }

    /// Of a database that has nothing in the range: an id that it does not have is a mistake, as is a
    /// range that ends before it begins. A time at which nothing was committed is none.
    fn refuse(&self, entry: &DatabaseEntry, first: Option<TxId>) -> Result<()> {
        let points = (self.since.map(|since| since.point), self.until.map(|until| until.point));
        let (first, last) = (first.unwrap_or(entry.last_tx.tx_id), entry.last_tx.tx_id);
        let wrong = match points {
            (Some(Point::TxId(since)), Some(Point::TxId(until))) if since > until => {
                format!("--since {since} is after --until {until}")
            }
            (Some(Point::Time(since)), Some(Point::Time(until))) if since > until => {
                let [since, until] = [since, until].map(|time| units::timestamp(time.0));
                format!("--since {since} is after --until {until}")
            }
            (Some(Point::TxId(since)), _) if since > last => {
                format!("no transaction has the id {since} or a later one")
            }
            (_, Some(Point::TxId(until))) if until < first => {
                format!("no transaction has the id {until} or an earlier one")
            }
            _ => return Ok(()),
        };
        let (name, time) = (&entry.name, units::timestamp(entry.last_tx.commit_time.0));
        let message = format!(
            "database {name:?}: {wrong}: the backup lists transactions {first} to {last} ({time})"
        );
        Err(Failure::new(ExitCode::OutOfRange, message))
    }
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
