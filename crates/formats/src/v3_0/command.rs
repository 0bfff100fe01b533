//! Storage commands: u8 type, then a body. There is no length: every type must be known.
//!
//! Record images come in pairs, before and after. `DYNS` is a list of dynamic records.
//!
//! | type | name | body |
//! |---|---|---|
//! | 1, 2, 3, 9 | node, property, relationship, group | i64 id, two images |
//! | 4, 5, 8 | relationship type, property key, label | i32 id, two images |
//! | 6 | neostore | i64 first graph property before, i64 after |
//! | 7 | schema rule | `DYNS` before, `DYNS` after, u8 1 if created |
//! | 10 | index define | header, names of indexes, names of keys: count, names |
//! | 11, 13 | index add node, index remove | header, id, value |
//! | 12 | index add relationship | header, id, value, start node's id, end node's id |
//! | 14 | index delete | header |
//! | 15 | index create | header, i16 count, options |
//! | 16 | relationship counts | i32 start label, i32 type, i32 end label, i64 delta |
//! | 17 | node counts | i32 label, i64 delta |
//!
//! The counts of type 10 have 8 bits in entries of version -6, 16 in those of -9. There is no other
//! difference.
//!
//! Source: `PhysicalLogCommandReaderV3_0`, 3.0.0, `PhysicalLogCommandReaderV3_0_2`, 3.0.7. Evidence:
//! every type in real logs of both.

use super::legacy_index::{
    IndexHeader, IndexName, IndexOption, IndexValue, visit_names, visit_options,
};
use super::record::{GroupRecord, PropertyRecord};
use crate::codec::{Codec, Layout};
use crate::txlog::{DynamicRecord, NodeRecord, PropertyKeyRecord, RelationshipRecord, TokenRecord};
use crate::{Error, KernelVersion, Result};

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields are named as in the record images and tables")]
pub enum Command {
    /// Type 1.
    Node { id: i64, before: NodeRecord, after: NodeRecord },
    /// Type 2.
    Property { id: i64, before: PropertyRecord, after: PropertyRecord },
    /// Type 3.
    Relationship { id: i64, before: RelationshipRecord, after: RelationshipRecord },
    /// Type 4.
    RelationshipTypeToken { id: i32, before: TokenRecord, after: TokenRecord },
    /// Type 5.
    PropertyKeyToken { id: i32, before: PropertyKeyRecord, after: PropertyKeyRecord },
    /// Type 6: the first property of the graph itself.
    Neostore { before: i64, after: i64 },
    /// Type 7. Of a rule that is created, "before" is a copy of "after".
    SchemaRule { before: Vec<DynamicRecord>, after: Vec<DynamicRecord>, created: u8 },
    /// Type 8.
    LabelToken { id: i32, before: TokenRecord, after: TokenRecord },
    /// Type 9.
    RelationshipGroup { id: i64, before: GroupRecord, after: GroupRecord },
    /// Type 10: numbers for the names that the transaction's other index commands have.
    IndexDefine { header: IndexHeader, names: Vec<IndexName>, keys: Vec<IndexName> },
    /// Type 11.
    IndexAddNode { header: IndexHeader, id: i64, value: IndexValue },
    /// Type 12.
    IndexAddRelationship {
        header: IndexHeader,
        id: i64,
        value: IndexValue,
        start_node: i64,
        end_node: i64,
    },
    /// Type 13. Without key and value: from the whole index.
    IndexRemove { header: IndexHeader, id: i64, value: IndexValue },
    /// Type 14.
    IndexDelete { header: IndexHeader },
    /// Type 15.
    IndexCreate { header: IndexHeader, options: Vec<IndexOption> },
    /// Type 16; -1 is any.
    RelationshipCounts { start_label: i32, kind: i32, end_label: i32, delta: i64 },
    /// Type 17; -1 is any.
    NodeCounts { label: i32, delta: i64 },
}

impl Command {
    /// The type byte.
    #[must_use]
    pub fn type_code(&self) -> u8 {
        match self {
            Self::Node { .. } => 1,
            Self::Property { .. } => 2,
            Self::Relationship { .. } => 3,
            Self::RelationshipTypeToken { .. } => 4,
            Self::PropertyKeyToken { .. } => 5,
            Self::Neostore { .. } => 6,
            Self::SchemaRule { .. } => 7,
            Self::LabelToken { .. } => 8,
            Self::RelationshipGroup { .. } => 9,
            Self::IndexDefine { .. } => 10,
            Self::IndexAddNode { .. } => 11,
            Self::IndexAddRelationship { .. } => 12,
            Self::IndexRemove { .. } => 13,
            Self::IndexDelete { .. } => 14,
            Self::IndexCreate { .. } => 15,
            Self::RelationshipCounts { .. } => 16,
            Self::NodeCounts { .. } => 17,
        }
    }

