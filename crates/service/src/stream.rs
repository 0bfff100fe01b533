//! The stream of a file's bytes: read, hashed and framed in a blocking thread.
//!
//! Memory: a stream has one chunk being read, one or two waiting, and what hyper is writing.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use wire::api::{ErrorBody, ErrorCode, ErrorDetail};
use wire::frame::{DATA_HEAD_BYTES, Frame, FrameError, data_head};

use crate::answer::detail;
use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::session::{File, InUse};
use crate::watched::Request;

/// How many bytes of a file a frame carries. Divides every block.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;
/// Room after a chunk for a `BLOCK` and an `END` frame.
const TAIL_BYTES: usize = 128;
/// The size of the pool's buffers.
pub(crate) const BUFFER_BYTES: usize = DATA_HEAD_BYTES + CHUNK_BYTES + TAIL_BYTES;
/// Buffers per stream: one being filled, those in the channel, those that hyper holds.
pub(crate) const BUFFERS_PER_STREAM: usize = 4;
const CHANNEL_DEPTH: usize = 1;

/// What a stream needs.
pub(crate) struct Job {
    pub(crate) session: InUse,
    /// Keeps the connection from looking idle.
    pub(crate) _request: Request,
    pub(crate) permit: OwnedSemaphorePermit,
    pub(crate) id: u32,
    pub(crate) file: File,
    pub(crate) range: Range<u64>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stall_timeout: Duration,
}

/// Starts to read and gives the answer's body.
pub(crate) fn start(job: Job) -> Body {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(CHANNEL_DEPTH);
    let handle = Handle::current();
    tokio::task::spawn_blocking(move || {
        let metrics = Arc::clone(&job.metrics);
        let _gauge = metrics.stream();
        let output = Output { sender, handle, stall_timeout: job.stall_timeout };
        if let Err(Stop::Failed(error)) = job.run(&output) {
            tracing::warn!(file = job.id, error = error.message, "stream failed");
            output.fail(error);
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
    handle: Handle,
    stall_timeout: Duration,
}

impl Output {
    fn send(&self, bytes: Bytes) -> Result<(), Stop> {
        let bytes = match self.sender.try_send(bytes) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Stop::Gone),
            Err(mpsc::error::TrySendError::Full(bytes)) => bytes,
        };
        let sending = self.sender.send_timeout(bytes, self.stall_timeout);
        self.handle.block_on(sending).map_err(|_| Stop::Gone)
    }

    fn fail(&self, error: ErrorDetail) {
        let mut out = BytesMut::new();
        if Frame::Error(ErrorBody { error }).encode(&mut out).is_ok() {
            let _ = self.send(out.freeze());
        }
    }
}

impl Job {
    fn run(&self, output: &Output) -> Result<(), Stop> {
        let mut hasher = blake3::Hasher::new();
        let mut at = self.range.start;
        loop {
            let mut buffer = self.pool.take();
            let step = self.step(buffer.space(), at, &mut hasher)?;
            self.metrics.sent(step.file_bytes);
            at += u64::try_from(step.file_bytes).unwrap_or(0);
            output.send(buffer.freeze(step.used))?;
            if step.ended {
                return Ok(());
            }
        }
    }

    /// Reads a chunk, and writes its frame and those that must follow it.
    fn step(&self, space: &mut [u8], at: u64, hasher: &mut blake3::Hasher) -> Result<Step, Stop> {
        let block_bytes = self.session.0.block_bytes;
        let block_start = at - at % block_bytes;
        let block_end = block_start.saturating_add(block_bytes).min(self.range.end);
        let wanted = usize::try_from(block_end - at).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let (head, rest) = space.split_at_mut(DATA_HEAD_BYTES);
        let mut file_bytes = 0;
        if wanted > 0 {
            let chunk = &mut rest[..wanted];
            let read = self.session.0.read_at(self.id, self.file.kind, at, chunk);
            file_bytes = read.map_err(Stop::Failed)?.min(wanted);
        }
        let mut used = 0;
        if file_bytes > 0 {
            head.copy_from_slice(&data_head(at, &rest[..file_bytes])?);
            hasher.update(&rest[..file_bytes]);
            used = DATA_HEAD_BYTES + file_bytes;
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
        Ok(Step { file_bytes, used: used + closing.len(), ended })
    }
}

/// What a step has put into its buffer.
struct Step {
    file_bytes: usize,
    used: usize,
    ended: bool,
}
