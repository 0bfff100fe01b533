//! Takes the frames of a range, checks everything, and hands the bytes to the sink.
//!
//! Frames are checked and hashed where they arrive; only the sink's writing is done in a blocking
//! thread, while the next frame arrives.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::task::JoinHandle;
use wire::api::{ErrorDetail, FileInfo};
use wire::frame::{Decoder, Frame, FrameError};
use wire::pages::{self, BlockHasher, Group};

use crate::progress::Progress;
use crate::sink::{Sink, SinkError};

const PAGE_BYTES: u64 = pages::PAGE_BYTES as u64;
const GROUP_BYTES: u64 = pages::GROUP_BYTES as u64;

/// Counts what has arrived and is right.
pub(crate) struct Tally {
    done_bytes: AtomicU64,
    /// Bytes of files and hashes that went over the network, also twice.
    moved_bytes: AtomicU64,
    progress: Arc<dyn Progress>,
}

impl Tally {
    pub(crate) fn new(progress: Arc<dyn Progress>) -> Self {
        Self { done_bytes: AtomicU64::new(0), moved_bytes: AtomicU64::new(0), progress }
    }

    pub(crate) fn moved(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.moved_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn received(&self) {
        self.progress.received();
    }

    pub(crate) fn moved_bytes(&self) -> u64 {
        self.moved_bytes.load(Ordering::Relaxed)
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
    /// What the sink has, if only changes come.
    pub(crate) known: Option<Arc<Known>>,
}

/// What the sink has of a range.
pub(crate) struct Known {
    /// Where in the file it begins.
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) groups: Vec<Group>,
    /// See [`Base::stays`](crate::Base::stays).
    pub(crate) stays: bool,
}

impl Known {
    /// The same for another try: what an earlier one has written over it must be written again.
    pub(crate) fn again(&self) -> Self {
        Self { stays: false, groups: self.groups.clone(), ..*self }
    }

    /// The checksums of the pages from a block's start on, as a request has them.
    pub(crate) fn list_from(&self, offset_bytes: u64) -> Vec<u8> {
        let pages = self.end.saturating_sub(offset_bytes).div_ceil(PAGE_BYTES);
        let groups = pages::groups_of(self.start, offset_bytes..self.end);
        let groups = self.groups.get(groups.start..).unwrap_or_default();
        pages::list(groups, usize::try_from(pages).unwrap_or(usize::MAX))
    }

    fn covers(&self, range: &Range<u64>) -> bool {
        self.start <= range.start && range.end <= self.end
    }

    fn group_at(&self, offset_bytes: u64) -> Group {
        let index = pages::groups_of(self.start, offset_bytes..offset_bytes).start;
        self.groups.get(index).copied().unwrap_or_default()
    }
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

/// A range whose frames are arriving.
pub(crate) struct Receiving {
    receiver: Receiver,
    decoder: Decoder,
    /// The offset that comes next.
    at: u64,
    complete_to: u64,
    hasher: BlockHasher,
    /// What is known of the range's bytes up to there.
    groups: Vec<Group>,
    end: Option<End>,
    /// At most one write is under way; it gives its bytes back.
    writing: Option<JoinHandle<(Bytes, Result<(), SinkError>)>>,
}

impl Receiver {
    pub(crate) fn start(self) -> Receiving {
        Receiving {
            decoder: Decoder::new(),
            at: self.range.start,
            complete_to: self.range.start,
            hasher: BlockHasher::new(),
            groups: Vec::new(),
            end: None,
            writing: None,
            receiver: self,
        }
    }

    /// The end of the block or range that an offset lies in.
    fn block_end(&self, at: u64) -> u64 {
        let start = at - at % self.block_bytes;
        start.saturating_add(self.block_bytes).min(self.range.end)
    }
}

impl Receiving {
    /// Takes the next bytes of the stream.
    pub(crate) async fn take(&mut self, mut piece: Bytes) -> Result<(), Fault> {
        while let Some(frame) = self.decoder.decode(&mut piece)? {
            self.frame(frame).await?;
        }
        Ok(())
    }

    /// No more bytes come, or no more are wanted because of a fault. Waits for what is being
    /// written, so that whoever writes there next is alone.
    pub(crate) async fn end(mut self, taken: Result<(), Fault>) -> Received {
        let written = self.written().await;
        let told = self.tell_groups().await;
        let outcome = taken.and(written).and(told).and_then(|()| {
            self.decoder.finish()?;
            self.end.ok_or_else(|| Fault::Protocol("no END frame".to_owned()))
        });
        Received { complete_to: self.complete_to, outcome }
    }

