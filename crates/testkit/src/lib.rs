//! Real Neo4j servers, a load with an invariant, and a checker.
//!
//! Everything here is synchronous: a server is a process, a writer is a thread. So a load keeps
//! its pace whatever the test itself does, also in a single-threaded async runtime.
//!
//! Community from 5 on, and 3.0 Enterprise, which has legacy indexes ([`rest`]) and an online backup
//! of its own ([`backup_tool`]), alone or as a [`cluster`]. Load and verdict are the same.
//!
//! Environment: `JAVA_HOME_17`, `JAVA_HOME_25` and `JAVA_HOME` (see [`jdk`]),
//! `NEO4J_BACKUP_TEST_CACHE` (see [`jars`]), `NEO4J_BACKUP_TEST_VERSIONS` (see [`versions`]).
//!
//! ```no_run
//! use std::{path::Path, time::Instant};
//! use testkit::load::{Load, LoadOptions};
//! use testkit::{consistency, seed, server::Server, verdict, versions};
//!
//! # fn back_up_and_restore(data_dir: &Path, into: &Path) {}
//! # fn main() -> anyhow::Result<()> {
//! let version = &versions::V5_26;
//! let live = Server::builder(version).start()?;
//! seed::seed(&live, &seed::SeedOptions { filler_nodes: 20_000 })?;
//! let load = Load::start(&live, LoadOptions::default())?;
//!
//! let from = Instant::now();
//! let home = Path::new("restored");
//! back_up_and_restore(&live.data_dir(), home);
//! let expected = load.history().expected(from, Instant::now());
//! println!("{}", load.stop()?);
//!
//! let mut restored = Server::builder(version).home(home).start()?;
//! println!("{:?}", verdict::examine(&restored, &expected).into_result()?);
//! restored.stop()?;
//! consistency::check(version, home, "neo4j")?.into_result()?;
//! # Ok(())
//! # }
//! ```

pub mod admin;
pub mod backup_tool;
pub mod bolt;
pub mod certificates;
pub mod cluster;
pub mod consistency;
pub mod follower;
pub mod jars;
pub mod jdk;
pub mod load;
mod moment;
pub mod process;
pub mod program;
pub mod proxy;
pub mod random;
pub mod rest;
pub mod schema;
pub mod seed;
pub mod server;
pub mod verdict;
pub mod versions;
