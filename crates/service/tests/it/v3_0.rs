//! Our service in Neo4j 3.0's protocol: what the original tool asks, as it was captured, and
//! clients that talk nonsense, are slow or silent. See `fixtures/3.0.0/captures`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use service::{LogSettings, ServiceConfig};
use source::Installation;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wire::v3_0::{Event, Expected, Failure, Request, ResponseDecoder};

use crate::start::{Running, serve};
use crate::synthetic::Synthetic;

const SOON: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);
/// More than sockets take that nobody reads from.
const LARGE_BYTES: u64 = 64 << 20;
const STORE: &str = "neostore.propertystore.db.strings";

fn fixture(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(path)
}

fn captured(name: &str) -> Vec<u8> {
    std::fs::read(fixture("3.0.0/captures").join(name)).unwrap()
}

/// A service beside the files of a real server of 3.0 that does not run.
struct Three {
    service: Running,
    data: TempDir,
}

impl Three {
    async fn serve(name: &str, change: impl FnOnce(&mut ServiceConfig)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let from = fixture(name).join("databases");
        let copied = std::process::Command::new("cp").arg("-r").arg(from).arg(data.path()).status();
        assert!(copied.unwrap().success());
        let installation = Installation::from_data(data.path()).unwrap();
        let service = serve(&Arc::new(Synthetic::small()), |config| {
            config.catalog = Arc::new(installation);
            change(config);
        })
        .await;
        Self { service, data }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.data.path().join("databases/graph.db").join(name)
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.service.address).await.unwrap()
    }

    /// What is answered to these bytes until the service closes, after the client's own end or not.
    async fn answer(&self, sent: &[u8], then_closes: bool) -> Vec<u8> {
        let mut stream = self.connect().await;
        // It may have closed already.
        let _ = stream.write_all(sent).await;
        if then_closes {
            let _ = stream.shutdown().await;
        }
        let mut answer = Vec::new();
        // Where it has not read everything, the end is a reset.
        let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("closed");
        answer
    }

    /// Whether it still answers as it should.
    async fn is_well(&self) {
        let mut stream = self.connect().await;
        let request = Request::Incremental { last_tx_id: 1 << 40 }.encode();
        stream.write_all(&request).await.unwrap();
        let mut answer = vec![0; 47];
        let read = timeout(SOON, stream.read_exact(&mut answer)).await.expect("answered");
        assert_eq!((read.unwrap(), &answer[..6]), (47, &[0, 0, 0, 0x2B, 8, 1][..]));
    }
}

/// What the server's configuration says of its logs, where it says nothing: 3.0's own defaults.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_are_not_set() {
    let three = Three::serve("3.0.0/mixed", |config| {
        config.log_settings = Some(LogSettings::default());
    })
    .await;
    let (status, logs) = three.service.ask(Method::GET, "/v1/databases/graph.db/logs", "").await;
    assert_eq!((status, &logs["retention_policy"]), (200, &"7 days".into()), "{logs}");
    assert_eq!(logs["rotation_size_bytes"], 250 << 20);
    assert_eq!(logs["checkpoint_interval_ms"], 300_000);
}

/// Claim: silent connections of tools leave room for HTTP, however many there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_tools_leave_room() {
    let three = Three::serve("3.0.0/mixed", |config| config.limits.max_connections = 8).await;
    let request = captured("incremental-1.request");
    let mut silent = Vec::new();
    for number in 0..12 {
        let mut stream = three.connect().await;
        stream.write_all(&request[..1]).await.unwrap();
        let closed = timeout(SHORT, stream.read(&mut [0])).await;
        assert_eq!(closed.is_ok(), number >= 4, "{number}: {closed:?}");
        silent.push(stream);
    }
    let (status, _) = three.service.ask(Method::GET, "/v1/databases", "").await;
    assert_eq!(status, 200);
    silent.clear();
    three.is_well().await;
}

/// The only thing in a response.
fn failure(answer: &[u8]) -> Option<Failure> {
    let mut input = answer;
    match ResponseDecoder::new(Expected::Incremental).next(&mut input) {
        Ok(Some(Event::Failure(failure))) if input.is_empty() => Some(failure),
        _ => None,
    }
}

