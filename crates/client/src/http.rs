//! Requests and answers.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use wire::api::{
    API_HEADER, API_VERSION, ErrorBody, ErrorCode, FRAMES_MEDIA_TYPE, MAX_ANSWER_BYTES,
};

use crate::error::{Error, Result};
use crate::options::{ClientOptions, TlsOptions};
use crate::patience::Patience;
use crate::plan::tidy;

/// How often a request is sent again that never left.
const UNSENT_TRIES: u32 = 3;

/// Why a request failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A service that has answered before cannot be reached, broke off or is silent.
    Lost(Error),
    /// The service has no room for it now.
    Busy(Error),
    /// It will not do later either.
    Lasting(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Lost(error) | Failure::Busy(error) | Failure::Lasting(error) => error,
        }
    }
}

/// Speaks HTTP to one service.
#[derive(Debug)]
pub(crate) struct Http {
    client: reqwest::Client,
    base: String,
    address: String,
    token: Option<String>,
    idle_timeout: Duration,
    /// A service of ours has answered there: if it is not reached later, it went away.
    answered: AtomicBool,
}

impl Http {
    pub(crate) fn new(options: &ClientOptions) -> Result<Self> {
        let tls = tls_config(options.tls.as_ref())?;
        let client = reqwest::Client::builder()
            .use_preconfigured_tls(tls)
            .connect_timeout(options.connect_timeout)
            .pool_max_idle_per_host(options.parallel.saturating_add(2))
            // Shorter than the service keeps a connection that is idle.
            .pool_idle_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            .tcp_keepalive(Duration::from_secs(15))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .http1_only()
            .build()
            .map_err(|e| Error::Options(innermost(&e)))?;
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let address = options.address();
        let base = format!("{scheme}://{address}");
        let url = reqwest::Url::parse(&base)
            .map_err(|e| Error::Options(format!("host {:?}: {e}", options.host)))?;
        if url.path() != "/" || !url.username().is_empty() || url.query().is_some() {
            return Err(Error::Options(format!("host {:?} is not a host's name", options.host)));
        }
        let (token, idle_timeout) = (options.token.clone(), options.idle_timeout);
        Ok(Self { client, base, address, token, idle_timeout, answered: AtomicBool::new(false) })
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Asks again while the service cannot be reached, for at most `timeout` and `retry_for`.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        request: impl Fn() -> RequestBuilder,
        timeout: Duration,
        retry_for: Duration,
    ) -> Result<T, Failure> {
        let end = Instant::now() + timeout + retry_for;
        let mut patience = Patience::new(retry_for);
        loop {
            let left = end.saturating_duration_since(Instant::now()).min(timeout);
            match self.json(request(), left, left).await {
                Err(Failure::Lost(error)) => {
                    patience.pause(error).await.map_err(Failure::Lasting)?;
                }
                ended => return ended,
            }
        }
    }

