//! Checksums by which only what has changed in a file since its last backup is brought.
//!
//! The client sends a CRC-32C for each page of a range that it has; the service reads the range
//! once and sends the pages whose checksum is another one, and the BLAKE3 of every block, so that what
//! the client puts together is proven to be what the service read. A page's checksum only says what need
//! not be sent: two pages that differ and have the same one are noticed by their block's hash.
//!
//! BLAKE3 is a tree. Who keeps the chaining values of a block's subtrees ([`Group`]) can compute the
//! block's hash without those bytes that have not changed.

use std::ops::Range;
use std::sync::LazyLock;

use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

/// Neo4j's page, in which its stores and trees are written. Divides every block.
pub const PAGE_BYTES: usize = 8192;
/// CRC-32C, little-endian, in a request.
pub const CHECKSUM_BYTES: usize = 4;
/// The longest range of which changes can be asked for, unless one block is longer.
pub const MAX_RANGE_BYTES: u64 = 16 << 20;
/// The longest list of checksums in a request: of 128 MiB.
pub const MAX_LIST_BYTES: usize = 64 << 10;
/// So many bytes are a [`Group`]: few enough that little must be read beside a page that has changed, and
/// enough for BLAKE3 to be as fast as it can.
pub const GROUP_BYTES: usize = 64 << 10;
const GROUP_PAGES: usize = GROUP_BYTES / PAGE_BYTES;
/// A chaining value of BLAKE3.
pub type Subtree = [u8; 32];

/// What is known of 64 KiB of a file, from a multiple of that on; the last one of a file may be shorter. All
/// zero where nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The checksums of its pages.
    pub pages: [u32; GROUP_PAGES],
    /// The chaining value of its bytes at their place within their block.
    pub subtree: Subtree,
}

impl Group {
    /// Length of its bytes: the checksums, little-endian, then the chaining value.
    pub const BYTES: usize = GROUP_PAGES * CHECKSUM_BYTES + size_of::<Subtree>();

    /// As bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let (pages, subtree) = bytes.split_at_mut(GROUP_PAGES * CHECKSUM_BYTES);
        for (to, page) in pages.chunks_mut(CHECKSUM_BYTES).zip(&self.pages) {
            to.copy_from_slice(&page.to_le_bytes());
        }
        subtree.copy_from_slice(&self.subtree);
        bytes
    }

    /// From [`Group::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let mut group = Self::default();
        let (pages, subtree) = bytes.split_at(GROUP_PAGES * CHECKSUM_BYTES);
        for (page, from) in group.pages.iter_mut().zip(pages.as_chunks().0) {
            *page = u32::from_le_bytes(*from);
        }
        group.subtree.copy_from_slice(subtree);
        group
    }

    /// Of bytes that begin at an offset of a block, which is a multiple of [`GROUP_BYTES`]; at most as many.
    #[must_use]
    pub fn of(offset_bytes: u64, bytes: &[u8]) -> Self {
        let mut group = Self::default();
        for (sum, page) in group.pages.iter_mut().zip(bytes.chunks(PAGE_BYTES)) {
            *sum = checksum(page);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(offset_bytes);
        group.subtree = hasher.update(bytes).finalize_non_root();
        group
    }
}

/// The checksum of a page; a file's last page may be shorter.
#[must_use]
pub fn checksum(page: &[u8]) -> u32 {
    crc32c::crc32c(page)
}

/// The checksums of the first so many pages of these groups, as a request carries them.
#[must_use]
pub fn list(groups: &[Group], pages: usize) -> Vec<u8> {
    groups.iter().flat_map(|group| group.pages).take(pages).flat_map(u32::to_le_bytes).collect()
}

/// The checksums of a request, or `None` if the bytes are no such list.
#[must_use]
pub fn read_list(bytes: &[u8]) -> Option<Vec<u32>> {
    let (sums, rest) = bytes.as_chunks::<CHECKSUM_BYTES>();
    rest.is_empty().then(|| sums.iter().copied().map(u32::from_le_bytes).collect())
}

