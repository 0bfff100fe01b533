//! One file of a copy: its bytes, and which of its blocks are known to be right.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use client::Base;
use fs::{Disk, DiskFile};
use wire::api::{FileInfo, FileKind};
use wire::pages::{GROUP_BYTES, Group};

use crate::changes::{ChangedFile, Listed};
use crate::layout::{Area, FILE_MODE};
use crate::manifest::{FileEntry, HASH_BYTES};
use crate::{Error, Result};

#[derive(Debug)]
pub(super) struct StagedFile {
    info: FileInfo,
    /// Nobody has said how long it will be.
    is_unsized: bool,
    path: PathBuf,
    block_bytes: u64,
    /// Where in the new backup's pages its own are, if they are kept.
    pages_at: Option<u64>,
    old: Option<Old>,
    state: Mutex<State>,
}

/// The same file of the backup that is there.
#[derive(Clone, Debug)]
pub(super) struct Old {
    pub path: PathBuf,
    pub size_bytes: u64,
    /// As in the manifest.
    pub changed: Option<String>,
    pub in_transactions: bool,
    /// As in the manifest: its blocks' length, and their hashes.
    pub block_bytes: u64,
    pub blocks: Vec<u8>,
    pub pages_at: Option<u64>,
    /// Its number in the changes, if the new file is a link to it.
    pub linked_as: Option<u32>,
}

#[derive(Debug)]
struct State {
    /// `None` once the file is complete.
    open: Option<Arc<dyn DiskFile>>,
    /// What was promised, or less once the file is complete: a record store may shrink.
    size_bytes: u64,
    hashes: Vec<u8>,
    seen: Vec<bool>,
}

impl StagedFile {
    /// A new file.
    pub fn create(
        disk: &dyn Disk,
        path: PathBuf,
        info: &FileInfo,
        block_bytes: u64,
        pages_at: Option<u64>,
        old: Option<Old>,
    ) -> Result<Self> {
        let file = disk.create_file(&path, FILE_MODE)?;
        if info.size_bytes > 0 {
            file.set_len(info.size_bytes)?;
        }
        Ok(Self::new(file.into(), path, info, block_bytes, pages_at, old))
    }

    /// A new file whose length shows at its end.
    pub fn create_unsized(
        disk: &dyn Disk,
        path: PathBuf,
        info: &FileInfo,
        block_bytes: u64,
    ) -> Result<Self> {
        let file = disk.create_file(&path, FILE_MODE)?;
        let info = FileInfo { size_bytes: 0, ..info.clone() };
        let new = Self::new(file.into(), path, &info, block_bytes, None, None);
        Ok(Self { is_unsized: true, ..new })
    }

    /// A link to the old file, whose changes are written to `changed`.
    pub fn linked(
        changed: ChangedFile,
        path: PathBuf,
        info: &FileInfo,
        block_bytes: u64,
        pages_at: Option<u64>,
        old: Old,
    ) -> Self {
        let old = Old { linked_as: Some(changed.number()), ..old };
        Self::new(Arc::new(changed), path, info, block_bytes, pages_at, Some(old))
    }

    fn new(
        file: Arc<dyn DiskFile>,
        path: PathBuf,
        info: &FileInfo,
        block_bytes: u64,
        pages_at: Option<u64>,
        old: Option<Old>,
    ) -> Self {
        let blocks = usize::try_from(info.size_bytes.div_ceil(block_bytes)).unwrap_or(0);
        let state = State {
            open: Some(file),
            size_bytes: info.size_bytes,
            hashes: vec![0; blocks.saturating_mul(HASH_BYTES)],
            seen: vec![false; blocks],
        };
        let (info, is_unsized, state) = (info.clone(), false, Mutex::new(state));
        Self { info, is_unsized, path, block_bytes, pages_at, old, state }
    }

    /// What the backup that is there has of it.
    pub fn base(&self) -> Option<Base> {
        let old = self.old.as_ref()?;
        Some(Base { size_bytes: old.size_bytes, stays: old.linked_as.is_some() })
    }

