//! Storage commands: u8 type, then a body. There is no length: every type must be known.
//!
//! Source: `RecordStorageCommandReaderFactory` and `LogCommandSerializationV5_*`, 5.26 and 2026.08.

use super::record::{
    GroupRecord, MetadataRecord, NodeRecord, PropertyKeyRecord, PropertyRecord, RelationshipRecord,
    SchemaRecord, TokenRecord,
};
use super::schema_map::SchemaMap;
use crate::codec::{Codec, Layout};
use crate::{Error, KernelVersion, Result};

/// What a command does to one record: from kernel version 10 on, creates and deletes have one
/// image only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<T> {
    /// Both images.
    Update {
        /// The record as it was.
        before: T,
        /// The record as it is.
        after: T,
    },
    /// The record was not in use.
    Create(T),
    /// The record is no longer in use.
    Delete(T),
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields are named as in the record images")]
pub enum Command {
    /// Types 1, 22, 23.
    Node { id: i64, change: Change<NodeRecord> },
    /// Types 2, 24, 25.
    Property { id: i64, change: Change<PropertyRecord> },
    /// Types 3, 26, 27.
    Relationship { id: i64, change: Change<RelationshipRecord> },
    /// Type 4.
    RelationshipTypeToken { id: i32, before: TokenRecord, after: TokenRecord },
    /// Type 5.
    PropertyKeyToken { id: i32, before: PropertyKeyRecord, after: PropertyKeyRecord },
    /// Type 8.
    LabelToken { id: i32, before: TokenRecord, after: TokenRecord },
    /// Type 9.
    RelationshipGroup { id: i64, before: GroupRecord, after: GroupRecord },
    /// Type 16; -1 is any.
    RelationshipCounts { start_label: i32, kind: i32, end_label: i32, delta: i64 },
    /// Type 17; -1 is any.
    NodeCounts { label: i32, delta: i64 },
    /// Type 18; the map is there if `has_rule` is 1.
    SchemaRule { id: i64, has_rule: u8, before: SchemaRecord, after: SchemaRecord, map: SchemaMap },
    /// Type 19. Key -1 is an upgrade of the kernel version.
    Metadata { key: i64, before: MetadataRecord, after: MetadataRecord },
    /// Type 20: `group id << 2 | direction` (0 outgoing, 1 incoming, 2 loop).
    GroupDegree { key: i64, delta: i64 },
    /// Type 30: change data capture (Enterprise).
    Enrichment(Box<Enrichment>),
}

/// A change data capture command; the buffers are kept as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enrichment {
    /// Last transaction when the change was made.
    pub last_tx_id: i64,
    /// 1 differences, 2 full.
    pub mode: u8,
    /// Server, users, connection and request; `None` where absent.
    pub strings: [Option<Vec<u8>>; 8],
    /// Entities, details, changes, values, and from kernel version 11 on user metadata.
    pub buffers: [Vec<u8>; 5],
}

/// The kernel version that wrote the first enrichments (5.8).
const ENRICHMENT: KernelVersion = KernelVersion(7);
/// The kernel version from which on an enrichment has user metadata.
const USER_METADATA: KernelVersion = KernelVersion(11);
const STRING_BYTES_MAX: u32 = 1 << 24;
const BUFFER_BYTES_MAX: u32 = 1 << 30;

impl<T: Default> Change<T> {
    fn update() -> Self {
        Self::Update { before: T::default(), after: T::default() }
    }
}

impl<T: Layout> Layout for Change<T> {
    fn visit<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        match self {
            Self::Update { before, after } => {
                before.visit(codec)?;
                after.visit(codec)
            }
            Self::Create(image) | Self::Delete(image) => image.visit(codec),
        }
    }
}

impl<T> Change<T> {
    fn type_code(&self, update: u8, create: u8, delete: u8) -> u8 {
        match self {
            Self::Update { .. } => update,
            Self::Create(_) => create,
            Self::Delete(_) => delete,
        }
    }
}

