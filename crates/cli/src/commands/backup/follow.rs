//! `--follow`: a mirror that stays at the server's heels, one increment after the other.
//!
//! For each database a task asks the service for what comes after the backup's last transaction; the
//! answer comes when there is something. Renewals go on beside it, and only their last step, from the
//! end of the copy to its commit, keeps it waiting ([`State::gate`]). Whatever fails is tried again,
//! more and more slowly. A thread of its own looks whether there is life.

mod backoff;
mod event;
mod metrics;
mod state;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use client::{Client, ClientOptions, Copy, EndOptions, Sink};
use formats::{TimestampMs, TxId};
use jiff::Timestamp;
use mirror::{BackupType, DatabaseEntry, Reason};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use wire::api::{DatabaseState, Finished};

use super::choose::Globs;
use super::copy::{Run, blocking, release};
use crate::address::Listen;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, Result};
use crate::output::{self, Ended, Output};
use backoff::Backoff;
pub use metrics::bind;
pub use state::State;

/// How long an answer may be waited for that brings nothing.
const WAIT: Duration = Duration::from_secs(2);
/// How long the first try may take to find the logs' end; each further one twice as long.
const FINISH_TIMEOUT: Duration = Duration::from_secs(20);
const FINISH_TIMEOUT_MAX: Duration = Duration::from_secs(1800);
/// What follows asks quickly and often: better a new try than a long wait.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(5);
/// For the service to find the backup's last transaction; if it is gone, it reads all logs for it.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(60);
/// What did not bring anything all the same is not asked for again at once: a server that died in
/// the middle of a transaction leaves bytes that are none.
const EMPTY_PAUSE: Duration = Duration::from_millis(250);
/// How often a mirror that has all keeps for the time when it is read that it had.
const NOTE_EVERY: Duration = Duration::from_secs(60);
/// How often the watchdog looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often it is asked which databases there are.
const LIST_EVERY: Duration = Duration::from_secs(30);
/// After a renewal for which it was too early: the server had taken no checkpoint since the last one.
const TOO_EARLY_PAUSE: Duration = Duration::from_secs(10);
/// After one that failed; after the next failure twice as long.
const RENEW_AGAIN: Duration = Duration::from_secs(60);
const RENEW_AGAIN_MAX: Duration = Duration::from_secs(3600);

/// All that is followed.
#[derive(Default)]
pub struct Followed {
    states: Mutex<BTreeMap<String, Arc<State>>>,
    /// The list of databases may have changed.
    look: Notify,
}

impl Followed {
    /// By name.
    pub fn states(&self) -> Vec<Arc<State>> {
        self.lock().values().cloned().collect()
    }

    fn remove(&self, state: &State) {
        state.drop_it();
        self.lock().remove(&state.name);
    }

