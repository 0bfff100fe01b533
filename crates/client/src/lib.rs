//! One conversation with a backup service: full copies, parallel streams, retries, and a check of
//! everything that arrives. Knows nothing of how a copy is kept: see [`Sink`].
//!
//! ```no_run
//! # async fn example(sink: std::sync::Arc<dyn client::Sink>) -> Result<(), client::Error> {
//! let client = client::Client::new(client::ClientOptions::new("127.0.0.1", 6362))?;
//! let mut copy = client.open("neo4j").await?;
//! println!("{} files", copy.session().files.len());
//! let report = copy.run(sink, std::sync::Arc::new(())).await?;
//! println!("up to transaction {}", report.finished.last_tx.tx_id);
//! # Ok(())
//! # }
//! ```

mod certificate;
mod client;
mod copy;
mod error;
mod fetch;
mod http;
mod look;
mod options;
mod patience;
mod plan;
mod progress;
mod rate;
mod receive;
mod sink;
mod v3_0;

pub use certificate::{Certificate, Shown};
pub use client::Client;
pub use copy::{Copy, CopyReport, EndOptions, Stored};
pub use error::{Error, Result};
pub use options::{ClientOptions, MAX_PARALLEL, Protocol, TlsOptions};
pub use progress::{Phase, Progress};
pub use sink::{Base, Sink, SinkError};
