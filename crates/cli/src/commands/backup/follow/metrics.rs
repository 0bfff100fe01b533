//! The follower's metrics, in Prometheus' text format, and its health.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use jiff::Timestamp;
use tokio::net::TcpListener;

use super::Followed;
use super::state::Facts;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, Result};

const TEXT: &str = "text/plain; version=0.0.4";

/// Takes the address, before anything else is done.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let message = format!("listen on {address} for metrics: {error}");
        Failure::new(ExitCode::CannotListen, message)
            .hint("choose another address with --metrics-listen HOST:PORT")
    })
}

/// Answers until the process ends: `/metrics`, and `/health`, which is 503 while there is an alarm.
pub async fn serve(listener: TcpListener, followed: Arc<Followed>) -> std::io::Result<()> {
    let of_health = Arc::clone(&followed);
    let router = Router::new()
        .route("/metrics", get(async move || ([(CONTENT_TYPE, TEXT)], text(&followed))))
        .route("/health", get(async move || health(&of_health)));
    axum::serve(listener, router).await
}

fn health(followed: &Followed) -> impl IntoResponse + use<> {
    let states = followed.states();
    let alarmed: Vec<&str> = states
        .iter()
        .filter(|state| state.get().is_alarmed())
        .map(|state| state.name.as_str())
        .collect();
    let status = if alarmed.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if alarmed.is_empty() { "ok" } else { "alarm" };
    let body = serde_json::json!({ "status": word, "databases": alarmed });
    (status, axum::Json(body))
}

/// A metric's name, kind, meaning, and how it is told of one database.
type Row = (&'static str, &'static str, &'static str, fn(&Facts) -> String);

const ROWS: [Row; 12] = [
    (
        "neo4j_backup_follow_lag_transactions",
        "gauge",
        "Transactions that the server is known to have and that are not durable here yet.",
        |facts| facts.missing_transactions.to_string(),
    ),
    (
        "neo4j_backup_follow_lag_seconds",
        "gauge",
        "Seconds since all that the server had was known to be durable here.",
        |facts| format!("{:.3}", facts.lag().as_secs_f64()),
    ),
    (
        "neo4j_backup_follow_current_timestamp_seconds",
        "gauge",
        "When all that the server had was last known to be durable here.",
        |facts| seconds(facts.current.1),
    ),
    (
        "neo4j_backup_follow_last_success_timestamp_seconds",
        "gauge",
        "When something was last added to the backup, 0 if never.",
        |facts| facts.last_success.map_or("0".to_owned(), seconds),
    ),
    ("neo4j_backup_follow_last_tx_id", "gauge", "The backup's last transaction.", |facts| {
        facts.last_tx_id.to_string()
    }),
    (
        "neo4j_backup_follow_last_commit_timestamp_seconds",
        "gauge",
        "When the backup's last transaction was committed, by the server's clock.",
        |facts| format!("{:.3}", facts.last_commit_time_ms as f64 / 1000.0),
    ),
    (
        "neo4j_backup_follow_received_bytes_total",
        "counter",
        "Bytes that came for the backup.",
        |facts| facts.received_bytes.to_string(),
    ),
    ("neo4j_backup_follow_increments_total", "counter", "Increments.", |facts| {
        facts.increments.to_string()
    }),
    ("neo4j_backup_follow_errors_total", "counter", "Tries that failed.", |facts| {
        facts.errors.to_string()
    }),
    (
        "neo4j_backup_follow_source_online",
        "gauge",
        "1 while a server runs the database, as far as the service sees.",
        |facts| u8::from(facts.online).to_string(),
    ),
    (
        "neo4j_backup_follow_alarm",
        "gauge",
        "1 while nothing comes, or while only somebody can repair it.",
        |facts| u8::from(facts.is_alarmed()).to_string(),
    ),
    ("neo4j_backup_follow_alarms_total", "counter", "Alarms.", |facts| facts.alarms.to_string()),
];

fn text(followed: &Followed) -> String {
    let all: Vec<(String, Facts)> =
        followed.states().iter().map(|state| (label(&state.name), state.get())).collect();
    let mut out = String::new();
    let head = |out: &mut String, name: &str, kind: &str, help: &str| {
        let _ = writeln!(out, "# HELP {name} {help}");
        let _ = writeln!(out, "# TYPE {name} {kind}");
    };
    for (name, kind, help, value) in ROWS {
        head(&mut out, name, kind, help);
        for (database, facts) in &all {
            let value = value(facts);
            let _ = writeln!(out, "{name}{{database=\"{database}\"}} {value}");
        }
    }
    let name = "neo4j_backup_follow_full_backups_total";
    head(&mut out, name, "counter", "Full backups and renewals by their reason.");
    for (database, facts) in &all {
        for (reason, count) in &facts.full_backups {
            let labels = format!("database=\"{database}\",reason=\"{reason}\"");
            let _ = writeln!(out, "{name}{{{labels}}} {count}");
        }
    }
    out
}

fn seconds(time: Timestamp) -> String {
    format!("{:.3}", time.as_millisecond() as f64 / 1000.0)
}

/// A database's name may have what a label must not.
fn label(name: &str) -> String {
    name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
