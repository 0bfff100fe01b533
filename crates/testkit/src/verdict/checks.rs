//! Checks of schema, writers, accounts, indexes, totals and users.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::bolt::{Connection, Rows};
use crate::load::{Bounds, Expected};
use crate::params;
use crate::schema::{Rule, lasting, passing};
use crate::seed::{ACCOUNTS, BALANCE, HUB_DEGREE, HUBS};
use crate::versions::Generation;

const ONLINE_LIMIT: Duration = Duration::from_secs(180);
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// How a server tells of its schema.
struct Catalogue {
    /// Name, state and type of each index.
    indexes: &'static str,
    /// The name of each constraint.
    constraints: &'static str,
    /// Indexes that Neo4j itself makes, for labels and for relationship types.
    lookups: usize,
}

const FIVE: Catalogue = Catalogue {
    indexes: "SHOW INDEXES YIELD name, state, type RETURN name, state, type",
    constraints: "SHOW CONSTRAINTS YIELD name RETURN name",
    lookups: 2,
};

const THREE: Catalogue = Catalogue {
    indexes: "CALL db.indexes() YIELD description, state, type \
              RETURN description, upper(state), type",
    constraints: "CALL db.constraints() YIELD description RETURN description",
    lookups: 0,
};

/// Waits until all indexes are online; returns how many there are.
///
/// What is left of the creation of a constraint is dropped, as after a crash
/// ([`crate::schema::Rule::drop_unfinished`]); 3.0 does that itself.
pub(super) fn schema(
    connection: &mut Connection,
    generation: Generation,
    found: &mut Vec<String>,
) -> Result<usize> {
    let catalogue = match generation {
        Generation::Three => THREE,
        Generation::Five => FIVE,
    };
    let deadline = Instant::now() + ONLINE_LIMIT;
    let indexes = loop {
        let rows = connection.query(catalogue.indexes)?;
        let waiting = rows.iter().any(|row| row[1].as_str() == Some("POPULATING"));
        if !waiting {
            break rows;
        }
        if let Some(rule) = unfinished_constraint(connection, generation)? {
            eprintln!("the creation of {} was cut off: dropping its index", rule.name);
            connection.query(&rule.drop_unfinished())?;
            continue;
        }
        ensure!(Instant::now() < deadline, "not all online after {ONLINE_LIMIT:?}: {rows:?}");
        thread::sleep(BETWEEN_LOOKS);
    };
    for row in &indexes {
        if row[1].as_str() != Some("ONLINE") {
            found.push(format!("index {:?} is {:?}", row[0], row[1]));
        }
    }
    let lookups = indexes.iter().filter(|row| row[2].as_str() == Some("LOOKUP")).count();
    if lookups != catalogue.lookups {
        found.push(format!("{lookups} lookup indexes instead of {}", catalogue.lookups));
    }
    let constraints = names(&connection.query(catalogue.constraints)?);
    let indexes = names(&indexes);
    for rule in lasting(generation) {
        // In 3.0 a constraint's index is called otherwise.
        let has_index = generation == Generation::Five || !rule.is_constraint();
        if has_index && !indexes.contains(rule.name) {
            found.push(format!("no index {}", rule.name));
        }
        if rule.is_constraint() && !constraints.contains(rule.name) {
            found.push(format!("no constraint {}", rule.name));
        }
    }
    Ok(indexes.len())
}

/// The passing constraint of which there is only an index, populated no further.
fn unfinished_constraint(
    connection: &mut Connection,
    generation: Generation,
) -> Result<Option<&'static Rule>> {
    if generation == Generation::Three {
        return Ok(None);
    }
    let query = "SHOW INDEXES YIELD name, state, owningConstraint \
                 WHERE state = 'POPULATING' AND owningConstraint IS NULL RETURN name";
    let populating = names(&connection.query(query)?);
    let mut constraints = passing(generation).iter().filter(|rule| rule.is_constraint());
    Ok(constraints.find(|rule| populating.contains(rule.name)))
}

/// Each writer's numbers are 1 to k, its counter and its degree are k, and k is within bounds.
pub(super) fn writers(
    connection: &mut Connection,
    expected: &[Bounds],
    found: &mut Vec<String>,
) -> Result<Vec<u64>> {
    let counters = connection
        .query("MATCH (w:Writer) RETURN w.id, w.n, COUNT { (w)-[:WROTE]->() } ORDER BY w.id")?;
    let mut last = vec![0; expected.len()];
    for row in &counters {
        let [id, counter, degree] = numbers(row)?;
        let Some(slot) = usize::try_from(id).ok().and_then(|id| last.get_mut(id)) else {
            found.push(format!("writer {id} is nobody's"));
            continue;
        };
        *slot = u64::try_from(counter)?;
        if degree != counter {
            found.push(format!("writer {id}: counter {counter}, but {degree} relationships"));
        }
    }
    for (id, (bounds, &k)) in expected.iter().zip(&last).enumerate() {
        let Bounds { at_least, at_most } = *bounds;
        if k < at_least {
            found.push(format!("writer {id}: ends at {k}, but {at_least} was acknowledged"));
        }
        if k > at_most {
            found.push(format!("writer {id}: ends at {k}, but only {at_most} was attempted"));
        }
        let rows = connection.run(
            "MATCH (s:Seq) USING SCAN s:Seq WHERE s.writer = $w RETURN s.n ORDER BY s.n",
            params! { "w" => id as i64 },
        )?;
        let present = rows.iter().filter_map(|row| row[0].as_int()).collect::<Vec<_>>();
        let distinct = present.iter().copied().collect::<BTreeSet<_>>();
        let wanted = (1..=k.cast_signed()).collect::<BTreeSet<_>>();
        let missing = wanted.difference(&distinct).collect::<Vec<_>>();
        let strange = distinct.difference(&wanted).collect::<Vec<_>>();
        if !missing.is_empty() {
            found.push(format!("writer {id}: of 1 to {k} these are missing: {}", some(&missing)));
        }
        if !strange.is_empty() {
            found.push(format!("writer {id}: beyond its counter {k}: {}", some(&strange)));
        }
        if present.len() != distinct.len() || present.len() != rows.len() {
            found.push(format!("writer {id}: {} numbers, {} rows", distinct.len(), rows.len()));
        }
    }
    Ok(last)
}

