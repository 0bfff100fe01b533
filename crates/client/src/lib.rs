//! One conversation with a backup service: full copies, parallel streams, retries, and a check of
//! everything that arrives. Knows nothing of how a copy is kept: see [`Sink`].

mod sink;

pub use sink::{Sink, SinkError};
