//! What is told of a run of `backup`.

use mirror::DatabaseEntry;
use serde::Serialize;

use super::Results;
use crate::commands::report::DatabaseReport;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, FailureBody};
use crate::output::{Ended, Output};

#[derive(Serialize)]
struct Document {
    databases: Vec<DatabaseReport>,
    /// Whether new full backups were read back from the disk and are as they should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<Failed>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skipped: Vec<Skipped>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<FailureBody>,
}

#[derive(Serialize)]
struct Failed {
    name: String,
    error: FailureBody,
}

#[derive(Serialize)]
struct Skipped {
    name: String,
    reason: String,
}

/// Databases that are not copied and are no failure.
pub fn skipped(results: &Results, output: Output) {
    for (name, reason) in &results.skipped {
        output.warning(format!("{name}: skipped, {reason}"));
    }
}

/// A database whose backup is complete.
pub fn done(entry: &DatabaseEntry, output: Output) {
    DatabaseReport::from(entry).tell(output);
}

/// The document, and how the run ends.
pub fn end(results: &Results, output: Output) -> Ended {
    let failure = failure_of(results);
    if results.failed.len() + results.done.len() > 1 {
        for (name, failure) in &results.failed {
            output.failure_of(name, failure);
        }
    }
    output.document(&Document {
        databases: results.done.iter().map(DatabaseReport::from).collect(),
        verified: results.verified.as_ref().map(Option::is_none),
        failed: results
            .failed
            .iter()
            .map(|(name, failure)| Failed { name: name.clone(), error: failure.body() })
            .collect(),
        skipped: results
            .skipped
            .iter()
            .map(|(name, reason)| Skipped { name: name.clone(), reason: reason.clone() })
            .collect(),
        error: failure.as_ref().map(Failure::body),
    });
    match failure {
        None => Ok(ExitCode::Ok),
        Some(failure) if output.json => Ok(failure.code),
        Some(failure) => Err(failure),
    }
}

/// What the run as a whole is: interrupted, failed in one way, failed in part, or nothing of it.
fn failure_of(results: &Results) -> Option<Failure> {
    let failed = &results.failed;
    let Some((name, first)) = failed.first() else {
        if let Some(Some(failure)) = &results.verified {
            return Some(failure.clone());
        }
        if results.done.is_empty() {
            let message = "no database can be backed up yet";
            return Some(Failure::new(ExitCode::SourceUnusable, message));
        }
        return None;
    };
    let interrupted = |(_, failure): &&(String, Failure)| failure.code == ExitCode::Interrupted;
    if let Some((name, failure)) = failed.iter().find(interrupted) {
        let message = format!("{name}: {}", failure.message);
        return Some(Failure { message, ..failure.clone() });
    }
    let same = failed.iter().all(|(_, failure)| failure.code == first.code);
    let count = failed.len();
    if results.done.is_empty() && same {
        let message = match count {
            1 => format!("{name}: {}", first.message),
            _ => format!("none of {count} databases could be backed up: {name}: {}", first.message),
        };
        return Some(Failure { message, ..first.clone() });
    }
    let all = count + results.done.len();
    let failure = Failure::new(ExitCode::Partial, format!("{count} of {all} databases failed"));
    if results.done.is_empty() {
        return Some(failure.hint("see the error of each database; none has a new backup"));
    }
    Some(failure)
}
