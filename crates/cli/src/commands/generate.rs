//! `generate`: documents that are made from the program itself.

use clap_complete::Shell;
use clap_mangen::Man;

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
        Document::Bash => completions(Shell::Bash),
        Document::Zsh => completions(Shell::Zsh),
        Document::Fish => completions(Shell::Fish),
    };
    output::print(text.trim_end());
    Ok(ExitCode::Ok)
}

fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut environment::command(), NAME, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn man(of: Option<&str>) -> Result<String> {
    // Built, so that names of commands and their flags are complete.
    let mut program = environment::command();
    program.build();
    let command = match of {
        None => program,
        Some(name) => {
            let found = program.find_subcommand(name).cloned();
            found.ok_or_else(|| Failure::usage(format!("no command {name:?}")))?
        }
    };
    let mut page = Vec::new();
    Man::new(command).render(&mut page).map_err(|e| Failure::of(ExitCode::Internal, &e))?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
