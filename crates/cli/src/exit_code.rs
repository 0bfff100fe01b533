//! The one table of exit codes: status, stable word, meaning, and what to do about it.
//!
//! `docs/errors.md` and the lists in `--help` are made from it; the words are also the `code` of
//! JSON errors. Neither a status nor a word ever changes its meaning.

use std::fmt::Write as _;

/// One row of the table.
pub struct Row {
    pub code: ExitCode,
    /// The process's exit status.
    pub status: u8,
    /// The `code` of JSON errors.
    pub word: &'static str,
    /// What happened.
    pub meaning: &'static str,
    /// The hint that is given where no better one is known.
    pub hint: &'static str,
}

macro_rules! exit_codes {
    ($($variant:ident = $status:literal $word:literal: $meaning:literal; $hint:literal.)*) => {
        /// How a run ends.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ExitCode {
            $(#[doc = $meaning] $variant,)*
        }

        /// Every exit code, in ascending order of the status.
        pub const TABLE: &[Row] = &[
            $(Row {
                code: ExitCode::$variant,
                status: $status,
                word: $word,
                meaning: $meaning,
                hint: $hint,
            },)*
        ];

        impl ExitCode {
            /// Its row of the table.
            pub fn row(self) -> &'static Row {
                // Variants and rows come from the same list, so they have the same order.
                &TABLE[self as usize]
            }
        }
    };
}

exit_codes! {
    Ok = 0 "ok":
        "everything that was asked for is done";
        "".
    Usage = 2 "usage":
        "the command line makes no sense";
        "see --help".
    BadConfiguration = 3 "bad_configuration":
        "a configuration, certificate or token file cannot be used";
        "correct the file that the message names".
    CannotListen = 4 "cannot_listen":
        "connections cannot be accepted on the address";
        "choose another address with --listen or --metrics-listen HOST:PORT".
    Disabled = 5 "disabled":
        "the server's configuration switches backup off";
        "set server.backup.enabled=true in neo4j-backup.conf, beside neo4j.conf".
    CannotConnect = 10 "cannot_connect":
        "nobody answers at the host and port, or TLS cannot be agreed on";
        "is `neo4j-backup serve` running there, and does a firewall let the port through?".
    WrongService = 11 "wrong_service":
        "something answers, but not as a backup service does";
        "check -host and -port: 6362 is the default; Bolt is 7687 and HTTP 7474".
    NotAuthorised = 12 "not_authorised":
        "the service wants a token or certificate, or does not accept this one";
        "give --token-file FILE or --client-cert PEM --client-key PEM; a token needs the scope \
         `backup`".
    ConnectionLost = 13 "connection_lost":
        "the service went away in the middle and did not come back in time";
        "look at the service's log and run the backup again; complete backups are as they were".
    ServiceBusy = 14 "service_busy":
        "the service has reached a limit or is stopping";
        "try again later".
    ServiceFailed = 15 "service_failed":
        "the service reports a defect of its own";
        "look at the service's log".
    SourceUnusable = 20 "source_unusable":
        "the database or data directory cannot be backed up as it is now";
        "see the message for the file and the reason".
    NoSuchDatabase = 21 "no_such_database":
        "no database has the name that was asked for";
        "the names are those of the directories under `databases`; globs need quotes".
    LogsPruned = 22 "logs_pruned":
        "transaction logs that the copy needs were removed by the server";
        "run the backup again, and raise db.tx_log.rotation.retention_policy if it happens often".
    OtherStore = 23 "other_store":
        "the backup is of another store than the server's database of that name";
        "back up into another directory, or replace the backup with --full".
    Diverged = 24 "diverged":
        "the server's history is not the one that the backup has";
        "keep the backup and use another directory, or replace it with --full".
    StoreMigrated = 25 "store_migrated":
        "the store was migrated to another format since it was backed up";
        "replace the backup with --full, or back up into another directory".
    TargetUnusable = 30 "target_unusable":
        "the target or stdout cannot be written, or the target is no place for a backup";
        "choose a blank or missing directory outside Neo4j's own, writable by this user".
    TargetExists = 31 "target_exists":
        "what would be made is there already";
        "backup replaces a backup with --full, restore replaces a database with --force".
    TargetInUse = 32 "target_in_use":
        "another run is using the target";
        "wait until it has ended; a lock of a run that died frees itself".
    NoSpace = 33 "no_space":
        "a file system or quota is full, or a limit of a file's size is reached";
        "free some space or choose another target; a backup that was there is as it was".
    NoBackup = 34 "no_backup":
        "the directory holds no backup";
        "give the directory that was `-to` of a backup".
    DatabaseRunning = 35 "database_running":
        "a server is using the database that would be replaced";
        "stop the server first".
    BackupChanged = 36 "backup_changed":
        "the backup's files are not as the last run left them";
        "run verify to see what differs; --full replaces the backup".
    OutOfRange = 37 "out_of_range":
        "the backup does not reach to the transaction or moment that was asked for";
        "info --transactions lists the transactions; an older backup may reach further back".
    NotABackup = 38 "not_a_backup":
        "the directory has something in it, but no valid backup";
        "choose a blank or missing directory, or one that has a backup".
    BackupTooNew = 39 "backup_too_new":
        "the backup is of a later version of this program";
        "use that version, or a later one; nothing is wrong with the backup".
    CorruptData = 40 "corrupt_data":
        "bytes are wrong: in the source, on the way or in the backup";
        "the message names file and offset; make a new backup, and check the disk it lay on".
    CheckFailed = 41 "check_failed":
        "check found several errors, of different kinds";
        "see the hint of each; run check again when they are mended".
    Partial = 50 "partial":
        "several databases, of which some failed, or all in different ways";
        "see the error of each database; those without one are complete".
    Internal = 70 "internal":
        "a defect of this program";
        "please report it with the message and the command line".
    Interrupted = 130 "interrupted":
        "stopped by Ctrl-C or SIGTERM";
        "run it again: that also clears what this run may have left".
}

