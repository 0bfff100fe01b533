//! The seam to whatever keeps a copy.

use std::ops::Range;

use wire::api::FileInfo;
use wire::pages::Group;

/// An error of whatever keeps the copy; the command line looks into it for its exit code.
pub type SinkError = Box<dyn std::error::Error + Send + Sync>;

/// What a sink has of a file already, so that only changes need be brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// How long it is.
    pub size_bytes: u64,
    /// Whether bytes that have not changed need not be written: they are in the copy already.
    pub stays: bool,
}

/// Where a copy goes. Called for different files and for different ranges of one file at once, from
/// blocking threads; only `block` is not, and must not wait for a disk. Paths have been checked: relative, known shape, no `..`.
pub trait Sink: Send + Sync + 'static {
    /// A file of the copy begins (or begins anew, from nothing, after `discard`).
    fn create(&self, file: &FileInfo) -> Result<(), SinkError>;
    /// The same of a file whose length shows at its end: that in `file` means nothing, `complete` tells it.
    fn create_unsized(&self, file: &FileInfo) -> Result<(), SinkError>;
    /// Whether the bytes of each file shall come in their order, because they are read as they come. Some may
    /// come twice all the same, where a connection breaks.
    fn wants_order(&self) -> bool {
        false
    }
    /// After `create`: what the sink has of the file. `None`, and all bytes are brought.
    fn base(&self, _file: u32) -> Option<Base> {
        None
    }
    /// What is known of a range of the file's [`Base`], which has that many bytes; the range begins at a
    /// multiple of [`GROUP_BYTES`](wire::pages::GROUP_BYTES). Need not be right, but what is not right costs
    /// time.
    fn base_groups(&self, _file: u32, _range: Range<u64>) -> Result<Vec<Group>, SinkError> {
        Err("the sink has no base".into())
    }
    /// The BLAKE3 of a range of the [`Base`], a block of the session, if it is known; must not wait for a
    /// disk. That the bytes still have it need not be known: a copy is as good as its base.
    fn base_block(&self, _file: u32, _range: Range<u64>) -> Option<[u8; 32]> {
        None
    }
    /// Fills `buf` with bytes of the file's [`Base`], which has that many.
    fn read_base(&self, _file: u32, _offset_bytes: u64, _buf: &mut [u8]) -> Result<(), SinkError> {
        Err("the sink has no base".into())
    }
    /// Bytes of a file, whose CRC-32C was right.
    fn write_at(&self, file: u32, offset_bytes: u64, bytes: &[u8]) -> Result<(), SinkError>;
    /// A block is complete and its BLAKE3 is what the service said. `offset_bytes` is a multiple of
    /// the session's block size; only a file's last block is shorter.
    fn block(&self, file: u32, offset_bytes: u64, hash: [u8; 32]) -> Result<(), SinkError>;
    /// What is known of the blocks that are complete from an offset on, for the next copy's
    /// [`Sink::base_groups`]. Comes before `complete`.
    fn groups(&self, _file: u32, _offset_bytes: u64, _groups: &[Group]) -> Result<(), SinkError> {
        Ok(())
    }
    /// All bytes of a file have arrived; it is `size_bytes` long.
    fn complete(&self, file: u32, size_bytes: u64) -> Result<(), SinkError>;
    /// A derived file that did not hold still: forget what arrived of it.
    fn discard(&self, file: u32) -> Result<(), SinkError>;
}
