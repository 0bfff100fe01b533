//! A server's directories as a catalog.

use std::sync::Arc;

use formats::TxId;
use rustix::io::Errno;
use source::{Error, Installation, LiveCopy, State, v3_0};
use wire::api::{
    After, Checked, CheckpointInfo, Database, DatabaseState, ErrorCode, ErrorDetail, FileInfo,
    FileKind, Finished, LastTx, LeftOut, LogFile, Logs, MAX_LOG_FILES, StaleFile,
};

use crate::answer::detail;
use crate::catalog::{Begun, Behind, Catalog, HotCopy};
use crate::config::ServiceConfig;
use crate::token::hex;

/// Where an increment is longer, its first block, of which the backup has a part, does not matter.
const LONG_INCREMENT_BYTES: u64 = 8 << 20;

impl ServiceConfig {
    /// All databases of a server, on the loopback interface only.
    #[must_use]
    pub fn for_installation(installation: Installation) -> Self {
        Self::new(Arc::new(installation))
    }
}

impl Catalog for Installation {
    fn databases(&self) -> Result<Vec<Database>, ErrorDetail> {
        let databases = Installation::databases(self).map_err(|e| refuse(&e))?;
        Ok(databases.iter().map(describe).collect())
    }

    fn begin(&self, database: &str, after: Option<&After>) -> Result<Begun, ErrorDetail> {
        let database = self.database(database).map_err(|e| refuse(&e))?;
        match after {
            Some(after) => {
                let after = parsed(after)?;
                begun(database.increment(after)).map_err(|e| refuse(&e))
            }
            None => full(&database),
        }
    }

    fn is_v3_0(&self, database: &str) -> Result<bool, ErrorDetail> {
        Ok(self.database(database).map_err(|e| refuse(&e))?.is_v3_0())
    }

    fn behind(&self, database: &str, tx_id: TxId) -> Result<Behind, ErrorDetail> {
        let database = self.database(database).map_err(|e| refuse(&e))?;
        if !database.is_v3_0() {
            let message = format!("{:?} is no database of Neo4j 3.0", database.name);
            return Err(detail(ErrorCode::SourceUnusable, message, None));
        }
        let found = v3_0::Behind::find(&database, tx_id).map_err(|e| refuse(&e))?;
        Ok(Behind {
            store_id: found.store_id().clone(),
            size_bytes: found.size_bytes(),
            read_at: Box::new(move |at, buf| found.read_at(at, buf).map_err(|e| refuse(&e))),
        })
    }

    fn logs(&self, database: &str) -> Result<Logs, ErrorDetail> {
        let database = self.database(database).map_err(|e| refuse(&e))?;
        let found = database.log_files(MAX_LOG_FILES).map_err(|e| refuse(&e))?;
        let files = found.files.iter().map(|file| LogFile {
            version: file.version,
            size_bytes: file.size_bytes,
            first_tx_id: file.first.map(|(tx_id, _)| tx_id),
            first_commit_time: file.first.map(|(_, time)| time),
        });
        Ok(Logs {
            retention_policy: None,
            rotation_size_bytes: None,
            checkpoint_interval_ms: None,
            time: found.start.time,
            files_count: found.count,
            files: files.collect(),
            checkpoint: checkpoint(found.start),
        })
    }
}

fn checkpoint(start: source::RecoveryStart) -> CheckpointInfo {
    let source::RecoveryStart { tx_id, position, time, kernel_version, reason } = start;
    CheckpointInfo { tx_id, position, time, kernel_version, reason }
}

fn parsed(after: &After) -> Result<source::After, ErrorDetail> {
    let parse = |uuid: &String| u128::from_str_radix(uuid, 16).map(u128::to_be_bytes);
    let Ok(external_uuid) = after.external_uuid.as_ref().map(parse).transpose() else {
        return Err(detail(ErrorCode::BadRequest, "external_uuid is not 32 hex digits", None));
    };
    let last = after.last_tx;
    Ok(source::After {
        store_id: after.store_id.clone(),
        external_uuid,
        last_tx: source::LastTx {
            tx_id: last.tx_id,
            checksum: last.checksum,
            commit_time: last.commit_time,
            start_bytes: last.start_bytes,
            end: last.end,
        },
    })
}

