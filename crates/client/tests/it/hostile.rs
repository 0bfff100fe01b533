//! Servers that are not ours, break off, lie, or stand still.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use client::{Client, CopyReport, Error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wire::api::{DatabaseState, ErrorCode, FileKind};

use crate::kit::{Memory, client, options, serve};
use crate::synthetic::{Knobs, Synthetic};

pub fn quick(address: SocketAddr) -> Client {
    let mut options = options(address);
    options.retry_for = Duration::from_millis(600);
    options.idle_timeout = Duration::from_millis(500);
    options.answer_timeout = Duration::from_secs(2);
    Client::new(options).unwrap()
}

/// Answers every connection with the same bytes, then closes or waits.
pub async fn answering(bytes: Vec<u8>, close: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let bytes = bytes.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(&bytes).await;
                if !close {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn nothing_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = client(address).databases().await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("serve"));
}

/// Whatever else answers there is said so, within the timeouts.
#[tokio::test]
async fn another_service() {
    let http = |head: &str, body: &str| {
        format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    for (bytes, close) in [
        (b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(), false),
        (vec![0, 0, 0, 0], true),
        (vec![], true),
        (vec![], false),
        (http("200 OK", "{}"), true),
        (http("404 Not Found", "<html>"), true),
        (http("301 Moved\r\nlocation: http://127.0.0.1:1/", ""), true),
    ] {
        let address = answering(bytes.clone(), close).await;
        let error = quick(address).databases().await.unwrap_err();
        let said = String::from_utf8_lossy(&bytes);
        assert!(matches!(error, Error::NotOurService { .. }), "{said:?}: {error:?}");
    }
}

/// Answers that are ours by their header, but wrong.
#[tokio::test]
async fn wrong_answers() {
    let ours = |body: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nneo4j-backup-api: 1\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let endless =
        "HTTP/1.1 200 OK\r\nneo4j-backup-api: 1\r\n\r\n".to_owned() + &" ".repeat(17 << 20);
    for answer in [
        ours("{}"),
        ours("[]"),
        ours("not json"),
        endless,
        ours("{}").replace("api: 1", "api: 2"),
        ours("{}").replace("200 OK", "500 No"),
    ] {
        let address = answering(answer.clone().into_bytes(), true).await;
        let error = quick(address).databases().await.unwrap_err();
        assert!(matches!(error, Error::Protocol(_)), "{:?}: {error:?}", answer.get(..90));
    }
}

/// A name that could be anything but one directory's is shown as text, and never asked for.
#[tokio::test]
async fn a_hostile_name() {
    let body = r#"{"service_version":"1","databases":[{"name":"../x\n","state":"online"}]}"#;
    let answer = format!(
        "HTTP/1.1 200 OK\r\nneo4j-backup-api: 1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let client = quick(answering(answer.into_bytes(), true).await);
    let list = client.databases().await.unwrap();
    assert_eq!(list.databases[0].state, DatabaseState::Unsupported);
    assert!(!list.databases[0].name.contains('\n'));
    assert!(matches!(client.open("../x").await, Err(Error::Options(_))));
}

/// What a proxy does with the bytes that the service sends on its `n`th connection.
pub type Tamper = Arc<dyn Fn(usize, &mut Vec<u8>) -> Next + Send + Sync>;

#[derive(Clone, Copy, PartialEq)]
pub enum Next {
    Pass,
    Break,
    Stall,
}

/// Stands between client and service; the bytes of each connection are counted from 0 by `tamper`'s
/// own state.
pub async fn proxy(service: SocketAddr, tamper: Tamper) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let number = connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(relay(stream, service, number, Arc::clone(&tamper)));
        }
    });
    address
}

async fn relay(stream: TcpStream, service: SocketAddr, number: usize, tamper: Tamper) {
    let Ok(upstream) = TcpStream::connect(service).await else { return };
    let (mut from_client, mut to_client) = stream.into_split();
    let (mut from_service, mut to_service) = upstream.into_split();
    let up = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_client, &mut to_service).await;
    });
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from_service.read(&mut buffer).await {
        let mut bytes = buffer[..read].to_vec();
        let next = tamper(number, &mut bytes);
        if to_client.write_all(&bytes).await.is_err() || next == Next::Break {
            break;
        }
        if next == Next::Stall {
            std::future::pending::<()>().await;
        }
    }
    up.abort();
}

async fn copy_through(
    knobs: &Arc<Knobs>,
    tamper: Tamper,
) -> (Result<CopyReport, Error>, Arc<Memory>) {
    let service = serve(knobs, |_| {}).await;
    let address = proxy(service.address, tamper).await;
    let sink = Arc::new(Memory::default());
    let mut options = options(address);
    options.retry_for = Duration::from_secs(3);
    options.idle_timeout = Duration::from_millis(500);
    options.parallel = 2;
    let client = Client::new(options).unwrap();
    (client.full("neo4j", sink.clone(), Arc::new(())).await, sink)
}

fn medium() -> Arc<Knobs> {
    let mut knobs = Synthetic::small();
    knobs.files.remove(6);
    Arc::new(knobs)
}

