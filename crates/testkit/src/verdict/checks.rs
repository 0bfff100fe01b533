//! Checks of schema, writers, accounts, indexes, totals and users.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::bolt::{Connection, Rows};
use crate::load::{Bounds, Expected};
use crate::params;
use crate::schema::{LASTING, PASSING, Rule};
use crate::seed::{ACCOUNTS, BALANCE, HUB_DEGREE, HUBS};

const ONLINE_LIMIT: Duration = Duration::from_secs(180);
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);
/// The two that Neo4j itself makes, for labels and for relationship types.
const LOOKUP_INDEXES: usize = 2;

/// Waits until all indexes are online; returns how many there are.
///
/// What is left of the creation of a constraint is dropped, as after a crash
/// ([`crate::schema::Rule::drop_unfinished`]).
pub(super) fn schema(connection: &mut Connection, found: &mut Vec<String>) -> Result<usize> {
    let deadline = Instant::now() + ONLINE_LIMIT;
    let query = "SHOW INDEXES YIELD name, state, type RETURN name, state, type";
    let indexes = loop {
        let rows = connection.query(query)?;
        let waiting = rows.iter().any(|row| row[1].as_str() == Some("POPULATING"));
        if !waiting {
            break rows;
        }
        if let Some(rule) = unfinished_constraint(connection)? {
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
    if lookups != LOOKUP_INDEXES {
        found.push(format!("{lookups} lookup indexes instead of {LOOKUP_INDEXES}"));
    }
    let constraints = names(&connection.query("SHOW CONSTRAINTS YIELD name RETURN name")?);
    let indexes = names(&indexes);
    for rule in LASTING {
        if !indexes.contains(rule.name) {
            found.push(format!("no index {}", rule.name));
        }
        if rule.is_constraint() && !constraints.contains(rule.name) {
            found.push(format!("no constraint {}", rule.name));
        }
    }
    Ok(indexes.len())
}

/// The passing constraint of which there is only an index, populated no further.
fn unfinished_constraint(connection: &mut Connection) -> Result<Option<&'static Rule>> {
    let query = "SHOW INDEXES YIELD name, state, owningConstraint \
                 WHERE state = 'POPULATING' AND owningConstraint IS NULL RETURN name";
    let populating = names(&connection.query(query)?);
    let mut constraints = PASSING.iter().filter(|rule| rule.is_constraint());
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

/// The same things counted by the counts store, by a scan and through each kind of index.
pub(super) fn indexes_agree(connection: &mut Connection, found: &mut Vec<String>) -> Result<()> {
    let groups: &[(&str, &[(&str, &str)])] = &[
        (
            "items",
            &[
                ("counts store", "MATCH (i:Item) RETURN count(i)"),
                ("label scan", "MATCH (i:Item) USING SCAN i:Item WHERE i.n > 0 RETURN count(i)"),
                ("all nodes", "MATCH (i) WHERE 'Item' IN labels(i) RETURN count(i)"),
                (
                    "range index",
                    "MATCH (i:Item) USING RANGE INDEX i:Item(n) WHERE i.n > 0 RETURN count(i)",
                ),
                (
                    "text index",
                    "MATCH (i:Item) USING TEXT INDEX i:Item(text) WHERE i.text CONTAINS 'item' \
                     RETURN count(i)",
                ),
                (
                    "point index",
                    "MATCH (i:Item) USING POINT INDEX i:Item(place) WHERE point.withinBBox(i.place, \
                     point({x: -1, y: -1}), point({x: 1000000000, y: 1000000000})) RETURN count(i)",
                ),
                (
                    "fulltext index",
                    "CALL db.index.fulltext.queryNodes('item_words', 'item') YIELD node \
                     RETURN count(node)",
                ),
            ],
        ),
        (
            "chain relationships",
            &[
                ("counts store", "MATCH ()-[r:NEXT]->() RETURN count(r)"),
                ("from the nodes", "MATCH (i:Item)-[r:NEXT]->() WHERE r.n > 0 RETURN count(r)"),
                (
                    "range index",
                    "MATCH ()-[r:NEXT]->() USING RANGE INDEX r:NEXT(n) WHERE r.n > 0 \
                     RETURN count(r)",
                ),
            ],
        ),
        (
            "accounts",
            &[
                ("counts store", "MATCH (a:Account) RETURN count(a)"),
                (
                    "unique index",
                    "MATCH (a:Account) USING RANGE INDEX a:Account(id) WHERE a.id >= 0 \
                     RETURN count(a)",
                ),
            ],
        ),
        (
            "dense relationships",
            &[
                ("counts store", "MATCH ()-[r:AT]->() RETURN count(r)"),
                ("degrees", "MATCH (h:Hub) RETURN coalesce(sum(COUNT { (h)<-[:AT]-() }), 0)"),
                ("chains", "MATCH (h:Hub)<-[r:AT]-(i:Item) WHERE r.n = i.n RETURN count(r)"),
            ],
        ),
    ];
    for (what, ways) in groups {
        let mut counts = Vec::new();
        for (way, query) in *ways {
            match connection.number(query) {
                Ok(count) => counts.push((way, count)),
                Err(error) if super::is_refusal(&error) => {
                    found.push(format!("{what} by {way}: {error:#}"));
                }
                Err(error) => return Err(error),
            }
        }
        if counts.iter().any(|(_, count)| *count != counts[0].1) {
            found.push(format!("{what} are counted differently: {counts:?}"));
        }
    }
    Ok(())
}

/// The vector index finds neighbours; it is approximate by design, so it cannot count them all.
pub(super) fn vector_index(connection: &mut Connection, found: &mut Vec<String>) -> Result<()> {
    let items = connection.number("MATCH (i:Item) RETURN count(i)")?;
    let near = connection.number(
        "CALL db.index.vector.queryNodes('item_vector', 10, [1, 1, 1, 1, 1, 1, 1, 1]) \
         YIELD node WHERE node:Item RETURN count(DISTINCT node)",
    )?;
    if near != items.min(10) {
        found.push(format!("{near} neighbours of 10 wanted, among {items} items"));
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
