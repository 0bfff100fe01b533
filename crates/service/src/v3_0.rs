//! The backup protocol of Neo4j 3.0, for that version's own tool: see [`wire::v3_0`].
//!
//! It has neither encryption nor users, so it is spoken on the loopback interface only, and not where TLS or
//! tokens are wanted, unless the operator says so. A connection is served by a thread of its own, which waits for files and
//! for the client.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use formats::TxId;
use formats::v3_0::{COMPOSED_LOG_START_BYTES, Neostore};
use tokio::sync::OwnedSemaphorePermit;
use wire::api::{DatabaseState, ErrorCode, ErrorDetail};
use wire::v3_0::{Encoder, Failure, Request, RequestDecoder};

use crate::answer::detail;
use crate::catalog::{Begun, Behind};
use crate::config::ServiceConfig;
use crate::routes::Shared;

/// The first byte of a request: the length of one is far below 16 MiB.
pub(crate) const FIRST_BYTE: u8 = 0;
const READ_BYTES: usize = 256 << 10;
/// A tool may take its time between two requests, while it starts a database. A request that has
/// begun must be there sooner: see [`Limits::arrival_timeout`](crate::Limits).
const IDLE: Duration = Duration::from_mins(20);

/// Serves a connection until the client closes it.
pub(crate) async fn serve(shared: Arc<Shared>, stream: tokio::net::TcpStream) {
    let Ok(stream) = stream.into_std() else { return };
    let Ok(held) = stream.try_clone() else { return };
    // Where this is no longer waited for, the thread finds its socket closed.
    let _guard = Guard(held);
    let (ended, end) = tokio::sync::oneshot::channel();
    // Not one of those that answer questions: a tool may be silent for long.
    let served = std::thread::Builder::new().name("3.0 tool".to_owned()).spawn(move || {
        let mut conversation = Conversation { shared, stream };
        let _ = ended.send(conversation.run());
    });
    match served {
        Ok(_) => {
            if let Ok(Err(error)) = end.await {
                tracing::debug!(%error, "a conversation with Neo4j 3.0's tool ended");
            }
        }
        Err(error) => tracing::error!(%error, "start a thread for Neo4j 3.0's tool"),
    }
}

/// Only a client of ours asks for what follows nothing: to find out what is spoken here.
fn is_question(request: Request) -> bool {
    matches!(request, Request::Incremental { last_tx_id: ..=0 })
}

struct Guard(TcpStream);

impl Drop for Guard {
    fn drop(&mut self) {
        // It is closed already, else.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

struct Conversation {
    shared: Arc<Shared>,
    stream: TcpStream,
}

/// How a response ends that cannot be completed.
enum Fault {
    /// The client is told.
    Told(ErrorDetail),
    /// Nothing can be told any more.
    Lost(std::io::Error),
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Lost(error)
    }
}

impl From<ErrorDetail> for Fault {
    fn from(detail: ErrorDetail) -> Self {
        Self::Told(detail)
    }
}

impl Conversation {
    fn run(&mut self) -> std::io::Result<()> {
        self.stream.set_nonblocking(false)?;
        self.stream.set_write_timeout(Some(self.shared.config.limits.stall_timeout))?;
        let mut decoder = RequestDecoder::new();
        let mut buffer = vec![0; 4096];
        // When a request began to arrive.
        let mut begun = None;
        loop {
            self.stream.set_read_timeout(Some(self.patience(begun)?))?;
            let read = self.stream.read(&mut buffer)?;
            let mut input = buffer.get(..read).unwrap_or_default();
            if input.is_empty() {
                return Ok(());
            }
            while !input.is_empty() {
                match decoder.next(&mut input) {
                    Ok(Some(request)) => {
                        self.answer(request)?;
                        begun = None;
                    }
                    Ok(None) => {}
                    Err(error) => {
                        let failure = Failure::other(&error.to_string());
                        return self.stream.write_all(&Encoder::new().fail(&failure));
                    }
                }
            }
            if !decoder.is_between() {
                begun.get_or_insert_with(Instant::now);
            }
        }
    }

