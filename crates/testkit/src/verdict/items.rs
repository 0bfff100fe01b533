//! No transaction is there by half: its items are all there or were deleted later, all of them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::checks::numbers;
use crate::bolt::{Connection, Value};
use crate::versions::Generation;

/// Writer and number of a transaction.
type Key = (i64, i64);

/// Compares what each transaction says it made with what is there; returns the items' number.
pub(super) fn complete(connection: &mut Connection, found: &mut Vec<String>) -> Result<i64> {
    let rows = connection.query(
        "MATCH (s:Seq) USING SCAN s:Seq \
         RETURN s.writer, s.n, s.made, s.hubs, coalesce(s.deleted, 0)",
    )?;
    let mut made = BTreeMap::new();
    let mut deleted = BTreeSet::new();
    for row in &rows {
        let [writer, n, items, hubs, deletes] = numbers(row)?;
        made.insert((writer, n), (items, hubs));
        if deletes != 0 && !deleted.insert((writer, deletes)) {
            found.push(format!("writer {writer}: {deletes} was deleted twice"));
        }
        if deletes >= n {
            found.push(format!("writer {writer}: {n} deletes the later {deletes}"));
        }
    }
    let ways = [
        ("items", "MATCH (x:Item) USING SCAN x:Item RETURN x.writer, x.n, count(*)"),
        ("chain relationships", "MATCH (:Item)-[x:NEXT]->() RETURN x.writer, x.n, count(*)"),
        ("dense relationships", "MATCH (:Hub)<-[x:AT]-() RETURN x.writer, x.n, count(*)"),
    ];
    let mut items_all = 0;
    for (what, query) in ways {
        let mut present = BTreeMap::<Key, i64>::new();
        for row in connection.query(query)? {
            let [writer, n, count] = numbers(&row)?;
            present.insert((writer, n), count);
        }
        for (&(writer, n), &(items, hubs)) in &made {
            let count = present.remove(&(writer, n)).unwrap_or_default();
            let wanted = match what {
                _ if deleted.contains(&(writer, n)) => 0,
                "items" => items,
                "chain relationships" => items - 1,
                _ => hubs,
            };
            if count != wanted {
                found.push(format!("writer {writer}, {n}: {count} {what} instead of {wanted}"));
            }
            if what == "items" {
                items_all += count;
            }
        }
        for ((writer, n), count) in present {
            found.push(format!("writer {writer}, {n}: {count} {what} of no transaction"));
        }
    }
    Ok(items_all)
}

/// What is known of an item, in Cypher.
const PARTS: [(&str, &str); 7] = [
    ("text", "size(i.text) = i.len AND i.text STARTS WITH 'item '"),
    ("vector", "size(i.vec) = 8 AND i.vec[0] = (i.i + 1) / 2.0"),
    ("numbers", "i.nums[-1] = i.n"),
    ("blob", "coalesce(size(i.blob), 0) = coalesce(i.blob_len, 0)"),
    ("serial", "i.serial = i.writer + '-' + i.n + '-' + i.i"),
    ("mark", "(i.changed IS NOT NULL) = (i:Marked)"),
    ("chain", "i.i = 0 OR COUNT { (i)<-[:NEXT]-(:Item) } = 1"),
];

/// 3.0 has no points.
const PLACE: (&str, &str) = ("place", "i.place.x = i.n AND i.place.y = i.i");

/// Reads long and short values and compares them with what is known of them.
pub(super) fn content(
    connection: &mut Connection,
    generation: Generation,
    found: &mut Vec<String>,
) -> Result<()> {
    let place = (generation == Generation::Five).then_some(PLACE);
    let parts = PARTS.into_iter().chain(place);
    let parts = parts.map(|(name, right)| format!("['{name}', {right}]")).collect::<Vec<_>>();
    let parts = parts.join(", ");
    let rows = connection.query(&format!(
        "MATCH (i:Item) USING SCAN i:Item \
         WITH i, [part IN [{parts}] WHERE coalesce(part[1], false) <> true | part[0]] AS wrong \
         WHERE size(wrong) > 0 RETURN i.writer, i.n, i.i, wrong",
    ))?;
    for row in rows {
        let number = |column: usize| row[column].as_int().unwrap_or(-1);
        let wrong = match &row[3] {
            Value::List(parts) => parts.iter().filter_map(Value::as_str).collect::<Vec<_>>(),
            _ => vec!["everything"],
        };
        let wrong = wrong.join(", ");
        found.push(format!("writer {}, {}, item {}: {wrong}", number(0), number(1), number(2)));
    }
    Ok(())
}
