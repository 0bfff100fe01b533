//! Which of the service's databases are copied.

use globset::{Glob, GlobMatcher};
use wire::api::{Database, DatabaseState};

use super::Results;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, Result, one_line};

/// A pattern for databases' names.
pub fn glob(pattern: &str) -> Result<Glob> {
    if pattern.is_empty() {
        return Err(Failure::usage("--database: an empty name is no database's")
            .hint("leave the flag out for all databases"));
    }
    Glob::new(pattern).map_err(|error| Failure::usage(format!("--database: {error}")))
}

/// What `--database` says; without it, all.
pub struct Globs(Vec<GlobMatcher>);

impl Globs {
    pub fn parse(patterns: &[String]) -> Result<Self> {
        let parse = |pattern: &String| Ok(glob(pattern)?.compile_matcher());
        Ok(Self(patterns.iter().map(parse).collect::<Result<_>>()?))
    }

    /// The names of those that are asked for and can be copied.
    pub fn online(&self, databases: Vec<Database>) -> Vec<String> {
        let is_asked_for =
            |name: &str| self.0.is_empty() || self.0.iter().any(|glob| glob.is_match(name));
        let can_be = |database: &Database| {
            matches!(database.state, DatabaseState::Online | DatabaseState::Offline)
                && is_asked_for(&database.name)
        };
        databases.into_iter().filter(can_be).map(|database| database.name).collect()
    }

    /// The names to copy. A database that cannot be copied is a failure, since a run that ends
    /// well promises a backup of all that was chosen; only one in the middle of its creation, which
    /// nobody asked for by name, is skipped: it has nothing yet.
    pub fn choose(&self, databases: Vec<Database>, results: &mut Results) -> Vec<String> {
        for glob in &self.0 {
            if !databases.iter().any(|database| glob.is_match(&database.name)) {
                let pattern = glob.glob().glob().to_owned();
                let message = format!("the service shows no database {pattern:?}");
                let failure = Failure::new(ExitCode::NoSuchDatabase, message);
                results.failed.push((pattern, failure));
            }
        }
        if databases.is_empty() && self.0.is_empty() {
            let message = "the service shows no database";
            let failure = Failure::new(ExitCode::NoSuchDatabase, message);
            results.failed.push(("*".to_owned(), failure));
        }
        let all = self.0.is_empty();
        let mut chosen = Vec::new();
        for database in databases {
            if !all && !self.0.iter().any(|glob| glob.is_match(&database.name)) {
                continue;
            }
            let state = match database.state {
                DatabaseState::Online | DatabaseState::Offline => {
                    chosen.push(database.name);
                    continue;
                }
                DatabaseState::Creating => "being created",
                DatabaseState::Migrating => "being migrated",
                DatabaseState::Unsupported => "not supported",
                DatabaseState::Unreadable => "unreadable",
                DatabaseState::Corrupt => "damaged",
            };
            let detail = one_line(&database.detail.unwrap_or_default());
            let why =
                if detail.is_empty() { state.to_owned() } else { format!("{state}: {detail}") };
            if all && database.state == DatabaseState::Creating {
                results.skipped.push((database.name, why));
            } else {
                let code = match database.state {
                    DatabaseState::Corrupt => ExitCode::CorruptData,
                    _ => ExitCode::SourceUnusable,
                };
                let failure = Failure::new(code, why);
                results.failed.push((database.name, failure));
            }
        }
        chosen
    }
}
