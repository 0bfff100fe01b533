//! Each database: its state, its backup, whether an increment could begin, and for how long yet.

use std::path::Path;
use std::time::Duration;

use client::{Client, Error};
use formats::txlog::LogHeader;
use formats::{LogPosition, LogVersion};
use mirror::{Backup, DatabaseEntry};
use wire::api::{After, Database, DatabaseList, ErrorCode, Logs};

use super::estimate::Needed;
use super::findings::{Check, Findings};
use super::retention::{self, For};
use super::target::{Found, Needs, TAKEN_OVER, Target};
use crate::commands::backup::choose::Globs;
use crate::commands::backup::take_over::end_of;
use crate::commands::backup::{Results, blocking};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::units;

/// A backup that is made now should be good for so long.
const LEAST: Duration = Duration::from_hours(1);

/// What the checks of one run share.
struct Run<'a> {
    client: &'a Client,
    target: Option<&'a Target>,
}

/// Checks the databases that a run would copy. What such a run would write; `None` if that is not
/// known.
pub async fn check(
    client: &Client,
    list: &DatabaseList,
    globs: &Globs,
    target: Option<&Target>,
    findings: &mut Findings,
) -> Option<Needs> {
    let mut results = Results::default();
    let chosen = globs.choose(list.databases.clone(), &mut results);
    for (name, failure) in results.failed {
        findings.error(Check::of("database", &name), failure);
    }
    for (name, why) in results.skipped {
        findings.warning(Check::of("database", &name), why, "the next run passes over it");
    }
    let run = Run { client, target };
    let mut needs = Needs::default();
    for name in &chosen {
        if let Some(database) = list.databases.iter().find(|database| database.name == *name) {
            run.database(database, &mut needs, findings).await;
        }
    }
    let backup = target.and_then(Target::backup);
    let entries = backup.map_or(&[][..], |backup| &backup.manifest().databases);
    for entry in entries {
        if !list.databases.iter().any(|database| database.name == entry.name) {
            let message = "the service does not show it; its backup stays as it is";
            let hint = "was it dropped, or does serve leave it out?";
            findings.warning(Check::of("backup", &entry.name), message, hint);
        }
    }
    if target.is_some_and(|target| matches!(target.found, Found::Unusable)) {
        // Whether there is a backup that it would go on from is not known.
        return None;
    }
    Some(needs)
}

/// Without a service: the backups that are there.
pub async fn backups_alone(target: Option<&Target>, findings: &mut Findings) {
    let Some((target, backup)) = target.and_then(|target| Some((target, target.backup()?))) else {
        return;
    };
    for entry in &backup.manifest().databases {
        after(target, backup, entry, findings).await;
    }
}

/// Tells of a backup that is there. What it ends with, if it can be gone on from.
async fn after(
    target: &Target,
    backup: &Backup,
    entry: &DatabaseEntry,
    findings: &mut Findings,
) -> Option<After> {
    let check = Check::of("backup", &entry.name);
    let (owned, copied) = (backup.clone(), entry.clone());
    let after = blocking(move || owned.after(&copied)).await.and_then(|after| Ok(after?));
    if after.is_err()
        && let Some(after) = of_the_tool(backup, entry).await
    {
        let last = after.last_tx.tx_id;
        let message = format!("up to transaction {last}, by Neo4j's own backup tool; {TAKEN_OVER}");
        findings.ok(check, message);
        return Some(after);
    }
    let (last, size) = (&entry.last_tx, units::bytes(entry.size_bytes()));
    let message = format!(
        "{size}, up to transaction {} of {}; last run {}",
        last.tx_id,
        units::timestamp(last.commit_time.0),
        units::timestamp(entry.finished.as_millisecond())
    );
    match &after {
        Err(failure) if matches!(target.found, Found::Held(_)) => {
            let hint = "it may be what the run is at; check again when nothing holds the target";
            findings.warning(check, &failure.message, hint);
        }
        Err(failure) => findings.error(check, failure.clone()),
        Ok(_) if backup.is_unfinished(entry) => {
            let message = format!("{message}; that run was cut off after its commit");
            findings.warning(check, message, "the next run first completes it");
        }
        Ok(_) => findings.ok(check, message),
    }
    after.ok()
}