/// Which groups, counted from `start`, a range's bytes are in.
#[must_use]
pub fn groups_of(start: u64, range: Range<u64>) -> Range<usize> {
    let [first, end] = [range.start, range.end].map(|offset| offset.saturating_sub(start));
    let first = first.checked_div(GROUP_BYTES as u64).unwrap_or(0);
    let end = end.div_ceil(GROUP_BYTES as u64);
    usize::try_from(first).unwrap_or(usize::MAX)..usize::try_from(end).unwrap_or(usize::MAX)
}

/// Appends the checksum of each page to `pages`, and gives the CRC-32C of what had `before` and of
/// these bytes after it.
pub(crate) fn checksums(before: u32, bytes: &[u8], pages: &mut Vec<u32>) -> u32 {
    let (whole, rest) = bytes.as_chunks::<PAGE_BYTES>();
    let mut joined = before;
    for page in whole {
        let sum = checksum(page);
        pages.push(sum);
        joined = behind_a_page(joined) ^ sum;
    }
    if rest.is_empty() {
        return joined;
    }
    pages.push(checksum(rest));
    crc32c::crc32c_append(joined, rest)
}

/// What a CRC-32C becomes by a page of zeros, but for the zeros' own: linear in each bit of it.
fn behind_a_page(sum: u32) -> u32 {
    static TABLES: LazyLock<[[u32; 256]; 4]> = LazyLock::new(|| {
        // To combine takes 50 microseconds: that would be 50 milliseconds for them all.
        let bits: [u32; 32] =
            std::array::from_fn(|bit| crc32c::crc32c_combine(1 << bit, 0, PAGE_BYTES));
        let of = |byte: usize, value: usize| {
            let bits = bits.iter().skip(8 * byte).take(8).zip(0..);
            let set = bits.filter(|(_, bit)| value >> bit & 1 == 1);
            set.fold(0, |all, (part, _)| all ^ part)
        };
        std::array::from_fn(|byte| std::array::from_fn(|value| of(byte, value)))
    });
    let of_byte = |(table, byte): (&[u32; 256], u8)| table.get(usize::from(byte)).copied();
    TABLES.iter().zip(sum.to_le_bytes()).filter_map(of_byte).fold(0, |all, part| all ^ part)
}

/// Computes a block's BLAKE3, and the subtrees of its groups on the way.
#[derive(Clone, Debug)]
pub struct BlockHasher {
    subtrees: Vec<Subtree>,
    /// Of the group that the next bytes belong to.
    hasher: blake3::Hasher,
    filled: usize,
}

impl Default for BlockHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl BlockHasher {
    /// At a block's first byte.
    #[must_use]
    pub fn new() -> Self {
        Self { subtrees: Vec::new(), hasher: blake3::Hasher::new(), filled: 0 }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            self.close_full();
            let (part, rest) =
                bytes.split_at(bytes.len().min(GROUP_BYTES.saturating_sub(self.filled)));
            self.hasher.update(part);
            self.filled = self.filled.saturating_add(part.len());
            bytes = rest;
        }
    }

    /// Takes a whole group, of which only the subtree is known. `false` within a group.
    #[must_use]
    pub fn skip(&mut self, subtree: Subtree) -> bool {
        self.close_full();
        if self.filled > 0 {
            return false;
        }
        self.close(subtree);
        true
    }

    /// The block's hash and its subtrees; from here on it is at the next block's first byte. `None` for a
    /// block of nothing but a group that was skipped: that has another hash as a block than as a part.
    pub fn finish(&mut self) -> Option<(blake3::Hash, Vec<Subtree>)> {
        let alone = self.subtrees.is_empty().then(|| self.hasher.finalize());
        if self.filled > 0 {
            self.close(self.hasher.finalize_non_root());
        }
        let subtrees = std::mem::take(self).subtrees;
        let hash = match subtrees.split_at_checked(left_of(subtrees.len())) {
            Some((left, right)) if !left.is_empty() => {
                merge_subtrees_root(&merged(left), &merged(right), Mode::Hash)
            }
            _ => alone?,
        };
        Some((hash, subtrees))
    }

    fn close_full(&mut self) {
        if self.filled == GROUP_BYTES {
            self.close(self.hasher.finalize_non_root());
        }
    }

    fn close(&mut self, subtree: Subtree) {
        self.subtrees.push(subtree);
        self.filled = 0;
        self.hasher = blake3::Hasher::new();
        let offset = (self.subtrees.len() as u64).saturating_mul(GROUP_BYTES as u64);
        self.hasher.set_input_offset(offset);
    }
}

