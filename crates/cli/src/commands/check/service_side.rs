//! What `serve` needs, looked at without serving: configuration, address, certificates, databases.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use client::{Client, ClientOptions};
use rustix::process::{Resource, getrlimit};
use service::{Catalog, LogSettings, ServiceConfig, TokenFile};
use source::{Database, Installation, RecoveryStart, State};

use super::findings::{Check, Findings};
use super::retention::{self, For};
use super::{certificates, rights};
use crate::args::{CheckArgs, ServeArgs};
use crate::commands::backup::blocking;
use crate::commands::serve;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, Result};
use crate::logging::LogFormat;
use crate::settings::Settings;
use crate::units;

/// A backup that is made now should be good for so long.
const LEAST: std::time::Duration = std::time::Duration::from_hours(24);
/// What a service with many databases and indexes may need.
const OPEN_FILES: u64 = 16_384;

/// Makes all checks that can be made.
pub async fn run(args: &CheckArgs, findings: &mut Findings) {
    let serve_args = serve_args(args);
    open_files(findings);
    files(&serve_args, findings);
    let (installation, settings) = match serve::find_installation(&serve_args) {
        Ok(found) => found,
        Err(failure) => return findings.error(Check::new("configuration"), failure),
    };
    let (data, logs) = (installation.data_dir().display(), installation.transactions_root());
    // Neo4j 3.0 has none.
    let message = match logs.exists() {
        true => format!("data in {data}, transaction logs in {}", logs.display()),
        false => format!("data in {data}"),
    };
    findings.ok(Check::new("configuration"), message);
    if args.config.is_some() {
        let check = Check::new("enabled");
        match settings.enabled {
            true => findings.ok(check, "backup is not switched off"),
            false => {
                let message = "backup is switched off by the configuration";
                findings.error(check, Failure::new(ExitCode::Disabled, message));
            }
        }
    }
    let log_settings = settings.logs.clone();
    address(&serve_args, &installation, settings, findings).await;
    databases(args, &installation, log_settings.as_ref(), findings).await;
}

/// The flags that both commands have.
fn serve_args(args: &CheckArgs) -> ServeArgs {
    ServeArgs {
        config: args.config.clone(),
        data: args.data.clone(),
        listen: args.listen.clone(),
        databases: args.databases.clone(),
        tls_cert: args.tls_cert.clone(),
        tls_key: args.tls_key.clone(),
        client_ca: args.client_ca.clone(),
        token_file: args.token_file.clone(),
        insecure: args.insecure,
        lease: None,
        grace: None,
        log_format: LogFormat::Text,
    }
}

/// Every command raises the soft limit to the hard one.
fn open_files(findings: &mut Findings) {
    let check = Check::new("open_files");
    match getrlimit(Resource::Nofile).maximum {
        Some(limit) if limit < OPEN_FILES => {
            let message = format!("this user may open {limit} files at the most");
            let hint =
                "set a hard limit of 16384 or more for the service (ulimit -Hn, LimitNOFILE)";
            findings.warning(check, message, hint);
        }
        Some(limit) => findings.ok(check, format!("this user may open {limit} files")),
        None => findings.ok(check, "no limit of open files"),
    }
}

/// The files that the flags name.
fn files(args: &ServeArgs, findings: &mut Findings) {
    if let Some(tls) = serve::tls(args) {
        let check = Check::new("certificate");
        match tls.check() {
            Ok(()) => {
                certificates::file(findings, check, &tls.cert);
                if let Some(ca) = &tls.client_ca {
                    certificates::file(findings, Check::new("client_ca"), ca);
                }
            }
            Err(error) => findings.error(check, error),
        }
    }
    if let Some(path) = &args.token_file {
        let check = Check::new("token_file");
        match TokenFile::load(path) {
            Ok(_) => findings.ok(check, format!("{} can be used", path.display())),
            Err(error) => findings.error(check, error),
        }
    }
}

/// Is the address one that may be listened on, and is it free?
async fn address(
    args: &ServeArgs,
    installation: &Installation,
    settings: Settings,
    findings: &mut Findings,
) {
    let check = Check::new("address");
    let (listen, last_port) = match serve::where_to_listen(args, settings) {
        Ok(found) => found,
        Err(failure) => return findings.error(check, failure),
    };
    let mut config = ServiceConfig::for_installation(installation.clone());
    (config.listen, config.last_port) = (listen, last_port);
    (config.tls, config.insecure) = (serve::tls(args), args.insecure);
    // A file that cannot be used has an error of its own.
    config.tokens = args.token_file.as_ref().map(|_| TokenFile::default());
    let protected = Check::new("protection");
    match config.check_security() {
        Err(error) => findings.error(protected, error),
        Ok(()) if listen.ip().is_loopback() => {
            findings.ok(protected, "reached from this host only");
        }
        Ok(()) if args.insecure => {
            let hint = "give --tls-cert, --tls-key and --token-file or --client-ca";
            findings.warning(protected, "--insecure: whoever reaches it can copy all data", hint);
        }
        Ok(()) => findings.ok(protected, "TLS and authentication"),
    }
    let ports = listen.port()..=last_port.max(listen.port());
    let mut refused = None;
    for port in ports {
        let place = SocketAddr::new(listen.ip(), port);
        match TcpListener::bind(place) {
            Ok(_) => return findings.ok(check, format!("{place} is free")),
            Err(error) => {
                refused.get_or_insert(error);
            }
        }
    }
    let Some(source) = refused else { return };
    if source.kind() == std::io::ErrorKind::AddrInUse && is_ours(listen).await {
        return findings.ok(check, format!("a backup service listens on {listen} already"));
    }
    findings.error(check, service::Error::Bind { listen, source });
}

