//! What the writers know: what was attempted and what was acknowledged, and when.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One transaction of a writer.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// When it was first begun.
    pub begun: Instant,
    /// When the server's answer to its commit arrived.
    pub acknowledged: Option<Instant>,
    /// The last transaction when the server answered, which may be a later one of another writer;
    /// unknown when the answer was lost.
    pub tx_id: Option<u64>,
}

/// One user of `system` that the load created and perhaps dropped.
#[derive(Debug, Clone)]
pub struct User {
    /// The name.
    pub name: String,
    /// Its creation.
    pub created: Attempt,
    /// Its removal.
    pub dropped: Option<Attempt>,
}

/// All transactions of a load.
#[derive(Debug, Default)]
pub struct History {
    /// By writer; numbers begin at `first` and have no gap.
    writers: Vec<Mutex<WriterHistory>>,
    users: Mutex<Vec<User>>,
}

#[derive(Debug, Default)]
struct WriterHistory {
    /// The number that the writer's counter had when the load began.
    start: u64,
    /// Transactions `start + 1`, `start + 2`, ...
    attempts: Vec<Attempt>,
}

impl WriterHistory {
    fn last_where(&self, wanted: impl Fn(&Attempt) -> bool) -> u64 {
        let count = self.attempts.iter().rposition(wanted).map_or(0, |last| last + 1);
        self.start + count as u64
    }
}

/// What a database must look like that was copied while the load ran.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// For each writer, by its number.
    pub writers: Vec<Bounds>,
    /// Users that must be in `system`.
    pub users: Vec<String>,
    /// Users that must not be there.
    pub no_users: Vec<String>,
}

/// The transactions of one writer that a database may contain: 1 to k without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// k is not less: this one was acknowledged before the copy ended.
    pub at_least: u64,
    /// k is not more: the next one had not been attempted.
    pub at_most: u64,
}

