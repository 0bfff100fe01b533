//! A full copy: open a session, fetch everything, finish, fetch the logs.

mod run;

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use wire::api::{Finished, LeftOut, Session, SessionStatus};

use crate::error::{Error, Result};
use crate::fetch::Conversation;
use crate::plan::Seen;
use crate::progress::Progress;
use crate::receive::Tally;
use crate::sink::Sink;
use crate::v3_0;

/// How long a copy that is given up waits for the service to hear of it.
const ABORT_TIMEOUT: Duration = Duration::from_secs(3);

/// A copy whose session is open. The lease is kept until it is dropped, which ends the session.
pub struct Copy(Way);

/// Whom it is from.
enum Way {
    /// A service of ours.
    Http(Box<HttpCopy>),
    /// The backup service of a Neo4j 3.0 server, which has no sessions.
    V3_0(Box<v3_0::Copy>),
}

/// A copy from a service of ours.
struct HttpCopy {
    session: Session,
    seen: Seen,
    conversation: Arc<Conversation>,
    parallel: usize,
    keeper: tokio::task::JoinHandle<()>,
    ended: bool,
}

/// The store's files are there; see [`Copy::finish`].
pub struct Stored(StoredWay);

enum StoredWay {
    Http {
        run: run::Run,
        stored: run::Stored,
    },
    /// Everything comes in one stream, so nothing is there yet.
    V3_0 {
        sink: Arc<dyn Sink>,
        progress: Arc<dyn Progress>,
    },
}

/// How to ask for the end of a copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndOptions {
    /// How long the service may wait for a transaction, in an increment; whole seconds count.
    pub wait: Duration,
    /// How long it may take otherwise, if not as long as usual: see
    /// [`ClientOptions::finish_timeout`](crate::ClientOptions::finish_timeout).
    pub timeout: Option<Duration>,
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
        let copy = HttpCopy { session, seen, conversation, parallel, keeper, ended: false };
        Self(Way::Http(Box::new(copy)))
    }

    pub(crate) fn v3_0(copy: v3_0::Copy) -> Self {
        Self(Way::V3_0(Box::new(copy)))
    }

    /// What the service said as the session began.
    #[must_use]
    pub fn session(&self) -> &Session {
        match &self.0 {
            Way::Http(copy) => &copy.session,
            Way::V3_0(copy) => copy.session(),
        }
    }

    /// Fetches everything into the sink, once. To stop, drop the future, then call
    /// [`Copy::close`]; a call of the sink that is under way goes on to its end.
    ///
    /// # Errors
    /// When the copy cannot be completed. The session is ended then.
    pub async fn run(
        &mut self,
        sink: Arc<dyn Sink>,
        progress: Arc<dyn Progress>,
    ) -> Result<CopyReport> {
        let stored = self.store(sink, progress).await?;
        self.finish(stored, EndOptions::default()).await
    }

    /// The first part of [`Copy::run`]: the store's files. In an increment there are none.
    ///
    /// # Errors
    /// As [`Copy::run`].
    pub async fn store(
        &mut self,
        sink: Arc<dyn Sink>,
        progress: Arc<dyn Progress>,
    ) -> Result<Stored> {
        match &mut self.0 {
            Way::Http(copy) => copy.store(sink, progress).await,
            Way::V3_0(_) => Ok(Stored(StoredWay::V3_0 { sink, progress })),
        }
    }

    /// The other part of [`Copy::run`]: what the service has committed by now, and no more.
    ///
    /// # Errors
    /// As [`Copy::run`].
    pub async fn finish(&mut self, stored: Stored, end: EndOptions) -> Result<CopyReport> {
        match (&mut self.0, stored.0) {
            (Way::Http(copy), StoredWay::Http { run, stored }) => {
                copy.finish(run, stored, end).await
            }
            (Way::V3_0(copy), StoredWay::V3_0 { sink, progress }) => copy.run(sink, progress).await,
            _ => Err(Error::Options("the files of another copy".to_owned())),
        }
    }

    /// Ends the session, with or without a copy.
    pub async fn close(self) {
        if let Way::Http(mut copy) = self.0 {
            copy.end().await;
        }
    }
}

impl HttpCopy {
    async fn store(&mut self, sink: Arc<dyn Sink>, progress: Arc<dyn Progress>) -> Result<Stored> {
        let tally = Arc::new(Tally::new(Arc::clone(&progress)));
        let conversation = Arc::clone(&self.conversation);
        let run = run::Run { conversation, sink, tally, progress, parallel: self.parallel };
        match run.store(&self.session, &self.seen).await {
            Ok(stored) => Ok(Stored(StoredWay::Http { run, stored })),
            Err(error) => Err(self.failed(error).await),
        }
    }

    async fn finish(
        &mut self,
        run: run::Run,
        stored: run::Stored,
        end: EndOptions,
    ) -> Result<CopyReport> {
        match run.logs(&self.session, &mut self.seen, stored, end).await {
            Ok(brought) => Ok(brought.report(self.session.clone())),
            Err(error) => Err(self.failed(error).await),
        }
    }

    async fn failed(&mut self, error: Error) -> Error {
        self.end().await;
        error
    }

    async fn end(&mut self) {
        if self.ended {
            return;
        }
        self.ended = true;
        self.keeper.abort();
        delete(&self.conversation).await;
    }
}

impl Drop for HttpCopy {
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
