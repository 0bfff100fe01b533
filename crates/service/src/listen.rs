//! Listens, accepts, and stops gracefully.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use wire::api::{API_HEADER, API_VERSION, ErrorBody, ErrorCode};

use crate::answer::Refusal;
use crate::auth::Peer;
use crate::config::ServiceConfig;
use crate::error::Error;
use crate::routes::{Shared, router};
use crate::v3_0;
use crate::watched::{InFlight, Watched};

/// How long connections may take to end once the last session is gone.
const CLOSING_TIME: Duration = Duration::from_secs(2);
/// Pause after an accept that failed, as when there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What hyper may hold of a connection's requests and answers.
const HTTP_BUFFER_BYTES: usize = 64 << 10;
const HTTP2_STREAMS: u32 = 32;
const HTTP2_HEADER_BYTES: u32 = 16 << 10;
/// The first byte of a TLS connection.
const TLS_HANDSHAKE: u8 = 0x16;

/// Serves until `shutdown` is ready: then no session begins any more, those that run get the grace
/// time, and all connections are closed. `on_listening` is told the address once it accepts.
///
/// # Errors
/// When the address, the certificates or the security of the configuration will not do.
pub async fn serve(
    config: ServiceConfig,
    on_listening: impl FnOnce(SocketAddr),
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    config.check_security()?;
    let tls = config.tls.as_ref().map(crate::tls::acceptor).transpose()?;
    let listen = config.listen;
    let bind = |source| Error::Bind { listen, source };
    let ports = listen.port()..=config.last_port.max(listen.port());
    let addresses: Vec<_> = ports.map(|port| SocketAddr::new(listen.ip(), port)).collect();
    let listener = TcpListener::bind(&*addresses).await.map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;
    if config.v3_0_insecure {
        tracing::warn!(
            %address,
            "Neo4j 3.0's protocol is spoken without encryption and users: whoever reaches this can \
             read all data"
        );
    }

    let shared = Shared::new(config);
    let acceptor = Acceptor::new(Arc::clone(&shared), tls);
    let mut tasks = JoinSet::new();
    let reaped = Arc::clone(&shared);
    tasks.spawn(async move { reaped.registry.reap().await });
    on_listening(address);

    let graceful = GracefulShutdown::new();
    let mut stopped = pin!(stop(&shared, shutdown));
    loop {
        tokio::select! {
            () = &mut stopped => break,
            (stream, permit) = acceptor.accept(&listener) => {
                let connection = Arc::clone(&acceptor).serve(stream, graceful.watcher());
                tasks.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
        }
        while tasks.try_join_next().is_some() {}
    }
    drop(listener);
    let _ = tokio::time::timeout(CLOSING_TIME, graceful.shutdown()).await;
    tasks.shutdown().await;
    Ok(())
}

/// Ready when all may be closed. New connections are taken until then, for the sessions that run.
async fn stop(shared: &Shared, shutdown: impl Future<Output = ()>) {
    shutdown.await;
    tracing::info!("stopping: no new sessions");
    shared.registry.stop();
    let _ = tokio::time::timeout(shared.config.limits.grace, shared.registry.drained()).await;
    shared.registry.clear();
}

struct Acceptor {
    shared: Arc<Shared>,
    router: Router,
    tls: Option<TlsAcceptor>,
    http: Builder<TokioExecutor>,
    free: Arc<Semaphore>,
    /// Of these, for Neo4j 3.0's tools, which may be silent for long.
    free_v3_0: Semaphore,
}

impl Acceptor {
    fn new(shared: Arc<Shared>, tls: Option<TlsAcceptor>) -> Arc<Self> {
        let limits = &shared.config.limits;
        let mut http = Builder::new(TokioExecutor::new());
        // `Watched` limits how long a header may take. hyper would count the time between two
        // requests as well.
        http.http1().header_read_timeout(None).max_buf_size(HTTP_BUFFER_BYTES);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(HTTP2_STREAMS)
            .max_header_list_size(HTTP2_HEADER_BYTES)
            .max_send_buf_size(HTTP_BUFFER_BYTES)
            .keep_alive_interval(Some(limits.stall_timeout))
            .keep_alive_timeout(limits.stall_timeout);
        let free = Arc::new(Semaphore::new(limits.max_connections));
        let free_v3_0 = Semaphore::new(limits.max_connections.div_ceil(2));
        Arc::new(Self { router: router(&shared), shared, tls, http, free, free_v3_0 })
    }

    /// The next connection, once there is room for it.
    async fn accept(&self, listener: &TcpListener) -> (TcpStream, Option<OwnedSemaphorePermit>) {
        let permit = Arc::clone(&self.free).acquire_owned().await.ok();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return (stream, permit),
                Err(error) => {
                    tracing::warn!(%error, "accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, watcher: Watcher) {
        let _gauge = self.shared.metrics.connection();
        let limits = &self.shared.config.limits;
        let _ = stream.set_nodelay(true);
        let in_flight = InFlight::new();
        if v3_0::is_spoken(&self.shared.config) {
            let mut first = [0];
            let looked = tokio::time::timeout(limits.idle_timeout, stream.peek(&mut first));
            if matches!(looked.await, Ok(Ok(1))) && first == [v3_0::FIRST_BYTE] {
                let Ok(_place) = self.free_v3_0.try_acquire() else {
                    tracing::warn!("too many connections of Neo4j 3.0's tools; one is closed");
                    return;
                };
                return v3_0::serve(Arc::clone(&self.shared), stream).await;
            }
        }
        let Some(tls) = &self.tls else {
            let stream =
                Watched::new(stream, in_flight.clone(), limits.idle_timeout, limits.stall_timeout);
            return self.http(stream, Peer::default(), in_flight, watcher).await;
        };
        let handshake = async {
            let mut first = [0];
            if stream.peek(&mut first).await? == 1 && first[0] != TLS_HANDSHAKE {
                return plain_refusal(stream).await.map(|()| None);
            }
            let stream =
                Watched::new(stream, in_flight.clone(), limits.idle_timeout, limits.stall_timeout);
            tls.accept(stream).await.map(Some)
        };
        match tokio::time::timeout(limits.arrival_timeout, handshake).await {
            Ok(Ok(Some(stream))) => {
                let chain = stream.get_ref().1.peer_certificates();
                let certificate = chain
                    .and_then(<[_]>::first)
                    .map(|certificate| blake3::hash(certificate).to_hex().to_string());
                self.http(stream, Peer { certificate }, in_flight, watcher).await;
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake"),
            Err(_) => tracing::debug!("TLS handshake: too slow"),
        }
    }

    async fn http<S>(&self, stream: S, peer: Peer, in_flight: InFlight, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let router = self.router.clone().layer(Extension(peer)).layer(Extension(in_flight));
        let service = TowerToHyperService::new(router);
        let connection = self.http.serve_connection(TokioIo::new(stream), service).into_owned();
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(error, "connection ended");
        }
    }
}

/// Tells a client that speaks HTTP without TLS what is wrong.
async fn plain_refusal(mut stream: TcpStream) -> std::io::Result<()> {
    let refusal = Refusal::new(ErrorCode::BadRequest, "this port speaks TLS only")
        .hint("give the client the certificate authority of the service");
    let body = serde_json::to_string(&ErrorBody { error: refusal.detail })?;
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\n{API_HEADER}: {API_VERSION}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // What the client has sent must be read, else it would see a reset instead of the answer.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
