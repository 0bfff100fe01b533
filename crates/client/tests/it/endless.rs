//! Answers in Neo4j 3.0's protocol that have no end.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use client::{CopyReport, Error, Sink, SinkError};
use wire::api::{ErrorCode, FileInfo};
use wire::v3_0::{Expected, Request};

use crate::captures::{Taken, captured};
use crate::v3_0::{SOON, client, code, is_broken, serve_with};

/// A disk of that size; the server is never so much further.
const DISK_BYTES: u64 = 24 << 20;
const AHEAD_BYTES: u64 = 6 << 20;

/// Counts what it is given, and is full at some time.
#[derive(Default)]
struct Disk {
    bytes: AtomicU64,
}

impl Sink for Disk {
    fn create(&self, _: &FileInfo) -> Result<(), SinkError> {
        Err("its length is not known".into())
    }
    fn create_unsized(&self, _: &FileInfo) -> Result<(), SinkError> {
        Ok(())
    }
    fn write_at(&self, _: u32, _: u64, bytes: &[u8]) -> Result<(), SinkError> {
        let had = self.bytes.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        if had > DISK_BYTES { Err("the disk is full".into()) } else { Ok(()) }
    }
    fn block(&self, _: u32, _: u64, _: [u8; 32]) -> Result<(), SinkError> {
        Ok(())
    }
    fn complete(&self, _: u32, _: u64) -> Result<(), SinkError> {
        Ok(())
    }
    fn discard(&self, _: u32) -> Result<(), SinkError> {
        Ok(())
    }
}

/// What a full response begins with, and what comes again and again.
struct Endless {
    begin: Vec<u8>,
    /// Called with a number that grows.
    more: Box<dyn Fn(u64) -> Vec<u8> + Send + Sync>,
}

impl Endless {
    fn new(begin: Vec<u8>, more: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self { begin, more: Box::new(more) }
    }

    /// Sends until the client has gone, but never far ahead of what is on the disk; whether it has
    /// waited for that in vain.
    fn send(&self, stream: &mut TcpStream, disk: &Disk) -> bool {
        let mut sent = self.begin.len() as u64;
        if stream.write_all(&framed(&self.begin)).is_err() {
            return false;
        }
        for number in 0.. {
            let body = (self.more)(number);
            sent += body.len() as u64;
            let deadline = Instant::now() + SOON / 2;
            while sent > disk.bytes.load(Ordering::SeqCst) + AHEAD_BYTES {
                if Instant::now() > deadline {
                    return true;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            if stream.write_all(&framed(&body)).is_err() {
                return false;
            }
        }
        false
    }
}

/// A frame behind which another one is said to follow.
fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 2).unwrap();
    [&length.to_be_bytes()[..], &[9, 1], body].concat()
}

/// What a client makes of it, and whether it kept what it did not write.
async fn copy(endless: Endless) -> (Result<CopyReport, Error>, bool) {
    let (disk, has_waited) = (Arc::new(Disk::default()), Arc::new(AtomicBool::new(false)));
    let (served, told) = (Arc::clone(&disk), Arc::clone(&has_waited));
    let address: SocketAddr = serve_with(move |request, stream| {
        if !matches!(request, Request::Full { .. }) {
            let _ = stream.write_all(&captured("incremental-0.response"));
            return true;
        }
        told.fetch_or(endless.send(stream, &served), Ordering::SeqCst);
        false
    });
    let sink: Arc<dyn Sink> = disk;
    let client = client(address);
    let copied = tokio::time::timeout(SOON, client.full("graph.db", sink, Arc::new(()))).await;
    (copied.expect("in time"), has_waited.load(Ordering::SeqCst))
}

/// What a captured full response has before its transactions, without its head.
fn before_transactions() -> Vec<u8> {
    let all = captured("full-with-transactions.response");
    let transactions = Taken::of("full-with-transactions", Expected::Full).transactions;
    all[6..all.len() - transactions.len()].to_vec()
}

fn file(path: &str) -> Vec<u8> {
    let units: Vec<u16> = path.encode_utf16().collect();
    let length = u16::try_from(units.len()).unwrap();
    std::iter::once(length).chain(units).flat_map(u16::to_be_bytes).collect()
}

/// Claim: a file, transactions and one transaction without end need no memory that grows: they go
/// to the disk as they come, until it is full. Method: a server that sends on only when the disk
/// has all but a few MiB of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_to_the_disk() {
    let mut begin = file("neostore.nodestore.db");
    begin.push(1);
    let block = [&[0][..], &[7; 255]].concat();
    let endless_file = Endless::new(begin, move |_| block.repeat(256));

    let transaction = Taken::of("incremental-1", Expected::Incremental).transactions;
    let (start, commit) = transaction.split_at(transaction.len() - 18);
    let (start, commit) = (start.to_vec(), commit.to_vec());
    let head = start[..2 + 24 + 4 + 8].to_vec();
    // Behind its version and type: the id.
    let transactions = Endless::new(before_transactions(), move |number| {
        let transaction = |index| {
            let id: u64 = 20 + number * 200 + index;
            [&start, &commit[..2], &id.to_be_bytes(), &commit[10..]].concat()
        };
        (0..200).flat_map(transaction).collect()
    });

    // Counts of nodes: label, difference.
    let command = [&[0xFA, 3, 17][..], &[0; 12]].concat();
    let begin = [before_transactions(), head].concat();
    let one_transaction = Endless::new(begin, move |_| command.repeat(4000));

    for endless in [endless_file, transactions, one_transaction] {
        let (copied, has_waited) = copy(endless).await;
        assert!(matches!(copied, Err(Error::Sink(_))), "{copied:?}");
        assert!(!has_waited, "what came is kept in memory");
    }
}

/// Claim: files, empty frames and an exception without end are refused at some time. Method: names that all are
/// different; an exception as servers send it to clients of another version, which no frame marks
/// as the last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_a_limit() {
    let first = || [file("neostore.nodestore.db"), vec![0]].concat();
    let names = Endless::new(first(), |number| {
        let name = |index| file(&format!("index/lucene/node/a/{}", number * 1000 + index));
        (0..1000).flat_map(|index| [name(index), vec![0]].concat()).collect()
    });
    // Nothing goes to the disk, and the server does not wait for it until then.
    let (copied, _) = copy(names).await;
    is_broken(&copied, "more than 100000 files");

    let (copied, _) = copy(Endless::new(first(), |_| Vec::new())).await;
    is_broken(&copied, "a frame of 2 bytes");

    let exception = Endless::new(vec![0xAC, 0xED, 0, 5, 0x73], |_| vec![0x72; 1 << 16]);
    let (copied, _) = copy(exception).await;
    assert_eq!(code(&copied), Some(ErrorCode::SourceUnreadable), "{copied:?}");
}
