//! `neo4j-backup --follow`, and what it tells.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::process;
use crate::program::Program;

const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Something that a follower told, and when that was read.
#[derive(Clone, Debug)]
pub struct Event {
    /// When its line was read: what it tells of had happened before.
    pub at: Instant,
    /// Its JSON.
    pub value: Value,
}

impl Event {
    /// Its kind, such as `increment`.
    pub fn kind(&self) -> &str {
        self.value["event"].as_str().unwrap_or_default()
    }

    /// The last transaction of a database that is durable with it.
    pub fn last_tx_id(&self, database: &str) -> Option<u64> {
        let of = self.value["database"].as_str().or(self.value["name"].as_str());
        self.value["last_tx_id"].as_u64().filter(|_| of == Some(database))
    }
}

/// A running follower; killed when dropped.
#[derive(Debug)]
pub struct Follower {
    child: Child,
    told: Arc<Told>,
}

#[derive(Debug, Default)]
struct Told {
    events: Mutex<Vec<Event>>,
    more: Condvar,
}

impl Told {
    fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    /// Starts one; its messages go to our stderr.
    pub fn start(program: &Program, args: &[&str]) -> Result<Self> {
        let mut command = program.command(args);
        command.args(["--follow", "--json"]).stdout(Stdio::piped());
        let mut child = process::spawn(command)?;
        let told = Arc::<Told>::default();
        let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        let noted = Arc::clone(&told);
        thread::spawn(move || {
            for line in stdout.lines().map_while(std::result::Result::ok) {
                if let Ok(value) = serde_json::from_str(&line) {
                    noted.events().push(Event { at: Instant::now(), value });
                    noted.more.notify_all();
                }
            }
        });
        Ok(Self { child, told })
    }

    /// All that it has told.
    pub fn events(&self) -> Vec<Event> {
        self.told.events().clone()
    }

    /// Waits for an event, also one of the past from that number on.
    pub fn wait_for(
        &self,
        what: &str,
        from: usize,
        limit: Duration,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Event> {
        let until = Instant::now() + limit;
        let mut events = self.told.events();
        loop {
            if let Some(event) = events.iter().skip(from).find(|event| wanted(event)) {
                return Ok(event.clone());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("the follower has not told of {what} for {limit:?}: {:?}", events.last());
            }
            let woken = self.told.more.wait_timeout(events, left);
            events = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until a transaction of a database is durable.
    pub fn reaches(&self, database: &str, tx_id: u64, limit: Duration) -> Result<Event> {
        let reached = |event: &Event| event.last_tx_id(database).is_some_and(|last| last >= tx_id);
        self.wait_for(&format!("transaction {tx_id} of {database}"), 0, limit, reached)
    }

    /// Since when which transaction of a database has been durable, in the order of time.
    pub fn durable(&self, database: &str) -> Vec<(Instant, u64)> {
        let events = self.told.events();
        events.iter().filter_map(|event| Some((event.at, event.last_tx_id(database)?))).collect()
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop; it must end well.
    pub fn stop(mut self) -> Result<()> {
        process::signal(&self.child, rustix::process::Signal::TERM)?;
        let status = process::wait(&mut self.child, STOP_LIMIT)?.context("it does not stop")?;
        ensure!(status.success(), "the follower ended with {status}");
        Ok(())
    }

    /// Kills it in the middle of whatever it does.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
