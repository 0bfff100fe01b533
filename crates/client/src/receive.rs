//! Takes the frames of a range, checks everything, and hands the bytes to the sink.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;
use wire::api::{ErrorDetail, FileInfo};
use wire::frame::{Decoder, Frame, FrameError};

use crate::progress::Progress;
use crate::sink::{Sink, SinkError};

/// Counts what has arrived and is right.
pub(crate) struct Tally {
    done_bytes: AtomicU64,
    progress: Arc<dyn Progress>,
}

impl Tally {
    pub(crate) fn new(progress: Arc<dyn Progress>) -> Self {
        Self { done_bytes: AtomicU64::new(0), progress }
    }

    pub(crate) fn add(&self, bytes: u64) {
        let before = self.done_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.progress.done(before.saturating_add(bytes));
    }

    /// A file is fetched again from its start, or left out.
    pub(crate) fn take_back(&self, bytes: u64) {
        let before = self.done_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.progress.done(before.saturating_sub(bytes));
    }
}

/// One stream of a range, from a block's start on.
pub(crate) struct Receiver {
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) file: FileInfo,
    pub(crate) block_bytes: u64,
    pub(crate) range: Range<u64>,
}

/// How a stream ended.
#[derive(Debug)]
pub(crate) struct Received {
    /// All blocks before this offset are complete.
    pub(crate) complete_to: u64,
    /// Whether the range is complete, or why not.
    pub(crate) outcome: Result<End, Fault>,
}

/// A range that is complete.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) offset_bytes: u64,
}

/// Why a range is not complete.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The stream ended too early.
    Incomplete(FrameError),
    /// A checksum or a hash is wrong.
    Corrupt(String),
    /// The frames are not what the protocol wants.
    Protocol(String),
    /// The service ended the range.
    Remote(ErrorDetail),
    /// The sink failed.
    Sink(SinkError),
}

impl From<FrameError> for Fault {
    fn from(error: FrameError) -> Self {
        if error.is_incomplete() {
            Self::Incomplete(error)
        } else if error.is_corrupt() {
            Self::Corrupt(error.to_string())
        } else {
            Self::Protocol(error.to_string())
        }
    }
}

struct State {
    /// The offset that comes next.
    at: u64,
    complete_to: u64,
    hasher: blake3::Hasher,
    end: Option<End>,
}

impl Receiver {
    /// Runs in a blocking thread until the pieces end.
    pub(crate) fn run(&self, mut pieces: mpsc::Receiver<Bytes>) -> Received {
        let mut state = State {
            at: self.range.start,
            complete_to: self.range.start,
            hasher: blake3::Hasher::new(),
            end: None,
        };
        let outcome = self.take_all(&mut state, &mut pieces);
        Received { complete_to: state.complete_to, outcome }
    }

    fn take_all(
        &self,
        state: &mut State,
        pieces: &mut mpsc::Receiver<Bytes>,
    ) -> Result<End, Fault> {
        let mut decoder = Decoder::new();
        while let Some(mut piece) = pieces.blocking_recv() {
            while let Some(frame) = decoder.decode(&mut piece)? {
                self.frame(state, frame)?;
            }
        }
        decoder.finish()?;
        state.end.ok_or_else(|| Fault::Protocol("no END frame".to_owned()))
    }

    fn frame(&self, state: &mut State, frame: Frame) -> Result<(), Fault> {
        match frame {
            Frame::Data { offset_bytes, bytes } => self.data(state, offset_bytes, &bytes),
            Frame::Block { offset_bytes, hash } => self.block(state, offset_bytes, hash),
            Frame::End { offset_bytes, end_of_file } => {
                if offset_bytes != state.at || state.complete_to != state.at {
                    let at = state.at;
                    return protocol(format!("END at {offset_bytes}, the bytes end at {at}"));
                }
                if state.at < self.range.end && !end_of_file {
                    return protocol(format!("END at {offset_bytes}, which is less than asked"));
                }
                state.end = Some(End { offset_bytes });
                Ok(())
            }
            Frame::Error(body) => Err(Fault::Remote(body.error)),
        }
    }

    fn data(&self, state: &mut State, offset_bytes: u64, bytes: &[u8]) -> Result<(), Fault> {
        if offset_bytes != state.at {
            return protocol(format!("bytes of offset {offset_bytes}, not {}", state.at));
        }
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let end = state.at.saturating_add(length);
        if end > self.block_end(state.at) {
            return protocol(format!("bytes to offset {end}: more than asked, or over a block"));
        }
        state.hasher.update(bytes);
        self.sink.write_at(self.file.id, offset_bytes, bytes).map_err(Fault::Sink)?;
        state.at = end;
        Ok(())
    }

    fn block(&self, state: &mut State, offset_bytes: u64, hash: [u8; 32]) -> Result<(), Fault> {
        if offset_bytes != state.complete_to || state.at <= offset_bytes {
            return protocol(format!("a hash of block {offset_bytes} that did not come"));
        }
        if !state.complete_to.is_multiple_of(self.block_bytes) {
            return protocol(format!("a block at {offset_bytes} after the last one"));
        }
        if state.hasher.finalize() != blake3::Hash::from_bytes(hash) {
            let what = format!("the block at {offset_bytes} does not have the hash that was sent");
            return Err(Fault::Corrupt(what));
        }
        state.hasher.reset();
        self.sink.block(self.file.id, offset_bytes, hash).map_err(Fault::Sink)?;
        // A short block is right at the file's end only: END must come next, and says so.
        self.tally.add(state.at - offset_bytes);
        state.complete_to = state.at;
        Ok(())
    }

    /// The end of the block or range that `at` lies in.
    fn block_end(&self, at: u64) -> u64 {
        let start = at - at % self.block_bytes;
        start.saturating_add(self.block_bytes).min(self.range.end)
    }
}

fn protocol<T>(what: String) -> Result<T, Fault> {
    Err(Fault::Protocol(what))
}
