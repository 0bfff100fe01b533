//! A full copy: open a session, fetch everything, finish, fetch the logs.

mod run;

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use wire::api::{Finished, LeftOut, Session, SessionStatus};

use crate::error::Result;
use crate::fetch::Conversation;
use crate::plan::Seen;
use crate::progress::Progress;
use crate::receive::Tally;
use crate::sink::Sink;

/// How long a copy that is given up waits for the service to hear of it.
const ABORT_TIMEOUT: Duration = Duration::from_secs(3);

/// A copy whose session is open. The lease is kept until it is dropped, which ends the session.
pub struct Copy {
    session: Session,
    seen: Seen,
    conversation: Arc<Conversation>,
    parallel: usize,
    keeper: tokio::task::JoinHandle<()>,
    ended: bool,
}

/// What a copy has brought.
#[derive(Clone, Debug)]
pub struct CopyReport {
    /// The session's store, checkpoint and files.
    pub session: Session,
    /// The logs, and the transactions that they reach to.
    pub finished: Finished,
    /// Bytes of files, and hashes of pages, that went over the network; again where it was needed.
    pub bytes_transferred: u64,
    /// Files that are in the copy.
    pub files: u64,
    /// Derived files that are not: those that the service left out and those that did not hold
    /// still. Neo4j rebuilds them.
    pub left_out: Vec<LeftOut>,
    /// From the session's begin to the last file's end.
    pub duration: Duration,
}

impl Copy {
    pub(crate) fn new(
        session: Session,
        seen: Seen,
        conversation: Conversation,
        parallel: usize,
    ) -> Self {
        let conversation = Arc::new(conversation);
        let lease = Duration::from_secs(session.lease_seconds);
        let keeper = tokio::spawn(keep(Arc::clone(&conversation), lease / 3));
        Self { session, seen, conversation, parallel, keeper, ended: false }
    }

    /// What the service said as the session began.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Fetches everything into the sink, once. To stop, drop the future, then call
    /// [`Copy::abort`]; a call of the sink that is under way goes on to its end.
    ///
    /// # Errors
    /// When the copy cannot be completed. The session is ended then.
    pub async fn run(
        &mut self,
        sink: Arc<dyn Sink>,
        progress: Arc<dyn Progress>,
    ) -> Result<CopyReport> {
        let tally = Arc::new(Tally::new(Arc::clone(&progress)));
        let run = run::Run {
            conversation: Arc::clone(&self.conversation),
            sink,
            tally,
            progress,
            parallel: self.parallel,
        };
        let result = run.all(&self.session, &mut self.seen).await;
        self.end().await;
        result.map(|brought| brought.report(self.session.clone()))
    }

    /// Ends the session without a copy.
    pub async fn abort(mut self) {
        self.end().await;
    }

    async fn end(&mut self) {
        self.ended = true;
        self.keeper.abort();
        delete(&self.conversation).await;
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.keeper.abort();
        if self.ended {
            return;
        }
        let conversation = Arc::clone(&self.conversation);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { delete(&conversation).await });
        }
    }
}

async fn delete(conversation: &Conversation) {
    let request = conversation.request(Method::DELETE, "");
    let _ = conversation.http.send(request, ABORT_TIMEOUT).await;
}

/// Renews the lease, however long the sink takes.
async fn keep(conversation: Arc<Conversation>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let request = conversation.request(Method::GET, "");
        let status = conversation.http.json::<SessionStatus>(request, every, every).await;
        if let Err(failure) = status {
            tracing::debug!(?failure, "renew the lease");
        }
    }
}
