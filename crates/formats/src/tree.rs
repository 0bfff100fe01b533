//! The state of a GBPTree file (`*.id`, counts, degrees, index statistics, range, point and token
//! indexes): big-endian, pages of 8192 bytes.
//!
//! Page 0 is the meta page. Pages 1 and 2 hold a state each, written twice, one copy behind the
//! other:
//!
//! | offset | type | name |
//! |---|---|---|
//! | 0 | u32 | stable generation |
//! | 4 | u32 | unstable generation |
//! | 8 | i64 | root page |
//! | 16 | i64 | root page's generation |
//! | 24 | i64 | last page |
//! | 32 | i64, i64, i32, i32 | free list: write page, read page, write position, read position |
//! | 56 | u8 | 1 if clean |
//!
//! A state is valid if both copies are equal and not all zero. A checkpoint writes the page that
//! does not hold the newest state. Source: `TreeState`, `TreeStatePair`, 5.26.
//! Evidence: `fixtures/*/trees`, confirmed.

use crate::{Error, Result};

/// Size of a page.
pub const PAGE_BYTES: usize = 8192;
const STATE_BYTES: usize = 57;
const CLEAN: u8 = 1;

/// One state of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Pages of this generation and older ones are what the state consists of.
    pub stable_generation: u32,
    /// The generation of pages that were written since.
    pub unstable_generation: u32,
    /// Number of the root page.
    pub root_id: u64,
    /// Number of the last page that the state may refer to.
    pub last_id: u64,
    /// Whether the tree was closed in an orderly way.
    pub clean: bool,
}

/// The two state pages; each is `None` where it holds no valid state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatePages {
    /// Page 1 and page 2.
    pub states: [Option<State>; 2],
}

impl StatePages {
    /// Reads the states from a file's first three pages.
    ///
    /// # Errors
    /// `Incomplete` for fewer bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let (pages, _) = bytes.as_chunks::<PAGE_BYTES>();
        let [_, first, second, ..] = pages else {
            let offset = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            return Err(Error::incomplete(offset, "a tree's state pages"));
        };
        Ok(Self { states: [decode_page(first), decode_page(second)] })
    }

    /// The state that Neo4j would open the tree with.
    #[must_use]
    pub fn newest(&self) -> Option<State> {
        let order =
            |state: &State| (state.stable_generation, state.unstable_generation, state.clean);
        self.states.into_iter().flatten().max_by_key(order)
    }
}

fn decode_page(page: &[u8; PAGE_BYTES]) -> Option<State> {
    let (copy, rest) = page.split_first_chunk::<STATE_BYTES>()?;
    if rest.first_chunk::<STATE_BYTES>()? != copy || copy.iter().all(|byte| *byte == 0) {
        return None;
    }
    let u32_at = |at: usize| copy.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
    let id_at = |at: usize| {
        let value = copy.get(at..)?.first_chunk().map(|bytes| i64::from_be_bytes(*bytes))?;
        u64::try_from(value).ok()
    };
    Some(State {
        stable_generation: u32_at(0)?,
        unstable_generation: u32_at(4)?,
        root_id: id_at(8)?,
        last_id: id_at(24)?,
        clean: *copy.get(56)? == CLEAN,
    })
}
