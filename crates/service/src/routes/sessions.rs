//! What can be asked of a session.

use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, body::Body};
use serde::Deserialize;
use wire::api::{
    Checked, ErrorCode, FRAMES_MEDIA_TYPE, Finished, MAX_FILES, MAX_WAIT_SECONDS, OpenSession,
    Session, SessionStatus,
};
use wire::pages;

use super::Shared;
use super::databases::require_shown;
use crate::answer::{Answer, Refusal, blocking, read_body, read_json};
use crate::auth::Identity;
use crate::session::{File, InUse};
use crate::stream::{Job, start};

/// How long a wait may take to notice that the service is stopping, or that its session has ended.
const LOOK_AROUND: Duration = Duration::from_millis(250);

type SessionPath = Result<Path<String>, PathRejection>;
type FilePath = Result<Path<(String, u32)>, PathRejection>;

/// Part of a file; the whole file if neither is given.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RangeQuery {
    #[serde(default)]
    offset: u64,
    length: Option<u64>,
}

/// How long to wait for transactions, in seconds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitQuery {
    #[serde(default)]
    wait: u64,
}

fn bad_path(rejection: &PathRejection) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, rejection.body_text())
}

fn bad_range(message: String) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, message)
        .hint("ranges begin and end at multiples of block_bytes, or end with the file")
}

pub(super) async fn open(
    State(shared): State<Arc<Shared>>,
    Extension(identity): Extension<Identity>,
    body: Body,
) -> Answer<(StatusCode, Json<Session>)> {
    let permit = shared.registry.reserve()?;
    let request: OpenSession = read_json(body, shared.config.limits.arrival_timeout).await?;
    let database = request.database;
    require_shown(&shared, &database)?;
    let catalog = Arc::clone(&shared.config.catalog);
    let name = database.clone();
    let begun = blocking(move || catalog.begin(&name, request.after.as_ref())).await?;
    if begun.files.len() > MAX_FILES {
        let message = format!("database {database:?} has more than {MAX_FILES} files");
        return Err(Refusal::new(ErrorCode::SourceUnusable, message));
    }
    let files = begun.files.len();
    let answer = shared.registry.insert(permit, identity.name.clone(), database, begun)?;
    let (id, database) = (answer.session_id.get(..8), &answer.database);
    match answer.checkpoint {
        Some(_) => tracing::info!(id, database, client = identity.name, files, "session opened"),
        // Whoever follows opens one for each transaction.
        None => tracing::debug!(id, database, client = identity.name, "session opened"),
    }
    Ok((StatusCode::CREATED, Json(answer)))
}

pub(super) async fn status(
    State(shared): State<Arc<Shared>>,
    Extension(identity): Extension<Identity>,
    path: SessionPath,
) -> Answer<Json<SessionStatus>> {
    let Path(id) = path.map_err(|e| bad_path(&e))?;
    let session = shared.registry.get(&id, &identity.name)?;
    let lease_seconds = shared.config.limits.lease.as_secs().max(1);
    let finished = session.0.is_finishing();
    Ok(Json(SessionStatus { session_id: id, lease_seconds, finished }))
}

