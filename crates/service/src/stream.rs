//! The stream of a file's bytes: read, hashed and framed in a task.
//!
//! What the page cache holds is read in the task itself; only what must come from the disk is read
//! in a blocking thread. On few processors, changing threads for each chunk costs more than the
//! chunk's hash.
//!
//! Memory: a stream has one chunk being read, one waiting, and what hyper is writing. All streams
//! together stay below [`BUFFERS_BYTES`]: the more there are, the smaller are their chunks.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use wire::api::{ErrorBody, ErrorCode, ErrorDetail};
use wire::frame::{DATA_HEAD_BYTES, Frame, FrameError, data_head};
use wire::pages::{self, PAGE_BYTES};

use crate::answer::detail;
use crate::metrics::Metrics;
use crate::pool::{Buffer, Pool};
use crate::session::{File, InUse};

/// How many bytes of a file a frame carries at most. Divides every block. Few large frames cost the
/// processors less than many small ones.
const CHUNK_BYTES: usize = wire::frame::MAX_DATA_BYTES;
/// And at least, however many streams there are, but for a block's or a file's end.
const MIN_CHUNK_BYTES: usize = 64 << 10;
/// What all streams' chunks may take together.
const BUFFERS_BYTES: usize = 32 << 20;
/// Room after a chunk for a `BLOCK` and an `END` frame.
const TAIL_BYTES: usize = 128;
/// How many free buffers are kept.
pub(crate) const FREE_BUFFERS: usize = 8;
/// Buffers per stream: one being filled, one in the channel, those that hyper holds.
const BUFFERS_PER_STREAM: usize = 4;
const CHANNEL_DEPTH: usize = 1;

/// What a stream needs.
pub(crate) struct Job {
    pub(crate) session: InUse,
    pub(crate) permit: OwnedSemaphorePermit,
    pub(crate) id: u32,
    pub(crate) file: File,
    pub(crate) range: Range<u64>,
    /// The checksums of the pages that the client has, from the range's start on; only others are sent.
    pub(crate) known: Option<Vec<u32>>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stall_timeout: Duration,
}

/// Starts to read and gives the answer's body.
pub(crate) fn start(job: Job) -> Body {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(CHANNEL_DEPTH);
    tokio::spawn(async move {
        let metrics = Arc::clone(&job.metrics);
        let _gauge = metrics.stream();
        let output = Output { sender, stall_timeout: job.stall_timeout };
        if let Err(Stop::Failed(error)) = job.run(&output).await {
            tracing::warn!(file = job.id, error = error.message, "stream failed");
            output.fail(error).await;
        }
        drop(job.permit);
    });
    Body::from_stream(futures::stream::poll_fn(move |context| {
        receiver.poll_recv(context).map(|item| item.map(Ok::<_, std::convert::Infallible>))
    }))
}

/// Why a stream ends early.
enum Stop {
    /// The peer went away or takes nothing.
    Gone,
    /// The file cannot be read.
    Failed(ErrorDetail),
}

impl From<FrameError> for Stop {
    fn from(error: FrameError) -> Self {
        Self::Failed(detail(ErrorCode::Internal, error.to_string(), None))
    }
}

struct Output {
    sender: mpsc::Sender<Bytes>,
    stall_timeout: Duration,
}

impl Output {
    async fn send(&self, bytes: Bytes) -> Result<(), Stop> {
        self.sender.send_timeout(bytes, self.stall_timeout).await.map_err(|_| Stop::Gone)
    }

    async fn fail(&self, error: ErrorDetail) {
        let mut out = BytesMut::new();
        if Frame::Error(ErrorBody { error }).encode(&mut out).is_ok() {
            let _ = self.send(out.freeze()).await;
        }
    }
}

impl Job {
    async fn run(&self, output: &Output) -> Result<(), Stop> {
        let mut hasher = blake3::Hasher::new();
        let mut at = self.range.start;
        loop {
            let mut chunk = self.read(at).await?;
            let step = self.frame(&mut chunk, at, &mut hasher)?;
            self.metrics.sent(step.file_bytes);
            at += u64::try_from(chunk.file_bytes).unwrap_or(0);
            if step.used > 0 {
                output.send(chunk.buffer.freeze(step.used)).await?;
            }
            if step.ended {
                return Ok(());
            }
        }
    }

    /// Where the block that holds an offset begins and ends, as far as it is asked for.
    fn block(&self, at: u64) -> (u64, u64) {
        let block_bytes = self.session.0.block_bytes;
        let start = at - at % block_bytes;
        (start, start.saturating_add(block_bytes).min(self.range.end))
    }

