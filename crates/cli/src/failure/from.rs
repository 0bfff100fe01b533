//! Each library's errors, by type, to an exit code and a hint.

use wire::api::{DatabaseState, ErrorCode};

use super::{Failure, chain};
use crate::exit_code::ExitCode;

impl From<fs::Error> for Failure {
    fn from(error: fs::Error) -> Self {
        Self::of(code_of_disk(&error), &error).hint(error.hint())
    }
}

impl From<mirror::Error> for Failure {
    fn from(error: mirror::Error) -> Self {
        Self::of(code_of_mirror(&error), &error).hint(error.hint())
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
        todo!()
    }
}

impl From<restore::Error> for Failure {
    fn from(error: restore::Error) -> Self {
        todo!()
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

fn code_of_mirror(error: &mirror::Error) -> ExitCode {
    use mirror::Error as E;
    match error {
        E::NotBlank { .. } | E::InsideSource { .. } | E::InsideBackup { .. } => {
            ExitCode::TargetUnusable
        }
        E::NotABackup { .. } | E::ManifestNewer { .. } => ExitCode::NoBackup,
        E::ManifestDamaged { .. } | E::Incomplete { .. } | E::Corrupt { .. } => {
            ExitCode::CorruptData
        }
        E::InUse { .. } => ExitCode::TargetInUse,
        E::BackupExists { .. } => ExitCode::TargetExists,
        E::NoSuchDatabase { .. } => ExitCode::NoSuchDatabase,
        E::NoSpace { .. } => ExitCode::NoSpace,
        E::Untrusted { .. } => ExitCode::WrongService,
        E::RollForward(error) | E::Disk(error) => code_of_disk(error),
        _ => ExitCode::Internal,
    }
}

pub fn code_of_source(error: &source::Error) -> ExitCode {
    use source::Error as E;
    match error {
        E::Config { .. } => ExitCode::BadConfiguration,
        E::NoSuchDatabase { .. } => ExitCode::NoSuchDatabase,
        E::LogPruned { .. } => ExitCode::LogsPruned,
        E::Format { .. } if !error.is_unsupported() => ExitCode::CorruptData,
        E::State(_) => ExitCode::Internal,
        _ => ExitCode::SourceUnusable,
    }
}

/// What a service says in an answer.
pub fn code_of_answer(code: ErrorCode) -> ExitCode {
    match code {
        ErrorCode::Unauthorized | ErrorCode::Forbidden => ExitCode::NotAuthorised,
        ErrorCode::NotFound => ExitCode::NoSuchDatabase,
        ErrorCode::Busy => ExitCode::ServiceBusy,
        ErrorCode::SourceUnusable | ErrorCode::SourceUnreadable => ExitCode::SourceUnusable,
        ErrorCode::SourceCorrupt => ExitCode::CorruptData,
        ErrorCode::LogsPruned => ExitCode::LogsPruned,
        ErrorCode::BadRequest | ErrorCode::Conflict => ExitCode::WrongService,
        ErrorCode::Internal | ErrorCode::Unknown => ExitCode::ServiceFailed,
    }
}
