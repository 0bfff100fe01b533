//! The order of a copy: derived files, record stores, finish, logs, checkpoint file.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use reqwest::Method;
use wire::api::{Checked, ErrorCode, FileInfo, FileKind, Finished, LeftOut, Session};
use wire::pages;

use super::{CopyReport, EndOptions};
use crate::error::{Error, Result};
use crate::fetch::Conversation;
use crate::plan::{RANGE_BYTES, Seen, ranges};
use crate::progress::{Phase, Progress};
use crate::receive::{End, Known, Tally};
use crate::sink::{Base, Sink, SinkError};

/// Of larger blocks all bytes are fetched, not only those that have changed: of stores above 8 TiB.
const LARGEST_BLOCK_BYTES: u64 =
    (pages::MAX_LIST_BYTES / pages::CHECKSUM_BYTES * pages::PAGE_BYTES) as u64;
/// How often a tree that does not hold still is fetched.
const TREE_TRIES: u32 = 3;

/// What a copy's parts share.
pub(super) struct Run {
    pub(super) conversation: Arc<Conversation>,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) tally: Arc<Tally>,
    pub(super) progress: Arc<dyn Progress>,
    pub(super) parallel: usize,
}

/// The store's files that have been brought.
pub(super) struct Stored {
    begun: Instant,
    /// Derived files, of which some may turn out to be stale.
    whole: Vec<(u32, u64)>,
    kept: Kept,
}

/// What has been brought.
pub(super) struct Brought {
    finished: Finished,
    kept: Kept,
    moved_bytes: u64,
    duration: Duration,
}

/// Files that are in the copy, and those that are not.
#[derive(Default)]
struct Kept {
    files: u64,
    bytes: u64,
    left_out: Vec<LeftOut>,
}

impl Brought {
    pub(super) fn report(self, session: Session) -> CopyReport {
        let mut left_out = session.left_out.clone();
        left_out.extend(self.kept.left_out);
        CopyReport {
            session,
            finished: self.finished,
            bytes_transferred: self.moved_bytes,
            files: self.kept.files,
            left_out,
            duration: self.duration,
        }
    }
}

/// How a derived file's copy ended.
enum Derived {
    Whole { id: u32, size_bytes: u64 },
    LeftOut(LeftOut),
}

impl Run {
    /// Fetches the store's files; nothing, in an increment.
    pub(super) async fn store(&self, session: &Session, seen: &Seen) -> Result<Stored> {
        let begun = Instant::now();
        let (derived, records): (Vec<_>, Vec<_>) =
            session.files.iter().cloned().partition(|file| file.kind.is_derived());
        let total: u64 = session.files.iter().map(|file| file.size_bytes).sum();
        self.progress.phase(Phase::Store, total);
        let mut whole = Vec::new();
        let mut kept = Kept::default();
        for derived in self.derived(derived).await? {
            match derived {
                Derived::Whole { id, size_bytes } => whole.push((id, size_bytes)),
                Derived::LeftOut(left_out) => kept.left_out.push(left_out),
            }
        }
        self.files(records, seen, false, &mut kept).await?;
        Ok(Stored { begun, whole, kept })
    }

    /// Ends the copying and fetches the logs.
    pub(super) async fn logs(
        &self,
        session: &Session,
        seen: &mut Seen,
        stored: Stored,
        end: EndOptions,
    ) -> Result<Brought> {
        let Stored { begun, mut whole, mut kept } = stored;
        let wait = end.wait.as_secs();
        let path = if wait > 0 { format!("/finish?wait={wait}") } else { "/finish".to_owned() };
        let timeout = end.timeout.unwrap_or(self.conversation.finish_timeout) + end.wait;
        let mut finished: Finished = self.conversation.ask(Method::POST, &path, timeout).await?;
        seen.finished(&mut finished)?;
        self.forget_stale(session, &finished, &mut whole, &mut kept).await?;
        for (_, size_bytes) in whole {
            kept.files += 1;
            kept.bytes += size_bytes;
        }
        let new_bytes = |file: &FileInfo| file.size_bytes.saturating_sub(seen.has_bytes(file));
        let logs_bytes: u64 = finished.files.iter().map(new_bytes).sum();
        self.progress.phase(Phase::Logs, kept.bytes.saturating_add(logs_bytes));
        self.progress.finished(&finished);
        let (checkpoint, logs): (Vec<_>, Vec<_>) =
            finished.files.iter().cloned().partition(|file| file.kind == FileKind::Checkpoint);
        self.files(logs, seen, true, &mut kept).await?;
        self.files(checkpoint, seen, true, &mut kept).await?;
        let moved_bytes = self.tally.moved_bytes();
        Ok(Brought { finished, kept, moved_bytes, duration: begun.elapsed() })
    }

    async fn derived(&self, files: Vec<FileInfo>) -> Result<Vec<Derived>> {
        stream::iter(files)
            .map(|file| self.one_derived(file))
            .buffer_unordered(self.parallel)
            .try_collect()
            .await
    }

