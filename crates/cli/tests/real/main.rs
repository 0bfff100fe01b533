//! Proof by real Neo4j: copies of a server under load, restored, started, checked.

mod cluster;
mod control;
mod copies;
mod follow;
mod increments;
mod parts;
mod renewals;
mod scene;
mod three;
mod tool;
