//! `backup`: copies databases from a service, one after the other.

pub(super) mod choose;
mod copy;
mod follow;
pub mod take_over;
mod tell;

pub(super) use copy::blocking;

use std::path::Path;

use client::{Client, ClientOptions};
use fs::Busy;
use mirror::{Backup, BackupType, DatabaseEntry, Mirror, Reason};

use super::runtime;
use crate::address::Address;
use crate::args::{BackupArgs, ConsistencyChecker};
use crate::exit_code::ExitCode;
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;
use crate::output::{Ended, Output};

/// One per stream that writes, and some to sync and to hash.
const BLOCKING_THREADS: usize = 24;

/// What became of each database.
#[derive(Default)]
pub(super) struct Results {
    done: Vec<DatabaseEntry>,
    pub(super) failed: Vec<(String, Failure)>,
    pub(super) skipped: Vec<(String, String)>,
    /// Once new full backups were read back: what is wrong with them.
    verified: Option<Option<Failure>>,
}

pub fn run(args: BackupArgs, output: Output) -> Ended {
    let address = address(&args)?;
    args.protocol.check(&args.tls, args.token_file.as_ref())?;
    require_readable(&args)?;
    let globs = choose::Globs::parse(&args.databases)?;
    let options = client_options(&args, &address, output)?;
    let metrics = args.metrics_listen.as_deref().map(follow::metrics_address).transpose()?;
    runtime::block_on(BLOCKING_THREADS, async {
        let interrupt = Interrupt::listen()?;
        let metrics = match metrics {
            Some(address) => Some(follow::bind(address).await?),
            None => None,
        };
        let client = Client::new(options.clone())?;
        let list = tokio::select! {
            list = client.databases() => list?,
            () = interrupt.wait() => return Err(Failure::interrupted()),
        };
        let mut list = list;
        if client.is_v3_0().await? {
            if args.follow {
                return Err(Failure::usage("a Neo4j 3.0 server's own service cannot be followed")
                    .hint(
                        "run `neo4j-backup serve` beside the server, or a backup every few seconds",
                    ));
            }
            name_as_before(Backup::open(&args.to).ok().as_ref(), &mut list.databases);
        }
        let mut results = Results::default();
        let chosen = globs.choose(list.databases.clone(), &mut results);
        tell::skipped(&results, output);
        if chosen.is_empty() {
            return tell::end(&results, output);
        }
        let mirror = open_target(&args).await?;
        let named = std::sync::Arc::clone(&mirror);
        blocking(move || named.name_as_server(&list.databases)).await??;
        let run = copy::Run {
            client,
            mirror,
            interrupt,
            full: args.full,
            no_fallback: args.no_fallback,
            renew_after: args.renew_after,
            output,
            follower: None,
        };
        all(&run, chosen, args.follow, &mut results).await;
        if is_to_be_verified(&args, &results.done) {
            results.verified = Some(verify(&args.to, &run.interrupt, output).await?);
        }
        let is_whole = results.failed.is_empty() && !matches!(results.verified, Some(Some(_)));
        if args.follow && is_whole {
            return follow::follow(run, &options, &globs, metrics, &results.done).await;
        }
        tell::end(&results, output)
    })
}

fn address(args: &BackupArgs) -> Result<Address> {
    let address = match (&args.host, &args.of_v3_0.from) {
        (Some(host), _) => Address::of_flags(host, args.port),
        (None, Some(from)) => Address::of_from(from),
        (None, None) => Err("give --host".to_owned()),
    };
    address.map_err(Failure::usage)
}

/// Neo4j 3.0's tool fails without its `-config`; so does a run with a name that is mistyped.
fn require_readable(args: &BackupArgs) -> Result<()> {
    let Some(path) = &args.of_v3_0.config else { return Ok(()) };
    match std::fs::read(path) {
        Ok(_) => Ok(()),
        Err(error) => {
            let message = format!("{}: {error}", path.display());
            Err(Failure::new(ExitCode::BadConfiguration, message)
                .hint("leave --config away: a backup needs none of Neo4j's settings"))
        }
    }
}

/// What came by 3.0's protocol had no checksum on the way, and its users are used to a check.
fn is_to_be_verified(args: &BackupArgs, done: &[DatabaseEntry]) -> bool {
    let is_full = |entry: &&DatabaseEntry| {
        entry.backup_type == BackupType::Full && entry.reason != Some(Reason::Renewal)
    };
    let is_wanted = |entry: &DatabaseEntry| match (args.verify, args.of_v3_0.consistency_checker) {
        (Some(false), _) | (_, Some(ConsistencyChecker::None)) => false,
        (Some(true), _) => true,
        (None, _) => entry.store_id.is_v3_0(),
    };
    done.iter().filter(is_full).any(is_wanted)
}