impl ExitCode {
    /// The process's exit status.
    pub fn status(self) -> u8 {
        self.row().status
    }

    /// The stable word.
    pub fn word(self) -> &'static str {
        self.row().word
    }
}

/// The end of a command's `--help`: the codes that it can end with.
pub fn help(codes: &[ExitCode]) -> String {
    let mut text = String::from("Exit codes (all of them: docs/errors.md):\n");
    for row in TABLE {
        let always = [ExitCode::Ok, ExitCode::Usage, ExitCode::Interrupted, ExitCode::Internal];
        if codes.contains(&row.code) || always.contains(&row.code) {
            let _ = writeln!(text, "{:>5}  {:<18} {}", row.status, row.word, row.meaning);
        }
    }
    text
}

/// The text of `docs/errors.md`.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Exit codes and error codes\n\n\
         <!-- Generated from crates/cli/src/exit_code.rs: \
         `UPDATE=1 cargo test -p cli` rewrites this file. -->\n\n\
         Every run of `neo4j-backup` ends with one of these exit statuses. On a terminal a failure \
         is told as\n`error: ...` and `hint: ...` on stderr. With `--json` it is on stdout as\n\
         `{\"error\":{\"code\":\"...\",\"message\":\"...\",\"hint\":\"...\"}}`, where `code` is \
         the word below.\nStatus and word are stable; the texts may change.\n\n\
         | status | code | what happened | what to do |\n|---:|---|---|---|\n",
    );
    for row in TABLE {
        let _ =
            writeln!(text, "| {} | `{}` | {} | {} |", row.status, row.word, row.meaning, row.hint);
    }
    text.push_str(
        "\n`check` makes all its checks. If all its errors are of one kind, the status is theirs; \
         otherwise it is\n41. Warnings are no errors.\n\n\
         A run over several databases goes on after a failure. If all failed the same way, the \
         status is that\nfailure's; otherwise it is 50, and with `--json` each failed database \
         has its own `error`.\nOnce the service is gone, the databases that are left fail with 13 \
         without being tried.\n\n\
         A result that cannot be written to stdout makes a run that did its work end with 30 or \
         33; the error\nis then on stderr only. A reader that went away (`| head`) is no failure, \
         but for `token`: a secret\nwhose line was lost is not kept.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows are in the order of the variants, and no status or word is used twice.
    #[test]
    fn the_table_is_sound() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.code as usize, index);
            assert_eq!(row.code.row().word, row.word);
            let earlier = &TABLE[..index];
            assert!(earlier.iter().all(|other| other.status < row.status), "{}", row.word);
            assert!(earlier.iter().all(|other| other.word != row.word), "{}", row.word);
            assert!(row.code == ExitCode::Ok || !row.hint.is_empty(), "{}", row.word);
        }
    }
}
