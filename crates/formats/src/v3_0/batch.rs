//! Batches and check points, out of a log's entries.

use std::io::Read;

use super::check_point::CheckPoint;
use super::command::Command;
use super::entry::{
    CHECK_POINT, COMMAND, COMMIT, Commit, START, Start, entry_type, unknown_entry, visit_position,
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
    match next_type(input)? {
        START => read_batch(input, start).map(Item::Batch),
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
fn read_batch<R: Read>(input: &mut Input<R>, start: u64) -> Result<Batch> {
    let mut head = Start::default();
    head.visit(&mut BigEndianDecoder { input, keep: true })?;
    let mut commands = 0_u64;
    loop {
        match next_type(input)? {
            COMMAND => {
                Command::decode(&mut BigEndianDecoder { input, keep: false })?;
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
        kernel_version: KernelVersion::V3_0,
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

/// The type of the next entry, which must be there.
fn next_type<R: Read>(input: &mut Input<R>) -> Result<u8> {
    let at = input.offset();
    if let Some(type_code) = entry_type(input)? {
        return Ok(type_code);
    }
    Err(match input.peek()? {
        None => Error::incomplete(at, "a transaction"),
        Some(zero) => Error::corrupt(at, "version of a log entry", KernelVersion::V3_0, zero),
    })
}