    async fn frame(&mut self, frame: Frame) -> Result<(), Fault> {
        match frame {
            Frame::Data { offset_bytes, bytes } => self.data(offset_bytes, bytes).await,
            Frame::Block { offset_bytes, hash } => self.block(offset_bytes, hash).await,
            Frame::End { offset_bytes, end_of_file } => {
                if offset_bytes != self.at || self.complete_to != self.at {
                    let at = self.at;
                    return protocol(format!("END at {offset_bytes}, the bytes end at {at}"));
                }
                if self.at < self.receiver.range.end && !end_of_file {
                    return protocol(format!("END at {offset_bytes}, which is less than asked"));
                }
                self.end = Some(End { offset_bytes });
                Ok(())
            }
            Frame::Error(body) => Err(Fault::Remote(body.error)),
        }
    }

    async fn data(&mut self, offset_bytes: u64, bytes: Bytes) -> Result<(), Fault> {
        if offset_bytes != self.at {
            let from_page = offset_bytes.is_multiple_of(PAGE_BYTES);
            let in_block = (self.at..self.receiver.block_end(self.at)).contains(&offset_bytes);
            if self.receiver.known.is_none() || !from_page || !in_block {
                return protocol(format!("bytes of offset {offset_bytes}, not {}", self.at));
            }
            self.keep_to(offset_bytes).await?;
        }
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let end = self.at.saturating_add(length);
        if end > self.receiver.block_end(self.at) {
            return protocol(format!("bytes to offset {end}: more than asked, or over a block"));
        }
        self.hasher.update(&bytes);
        self.note_pages(offset_bytes);
        self.receiver.tally.moved(bytes.len());
        self.write(offset_bytes, bytes).await?;
        self.at = end;
        Ok(())
    }

    /// What was not sent up to an offset is what the sink has already.
    async fn keep_to(&mut self, end: u64) -> Result<(), Fault> {
        if self.at == end {
            return Ok(());
        }
        let at = self.at;
        let known = self.receiver.known.clone();
        let Some(known) = known.filter(|known| known.covers(&(at..end))) else {
            return Err(Fault::Corrupt(format!("what lies between {at} and {end} is missing")));
        };
        let block_start = at - at % self.receiver.block_bytes;
        let is_alone = self.receiver.block_end(at) - block_start <= GROUP_BYTES;
        while self.at < end {
            let at = self.at;
            let group_end = at - at % GROUP_BYTES + GROUP_BYTES;
            let group = known.group_at(at);
            self.keep_pages(group, at..end.min(group_end));
            let is_whole = at.is_multiple_of(GROUP_BYTES) && group_end <= end;
            if known.stays && is_whole && !is_alone && self.hasher.skip(group.subtree) {
                self.at = group_end;
                continue;
            }
            let (sink, id) = (Arc::clone(&self.receiver.sink), self.receiver.file.id);
            let length = usize::try_from(end.min(group_end) - at).unwrap_or(usize::MAX);
            let read = tokio::task::spawn_blocking(move || {
                let mut bytes = vec![0; length];
                sink.read_base(id, at, &mut bytes).map(|()| bytes)
            });
            let bytes: Bytes = match read.await.map_err(|error| Fault::Sink(Box::new(error)))? {
                Ok(bytes) => bytes.into(),
                // What cannot be read is brought anew.
                Err(error) => return Err(Fault::Corrupt(error.to_string())),
            };
            self.hasher.update(&bytes);
            self.at += u64::try_from(length).unwrap_or(0);
            if !known.stays {
                self.write(at, bytes).await?;
            }
        }
        Ok(())
    }

    /// The group of an offset of the range.
    fn group_mut(&mut self, offset_bytes: u64) -> &mut Group {
        let start = self.receiver.range.start;
        let index = pages::groups_of(start, offset_bytes..offset_bytes).start;
        if self.groups.len() <= index {
            self.groups.resize(index + 1, Group::default());
        }
        &mut self.groups[index]
    }

    /// Notes the checksums of the pages that have just come.
    fn note_pages(&mut self, mut offset_bytes: u64) {
        for sum in self.decoder.pages().to_vec() {
            let page = usize::try_from(offset_bytes % GROUP_BYTES / PAGE_BYTES).unwrap_or(0);
            self.group_mut(offset_bytes).pages[page] = sum;
            offset_bytes += PAGE_BYTES;
        }
    }

