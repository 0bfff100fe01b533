//! A server that speaks Neo4j 3.0's protocol, and what our client makes of what it says.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::{Client, CopyReport, Error, Protocol, Sink, SinkError};
use formats::txlog::{Batch, BatchReader};
use formats::v3_0::{LOG_BYTES_MAX, Neostore};
use formats::{LogPosition, TxId};
use wire::api::{After, ErrorCode, FileInfo, LastTx};
use wire::v3_0::{Encoder, Failure, Request, RequestDecoder};

use crate::kit::{Memory, options};

pub const SOON: Duration = Duration::from_secs(20);

/// The list of legacy indexes.
const LIST: &str = "index.db";

/// A real database of 3.0.0, as one that is served.
struct Store {
    dir: PathBuf,
    neostore: Vec<u8>,
    log: Vec<u8>,
    batches: Vec<Batch>,
    /// What a full copy has, in its order.
    names: Vec<&'static str>,
}

impl Store {
    fn new() -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../fixtures/3.0.0/mixed/databases/graph.db");
        let neostore = std::fs::read(dir.join("neostore")).unwrap();
        let log = std::fs::read(dir.join("neostore.transaction.db.0")).unwrap();
        let mut reader = BatchReader::new(&log[16..], 16);
        let batches = std::iter::from_fn(|| reader.next_batch().unwrap()).collect();
        let names = vec!["neostore.nodestore.db", LIST, "neostore.counts.db.a", "neostore"];
        Self { dir, neostore, log, batches, names }
    }

    fn last(&self) -> TxId {
        self.batches.last().unwrap().tx_id
    }

    /// The bytes of the transactions with these ids.
    fn bytes(&self, ids: impl IntoIterator<Item = u64>) -> Vec<u8> {
        let find = |id| self.batches.iter().find(|batch| batch.tx_id == TxId(id)).unwrap();
        let bytes = |batch: &Batch| &self.log[batch.start as usize..batch.end as usize];
        ids.into_iter().flat_map(|id| bytes(find(id)).to_vec()).collect()
    }

    fn store_id(&self) -> [u8; 40] {
        Neostore::encode_store_id(&Neostore::decode(&self.neostore).unwrap().store_id()).unwrap()
    }

    fn files(&self, encoder: &mut Encoder) {
        for name in &self.names {
            assert!(encoder.file(name));
            // Where it has another name here, what is in it does not matter.
            encoder.data(&std::fs::read(self.dir.join(name)).unwrap_or_default());
            encoder.file_end();
        }
        encoder.files_end();
    }

    fn full(&self, transactions: &[u8]) -> Vec<u8> {
        let mut encoder = Encoder::new();
        self.files(&mut encoder);
        encoder.store_id(&self.store_id());
        encoder.transactions(transactions);
        encoder.finish().to_vec()
    }

    fn incremental(&self, transactions: &[u8]) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.store_id(&self.store_id());
        encoder.transactions(transactions);
        encoder.finish().to_vec()
    }

    /// As an honest server answers.
    fn honest(&self, request: Request, checkpoint: u64) -> Vec<u8> {
        match request {
            Request::Full { .. } => self.full(&self.bytes(checkpoint + 1..=self.last().0)),
            Request::Incremental { last_tx_id: ..=0 } => self.incremental(&[]),
            Request::Incremental { last_tx_id } => {
                self.incremental(&self.bytes(last_tx_id as u64 + 1..=self.last().0))
            }
        }
    }

    /// What a backup ends with whose last transaction that is, at offset 1000 of its log.
    fn after(&self, tx_id: u64) -> After {
        let batch = self.batches.iter().find(|batch| batch.tx_id == TxId(tx_id)).unwrap();
        let end = LogPosition {
            version: formats::LogVersion(0),
            offset_bytes: 1000 + batch.end - batch.start,
        };
        let last_tx = LastTx {
            tx_id: batch.tx_id,
            checksum: batch.checksum,
            commit_time: batch.commit_time,
            start_bytes: Some(1000),
            end,
        };
        let store_id = Neostore::decode(&self.neostore).unwrap().store_id();
        After { store_id, external_uuid: None, last_tx }
    }
}