    fn add(&self, state: State) -> Option<Arc<State>> {
        let mut all = self.lock();
        if all.contains_key(&state.name) {
            return None;
        }
        let state = Arc::new(state);
        all.insert(state.name.clone(), Arc::clone(&state));
        Some(state)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<State>>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows from where the first backups ended, until the run is told to stop.
pub async fn follow(
    run: Run,
    options: &ClientOptions,
    globs: &Globs,
    metrics: Option<TcpListener>,
    done: &[DatabaseEntry],
) -> Ended {
    let output = run.output;
    let quick = ClientOptions {
        connect_timeout: SILENCE_TIMEOUT,
        idle_timeout: SILENCE_TIMEOUT,
        contact_timeout: SILENCE_TIMEOUT,
        answer_timeout: 2 * SILENCE_TIMEOUT,
        begin_timeout: BEGIN_TIMEOUT,
        retry_for: Duration::ZERO,
        ..options.clone()
    };
    let quick = Client::new(quick)?;
    let followed = Arc::new(Followed::default());
    let mut tasks = JoinSet::new();
    for entry in done {
        if entry.backup_type == BackupType::Full {
            event::took(entry, 0, output);
        }
        event::following(entry, output);
        if let Some(state) = followed.add(State::new(entry)) {
            tasks.spawn(Follower::new(&run, &quick, &followed, state).follow());
        }
    }
    if let Some(listener) = metrics {
        let (addr, followed) = (listener.local_addr().ok(), Arc::clone(&followed));
        // Also where all else is to be quiet: nobody else knows the port that was picked.
        let text = format!("metrics on {}", addr.map_or_else(String::new, |a| a.to_string()));
        output::tell("progress", &text);
        tokio::spawn(metrics::serve(listener, followed));
    }
    watch(Arc::clone(&followed), output)?;
    loop {
        tokio::select! {
            () = run.interrupt.wait() => break,
            () = tokio::time::sleep(LIST_EVERY) => {}
            () = followed.look.notified() => {}
        }
        // An answer that does not come is the followers' business.
        let Ok(list) = quick.databases().await else { continue };
        for state in followed.states() {
            if list.databases.iter().all(|database| database.name != state.name) {
                event::dropped(&state.name, output);
                followed.remove(&state);
            }
        }
        for name in globs.online(list.databases) {
            if let Some(state) = followed.add(State::unknown(name)) {
                tasks.spawn(Follower::new(&run, &quick, &followed, state).follow());
            }
        }
    }
    while tasks.join_next().await.is_some() {}
    event::stopped(followed.states().len(), output);
    Ok(ExitCode::Ok)
}

/// On a thread of its own, since it must not wait for what it watches.
fn watch(followed: Arc<Followed>, output: Output) -> Result<()> {
    let look = move || {
        loop {
            std::thread::sleep(LOOK_EVERY);
            for state in followed.states() {
                if let Some(what) = state.look() {
                    event::alarm(&state.name, &what, output);
                }
            }
        }
    };
    let spawned = std::thread::Builder::new().name("watchdog".to_owned()).spawn(look);
    spawned.map(drop).map_err(|error| Failure::of(ExitCode::Internal, &error))
}

/// Follows one database.
struct Follower {
    run: Run,
    /// For the many short questions.
    quick: Client,
    followed: Arc<Followed>,
    state: Arc<State>,
    finish_timeout: Duration,
    renewal: Option<JoinHandle<Renewal>>,
    renew_from: Instant,
    renew_pause: Duration,
    /// What the backup is known to end with at which time of the server's, and was not told yet.
    as_of: Option<(TxId, TimestampMs)>,
    noted: Instant,
}

impl Follower {
    fn new(run: &Run, quick: &Client, followed: &Arc<Followed>, state: Arc<State>) -> Self {
        // Renewals and full backups of it tell how they get on.
        let run = Run { full: false, follower: Some(Arc::clone(&state)), ..run.clone() };
        Self {
            run,
            quick: quick.clone(),
            followed: Arc::clone(followed),
            state,
            finish_timeout: FINISH_TIMEOUT,
            renewal: None,
            renew_from: Instant::now(),
            renew_pause: RENEW_AGAIN,
            as_of: None,
            noted: Instant::now(),
        }
    }

    async fn follow(mut self) {
        let mut backoff = Backoff::default();
        while !self.run.interrupt.has_come() && !self.state.is_dropped() {
            match self.step().await {
                Ok(()) => {
                    backoff = Backoff::default();
                    self.finish_timeout = FINISH_TIMEOUT;
                }
                Err(failure) if failure.code == ExitCode::Interrupted => break,
                Err(failure) => {
                    let pause = backoff.next(state::is_passing(&failure));
                    self.failed(&failure, pause);
                    self.finish_timeout = (2 * self.finish_timeout).min(FINISH_TIMEOUT_MAX);
                    self.pause(pause).await;
                }
            }
        }
        if let Some(renewal) = self.renewal.take() {
            // It stops by itself.
            let _ = renewal.await;
        }
        let gate = Arc::clone(&self.state);
        let _held = gate.gate.lock().await;
        self.note_as_of().await;
    }

    /// Keeps up to when the backup has everything.
    async fn note_as_of(&mut self) {
        let Some((last_tx_id, as_of)) = self.as_of.take() else { return };
        self.noted = Instant::now();
        let (mirror, name) = (Arc::clone(&self.run.mirror), self.state.name.clone());
        let noted = blocking(move || mirror.note_as_of(&name, last_tx_id, as_of)).await;
        if let Err(failure) = noted.and_then(|noted| Ok(noted?)) {
            // The next increment says so again, and louder.
            let (name, what) = (&self.state.name, failure.message);
            tracing::warn!(name, what, "cannot note until when the backup has everything");
        }
    }

    fn failed(&self, failure: &Failure, again_after: Duration) {
        let (name, output) = (&self.state.name, self.run.output);
        event::failed(name, failure, again_after, output);
        if failure.code == ExitCode::NoSuchDatabase {
            self.followed.look.notify_one();
        }
        if self.state.failed(failure) {
            event::alarm(name, &format!("{} ({})", failure.message, failure.hint), output);
        }
    }

    async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = self.run.interrupt.wait() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    /// One increment, or what is needed before there can be one.
    async fn step(&mut self) -> Result<()> {
        let state = Arc::clone(&self.state);
        let (mirror, name) = (Arc::clone(&self.run.mirror), state.name.clone());
        let gate = state.gate.lock().await;
        let Some(after) = blocking(move || mirror.after(&name)).await?? else {
            drop(gate);
            let entry = self.full(Reason::FirstBackup).await?;
            event::following(&entry, self.run.output);
            return Ok(());
        };
        let before = after.last_tx.tx_id.0;
        let opening = self.quick.open_after(&state.name, after);
        let entry = match self.run.unless_interrupted(opening).await {
            Ok(copy) => self.append(copy).await?,
            Err(failure) if failure.code == ExitCode::LogsPruned && !self.run.no_fallback => {
                drop(gate);
                return self.start_anew(&failure).await;
            }
            Err(failure) => return Err(failure),
        };
        drop(gate);
        if let Some(entry) = entry {
            event::took(&entry, before, self.run.output);
            self.renew_if_due(entry).await;
        }
        Ok(())
    }

    /// Takes an increment; `None` if there was nothing to be had.
    async fn append(&mut self, mut copy: Copy) -> Result<Option<DatabaseEntry>> {
        let (mirror, session) = (Arc::clone(&self.run.mirror), copy.session().clone());
        let online = session.state == DatabaseState::Online;
        if self.state.is_online(online) {
            event::source(&self.state.name, online, self.run.output);
        }
        let increment = match blocking(move || mirror.append(&session)).await? {
            Ok(increment) => Arc::new(increment),
            Err(error) => {
                copy.close().await;
                return Err(error.into());
            }
        };
        let end = EndOptions { wait: WAIT, timeout: Some(self.finish_timeout) };
        let told = Arc::new(Told { state: Arc::clone(&self.state), answered: Mutex::new(None) });
        let sink: Arc<dyn Sink> = Arc::<mirror::Increment>::clone(&increment);
        let progress: Arc<dyn client::Progress> = Arc::<Told>::clone(&told);
        let asked = Instant::now();
        let bring = async {
            let stored = copy.store(sink, progress).await?;
            copy.finish(stored, end).await
        };
        let report = match self.run.unless_interrupted(bring).await {
            Ok(report) => report,
            Err(failure) => {
                copy.close().await;
                release(increment).await;
                return Err(failure);
            }
        };
        let as_of = told.answered.lock().unwrap_or_else(PoisonError::into_inner).take();
        let as_of = as_of.unwrap_or_else(|| (Instant::now(), Timestamp::now()));
        let entry = if report.finished.transactions > 0 {
            // Its commit keeps that, too.
            (self.as_of, self.noted) = (None, Instant::now());
            let entry = self.run.commit(increment, report).await?;
            self.state.took(&entry);
            Some(entry)
        } else {
            release(increment).await;
            self.as_of = Some((report.finished.last_tx.tx_id, report.finished.as_of));
            if self.noted.elapsed() >= NOTE_EVERY {
                self.note_as_of().await;
            }
            None
        };
        // Nobody waits for that.
        tokio::spawn(copy.close());
        if let Some(after) = self.state.is_current(as_of) {
            event::recovered(&self.state.name, after, self.run.output);
        }
        if entry.is_none() && asked.elapsed() < WAIT / 2 {
            self.pause(EMPTY_PAUSE).await;
        }
        Ok(entry)
    }

    /// The server's logs do not reach back to the backup any more.
    async fn start_anew(&mut self, failure: &Failure) -> Result<()> {
        let (name, output) = (&self.state.name, self.run.output);
        if self.state.raise() {
            let what = format!("the server has pruned its logs too early: {}", failure.message);
            event::alarm(name, &format!("{what}; a new full backup is made"), output);
        }
        // A renewal that is under way is as good.
        if let Some(renewal) = self.renewal.take()
            && renewal.await.is_ok_and(|ended| ended == Renewal::Done)
        {
            return Ok(());
        }
        self.full(Reason::LogsPruned).await.map(drop)
    }

    async fn full(&mut self, reason: Reason) -> Result<DatabaseEntry> {
        let entry = self.run.full(&self.state.name, reason).await?;
        self.state.took(&entry);
        event::took(&entry, 0, self.run.output);
        Ok(entry)
    }

    async fn renew_if_due(&mut self, entry: DatabaseEntry) {
        match self.renewal.take() {
            Some(renewal) if !renewal.is_finished() => {
                self.renewal = Some(renewal);
                return;
            }
            Some(renewal) => {
                let pause = match renewal.await {
                    Ok(Renewal::Done) => Duration::ZERO,
                    Ok(Renewal::TooEarly) => TOO_EARLY_PAUSE,
                    Ok(Renewal::Failed) | Err(_) => self.renew_pause,
                };
                self.renew_pause = match pause < RENEW_AGAIN {
                    true => RENEW_AGAIN,
                    false => (2 * self.renew_pause).min(RENEW_AGAIN_MAX),
                };
                self.renew_from = Instant::now() + pause;
            }
            None => {}
        }
        if Instant::now() < self.renew_from || !self.run.is_to_be_renewed(&entry) {
            return;
        }
        self.renewal = Some(tokio::spawn(renew(
            self.run.clone(),
            Arc::clone(&self.state),
            entry,
            self.renew_pause,
        )));
    }
}

/// How a renewal has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Renewal {
    Done,
    /// The server has taken no checkpoint since the last one.
    TooEarly,
    Failed,
}

async fn renew(
    run: Run,
    state: Arc<State>,
    entry: DatabaseEntry,
    again_after: Duration,
) -> Renewal {
    let generation = entry.generation.clone();
    match run.renew(entry).await {
        Ok(entry) if entry.generation != generation => {
            state.took(&entry);
            state.renewal_worked();
            event::took(&entry, 0, run.output);
            Renewal::Done
        }
        Ok(_) => Renewal::TooEarly,
        Err(failure) if failure.code == ExitCode::Interrupted => Renewal::Failed,
        Err(failure) => {
            event::failed(&state.name, &failure, again_after, run.output);
            if state.renewal_failed(&failure) {
                let what = format!("it cannot be renewed: {}", failure.message);
                event::alarm(&state.name, &what, run.output);
            }
            Renewal::Failed
        }
    }
}

/// Notes what an increment's copy tells.
struct Told {
    state: Arc<State>,
    /// When the answer came: what the server had committed shortly before is in it.
    answered: Mutex<Option<(Instant, Timestamp)>>,
}

impl client::Progress for Told {
    fn phase(&self, _: client::Phase, _: u64) {}

    fn finished(&self, finished: &Finished) {
        self.state.missing(finished.transactions);
        let now = (Instant::now(), Timestamp::now());
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        self.state.moved();
    }

    fn done(&self, _: u64) {
        self.state.moved();
    }
}

/// Where the metrics are to be had.
pub fn metrics_address(text: &str) -> Result<SocketAddr> {
    let refuse = |what: String| Failure::usage(format!("--metrics-listen {text}: {what}"));
    Listen::parse(text).and_then(|listen| listen.resolve()).map_err(refuse)
}