/// Reads the backup back from the disk; what is wrong with it.
async fn verify(to: &Path, interrupt: &Interrupt, output: Output) -> Result<Option<Failure>> {
    let to = to.to_owned();
    let report = tokio::select! {
        report = blocking(move || super::verify::read(&to, output)) => report??,
        () = interrupt.wait() => {
            let message = "interrupted; the new backup is complete, but was not read back".to_owned();
            return Err(Failure { message, ..Failure::interrupted() });
        }
    };
    super::verify::tell_findings(&report);
    Ok(super::verify::failure_of(&report))
}

/// A 3.0 server does not tell its database's name: the backup that is there keeps the one that it has.
pub(super) fn name_as_before(backup: Option<&Backup>, databases: &mut [wire::api::Database]) {
    let entries = backup.map(|backup| backup.manifest().databases.as_slice());
    if let (Some([entry]), [database]) = (entries, databases) {
        database.name.clone_from(&entry.name);
    }
}

/// Backs up one database after the other.
async fn all(run: &copy::Run, chosen: Vec<String>, follow: bool, results: &mut Results) {
    let (mut lost, mut gone) = (false, None);
    for name in chosen {
        if run.interrupt.has_come() {
            results.failed.push((name, Failure::interrupted()));
            break;
        }
        if lost && gone.is_none() {
            gone = is_gone(&run.client, &run.interrupt).await;
        }
        if let Some(failure) = &gone {
            results.failed.push((name, Failure::clone(failure)));
            continue;
        }
        let ended = run.database(&name).await;
        lost = matches!(&ended, Err(failure) if failure.code == ExitCode::ConnectionLost);
        match ended {
            Ok(entry) => {
                // Whoever follows tells each in its own way.
                if !follow {
                    tell::done(&entry, run.output);
                }
                results.done.push(entry);
            }
            Err(failure) => results.failed.push((name, failure)),
        }
    }
}

/// After a lost connection: the failure of all other databases, if the service is away altogether.
/// Else it may only have been restarted.
async fn is_gone(client: &Client, interrupt: &Interrupt) -> Option<Failure> {
    let failure = tokio::select! {
        list = client.databases() => Failure::from(list.err()?),
        () = interrupt.wait() => return None,
    };
    (failure.code == ExitCode::ConnectionLost).then_some(failure)
}

/// Only now, when there is something to copy: a run that cannot begin leaves no trace.
async fn open_target(args: &BackupArgs) -> Result<std::sync::Arc<Mirror>> {
    let to = args.to.clone();
    let busy = args.retry_lock.map_or(Busy::Fail, Busy::Wait);
    let open = move || Mirror::open_for_write(fs::RealDisk::new(), &to, busy);
    Ok(std::sync::Arc::new(copy::blocking(open).await??))
}

fn client_options(args: &BackupArgs, address: &Address, output: Output) -> Result<ClientOptions> {
    let mut options = ClientOptions::new(address.host.clone(), address.port);
    options.tls = args.tls.options();
    options.protocol = args.protocol.into();
    options.limit_rate_bytes_per_s = args.limit_rate;
    if let Some(timeout) = args.timeout {
        (options.idle_timeout, options.v3_0_timeout) = (timeout, timeout);
        options.contact_timeout = options.contact_timeout.min(timeout);
    }
    options.forensics = args.of_v3_0.gather_forensics.unwrap_or(false).then(|| {
        let mut dir = args.to.clone().into_os_string();
        dir.push(format!(".forensics-{}", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ")));
        dir.into()
    });
    options.parallel = args.parallel.map_or(options.parallel, usize::from);
    if let Some(path) = &args.token_file {
        options.token = Some(read_token(path)?);
        if options.tls.is_none() && !address.is_this_host() {
            output.warning(format!("the token goes to {address} without TLS; give --ca"));
        }
    }
    Ok(options)
}

/// The secret in a client's file.
pub(super) fn read_token(path: &Path) -> Result<String> {
    let refuse = |what: &str| {
        let message = format!("{}: {what}", path.display());
        Failure::new(ExitCode::BadConfiguration, message)
    };
    let text = std::fs::read_to_string(path).map_err(|error| refuse(&error.to_string()))?;
    let token = text.trim();
    if token.is_empty() || token.contains(|c: char| c.is_whitespace() || !c.is_ascii_graphic()) {
        return Err(refuse("not one token")
            .hint("the client's file is the one that `token --client-file` made"));
    }
    Ok(token.to_owned())
}
