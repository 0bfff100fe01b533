//! What is written on stderr, and how: events of the libraries, and lines of ours.

use std::io::Write;
use std::sync::OnceLock;

use clap::ValueEnum;
use jiff::Timestamp;
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::progress;

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Text, as long as nothing else is known.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// Whether a machine reads stderr.
pub fn is_json() -> bool {
    FORMAT.get() == Some(&LogFormat::Json)
}

/// A line of ours, named as those of the libraries' events are.
#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    level: &'static str,
    kind: &'a str,
    message: &'a str,
}

/// A line of ours of some kind, such as `warning`, in the format of the log.
pub fn line(kind: &str, text: &str) -> String {
    if !is_json() {
        return match kind {
            "progress" => text.to_owned(),
            _ => format!("{kind}: {text}"),
        };
    }
    let level = match kind {
        "error" | "alarm" | "damaged" => "ERROR",
        "warning" => "WARN",
        _ => "INFO",
    };
    let timestamp = format!("{:.6}", Timestamp::now());
    serde_json::to_string(&Line { timestamp, level, kind, message: text }).unwrap_or_default()
}

/// Begins to write events of at least that level; `NEO4J_BACKUP_LOG` overrides it, with the syntax
/// of tracing's filters.
pub fn start(level: &str, format: LogFormat) {
    let _ = FORMAT.set(format);
    let filter =
        EnvFilter::try_from_env("NEO4J_BACKUP_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let events =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(|| Stderr);
    // Fails only if it was started before.
    let _ = match format {
        LogFormat::Text => events.try_init(),
        LogFormat::Json => events.json().flatten_event(true).try_init(),
    };
}

/// Stderr, a whole event at a time, without a progress bar in the way.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        progress::suspend(|| std::io::stderr().lock().write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}
