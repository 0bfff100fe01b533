//! How to reach a service.

use std::path::PathBuf;
use std::time::Duration;

/// The most streams that a copy may use.
pub const MAX_PARALLEL: usize = 16;

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// What answers: asked in the protocol of Neo4j 3.0, unless TLS or a token is to be used.
    Auto,
    /// With a service of ours.
    Http,
    /// With the backup service of a Neo4j 3.0 server.
    V3_0,
}

/// How to reach a service, and how hard to pull.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Name or address of the host.
    pub host: String,
    /// The service's port.
    pub port: u16,
    /// What to speak.
    pub protocol: Protocol,
    /// TLS, if the service speaks it.
    pub tls: Option<TlsOptions>,
    /// The secret of a token, if the service wants one.
    pub token: Option<String>,
    /// How long a connection may take to be established.
    pub connect_timeout: Duration,
    /// How long the service may send nothing.
    pub idle_timeout: Duration,
    /// How long the first answer may take to begin: until then anything may be at the port.
    pub contact_timeout: Duration,
    /// How long a whole answer may take, but for the two that follow. Streams have no such limit.
    pub answer_timeout: Duration,
    /// How long the service may take to begin a copy, answer included.
    pub begin_timeout: Duration,
    /// How long the service may take to finish a copy, answer included. It reads logs then.
    pub finish_timeout: Duration,
    /// How long a Neo4j 3.0 server may send nothing: it writes all its changes to the disk before it
    /// answers.
    pub v3_0_timeout: Duration,
    /// A new directory for the log files of a Neo4j 3.0 server, if they are wanted with a full copy.
    pub forensics: Option<PathBuf>,
    /// How long to try again when the connection breaks and no block arrives.
    pub retry_for: Duration,
    /// Streams at once, 1 to [`MAX_PARALLEL`].
    pub parallel: usize,
    /// Bytes per second over all streams; at least 64 KiB.
    pub limit_rate_bytes_per_s: Option<u64>,
}

/// Files for TLS, all PEM.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// The authorities that may have signed the service's certificate.
    pub ca: PathBuf,
    /// The client's certificate chain and private key, if the service asks for them.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl ClientOptions {
    /// Plain HTTP to that host and port.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            protocol: Protocol::Http,
            tls: None,
            token: None,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            contact_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(30),
            begin_timeout: Duration::from_secs(120),
            finish_timeout: Duration::from_secs(1800),
            v3_0_timeout: Duration::from_mins(20),
            forensics: None,
            retry_for: Duration::from_secs(30),
            parallel: 4,
            limit_rate_bytes_per_s: None,
        }
    }

    /// The address as a person would write it.
    pub(crate) fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}
