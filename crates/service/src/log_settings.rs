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
        let default = match logs.checkpoint.kernel_version <= LAST_WITHOUT_SIZE {
            true => DEFAULT_UNTIL_5_26,
            false => DEFAULT_SINCE,
        };
        let policy = self.retention_policy.as_deref().unwrap_or(default);
        logs.retention_policy = Some(policy.to_owned());
        logs.rotation_size_bytes = self.rotation_size_bytes.or(Some(ROTATION_SIZE_BYTES));
        logs.checkpoint_interval_ms = self.checkpoint_interval_ms.or(Some(CHECKPOINT_INTERVAL_MS));
    }
}
