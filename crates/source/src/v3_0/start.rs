//! Where recovery may start: at the newest check point that can be believed.

use std::convert::Infallible;

use formats::txlog::{Batch, BatchReader, LogHeader};
use formats::v3_0::{Place, newest_check_points, place_in_log, recovery_start};
use formats::{LogPosition, LogVersion, TimestampMs, TxId};

use crate::checkpoint::numbered_files;
use crate::installation::Database;
use crate::read::{Held, HeldReader};
use crate::scan::{LOG_PREFIX, log_path, read_header};
use crate::{Error, Result};

/// Where a copy's log begins, and what lies before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub position: LogPosition,
    /// The last transaction before that.
    pub before: TxId,
    /// When the one that is taken along was committed.
    pub last_commit: Option<TimestampMs>,
}

/// Finds it: the last transaction before the check point is taken along where it is in the same file, so that a
/// copy has at least one, by which the next increment knows the server again.
pub(super) fn find(database: &Database) -> Result<Found> {
    let position = newest_believed(database)?;
    let path = log_path(&database.log_dir, position.version);
    let Some(held) = Held::open_if_there(&path)? else { return Err(Error::LogPruned { path }) };
    let Some(header) = read_header(&held)? else {
        return Err(Error::Changed { path, what: "has no header".to_owned() });
    };
    let mut last: Option<Batch> = None;
    let mut before = TxId(header.last_append_index);
    let mut reader = batches(&held, position.offset_bytes);
    while let Some(batch) = reader.next_batch().map_err(Error::format(&path))? {
        if let Some(last) = last {
            before = last.tx_id;
        } else {
            // The header may lag.
            before = TxId(batch.tx_id.0.saturating_sub(1));
        }
        last = Some(batch);
    }
    let start = last.map_or(position.offset_bytes, |last| last.start);
    let last_commit = last.map(|last| last.commit_time);
    Ok(Found { position: LogPosition { offset_bytes: start, ..position }, before, last_commit })
}

fn newest_believed(database: &Database) -> Result<LogPosition> {
    let log_dir = &database.log_dir;
    let open = |version| Held::open_if_there(&log_path(log_dir, version));
    let place = |position: LogPosition| -> Result<Place> {
        let Some(held) = open(position.version)? else { return Ok(Place::NoLog) };
        let log = HeldReader::new(&held, LogHeader::V6_SIZE_BYTES, held.size_bytes()?);
        place_in_log(log, position.offset_bytes).map_err(Error::format(held.path()))
    };
    for (_, path) in numbered_files(log_dir, LOG_PREFIX)?.into_iter().rev() {
        let Some(held) = Held::open_if_there(&path)? else { continue };
        if read_header(&held)?.is_none() {
            continue;
        }
        let mut reader = batches(&held, held.size_bytes()?);
        let found = newest_check_points(&mut reader).map_err(Error::format(&path))?;
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

/// Reads a log's transactions up to an offset.
fn batches(held: &Held, end: u64) -> BatchReader<HeldReader<'_>> {
    let reader = HeldReader::new(held, LogHeader::V6_SIZE_BYTES, end);
    BatchReader::new(reader, LogHeader::V6_SIZE_BYTES)
}
