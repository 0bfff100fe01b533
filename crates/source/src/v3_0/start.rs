//! Where recovery may start: at the newest check point that can be believed.

use std::convert::Infallible;

use formats::txlog::{Batch, BatchReader};
use formats::v3_0::{Place, recovery_start};
use formats::{LogPosition, LogVersion, TimestampMs, TxId};

use crate::checkpoint::numbered_files;
use crate::installation::Database;
use crate::read::{Held, HeldReader};
use crate::scan::{LOG_PREFIX, log_path, read_header};
use crate::{Error, Result};

/// Where a copy's log begins, and what lies before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogStart {
    pub position: LogPosition,
    /// The last transaction before that.
    pub before: TxId,
    /// When the one that is taken along was committed.
    pub last_commit: Option<TimestampMs>,
}

/// Finds it: the last transaction before the check point is taken along where it is in the same file, so that a
/// copy has at least one, by which the next increment knows the server again. `stored` is the last one that
/// `neostore` tells of, read before.
pub(super) fn find(database: &Database, stored: TxId) -> Result<LogStart> {
    let position = newest_believed(database)?;
    let path = log_path(&database.log_dir, position.version);
    let Some(held) = Held::open_if_there(&path)? else { return Err(Error::LogPruned { path }) };
    if read_header(&held)?.is_none() {
        return Err(Error::Changed { path, what: "has no header".to_owned() });
    }
    let last = database.log_index.read(&held)?.last_before(&held, position.offset_bytes)?;
    let start = last.map_or(position.offset_bytes, |last| last.start);
    let last_commit = last.map(|last| last.commit_time);
    let first = match last {
        Some(last) => Some(last),
        None => first_behind(&held, position.offset_bytes)?,
    };
    // Not what the header tells: it may lag, and where a slave of a cluster has copied its store from the master,
    // the new log's header tells that nothing was before.
    let before = first.map_or(stored, |first| TxId(first.tx_id.0.saturating_sub(1)));
    Ok(LogStart { position: LogPosition { offset_bytes: start, ..position }, before, last_commit })
}

/// The first transaction behind an offset, once it is there as a whole.
fn first_behind(held: &Held, offset: u64) -> Result<Option<Batch>> {
    let reader = HeldReader::new(held, offset, held.size_bytes()?);
    match BatchReader::new(reader, offset).next_batch() {
        Err(error) if error.is_incomplete() => Ok(None),
        found => found.map_err(Error::format(held.path())),
    }
}

fn newest_believed(database: &Database) -> Result<LogPosition> {
    let log_dir = &database.log_dir;
    let open = |version| Held::open_if_there(&log_path(log_dir, version));
    let place = |position: LogPosition| -> Result<Place> {
        let Some(held) = open(position.version)? else { return Ok(Place::NoLog) };
        database.log_index.read(&held)?.place(&held, position.offset_bytes)
    };
    for (_, path) in numbered_files(log_dir, LOG_PREFIX)?.into_iter().rev() {
        let Some(held) = Held::open_if_there(&path)? else { continue };
        if read_header(&held)?.is_none() {
            continue;
        }
        let found = database.log_index.read(&held)?.check_points;
        let start = recovery_start(found, None, place)?;
        if !start.refused.is_empty() {
            tracing::info!(log = %path.display(), "{start}");
        }
        if let Some(position) = start.position {
            return Ok(position);
        }
    }
    let first = open(LogVersion(0))?.map(|held| read_header(&held)).transpose()?.flatten();
    let none = |_: LogPosition| Ok::<_, Infallible>(Place::NoLog);
    let Ok(start) = recovery_start([], first.as_ref(), none);
    start.position.ok_or_else(|| Error::Changed {
        path: log_dir.clone(),
        what: "has no check point that can be believed; the server's next one is to be waited for"
            .to_owned(),
    })
}
