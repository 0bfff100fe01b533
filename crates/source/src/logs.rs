//! The transaction logs of a running copy: held from checkpoint C on, so that pruning cannot take
//! them away, and read at the end up to a commit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use formats::{LogPosition, LogVersion, StoreId};

use crate::checkpoint::numbered_files;
use crate::read::Held;
use crate::scan::{FileEnd, LOG_PREFIX, Scanner, check_header, log_path, read_header};
use crate::watch::Watch;
use crate::{Error, Result};

/// An entry being written is whole a moment later.
const TAIL_WAIT: Duration = Duration::from_millis(5);
const TAIL_TRIES: u32 = 400;

/// Log files held open from one version on; a thread adds new ones as the server rotates.
pub struct HeldLogs {
    log_dir: PathBuf,
    files: Mutex<BTreeMap<LogVersion, Arc<Held>>>,
    /// Called whenever something may have changed.
    wakers: Mutex<Vec<Waker>>,
    watch: OnceLock<Arc<Watch>>,
}

/// What is called when something may have changed; must not block.
pub type Waker = Box<dyn Fn() + Send + Sync>;

impl HeldLogs {
    /// Opens the log files from a position on. [`Error::LogPruned`] if its file is gone.
    pub fn hold(log_dir: &Path, from: LogPosition, store_id: &StoreId) -> Result<Arc<Self>> {
        let path = log_path(log_dir, from.version);
        let Some(first) = Held::open_if_there(&path)? else {
            return Err(Error::LogPruned { path });
        };
        let Some(header) = read_header(&first)? else {
            return Err(Error::Changed { path, what: "has no header".to_owned() });
        };
        check_header(&first, &header, from.version, store_id)?;
        let size = first.size_bytes()?;
        if size < from.offset_bytes {
            let what = format!("{size} bytes long, but the checkpoint points to {from}");
            return Err(Error::Changed { path, what });
        }
        let files = BTreeMap::from([(from.version, Arc::new(first))]);
        let logs = Arc::new(Self {
            log_dir: log_dir.to_owned(),
            files: Mutex::new(files),
            wakers: Mutex::default(),
            watch: OnceLock::new(),
        });
        let newest = logs.open_new()?;
        logs.check_no_gap(newest)?;
        Ok(logs)
    }

    /// Starts to watch for new files, until the logs are dropped.
    pub fn watch(self: &Arc<Self>) -> Result<()> {
        let watch = Arc::new(Watch::new(&self.log_dir)?);
        let _ = self.watch.set(Arc::clone(&watch));
        // What came before the watch began.
        self.open_new()?;
        let weak = Arc::downgrade(self);
        let spawned = std::thread::Builder::new()
            .name("log watch".to_owned())
            .stack_size(128 << 10)
            .spawn(move || look(&weak, &watch));
        spawned.map(drop).map_err(Error::io("start a thread to watch", &self.log_dir))
    }

