//! Pages of a new backup whose other pages are already in the old one's files.
//!
//! A new full backup of a store that is backed up already brings only what has changed. Each file that
//! goes on is linked (`link(2)`) into the staged directory; its changed pages are kept aside, in
//! `staged/<generation>/changes`, and written into the file when the backup has been committed, as
//! part of the roll-forward. So the old backup is untouched until then, no second copy of the store is
//! needed, and whoever reads in between reads the changed pages from here.
//!
//! `changes` is a sequence of records, integers little-endian; what comes later holds:
//!
//! | offset | size | name | meaning |
//! |---|---|---|---|
//! | 0 | 4 | number | which file, see below |
//! | 4 | 4 | length | of the bytes that follow the head |
//! | 8 | 8 | offset | where in the file they belong |
//! | 16 | 4 | crc | CRC-32C of the 16 bytes before it and of the bytes |
//!
//! `changes.json` is written last. It names the files of the records (others were discarded), how long
//! each is, and how long `changes` is. Without it there is nothing to be applied.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use fs::{Disk, DiskFile};
use serde::{Deserialize, Serialize};

use crate::layout::{FILE_MODE, is_plain_path};
use crate::{Error, Result};

const CHANGES_NAME: &str = "changes";
const LIST_NAME: &str = "changes.json";
const HEAD_BYTES: usize = 20;
/// A frame of the service carries no more.
const LENGTH_MAX: usize = 1 << 20;
/// Descriptors that may be in use for files at once.
const OPEN_FILES_MAX: usize = 128;
/// The old backup's name of a file, and the new one's.
const OWN_LINKS: u64 = 2;
/// The list of a million files.
const LIST_BYTES_MAX: u64 = 256 << 20;

/// Changed pages being collected. Used by several threads at once.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Box<dyn DiskFile>,
    end: AtomicU64,
    numbers: AtomicU32,
}

/// What is written to a file that is linked from the old backup.
#[derive(Debug)]
pub(crate) struct ChangedFile {
    journal: Arc<Journal>,
    number: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct List {
    length_bytes: u64,
    files: Vec<Listed>,
}

/// A file that has, or may have, changed pages.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Listed {
    /// In the records.
    pub number: u32,
    /// Relative to the store directory.
    pub path: String,
    /// Its length in the old backup.
    pub old_bytes: u64,
    /// Its new length.
    pub size_bytes: u64,
}

impl Journal {
    /// Begins an empty one in a staged generation's directory.
    pub fn create(disk: &dyn Disk, staged: &Path) -> Result<Arc<Self>> {
        let file = disk.create_file(&staged.join(CHANGES_NAME), FILE_MODE)?;
        Ok(Arc::new(Self { file, end: AtomicU64::new(0), numbers: AtomicU32::new(0) }))
    }

    /// A file, to be written to.
    pub fn file(self: &Arc<Self>) -> ChangedFile {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        ChangedFile { journal: Arc::clone(self), number }
    }

    /// How long it is.
    pub fn length_bytes(&self) -> u64 {
        self.end.load(Ordering::SeqCst)
    }

    /// Makes all records and the list of their files durable, but for the directory's names.
    pub fn finish(&self, disk: &dyn Disk, staged: &Path, files: Vec<Listed>) -> Result<()> {
        let path = staged.join(LIST_NAME);
        let list = List { length_bytes: self.length_bytes(), files };
        let json = serde_json::to_vec(&list).map_err(|e| Error::damaged(&path, e.to_string()))?;
        self.file.sync()?;
        Ok(disk.replace_file(&path, &json, FILE_MODE)?)
    }

    fn append(&self, number: u32, offset: u64, bytes: &[u8]) -> fs::Result<()> {
        for (index, part) in bytes.chunks(LENGTH_MAX).enumerate() {
            let offset = offset.saturating_add((index as u64).saturating_mul(LENGTH_MAX as u64));
            let mut record = Vec::with_capacity(HEAD_BYTES.saturating_add(part.len()));
            record.extend_from_slice(&number.to_le_bytes());
            record.extend_from_slice(&u32::try_from(part.len()).unwrap_or(0).to_le_bytes());
            record.extend_from_slice(&offset.to_le_bytes());
            let crc = crc32c::crc32c_append(crc32c::crc32c(&record), part);
            record.extend_from_slice(&crc.to_le_bytes());
            record.extend_from_slice(part);
            let at = self.end.fetch_add(record.len() as u64, Ordering::SeqCst);
            self.file.write_at(at, &record)?;
        }
        Ok(())
    }
}