/// How long commits took, from the first begin to the acknowledgement.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Latency {
    /// Transactions acknowledged.
    pub count: usize,
    /// Of these, each second.
    pub per_second: f64,
    /// The median.
    pub p50: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl History {
    pub(super) fn new(starts: &[u64]) -> History {
        let writer = |&start| Mutex::new(WriterHistory { start, attempts: Vec::new() });
        History { writers: starts.iter().map(writer).collect(), users: Mutex::default() }
    }

    pub(super) fn begin(&self, writer: usize) {
        let attempt = Attempt { begun: Instant::now(), acknowledged: None, tx_id: None };
        locked(&self.writers[writer]).attempts.push(attempt);
    }

    pub(super) fn acknowledge(&self, writer: usize, tx_id: Option<u64>) {
        let now = Instant::now();
        if let Some(attempt) = locked(&self.writers[writer]).attempts.last_mut() {
            attempt.acknowledged = Some(now);
            attempt.tx_id = tx_id;
        }
    }

    pub(super) fn users(&self) -> MutexGuard<'_, Vec<User>> {
        locked(&self.users)
    }

    /// For each writer, the last transaction that was acknowledged before `instant`.
    pub fn acknowledged_before(&self, instant: Instant) -> Vec<u64> {
        let before = |attempt: &Attempt| attempt.acknowledged.is_some_and(|at| at < instant);
        self.writers.iter().map(|writer| locked(writer).last_where(before)).collect()
    }

    /// For each writer, the last transaction that was begun before `instant`.
    pub fn attempted_before(&self, instant: Instant) -> Vec<u64> {
        let before = |attempt: &Attempt| attempt.begun < instant;
        self.writers.iter().map(|writer| locked(writer).last_where(before)).collect()
    }

    /// What a database must contain that holds every commit until `from` and none after `to`.
    ///
    /// For a hot copy, `from` is when its first read of the log's end began, or anything before;
    /// `to` is when the copy was complete.
    pub fn expected(&self, from: Instant, to: Instant) -> Expected {
        let writers = self.acknowledged_before(from).into_iter().zip(self.attempted_before(to));
        let writers = writers.map(|(at_least, at_most)| Bounds { at_least, at_most }).collect();
        let acknowledged = |attempt: &Attempt| attempt.acknowledged.is_some_and(|at| at < from);
        let begun = |attempt: &Attempt| attempt.begun < to;
        let mut expected = Expected { writers, ..Expected::default() };
        for user in locked(&self.users).iter() {
            if !begun(&user.created) || user.dropped.as_ref().is_some_and(acknowledged) {
                expected.no_users.push(user.name.clone());
            } else if acknowledged(&user.created) && !user.dropped.as_ref().is_some_and(begun) {
                expected.users.push(user.name.clone());
            }
        }
        expected
    }

    /// The greatest id that the server told a writer.
    pub fn last_tx_id(&self) -> Option<u64> {
        let last = |writer: &Mutex<WriterHistory>| {
            locked(writer).attempts.iter().filter_map(|attempt| attempt.tx_id).max()
        };
        self.writers.iter().filter_map(last).max()
    }

    /// What a database must contain that holds every transaction up to this one, and none after it, by
    /// the ids that the server told the writers. Nothing is said of users.
    ///
    /// A transaction's own id is not more than what the writer was told with it, and more than what it
    /// was told with the one before. So of each writer at most one transaction is uncertain.
    pub fn expected_at(&self, tx_id: u64) -> Expected {
        let bounds = |writer: &Mutex<WriterHistory>| {
            let writer = locked(writer);
            let reaches = |attempt: &Attempt| attempt.tx_id.is_some_and(|id| id >= tx_id);
            let last = writer.attempts.iter().position(reaches);
            let last = last.map_or(writer.attempts.len(), |last| last + 1);
            let up_to = |attempt: &Attempt| attempt.tx_id.is_some_and(|id| id <= tx_id);
            Bounds { at_least: writer.last_where(up_to), at_most: writer.start + last as u64 }
        };
        Expected { writers: self.writers.iter().map(bounds).collect(), ..Expected::default() }
    }

    /// How long after its acknowledgement each transaction that was acknowledged between `from` and `to`
    /// was durable elsewhere, sorted; by when elsewhere had all transactions up to which, in the order
    /// of time. Zero where it was there first; those that never got there are left out and counted.
    pub fn lags(
        &self,
        (from, to): (Instant, Instant),
        durable: &[(Instant, u64)],
    ) -> (Vec<Duration>, usize) {
        let (mut lags, mut lost) = (Vec::new(), 0);
        for writer in &self.writers {
            for attempt in &locked(writer).attempts {
                let acknowledged = attempt.acknowledged.filter(|at| (from..to).contains(at));
                let (Some(at), Some(tx_id)) = (acknowledged, attempt.tx_id) else { continue };
                match durable.iter().find(|(_, last)| *last >= tx_id) {
                    Some((there, _)) => lags.push(there.saturating_duration_since(at)),
                    None => lost += 1,
                }
            }
        }
        lags.sort();
        (lags, lost)
    }

    /// The latency of the transactions acknowledged between `from` and `to`.
    pub fn latency(&self, from: Instant, to: Instant) -> Latency {
        let mut all = Vec::new();
        for writer in &self.writers {
            for attempt in &locked(writer).attempts {
                if let Some(at) = attempt.acknowledged.filter(|at| (from..to).contains(at)) {
                    all.push(at - attempt.begun);
                }
            }
        }
        all.sort();
        let part = |percent: usize| all.get((all.len() * percent / 100).min(all.len() - 1));
        if all.is_empty() {
            return Latency::default();
        }
        Latency {
            count: all.len(),
            per_second: all.len() as f64 / (to - from).as_secs_f64(),
            p50: *part(50).expect("not empty"),
            p99: *part(99).expect("not empty"),
            max: *part(100).expect("not empty"),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bounds and users follow from the times: acknowledged before, begun before, or neither.
    #[test]
    fn expectations_follow_from_the_times() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let attempt = |begun, end: Option<u64>| Attempt {
            begun: at(begun),
            acknowledged: end.map(at),
            tx_id: end,
        };
        let history = History::new(&[5, 0]);
        locked(&history.writers[0]).attempts =
            vec![attempt(1, Some(2)), attempt(3, Some(6)), attempt(7, None)];
        *history.users() = vec![
            User { name: "kept".into(), created: attempt(1, Some(2)), dropped: None },
            User { name: "maybe".into(), created: attempt(3, Some(6)), dropped: None },
            User { name: "late".into(), created: attempt(9, Some(10)), dropped: None },
            User {
                name: "gone".into(),
                created: attempt(1, Some(2)),
                dropped: Some(attempt(2, Some(3))),
            },
            User {
                name: "going".into(),
                created: attempt(1, Some(2)),
                dropped: Some(attempt(5, Some(6))),
            },
        ];
        let expected = history.expected(at(4), at(8));
        let bounds = |at_least, at_most| Bounds { at_least, at_most };
        assert_eq!(expected.writers, [bounds(6, 8), bounds(0, 0)]);
        assert_eq!(expected.users, ["kept"]);
        assert_eq!(expected.no_users, ["late", "gone"]);

        // Ids are those of the times here; the third has none.
        let up_to = |tx_id| history.expected_at(tx_id).writers[0];
        assert_eq!([up_to(1), up_to(2), up_to(3)], [bounds(5, 6), bounds(6, 6), bounds(6, 7)]);
        assert_eq!([up_to(6), up_to(7)], [bounds(7, 7), bounds(7, 8)]);

        let durable = [(at(1), 1), (at(4), 5), (at(9), 6)];
        let lags = |durable| history.lags((at(0), at(10)), durable);
        let seconds = Duration::from_secs;
        assert_eq!(lags(&durable), (vec![seconds(2), seconds(3)], 0));
        assert_eq!(lags(&durable[..2]), (vec![seconds(2)], 1));

        let latency = history.latency(at(0), at(10));
        assert_eq!((latency.count, latency.p50, latency.max), (2, at(6) - at(3), at(6) - at(3)));
        assert_eq!(history.latency(at(8), at(9)), Latency::default());
    }
}
