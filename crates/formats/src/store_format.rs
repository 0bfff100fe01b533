//! Which store formats we copy, and the names of those that we refuse.

use crate::{Error, Result, StoreId};

/// Fails unless the store is of a record format that we know: `record-aligned-1.1` or
/// `record-standard-1.1`, all that Neo4j 5.0 to 2026.08 Community writes, or 3.0's
/// `standard-v0.A.7`.
///
/// # Errors
/// `Unsupported` with the name of what was found.
pub fn supported(store_id: &StoreId) -> Result<()> {
    let refuse = |why: &str| {
        let found = format!("{} ({why})", store_id.format_name());
        Err(Error::unsupported(0, "store format", found))
    };
    match (store_id.engine.as_str(), store_id.format_family.as_str()) {
        ("record", "standard") if store_id.is_v3_0() => match (store_id.major, store_id.minor) {
            (0, 7) => Ok(()),
            _ => refuse("of no version that we know"),
        },
        ("record", "aligned" | "standard") => match (store_id.major, store_id.minor) {
            (1, 1) => Ok(()),
            (..1, _) => refuse("older than Neo4j 5.0"),
            _ => refuse("unknown version"),
        },
        ("record", "high_limit") => refuse("high_limit, Enterprise"),
        (_, "multiversion") => refuse("multiversion"),
        (engine, family) if engine.contains("shard") || family.contains("shard") => {
            refuse("sharded, Enterprise")
        }
        ("block", _) | (_, "block") => refuse("block format, Enterprise"),
        _ => refuse("unknown"),
    }
}
