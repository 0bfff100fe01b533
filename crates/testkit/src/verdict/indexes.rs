//! The same things counted by the counts store, by a scan and through each kind of index.

use anyhow::Result;

use super::checks::numbers;
use crate::bolt::Connection;
use crate::versions::Generation;

/// What is counted, by what, how.
type Way = (&'static str, &'static str, &'static str);

const ITEMS: &str = "items";
const CHAIN: &str = "chain relationships";
const ACCOUNTS: &str = "accounts";
const DENSE: &str = "dense relationships";
const NUMBERED: &str = "relationships with a number";

const BOTH: &[Way] = &[
    (ITEMS, "counts store", "MATCH (i:Item) RETURN count(i)"),
    (ITEMS, "label scan", "MATCH (i:Item) USING SCAN i:Item WHERE i.n > 0 RETURN count(i)"),
    (ITEMS, "all nodes", "MATCH (i) WHERE 'Item' IN labels(i) RETURN count(i)"),
    (
        ITEMS,
        "range index",
        "MATCH (i:Item) USING RANGE INDEX i:Item(n) WHERE i.n > 0 RETURN count(i)",
    ),
    (CHAIN, "counts store", "MATCH ()-[r:NEXT]->() RETURN count(r)"),
    (CHAIN, "from the nodes", "MATCH (i:Item)-[r:NEXT]->() WHERE r.n > 0 RETURN count(r)"),
    (ACCOUNTS, "counts store", "MATCH (a:Account) RETURN count(a)"),
    (
        ACCOUNTS,
        "unique index",
        "MATCH (a:Account) USING RANGE INDEX a:Account(id) WHERE a.id >= 0 RETURN count(a)",
    ),
    (DENSE, "counts store", "MATCH ()-[r:AT]->() RETURN count(r)"),
    (DENSE, "degrees", "MATCH (h:Hub) RETURN coalesce(sum(COUNT { (h)<-[:AT]-() }), 0)"),
    (DENSE, "chains", "MATCH (h:Hub)<-[r:AT]-(i:Item) WHERE r.n = i.n RETURN count(r)"),
];

const FIVE: &[Way] = &[
    (
        ITEMS,
        "text index",
        "MATCH (i:Item) USING TEXT INDEX i:Item(text) WHERE i.text CONTAINS 'item' \
         RETURN count(i)",
    ),
    (
        ITEMS,
        "point index",
        "MATCH (i:Item) USING POINT INDEX i:Item(place) WHERE point.withinBBox(i.place, \
         point({x: -1, y: -1}), point({x: 1000000000, y: 1000000000})) RETURN count(i)",
    ),
    (
        ITEMS,
        "fulltext index",
        "CALL db.index.fulltext.queryNodes('item_words', 'item') YIELD node RETURN count(node)",
    ),
    (
        CHAIN,
        "range index",
        "MATCH ()-[r:NEXT]->() USING RANGE INDEX r:NEXT(n) WHERE r.n > 0 RETURN count(r)",
    ),
];

/// Legacy indexes are data that nothing rebuilds: an index that lacks an entry lacks it for ever.
const THREE: &[Way] = &[
    (
        ITEMS,
        "string index",
        "MATCH (i:Item) USING INDEX i:Item(text) WHERE i.text STARTS WITH 'item' RETURN count(i)",
    ),
    (
        ITEMS,
        "legacy index",
        "START i=node:node_auto_index('serial:*') WHERE i:Item RETURN count(i)",
    ),
    (
        ITEMS,
        "legacy index of what changes",
        "START i=node:node_auto_index('len:*') WHERE i:Item RETURN count(i)",
    ),
    (NUMBERED, "all relationships", "MATCH ()-[r]->() WHERE r.n > 0 RETURN count(r)"),
    (
        NUMBERED,
        "legacy index",
        "START r=relationship:relationship_auto_index('n:*') RETURN count(r)",
    ),
];

/// Counts everything in every way.
pub(super) fn agree(
    connection: &mut Connection,
    generation: Generation,
    found: &mut Vec<String>,
) -> Result<()> {
    let own = match generation {
        Generation::Three => THREE,
        Generation::Five => FIVE,
    };
    let ways = || BOTH.iter().chain(own);
    for what in [ITEMS, CHAIN, ACCOUNTS, DENSE, NUMBERED] {
        let mut counts = Vec::new();
        for (_, way, query) in ways().filter(|(counted, ..)| *counted == what) {
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

/// The legacy index has each item at its present value and not at an earlier one, as far as a number
/// of values tells.
pub(super) fn legacy_values(connection: &mut Connection, found: &mut Vec<String>) -> Result<()> {
    let query = "MATCH (i:Item) RETURN i.len, count(i) ORDER BY i.len LIMIT 50";
    for row in connection.query(query)? {
        let [value, count] = numbers(&row)?;
        let query = format!("START i=node:node_auto_index(len='{value}') RETURN count(i)");
        let indexed = connection.number(&query)?;
        if indexed != count {
            found.push(format!("{indexed} items at len {value}, where {count} are"));
        }
    }
    Ok(())
}

/// The vector index finds neighbours; it is approximate by design, so it cannot count them all.
pub(super) fn vector(connection: &mut Connection, found: &mut Vec<String>) -> Result<()> {
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
