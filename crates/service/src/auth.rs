//! Who asks, and whether they may.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use wire::api::ErrorCode;

use crate::answer::{Answer, Refusal};
use crate::routes::Shared;
use crate::token::Scope;

/// Who asks. A session belongs to the one who opened it.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) name: String,
}

/// What is known of a connection's other end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    /// BLAKE3 of the client's certificate, which the handshake has verified.
    pub(crate) certificate: Option<String>,
}

pub(crate) async fn need_backup(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    pass(&shared, request, next, Scope::Backup).await
}

pub(crate) async fn need_metrics(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    pass(&shared, request, next, Scope::Metrics).await
}

async fn pass(shared: &Shared, mut request: Request, next: Next, need: Scope) -> Response {
    match identify(shared, &request, need) {
        Ok(identity) => {
            request.extensions_mut().insert(identity);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// With tokens each request needs one, whatever certificate the connection has shown: a client
/// authority that is configured has been asked at the handshake already.
fn identify(shared: &Shared, request: &Request, need: Scope) -> Answer<Identity> {
    let Some(tokens) = &shared.config.tokens else {
        let peer = request.extensions().get::<Peer>();
        let certificate = peer.and_then(|peer| peer.certificate.as_deref());
        return Ok(Identity {
            name: certificate.map_or("anonymous".to_owned(), |hash| format!("certificate {hash}")),
        });
    };
    let Some(secret) = bearer(request.headers()) else {
        return Err(Refusal::new(ErrorCode::Unauthorized, "a token is needed")
            .hint("give the client a token file; the service's operator makes tokens"));
    };
    match tokens.find(secret) {
        None => Err(Refusal::new(ErrorCode::Unauthorized, "the token is not known")),
        Some((name, Scope::Metrics)) if need == Scope::Backup => {
            let message = format!("the token {name:?} is for metrics only");
            Err(Refusal::new(ErrorCode::Forbidden, message))
        }
        Some((name, _)) => Ok(Identity { name: format!("token {name}") }),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}
