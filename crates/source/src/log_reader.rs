//! Reading transaction logs while more of them come: each file by itself, joined at the end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use formats::txlog::{Batch, Chain, LogHeader};
use formats::{LogPosition, LogVersion, StoreId};

use crate::read::Held;
use crate::scan::{FileEnd, LogScan, LogSizes, Scanner, log_path, read_header};
use crate::{Error, Result};

/// Reads log files as they become complete, in a thread of its own.
#[derive(Debug)]
pub struct LogReader {
    files: Files,
    queue: Sender<(LogVersion, u64)>,
    waiting: Arc<Mutex<Receiver<(LogVersion, u64)>>>,
    thread: JoinHandle<Parts>,
}

/// The files that are read.
#[derive(Clone, Debug)]
struct Files {
    log_dir: PathBuf,
    from: LogPosition,
    store_id: StoreId,
}

/// By version, each with the length that it was read for.
type Parts = BTreeMap<LogVersion, (u64, Part)>;

impl LogReader {
    /// For the files of a directory, from a position on.
    #[must_use]
    pub fn start(log_dir: &Path, from: LogPosition, store_id: &StoreId) -> Self {
        let (log_dir, store_id) = (log_dir.to_owned(), store_id.clone());
        let files = Files { log_dir, from, store_id };
        let (queue, waiting) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let (its_files, its_waiting) = (files.clone(), Arc::clone(&waiting));
        let thread = std::thread::spawn(move || its_files.read_all(&its_waiting));
        Self { files, queue, waiting, thread }
    }

    /// A file of that length is complete and does not change any more.
    pub fn read(&self, version: LogVersion, size_bytes: u64) {
        // Where the thread is gone it has panicked, and `finish` says so.
        let _ = self.queue.send((version, size_bytes));
    }

    /// As [`scan_logs`](crate::scan_logs) of these files, whether they were announced or not. Tells the
    /// first batch; an error comes with the position up to which all is right.
    pub fn finish(
        self,
        sizes: &LogSizes,
    ) -> std::result::Result<(LogScan, Option<Batch>), (LogPosition, Error)> {
        let Self { files, queue, waiting, thread } = self;
        let Files { log_dir, from, .. } = &files;
        drop(queue);
        let mut parts = files.read_all(&waiting);
        parts.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        let mut joined = Joined::new(*from);
        let newest = sizes.keys().next_back();
        for (version, size) in sizes.range(from.version..) {
            let known = parts.remove(version).filter(|(length, _)| length == size);
            let part = known.map_or_else(|| files.read(*version, *size), |(_, part)| part);
            match joined.take(log_dir, part, newest == Some(version)) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Err((joined.position, error)),
            }
        }
        if joined.scan.files.is_empty() {
            return Err((*from, Error::LogPruned { path: log_path(log_dir, from.version) }));
        }
        Ok((joined.scan, joined.first))
    }
}

impl Files {
    /// Takes one file after the other until no more can come.
    fn read_all(&self, waiting: &Mutex<Receiver<(LogVersion, u64)>>) -> Parts {
        let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let mut parts = Parts::new();
        while let Ok((version, size_bytes)) = next() {
            parts.insert(version, (size_bytes, self.read(version, size_bytes)));
        }
        parts
    }

    fn read(&self, version: LogVersion, size_bytes: u64) -> Part {
        let begin = LogPosition { version, offset_bytes: LogHeader::SIZE_BYTES };
        let from = if version == self.from.version { self.from } else { begin };
        Part::scan(&self.log_dir, from, size_bytes, &self.store_id)
    }
}

/// What is known of one file, read by itself.
struct Part {
    scanner: Scanner,
    first: Option<Batch>,
    read: Result<PartRead>,
}

struct PartRead {
    held: Held,
    /// Header and end; `None` where no header is written yet.
    body: Option<(LogHeader, FileEnd)>,
}

impl Part {
    fn scan(log_dir: &Path, from: LogPosition, size: u64, store_id: &StoreId) -> Self {
        let mut scanner = Scanner::new(from, store_id.clone());
        let mut first = None;
        let mut read = || {
            let held = Held::open(&log_path(log_dir, from.version))?;
            let Some(header) = read_header(&held)? else {
                return Ok(PartRead { held, body: None });
            };
            scanner.enter(from.version, &held)?;
            let end = scanner.file(&held, size, &mut |_, batch| {
                first.get_or_insert(*batch);
            })?;
            Ok(PartRead { held, body: Some((header, end)) })
        };
        let read = read();
        Self { scanner, first, read }
    }
}

/// Files that were read by themselves, joined one after the other.
struct Joined {
    chain: Chain,
    scan: LogScan,
    first: Option<Batch>,
    expected: LogVersion,
    /// Up to where all is right.
    position: LogPosition,
}

impl Joined {
    fn new(from: LogPosition) -> Self {
        let scan = LogScan { last: None, transactions: 0, files: Vec::new(), clean_end: true };
        let chain = Chain::start_anywhere();
        Self { chain, scan, first: None, expected: from.version, position: from }
    }

    /// Takes the next file; `false` if nothing can follow it.
    fn take(&mut self, log_dir: &Path, part: Part, is_newest: bool) -> Result<bool> {
        let Part { scanner, first, read } = part;
        let LogPosition { version, offset_bytes } = scanner.position;
        if version != self.expected {
            return Err(Error::LogPruned { path: log_path(log_dir, self.expected) });
        }
        self.expected = LogVersion(version.0.saturating_add(1));
        let path = log_path(log_dir, version);
        if let Ok(PartRead { body: Some((header, _)), .. }) = &read {
            self.chain.check_header(header).map_err(Error::format(&path))?;
        }
        if let Some(batch) = &first {
            self.chain.check(batch).map_err(Error::format(&path))?;
            self.chain = scanner.chain;
            self.position = scanner.position;
        }
        let PartRead { held, body } = read?;
        let Some((_, end)) = body else {
            self.scan.clean_end = held.is_zero_from(0)?;
            return Ok(false);
        };
        self.first = self.first.or(first);
        self.position = scanner.position;
        self.scan.last = scanner.last.or(self.scan.last);
        self.scan.transactions = self.scan.transactions.saturating_add(scanner.transactions);
        self.scan.files.push((version, offset_bytes));
        if is_newest {
            self.scan.clean_end = end.is_clean(&held)?;
        } else {
            end.expect_boundary(&held, scanner.position)?;
        }
        Ok(true)
    }
}
