//! Whether a database is what the load's writers made of it, up to one commit each.
//!
//! Everything found is collected: a report that stops at the first finding hides the others.

mod checks;
mod indexes;
mod items;

use std::time::{Duration, Instant};
use std::{error, fmt};

use anyhow::Result;

use crate::bolt::{Connection, Failure};
use crate::load::Expected;
use crate::server::Server;
use crate::versions::Generation;

/// Findings of one check that are told in full; the rest is counted.
const TOLD_MAX: usize = 20;

/// What was found, and figures that say how much was looked at.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// What is wrong with the data; empty if nothing is.
    pub findings: Vec<String>,
    /// Checks that could not be carried out, which says nothing about the data.
    pub not_completed: Vec<String>,
    /// What was seen.
    pub figures: Figures,
}

/// Figures of an examined database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// For each writer, the last transaction that is there.
    pub writers: Vec<u64>,
    /// All nodes.
    pub nodes: i64,
    /// All relationships.
    pub relationships: i64,
    /// The writers' items.
    pub items: i64,
    /// Indexes, all of them online.
    pub indexes: usize,
    /// How long that took.
    pub indexes_online_after: Duration,
    /// Users other than `neo4j`; `None` if they were not looked at.
    pub users: Option<usize>,
}

impl Verdict {
    /// Whether all was looked at and nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.not_completed.is_empty()
    }

    /// The figures, or this verdict as the error.
    pub fn into_result(self) -> Result<Figures> {
        if self.is_clean() { Ok(self.figures) } else { Err(self.into()) }
    }

    /// Runs a check; that the server refuses to carry it out is a finding too.
    fn check(
        &mut self,
        name: &str,
        connection: Result<Connection>,
        check: impl FnOnce(&mut Connection, &mut Vec<String>, &mut Figures) -> Result<()>,
    ) {
        let mut found = Vec::new();
        let figures = &mut self.figures;
        let result =
            connection.and_then(|mut connection| check(&mut connection, &mut found, figures));
        let more = found.len().saturating_sub(TOLD_MAX);
        self.findings
            .extend(found.into_iter().take(TOLD_MAX).map(|text| format!("{name}: {text}")));
        if more > 0 {
            self.findings.push(format!("{name}: ... and {more} more"));
        }
        if let Err(error) = result {
            let list =
                if is_refusal(&error) { &mut self.findings } else { &mut self.not_completed };
            list.push(format!("{name}: not completed: {error:#}"));
        }
    }
}

/// Whether the server itself says that it cannot answer, now or later.
fn is_refusal(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Failure>().is_some_and(|failure| !failure.is_transient())
}

impl error::Error for Verdict {}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} findings; {:?}", self.findings.len(), self.figures)?;
        let mut all = self.findings.iter().chain(&self.not_completed);
        all.try_for_each(|finding| writeln!(f, "  {finding}"))
    }
}

/// Examines the user database of a running server.
///
/// Waits for the indexes to come online first, since a restored server builds them anew.
pub fn examine(server: &Server, expected: &Expected) -> Verdict {
    let generation = server.version().generation;
    let mut verdict = Verdict::default();
    let begun = Instant::now();
    verdict.check("schema", server.connect(), |connection, found, figures| {
        figures.indexes = checks::schema(connection, generation, found)?;
        figures.indexes_online_after = begun.elapsed();
        Ok(())
    });
    verdict.check("writers", server.connect(), |connection, found, figures| {
        figures.writers = checks::writers(connection, &expected.writers, found)?;
        Ok(())
    });
    verdict.check("order", server.connect(), |connection, found, figures| {
        checks::order(connection, &figures.writers, found)
    });
    verdict.check("accounts", server.connect(), |connection, found, _| {
        checks::accounts(connection, found)
    });
    verdict.check("transactions", server.connect(), |connection, found, figures| {
        figures.items = items::complete(connection, found)?;
        Ok(())
    });
    verdict.check("content", server.connect(), |connection, found, _| {
        items::content(connection, generation, found)
    });
    verdict.check("indexes", server.connect(), |connection, found, _| {
        indexes::agree(connection, generation, found)
    });
    match generation {
        Generation::Three => {
            verdict.check("legacy index", server.connect(), |connection, found, _| {
                indexes::legacy_values(connection, found)
            });
        }
        Generation::Five => {
            verdict.check("vector index", server.connect(), |connection, found, _| {
                indexes::vector(connection, found)
            });
        }
    }
    verdict.check("totals", server.connect(), |connection, found, figures| {
        (figures.nodes, figures.relationships) = checks::totals(connection, found)?;
        Ok(())
    });
    verdict
}

/// Examines the users of a running server from 5 on whose `system` was copied while the load ran.
///
/// Separate, since `system` and the user database are copied at different times, and since a
/// restore of the user database alone keeps the target's users.
pub fn examine_users(server: &Server, expected: &Expected) -> Verdict {
    let mut verdict = Verdict::default();
    verdict.check("users", server.connect_to("system"), |connection, found, figures| {
        figures.users = Some(checks::users(connection, expected, found)?);
        Ok(())
    });
    verdict
}
