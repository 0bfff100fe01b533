//! What can be asked of the databases without a session.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::{Extension, Json, body::Body};
use source::now;
use wire::api::{CheckDatabase, CheckedDatabase, DatabaseList, ErrorCode, Logs};

use super::Shared;
use crate::answer::{Answer, Refusal, blocking, read_json};
use crate::auth::Identity;

type DatabasePath = Result<Path<String>, PathRejection>;

pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Extension(_): Extension<Identity>,
) -> Answer<Json<DatabaseList>> {
    let catalog = Arc::clone(&shared.config.catalog);
    let mut databases = blocking(move || catalog.databases()).await?;
    databases.retain(|database| shared.config.shows(&database.name));
    let service_version = env!("CARGO_PKG_VERSION").to_owned();
    Ok(Json(DatabaseList { service_version, time: Some(now()), databases }))
}

pub(super) async fn logs(
    State(shared): State<Arc<Shared>>,
    Extension(_): Extension<Identity>,
    path: DatabasePath,
) -> Answer<Json<Logs>> {
    let database = shown(&shared, path)?;
    let catalog = Arc::clone(&shared.config.catalog);
    let mut logs = blocking(move || catalog.logs(&database)).await?;
    if let Some(settings) = &shared.config.log_settings {
        settings.fill(&mut logs);
    }
    logs.time = now();
    Ok(Json(logs))
}

/// Begins a copy and drops it: what would keep it from beginning keeps this as well. Takes the room
/// of a session meanwhile, since it holds as many descriptors.
pub(super) async fn check(
    State(shared): State<Arc<Shared>>,
    Extension(identity): Extension<Identity>,
    path: DatabasePath,
    body: Body,
) -> Answer<Json<CheckedDatabase>> {
    let _permit = shared.registry.reserve()?;
    let request: CheckDatabase = read_json(body, shared.config.limits.arrival_timeout).await?;
    let database = shown(&shared, path)?;
    let catalog = Arc::clone(&shared.config.catalog);
    tracing::info!(database, client = identity.name, "check");
    let checked = blocking(move || {
        let begun = catalog.begin(&database, request.after.as_ref())?;
        let sizes = begun.files.iter().map(|file| file.size_bytes);
        Ok(CheckedDatabase {
            state: begun.state,
            files_count: u64::try_from(begun.files.len()).unwrap_or(u64::MAX),
            size_bytes: sizes.fold(0, u64::saturating_add),
        })
    });
    Ok(Json(checked.await?))
}

/// The name in the path, if the service shows such a database.
fn shown(shared: &Shared, path: DatabasePath) -> Answer<String> {
    let bad_path = |e: PathRejection| Refusal::new(ErrorCode::BadRequest, e.body_text());
    let Path(database) = path.map_err(bad_path)?;
    require_shown(shared, &database)?;
    Ok(database)
}

/// Fails unless the service shows a database of that name.
pub(super) fn require_shown(shared: &Shared, database: &str) -> Answer<()> {
    wire::names::check_database(database)
        .map_err(|e| Refusal::new(ErrorCode::BadRequest, e.to_string()))?;
    if shared.config.shows(database) {
        return Ok(());
    }
    let message = format!("no database named {database:?} is shown by this service");
    Err(Refusal::new(ErrorCode::NotFound, message))
}
