//! What keeps a connection open: requests, not bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::start::{Running, serve};
use crate::synthetic::Synthetic;

const IDLE: Duration = Duration::from_millis(600);
const PING: u8 = 6;
const ACK: u8 = 1;

/// A service that pings HTTP/2 clients often. Headers would have less time than there is between
/// the requests of these tests.
async fn impatient(pings_ms: u64) -> Running {
    serve(&Arc::new(Synthetic::small()), |config| {
        config.limits.arrival_timeout = Duration::from_millis(100);
        config.limits.stall_timeout = Duration::from_millis(pings_ms);
        config.limits.idle_timeout = IDLE;
    })
    .await
}

/// Just enough of HTTP/2.
struct Http2(TcpStream);

impl Http2 {
    async fn connect(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut connection = Self(stream);
        connection.send(4, 0, 0, &[]).await.unwrap();
        connection
    }

    async fn send(&mut self, kind: u8, flags: u8, id: u8, body: &[u8]) -> std::io::Result<()> {
        let length = u8::try_from(body.len()).unwrap();
        self.0.write_all(&[&[0, 0, length, kind, flags, 0, 0, 0, id], body].concat()).await
    }

    /// Answers pings and settings until a stream ends, or for some time; whether the connection is
    /// still open.
    async fn acknowledge(&mut self, until_end_of: Option<u8>, time: Duration) -> bool {
        let reading = async {
            loop {
                let mut head = [0; 9];
                self.0.read_exact(&mut head).await?;
                let [_, high, low, kind, flags, _, _, _, id] = head;
                let mut body = vec![0; usize::from(high) << 8 | usize::from(low)];
                self.0.read_exact(&mut body).await?;
                if matches!(kind, 4 | PING) && flags & ACK == 0 {
                    let body = if kind == PING { &body[..] } else { &[] };
                    self.send(kind, ACK, 0, body).await?;
                }
                if kind <= 1 && flags & 1 == 1 && Some(id) == until_end_of {
                    return std::io::Result::Ok(());
                }
            }
        };
        match tokio::time::timeout(time, reading).await {
            Ok(Ok(())) => true,
            Ok(Err(_)) => false,
            Err(_) => until_end_of.is_none(),
        }
    }

    /// `GET /`; whether it is answered.
    async fn ask(&mut self, id: u8) -> bool {
        let header = [0x82, 0x86, 0x84, 0x41, 1, b'x'];
        self.send(1, 5, id, &header).await.is_ok()
            && self.acknowledge(Some(id), Duration::from_secs(5)).await
    }
}

/// A client that answers pings and never asks, one that sends pings itself, and one that has asked
/// once: all are dropped when their time is over, and not before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_keep_no_connection() {
    let service = impatient(100).await;
    for (asks, pings) in [(false, false), (false, true), (true, true)] {
        let mut connection = Http2::connect(service.address).await;
        if asks {
            assert!(connection.ask(1).await);
        }
        let begun = Instant::now();
        while connection.acknowledge(None, Duration::from_millis(20)).await {
            assert!(begun.elapsed() < 5 * IDLE, "asks {asks}, pings {pings}: it stays");
            if pings {
                let _ = connection.send(PING, 0, 0, &[7; 8]).await;
            }
        }
        assert!(begun.elapsed() > IDLE / 2, "asks {asks}, pings {pings}: {:?}", begun.elapsed());
    }
}

/// Who asks now and then stays connected for longer than the idle time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asking_now_and_then_keeps_it() {
    let service = impatient(100).await;
    let mut two = Http2::connect(service.address).await;
    let mut one = TcpStream::connect(service.address).await.unwrap();
    for number in 0..5 {
        assert!(two.acknowledge(None, IDLE / 2).await, "HTTP/2 {number}");
        assert!(two.ask(2 * number + 1).await, "HTTP/2 {number}");
        one.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 4096];
        let read = one.read(&mut answer).await.unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "HTTP/1 {number}: {read} bytes");
    }
}

/// An answer that is taken slowly is a request that is being answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_answer_keeps_it() {
    let service = impatient(5000).await;
    let session = service.open().await;
    let mut stream = TcpStream::connect(service.address).await.unwrap();
    let request = format!("GET {session}/files/6 HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = vec![0; 1 << 20];
    let begun = Instant::now();
    while begun.elapsed() < 3 * IDLE {
        tokio::time::sleep(Duration::from_millis(50)).await;
        stream.read_exact(&mut bytes).await.expect("it goes on");
    }
}
