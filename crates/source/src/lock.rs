//! Is a server using this database? Asked of the system, never by taking a lock.
//!
//! Neo4j holds a POSIX record lock on `database_lock` (Java's `FileChannel.tryLock`) while the
//! database runs. `F_GETLK` names its holder and changes nothing.

use std::path::Path;

use rustix::process::{Flock, FlockType, fcntl_getlk};

use crate::read::Held;
use crate::{Error, Result};

/// The process that holds a lock file's record lock; `None` where the file is missing or free.
/// A holder that this process cannot see (another container's) is reported as 0.
pub fn lock_file_holder(lock_file: &Path) -> Result<Option<u32>> {
    let Some(held) = Held::open_if_there(lock_file)? else { return Ok(None) };
    let wanted = Flock::from(FlockType::WriteLock);
    let found = fcntl_getlk(held.descriptor(), &wanted)
        .map_err(|e| Error::io("ask for the lock of", lock_file)(e.into()))?;
    let pid = |lock: Flock| lock.pid.map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs());
    Ok(found.map(pid))
}

/// The process that runs the database in this store directory; see [`lock_file_holder`].
pub fn lock_holder(store_dir: &Path) -> Result<Option<u32>> {
    lock_file_holder(&store_dir.join("database_lock"))
}
