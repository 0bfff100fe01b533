//! One file on its way into the sink.

use wire::api::{FileInfo, FileKind};

use super::BLOCK_BYTES;
use crate::error::{Error, Result};
use crate::sink::Sink;

/// Writes a file block by block.
pub(super) struct Writer<'a> {
    sink: &'a dyn Sink,
    info: FileInfo,
    /// Where `block` begins.
    offset: u64,
    block: Vec<u8>,
    /// Whether it was begun at its first byte, so that its blocks have hashes.
    is_whole: bool,
    /// The first block of a file whose first bytes are known last.
    first: First,
}

/// What becomes of the first block.
enum First {
    Written,
    /// Kept until the end, and what it begins with then.
    Kept(Vec<u8>),
}

impl<'a> Writer<'a> {
    /// A file from its first byte on.
    pub(super) fn create(
        sink: &'a dyn Sink,
        id: u32,
        kind: FileKind,
        path: String,
    ) -> Result<Self> {
        Self::at(sink, id, kind, path, 0)
    }

    /// A file of which the sink has all bytes before an offset; some that follow it may have, too.
    pub(super) fn at(
        sink: &'a dyn Sink,
        id: u32,
        kind: FileKind,
        path: String,
        offset: u64,
    ) -> Result<Self> {
        let info = FileInfo { id, kind, path, size_bytes: 0 };
        sink.create_unsized(&info).map_err(Error::Sink)?;
        let (block, is_whole) = (Vec::new(), offset == 0);
        Ok(Self { sink, info, offset, block, is_whole, first: First::Written })
    }

    /// Keeps the first block back, whose first bytes [`Writer::finish_with`] tells; these come first here.
    pub(super) fn keep_first(&mut self) {
        self.first = First::Kept(Vec::new());
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        let full = usize::try_from(BLOCK_BYTES).unwrap_or(usize::MAX);
        while !bytes.is_empty() {
            let room = full.saturating_sub(self.block.len()).min(bytes.len());
            let (part, rest) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            self.block.extend_from_slice(part);
            bytes = rest;
            if self.block.len() == full {
                self.flush()?;
            }
        }
        Ok(())
    }

    pub(super) fn kind(&self) -> FileKind {
        self.info.kind
    }

    pub(super) fn path(&self) -> &str {
        &self.info.path
    }

    /// How much of it there is.
    pub(super) fn size_bytes(&self) -> u64 {
        self.offset.saturating_add(self.block.len() as u64)
    }

    fn flush(&mut self) -> Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let length = self.block.len() as u64;
        match &mut self.first {
            First::Kept(first) if self.offset == 0 => std::mem::swap(first, &mut self.block),
            _ => self.write(self.offset, &self.block)?,
        }
        self.block.clear();
        self.offset = self.offset.saturating_add(length);
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let id = self.info.id;
        self.sink.write_at(id, offset, bytes).map_err(Error::Sink)?;
        if self.is_whole {
            let hash = *blake3::hash(bytes).as_bytes();
            self.sink.block(id, offset, hash).map_err(Error::Sink)?;
        }
        Ok(())
    }

    /// All of it has come.
    pub(super) fn finish(self) -> Result<FileInfo> {
        self.finish_with(&[])
    }

    /// All of it has come, and this is what it begins with.
    pub(super) fn finish_with(mut self, beginning: &[u8]) -> Result<FileInfo> {
        self.flush()?;
        if let First::Kept(mut first) = std::mem::replace(&mut self.first, First::Written) {
            first.iter_mut().zip(beginning).for_each(|(to, from)| *to = *from);
            if !first.is_empty() {
                self.write(0, &first)?;
            }
        }
        let size_bytes = self.offset;
        self.sink.complete(self.info.id, size_bytes).map_err(Error::Sink)?;
        Ok(FileInfo { size_bytes, ..self.info })
    }
}