/// How many of several subtrees are below the left one of their root's children.
fn left_of(count: usize) -> usize {
    if count < 2 { 0 } else { count.next_power_of_two() / 2 }
}

fn merged(subtrees: &[Subtree]) -> Subtree {
    match subtrees.split_at_checked(left_of(subtrees.len())) {
        Some((left, right)) if !left.is_empty() => {
            merge_subtrees_non_root(&merged(left), &merged(right), Mode::Hash)
        }
        _ => subtrees.first().copied().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|at| ((at * 31) >> 3) as u8).collect()
    }

    /// A list is read as it was written, for as many pages as there are.
    #[test]
    fn lists() {
        let range = bytes(GROUP_BYTES + PAGE_BYTES + 1);
        let groups = [Group::of(0, &range[..GROUP_BYTES]), Group::of(0, &range[GROUP_BYTES..])];
        let list = list(&groups, 10);
        let sums: Vec<u32> = range.chunks(PAGE_BYTES).map(checksum).collect();
        assert_eq!(read_list(&list), Some(sums));
        assert_eq!(read_list(&list[1..]), None);
        assert_eq!(Group::from_bytes(&groups[1].to_bytes()), groups[1]);
    }

    proptest! {
        /// The checksum of all follows from those of the pages.
        #[test]
        fn joined_checksums(before in any::<u32>(), length in 0..5 * PAGE_BYTES) {
            let (bytes, mut pages) = (bytes(length), Vec::new());
            prop_assert_eq!(
                checksums(before, &bytes, &mut pages),
                crc32c::crc32c_append(before, &bytes)
            );
            let each: Vec<u32> = bytes.chunks(PAGE_BYTES).map(checksum).collect();
            prop_assert_eq!(pages, each);
        }

        /// A block's hash is BLAKE3's, however its bytes come and whichever groups are skipped.
        #[test]
        fn blocks(
            length in 0..20 * GROUP_BYTES,
            whole in any::<bool>(),
            pieces in 1..200_000_usize,
            skipped: u32,
        ) {
            let length = if whole { length / GROUP_BYTES * GROUP_BYTES } else { length };
            let block = bytes(length);
            let mut hasher = BlockHasher::new();
            for _ in 0..2 {
                block.chunks(pieces).for_each(|piece| hasher.update(piece));
                let (hash, subtrees) = hasher.finish().unwrap();
                prop_assert_eq!(hash, blake3::hash(&block));
                let is_skipped = |index: usize, group: &[u8]| {
                    group.len() == GROUP_BYTES && skipped >> index & 1 == 1
                };
                for (index, group) in block.chunks(GROUP_BYTES).enumerate() {
                    let of = Group::of((index * GROUP_BYTES) as u64, group);
                    prop_assert_eq!(of.subtree, subtrees[index]);
                    match is_skipped(index, group) {
                        true => prop_assert!(hasher.skip(of.subtree)),
                        false => group.chunks(pieces).for_each(|piece| hasher.update(piece)),
                    }
                }
                match length == GROUP_BYTES && is_skipped(0, &block) {
                    true => prop_assert!(hasher.finish().is_none()),
                    false => prop_assert_eq!(hasher.finish().unwrap(), (hash, subtrees)),
                }
            }
        }
    }

    /// Within a group nothing can be skipped, and a changed byte or subtree is another hash.
    #[test]
    fn another_hash() {
        let mut hasher = BlockHasher::new();
        hasher.update(&[1]);
        assert!(!hasher.skip(Subtree::default()));
        assert_eq!(hasher.finish().unwrap().0, blake3::hash(&[1]));
        assert!(hasher.skip(Subtree::default()));
        hasher.update(&bytes(5));
        let other = hasher.finish().unwrap().0;
        assert!(hasher.skip([1; 32]));
        hasher.update(&bytes(5));
        assert_ne!(hasher.finish().unwrap().0, other);
    }
}
