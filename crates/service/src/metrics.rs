//! What the service counts, in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use wire::api::ErrorCode;

/// All counters and gauges.
#[derive(Default)]
pub(crate) struct Metrics {
    sessions_open: AtomicI64,
    sessions_total: AtomicU64,
    sessions_failed: AtomicU64,
    last_success_seconds: AtomicU64,
    bytes_sent: AtomicU64,
    streams: AtomicI64,
    streams_refused: AtomicU64,
    connections: AtomicI64,
    connections_total: AtomicU64,
    requests: Mutex<BTreeMap<u16, u64>>,
    errors: Mutex<BTreeMap<String, u64>>,
}

/// Reasons why an increment is refused: there from the beginning, so that the first one is seen.
const REFUSALS: [ErrorCode; 4] =
    [ErrorCode::LogsPruned, ErrorCode::OtherStore, ErrorCode::StoreMigrated, ErrorCode::Diverged];

/// As it is in answers.
fn word(code: ErrorCode) -> String {
    serde_json::to_value(code)
        .ok()
        .and_then(|word| Some(word.as_str()?.to_owned()))
        .unwrap_or_default()
}

/// Counts something as long as it lives.
pub(crate) struct Gauge<'a>(&'a AtomicI64);

impl<'a> Gauge<'a> {
    fn new(gauge: &'a AtomicI64) -> Self {
        gauge.fetch_add(1, Ordering::Relaxed);
        Self(gauge)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    pub(crate) fn session_opened(&self) {
        self.sessions_open.fetch_add(1, Ordering::Relaxed);
        self.sessions_total.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn session_ended(&self, finished: bool) {
        self.sessions_open.fetch_sub(1, Ordering::Relaxed);
        if finished {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.last_success_seconds.store(now.as_secs(), Ordering::Relaxed);
        } else {
            self.sessions_failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.bytes_sent.fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
    }

    pub(crate) fn stream(&self) -> Gauge<'_> {
        Gauge::new(&self.streams)
    }

    /// How many streams are running.
    pub(crate) fn streams(&self) -> usize {
        usize::try_from(self.streams.load(Ordering::Relaxed)).unwrap_or(0)
    }

    pub(crate) fn stream_refused(&self) {
        self.streams_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection(&self) -> Gauge<'_> {
        self.connections_total.fetch_add(1, Ordering::Relaxed);
        Gauge::new(&self.connections)
    }

    pub(crate) fn answered(&self, status: u16, error: Option<ErrorCode>) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry(status).or_default() += 1;
        drop(requests);
        if let Some(code) = error {
            self.failed(code);
        }
    }

    /// An answer with an error, in whatever protocol.
    pub(crate) fn failed(&self, code: ErrorCode) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        *errors.entry(word(code)).or_default() += 1;
    }

    /// The text for `/metrics`.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        let mut one = |name: &str, kind: &str, help: &str, value: &dyn std::fmt::Display| {
            let _ = writeln!(out, "# HELP neo4j_backup_{name} {help}");
            let _ = writeln!(out, "# TYPE neo4j_backup_{name} {kind}");
            let _ = writeln!(out, "neo4j_backup_{name} {value}");
        };
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let level = |gauge: &AtomicI64| gauge.load(Ordering::Relaxed);
        one("sessions_open", "gauge", "Open sessions.", &level(&self.sessions_open));
        one("sessions_total", "counter", "Sessions opened.", &load(&self.sessions_total));
        one(
            "sessions_failed_total",
            "counter",
            "Sessions that ended before they were finished.",
            &load(&self.sessions_failed),
        );
        one(
            "last_success_timestamp_seconds",
            "gauge",
            "When a finished session last ended, 0 if never.",
            &load(&self.last_success_seconds),
        );
        one("sent_bytes_total", "counter", "Bytes of streams sent.", &load(&self.bytes_sent));
        one("streams", "gauge", "Streams of file bytes.", &level(&self.streams));
        one(
            "streams_refused_total",
            "counter",
            "Streams refused since too many ran.",
            &load(&self.streams_refused),
        );
        one("connections", "gauge", "Open connections.", &level(&self.connections));
        one("connections_total", "counter", "Connections.", &load(&self.connections_total));
        let _ = writeln!(out, "# HELP neo4j_backup_requests_total Requests by status.");
        let _ = writeln!(out, "# TYPE neo4j_backup_requests_total counter");
        for (status, count) in &*self.requests.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = writeln!(out, "neo4j_backup_requests_total{{code=\"{status}\"}} {count}");
        }
        let _ =
            writeln!(out, "# HELP neo4j_backup_errors_total Answers with an error, by its code.");
        let _ = writeln!(out, "# TYPE neo4j_backup_errors_total counter");
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for code in REFUSALS {
            errors.entry(word(code)).or_default();
        }
        for (code, count) in errors {
            let _ = writeln!(out, "neo4j_backup_errors_total{{code=\"{code}\"}} {count}");
        }
        let _ = writeln!(out, "# HELP neo4j_backup_build_info Version of the service.");
        let _ = writeln!(out, "# TYPE neo4j_backup_build_info gauge");
        let version = env!("CARGO_PKG_VERSION");
        let _ = writeln!(out, "neo4j_backup_build_info{{version=\"{version}\"}} 1");
        out
    }
}
