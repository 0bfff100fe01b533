//! The backup protocol of Neo4j 3.0, as encoders and incremental decoders without I/O.
//!
//! One request, one response, over plain TCP; the client speaks first. Integers are big-endian.
//! Either message is a sequence of frames, and its body what is in them, joined:
//!
//! | offset | size | in a frame |
//! |---|---|---|
//! | 0 | 4 | length of what follows, at most [`MAX_FRAME_BYTES`] |
//! | 4 | 1 | bit 0 another frame follows; bit 1 failure; bits 2 to 6 internal version, 2 |
//! | 5 | 1 | protocol version, 1 |
//! | 6 | | a part of the body |
//!
//! | body of | content |
//! |---|---|
//! | a request | see [`Request`] |
//! | a full response | files, `u16` 0, the store's id (40), `u8` 1, transactions |
//! | an incremental response | the store's id (40), `u8` 1, transactions |
//! | a failure | a serialised Java exception, see [`Failure`] |
//!
//! A file is `u16` length of its path in UTF-16 code units, the path, `u8` 1 if bytes follow, then blocks:
//! `u8` n and n bytes, where 0 stands for 255 bytes with another block behind them. Transactions are
//! entries as in a log file, without check points, until the last frame's end.
//!
//! Source: what the 3.0.0 server and BackupTool send and take (captures), and their classes in
//! `org.neo4j.com`.

mod error;
mod failure;
mod frame;
mod request;
mod response;
#[cfg(test)]
mod tests;

pub use error::ProtocolError;
pub use failure::Failure;
pub use request::{Request, RequestDecoder};
pub use response::{Encoder, Event, Expected, ResponseDecoder};

/// The longest frame that real peers take, without its length field.
pub const MAX_FRAME_BYTES: usize = 0x40_0000;
/// A store's id in a response: creation time, random number, store version, upgrade time, id of the
/// upgrade transaction; 8 bytes each, as in `neostore`'s slots 0, 1, 4, 8 and 7.
pub const STORE_ID_BYTES: usize = 40;
