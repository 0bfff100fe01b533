//! `verify`: every byte of a backup against its manifest, and the logs from C to E.

use std::path::Path;

use mirror::{Backup, Finding, Report};
use serde::Serialize;

use super::runtime;
use crate::args::VerifyArgs;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, FailureBody, Result, one_line};
use crate::output::{Ended, Output, tell};
use crate::progress::Progress;
use crate::units;

#[derive(Serialize)]
struct Document {
    ok: bool,
    databases: Vec<DatabaseDocument>,
    /// What belongs to no database.
    findings: Vec<FindingDocument>,
    /// What an increment that was never committed has left; not part of the backup.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unfinished: Vec<UnfinishedDocument>,
    files: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<FailureBody>,
}

#[derive(Serialize)]
struct DatabaseDocument {
    name: String,
    ok: bool,
    findings: Vec<FindingDocument>,
}

#[derive(Serialize)]
struct UnfinishedDocument {
    path: String,
    bytes: u64,
}

#[derive(Serialize)]
struct FindingDocument {
    kind: &'static str,
    path: String,
    offset_bytes: Option<u64>,
    after_tx_id: Option<u64>,
    message: String,
}

pub fn run(args: VerifyArgs, output: Output) -> Ended {
    let report = runtime::interruptible(move || read(&args.from, output))?;
    let failure = failure_of(&report);
    output.document(&document(&report, failure.as_ref()));
    tell_findings(&report);
    for (path, bytes) in &report.unfinished {
        let path = one_line(&path.display().to_string());
        output.warning(format!(
            "{path}: {bytes} bytes of an increment under way or interrupted, not part of the backup"
        ));
    }
    let (databases, size) = (report.databases.join(", "), units::bytes(report.bytes));
    match failure {
        None => {
            output.line(format!(
                "{databases}: {} files, {size}, all as they should be",
                report.files
            ));
            Ok(ExitCode::Ok)
        }
        Some(failure) if output.json => Ok(failure.code),
        Some(failure) => Err(failure),
    }
}

/// Reads a backup.
pub(super) fn read(dir: &Path, output: Output) -> Result<Report> {
    let backup = Backup::open(dir)?;
    let progress = Progress::start("verify", output);
    let meter = progress.meter();
    meter.set_total(backup.manifest().databases.iter().map(|entry| entry.size_bytes()).sum());
    Ok(mirror::verify(&backup, &|bytes| meter.add_done(bytes))?)
}

/// What is wrong, one line each.
pub(super) fn tell_findings(report: &Report) {
    for finding in &report.findings {
        tell("damaged", &one_line(&finding.to_string()));
    }
}

/// How a run ends that has found this.
pub(super) fn failure_of(report: &Report) -> Option<Failure> {
    if report.is_clean() {
        return None;
    }
    if report.replaced_meanwhile {
        let message = "another run replaced the backup while it was read";
        return Some(Failure::new(ExitCode::TargetInUse, message).hint("run verify again"));
    }
    let count = report.findings.len();
    let message =
        format!("the backup is damaged: {count} finding{}", if count == 1 { "" } else { "s" });
    Some(Failure::new(ExitCode::CorruptData, message))
}

fn document(report: &Report, failure: Option<&Failure>) -> Document {
    let of = |database: &str| -> Vec<FindingDocument> {
        let found = report.findings.iter().filter(|finding| finding.database == database);
        found.map(FindingDocument::from).collect()
    };
    let database = |name: &String| {
        let findings = of(name);
        let ok = findings.is_empty() && !report.replaced_meanwhile;
        DatabaseDocument { name: name.clone(), ok, findings }
    };
    Document {
        ok: report.is_clean(),
        databases: report.databases.iter().map(database).collect(),
        findings: of(""),
        unfinished: report
            .unfinished
            .iter()
            .map(|(path, bytes)| UnfinishedDocument {
                path: path.display().to_string(),
                bytes: *bytes,
            })
            .collect(),
        files: report.files,
        bytes: report.bytes,
        error: failure.map(Failure::body),
    }
}

impl From<&Finding> for FindingDocument {
    fn from(finding: &Finding) -> Self {
        Self {
            kind: finding.kind.name(),
            path: finding.path.display().to_string(),
            offset_bytes: finding.offset_bytes,
            after_tx_id: finding.after_tx.map(|tx_id| tx_id.0),
            message: finding.what.clone(),
        }
    }
}