pub(super) async fn close(
    State(shared): State<Arc<Shared>>,
    Extension(identity): Extension<Identity>,
    path: SessionPath,
) -> Answer<StatusCode> {
    let Path(id) = path.map_err(|e| bad_path(&e))?;
    shared.registry.remove(&id, &identity.name)?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn finish(
    State(shared): State<Arc<Shared>>,
    Extension(identity): Extension<Identity>,
    path: SessionPath,
    query: Result<Query<WaitQuery>, QueryRejection>,
) -> Answer<Json<Finished>> {
    let Path(id) = path.map_err(|e| bad_path(&e))?;
    let query = query.map_err(|e| Refusal::new(ErrorCode::BadRequest, e.body_text()))?;
    let wait = Duration::from_secs(query.wait.min(MAX_WAIT_SECONDS));
    let session = shared.registry.get(&id, &identity.name)?;
    if !wait.is_zero() {
        let _ = tokio::time::timeout(wait, wait_for_news(&shared, &session)).await;
    }
    let (short, database, client) = (id.get(..8), &session.0.database, &identity.name);
    // Before the end of the logs is looked for: what was committed by now is in the copy.
    if wait.is_zero() {
        tracing::info!(id = short, database, client, "finish asked");
    } else {
        tracing::debug!(id = short, database, client, "finish asked");
    }
    Ok(Json(blocking(move || session.0.finish()).await?))
}

/// Without a thread of its own: many may wait.
async fn wait_for_news(shared: &Shared, session: &InUse) {
    let changed = session.0.changed();
    while !shared.registry.is_stopping() {
        let mut notified = pin!(changed.notified());
        // From here on nothing is missed.
        notified.as_mut().enable();
        let asked = session.clone();
        // An error is for `finish` to tell.
        if blocking(move || asked.0.has_news()).await.unwrap_or(true) {
            return;
        }
        let _ = tokio::time::timeout(LOOK_AROUND, notified).await;
    }
}

pub(super) async fn check(
    State(shared): State<Arc<Shared>>,
    Extension(identity): Extension<Identity>,
    path: FilePath,
) -> Answer<Json<Checked>> {
    let Path((id, file)) = path.map_err(|e| bad_path(&e))?;
    let session = shared.registry.get(&id, &identity.name)?;
    Ok(Json(blocking(move || session.0.check_whole(file)).await?))
}

pub(super) async fn file(
    State(shared): State<Arc<Shared>>,
    Extension(identity): Extension<Identity>,
    path: FilePath,
    query: Result<Query<RangeQuery>, QueryRejection>,
) -> Answer<Response> {
    Part::find(&shared, &identity, path, query)?.stream(&shared, None)
}

/// The same without the pages that the client has, whose checksums are in the body.
pub(super) async fn changes(
    State(shared): State<Arc<Shared>>,
    Extension(identity): Extension<Identity>,
    path: FilePath,
    query: Result<Query<RangeQuery>, QueryRejection>,
    body: Body,
) -> Answer<Response> {
    let part = Part::find(&shared, &identity, path, query)?;
    let list = read_body(body, shared.config.limits.arrival_timeout).await?;
    let known = pages::read_list(&list).ok_or_else(|| {
        Refusal::new(ErrorCode::BadRequest, "the body is not a list of 32-bit checksums")
    })?;
    part.stream(&shared, Some(known))
}

/// The part of a file that is asked for.
struct Part {
    session: InUse,
    id: u32,
    file: File,
    bytes: Range<u64>,
}

impl Part {
    fn find(
        shared: &Shared,
        identity: &Identity,
        path: FilePath,
        query: Result<Query<RangeQuery>, QueryRejection>,
    ) -> Answer<Self> {
        let Path((session_id, id)) = path.map_err(|e| bad_path(&e))?;
        let Query(query) = query.map_err(|e| bad_range(e.body_text()))?;
        let session = shared.registry.get(&session_id, &identity.name)?;
        let file = session.0.file(id)?;
        if session.0.is_finishing() && !file.kind.in_transactions() {
            return Err(Refusal::new(ErrorCode::Conflict, "the session is finished")
                .hint("store files can be read before finish only"));
        }
        let (start_bytes, block_bytes) = (query.offset, session.0.block_bytes);
        if start_bytes % block_bytes != 0 || start_bytes > file.size_bytes {
            return Err(bad_range(format!(
                "file {id} of {} bytes has no block at offset {start_bytes}",
                file.size_bytes
            )));
        }
        let rest = file.size_bytes - start_bytes;
        let length = query.length.unwrap_or(rest);
        if length < rest && (length == 0 || length % block_bytes != 0) {
            return Err(bad_range(format!("{length} bytes are not a whole number of blocks")));
        }
        let bytes = start_bytes..start_bytes + length.min(rest);
        Ok(Self { session, id, file, bytes })
    }

    fn stream(self, shared: &Shared, known: Option<Vec<u32>>) -> Answer<Response> {
        let permit = Arc::clone(&shared.streams).try_acquire_owned().map_err(|_| {
            shared.metrics.stream_refused();
            Refusal::new(ErrorCode::Busy, "too many streams are running")
        })?;
        let body = start(Job {
            session: self.session,
            permit,
            id: self.id,
            file: self.file,
            range: self.bytes,
            known,
            pool: Arc::clone(&shared.pool),
            metrics: Arc::clone(&shared.metrics),
            stall_timeout: shared.config.limits.stall_timeout,
        });
        Ok(([(header::CONTENT_TYPE, FRAMES_MEDIA_TYPE)], body).into_response())
    }
}
