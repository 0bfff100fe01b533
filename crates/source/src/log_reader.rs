//! Reading transaction logs as their bytes come: each file by itself, joined at the end.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use formats::txlog::{Batch, Chain, LogHeader};
use formats::{LogPosition, LogVersion, StoreId};

use crate::read::{Held, HeldReader};
use crate::scan::{FileEnd, LogScan, LogSizes, Scanner, Visit, log_path, read_header};
use crate::{Error, Result};

/// Pieces of a file that may wait to be read; more make whoever brings them wait.
const QUEUE: usize = 1;

/// Reads log files while they are being written, from the bytes that come: each in a thread of its own.
#[derive(Debug)]
pub struct LogReader {
    files: Files,
    /// One for each file of which something has come.
    feeds: Mutex<BTreeMap<LogVersion, Arc<Mutex<Feed>>>>,
}

/// The files that are read.
#[derive(Clone, Debug)]
struct Files {
    log_dir: PathBuf,
    from: LogPosition,
    store_id: StoreId,
}

/// A file whose bytes come.
#[derive(Debug)]
struct Feed {
    size_bytes: u64,
    /// Where the next bytes must begin; `None` if others came, so that it must be read from the disk.
    next: Option<u64>,
    /// `None` when no more bytes are wanted.
    queue: Option<Queue>,
    thread: JoinHandle<Part>,
}

/// To the thread, and back from it buffers that are empty again.
type Queue = (SyncSender<Vec<u8>>, Receiver<Vec<u8>>);

impl LogReader {
    /// For the files of a directory, from a position on.
    #[must_use]
    pub fn new(log_dir: &Path, from: LogPosition, store_id: &StoreId) -> Self {
        let (log_dir, store_id) = (log_dir.to_owned(), store_id.clone());
        Self { files: Files { log_dir, from, store_id }, feeds: Mutex::default() }
    }

    /// These bytes have just been written to a file that will be so long. A file whose bytes do not come in
    /// order, each once, is read from the disk in the end.
    pub fn written(&self, version: LogVersion, size_bytes: u64, at: u64, bytes: &[u8]) {
        let feed = {
            let mut feeds = lock(&self.feeds);
            let begin = || Arc::new(Mutex::new(self.files.feed(version, size_bytes, at, bytes)));
            Arc::clone(feeds.entry(version).or_insert_with(begin))
        };
        lock(&feed).take(size_bytes, at, bytes);
    }