/// What a backup ends with that Neo4j's own tool has gone on with.
async fn of_the_tool(backup: &Backup, entry: &DatabaseEntry) -> Option<After> {
    let (backup, entry) = (backup.clone(), entry.clone());
    let looked =
        blocking(move || backup.theirs(&entry).ok().flatten().map(|theirs| end_of(&theirs)));
    looked.await.ok().flatten()?.ok()
}

impl Run<'_> {
    async fn database(&self, database: &Database, needs: &mut Needs, findings: &mut Findings) {
        let name = &database.name;
        let state = match database.state {
            wire::api::DatabaseState::Online => "online",
            _ => "offline",
        };
        let store = database.store_id.as_deref().unwrap_or("of an unknown format");
        let format = store.split(':').next().unwrap_or(store);
        let size = units::bytes(database.size_bytes.unwrap_or(0));
        findings.ok(Check::of("database", name), format!("{state}, {format}, {size}"));
        let entry = self.target.and_then(|target| {
            let backup = target.backup()?;
            Some((target, backup, backup.manifest().database(name)?))
        });
        let logs = self.client.logs(name).await;
        let size_bytes = database.size_bytes.unwrap_or(0);
        needs.full_bytes = needs.full_bytes.saturating_add(size_bytes);
        let joined = match entry {
            None => {
                needs.at_least_bytes = needs.at_least_bytes.saturating_add(size_bytes);
                needs.makes_full = true;
                match self.target {
                    Some(Target { dir, found: Found::Theirs, .. }) => {
                        self.take_over(name, dir, findings).await;
                    }
                    _ => self.full(name, findings).await,
                }
                None
            }
            Some((target, backup, entry)) => {
                needs.has_backup = true;
                self.join(target, backup, entry, findings).await.then_some(entry)
            }
        };
        match logs {
            Ok(None) => {
                let message = "a Neo4j 3.0 server does not tell how long it keeps its logs";
                let hint = "see dbms.tx_log.rotation.retention_policy in its configuration";
                findings.warning(Check::of("retention", name), message, hint);
            }
            Ok(Some(logs)) => {
                if let Some(entry) = joined {
                    let new = new_bytes(&logs, entry);
                    needs.at_least_bytes = needs.at_least_bytes.saturating_add(new);
                }
                // Where an increment cannot begin, there is none whose end could be foretold.
                if joined.is_some() || entry.is_none() {
                    let of = joined.map_or(For::Now(LEAST), |entry| of_backup(entry, &logs));
                    retention::check(findings, name, &logs, of);
                }
            }
            Err(error) => untold(error, Check::of("retention", name), findings),
        }
    }

    /// Whether a full copy could begin.
    async fn full(&self, name: &str, findings: &mut Findings) {
        let check = Check::of("history", name);
        match self.client.check(name, None).await {
            Ok(checked) => {
                let files = checked.map_or_else(String::new, |checked| {
                    let size = units::bytes(checked.size_bytes);
                    format!(", {} files of {size}", checked.files_count)
                });
                let none = match self.target.map(|target| &target.found) {
                    None => "",
                    // No run could begin anything there.
                    Some(Found::Unusable) => return,
                    Some(_) => "no backup yet: ",
                };
                let message = format!("{none}a full backup could begin{files}");
                findings.ok(check, message);
            }
            Err(error) => untold(error, check, findings),
        }
    }

    /// Whether an increment could begin after the backup that is there.
    async fn join(
        &self,
        target: &Target,
        backup: &Backup,
        entry: &DatabaseEntry,
        findings: &mut Findings,
    ) -> bool {
        let Some(after) = after(target, backup, entry, findings).await else { return false };
        self.increment(&entry.name, after, findings).await
    }

    /// Whether what the tool of Neo4j 3.0 has made could be taken over.
    async fn take_over(&self, name: &str, dir: &Path, findings: &mut Findings) {
        let theirs = source::Database::of_v3_0(name.to_owned(), dir);
        match blocking(move || end_of(&theirs)).await.flatten() {
            Ok(after) => {
                let last = after.last_tx.tx_id;
                let message = format!(
                    "what Neo4j's own backup tool has made, up to transaction {last}; {TAKEN_OVER}"
                );
                findings.ok(Check::of("backup", name), message);
                self.increment(name, after, findings).await;
            }
            Err(failure) => findings.error(Check::of("backup", name), failure),
        }
    }

    async fn increment(&self, name: &str, after: After, findings: &mut Findings) -> bool {
        let tx_id = after.last_tx.tx_id;
        let check = Check::of("history", name);
        match self.client.check(name, Some(after)).await {
            Ok(_) => {
                findings.ok(check, format!("an increment can begin after transaction {tx_id}"));
                true
            }
            Err(error) if error.remote_code() == Some(ErrorCode::LogsPruned) => {
                let message = format!("{error}; the next run makes a new full backup");
                let hint = "back up more often, or raise db.tx_log.rotation.retention_policy";
                findings.warning(check, message, hint);
                self.full(name, findings).await;
                false
            }
            Err(error) => {
                untold(error, check, findings);
                false
            }
        }
    }
}