/// Whether a service of ours answers there. One that speaks TLS says so without.
async fn is_ours(listen: SocketAddr) -> bool {
    let host = match listen.ip() {
        ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    let Ok(client) = Client::new(ClientOptions::new(host.to_string(), listen.port())) else {
        return false;
    };
    matches!(client.health().await, Ok(()) | Err(client::Error::Remote(_)))
}

async fn databases(
    args: &CheckArgs,
    installation: &Installation,
    log_settings: Option<&LogSettings>,
    findings: &mut Findings,
) {
    let check = Check::new("databases");
    let chosen = match serve::globs(&args.databases) {
        Ok(chosen) => chosen,
        Err(failure) => return findings.error(check, failure),
    };
    let mut found = match installation.databases() {
        Ok(found) => found,
        Err(error) => return findings.error(check, error),
    };
    found.retain(|database| chosen.as_ref().is_none_or(|chosen| chosen.is_match(&database.name)));
    if found.is_empty() {
        let message = format!("no database to serve in {}", installation.data_dir().display());
        return findings.error(check, Failure::new(ExitCode::NoSuchDatabase, message));
    }
    for database in found {
        if state(&database, findings) {
            let readable = rights::check(&database, findings).await;
            // What cannot be read would be told once more.
            if readable && copy(&database, findings).await {
                logs(installation, &database, log_settings, findings).await;
            }
        }
    }
}

/// Whether a database can be copied at all.
fn state(database: &Database, findings: &mut Findings) -> bool {
    let check = Check::of("database", &database.name);
    let found = database.inspect();
    let size = units::bytes(found.size_bytes.unwrap_or(0));
    let format = found.store_id.map_or_else(String::new, |id| format!(", {}", id.format_name()));
    let detail = found.detail.unwrap_or_default();
    match found.state {
        State::Online => findings.ok(check, format!("online{format}, {size}")),
        State::Offline => findings.ok(check, format!("offline{format}, {size}")),
        State::Creating => findings.warning(check, detail, "try again when the server is done"),
        State::Corrupt => findings.error(check, Failure::new(ExitCode::CorruptData, detail)),
        State::Migrating | State::Unsupported | State::Unreadable => {
            findings.error(check, Failure::new(ExitCode::SourceUnusable, detail));
        }
    }
    // The rights may be what is wrong.
    matches!(found.state, State::Online | State::Offline | State::Unreadable)
}

/// Begins a copy, and lets go of it: what would keep one from beginning is found that way.
async fn copy(database: &Database, findings: &mut Findings) -> bool {
    let owned = database.clone();
    let begun = blocking(move || {
        let copy = owned.hot_copy()?;
        Ok::<_, source::Error>((copy.start(), copy.files().len()))
    });
    let check = Check::of("copy", &database.name);
    let begun: Result<_> = begun.await.and_then(|begun| Ok(begun?));
    match begun {
        Ok((start, files)) => {
            let from = start.map(|RecoveryStart { tx_id, time, .. }| {
                format!("checkpoint at transaction {tx_id} of {}, ", units::timestamp(time.0))
            });
            findings.ok(check, format!("can begin: {}{files} files", from.unwrap_or_default()));
            true
        }
        Err(failure) => {
            findings.error(check, failure);
            false
        }
    }
}

async fn logs(
    installation: &Installation,
    database: &Database,
    settings: Option<&LogSettings>,
    findings: &mut Findings,
) {
    let (owned, name) = (installation.clone(), database.name.clone());
    let read = blocking(move || Catalog::logs(&owned, &name)).await;
    let refuse = |error: wire::api::ErrorDetail| Failure::from(client::Error::Remote(error));
    match read.and_then(|logs| logs.map_err(refuse)) {
        Ok(mut logs) => {
            logs.time = formats::TimestampMs(jiff::Timestamp::now().as_millisecond());
            if let Some(settings) = settings {
                settings.fill(&mut logs);
            }
            retention::check(findings, &database.name, &logs, For::Now(LEAST));
        }
        Err(failure) => findings.error(Check::of("retention", &database.name), failure),
    }
}