/// Serves every connection; requests and answers stay on it.
pub fn serve(answer: impl Fn(Request) -> Vec<u8> + Send + Sync + 'static) -> SocketAddr {
    serve_with(move |request, stream| {
        // It may have heard enough.
        let _ = stream.write_all(&answer(request));
        true
    })
}

/// Serves every connection; whether it stays open, whoever answers says.
pub fn serve_with(
    answer: impl Fn(Request, &mut TcpStream) -> bool + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || {
                let (mut decoder, mut buffer) = (RequestDecoder::new(), [0; 1024]);
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    let mut input = &buffer[..read];
                    while let Ok(Some(request)) = decoder.next(&mut input) {
                        if !answer(request, &mut stream) {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

pub fn client(address: SocketAddr) -> Client {
    let mut options = options(address);
    options.protocol = Protocol::Auto;
    Client::new(options).unwrap()
}

pub async fn full(address: SocketAddr) -> (Result<CopyReport, Error>, Arc<Memory>) {
    let kept = Arc::new(Memory::default());
    let sink: Arc<dyn Sink> = Arc::<Memory>::clone(&kept);
    let client = client(address);
    let copied = tokio::time::timeout(SOON, client.full("graph.db", sink, Arc::new(())));
    (copied.await.expect("in time"), kept)
}

/// Takes a log from some offset on.
struct Log {
    start: u64,
    bytes: Mutex<Vec<u8>>,
}

impl Sink for Log {
    fn create(&self, _: &FileInfo) -> Result<(), SinkError> {
        Err("its length is not known".into())
    }
    fn create_unsized(&self, file: &FileInfo) -> Result<(), SinkError> {
        assert_eq!(file.path, "neostore.transaction.db.0");
        Ok(())
    }
    fn write_at(&self, _: u32, offset_bytes: u64, bytes: &[u8]) -> Result<(), SinkError> {
        let mut log = self.bytes.lock().unwrap();
        assert_eq!(offset_bytes, self.start + log.len() as u64);
        log.extend_from_slice(bytes);
        Ok(())
    }
    fn block(&self, _: u32, _: u64, _: [u8; 32]) -> Result<(), SinkError> {
        Err("the sink has the bytes before".into())
    }
    fn complete(&self, _: u32, size_bytes: u64) -> Result<(), SinkError> {
        assert_eq!(size_bytes, self.start + self.bytes.lock().unwrap().len() as u64);
        Ok(())
    }
    fn discard(&self, _: u32) -> Result<(), SinkError> {
        Err("nothing is to be discarded".into())
    }
}

pub async fn increment(address: SocketAddr, after: After) -> (Result<CopyReport, Error>, Vec<u8>) {
    let start = after.last_tx.start_bytes.unwrap();
    let kept = Arc::new(Log { start, bytes: Mutex::default() });
    let sink: Arc<dyn Sink> = Arc::<Log>::clone(&kept);
    let copied = async {
        let mut copy = client(address).open_after("graph.db", after).await?;
        copy.run(sink, Arc::new(())).await
    };
    let copied = tokio::time::timeout(SOON, copied).await.expect("in time");
    let log = kept.bytes.lock().unwrap().clone();
    (copied, log)
}

pub fn code(copied: &Result<CopyReport, Error>) -> Option<ErrorCode> {
    copied.as_ref().unwrap_err().remote_code()
}

pub fn is_broken(copied: &Result<CopyReport, Error>, what: &str) {
    let error = copied.as_ref().unwrap_err();
    let Error::Protocol(text) = error else { panic!("{error:?}") };
    assert!(text.contains(what), "{text}");
}

/// A copy has the files, and one log that begins with a check point to its own place and has every
/// transaction; counts that recovery could not go on from are left out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_copy() {
    let store = Arc::new(Store::new());
    let (last, checkpoint) = (store.last().0, store.last().0 - 5);
    let served = Arc::clone(&store);
    let (copied, kept) = full(serve(move |request| served.honest(request, checkpoint))).await;
    let report = copied.unwrap();
    assert_eq!(report.finished.last_tx.tx_id.0, last);
    assert_eq!(report.finished.transactions, 5);
    let files = kept.files.lock().unwrap();
    let log = files.values().find(|file| file.path == "neostore.transaction.db.0").unwrap();
    assert_eq!(log.bytes[34..], store.bytes(checkpoint + 1..=last));
    let mut beginning = vec![6, 0, 0, 0, 0, 0, 0, 0];
    beginning.extend(checkpoint.to_be_bytes());
    beginning.extend([0xFA, 7]);
    beginning.extend([0; 15]);
    beginning.push(16);
    assert_eq!(log.bytes[..34], beginning);
    assert_eq!(report.finished.last_tx.end.offset_bytes, log.bytes.len() as u64);
    assert_eq!(files.len(), report.finished.files.len());
    let named = report.finished.files.iter().map(|file| file.path.as_str());
    let left_out = report.left_out.iter().map(|file| file.path.as_str());
    assert!(named.chain(left_out).any(|path| path == "neostore.counts.db.a"));
}

/// A copy without transactions is believed of a server on which nothing happens, and takes its last
/// transaction along, unless no log of the server's has that any more; of a busy one it is the silent loss of what
/// was pruned meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_copy_without_transactions() {
    let store = Arc::new(Store::new());
    let last = Neostore::decode(&store.neostore).unwrap().last_tx_id.0;
    assert_eq!(last, store.last().0, "the fixture was stopped");
    let served = Arc::clone(&store);
    let (copied, _) = full(serve(move |request| served.honest(request, last))).await;
    let report = copied.unwrap();
    assert_eq!((report.finished.last_tx.tx_id.0, report.finished.transactions), (last, 1));

    // A slave of a cluster that has copied its store from the master.
    let served = Arc::clone(&store);
    let fresh = serve(move |request| match request {
        Request::Incremental { last_tx_id } if (1..last as i64).contains(&last_tx_id) => {
            Encoder::new().fail(&Failure::logs_pruned("no such")).to_vec()
        }
        other => served.honest(other, last),
    });
    let (copied, _) = full(fresh).await;
    let report = copied.unwrap();
    assert_eq!((report.finished.last_tx.tx_id.0, report.finished.transactions), (last, 0));
    assert_eq!(report.finished.last_tx.start_bytes, None);

    // More are there after the copy than before it, and all logs of before it are gone.
    let asked = Mutex::new(false);
    let served = Arc::clone(&store);
    let pruned = serve(move |request| match request {
        Request::Full { .. } => {
            *asked.lock().unwrap() = true;
            served.full(&[])
        }
        Request::Incremental { last_tx_id } if (1..=last as i64).contains(&last_tx_id) => {
            match (last_tx_id == last as i64, *asked.lock().unwrap()) {
                (true, false) => served.incremental(&[]),
                _ => Encoder::new().fail(&Failure::logs_pruned("no such")).to_vec(),
            }
        }
        other => served.honest(other, last),
    });
    let (copied, _) = full(pruned).await;
    assert_eq!(code(&copied), Some(ErrorCode::LogsPruned), "{copied:?}");

    // One more is there after the copy than before it.
    let asked = Mutex::new(false);
    let served = Arc::clone(&store);
    let busy = serve(move |request| match request {
        Request::Full { .. } => {
            *asked.lock().unwrap() = true;
            served.full(&[])
        }
        Request::Incremental { last_tx_id: ..=0 } => served.incremental(&[]),
        Request::Incremental { last_tx_id } => {
            let known = if *asked.lock().unwrap() { last } else { last - 1 };
            served.incremental(&served.bytes(last_tx_id as u64 + 1..=known))
        }
    });
    let (copied, _) = full(busy).await;
    assert_eq!(code(&copied), Some(ErrorCode::LogsPruned), "{copied:?}");
}

/// Transactions that end before what was committed when the files had come, as where a log is pruned while the one
/// before it is sent: the rest is asked for. Where that is gone, or is not what follows, nothing is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_copy_whose_transactions_end_early() {
    let store = Arc::new(Store::new());
    let last = store.last().0;
    let (checkpoint, end) = (last - 9, last - 5);
    let server = |rest: fn(&Store, u64) -> Vec<u8>| {
        let served = Arc::clone(&store);
        serve(move |request| match request {
            Request::Full { .. } => served.full(&served.bytes(checkpoint + 1..=end)),
            Request::Incremental { last_tx_id } if last_tx_id as u64 == end => rest(&served, end),
            other => served.honest(other, checkpoint),
        })
    };
    let rests: [fn(&Store, u64) -> Vec<u8>; 2] = [
        |store, end| store.incremental(&store.bytes(end + 1..=store.last().0)),
        // They end early once more.
        |store, end| store.incremental(&store.bytes(end + 1..=end + 2)),
    ];
    for rest in rests {
        let (copied, kept) = full(server(rest)).await;
        let finished = copied.unwrap().finished;
        assert_eq!((finished.last_tx.tx_id.0, finished.transactions), (last, last - checkpoint));
        let files = kept.files.lock().unwrap();
        let log = files.values().find(|file| file.path == "neostore.transaction.db.0").unwrap();
        assert_eq!(log.bytes[34..], store.bytes(checkpoint + 1..=last));
    }
    let pruned = |_: &Store, _| Encoder::new().fail(&Failure::logs_pruned("no such")).to_vec();
    let (copied, _) = full(server(pruned)).await;
    assert_eq!(code(&copied), Some(ErrorCode::LogsPruned), "{copied:?}");
    let (copied, _) = full(server(|store, end| store.incremental(&store.bytes([end + 2])))).await;
    is_broken(&copied, "after transaction");
}

/// Legacy indexes that come without their list, as from a server that is replacing it: not kept, and to be tried
/// again. Without either the copy is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn legacy_indexes_without_their_list() {
    for (name, is_whole) in [(None, true), (Some("index/lucene/node/names/_0.cfs"), false)] {
        let mut store = Store::new();
        store.names.retain(|name| *name != LIST);
        store.names.splice(0..0, name);
        let last = store.last().0;
        let store = Arc::new(store);
        let (copied, _) = full(serve(move |request| store.honest(request, last - 1))).await;
        match is_whole {
            true => drop(copied.unwrap()),
            false => assert_eq!(code(&copied), Some(ErrorCode::SourceUnusable), "{copied:?}"),
        }
    }
}

