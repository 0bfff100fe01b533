//! What is known of a mirror that follows: for the watchdog, the metrics and the events.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mirror::{BackupType, DatabaseEntry};

use crate::commands::report::word;
use crate::exit_code::ExitCode;
use crate::failure::Failure;

/// One database that is followed.
pub struct State {
    /// Its name.
    pub name: String,
    /// Held by whoever appends to the backup, or replaces it.
    pub gate: tokio::sync::Mutex<()>,
    facts: Mutex<Facts>,
    dropped: AtomicBool,
}

/// What is known of one database.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The last transaction that is durable here.
    pub last_tx_id: u64,
    /// When it was committed, in ms.
    pub last_commit_time_ms: i64,
    /// When the backup was last made longer, or renewed.
    pub last_success: Option<Timestamp>,
    /// When it was last known to have all that the server had.
    pub current: (Instant, Timestamp),
    /// Transactions that the server is known to have, and that are not durable here yet.
    pub missing_transactions: u64,
    pub received_bytes: u64,
    pub increments: u64,
    /// By reason.
    pub full_backups: BTreeMap<&'static str, u64>,
    pub errors: u64,
    pub last_error: Option<String>,
    /// Whether a server runs it, as far as the service sees.
    pub online: bool,
    /// Since when there has been an alarm.
    pub alarm: Option<Instant>,
    /// Since when it cannot be renewed: its logs grow, but it is current.
    pub renewal_alarm: Option<Instant>,
    pub alarms: u64,
    /// When something last moved, and whether it is being committed.
    moved: Instant,
    committing: bool,
    /// How often it has not worked since it last did.
    failures: u32,
}

/// How long nothing may move, or be heard, before that is an alarm: with what the watchdog needs
/// to notice it, less than 10 s.
const SILENCE: Duration = Duration::from_secs(8);
/// The same while the disk is busy with a commit: nobody hears from it meanwhile.
const COMMIT_SILENCE: Duration = Duration::from_secs(120);

impl State {
    /// Of a database whose backup ends like this.
    pub fn new(entry: &DatabaseEntry) -> Self {
        let now = Instant::now();
        let state = Self::unknown(entry.name.clone());
        state.took(entry);
        {
            let mut facts = state.facts();
            // It may be a while ago: databases are backed up one after the other first.
            let age = Timestamp::now().duration_since(entry.finished).unsigned_abs();
            facts.current = (now.checked_sub(age).unwrap_or(now), entry.finished);
            facts.last_success = Some(entry.finished);
        }
        state
    }

    /// Of a database that has no backup yet.
    pub fn unknown(name: String) -> Self {
        let now = Instant::now();
        let facts = Facts {
            last_tx_id: 0,
            last_commit_time_ms: 0,
            last_success: None,
            current: (now, Timestamp::now()),
            missing_transactions: 0,
            received_bytes: 0,
            increments: 0,
            full_backups: BTreeMap::new(),
            errors: 0,
            last_error: None,
            online: true,
            alarm: None,
            renewal_alarm: None,
            alarms: 0,
            moved: now,
            committing: false,
            failures: 0,
        };
        Self {
            name,
            gate: tokio::sync::Mutex::default(),
            facts: Mutex::new(facts),
            dropped: AtomicBool::new(false),
        }
    }

    /// The server does not have it any more.
    pub fn drop_it(&self) {
        self.dropped.store(true, Ordering::SeqCst);
    }