impl Command {
    /// The type byte.
    #[must_use]
    pub fn type_code(&self) -> u8 {
        match self {
            Self::Node { change, .. } => change.type_code(1, 22, 23),
            Self::Property { change, .. } => change.type_code(2, 24, 25),
            Self::Relationship { change, .. } => change.type_code(3, 26, 27),
            Self::RelationshipTypeToken { .. } => 4,
            Self::PropertyKeyToken { .. } => 5,
            Self::LabelToken { .. } => 8,
            Self::RelationshipGroup { .. } => 9,
            Self::RelationshipCounts { .. } => 16,
            Self::NodeCounts { .. } => 17,
            Self::SchemaRule { .. } => 18,
            Self::Metadata { .. } => 19,
            Self::GroupDegree { .. } => 20,
            Self::Enrichment(_) => 30,
        }
    }

    /// The kernel version that this command upgrades the database to.
    #[must_use]
    pub fn upgrade_to(&self) -> Option<KernelVersion> {
        match self {
            // From version 22 on the log format stands in the byte above.
            Self::Metadata { key: -1, after, .. } => {
                u8::try_from(after.value & 0xFF).ok().map(KernelVersion)
            }
            _ => None,
        }
    }

    /// A command of this type with empty fields, to be filled by a visit.
    fn empty(type_code: u8, version: KernelVersion, at: u64) -> Result<Self> {
        let id = 0;
        let early = version < KernelVersion::CREATE_AND_DELETE_COMMANDS;
        Ok(match type_code {
            22..=27 if early => return Err(too_early(at, type_code, version)),
            30 if version < ENRICHMENT => return Err(too_early(at, type_code, version)),
            1 => Self::Node { id, change: Change::update() },
            22 => Self::Node { id, change: Change::Create(NodeRecord::default()) },
            23 => Self::Node { id, change: Change::Delete(NodeRecord::default()) },
            2 => Self::Property { id, change: Change::update() },
            24 => Self::Property { id, change: Change::Create(PropertyRecord::default()) },
            25 => Self::Property { id, change: Change::Delete(PropertyRecord::default()) },
            3 => Self::Relationship { id, change: Change::update() },
            26 => Self::Relationship { id, change: Change::Create(RelationshipRecord::default()) },
            27 => Self::Relationship { id, change: Change::Delete(RelationshipRecord::default()) },
            4 => Self::RelationshipTypeToken {
                id: 0,
                before: TokenRecord::default(),
                after: TokenRecord::default(),
            },
            5 => Self::PropertyKeyToken {
                id: 0,
                before: PropertyKeyRecord::default(),
                after: PropertyKeyRecord::default(),
            },
            8 => Self::LabelToken {
                id: 0,
                before: TokenRecord::default(),
                after: TokenRecord::default(),
            },
            9 => Self::RelationshipGroup {
                id,
                before: GroupRecord::default(),
                after: GroupRecord::default(),
            },
            16 => Self::RelationshipCounts { start_label: 0, kind: 0, end_label: 0, delta: 0 },
            17 => Self::NodeCounts { label: 0, delta: 0 },
            18 => Self::SchemaRule {
                id,
                has_rule: 0,
                before: SchemaRecord::default(),
                after: SchemaRecord::default(),
                map: SchemaMap::default(),
            },
            19 => Self::Metadata {
                key: 0,
                before: MetadataRecord::default(),
                after: MetadataRecord::default(),
            },
            20 => Self::GroupDegree { key: 0, delta: 0 },
            30 => Self::Enrichment(Box::default()),
            other => return Err(unknown_command(at, other)),
        })
    }

    /// Reads a command, type byte included.
    pub(super) fn decode<C: Codec>(codec: &mut C, version: KernelVersion) -> Result<Self> {
        let at = codec.offset();
        let mut type_code = 0;
        codec.u8(&mut type_code)?;
        let mut command = Self::empty(type_code, version, at)?;
        command.visit_body(codec, version)?;
        Ok(command)
    }

