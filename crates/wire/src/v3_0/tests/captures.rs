//! What the real tool and the real server said to each other, see `fixtures/3.0.0/captures`.

use std::path::Path;

use expect_test::expect;

use super::{Got, read};
use crate::v3_0::{Encoder, Expected, Failure, Request, RequestDecoder};

/// Full copies, and answers with what is behind a transaction; the tool's and the script's.
pub(super) const FULL: [&str; 4] =
    ["full", "full-with-transactions", "full-forensics", "logs-pruned-full"];
pub(super) const INCREMENTAL: [&str; 6] = [
    "incremental-0",
    "incremental-1",
    "incremental-several",
    "incremental-from-last",
    "other-store",
    "store-id",
];
pub(super) const FAILED: [&str; 6] = [
    "logs-pruned",
    "bad-forensics",
    "other-version",
    "other-internal-version",
    "short-request",
    "unknown-type",
];
/// Length field, flags, version.
const HEAD_BYTES: usize = 6;

fn captured(name: &str) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/3.0.0/captures");
    std::fs::read(dir.join(name)).unwrap()
}

pub(super) fn response(name: &str) -> Vec<u8> {
    captured(&format!("{name}.response"))
}

/// Each response that is a success.
pub(super) fn successes() -> impl Iterator<Item = (&'static str, Expected)> {
    let full = FULL.map(|name| (name, Expected::Full));
    full.into_iter().chain(INCREMENTAL.map(|name| (name, Expected::Incremental)))
}

pub(super) fn failure(name: &str) -> Failure {
    let got = read(Expected::Incremental, &response(name), 100).unwrap();
    let [Got::Failure(failure)] = got.as_slice() else { panic!("{name}: {got:?}") };
    failure.clone()
}

/// Claim: what we ask is what the tool asks, to the byte, and we understand it. Method: each
/// request of the tool; what it asks for is where its backup ended before, as `facts.json` tells.
#[test]
fn requests_are_the_tools() {
    let facts: serde_json::Value = serde_json::from_slice(&captured("facts.json")).unwrap();
    let after = |name: &str| {
        let last_tx_id = facts[name]["last_transaction_id_afterwards"].as_i64().unwrap();
        Request::Incremental { last_tx_id }
    };
    for (name, request) in [
        ("full", Request::Full { forensics: false }),
        ("full-with-transactions", Request::Full { forensics: false }),
        ("logs-pruned-full", Request::Full { forensics: false }),
        ("full-forensics", Request::Full { forensics: true }),
        ("incremental-0", after("full")),
        ("incremental-1", after("incremental-0")),
        ("incremental-several", after("incremental-1")),
        ("other-store", after("incremental-several")),
        ("logs-pruned", after("incremental-several")),
        ("store-id", Request::Incremental { last_tx_id: 0 }),
    ] {
        let sent = captured(&format!("{name}.request"));
        assert_eq!(request.encode(), sent, "{name}");
        let (mut decoder, mut input) = (RequestDecoder::new(), sent.as_slice());
        assert_eq!(decoder.next(&mut input), Ok(Some(request)), "{name}");
        assert!(input.is_empty(), "{name}");
    }
}

/// Claim: each response is understood to its last byte, and our encoder makes the very same bytes
/// of what it says. Method: in pieces of several sizes; files are as long as `neostore`'s format
/// has them, and the identity is what `neostore` says.
#[test]
fn responses_are_understood_and_made_alike() {
    for (name, expected) in successes() {
        let bytes = response(name);
        let got = read(expected, &bytes, bytes.len()).unwrap();
        for piece in [1, 255, 256, 1460] {
            assert_eq!(read(expected, &bytes, piece).unwrap(), got, "{name} in {piece}");
        }
        assert_eq!(encode(expected, &got), bytes, "{name}");
        let id =
            got.iter().find_map(|got| if let Got::StoreId(id) = got { Some(id) } else { None });
        let neostore = [Got::File("neostore".to_owned())];
        if let Some(at) = got.windows(1).position(|got| got == neostore) {
            let Got::Data(neostore) = &got[at + 1] else { panic!("{name}") };
            // Records of 9 bytes: creation time, random number.
            assert_eq!(
                (&id.unwrap()[..8], &id.unwrap()[8..16]),
                (&neostore[1..9], &neostore[10..18])
            );
        }
    }
}

