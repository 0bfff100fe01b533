//! A backup to a directory that real Neo4j starts on.
//!
//! # All or nothing
//!
//! 1. Everything that forbids the restore is asked first: a running server, a database that is
//!    there already, a target inside of the backup.
//! 2. The backup's files are copied into `.neo4j-backup-restoring`, on the file systems where they
//!    will stay but where Neo4j does not look, and verified in the same pass: every block against
//!    the manifest, the logs from checkpoint C to the last transaction. Only files that the
//!    manifest lists are copied.
//! 3. Only if all databases are right and durable, a journal of renames is written. With `force`
//!    the old directories are renamed into `neo4j-backup-replaced/<db>-<time>`, never deleted;
//!    then the new ones into their places, transaction logs first, the store last.
//!
//! The directories may belong to somebody else than who runs the restore, who may be root. So the
//! staging directories belong to the latter, and nobody else can write to them; one that is there
//! and of which this is not true is refused. Of a journal only those renames are believed that a
//! restore to these directories does.
//!
//! A run that is killed leaves the staging directory, and perhaps some of the renames done. The
//! next run undoes those that are, removes the rest and says so. Never is a restored store put
//! beside the transaction logs of another database, or into a directory with files in it: Neo4j
//! would believe them.

mod copy;
mod destination;
mod error;
mod journal;
mod places;
mod plan;
mod restore;

pub use destination::Destination;
pub use error::{Error, Result};
pub use restore::{Options, Report, Restored, restore};
