//! A conversation with the backup service of a Neo4j 3.0 server: one request, one response, in which
//! everything comes in one stream. See [`wire::v3_0`].
//!
//! The server checks nothing: neither that it has the history of whoever asks, nor that its logs reach as
//! far back as its copy of the store. So all of that is proven here, by transactions that are asked for
//! once more.

mod full;
mod increment;
mod keep;
mod response;
mod transactions;

use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use formats::StoreId;
use formats::v3_0::Neostore;
use wire::api::{
    After, Database, DatabaseList, DatabaseState, ErrorCode, ErrorDetail, Finished, LeftOut,
    Session,
};
use wire::v3_0::Request;

use crate::copy::CopyReport;
use crate::error::{Error, Result};
use crate::options::ClientOptions;
use crate::progress::Progress;
use crate::sink::Sink;
use response::{Connection, Part, Response};

/// The name of the database that a 3.0 server has unless it is told otherwise; it does not say it.
pub(crate) const DATABASE: &str = "graph.db";
/// A BLAKE3 is made for each block of so many bytes.
const BLOCK_BYTES: u64 = 1 << 20;

/// A copy from a 3.0 server.
pub(crate) struct Copy {
    server: Server,
    after: Option<After>,
    session: Session,
}

/// A 3.0 server.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    options: ClientOptions,
    connection: Arc<Connection>,
}

/// What a copy has brought, but for what all copies have.
struct Brought {
    session: Session,
    finished: Finished,
    left_out: Vec<LeftOut>,
    files: u64,
}

impl Server {
    pub(crate) fn new(options: &ClientOptions) -> Self {
        Self { options: options.clone(), connection: Arc::default() }
    }

    /// The store's identity, which a request for nothing brings; `None` where something else answers.
    pub(crate) async fn probe(&self, timeout: Duration) -> Result<Option<StoreId>> {
        match self.ask_nothing(timeout).await {
            Ok(store_id) => Ok(Some(store_id)),
            // A service of ours beside a 3.0 server speaks both, and refuses a request for nothing.
            Err(Error::Protocol(_) | Error::ConnectionLost { .. } | Error::Remote(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A request for nothing, which a 3.0 server answers with its store's identity. All of it is to be there in time.
    async fn ask_nothing(&self, timeout: Duration) -> Result<StoreId> {
        let asked = self.blocking(move |server| {
            let (options, connection) = (&server.options, &server.connection);
            let nothing = Request::Incremental { last_tx_id: 0 };
            let mut response = Response::ask(options, connection, &nothing, timeout)?;
            response.store_id()
        });
        let whole = timeout.max(self.options.answer_timeout);
        tokio::time::timeout(whole, asked).await.unwrap_or_else(|_| {
            let cause = format!("no whole answer within {} s", whole.as_secs());
            Err(Error::ConnectionLost { address: self.options.address(), cause })
        })
    }

    /// The one database, as the HTTP service would list it.
    pub(crate) async fn databases(&self) -> Result<DatabaseList> {
        let store_id = self.store_id().await?;
        let database = Database {
            name: DATABASE.to_owned(),
            state: DatabaseState::Online,
            detail: None,
            store_id: Some(store_id.to_string()),
            size_bytes: None,
        };
        let service_version = "Neo4j 3.0".to_owned();
        Ok(DatabaseList { service_version, time: None, databases: vec![database] })
    }

    async fn store_id(&self) -> Result<StoreId> {
        self.ask_nothing(self.options.contact_timeout).await.map_err(|error| match error {
            Error::Protocol(what) => Error::NotOurService { address: self.options.address(), what },
            error => error,
        })
    }

    /// Whether a copy could begin, of everything or after what a backup has.
    pub(crate) async fn check(&self, after: Option<After>) -> Result<()> {
        let store_id = self.store_id().await?;
        let Some(after) = after else { return Ok(()) };
        require_same_store(&store_id, &after)?;
        self.blocking(move |server| increment::check(server, &after)).await
    }

    /// Begins a copy: nothing is asked for yet but the store's identity.
    pub(crate) async fn open(&self, database: &str, after: Option<After>) -> Result<Copy> {
        let store_id = self.store_id().await?;
        if let Some(after) = &after {
            require_same_store(&store_id, after)?;
        }
        let session = Session {
            session_id: "3.0".to_owned(),
            lease_seconds: 0,
            database: database.to_owned(),
            state: DatabaseState::Online,
            store_id,
            external_uuid: None,
            checkpoint: None,
            block_bytes: BLOCK_BYTES,
            files: Vec::new(),
            left_out: Vec::new(),
        };
        Ok(Copy { server: self.clone(), after, session })
    }

    /// Sends a request.
    fn ask(&self, request: &Request) -> Result<Response> {
        let timeout = self.options.v3_0_timeout;
        Response::ask(&self.options, &self.connection, request, timeout)
    }

    /// Work that waits for the server, on a thread of its own. To stop it, drop the future.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let server = Self { options: self.options.clone(), connection: Arc::default() };
        let guard = Guard(Arc::clone(&server.connection));
        let done = tokio::task::spawn_blocking(move || work(&server)).await;
        drop(guard);
        done.map_err(|_| Error::Cancelled)?
    }
}

impl Copy {
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Brings everything.
    pub(crate) async fn run(
        &self,
        sink: Arc<dyn Sink>,
        progress: Arc<dyn Progress>,
    ) -> Result<CopyReport> {
        let (begun, session, after) = (Instant::now(), self.session.clone(), self.after.clone());
        let told = Arc::clone(&progress);
        let bring = move |server: &Server| {
            let brought = match &after {
                Some(after) => increment::bring(server, &session, after, &*sink, &*told),
                None => full::bring(server, &session, &*sink, &*told),
            };
            Ok((brought?, server.connection.received_bytes()))
        };
        let (brought, bytes_transferred) = self.server.blocking(bring).await?;
        progress.finished(&brought.finished);
        Ok(CopyReport {
            session: brought.session,
            finished: brought.finished,
            bytes_transferred,
            files: brought.files,
            left_out: brought.left_out,
            duration: begun.elapsed(),
        })
    }
}

/// Ends a conversation whose result nobody wants any more.
struct Guard(Arc<Connection>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.shutdown(Shutdown::Both);
    }
}

fn require_same_store(store_id: &StoreId, after: &After) -> Result<()> {
    if after.store_id.is_same_store(store_id) {
        return Ok(());
    }
    let expected = &after.store_id;
    let message = format!("the server's store is {store_id}, the backup is of {expected}");
    Err(refused(ErrorCode::OtherStore, message))
}

/// An error as the HTTP service would tell it.
fn refused(code: ErrorCode, message: String) -> Error {
    Error::Remote(ErrorDetail { code, message, hint: None })
}

/// The server breaks its own protocol.
fn broken(what: impl std::fmt::Display) -> Error {
    Error::Protocol(format!("Neo4j 3.0's backup protocol: {what}"))
}

impl Response {
    /// Reads up to the store's identity.
    fn store_id(&mut self) -> Result<StoreId> {
        match self.next()? {
            Part::StoreId(bytes) => Neostore::decode_store_id(&bytes).map_err(broken),
            Part::Failure(failure) => Err(response::failed(&failure)),
            _ => Err(broken("something else in place of the store's id")),
        }
    }
}
