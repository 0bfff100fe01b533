//! Certificates, looked at for a person: whom they are for and until when they hold. Whether one is
//! trusted is decided by rustls alone.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::{Error, Result};
use crate::http;
use crate::options::{ClientOptions, TlsOptions};
use crate::plan::tidy;

/// More certificates than any chain or list of authorities has.
const CERTIFICATES_MAX: usize = 1000;

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is.
    pub subject: String,
    /// From when on it holds, in seconds since 1970.
    pub not_before_unix_seconds: i64,
    /// Until when it holds, in seconds since 1970.
    pub not_after_unix_seconds: i64,
}

/// What a service has shown as its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The chain, its own certificate first. One that cannot be understood is left out.
    pub chain: Vec<Certificate>,
    /// Why it is not trusted, if it is not.
    pub distrust: Option<String>,
}

impl Certificate {
    /// Reads the certificates of a PEM file.
    ///
    /// # Errors
    /// When the file cannot be read, or when what it holds is no certificate.
    pub fn read(path: &Path) -> Result<Vec<Self>> {
        let refuse = |what: &str| Error::Options(format!("{}: {what}", path.display()));
        let found = http::certificates(path)?;
        if found.len() > CERTIFICATES_MAX {
            return Err(refuse("too many certificates"));
        }
        let parse = |der: &CertificateDer<'_>| Self::parse(der);
        let parsed: Option<Vec<_>> = found.iter().map(parse).collect();
        parsed.ok_or_else(|| refuse("a certificate that cannot be understood"))
    }

    fn parse(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let mut subject = certificate.subject().to_string();
        tidy(&mut subject);
        let validity = certificate.validity();
        Some(Self {
            subject,
            not_before_unix_seconds: validity.not_before.timestamp(),
            not_after_unix_seconds: validity.not_after.timestamp(),
        })
    }
}

/// Shakes hands with a service and tells what it has shown, trusted or not.
///
/// # Errors
/// When there is no connection, or when the peer speaks no TLS.
pub(crate) async fn shown(options: &ClientOptions, tls: &TlsOptions) -> Result<Shown> {
    let (address, timeout) = (options.address(), options.contact_timeout);
    let mut config = http::tls_config(Some(tls))?;
    let verifier = Arc::new(Witness::new(tls)?);
    config.dangerous().set_certificate_verifier(Arc::clone(&verifier) as Arc<_>);
    let name = ServerName::try_from(options.host.clone())
        .map_err(|e| Error::Options(format!("host {:?}: {e}", options.host)))?;
    let handshake = async {
        let connect = |error: std::io::Error| Error::Connect {
            address: address.clone(),
            cause: error.to_string(),
        };
        let place = (options.host.as_str(), options.port);
        let stream = TcpStream::connect(place).await.map_err(connect)?;
        let hands = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        match (verifier.take(), hands) {
            (Some(shown), _) => Ok(shown),
            (None, Err(error)) => {
                Err(Error::Tls { address: address.clone(), cause: error.to_string() })
            }
            (None, Ok(_)) => {
                let cause = "it has shown no certificate".to_owned();
                Err(Error::Tls { address: address.clone(), cause })
            }
        }
    };
    match tokio::time::timeout(timeout, handshake).await {
        Ok(shown) => shown,
        Err(_) => {
            let cause = format!("no answer within {} s", timeout.as_secs_f32());
            Err(Error::Tls { address, cause })
        }
    }
}

/// Judges as rustls does, and notes what it has seen.
#[derive(Debug)]
struct Witness {
    judge: Arc<WebPkiServerVerifier>,
    seen: Mutex<Option<Shown>>,
}

impl Witness {
    fn new(tls: &TlsOptions) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(http::roots(&tls.ca)?);
        let judge = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
        let judge = judge.map_err(|e| Error::Options(format!("{}: {e}", tls.ca.display())))?;
        Ok(Self { judge, seen: Mutex::default() })
    }

    fn take(&self) -> Option<Shown> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let judged = self.judge.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        let all = std::iter::once(end_entity).chain(intermediates).take(CERTIFICATES_MAX);
        let distrust = judged.as_ref().err().map(|error| {
            let mut text = error.to_string();
            tidy(&mut text);
            text
        });
        let chain = all.filter_map(|der| Certificate::parse(der)).collect();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Shown { chain, distrust });
        judged
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}