/// Claim: what the original tool asks is answered, as often as it asks on one connection. Method:
/// its captured requests; the bytes before the transactions are those that a real server sends, but
/// for the identity.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_the_tool() {
    let three = Three::serve("3.0.0/mixed", |_| {}).await;
    let mut stream = three.connect().await;
    for (name, expected) in [
        ("full", Expected::Full),
        ("incremental-1", Expected::Incremental),
        ("full-with-transactions", Expected::Full),
    ] {
        stream.write_all(&captured(&format!("{name}.request"))).await.unwrap();
        let (mut decoder, mut ended) = (ResponseDecoder::new(expected), false);
        let (mut files, mut transactions) = (0, 0);
        while !ended {
            let mut bytes = vec![0; 64 << 10];
            let read = timeout(SOON, stream.read(&mut bytes)).await.expect("in time").unwrap();
            assert!(read > 0, "{name}");
            let mut input = &bytes[..read];
            while let Some(event) = decoder.next(&mut input).unwrap() {
                match event {
                    Event::File { .. } => files += 1,
                    Event::Transactions(bytes) => transactions += bytes.len(),
                    Event::End => ended = true,
                    Event::Failure(failure) => panic!("{name}: {failure}"),
                    Event::Data(_) | Event::FileEnd | Event::StoreId(_) => {}
                }
            }
        }
        assert_eq!(files > 20, expected == Expected::Full, "{name}: {files} files");
        assert!(transactions > 0 || expected == Expected::Full, "{name}: {transactions} bytes");
    }
}

/// Claim: logs that are gone are told with the class that the tool falls back to a full backup for,
/// byte for byte as a real server writes it. Method: a database whose first log was removed; the
/// captured answer of a real server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_that_are_gone() {
    let three = Three::serve("3.0.0/rotated", |_| {}).await;
    std::fs::remove_file(three.path("neostore.transaction.db.0")).unwrap();
    let request = Request::Incremental { last_tx_id: 2 }.encode();
    let ours = three.answer(&request, true).await;
    let real = captured("logs-pruned.response");
    // Behind the last class: annotations end, no superclass.
    let classes = real.windows(2).position(|pair| pair == [0x78, 0x70]).unwrap() + 2;
    assert_eq!(ours[4..classes], real[4..classes], "all but the frame's length");
    assert!(failure(&ours).unwrap().is_logs_pruned());
    three.is_well().await;
    // Both are counted; what is asked only to find out what is spoken is not.
    three.answer(&Request::Incremental { last_tx_id: 0 }.encode(), true).await;
    let (_, metrics) = three.service.ask(Method::GET, "/metrics", "").await;
    let metrics = metrics.as_str().unwrap_or_default();
    for line in ["errors_total{code=\"logs_pruned\"} 1\n", "sent_bytes_total 47\n"] {
        assert!(metrics.contains(line), "{line} {metrics}");
    }
    assert!(!metrics.contains("bad_request"), "{metrics}");
}

/// Claim: requests that are none are answered with a failure that the tool shows, as a real server
/// does, and with the end of the connection. Method: those that a real server was sent, and lengths
/// that no frame has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_none() {
    let three = Three::serve("3.0.0/mixed", |_| {}).await;
    for (name, words) in [
        ("other-version", "protocol version 2 (internal 2)"),
        ("other-internal-version", "protocol version 1 (internal 3)"),
        ("unknown-type", "the type of a request cannot be 2"),
        ("bad-forensics", "forensics cannot be 2"),
        ("short-request", "ends inside a request"),
    ] {
        let answer = three.answer(&captured(&format!("{name}.request")), false).await;
        let failure = failure(&answer).expect(name);
        let message = failure.message.unwrap_or_default();
        assert!(message.contains(words), "{name}: {message}");
        // No class is named that the tool has anything but a message for: a client of another
        // version looks at the version before the class.
        assert_eq!(failure.classes[0], "java.lang.RuntimeException", "{name}");
    }
    for head in [[0, 0x40, 0, 1, 8, 1], [0, 0xFF, 0xFF, 0xFF, 8, 1], [0, 0, 0, 0, 8, 1]] {
        let answer = three.answer(&head, false).await;
        let message = failure(&answer).and_then(|failure| failure.message).unwrap_or_default();
        assert!(message.contains("a frame of"), "{head:x?}: {message}");
    }
    // Longer than any request, in one frame and in many: not waited for to its end.
    three.answer(&[&[0, 0x3F, 0, 0, 8, 1][..], &[1; 100]].concat(), false).await;
    three
        .answer(
            &[0, 0, 0, 0x12, 9, 1]
                .iter()
                .chain(&[1; 16])
                .copied()
                .cycle()
                .take(2000)
                .collect::<Vec<_>>(),
            false,
        )
        .await;
    three.is_well().await;
}