/// Begins a full copy of a database, wherever it lies.
///
/// # Errors
/// When it cannot be copied as it is.
pub fn full(database: &source::Database) -> Result<Begun, ErrorDetail> {
    begun(database.hot_copy()).map_err(|e| refuse(&e))
}

fn begun(copy: source::Result<Box<dyn LiveCopy>>) -> source::Result<Begun> {
    let copy = copy?;
    let left_out = copy.left_out().iter();
    Ok(Begun {
        state: state(copy.state()),
        store_id: copy.store_id().clone(),
        external_uuid: copy.external_uuid().map(|uuid| hex(&uuid)),
        checkpoint: copy.start().map(checkpoint),
        is_long: copy.has_more_than(LONG_INCREMENT_BYTES)?,
        files: copy.files().into_iter().map(file).collect(),
        left_out: left_out
            .map(|l| LeftOut { path: l.path.clone(), reason: l.reason.clone() })
            .collect(),
        copy: Box::new(copy),
    })
}

impl HotCopy for Box<dyn LiveCopy> {
    fn read_at(&self, file: u32, offset_bytes: u64, buf: &mut [u8]) -> Result<usize, ErrorDetail> {
        (**self).read_at(file, offset_bytes, buf).map_err(|e| refuse(&e))
    }

    fn read_cached(&self, file: u32, offset_bytes: u64, buf: &mut [u8]) -> usize {
        (**self).read_cached(file, offset_bytes, buf)
    }

    fn check_whole(&self, file: u32) -> Result<Checked, ErrorDetail> {
        let checked = (**self).check_whole(file).map_err(|e| refuse(&e))?;
        Ok(Checked { whole: checked.whole, size_bytes: checked.size_bytes })
    }

    fn has_news(&self) -> Result<bool, ErrorDetail> {
        (**self).has_news().map_err(|e| refuse(&e))
    }

    fn on_change(&self, wake: Box<dyn Fn() + Send + Sync>) {
        (**self).on_change(wake);
    }

    fn finish(&self) -> Result<Finished, ErrorDetail> {
        (**self).finish().map(finished).map_err(|e| refuse(&e))
    }
}

fn finished(finished: source::Finished) -> Finished {
    let last = finished.last_tx;
    let stale = finished.stale.into_iter();
    Finished {
        files: finished.files.into_iter().map(file).collect(),
        stale: stale.map(|stale| StaleFile { id: stale.id, reason: stale.reason }).collect(),
        first_consistent_tx_id: finished.first_consistent_tx_id,
        last_tx: LastTx {
            tx_id: last.tx_id,
            checksum: last.checksum,
            commit_time: last.commit_time,
            start_bytes: last.start_bytes,
            end: last.end,
        },
        transactions: finished.transactions,
        as_of: finished.as_of,
    }
}

fn describe(database: &source::Database) -> Database {
    let inspection = database.inspect();
    Database {
        name: database.name.clone(),
        state: state(inspection.state),
        detail: inspection.detail,
        store_id: inspection.store_id.map(|id| id.to_string()),
        size_bytes: inspection.size_bytes,
    }
}

fn state(state: State) -> DatabaseState {
    match state {
        State::Online => DatabaseState::Online,
        State::Offline => DatabaseState::Offline,
        State::Creating => DatabaseState::Creating,
        State::Migrating => DatabaseState::Migrating,
        State::Unsupported => DatabaseState::Unsupported,
        State::Unreadable => DatabaseState::Unreadable,
        State::Corrupt => DatabaseState::Corrupt,
    }
}

