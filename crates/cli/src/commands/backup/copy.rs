//! The backup of one database: full or incremental, session, streams, commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use client::{Client, Copy, CopyReport, EndOptions, Sink};
use mirror::{DatabaseEntry, Increment, Mirror, Outcome, Reason, Space, Staged};
use wire::api::{After, CheckpointInfo, Session};

use super::follow::State;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, Result, chain};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress::{Meter, Progress};
use crate::units::{self, RenewAfter};

/// How long writes that are under way may take to end when a copy is given up.
const RELEASE_TIME: Duration = Duration::from_secs(10);
/// Renewing for less is not worth it, however small the store.
const RENEW_AFTER_MIN_BYTES: u64 = 256 << 20;

/// How often a full copy from a 3.0 server is tried.
const V3_0_TRIES: u32 = 5;

/// What the copies of one run share.
#[derive(Clone)]
pub struct Run {
    pub client: Client,
    pub mirror: Arc<Mirror>,
    pub interrupt: Interrupt,
    pub full: bool,
    pub no_fallback: bool,
    pub renew_after: Option<RenewAfter>,
    pub output: Output,
    /// Who follows the database, if somebody does: is told how a copy gets on, and must not append
    /// to the backup from the moment on at which a copy's end is asked for.
    pub follower: Option<Arc<State>>,
}

/// What keeps a copy: a new backup beside the old one, or new transactions for it.
pub trait Keep: Sink + Sized {
    fn commit(&self, outcome: &Outcome<'_>) -> mirror::Result<DatabaseEntry>;
}

impl Keep for Staged {
    fn commit(&self, outcome: &Outcome<'_>) -> mirror::Result<DatabaseEntry> {
        Self::commit(self, outcome)
    }
}

impl Keep for Increment {
    fn commit(&self, outcome: &Outcome<'_>) -> mirror::Result<DatabaseEntry> {
        Self::commit(self, outcome)
    }
}

impl Run {
    /// Backs up a database, in full where there is nothing to go on from; on a failure the backup
    /// that was there is as it was.
    pub async fn database(&self, name: &str) -> Result<DatabaseEntry> {
        if !self.full
            && let Some(theirs) = self.theirs(name).await?
        {
            match self.take_over(theirs).await {
                Err(failure) if failure.code == ExitCode::LogsPruned && !self.no_fallback => {
                    return self.full_in_place(name, &failure).await;
                }
                taken => taken?,
            }
        }
        let exists = self.mirror.manifest().database(name).is_some();
        if self.full || !exists {
            let reason = if exists { Reason::Requested } else { Reason::FirstBackup };
            return self.full(name, reason).await;
        }
        let (mirror, database) = (Arc::clone(&self.mirror), name.to_owned());
        let Some(after) = blocking(move || mirror.after(&database)).await?? else {
            return self.full(name, Reason::FirstBackup).await;
        };
        match self.increment(name, after).await {
            Err(failure) if failure.code == ExitCode::LogsPruned && !self.no_fallback => {
                self.full_in_place(name, &failure).await
            }
            Ok(entry) if self.is_to_be_renewed(&entry) => self.renew(entry).await,
            done => done,
        }
    }

    /// A full backup, because an increment cannot begin any more.
    async fn full_in_place(&self, name: &str, failure: &Failure) -> Result<DatabaseEntry> {
        let message = &failure.message;
        self.output.warning(format!("{name}: a new full backup is made: {message}"));
        self.full(name, Reason::LogsPruned).await
    }

    pub fn is_to_be_renewed(&self, entry: &DatabaseEntry) -> bool {
        let logs_bytes = entry.log_bytes();
        match self.renew_after {
            Some(RenewAfter::Never) => false,
            Some(RenewAfter::Bytes(limit)) => logs_bytes > limit,
            None => {
                let store_bytes = entry.size_bytes().saturating_sub(logs_bytes);
                logs_bytes > (store_bytes / 4).max(RENEW_AFTER_MIN_BYTES)
            }
        }
    }