    /// Has something called whenever something may have changed, from now on.
    pub fn on_change(&self, wake: Waker) {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner).push(wake);
    }

    /// Opens what came after the newest held file, and tells which is the newest now. Must be called
    /// once more before the newest file is taken for the last one.
    pub fn open_new(&self) -> Result<LogVersion> {
        let mut files = self.files.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        loop {
            let newest = files.keys().next_back().copied().unwrap_or(LogVersion(0));
            let version = LogVersion(newest.0.saturating_add(1));
            match Held::open_if_there(&log_path(&self.log_dir, version))? {
                Some(held) => files.insert(version, Arc::new(held)),
                None => return Ok(newest),
            };
        }
    }

    /// The directory.
    pub fn log_dir(&self) -> &Path {
        &self.log_dir
    }

    /// A held file.
    pub fn get(&self, version: LogVersion) -> Option<Arc<Held>> {
        let files = self.files.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        files.get(&version).cloned()
    }

    /// Fails if a file after the newest held one is there, while the next one is not.
    fn check_no_gap(&self, newest: LogVersion) -> Result<()> {
        let next = LogVersion(newest.0.saturating_add(1));
        let listed = numbered_files(&self.log_dir, LOG_PREFIX)?;
        if listed.iter().any(|(version, _)| *version > next)
            && !listed.iter().any(|(version, _)| *version == next)
        {
            return Err(Error::LogPruned { path: log_path(&self.log_dir, next) });
        }
        Ok(())
    }

    /// Reads every batch from a position to the last commit that the logs hold now, while the
    /// server goes on writing. What was in the logs when this was called is in the result.
    pub fn read_to_end(&self, from: LogPosition, store_id: &StoreId) -> Result<(Scanner, Cuts)> {
        let mut scanner = Scanner::new(from, store_id.clone());
        let mut cuts = Cuts::new();
        let mut version = from.version;
        let mut held = self.held(version)?;
        scanner.enter(version, &held)?;
        loop {
            self.open_new()?;
            let next_version = LogVersion(version.0.saturating_add(1));
            // A finished file is cut to its end before the next one is made. So the order matters:
            // first look for the next file, then read this one. Before the next file has its header
            // nothing can have been committed to it, and this one is the last.
            let next = self.begun(next_version)?;
            let end = self.read_file(&mut scanner, &held, next.is_none())?;
            cuts.insert(version, scanner.position.offset_bytes);
            let Some(next) = next else {
                self.open_new()?;
                if self.begun(next_version)?.is_some() {
                    continue;
                }
                self.check_no_gap(version)?;
                scanner.is_unfinished = end.is_unfinished();
                return Ok((scanner, cuts));
            };
            end.expect_boundary(&held, scanner.position)?;
            scanner.enter(next_version, &next)?;
            version = next_version;
            held = next;
        }
    }

    /// The file from which on [`HeldLogs::read_to_end`] must read to find the last commit, if whoever takes
    /// the files before it reads them: the newest but one, which may just have been finished.
    pub fn tail_from(&self, from: LogVersion) -> Result<LogVersion> {
        self.open_new()?;
        let mut version = from;
        loop {
            let [next, after] = [1, 2].map(|more| LogVersion(version.0.saturating_add(more)));
            if self.begun(next)?.is_none() || self.begun(after)?.is_none() {
                return Ok(version);
            }
            version = next;
        }
    }

    /// A held file that has its header.
    fn begun(&self, version: LogVersion) -> Result<Option<Arc<Held>>> {
        let Some(held) = self.get(version) else { return Ok(None) };
        Ok(read_header(&held)?.map(|_| held))
    }

    fn held(&self, version: LogVersion) -> Result<Arc<Held>> {
        self.get(version).ok_or_else(|| Error::LogPruned { path: log_path(&self.log_dir, version) })
    }

    /// Reads one file. At a live tail: until what follows the last batch is zeros or the end.
    fn read_file(&self, scanner: &mut Scanner, held: &Held, live: bool) -> Result<FileEnd> {
        let mut tries = 0_u32;
        let mut reached = (scanner.position, None);
        loop {
            let end = scanner.file(held, held.size_bytes()?, &mut |_, _| ())?;
            let last = scanner.last.map(|last| last.tx_id);
            if !live || end.is_live_tail(held, scanner.position, last)? {
                return Ok(end);
            }
            // A large transaction may take long to be written: patience as long as it grows.
            let now = (scanner.position, end.consumed());
            tries = if reached == now { tries.saturating_add(1) } else { 0 };
            reached = now;
            if tries > TAIL_TRIES {
                return Err(end.into_error(held, scanner.position));
            }
            std::thread::sleep(TAIL_WAIT);
        }
    }
}

/// Each log file with the offset after its last batch.
pub type Cuts = BTreeMap<LogVersion, u64>;

impl Drop for HeldLogs {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.get() {
            watch.stop();
        }
    }
}

fn look(logs: &Weak<HeldLogs>, watch: &Watch) {
    while let Some(logs) = logs.upgrade() {
        if let Err(error) = logs.open_new() {
            // The copy's end tries again, and fails if a file is gone by then.
            tracing::warn!(error = %error, "open a new transaction log file");
        }
        for wake in &*logs.wakers.lock().unwrap_or_else(PoisonError::into_inner) {
            wake();
        }
        drop(logs);
        watch.wait();
    }
}
