//! Values to encode: whole batches, and arbitrary ones for property tests.

use formats::txlog::{
    Change, ChunkEnd, ChunkStart, Command, Commit, DynamicRecord, Enrichment, Entry, GroupRecord,
    MetadataRecord, NodeRecord, PropertyBlock, PropertyKeyRecord, PropertyRecord,
    RelationshipRecord, Rollback, SchemaMap, SchemaMapEntry, SchemaRecord, SchemaValue, Start,
    TokenRecord,
};
use formats::{KernelVersion, StoreId, TimestampMs};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::{array, option};

use crate::golden::crc32c;

/// A store of the format that we copy.
pub fn store_id() -> StoreId {
    StoreId {
        creation_time: TimestampMs(1_790_000_000_000),
        random: -42,
        engine: "record".to_owned(),
        format_family: "aligned".to_owned(),
        major: 1,
        minor: 1,
        upgrade: None,
    }
}

/// START of a transaction in the place of its id.
pub fn start(tx_id: i64) -> Entry {
    Entry::Start(Start {
        time: 1_790_000_000_000,
        last_tx_id: tx_id.wrapping_sub(1),
        previous_checksum: 7,
        append_index: tx_id,
        sequence_number: -1,
        additional_header: Vec::new(),
    })
}

/// The COMMIT that ends the batch which these bytes are the rest of.
pub fn commit(version: KernelVersion, tx_id: i64, before: &[u8]) -> Vec<u8> {
    let commit = Commit { tx_id, time: 1_790_000_000_001, checksum: 0 };
    let mut bytes = Entry::Commit(commit).encode(version).unwrap();
    let body = bytes.len() - 4;
    let crc = crc32c(&[before, &bytes[..body]].concat());
    bytes[body..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The bytes of a whole transaction.
pub fn batch(version: KernelVersion, tx_id: i64, commands: &[Command]) -> Vec<u8> {
    let mut bytes = start(tx_id).encode(version).unwrap();
    for command in commands {
        bytes.extend(Entry::Command(command.clone()).encode(version).unwrap());
    }
    let commit = commit(version, tx_id, &bytes);
    bytes.extend(commit);
    bytes
}

pub fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=max)
}

prop_compose! {
    fn dynamic()(id: i64, kind: i32, flags: u8, next: i64, data in bytes(40)) -> DynamicRecord {
        if flags & 1 == 0 {
            return DynamicRecord { id, kind, flags, ..DynamicRecord::default() };
        }
        DynamicRecord { id, kind, flags, next, data }
    }
}

pub fn dynamics() -> impl Strategy<Value = Vec<DynamicRecord>> {
    vec(dynamic(), 0..3)
}

/// The id of a secondary unit, of records whose flags say that they have one.
pub fn secondary(flags: u8, value: i64) -> i64 {
    if flags & 8 == 0 { 0 } else { value }
}

prop_compose! {
    pub fn node()(
        flags: u8, dense: u8, fields: [i64; 4], label_records in dynamics(),
    ) -> NodeRecord {
        if flags & 1 == 0 {
            return NodeRecord { flags, label_records, ..NodeRecord::default() };
        }
        let [next_relationship, next_property, labels, secondary] = fields;
        let secondary = self::secondary(flags, secondary);
        NodeRecord {
            flags, dense, next_relationship, next_property, labels, secondary, label_records,
        }
    }
}

prop_compose! {
    pub fn block()(
        size in 1..=4_usize, words: [u8; 32], value_records in dynamics(),
    ) -> PropertyBlock {
        PropertyBlock { words: words[..size * 8].to_vec(), value_records }
    }
}

prop_compose! {
    fn property()(
        flags: u8, fields: [i64; 3], blocks in vec(block(), 0..=4), deleted_records in dynamics(),
    ) -> PropertyRecord {
        let [next, previous, owner] = fields;
        PropertyRecord { flags: flags & !8, next, previous, owner, blocks, deleted_records }
    }
}

prop_compose! {
    pub fn relationship()(flags: u8, kind: i32, extra: u8, fields: [i64; 8]) -> RelationshipRecord {
        if flags & 1 == 0 {
            return RelationshipRecord { flags, kind, ..RelationshipRecord::default() };
        }
        let [first_node, second_node, next_property, secondary, chain @ ..] = fields;
        let secondary = self::secondary(flags, secondary);
        RelationshipRecord {
            flags, first_node, second_node, kind, chain, next_property, extra, secondary,
        }
    }
}

prop_compose! {
    fn group()(flags: u8, kind: i32, external_degrees: u8, fields: [i64; 6]) -> GroupRecord {
        let [next, owner, secondary, first @ ..] = fields;
        let secondary = self::secondary(flags, secondary);
        GroupRecord { flags, kind, next, first, owner, external_degrees, secondary }
    }
}

prop_compose! {
    pub fn token()(flags: u8, name_id: i32, name_records in dynamics()) -> TokenRecord {
        TokenRecord { flags, name_id, name_records }
    }
}

prop_compose! {
    pub fn key()(flags: u8, property_count: i32, token in token()) -> PropertyKeyRecord {
        let TokenRecord { name_id, name_records, .. } = token;
        PropertyKeyRecord { flags, property_count, name_id, name_records }
    }
}

prop_compose! {
    fn schema()(flags: u8, schema_flags: u8, next_property: i64) -> SchemaRecord {
        if flags & 1 == 0 {
            return SchemaRecord { flags, ..SchemaRecord::default() };
        }
        SchemaRecord { flags, schema_flags, next_property }
    }
}

