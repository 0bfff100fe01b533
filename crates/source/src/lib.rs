//! One live Neo4j database on disk, read only: which files it has, where its last checkpoint is,
//! and a hot copy of it that recovers to a commit. Never writes, creates or locks anything.

mod checkpoint;
mod config;
mod derived;
mod error;
mod hot_copy;
mod increment;
mod installation;
mod live_copy;
mod lock;
mod log_files;
mod log_reader;
mod logs;
mod read;
mod scan;
pub mod v3_0;
mod watch;

pub use config::{Config, Setting};
pub use derived::LeftOut;
pub use error::{Error, Result};
pub use hot_copy::HotCopy;
pub use increment::{After, Increment};
pub use installation::{Database, Inspection, Installation, State};
pub use live_copy::{Checked, CopyFile, FileKind, Finished, LiveCopy, Stale};
pub use lock::{lock_file_holder, lock_holder};
pub use log_files::{LogFile, LogFiles, RecoveryStart};
pub use log_reader::LogReader;
pub use logs::Waker;
pub use scan::{LOG_PREFIX, LastTx, LogScan, LogSizes, Visit, log_path, scan_logs};

/// The time by this host's clock, which is the server's.
#[must_use]
pub fn now() -> formats::TimestampMs {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let ms = since.map_or(0, |since| since.as_millis());
    formats::TimestampMs(i64::try_from(ms).unwrap_or(i64::MAX))
}
