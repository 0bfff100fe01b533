//! Events of the libraries, on stderr.

use std::io::Write;

use clap::ValueEnum;
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

/// Begins to write events of at least that level; `NEO4J_BACKUP_LOG` overrides it, with the syntax
/// of tracing's filters.
pub fn start(level: &str, format: LogFormat) {
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
