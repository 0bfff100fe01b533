//! May this user read every file of a database?

use std::path::PathBuf;

use fs::EntryKind;
use source::Database;

use super::findings::{Check, Findings};
use crate::commands::backup::blocking;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, chain};

/// How many files are named.
const NAMED: usize = 3;
const HINT: &str = "run the service as the user that Neo4j runs as, or as a member of a group that \
                    may read all files";

/// False where something cannot be read.
pub async fn check(database: &Database, findings: &mut Findings) -> bool {
    let check = Check::of("rights", &database.name);
    let mut dirs = vec![database.store_dir.clone(), database.log_dir.clone()];
    // Those of Neo4j 3.0 are one.
    dirs.dedup();
    match blocking(move || look(&dirs)).await {
        Ok((count, unreadable)) if unreadable.is_empty() => {
            findings.ok(check, format!("this user may read all {count} files"));
            true
        }
        Ok((_, unreadable)) => {
            let named: Vec<&str> = unreadable.iter().take(NAMED).map(String::as_str).collect();
            let more = match unreadable.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let message = format!("{}{more}", named.join("; "));
            findings.error(check, Failure::new(ExitCode::SourceUnusable, message).hint(HINT));
            false
        }
        Err(failure) => {
            findings.error(check, failure);
            false
        }
    }
}

/// How many files there are, and what cannot be read. A file that goes meanwhile is no finding.
fn look(dirs: &[PathBuf]) -> (usize, Vec<String>) {
    let (mut count, mut unreadable) = (0_usize, Vec::new());
    for dir in dirs {
        let entries = match fs::check_readable(dir).and_then(|()| fs::walk(dir)) {
            Ok(entries) => entries,
            Err(error) => {
                unreadable.push(chain(&error));
                continue;
            }
        };
        for entry in entries {
            // The server's own, which no copy needs.
            let is_lock =
                ["database_lock", "store_lock"].iter().any(|name| entry.path.ends_with(name));
            if entry.kind == EntryKind::Dir || is_lock {
                continue;
            }
            count = count.saturating_add(1);
            match fs::check_readable(&dir.join(&entry.path)) {
                Err(error) if !error.is_not_found() => unreadable.push(chain(&error)),
                _ => {}
            }
        }
    }
    (count, unreadable)
}
