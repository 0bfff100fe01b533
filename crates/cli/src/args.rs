//! The command line. Its spellings are a contract: later versions only add to them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use client::TlsOptions;

use crate::exit_code::{self, ExitCode};
use crate::failure::Failure;
use crate::logging::LogFormat;
use crate::output::Output;
use crate::units::{self, Moment, RenewAfter};

const BACKUP_EXAMPLES: &str = "\
Examples:
  neo4j-backup -host db1 -to /backups/db1
  neo4j-backup -host -to /backups/here          (the service on this host)
  neo4j-backup backup --host db1:6362 --to /backups/db1 --database 'neo4j*' --full
  neo4j-backup -host db1 -to /backups/db1 --ca ca.pem --token-file token --limit-rate 50MiB
  neo4j-backup -host db1 -to /mirror/db1 --follow --metrics-listen 127.0.0.1:6363";

const SERVE_EXAMPLES: &str = "\
Examples:
  neo4j-backup serve --config /etc/neo4j/neo4j.conf
  neo4j-backup serve --data /var/lib/neo4j/data --database neo4j
  neo4j-backup serve --config /etc/neo4j/neo4j.conf --listen 0.0.0.0:6362 \\
      --tls-cert cert.pem --tls-key key.pem --token-file tokens";

const INFO_EXAMPLES: &str = "\
Examples:
  neo4j-backup info --from /backups/db1 --json
  neo4j-backup info --from /backups/db1 --transactions --database neo4j --since 2026-11-24T09:00:00Z";

const VERIFY_EXAMPLES: &str = "\
Example:
  neo4j-backup verify --from /backups/db1";

const RESTORE_EXAMPLES: &str = "\
Examples:
  neo4j-backup restore --from /backups/db1 --config /etc/neo4j/neo4j.conf
  neo4j-backup restore --from /backups/db1 --to /var/lib/neo4j/data --database neo4j --force
  neo4j-backup restore --from /backups/db1 --to /tmp/data --database neo4j --before 4711
  neo4j-backup restore --from /backups/db1 --to /tmp/data --until 2026-11-24T09:30:00+01:00";

const CHECK_EXAMPLES: &str = "\
Examples:
  neo4j-backup check -host db1 -to /backups/db1 --ca ca.pem --token-file token
  neo4j-backup check -host db1 --json                     (the service alone, without a target)
  neo4j-backup check --config /etc/neo4j/neo4j.conf       (on the server's host: would serve work?)
  neo4j-backup check --config /etc/neo4j/neo4j.conf --listen 0.0.0.0:6362 \\
      --tls-cert cert.pem --tls-key key.pem --token-file tokens";

const TOKEN_EXAMPLES: &str = "\
Example:
  neo4j-backup token --name nightly --client-file ~/nightly.token --token-file /etc/neo4j/tokens";

const GENERATE_EXAMPLES: &str = "\
Examples:
  neo4j-backup generate bash > /etc/bash_completion.d/neo4j-backup
  neo4j-backup generate man > /usr/local/share/man/man1/neo4j-backup.1
  neo4j-backup generate man restore > /usr/local/share/man/man1/neo4j-backup-restore.1";

/// Online backup for Neo4j: a copy of a running server over the network, and its restore.
///
/// `backup` may be left out: `neo4j-backup -host HOST -to DIR`.
#[derive(Debug, Parser)]
#[command(name = "neo4j-backup", version, arg_required_else_help = true)]
#[command(subcommand_required = true, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// One command each.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Offer a server's databases to backup clients
    #[command(after_help = end(SERVE_EXAMPLES, &SERVE_CODES))]
    Serve(ServeArgs),
    /// Copy databases from a running service into a directory
    #[command(after_help = end(BACKUP_EXAMPLES, &BACKUP_CODES))]
    Backup(BackupArgs),
    /// Show what a backup holds
    #[command(after_help = end(INFO_EXAMPLES, &INFO_CODES))]
    Info(InfoArgs),
    /// Read a whole backup and compare every byte with what it should be
    #[command(after_help = end(VERIFY_EXAMPLES, &VERIFY_CODES))]
    Verify(VerifyArgs),
    /// Put databases of a backup where Neo4j starts on them
    #[command(after_help = end(RESTORE_EXAMPLES, &RESTORE_CODES))]
    Restore(RestoreArgs),
    /// Look whether a backup would work now: from a client, or on the server's host
    ///
    /// Nothing is copied and nothing is written, neither to the target nor beside Neo4j. All checks are
    /// made, each ends with `ok`, `warning` or `error`; only errors make the run fail.
    #[command(after_help = end(CHECK_EXAMPLES, &CHECK_CODES))]
    Check(CheckArgs),
    /// Make a token that lets a client in
    #[command(after_help = end(TOKEN_EXAMPLES, &TOKEN_CODES))]
    Token(TokenArgs),
    /// Print completions for a shell, a man page, or the table of exit codes
    #[command(after_help = end(GENERATE_EXAMPLES, &[E::Usage, E::TargetUnusable]))]
    Generate(GenerateArgs),
}