    /// Whether there is nothing to follow any more.
    pub fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::SeqCst)
    }

    /// What is known now.
    pub fn get(&self) -> Facts {
        self.facts().clone()
    }

    /// Bytes have come.
    pub fn moved(&self) {
        self.facts().moved = Instant::now();
    }

    /// Transactions are known to be missing.
    pub fn missing(&self, transactions: u64) {
        self.facts().missing_transactions = transactions;
    }

    /// What has come is being made durable.
    pub fn committing(&self) {
        let mut facts = self.facts();
        (facts.moved, facts.committing) = (Instant::now(), true);
    }

    /// The backup has become another.
    pub fn took(&self, entry: &DatabaseEntry) {
        let mut facts = self.facts();
        facts.last_tx_id = entry.last_tx.tx_id.0;
        facts.last_commit_time_ms = entry.last_tx.commit_time.0;
        facts.last_success = Some(Timestamp::now());
        facts.received_bytes = facts.received_bytes.saturating_add(entry.bytes_transferred);
        (facts.moved, facts.committing) = (Instant::now(), false);
        match (entry.backup_type, entry.reason) {
            (BackupType::Full, reason) => {
                *facts.full_backups.entry(reason.map_or("unknown", word)).or_default() += 1;
            }
            (BackupType::Incremental, _) => facts.increments += 1,
        }
    }

    /// Whether a server runs it. Whether that is news.
    pub fn is_online(&self, online: bool) -> bool {
        std::mem::replace(&mut self.facts().online, online) != online
    }

    /// Whatever the server had at that moment is durable here. How long that was not known, if there has
    /// been an alarm.
    pub fn is_current(&self, as_of: (Instant, Timestamp)) -> Option<Duration> {
        let mut facts = self.facts();
        let outage = facts.lag();
        facts.current = as_of;
        facts.missing_transactions = 0;
        facts.moved = Instant::now();
        (facts.committing, facts.failures) = (false, 0);
        facts.last_error = None;
        facts.alarm.take().map(|_| outage)
    }

    /// It did not work this time. Whether that is an alarm from now on, and was none before.
    pub fn failed(&self, failure: &Failure) -> bool {
        let mut facts = self.facts();
        facts.errors += 1;
        (facts.committing, facts.failures) = (false, facts.failures.saturating_add(1));
        facts.last_error = Some(failure.message.clone());
        !is_passing(failure) && facts.raise()
    }

    /// A renewal did not work. Whether that is an alarm from now on, and was none before.
    pub fn renewal_failed(&self, failure: &Failure) -> bool {
        let mut facts = self.facts();
        facts.errors += 1;
        facts.committing = false;
        let is_alarm = facts.renewal_alarm.is_none() && !is_passing(failure);
        if is_alarm {
            facts.renewal_alarm = Some(Instant::now());
            facts.alarms += 1;
        }
        is_alarm
    }

    /// One has worked.
    pub fn renewal_worked(&self) {
        self.facts().renewal_alarm = None;
    }

    /// Looks whether there is life. What is wrong, if that is an alarm from now on, and was none before.
    pub fn look(&self) -> Option<String> {
        let mut facts = self.facts();
        let limit = if facts.committing { COMMIT_SILENCE } else { SILENCE };
        let behind = facts.current.0.elapsed();
        // What moves again and again and never arrives is no sign of life.
        let silent = if facts.failures > 0 { behind } else { facts.moved.elapsed().min(behind) };
        if silent < limit || !facts.raise() {
            return None;
        }
        let seconds = silent.as_secs();
        let mut what = match facts.missing_transactions {
            0 => format!("nothing has come for {seconds} s"),
            missing => format!(
                "nothing was made durable for {seconds} s, {missing} transactions are missing"
            ),
        };
        if let Some(error) = &facts.last_error {
            what = format!("{what}: {error}");
        }
        Some(what)
    }

    /// An alarm that has its reason elsewhere. Whether there was none before.
    pub fn raise(&self) -> bool {
        self.facts().raise()
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Facts {
    /// Whether somebody should look.
    pub fn is_alarmed(&self) -> bool {
        self.alarm.is_some() || self.renewal_alarm.is_some()
    }

    /// For how long the backup may have lacked something.
    pub fn lag(&self) -> Duration {
        self.current.0.elapsed()
    }

    fn raise(&mut self) -> bool {
        let is_new = self.alarm.is_none();
        if is_new {
            self.alarm = Some(Instant::now());
            self.alarms += 1;
        }
        is_new
    }
}

/// Whether a failure is likely to be over soon: a server or a service that is started again. If not, the
/// watchdog says so.
pub fn is_passing(failure: &Failure) -> bool {
    use ExitCode as E;
    matches!(
        failure.code,
        E::CannotConnect
            | E::WrongService
            | E::ConnectionLost
            | E::ServiceBusy
            | E::SourceUnusable
            // It was dropped, or is being replaced; the list of databases will tell.
            | E::NoSuchDatabase
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Silence is an alarm once, what can only be repaired by somebody is one at once, and what is
    /// current again ends it.
    #[test]
    fn alarms_begin_and_end_once() {
        let state = State::unknown("neo4j".to_owned());
        let long_ago = Instant::now().checked_sub(Duration::from_secs(9)).unwrap();
        assert_eq!(state.look(), None);
        state.facts().moved = long_ago;
        assert_eq!(state.look(), None, "it was current a moment ago");
        state.facts().current.0 = long_ago;
        assert_eq!(state.look(), Some("nothing has come for 9 s".to_owned()));
        assert_eq!(state.look(), None);
        assert!(state.is_current((Instant::now(), Timestamp::now())).is_some());
        assert!(!state.failed(&Failure::new(ExitCode::ConnectionLost, "lost")));
        state.facts().current.0 = long_ago;
        state.moved();
        assert_eq!(state.look(), Some("nothing has come for 9 s: lost".to_owned()));
        state.is_current((Instant::now(), Timestamp::now()));
        assert!(state.failed(&Failure::new(ExitCode::Diverged, "diverged")));
        assert!(!state.failed(&Failure::new(ExitCode::Diverged, "diverged")));
        let facts = state.get();
        assert_eq!((facts.errors, facts.alarms, facts.alarm.is_some()), (3, 3, true));
        state.committing();
        state.is_current((long_ago, Timestamp::now()));
        state.facts().moved = long_ago;
        state.facts().committing = true;
        assert_eq!(state.look(), None, "a commit may take longer");
    }
}
