//! Neo4j's own consistency checker, on the home of a stopped server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;
use std::{error, fmt};

use anyhow::Result;

use crate::admin;
use crate::versions::Version;

const CHECK_LIMIT: Duration = Duration::from_secs(600);
/// The heading of the last part of the check, and what that part ends with.
const LAST_PART: (&str, &str) = ("\nConsistency check\n", "100%");
/// How the checker exits when it has found something.
const FOUND: i32 = 1;

/// What the checker said.
#[derive(Debug, Clone)]
pub struct Report {
    /// How the checker ended.
    pub status: ExitStatus,
    /// All it printed.
    pub output: String,
    /// The inconsistencies, one block of lines each; empty when there are none.
    pub inconsistencies: String,
    /// Where the checker wrote its report, if it did; under the home's `reports`.
    pub file: Option<PathBuf>,
}

impl Report {
    /// Whether exit code, output and report all say that the database is consistent.
    ///
    /// The checker has no word for "nothing found": it must have gone through its last part.
    pub fn is_consistent(&self) -> bool {
        let last_part = self.output.split_once(LAST_PART.0).map_or("", |(_, part)| part);
        let complete = last_part.trim_end().ends_with(LAST_PART.1);
        self.status.success() && self.inconsistencies.is_empty() && complete
    }

    /// Whether the checker did its work and found something; else it just failed.
    pub fn is_inconsistent(&self) -> bool {
        self.status.code() == Some(FOUND) && !self.inconsistencies.is_empty()
    }

    /// This report as an error with all that was said, unless the database is consistent.
    pub fn into_result(self) -> Result<()> {
        if self.is_consistent() { Ok(()) } else { Err(self.into()) }
    }
}

impl error::Error for Report {}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, output, inconsistencies, .. } = self;
        write!(f, "the consistency check failed: {status}\n{output}\n{inconsistencies}")
    }
}

/// Runs `neo4j-admin database check` on a database that was shut down cleanly.
pub fn check(version: &Version, home: &Path, database: &str) -> Result<Report> {
    let reports = home.join("reports");
    fs::create_dir_all(&reports)?;
    let before = files_in(&reports)?;
    let report_path = format!("--report-path={}", reports.display());
    let args = ["database", "check", &report_path, database];
    let finished = admin::run(version, home, &args, CHECK_LIMIT)?;
    let file = files_in(&reports)?.into_iter().find(|file| !before.contains(file));
    let inconsistencies = match &file {
        Some(file) => fs::read_to_string(file)?,
        None => String::new(),
    };
    Ok(Report { status: finished.status, output: finished.output, inconsistencies, file })
}

fn files_in(dir: &Path) -> Result<Vec<PathBuf>> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
}
