//! Frames: the parts of a message's body.

use bytes::{BufMut, Bytes, BytesMut};

use super::{MAX_FRAME_BYTES, ProtocolError};

/// Length field and the two bytes behind it.
const HEAD_BYTES: usize = 6;
/// The two bytes behind the length field count as the frame's.
const FLAG_BYTES: u32 = 2;
const MORE: u8 = 1;
const FAILURE: u8 = 2;
const INTERNAL_VERSION: u8 = 2;
const INTERNAL_SHIFT: u8 = 2;
const APPLICATION_VERSION: u8 = 1;

/// A part of what was received.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Bytes of the body.
    Body(&'a [u8]),
    /// Bytes of a failure.
    Failure(&'a [u8]),
    /// The message is complete.
    End {
        /// Whether it ended with a failure.
        failed: bool,
    },
}

/// Takes frames apart as their bytes arrive. After a message's end the next one may begin.
#[derive(Debug, Default)]
pub(super) struct Deframer {
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    /// Of the present frame's body.
    left: usize,
    /// Of the frame whose head is complete.
    flags: Option<u8>,
    at_bytes: u64,
}

impl Deframer {
    /// The next piece, of at most `max_bytes`; `None` once all of `input` is taken.
    pub(super) fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
        max_bytes: usize,
    ) -> Result<Option<Piece<'a>>, ProtocolError> {
        loop {
            let Some(flags) = self.flags else {
                if !self.fill_head(input)? {
                    return Ok(None);
                }
                continue;
            };
            if self.left > 0 {
                let taken = self.left.min(input.len()).min(max_bytes);
                let Some((bytes, rest)) = input.split_at_checked(taken) else { return Ok(None) };
                if bytes.is_empty() {
                    return Ok(None);
                }
                *input = rest;
                self.left = self.left.saturating_sub(bytes.len());
                self.advance(bytes.len());
                let failed = flags & FAILURE != 0;
                return Ok(Some(if failed { Piece::Failure(bytes) } else { Piece::Body(bytes) }));
            }
            (self.flags, self.head_bytes) = (None, 0);
            let failed = flags & FAILURE != 0;
            if failed || flags & MORE == 0 {
                return Ok(Some(Piece::End { failed }));
            }
        }
    }

    /// How much was received.
    pub(super) fn at_bytes(&self) -> u64 {
        self.at_bytes
    }

    /// Whether nothing of a frame has come since the last message's end.
    pub(super) fn is_between(&self) -> bool {
        self.flags.is_none() && self.head_bytes == 0
    }

    fn advance(&mut self, bytes: usize) {
        self.at_bytes = self.at_bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// Whether the next frame's head is there.
    fn fill_head(&mut self, input: &mut &[u8]) -> Result<bool, ProtocolError> {
        let wanted = HEAD_BYTES.saturating_sub(self.head_bytes).min(input.len());
        let Some((bytes, rest)) = input.split_at_checked(wanted) else { return Ok(false) };
        let end = self.head_bytes.saturating_add(wanted);
        if let Some(place) = self.head.get_mut(self.head_bytes..end) {
            place.copy_from_slice(bytes);
        }
        *input = rest;
        self.head_bytes = end;
        self.advance(wanted);
        if end < HEAD_BYTES {
            return Ok(false);
        }
        let [a, b, c, d, flags, application] = self.head;
        let length = u32::from_be_bytes([a, b, c, d]);
        let at_bytes = self.at_bytes.saturating_sub(HEAD_BYTES as u64);
        let body = length.checked_sub(FLAG_BYTES).and_then(|body| usize::try_from(body).ok());
        let max = MAX_FRAME_BYTES.saturating_sub(FLAG_BYTES as usize);
        let Some(body) = body.filter(|body| *body <= max) else {
            return Err(ProtocolError::FrameLength { at_bytes, length });
        };
        let internal = flags >> INTERNAL_SHIFT;
        if internal != INTERNAL_VERSION || application != APPLICATION_VERSION {
            return Err(ProtocolError::Version { at_bytes, application, internal });
        }
        // Without end they would say nothing; a server's are full where more follows.
        if body == 0 && flags & MORE != 0 {
            return Err(ProtocolError::FrameLength { at_bytes, length });
        }
        (self.flags, self.left) = (Some(flags), body);
        Ok(true)
    }
}

/// A frame around a part of a body.
pub(super) fn frame(body: &[u8], more: bool, failure: bool) -> Bytes {
    let mut frame = begin(body.len());
    frame.put_slice(body);
    seal(frame, more, failure)
}

/// A frame begun: the body follows what is there.
pub(super) fn begin(capacity: usize) -> BytesMut {
    let mut frame = BytesMut::with_capacity(capacity.saturating_add(HEAD_BYTES));
    frame.put_bytes(0, HEAD_BYTES);
    frame
}

/// Length of the body in a frame begun.
pub(super) fn body_bytes(frame: &BytesMut) -> usize {
    frame.len().saturating_sub(HEAD_BYTES)
}

/// Fills in a frame's head. The body must be shorter than [`MAX_FRAME_BYTES`] - 2.
pub(super) fn seal(mut frame: BytesMut, more: bool, failure: bool) -> Bytes {
    let length = frame.len().saturating_sub(size_of::<u32>());
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let flags = (INTERNAL_VERSION << INTERNAL_SHIFT) | u8::from(more) | (u8::from(failure) << 1);
    if let Some((mut head, _)) = frame.split_at_mut_checked(HEAD_BYTES) {
        head.put_u32(length);
        head.put_u8(flags);
        head.put_u8(APPLICATION_VERSION);
    }
    frame.freeze()
}