/// Of each writer there is what any transaction that is there saw committed (see [`crate::load`]).
pub(super) fn order(
    connection: &mut Connection,
    writers: &[u64],
    found: &mut Vec<String>,
) -> Result<()> {
    let rows = connection.query(
        "MATCH (s:Seq) USING SCAN s:Seq UNWIND range(0, size(s.seen) - 1) AS id \
         RETURN id, max(s.seen[id])",
    )?;
    for row in &rows {
        let [id, seen] = numbers(row)?;
        let last = usize::try_from(id).ok().and_then(|id| writers.get(id)).copied().unwrap_or(0);
        if u64::try_from(seen)? > last {
            found.push(format!("writer {id}: ends at {last}, but another writer saw its {seen}"));
        }
    }
    Ok(())
}

/// Money moved, none came or went; the hubs kept what made them dense.
pub(super) fn accounts(connection: &mut Connection, found: &mut Vec<String>) -> Result<()> {
    let query = "MATCH (a:Account) USING SCAN a:Account \
                 RETURN count(a.balance), coalesce(sum(a.balance), 0), count(DISTINCT a.id)";
    let rows = connection.query(query)?;
    let [count, sum, ids] = numbers(rows.first().context("no row")?)?;
    let accounts = i64::from(ACCOUNTS);
    if (count, ids) != (accounts, accounts) {
        found.push(format!("{count} accounts, {ids} numbers instead of {accounts}"));
    }
    if sum != accounts * BALANCE {
        found.push(format!("the balances add up to {sum} instead of {}", accounts * BALANCE));
    }
    let near = connection.number("MATCH (:Account)-[r:NEAR]->(:Hub) RETURN count(r)")?;
    if near != i64::from(HUBS * HUB_DEGREE) {
        found.push(format!("{near} lasting relationships of {HUBS} hubs"));
    }
    Ok(())
}

/// Nodes and relationships, as counted and as read one by one.
pub(super) fn totals(connection: &mut Connection, found: &mut Vec<String>) -> Result<(i64, i64)> {
    let mut both = [0; 2];
    let queries = [
        ("nodes", "MATCH (n) RETURN count(n)", "MATCH (n) RETURN count(elementId(n))"),
        (
            "relationships",
            "MATCH ()-[r]->() RETURN count(r)",
            "MATCH (n)-[r]->() RETURN count(elementId(r) + elementId(n))",
        ),
    ];
    for (slot, (what, counted, read)) in both.iter_mut().zip(queries) {
        let (counted, read) = (connection.number(counted)?, connection.number(read)?);
        if counted != read {
            found.push(format!("{counted} {what} counted, {read} read"));
        }
        *slot = read;
    }
    Ok(both.into())
}

/// Users that must be there are, and the others are not; returns how many the load made.
pub(super) fn users(
    connection: &mut Connection,
    expected: &Expected,
    found: &mut Vec<String>,
) -> Result<usize> {
    let users = names(&connection.query("SHOW USERS YIELD user RETURN user")?);
    for name in expected.users.iter().filter(|name| !users.contains(*name)) {
        found.push(format!("{name} is missing"));
    }
    for name in expected.no_users.iter().filter(|name| users.contains(*name)) {
        found.push(format!("{name} should not be there"));
    }
    Ok(users.iter().filter(|name| name.starts_with("user_")).count())
}

/// The first few and how many more.
fn some(numbers: &[&i64]) -> String {
    let told = &numbers[..numbers.len().min(10)];
    let more = numbers.len() - told.len();
    if more == 0 { format!("{told:?}") } else { format!("{told:?} and {more} more") }
}

fn names(rows: &Rows) -> BTreeSet<String> {
    rows.iter().filter_map(|row| row[0].as_str()).map(str::to_owned).collect()
}

/// A row of numbers; a value that is missing or another type is an error.
pub(super) fn numbers<const N: usize>(row: &[crate::bolt::Value]) -> Result<[i64; N]> {
    let numbers = row.iter().map(|value| value.as_int().with_context(|| format!("{row:?}")));
    let numbers = numbers.collect::<Result<Vec<_>>>().context("not all are numbers")?;
    numbers.try_into().ok().context("another number of columns")
}
