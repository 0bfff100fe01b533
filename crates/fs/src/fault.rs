//! A disk that fails on purpose: at its n-th operation, once or from then on for ever.
//!
//! Writes land on a real directory, so a test reopens that directory afterwards as a new process
//! would after `kill -9`: all that was written before the failure is kept, synced or not. What a power
//! failure forgets is what [`History`] is for, which records what any disk is asked for, this one too.

mod history;
mod image;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use history::History;
pub use image::{Image, Replay, Survival};

use crate::{Disk, DiskFile, Error, Kind, RealDisk, Result, walk};

/// What happens at the chosen operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing; operations are counted.
    None,
    /// The operation fails once, with this kind of error; later ones work.
    FailOnce(FaultKind),
    /// The operation and all later ones fail, but the process goes on. On a full disk things can
    /// still be removed.
    FailFrom(FaultKind),
    /// The process is dead: this operation is done by half, it and all later ones fail.
    Kill,
}

/// Errors that can be injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// `ENOSPC`.
    NoSpace,
    /// `EROFS`.
    ReadOnly,
    /// `EIO`.
    Device,
}

/// A [`RealDisk`] with one fault in it. Clones share the count.
#[derive(Clone, Debug)]
pub struct FaultDisk {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    fault: Fault,
    /// The operations that are counted; all if `None`.
    only: Option<&'static str>,
    at: usize,
    count: AtomicUsize,
    dead: AtomicBool,
    trace: Mutex<Vec<String>>,
    /// Held while a directory is made.
    creating: Mutex<()>,
}

#[derive(Debug)]
struct FaultFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    state: Arc<State>,
}

impl FaultDisk {
    /// A disk whose operation number `at` (from 0) meets the fault.
    #[must_use]
    pub fn new(fault: Fault, at: usize) -> Self {
        Self::counting(None, fault, at)
    }

    /// A disk that counts only operations of this name, as the trace has it: where threads work
    /// side by side, the number of all operations before a certain one depends on their turns.
    #[must_use]
    pub fn counting(only: Option<&'static str>, fault: Fault, at: usize) -> Self {
        let state = State {
            fault,
            only,
            at,
            count: AtomicUsize::new(0),
            dead: AtomicBool::new(false),
            trace: Mutex::default(),
            creating: Mutex::default(),
        };
        Self { state: Arc::new(state) }
    }

    /// How many of the operations that are counted have been asked for.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state.count.load(Ordering::SeqCst)
    }

    /// The operations so far, for a failing test's message.
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        self.state.trace.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the state says to one operation.
enum Verdict {
    Go,
    /// Do half of it, then fail.
    Half(Error),
    Fail(Error),
}

impl State {
    fn ask(&self, doing: &'static str, path: &Path) -> Verdict {
        if self.dead.load(Ordering::SeqCst) {
            return Verdict::Fail(injected(doing, path, FaultKind::Device));
        }
        let is_counted = self.only.is_none_or(|only| only == doing);
        let number = match is_counted {
            true => self.count.fetch_add(1, Ordering::SeqCst),
            false => self.count.load(Ordering::SeqCst),
        };
        let mut trace = self.trace.lock().unwrap_or_else(PoisonError::into_inner);
        trace.push(format!("{number} {doing} {}", path.display()));
        drop(trace);
        if !is_counted || number < self.at {
            return Verdict::Go;
        }
        match self.fault {
            Fault::FailFrom(FaultKind::NoSpace) if doing.starts_with("remove") => Verdict::Go,
            Fault::FailFrom(kind) => Verdict::Fail(injected(doing, path, kind)),
            _ if number > self.at => Verdict::Go,
            Fault::None => Verdict::Go,
            Fault::FailOnce(kind) => Verdict::Fail(injected(doing, path, kind)),
            Fault::Kill => {
                self.dead.store(true, Ordering::SeqCst);
                Verdict::Half(injected(doing, path, FaultKind::Device))
            }
        }
    }

    fn check(&self, doing: &'static str, path: &Path) -> Result<()> {
        match self.ask(doing, path) {
            Verdict::Go => Ok(()),
            Verdict::Half(error) | Verdict::Fail(error) => Err(error),
        }
    }

    fn file(self: &Arc<Self>, file: Box<dyn DiskFile>, path: &Path) -> Box<dyn DiskFile> {
        Box::new(FaultFile { file, path: path.to_owned(), state: Arc::clone(self) })
    }
}

fn injected(doing: &'static str, path: &Path, fault: FaultKind) -> Error {
    let (kind, errno) = match fault {
        FaultKind::NoSpace => (Kind::NoSpace, rustix::io::Errno::NOSPC),
        FaultKind::ReadOnly => (Kind::ReadOnly, rustix::io::Errno::ROFS),
        FaultKind::Device => (Kind::Other, rustix::io::Errno::IO),
    };
    Error { kind, ..Error::os(doing, path)(errno) }
}

impl Disk for FaultDisk {
    fn create_dir(&self, path: &Path, mode: u32) -> Result<()> {
        // Creating what is there is no operation of interest: how often it is tried depends on which
        // thread is quicker.
        let _alone = self.state.creating.lock().unwrap_or_else(PoisonError::into_inner);
        if std::fs::symlink_metadata(path).is_err() {
            self.state.check("create directory", path)?;
        }
        RealDisk.create_dir(path, mode)
    }

    fn create_file(&self, path: &Path, mode: u32) -> Result<Box<dyn DiskFile>> {
        self.state.check("create", path)?;
        Ok(self.state.file(RealDisk.create_file(path, mode)?, path))
    }

    fn open_write(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        self.state.check("open for writing", path)?;
        Ok(self.state.file(RealDisk.open_write(path)?, path))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.state.check("rename", from)?;
        RealDisk.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<bool> {
        self.state.check("link", from)?;
        RealDisk.hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        // Removing what is not there is no operation of interest.
        if std::fs::symlink_metadata(path).is_ok() {
            self.state.check("remove", path)?;
        }
        RealDisk.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> Result<()> {
        self.state.check("remove directory", path)?;
        RealDisk.remove_dir(path)
    }

    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        for entry in walk(path)?.iter().rev() {
            let path = path.join(&entry.path);
            self.state.check("remove", &path)?;
            match entry.kind {
                crate::EntryKind::Dir => std::fs::remove_dir(&path),
                _ => std::fs::remove_file(&path),
            }
            .map_err(Error::io("remove", &path))?;
        }
        self.state.check("remove directory", path)?;
        RealDisk.remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.state.check("sync directory", path)?;
        RealDisk.sync_dir(path)
    }

    fn set_owner(&self, path: &Path, uid: u32, gid: u32) -> Result<()> {
        self.state.check("change the owner of", path)?;
        RealDisk.set_owner(path, uid, gid)
    }

    fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
        self.state.check("change the mode of", path)?;
        RealDisk.set_mode(path, mode)
    }
}

impl DiskFile for FaultFile {
    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        match self.state.ask("write", &self.path) {
            Verdict::Go => self.file.write_at(offset_bytes, bytes),
            Verdict::Half(error) => {
                let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
                self.file.write_at(offset_bytes, half)?;
                Err(error)
            }
            Verdict::Fail(error) => Err(error),
        }
    }

    fn set_len(&self, size_bytes: u64) -> Result<()> {
        self.state.check("set the length of", &self.path)?;
        self.file.set_len(size_bytes)
    }

    fn sync(&self) -> Result<()> {
        self.state.check("sync", &self.path)?;
        self.file.sync()
    }
}
