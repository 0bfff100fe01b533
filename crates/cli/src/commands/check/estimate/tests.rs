//! Forecasts for logs whose rotation, growth and age are known.

use formats::{KernelVersion, LogPosition, TxId};
use wire::api::CheckpointInfo;

use super::*;

const MIB: u64 = 1 << 20;
const HOUR_MS: i64 = 3_600_000;
const NOW: i64 = 1_000 * HOUR_MS;

/// Files of 256 MiB and 1000 transactions, one an hour, the newest of them number `newest` and begun
/// half an hour ago; the checkpoint is at its middle, now.
fn logs(oldest: u64, newest: u64) -> Logs {
    let file = |version: u64| LogFile {
        version: LogVersion(version),
        size_bytes: 256 * MIB,
        first_tx_id: Some(TxId(1 + 1000 * version)),
        first_commit_time: Some(begun(version, newest)),
    };
    Logs {
        retention_policy: None,
        rotation_size_bytes: Some(256 * MIB),
        checkpoint_interval_ms: None,
        checkpoint: CheckpointInfo {
            tx_id: TxId(500 + 1000 * newest),
            position: LogPosition { version: LogVersion(newest), offset_bytes: 128 * MIB },
            time: TimestampMs(NOW),
            kernel_version: KernelVersion(20),
            reason: String::new(),
        },
        time: TimestampMs(NOW),
        files_count: newest - oldest + 1,
        files: (oldest..=newest).map(file).collect(),
    }
}

fn begun(version: u64, newest: u64) -> TimestampMs {
    TimestampMs(NOW - HOUR_MS / 2 - i64::try_from(newest - version).unwrap() * HOUR_MS)
}

/// A file whose transactions are needed up to just after its beginning.
fn needed(version: u64, newest: u64) -> Needed {
    Needed { version: LogVersion(version), commit_time: begun(version, newest) }
}

fn left(logs: &Logs, policy: &str, needed: Needed) -> Option<Estimate> {
    estimate(logs, Policy::parse(policy).unwrap(), needed)
}

#[track_caller]
fn check(logs: &Logs, policy: &str, version: u64, minutes: u64) {
    let newest = logs.files.last().unwrap().version.0;
    let left = left(logs, policy, needed(version, newest)).unwrap().time.unwrap();
    let (found, expected) = (left.as_secs(), minutes * 60);
    // Growth is a measured rate.
    assert!(found.abs_diff(expected) <= 60, "{policy}: {found} s instead of {expected} s");
}

#[test]
fn a_time() {
    let logs = logs(0, 9);
    // The newest file is not older than now, the one before ended half an hour ago.
    check(&logs, "2 days", 9, 48 * 60);
    check(&logs, "2 days", 8, 47 * 60 + 30);
    check(&logs, "2 days", 0, 39 * 60 + 30);
    check(&logs, "3 hours", 6, 30);
    check(&logs, "3 hours", 5, 0);
}

#[test]
fn a_size() {
    let logs = logs(0, 9);
    // Two whole files, and the one that is begun, must come after it.
    check(&logs, "768M size", 9, 150);
    check(&logs, "768M size", 8, 90);
    check(&logs, "768M size", 7, 30);
    check(&logs, "768M size", 6, 0);
    // Less than a file: at the next rotation.
    check(&logs, "1M size", 9, 30);
    check(&logs, "1M size", 8, 0);
    // The smaller of two limits counts.
    check(&logs, "2 days 768M", 8, 90);
    check(&logs, "1 hours 768M", 8, 30);
}

#[test]
fn files_and_transactions() {
    let logs = logs(0, 9);
    check(&logs, "3 files", 9, 150);
    check(&logs, "3 files", 7, 30);
    check(&logs, "3 files", 6, 0);
    for none in ["keep_none", "false", "1 files"] {
        check(&logs, none, 9, 30);
        check(&logs, none, 8, 0);
    }
    check(&logs, "2000 txs", 9, 120);
    check(&logs, "2000 txs", 8, 90);
    check(&logs, "2000 entries", 6, 0);
}

#[test]
fn for_ever() {
    for policy in ["keep_all", "true"] {
        assert_eq!(left(&logs(0, 9), policy, needed(0, 9)), None);
    }
}

/// What cannot be told in time is told in bytes; a time that is known is told all the same.
#[test]
fn unknown_growth() {
    let mut logs = logs(0, 0);
    logs.checkpoint.time = TimestampMs(begun(0, 0).0 + 59_999);
    assert_eq!(Growth::of(&logs), None);
    let found = left(&logs, "768M size", needed(0, 0)).unwrap();
    assert_eq!((found.time, found.bytes), (None, Some(640 * MIB)));
    let found = left(&logs, "2 days 768M", needed(0, 0)).unwrap();
    assert_eq!(found.time, Some(Duration::from_hours(48)));
    assert_eq!(found.bytes, Some(640 * MIB));
    let found = left(&logs, "70 txs", needed(0, 0)).unwrap();
    assert_eq!((found.time, found.transactions), (None, Some(70)));
}

/// Files without a known beginning: the transaction that is needed itself is the bound.
#[test]
fn unknown_beginnings() {
    let mut logs = logs(0, 9);
    for file in &mut logs.files {
        (file.first_tx_id, file.first_commit_time) = (None, None);
    }
    assert_eq!(Growth::of(&logs), None);
    let found = left(&logs, "2 days", needed(8, 9)).unwrap().time.unwrap();
    assert_eq!(found, Duration::from_mins(46 * 60 + 30));
    // A clock that was set back, a file that is gone, no file at all: no panic, and nothing sooner.
    logs.time = TimestampMs(0);
    assert_eq!(left(&logs, "2 days", needed(8, 9)).unwrap().time, Some(Duration::from_hours(48)));
    logs.files.clear();
    assert!(left(&logs, "2 days 2G", needed(8, 9)).is_some());
}

/// Numbers that no honest service sends.
#[test]
fn absurd_answers() {
    let mut logs = logs(0, 3);
    logs.rotation_size_bytes = Some(0);
    logs.checkpoint.position =
        LogPosition { version: LogVersion(u64::MAX), offset_bytes: u64::MAX };
    logs.checkpoint.time = TimestampMs(i64::MAX);
    logs.checkpoint.tx_id = TxId(u64::MAX);
    logs.time = TimestampMs(i64::MIN);
    for file in &mut logs.files {
        (file.size_bytes, file.first_commit_time) = (u64::MAX, Some(TimestampMs(i64::MIN)));
    }
    for policy in ["2 days 2G", "17179869183G size", "17179869183G files", "17179869183G txs"] {
        for version in [0, 3, u64::MAX] {
            let needed =
                Needed { version: LogVersion(version), commit_time: TimestampMs(i64::MAX) };
            assert!(left(&logs, policy, needed).is_some(), "{policy}");
        }
    }
}
