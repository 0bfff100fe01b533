//! Neo4j's own consistency checker, on the home of a stopped server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;
use std::{error, fmt};

use anyhow::Result;

use crate::process::{self, Finished};
use crate::versions::{Generation, Version};
use crate::{admin, jars};

const CHECK_LIMIT: Duration = Duration::from_secs(600);

/// The checker of one generation.
struct Checker {
    /// The heading of the last part of the check, which ends with [`DONE`].
    last_part: &'static str,
    /// How it exits when it has found something.
    exit_code_if_found: i32,
}

const DONE: &str = "100%";
const FIVE: Checker = Checker { last_part: "\nConsistency check\n", exit_code_if_found: 1 };
/// Its exit code says only whether it could do its work, not what it found.
const THREE: Checker =
    Checker { last_part: "Checking node and relationship counts\n", exit_code_if_found: 0 };
/// What the output of 3.0 has at each finding, and at the end when there were any.
const FOUND_3_0: [&str; 3] = [" ERROR ", "Inconsistent with", "Inconsistencies found"];

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
    /// Whether it went through its last part; it has no word for "nothing found".
    pub is_complete: bool,
    exit_code_if_found: i32,
}

impl Report {
    /// Whether exit code, output and report all say that the database is consistent.
    pub fn is_consistent(&self) -> bool {
        self.status.success() && self.inconsistencies.is_empty() && self.is_complete
    }

    /// Whether the checker did its work and found something; else it just failed.
    pub fn is_inconsistent(&self) -> bool {
        let code = Some(self.exit_code_if_found);
        self.status.code() == code && !self.inconsistencies.is_empty()
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

/// Checks a database that was shut down cleanly: `neo4j-admin database check`, or the tool of 3.0.
///
/// A store that needs recovery is refused by 3.0: start a server on it and stop it before.
pub fn check(version: &Version, home: &Path, database: &str) -> Result<Report> {
    let reports = home.join("reports");
    // The tool of 3.0 makes this folder where it runs, and its report in there.
    let logs = reports.join("logs");
    fs::create_dir_all(&logs)?;
    let (checker, dir) = match version.generation {
        Generation::Three => (THREE, logs),
        Generation::Five => (FIVE, reports.clone()),
    };
    let before = files_in(&dir)?;
    let Finished { status, output } = match version.generation {
        Generation::Three => tool_of_3_0(version, home, database, &reports)?,
        Generation::Five => {
            let report_path = format!("--report-path={}", reports.display());
            let args = ["database", "check", &report_path, database];
            admin::run(version, home, &args, CHECK_LIMIT)?
        }
    };
    let file = files_in(&dir)?.into_iter().find(|file| !before.contains(file));
    let mut inconsistencies = match &file {
        Some(file) => fs::read_to_string(file)?,
        None => String::new(),
    };
    let told = version.generation == Generation::Three
        && FOUND_3_0.iter().any(|words| output.contains(words));
    if inconsistencies.is_empty() && told {
        inconsistencies.clone_from(&output);
    }
    let last_part = output.split_once(checker.last_part).map_or("", |(_, part)| part);
    // Only findings may follow.
    let is_complete = match inconsistencies.is_empty() {
        true => last_part.trim_end().ends_with(DONE),
        false => last_part.contains(DONE),
    };
    let exit_code_if_found = checker.exit_code_if_found;
    Ok(Report { status, output, inconsistencies, file, is_complete, exit_code_if_found })
}

fn tool_of_3_0(version: &Version, home: &Path, database: &str, dir: &Path) -> Result<Finished> {
    let class = "org.neo4j.consistency.ConsistencyCheckTool";
    let mut command = jars::java(&version.with_tools(), admin::FLAGS, class)?;
    command.arg(home.join("data/databases").join(database)).current_dir(dir);
    process::run(command, CHECK_LIMIT)
}

fn files_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let files = fs::read_dir(dir)?.map(|entry| Ok(entry?.path()));
    files.filter(|path| path.as_ref().map_or(true, |path| path.is_file())).collect()
}
