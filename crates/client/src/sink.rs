//! The seam to whatever keeps a copy.

use wire::api::FileInfo;

/// An error of whatever keeps the copy; the command line looks into it for its exit code.
pub type SinkError = Box<dyn std::error::Error + Send + Sync>;

/// Where a copy goes. Called for different files and for different ranges of one file at once, from
/// blocking threads; only `block` is not, and must not wait for a disk. Paths have been checked: relative, known shape, no `..`.
pub trait Sink: Send + Sync + 'static {
    /// A file of the copy begins (or begins anew, from nothing, after `discard`).
    fn create(&self, file: &FileInfo) -> Result<(), SinkError>;
    /// Bytes of a file, whose CRC-32C was right.
    fn write_at(&self, file: u32, offset_bytes: u64, bytes: &[u8]) -> Result<(), SinkError>;
    /// A block is complete and its BLAKE3 is what the service said. `offset_bytes` is a multiple of
    /// the session's block size; only a file's last block is shorter.
    fn block(&self, file: u32, offset_bytes: u64, hash: [u8; 32]) -> Result<(), SinkError>;
    /// All bytes of a file have arrived; it is `size_bytes` long.
    fn complete(&self, file: u32, size_bytes: u64) -> Result<(), SinkError>;
    /// A derived file that did not hold still: forget what arrived of it.
    fn discard(&self, file: u32) -> Result<(), SinkError>;
}
