//! Real Neo4j servers, a load with an invariant, and a checker.
//!
//! Everything here is synchronous: a server is a process, a writer is a thread. So a load keeps
//! its pace whatever the test itself does, also in a single-threaded async runtime.
//!
//! ```no_run
//! use std::time::Instant;
//! use testkit::{consistency, load::{Load, LoadOptions}, server::Server, verdict, versions};
//!
//! # fn main() -> anyhow::Result<()> {
//! let version = &versions::V5_26;
//! let mut live = Server::builder(version).start()?;
//! testkit::seed::seed(&live, &testkit::seed::SeedOptions::default())?;
//! let load = Load::start(&live, LoadOptions::default())?;
//! let before = Instant::now();
//! // ... make a backup of `live.data_dir()` and restore it into `home` ...
//! # let home = std::path::Path::new("home");
//! let after = Instant::now();
//! println!("{}", load.stop()?);
//!
//! // `history` is what the writers know; it outlives the load.
//! # let load = Load::start(&live, LoadOptions::default())?;
//! let expected = load.history().expected(before, after);
//! let mut restored = Server::builder(version).home(home).start()?;
//! verdict::examine(&restored, &expected).into_result()?;
//! restored.stop()?;
//! consistency::check(version, home, "neo4j")?.into_result()?;
//! # Ok(())
//! # }
//! ```

pub mod admin;
pub mod bolt;
pub mod consistency;
pub mod jars;
pub mod jdk;
pub mod load;
pub mod process;
pub mod random;
pub mod schema;
pub mod seed;
pub mod server;
pub mod verdict;
pub mod versions;
