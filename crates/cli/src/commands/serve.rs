//! `serve`: one server's databases for backup clients.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use globset::{GlobSet, GlobSetBuilder};
use service::{Limits, ServiceConfig, TlsConfig, TokenFile};
use source::{Config, Installation};

use super::backup::choose;
use super::runtime;
use crate::address::Listen;
use crate::args::ServeArgs;
use crate::environment;
use crate::exit_code::ExitCode;
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;
use crate::logging;
use crate::output::{self, Ended};
use crate::settings::Settings;

/// One per stream that reads files, and some for questions.
const BLOCKING_THREADS: usize = 24;

pub fn run(args: &ServeArgs) -> Ended {
    logging::start("info", args.log_format);
    let (installation, settings) = find_installation(args)?;
    if !settings.enabled {
        return Err(Failure::new(
            ExitCode::Disabled,
            "backup is switched off by the configuration",
        ));
    }
    tell_databases(&installation)?;
    let config = configure(args, installation, settings)?;
    runtime::block_on(BLOCKING_THREADS, async {
        let interrupt = Interrupt::listen()?;
        let shutdown = async {
            if output::is_untold() {
                return;
            }
            interrupt.wait().await;
            tracing::info!("told to stop; a second signal stops at once");
        };
        let listening = |address: SocketAddr| output::print(&format!("listening on {address}"));
        service::serve(config, listening, shutdown).await?;
        Ok(ExitCode::Ok)
    })
}

fn configure(
    args: &ServeArgs,
    installation: Installation,
    settings: Settings,
) -> Result<ServiceConfig> {
    let mut config = ServiceConfig::for_installation(installation);
    config.log_settings = settings.logs.clone();
    config.v3_0_insecure = settings.v3_0_insecure;
    (config.listen, config.last_port) = where_to_listen(args, settings)?;
    config.database_globs = globs(&args.databases)?;
    config.tls = tls(args);
    config.tokens = args.token_file.as_deref().map(TokenFile::load).transpose()?;
    config.insecure = args.insecure;
    let usual = Limits::default();
    config.limits = Limits {
        lease: args.lease.unwrap_or(usual.lease),
        grace: args.grace.unwrap_or(usual.grace),
        ..usual
    };
    Ok(config)
}

/// From --data, --config, $NEO4J_BACKUP_DATA, $NEO4J_CONF (a directory, as Neo4j has it, or the file)
/// or ./conf.
pub(super) fn find_installation(args: &ServeArgs) -> Result<(Installation, Settings)> {
    let variable =
        || args.config.is_none().then(|| environment::value(environment::DATA)).flatten();
    if let Some(data) = args.data.clone().or_else(|| variable().map(PathBuf::from)) {
        return Ok((Installation::from_data(&data)?, Settings::DEFAULT));
    }
    let config = Config::read(&find_config(args)?)?;
    Ok((Installation::configured_by(&config)?, Settings::read(config)?))
}

fn find_config(args: &ServeArgs) -> Result<PathBuf> {
    if let Some(config) = &args.config {
        return Ok(config.clone());
    }
    if let Some(conf) = std::env::var_os("NEO4J_CONF").filter(|conf| !conf.is_empty()) {
        let conf = PathBuf::from(conf);
        return Ok(if conf.is_dir() { conf.join("neo4j.conf") } else { conf });
    }
    let here = Path::new("conf/neo4j.conf");
    if here.is_file() {
        return Ok(here.to_owned());
    }
    Err(Failure::usage(
        "no server to serve: NEO4J_CONF is not set and ./conf/neo4j.conf is missing",
    )
    .hint("give --config NEO4J_CONF or --data DATA_DIR"))
}

/// Fails early where there is no Neo4j; says what there is.
fn tell_databases(installation: &Installation) -> Result<()> {
    for database in installation.databases()? {
        let found = database.inspect();
        let (state, detail) = (found.state, found.detail.unwrap_or_default());
        tracing::info!(database = %database.name, ?state, detail, "found");
    }
    Ok(())
}

/// The certificate that the flags name.
pub(super) fn tls(args: &ServeArgs) -> Option<TlsConfig> {
    let (cert, key) = args.tls_cert.clone().zip(args.tls_key.clone())?;
    Some(TlsConfig { cert, key, client_ca: args.client_ca.clone() })
}

/// By the flag (or its variable), else the configuration, else the default: the address, and the last
/// port to try.
pub(super) fn where_to_listen(args: &ServeArgs, settings: Settings) -> Result<(SocketAddr, u16)> {
    let refuse = |what: String| match &args.listen {
        Some(listen) => Failure::usage(format!("--listen {listen}: {what}")),
        None => {
            Failure::new(ExitCode::BadConfiguration, format!("the address to listen on: {what}"))
        }
    };
    let listen = match &args.listen {
        Some(flag) => Listen::parse(flag).map_err(refuse)?,
        None => settings.listen.unwrap_or_default(),
    };
    Ok((listen.resolve().map_err(refuse)?, listen.last_port))
}

pub(super) fn globs(patterns: &[String]) -> Result<Option<GlobSet>> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let refuse = |error: globset::Error| Failure::usage(format!("--database: {error}"));
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(choose::glob(pattern)?);
    }
    set.build().map(Some).map_err(refuse)
}
