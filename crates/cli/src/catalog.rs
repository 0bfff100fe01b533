//! The databases of a server on this host, as the service asks for them.

use service::{Begun, Catalog};
use source::{FileKind, Installation, State};
use wire::api::{self, ErrorCode, ErrorDetail};

use crate::failure::Failure;

/// What `serve` serves.
pub struct SourceCatalog {
    installation: Installation,
}

struct SourceCopy(source::HotCopy);

impl SourceCatalog {
    pub fn new(installation: Installation) -> Self {
        Self { installation }
    }
}

impl Catalog for SourceCatalog {
    fn databases(&self) -> Result<Vec<api::Database>, ErrorDetail> {
        let databases = self.installation.databases().map_err(detail)?;
        let describe = |database: &source::Database| {
            let found = database.inspect();
            api::Database {
                name: database.name.clone(),
                state: state(found.state),
                detail: found.detail,
                store_id: found.store_id.map(|store_id| store_id.to_string()),
                size_bytes: found.size_bytes,
            }
        };
        Ok(databases.iter().map(describe).collect())
    }

    fn begin(&self, database: &str) -> Result<Begun, ErrorDetail> {
        let database = self.installation.database(database).map_err(detail)?;
        let copy = source::HotCopy::begin(&database).map_err(detail)?;
        let checkpoint = copy.checkpoint();
        Ok(Begun {
            state: state(copy.state()),
            store_id: copy.store_id().clone(),
            external_uuid: copy.external_uuid().iter().map(|byte| format!("{byte:02x}")).collect(),
            checkpoint: api::CheckpointInfo {
                tx_id: checkpoint.tx_id,
                position: checkpoint.position,
                time: checkpoint.time,
                kernel_version: checkpoint.kernel_version,
                reason: checkpoint.reason.clone(),
            },
            files: copy.files().iter().map(file).collect(),
            left_out: copy
                .left_out()
                .iter()
                .map(|left| api::LeftOut { path: left.path.clone(), reason: left.reason.clone() })
                .collect(),
            copy: Box::new(SourceCopy(copy)),
        })
    }
}

impl service::HotCopy for SourceCopy {
    fn read_at(&self, file: u32, offset_bytes: u64, buf: &mut [u8]) -> Result<usize, ErrorDetail> {
        self.0.read_at(file, offset_bytes, buf).map_err(detail)
    }

    fn check_whole(&self, file: u32) -> Result<api::Checked, ErrorDetail> {
        let checked = self.0.check_whole(file).map_err(detail)?;
        Ok(api::Checked { whole: checked.whole, size_bytes: checked.size_bytes })
    }

    fn finish(&self) -> Result<api::Finished, ErrorDetail> {
        let finished = self.0.finish().map_err(detail)?;
        let last = finished.last_tx;
        Ok(api::Finished {
            files: finished.files.iter().map(file).collect(),
            stale: finished
                .stale
                .into_iter()
                .map(|stale| api::StaleFile { id: stale.id, reason: stale.reason })
                .collect(),
            first_consistent_tx_id: finished.first_consistent_tx_id,
            last_tx: api::LastTx {
                tx_id: last.tx_id,
                checksum: last.checksum,
                commit_time: last.commit_time,
                end: last.end,
            },
            transactions: finished.transactions,
        })
    }
}

fn file(file: &source::CopyFile) -> api::FileInfo {
    let kind = match file.kind {
        FileKind::Record => api::FileKind::Record,
        FileKind::Tree => api::FileKind::Tree,
        FileKind::Lucene => api::FileKind::Lucene,
        FileKind::Log => api::FileKind::Log,
        FileKind::Checkpoint => api::FileKind::Checkpoint,
    };
    api::FileInfo { id: file.id, kind, path: file.path.clone(), size_bytes: file.size_bytes }
}

fn state(state: State) -> api::DatabaseState {
    match state {
        State::Online => api::DatabaseState::Online,
        State::Offline => api::DatabaseState::Offline,
        State::Creating => api::DatabaseState::Creating,
        State::Migrating => api::DatabaseState::Migrating,
        State::Unsupported => api::DatabaseState::Unsupported,
        State::Unreadable => api::DatabaseState::Unreadable,
    }
}

/// An error in the words of the API. The operator's log has it too, since the client's may be
/// far away.
fn detail(error: source::Error) -> ErrorDetail {
    let code = code_of(&error);
    let failure = Failure::from(error);
    tracing::warn!(code = failure.code.word(), "{}", failure.message);
    ErrorDetail { code, message: failure.message, hint: Some(failure.hint) }
}

fn code_of(error: &source::Error) -> ErrorCode {
    use source::Error as E;
    match error {
        E::NoSuchDatabase { .. } => ErrorCode::NotFound,
        E::Io { .. } => ErrorCode::SourceUnreadable,
        E::Format { source, .. } if !source.is_unsupported() => ErrorCode::SourceCorrupt,
        E::LogPruned { .. } => ErrorCode::LogsPruned,
        E::State(_) => ErrorCode::Conflict,
        E::NotNeo4j { .. }
        | E::Config { .. }
        | E::Creating { .. }
        | E::Migrating { .. }
        | E::Unsupported { .. }
        | E::Format { .. }
        | E::Changed { .. } => ErrorCode::SourceUnusable,
        _ => ErrorCode::Internal,
    }
}
