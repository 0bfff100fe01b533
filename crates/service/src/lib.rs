//! Serves hot copies of databases over HTTP: sessions with a lease, framed streams, TLS, tokens,
//! limits, metrics. Knows nothing of what the client does with them.

mod answer;
mod auth;
mod catalog;
mod config;
mod error;
mod from_source;
mod listen;
mod log_settings;
mod metrics;
mod pool;
mod routes;
mod session;
mod stream;
mod tls;
mod token;
mod v3_0;
mod watched;

pub use catalog::{Begun, Behind, Catalog, HotCopy};
pub use config::{Limits, ServiceConfig, TlsConfig};
pub use error::Error;
pub use from_source::full;
pub use listen::serve;
pub use log_settings::LogSettings;
pub use routes::OPENAPI;
pub use token::{Scope, Token, TokenFile};
