//! What our client makes of what a real server of Neo4j 3.0 said to the original tool, whole and
//! damaged; see `fixtures/3.0.0/captures`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use client::Error;
use formats::txlog::{Batch, BatchReader};
use formats::v3_0::Neostore;
use formats::{LogPosition, LogVersion};
use wire::api::{After, ErrorCode, LastTx};
use wire::v3_0::{Event, Expected, Request, ResponseDecoder};

use crate::v3_0::{code, full, increment, is_broken, serve, serve_with};

const HEAD_BYTES: usize = 6;
/// Where a backup's log has a header and a check point behind it.
const LOG_START_BYTES: usize = 34;

pub fn captured(name: &str) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/3.0.0/captures");
    std::fs::read(dir.join(name)).unwrap()
}

fn response(name: &str) -> Vec<u8> {
    captured(&format!("{name}.response"))
}

/// A response taken apart.
#[derive(Default)]
pub struct Taken {
    files: BTreeMap<String, Vec<u8>>,
    pub store_id: Vec<u8>,
    pub transactions: Vec<u8>,
}

impl Taken {
    pub fn of(name: &str, expected: Expected) -> Self {
        let (all, mut taken, mut path) = (response(name), Self::default(), String::new());
        let (mut decoder, mut input) = (ResponseDecoder::new(expected), all.as_slice());
        while let Some(event) = decoder.next(&mut input).unwrap() {
            match event {
                Event::File { path: file } => {
                    path.clone_from(&file);
                    taken.files.insert(file, Vec::new());
                }
                Event::Data(bytes) => taken.files.get_mut(&path).unwrap().extend(bytes),
                Event::StoreId(id) => taken.store_id.extend(id),
                Event::Transactions(bytes) => taken.transactions.extend(bytes),
                Event::FileEnd | Event::End => {}
                Event::Failure(failure) => panic!("{failure}"),
            }
        }
        taken
    }

    fn batches(&self) -> Vec<Batch> {
        let mut reader = BatchReader::new(self.transactions.as_slice(), 0);
        std::iter::from_fn(|| reader.next_batch().unwrap()).collect()
    }

    /// What a backup ends with that has the first of them, at offset 1000 of its log.
    fn after_first(&self) -> After {
        let first = self.batches()[0];
        let version = LogVersion(0);
        let last_tx = LastTx {
            tx_id: first.tx_id,
            checksum: first.checksum,
            commit_time: first.commit_time,
            start_bytes: Some(1000),
            end: LogPosition { version, offset_bytes: 1000 + first.end },
        };
        let store_id = self.store_id.first_chunk().unwrap();
        let store_id = Neostore::decode_store_id(store_id).unwrap();
        After { store_id, external_uuid: None, last_tx }
    }
}

/// Answers with what was captured: `full` to a full request; nothing is behind its last
/// transaction, the logs before the one before it are pruned, and what is behind that one is in
/// `incremental-from-last`.
fn replay(full: &'static str, last: u64) -> SocketAddr {
    let from_last = captured("incremental-from-last.request");
    serve(move |request| {
        response(match request {
            Request::Full { .. } => full,
            Request::Incremental { last_tx_id: ..=0 } => "store-id",
            _ if request.encode() == from_last => "incremental-from-last",
            Request::Incremental { last_tx_id } if last_tx_id as u64 >= last => "incremental-0",
            Request::Incremental { .. } => "logs-pruned",
        })
    })
}

/// Claim: from a real server's own bytes comes a backup with its files and transactions, and an
/// increment goes on with it. Method: a server that replays captures; full copies with and without
/// transactions behind them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_copy_and_an_increment() {
    for name in ["full-with-transactions", "full"] {
        let taken = Taken::of(name, Expected::Full);
        let neostore = Neostore::decode(&taken.files["neostore"]).unwrap();
        let last = taken.batches().last().map_or(neostore.last_tx_id, |last| last.tx_id);
        let server = replay(name, last.0);
        let (copied, kept) = full(server).await;
        let report = copied.unwrap();
        assert_eq!(report.finished.last_tx.tx_id, last, "{name}");
        assert_eq!(report.finished.transactions, taken.batches().len() as u64, "{name}");
        let files = kept.files.lock().unwrap().clone();
        let mut left: BTreeMap<_, _> =
            files.values().map(|file| (file.path.clone(), file.bytes.clone())).collect();
        let log = left.remove("neostore.transaction.db.0").unwrap();
        assert_eq!(log[LOG_START_BYTES..], taken.transactions, "{name}");
        let mut wanted = taken.files;
        for file in &report.left_out {
            assert!(file.path.starts_with("neostore.counts.db."), "{file:?}");
            wanted.remove(&file.path).unwrap();
        }
        assert!(left == wanted, "{name}: {:?}, {:?}", left.keys(), wanted.keys());
        assert!(wanted.keys().any(|path| path.contains("Gr\u{f6}\u{df}e")), "{name}");

        let after = After {
            store_id: report.session.store_id,
            external_uuid: None,
            last_tx: report.finished.last_tx,
        };
        if name == "full" {
            // No transaction has come that could show that the history is the same.
            assert_eq!(report.finished.last_tx.start_bytes, None);
            continue;
        }
        let (copied, log) = increment(server, after).await;
        let behind = Taken::of("incremental-from-last", Expected::Incremental);
        assert_eq!(log, behind.transactions);
        let finished = copied.unwrap().finished;
        assert_eq!(finished.last_tx.tx_id, behind.batches().last().unwrap().tx_id);
        assert_eq!(finished.transactions, behind.batches().len() as u64 - 1);
    }
}