fn file(file: source::CopyFile) -> FileInfo {
    let kind = match file.kind {
        source::FileKind::Record => FileKind::Record,
        source::FileKind::Tree => FileKind::Tree,
        source::FileKind::Lucene => FileKind::Lucene,
        source::FileKind::Log => FileKind::Log,
        source::FileKind::Checkpoint => FileKind::Checkpoint,
        source::FileKind::Counts => FileKind::Counts,
        source::FileKind::LegacyIndex => FileKind::LegacyIndex,
    };
    FileInfo { id: file.id, kind, path: file.path, size_bytes: file.size_bytes }
}

/// A file could not be opened or read: that may have nothing to do with the file.
fn hint_of_system(error: &std::io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE) => {
            "raise the limit of open files for the service (ulimit -n), or that of its host"
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            "the service must run as a user who may read the files"
        }
        _ => "look at the system's log on the service's host",
    }
}

/// A source's error as the API gives it.
fn refuse(error: &Error) -> ErrorDetail {
    let (code, hint) = match error {
        Error::NotNeo4j { .. } | Error::Config { .. } => {
            (ErrorCode::SourceUnusable, "start the service with another --config or --data")
        }
        Error::NoSuchDatabase { .. } => (ErrorCode::NotFound, "see which databases there are"),
        Error::Creating { .. } | Error::Migrating { .. } => {
            (ErrorCode::SourceUnusable, "try again when the server is done")
        }
        Error::Incomplete { .. } => (
            ErrorCode::SourceUnusable,
            "are all volumes mounted, and does the service have the server's own --config?",
        ),
        Error::Unsupported { .. } => {
            (ErrorCode::SourceUnusable, "only the record formats standard and aligned are copied")
        }
        Error::Io { source, .. } => (ErrorCode::SourceUnreadable, hint_of_system(source)),
        Error::Format { source, .. } if source.is_unsupported() => (
            ErrorCode::SourceUnusable,
            "the server is of a version that this one does not know: look for a newer neo4j-backup",
        ),
        Error::Format { .. } => (
            ErrorCode::SourceCorrupt,
            "check the database's consistency; a server that crashed must be started once",
        ),
        Error::LogPruned { .. } => (
            ErrorCode::LogsPruned,
            "try again; keep more logs with db.tx_log.rotation.retention_policy",
        ),
        Error::NoIncrement { .. } => (ErrorCode::LogsPruned, "replace the backup with --full"),
        Error::Changed { .. } => (
            ErrorCode::SourceUnusable,
            "try again; if it stays, what the message names is not as a server leaves it",
        ),
        Error::OtherStore { .. } => (
            ErrorCode::OtherStore,
            "back up into another directory, or replace the backup with --full",
        ),
        Error::Migrated { .. } => (
            ErrorCode::StoreMigrated,
            "increments end with a migration: replace the backup with --full",
        ),
        Error::Diverged { .. } => (
            ErrorCode::Diverged,
            "keep this backup and use another directory, or replace it with --full",
        ),
        Error::State(_) => (ErrorCode::Conflict, "open a new session"),
        _ => (ErrorCode::Internal, "see the service's log"),
    };
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        cause = inner.source();
    }
    // The operator's log has it too: the client may be far away.
    tracing::warn!(?code, "{message}");
    detail(code, message, Some(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hint is for what the system said, not for what it says most often.
    #[test]
    fn hints_fit_the_system_error() {
        for (errno, hint) in [
            (Errno::MFILE, "limit of open files"),
            (Errno::NFILE, "limit of open files"),
            (Errno::ACCESS, "run as a user"),
            (Errno::IO, "system's log"),
        ] {
            let source = std::io::Error::from(errno);
            let detail = refuse(&Error::Io { doing: "open", path: "neostore".into(), source });
            assert_eq!(detail.code, ErrorCode::SourceUnreadable, "{detail:?}");
            assert!(detail.hint.as_ref().is_some_and(|text| text.contains(hint)), "{detail:?}");
        }
    }
}