#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// What to print
    pub document: Document,
    /// The command that a man page is of [default: the program]
    #[arg(value_name = "COMMAND")]
    pub of: Option<String>,
}

/// Documents that are made from the program itself.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Document {
    /// docs/errors.md
    Errors,
    /// A man page, as roff
    Man,
    /// Completions for bash
    Bash,
    /// Completions for zsh
    Zsh,
    /// Completions for fish
    Fish,
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The server's neo4j.conf [default: in $NEO4J_CONF, else ./conf/neo4j.conf]
    #[arg(long, value_name = "NEO4J_CONF", conflicts_with = "data")]
    pub config: Option<PathBuf>,
    /// The server's data directory, in place of --config [env: NEO4J_BACKUP_DATA]
    #[arg(long, value_name = "DATA_DIR")]
    pub data: Option<PathBuf>,
    /// Where to accept connections; port 0 picks a free one, FIRST-LAST the first that is free
    /// [default: the configuration's, else 127.0.0.1:6362]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Offer only the databases whose names match; may be repeated
    #[arg(long = "database", value_name = "GLOB")]
    pub databases: Vec<String>,
    /// The service's certificate chain
    #[arg(long, value_name = "PEM", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key
    #[arg(long, value_name = "PEM", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Accept only clients with a certificate of this authority
    #[arg(long, value_name = "PEM", requires = "tls_cert")]
    pub client_ca: Option<PathBuf>,
    /// The tokens that let clients in, one hashed line each (see `token`)
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Allow an address other than loopback without TLS and authentication
    #[arg(long)]
    pub insecure: bool,
    /// How long a copy waits for a client that has lost its connection [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = units::parse_seconds)]
    pub lease: Option<Duration>,
    /// How long running copies may go on after SIGTERM or Ctrl-C [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = units::parse_seconds)]
    pub grace: Option<Duration>,
    /// How the log on stderr is written
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("server").required(true).args(["host", "from"]))]
pub struct BackupArgs {
    /// The service's host, also with `:PORT`; without a value this host
    #[arg(long, value_name = "HOST", num_args = 0..=1, default_missing_value = "127.0.0.1")]
    pub host: Option<String>,
    /// The service's port [default: 6362]
    #[arg(long, conflicts_with = "from")]
    pub port: Option<u16>,
    /// The directory of the backup
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Only the databases whose names match; may be repeated [default: all]
    #[arg(long = "database", value_name = "GLOB")]
    pub databases: Vec<String>,
    /// Make a new full backup in place of one that is there
    #[arg(long)]
    pub full: bool,
    /// Fail where the server's logs no longer reach back to the backup, instead of making a new full
    /// backup
    #[arg(long, conflicts_with = "full")]
    pub no_fallback: bool,
    /// Wait so long for another run on the directory to end, instead of failing at once
    #[arg(long, value_name = "TIME", value_parser = units::parse_seconds)]
    pub retry_lock: Option<Duration>,
    /// Copy what has changed in the store, too, once the logs since its last copy are longer than this;
    /// `never` to let them grow [default: a quarter of the store, at least 256MiB]
    #[arg(long, value_name = "SIZE|never", value_parser = units::parse_renew_after)]
    pub renew_after: Option<RenewAfter>,
    /// Stay, and add each transaction to the backup as soon as it is committed, until Ctrl-C or
    /// SIGTERM
    #[arg(long)]
    pub follow: bool,
    /// Where a follower's metrics (/metrics, for Prometheus) and /health are to be had
    #[arg(long, value_name = "HOST:PORT", requires = "follow")]
    pub metrics_listen: Option<String>,
    /// What is spoken with the other end
    #[arg(long, value_enum, default_value = "auto")]
    pub protocol: Protocol,
    /// Read a new full backup back from the disk and compare every byte, as `verify` does
    /// [default: true of a Neo4j 3.0 database, else false]
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    pub verify: Option<bool>,
    /// How long the other end may send nothing, such as 90s or 20m
    /// [default: 20m of a Neo4j 3.0 server, else 30s]
    #[arg(long, value_name = "TIME", value_parser = units::parse_timeout)]
    pub timeout: Option<Duration>,
    #[command(flatten)]
    pub of_v3_0: V3_0Args,
    /// How many streams to read at once [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    pub parallel: Option<u8>,
    /// The most bytes per second, such as 50MiB
    #[arg(long, value_name = "RATE", value_parser = units::parse_rate)]
    pub limit_rate: Option<u64>,
    #[command(flatten)]
    pub tls: ClientTlsArgs,
    /// The file that holds this client's token
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// How what is told on stderr is written
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Options of Neo4j 3.0's tool, so that its command lines work; see docs/neo4j-3.0.md.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of Neo4j 3.0's tool")]
pub struct V3_0Args {
    /// The server as `[single://]HOST[:PORT]`; deprecated, use --host and --port
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<String>,
    /// `none` is --verify=false; what checks is always `verify`, nothing of Neo4j's
    #[arg(long, value_name = "full|none", value_enum, ignore_case = true)]
    pub consistency_checker: Option<ConsistencyChecker>,
    /// Must be readable; what is in it is for Neo4j's own checks, which are not run
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Keep the log files that a Neo4j 3.0 server has, too, in a directory beside --to
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    pub gather_forensics: Option<bool>,
}

/// What checks a new full backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ConsistencyChecker {
    /// As `verify` does.
    Full,
    /// Nothing does.
    None,
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// What answers; `http` with --ca or --token-file
    Auto,
    /// With `neo4j-backup serve`
    Http,
    /// With the backup service of a Neo4j 3.0 Enterprise server
    #[value(name = "3.0")]
    V3_0,
}