/// Claim: what our client asks for an increment is what the tool asks for, to the byte, and every
/// transaction that is answered is kept. Method: backups that end with the first transaction of a
/// captured answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments() {
    for name in ["incremental-1", "incremental-several", "incremental-from-last"] {
        let taken = Taken::of(name, Expected::Incremental);
        let (copied, log) =
            increment(answering(name, response(name), true), taken.after_first()).await;
        let (finished, batches) = (copied.unwrap().finished, taken.batches());
        assert_eq!(finished.last_tx.tx_id, batches.last().unwrap().tx_id, "{name}");
        assert_eq!(finished.transactions, batches.len() as u64 - 1, "{name}");
        assert!(log == taken.transactions, "{name}");
    }
}

/// Answers the one captured request with these bytes, and then stays there or not.
fn answering(name: &str, answer: Vec<u8>, stays: bool) -> SocketAddr {
    let (asked, nothing) = (captured(&format!("{name}.request")), response("store-id"));
    serve_with(move |request, stream| {
        let is_probe = matches!(request, Request::Incremental { last_tx_id: ..=0 });
        assert!(is_probe || request.encode() == asked, "{request:?}");
        // It may have heard enough.
        let _ = stream.write_all(if is_probe { &nothing } else { &answer });
        is_probe || stays
    })
}

/// Claim: what a server refuses or fails with is the error that it means, with its words. Method:
/// each captured failure as the answer to an increment and to a full request; another store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures() {
    let after = Taken::of("incremental-1", Expected::Incremental).after_first();
    for (name, expected, words) in [
        ("logs-pruned", Some(ErrorCode::LogsPruned), "Unable to find transaction"),
        ("bad-forensics", Some(ErrorCode::SourceUnreadable), "Invalid 'boolean' byte value 2"),
        ("short-request", Some(ErrorCode::SourceUnreadable), "Not enough readable bytes"),
        ("unknown-type", Some(ErrorCode::SourceUnreadable), "Index 2 out of bounds"),
        ("other-version", None, "Unexpected application protocol version 2"),
        ("other-internal-version", None, "Unexpected internal protocol version 3"),
    ] {
        let (copied, log) =
            increment(answering("incremental-1", response(name), true), after.clone()).await;
        assert!(log.is_empty());
        let served = serve(move |request| {
            let is_full = matches!(request, Request::Full { .. });
            response(if is_full { name } else { "incremental-0" })
        });
        for copied in [copied, full(served).await.0] {
            match expected {
                Some(expected) => assert_eq!(code(&copied), Some(expected), "{copied:?}"),
                None => is_broken(&copied, words),
            }
            assert!(copied.unwrap_err().to_string().contains(words), "{name}");
        }
    }
    let (copied, _) = increment(serve(|_| response("other-store")), after).await;
    assert_eq!(code(&copied), Some(ErrorCode::OtherStore), "{copied:?}");
}

/// Claim: an answer that is cut off anywhere is an error, and so is one whose last frame is too
/// short, unless it ends behind a transaction. Method: the answer with one transaction at each
/// byte, others at many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_that_are_cut_off() {
    for (name, step) in [("incremental-1", 1), ("incremental-several", 41)] {
        let (all, taken) = (response(name), Taken::of(name, Expected::Incremental));
        let (after, batches) = (taken.after_first(), taken.batches());
        let start = all.len() - taken.transactions.len();
        let ends = batches.iter().map(|batch| start + batch.end as usize);
        let ends: Vec<_> = ends.filter(|end| *end < all.len()).collect();
        let around = ends.iter().flat_map(|end| [end - 1, *end, end + 1]);
        for cut in (0..all.len()).step_by(step).chain(around) {
            let answer = answering(name, all[..cut].to_vec(), false);
            let (copied, _) = increment(answer, after.clone()).await;
            let error = copied.expect_err("it is cut off");
            assert!(matches!(error, Error::ConnectionLost { .. }), "{name} at {cut}: {error:?}");
            if cut < HEAD_BYTES {
                continue;
            }
            let mut short = all[..cut].to_vec();
            short[..4].copy_from_slice(&((cut - 4) as u32).to_be_bytes());
            let (copied, _) = increment(answering(name, short, true), after.clone()).await;
            assert_eq!(copied.is_ok(), ends.contains(&cut), "{name} at {cut}: {copied:?}");
            let Err(error) = copied else { continue };
            let is_typed = matches!(error, Error::Protocol(_))
                || error.remote_code() == Some(ErrorCode::Diverged) && cut == start;
            assert!(is_typed, "{name} at {cut}: {error:?}");
        }
    }
}

