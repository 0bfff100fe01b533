//! Directories that Neo4j 3.0's own backup tool has made, or has gone on with after us.
//!
//! What that tool leaves is a database that was recovered. Nothing tells whether its files are what the tool
//! wrote, so they are taken as they are: copied into a backup of our form, whose log goes on from the last
//! transaction that the tool has brought. Until that copy is committed the directory is as it was.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::path::Path;

use formats::TxId;
use formats::txlog::BatchReader;
use fs::Holder;
use source::{Database, lock_file_holder};

use crate::backup::locate;
use crate::chain::with_causes;
use crate::increment::hash_blocks;
use crate::layout::{Layout, Target, examine};
use crate::unchanged::{OwnChanges, require_unchanged};
use crate::{Backup, DatabaseEntry, Error, Mirror, Result};

/// What a server or a tool of Neo4j 3.0 locks while it has a database open.
const STORE_LOCK: &str = "store_lock";

/// Fails if a database of Neo4j 3.0 is open in a directory.
pub(crate) fn refuse_used(dir: &Path) -> Result<()> {
    let path = dir.join(STORE_LOCK);
    let looked = lock_file_holder(&path);
    match looked.map_err(|e| Error::ChangedByHand { path, what: with_causes(&e) })? {
        None => Ok(()),
        Some(pid) => {
            let holder = Holder { pid, host: String::new(), since_unix_seconds: 0 };
            Err(Error::InUse { dir: dir.to_owned(), holder })
        }
    }
}

impl Mirror {
    /// The database in the directory, if it is to be taken over: Neo4j's own tool made it, or went on with
    /// the backup that is there.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn theirs(&self, database: &str) -> Result<Option<Database>> {
        let dir = self.dir();
        let is_theirs = match self.manifest().database(database) {
            None => matches!(examine(dir)?, Target::Theirs),
            Some(entry) => has_gone_on(dir, entry, self.own_changes())?,
        };
        Ok(is_theirs.then(|| Database::of_v3_0(database.to_owned(), dir)))
    }
}

impl Backup {
    /// The database in the directory, if Neo4j's own tool has gone on with this backup: the next run takes it over.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn theirs(&self, entry: &DatabaseEntry) -> Result<Option<Database>> {
        let is_theirs = has_gone_on(self.dir(), entry, &OwnChanges::default())?;
        Ok(is_theirs.then(|| Database::of_v3_0(entry.name.clone(), self.dir())))
    }
}

/// Whether Neo4j's own tool has gone on with a backup.
fn has_gone_on(dir: &Path, entry: &DatabaseEntry, own: &OwnChanges) -> Result<bool> {
    let may_be = Layout::of(&entry.store_id) == Layout::Database;
    Ok(may_be && require_unchanged(dir, entry, own).is_err() && went_on(dir, entry)?)
}

/// Whether somebody's recovery has run on a backup: its log has every byte that it had, and goes on with
/// transactions and check points, or with these alone.
fn went_on(dir: &Path, entry: &DatabaseEntry) -> Result<bool> {
    let log = entry.files.iter().find(|file| entry.is_newest_log(file));
    let Some(log) = log else { return Ok(false) };
    let path = locate(dir, entry).file(log);
    let Ok(mut file) = File::open(&path) else { return Ok(false) };
    let size_bytes = file.metadata().map_err(fs::Error::io("look at", &path))?.len();
    if size_bytes <= log.size_bytes {
        return Ok(false);
    }
    let mut blocks = Vec::new();
    hash_blocks(&file, 0, log.size_bytes, entry.block_bytes, &mut blocks)
        .map_err(fs::Error::io("read", &path))?;
    if blocks != log.blocks {
        return Ok(false);
    }
    has_check_points(&mut file, log.size_bytes, entry.last_tx.tx_id)
        .map_err(fs::Error::io("read", &path))
        .map_err(Error::from)
}

/// Whether whole transactions without a gap follow an offset, if any, and check points among them: no run of
/// ours leaves one there.
fn has_check_points(file: &mut File, from: u64, last: TxId) -> std::io::Result<bool> {
    file.seek(SeekFrom::Start(from))?;
    let mut reader = BatchReader::new(file, from);
    let (mut last, mut end, mut found) = (last, from, false);
    while let Ok(Some(batch)) = reader.next_batch() {
        if batch.tx_id.0 != last.0.saturating_add(1) {
            return Ok(false);
        }
        found |= batch.start != end;
        (last, end) = (batch.tx_id, batch.end);
    }
    Ok(found || reader.boundary() != end)
}