/// Claim: nothing of a database of a later version is sent in the protocol of 3.0, nor is a copy of it begun. Method:
/// the files of a real server of 5.26, of which the service can read no logs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_version_is_none_of_the_protocols() {
    let data = tempfile::tempdir().unwrap();
    let from = fixture("5.26.30/mixed/databases");
    let copied = std::process::Command::new("cp").arg("-r").arg(from).arg(data.path()).status();
    assert!(copied.unwrap().success());
    std::fs::remove_dir_all(data.path().join("databases/system")).ok();
    let installation = Installation::from_data(data.path()).unwrap();
    let service = serve(&Arc::new(Synthetic::small()), |config| {
        config.catalog = Arc::new(installation);
    })
    .await;
    let three = Three { service, data };
    for name in ["full", "incremental-1"] {
        let answer = three.answer(&captured(&format!("{name}.request")), true).await;
        let message = failure(&answer).and_then(|failure| failure.message).unwrap_or_default();
        assert!(message.contains("not one of Neo4j 3.0"), "{name}: {message:?}");
    }
}

/// Claim: a request that is cut off at any byte ends the connection, and no more: at once where the
/// client closes it, and after the time that a request may take to arrive where it does not.
/// Method: each length of a captured request; a few that are held open, and one that comes byte by
/// byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_cut_off() {
    let three = Three::serve("3.0.0/mixed", |config| {
        config.limits.arrival_timeout = SHORT;
    })
    .await;
    let request = captured("full.request");
    for cut in 1..request.len() {
        assert!(three.answer(&request[..cut], true).await.is_empty(), "{cut} bytes");
    }
    for cut in [1, 3, 4, 6, 7, request.len() - 1] {
        assert!(three.answer(&request[..cut], false).await.is_empty(), "{cut} bytes");
    }
    let mut stream = three.connect().await;
    for byte in &request {
        // Each byte comes long before the time is over, all of them long after.
        tokio::time::sleep(SHORT / 5).await;
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("closed");
    assert!(answer.is_empty(), "a request that took too long is answered");
    three.is_well().await;
}

/// Claim: a client that does not read its answer is dropped, and its place is free again. Method: a
/// store file that is larger than what sockets hold; room for one connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_reads() {
    let three = Three::serve("3.0.0/mixed", |config| {
        config.limits.stall_timeout = SHORT;
        config.limits.max_connections = 1;
    })
    .await;
    let store = std::fs::File::options().write(true).open(three.path(STORE)).unwrap();
    store.set_len(LARGE_BYTES).unwrap();
    let mut stream = three.connect().await;
    stream.write_all(&captured("full.request")).await.unwrap();
    // It waits until there is room.
    three.is_well().await;
    let (mut answer, mut buffer) = (0, vec![0; 1 << 20]);
    while let Ok(read @ 1..) = timeout(SOON, stream.read(&mut buffer)).await.expect("closed") {
        answer += read as u64;
    }
    assert!(answer < LARGE_BYTES, "all of it came");
}

/// A service that is told to stop goes on with a copy that has begun, within the grace time, and begins
/// no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_ended_before_the_service_stops() {
    let mut three = Three::serve("3.0.0/mixed", |_| {}).await;
    let store = std::fs::File::options().write(true).open(three.path(STORE)).unwrap();
    store.set_len(LARGE_BYTES).unwrap();
    let (mut copy, mut late) = (three.connect().await, three.connect().await);
    copy.write_all(&captured("full.request")).await.unwrap();
    let (mut bytes, mut said) = (vec![0; 1 << 20], vec![0; 4096]);
    let mut length = timeout(SOON, copy.read(&mut bytes)).await.expect("in time").unwrap();
    three.service.stop_now();
    // Until the service knows.
    loop {
        late.write_all(&captured("incremental-1.request")).await.unwrap();
        let read = timeout(SOON, late.read(&mut said)).await.expect("answered").unwrap();
        if failure(&said[..read]).is_some_and(|it| it.to_string().contains("is stopping")) {
            break;
        }
    }
    // Longer than connections are given that nothing waits for.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (mut decoder, mut ended) = (ResponseDecoder::new(Expected::Full), false);
    while !ended {
        let mut input = &bytes[..length];
        while let Some(event) = decoder.next(&mut input).unwrap() {
            ended |= matches!(event, Event::End);
        }
        if !ended {
            length = timeout(SOON, copy.read(&mut bytes)).await.expect("in time").unwrap();
            assert!(length > 0, "it was cut off");
        }
    }
    assert!(timeout(SOON, three.service.task).await.expect("stopped").unwrap().is_ok());
}
