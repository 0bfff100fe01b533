//! Bookmarks: what a server says of a commit. To drivers they are opaque; to a test they tell a
//! transaction's id.

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::Value;

/// Before Base64 of packed values: a list with the database's UUID (16 bytes), the id of the database's
/// last transaction, and
/// a list that is blank. Seen of 5.26.30 and 2026.08.1.
const PREFIX: &str = "FB:";

/// The id in a bookmark.
pub(super) fn tx_id(bookmark: &str) -> Result<u64> {
    read(bookmark).with_context(|| format!("the bookmark {bookmark:?}"))
}

fn read(bookmark: &str) -> Result<u64> {
    let packed = bookmark.strip_prefix(PREFIX).context("of an unknown kind")?;
    let packed = STANDARD_NO_PAD.decode(packed.trim_end_matches('='))?;
    let mut rest = &packed[..];
    let mut values = Vec::new();
    while !rest.is_empty() {
        values.push(Value::unpack(&mut rest)?);
    }
    match values.as_slice() {
        [Value::List(databases), Value::Int(tx_id), ..] if databases.len() == 1 => {
            Ok(u64::try_from(*tx_id)?)
        }
        _ => bail!("has {values:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that 5.26.30 gave for transaction 54, and what is none.
    #[test]
    fn the_id_is_read() {
        assert_eq!(tx_id("FB:kcwQsUTSMPerT/ubolnBS83PRzaQ").unwrap(), 54);
        for bad in ["", "FB:", "kcwQsUTSMPerT/ubolnBS83PRzaQ", "FB:NpA", "FB:kcwQsUTSMPerT"] {
            assert!(tx_id(bad).is_err(), "{bad}");
        }
    }
}
