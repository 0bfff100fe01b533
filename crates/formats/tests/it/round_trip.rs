//! Goal: what is encoded is decoded to the same value, whatever it is. Method: property tests over
//! arbitrary entries, checkpoints, headers and metadata stores.

use formats::checkpoint::{Checkpoint, Tail, decode_file};
use formats::metadata::MetadataStore;
use formats::txlog::{BatchReader, Command, Entry, EntryReader, LogFormatVersion, LogHeader};
use formats::{
    AppendIndex, Checksum, KernelVersion, LogPosition, LogVersion, StoreId, TimestampMs, TxId,
};
use proptest::prelude::*;

use crate::values::{self, command, entry};

fn version() -> impl Strategy<Value = KernelVersion> {
    (5..=32_u8).prop_map(KernelVersion)
}

prop_compose! {
    fn store_id()(
        time: i64, random: i64, engine in "[!-~]{1,21}", format_family in "[!-~]{1,22}",
        major: i8, minor: i8,
    ) -> StoreId {
        let creation_time = TimestampMs(time);
        StoreId { creation_time, random, engine, format_family, major, minor, upgrade: None }
    }
}

fn natural() -> impl Strategy<Value = u64> {
    0..=i64::MAX.cast_unsigned()
}

prop_compose! {
    fn position()(version in natural(), offset_bytes in natural()) -> LogPosition {
        LogPosition { version: LogVersion(version), offset_bytes }
    }
}

prop_compose! {
    fn checkpoint()(
        version in version(), position in position(), oldest in position(), store_id in store_id(),
        (tx_id, append_index) in (natural(), natural()),
        (time, commit_time, consensus, last) in any::<(i64, i64, i64, i64)>(),
        (checksum, tx_version) in any::<(u32, u8)>(), reason in "\\PC{0,18}",
    ) -> Checkpoint {
        let indexed = version.0 >= 17;
        Checkpoint {
            kernel_version: version,
            position,
            oldest_not_completed: if version.0 >= 18 { oldest } else { position },
            time: TimestampMs(time),
            store_id,
            tx_id: TxId(tx_id),
            append_index: indexed.then_some(AppendIndex(append_index)),
            tx_kernel_version: indexed.then_some(KernelVersion(tx_version)),
            tx_checksum: Checksum::from(checksum),
            tx_commit_time: TimestampMs(commit_time),
            consensus_index: (version.0 >= 6).then_some(consensus),
            last_append_index: indexed.then_some(last),
            reason,
        }
    }
}

prop_compose! {
    fn header()(
        store_id in store_id(), version in 0..1_u64 << 56, last in natural(), nine: bool,
    ) -> LogHeader {
        LogHeader {
            log_version: LogVersion(version),
            format: if nine { LogFormatVersion::V9 } else { LogFormatVersion::V8 },
            last_append_index: last,
            store_id: Some(store_id),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn entries((version, entries) in version().prop_flat_map(|version| {
        (Just(version), proptest::collection::vec(entry(version), 1..6))
    })) {
        let mut bytes = Vec::new();
        for entry in &entries {
            bytes.extend(entry.encode(version).unwrap());
        }
        let mut reader = EntryReader::new(&bytes[..], 0);
        for entry in entries {
            prop_assert_eq!(reader.next_entry().unwrap(), Some((version, entry)));
        }
        prop_assert_eq!(reader.offset_bytes(), bytes.len() as u64);
        prop_assert!(reader.next_entry().unwrap().is_none());
    }

    #[test]
    fn batches((version, commands) in version().prop_flat_map(|version| {
        (Just(version), proptest::collection::vec(command(version), 0..6))
    }), tx_id in 1..=i64::MAX, offset in 0..1_u64 << 40) {
        let bytes = values::batch(version, tx_id, &commands);
        let mut reader = BatchReader::new(&bytes[..], offset);
        let batch = reader.next_batch().unwrap().unwrap();
        prop_assert_eq!((batch.start, batch.end), (offset, offset + bytes.len() as u64));
        prop_assert_eq!(batch.kernel_version, version);
        prop_assert_eq!(batch.tx_id, TxId(tx_id.cast_unsigned()));
        let index = (version.0 >= 17).then_some(AppendIndex(tx_id.cast_unsigned()));
        prop_assert_eq!(batch.append_index, index);
        prop_assert_eq!(batch.previous_checksum, (version.0 <= 21).then_some(Checksum(7)));
        prop_assert_eq!(batch.commands, commands.len() as u64);
        let upgrade = commands.iter().filter_map(Command::upgrade_to).next_back();
        prop_assert_eq!(batch.upgrade_to, upgrade);
        let stored = bytes.last_chunk::<4>().unwrap();
        prop_assert_eq!(batch.checksum, Checksum::from(u32::from_le_bytes(*stored)));
        prop_assert!(reader.next_batch().unwrap().is_none());
    }

    #[test]
    fn arbitrary_bytes_are_no_panic_and_encode_to_themselves(
        head in prop_oneof![
            Just(vec![]),
            (5..=32_u8, 0..14_u8).prop_map(|(version, kind)| vec![version, kind]),
            (5..=32_u8, 0..31_u8).prop_map(|(version, kind)| vec![version, 3, kind]),
        ],
        tail in proptest::collection::vec(prop_oneof![Just(0), Just(1), any::<u8>()], 0..200),
    ) {
        let bytes = [head, tail].concat();
        let mut reader = EntryReader::new(&bytes[..], 0);
        if let Ok(Some((version, entry))) = reader.next_entry() {
            let end = usize::try_from(reader.offset_bytes()).unwrap();
            prop_assert_eq!(entry.encode(version).unwrap(), &bytes[..end]);
        }
        let _ = BatchReader::new(&bytes[..], 0).next_batch();
        let _ = decode_file(&bytes);
        let _ = Checkpoint::decode(&bytes, 0);
        let _ = LogHeader::decode(&bytes);
        let _ = MetadataStore::decode(&bytes);
    }

    #[test]
    fn checkpoint_files(
        header in header(), entries in proptest::collection::vec(checkpoint(), 0..5),
    ) {
        let mut file = header.encode();
        for checkpoint in &entries {
            file.extend(checkpoint.encode());
        }
        let decoded = decode_file(&file).unwrap().unwrap();
        prop_assert_eq!(decoded.header, header);
        prop_assert!(matches!(decoded.tail, Tail::Clean));
        let found: Vec<Checkpoint> = decoded.entries.into_iter().map(|(found, _)| found).collect();
        prop_assert_eq!(found, entries);
    }

    #[test]
    fn metadata_stores(
        store_id in store_id(), external_uuid: [u8; 16], database_uuid: Option<[u8; 16]>,
    ) {
        let store = MetadataStore { external_uuid, database_uuid, store_id };
        prop_assert_eq!(MetadataStore::decode(&store.encode()).unwrap(), store);
    }
}

#[test]
fn every_type_of_command_is_among_the_arbitrary_ones() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut types = std::collections::BTreeSet::new();
    let strategy = command(KernelVersion(32));
    for _ in 0..1000 {
        types.insert(strategy.new_tree(&mut runner).unwrap().current().type_code());
    }
    assert_eq!(types.len(), 19, "{types:?}");
    let entry = Entry::Command(Command::NodeCounts { label: 0, delta: 0 });
    assert_eq!(entry.type_code(), 3);
}
