//! The routes of the API.

mod databases;
mod sessions;

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use tokio::sync::Semaphore;
use wire::api::{API_HEADER, API_VERSION, ErrorCode};

use crate::answer::Refusal;
use crate::auth;
use crate::config::ServiceConfig;
use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::session::Registry;
use crate::stream::FREE_BUFFERS;
use crate::watched::InFlight;

/// The API in OpenAPI 3.1.
pub const OPENAPI: &str = include_str!("../../../docs/openapi.json");

const HEALTH: &str = "/health";
const METRICS: &str = "/metrics";
const OPENAPI_JSON: &str = "/openapi.json";
const DATABASES: &str = "/v1/databases";
const LOGS: &str = "/v1/databases/{database}/logs";
const CHECK_DATABASE: &str = "/v1/databases/{database}/check";
const SESSIONS: &str = "/v1/sessions";
const SESSION: &str = "/v1/sessions/{id}";
const FINISH: &str = "/v1/sessions/{id}/finish";
const FILE: &str = "/v1/sessions/{id}/files/{file}";
const CHANGES: &str = "/v1/sessions/{id}/files/{file}/changes";
const CHECK: &str = "/v1/sessions/{id}/files/{file}/check";

/// Every route, for the test that compares it with the OpenAPI document.
#[cfg(test)]
const ROUTES: [(&str, &str); 13] = [
    ("get", HEALTH),
    ("get", METRICS),
    ("get", OPENAPI_JSON),
    ("get", DATABASES),
    ("get", LOGS),
    ("post", CHECK_DATABASE),
    ("post", SESSIONS),
    ("get", SESSION),
    ("delete", SESSION),
    ("post", FINISH),
    ("get", FILE),
    ("post", CHANGES),
    ("post", CHECK),
];

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) config: ServiceConfig,
    pub(crate) registry: Registry,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) pool: Arc<Pool>,
}

impl Shared {
    pub(crate) fn new(config: ServiceConfig) -> Arc<Self> {
        let limits = &config.limits;
        let metrics = Arc::new(Metrics::default());
        Arc::new(Self {
            registry: Registry::new(limits.max_sessions, limits.lease, Arc::clone(&metrics)),
            streams: Arc::new(Semaphore::new(limits.max_streams)),
            pool: Pool::new(FREE_BUFFERS),
            metrics,
            config,
        })
    }
}

/// The router, without what a connection adds.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    let with_backup_scope = Router::new()
        .route(DATABASES, get(databases::list))
        .route(LOGS, get(databases::logs))
        .route(CHECK_DATABASE, post(databases::check))
        .route(SESSIONS, post(sessions::open))
        .route(SESSION, get(sessions::status))
        .route(SESSION, delete(sessions::close))
        .route(FINISH, post(sessions::finish))
        .route(FILE, get(sessions::file))
        .route(CHANGES, post(sessions::changes))
        .route(CHECK, post(sessions::check))
        .route_layer(middleware::from_fn_with_state(Arc::clone(shared), auth::need_backup));
    let with_any_scope = Router::new()
        .route(METRICS, get(metrics))
        .route_layer(middleware::from_fn_with_state(Arc::clone(shared), auth::need_metrics));
    Router::new()
        .route(HEALTH, get(health))
        .route(OPENAPI_JSON, get(openapi))
        .merge(with_backup_scope)
        .merge(with_any_scope)
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(Arc::clone(shared), count))
        .with_state(Arc::clone(shared))
}

async fn count(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let in_flight = request.extensions().get::<InFlight>().map(InFlight::begin);
    let mut response = next.run(request).await;
    if let Some(in_flight) = in_flight {
        response = response.map(|body| in_flight.answer(body));
    }
    let name = HeaderName::from_static(API_HEADER);
    response.headers_mut().insert(name, HeaderValue::from_static(API_VERSION));
    let error = response.extensions().get::<ErrorCode>().copied();
    shared.metrics.answered(response.status().as_u16(), error);
    response
}

async fn no_such_path() -> Refusal {
    Refusal::new(ErrorCode::NotFound, "no such path").hint("the API is described at /openapi.json")
}

async fn no_such_method() -> Refusal {
    Refusal::new(ErrorCode::BadRequest, "the path does not take this method")
        .hint("the API is described at /openapi.json")
        .status(StatusCode::METHOD_NOT_ALLOWED)
}

async fn health() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "status": "ok" }))
}

async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], shared.metrics.render())
}

#[cfg(test)]
mod tests;
