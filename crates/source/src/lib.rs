//! One live Neo4j database on disk, read only: which files it has, where its last checkpoint is,
//! and a hot copy of it that recovers to a commit. Never writes, creates or locks anything.

mod error;

pub use error::{Error, Result};
