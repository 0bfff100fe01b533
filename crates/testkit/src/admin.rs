//! Neo4j's own administration tool from 5 on, on the home of a stopped server.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::jars;
use crate::process::{self, Finished};
use crate::versions::Version;

/// The tools end before the optimising compiler would pay.
pub(crate) const FLAGS: &[&str] = &["-Xmx512m", "-XX:TieredStopAtLevel=1"];

/// Runs `neo4j-admin <args>` of `version` on `home`; a failure of the tool is not an error here.
pub fn run(version: &Version, home: &Path, args: &[&str], limit: Duration) -> Result<Finished> {
    let mut command = jars::java(version, FLAGS, "org.neo4j.cli.AdminTool")?;
    command.args(args).env("NEO4J_HOME", home).env("NEO4J_CONF", home.join("conf"));
    process::run(command, limit)
}