fn schema_map() -> impl Strategy<Value = SchemaMap> {
    let value = prop_oneof![
        any::<bool>().prop_map(SchemaValue::boolean),
        any::<i64>().prop_map(SchemaValue::long),
        "\\PC{0,10}".prop_map(|text| SchemaValue::string(&text)),
        vec(any::<i32>(), 0..4).prop_map(|values| SchemaValue::ints(&values)),
        vec("\\PC{0,5}", 0..4).prop_map(|texts| {
            SchemaValue::strings(&texts.iter().map(String::as_str).collect::<Vec<_>>())
        }),
    ];
    let entry = (bytes(10), value).prop_map(|(key, value)| SchemaMapEntry { key, value });
    vec(entry, 0..4).prop_map(|entries| SchemaMap { entries })
}

prop_compose! {
    fn enrichment(version: KernelVersion)(
        last_tx_id: i64,
        mode: u8,
        strings in array::uniform8(option::of(bytes(9))),
        mut buffers in array::uniform5(bytes(20)),
    ) -> Enrichment {
        if version.0 < 11 {
            buffers[4].clear();
        }
        Enrichment { last_tx_id, mode, strings, buffers }
    }
}

fn change<T: Clone + std::fmt::Debug + 'static>(
    version: KernelVersion,
    image: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Change<T>> {
    (image, any::<u8>()).prop_flat_map(move |(image, kind)| {
        Just(match kind % 3 {
            1 if version.0 >= 10 => Change::Create(image),
            2 if version.0 >= 10 => Change::Delete(image),
            _ => Change::Update { before: image.clone(), after: image },
        })
    })
}

/// A command that this kernel version may have.
pub fn command(version: KernelVersion) -> BoxedStrategy<Command> {
    let value = || {
        let fields = (any::<u8>(), any::<i64>());
        fields.prop_map(|(flags, value)| MetadataRecord { flags, value })
    };
    let common = prop_oneof![
        3 => (any::<i64>(), change(version, node()))
            .prop_map(|(id, change)| Command::Node { id, change }),
        3 => (any::<i64>(), change(version, property()))
            .prop_map(|(id, change)| Command::Property { id, change }),
        3 => (any::<i64>(), change(version, relationship()))
            .prop_map(|(id, change)| Command::Relationship { id, change }),
        1 => (any::<i32>(), token(), token()).prop_map(|(id, before, after)| {
            Command::RelationshipTypeToken { id, before, after }
        }),
        1 => (any::<i32>(), token(), token())
            .prop_map(|(id, before, after)| Command::LabelToken { id, before, after }),
        1 => (any::<i32>(), key(), key())
            .prop_map(|(id, before, after)| Command::PropertyKeyToken { id, before, after }),
        1 => (any::<i64>(), group(), group())
            .prop_map(|(id, before, after)| Command::RelationshipGroup { id, before, after }),
        1 => any::<(i32, i32, i32, i64)>().prop_map(|(start_label, kind, end_label, delta)| {
            Command::RelationshipCounts { start_label, kind, end_label, delta }
        }),
        1 => any::<(i32, i64)>().prop_map(|(label, delta)| Command::NodeCounts { label, delta }),
        1 => any::<(i64, i64)>().prop_map(|(key, delta)| Command::GroupDegree { key, delta }),
        1 => (any::<i64>(), any::<u8>(), schema(), schema(), schema_map()).prop_map(
            |(id, has_rule, before, after, map)| {
                let has_rule = has_rule % 3;
                let map = if has_rule == 1 { map } else { SchemaMap::default() };
                Command::SchemaRule { id, has_rule, before, after, map }
            }
        ),
        1 => (prop_oneof![Just(-1), any::<i64>()], value(), value())
            .prop_map(|(key, before, after)| Command::Metadata { key, before, after }),
    ];
    if version.0 < 7 {
        return common.boxed();
    }
    let enrichment = enrichment(version).prop_map(|found| Command::Enrichment(Box::new(found)));
    prop_oneof![15 => common, 1 => enrichment].boxed()
}

/// An entry that this kernel version may have.
pub fn entry(version: KernelVersion) -> BoxedStrategy<Entry> {
    let (indexed, numbered) = (version.0 >= 17, version.0 >= 30);
    let index = move |index: i64| if indexed { index } else { 0 };
    let start = (any::<(i64, i64, i32, i64, i64)>(), bytes(8)).prop_map(move |(fields, header)| {
        let (time, last_tx_id, previous_checksum, append_index, sequence_number) = fields;
        Entry::Start(Start {
            time,
            last_tx_id,
            previous_checksum: if version.0 <= 21 { previous_checksum } else { 0 },
            append_index: index(append_index),
            sequence_number: if numbered { sequence_number } else { 0 },
            additional_header: header,
        })
    });
    prop_oneof![
        start,
        command(version).prop_map(Entry::Command),
        any::<(i64, i64, i32)>().prop_map(|(tx_id, time, checksum)| Entry::Commit(Commit {
            tx_id,
            time,
            checksum
        })),
        any::<(i64, i64, i64, i64)>().prop_map(move |(time, chunk_id, previous, found)| {
            let (previous_append_index, append_index) = (previous, index(found));
            Entry::ChunkStart(ChunkStart { time, chunk_id, previous_append_index, append_index })
        }),
        any::<(i64, i64, i32)>().prop_map(|(tx_id, chunk_id, checksum)| {
            Entry::ChunkEnd(ChunkEnd { tx_id, chunk_id, checksum })
        }),
        any::<(i64, i64, i64, i32)>().prop_map(move |(tx_id, time, found, checksum)| {
            Entry::Rollback(Rollback { tx_id, time, append_index: index(found), checksum })
        }),
    ]
    .boxed()
}
