//! The program itself: built, started, read.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::tidy;

/// The executable `neo4j-backup`.
pub struct Program {
    path: PathBuf,
}

impl Program {
    /// Builds the release executable.
    pub fn build() -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["build", "--release", "--package", "cli", "--message-format=json"])
            .current_dir(tidy::root())
            .stderr(Stdio::inherit())
            .output()
            .context("run cargo")?;
        ensure!(output.status.success(), "cargo build: {}", output.status);
        let messages = String::from_utf8_lossy(&output.stdout).into_owned();
        let executable = messages
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter_map(|message| Some(message["executable"].as_str()?.to_owned()))
            .find(|path| path.ends_with("neo4j-backup"));
        Ok(Self { path: executable.context("cargo named no executable")?.into() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs it to its end; what it prints as JSON, and how long it took.
    pub fn json(&self, args: &[&str]) -> Result<(Value, Duration)> {
        let begun = Instant::now();
        let output = Command::new(&self.path).args(args).output().context("run neo4j-backup")?;
        let took = begun.elapsed();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let stdout = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("neo4j-backup {}: {}\n{stdout}{stderr}", args.join(" "), output.status);
        }
        Ok((serde_json::from_str(&stdout).with_context(|| stdout.into_owned())?, took))
    }

    /// Starts `serve` on a free port of this host.
    pub fn serve(&self, args: &[&str]) -> Result<Service> {
        let mut child = Command::new(&self.path)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start neo4j-backup serve")?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("no stdout")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let Some(port) = line.trim().rsplit(':').next().and_then(|port| port.parse().ok()) else {
            let mut error = String::new();
            child.kill().ok();
            if let Some(stderr) = &mut child.stderr {
                stderr.read_to_string(&mut error).ok();
            }
            child.wait().ok();
            bail!("serve printed {line:?} instead of its address\n{error}");
        };
        // Nobody reads its log here, and a full pipe would stop it.
        let stderr = child.stderr.take().context("no stderr")?;
        std::thread::spawn(move || {
            std::io::copy(&mut BufReader::new(stderr), &mut std::io::sink())
        });
        Ok(Service { child, port })
    }
}

/// A running `neo4j-backup serve`; stopped when dropped.
pub struct Service {
    child: Child,
    /// The port that it listens on.
    pub port: u16,
}

impl Drop for Service {
    fn drop(&mut self) {
        let stopped = testkit::process::signal(&self.child, rustix::process::Signal::TERM)
            .and_then(|()| testkit::process::wait(&mut self.child, Duration::from_secs(20)));
        if !matches!(stopped, Ok(Some(_))) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}
