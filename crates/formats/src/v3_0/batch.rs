//! Batches and check points, out of a log's entries.

use std::io::Read;

use super::check_point::CheckPoint;
use super::command::Command;
use super::entry::{
    CHECK_POINT, COMMAND, COMMIT, Commit, START, Start, entry_head, unknown_entry, visit_position,
};
use crate::codec::{BigEndianDecoder, Input};
use crate::txlog::{Batch, Item, positive};
use crate::{Error, KernelVersion, LogPosition, LogVersion, Result, TimestampMs, TxId};

/// COMMIT behind its version and type byte.
const COMMIT_BODY_BYTES: u64 = 16;

/// Reads what begins with the version byte that comes next, in constant memory.
pub(crate) fn read_item<R: Read>(input: &mut Input<R>) -> Result<Item> {
    let start = input.offset();
    let type_at = start.saturating_add(1);
    let (version, type_code) = next_head(input)?;
    match type_code {
        START => read_batch(input, start, version).map(Item::Batch),
        CHECK_POINT => {
            let mut position = LogPosition { version: LogVersion(0), offset_bytes: 0 };
            visit_position(&mut BigEndianDecoder { input, keep: false }, &mut position)?;
            Ok(Item::CheckPoint(CheckPoint { start, end: input.offset(), position }))
        }
        COMMAND => Err(Error::corrupt(type_at, "log entry", "START", "COMMAND")),
        COMMIT => Err(Error::corrupt(type_at, "log entry", "START", "COMMIT")),
        other => Err(unknown_entry(type_at, other)),
    }
}

/// Reads everything behind the type byte of START.
fn read_batch<R: Read>(input: &mut Input<R>, start: u64, version: KernelVersion) -> Result<Batch> {
    let mut head = Start::default();
    head.visit(&mut BigEndianDecoder { input, keep: true })?;
    let mut commands = 0_u64;
    loop {
        match next_type(input, version)? {
            COMMAND => {
                Command::decode(&mut BigEndianDecoder { input, keep: false }, version)?;
                commands = commands.saturating_add(1);
            }
            COMMIT => break,
            other => {
                let at = input.offset().saturating_sub(1);
                let expected = "COMMAND or COMMIT";
                return Err(match other {
                    START => Error::corrupt(at, "log entry", expected, "START"),
                    CHECK_POINT => Error::corrupt(at, "log entry", expected, "CHECK POINT"),
                    other => unknown_entry(at, other),
                });
            }
        }
    }
    let mut commit = Commit::default();
    commit.visit(&mut BigEndianDecoder { input, keep: false })?;
    let id_at = input.offset().saturating_sub(COMMIT_BODY_BYTES);
    Ok(Batch {
        start,
        end: input.offset(),
        kernel_version: version,
        tx_id: TxId(positive(id_at, "transaction id", commit.tx_id)?),
        append_index: None,
        checksum: head.checksum(),
        previous_checksum: None,
        start_time: TimestampMs(head.time),
        commit_time: TimestampMs(commit.time),
        commands,
        upgrade_to: None,
    })
}

/// The type of the batch's next entry, which must be there and of the same version.
fn next_type<R: Read>(input: &mut Input<R>, version: KernelVersion) -> Result<u8> {
    let at = input.offset();
    let (found, type_code) = next_head(input)?;
    if found != version {
        return Err(Error::corrupt(at, "version of a log entry", version, found));
    }
    Ok(type_code)
}

/// Version and type of the next entry, which must be there.
fn next_head<R: Read>(input: &mut Input<R>) -> Result<(KernelVersion, u8)> {
    let at = input.offset();
    if let Some(head) = entry_head(input)? {
        return Ok(head);
    }
    Err(match input.peek()? {
        None => Error::incomplete(at, "a transaction"),
        Some(zero) => Error::corrupt(at, "version of a log entry", "-6 or -9", zero),
    })
}
