//! Record images inside commands, where they are not those of [`txlog`](crate::txlog).
//!
//! Source: `PhysicalLogCommandReaderV3_0`, 3.0.0. Evidence: real logs of 3.0.0 to the last byte;
//! secondary units are inferred from code.

use super::visit_u16;
use crate::Result;
use crate::codec::{Codec, Layout};
use crate::txlog::{DynamicRecord, HAS_SECONDARY, PropertyBlock, visit_blocks};

/// A property record. All fields are there even if it is not in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropertyRecord {
    /// Flags; 0x02 of a relationship.
    pub flags: u8,
    /// Next record of the owner.
    pub next: i64,
    /// Previous record.
    pub previous: i64,
    /// The node or relationship; -1 for the graph's own properties, and if unknown.
    pub owner: i64,
    /// Secondary unit, if flag 0x08.
    pub secondary: i64,
    /// The values; in use if there are any.
    pub blocks: Vec<PropertyBlock>,
    /// Value records that this transaction frees.
    pub deleted_records: Vec<DynamicRecord>,
}

impl Layout for PropertyRecord {
    fn visit<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        codec.u8(&mut self.flags)?;
        codec.i64(&mut self.next)?;
        codec.i64(&mut self.previous)?;
        codec.i64(&mut self.owner)?;
        if self.flags & HAS_SECONDARY != 0 {
            codec.i64(&mut self.secondary)?;
        }
        visit_blocks(codec, &mut self.blocks)?;
        codec.list("number of deleted records", &mut self.deleted_records)
    }
}

/// A relationship group of a dense node. All fields are there even if it is not in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupRecord {
    /// Flags.
    pub flags: u8,
    /// Relationship type token. (3.0.0 itself takes it for negative from 32768 on.)
    pub kind: u16,
    /// Next group of the node.
    pub next: i64,
    /// First outgoing, incoming and loop relationship.
    pub first: [i64; 3],
    /// The node.
    pub owner: i64,
    /// Secondary unit, if flag 0x08.
    pub secondary: i64,
}

impl Layout for GroupRecord {
    fn visit<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        codec.u8(&mut self.flags)?;
        visit_u16(codec, &mut self.kind)?;
        codec.i64(&mut self.next)?;
        self.first.iter_mut().try_for_each(|pointer| codec.i64(pointer))?;
        codec.i64(&mut self.owner)?;
        if self.flags & HAS_SECONDARY != 0 {
            codec.i64(&mut self.secondary)?;
        }
        Ok(())
    }
}