    /// As [`scan_logs`](crate::scan_logs) of these files, whatever has come of them. Tells the first batch; an
    /// error comes with the position up to which all is right.
    pub fn finish(
        &self,
        sizes: &LogSizes,
    ) -> std::result::Result<(LogScan, Option<Batch>), (LogPosition, Error)> {
        let Files { log_dir, from, .. } = &self.files;
        let mut feeds = std::mem::take(&mut *lock(&self.feeds));
        let mut joined = Joined::new(*from);
        let newest = sizes.keys().next_back();
        for (version, size) in sizes.range(from.version..) {
            let feed = feeds.remove(version).and_then(Arc::into_inner);
            let read = feed.and_then(|feed| {
                feed.into_inner().unwrap_or_else(PoisonError::into_inner).finish(*size)
            });
            let part = read.unwrap_or_else(|| self.files.read(*version, *size));
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
    fn begin(&self, version: LogVersion) -> LogPosition {
        if version == self.from.version {
            return self.from;
        }
        LogPosition { version, offset_bytes: LogHeader::SIZE_BYTES }
    }

    fn read(&self, version: LogVersion, size_bytes: u64) -> Part {
        let begin = self.begin(version);
        Part::read(&self.log_dir, begin, &self.store_id, |held, scanner, visit| {
            scanner.file(held, size_bytes, visit)
        })
    }

    /// Begins to read a file whose first bytes have come; those before them are there already.
    fn feed(&self, version: LogVersion, size_bytes: u64, at: u64, bytes: &[u8]) -> Feed {
        let begin = self.begin(version);
        let (queue, pieces) = sync_channel(QUEUE);
        let (back, free) = sync_channel(QUEUE);
        let files = self.clone();
        let thread = std::thread::spawn(move || {
            Part::read(&files.log_dir, begin, &files.store_id, |held, scanner, visit| {
                let before = HeldReader::new(held, begin.offset_bytes, at);
                let mut came = Pieces { pieces, back, piece: Vec::new(), taken: 0 };
                let skipped = begin.offset_bytes.saturating_sub(at);
                io::copy(&mut came.by_ref().take(skipped), &mut io::sink())
                    .map_err(Error::io("read", held.path()))?;
                scanner.bytes(held, before.chain(came), visit)
            })
        });
        // The header and what lies before the first batch to read must be on the disk when it begins.
        let covered = at.saturating_add(bytes.len() as u64) >= begin.offset_bytes;
        let next = (covered && begin.offset_bytes <= size_bytes).then_some(at);
        Feed { size_bytes, next, queue: next.map(|_| (queue, free)), thread }
    }
}

impl Feed {
    fn take(&mut self, size_bytes: u64, at: u64, bytes: &[u8]) {
        let end = at.saturating_add(bytes.len() as u64);
        if self.next != Some(at) || size_bytes != self.size_bytes || end > size_bytes {
            (self.next, self.queue) = (None, None);
            return;
        }
        self.next = Some(end);
        if let Some((queue, free)) = &self.queue {
            let mut piece = free.try_recv().unwrap_or_default();
            piece.extend_from_slice(bytes);
            // Where nobody takes it, enough has been read: the log ends before.
            let _ = queue.send(piece);
        }
        if end == size_bytes {
            self.queue = None;
        }
    }

    /// What was read, if that was the whole file, and it is so long.
    fn finish(self, size_bytes: u64) -> Option<Part> {
        let Self { next, queue, thread, .. } = self;
        drop(queue);
        let part = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (next == Some(size_bytes)).then_some(part)
    }
}

/// The bytes that come, one piece after the other.
struct Pieces {
    pieces: Receiver<Vec<u8>>,
    back: SyncSender<Vec<u8>>,
    piece: Vec<u8>,
    taken: usize,
}

impl Pieces {
    /// Has a piece of which something is left; `false` if no more come.
    fn fill(&mut self) -> bool {
        while self.taken == self.piece.len() {
            let mut empty = std::mem::take(&mut self.piece);
            empty.clear();
            // If there are enough already, this one is not needed.
            let _ = self.back.try_send(empty);
            self.taken = 0;
            match self.pieces.recv() {
                Ok(piece) => self.piece = piece,
                Err(_) => return false,
            }
        }
        true
    }
}

impl Read for Pieces {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if !self.fill() {
            return Ok(0);
        }
        let mut rest = self.piece.get(self.taken..).unwrap_or_default();
        let read = rest.read(buf)?;
        self.taken = self.taken.saturating_add(read);
        Ok(read)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// Reads a file from a position on; `body` reads what follows that.
    fn read(
        log_dir: &Path,
        from: LogPosition,
        store_id: &StoreId,
        body: impl FnOnce(&Held, &mut Scanner, Visit<'_>) -> Result<FileEnd>,
    ) -> Self {
        let mut scanner = Scanner::new(from, store_id.clone());
        let mut first = None;
        let read = || {
            let held = Held::open(&log_path(log_dir, from.version))?;
            let Some(header) = read_header(&held)? else {
                return Ok(PartRead { held, body: None });
            };
            scanner.enter(from.version, &held)?;
            let end = body(&held, &mut scanner, &mut |_, batch| {
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
        let scan = LogScan {
            last: None,
            transactions: 0,
            files: Vec::new(),
            clean_end: true,
            between_bytes: 0,
        };
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
        self.scan.between_bytes = self.scan.between_bytes.saturating_add(scanner.between_bytes);
        self.scan.files.push((version, offset_bytes));
        if is_newest {
            self.scan.clean_end = end.is_clean(&held)?;
        } else {
            end.expect_boundary(&held, scanner.position)?;
        }
        Ok(true)
    }
}