impl ChangedFile {
    /// Its number in the records.
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl DiskFile for ChangedFile {
    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> fs::Result<()> {
        self.journal.append(self.number, offset_bytes, bytes)
    }

    /// The list has it.
    fn set_len(&self, _: u64) -> fs::Result<()> {
        Ok(())
    }

    /// All records are synced at once, at the end.
    fn sync(&self) -> fs::Result<()> {
        Ok(())
    }
}

/// The changed pages of a backup that was committed and is not rolled forward yet, for reading.
#[derive(Debug)]
pub(crate) struct Changes {
    journal: File,
    files: BTreeMap<String, Vec<Extent>>,
}

#[derive(Clone, Copy, Debug)]
struct Extent {
    offset: u64,
    length: u32,
    /// Where in the journal its bytes are.
    at: u64,
}

impl Changes {
    /// Those of a staged generation; `None` where everything is in its place.
    pub fn open(staged: &Path) -> Result<Option<Self>> {
        let Some((list, journal)) = open(staged)? else { return Ok(None) };
        let mut files: BTreeMap<String, Vec<Extent>> = BTreeMap::new();
        let mut paths = BTreeMap::new();
        for file in &list.files {
            files.insert(file.path.clone(), Vec::new());
            paths.insert(file.number, &file.path);
        }
        let path = staged.join(CHANGES_NAME);
        let mut at = 0_u64;
        while at < list.length_bytes {
            let mut head = [0; HEAD_BYTES];
            journal.read_exact_at(&mut head, at).map_err(fs::Error::io("read", &path))?;
            let head = Head::read(head).ok_or_else(|| damaged(&path, at))?;
            at = at.saturating_add(HEAD_BYTES as u64);
            if let Some(extents) = paths.get(&head.number).and_then(|path| files.get_mut(*path)) {
                extents.push(Extent { offset: head.offset, length: head.length, at });
            }
            at = at.saturating_add(head.length.into());
        }
        files.values_mut().for_each(|extents| extents.sort_by_key(|extent| extent.offset));
        Ok(Some(Self { journal, files }))
    }

    /// Whether a file of the store may have changed pages, and another length than the old file.
    pub fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// Fills `buf` with a file's bytes: the old file's, with the changed pages over them. What
    /// neither has is zero.
    pub fn read_at(
        &self,
        path: &str,
        old: &File,
        offset: u64,
        buf: &mut [u8],
    ) -> std::io::Result<()> {
        let mut filled = 0;
        while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match old.read_at(rest, offset.saturating_add(filled as u64))? {
                0 => {
                    rest.fill(0);
                    break;
                }
                read => filled = filled.saturating_add(read),
            }
        }
        let end = offset.saturating_add(buf.len() as u64);
        let extents = self.files.get(path).map_or(&[][..], Vec::as_slice);
        // None is longer than this.
        let first = offset.saturating_sub(LENGTH_MAX as u64);
        let from = extents.partition_point(|extent| extent.offset < first);
        let near = extents.iter().skip(from).take_while(|extent| extent.offset < end);
        // In the order in which they came: of two that overlap the later one holds.
        let mut near: Vec<&Extent> = near.collect();
        near.sort_by_key(|extent| extent.at);
        for extent in near {
            let start = extent.offset.max(offset);
            let stop = extent.offset.saturating_add(extent.length.into()).min(end);
            let range = (start.saturating_sub(offset), stop.saturating_sub(offset));
            let (Ok(from), Ok(to)) = (usize::try_from(range.0), usize::try_from(range.1)) else {
                continue;
            };
            if let Some(part) = buf.get_mut(from..to).filter(|part| !part.is_empty()) {
                let skipped = start.saturating_sub(extent.offset);
                self.journal.read_exact_at(part, extent.at.saturating_add(skipped))?;
            }
        }
        Ok(())
    }
}

