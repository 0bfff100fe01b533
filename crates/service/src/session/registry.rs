//! All sessions of a service.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wire::api::{self, ErrorCode};

use super::{InUse, Session};
use crate::answer::{Answer, Refusal};
use crate::catalog::Begun;
use crate::metrics::Metrics;
use crate::token::hex;

/// The sessions by their ids, and how many there may be.
pub(crate) struct Registry {
    sessions: Mutex<HashMap<String, Held>>,
    free: Arc<Semaphore>,
    max_sessions: usize,
    stopping: AtomicBool,
    metrics: Arc<Metrics>,
    lease: Duration,
}

struct Held {
    session: Arc<Session>,
    _permit: OwnedSemaphorePermit,
}

impl Registry {
    pub(crate) fn new(max_sessions: usize, lease: Duration, metrics: Arc<Metrics>) -> Self {
        Self {
            sessions: Mutex::default(),
            free: Arc::new(Semaphore::new(max_sessions)),
            max_sessions,
            stopping: AtomicBool::new(false),
            metrics,
            lease,
        }
    }

    /// Room for one more session.
    pub(crate) fn reserve(&self) -> Answer<OwnedSemaphorePermit> {
        if self.is_stopping() {
            let refusal = Refusal::new(ErrorCode::Busy, "the service is stopping");
            return Err(refusal.status(StatusCode::SERVICE_UNAVAILABLE));
        }
        Arc::clone(&self.free).try_acquire_owned().map_err(|_| {
            Refusal::new(ErrorCode::Busy, "too many sessions are open")
                .hint("try again when another backup has ended")
        })
    }

    /// Keeps a hot copy as a session of its owner's.
    pub(crate) fn insert(
        &self,
        permit: OwnedSemaphorePermit,
        owner: String,
        database: String,
        begun: Begun,
    ) -> Answer<api::Session> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)
            .map_err(|e| Refusal::new(ErrorCode::Internal, format!("get random numbers: {e}")))?;
        let (session, answer) = Session::new(hex(&random), owner, database, begun, self.lease);
        let session = Arc::new(session);
        self.lock().insert(session.id.clone(), Held { session, _permit: permit });
        self.metrics.session_opened();
        Ok(answer)
    }

    /// The session of that owner, whose lease is renewed.
    pub(crate) fn get(&self, id: &str, owner: &str) -> Answer<InUse> {
        match self.lock().get(id) {
            Some(held) if held.session.owner == owner => Ok(InUse::new(Arc::clone(&held.session))),
            _ => Err(no_session()),
        }
    }

    /// Ends a session; its streams stop at their next chunk.
    pub(crate) fn remove(&self, id: &str, owner: &str) -> Answer<()> {
        let mut sessions = self.lock();
        if sessions.get(id).is_none_or(|held| held.session.owner != owner) {
            return Err(no_session());
        }
        let held = sessions.remove(id);
        drop(sessions);
        held.into_iter().for_each(|held| self.ended(&held.session, "deleted"));
        Ok(())
    }

    /// Ends the sessions whose lease has run out, again and again.
    pub(crate) async fn reap(&self) {
        let mut interval = tokio::time::interval((self.lease / 4).max(Duration::from_millis(20)));
        loop {
            interval.tick().await;
            let expired: Vec<Held> = {
                let mut sessions = self.lock();
                sessions
                    .extract_if(|_, held| held.session.is_expired(self.lease))
                    .map(|(_, held)| held)
                    .collect()
            };
            expired.iter().for_each(|held| self.ended(&held.session, "expired"));
        }
    }

    /// No new sessions from now on.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether the service was told to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Waits until there is no session, and no copy in Neo4j 3.0's protocol.
    pub(crate) async fn drained(&self) {
        let all = u32::try_from(self.max_sessions).unwrap_or(u32::MAX);
        // It is never closed.
        let _ = self.free.acquire_many(all).await;
    }

    /// Ends all sessions.
    pub(crate) fn clear(&self) {
        let all: Vec<Held> = self.lock().drain().map(|(_, held)| held).collect();
        all.iter().for_each(|held| self.ended(&held.session, "cut off: the service stops"));
    }

    fn ended(&self, session: &Session, how: &str) {
        session.closed.store(true, Ordering::Release);
        let finished = session.is_finished();
        self.metrics.session_ended(finished);
        let (id, database) = (session.id.get(..8), session.database.as_str());
        if session.is_increment && finished {
            tracing::debug!(id, database, finished, "session {how}");
        } else {
            tracing::info!(id, database, finished, "session {how}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_session() -> Refusal {
    Refusal::new(ErrorCode::NotFound, "no such session, or its lease has run out")
        .hint("open a new session")
}
