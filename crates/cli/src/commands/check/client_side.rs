//! What a run of `backup` needs: the service, its trust in us and ours in it, and the target.

use std::time::Instant;

use client::{Client, ClientOptions};
use wire::api::{DatabaseList, ErrorCode};

use super::findings::{Check, Findings};
use super::target::{Found, Target};
use super::{certificates, databases, target};
use crate::address::Address;
use crate::args::CheckArgs;
use crate::commands::backup::choose::Globs;
use crate::commands::backup::{name_as_before, read_token};
use crate::failure::Failure;
use crate::units;

/// Clocks that differ by more make times of commits and of backups hard to compare.
const CLOCK_DIFFERENCE_MAX_MS: i64 = 5_000;

/// Makes all checks that can be made.
pub async fn run(args: &CheckArgs, address: &Address, globs: &Globs, findings: &mut Findings) {
    let service = service(args, address, findings).await;
    let mut look = match &args.to {
        Some(to) => Some(target::look(to, findings).await),
        None => None,
    };
    let needs = match service {
        Some((client, mut list)) => {
            if matches!(client.is_v3_0().await, Ok(true)) {
                let backup = look.as_ref().and_then(Target::backup);
                name_as_before(backup, &mut list.databases);
            } else if let Some(Found::Backup(backup) | Found::Held(backup)) =
                look.as_mut().map(|look| &mut look.found)
            {
                backup.name_as_server(&list.databases);
            }
            databases::check(&client, &list, globs, look.as_ref(), findings).await
        }
        None => {
            databases::backups_alone(look.as_ref(), findings).await;
            None
        }
    };
    if let Some(look) = &look {
        target::space(&look.dir, needs, findings);
    }
}

/// Connection, certificate, token and clock; the databases if the service tells them.
async fn service(
    args: &CheckArgs,
    address: &Address,
    findings: &mut Findings,
) -> Option<(Client, DatabaseList)> {
    let files = certificates::own_files(args, findings);
    let (token, token_is_usable) = match args.token_file.as_deref().map(read_token) {
        None => (None, true),
        Some(Ok(token)) => (Some(token), true),
        Some(Err(failure)) => {
            findings.error(Check::new("token"), failure);
            (None, false)
        }
    };
    let mut options = ClientOptions::new(address.host.clone(), address.port);
    options.tls = args.tls.options();
    options.token = token;
    options.protocol = args.protocol.into();
    let (has_tls, has_token) = (options.tls.is_some(), options.token.is_some());
    let client = match Client::new(options) {
        Ok(client) => client,
        Err(error) => {
            if files {
                findings.error(Check::new("connection"), error);
            }
            return None;
        }
    };
    let begun = Instant::now();
    let answers = client.health().await;
    let took = units::time(begun.elapsed());
    let answers = match answers {
        Ok(()) => {
            findings.ok(Check::new("connection"), format!("{address} answers after {took}"));
            true
        }
        Err(error) => {
            findings.error(Check::new("connection"), error);
            false
        }
    };
    certificates::of_service(&client, address, findings).await;
    if !answers || !token_is_usable {
        return None;
    }
    if has_token && !has_tls && !address.is_this_host() {
        let message = format!("the token goes to {address} without TLS");
        findings.warning(Check::new("token"), message, "give --ca");
    }
    let list = list(&client, has_token, findings).await?;
    Some((client, list))
}

/// Needs a token of the scope `backup`, as a copy does.
async fn list(client: &Client, has_token: bool, findings: &mut Findings) -> Option<DatabaseList> {
    let token = Check::new("token");
    let asked = now_ms();
    let list = match client.databases().await {
        Ok(list) => list,
        Err(error) => {
            let code = error.remote_code();
            let (check, hint) = match code {
                Some(ErrorCode::Forbidden) => {
                    (token, "make one that has it: neo4j-backup token --scope backup")
                }
                Some(ErrorCode::Unauthorized) => (token, ""),
                _ => (Check::new("service"), ""),
            };
            findings.error(check, Failure::from(error).hint(hint));
            return None;
        }
    };
    let answered = now_ms();
    match has_token {
        true => findings.ok(token, "accepted for backups"),
        false => findings.ok(token, "the service asks for none"),
    }
    let count = list.databases.len();
    let plural = if count == 1 { "" } else { "s" };
    let message = format!("version {}, shows {count} database{plural}", list.service_version);
    findings.ok(Check::new("service"), message);
    if let Some(time) = list.time {
        clock(time.0, asked, answered, findings);
    }
    Some(list)
}

/// The service's clock was read between two looks at ours.
fn clock(service: i64, asked: i64, answered: i64, findings: &mut Findings) {
    let early = service.saturating_sub(answered);
    let late = asked.saturating_sub(service);
    let check = Check::new("clock");
    let difference = early.max(late).max(0);
    if difference <= CLOCK_DIFFERENCE_MAX_MS {
        return findings.ok(check, "the service's clock agrees with this host's");
    }
    let way = if early > 0 { "ahead of" } else { "behind" };
    let seconds = difference / 1000;
    let message = format!("the service's clock is {seconds} s {way} this host's");
    let hint =
        "synchronise the clocks: times of commits are the server's, those of runs this host's";
    findings.warning(check, message, hint);
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Output;

    /// Ahead and behind; the time that the answer took is no difference.
    #[test]
    fn clocks() {
        let check = |service, asked, answered| {
            let mut findings =
                Findings::new(Output { json: true, quiet: true, ..Output::default() });
            clock(service, asked, answered, &mut findings);
            findings.warnings()
        };
        assert_eq!(check(100_000, 90_000, 110_000), 0);
        assert_eq!(check(100_000, 95_000, 95_000), 0);
        assert_eq!(check(100_000, 94_000, 94_999), 1);
        assert_eq!(check(100_000, 105_001, 106_000), 1);
    }
}
