//! A client of one service.

use std::sync::Arc;

use reqwest::Method;
use tokio::sync::OnceCell;
use wire::api::{After, DatabaseList, DatabaseState, ErrorCode, ErrorDetail, OpenSession, Session};

use crate::copy::{Copy, CopyReport};
use crate::error::{Error, Result};
use crate::fetch::Conversation;
use crate::http::{Failure, Http};
use crate::options::{ClientOptions, MAX_PARALLEL, Protocol};
use crate::plan::{Seen, tidy};
use crate::progress::Progress;
use crate::rate::{MIN_BYTES_PER_S, Rate};
use crate::sink::Sink;
use crate::v3_0;

/// The most databases that a server may have.
const MAX_DATABASES: usize = 10_000;

/// A client of one service.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) options: ClientOptions,
    pub(crate) http: Arc<Http>,
    /// A Neo4j 3.0 server, if it answers as one; empty until that is known.
    v3_0: Arc<OnceCell<Option<v3_0::Server>>>,
}

impl Client {
    /// A client with these options.
    ///
    /// # Errors
    /// When the options make no sense, or when a file that they name cannot be used.
    pub fn new(options: ClientOptions) -> Result<Self> {
        if options.parallel == 0 || options.parallel > MAX_PARALLEL {
            let what = format!("{} streams: 1 to {MAX_PARALLEL} are possible", options.parallel);
            return Err(Error::Options(what));
        }
        if options.limit_rate_bytes_per_s.is_some_and(|rate| rate < MIN_BYTES_PER_S) {
            return Err(Error::Options("the rate limit must be at least 64 KiB/s".to_owned()));
        }
        let is_secured = options.tls.is_some() || options.token.is_some();
        if is_secured && options.protocol == Protocol::V3_0 {
            let what = "the protocol of Neo4j 3.0 has neither encryption nor users";
            return Err(Error::Options(what.to_owned()));
        }
        let http = Arc::new(Http::new(&options)?);
        Ok(Self { options, http, v3_0: Arc::default() })
    }

    /// The Neo4j 3.0 server that answers, if one does.
    pub(crate) async fn v3_0(&self) -> Result<Option<&v3_0::Server>> {
        let find = async || {
            let server = v3_0::Server::new(&self.options);
            let is_ours = self.options.tls.is_some() || self.options.token.is_some();
            match self.options.protocol {
                Protocol::V3_0 => Ok::<_, Error>(Some(server)),
                // Whoever says nothing may be asked in another way.
                Protocol::Auto if !is_ours => {
                    let found = server.probe(self.options.contact_timeout / 2).await?;
                    Ok(found.map(|_| server))
                }
                Protocol::Auto | Protocol::Http => Ok(None),
            }
        };
        Ok(self.v3_0.get_or_try_init(find).await?.as_ref())
    }

    /// Whether a Neo4j 3.0 server answers, which can send copies and nothing else.
    ///
    /// # Errors
    /// When nothing can be reached.
    pub async fn is_v3_0(&self) -> Result<bool> {
        Ok(self.v3_0().await?.is_some())
    }

    /// The databases that the service shows. Asked once: it is soon known whether there is a
    /// service at all.
    ///
    /// # Errors
    /// When the service cannot be reached or does not answer properly.
    pub async fn databases(&self) -> Result<DatabaseList> {
        if let Some(server) = self.v3_0().await? {
            return server.databases().await;
        }
        let request = self.http.request(Method::GET, "/v1/databases");
        let (begin, whole) = (self.options.contact_timeout, self.options.answer_timeout);
        let answer = self.http.json(request, begin, whole).await;
        let mut list: DatabaseList = answer.map_err(first_contact)?;
        if list.databases.len() > MAX_DATABASES {
            return Err(Error::Protocol(format!("more than {MAX_DATABASES} databases")));
        }
        tidy(&mut list.service_version);
        for database in &mut list.databases {
            // One odd directory must not hide the others. Nothing is made of such a name but
            // text, and `open` refuses it.
            if let Err(error) = wire::names::check_database(&database.name) {
                database.state = DatabaseState::Unsupported;
                database.detail = Some(error.to_string());
                tidy(&mut database.name);
            }
            database.detail.iter_mut().chain(&mut database.store_id).for_each(tidy);
        }
        Ok(list)
    }

    /// Opens a session: from now on the service holds what the copy needs.
    ///
    /// If the connection to a service that has answered this client before breaks meanwhile, it is
    /// asked again. A session whose answer got lost is then left to its lease.
    ///
    /// # Errors
    /// When the service cannot be reached or when it does not copy that database.
    pub async fn open(&self, database: &str) -> Result<Copy> {
        self.open_session(database, None).await
    }

    /// Opens a session of an increment: only the transactions after those that a backup has.
    ///
    /// # Errors
    /// As [`Client::open`]; when the server's store or its history is another one than the backup's,
    /// and when the logs that the increment needs are pruned.
    pub async fn open_after(&self, database: &str, after: After) -> Result<Copy> {
        self.open_session(database, Some(after)).await
    }

    async fn open_session(&self, database: &str, after: Option<After>) -> Result<Copy> {
        wire::names::check_database(database).map_err(|e| Error::Options(e.to_string()))?;
        if let Some(server) = self.v3_0().await? {
            return Ok(Copy::v3_0(server.open(database, after).await?));
        }
        let body = OpenSession { database: database.to_owned(), after: after.clone() };
        let request = || self.http.request(Method::POST, "/v1/sessions").json(&body);
        let (timeout, retry_for) = (self.options.begin_timeout, self.options.retry_for);
        let answer = self.http.ask(request, timeout, retry_for).await;
        let mut session: Session = answer.map_err(first_contact)?;
        let mut seen = Seen::after(after.map(|after| after.last_tx));
        seen.session(&mut session, database)?;
        let rate = self.options.limit_rate_bytes_per_s;
        let conversation = Conversation {
            http: Arc::clone(&self.http),
            session_id: session.session_id.clone(),
            block_bytes: session.block_bytes,
            rate: rate.map(Rate::new),
            retry_for: self.options.retry_for,
            answer_timeout: self.options.answer_timeout,
            finish_timeout: self.options.finish_timeout,
        };
        // Each stream must get on, else the service takes it for dead.
        let streams = rate.map_or(MAX_PARALLEL as u64, |rate| rate / MIN_BYTES_PER_S).max(1);
        let parallel = self.options.parallel.min(usize::try_from(streams).unwrap_or(MAX_PARALLEL));
        Ok(Copy::new(session, seen, conversation, parallel))
    }

    /// Makes a full copy of a database.
    ///
    /// # Errors
    /// When the copy cannot be completed.
    pub async fn full(
        &self,
        database: &str,
        sink: Arc<dyn Sink>,
        progress: Arc<dyn Progress>,
    ) -> Result<CopyReport> {
        let mut copy = self.open(database).await?;
        let report = copy.run(sink, progress).await?;
        copy.close().await;
        Ok(report)
    }
}

/// An error whose code nobody knows is no answer of ours.
pub(crate) fn first_contact(failure: Failure) -> Error {
    match Error::from(failure) {
        Error::Remote(ErrorDetail { code: ErrorCode::Unknown, message, .. }) => {
            Error::Protocol(message)
        }
        error => error,
    }
}
