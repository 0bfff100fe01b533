//! The HTTP API's types, the frames of its streams, and the names that either end accepts; and the backup
//! protocol of Neo4j 3.0. Knows nothing of sockets or disks.
//!
//! ```
//! use bytes::{Bytes, BytesMut};
//! use wire::frame::{Decoder, Frame};
//!
//! let mut stream = BytesMut::new();
//! Frame::End { offset_bytes: 0, end_of_file: true }.encode(&mut stream)?;
//! let mut input: Bytes = stream.freeze();
//! let mut decoder = Decoder::new();
//! let frame = decoder.decode(&mut input)?;
//! assert_eq!(frame, Some(Frame::End { offset_bytes: 0, end_of_file: true }));
//! decoder.finish()?;
//! # Ok::<(), wire::frame::FrameError>(())
//! ```
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::panic
    )
)]

pub mod api;
pub mod frame;
pub mod names;
pub mod pages;
pub mod v3_0;
