//! Hashes of pages, by which a service finds what has changed in a file since its last backup.
//!
//! The client sends one hash for each page of a range that it has; the service reads the range
//! once and sends the pages whose hash is another one, and the BLAKE3 of every block, so that what the
//! client puts together is proven to be what the service read. A hash of a page only says what need
//! not be sent: two pages of the same hash would be noticed by their block's.

use std::hash::Hasher;

use twox_hash::XxHash3_64;

/// Neo4j's page, in which its stores and trees are written. Divides every block.
pub const PAGE_BYTES: usize = 8192;
/// XXH3 with 64 bits, little-endian.
pub const HASH_BYTES: usize = 8;
/// The longest range of which changes can be asked for, unless one block is longer.
pub const MAX_RANGE_BYTES: u64 = 4 << 20;
/// The longest list of hashes in a request: of 64 MiB.
pub const MAX_LIST_BYTES: usize = 64 << 10;

/// The hash of a page; a file's last page may be shorter.
#[must_use]
pub fn hash(page: &[u8]) -> u64 {
    let mut hasher = XxHash3_64::new();
    hasher.write(page);
    hasher.finish()
}

/// The hashes of a range that begins at a page, as a request carries them.
#[must_use]
pub fn list(range: &[u8]) -> Vec<u8> {
    range.chunks(PAGE_BYTES).flat_map(|page| hash(page).to_le_bytes()).collect()
}

/// The hashes of a request, or `None` if the bytes are no such list.
#[must_use]
pub fn read_list(bytes: &[u8]) -> Option<Vec<u64>> {
    let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
    rest.is_empty().then(|| hashes.iter().copied().map(u64::from_le_bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The empty input's hash is XXH3's own test vector; a list is read as it was written.
    #[test]
    fn hashes_are_xxh3() {
        assert_eq!(hash(b""), 0x2d06_8005_38d3_94c2);
        let range = vec![7; PAGE_BYTES + 1];
        let list = list(&range);
        assert_eq!(read_list(&list), Some(vec![hash(&range[1..]), hash(&[7])]));
        assert_eq!(read_list(&list[1..]), None);
    }
}
