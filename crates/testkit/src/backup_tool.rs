//! Neo4j's own online backup of 3.0 Enterprise: the tool that ours stands in for.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::process::{self, Finished};
use crate::versions::Version;
use crate::{admin, jars};

const MAIN_CLASS: &str = "org.neo4j.backup.BackupTool";

/// Runs the tool of `version` with these arguments in the folder `dir`, where its consistency
/// checker puts reports; one that takes longer than `limit` is killed. A failure of the tool is not
/// an error here: it exits with 1, also when it finds the full backup inconsistent that it made.
pub fn run(version: &Version, dir: &Path, args: &[&str], limit: Duration) -> Result<Finished> {
    let mut command = command(version, admin::FLAGS, args)?;
    command.current_dir(dir);
    process::run(command, limit)
}

/// The tool with the JVM's own settings but for these, to be measured.
pub fn command(version: &Version, jvm_flags: &[&str], args: &[&str]) -> Result<Command> {
    let mut command = jars::java(&version.with_tools(), jvm_flags, MAIN_CLASS)?;
    command.args(args);
    Ok(command)
}

/// Backs up what listens at `from`: full into a folder that is not there, else an increment.
pub fn back_up(
    version: &Version,
    dir: &Path,
    from: SocketAddr,
    to: &Path,
    limit: Duration,
) -> Result<Finished> {
    let (host, port) = (from.ip().to_string(), from.port().to_string());
    let to = to.display().to_string();
    run(version, dir, &["-host", &host, "-port", &port, "-to", &to], limit)
}
