//! The program under test, `neo4j-backup`: run, served, read.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::process;

/// The executable `neo4j-backup`.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
}

impl Program {
    /// The executable at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// A command that runs it.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(args);
        command
    }

    /// Runs it to its end, and expects success; what it prints as JSON, and how long it took.
    pub fn json(&self, args: &[&str]) -> Result<(Value, Duration)> {
        let begun = Instant::now();
        let (code, document) = self.outcome(args)?;
        ensure!(code == Some(0), "neo4j-backup {}: {code:?} {document}", args.join(" "));
        Ok((document, begun.elapsed()))
    }

    /// Runs it to its end; its exit code, and what it prints as JSON.
    pub fn outcome(&self, args: &[&str]) -> Result<(Option<i32>, Value)> {
        let output = self.command(args).output().context("run neo4j-backup")?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let document = serde_json::from_str(&stdout)
            .with_context(|| format!("neo4j-backup {}: {stdout}{stderr}", args.join(" ")))?;
        Ok((output.status.code(), document))
    }

    /// Starts `serve` on a free port of this host.
    pub fn serve(&self, args: &[&str]) -> Result<Service> {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.args(args);
        Service::start(command)
    }
}

/// A running `neo4j-backup serve`; stopped when dropped.
#[derive(Debug)]
pub struct Service {
    child: Child,
    /// The port that it listens on.
    pub port: u16,
}

impl Service {
    /// Starts a command that ends up as `neo4j-backup serve`, and waits until it listens.
    pub fn start(mut command: Command) -> Result<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("start neo4j-backup serve")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut line)?;
        let mut stderr = child.stderr.take().context("no stderr")?;
        let Some(port) = line.trim().rsplit(':').next().and_then(|port| port.parse().ok()) else {
            let mut error = String::new();
            child.kill().ok();
            stderr.read_to_string(&mut error).ok();
            child.wait().ok();
            bail!("serve printed {line:?} instead of its address\n{error}");
        };
        // Nobody reads its log here, and a full pipe would stop it.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Ok(Self { child, port })
    }

    /// The process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let stopped = process::signal(&self.child, rustix::process::Signal::TERM)
            .and_then(|()| process::wait(&mut self.child, Duration::from_secs(20)));
        if !matches!(stopped, Ok(Some(_))) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}
