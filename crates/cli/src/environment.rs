//! Flags that the environment may give as well: `--tls-cert` is `NEO4J_BACKUP_TLS_CERT`.
//!
//! A flag goes before its variable. A variable without a value is one that is not set: env files and
//! compose files have such lines.

use std::ffi::OsString;

use clap::{Arg, Command, CommandFactory as _, FromArgMatches as _};

use crate::args::Cli;

/// The one that the parser does not know: for it the variable and `--config` were in conflict.
pub const DATA: &str = "NEO4J_BACKUP_DATA";

/// By command, its flags and their variables: what is the same for every run on a host. What weakens
/// protection (`--insecure`) or replaces a backup (`--full`) has to stand where it is used.
const VARIABLES: [(&str, &[(&str, &str)]); 2] = [
    (
        "serve",
        &[
            ("listen", "NEO4J_BACKUP_LISTEN"),
            ("tls_cert", "NEO4J_BACKUP_TLS_CERT"),
            ("tls_key", "NEO4J_BACKUP_TLS_KEY"),
            ("client_ca", "NEO4J_BACKUP_CLIENT_CA"),
            ("token_file", "NEO4J_BACKUP_TOKEN_FILE"),
            ("log_format", "NEO4J_BACKUP_LOG_FORMAT"),
        ],
    ),
    (
        "backup",
        &[
            ("host", "NEO4J_BACKUP_HOST"),
            ("ca", "NEO4J_BACKUP_CA"),
            ("client_cert", "NEO4J_BACKUP_CLIENT_CERT"),
            ("client_key", "NEO4J_BACKUP_CLIENT_KEY"),
            ("token_file", "NEO4J_BACKUP_TOKEN_FILE"),
        ],
    ),
];

/// Parses arguments, and looks into the environment for those that are missing.
pub fn parse(args: Vec<OsString>) -> Result<Cli, clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(args)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// The command line, with the variables of its flags.
pub fn command() -> Command {
    VARIABLES.iter().fold(Cli::command(), |program, (name, flags)| {
        program.mut_subcommand(name, |command| {
            flags.iter().fold(command, |command, (flag, variable)| {
                command.mut_arg(flag, |arg| with_variable(arg, variable))
            })
        })
    })
}

/// The value of a variable, if it has one.
pub fn value(variable: &str) -> Option<OsString> {
    std::env::var_os(variable).filter(|value| !value.is_empty())
}

/// Help and man pages are the same wherever they are made, but that a blank variable is not in them.
fn with_variable(arg: Arg, variable: &'static str) -> Arg {
    let blank = std::env::var_os(variable).is_some_and(|value| value.is_empty());
    if blank { arg } else { arg.env(variable).hide_env_values(true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every flag of the table is one of its command, and each variable is called like its flag.
    #[test]
    fn the_variables_are_sound() {
        command().debug_assert();
        for (flag, variable) in VARIABLES.iter().flat_map(|(_, flags)| *flags) {
            assert_eq!(format!("NEO4J_BACKUP_{}", flag.to_uppercase()), **variable);
        }
    }
}
