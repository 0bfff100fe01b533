//! Record images inside commands. Each begins with a byte of flags; unknown bits are kept.
//!
//! Flags: 0x01 in use, 0x02 created in this transaction, 0x04 requires a secondary unit, 0x08 has
//! one (its id follows), 0x10 fixed references, 0x20 by kind of record, 0x40 and 0x80 a property's
//! owner. Source: `LogCommandSerializationV5_0` and later, 5.26; 597,681 real commands.
//!
//! Those of 3.0 which have the same fields are these too. Of the flags it knows 0x01, 0x04 and 0x08;
//! 0x02 is a relationship's "created", a property's "of a relationship", and a dynamic record's
//! "first of its chain" (`PhysicalLogCommandReaderV3_0`, 3.0.0).

use crate::codec::{Codec, Layout};
use crate::{Error, Result};

const IN_USE: u8 = 0x01;
pub(crate) const HAS_SECONDARY: u8 = 0x08;

/// Data of one dynamic record; the record size of a store is far below this.
const DYNAMIC_BYTES_MAX: u32 = 1 << 20;
const PROPERTY_BLOCKS_MAX: u8 = 4;

/// One record of a dynamic store (strings, arrays, labels, names).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DynamicRecord {
    /// Record id.
    pub id: i64,
    /// 9 string, 10 array, -1 labels and names.
    pub kind: i32,
    /// Flags; 0x20 first record of its chain, in 3.0 0x02.
    pub flags: u8,
    /// Next record of the chain, -1 for none; only if in use.
    pub next: i64,
    /// The record's data; only if in use.
    pub data: Vec<u8>,
}

impl Layout for DynamicRecord {
    fn visit<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        codec.i64(&mut self.id)?;
        codec.i32(&mut self.kind)?;
        codec.u8(&mut self.flags)?;
        if self.flags & IN_USE != 0 {
            let what = "length of a dynamic record";
            let length = codec.length(what, self.data.len(), DYNAMIC_BYTES_MAX)?;
            codec.i64(&mut self.next)?;
            codec.blob(length, &mut self.data)?;
        }
        Ok(())
    }
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeRecord {
    /// Flags; the fields up to `secondary` are there only if in use.
    pub flags: u8,
    /// 1 if the node is dense.
    pub dense: u8,
    /// First relationship, or first group of a dense node.
    pub next_relationship: i64,
    /// First property record.
    pub next_property: i64,
    /// Inline labels, or the first dynamic record.
    pub labels: i64,
    /// Secondary unit, if flag 0x08.
    pub secondary: i64,
    /// Dynamic label records, in use and freed.
    pub label_records: Vec<DynamicRecord>,
}

impl Layout for NodeRecord {
    fn visit<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        codec.u8(&mut self.flags)?;
        if self.flags & IN_USE != 0 {
            codec.u8(&mut self.dense)?;
            codec.i64(&mut self.next_relationship)?;
            codec.i64(&mut self.next_property)?;
            codec.i64(&mut self.labels)?;
            if self.flags & HAS_SECONDARY != 0 {
                codec.i64(&mut self.secondary)?;
            }
        }
        codec.list("number of label records", &mut self.label_records)
    }
}

/// A relationship.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelationshipRecord {
    /// Flags; if not in use, only the type follows.
    pub flags: u8,
    /// Start node.
    pub first_node: i64,
    /// End node.
    pub second_node: i64,
    /// Relationship type token.
    pub kind: i32,
    /// Start node's chain: previous, next; end node's chain: previous, next.
    pub chain: [i64; 4],
    /// First property record.
    pub next_property: i64,
    /// 1 first in the start node's chain, 2 in the end node's, 4 the start node is dense, 8 the
    /// end node (from 5.26.30 on).
    pub extra: u8,
    /// Secondary unit, if flag 0x08.
    pub secondary: i64,
}

impl Layout for RelationshipRecord {
    fn visit<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        codec.u8(&mut self.flags)?;
        if self.flags & IN_USE == 0 {
            return codec.i32(&mut self.kind);
        }
        codec.i64(&mut self.first_node)?;
        codec.i64(&mut self.second_node)?;
        codec.i32(&mut self.kind)?;
        self.chain.iter_mut().try_for_each(|pointer| codec.i64(pointer))?;
        codec.i64(&mut self.next_property)?;
        codec.u8(&mut self.extra)?;
        if self.flags & HAS_SECONDARY != 0 {
            codec.i64(&mut self.secondary)?;
        }
        Ok(())
    }
}

/// A relationship group of a dense node. All fields are there even if it is not in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupRecord {
    /// Flags.
    pub flags: u8,
    /// Relationship type token.
    pub kind: i32,
    /// Next group of the node.
    pub next: i64,
    /// First outgoing, incoming and loop relationship.
    pub first: [i64; 3],
    /// The node.
    pub owner: i64,
    /// Degrees kept outside: 1 outgoing, 2 incoming, 4 loop.
    pub external_degrees: u8,
    /// Secondary unit, if flag 0x08.
    pub secondary: i64,
}

