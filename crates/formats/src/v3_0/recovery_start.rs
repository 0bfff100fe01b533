//! Which check point to believe.
//!
//! 3.0.0 finds the position of a check point in a table of closed transactions, and takes a wrong
//! row of it now and then: an earlier position (harmless: more is replayed), or log 0, offset 0 (on
//! which recovery replays nothing, or fails). Measured under load: 15 earlier and 3 (0,0) of 259,
//! none too late. So a position is accepted only if its log is there and it stands behind the
//! header or behind a batch or check point; else the check point before is asked. Any earlier one
//! that is accepted is safe. Without any, recovery may begin where the first log of a database does.

use std::collections::VecDeque;
use std::fmt;
use std::io::Read;

use super::check_point::CheckPoint;
use crate::txlog::{BatchReader, LogHeader};
use crate::{LogPosition, LogVersion, Result};

/// So many check points of a log are kept: more than a server writes that has none to believe.
const CHECK_POINTS_MAX: usize = 1024;
/// Transaction 1 is in no log: before the first log of a database stands just that.
const BASE_TX_ID: u64 = 1;

/// What stands at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The log does not exist.
    NoLog,
    /// The middle of the log's header.
    Header,
    /// The middle of a batch or check point, or nothing: it is behind the log's end.
    Inside,
    /// The end of the header, of a batch or of a check point.
    Boundary,
}

/// Where recovery may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryStart {
    /// The position; `None` if a check point must be waited for.
    pub position: Option<LogPosition>,
    /// Check points that are not believed, newest first: all that are newer than the position.
    pub refused: Vec<Refused>,
}

/// A check point that is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The check point.
    pub check_point: CheckPoint,
    /// What stands at its position.
    pub place: Place,
}

/// The check points of one log, newest first (the newest 1024, if there are more), in constant
/// memory. A reader of a log that is being written to may end anywhere.
///
/// # Errors
/// `Corrupt`, `Unsupported`, `Io`: what the server itself would not start on.
pub fn newest_check_points<R: Read>(log: &mut BatchReader<R>) -> Result<Vec<CheckPoint>> {
    let mut newest = VecDeque::new();
    loop {
        match log.next_check_point() {
            Ok(Some(check_point)) => keep_newest(&mut newest, check_point),
            Ok(None) => return Ok(newest.into()),
            Err(error) if error.is_incomplete() => return Ok(newest.into()),
            Err(error) => return Err(error),
        }
    }
}

/// Puts a check point before those that came earlier; the oldest goes where there are too many (1024).
pub fn keep_newest(newest: &mut VecDeque<CheckPoint>, check_point: CheckPoint) {
    newest.truncate(CHECK_POINTS_MAX.saturating_sub(1));
    newest.push_front(check_point);
}

/// What stands at an offset of a log that is there; `log` reads it from the byte behind its header, or from
/// a later place `from` that is a boundary and not behind the offset.
///
/// # Errors
/// `Corrupt`, `Unsupported`, `Io`, if that comes before the offset.
pub fn place_in_log(log: impl Read, from: u64, offset_bytes: u64) -> Result<Place> {
    if offset_bytes < LogHeader::V6_SIZE_BYTES {
        return Ok(Place::Header);
    }
    let mut log = BatchReader::new(log, from);
    while log.boundary() < offset_bytes {
        match log.next_item() {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(Place::Inside),
            Err(error) if error.is_incomplete() => return Ok(Place::Inside),
            Err(error) => return Err(error),
        }
    }
    Ok(if log.boundary() == offset_bytes { Place::Boundary } else { Place::Inside })
}

/// Where recovery may begin: at the newest check point whose position is a boundary, or at the
/// beginning of the first log of the database. `check_points` come newest first, over all logs;
/// `first` is the header of log 0, if that is there; `place` says what stands at a position.
///
/// # Errors
/// Those of `place`.
pub fn recovery_start<E>(
    check_points: impl IntoIterator<Item = CheckPoint>,
    first: Option<&LogHeader>,
    mut place: impl FnMut(LogPosition) -> std::result::Result<Place, E>,
) -> std::result::Result<RecoveryStart, E> {
    let mut refused = Vec::new();
    for check_point in check_points {
        match place(check_point.position)? {
            Place::Boundary => {
                let position = Some(check_point.position);
                return Ok(RecoveryStart { position, refused });
            }
            place => refused.push(Refused { check_point, place }),
        }
    }
    let begins = first.is_some_and(|header| {
        header.log_version == LogVersion(0) && header.last_append_index == BASE_TX_ID
    });
    let position = begins
        .then_some(LogPosition { version: LogVersion(0), offset_bytes: LogHeader::V6_SIZE_BYTES });
    Ok(RecoveryStart { position, refused })
}

impl fmt::Display for RecoveryStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(position) => write!(f, "recovery may begin at {position}")?,
            None => write!(f, "recovery may begin nowhere until the next check point")?,
        }
        match self.refused.as_slice() {
            [] => Ok(()),
            [newest] => write!(f, "; not believed: {newest}"),
            [newest, older @ ..] => write!(f, "; not believed: {newest}, and {} more", older.len()),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CheckPoint { start, position, .. } = self.check_point;
        let found = match self.place {
            Place::NoLog => "where no log is",
            Place::Header => "inside the log's header",
            Place::Inside => "where no transaction ends",
            Place::Boundary => "where a transaction ends",
        };
        write!(f, "the check point at offset {start} that tells {position}, {found}")
    }
}
