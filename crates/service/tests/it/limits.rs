//! Peers that are slow, silent, many, or talk nonsense.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::start::serve;
use crate::synthetic::Synthetic;

/// How long until the service closes a connection on which this was sent.
async fn until_closed(address: std::net::SocketAddr, bytes: &[u8]) -> Duration {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let begun = Instant::now();
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let _ = timeout(Duration::from_secs(10), reading).await.expect("closed");
    begun.elapsed()
}

/// A silent peer, half a header, half a body, half an HTTP/2 preface: none stays.
#[tokio::test]
async fn silent_peers_are_dropped() {
    let service = serve(&Arc::new(Synthetic::small()), |config| {
        config.limits.arrival_timeout = Duration::from_millis(300);
        config.limits.idle_timeout = Duration::from_millis(400);
    })
    .await;
    let body = "POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-length: 20\r\n\r\n{";
    for bytes in ["", "G", "GET / HTTP/1.1\r\nhost:", body, "PRI * HTTP/2.0\r\n"] {
        let took = until_closed(service.address, bytes.as_bytes()).await;
        assert!(took < Duration::from_secs(3), "{bytes:?} stayed {took:?}");
    }
}

/// A peer that does not read its answer is dropped, its stream's place freed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read() {
    let service = serve(&Arc::new(Synthetic::small()), |config| {
        config.limits.stall_timeout = Duration::from_millis(300);
        config.limits.max_streams = 1;
    })
    .await;
    let session = service.open().await;
    let mut stream = TcpStream::connect(service.address).await.unwrap();
    let request = format!("GET {session}/files/6 HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let path = format!("{session}/files/4");
    let busy = service.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(
        (busy.status().as_u16(), &busy.headers()["retry-after"]),
        (429, &"1".parse().unwrap())
    );
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let free = service.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(free.status().as_u16(), 200);
}

/// How long a request on one more connection waits.
const WAIT: Duration = Duration::from_millis(400);

/// A connection beyond the limit waits for as long as the others are open, and is served once one
/// of them is closed by its peer.
#[tokio::test]
async fn one_connection_too_many_waits_for_another_to_be_closed() {
    let service = serve(&Arc::new(Synthetic::small()), |config| {
        config.limits.max_connections = 2;
    })
    .await;
    let first = TcpStream::connect(service.address).await.unwrap();
    let _second = TcpStream::connect(service.address).await.unwrap();
    let mut health = pin!(service.ask(Method::GET, "/health", ""));
    assert!(timeout(WAIT, &mut health).await.is_err(), "served beyond the limit");
    drop(first);
    // Long before a connection is closed for being idle.
    let (status, _) = timeout(Duration::from_secs(5), health).await.expect("served");
    assert_eq!(status, 200);
}

/// Many idle connections that nobody closes hold up another one until each has had its idle time,
/// not longer.
#[tokio::test]
async fn many_idle_connections_give_way() {
    let service = serve(&Arc::new(Synthetic::small()), |config| {
        config.limits.max_connections = 2;
        config.limits.idle_timeout = WAIT;
    })
    .await;
    let begun = Instant::now();
    let mut idle = Vec::new();
    for _ in 0..8 {
        idle.push(TcpStream::connect(service.address).await.unwrap());
    }
    let health = service.ask(Method::GET, "/health", "");
    let (status, _) = timeout(Duration::from_secs(20), health).await.expect("served");
    assert_eq!(status, 200);
    // Two at a time, four times.
    assert!(begun.elapsed() >= 4 * WAIT, "served after {:?}", begun.elapsed());
    drop(idle);
}

/// A client that goes away stops the reading of its file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away() {
    let knobs = Arc::new(Synthetic::small());
    knobs.read_delay_ms.store(20, Ordering::SeqCst);
    let service = serve(&knobs, |_| {}).await;
    let session = service.open().await;
    let response =
        service.request(Method::GET, &format!("{session}/files/6")).send().await.unwrap();
    drop(response);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let reads = knobs.reads.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(knobs.reads.load(Ordering::SeqCst), reads);
}

/// Bytes that are not HTTP do no harm.
#[tokio::test]
async fn nonsense() {
    let service = serve(&Arc::new(Synthetic::small()), |config| {
        config.limits.arrival_timeout = Duration::from_millis(300);
    })
    .await;
    let long = "GET / HTTP/1.1\r\n".to_owned() + &"x: y\r\n".repeat(50_000);
    for bytes in [&b"\0\0\0\0"[..], b"\x16\x03\x01\x02\0", b"SSH-2.0-x\r\n", long.as_bytes()] {
        let mut stream = TcpStream::connect(service.address).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let mut answer = vec![0; 100];
        let _ = timeout(Duration::from_secs(2), stream.read(&mut answer)).await;
    }
    assert_eq!(service.ask(Method::GET, "/health", "").await.0, 200);
}