impl Protocol {
    /// Fails where it cannot have what is wanted besides.
    pub fn check(self, tls: &ClientTlsArgs, token_file: Option<&PathBuf>) -> Result<(), Failure> {
        if self != Self::V3_0 || (tls.ca.is_none() && token_file.is_none()) {
            return Ok(());
        }
        Err(Failure::usage("the protocol of Neo4j 3.0 has neither encryption nor users").hint(
            "leave --ca and --token-file away, and keep to the loopback interface or a tunnel",
        ))
    }
}

impl From<Protocol> for client::Protocol {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Auto => Self::Auto,
            Protocol::Http => Self::Http,
            Protocol::V3_0 => Self::V3_0,
        }
    }
}

/// How a client speaks TLS.
#[derive(Debug, Args)]
pub struct ClientTlsArgs {
    /// Use TLS, and trust the certificates of this authority
    #[arg(long, value_name = "PEM")]
    pub ca: Option<PathBuf>,
    /// This client's certificate chain
    #[arg(long, value_name = "PEM", requires_all = ["client_key", "ca"])]
    pub client_cert: Option<PathBuf>,
    /// The private key of the client's certificate
    #[arg(long, value_name = "PEM", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
}

impl ClientTlsArgs {
    /// For the client, if TLS is wanted.
    pub fn options(&self) -> Option<TlsOptions> {
        let client = self.client_cert.clone().zip(self.client_key.clone());
        self.ca.clone().map(|ca| TlsOptions { ca, client })
    }
}