/// Writes the changed pages of a staged generation into the files of its store, durably, and forgets
/// them. Can be repeated after a crash at any point. `false` if there are none.
pub(crate) fn apply(disk: &dyn Disk, staged: &Path, store: &Path) -> Result<bool> {
    let (list, journal) = match open(staged)? {
        Some(found) => found,
        // The list is the first to be removed: it must not be there alone.
        None if staged.join(LIST_NAME).exists() => {
            let path = staged.join(CHANGES_NAME);
            return Err(Error::damaged(&path, "it is missing, and pages are to be had from it"));
        }
        None => return Ok(false),
    };
    for file in &list.files {
        separate(disk, &store.join(&file.path))?;
    }
    let listed: BTreeMap<u32, &Listed> = list.files.iter().map(|f| (f.number, f)).collect();
    let mut written = BTreeSet::new();
    let mut open_files: BTreeMap<u32, Box<dyn DiskFile>> = BTreeMap::new();
    let path = staged.join(CHANGES_NAME);
    let mut reader = BufReader::with_capacity(LENGTH_MAX, journal);
    let mut bytes = vec![0; LENGTH_MAX];
    let mut at = 0_u64;
    while at < list.length_bytes {
        let mut head = [0; HEAD_BYTES];
        reader.read_exact(&mut head).map_err(fs::Error::io("read", &path))?;
        let found = Head::read(head).ok_or_else(|| damaged(&path, at))?;
        let part = usize::try_from(found.length).ok().and_then(|length| bytes.get_mut(..length));
        let part = part.ok_or_else(|| damaged(&path, at))?;
        reader.read_exact(part).map_err(fs::Error::io("read", &path))?;
        let words = head.first_chunk::<16>().map_or(0, |words| crc32c::crc32c(words));
        if crc32c::crc32c_append(words, part) != found.crc {
            return Err(damaged(&path, at));
        }
        if let Some(listed) = listed.get(&found.number) {
            if open_files.len() >= OPEN_FILES_MAX && !open_files.contains_key(&found.number) {
                open_files.clear();
            }
            let file = match open_files.entry(found.number) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(disk.open_write(&store.join(&listed.path))?),
            };
            file.write_at(found.offset, part)?;
            written.insert(found.number);
        }
        at = at.saturating_add(HEAD_BYTES as u64).saturating_add(found.length.into());
    }
    drop(open_files);
    for listed in &list.files {
        // Not the length that is there: a killed run may have set it, and not have synced it.
        if listed.old_bytes != listed.size_bytes || written.contains(&listed.number) {
            let path = store.join(&listed.path);
            let file = disk.open_write(&path)?;
            file.set_len(listed.size_bytes)?;
            file.sync()?;
        }
    }
    // The list first: what it does not name is never looked for.
    for name in [LIST_NAME, CHANGES_NAME] {
        disk.remove_file(&staged.join(name))?;
        disk.sync_dir(staged)?;
    }
    Ok(true)
}

/// Gives a file that somebody else has a link to (`cp -al`, to keep the backup as it was) a body of its own:
/// it is about to be written to.
fn separate(disk: &dyn Disk, path: &Path) -> Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".separate");
    let aside = Path::new(&aside);
    // Of a run that was killed.
    if aside.exists() {
        disk.remove_file(aside)?;
    }
    let found = std::fs::symlink_metadata(path).map_err(fs::Error::io("look at", path))?;
    if found.nlink() <= OWN_LINKS {
        return Ok(());
    }
    tracing::info!(path = %path.display(), "has other links: it is copied before it is changed");
    let (old, new) = (
        File::open(path).map_err(fs::Error::io("open", path))?,
        disk.create_file(aside, FILE_MODE)?,
    );
    let mut bytes = vec![0; LENGTH_MAX];
    let mut at = 0;
    loop {
        let read = old.read_at(&mut bytes, at).map_err(fs::Error::io("read", path))?;
        let Some(part) = bytes.get(..read).filter(|part| !part.is_empty()) else { break };
        new.write_at(at, part)?;
        at = at.saturating_add(read as u64);
    }
    new.sync()?;
    drop(new);
    disk.rename(aside, path)?;
    Ok(disk.sync_dir(path.parent().unwrap_or(path))?)
}

struct Head {
    number: u32,
    length: u32,
    offset: u64,
    crc: u32,
}

impl Head {
    fn read(bytes: [u8; HEAD_BYTES]) -> Option<Self> {
        let (number, rest) = bytes.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (offset, rest) = rest.split_first_chunk::<8>()?;
        let (crc, _) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        (length as usize <= LENGTH_MAX).then(|| Self {
            number: u32::from_le_bytes(*number),
            length,
            offset: u64::from_le_bytes(*offset),
            crc: u32::from_le_bytes(*crc),
        })
    }
}

/// List and records of a staged generation; `None` if there are none, or no more.
fn open(staged: &Path) -> Result<Option<(List, File)>> {
    let path = staged.join(LIST_NAME);
    let Some(list) = open_if_there(&path)? else { return Ok(None) };
    let mut json = Vec::new();
    list.take(LIST_BYTES_MAX).read_to_end(&mut json).map_err(fs::Error::io("read", &path))?;
    let list: List =
        serde_json::from_slice(&json).map_err(|e| Error::damaged(&path, e.to_string()))?;
    if let Some(file) = list.files.iter().find(|file| !is_plain_path(&file.path)) {
        return Err(Error::damaged(&path, format!("{:?} is no file name", file.path)));
    }
    let path = staged.join(CHANGES_NAME);
    // Gone between two looks: all is in its place.
    let Some(journal) = open_if_there(&path)? else { return Ok(None) };
    Ok(Some((list, journal)))
}

fn open_if_there(path: &Path) -> Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(fs::Error::io("open", path)(e).into()),
    }
}

fn damaged(path: &Path, at: u64) -> Error {
    Error::damaged(path, format!("the record at offset {at} is damaged"))
}
