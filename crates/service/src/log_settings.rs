//! What the server's configuration says of its transaction logs.

use formats::KernelVersion;
use wire::api::Logs;

/// The last kernel version of a server that keeps logs for two days without a bound on their size.
const LAST_WITHOUT_SIZE: KernelVersion = KernelVersion(20);
/// Defaults of `db.tx_log.rotation.retention_policy`: of 5.26.30, and of 2026.08.1. Which of the
/// releases between them has the second first is not known, so they are taken for those that keep less.
const DEFAULT_UNTIL_5_26: &str = "2 days";
const DEFAULT_SINCE: &str = "2 days 2G";
/// Default of `db.tx_log.rotation.size`.
const ROTATION_SIZE_BYTES: u64 = 256 << 20;
/// Default of `db.checkpoint.interval.time`.
const CHECKPOINT_INTERVAL_MS: u64 = 15 * 60_000;
/// Those of 3.0, where the settings begin with `dbms.`.
const DEFAULT_OF_3_0: &str = "7 days";
const ROTATION_SIZE_BYTES_OF_3_0: u64 = 250 << 20;
const CHECKPOINT_INTERVAL_MS_OF_3_0: u64 = 5 * 60_000;

/// What the server's configuration says of its transaction logs. What is `None` is the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    /// `db.tx_log.rotation.retention_policy`.
    pub retention_policy: Option<String>,
    /// `db.tx_log.rotation.size`.
    pub rotation_size_bytes: Option<u64>,
    /// `db.checkpoint.interval.time`.
    pub checkpoint_interval_ms: Option<u64>,
}

impl LogSettings {
    /// Puts the settings into an answer, with the server's defaults where it has none.
    pub fn fill(&self, logs: &mut Logs) {
        let version = logs.checkpoint.kernel_version;
        let (policy, rotation_bytes, interval_ms) = if version.is_3_0() {
            (DEFAULT_OF_3_0, ROTATION_SIZE_BYTES_OF_3_0, CHECKPOINT_INTERVAL_MS_OF_3_0)
        } else if version <= LAST_WITHOUT_SIZE {
            (DEFAULT_UNTIL_5_26, ROTATION_SIZE_BYTES, CHECKPOINT_INTERVAL_MS)
        } else {
            (DEFAULT_SINCE, ROTATION_SIZE_BYTES, CHECKPOINT_INTERVAL_MS)
        };
        let policy = self.retention_policy.as_deref().unwrap_or(policy);
        logs.retention_policy = Some(policy.to_owned());
        logs.rotation_size_bytes = self.rotation_size_bytes.or(Some(rotation_bytes));
        logs.checkpoint_interval_ms = self.checkpoint_interval_ms.or(Some(interval_ms));
    }
}