impl Layout for GroupRecord {
    fn visit<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        codec.u8(&mut self.flags)?;
        codec.i32(&mut self.kind)?;
        codec.i64(&mut self.next)?;
        self.first.iter_mut().try_for_each(|pointer| codec.i64(pointer))?;
        codec.i64(&mut self.owner)?;
        codec.u8(&mut self.external_degrees)?;
        if self.flags & HAS_SECONDARY != 0 {
            codec.i64(&mut self.secondary)?;
        }
        Ok(())
    }
}

/// One value of a property record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropertyBlock {
    /// The block's 1 to 4 longs, as they stand in the record.
    pub words: Vec<u8>,
    /// Records of a value that does not fit.
    pub value_records: Vec<DynamicRecord>,
}

impl Layout for PropertyBlock {
    fn visit<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        let at = codec.offset();
        let mut size_bytes = u8::try_from(self.words.len()).unwrap_or(u8::MAX);
        codec.u8(&mut size_bytes)?;
        if !matches!(size_bytes, 8 | 16 | 24 | 32) {
            return Err(Error::corrupt(at, "size of a property block", "8 to 32", size_bytes));
        }
        codec.blob(u64::from(size_bytes), &mut self.words)?;
        codec.list("number of value records", &mut self.value_records)
    }
}

/// A property record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropertyRecord {
    /// Flags; 0x40 owned by a node, 0x80 by a relationship, neither by a schema rule.
    pub flags: u8,
    /// Next record of the owner.
    pub next: i64,
    /// Previous record.
    pub previous: i64,
    /// The owner, -1 if unknown.
    pub owner: i64,
    /// The values; in use if there are any.
    pub blocks: Vec<PropertyBlock>,
    /// Value records that this transaction frees.
    pub deleted_records: Vec<DynamicRecord>,
}

impl Layout for PropertyRecord {
    fn visit<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        let at = codec.offset();
        codec.u8(&mut self.flags)?;
        if self.flags & HAS_SECONDARY != 0 {
            // No supported format writes it, so nobody has seen where its id stands.
            return Err(Error::unsupported(at, "property record", "with a secondary unit"));
        }
        codec.i64(&mut self.next)?;
        codec.i64(&mut self.previous)?;
        codec.i64(&mut self.owner)?;
        visit_blocks(codec, &mut self.blocks)?;
        codec.list("number of deleted records", &mut self.deleted_records)
    }
}

/// Visits a property record's values.
pub(crate) fn visit_blocks<C: Codec>(codec: &mut C, blocks: &mut Vec<PropertyBlock>) -> Result<()> {
    let at = codec.offset();
    let mut count = u8::try_from(blocks.len()).unwrap_or(u8::MAX);
    codec.u8(&mut count)?;
    if count > PROPERTY_BLOCKS_MAX {
        return Err(Error::corrupt(at, "number of property blocks", "0 to 4", count));
    }
    codec.items(u64::from(count), blocks)
}

/// A label or relationship type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenRecord {
    /// Flags; 0x20 internal. In 3.0 0 or 1: in use.
    pub flags: u8,
    /// First record of the name.
    pub name_id: i32,
    /// The name's records.
    pub name_records: Vec<DynamicRecord>,
}

impl Layout for TokenRecord {
    fn visit<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        codec.u8(&mut self.flags)?;
        codec.i32(&mut self.name_id)?;
        codec.list("number of name records", &mut self.name_records)
    }
}

/// A property key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropertyKeyRecord {
    /// Flags; 0x20 internal. In 3.0 0 or 1: in use.
    pub flags: u8,
    /// A count that Neo4j does not use.
    pub property_count: i32,
    /// First record of the name.
    pub name_id: i32,
    /// The name's records.
    pub name_records: Vec<DynamicRecord>,
}

impl Layout for PropertyKeyRecord {
    fn visit<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        codec.u8(&mut self.flags)?;
        codec.i32(&mut self.property_count)?;
        codec.i32(&mut self.name_id)?;
        codec.list("number of name records", &mut self.name_records)
    }
}

/// A schema record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaRecord {
    /// Flags; the other fields are there only if in use.
    pub flags: u8,
    /// 1 for a constraint.
    pub schema_flags: u8,
    /// First property record.
    pub next_property: i64,
}

impl Layout for SchemaRecord {
    fn visit<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        codec.u8(&mut self.flags)?;
        if self.flags & IN_USE != 0 {
            codec.u8(&mut self.schema_flags)?;
            codec.i64(&mut self.next_property)?;
        }
        Ok(())
    }
}

/// A value of the metadata store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataRecord {
    /// Flags.
    pub flags: u8,
    /// The value, there even if not in use.
    pub value: i64,
}

impl Layout for MetadataRecord {
    fn visit<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        codec.u8(&mut self.flags)?;
        codec.i64(&mut self.value)
    }
}