#[derive(Debug, Args)]
pub struct InfoArgs {
    /// The directory of the backup
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// Only this database; may be repeated [default: all]
    #[arg(long = "database", value_name = "NAME")]
    pub databases: Vec<String>,
    /// List the transactions; with --json one document for each, on a line of its own
    #[arg(long)]
    pub transactions: bool,
    /// Only the transactions from this one or this time on
    #[arg(long, value_name = "TX_ID|TIME", value_parser = units::parse_moment, requires = "transactions")]
    pub since: Option<Moment>,
    /// Only the transactions up to this one or this time
    #[arg(long, value_name = "TX_ID|TIME", value_parser = units::parse_moment, requires = "transactions")]
    pub until: Option<Moment>,
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The directory of the backup
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("target").required(true).args(["to", "config"]))]
pub struct RestoreArgs {
    /// The directory of the backup
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// The data directory to restore to
    #[arg(long, value_name = "DATA_DIR")]
    pub to: Option<PathBuf>,
    /// The neo4j.conf of the server to restore to
    #[arg(long, value_name = "NEO4J_CONF")]
    pub config: Option<PathBuf>,
    /// Only this database; may be repeated [default: all]
    #[arg(long = "database", value_name = "NAME")]
    pub databases: Vec<String>,
    /// Leave out what was committed after this transaction or time
    #[arg(long, value_name = "TX_ID|TIME", value_parser = units::parse_moment, conflicts_with = "before")]
    pub until: Option<Moment>,
    /// Leave out this transaction, or what was committed at this time, and all that follows
    #[arg(long, value_name = "TX_ID|TIME", value_parser = units::parse_moment)]
    pub before: Option<Moment>,
    /// Move a database that is there already aside
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("side").required(true).args(["host", "config", "data"]))]
pub struct CheckArgs {
    /// The service's host, also with `:PORT`; without a value this host
    #[arg(long, value_name = "HOST", num_args = 0..=1, default_missing_value = "127.0.0.1")]
    pub host: Option<String>,
    /// The service's port [default: 6362]
    #[arg(long, conflicts_with_all = ["config", "data"])]
    pub port: Option<u16>,
    /// The directory of the backup, which may be missing; without it only the service is looked at
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "data"])]
    pub to: Option<PathBuf>,
    #[command(flatten)]
    pub tls: ClientTlsArgs,
    /// What is spoken with the other end
    #[arg(long, value_enum, default_value = "auto")]
    pub protocol: Protocol,
    /// On the server's host: the server's neo4j.conf
    #[arg(long, value_name = "NEO4J_CONF", conflicts_with = "ca")]
    pub config: Option<PathBuf>,
    /// On the server's host: the server's data directory, in place of --config
    #[arg(long, value_name = "DATA_DIR", conflicts_with = "ca")]
    pub data: Option<PathBuf>,
    /// As for `serve`: where it is to accept connections
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "host")]
    pub listen: Option<String>,
    /// As for `serve`: the service's certificate chain
    #[arg(long, value_name = "PEM", requires = "tls_key", conflicts_with = "host")]
    pub tls_cert: Option<PathBuf>,
    /// As for `serve`: the certificate's private key
    #[arg(long, value_name = "PEM", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// As for `serve`: the authority of the clients' certificates
    #[arg(long, value_name = "PEM", requires = "tls_cert")]
    pub client_ca: Option<PathBuf>,
    /// As for `serve`: allow an address other than loopback without TLS and authentication
    #[arg(long, conflicts_with = "host")]
    pub insecure: bool,
    /// With --host the file that holds this client's token, else the service's file of tokens
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Only the databases whose names match; may be repeated [default: all]
    #[arg(long = "database", value_name = "GLOB")]
    pub databases: Vec<String>,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
pub struct TokenArgs {
    /// What the token is called in the service's file and log
    #[arg(long)]
    pub name: String,
    /// What it may be used for
    #[arg(long, value_enum, default_value = "backup")]
    pub scope: TokenScope,
    /// Write the secret for the client into this new file
    #[arg(long, value_name = "FILE")]
    pub client_file: PathBuf,
    /// Append the hashed line to the service's file [default: print it]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// What a token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TokenScope {
    /// Copy databases.
    Backup,
    /// Read /metrics.
    Metrics,
}

