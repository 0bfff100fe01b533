//! The service over raw HTTP, with a synthetic source.

mod databases;
mod idle;
mod limits;
mod sessions;
mod start;
mod synthetic;
mod v3_0;
