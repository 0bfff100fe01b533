//! The frames of a file's stream: an encoder and an incremental decoder without I/O.
//!
//! Each frame is a header of 12 bytes and a payload; integers are little-endian.
//!
//! | offset | size | name | meaning |
//! |---|---|---|---|
//! | 0 | 4 | length | of the payload in bytes |
//! | 4 | 1 | kind | 1 `DATA`, 2 `BLOCK`, 3 `END`, 4 `ERROR` |
//! | 5 | 3 | reserved | zero |
//! | 8 | 4 | crc | CRC-32C of the 8 bytes before it and of the payload |
//!
//! | kind | payload |
//! |---|---|
//! | `DATA` | offset in the file (8), then 1 byte to 1 MiB of the file |
//! | `BLOCK` | offset of a block in the file (8), BLAKE3 of the block's bytes (32) |
//! | `END` | offset where the range ended (8), 1 if that is the file's end, else 0 (1) |
//! | `ERROR` | an [`ErrorBody`] as JSON |
//!
//! A stream's `DATA` frames are contiguous and never reach over a block's end; a `BLOCK` follows
//! the last byte of each block (the file's last block may be shorter); `END` or `ERROR` is last.
//!
//! Where a client has asked for changes only ([`crate::pages`]), pages that have not changed are not
//! sent: then `DATA` frames begin at multiples of 8 KiB with gaps between them, and a `BLOCK` may
//! come of which nothing was sent. Its hash is of all the block's bytes all the same.

mod decode;
mod error;
#[cfg(test)]
mod tests;

use bytes::{BufMut, Bytes, BytesMut};

use crate::api::ErrorBody;

pub use decode::Decoder;
pub use error::{FrameError, FrameErrorKind};

/// Length of a frame's header.
pub const HEADER_BYTES: usize = 12;
/// Length of what precedes a `DATA` frame's bytes: the header and the offset in the file.
pub const DATA_HEAD_BYTES: usize = 20;
/// The most bytes of a file that a `DATA` frame may carry.
pub const MAX_DATA_BYTES: usize = 1 << 20;
/// What direct I/O wants of a buffer's address, everywhere that is known.
pub const ALIGNMENT_BYTES: usize = 4096;
/// The longest JSON of an `ERROR` frame.
pub const MAX_ERROR_BYTES: usize = 64 << 10;

const OFFSET_BYTES: usize = 8;
const HASH_BYTES: usize = 32;
const BLOCK_PAYLOAD_BYTES: usize = OFFSET_BYTES + HASH_BYTES;
const END_PAYLOAD_BYTES: usize = OFFSET_BYTES + 1;
const MAX_DATA_PAYLOAD_BYTES: usize = OFFSET_BYTES + MAX_DATA_BYTES;

const KIND_DATA: u8 = 1;
const KIND_BLOCK: u8 = 2;
const KIND_END: u8 = 3;
const KIND_ERROR: u8 = 4;

/// One frame of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Bytes of the file.
    Data {
        /// Offset of the first of them in the file.
        offset_bytes: u64,
        /// 1 byte to [`MAX_DATA_BYTES`].
        bytes: Bytes,
    },
    /// All bytes of a block have been sent.
    Block {
        /// Offset of the block in the file.
        offset_bytes: u64,
        /// BLAKE3 of the block's bytes, as this stream carried them.
        hash: [u8; HASH_BYTES],
    },
    /// The range is complete.
    End {
        /// Where it ended; smaller than asked only at the file's end.
        offset_bytes: u64,
        /// Whether that is the file's end.
        end_of_file: bool,
    },
    /// The range cannot be completed.
    Error(ErrorBody),
}

impl Frame {
    /// Appends the frame's bytes.
    ///
    /// # Errors
    /// When `bytes` or the error's JSON is empty or longer than a frame may carry.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), FrameError> {
        match self {
            Self::Data { offset_bytes, bytes } => {
                out.put_slice(&data_head(*offset_bytes, bytes)?);
                out.put_slice(bytes);
            }
            Self::Block { offset_bytes, hash } => {
                let mut payload = [0; BLOCK_PAYLOAD_BYTES];
                let mut rest = payload.as_mut_slice();
                rest.put_u64_le(*offset_bytes);
                rest.put_slice(hash);
                out.put_slice(&header(KIND_BLOCK, BLOCK_PAYLOAD_BYTES, &[&payload])?);
                out.put_slice(&payload);
            }
            Self::End { offset_bytes, end_of_file } => {
                let mut payload = [0; END_PAYLOAD_BYTES];
                let mut rest = payload.as_mut_slice();
                rest.put_u64_le(*offset_bytes);
                rest.put_u8(u8::from(*end_of_file));
                out.put_slice(&header(KIND_END, END_PAYLOAD_BYTES, &[&payload])?);
                out.put_slice(&payload);
            }
            Self::Error(body) => {
                let json = serde_json::to_vec(body)
                    .map_err(|e| FrameError::new(0, FrameErrorKind::BadError(e.to_string())))?;
                out.put_slice(&header(KIND_ERROR, json.len(), &[&json])?);
                out.put_slice(&json);
            }
        }
        Ok(())
    }
}

/// The first 20 bytes of a `DATA` frame, for a sender that has the file's bytes in a buffer of its
/// own and does not want to copy them.
///
/// # Errors
/// When there are no bytes, or more than [`MAX_DATA_BYTES`].
pub fn data_head(offset_bytes: u64, bytes: &[u8]) -> Result<[u8; DATA_HEAD_BYTES], FrameError> {
    let offset = offset_bytes.to_le_bytes();
    let payload_bytes = bytes.len().saturating_add(OFFSET_BYTES);
    let header = header(KIND_DATA, payload_bytes, &[&offset, bytes])?;
    let mut head = [0; DATA_HEAD_BYTES];
    let mut rest = head.as_mut_slice();
    rest.put_slice(&header);
    rest.put_slice(&offset);
    Ok(head)
}

fn header(
    kind: u8,
    payload_bytes: usize,
    payload: &[&[u8]],
) -> Result<[u8; HEADER_BYTES], FrameError> {
    let length = u32::try_from(payload_bytes).unwrap_or(u32::MAX);
    check_length(kind, length).map_err(|kind| FrameError::new(0, kind))?;
    let mut header = [0; HEADER_BYTES];
    let mut rest = header.as_mut_slice();
    rest.put_u32_le(length);
    rest.put_u8(kind);
    rest.put_bytes(0, 3);
    let (first, crc) = header.split_at_mut(8);
    let sum =
        payload.iter().fold(crc32c::crc32c(first), |sum, part| crc32c::crc32c_append(sum, part));
    crc.copy_from_slice(&sum.to_le_bytes());
    Ok(header)
}

/// Whether a payload of that length may follow a header of that kind: asked before anything is
/// allocated for it.
fn check_length(kind: u8, length: u32) -> Result<(), FrameErrorKind> {
    let (min, max) = match kind {
        KIND_DATA => (OFFSET_BYTES.saturating_add(1), MAX_DATA_PAYLOAD_BYTES),
        KIND_BLOCK => (BLOCK_PAYLOAD_BYTES, BLOCK_PAYLOAD_BYTES),
        KIND_END => (END_PAYLOAD_BYTES, END_PAYLOAD_BYTES),
        KIND_ERROR => (2, MAX_ERROR_BYTES),
        other => return Err(FrameErrorKind::UnknownKind(other)),
    };
    match usize::try_from(length) {
        Ok(bytes) if (min..=max).contains(&bytes) => Ok(()),
        _ => Err(FrameErrorKind::Length { kind, length }),
    }
}
