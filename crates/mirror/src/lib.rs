//! A backup kept as a plain directory in Neo4j's own layout.
//!
//! # What lies in the directory
//!
//! | name | what |
//! |---|---|
//! | `databases/<db>/`, `transactions/<db>/` | store files and transaction logs, as in Neo4j's `data` |
//! | `.neo4j-backup.json` | the [`Manifest`]: what the backup holds, with a BLAKE3 per block |
//! | `.neo4j-backup.lock` | who writes at present; the file stays, the lock dies with its holder |
//! | `.neo4j-backup.staged/<generation>/{store,transactions}` | a backup being made |
//! | `.neo4j-backup.pages/<generation>` | checksums, by which a renewal is quick |
//! | `.neo4j-backup.trash/` | an older backup being removed |
//!
//! # How a backup appears at once or not at all
//!
//! 1. **Stage.** All files of the new backup are written under `staged/<generation>`, a fresh name.
//!    Nothing of the old backup is touched.
//! 2. **Prove.** Every file and directory is synced, every block has its hash, and the staged logs
//!    are parsed from checkpoint C to the last transaction E and compared with what the service
//!    said.
//! 3. **Commit.** A new manifest, whose entry for the database names the new generation, is
//!    written aside, synced and renamed over the old one; the directory is synced. This rename is
//!    the one moment at which the new backup takes the old one's place.
//! 4. **Roll forward.** The old `databases/<db>` and `transactions/<db>` are renamed into the
//!    trash, the staged ones into their places, directories are synced, the trash is removed.
//!
//! Every reader finds a database's files by one rule: `staged/<generation>/store` (with the
//! generation that the manifest names) if it exists, else `databases/<db>`; the same for the
//! transactions. So at every moment, and after a crash at any moment, the backup is exactly the
//! old one or the new one: before step 3 the manifest names the old generation, of which nothing
//! is staged, and its files are in their places; after step 3 the manifest names the new
//! generation, and each of its two halves is either still staged or, after its rename, in place.
//!
//! A writer holds the lock, and before anything else completes a roll-forward that an earlier run
//! did not finish, then removes stale staging and trash. So a killed run hinders nobody.
//!
//! # Neo4j 3.0
//!
//! The backup of a 3.0 database is that database's directory: its files, the log among them, lie in the
//! directory itself, beside the names of ours. When it is committed, what is left of the old backup is removed
//! and staged files are renamed into their places one by one, `neostore` last. So a reader looks for each
//! file where it was staged, and else in its place. There is one such database in a directory, and no other.
//!
//! # Increments
//!
//! An [`Increment`] appends to the newest log file in place, and makes newer ones beside it. Bytes
//! behind what the manifest lists are not part of the backup, so the manifest's rename is the commit
//! here as well. Before anything is appended, what a killed run has left is cut off, and files that
//! changed since the manifest was written are compared with their hashes.
//!
//! # Reading
//!
//! Reading takes no lock, so that a backup on a read-only medium, or one that a run is replacing,
//! can be read. Whoever reads for long asks [`Backup::is_current`] at the end.

mod backup;
mod blocks;
mod chain;
mod changes;
mod error;
mod history;
mod increment;
mod known;
mod layout;
mod look;
mod manifest;
mod mirror;
mod pages;
mod staged;
mod store;
mod take_over;
mod unchanged;
mod verify;

pub use backup::{Backup, Located};
pub use blocks::{CheckedBlocks, FileRef, Progress, check_blocks};
pub use error::{Error, Result};
pub use history::{Cut, Point, Transaction, Until, find_cut, transactions};
pub use increment::Increment;
pub use layout::{Area, MANIFEST_NAME, is_database_name};
pub use look::{Look, look};
pub use manifest::{
    BackupType, Checkpoint, DatabaseEntry, FORMAT_VERSION, FileEntry, FileKind, LastTx, LeftOut,
    Manifest, Reason,
};
pub use mirror::Mirror;
pub use staged::{Outcome, SPARE_BYTES, Space, Staged};
pub use verify::{Finding, FindingKind, Report, recovery_findings, verify};