/// Connections that break or stall after every few hundred KiB: the copy resumes and is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_connections() {
    for next in [Next::Break, Next::Stall] {
        let sent = std::sync::Mutex::new(std::collections::HashMap::<usize, usize>::new());
        let tamper: Tamper = Arc::new(move |number, bytes| {
            let mut sent = sent.lock().unwrap();
            let sent = sent.entry(number).or_default();
            *sent += bytes.len();
            // Longer than a block, else no stream would ever get on; odd, to break inside frames.
            if *sent > 1_400_000 + number * 7919 % 100_000 { next } else { Next::Pass }
        });
        let (report, sink) = copy_through(&medium(), tamper).await;
        report.unwrap();
        assert_eq!(sink.verified().len(), 9);
    }
}

/// A byte that is damaged on the way is noticed, the block fetched again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_once() {
    let seen = AtomicUsize::new(0);
    let tamper: Tamper = Arc::new(move |_, bytes| {
        let before = seen.fetch_add(bytes.len(), Ordering::SeqCst);
        if bytes.len() > 8000 && before / 3_000_000 != (before + bytes.len()) / 3_000_000 {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        Next::Pass
    });
    let (report, sink) = copy_through(&medium(), tamper).await;
    report.unwrap();
    assert_eq!(sink.verified().len(), 9);
}

/// Damage that does not go away is an error that names the file and the block.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_for_ever() {
    let tamper: Tamper = Arc::new(move |_, bytes| {
        if bytes.len() == 16 << 10 {
            bytes[9000] ^= 1;
        }
        Next::Pass
    });
    let (report, _) = copy_through(&medium(), tamper).await;
    let error = report.unwrap_err();
    let named = matches!(&error, Error::CorruptData { file, .. } if file.contains('.'));
    assert!(named || matches!(error, Error::Protocol(_)), "{error:?}");
}

/// The service dies in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_dies() {
    let knobs = medium();
    knobs.read_delay_ms.store(20, Ordering::SeqCst);
    let service = serve(&knobs, |_| {}).await;
    let client = quick(service.address);
    let copy = tokio::spawn(async move {
        client.full("neo4j", Arc::new(Memory::default()), Arc::new(())).await
    });
    tokio::time::sleep(Duration::from_millis(150)).await;
    service.task.abort();
    let error = copy.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
}

/// The sink's own error comes out as it went in.
#[tokio::test]
async fn the_sink_fails() {
    let service = serve(&medium(), |_| {}).await;
    let sink = Arc::new(Memory::default());
    *sink.fail_write.lock().unwrap() = Some("no space".into());
    let error = client(service.address).full("neo4j", sink, Arc::new(())).await.unwrap_err();
    assert!(matches!(&error, Error::Sink(inner) if inner.to_string() == "no space"), "{error:?}");
}

/// File lists that a hostile service may send: refused before the sink hears of them.
#[tokio::test]
async fn hostile_file_lists() {
    type File = (FileKind, &'static str, u64);
    let lists: [&[File]; 6] = [
        &[(FileKind::Record, "../../etc/passwd", 1)],
        &[(FileKind::Record, "neostore", 1), (FileKind::Record, "neostore", 1)],
        &[(FileKind::Record, "neostore", u64::MAX)],
        &[(FileKind::Log, "neostore.transaction.db.0", 1)],
        &[
            (FileKind::Lucene, "schema/index/a/1/x", 1),
            (FileKind::Lucene, "schema/index/a/1/x/y", 1),
        ],
        &[(FileKind::Lucene, "schema/index/a/1/.x", 1)],
    ];
    for list in lists {
        let mut knobs = Synthetic::small();
        knobs.files = list.iter().map(|(k, path, size)| (*k, path.to_string(), *size)).collect();
        let service = serve(&Arc::new(knobs), |_| {}).await;
        let error = client(service.address).open("neo4j").await.map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::Protocol(_)), "{list:?}: {error:?}");
    }
}

/// The lease runs out while the client is away: it is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_session_is_gone() {
    let knobs = medium();
    let service = serve(&knobs, |_| {}).await;
    let mut copy = client(service.address).open("neo4j").await.unwrap();
    let url = format!("/v1/sessions/{}", copy.session().session_id);
    let mut stream = TcpStream::connect(service.address).await.unwrap();
    let request = format!("DELETE {url} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    let error = copy.run(Arc::new(Memory::default()), Arc::new(())).await.unwrap_err();
    assert!(matches!(error, Error::SessionLost(_)), "{error:?}");
}

/// More sessions than there is room for.
#[tokio::test]
async fn too_many_sessions() {
    let service = serve(&medium(), |config| config.limits.max_sessions = 1).await;
    let first = client(service.address).open("neo4j").await.unwrap();
    let error = client(service.address).open("neo4j").await.map(|_| ()).unwrap_err();
    assert_eq!(error.remote_code(), Some(ErrorCode::Busy));
    first.close().await;
    client(service.address).open("neo4j").await.unwrap().close().await;
}