/// How results are told.
#[derive(Clone, Copy, Debug, Args)]
pub struct OutputArgs {
    /// One JSON document on stdout, everything else on stderr
    #[arg(long)]
    json: bool,
    /// No progress, and no text but errors
    #[arg(long, short)]
    quiet: bool,
}

impl Command {
    /// How stderr is written.
    pub fn log_format(&self) -> LogFormat {
        match self {
            Self::Serve(args) => args.log_format,
            Self::Backup(args) => args.log_format,
            _ => LogFormat::Text,
        }
    }

    /// How the command's result is told.
    pub fn output(&self) -> Output {
        let of = |args: &OutputArgs| Output { json: args.json, lines: false, quiet: args.quiet };
        match self {
            Self::Backup(args) => Output { lines: args.follow, ..of(&args.output) },
            Self::Verify(args) => of(&args.output),
            Self::Restore(args) => of(&args.output),
            Self::Check(args) => of(&args.output),
            Self::Info(args) => Output { json: args.json, ..Output::default() },
            Self::Serve(_) | Self::Token(_) | Self::Generate { .. } => Output::default(),
        }
    }
}

use ExitCode as E;

const SERVE_CODES: [E; 6] = [
    E::BadConfiguration,
    E::CannotListen,
    E::Disabled,
    E::SourceUnusable,
    E::TargetUnusable,
    E::NoSpace,
];
const BACKUP_CODES: [E; 24] = [
    E::BadConfiguration,
    E::CannotListen,
    E::CannotConnect,
    E::WrongService,
    E::NotAuthorised,
    E::ConnectionLost,
    E::ServiceBusy,
    E::ServiceFailed,
    E::SourceUnusable,
    E::NoSuchDatabase,
    E::LogsPruned,
    E::OtherStore,
    E::StoreMigrated,
    E::Diverged,
    E::TargetUnusable,
    E::TargetExists,
    E::TargetInUse,
    E::NoSpace,
    E::NoBackup,
    E::BackupChanged,
    E::NotABackup,
    E::BackupTooNew,
    E::CorruptData,
    E::Partial,
];
const INFO_CODES: [E; 8] = [
    E::NoSuchDatabase,
    E::TargetUnusable,
    E::NoSpace,
    E::NoBackup,
    E::OutOfRange,
    E::BackupTooNew,
    E::CorruptData,
    E::Partial,
];
const VERIFY_CODES: [E; 6] =
    [E::TargetUnusable, E::TargetInUse, E::NoSpace, E::NoBackup, E::BackupTooNew, E::CorruptData];
const RESTORE_CODES: [E; 12] = [
    E::BadConfiguration,
    E::SourceUnusable,
    E::NoSuchDatabase,
    E::TargetUnusable,
    E::TargetExists,
    E::TargetInUse,
    E::NoSpace,
    E::NoBackup,
    E::DatabaseRunning,
    E::OutOfRange,
    E::BackupTooNew,
    E::CorruptData,
];
const CHECK_CODES: [E; 23] = [
    E::BadConfiguration,
    E::CannotListen,
    E::Disabled,
    E::CannotConnect,
    E::WrongService,
    E::NotAuthorised,
    E::ConnectionLost,
    E::ServiceBusy,
    E::ServiceFailed,
    E::SourceUnusable,
    E::NoSuchDatabase,
    E::LogsPruned,
    E::OtherStore,
    E::StoreMigrated,
    E::Diverged,
    E::TargetUnusable,
    E::NoSpace,
    E::NoBackup,
    E::BackupChanged,
    E::NotABackup,
    E::BackupTooNew,
    E::CorruptData,
    E::CheckFailed,
];
const TOKEN_CODES: [E; 4] = [E::BadConfiguration, E::TargetUnusable, E::TargetExists, E::NoSpace];

fn end(examples: &str, codes: &[ExitCode]) -> String {
    format!("{examples}\n\n{}", exit_code::help(codes))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    /// clap's own check of what is declared above.
    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