/// Transactions that are missing, that come twice or in another order, a last one that is cut off, a
/// check point or an empty entry among them: refused, never kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_that_cannot_be() {
    let store = Arc::new(Store::new());
    let last = store.last().0;
    let whole = store.bytes(last - 3..=last);
    let check_point = [&[0xFA, 7][..], &[0; 15], &[16]].concat();
    let mut with_check_point = store.bytes([last - 1]);
    with_check_point.extend(&check_point);
    with_check_point.extend(store.bytes([last]));
    for (transactions, what) in [
        (store.bytes([last - 3, last - 1, last]), "transaction id"),
        (store.bytes([last - 1, last - 1, last]), "transaction id"),
        (store.bytes([last, last - 1]), "transaction id"),
        (whole[..whole.len() - 1].to_vec(), "after transaction"),
        (with_check_point, "a check point before"),
        ([store.bytes([last]), check_point].concat(), "a check point behind"),
        ([store.bytes([last]), vec![0; 30]].concat(), "an empty entry"),
        ([store.bytes([last]), vec![0x55; 30]].concat(), "after transaction"),
    ] {
        let served = Arc::clone(&store);
        let sent = transactions.clone();
        let address = serve(move |request| match request {
            Request::Full { .. } => served.full(&sent),
            other => served.honest(other, last),
        });
        let (copied, _) = full(address).await;
        is_broken(&copied, what);
        let served = Arc::clone(&store);
        let address = serve(move |request| match request {
            Request::Incremental { last_tx_id: 1.. } => served.incremental(&transactions),
            other => served.honest(other, last),
        });
        let first = if what == "a check point before" { last - 1 } else { last };
        let (copied, _) = increment(address, store.after(first)).await;
        assert!(copied.is_err(), "{what}: {copied:?}");
    }
}

