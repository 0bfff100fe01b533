//! Writers over Bolt whose work can be checked afterwards, and changes of schema and users.
//!
//! Writer `w` commits transactions 1, 2, 3, ... Each moves 1 between two accounts, raises the
//! counter of `(:Writer {id: w})`, adds a `(:Seq {writer, n})` that says what else it did, makes a
//! chain of `(:Item {writer, n})`, ties some to a dense `(:Hub)`, changes the items of an earlier
//! transaction and deletes those of another. [`crate::verdict`] knows what must follow.
//!
//! **Order.** A writer's own numbers say which of its transactions must be there. To tell how those
//! of different writers follow each other, each `Seq` notes the counters of all writers as its
//! transaction saw them: those were committed before it, so a database that has it has them. This
//! needs no ids, which 3.0 tells no client, and no lock that would make the writers wait for each
//! other, which would hide what goes wrong when commits overlap.

mod churn;
mod history;
mod writer;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, mem};

use anyhow::{Context as _, Result};

use crate::bolt::Address;
use crate::server::Server;
use crate::versions::Generation;

pub use history::{Attempt, Bounds, Expected, History, Latency, User};

/// How much load.
#[derive(Debug, Clone, Copy)]
pub struct LoadOptions {
    /// Threads that commit transactions.
    pub writers: u32,
    /// What each writer waits after a transaction.
    pub pause: Duration,
    /// Transactions of each writer whose items are kept; older ones are deleted.
    pub kept: usize,
    /// Time between two changes of the schema; `None` for no changes.
    pub schema_every: Option<Duration>,
    /// Time between two changes of users; `None` for no changes. A database of 3.0 has no users.
    pub users_every: Option<Duration>,
    /// Where the random choices begin.
    pub seed: u64,
}

impl Default for LoadOptions {
    fn default() -> LoadOptions {
        LoadOptions {
            writers: 2,
            pause: Duration::ZERO,
            kept: 40,
            schema_every: Some(Duration::from_secs(3)),
            users_every: Some(Duration::from_millis(700)),
            seed: 1,
        }
    }
}

/// A load that runs; dropping it stops it too.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    begun: Instant,
}

/// What a load did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Totals {
    /// The latency of all transactions.
    pub latency: Latency,
    /// Transactions begun again after a deadlock or a lost connection.
    pub retries: u64,
    /// Indexes and constraints created or dropped.
    pub schema_changes: u64,
    /// Users created or dropped.
    pub user_changes: u64,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency { count, per_second, p50, p99, max } = self.latency;
        write!(
            f,
            "{count} transactions, {per_second:.1}/s, p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?}; \
             {} retries, {} schema changes, {} user changes",
            self.retries, self.schema_changes, self.user_changes
        )
    }
}

/// What the threads of a load have in common.
#[derive(Debug)]
struct Shared {
    address: Address,
    generation: Generation,
    history: Arc<History>,
    stop: AtomicBool,
    failure: Mutex<Option<anyhow::Error>>,
    retries: AtomicU64,
    schema_changes: AtomicU64,
    user_changes: AtomicU64,
}

impl Shared {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Sleeps; `false` when the load was stopped meanwhile.
    fn sleep(&self, duration: Duration) -> bool {
        let deadline = Instant::now() + duration;
        while !self.stopped() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(Duration::from_millis(50)));
        }
        false
    }

    /// The first failure stops everything.
    fn fail(&self, error: anyhow::Error) {
        self.stop.store(true, Ordering::Relaxed);
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

impl Load {
    /// Starts the threads; the database must have been seeded.
    ///
    /// A database that had a load before is continued where that one ended.
    pub fn start(server: &Server, options: LoadOptions) -> Result<Load> {
        let address = server.address();
        let generation = server.version().generation;
        let mut writers = Vec::new();
        for id in 0..options.writers {
            writers.push(writer::Writer::prepare(id, generation, &address, &options)?);
        }
        let starts = writers.iter().map(writer::Writer::committed).collect::<Vec<_>>();
        let shared = Arc::new(Shared {
            address,
            generation,
            history: Arc::new(History::new(&starts)),
            stop: AtomicBool::new(false),
            failure: Mutex::new(None),
            retries: AtomicU64::new(0),
            schema_changes: AtomicU64::new(0),
            user_changes: AtomicU64::new(0),
        });
        let mut load = Load { shared, threads: Vec::new(), begun: Instant::now() };
        for writer in writers {
            load.spawn(format!("writer {}", writer.id()), move |shared| writer.run(shared));
        }
        if let Some(every) = options.schema_every {
            load.spawn("schema".to_owned(), move |shared| churn::schema(shared, every));
        }
        let users = (generation == Generation::Five).then_some(options.users_every);
        if let Some(every) = users.flatten() {
            load.spawn("users".to_owned(), move |shared| churn::users(shared, every));
        }
        Ok(load)
    }

    fn spawn(&mut self, name: String, work: impl FnOnce(&Shared) -> Result<()> + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        self.threads.push(thread::spawn(move || {
            if let Err(error) = work(&shared) {
                shared.fail(error.context(format!("load: {name}")));
            }
        }));
    }

    /// What the writers know; stays valid after the load has stopped.
    pub fn history(&self) -> Arc<History> {
        Arc::clone(&self.shared.history)
    }

    /// For each writer, the last transaction that was acknowledged before `instant`.
    pub fn acknowledged_before(&self, instant: Instant) -> Vec<u64> {
        self.shared.history.acknowledged_before(instant)
    }

    /// Stops the threads after what they are at; an error if one of them had failed.
    pub fn stop(mut self) -> Result<Totals> {
        let ended = self.join()?;
        let failure = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(failure) = failure {
            return Err(failure);
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Ok(Totals {
            latency: self.shared.history.latency(self.begun, ended),
            retries: count(&self.shared.retries),
            schema_changes: count(&self.shared.schema_changes),
            user_changes: count(&self.shared.user_changes),
        })
    }

    fn join(&mut self) -> Result<Instant> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in mem::take(&mut self.threads) {
            thread.join().ok().context("a thread of the load panicked")?;
        }
        Ok(Instant::now())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Err(error) = self.join() {
            eprintln!("testkit: {error:#}");
        }
    }
}
