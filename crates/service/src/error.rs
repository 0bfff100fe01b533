//! Why a service cannot start.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a service cannot start, or had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be listened on.
    #[error("listen on {listen}")]
    Bind {
        /// The address.
        listen: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// The address is reachable from elsewhere and something that protects it is missing.
    #[error("refusing to listen on {listen}, which is not loopback, without {missing}")]
    Insecure {
        /// The address.
        listen: SocketAddr,
        /// What is missing.
        missing: &'static str,
    },
    /// A file for TLS cannot be used.
    #[error("{}: {message}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The token file cannot be used.
    #[error("{}: {message}", path.display())]
    Tokens {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, with the line.
        message: String,
    },
    /// The system gives no random numbers.
    #[error("get random numbers: {0}")]
    Random(String),
}

impl Error {
    /// What the operator can do.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Bind { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
                Some("another service listens there: choose another port with --listen HOST:PORT")
            }
            Self::Insecure { .. } => Some(
                "give --tls-cert, --tls-key and --token-file or --client-ca, \
                 or --insecure if the network is trusted",
            ),
            Self::Tls { .. } => Some("certificates and keys are PEM files"),
            Self::Tokens { .. } => Some("each line is: name, scope (backup or metrics), hash"),
            Self::Bind { .. } | Self::Random(_) => None,
        }
    }
}