/// An increment goes on from the backup's last transaction, which comes again; one that has another
/// checksum, or none where it should be, is another history.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_increment() {
    let store = Arc::new(Store::new());
    let last = store.last().0;
    let served = Arc::clone(&store);
    let honest = serve(move |request| served.honest(request, last));
    let (copied, log) = increment(honest, store.after(last - 3)).await;
    let report = copied.unwrap();
    assert_eq!((report.finished.last_tx.tx_id.0, report.finished.transactions), (last, 3));
    assert_eq!(log, store.bytes(last - 3..=last));
    // Nothing new.
    let (copied, _) = increment(honest, store.after(last)).await;
    assert_eq!(copied.unwrap().finished.last_tx, store.after(last).last_tx);

    let mut other = store.after(last - 3);
    other.last_tx.checksum.0 ^= 1;
    let (copied, log) = increment(honest, other).await;
    assert_eq!(code(&copied), Some(ErrorCode::Diverged), "{copied:?}");
    assert!(log.is_empty());
    let mut ahead = store.after(last);
    ahead.last_tx.tx_id = TxId(last + 1);
    let (copied, _) = increment(honest, ahead).await;
    assert_eq!(code(&copied), Some(ErrorCode::Diverged), "{copied:?}");
    let mut of_another = store.after(last);
    of_another.store_id.random ^= 1;
    let (copied, _) = increment(honest, of_another).await;
    assert_eq!(code(&copied), Some(ErrorCode::OtherStore), "{copied:?}");
}

