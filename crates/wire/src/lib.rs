//! The HTTP API's types and the frames of its streams. Knows nothing of sockets or disks.

pub mod api;
