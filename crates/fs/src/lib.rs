//! The only code that creates, renames, syncs, locks or deletes.
//!
//! Everything that must survive a crash goes through the [`Disk`] trait, so that a test can put a
//! [`fault::FaultDisk`] in its place that fails, or stops for good, at any single operation.
//! Reading needs no seam: what is read is checked by what it says. Knows nothing of Neo4j's
//! formats, of backups or of networks.
//!
//! ```
//! use fs::{Disk, RealDisk};
//!
//! # fn main() -> Result<(), fs::Error> {
//! # let dir = tempfile::tempdir().unwrap();
//! let disk = RealDisk::new();
//! let path = dir.path().join("a/b");
//! disk.create_dir_all(&path, 0o700)?;
//! let file = disk.create_file(&path.join("file"), 0o600)?;
//! file.write_at(0, b"bytes")?;
//! file.sync()?;
//! disk.sync_dir(&path)?;
//! # Ok(())
//! # }
//! ```

mod access;
mod disk;
mod error;
pub mod fault;
mod flusher;
mod lock;
mod place;
mod read;
mod tree;

pub use access::{check_readable, check_writable_dir};
pub use disk::{Disk, DiskFile, RealDisk};
pub use error::{Error, Kind, Result};
pub use flusher::Flusher;
pub use lock::{Busy, Holder, Lock};
pub use place::{Place, ancestors, free_bytes, is_inside, is_mount_point, resolve};
pub use read::will_need;
pub use tree::{Entry, EntryKind, entries, sync_name, sync_tree, walk};
