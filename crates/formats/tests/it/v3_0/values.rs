//! Values to encode: whole transactions, and arbitrary ones for property tests.

use formats::v3_0::{
    Command, Commit, Entry, GroupRecord, IndexHeader, IndexName, IndexOption, IndexValue,
    PropertyRecord, Start,
};
use formats::{KernelVersion, LogPosition, LogVersion};
use proptest::collection::vec;
use proptest::prelude::*;

// Records that both have.
use crate::values::{block, bytes, dynamics, key, node, relationship, secondary, token};

/// The versions that entries have: of 3.0.0 and of 3.0.2.
pub const VERSIONS: [KernelVersion; 2] = [KernelVersion::V3_0, KernelVersion::V3_0_2];

/// START of a transaction outside of clusters.
pub fn start(tx_id: i64) -> Entry {
    Entry::Start(Start {
        master_id: -1,
        author_id: -1,
        time: 1_790_000_000_000,
        last_tx_id: tx_id.wrapping_sub(1),
        additional_header: tx_id.to_be_bytes().to_vec(),
    })
}

/// The bytes of a whole transaction of 3.0.0.
pub fn batch(tx_id: i64, commands: &[Command]) -> Vec<u8> {
    batch_of(KernelVersion::V3_0, tx_id, commands)
}

/// The bytes of a whole transaction.
pub fn batch_of(version: KernelVersion, tx_id: i64, commands: &[Command]) -> Vec<u8> {
    let mut bytes = start(tx_id).encode(version).unwrap();
    for command in commands {
        bytes.extend(Entry::Command(command.clone()).encode(version).unwrap());
    }
    let commit = Entry::Commit(Commit { tx_id, time: 1_790_000_000_001 });
    bytes.extend(commit.encode(version).unwrap());
    bytes
}

/// Any of [`VERSIONS`].
pub fn version() -> impl Strategy<Value = KernelVersion> {
    prop::sample::select(VERSIONS.as_slice())
}

pub fn position(version: u64, offset_bytes: u64) -> LogPosition {
    LogPosition { version: LogVersion(version), offset_bytes }
}

prop_compose! {
    fn property()(
        flags: u8, fields: [i64; 4], blocks in vec(block(), 0..=4), deleted_records in dynamics(),
    ) -> PropertyRecord {
        let [next, previous, owner, unit] = fields;
        let secondary = secondary(flags, unit);
        PropertyRecord { flags, next, previous, owner, secondary, blocks, deleted_records }
    }
}

prop_compose! {
    fn group()(flags: u8, kind: u16, fields: [i64; 6]) -> GroupRecord {
        let [next, owner, unit, first @ ..] = fields;
        GroupRecord { flags, kind, next, first, owner, secondary: secondary(flags, unit) }
    }
}

/// A header, and an id and a value of the kinds that it says.
fn index() -> impl Strategy<Value = (IndexHeader, i64, IndexValue)> {
    let header = any::<(u8, u8, u16, u16)>().prop_map(|(kinds, long_nodes, name_id, key_id)| {
        // There is no value type 7.
        let kinds = if kinds >> 2 & 7 == 7 { kinds & 3 } else { kinds };
        IndexHeader { kinds, long_nodes, name_id, key_id }
    });
    (header, any::<i64>(), bytes(300)).prop_map(|(header, id, mut value)| {
        let id = if header.kinds & 1 == 0 { i64::from(id as i32) } else { id };
        match header.value_type() {
            0 => value.clear(),
            1 => value.resize(2, 0x80),
            2 | 4 => value.resize(4, 0x81),
            3 | 5 => value.resize(8, 0x82),
            _ => {}
        }
        (header, id, IndexValue(value))
    })
}

fn names() -> impl Strategy<Value = Vec<IndexName>> {
    vec((bytes(9), any::<u16>()).prop_map(|(name, id)| IndexName { name, id }), 0..4)
}

fn options() -> impl Strategy<Value = Vec<IndexOption>> {
    vec((bytes(9), bytes(9)).prop_map(|(key, value)| IndexOption { key, value }), 0..4)
}

fn index_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        (index(), names(), names()).prop_map(|((header, ..), names, keys)| Command::IndexDefine {
            header,
            names,
            keys
        }),
        index().prop_map(|(header, id, value)| Command::IndexAddNode { header, id, value }),
        index().prop_map(|(header, id, value)| Command::IndexRemove { header, id, value }),
        index().prop_map(|(header, ..)| Command::IndexDelete { header }),
        (index(), options())
            .prop_map(|((header, ..), options)| Command::IndexCreate { header, options }),
        (index(), any::<(i64, i64)>()).prop_map(|((header, id, value), (start, end))| {
            let short = |id: i64, long: bool| if long { id } else { i64::from(id as i32) };
            let start_node = short(start, header.long_nodes & 0x80 != 0);
            let end_node = short(end, header.long_nodes & 0x40 != 0);
            Command::IndexAddRelationship { header, id, value, start_node, end_node }
        }),
    ]
}

/// Any command.
pub fn command() -> BoxedStrategy<Command> {
    let records =
        prop_oneof![
            (any::<i64>(), node(), node()).prop_map(|(id, before, after)| Command::Node {
                id,
                before,
                after
            }),
            (any::<i64>(), property(), property())
                .prop_map(|(id, before, after)| Command::Property { id, before, after }),
            (any::<i64>(), relationship(), relationship())
                .prop_map(|(id, before, after)| Command::Relationship { id, before, after }),
            (any::<i64>(), group(), group())
                .prop_map(|(id, before, after)| Command::RelationshipGroup { id, before, after }),
            (any::<i32>(), token(), token()).prop_map(|(id, before, after)| {
                Command::RelationshipTypeToken { id, before, after }
            }),
            (any::<i32>(), token(), token()).prop_map(|(id, before, after)| Command::LabelToken {
                id,
                before,
                after
            }),
            (any::<i32>(), key(), key())
                .prop_map(|(id, before, after)| Command::PropertyKeyToken { id, before, after }),
            any::<(i64, i64)>().prop_map(|(before, after)| Command::Neostore { before, after }),
            (dynamics(), dynamics(), any::<u8>()).prop_map(|(before, after, created)| {
                Command::SchemaRule { before, after, created }
            }),
        ];
    let counts = prop_oneof![
        any::<(i32, i32, i32, i64)>().prop_map(|(start_label, kind, end_label, delta)| {
            Command::RelationshipCounts { start_label, kind, end_label, delta }
        }),
        any::<(i32, i64)>().prop_map(|(label, delta)| Command::NodeCounts { label, delta }),
    ];
    prop_oneof![9 => records, 6 => index_command(), 2 => counts].boxed()
}

/// Any entry.
pub fn entry() -> BoxedStrategy<Entry> {
    let start = (any::<(i32, i32, i64, i64)>(), bytes(20)).prop_map(|(fields, header)| {
        let (master_id, author_id, time, last_tx_id) = fields;
        Entry::Start(Start { master_id, author_id, time, last_tx_id, additional_header: header })
    });
    let natural = || 0..=i64::MAX.cast_unsigned();
    let commit = any::<(i64, i64)>().prop_map(|(tx_id, time)| Commit { tx_id, time });
    let check_point = (natural(), natural()).prop_map(|(version, at)| position(version, at));
    prop_oneof![
        1 => start,
        5 => command().prop_map(Entry::Command),
        1 => commit.prop_map(Entry::Commit),
        1 => check_point.prop_map(Entry::CheckPoint),
    ]
    .boxed()
}
