//! The description of a schema rule inside its command: a map of names to values.
//!
//! i32 n, then n times: i32 length and UTF-8 key, u8 tag, value. Tags: 0 true, 1 false, 3 i8,
//! 4 i16, 5 i32, 6 i64, 7 f32, 8 f64, 9 string (i32 length, UTF-8), 10 char (i32), 11 array (i32 n,
//! u8 tag of the elements, the elements without tags; with element tag 2 a byte each, 0 for true).
//! Source: `LogCommandSerialization`, schema maps, 5.26.

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
    scalar: Scalar,
    element_tag: u8,
    elements: Vec<Scalar>,
}

/// A value without its tag; which bytes are there follows from `tag`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Scalar {
    tag: u8,
    bytes: Vec<u8>,
}

const STRING: u8 = 9;
const ARRAY: u8 = 11;

impl SchemaValue {
    /// A string.
    #[must_use]
    pub fn string(text: &str) -> Self {
        let scalar = Scalar { tag: STRING, bytes: text.as_bytes().to_vec() };
        Self { tag: STRING, scalar, ..Self::default() }
    }

    /// A 64-bit integer.
    #[must_use]
    pub fn long(value: i64) -> Self {
        let scalar = Scalar { tag: 6, bytes: value.to_le_bytes().to_vec() };
        Self { tag: 6, scalar, ..Self::default() }
    }

    /// An array of 32-bit integers.
    #[must_use]
    pub fn ints(values: &[i32]) -> Self {
        let int = |value: &i32| Scalar { tag: 5, bytes: value.to_le_bytes().to_vec() };
        let elements = values.iter().map(int).collect();
        Self { tag: ARRAY, element_tag: 5, elements, ..Self::default() }
    }

    /// The text of a string value.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        (self.tag == STRING).then(|| std::str::from_utf8(&self.scalar.bytes).ok()).flatten()
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
        codec.u8(&mut self.tag)?;
        if self.tag != ARRAY {
            self.scalar.tag = self.tag;
            return self.scalar.visit(codec);
        }
        let max = u32::try_from(i32::MAX).unwrap_or(u32::MAX);
        let count = codec.length("length of a schema array", self.elements.len(), max)?;
        codec.u8(&mut self.element_tag)?;
        // Elements have no tag of their own: each takes the array's.
        let mut elements = std::mem::take(&mut self.elements);
        elements.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        for index in 0..count {
            let slot = usize::try_from(index).unwrap_or(usize::MAX);
            if elements.len() <= slot {
                elements.push(Scalar::default());
            }
            if let Some(element) = elements.get_mut(slot) {
                element.tag = self.element_tag;
                element.visit(codec)?;
            }
        }
        self.elements = elements;
        Ok(())
    }
}

impl Layout for Scalar {
    fn visit<C: Codec>(&mut self, codec: &mut C) -> Result<()> {
        let length = match self.tag {
            0 | 1 => 0,
            2 | 3 => 1,
            4 => 2,
            5 | 7 | 10 => 4,
            6 | 8 => 8,
            STRING => {
                let what = "length of a schema string";
                return codec.string(what, &mut self.bytes, STRING_BYTES_MAX);
            }
            tag => return Err(Error::unsupported(codec.offset(), "schema value type", tag)),
        };
        codec.blob(length, &mut self.bytes)
    }
}
