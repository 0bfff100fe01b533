//! Each library's errors, by type, to an exit code and a hint.

use wire::api::ErrorCode;

use super::Failure;
use crate::exit_code::ExitCode;

impl From<fs::Error> for Failure {
    fn from(error: fs::Error) -> Self {
        Self::of(code_of_disk(&error), &error).hint(hint_of_disk(&error))
    }
}

impl From<mirror::Error> for Failure {
    fn from(error: mirror::Error) -> Self {
        let hint = match &error {
            mirror::Error::Disk(error) => hint_of_disk(error),
            error => error.hint(),
        };
        Self::of(code_of_mirror(&error), &error).hint(hint)
    }
}

impl From<source::Error> for Failure {
    fn from(error: source::Error) -> Self {
        use source::Error as E;
        let hint = match &error {
            E::NotNeo4j { .. } => {
                "give the directory that has `databases` and `transactions` in it, or neo4j.conf; \
                 a server that was never started has none yet"
            }
            E::Creating { .. } => "start the server and wait until the database is online",
            E::Incomplete { .. } => "are all volumes mounted, and is it the right configuration?",
            E::Migrating { .. } => "wait until the server has ended the migration",
            E::Unsupported { .. } => {
                "only record stores of the formats standard and aligned can be backed up"
            }
            E::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                "run as the user that Neo4j runs as"
            }
            _ => "",
        };
        Self::of(code_of_source(&error), &error).hint(hint)
    }
}

impl From<service::Error> for Failure {
    fn from(error: service::Error) -> Self {
        use service::Error as E;
        let code = match &error {
            E::Bind { .. } => ExitCode::CannotListen,
            E::Insecure { .. } => ExitCode::Usage,
            E::Tls { .. } | E::Tokens { .. } => ExitCode::BadConfiguration,
            _ => ExitCode::Internal,
        };
        Self::of(code, &error).hint(error.hint().unwrap_or_default())
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        use client::Error as E;
        let code = match &error {
            E::Options(_) => ExitCode::BadConfiguration,
            E::Connect { .. } | E::Tls { .. } => ExitCode::CannotConnect,
            E::Unauthorized { .. } => ExitCode::NotAuthorised,
            E::NotOurService { .. } | E::Protocol(_) => ExitCode::WrongService,
            E::Remote(detail) => code_of_answer(detail.code),
            E::CorruptData { .. } => ExitCode::CorruptData,
            E::ConnectionLost { .. } | E::SessionLost(_) => ExitCode::ConnectionLost,
            E::Cancelled => ExitCode::Interrupted,
            E::Sink(_) => return of_sink(error),
            _ => ExitCode::Internal,
        };
        Self::of(code, &error).hint(error.hint().unwrap_or_default())
    }
}

/// What kept the copy failed: it knows best what that means.
fn of_sink(error: client::Error) -> Failure {
    match error {
        client::Error::Sink(cause) => match cause.downcast::<mirror::Error>() {
            Ok(cause) => Failure::from(*cause),
            Err(cause) => {
                let code =
                    cause.downcast_ref::<fs::Error>().map_or(ExitCode::Internal, code_of_disk);
                Failure::of(code, &*cause)
            }
        },
        other => Failure::of(ExitCode::Internal, &other),
    }
}

impl From<restore::Error> for Failure {
    fn from(error: restore::Error) -> Self {
        Self::of(code_of_restore(&error), &error).hint(error.hint())
    }
}

fn code_of_restore(error: &restore::Error) -> ExitCode {
    use restore::Error as E;
    match error {
        E::Backup(error) => code_of_mirror(error),
        E::Corrupt { .. } => ExitCode::CorruptData,
        E::ReplacedMeanwhile { .. } | E::InUse { .. } => ExitCode::TargetInUse,
        E::NothingToRestore { .. } => ExitCode::NoBackup,
        E::DatabaseRunning { .. } => ExitCode::DatabaseRunning,
        E::DatabaseExists { .. } => ExitCode::TargetExists,
        E::InsideBackup { .. }
        | E::NotADataDirectory { .. }
        | E::MountPoint { .. }
        | E::Owner { .. }
        | E::Staging { .. }
        | E::Journal { .. } => ExitCode::TargetUnusable,
        E::NoSpace { .. } => ExitCode::NoSpace,
        E::Cancelled => ExitCode::Interrupted,
        E::NotUndone { source, .. } => code_of_restore(source),
        E::Source(error) => code_of_source(error),
        E::Disk(error) | E::NotDurable { source: error, .. } => code_of_disk(error),
        _ => ExitCode::Internal,
    }
}

