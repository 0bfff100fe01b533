//! Goal: what is encoded is decoded to the same value, whatever it is. Method: property tests over
//! arbitrary entries, transactions and files.

use std::collections::BTreeSet;

use formats::txlog::{BatchReader, LogFormatVersion, LogHeader};
use formats::v3_0::{
    CountsFile, Entry, EntryReader, IndexConfig, LegacyIndex, LuceneCommit, Neostore,
    lucene_segment_files,
};
use formats::{Checksum, LogPosition, LogVersion, StoreUpgrade, TimestampMs, TxId};
use proptest::collection::vec;
use proptest::prelude::*;

use super::values::{batch_of, command, entry, version};

fn natural() -> impl Strategy<Value = u64> {
    0..=i64::MAX.cast_unsigned()
}

prop_compose! {
    fn neostore()(
        times: [i64; 2], random: i64, first_graph_property: i64, checksums: [u64; 2],
        commit_times: [Option<i64>; 2],
        ids in [natural(), natural(), natural(), natural(), natural(), natural()],
    ) -> Neostore {
        let [last_commit, upgrade_commit] = commit_times;
        let [log_version, last, constraint, upgrade, closed_version, offset_bytes] = ids;
        Neostore {
            creation_time: TimestampMs(times[0]),
            random,
            log_version: LogVersion(log_version),
            last_tx_id: TxId(last),
            first_graph_property,
            last_constraint_tx_id: TxId(constraint),
            upgrade: StoreUpgrade { time: TimestampMs(times[1]), tx_id: TxId(upgrade) },
            last_tx_checksum: Checksum(checksums[0]),
            upgrade_checksum: Checksum(checksums[1]),
            last_closed: LogPosition { version: LogVersion(closed_version), offset_bytes },
            last_commit_time: last_commit.map(TimestampMs),
            upgrade_commit_time: upgrade_commit.map(TimestampMs),
        }
    }
}

fn indexes() -> impl Strategy<Value = Vec<LegacyIndex>> {
    let index = ("\\PC{0,9}", vec(("\\PC{0,9}", "\\PC{0,9}"), 0..3));
    vec(index.prop_map(|(name, options)| LegacyIndex { name, options }), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn entries(entries in vec((version(), entry()), 1..6)) {
        let mut bytes = Vec::new();
        for (version, entry) in &entries {
            bytes.extend(entry.encode(*version).unwrap());
        }
        let mut reader = EntryReader::new(&bytes[..], 0);
        for entry in entries {
            prop_assert_eq!(reader.next_entry().unwrap(), Some(entry));
        }
        prop_assert_eq!(reader.offset_bytes(), bytes.len() as u64);
        prop_assert!(reader.next_entry().unwrap().is_none());
    }

    #[test]
    fn batches(
        version in version(), commands in vec(command(), 0..6), tx_id in 1..=i64::MAX,
        offset in 0..1_u64 << 40,
    ) {
        let bytes = batch_of(version, tx_id, &commands);
        let mut reader = BatchReader::new(&bytes[..], offset);
        let batch = reader.next_batch().unwrap().unwrap();
        prop_assert_eq!((batch.start, batch.end), (offset, offset + bytes.len() as u64));
        prop_assert_eq!(batch.tx_id, TxId(tx_id.cast_unsigned()));
        prop_assert_eq!(batch.kernel_version, version);
        prop_assert_eq!(batch.commands, commands.len() as u64);
        prop_assert!(reader.next_batch().unwrap().is_none());
        // Every part of it is the beginning of a transaction, and none of it whole.
        for length in 1..bytes.len() {
            let error = BatchReader::new(&bytes[..length], 0).next_batch().unwrap_err();
            prop_assert!(error.is_incomplete(), "cut at {}: {}", length, error);
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_panic_and_encode_to_themselves(
        head in prop_oneof![
            Just(vec![]),
            (version(), 0..9_u8).prop_map(|(version, kind)| vec![version.0, kind]),
            (version(), 1..19_u8).prop_map(|(version, kind)| vec![version.0, 3, kind]),
        ],
        tail in vec(prop_oneof![Just(0), Just(1), any::<u8>()], 0..200),
    ) {
        let bytes = [head, tail].concat();
        let mut reader = EntryReader::new(&bytes[..], 0);
        if let Ok(Some((version, entry))) = reader.next_entry() {
            let end = usize::try_from(reader.offset_bytes()).unwrap();
            // Zeros before a command's type are passed over.
            let mut read = bytes[..end].to_vec();
            if read[1] == 3 {
                let zeros = read[2..].iter().take_while(|byte| **byte == 0).count();
                read.drain(2..2 + zeros);
            }
            prop_assert_eq!(entry.encode(version).unwrap(), read);
        }
        let _ = BatchReader::new(&bytes[..], 0).next_batch();
        let _ = BatchReader::new(&bytes[..], 0).next_check_point();
        let _ = Neostore::decode(&bytes);
        let _ = CountsFile::check(&bytes[..]);
        let _ = LuceneCommit::decode(&bytes);
        let header = |codec: &[u8], version| {
            [&b"\x3f\xd7\x6c\x17"[..], codec, &[0, 0, 0, version], &[0; 17]].concat()
        };
        let _ = LuceneCommit::decode(&[header(b"\x08segments", 6), bytes.clone()].concat());
        let info = header(b"\x13Lucene50SegmentInfo", 1);
        let _ = lucene_segment_files(&[info, bytes.clone()].concat());
        let _ = IndexConfig::decode(&bytes);
        let _ = IndexConfig::decode(&[b"neo4j-index\0\0\0\x01", &bytes[..]].concat());
    }

    #[test]
    fn headers(version in 0..1_u64 << 56, last in natural()) {
        let header = LogHeader {
            log_version: LogVersion(version),
            format: LogFormatVersion::V6,
            last_append_index: last,
            store_id: None,
        };
        prop_assert_eq!(LogHeader::decode(&header.encode()).unwrap(), Some(header));
    }

    #[test]
    fn neostores(neostore in neostore()) {
        prop_assert_eq!(Neostore::decode(&neostore.encode()).unwrap(), neostore);
    }

    #[test]
    fn index_configurations(nodes in indexes(), relationships in indexes()) {
        let config = IndexConfig { nodes, relationships };
        let bytes = config.encode();
        prop_assert_eq!(IndexConfig::decode(&bytes).unwrap(), config);
        for length in 0..bytes.len() {
            prop_assert!(IndexConfig::decode(&bytes[..length]).unwrap_err().is_incomplete());
        }
    }
}

#[test]
fn every_type_of_command_is_among_the_arbitrary_ones() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = command();
    let mut current = || strategy.new_tree(&mut runner).unwrap().current().type_code();
    let types: BTreeSet<u8> = (0..1000).map(|_| current()).collect();
    assert_eq!(types, (1..=17).collect());
    assert_eq!(Entry::CheckPoint(super::values::position(0, 0)).type_code(), 7);
}