    async fn one_derived(&self, mut file: FileInfo) -> Result<Derived> {
        let id = file.id;
        for _ in 0..TREE_TRIES {
            self.create(file.clone()).await?;
            let size_bytes = file.size_bytes;
            let end = match self.in_order(&file).await {
                Err(Error::Remote(detail))
                    if file.kind == FileKind::Tree && of_source(detail.code) =>
                {
                    self.discard(id).await?;
                    return Ok(Derived::LeftOut(LeftOut {
                        path: file.path,
                        reason: detail.message,
                    }));
                }
                fetched => fetched?,
            };
            if file.kind != FileKind::Tree {
                if end != size_bytes {
                    return Err(became_shorter(&file, end));
                }
                self.complete(id, end).await?;
                return Ok(Derived::Whole { id, size_bytes: end });
            }
            let path = format!("/files/{id}/check");
            let timeout = self.conversation.answer_timeout;
            let checked: Checked = match self.conversation.ask(Method::POST, &path, timeout).await {
                Err(Error::Remote(detail)) if of_source(detail.code) => {
                    self.discard(id).await?;
                    self.tally.take_back(end);
                    let (path, reason) = (file.path, detail.message);
                    return Ok(Derived::LeftOut(LeftOut { path, reason }));
                }
                checked => checked?,
            };
            if checked.whole && end == size_bytes {
                self.complete(id, end).await?;
                return Ok(Derived::Whole { id, size_bytes: end });
            }
            tracing::info!(file = file.path, "changed while it was copied");
            self.discard(id).await?;
            self.tally.take_back(end);
            if checked.size_bytes > i64::MAX as u64 {
                return Err(Error::Protocol(format!("a tree of {} bytes", checked.size_bytes)));
            }
            file.size_bytes = checked.size_bytes;
        }
        let reason = format!("it changed during each of {TREE_TRIES} copies");
        Ok(Derived::LeftOut(LeftOut { path: file.path, reason }))
    }

    async fn forget_stale(
        &self,
        session: &Session,
        finished: &Finished,
        whole: &mut Vec<(u32, u64)>,
        kept: &mut Kept,
    ) -> Result<()> {
        for stale in &finished.stale {
            let file = session.files.iter().find(|file| file.id == stale.id);
            let Some(file) = file.filter(|file| file.kind.is_derived()) else {
                let what = format!("file {} cannot be stale: it is no derived file", stale.id);
                return Err(Error::Protocol(what));
            };
            let Some(at) = whole.iter().position(|(id, _)| *id == stale.id) else { continue };
            let (_, size_bytes) = whole.swap_remove(at);
            self.discard(stale.id).await?;
            self.tally.take_back(size_bytes);
            let (path, reason) = (file.path.clone(), stale.reason.clone());
            kept.left_out.push(LeftOut { path, reason });
        }
        Ok(())
    }

    /// Fetches files in ranges, several at once.
    async fn files(
        &self,
        files: Vec<FileInfo>,
        seen: &Seen,
        must_be_whole: bool,
        kept: &mut Kept,
    ) -> Result<()> {
        let mut jobs = Vec::new();
        for file in files {
            let from = seen.has_bytes(&file);
            if from > 0 && from == file.size_bytes {
                continue;
            }
            self.create(file.clone()).await?;
            let ranges = self.ranges(from, &file);
            let parts = Arc::new(Parts { open: Mutex::new((ranges.len(), Vec::new())), file });
            jobs.extend(ranges.into_iter().map(|range| (Arc::clone(&parts), range)));
        }
        let mut done = stream::iter(jobs)
            .map(|(parts, range)| self.range(parts, range, must_be_whole))
            .buffer_unordered(self.parallel);
        while let Some(bytes) = done.try_next().await? {
            if let Some(bytes) = bytes {
                kept.files += 1;
                kept.bytes += bytes;
            }
        }
        Ok(())
    }

    /// Fetches a range; the last range of a file completes it and gives how many bytes of it came.
    async fn range(
        &self,
        parts: Arc<Parts>,
        range: Range<u64>,
        must_be_whole: bool,
    ) -> Result<Option<u64>> {
        let file = &parts.file;
        let end = self.fetch(file, range.clone()).await?;
        if must_be_whole && end.offset_bytes != range.end {
            return Err(became_shorter(file, end.offset_bytes));
        }
        let Some(ends) = parts.ended(range, end) else { return Ok(None) };
        let first = ends.iter().map(|(range, _)| range.start).min().unwrap_or(0);
        let size_bytes = match joined(&ends) {
            Some(size_bytes) => size_bytes,
            None => self.again(file, &ends).await?,
        };
        self.complete(file.id, size_bytes).await?;
        Ok(Some(size_bytes.saturating_sub(first)))
    }

