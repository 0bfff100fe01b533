//! What commands of legacy (manual) indexes consist of: types 10 to 15.
//!
//! Header, 6 bytes:
//!
//! | offset | type | name |
//! |---|---|---|
//! | 0 | u8 | value type << 2, entity type << 1 (0 node, 1 relationship), 1 if the id is an i64 |
//! | 1 | u8 | 0x80 if the start node's id is an i64, 0x40 if the end node's |
//! | 2 | u16 | index name, as the transaction's definition (type 10) numbers it |
//! | 4 | u16 | key, in the same way; 0xFFFF none |
//!
//! Value types: 0 none, 1 i16, 2 i32, 3 i64, 4 f32, 5 f64, 6 string: u16 and u8, the low and high
//! bits of its length, UTF-8. Other strings: i16 length, UTF-8.
//! Source: `IndexCommand`, `IndexDefineCommand`, `PhysicalLogCommandReaderV3_0`, 3.0.0 and 3.0.7.
//! Evidence: real logs of both.

use super::visit_u16;
use crate::codec::{Codec, Layout};
use crate::{Error, KernelVersion, Result};

/// 3.0.0 reads the high bits of a length as a signed byte.
const VALUE_BYTES_MAX: u32 = (1 << 23) - 1;
const ID_IS_LONG: u8 = 0x01;
const START_IS_LONG: u8 = 0x80;
const END_IS_LONG: u8 = 0x40;

/// The header of an index command. Unknown bits are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexHeader {
    /// Value type, entity type, and whether the entity's id is long.
    pub kinds: u8,
    /// Whether the ids of a relationship's nodes are long.
    pub long_nodes: u8,
    /// The index.
    pub name_id: u16,
    /// The key; 0xFFFF for none.
    pub key_id: u16,
}

impl IndexHeader {
    /// The type of the command's value.
    #[must_use]
    pub fn value_type(&self) -> u8 {
        self.kinds >> 2 & 7
    }

    pub(super) fn visit_id<C: Codec>(&self, codec: &mut C, id: &mut i64) -> Result<()> {
        visit_id(codec, self.kinds & ID_IS_LONG != 0, id)
    }

    pub(super) fn visit_start_id<C: Codec>(&self, codec: &mut C, id: &mut i64) -> Result<()> {
        visit_id(codec, self.long_nodes & START_IS_LONG != 0, id)
    }

    pub(super) fn visit_end_id<C: Codec>(&self, codec: &mut C, id: &mut i64) -> Result<()> {
        visit_id(codec, self.long_nodes & END_IS_LONG != 0, id)
    }
}

impl Layout for IndexHeader {
    fn visit<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        codec.u8(&mut self.kinds)?;
        codec.u8(&mut self.long_nodes)?;
        visit_u16(codec, &mut self.name_id)?;
        visit_u16(codec, &mut self.key_id)
    }
}

fn visit_id<C: Codec>(codec: &mut C, long: bool, id: &mut i64) -> Result<()> {
    if long {
        return codec.i64(id);
    }
    let mut short =
        i32::try_from(*id).map_err(|_| Error::corrupt(0, "id", "32 bits, as flagged", *id))?;
    codec.i32(&mut short)?;
    *id = short.into();
    Ok(())
}

/// A value of the type that the command's header says: a number as its big-endian bytes, or UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexValue(pub Vec<u8>);

impl IndexValue {
    pub(super) fn visit<C: Codec>(&mut self, codec: &mut C, header: &IndexHeader) -> Result<()> {
        let at = codec.offset();
        let length = match header.value_type() {
            0 => 0,
            1 => 2,
            2 | 4 => 4,
            3 | 5 => 8,
            6 => self.visit_length(codec)?,
            other => return Err(Error::corrupt(at, "type of an index value", "0 to 6", other)),
        };
        codec.blob(length.into(), &mut self.0)
    }

    fn visit_length<C: Codec>(&self, codec: &mut C) -> Result<u32> {
        let at = codec.offset();
        let [_, mut high, low @ ..] =
            u32::try_from(self.0.len()).unwrap_or(u32::MAX).min(1 << 23).to_be_bytes();
        let mut low = u16::from_be_bytes(low);
        visit_u16(codec, &mut low)?;
        codec.u8(&mut high)?;
        let length = u32::from(high) << 16 | u32::from(low);
        if length > VALUE_BYTES_MAX {
            let expected = format_args!("0 to {VALUE_BYTES_MAX}");
            return Err(Error::corrupt(at, "length of an index value", expected, length));
        }
        Ok(length)
    }
}

/// A name of an index or key, and its number in this transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexName {
    /// UTF-8.
    pub name: Vec<u8>,
    /// Its number.
    pub id: u16,
}

impl Layout for IndexName {
    fn visit<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        visit_text(codec, &mut self.name)?;
        visit_u16(codec, &mut self.id)
    }
}

/// One entry of a new index's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexOption {
    /// UTF-8.
    pub key: Vec<u8>,
    /// UTF-8.
    pub value: Vec<u8>,
}

impl Layout for IndexOption {
    fn visit<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        visit_text(codec, &mut self.key)?;
        visit_text(codec, &mut self.value)
    }
}

/// Visits the names of a definition in an entry of that version. 3.0.0 writes more than 127 and
/// cannot read them again: it would not start on such a log, and so it is damage. 3.0.7 takes 65535
/// for -1, and writes one less at most.
pub(super) fn visit_names<C: Codec>(
    codec: &mut C,
    version: KernelVersion,
    names: &mut Vec<IndexName>,
) -> Result<()> {
    let at = codec.offset();
    let (count, max) = if version == KernelVersion::V3_0 {
        let mut count = u8::try_from(names.len()).unwrap_or(u8::MAX);
        codec.u8(&mut count)?;
        (count.into(), 127)
    } else {
        let mut count = u16::try_from(names.len()).unwrap_or(u16::MAX);
        visit_u16(codec, &mut count)?;
        (count, 65_534)
    };
    if count > max {
        let expected = format_args!("0 to {max}");
        return Err(Error::corrupt(at, "number of names of an index command", expected, count));
    }
    codec.items(count.into(), names)
}

/// Visits an index's configuration.
pub(super) fn visit_options<C: Codec>(codec: &mut C, options: &mut Vec<IndexOption>) -> Result<()> {
    let count = visit_i16_length(codec, "number of options of an index", options.len())?;
    codec.items(count, options)
}

fn visit_text<C: Codec>(codec: &mut C, text: &mut Vec<u8>) -> Result<()> {
    let length = visit_i16_length(codec, "length of a string of an index command", text.len())?;
    codec.blob(length, text)
}

fn visit_i16_length<C: Codec>(codec: &mut C, what: &'static str, present: usize) -> Result<u64> {
    let at = codec.offset();
    // -1 while encoding more than fits: refused below.
    let mut length = i16::try_from(present).unwrap_or(-1);
    codec.i16(&mut length)?;
    u64::try_from(length).map_err(|_| Error::corrupt(at, what, "0 to 32767", length))
}