/// Claim: a full copy that is cut off anywhere is an error. Method: many places, more of them among
/// the transactions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_copies_that_are_cut_off() {
    let name = "full-with-transactions";
    let (all, taken) = (response(name), Taken::of(name, Expected::Full));
    let last = taken.batches().last().unwrap().tx_id.0;
    let start = all.len() - taken.transactions.len();
    for cut in (0..start).step_by(4001).chain((start - 60..all.len()).step_by(7)) {
        let sent = all[..cut].to_vec();
        let server = serve_with(move |request, stream| {
            let answer = match request {
                Request::Full { .. } => sent.clone(),
                Request::Incremental { last_tx_id } if (1..last as i64).contains(&last_tx_id) => {
                    response("logs-pruned")
                }
                Request::Incremental { .. } => response("incremental-0"),
            };
            let _ = stream.write_all(&answer);
            !matches!(request, Request::Full { .. })
        });
        let (copied, _) = full(server).await;
        let error = copied.expect_err("it is cut off");
        assert!(matches!(error, Error::ConnectionLost { .. }), "at {cut}: {error:?}");
    }
}

/// Claim: a changed byte among the transactions is an error, or a transaction of the same id and
/// length: 3.0 has no checksum of a transaction's content. Method: each byte of a captured answer's
/// body, changed in two ways.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_with_a_changed_byte() {
    let name = "incremental-1";
    let (all, taken) = (response(name), Taken::of(name, Expected::Incremental));
    let (after, last) = (taken.after_first(), taken.batches()[0].tx_id);
    let mut kept_count = 0;
    for place in HEAD_BYTES..all.len() {
        for change in [1, 0xFF] {
            let mut changed = all.clone();
            changed[place] ^= change;
            let (copied, log) = increment(answering(name, changed, false), after.clone()).await;
            match copied {
                Ok(report) => {
                    assert_eq!(report.finished.last_tx.tx_id, last, "at {place}");
                    assert_eq!(log.len(), taken.transactions.len(), "at {place}");
                    kept_count += 1;
                }
                Err(Error::Protocol(_) | Error::ConnectionLost { .. } | Error::Remote(_)) => {}
                Err(error) => panic!("at {place}: {error:?}"),
            }
        }
    }
    assert!(kept_count > 0);
}

/// Claim: lengths and counts inside a transaction that cannot be are refused without waiting for
/// what they announce. Method: those of a captured transaction made larger; the server sends
/// nothing more and closes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_lengths_in_a_transaction() {
    let name = "incremental-1";
    let (all, taken) = (response(name), Taken::of(name, Expected::Incremental));
    let start = all.len() - taken.transactions.len();
    // START: version, type, two ids, two times or transactions; then the length of its additional
    // header.
    let place = start + 2 + 4 + 4 + 8 + 8;
    assert_eq!(all[place..place + 4], [0, 0, 0, 8], "{:x?}", &all[start..]);
    for length in [0x7FFF_FFFF_u32, 0x8000_0000, 0xFFFF_FFFF, 1 << 20] {
        let mut changed = all.clone();
        changed[place..place + 4].copy_from_slice(&length.to_be_bytes());
        // Another frame is said to follow.
        changed[4] |= 1;
        let (copied, _) = increment(answering(name, changed, true), taken.after_first()).await;
        assert!(matches!(copied, Err(Error::Protocol(_))), "{length:x}: {copied:?}");
    }
    // A property's record: with more blocks than there can be; a dynamic record that is longer than
    // any.
    let record = |dynamic: bool, length: u32| {
        let mut command = vec![0xFA, 3, 2];
        command.extend([0; 8]);
        for _ in 0..2 {
            command.push(1);
            command.extend([0xFF; 24]);
            if !dynamic {
                command.push(length as u8);
                continue;
            }
            command.push(0);
            command.extend(1_u32.to_be_bytes());
            command.extend([0; 12]);
            command.push(1);
            command.extend(length.to_be_bytes());
        }
        command
    };
    for command in
        [record(false, 5), record(false, 0xFF), record(true, 0x7FFF_FFFF), record(true, u32::MAX)]
    {
        // Behind START and its additional header.
        let mut changed = all[..place + 4 + 8].to_vec();
        changed.extend(command);
        let length = changed.len() as u32 - 4;
        changed[..4].copy_from_slice(&length.to_be_bytes());
        changed[4] |= 1;
        let (copied, _) = increment(answering(name, changed, true), taken.after_first()).await;
        assert!(matches!(copied, Err(Error::Protocol(_))), "{copied:?}");
    }
}
