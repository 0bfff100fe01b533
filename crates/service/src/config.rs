//! What a service is started with.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use globset::GlobSet;

use crate::catalog::Catalog;
use crate::error::Error;
use crate::log_settings::LogSettings;
use crate::token::TokenFile;

/// How to serve which databases.
pub struct ServiceConfig {
    /// What to serve.
    pub catalog: Arc<dyn Catalog>,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Up to which port others are tried where `listen`'s is taken; none if it is not greater.
    pub last_port: u16,
    /// Names of the databases that are shown; all, if none is given.
    pub database_globs: Option<GlobSet>,
    /// TLS, if wanted.
    pub tls: Option<TlsConfig>,
    /// Who may do what, if tokens are wanted.
    pub tokens: Option<TokenFile>,
    /// Listen beyond loopback without TLS or without authentication all the same.
    pub insecure: bool,
    /// Speak Neo4j 3.0's protocol, which has neither encryption nor users, with whoever reaches the
    /// service; else only where it is on loopback and has neither TLS nor tokens.
    pub v3_0_insecure: bool,
    /// What the server's configuration says of its logs, where it was read.
    pub log_settings: Option<LogSettings>,
    /// Bounds on what clients may use up.
    pub limits: Limits,
}

/// Files for TLS, all PEM.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// The server's certificate chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// If given, each client must show a certificate that one of these authorities signed.
    pub client_ca: Option<PathBuf>,
}

/// Bounds on what clients may use up.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A session ends when no request has touched it for this long.
    pub lease: Duration,
    /// How long running sessions may go on after the service was told to stop.
    pub grace: Duration,
    /// Open connections; more wait in the system's queue.
    pub max_connections: usize,
    /// Sessions at once; more are told to try later.
    pub max_sessions: usize,
    /// Streams of file bytes at once. Up to 32 share 32 MiB; each further one needs 256 KiB more.
    pub max_streams: usize,
    /// For a TLS handshake, for a request's body, and for a request in Neo4j 3.0's protocol.
    pub arrival_timeout: Duration,
    /// A connection that asks nothing for this long is closed. A request's header must be there as
    /// a whole by then.
    pub idle_timeout: Duration,
    /// A peer that takes no byte of an answer for this long is dropped.
    pub stall_timeout: Duration,
}

impl TlsConfig {
    /// Fails if TLS cannot be spoken with these files.
    ///
    /// # Errors
    /// [`Error::Tls`] names the file.
    pub fn check(&self) -> Result<(), Error> {
        crate::tls::acceptor(self).map(drop)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(60),
            grace: Duration::from_secs(30),
            max_connections: 128,
            max_sessions: 32,
            max_streams: 16,
            arrival_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(30),
        }
    }
}

impl ServiceConfig {
    /// All databases of a catalog, on the loopback interface only.
    #[must_use]
    pub fn new(catalog: Arc<dyn Catalog>) -> Self {
        Self {
            catalog,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, wire::api::DEFAULT_PORT)),
            last_port: 0,
            database_globs: None,
            tls: None,
            tokens: None,
            insecure: false,
            v3_0_insecure: false,
            log_settings: None,
            limits: Limits::default(),
        }
    }

    /// Refuses to show a server's data to a network without TLS and authentication.
    ///
    /// # Errors
    /// [`Error::Insecure`].
    pub fn check_security(&self) -> Result<(), Error> {
        if self.listen.ip().is_loopback() {
            return Ok(());
        }
        let client_ca = self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        let missing = match (self.tls.is_some(), self.tokens.is_some() || client_ca) {
            (true, true) => return Ok(()),
            (true, false) => "authentication",
            (false, true) => "TLS",
            (false, false) => "TLS and authentication",
        };
        if !self.insecure {
            return Err(Error::Insecure { listen: self.listen, missing });
        }
        let listen = self.listen;
        tracing::warn!(%listen, missing, "serving beyond loopback without protection");
        Ok(())
    }

    /// Whether a database of that name is shown.
    pub(crate) fn shows(&self, database: &str) -> bool {
        self.database_globs.as_ref().is_none_or(|globs| globs.is_match(database))
    }
}
