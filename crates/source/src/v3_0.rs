//! A live database of Neo4j 3.0: its hot copy, and the transactions behind one.
//!
//! The rules are those of [`HotCopy`](crate::HotCopy), but for these:
//!
//! - Check points stand in the logs, among the transactions, and some point to a wrong place: recovery starts
//!   at the newest one that can be believed.
//! - What comes of the logs is one log, composed of theirs (`ComposedLog`): a check
//!   point that points to its own place, then every transaction from where recovery starts.
//! - `neostore` is read once as the copy begins, since recovery looks for that log where it says.
//! - Counts are read at once and kept in memory. Legacy indexes are user data: without one there is no copy.

mod behind;
mod composed;
mod copy;
mod find;
mod increment;
mod index;
mod lucene;
mod start;

use std::io::ErrorKind;
use std::path::Path;

use formats::v3_0::Neostore;
use formats::{KernelVersion, StoreId};

pub use behind::Behind;
pub use copy::HotCopy;
pub use increment::Increment;
pub(crate) use index::LogIndex;

use crate::installation::Database;
use crate::log_files::RecoveryStart;
use crate::read::Held;
use crate::{Error, Result};

/// Why a check point was chosen: the newest may be wrong.
const REASON: &str = "the newest check point that can be believed";

/// The store's identity, and where recovery of the server's own files would start. Its check points tell no
/// time: the last commit before it stands for that.
pub(crate) fn logs_start(database: &Database) -> Result<(StoreId, RecoveryStart)> {
    let (neostore, _) = neostore(database)?;
    let found = start::find(database, neostore.last_tx_id)?;
    let start = RecoveryStart {
        tx_id: found.before,
        position: found.position,
        time: found.last_commit.unwrap_or_else(crate::now),
        kernel_version: KernelVersion::V3_0,
        reason: REASON.to_owned(),
    };
    Ok((neostore.store_id(), start))
}

/// More of a small file is none of ours.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// Whether a store directory is one of Neo4j 3.0.
#[must_use]
pub fn is_store(store_dir: &Path) -> bool {
    let found = read_whole(&store_dir.join("neostore"));
    found.ok().flatten().is_some_and(|bytes| Neostore::decode(&bytes).is_ok())
}

/// Reads `neostore`.
pub(crate) fn neostore(database: &Database) -> Result<(Neostore, Vec<u8>)> {
    let path = database.store_dir.join("neostore");
    let Some(bytes) = read_whole(&path)? else {
        return Err(database.not_there(format!("{} does not exist", path.display())));
    };
    let neostore = Neostore::decode(&bytes).map_err(Error::format(&path))?;
    Ok((neostore, bytes))
}

/// A small file, read at once; `None` if it is not there, or is not small.
fn read_whole(path: &Path) -> Result<Option<Vec<u8>>> {
    let Some(held) = Held::open_if_there(path)? else { return Ok(None) };
    let size = usize::try_from(held.size_bytes()?).unwrap_or(usize::MAX);
    if size > KEPT_BYTES_MAX {
        return Ok(None);
    }
    let mut bytes = vec![0; size];
    let read = match held.read_at(0, &mut bytes) {
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    bytes.truncate(read);
    Ok(Some(bytes))
}