    /// Notes that the pages of a part of a group are those of the base.
    fn keep_pages(&mut self, of_base: Group, range: Range<u64>) {
        let first = range.start % GROUP_BYTES / PAGE_BYTES;
        let last = (range.end - 1) % GROUP_BYTES / PAGE_BYTES;
        let group = self.group_mut(range.start);
        for page in (first..=last).filter_map(|page| usize::try_from(page).ok()) {
            group.pages[page] = of_base.pages[page];
        }
    }

    /// Tells the sink what is known of the blocks that are complete.
    async fn tell_groups(&mut self) -> Result<(), Fault> {
        let (id, start) = (self.receiver.file.id, self.receiver.range.start);
        let count = pages::groups_of(start, start..self.complete_to).end;
        self.groups.truncate(count);
        if self.groups.is_empty() || !self.receiver.block_bytes.is_multiple_of(GROUP_BYTES) {
            return Ok(());
        }
        let (sink, groups) = (Arc::clone(&self.receiver.sink), std::mem::take(&mut self.groups));
        let told = tokio::task::spawn_blocking(move || sink.groups(id, start, &groups)).await;
        told.map_err(|error| Fault::Sink(Box::new(error)))?.map_err(Fault::Sink)
    }

    /// Goes over a block of which nothing came, if it is known to be what the sink has, and stays there: it
    /// need not be read. `false` if it must be.
    fn keep_block(&mut self, block: Range<u64>, hash: [u8; 32]) -> bool {
        let Receiver { sink, file, known, .. } = &self.receiver;
        let known = known.clone().filter(|known| {
            self.at == block.start
                && known.stays
                && known.covers(&block)
                && sink.base_block(file.id, block.clone()) == Some(hash)
        });
        let Some(known) = known else { return false };
        for at in block.clone().step_by(pages::GROUP_BYTES) {
            *self.group_mut(at) = known.group_at(at);
        }
        self.at = block.end;
        true
    }

    async fn write(&mut self, offset_bytes: u64, bytes: Bytes) -> Result<(), Fault> {
        self.written().await?;
        let (sink, id) = (Arc::clone(&self.receiver.sink), self.receiver.file.id);
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let written = sink.write_at(id, offset_bytes, &bytes);
            (bytes, written)
        }));
        Ok(())
    }

    /// Waits for the write that is under way.
    async fn written(&mut self) -> Result<(), Fault> {
        let Some(writing) = &mut self.writing else { return Ok(()) };
        let ended = writing.await;
        self.writing = None;
        let (bytes, written) = ended.map_err(|error| Fault::Sink(Box::new(error)))?;
        self.decoder.recycle(bytes);
        written.map_err(Fault::Sink)
    }

    async fn block(&mut self, offset_bytes: u64, hash: [u8; 32]) -> Result<(), Fault> {
        let only_changes = self.receiver.known.is_some();
        if offset_bytes != self.complete_to || (self.at <= offset_bytes && !only_changes) {
            return protocol(format!("a hash of block {offset_bytes} that did not come"));
        }
        let block_bytes = self.receiver.block_bytes;
        if !self.complete_to.is_multiple_of(block_bytes) {
            return protocol(format!("a block at {offset_bytes} after the last one"));
        }
        let end = self.receiver.block_end(offset_bytes);
        if !self.keep_block(offset_bytes..end, hash) {
            if only_changes {
                self.keep_to(end).await?;
            }
            let Some((_, subtrees)) = self.hasher.finish().filter(|(found, _)| *found == hash)
            else {
                let what =
                    format!("the block at {offset_bytes} does not have the hash that was sent");
                return Err(Fault::Corrupt(what));
            };
            for (at, subtree) in (offset_bytes..).step_by(pages::GROUP_BYTES).zip(subtrees) {
                self.group_mut(at).subtree = subtree;
            }
        }
        self.written().await?;
        let id = self.receiver.file.id;
        self.receiver.sink.block(id, offset_bytes, hash).map_err(Fault::Sink)?;
        // A short block is right at the file's end only: END must come next, and says so.
        self.receiver.tally.add(self.at - offset_bytes);
        self.complete_to = self.at;
        Ok(())
    }
}

fn protocol<T>(what: String) -> Result<T, Fault> {
    Err(Fault::Protocol(what))
}