/// An older service has no such path; everything else is what a run would fail with.
fn untold(error: Error, check: Check<'_>, findings: &mut Findings) {
    match error.remote_code() {
        Some(ErrorCode::NotFound) => {
            let hint = "both ends should have the same version";
            findings.warning(check, format!("the service does not tell: {error}"), hint);
        }
        Some(ErrorCode::Busy) => {
            let failure = Failure::new(ExitCode::ServiceBusy, error.to_string());
            findings.error(check, failure.hint(error.hint().unwrap_or_default()));
        }
        _ => findings.error(check, error),
    }
}

fn of_backup(entry: &DatabaseEntry, logs: &Logs) -> For {
    let since = logs.time.0.saturating_sub(entry.covered_until().0);
    let since = Duration::from_millis(u64::try_from(since).unwrap_or(0));
    let last = &entry.last_tx;
    if entry.store_id.is_v3_0() {
        let version = file_of(entry, logs);
        return For::Backup(Needed { version, commit_time: last.commit_time }, since);
    }
    // An increment begins at the last transaction. Where only its end is known, and that is the
    // beginning of a file, it lies in the one before.
    let before = last.start_bytes.is_none() && last.end.offset_bytes <= LogHeader::SIZE_BYTES;
    let version = LogVersion(last.end.version.0.saturating_sub(u64::from(before)));
    For::Backup(Needed { version, commit_time: last.commit_time }, since)
}

/// The server's log file that has a backup's last transaction. That of a 3.0 database has one log, which is
/// composed of the server's.
fn file_of(entry: &DatabaseEntry, logs: &Logs) -> LogVersion {
    let last = entry.last_tx.tx_id;
    let mut before = logs.files.iter().filter(|file| file.first_tx_id.is_some_and(|tx| tx <= last));
    before.next_back().map_or(LogVersion(0), |file| file.version)
}

/// Log bytes after a backup's end, up to the last checkpoint.
fn new_bytes(logs: &Logs, entry: &DatabaseEntry) -> u64 {
    let (mut from, to) = (entry.last_tx.end, logs.checkpoint.position);
    if entry.store_id.is_v3_0() {
        // Only whole files are known to be new.
        let version = LogVersion(file_of(entry, logs).0.saturating_add(1));
        from = LogPosition { version, offset_bytes: 0 };
        if from > to {
            return 0;
        }
    }
    let between = logs.files.iter().filter(|f| f.version >= from.version && f.version < to.version);
    let before = between.fold(0_u64, |sum, file| sum.saturating_add(file.size_bytes));
    before.saturating_add(to.offset_bytes).saturating_sub(from.offset_bytes)
}
