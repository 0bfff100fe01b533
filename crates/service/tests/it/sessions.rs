//! Sessions: their errors, their lease, and the order of streams and `finish`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::Method;
use wire::frame::{Decoder, Frame};

use crate::start::{Running, serve};
use crate::synthetic::{Knobs, Synthetic};

fn small() -> Arc<Knobs> {
    Arc::new(Synthetic::small())
}

/// The frames of a stream.
async fn frames(service: &Running, path: &str) -> Vec<Frame> {
    let response = service.request(Method::GET, path).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    let mut bytes = response.bytes().await.unwrap();
    let (mut decoder, mut frames) = (Decoder::new(), Vec::new());
    while let Some(frame) = decoder.decode(&mut bytes).unwrap() {
        frames.push(frame);
    }
    decoder.finish().unwrap();
    frames
}

/// Every kind of bad request has a status and a code.
#[tokio::test]
async fn errors_are_json() {
    let service = serve(&small(), |_| {}).await;
    let session = service.open().await;
    let file = |rest: &str| format!("{session}/files/{rest}");
    let big = format!(r#"{{"database":"{}"}}"#, "x".repeat(70_000));
    for (method, path, body, status, code) in [
        (Method::GET, "/", "", 404, "not_found"),
        (Method::GET, "/v1/sessions/x", "", 404, "not_found"),
        (Method::PUT, "/v1/databases", "", 405, "bad_request"),
        (Method::POST, "/v1/sessions", "", 400, "bad_request"),
        (Method::POST, "/v1/sessions", &big, 413, "bad_request"),
        (Method::POST, "/v1/sessions", r#"{"database":"../x"}"#, 400, "bad_request"),
        (Method::POST, "/v1/sessions", r#"{"database":"other"}"#, 404, "not_found"),
        (Method::GET, &file("99"), "", 404, "not_found"),
        (Method::GET, &file("x"), "", 400, "bad_request"),
        (Method::GET, &file("-1"), "", 400, "bad_request"),
        (Method::GET, &file("6?offset=1"), "", 400, "bad_request"),
        (Method::GET, &file("6?offset=x"), "", 400, "bad_request"),
        (Method::GET, &file("6?offset=1099511627776"), "", 400, "bad_request"),
        (Method::GET, &file("6?length=5"), "", 400, "bad_request"),
        (Method::GET, &file("6?length=0"), "", 400, "bad_request"),
        (Method::GET, &file("6?other=0"), "", 400, "bad_request"),
        (Method::POST, &file("6/check"), "", 400, "bad_request"),
        (Method::POST, &file("99/check"), "", 404, "not_found"),
    ] {
        let (got, json) = service.ask(method.clone(), path, body).await;
        assert_eq!((got, json["error"]["code"].as_str()), (status, Some(code)), "{method} {path}");
    }
}

/// The frames of a file of one block and of one that is empty.
#[tokio::test]
async fn a_stream() {
    let service = serve(&small(), |_| {}).await;
    let session = service.open().await;
    let got = frames(&service, &format!("{session}/files/4")).await;
    let [Frame::Data { offset_bytes: 0, bytes }, Frame::Block { offset_bytes: 0, hash }, end] =
        got.as_slice()
    else {
        panic!("{got:?}")
    };
    assert_eq!(hash, blake3::hash(bytes).as_bytes());
    assert_eq!(*end, Frame::End { offset_bytes: 8192, end_of_file: true });
    let got = frames(&service, &format!("{session}/files/7")).await;
    assert_eq!(got, [Frame::End { offset_bytes: 0, end_of_file: true }]);
    let got = frames(&service, &format!("{session}/files/6?offset=1048576&length=1048576")).await;
    assert_eq!(got.last(), Some(&Frame::End { offset_bytes: 2 << 20, end_of_file: false }));
    assert_eq!(got.len(), 3);
}

/// `finish` ends streams of store files; no store byte is read after it, however slow the reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finish_ends_store_streams() {
    finish_ends(0).await;
    finish_ends(100_000).await;
    finish_ends(u64::MAX / 2).await;
}

/// With so many bytes of each read in the cache.
async fn finish_ends(cached_bytes: u64) {
    let knobs = small();
    knobs.read_delay_ms.store(40, Ordering::SeqCst);
    knobs.cached_bytes.store(cached_bytes, Ordering::SeqCst);
    let service = Arc::new(serve(&knobs, |_| {}).await);
    let session = service.open().await;
    let streams: Vec<_> = (0..3)
        .map(|_| {
            let (service, path) = (Arc::clone(&service), format!("{session}/files/6"));
            tokio::spawn(async move { frames(&service, &path).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(150)).await;
    let finish = format!("{session}/finish");
    let (status, first) = service.ask(Method::POST, &finish, "").await;
    assert_eq!(status, 200);
    for stream in streams {
        let got = stream.await.unwrap();
        let Some(Frame::Error(body)) = got.last() else { panic!("no error frame") };
        assert_eq!(body.error.code, wire::api::ErrorCode::Conflict);
    }
    assert_eq!(knobs.late_reads.load(Ordering::SeqCst), 0);
    let (status, _) = service.ask(Method::GET, &format!("{session}/files/6"), "").await;
    assert_eq!(status, 409);
    let (status, _) = service.ask(Method::POST, &format!("{session}/files/0/check"), "").await;
    assert_eq!(status, 409);
    assert_eq!(service.ask(Method::POST, &finish, "").await, (200, first));
    assert_eq!(frames(&service, &format!("{session}/files/9")).await.len(), 3);
}

/// A session ends with its lease, but not while it is used.
#[tokio::test]
async fn leases() {
    let knobs = small();
    let lease = Duration::from_millis(300);
    let service = serve(&knobs, |config| config.limits.lease = lease).await;
    let session = service.open().await;
    for _ in 0..6 {
        tokio::time::sleep(lease / 3).await;
        assert_eq!(service.ask(Method::GET, &session, "").await.0, 200);
    }
    knobs.read_delay_ms.store(100, Ordering::SeqCst);
    let got = frames(&service, &format!("{session}/files/1")).await;
    assert!(matches!(got.last(), Some(Frame::End { .. })));
    tokio::time::sleep(lease * 2).await;
    assert_eq!(service.ask(Method::GET, &session, "").await.0, 404);
    assert_eq!(knobs.live_copies.load(Ordering::SeqCst), 0);
}

/// Told to stop, the service opens nothing new and lets what runs come to its end.
#[tokio::test]
async fn a_graceful_stop() {
    let mut service = serve(&small(), |_| {}).await;
    let session = service.open().await;
    service.stop_now();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (status, json) = service.ask(Method::POST, "/v1/sessions", r#"{"database":"neo4j"}"#).await;
    assert_eq!((status, json["error"]["code"].as_str()), (503, Some("busy")));
    assert_eq!(service.ask(Method::GET, &session, "").await.0, 200);
    assert_eq!(service.ask(Method::DELETE, &session, "").await.0, 204);
    tokio::time::timeout(Duration::from_secs(5), service.task).await.unwrap().unwrap().unwrap();
}

/// The grace time over, what still runs is cut off.
#[tokio::test]
async fn a_stop_that_is_not_waited_for() {
    let knobs = small();
    let grace = Duration::from_millis(200);
    let mut service = serve(&knobs, |config| config.limits.grace = grace).await;
    service.open().await;
    service.stop_now();
    tokio::time::timeout(Duration::from_secs(5), service.task).await.unwrap().unwrap().unwrap();
    assert_eq!(knobs.live_copies.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn metrics_and_globs() {
    let globs =
        globset::GlobSet::builder().add(globset::Glob::new("sys*").unwrap()).build().unwrap();
    let service = serve(&small(), |config| config.database_globs = Some(globs)).await;
    let (_, list) = service.ask(Method::GET, "/v1/databases", "").await;
    assert_eq!(list["databases"].as_array().unwrap().len(), 1);
    let (status, _) = service.ask(Method::POST, "/v1/sessions", r#"{"database":"neo4j"}"#).await;
    assert_eq!(status, 404);
    let (_, text) = service.ask(Method::GET, "/metrics", "").await;
    let text = text.as_str().unwrap();
    assert!(text.contains("neo4j_backup_requests_total{code=\"404\"} 1\n"), "{text}");
    assert!(text.contains("neo4j_backup_errors_total{code=\"not_found\"} 1\n"), "{text}");
    assert!(text.contains("neo4j_backup_errors_total{code=\"logs_pruned\"} 0\n"), "{text}");
    let (_, document) = service.ask(Method::GET, "/openapi.json", "").await;
    assert_eq!(document["openapi"], "3.1.0");
}
