//! Proof by real Neo4j: copies of a server under load, restored, started, checked.

mod cluster;
mod cluster_3_0;
mod control;
mod control_3_0;
mod copies;
mod follow;
mod increments;
mod original;
mod parts;
mod peer;
mod renewals;
mod scene;
mod scene_3_0;
mod three;
mod tool;
mod tool_3_0;
