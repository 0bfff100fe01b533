//! The program under test, `neo4j-backup`: run, served, read.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::load::{Expected, History};
use crate::moment::instant_of;
use crate::process;

/// How long a line of the service's log may take until it is read.
const LOG_LIMIT: Duration = Duration::from_secs(10);

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
        self.serve_on(0, args)
    }

    /// Starts `serve` on that port of this host.
    pub fn serve_on(&self, port: u16, args: &[&str]) -> Result<Service> {
        let mut command = self.command(&["serve", "--listen", &format!("127.0.0.1:{port}")]);
        command.args(LOG_FORMAT);
        command.args(args);
        Service::start(command)
    }
}

/// What `serve` must be told for [`Service`] to understand its log.
pub const LOG_FORMAT: [&str; 2] = ["--log-format", "json"];

/// A database, and when the service was asked to end a copy of it.
type FinishAsked = (String, Instant);

/// A running `neo4j-backup serve`; stopped when dropped.
#[derive(Debug)]
pub struct Service {
    child: Child,
    finishes: Arc<Mutex<Vec<FinishAsked>>>,
    /// The port that it listens on.
    pub port: u16,
}

impl Service {
    /// Starts a command that ends up as `neo4j-backup serve` with its log in [`LOG_FORMAT`], and
    /// waits until it listens.
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
        let finishes = Arc::default();
        let noted = Arc::clone(&finishes);
        // To the end, whatever comes: a full pipe would stop the service.
        thread::spawn(move || note_finishes(stderr, &noted));
        Ok(Self { child, finishes, port })
    }

    /// When the service was asked, first after `since`, to end a copy of this database, by the
    /// time of its log's line. It looks for the end of the logs after that.
    pub fn finish_asked(&self, database: &str, since: Instant) -> Result<Instant> {
        let deadline = Instant::now() + LOG_LIMIT;
        loop {
            let finishes = self.finishes.lock().unwrap_or_else(PoisonError::into_inner);
            let found = finishes.iter().find(|(name, at)| name == database && *at >= since);
            if let Some((_, at)) = found {
                return Ok(*at);
            }
            drop(finishes);
            ensure!(Instant::now() < deadline, "nobody asked for the end of a copy of {database}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What must be in the copies of a run of `backup` with this report, which began at `begun`
    /// and had ended at `ended`: of each database all that was acknowledged before the service was
    /// asked to end its copy. What the run itself says of the end is not asked.
    pub fn expected(
        &self,
        history: &History,
        report: &Value,
        (begun, ended): (Instant, Instant),
    ) -> Result<Expected> {
        let mut expected = Expected::default();
        for database in report["databases"].as_array().context("no list of databases")? {
            let name = database["name"].as_str().context("a database without a name")?;
            let bounds = history.expected(self.finish_asked(name, begun)?, ended);
            match name {
                "system" => {
                    (expected.users, expected.no_users) = (bounds.users, bounds.no_users);
                }
                _ => expected.writers = bounds.writers,
            }
        }
        Ok(expected)
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

fn note_finishes(log: ChildStderr, finishes: &Mutex<Vec<FinishAsked>>) {
    for line in BufReader::new(log).split(b'\n').map_while(Result::ok) {
        let Ok(event) = serde_json::from_slice::<Value>(&line) else { continue };
        let field = |name: &str| event[name].as_str().unwrap_or_default();
        if field("message") != "finish asked" {
            continue;
        }
        // Not the moment at which it is read here: that may be late.
        if let Ok(at) = instant_of(field("timestamp")) {
            let mut finishes = finishes.lock().unwrap_or_else(PoisonError::into_inner);
            finishes.push((field("database").to_owned(), at));
        }
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