    /// Brings the copy of the store to the server's last checkpoint, so that the logs begin anew.
    pub async fn renew(&self, entry: DatabaseEntry) -> Result<DatabaseEntry> {
        // What sends all files to whoever wants some.
        if self.client.is_v3_0().await? {
            return Ok(entry);
        }
        let name = entry.name.clone();
        let renewed = async {
            let copy = self.unless_interrupted(self.client.open(&name)).await?;
            // By both: several may be at one transaction, and those of Neo4j 3.0 all have one position.
            let old = &entry.checkpoint;
            let newer = |at: &CheckpointInfo| (at.tx_id, at.position) > (old.tx_id, old.position);
            if !copy.session().checkpoint.as_ref().is_some_and(newer) {
                copy.close().await;
                tracing::info!(name, "not renewed: the server has taken no checkpoint since");
                return Ok(entry);
            }
            let logs = units::bytes(entry.log_bytes());
            self.output.aside(format!("{name}: renewed, its logs have grown to {logs}"));
            let renewed = self.full_from(copy, Reason::Renewal).await?;
            let (before, now) = (entry.first_consistent_tx_id, renewed.first_consistent_tx_id);
            self.output.aside(format!(
                "{name}: can be restored to transaction {now} and later from now on, before it was {before}"
            ));
            Ok(renewed)
        };
        renewed.await.map_err(|failure: Failure| {
            let message = format!("the increment is complete, its renewal: {}", failure.message);
            Failure { message, ..failure }
        })
    }

    pub async fn full(&self, name: &str, reason: Reason) -> Result<DatabaseEntry> {
        let mut tries = 1;
        loop {
            let copy = self.unless_interrupted(self.client.open(name)).await?;
            let done = self.full_from(copy, reason).await;
            let Err(failure) = &done else { return done };
            // A 3.0 server does not hold what it sends: an index may be dropped, a log be pruned.
            let passes = matches!(failure.code, ExitCode::SourceUnusable | ExitCode::LogsPruned);
            if !passes || tries == V3_0_TRIES || !self.client.is_v3_0().await? {
                return done;
            }
            self.output.warning(format!("{name}: trying again: {}", failure.message));
            tries += 1;
        }
    }

    async fn full_from(&self, copy: Copy, reason: Reason) -> Result<DatabaseEntry> {
        let mirror = Arc::clone(&self.mirror);
        let output = self.output;
        let begin = move |session: &Session| {
            let staged = mirror.begin(session, reason)?;
            let Space { at_least_bytes, at_most_bytes, free_bytes } = staged.space();
            let [least, most, free] = [at_least_bytes, at_most_bytes, free_bytes].map(units::bytes);
            let takes = match at_least_bytes < at_most_bytes {
                // A 3.0 server tells nothing of its files before it sends them.
                _ if session.files.is_empty() => "what it takes shows at the end".to_owned(),
                true => format!("takes {least} to {most}, by what has changed"),
                false => format!("takes {most}"),
            };
            output.aside(format!("{}: {takes}; {free} are free", session.database));
            Ok(staged)
        };
        self.keep(copy, Some(reason), begin).await
    }

    async fn increment(&self, name: &str, after: After) -> Result<DatabaseEntry> {
        let mirror = Arc::clone(&self.mirror);
        let copy = self.unless_interrupted(self.client.open_after(name, after)).await?;
        self.keep(copy, None, move |session| mirror.append(session)).await
    }

    /// What the work brings, unless a signal comes first.
    pub async fn unless_interrupted<T>(
        &self,
        work: impl Future<Output = client::Result<T>>,
    ) -> Result<T> {
        tokio::select! {
            done = work => Ok(done?),
            () = self.interrupt.wait() => Err(Failure::interrupted()),
        }
    }