    /// Sends a request and reads the JSON that answers it. The answer must have begun after
    /// `head_timeout`, and be there as a whole after `timeout`.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        head_timeout: Duration,
        timeout: Duration,
    ) -> Result<T, Failure> {
        let whole = async {
            let mut response = self.send(request, head_timeout).await?;
            self.body(&mut response, MAX_ANSWER_BYTES).await
        };
        let body = match tokio::time::timeout(timeout, whole).await {
            Ok(body) => body?,
            Err(_) => return Err(self.late(timeout)),
        };
        let answer = serde_json::from_slice(&body).map_err(|e| {
            Failure::Lasting(Error::Protocol(format!("an answer cannot be understood: {e}")))
        })?;
        self.answered.store(true, Ordering::Release);
        Ok(answer)
    }

    /// Sends a request that is answered by frames.
    pub(crate) async fn frames(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = self.send(request, self.idle_timeout).await?;
        let media_type = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
        if media_type != Some(FRAMES_MEDIA_TYPE) {
            let what = format!("frames expected, got media type {:?}", media_type.unwrap_or(""));
            return Err(Failure::Lasting(Error::Protocol(what)));
        }
        Ok(response)
    }

    /// The next bytes of an answer's body.
    pub(crate) async fn chunk(&self, response: &mut Response) -> Result<Option<Bytes>, Failure> {
        match tokio::time::timeout(self.idle_timeout, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(self.lost(&error)),
            Err(_) => {
                let cause = format!("no byte came for {} s", self.idle_timeout.as_secs_f32());
                Err(self.broken(cause))
            }
        }
    }

    /// Sends a request; the answer is a success. A refusal must be there as a whole in time.
    pub(crate) async fn send(
        &self,
        request: RequestBuilder,
        timeout: Duration,
    ) -> Result<Response, Failure> {
        match tokio::time::timeout(timeout, self.send_untimed(request)).await {
            Ok(sent) => sent,
            Err(_) => Err(self.late(timeout)),
        }
    }

    async fn send_untimed(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let mut response = dispatch(request).await.map_err(|error| self.lost(&error))?;
        let version = response.headers().get(API_HEADER).and_then(|value| value.to_str().ok());
        match version {
            Some(API_VERSION) => {}
            Some(version) => {
                let mut version = version.to_owned();
                tidy(&mut version);
                let what = format!("the service speaks version {version}, this is {API_VERSION}");
                return Err(Failure::Lasting(Error::Protocol(what)));
            }
            None => {
                let what = format!("it answers like another web server ({})", response.status());
                return Err(self.not_ours(what));
            }
        }
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(&mut response).await?)
    }

    /// What the service says in an answer that is not a success.
    async fn refusal(&self, response: &mut Response) -> Result<Failure, Failure> {
        let status = response.status();
        let retry = response.headers().contains_key(RETRY_AFTER);
        let body = self.body(response, wire::frame::MAX_ERROR_BYTES).await?;
        let Ok(ErrorBody { error: mut detail }) = serde_json::from_slice(&body) else {
            let what = format!("answer {status} without an error that can be understood");
            return Ok(Failure::Lasting(Error::Protocol(what)));
        };
        tidy(&mut detail.message);
        detail.hint.iter_mut().for_each(tidy);
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let address = self.address.clone();
            return Ok(Failure::Lasting(Error::Unauthorized { address, detail }));
        }
        if detail.code == ErrorCode::Busy && retry {
            return Ok(Failure::Busy(Error::Remote(detail)));
        }
        Ok(Failure::Lasting(Error::Remote(detail)))
    }

    async fn body(&self, response: &mut Response, max_bytes: usize) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(response).await? {
            if body.len().saturating_add(chunk.len()) > max_bytes {
                let what = format!("an answer is longer than {max_bytes} bytes");
                return Err(Failure::Lasting(Error::Protocol(what)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn late(&self, timeout: Duration) -> Failure {
        self.broken(format!("no whole answer within {} s", timeout.as_secs_f32()))
    }

    /// A connection that broke or stays silent. As long as the service has never answered, it is
    /// not known whether there is one.
    fn broken(&self, cause: String) -> Failure {
        if !self.answered.load(Ordering::Acquire) {
            return self.not_ours(cause);
        }
        Failure::Lost(Error::ConnectionLost { address: self.address.clone(), cause })
    }

    fn not_ours(&self, what: String) -> Failure {
        Failure::Lasting(Error::NotOurService { address: self.address.clone(), what })
    }

    fn lost(&self, error: &reqwest::Error) -> Failure {
        let answered = self.answered.load(Ordering::Acquire);
        let address = self.address.clone();
        let cause = innermost(error);
        let mut layer: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(current) = layer {
            if is_tls(current) && !answered {
                return Failure::Lasting(Error::Tls { address, cause });
            }
            let parse = current.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse);
            if parse {
                return self.not_ours(format!("its answer is not HTTP ({cause})"));
            }
            layer = current.source();
        }
        if error.is_builder() {
            return Failure::Lasting(Error::Options(cause));
        }
        if error.is_connect() && !answered {
            return Failure::Lasting(Error::Connect { address, cause });
        }
        self.broken(cause)
    }
}

/// Sends a request, again if the connection was closed before anything of it was sent: then the
/// reason, such as an alert of TLS, is lost now and then, and is had by trying again.
async fn dispatch(request: RequestBuilder) -> reqwest::Result<Response> {
    for _ in 0..UNSENT_TRIES {
        let Some(request) = request.try_clone() else { break };
        match request.send().await {
            Err(error) if is_unsent(&error) => tracing::debug!(%error, "closed at once"),
            ended => return ended,
        }
    }
    request.send().await
}

fn is_unsent(error: &(dyn std::error::Error + 'static)) -> bool {
    let canceled = error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled);
    canceled || error.source().is_some_and(is_unsent)
}

/// rustls' errors travel inside errors of I/O, which do not show them as their source.
fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || inner.is_some_and(|inner| is_tls(inner))
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error.to_string();
    let mut layer = error.source();
    while let Some(current) = layer {
        innermost = current.to_string();
        layer = current.source();
    }
    tidy(&mut innermost);
    innermost
}

pub(crate) fn tls_config(options: Option<&TlsOptions>) -> Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::Options(e.to_string()))?;
    let Some(options) = options else {
        let roots = rustls::RootCertStore::empty();
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    };
    let builder = builder.with_root_certificates(roots(&options.ca)?);
    match &options.client {
        None => Ok(builder.with_no_client_auth()),
        Some((cert, key)) => {
            let chain = certificates(cert)?;
            let key_der = PrivateKeyDer::from_pem_file(key).map_err(|e| unusable(key, &e))?;
            builder.with_client_auth_cert(chain, key_der).map_err(|e| unusable(cert, &e))
        }
    }
}

/// The authorities of a file.
pub(crate) fn roots(path: &Path) -> Result<rustls::RootCertStore> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|e| unusable(path, &e))?;
    }
    Ok(roots)
}

pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|e| unusable(path, &e))?;
    if certificates.is_empty() {
        return Err(Error::Options(format!("{}: no certificate in it", path.display())));
    }
    Ok(certificates)
}

fn unusable(path: &Path, error: &dyn std::error::Error) -> Error {
    Error::Options(format!("{}: {error}", path.display()))
}
