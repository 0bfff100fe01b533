//! What is told while a mirror follows: with `--json` one document on a line each.

use jiff::Timestamp;
use mirror::{BackupType, DatabaseEntry};
use serde::Serialize;

use crate::commands::report::DatabaseReport;
use crate::failure::{Failure, FailureBody};
use crate::output::{self, Output};
use crate::units;

/// The names of the fields are a contract.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    /// A full backup or a renewal.
    Full(DatabaseReport),
    /// From here on it is followed.
    Following { database: &'a str, last_tx_id: u64 },
    /// Transactions that are durable now.
    Increment {
        database: &'a str,
        transactions: u64,
        last_tx_id: u64,
        last_commit_time: String,
        bytes: u64,
        /// When they had become so.
        durable: String,
    },
    /// It did not work; it is tried again.
    Error { database: &'a str, error: FailureBody, again_after_ms: u64 },
    /// Somebody should look.
    Alarm { database: &'a str, message: &'a str },
    /// All is as it should be again.
    Recovered { database: &'a str, after_seconds: u64 },
    /// No server runs the database any more, or one does again.
    Source { database: &'a str, online: bool },
    /// The server does not have the database any more; its backup stays.
    Dropped { database: &'a str },
    /// The run has ended.
    Stopped { databases: usize },
}

/// A database that is followed from now on.
pub fn following(entry: &DatabaseEntry, output: Output) {
    let (database, last_tx_id) = (entry.name.as_str(), entry.last_tx.tx_id.0);
    output.line(format!("{database}: following from transaction {last_tx_id}"));
    tell(&Event::Following { database, last_tx_id }, output);
}

/// A backup that is there now, and was not before; it ended with that transaction.
pub fn took(entry: &DatabaseEntry, before: u64, output: Output) {
    if entry.backup_type == BackupType::Full {
        let report = DatabaseReport::from(entry);
        report.tell(output);
        return tell(&Event::Full(report), output);
    }
    let transactions = entry.last_tx.tx_id.0.saturating_sub(before);
    if transactions > 0 {
        let event = Event::Increment {
            database: &entry.name,
            transactions,
            last_tx_id: entry.last_tx.tx_id.0,
            last_commit_time: units::timestamp(entry.last_tx.commit_time.0),
            bytes: entry.bytes_transferred,
            durable: format!("{:.3}", Timestamp::now()),
        };
        tell(&event, output);
    }
}

/// It did not work, and is tried again after a pause.
pub fn failed(database: &str, failure: &Failure, again_after: std::time::Duration, output: Output) {
    output.warning(format!(
        "{database}: {}; trying again in {:.1} s",
        failure.message,
        again_after.as_secs_f64()
    ));
    let again_after_ms = u64::try_from(again_after.as_millis()).unwrap_or(u64::MAX);
    tell(&Event::Error { database, error: failure.body(), again_after_ms }, output);
}

/// Told also where all else is to be quiet.
pub fn alarm(database: &str, message: &str, output: Output) {
    output::tell("alarm", &format!("{database}: {message}"));
    tell(&Event::Alarm { database, message }, output);
}

/// An alarm is over.
pub fn recovered(database: &str, after: std::time::Duration, output: Output) {
    let after_seconds = after.as_secs();
    output::tell("recovered", &format!("{database}: after {after_seconds} s"));
    tell(&Event::Recovered { database, after_seconds }, output);
}

/// No server runs it any more, as far as the service sees, or one does again.
pub fn source(database: &str, online: bool, output: Output) {
    let what = match online {
        true => "a server runs it again",
        false => "no server runs it any more, or one runs it from other directories",
    };
    output.warning(format!("{database}: {what}"));
    tell(&Event::Source { database, online }, output);
}

/// The server does not have the database any more.
pub fn dropped(database: &str, output: Output) {
    output.warning(format!("{database}: the server does not have it any more; its backup stays"));
    tell(&Event::Dropped { database }, output);
}

/// The end of the run.
pub fn stopped(databases: usize, output: Output) {
    let are = if databases == 1 { "database is" } else { "databases are" };
    output.line(format!("stopped; {databases} {are} complete"));
    tell(&Event::Stopped { databases }, output);
}

fn tell(event: &Event<'_>, output: Output) {
    if output.json
        && let Ok(line) = serde_json::to_string(event)
    {
        output::print(&line);
    }
}