    /// Takes what a copy brings. Nothing is committed but by the last step, which a signal does not
    /// cut off: a second one does.
    async fn keep<T: Keep>(
        &self,
        mut copy: Copy,
        reason: Option<Reason>,
        begin: impl FnOnce(&Session) -> mirror::Result<T> + Send + 'static,
    ) -> Result<DatabaseEntry> {
        let session = copy.session().clone();
        let name = session.database.clone();
        let kept = match blocking(move || begin(&session)).await? {
            Ok(kept) => Arc::new(kept),
            Err(error) => {
                copy.close().await;
                return Err(error.into());
            }
        };
        let progress = Progress::start(&name, self.output);
        // Beside increments it is no sign of life, until it keeps them waiting.
        let is_alone = reason != Some(Reason::Renewal);
        let told = Arc::new(Told {
            meter: progress.meter(),
            follower: self.follower.clone(),
            is_life: AtomicBool::new(is_alone),
        });
        let life = Arc::clone(&told);
        let sink: Arc<dyn Sink> = Arc::<T>::clone(&kept);
        let gate = self.follower.as_ref().map(|follower| &follower.gate);
        let bring = async {
            let stored = copy.store(sink, told).await?;
            // What is appended from now on would be lost.
            let held = match gate {
                Some(gate) => Some(gate.lock().await),
                None => None,
            };
            life.is_life.store(true, Ordering::Relaxed);
            life.moved();
            Ok((copy.finish(stored, EndOptions::default()).await?, held))
        };
        let brought = self.unless_interrupted(bring).await;
        drop(progress);
        match brought {
            Ok((report, held)) => {
                if let Some(follower) = &self.follower {
                    follower.committing();
                }
                let committed = self.commit(kept, report).await;
                drop(held);
                copy.close().await;
                committed
            }
            Err(failure) => {
                copy.close().await;
                release(kept).await;
                Err(failure)
            }
        }
    }

    /// Proves and keeps what has come.
    pub async fn commit<T: Keep>(&self, kept: Arc<T>, report: CopyReport) -> Result<DatabaseEntry> {
        let name = report.session.database.clone();
        let committed = blocking(move || {
            let outcome = Outcome {
                finished: &report.finished,
                left_out: &report.left_out,
                bytes_transferred: report.bytes_transferred,
                checkpoint: report.session.checkpoint.as_ref(),
            };
            kept.commit(&outcome)
        });
        match committed.await? {
            Ok(entry) => Ok(entry),
            Err(error @ mirror::Error::RollForward(_)) => {
                self.output.warning(format!("{name}: {}; {}", chain(&error), error.hint()));
                let entry = self.mirror.manifest().database(&name).cloned();
                entry.ok_or_else(|| error.into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Who is told how a copy gets on.
struct Told {
    meter: Arc<Meter>,
    follower: Option<Arc<State>>,
    /// Whether what comes shows the follower that it is alive.
    is_life: AtomicBool,
}

impl Told {
    fn moved(&self) {
        if let Some(follower) =
            self.follower.as_ref().filter(|_| self.is_life.load(Ordering::Relaxed))
        {
            follower.moved();
        }
    }
}

impl client::Progress for Told {
    fn phase(&self, phase: client::Phase, total_bytes: u64) {
        self.meter.phase(phase, total_bytes);
    }

    fn done(&self, done_bytes: u64) {
        client::Progress::done(&*self.meter, done_bytes);
        self.moved();
    }

    fn received(&self) {
        self.moved();
    }
}

/// Work that may wait for a disk, on a thread of its own.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|error| Failure::of(ExitCode::Internal, &error))
}

/// Removes what was staged, once the last write that is under way has ended.
pub async fn release<T: Keep>(staged: Arc<T>) {
    let since = tokio::time::Instant::now();
    while Arc::strong_count(&staged) > 1 && since.elapsed() < RELEASE_TIME {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // If a write hangs, the next run removes it.
    let _ = blocking(move || drop(staged)).await;
}
