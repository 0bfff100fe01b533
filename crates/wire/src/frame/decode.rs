//! The incremental decoder.

use bytes::{Buf, Bytes, BytesMut};

use crate::pages;

use super::{
    ALIGNMENT_BYTES, DATA_HEAD_BYTES, Frame, FrameError, FrameErrorKind, HASH_BYTES, HEADER_BYTES,
    KIND_BLOCK, KIND_DATA, KIND_END, MAX_DATA_PAYLOAD_BYTES, OFFSET_BYTES, check_length,
};

/// Takes the pieces of a stream as they arrive and gives frames.
///
/// Holds at most one frame. A frame that lies whole in one piece is not copied; of another one the
/// bytes of the file are put together at an address that is a multiple of [`ALIGNMENT_BYTES`], as
/// direct I/O wants it.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The first bytes of a frame whose rest is still to come.
    partial: BytesMut,
    /// Offset in the stream of the frame that comes next.
    at_bytes: u64,
    ended: bool,
    /// Of the last `DATA` frame.
    pages: Vec<u32>,
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes from `input` until a frame is complete, or all of them.
    ///
    /// # Errors
    /// When the bytes are no valid frame. The decoder cannot be used after that.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<Frame>, FrameError> {
        if input.is_empty() {
            return Ok(None);
        }
        if self.ended {
            return Err(self.error(FrameErrorKind::AfterEnd));
        }
        let Some(whole) = self.take_whole(input)? else { return Ok(None) };
        let frame_bytes = whole.len();
        self.pages.clear();
        let frame = parse(whole, &mut self.pages).map_err(|kind| self.error(kind))?;
        let advance = u64::try_from(frame_bytes).unwrap_or(u64::MAX);
        self.at_bytes = self.at_bytes.saturating_add(advance);
        self.ended = matches!(frame, Frame::End { .. } | Frame::Error(_));
        Ok(Some(frame))
    }

    /// The checksums of the pages of the last frame, if that was a `DATA` frame that begins at a page.
    #[must_use]
    pub fn pages(&self) -> &[u32] {
        &self.pages
    }

    /// Takes back the bytes of a `DATA` frame, so that their memory is used for another one.
    pub fn recycle(&mut self, bytes: Bytes) {
        if let (0, Ok(spare)) = (self.partial.capacity(), bytes.try_into_mut()) {
            self.partial = spare;
            self.partial.clear();
        }
    }

    /// Says that the stream has ended.
    ///
    /// # Errors
    /// When it ended inside a frame or without an `END` or `ERROR` frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        if !self.partial.is_empty() {
            return Err(self.error(FrameErrorKind::Truncated));
        }
        if !self.ended {
            return Err(self.error(FrameErrorKind::MissingEnd));
        }
        Ok(())
    }

    fn error(&self, kind: FrameErrorKind) -> FrameError {
        FrameError::new(self.at_bytes, kind)
    }

    /// The next frame's bytes, once all of them are there. Its header has been checked.
    fn take_whole(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, FrameError> {
        if self.partial.is_empty()
            && let Some(frame_bytes) = frame_bytes(input).map_err(|kind| self.error(kind))?
            && input.len() >= frame_bytes
        {
            return Ok(Some(input.split_to(frame_bytes)));
        }
        if !self.fill(input, HEADER_BYTES) {
            return Ok(None);
        }
        let header = frame_bytes(&self.partial).map_err(|kind| self.error(kind))?;
        match header {
            Some(frame_bytes) if self.fill(input, frame_bytes) => {
                Ok(Some(std::mem::take(&mut self.partial).freeze()))
            }
            _ => Ok(None),
        }
    }

    /// Moves bytes from `input` until `partial` has that many; whether it has.
    fn fill(&mut self, input: &mut Bytes, target_bytes: usize) -> bool {
        let missing = target_bytes.saturating_sub(self.partial.len());
        let piece = input.split_to(missing.min(input.len()));
        if self.partial.is_empty() {
            self.align();
        }
        self.partial.reserve(missing);
        self.partial.extend_from_slice(&piece);
        self.partial.len() >= target_bytes
    }

    /// Makes room for the longest frame, aligned.
    fn align(&mut self) {
        self.partial.clear();
        self.partial.reserve(ALIGNMENT_BYTES + HEADER_BYTES + MAX_DATA_PAYLOAD_BYTES);
        let data = self.partial.as_ptr().wrapping_add(DATA_HEAD_BYTES);
        let before = data.align_offset(ALIGNMENT_BYTES).min(ALIGNMENT_BYTES);
        self.partial.resize(before, 0);
        self.partial.advance(before);
    }
}

/// Length of the frame that begins here, if its header is there.
fn frame_bytes(mut bytes: &[u8]) -> Result<Option<usize>, FrameErrorKind> {
    if bytes.len() < HEADER_BYTES {
        return Ok(None);
    }
    let length = bytes.get_u32_le();
    let kind = bytes.get_u8();
    let reserved = bytes.get_uint_le(3);
    check_length(kind, length)?;
    if reserved != 0 {
        return Err(FrameErrorKind::Reserved);
    }
    let payload_bytes = usize::try_from(length).unwrap_or(usize::MAX);
    Ok(Some(payload_bytes.saturating_add(HEADER_BYTES)))
}

/// The frame of these bytes, which are as many as its header says, and its pages' checksums.
fn parse(whole: Bytes, sums: &mut Vec<u32>) -> Result<Frame, FrameErrorKind> {
    let mut rest = whole.clone();
    let head = rest.split_to(HEADER_BYTES.min(rest.len()));
    let mut checked: &[u8] = &head;
    let kind = head.get(4).copied().unwrap_or(0);
    let sum = crc32c::crc32c(head.get(..8).unwrap_or_default());
    checked.advance(8.min(checked.len()));
    let found = checked.try_get_u32_le().unwrap_or(0);
    let computed = match rest.split_at_checked(OFFSET_BYTES) {
        Some((mut offset, data)) if kind == KIND_DATA => {
            let sum = crc32c::crc32c_append(sum, offset);
            match offset.get_u64_le().is_multiple_of(pages::PAGE_BYTES as u64) {
                true => pages::checksums(sum, data, sums),
                false => crc32c::crc32c_append(sum, data),
            }
        }
        _ => crc32c::crc32c_append(sum, &rest),
    };
    if found != computed {
        return Err(FrameErrorKind::Crc { found, computed });
    }
    let short = FrameErrorKind::Truncated;
    match kind {
        KIND_DATA => {
            let offset_bytes = rest.try_get_u64_le().map_err(|_| short)?;
            Ok(Frame::Data { offset_bytes, bytes: rest })
        }
        KIND_BLOCK => {
            let offset_bytes = rest.try_get_u64_le().map_err(|_| short.clone())?;
            let mut hash = [0; HASH_BYTES];
            rest.try_copy_to_slice(&mut hash).map_err(|_| short)?;
            Ok(Frame::Block { offset_bytes, hash })
        }
        KIND_END => {
            let offset_bytes = rest.try_get_u64_le().map_err(|_| short.clone())?;
            let end_of_file = match rest.try_get_u8().map_err(|_| short)? {
                0 => false,
                1 => true,
                flag => return Err(FrameErrorKind::Flag(flag)),
            };
            Ok(Frame::End { offset_bytes, end_of_file })
        }
        _ => serde_json::from_slice(&rest)
            .map(Frame::Error)
            .map_err(|e| FrameErrorKind::BadError(e.to_string())),
    }
}

const _: () = assert!(OFFSET_BYTES == size_of::<u64>());
