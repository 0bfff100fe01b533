//! The description of a schema rule inside its command: a map of names to values.
//!
//! i32 n, then n times: i32 length and UTF-8 key, u8 tag, value. Tags: 0 true, 1 false, 3 i8,
//! 4 i16, 5 i32, 6 i64, 7 f32, 8 f64, 9 string (i32 length, UTF-8), 10 char (i32), 11 array (i32 n,
//! u8 tag of the elements, the elements without tags; with element tag 2 a byte each, 0 for true).
//! An array's elements have at least a byte each, so that a count cannot promise more than there
//! is. Source: `LogCommandSerialization`, schema maps, 5.26. Evidence: the
//! schema rules of all fixtures; char and f32 are inferred.

#[cfg(test)]
mod tests;

use crate::codec::{Codec, Layout};
use crate::{Error, Result};

const KEY_BYTES_MAX: u32 = 1 << 16;
const STRING_BYTES_MAX: u32 = 1 << 26;

/// The map of a schema rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaMap {
    /// Its entries in the order of the bytes.
    pub entries: Vec<SchemaMapEntry>,
}

/// One entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaMapEntry {
    /// UTF-8.
    pub key: Vec<u8>,
    /// The value.
    pub value: SchemaValue,
}

/// A value; numbers are kept as their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaValue {
    tag: u8,
    /// Type of an array's elements.
    element_tag: u8,
    /// A number, a string's text, or an array's numbers back to back.
    bytes: Vec<u8>,
    /// The elements of an array of strings.
    strings: Vec<Text>,
}

/// A string without its tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Text(Vec<u8>);

const TRUE: u8 = 0;
const FALSE: u8 = 1;
const INT: u8 = 5;
const LONG: u8 = 6;
const STRING: u8 = 9;
const ARRAY: u8 = 11;

impl SchemaValue {
    /// True or false.
    #[must_use]
    pub fn boolean(value: bool) -> Self {
        Self { tag: if value { TRUE } else { FALSE }, ..Self::default() }
    }

    /// A string.
    #[must_use]
    pub fn string(text: &str) -> Self {
        Self { tag: STRING, bytes: text.as_bytes().to_vec(), ..Self::default() }
    }

    /// A 64-bit integer.
    #[must_use]
    pub fn long(value: i64) -> Self {
        Self { tag: LONG, bytes: value.to_le_bytes().to_vec(), ..Self::default() }
    }

    /// An array of 32-bit integers.
    #[must_use]
    pub fn ints(values: &[i32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { tag: ARRAY, element_tag: INT, bytes, ..Self::default() }
    }

    /// An array of strings.
    #[must_use]
    pub fn strings(texts: &[&str]) -> Self {
        let strings = texts.iter().map(|text| Text(text.as_bytes().to_vec())).collect();
        Self { tag: ARRAY, element_tag: STRING, strings, ..Self::default() }
    }

    /// The text of a string value.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        (self.tag == STRING).then(|| std::str::from_utf8(&self.bytes).ok()).flatten()
    }

    fn visit_array<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        let present = match element_bytes(self.element_tag) {
            Some(size) => self.bytes.len().checked_div(usize::from(size)).unwrap_or(0),
            None => self.strings.len(),
        };
        let max = u32::try_from(i32::MAX).unwrap_or(u32::MAX);
        let count = codec.length("length of a schema array", present, max)?;
        let at = codec.offset();
        codec.u8(&mut self.element_tag)?;
        match (self.element_tag, element_bytes(self.element_tag)) {
            (_, Some(size)) => codec.blob(count.saturating_mul(size.into()), &mut self.bytes),
            (STRING, _) => codec.items(count, &mut self.strings),
            // Tags of values that have no bytes: most likely bytes that are not written yet.
            (TRUE | FALSE, _) => {
                Err(Error::corrupt(at, "type of a schema array", "2 to 10", self.element_tag))
            }
            (other, _) => Err(Error::unsupported(at, "schema array of type", other)),
        }
    }
}

/// Size of an array's element of this type, if all are of one size. None has size 0: a count then
/// could promise any number of elements.
fn element_bytes(tag: u8) -> Option<u8> {
    match tag {
        2 | 3 => Some(1),
        4 => Some(2),
        5 | 7 | 10 => Some(4),
        6 | 8 => Some(8),
        _ => None,
    }
}

impl Layout for SchemaMap {
    fn visit<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        codec.list("number of schema map entries", &mut self.entries)
    }
}

impl Layout for SchemaMapEntry {
    fn visit<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        codec.string("length of a schema map key", &mut self.key, KEY_BYTES_MAX)?;
        self.value.visit(codec)
    }
}

impl Layout for SchemaValue {
    fn visit<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        let at = codec.offset();
        codec.u8(&mut self.tag)?;
        match (self.tag, element_bytes(self.tag)) {
            (TRUE | FALSE, _) => Ok(()),
            (3..=8 | 10, Some(size)) => codec.blob(size.into(), &mut self.bytes),
            (STRING, _) => visit_text(codec, &mut self.bytes),
            (ARRAY, _) => self.visit_array(codec),
            (other, _) => Err(Error::unsupported(at, "schema value of type", other)),
        }
    }
}

impl Layout for Text {
    fn visit<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        visit_text(codec, &mut self.0)
    }
}

fn visit_text<C: Codec>(codec: &mut C, text: &mut Vec<u8>) -> Result<()> {
    codec.string("length of a schema string", text, STRING_BYTES_MAX)
}
