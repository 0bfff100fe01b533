//! The command line: flags, progress, JSON and exit codes. The only crate that prints.

mod address;
mod args;
mod argv;
mod commands;
mod environment;
mod exit_code;
mod failure;
mod interrupt;
mod logging;
mod output;
mod progress;
mod settings;
mod units;

use std::io::Write as _;
use std::process;
use std::sync::Arc;

use clap::error::ErrorKind;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::args::Command;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::Output;

fn main() -> process::ExitCode {
    outlive_limits();
    let args = argv::rewrite(std::env::args_os());
    let json = argv::wants_json(&args);
    let code = match environment::parse(args) {
        Err(error) => refuse(&error, Output { json, ..Output::default() }),
        Ok(cli) => {
            let output = cli.command.output();
            tell_panics(matches!(cli.command, Command::Serve(_)), output);
            if !matches!(cli.command, Command::Serve(_)) {
                let level = if output.quiet { "error" } else { "warn" };
                logging::start(level, cli.command.log_format());
            }
            let ended = commands::run(cli.command, output);
            ended.unwrap_or_else(|failure| {
                output.failure(&failure);
                failure.code
            })
        }
    };
    process::ExitCode::from(output::end(code).status())
}

/// A file that may not become longer (`ulimit -f`) is an error of whoever writes it; the signal that
/// comes with the error must not kill the process. Taking note of it is enough for that.
///
/// The soft limit of open files (`ulimit -S -n`) is for programs that use `select`. A service holds the
/// descriptors of all logs since its checkpoint and of every Lucene file, a client those of all logs of an
/// increment.
fn outlive_limits() {
    let files = getrlimit(Resource::Nofile);
    // Whoever needs more than it has says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files });
    // Fails only for signals that cannot be caught.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
}

/// Help and version are no failures; anything else that clap says is a usage error.
fn refuse(error: &clap::Error, output: Output) -> ExitCode {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if output.json && !asked {
        let text = error.render().to_string();
        let said: Vec<&str> =
            text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        let said = said.join(" ");
        output.failure(&Failure::usage(said.strip_prefix("error: ").unwrap_or(&said)));
    } else {
        let printed = error.print().and_then(|()| std::io::stdout().flush());
        if asked {
            output::note(printed);
        }
    }
    if asked { ExitCode::Ok } else { ExitCode::Usage }
}

/// A panic is a defect of ours, told in one line. It ends the process with its own code, whichever
/// thread it is in, since what that thread was to do is not done. Only a service goes on: a request
/// that finds a defect must not take the copies of others with it.
fn tell_panics(goes_on: bool, output: Output) {
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(|at| format!(" at {at}")).unwrap_or_default();
        let message = format!("panic{place}: {}", panic.payload_as_str().unwrap_or("no message"));
        let failure = Failure::new(ExitCode::Internal, failure::one_line(&message));
        output.failure_at_once(&failure);
        if !goes_on || std::thread::current().name() == Some("main") {
            process::exit(i32::from(ExitCode::Internal.status()));
        }
    }));
}
