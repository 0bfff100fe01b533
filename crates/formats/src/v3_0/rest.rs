//! A small file that is in memory as a whole, big-endian as everything that Java writes by itself.

use crate::{Error, Result};

/// What is still to be read. Nothing is allocated for a count, only for bytes that are there.
pub(super) struct Rest<'a> {
    pub bytes: &'a [u8],
    pub at: u64,
    /// The file, for errors.
    what: &'static str,
    /// A count in it, for errors.
    count: &'static str,
}

impl<'a> Rest<'a> {
    pub fn new(bytes: &'a [u8], what: &'static str, count: &'static str) -> Self {
        Self { bytes, at: 0, what, count }
    }

    pub fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.bytes.split_at_checked(count) else {
            return Err(Error::incomplete(self.at, self.what));
        };
        self.bytes = rest;
        self.at = self.at.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(taken)
    }

    pub fn i32(&mut self) -> Result<i32> {
        Ok(self.take(4)?.first_chunk::<4>().map_or(0, |bytes| i32::from_be_bytes(*bytes)))
    }

    /// An `i32` that says how many follow.
    pub fn count(&mut self) -> Result<usize> {
        let at = self.at;
        let count = self.i32()?;
        usize::try_from(count).map_err(|_| Error::corrupt(at, self.count, "0 or more", count))
    }
}