    /// Visits everything behind the type byte.
    pub(super) fn visit_body<C: Codec>(
        &mut self,
        codec: &mut C,
        version: KernelVersion,
    ) -> Result<()> {
        match self {
            Self::Node { id, change } => visit_change(codec, id, change),
            Self::Property { id, change } => visit_change(codec, id, change),
            Self::Relationship { id, change } => visit_change(codec, id, change),
            Self::RelationshipTypeToken { id, before, after }
            | Self::LabelToken { id, before, after } => {
                codec.i32(id)?;
                before.visit(codec)?;
                after.visit(codec)
            }
            Self::PropertyKeyToken { id, before, after } => {
                codec.i32(id)?;
                before.visit(codec)?;
                after.visit(codec)
            }
            Self::RelationshipGroup { id, before, after } => {
                codec.i64(id)?;
                before.visit(codec)?;
                after.visit(codec)
            }
            Self::RelationshipCounts { start_label, kind, end_label, delta } => {
                codec.i32(start_label)?;
                codec.i32(kind)?;
                codec.i32(end_label)?;
                codec.i64(delta)
            }
            Self::NodeCounts { label, delta } => {
                codec.i32(label)?;
                codec.i64(delta)
            }
            Self::SchemaRule { id, has_rule, before, after, map } => {
                codec.i64(id)?;
                codec.u8(has_rule)?;
                before.visit(codec)?;
                after.visit(codec)?;
                if *has_rule == 1 { map.visit(codec) } else { Ok(()) }
            }
            Self::Metadata { key, before, after } => {
                codec.i64(key)?;
                before.visit(codec)?;
                after.visit(codec)
            }
            Self::GroupDegree { key, delta } => {
                codec.i64(key)?;
                codec.i64(delta)
            }
            Self::Enrichment(enrichment) => enrichment.visit(codec, version),
        }
    }
}

fn too_early(at: u64, type_code: u8, version: KernelVersion) -> Error {
    let found = format!("{type_code} with kernel version {version}");
    Error::unsupported(at, "command", found)
}

fn unknown_command(at: u64, type_code: u8) -> Error {
    let name = match type_code {
        // No version's command: most likely bytes that are not written yet.
        0 => return Error::corrupt(at, "type of a command", "1 to 30", 0),
        6 | 7 | 10..=15 | 21 => "legacy, before Neo4j 5",
        28 => "multiversion index update",
        _ => return Error::unsupported(at, "command", type_code),
    };
    Error::unsupported(at, "command", format!("{type_code} ({name})"))
}

fn visit_change<C: Codec, T: Layout>(
    codec: &mut C,
    id: &mut i64,
    change: &mut Change<T>,
) -> Result<()> {
    codec.i64(id)?;
    change.visit(codec)
}

impl Enrichment {
    fn visit<C: Codec>(&mut self, codec: &mut C, version: KernelVersion) -> Result<()> {
        codec.i64(&mut self.last_tx_id)?;
        codec.u8(&mut self.mode)?;
        for string in &mut self.strings {
            let at = codec.offset();
            let mut length =
                string.as_ref().map_or(-1, |text| i32::try_from(text.len()).unwrap_or(i32::MAX));
            codec.i32(&mut length)?;
            if length == -1 {
                *string = None;
                continue;
            }
            let max = i32::try_from(STRING_BYTES_MAX).unwrap_or(i32::MAX);
            if !(0..=max).contains(&length) {
                let expected = format_args!("-1 to {max}");
                return Err(Error::corrupt(at, "length of an enrichment string", expected, length));
            }
            let length = u64::try_from(length).unwrap_or(0);
            codec.blob(length, string.get_or_insert_default())?;
        }
        let count = if version >= USER_METADATA { 5 } else { 4 };
        let mut lengths = [0; 5];
        for (length, buffer) in lengths.iter_mut().zip(&self.buffers).take(count) {
            let what = "length of an enrichment buffer";
            *length = codec.length(what, buffer.len(), BUFFER_BYTES_MAX)?;
        }
        for (length, buffer) in lengths.into_iter().zip(&mut self.buffers).take(count) {
            codec.blob(length, buffer)?;
        }
        Ok(())
    }
}