    /// Reads a chunk, to the block's end at most, behind the room for its frame's head.
    async fn read(&self, at: u64) -> Result<Chunk, Stop> {
        let chunk_bytes = chunk_bytes(self.metrics.streams());
        let mut buffer = self.pool.take(DATA_HEAD_BYTES + chunk_bytes + TAIL_BYTES);
        let rest = usize::try_from(self.block(at).1 - at).unwrap_or(usize::MAX);
        let wanted = rest.min(chunk_bytes);
        if wanted == 0 {
            return Ok(Chunk { buffer, wanted, file_bytes: 0 });
        }
        let (id, kind) = (self.id, self.file.kind);
        let chunk = &mut buffer.space()[DATA_HEAD_BYTES..][..wanted];
        let cached = self.session.0.read_cached(id, kind, at, chunk).min(wanted);
        if cached == wanted {
            return Ok(Chunk { buffer, wanted, file_bytes: wanted });
        }
        let session = self.session.clone();
        let rest_at = at + u64::try_from(cached).unwrap_or(0);
        let reading = tokio::task::spawn_blocking(move || {
            let rest = &mut buffer.space()[DATA_HEAD_BYTES..][cached..wanted];
            let read = session.0.read_at(id, kind, rest_at, rest);
            let file_bytes = cached + read?.min(wanted - cached);
            Ok(Chunk { buffer, wanted, file_bytes })
        });
        let read = reading.await.map_err(|_| Stop::Gone)?;
        read.map_err(Stop::Failed)
    }

    /// Writes the head of a chunk's frame, and the frames that must follow it.
    fn frame(&self, chunk: &mut Chunk, at: u64, hasher: &mut blake3::Hasher) -> Result<Step, Stop> {
        let Chunk { ref mut buffer, wanted, file_bytes } = *chunk;
        let space = buffer.space();
        let (block_start, block_end) = self.block(at);
        let bytes = &space[DATA_HEAD_BYTES..][..file_bytes];
        hasher.update(bytes);
        let runs = self.runs(bytes, at);
        let sent_bytes = runs.iter().map(Range::len).sum();
        let mut used = 0;
        for run in runs {
            // Moves towards the start: before each run but the first a page is left out.
            let (from, length) = (DATA_HEAD_BYTES + run.start, run.len());
            let head = data_head(at + run.start as u64, &space[from..][..length])?;
            space.copy_within(from..from + length, used + DATA_HEAD_BYTES);
            space[used..][..DATA_HEAD_BYTES].copy_from_slice(&head);
            used += DATA_HEAD_BYTES + length;
        }
        let now = at + u64::try_from(file_bytes).unwrap_or(0);
        let shrunk = file_bytes < wanted;
        let ended = shrunk || now == self.range.end;

        let mut closing = BytesMut::new();
        if now > block_start && (shrunk || now == block_end) {
            let hash = *hasher.finalize().as_bytes();
            Frame::Block { offset_bytes: block_start, hash }.encode(&mut closing)?;
            hasher.reset();
        }
        if ended {
            let end_of_file = shrunk || now == self.file.size_bytes;
            Frame::End { offset_bytes: now, end_of_file }.encode(&mut closing)?;
        }
        space[used..used + closing.len()].copy_from_slice(&closing);
        Ok(Step { used: used + closing.len(), file_bytes: sent_bytes, ended })
    }

    /// The parts of a chunk at an offset of the file that are to be sent.
    fn runs(&self, chunk: &[u8], at: u64) -> Vec<Range<usize>> {
        let Some(known) = &self.known else {
            let whole = 0..chunk.len();
            return (!chunk.is_empty()).then_some(whole).into_iter().collect();
        };
        let first = usize::try_from(at - self.range.start).unwrap_or(usize::MAX) / PAGE_BYTES;
        let mut runs: Vec<Range<usize>> = Vec::new();
        for (index, page) in chunk.chunks(PAGE_BYTES).enumerate() {
            if known.get(first + index) == Some(&pages::checksum(page)) {
                continue;
            }
            let start = index * PAGE_BYTES;
            match runs.last_mut() {
                Some(run) if run.end == start => run.end = start + page.len(),
                _ => runs.push(start..start + page.len()),
            }
        }
        runs
    }
}

/// How large a chunk may be while so many streams are running.
fn chunk_bytes(streams: usize) -> usize {
    let share = BUFFERS_BYTES / BUFFERS_PER_STREAM / streams.max(1);
    // A power of two divides the blocks as the longest chunk does.
    let share = share.checked_ilog2().map_or(0, |log| 1 << log);
    share.clamp(MIN_CHUNK_BYTES, CHUNK_BYTES)
}

/// Bytes of the file, behind room for their frame's head.
struct Chunk {
    buffer: Buffer,
    /// How many bytes of the file were asked for, and how many there were.
    wanted: usize,
    file_bytes: usize,
}

/// What is in a buffer, ready to be sent.
struct Step {
    used: usize,
    /// Bytes of the file that are in it.
    file_bytes: usize,
    ended: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_streams_have_small_chunks() {
        for (streams, kib) in [(0, 1024), (1, 1024), (8, 1024), (9, 512), (16, 512), (1000, 64)] {
            assert_eq!(chunk_bytes(streams), kib << 10, "{streams}");
        }
    }
}
