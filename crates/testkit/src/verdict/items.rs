//! No transaction is there by half: its items are all there or were deleted later, all of them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::checks::numbers;
use crate::bolt::Connection;

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

/// Reads long and short values and compares them with what is known of them.
pub(super) fn content(connection: &mut Connection, found: &mut Vec<String>) -> Result<()> {
    let rows = connection.query(
        "MATCH (i:Item) USING SCAN i:Item \
         WITH i, [size(i.text) = i.len, i.text STARTS WITH 'item ', size(i.vec) = 8, \
         i.vec[0] = (i.i + 1) / 2.0, i.nums[-1] = i.n, i.place.x = i.n AND i.place.y = i.i, \
         coalesce(size(i.blob), 0) = coalesce(i.blob_len, 0), \
         i.serial = i.writer + '-' + i.n + '-' + i.i, \
         (i.changed IS NOT NULL) = (i:Marked)] AS right \
         WHERE any(x IN right WHERE x IS NULL OR NOT x) \
         RETURN i.writer, i.n, i.i, right",
    )?;
    for row in rows {
        let (writer, n, i, right) = (&row[0], &row[1], &row[2], &row[3]);
        found.push(format!("writer {writer:?}, {n:?}, item {i:?}: {right:?}"));
    }
    Ok(())
}
