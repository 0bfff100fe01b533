//! What can go wrong in a conversation with a service.

use wire::api::{ErrorCode, ErrorDetail};

use crate::sink::SinkError;

/// Result with a client [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong in a conversation with a service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The options make no sense, or a file that they name cannot be used.
    #[error("{0}")]
    Options(String),
    /// No connection to the service.
    #[error("connect to {address}: {cause}")]
    Connect {
        /// Host and port.
        address: String,
        /// The innermost cause.
        cause: String,
    },
    /// The two ends do not agree on TLS, or one does not trust the other.
    #[error("TLS with {address}: {cause}")]
    Tls {
        /// Host and port.
        address: String,
        /// The innermost cause.
        cause: String,
    },
    /// The service does not accept the token, or wants one.
    #[error("{address} refused: {}", detail.message)]
    Unauthorized {
        /// Host and port.
        address: String,
        /// What the service said.
        detail: ErrorDetail,
    },
    /// Something else answers there.
    #[error("{address} does not speak neo4j-backup's protocol: {what}")]
    NotOurService {
        /// Host and port.
        address: String,
        /// What it did.
        what: String,
    },
    /// The service says that it cannot do it.
    #[error("{}", .0.message)]
    Remote(ErrorDetail),
    /// The service does not keep to the protocol.
    #[error("the service breaks the protocol: {0}")]
    Protocol(String),
    /// Bytes arrive damaged, again and again.
    #[error("file {file}, offset {offset_bytes}: {what}")]
    CorruptData {
        /// Path of the file.
        file: String,
        /// Where the damaged block begins.
        offset_bytes: u64,
        /// What is wrong.
        what: String,
    },
    /// The connection broke and no new one could be had in time.
    #[error("the connection to {address} is lost: {cause}")]
    ConnectionLost {
        /// Host and port.
        address: String,
        /// The innermost cause.
        cause: String,
    },
    /// The service does not know the session any more.
    #[error("the service has given up the session: {0}")]
    SessionLost(String),
    /// What keeps the copy failed.
    #[error("{0}")]
    Sink(#[source] SinkError),
    /// The copy was stopped.
    #[error("stopped")]
    Cancelled,
}

impl Error {
    /// What the operator can do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Connect { .. } => {
                "start `neo4j-backup serve` beside the server, and check host, port and firewall"
            }
            Self::Tls { .. } => {
                "check --ca, --client-cert and --client-key, and that the service speaks TLS there"
            }
            Self::NotOurService { .. } => {
                "check the port: the service listens on 6362 unless told otherwise"
            }
            Self::CorruptData { .. } => {
                "the network or the memory of one of the hosts damages data"
            }
            Self::ConnectionLost { .. } => {
                "see whether the service still runs; what was backed up before is untouched"
            }
            Self::SessionLost(_) => {
                "the service was restarted, or the pause was too long: try again"
            }
            Self::Unauthorized { detail, .. } => {
                return Some(detail.hint.clone().unwrap_or("check --token-file".to_owned()));
            }
            Self::Remote(detail) => return detail.hint.clone(),
            Self::Protocol(_) => "both ends should have the same version",
            Self::Options(_) | Self::Sink(_) | Self::Cancelled => return None,
        };
        Some(text.to_owned())
    }

    /// The code of an error that the service sent.
    #[must_use]
    pub fn remote_code(&self) -> Option<ErrorCode> {
        match self {
            Self::Remote(detail) | Self::Unauthorized { detail, .. } => Some(detail.code),
            _ => None,
        }
    }
}
