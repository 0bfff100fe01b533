//! How long the client waits for what does not come, and what it calls that.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use client::{Client, Error, Protocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::hostile::{Next, Tamper, proxy, quick};
use crate::kit::{Memory, options, serve};
use crate::synthetic::Synthetic;

/// No answer of these tests may take longer.
const SOON: Duration = Duration::from_secs(5);

/// Begins to answer with these bytes, then sends a space now and then, for ever.
async fn dripping(head: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let mut written = stream.write_all(head.as_bytes()).await;
                while written.is_ok() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    written = stream.write_all(b" ").await;
                }
            });
        }
    });
    address
}

/// First contact ends soon, whether nothing comes or a byte now and then: within a header, an
/// answer, or a refusal.
#[tokio::test]
async fn first_contact_is_bounded() {
    for head in [
        "HTTP/1.1 200 OK\r\nx:",
        "HTTP/1.1 200 OK\r\nneo4j-backup-api: 1\r\ncontent-length: 9999999\r\n\r\n",
        "HTTP/1.1 500 No\r\nneo4j-backup-api: 1\r\ncontent-length: 9999\r\n\r\n",
    ] {
        let mut options = options(dripping(head).await);
        options.contact_timeout = Duration::from_millis(300);
        options.answer_timeout = Duration::from_millis(600);
        let client = Client::new(options).unwrap();
        let listed = tokio::time::timeout(SOON, client.databases()).await;
        let error = listed.expect(head).unwrap_err();
        assert!(matches!(error, Error::NotOurService { .. }), "{head:?}: {error:?}");
    }
    // Whoever would speak 3.0's protocol, were he asked for nothing else.
    let mut options = crate::kit::options(dripping("\0\0\0\u{20}\u{8}\u{1}").await);
    options.contact_timeout = Duration::from_millis(300);
    options.answer_timeout = Duration::from_millis(600);
    options.protocol = Protocol::V3_0;
    let client = Client::new(options).unwrap();
    let listed = tokio::time::timeout(SOON, client.databases()).await;
    let error = listed.expect("in time").unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
    // Nothing at all: the shorter of the two limits.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = crate::kit::options(listener.local_addr().unwrap());
    options.contact_timeout = Duration::from_millis(300);
    let client = Client::new(options).unwrap();
    let listed = tokio::time::timeout(SOON, client.databases()).await;
    let error = listed.expect("in time").unwrap_err();
    assert!(matches!(error, Error::NotOurService { .. }), "{error:?}");
}

/// Drops answers by their number: those that `broken` has are not passed on, but the connection is
/// broken, or nothing ever comes.
fn drops(broken: std::ops::Range<usize>, how: Next) -> Tamper {
    let answers = AtomicUsize::new(0);
    Arc::new(move |_, bytes| {
        if !broken.contains(&answers.fetch_add(1, Ordering::SeqCst)) {
            return Next::Pass;
        }
        bytes.clear();
        how
    })
}

/// A connection that breaks while a session is opened is tried again, once it is known that a
/// service is there; then it is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_is_tried_again() {
    let service = serve(&Arc::new(Synthetic::small()), |_| {}).await;
    let first = quick(proxy(service.address, drops(0..9, Next::Break)).await);
    let error = first.open("neo4j").await.map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::NotOurService { .. }), "{error:?}");

    let client = quick(proxy(service.address, drops(1..3, Next::Break)).await);
    client.databases().await.unwrap();
    client.open("neo4j").await.unwrap().close().await;

    let client = quick(proxy(service.address, drops(1..usize::MAX, Next::Break)).await);
    client.databases().await.unwrap();
    let error = client.open("neo4j").await.map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
}

/// A service that has answered and is not there any more went away: for all that is asked then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_went_away() {
    let service = serve(&Arc::new(Synthetic::small()), |_| {}).await;
    let client = quick(service.address);
    client.databases().await.unwrap();
    service.task.abort();
    let _ = service.task.await;
    let error = client.open("neo4j").await.map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
    let error = client.databases().await.unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
}

/// `begin` and `finish` have their own limits, which hold over all tries together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beginning_and_finishing_are_bounded() {
    let mut knobs = Synthetic::small();
    knobs.files.clear();
    let service = serve(&Arc::new(knobs), |_| {}).await;
    let waiting = async |tamper| {
        let mut options = options(proxy(service.address, tamper).await);
        options.begin_timeout = Duration::from_millis(400);
        options.finish_timeout = Duration::from_millis(500);
        options.retry_for = Duration::from_millis(300);
        let client = Client::new(options).unwrap();
        client.databases().await.unwrap();
        let begun = Instant::now();
        let copied = client.full("neo4j", Arc::new(Memory::default()), Arc::new(()));
        let error = tokio::time::timeout(SOON, copied).await.expect("in time").unwrap_err();
        assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
        begun.elapsed()
    };
    let begin = waiting(drops(1..usize::MAX, Next::Stall)).await;
    assert!((400..1500).contains(&begin.as_millis()), "{begin:?}");
    let finish = waiting(drops(2..usize::MAX, Next::Stall)).await;
    assert!(finish.as_millis() >= 500, "{finish:?}");
}
