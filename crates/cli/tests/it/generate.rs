//! Man pages and completions, as the tools take them that they are for.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::run::run;

const COMMANDS: [&str; 8] =
    ["serve", "backup", "info", "verify", "restore", "check", "token", "generate"];

/// What a tool says of a text on its standard input; `None` if the tool is not there.
fn say(tool: &str, args: &[&str], text: &str) -> Option<std::process::Output> {
    let mut command = Command::new(tool);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        eprintln!("SKIPPED {tool} on what is generated: not installed");
        return None;
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    Some(child.wait_with_output().unwrap())
}

/// A page for the program that names every command, one for each command that has all its flags.
#[test]
fn man_pages() {
    let page = run(["generate", "man"]);
    assert_eq!(page.status, 0, "{page:?}");
    assert!(page.stdout.contains(".TH neo4j-backup 1"), "{page:?}");
    for command in COMMANDS {
        assert!(
            page.stdout.contains(&format!("neo4j\\-backup\\-{command}")),
            "{command}: {page:?}"
        );
        let own = run(["generate", "man", command]);
        assert!(own.stdout.contains(&format!(".TH neo4j-backup-{command} 1")), "{own:?}");
        let help = run([command, "--help"]).stdout;
        let flags = help.lines().filter_map(|line| line.trim_start().strip_prefix("--"));
        for flag in flags {
            let flag = flag.split([' ', '=', '.']).next().unwrap().replace('-', "\\-");
            assert!(own.stdout.contains(&flag), "{command}: {flag} is missing");
        }
        if let Some(said) = say("groff", &["-man", "-Tutf8", "-ww"], &own.stdout) {
            assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
        }
    }
    assert_eq!(run(["generate", "man", "nothing"]).status, 2);
    assert_eq!(run(["generate", "bash", "backup"]).status, 2);
}

#[test]
fn completions() {
    for (document, shell) in [("bash", "bash"), ("zsh", "zsh"), ("fish", "fish")] {
        let text = run(["generate", document]);
        assert_eq!(text.status, 0, "{text:?}");
        for word in COMMANDS.iter().chain(&["limit-rate", "until"]) {
            assert!(text.stdout.contains(word), "{document}: {word}");
        }
        if let Some(said) = say(shell, &["-n"], &text.stdout) {
            assert!(said.status.success(), "{said:?}");
        }
    }
}
