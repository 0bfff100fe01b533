//! The configuration of legacy indexes, `index.db`.
//!
//! `neo4j-index`, i32 1, then twice (indexes of nodes, of relationships): i32 count, so many times
//! string name, i32 n, n times string key, string value. A string is i32 number of UTF-16 units,
//! those units. Source: `IndexConfigStore`, 3.0.0. Evidence: real stores of 3.0.0.

use super::rest::Rest;
use crate::{Error, Result};

const MAGIC: &[u8; 11] = b"neo4j-index";
const VERSION: i32 = 1;

/// The legacy indexes of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexConfig {
    /// Those of nodes, in the order of the bytes.
    pub nodes: Vec<LegacyIndex>,
    /// Those of relationships.
    pub relationships: Vec<LegacyIndex>,
}

/// A legacy index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LegacyIndex {
    /// Its name; that of its directory too.
    pub name: String,
    /// Its configuration, such as `provider` and `lucene`.
    pub options: Vec<(String, String)>,
}

impl IndexConfig {
    /// Reads the whole file.
    ///
    /// # Errors
    /// `Incomplete`; `Unsupported` for another magic or version; `Corrupt`.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let (what, count) = ("an index configuration", "count of an index configuration");
        let mut rest = Rest::new(bytes, what, count);
        let magic = rest.take(MAGIC.len())?;
        if magic != MAGIC {
            return Err(Error::unsupported(0, "index configuration", "without neo4j-index"));
        }
        let version = rest.i32()?;
        if version != VERSION {
            return Err(Error::unsupported(11, "index configuration version", version));
        }
        let found = Self { nodes: rest.indexes()?, relationships: rest.indexes()? };
        if rest.bytes.is_empty() {
            return Ok(found);
        }
        Err(Error::corrupt(rest.at, "index configuration", "its end", "more bytes"))
    }

    /// The whole file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_be_bytes());
        for indexes in [&self.nodes, &self.relationships] {
            put_count(&mut bytes, indexes.len());
            for index in indexes {
                put_text(&mut bytes, &index.name);
                put_count(&mut bytes, index.options.len());
                for (key, value) in &index.options {
                    put_text(&mut bytes, key);
                    put_text(&mut bytes, value);
                }
            }
        }
        bytes
    }
}

fn put_count(bytes: &mut Vec<u8>, count: usize) {
    bytes.extend(i32::try_from(count).unwrap_or(i32::MAX).to_be_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_count(bytes, text.encode_utf16().count());
    bytes.extend(text.encode_utf16().flat_map(u16::to_be_bytes));
}

impl Rest<'_> {
    fn text(&mut self) -> Result<String> {
        let units = self.count()?;
        let at = self.at;
        let (units, _) = self.take(units.saturating_mul(2))?.as_chunks::<2>();
        let units = units.iter().map(|unit| u16::from_be_bytes(*unit));
        char::decode_utf16(units).collect::<std::result::Result<String, _>>().map_err(|_| {
            Error::corrupt(at, "string of an index configuration", "UTF-16", "half a pair")
        })
    }

    fn indexes(&mut self) -> Result<Vec<LegacyIndex>> {
        let mut indexes = Vec::new();
        for _ in 0..self.count()? {
            let mut index = LegacyIndex { name: self.text()?, options: Vec::new() };
            for _ in 0..self.count()? {
                index.options.push((self.text()?, self.text()?));
            }
            indexes.push(index);
        }
        Ok(indexes)
    }
}
