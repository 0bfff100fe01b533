//! `generate`: documents that are made from the program itself.

mod bash;
mod man;

use clap::{Command, ValueEnum as _};
use clap_complete::Shell;

use crate::args::{Document, GenerateArgs};
use crate::environment;
use crate::exit_code::{self, ExitCode};
use crate::failure::{Failure, Result};
use crate::output::{self, Ended};

const NAME: &str = "neo4j-backup";

pub fn run(args: &GenerateArgs) -> Ended {
    if args.of.is_some() && !matches!(args.document, Document::Man) {
        return Err(Failure::usage("only a man page is of a command"));
    }
    let text = match args.document {
        Document::Errors => exit_code::markdown(),
        Document::Man => man(args.of.as_deref())?,
        Document::Bash => bash::script(&built(), &documents()),
        Document::Zsh => completions(Shell::Zsh),
        Document::Fish => completions(Shell::Fish),
    };
    output::print(text.trim_end());
    Ok(ExitCode::Ok)
}

fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut without_the_word(), NAME, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// The flags of `backup` are the program's as well.
fn without_the_word() -> Command {
    let program = environment::command();
    let backup = program.find_subcommand("backup").cloned().unwrap_or_default();
    program.args(backup.get_arguments().cloned().map(|arg| arg.required(false)))
}

fn man(of: Option<&str>) -> Result<String> {
    let program = built();
    let command = match of {
        None => program,
        Some(name) => {
            let found = program.find_subcommand(name).cloned();
            found.ok_or_else(|| Failure::usage(format!("no command {name:?}")))?
        }
    };
    man::page(command).map_err(|e| Failure::of(ExitCode::Internal, &e))
}

/// Built, so that names of commands and their flags are complete.
fn built() -> Command {
    let mut program = environment::command();
    program.build();
    program
}

/// What can be generated.
fn documents() -> String {
    let values = Document::value_variants().iter().filter_map(Document::to_possible_value);
    values.map(|value| value.get_name().to_owned()).collect::<Vec<_>>().join(" ")
}
