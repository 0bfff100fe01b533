//! One module per command: flags in, libraries called, results told.

mod backup;
mod check;
mod generate;
mod info;
mod report;
mod restore;
mod runtime;
mod serve;
mod token;
mod verify;

use crate::args::Command;
use crate::output::{Ended, Output};

/// Runs a command to its end.
pub fn run(command: Command, output: Output) -> Ended {
    match command {
        Command::Serve(args) => serve::run(&args),
        Command::Backup(args) => backup::run(args, output),
        Command::Info(args) => info::run(&args, output),
        Command::Verify(args) => verify::run(args, output),
        Command::Restore(args) => restore::run(args, output),
        Command::Check(args) => check::run(args, output),
        Command::Token(args) => token::run(&args),
        Command::Generate(args) => generate::run(&args),
    }
}
