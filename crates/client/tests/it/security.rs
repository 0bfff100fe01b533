//! TLS, client certificates, tokens, and what is refused without them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use client::{Client, Error, TlsOptions};
use service::{Scope, ServiceConfig, TlsConfig, Token, TokenFile};
use wire::api::ErrorCode;

use crate::kit::{Memory, client, options, serve};
use crate::synthetic::{Knobs, Synthetic};

/// Certificates in a directory of their own.
struct Certificates {
    made: testkit::certificates::Certificates,
    _dir: tempfile::TempDir,
}

impl Certificates {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = testkit::certificates::Certificates::make(dir.path()).unwrap();
        Self { made, _dir: dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.made.path(name)
    }

    fn service(&self, client_ca: bool) -> TlsConfig {
        TlsConfig {
            cert: self.path("server.pem"),
            key: self.path("server.key"),
            client_ca: client_ca.then(|| self.path("ca.pem")),
        }
    }

    fn client(&self, certificate: bool) -> TlsOptions {
        let client = certificate.then(|| (self.path("client.pem"), self.path("client.key")));
        TlsOptions { ca: self.path("ca.pem"), client }
    }
}

fn tls_client(address: SocketAddr, tls: TlsOptions) -> Client {
    let mut options = options(address);
    options.tls = Some(tls);
    Client::new(options).unwrap()
}

fn token_client(address: SocketAddr, token: &str) -> Client {
    let mut options = options(address);
    options.token = Some(token.to_owned());
    Client::new(options).unwrap()
}

#[tokio::test]
async fn a_copy_over_tls() {
    let (certificates, knobs) = (Certificates::new(), Arc::new(Synthetic::small()));
    let tls = certificates.service(false);
    let service = serve(&knobs, |config| config.tls = Some(tls)).await;
    let sink = Arc::new(Memory::default());
    let ours = tls_client(service.address, certificates.client(false));
    ours.full("neo4j", sink.clone(), Arc::new(())).await.unwrap();
    assert_eq!(sink.verified().len(), 10);

    let stranger = Certificates::new();
    let error = tls_client(service.address, stranger.client(false)).databases().await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
    let error = client(service.address).databases().await.unwrap_err();
    assert!(error.to_string().contains("speaks TLS only"), "{error:?}");
}

#[tokio::test]
async fn client_certificates() {
    let (certificates, knobs) = (Certificates::new(), Arc::new(Synthetic::small()));
    let tls = certificates.service(true);
    let service = serve(&knobs, |config| config.tls = Some(tls)).await;
    let with = tls_client(service.address, certificates.client(true));
    assert_eq!(with.databases().await.unwrap().databases.len(), 2);
    let mut copy = with.open("neo4j").await.unwrap();
    copy.run(Arc::new(Memory::default()), Arc::new(())).await.unwrap();

    let without = tls_client(service.address, certificates.client(false));
    let error = without.databases().await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
    let stranger = Certificates::new();
    let mut tls = certificates.client(true);
    tls.client = stranger.client(true).client;
    let error = tls_client(service.address, tls).databases().await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn tls_towards_a_service_without() {
    let (certificates, knobs) = (Certificates::new(), Arc::new(Synthetic::small()));
    let service = serve(&knobs, |_| {}).await;
    let error = tls_client(service.address, certificates.client(false)).databases().await;
    assert!(matches!(error, Err(Error::Tls { .. })), "{error:?}");
}

#[tokio::test]
async fn tokens_and_scopes() {
    let knobs = Arc::new(Synthetic::small());
    let [backup, other, metrics] = [(); 3].map(|()| Token::generate().unwrap());
    let lines = [
        backup.line("nightly", Scope::Backup),
        other.line("other", Scope::Backup),
        metrics.line("prometheus", Scope::Metrics),
    ];
    let tokens = TokenFile::parse(&lines.join("\n")).unwrap();
    let service = serve(&knobs, |config| config.tokens = Some(tokens)).await;

    let nightly = token_client(service.address, backup.secret());
    let copy = nightly.open("neo4j").await.unwrap();
    for wrong in ["", "x", metrics.secret()] {
        let error = token_client(service.address, wrong).databases().await.unwrap_err();
        assert!(matches!(error, Error::Unauthorized { .. }), "{error:?}");
    }
    let error = client(service.address).databases().await.unwrap_err();
    assert_eq!(error.remote_code(), Some(ErrorCode::Unauthorized));

    // A session belongs to the token that opened it.
    let status = |path: &str, token: &str| {
        let url = format!("http://{}{path}", service.address);
        let request = plain().get(url).bearer_auth(token);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    let path = format!("/v1/sessions/{}", copy.session().session_id);
    assert_eq!(status(&path, backup.secret()).await, 200);
    assert_eq!(status(&path, other.secret()).await, 404);
    assert_eq!(status("/metrics", metrics.secret()).await, 200);
    assert_eq!(status("/metrics", backup.secret()).await, 200);
    assert_eq!(status("/metrics", "x").await, 401);
    assert_eq!(status("/health", "x").await, 200);
    copy.close().await;
}

/// An HTTP client without TLS that still needs a crypto provider to be built.
fn plain() -> reqwest::Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().use_preconfigured_tls(tls).no_proxy().build().unwrap()
}

/// Beyond loopback only with TLS and authentication, or when told so.
#[tokio::test]
async fn insecure_addresses() {
    let certificates = Certificates::new();
    let token = Token::generate().unwrap().line("a", Scope::Backup);
    let tokens = TokenFile::parse(&token).unwrap();
    let start = async |change: &dyn Fn(&mut ServiceConfig)| {
        let mut config = ServiceConfig::new(Arc::new(Synthetic(Arc::new(Knobs::default()))));
        config.listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        change(&mut config);
        service::serve(config, |_| {}, async {}).await
    };
    let refused = |result| matches!(result, Err(service::Error::Insecure { .. }));
    assert!(refused(start(&|_| {}).await));
    assert!(refused(start(&|config| config.tokens = Some(tokens.clone())).await));
    assert!(refused(start(&|config| config.tls = Some(certificates.service(false))).await));
    start(&|config| config.insecure = true).await.unwrap();
    start(&|config| config.tls = Some(certificates.service(true))).await.unwrap();
    start(&|config| {
        config.tls = Some(certificates.service(false));
        config.tokens = Some(tokens.clone());
    })
    .await
    .unwrap();
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let certificates = Certificates::new();
    let try_with = |ca: &Path| {
        let mut options = options(SocketAddr::from(([127, 0, 0, 1], 1)));
        options.tls = Some(TlsOptions { ca: ca.to_owned(), client: None });
        Client::new(options).unwrap_err().to_string()
    };
    for name in ["missing.pem", "server.key"] {
        assert!(try_with(&certificates.path(name)).contains(name));
    }
}