fn code_of_disk(error: &fs::Error) -> ExitCode {
    match error.kind {
        fs::Kind::NoSpace => ExitCode::NoSpace,
        fs::Kind::InUse(_) => ExitCode::TargetInUse,
        fs::Kind::Exists => ExitCode::TargetExists,
        _ => ExitCode::TargetUnusable,
    }
}

fn hint_of_disk(error: &fs::Error) -> &'static str {
    match error.source.kind() {
        std::io::ErrorKind::FileTooLarge => {
            "raise the limit of a file's size (ulimit -f), or choose another file system"
        }
        _ => error.hint(),
    }
}

fn code_of_mirror(error: &mirror::Error) -> ExitCode {
    use mirror::Error as E;
    match error {
        E::InsideSource { .. }
        | E::InsideBackup { .. }
        | E::PartElsewhere { .. }
        | E::LockElsewhere { .. }
        | E::OtherLayout { .. } => ExitCode::TargetUnusable,
        E::Diverged { .. } => ExitCode::Diverged,
        // Nothing that could be compared is left.
        E::Rewritten { .. } => ExitCode::LogsPruned,
        E::NotBlank { .. } | E::HoldsNeo4j { .. } => ExitCode::NotABackup,
        E::NotABackup { .. } => ExitCode::NoBackup,
        E::ManifestNewer { .. } => ExitCode::BackupTooNew,
        E::ManifestDamaged { .. }
        | E::Incomplete { .. }
        | E::Corrupt { .. }
        | E::DamagedLogs { .. } => ExitCode::CorruptData,
        E::InUse { .. } => ExitCode::TargetInUse,
        E::ChangedByHand { .. } => ExitCode::BackupChanged,
        E::NoSuchDatabase { .. } => ExitCode::NoSuchDatabase,
        E::NoSpace { .. } => ExitCode::NoSpace,
        E::OutOfRange { .. } => ExitCode::OutOfRange,
        E::Untrusted { .. } => ExitCode::WrongService,
        E::RollForward(error) | E::Disk(error) => code_of_disk(error),
        _ => ExitCode::Internal,
    }
}

fn code_of_source(error: &source::Error) -> ExitCode {
    use source::Error as E;
    match error {
        E::Config { .. } => ExitCode::BadConfiguration,
        E::NoSuchDatabase { .. } => ExitCode::NoSuchDatabase,
        E::LogPruned { .. } | E::NoIncrement { .. } => ExitCode::LogsPruned,
        E::Format { source, .. } if !source.is_unsupported() => ExitCode::CorruptData,
        E::State(_) => ExitCode::Internal,
        _ => ExitCode::SourceUnusable,
    }
}

/// What a service says in an answer.
fn code_of_answer(code: ErrorCode) -> ExitCode {
    match code {
        ErrorCode::Unauthorized | ErrorCode::Forbidden => ExitCode::NotAuthorised,
        ErrorCode::NotFound => ExitCode::NoSuchDatabase,
        ErrorCode::Busy => ExitCode::ServiceBusy,
        ErrorCode::SourceUnusable | ErrorCode::SourceUnreadable => ExitCode::SourceUnusable,
        ErrorCode::SourceCorrupt => ExitCode::CorruptData,
        ErrorCode::LogsPruned => ExitCode::LogsPruned,
        ErrorCode::OtherStore => ExitCode::OtherStore,
        ErrorCode::StoreMigrated => ExitCode::StoreMigrated,
        ErrorCode::Diverged => ExitCode::Diverged,
        ErrorCode::BadRequest | ErrorCode::Conflict => ExitCode::WrongService,
        ErrorCode::Internal | ErrorCode::Unknown => ExitCode::ServiceFailed,
    }
}
