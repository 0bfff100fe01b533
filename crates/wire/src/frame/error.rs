//! What can be wrong with a stream of frames.

/// A stream of frames that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("frame at byte {at_bytes} of the stream: {kind}")]
pub struct FrameError {
    /// Offset of the frame in the stream.
    pub at_bytes: u64,
    /// What is wrong with it.
    pub kind: FrameErrorKind,
}

impl FrameError {
    pub(super) fn new(at_bytes: u64, kind: FrameErrorKind) -> Self {
        Self { at_bytes, kind }
    }

    /// Whether the stream just ended too early, as after a broken connection.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        matches!(self.kind, FrameErrorKind::Truncated | FrameErrorKind::MissingEnd)
    }

    /// Whether a checksum was wrong, so that the same bytes may be right when sent again.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        matches!(self.kind, FrameErrorKind::Crc { .. })
    }
}

/// What is wrong with a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameErrorKind {
    /// No such kind of frame.
    #[error("unknown kind {0}")]
    UnknownKind(u8),
    /// A reserved byte is not zero.
    #[error("a reserved byte is not zero")]
    Reserved,
    /// No frame of that kind has that length.
    #[error("kind {kind} cannot have a payload of {length} bytes")]
    Length {
        /// The frame's kind.
        kind: u8,
        /// The length that its header names.
        length: u32,
    },
    /// The checksum is not that of the bytes.
    #[error("its CRC-32C is {found:08x}, its bytes have {computed:08x}")]
    Crc {
        /// What the header says.
        found: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// The flag of an `END` frame is neither 0 nor 1.
    #[error("unknown flag {0}")]
    Flag(u8),
    /// The JSON of an `ERROR` frame cannot be understood, or not be written.
    #[error("its error cannot be understood: {0}")]
    BadError(String),
    /// The stream ends inside the frame.
    #[error("the stream ends inside it")]
    Truncated,
    /// The stream ends between two frames, with neither `END` nor `ERROR`.
    #[error("the stream ends without an END frame")]
    MissingEnd,
    /// Something follows the `END` or `ERROR` frame.
    #[error("there are bytes after the END frame")]
    AfterEnd,
}