    /// The file shrank while its ranges were fetched, so that they do not join: once more, in one.
    async fn again(&self, file: &FileInfo, ends: &[(Range<u64>, u64)]) -> Result<u64> {
        tracing::info!(file = file.path, "became shorter while it was copied");
        self.discard(file.id).await?;
        self.tally.take_back(ends.iter().map(|(range, end)| end - range.start).sum());
        self.create(file.clone()).await?;
        self.in_order(file).await
    }

    /// Fetches a file from its start, one range after the other; gives where it ends.
    async fn in_order(&self, file: &FileInfo) -> Result<u64> {
        for range in self.ranges(0, file) {
            let (asked, end) = (range.end, self.fetch(file, range).await?);
            if end.offset_bytes < asked {
                return Ok(end.offset_bytes);
            }
        }
        Ok(file.size_bytes)
    }

    fn ranges(&self, from: u64, file: &FileInfo) -> Vec<Range<u64>> {
        let longest = match self.sink.base(file.id) {
            Some(_) => pages::MAX_RANGE_BYTES,
            None if self.sink.wants_order() => u64::MAX,
            None => RANGE_BYTES,
        };
        ranges(from, file.size_bytes, self.conversation.block_bytes, longest)
    }

    /// Fetches a range, or what has changed in it where the sink has a base.
    async fn fetch(&self, file: &FileInfo, range: Range<u64>) -> Result<End> {
        // A range is one block at least, and a request carries checksums of so much only.
        let blocks = pages::GROUP_BYTES as u64..=LARGEST_BLOCK_BYTES;
        let fits = blocks.contains(&self.conversation.block_bytes);
        let base = self.sink.base(file.id);
        let base = base.filter(|base| fits && base.size_bytes > range.start);
        let known = match base {
            Some(base) => match self.known(file.id, base, &range).await {
                Ok(known) => Some(Arc::new(known)),
                // What cannot be read is brought anew.
                Err(Error::Sink(error)) => {
                    let (file, offset) = (&file.path, range.start);
                    tracing::warn!(file, offset, %error, "cannot read what there is: fetching all of a range");
                    None
                }
                Err(error) => return Err(error),
            },
            None => None,
        };
        self.conversation.fetch(file, range, &self.sink, &self.tally, known).await
    }

    async fn known(&self, id: u32, base: Base, range: &Range<u64>) -> Result<Known> {
        let (start, end) = (range.start, range.end.min(base.size_bytes));
        let sink = Arc::clone(&self.sink);
        let read = tokio::task::spawn_blocking(move || sink.base_groups(id, start..end));
        let groups = read.await.map_err(|_| Error::Cancelled)?.map_err(Error::Sink)?;
        Ok(Known { start, end, groups, stays: base.stays })
    }

    async fn create(&self, file: FileInfo) -> Result<()> {
        self.sink(move |sink| sink.create(&file)).await
    }

    async fn discard(&self, id: u32) -> Result<()> {
        self.sink(move |sink| sink.discard(id)).await
    }

    async fn complete(&self, id: u32, size_bytes: u64) -> Result<()> {
        self.sink(move |sink| sink.complete(id, size_bytes)).await
    }

    async fn sink(
        &self,
        call: impl FnOnce(&dyn Sink) -> std::result::Result<(), SinkError> + Send + 'static,
    ) -> Result<()> {
        let sink = Arc::clone(&self.sink);
        let called = tokio::task::spawn_blocking(move || call(&*sink)).await;
        called.map_err(|_| Error::Cancelled)?.map_err(Error::Sink)
    }
}

/// A file whose ranges are being fetched: how many are, and where the others ended.
struct Parts {
    file: FileInfo,
    open: Mutex<(usize, Ends)>,
}

/// Ranges, and where each of them ended.
type Ends = Vec<(Range<u64>, u64)>;

impl Parts {
    /// Notes where a range ended; all ends, if it was the last one.
    fn ended(&self, range: Range<u64>, end: End) -> Option<Ends> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.0 -= 1;
        open.1.push((range, end.offset_bytes));
        (open.0 == 0).then(|| std::mem::take(&mut open.1))
    }
}

/// The size of a file whose ranges ended there, if no bytes lie behind a gap.
fn joined(ends: &[(Range<u64>, u64)]) -> Option<u64> {
    let size = ends.iter().filter(|(range, end)| *end < range.end).map(|(_, end)| *end).min();
    let whole = ends.iter().map(|(range, _)| range.end).max().unwrap_or(0);
    let size = size.unwrap_or(whole);
    let behind = ends.iter().any(|(range, end)| *end > size && *end > range.start);
    (!behind).then_some(size)
}

fn became_shorter(file: &FileInfo, end: u64) -> Error {
    let size = file.size_bytes;
    Error::Protocol(format!("{} ended at {end}, although it has {size} bytes", file.path))
}

fn of_source(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::SourceUnusable | ErrorCode::SourceUnreadable | ErrorCode::SourceCorrupt
    )
}
