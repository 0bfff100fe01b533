//! What is asked of databases without a session.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use globset::{Glob, GlobSetBuilder};
use reqwest::Method;
use service::LogSettings;

use crate::start::serve;
use crate::synthetic::Synthetic;

const LOGS: &str = "/v1/databases/neo4j/logs";
const CHECK: &str = "/v1/databases/neo4j/check";

/// A copy is begun and dropped: nothing is left, and no session is counted.
#[tokio::test]
async fn a_check_leaves_nothing() {
    let knobs = Arc::new(Synthetic::small());
    let service = serve(&knobs, |_| {}).await;
    let (status, answer) = service.ask(Method::POST, CHECK, "{}").await;
    assert_eq!((status, &answer["files_count"]), (200, &8.into()), "{answer}");
    assert!(answer["size_bytes"].as_u64() > Some(70 << 20), "{answer}");
    assert_eq!(knobs.live_copies.load(Ordering::SeqCst), 0);
    let metrics = service.request(Method::GET, "/metrics").send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("neo4j_backup_sessions_total 0"), "{metrics}");
    let (status, answer) = service.ask(Method::GET, "/v1/databases", "").await;
    assert!(status == 200 && answer["time"].as_i64() > Some(1_600_000_000_000), "{answer}");
}

/// What the catalog tells, with the settings and their defaults, or without.
#[tokio::test]
async fn logs_and_their_settings() {
    let knobs = Arc::new(Synthetic::small());
    let plain = serve(&knobs, |_| {}).await;
    let (status, answer) = plain.ask(Method::GET, LOGS, "").await;
    assert_eq!((status, &answer["files_count"]), (200, &1.into()), "{answer}");
    assert!(answer["retention_policy"].is_null() && answer["time"].as_i64() > Some(1), "{answer}");
    for (settings, policy, rotation_bytes) in [
        (LogSettings::default(), "2 days", 256 << 20),
        (
            LogSettings {
                retention_policy: Some("1 files".into()),
                rotation_size_bytes: Some(5),
                checkpoint_interval_ms: Some(6),
            },
            "1 files",
            5,
        ),
    ] {
        let interval = settings.checkpoint_interval_ms.unwrap_or(900_000);
        let service = serve(&knobs, |config| config.log_settings = Some(settings)).await;
        let (_, answer) = service.ask(Method::GET, LOGS, "").await;
        assert_eq!(answer["retention_policy"], policy);
        assert_eq!(answer["rotation_size_bytes"], rotation_bytes);
        assert_eq!(answer["checkpoint_interval_ms"], interval);
    }
}

#[tokio::test]
async fn errors() {
    let knobs = Arc::new(Synthetic::small());
    let globs = GlobSetBuilder::new().add(Glob::new("neo*").unwrap()).build().unwrap();
    let service = serve(&knobs, |config| {
        config.database_globs = Some(globs);
        config.limits.max_sessions = 1;
    })
    .await;
    for (method, path, body, status, code) in [
        (Method::GET, "/v1/databases/system/logs", "", 404, "not_found"),
        (Method::POST, "/v1/databases/system/check", "{}", 404, "not_found"),
        (Method::POST, "/v1/databases/neo5/check", "{}", 404, "not_found"),
        (Method::GET, "/v1/databases/..x/logs", "", 400, "bad_request"),
        (Method::POST, CHECK, "", 400, "bad_request"),
        (Method::POST, CHECK, "{\"after\":1}", 400, "bad_request"),
        (Method::GET, CHECK, "", 405, "bad_request"),
    ] {
        let (got, answer) = service.ask(method, path, body).await;
        assert_eq!((got, answer["error"]["code"].as_str()), (status, Some(code)), "{path} {body}");
    }
    // Where no session could be opened, none could be for the check either.
    service.open().await;
    let (status, answer) = service.ask(Method::POST, CHECK, "{}").await;
    assert_eq!((status, answer["error"]["code"].as_str()), (429, Some("busy")));
}
