//! Reading a live server's files without leaving traces: no access times, no cache taken over.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Advice, Mode, OFlags};
use rustix::io::ReadWriteFlags;

use crate::{Error, Result};

/// A file held open for reading; stays readable when the server deletes or replaces it.
pub struct Held {
    file: File,
    path: PathBuf,
    /// Where [`read_cached`](Self::read_cached) has found something missing.
    missing: Mutex<Vec<u64>>,
}

/// Bytes for which the page cache is asked at a time. To ask for what is missing makes the kernel read
/// it, so more of it would look cached when it is asked for again. It does, and stays cached, where this
/// thread is interrupted so long within one question that the disk is done: about once in 10,000 on a busy machine.
const PIECE_BYTES: usize = 64 << 10;
/// Places that are remembered as missing: one for each stream that reads the file.
const PLACES_MAX: usize = 64;
/// Bytes that are read at a time where nothing is cached.
const MISSING_BYTES_MAX: usize = 1 << 20;

impl Held {
    /// Opens a file without touching its access time where the system allows that.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        // NOATIME is for the owner and root only.
        let opened = rustix::fs::open(path, flags | OFlags::NOATIME, Mode::empty())
            .or_else(|_| rustix::fs::open(path, flags, Mode::empty()));
        let file = File::from(opened.map_err(|e| Error::io("open", path)(e.into()))?);
        if !file.metadata().map_err(Error::io("read", path))?.is_file() {
            return Err(Error::Changed { path: path.to_owned(), what: "not a file".to_owned() });
        }
        Ok(Self { file, path: path.to_owned(), missing: Mutex::default() })
    }

    /// [`open`](Self::open), with `None` where there is no such file.
    pub fn open_if_there(path: &Path) -> Result<Option<Self>> {
        match Self::open(path) {
            Ok(held) => Ok(Some(held)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where the file was when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The descriptor, for questions to the system.
    pub fn descriptor(&self) -> impl std::os::fd::AsFd + '_ {
        &self.file
    }

    /// Its present size in bytes.
    pub fn size_bytes(&self) -> Result<u64> {
        Ok(self.file.metadata().map_err(Error::io("read", &self.path))?.len())
    }

    /// Device and inode.
    pub fn identity(&self) -> Result<(u64, u64)> {
        let held = self.file.metadata().map_err(Error::io("read", &self.path))?;
        Ok((held.dev(), held.ino()))
    }

    /// Whether the path still names this very file.
    pub fn is_in_place(&self) -> Result<bool> {
        Ok(identity(&self.path) == Some(self.identity()?))
    }

    /// Fills `buf` from `offset`; short only at the end of the file.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.fill(offset, buf).map_err(Error::io("read", &self.path))
    }

    /// What the page cache has of the bytes from `offset` on: none to all of those asked for.
    /// Never waits for the disk.
    pub fn read_cached(&self, offset: u64, buf: &mut [u8]) -> usize {
        self.do_not_read_ahead();
        let mut cached: usize = 0;
        for piece in buf.chunks_mut(PIECE_BYTES) {
            let at = offset.saturating_add(cached as u64);
            let read = self.probe(at, piece);
            cached = cached.saturating_add(read);
            if read < piece.len() {
                self.note_missing(offset.saturating_add(cached as u64));
                break;
            }
        }
        cached
    }

    fn note_missing(&self, offset: u64) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.truncate(PLACES_MAX);
        missing.push(offset);
    }

    /// Whether [`read_cached`](Self::read_cached) ended there; only once.
    fn take_missing(&self, offset: u64) -> bool {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let found = missing.iter().position(|place| *place == offset);
        found.map(|index| missing.swap_remove(index)).is_some()
    }

    fn probe(&self, offset: u64, piece: &mut [u8]) -> usize {
        let buffers = &mut [IoSliceMut::new(piece)];
        // An error says that this file system cannot tell.
        rustix::io::preadv2(&self.file, buffers, offset, ReadWriteFlags::NOWAIT).unwrap_or(0)
    }

    /// What the kernel reads ahead looks cached when it is asked for, and would stay.
    fn do_not_read_ahead(&self) {
        let _ = rustix::fs::fadvise(&self.file, 0, None, Advice::Random);
    }

    /// [`read_at`](Self::read_at) that leaves the page cache as it was: what the server had cached
    /// stays, what only we wanted goes.
    pub fn read_quietly(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.do_not_read_ahead();
        // What was asked for a moment ago is on its way, and is none of the server's.
        let mut is_missing = self.take_missing(offset);
        let mut piece_bytes = PIECE_BYTES;
        let mut run = None;
        let mut done: usize = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(done as u64);
            let size = rest.len().min(piece_bytes);
            let piece = rest.get_mut(..size).unwrap_or_default();
            let cached = if is_missing { 0 } else { self.probe(at, piece) };
            is_missing = false;
            done = done.saturating_add(cached);
            let missing = piece.get_mut(cached..).unwrap_or_default();
            if cached > 0 {
                self.forget_run(&mut run, at);
            }
            if missing.is_empty() {
                piece_bytes = PIECE_BYTES;
                continue;
            }
            let at = at.saturating_add(cached as u64);
            run.get_or_insert(at);
            let read = self.read_at(at, missing)?;
            done = done.saturating_add(read);
            if read < missing.len() {
                break;
            }
            piece_bytes = piece_bytes.saturating_mul(2).min(MISSING_BYTES_MAX);
        }
        self.forget_run(&mut run, offset.saturating_add(done as u64));
        Ok(done)
    }

    /// Forgets what was missing from the run's start to `end`.
    fn forget_run(&self, run: &mut Option<u64>, end: u64) {
        if let Some(start) = run.take() {
            self.forget(start, end.saturating_sub(start));
        }
    }

    /// Takes bytes out of the page cache again.
    fn forget(&self, offset: u64, length: u64) {
        if let Some(length) = std::num::NonZeroU64::new(length) {
            // Advice only: a file system that does not know it is no reason to fail.
            let _ = rustix::fs::fadvise(&self.file, offset, Some(length), Advice::DontNeed);
        }
    }

    /// Whether every byte from `offset` on is zero. Holes, and what was only preallocated, are
    /// passed over without being read.
    pub fn is_zero_from(&self, offset: u64) -> Result<bool> {
        // Cached zeros look like data: reading ahead would make one hole after the other into data.
        let _ = rustix::fs::fadvise(&self.file, 0, None, Advice::Random);
        let found = self.find_data(offset);
        let _ = rustix::fs::fadvise(&self.file, 0, None, Advice::Normal);
        found.map_err(Error::io("read", &self.path)).map(|found| found.is_none())
    }

    fn find_data(&self, mut offset: u64) -> io::Result<Option<u64>> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let mut buf = vec![0; ZEROS.len()];
        loop {
            match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(offset)) {
                Ok(data_at) => offset = data_at,
                Err(rustix::io::Errno::NXIO) => return Ok(None),
                Err(rustix::io::Errno::INVAL) => {} // a file system without SEEK_DATA: read on
                Err(error) => return Err(error.into()),
            }
            let read = self.fill(offset, &mut buf)?;
            if read == 0 {
                return Ok(None);
            }
            let bytes = buf.get(..read).unwrap_or_default();
            if ZEROS.starts_with(bytes) {
                // Only its being cached made it look like data.
                self.forget(offset, read as u64);
                offset = offset.saturating_add(read as u64);
                continue;
            }
            if let Some(at) = bytes.iter().position(|byte| *byte != 0) {
                return Ok(Some(offset.saturating_add(at as u64)));
            }
        }
    }

    fn fill(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(read) => filled = filled.saturating_add(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// Device and inode of what is at a path now, if something is.
pub fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// A held file as a stream of bytes from an offset on, up to a limit.
pub struct HeldReader<'a> {
    held: &'a Held,
    offset: u64,
    end: u64,
}

impl<'a> HeldReader<'a> {
    pub fn new(held: &'a Held, offset: u64, end: u64) -> Self {
        Self { held, offset, end }
    }
}

impl io::Read for HeldReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let length = buf.len().min(left);
        let read = self.held.fill(self.offset, buf.get_mut(..length).unwrap_or_default())?;
        self.offset = self.offset.saturating_add(read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A byte behind a hole, behind zeros and at the very end is found; holes alone are not data.
    #[test]
    fn zeros_and_holes_are_told_from_data() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = File::create(&path).unwrap();
        file.write_all_at(b"head", 0).unwrap();
        file.set_len(300_000).unwrap();
        let held = Held::open(&path).unwrap();
        assert!(!held.is_zero_from(3).unwrap());
        assert!(held.is_zero_from(4).unwrap());
        assert!(held.is_zero_from(400_000).unwrap());
        file.write_all_at(&[1], 299_999).unwrap();
        assert!(!held.is_zero_from(4).unwrap());
        assert!(held.is_zero_from(300_000).unwrap());
    }

    #[test]
    fn a_deleted_file_stays_readable_and_is_known_to_be_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, b"0123456789").unwrap();
        let held = Held::open(&path).unwrap();
        assert!(held.is_in_place().unwrap());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"another").unwrap();
        let mut buf = [0; 16];
        assert_eq!(held.read_quietly(4, &mut buf).unwrap(), 6);
        assert_eq!(&buf[..6], b"456789");
        assert!(!held.is_in_place().unwrap());
    }

    #[test]
    fn a_directory_in_a_files_place_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(Held::open(directory.path()), Err(Error::Changed { .. })));
    }

    /// In how many of a file's MiB the page at an offset is cached. Those that are not are read now.
    fn cached_mib(path: &Path, offset: u64) -> usize {
        let held = Held::open(path).unwrap();
        held.do_not_read_ahead();
        let size = held.size_bytes().unwrap();
        (offset..size).step_by(1 << 20).filter(|at| held.probe(*at, &mut [0; 1]) == 1).count()
    }

    /// What only we wanted goes out of the page cache again, also what the kernel would read ahead;
    /// what was cached before stays.
    #[test]
    fn the_page_cache_stays_as_it_was() {
        let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, vec![7; 32 << 20]).unwrap();
        File::open(&path).unwrap().sync_all().unwrap();
        let held = Held::open(&path).unwrap();
        let read = || {
            let mut buf = vec![0; 1 << 20];
            for at in (0..32_u64 << 20).step_by(1 << 20) {
                let cached = held.read_cached(at, &mut buf);
                let rest = at + cached as u64;
                let read = held.read_quietly(rest, &mut buf[cached..]).unwrap();
                assert_eq!(cached + read, buf.len());
                assert!(buf.iter().all(|byte| *byte == 7));
            }
        };
        read();
        assert_eq!(cached_mib(&path, 0), 32, "it was written a moment ago");
        // A wrong order of questions and reads leaves something each time, an interruption only now
        // and then: see `PIECE_BYTES`.
        let mut left = [32; 4];
        for _ in 0..5 {
            held.forget(0, 32 << 20);
            if cached_mib(&path, 300_000) > 2 {
                eprintln!(
                    "SKIPPED the_page_cache_stays_as_it_was: this file system keeps all in memory"
                );
                return;
            }
            read();
            for (piece, left) in [0, 1, 4, 15].into_iter().zip(&mut left) {
                *left = cached_mib(&path, piece * PIECE_BYTES as u64).min(*left);
            }
        }
        assert!(left.iter().all(|left| *left < 4), "of 32 pieces {left:?} are cached each time");
    }
}
