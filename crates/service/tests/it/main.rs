//! The service over raw HTTP, with a synthetic source.

mod idle;
mod limits;
mod sessions;
mod start;
mod synthetic;
