//! How long the next increment would work, in words.

use std::time::Duration;

use wire::api::Logs;

use super::estimate::{Estimate, Growth, Needed, estimate};
use super::findings::{Check, Findings};
use super::policy::Policy;
use crate::units;

const HOUR: Duration = Duration::from_hours(1);
const HINT: &str = "back up more often, or raise db.tx_log.rotation.retention_policy and restart \
                    the server";

/// Whose forecast it is.
#[derive(Clone, Copy, Debug)]
pub enum For {
    /// A backup that is there; its last run ended so long ago.
    Backup(Needed, Duration),
    /// A backup that would be made now; it should last for so long.
    Now(Duration),
}

/// Tells how long the logs that an increment needs are kept.
pub fn check(findings: &mut Findings, database: &str, logs: &Logs, of: For) {
    let check = Check::of("retention", database);
    let Some(text) = &logs.retention_policy else {
        let message = "the service does not know how long the server keeps its logs";
        return findings.warning(check, message, "start serve with --config instead of --data");
    };
    let Some(policy) = Policy::parse(text) else {
        let message = format!("unknown policy {text:?}: how long logs are kept cannot be told");
        return findings.warning(check, message, "see db.tx_log.rotation.retention_policy");
    };
    let (needed, least) = match of {
        For::Backup(needed, since) => (needed, since.max(HOUR)),
        For::Now(least) => {
            let Some(newest) = logs.files.last() else { return };
            (Needed { version: newest.version, commit_time: logs.time }, least)
        }
    };
    let (subject, works) = match of {
        For::Backup(..) => ("the next increment", "works"),
        For::Now(_) => ("after a backup that is made now, an increment", "would work"),
    };
    let basis = basis(logs, text);
    let Some(left) = estimate(logs, policy, needed) else {
        return findings.ok(check, format!("{subject} {works} at any time ({basis})"));
    };
    if left.time == Some(Duration::ZERO) {
        let message = format!(
            "the log file that {subject} needs may be removed at the server's next checkpoint; \
             then the next run makes a new full backup ({basis})"
        );
        return findings.warning(check, message, HINT);
    }
    let message = format!("{subject} {works} {} ({basis})", span(left));
    if policy.keeps_none() || left.time.is_some_and(|time| time < least) {
        let least = match of {
            For::Backup(_, since) if since > HOUR => {
                format!(": less than the {} since the last backup", units::span(since))
            }
            _ => format!(": that is little, less than {}", units::span(least)),
        };
        let least = if left.time.is_some() { least } else { String::new() };
        return findings.warning(check, format!("{message}{least}"), HINT);
    }
    findings.ok(check, message);
}

/// `for about 1 day 22 h`, or what else is known.
fn span(left: Estimate) -> String {
    let written =
        left.bytes.map(|bytes| format!("{} more are written to the logs", units::bytes(bytes)));
    let committed =
        left.transactions.map(|count| format!("{count} more transactions are committed"));
    let until: Vec<String> = written.into_iter().chain(committed).collect();
    let until = until.join(" or ");
    match left.time {
        Some(time) if until.is_empty() => format!("for about {}", units::span(time)),
        Some(time) => format!("for about {}, at most until {until}", units::span(time)),
        None => format!("until {until}"),
    }
}

fn basis(logs: &Logs, policy: &str) -> String {
    let mut text = format!("retention {policy:?}");
    // The listed files are the newest; only if these are all is the first one's beginning the logs'.
    let oldest = logs.files.first().filter(|_| logs.files_count <= logs.files.len() as u64);
    if let Some(time) = oldest.and_then(|file| file.first_commit_time) {
        text.push_str(&format!(", logs since {}", units::timestamp(time.0)));
    }
    if let Some(growth) = Growth::of(logs) {
        text.push_str(&format!(", growing by {} a day", units::bytes(growth.bytes_per_day())));
    }
    text
}
