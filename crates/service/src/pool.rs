//! Buffers that are used again and again: a stream costs no allocation per chunk.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Free buffers, of the size that was asked for last.
pub(crate) struct Pool {
    free: Mutex<Vec<Vec<u8>>>,
    keep: usize,
}

impl Pool {
    /// A pool that keeps at most so many free buffers.
    pub(crate) fn new(keep: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::new(Vec::new()), keep })
    }

    /// A buffer of that size with whatever is in it.
    pub(crate) fn take(self: &Arc<Self>, buffer_bytes: usize) -> Buffer {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.retain(|bytes| bytes.len() == buffer_bytes);
        let bytes = free.pop();
        drop(free);
        let bytes = bytes.unwrap_or_else(|| vec![0; buffer_bytes]);
        Buffer { bytes, used: 0, pool: Arc::clone(self) }
    }
}

/// A buffer that goes back to its pool when the last [`Bytes`] of it is dropped.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    used: usize,
    pool: Arc<Pool>,
}

impl Buffer {
    /// The whole buffer.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The first `used` bytes, without a copy.
    pub(crate) fn freeze(mut self, used: usize) -> Bytes {
        self.used = used.min(self.bytes.len());
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < self.pool.keep {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}
