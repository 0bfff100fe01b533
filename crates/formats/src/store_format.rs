//! Which store formats we copy, and the names of those that we refuse.

use crate::{Error, Result, StoreId};

/// Fails unless the store is of a record format that we know: `record-aligned-1.x` or
/// `record-standard-1.x`.
///
/// # Errors
/// `Unsupported` with the name of what was found.
pub fn supported(store_id: &StoreId) -> Result<()> {
    let refuse = |why: &str| {
        let found = format!("{} ({why})", store_id.format_name());
        Err(Error::unsupported(0, "store format", found))
    };
    match (store_id.engine.as_str(), store_id.format_family.as_str(), store_id.major) {
        ("record", "aligned" | "standard", 1) => Ok(()),
        ("record", "aligned" | "standard", _) => refuse("unknown version"),
        ("record", "high_limit", _) => refuse("high_limit, Enterprise"),
        ("record" | "multiversion", "multiversion", _) => refuse("multiversion"),
        ("block", ..) => refuse("block format, Enterprise"),
        (engine, ..) if engine.contains("shard") => refuse("sharded, Enterprise"),
        _ => refuse("unknown"),
    }
}
