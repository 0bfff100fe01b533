//! The StoreId block: 64 bytes that stand in log headers, checkpoint entries and `neostore`.
//!
//! | offset | type | name |
//! |---|---|---|
//! | 0 | u8 | 1, the block's version |
//! | 1 | i64 | creation time, ms |
//! | 9 | i64 | random |
//! | 17 | u8 n, n bytes | storage engine |
//! | 18 + n | u8 m, m bytes | format family |
//! | 19 + n + m | i8 | major version |
//! | 20 + n + m | i8 | minor version |
//!
//! Big-endian, the rest zero. Source: `StoreIdSerialization`, 5.26; every log of the fixtures.

use crate::{Error, Result, StoreId, TimestampMs};

const VERSION: u8 = 1;
/// Room for both names: the block without version, two i64, two lengths and two versions.
const NAMES_BYTES_MAX: usize = StoreId::BLOCK_BYTES - 1 - 16 - 2 - 2;

impl StoreId {
    /// Length of the block.
    pub const BLOCK_BYTES: usize = 64;

    /// Whether both name the same store, which may have had a minor upgrade in between. Neo4j
    /// compares in this way when it matches logs with a store; the upgrade, which only 3.0 has,
    /// changes with the store's format.
    #[must_use]
    pub fn is_same_store(&self, other: &Self) -> bool {
        let key = |id: &Self| (id.creation_time, id.random, id.major, id.upgrade);
        key(self) == key(other)
            && self.engine == other.engine
            && self.format_family == other.format_family
    }

    /// Whether the store is one of Neo4j 3.0, whose identity tells of its last upgrade.
    #[must_use]
    pub fn is_v3_0(&self) -> bool {
        self.upgrade.is_some()
    }

    /// Reads a block that begins at `offset_bytes` of its file; every error names that place.
    ///
    /// # Errors
    /// `Unsupported` for another version of the block; `Corrupt` for names that do not fit or are
    /// no names, and for bytes behind the last field.
    pub fn decode_block(block: &[u8; Self::BLOCK_BYTES], offset_bytes: u64) -> Result<Self> {
        let mut rest = block.as_slice();
        let [version] = take(&mut rest, offset_bytes)?;
        if version != VERSION {
            return Err(Error::unsupported(offset_bytes, "store id version", version));
        }
        let creation_time = TimestampMs(i64::from_be_bytes(take(&mut rest, offset_bytes)?));
        let random = i64::from_be_bytes(take(&mut rest, offset_bytes)?);
        let engine = take_name(&mut rest, offset_bytes)?;
        let format_family = take_name(&mut rest, offset_bytes)?;
        let major = i8::from_be_bytes(take(&mut rest, offset_bytes)?);
        let minor = i8::from_be_bytes(take(&mut rest, offset_bytes)?);
        if rest.iter().any(|byte| *byte != 0) {
            return Err(Error::corrupt(offset_bytes, "store id padding", "zeros", "other bytes"));
        }
        Ok(Self { creation_time, random, engine, format_family, major, minor, upgrade: None })
    }

    /// The block, of a store of Neo4j 5; names that do not fit are cut.
    #[must_use]
    pub fn encode_block(&self) -> [u8; Self::BLOCK_BYTES] {
        let mut bytes = Vec::with_capacity(Self::BLOCK_BYTES);
        bytes.push(VERSION);
        bytes.extend(self.creation_time.0.to_be_bytes());
        bytes.extend(self.random.to_be_bytes());
        let mut room = NAMES_BYTES_MAX;
        for name in [&self.engine, &self.format_family] {
            let name = name.as_bytes().get(..room).unwrap_or(name.as_bytes());
            room = room.saturating_sub(name.len());
            bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            bytes.extend(name);
        }
        bytes.extend(self.major.to_be_bytes());
        bytes.extend(self.minor.to_be_bytes());
        bytes.resize(Self::BLOCK_BYTES, 0);
        let mut block = [0; Self::BLOCK_BYTES];
        block.copy_from_slice(&bytes);
        block
    }
}

fn take<const N: usize>(rest: &mut &[u8], offset_bytes: u64) -> Result<[u8; N]> {
    let (head, tail) = rest
        .split_first_chunk::<N>()
        .ok_or_else(|| Error::corrupt(offset_bytes, "store id", "64 bytes", "longer names"))?;
    *rest = tail;
    Ok(*head)
}

fn take_name(rest: &mut &[u8], offset_bytes: u64) -> Result<String> {
    let [length] = take(rest, offset_bytes)?;
    let (name, tail) = rest
        .split_at_checked(usize::from(length))
        .ok_or_else(|| Error::corrupt(offset_bytes, "store id name", "to fit", length))?;
    *rest = tail;
    if name.is_empty() || !name.iter().all(|byte| byte.is_ascii_graphic()) {
        let found = String::from_utf8_lossy(name).into_owned();
        return Err(Error::corrupt(offset_bytes, "store id name", "an ASCII name", found));
    }
    Ok(String::from_utf8_lossy(name).into_owned())
}
