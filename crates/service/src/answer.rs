//! Answers that are not a success, and JSON bodies.

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use std::time::Duration;
use wire::api::{ErrorBody, ErrorCode, ErrorDetail, MAX_REQUEST_BYTES};

/// An error as the API gives it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) detail: ErrorDetail,
    status: StatusCode,
}

pub(crate) type Answer<T> = Result<T, Refusal>;

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        detail(code, message, None).into()
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.detail.hint = Some(hint.into());
        self
    }

    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
}

pub(crate) fn detail(
    code: ErrorCode,
    message: impl Into<String>,
    hint: Option<&str>,
) -> ErrorDetail {
    ErrorDetail { code, message: message.into(), hint: hint.map(str::to_owned) }
}

impl From<ErrorDetail> for Refusal {
    fn from(detail: ErrorDetail) -> Self {
        let status = match detail.code {
            ErrorCode::BadRequest => StatusCode::BAD_REQUEST,
            ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
            ErrorCode::Forbidden => StatusCode::FORBIDDEN,
            ErrorCode::NotFound => StatusCode::NOT_FOUND,
            ErrorCode::Conflict => StatusCode::CONFLICT,
            ErrorCode::Busy => StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::SourceUnusable
            | ErrorCode::LogsPruned
            | ErrorCode::OtherStore
            | ErrorCode::StoreMigrated
            | ErrorCode::Diverged => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorCode::SourceUnreadable
            | ErrorCode::SourceCorrupt
            | ErrorCode::Internal
            | ErrorCode::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { detail, status }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = self.detail.code;
        let mut response = (self.status, Json(ErrorBody { error: self.detail })).into_response();
        // For the metrics.
        response.extensions_mut().insert(code);
        let headers = response.headers_mut();
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Reads a request's body of bounded size in bounded time.
pub(crate) async fn read_json<T: DeserializeOwned>(body: Body, timeout: Duration) -> Answer<T> {
    serde_json::from_slice(&read_body(body, timeout).await?)
        .map_err(|e| Refusal::new(ErrorCode::BadRequest, format!("parse the request's body: {e}")))
}

/// Reads a request's body, which may not be long and not be long in coming.
pub(crate) async fn read_body(body: Body, timeout: Duration) -> Answer<Bytes> {
    let bytes = tokio::time::timeout(timeout, to_bytes(body, MAX_REQUEST_BYTES)).await;
    let bytes = bytes.map_err(|_| {
        Refusal::new(ErrorCode::BadRequest, "the request's body did not arrive in time")
            .status(StatusCode::REQUEST_TIMEOUT)
    })?;
    bytes.map_err(|e| {
        let refusal = Refusal::new(ErrorCode::BadRequest, format!("read the request's body: {e}"));
        if e.to_string().contains("length limit") {
            refusal.status(StatusCode::PAYLOAD_TOO_LARGE)
        } else {
            refusal
        }
    })
}

/// Runs something that blocks; a panic of it is an `internal` error.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ErrorDetail> + Send + 'static,
) -> Answer<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Refusal::from),
        Err(_) => Err(Refusal::new(ErrorCode::Internal, "a task of the service failed")),
    }
}