fn encode(expected: Expected, got: &[Got]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    for got in got {
        match got {
            Got::File(path) => assert!(encoder.file(path)),
            Got::Data(bytes) => encoder.data(bytes),
            Got::FileEnd => encoder.file_end(),
            Got::StoreId(id) => {
                if expected == Expected::Full {
                    encoder.files_end();
                }
                encoder.store_id(id);
            }
            Got::Transactions(bytes) => encoder.transactions(bytes),
            Got::End => {}
            Got::Failure(_) => panic!("a failure"),
        }
    }
    encoder.finish().to_vec()
}

/// Claim: a full response has the files of a store, in the server's order, then what was committed
/// meanwhile. Method: names and lengths.
#[test]
fn what_a_full_response_has() {
    let mut table = String::new();
    let bytes = response("full-with-transactions");
    let mut path = String::new();
    for got in read(Expected::Full, &bytes, 1000).unwrap() {
        match got {
            Got::File(file) => path = file,
            Got::Data(bytes) => table += &bytes.len().to_string(),
            Got::FileEnd => table += &format!(" {}\n", std::mem::take(&mut path)),
            Got::Transactions(bytes) => table += &format!("{} of transactions\n", bytes.len()),
            Got::StoreId(_) | Got::End | Got::Failure(_) => {}
        }
    }
    expect![[r#"
        8192 neostore.schemastore.db
        8192 neostore.propertystore.db.strings
        640 neostore.counts.db.a
        8159 neostore.propertystore.db
        8190 neostore.propertystore.db.index
        8192 neostore.relationshipgroupstore.db
        672 neostore.counts.db.b
        8192 neostore.propertystore.db.index.keys
        8190 neostore.relationshiptypestore.db
        8192 neostore.labeltokenstore.db.names
        319 index.db
        8160 neostore.relationshipstore.db
        8190 neostore.labeltokenstore.db
        8192 neostore.propertystore.db.arrays
        8190 neostore.nodestore.db
        8192 neostore.nodestore.db.labels
        8192 neostore.relationshiptypestore.db.names
        8192 neostore
        381 schema/label/lucene/labelStore/1/_a.si
        977 schema/label/lucene/labelStore/1/_9.cfe
        5003 schema/label/lucene/labelStore/1/_9.cfs
        3514 schema/label/lucene/labelStore/1/_a.cfs
        198 schema/label/lucene/labelStore/1/segments_4
        418 schema/label/lucene/labelStore/1/_9.si
        67 schema/label/lucene/labelStore/1/_9_1.liv
        753 schema/label/lucene/labelStore/1/_a.cfe
        150 schema/index/lucene/1/1/segments_7
        417 schema/index/lucene/1/1/_4.cfe
        1658 schema/index/lucene/1/1/_4.cfs
        418 schema/index/lucene/1/1/_4.si
        289 index/lucene/node/Größe/_0.cfe
        381 index/lucene/node/Größe/_0.si
        1318 index/lucene/node/Größe/_0.cfs
        136 index/lucene/node/Größe/segments_1
        289 index/lucene/relationship/relationship_auto_index/_0.cfe
        381 index/lucene/relationship/relationship_auto_index/_0.si
        1732 index/lucene/relationship/relationship_auto_index/_0.cfs
        136 index/lucene/relationship/relationship_auto_index/segments_2
        67 index/lucene/relationship/relationship_auto_index/_0_1.liv
        67 index/lucene/node/node_auto_index/_0_2.liv
        1220 index/lucene/node/node_auto_index/_1.cfs
        289 index/lucene/node/node_auto_index/_0.cfe
        381 index/lucene/node/node_auto_index/_0.si
        289 index/lucene/node/node_auto_index/_1.cfe
        381 index/lucene/node/node_auto_index/_1.si
        381 index/lucene/node/node_auto_index/_2.si
        1466 index/lucene/node/node_auto_index/_0.cfs
        289 index/lucene/node/node_auto_index/_2.cfe
        1220 index/lucene/node/node_auto_index/_2.cfs
        260 index/lucene/node/node_auto_index/segments_3
        924 of transactions
    "#]]
    .assert_eq(&table);
}

/// Claim: our failures are the server's as far as the tool looks: it knows them by their class and
/// that class's superclasses, and shows the message. Method: the server's bytes and ours are the
/// same up to the end of the classes, where the server's go on with a stack trace of its own JVM,
/// which an older one could not read.
#[test]
fn failures_are_the_servers_up_to_the_stack_trace() {
    let server = response("logs-pruned");
    let message = failure("logs-pruned").message.unwrap();
    let ours = Encoder::new().fail(&Failure::logs_pruned(&message));
    let classes = end_of_classes(&ours);
    // The length of the frame is another one.
    assert_eq!(ours[4..classes], server[4..classes]);
    assert_eq!(failure("logs-pruned"), Failure::decode(&ours[HEAD_BYTES..]));

    // What the tool has no name for is a RuntimeException to it, of whatever class.
    for name in ["bad-forensics", "short-request", "unknown-type"] {
        let server = response(name);
        let message = failure(name).message.unwrap();
        let ours = Encoder::new().fail(&Failure::other(&message));
        let common = &ours[HEAD_BYTES + 5..end_of_classes(&ours)];
        assert_eq!(ours[4..HEAD_BYTES + 5], server[4..HEAD_BYTES + 5], "{name}");
        assert!(server.windows(common.len()).any(|part| part == common), "{name}");
        assert_eq!(Failure::decode(&ours[HEAD_BYTES..]).message, Some(message));
    }
}

/// Behind the last class there is no superclass, `TC_NULL`, after the end of its annotations.
fn end_of_classes(bytes: &[u8]) -> usize {
    bytes.windows(2).position(|pair| pair == [0x78, 0x70]).unwrap() + 2
}

/// Claim: exceptions of the server's are known by their classes and shown as it tells them. Method:
/// all that were captured; those to another version come without the mark of a failure.
#[test]
fn failures_of_the_server() {
    let mut table = String::new();
    for name in FAILED {
        let (failure, flags) = (failure(name), response(name)[4]);
        let (pruned, version) = (failure.is_logs_pruned(), failure.is_version());
        let shown: String = failure.to_string().chars().take(70).collect();
        table += &format!("{name}: flags {flags:#x}, pruned {pruned}, version {version}\n");
        table += &format!("    {}\n", shown.trim_end());
        for class in &failure.classes {
            table += &format!("    {class}\n");
        }
    }
    expect![[r#"
        logs-pruned: flags 0xa, pruned true, version false
            NoSuchTransactionException: Unable to find transaction 26 in any of my
            org.neo4j.kernel.impl.transaction.log.NoSuchTransactionException
            org.neo4j.kernel.impl.transaction.log.MissingLogDataException
            java.io.IOException
            java.lang.Exception
            java.lang.Throwable
        bad-forensics: flags 0xa, pruned false, version false
            IllegalArgumentException: Invalid 'boolean' byte value 2
            java.lang.IllegalArgumentException
            java.lang.RuntimeException
            java.lang.Exception
            java.lang.Throwable
        other-version: flags 0x8, pruned false, version true
            IllegalProtocolVersionException: Unexpected application protocol versi
            org.neo4j.com.IllegalProtocolVersionException
            org.neo4j.com.ComException
            java.lang.RuntimeException
            java.lang.Exception
            java.lang.Throwable
        other-internal-version: flags 0x8, pruned false, version true
            IllegalProtocolVersionException: Unexpected internal protocol version
            org.neo4j.com.IllegalProtocolVersionException
            org.neo4j.com.ComException
            java.lang.RuntimeException
            java.lang.Exception
            java.lang.Throwable
        short-request: flags 0xa, pruned false, version false
            IndexOutOfBoundsException: Not enough readable bytes - Need 8, maximum
            java.lang.IndexOutOfBoundsException
            java.lang.RuntimeException
            java.lang.Exception
            java.lang.Throwable
        unknown-type: flags 0xa, pruned false, version false
            ArrayIndexOutOfBoundsException: Index 2 out of bounds for length 2
            java.lang.ArrayIndexOutOfBoundsException
            java.lang.IndexOutOfBoundsException
            java.lang.RuntimeException
            java.lang.Exception
            java.lang.Throwable
    "#]]
    .assert_eq(&table);
}