    /// How long the client may send nothing: for long between two requests, not inside of one.
    fn patience(&self, begun: Option<Instant>) -> std::io::Result<Duration> {
        let Some(begun) = begun else { return Ok(IDLE) };
        let left = self.shared.config.limits.arrival_timeout.saturating_sub(begun.elapsed());
        // Zero would be no time-out at all.
        if left.is_zero() { Err(std::io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }

    fn answer(&mut self, request: Request) -> std::io::Result<()> {
        let mut encoder = Encoder::new();
        // Held until the last byte is sent: a service that is told to stop waits for it.
        let (answered, _place) = match self.admit(request) {
            Ok(place) => (self.give(request, &mut encoder), Some(place)),
            Err(detail) => (Err(Fault::Told(detail)), None),
        };
        match answered {
            Ok(()) => self.write(&encoder.finish()),
            Err(Fault::Lost(error)) => Err(error),
            Err(Fault::Told(detail)) => {
                let (peer, error) = (self.peer(), &detail.message);
                if is_question(request) {
                    tracing::debug!(peer, error, "asked what is spoken here");
                } else {
                    self.shared.metrics.failed(detail.code);
                    tracing::warn!(peer, error, "Neo4j 3.0's tool is refused");
                }
                let failure = match detail.code {
                    ErrorCode::LogsPruned => Failure::logs_pruned(&detail.message),
                    _ => Failure::other(&detail.message),
                };
                self.stream.write_all(&encoder.fail(&failure))
            }
        }
    }

    /// A place among the sessions, unless the request is refused.
    fn admit(&self, request: Request) -> Result<OwnedSemaphorePermit, ErrorDetail> {
        let config = &self.shared.config;
        if config.tokens.is_some() && !config.v3_0_insecure {
            let what = "this service wants tokens, which Neo4j 3.0's protocol does not have";
            return Err(detail(ErrorCode::Forbidden, what, None));
        }
        if is_question(request) {
            let what = "speak HTTP here: this is neo4j-backup's service";
            return Err(detail(ErrorCode::BadRequest, what, None));
        }
        self.shared.registry.reserve().map_err(|refusal| refusal.detail)
    }

    fn give(&mut self, request: Request, encoder: &mut Encoder) -> Result<(), Fault> {
        match request {
            Request::Full { .. } => self.full(encoder),
            Request::Incremental { last_tx_id } => {
                self.incremental(TxId(last_tx_id.unsigned_abs()), encoder)
            }
        }
    }

    /// The files of the store, then the transactions that make them whole.
    fn full(&mut self, encoder: &mut Encoder) -> Result<(), Fault> {
        let database = database(&self.shared.config)?;
        let Begun { copy, files, store_id, .. } =
            self.shared.config.catalog.begin(&database, None)?;
        let store_id = Neostore::encode_store_id(&store_id).ok_or_else(not_3_0)?;
        let mut sent_bytes = 0_u64;
        for file in &files {
            if !encoder.file(&file.path) {
                let what = format!("the name of {} is too long for the protocol", file.path);
                return Err(Fault::Told(detail(ErrorCode::SourceUnusable, what, None)));
            }
            let read = |at, buf: &mut [u8]| copy.read_at(file.id, at, buf);
            let send = |encoder: &mut Encoder, bytes: &[u8]| encoder.data(bytes);
            sent_bytes += self.send(encoder, 0..file.size_bytes, read, send)?;
            encoder.file_end();
        }
        encoder.files_end();
        let finished = copy.finish()?;
        let [log] = finished.files.as_slice() else { return Err(not_3_0().into()) };
        encoder.store_id(&store_id);
        let read = |at, buf: &mut [u8]| copy.read_at(log.id, at, buf);
        let send = |encoder: &mut Encoder, bytes: &[u8]| encoder.transactions(bytes);
        let range = (COMPOSED_LOG_START_BYTES as u64).min(log.size_bytes)..log.size_bytes;
        sent_bytes += told_no_more(self.send(encoder, range, read, send))?;
        let (files, last_tx_id) = (files.len(), finished.last_tx.tx_id.0);
        tracing::info!(
            peer = self.peer(),
            database,
            files,
            bytes = sent_bytes,
            last_tx_id,
            "full copy by Neo4j 3.0's protocol"
        );
        Ok(())
    }

    fn incremental(&mut self, last_tx_id: TxId, encoder: &mut Encoder) -> Result<(), Fault> {
        let database = database(&self.shared.config)?;
        let Behind { store_id, size_bytes, read_at } =
            self.shared.config.catalog.behind(&database, last_tx_id)?;
        let store_id = Neostore::encode_store_id(&store_id).ok_or_else(not_3_0)?;
        encoder.store_id(&store_id);
        let send = |encoder: &mut Encoder, bytes: &[u8]| encoder.transactions(bytes);
        let sent_bytes = told_no_more(self.send(encoder, 0..size_bytes, read_at, send))?;
        tracing::info!(
            peer = self.peer(),
            database,
            after = last_tx_id.0,
            bytes = sent_bytes,
            "increment by Neo4j 3.0's protocol"
        );
        Ok(())
    }

    /// Who asks, as far as the protocol tells.
    fn peer(&self) -> String {
        self.stream.peer_addr().map_or_else(|_| "gone".to_owned(), |peer| peer.to_string())
    }

    /// Reads a range and sends it on, as far as there is something.
    fn send(
        &mut self,
        encoder: &mut Encoder,
        range: std::ops::Range<u64>,
        read: impl Fn(u64, &mut [u8]) -> Result<usize, ErrorDetail>,
        put: impl Fn(&mut Encoder, &[u8]),
    ) -> Result<u64, Fault> {
        let mut buffer = vec![0; READ_BYTES];
        let mut at = range.start;
        while at < range.end {
            let left = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(READ_BYTES);
            let buffer = buffer.get_mut(..left).unwrap_or_default();
            let read = read(at, buffer)?;
            if read == 0 {
                break;
            }
            put(encoder, buffer.get(..read).unwrap_or_default());
            at += read as u64;
            while let Some(frame) = encoder.take() {
                self.write(&frame)?;
            }
        }
        Ok(at - range.start)
    }

    fn write(&mut self, frame: &Bytes) -> std::io::Result<()> {
        self.shared.metrics.sent(frame.len());
        self.stream.write_all(frame)
    }
}

/// A failure among transactions cannot be told: the client could be inside one.
fn told_no_more<T>(sent: Result<T, Fault>) -> Result<T, Fault> {
    sent.map_err(|fault| match fault {
        Fault::Told(detail) => {
            tracing::error!(error = detail.message, "a copy for Neo4j 3.0's tool breaks off");
            Fault::Lost(std::io::Error::other(detail.message))
        }
        lost @ Fault::Lost(_) => lost,
    })
}

/// The one database of the server, which is one of Neo4j 3.0: a client names none.
fn database(config: &ServiceConfig) -> Result<String, ErrorDetail> {
    let shown: Vec<_> =
        config.catalog.databases()?.into_iter().filter(|found| config.shows(&found.name)).collect();
    let mut online = shown.iter().filter(|found| found.state == DatabaseState::Online);
    let found = match (online.next(), online.next(), shown.as_slice()) {
        (Some(one), None, _) | (None, _, [one]) => Some(one.name.clone()),
        _ => None,
    };
    let found = found.ok_or_else(|| {
        let what =
            format!("{} databases, of which Neo4j 3.0's protocol can name none", shown.len());
        detail(ErrorCode::NotFound, what, None)
    })?;
    if config.catalog.is_v3_0(&found)? { Ok(found) } else { Err(not_3_0()) }
}

fn not_3_0() -> ErrorDetail {
    let what = "the database is not one of Neo4j 3.0, whose protocol this is";
    detail(ErrorCode::SourceUnusable, what, None)
}

/// Whether the protocol may be spoken at all.
pub(crate) fn is_spoken(config: &ServiceConfig) -> bool {
    config.v3_0_insecure || config.tls.is_none() && config.listen.ip().is_loopback()
}