    /// A command of this type with empty fields, to be filled by a visit.
    fn empty(type_code: u8, at: u64) -> Result<Self> {
        let header = IndexHeader::default();
        let value = IndexValue::default();
        let token = TokenRecord::default;
        Ok(match type_code {
            1 => Self::Node { id: 0, before: NodeRecord::default(), after: NodeRecord::default() },
            2 => Self::Property {
                id: 0,
                before: PropertyRecord::default(),
                after: PropertyRecord::default(),
            },
            3 => Self::Relationship {
                id: 0,
                before: RelationshipRecord::default(),
                after: RelationshipRecord::default(),
            },
            4 => Self::RelationshipTypeToken { id: 0, before: token(), after: token() },
            5 => Self::PropertyKeyToken {
                id: 0,
                before: PropertyKeyRecord::default(),
                after: PropertyKeyRecord::default(),
            },
            6 => Self::Neostore { before: 0, after: 0 },
            7 => Self::SchemaRule { before: Vec::new(), after: Vec::new(), created: 0 },
            8 => Self::LabelToken { id: 0, before: token(), after: token() },
            9 => Self::RelationshipGroup {
                id: 0,
                before: GroupRecord::default(),
                after: GroupRecord::default(),
            },
            10 => Self::IndexDefine { header, names: Vec::new(), keys: Vec::new() },
            11 => Self::IndexAddNode { header, id: 0, value },
            12 => Self::IndexAddRelationship { header, id: 0, value, start_node: 0, end_node: 0 },
            13 => Self::IndexRemove { header, id: 0, value },
            14 => Self::IndexDelete { header },
            15 => Self::IndexCreate { header, options: Vec::new() },
            16 => Self::RelationshipCounts { start_label: 0, kind: 0, end_label: 0, delta: 0 },
            17 => Self::NodeCounts { label: 0, delta: 0 },
            other => return Err(Error::unsupported(at, "command of Neo4j 3.0", other)),
        })
    }

    /// Reads a command, type byte included. Zeros before it are passed over, as 3.0 does.
    pub(super) fn decode<C: Codec>(codec: &mut C, version: KernelVersion) -> Result<Self> {
        let mut type_code = 0;
        let mut at = codec.offset();
        while type_code == 0 {
            at = codec.offset();
            codec.u8(&mut type_code)?;
        }
        let mut command = Self::empty(type_code, at)?;
        command.visit_body(codec, version)?;
        Ok(command)
    }

    /// Visits everything behind the type byte, in an entry of that version.
    pub(super) fn visit_body<C: Codec>(
        &mut self,
        codec: &mut C,
        version: KernelVersion,
    ) -> Result<()> {
        match self {
            Self::Node { id, before, after } => visit_record(codec, id, before, after),
            Self::Property { id, before, after } => visit_record(codec, id, before, after),
            Self::Relationship { id, before, after } => visit_record(codec, id, before, after),
            Self::RelationshipGroup { id, before, after } => visit_record(codec, id, before, after),
            Self::RelationshipTypeToken { id, before, after }
            | Self::LabelToken { id, before, after } => visit_token(codec, id, before, after),
            Self::PropertyKeyToken { id, before, after } => visit_token(codec, id, before, after),
            Self::Neostore { before, after } => {
                codec.i64(before)?;
                codec.i64(after)
            }
            Self::SchemaRule { before, after, created } => {
                codec.list("number of schema records", before)?;
                codec.list("number of schema records", after)?;
                codec.u8(created)
            }
            Self::IndexDefine { header, names, keys } => {
                header.visit(codec)?;
                visit_names(codec, version, names)?;
                visit_names(codec, version, keys)
            }
            Self::IndexAddNode { header, id, value } | Self::IndexRemove { header, id, value } => {
                header.visit(codec)?;
                header.visit_id(codec, id)?;
                value.visit(codec, header)
            }
            Self::IndexAddRelationship { header, id, value, start_node, end_node } => {
                header.visit(codec)?;
                header.visit_id(codec, id)?;
                value.visit(codec, header)?;
                header.visit_start_id(codec, start_node)?;
                header.visit_end_id(codec, end_node)
            }
            Self::IndexDelete { header } => header.visit(codec),
            Self::IndexCreate { header, options } => {
                header.visit(codec)?;
                visit_options(codec, options)
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
        }
    }
}

fn visit_record<C: Codec, T: Layout>(
    codec: &mut C,
    id: &mut i64,
    before: &mut T,
    after: &mut T,
) -> Result<()> {
    codec.i64(id)?;
    before.visit(codec)?;
    after.visit(codec)
}

fn visit_token<C: Codec, T: Layout>(
    codec: &mut C,
    id: &mut i32,
    before: &mut T,
    after: &mut T,
) -> Result<()> {
    codec.i32(id)?;
    before.visit(codec)?;
    after.visit(codec)
}