    /// What is to be known of the old file's bytes, from them.
    pub fn read_groups(&self, range: Range<u64>) -> Result<Vec<Group>> {
        let (path, file) = self.open_base()?;
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(GROUP_BYTES)];
        let mut groups = Vec::with_capacity(length.div_ceil(GROUP_BYTES));
        for at in range.clone().step_by(GROUP_BYTES) {
            let rest = usize::try_from(range.end.saturating_sub(at)).unwrap_or(usize::MAX);
            let part = bytes.get_mut(..rest.min(GROUP_BYTES)).unwrap_or_default();
            file.read_exact_at(part, at).map_err(fs::Error::io("read", path))?;
            groups.push(Group::of(at.checked_rem(self.block_bytes).unwrap_or(0), part));
        }
        Ok(groups)
    }

    /// The old file's hash of a block.
    pub fn base_block(&self, range: Range<u64>) -> Option<[u8; HASH_BYTES]> {
        let old = self.old.as_ref()?;
        let end = range.start.saturating_add(old.block_bytes).min(old.size_bytes);
        let is_block = range.start.is_multiple_of(old.block_bytes) && range.end == end;
        let index = usize::try_from(range.start.checked_div(old.block_bytes)?).ok()?;
        let (blocks, _) = old.blocks.as_chunks::<HASH_BYTES>();
        blocks.get(index).filter(|_| is_block).copied()
    }

    pub fn read_base(&self, offset_bytes: u64, buf: &mut [u8]) -> Result<()> {
        let (path, file) = self.open_base()?;
        Ok(file.read_exact_at(buf, offset_bytes).map_err(fs::Error::io("read", path))?)
    }

    fn open_base(&self) -> Result<(&Path, File)> {
        let Some(old) = &self.old else {
            return Err(Error::untrusted(format!("{:?} has no base", self.info.path)));
        };
        Ok((&old.path, File::open(&old.path).map_err(fs::Error::io("open", &old.path))?))
    }

    /// How it is listed among the changes, if it is a link.
    pub fn listed(&self) -> Option<Listed> {
        let old = self.old.as_ref()?;
        let (number, old_bytes) = (old.linked_as?, old.size_bytes);
        let size_bytes = self.state().size_bytes;
        Some(Listed { number, path: self.info.path.clone(), old_bytes, size_bytes })
    }

    /// The old file that it is a link to, and its time of change in the manifest.
    pub fn linked_to(&self) -> Option<(&Path, Option<&str>)> {
        let old = self.old.as_ref().filter(|old| old.linked_as.is_some());
        old.map(|old| (old.path.as_path(), old.changed.as_deref()))
    }

    /// Where in the old backup's pages those of the old file are, if they are of the same blocks.
    pub fn old_pages_at(&self) -> Option<u64> {
        let old = self.old.as_ref().filter(|old| old.block_bytes == self.block_bytes);
        old.and_then(|old| old.pages_at)
    }

    /// Where in the new backup's pages its own are.
    pub fn pages_at(&self) -> Option<u64> {
        self.pages_at
    }

    pub fn info(&self) -> &FileInfo {
        &self.info
    }

    /// Whether nobody has said how long it will be.
    pub fn is_unsized(&self) -> bool {
        self.is_unsized
    }

    /// How long it was promised to be, or turned out to be where nobody had said it.
    pub fn size_bytes(&self) -> u64 {
        if self.is_unsized { self.state().size_bytes } else { self.info.size_bytes }
    }

    fn open(&self) -> Result<Arc<dyn DiskFile>> {
        let open = self.state().open.clone();
        open.ok_or_else(|| Error::untrusted(format!("{:?} goes on after its end", self.info.path)))
    }

    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let length = bytes.len() as u64;
        let fits = |end: &u64| self.is_unsized || *end <= self.info.size_bytes;
        let end = offset.checked_add(length).filter(fits);
        let Some(end) = end else {
            let path = &self.info.path;
            return Err(Error::untrusted(format!("{length} bytes at {offset} of {path:?}")));
        };
        let open = self.open()?;
        if length == 0 {
            return Ok(());
        }
        // New bytes make an earlier hash of their blocks worthless.
        let (first, last) = (offset / self.block_bytes, end.div_ceil(self.block_bytes));
        let (first, last) = (usize::try_from(first), usize::try_from(last));
        if let (Ok(first), Ok(last)) = (first, last)
            && let Some(seen) = self.state().seen.get_mut(first..last)
        {
            seen.fill(false);
        }
        Ok(open.write_at(offset, bytes)?)
    }

    pub fn block(&self, offset: u64, hash: [u8; HASH_BYTES]) -> Result<()> {
        let index = usize::try_from(offset / self.block_bytes).unwrap_or(usize::MAX);
        let mut state = self.state();
        // Its first block may be the last to come. Each that comes is counted by the caller.
        if self.is_unsized && index >= state.seen.len() && index as u64 <= super::BLOCKS_MAX {
            let blocks = index.saturating_add(1);
            state.hashes.resize(blocks.saturating_mul(HASH_BYTES), 0);
            state.seen.resize(blocks, false);
        }
        let start = index.saturating_mul(HASH_BYTES);
        let slot = state.hashes.get_mut(start..start.saturating_add(HASH_BYTES));
        match slot {
            Some(slot) if offset.is_multiple_of(self.block_bytes) => slot.copy_from_slice(&hash),
            _ => {
                let path = &self.info.path;
                return Err(Error::untrusted(format!("no block begins at {offset} of {path:?}")));
            }
        }
        if let Some(seen) = state.seen.get_mut(index) {
            *seen = true;
        }
        Ok(())
    }

    /// The file, to be synced and closed.
    pub fn complete(&self, size_bytes: u64) -> Result<Arc<dyn DiskFile>> {
        let open = self.open()?;
        if self.is_unsized {
            let mut state = self.state();
            let blocks = size_bytes.div_ceil(self.block_bytes);
            if state.seen.len() as u64 != blocks {
                let what = format!("{} blocks of {size_bytes} bytes", state.seen.len());
                return Err(Error::incomplete(&self.info.path, what));
            }
            state.size_bytes = size_bytes;
        }
        let promised = self.size_bytes();
        let may_shrink = self.info.kind == FileKind::Record;
        if size_bytes > promised || (size_bytes < promised && !may_shrink) {
            let what = format!("{size_bytes} bytes instead of {promised}");
            return Err(Error::incomplete(&self.info.path, what));
        }
        if size_bytes < promised {
            self.shrink(&*open, size_bytes)?;
        }
        self.require_all_blocks()?;
        self.state().open = None;
        Ok(open)
    }

    /// Recovery extends a store again whose logs lead to records behind its end.
    fn shrink(&self, open: &dyn DiskFile, size_bytes: u64) -> Result<()> {
        open.set_len(size_bytes)?;
        let blocks = usize::try_from(size_bytes.div_ceil(self.block_bytes)).unwrap_or(usize::MAX);
        let mut state = self.state();
        state.size_bytes = size_bytes;
        state.seen.truncate(blocks);
        state.hashes.truncate(blocks.saturating_mul(HASH_BYTES));
        Ok(())
    }

    pub fn entry(&self) -> Result<FileEntry> {
        self.require_all_blocks()?;
        let state = self.state();
        if state.open.is_some() {
            return Err(Error::incomplete(&self.info.path, "its end never came"));
        }
        let transactions = self.info.kind.in_transactions();
        Ok(FileEntry {
            area: if transactions { Area::Transactions } else { Area::Store },
            path: self.info.path.clone(),
            kind: self.info.kind.into(),
            size_bytes: state.size_bytes,
            changed: None,
            pages_at: self.pages_at,
            blocks: state.hashes.clone(),
        })
    }

    /// Nothing more is written to it.
    pub fn close(&self) {
        self.state().open = None;
    }

    pub fn remove(&self, disk: &dyn Disk) -> Result<()> {
        self.close();
        Ok(disk.remove_file(&self.path)?)
    }

    fn require_all_blocks(&self) -> Result<()> {
        match self.state().seen.iter().position(|seen| !seen) {
            None => Ok(()),
            Some(index) => {
                let offset = (index as u64).saturating_mul(self.block_bytes);
                Err(Error::incomplete(&self.info.path, format!("nothing came at offset {offset}")))
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