/// An increment that would make the backup's log too long is a reason for a new full backup, but not of another history,
/// which shows in what comes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_increment_that_is_too_long() {
    let store = Arc::new(Store::new());
    let last = store.last().0;
    let served = Arc::clone(&store);
    let honest = serve(move |request| served.honest(request, last));
    let mut after = store.after(last - 3);
    after.last_tx.start_bytes = Some(LOG_BYTES_MAX - 1);
    let (copied, _) = increment(honest, after.clone()).await;
    assert_eq!(code(&copied), Some(ErrorCode::LogsPruned), "{copied:?}");
    after.last_tx.checksum.0 ^= 1;
    let (copied, _) = increment(honest, after).await;
    assert_eq!(code(&copied), Some(ErrorCode::Diverged), "{copied:?}");
}

/// Failures of the server's, wherever they come; what is no such protocol; names that lead elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures() {
    let store = Arc::new(Store::new());
    let last = store.last().0;
    let served = Arc::clone(&store);
    let pruned = serve(move |request| match request {
        Request::Incremental { last_tx_id: 1.. } => {
            Encoder::new().fail(&Failure::logs_pruned("no such")).to_vec()
        }
        other => served.honest(other, last),
    });
    let (copied, _) = increment(pruned, store.after(last)).await;
    assert_eq!(code(&copied), Some(ErrorCode::LogsPruned), "{copied:?}");

    let long = concat!(
        "index/lucene/node/a/",
        "0123456789012345678901234567890123456789012345678901234567890123",
        "0123456789012345678901234567890123456789012345678901234567890123",
        "0123456789012345678901234567890123456789012345678901234567890123",
        "0123456789012345678901234567890123456789012345678901234567890123",
    );
    for path in [
        "../neostore",
        "/etc/passwd",
        "index/lucene/node/../../x",
        "index/lucene/node/a/..",
        r"index\lucene\node\..\..\..\x",
        "index/lucene/node/a\0/x",
        "index/lucene/node//x",
        "index/lucene/node/a/b/c",
        "neostore\n",
        "other",
        "logs/x",
        "store_lock",
        // Our own log.
        "neostore.transaction.db.0",
        // It comes once more.
        "neostore",
        long,
    ] {
        let served = Arc::clone(&store);
        let address = serve(move |request| match request {
            Request::Full { .. } => {
                let mut encoder = Encoder::new();
                assert!(encoder.file(path));
                encoder.file_end();
                served.files(&mut encoder);
                encoder.store_id(&served.store_id());
                encoder.finish().to_vec()
            }
            other => served.honest(other, last),
        });
        let (copied, _) = full(address).await;
        assert!(matches!(copied, Err(Error::Protocol(_))), "{path}: {copied:?}");
    }

    let served = Arc::clone(&store);
    let fails = serve(move |request| match request {
        Request::Full { .. } => {
            let mut encoder = Encoder::new();
            served.files(&mut encoder);
            encoder.fail(&Failure::other("an index is gone")).to_vec()
        }
        other => served.honest(other, last),
    });
    let (copied, _) = full(fails).await;
    assert_eq!(code(&copied), Some(ErrorCode::SourceUnreadable), "{copied:?}");
}
