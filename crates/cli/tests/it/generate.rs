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
        let (examples, codes) =
            (own.stdout.find(".SH EXAMPLES"), own.stdout.find(".SH EXIT STATUS"));
        for section in [examples, codes] {
            let section = &own.stdout[section.unwrap_or_else(|| panic!("{command}: {own:?}"))..];
            assert_eq!(section.lines().nth(1), Some(".nf"), "{command}");
        }
        assert!(!own.stdout.contains(".SH EXTRA"), "{command}");
        if let Some(said) = say("groff", &["-man", "-Tutf8", "-ww"], &own.stdout) {
            assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
        }
        // As a person reads it, and pastes it.
        let plain = ["-man", "-Tascii", "-P-c", "-P-b", "-P-u", "-rLL=70n"];
        if let Some(said) = say("groff", &plain, &own.stdout) {
            let page = String::from_utf8(said.stdout).unwrap();
            let page: Vec<&str> = page.lines().map(str::trim).collect();
            let end = help.split("\n\nExample").nth(1).unwrap();
            let (examples, _) = end.split_once("\n\nExit codes").unwrap();
            for line in examples.lines().skip(1).map(str::trim) {
                assert!(page.contains(&line), "{command}: {line:?} in {page:#?}");
            }
            let interrupted = "130  interrupted        stopped by Ctrl-C or SIGTERM";
            assert!(page.contains(&interrupted), "{command}: {page:#?}");
        }
    }
    assert_eq!(run(["generate", "man", "nothing"]).status, 2);
    assert_eq!(run(["generate", "bash", "backup"]).status, 2);
}

/// The shells take them, and each has what a command line may have; the flags of `backup` also where
/// the word is left out.
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
    let zsh = run(["generate", "zsh"]).stdout;
    let before_commands = zsh.split("_neo4j-backup_commands").next().unwrap();
    assert!(before_commands.contains("'--renew-after="), "{before_commands}");
    for command in COMMANDS {
        assert!(zsh.contains(&format!("({command})\n_arguments")), "{command}");
    }
    let fish = run(["generate", "fish"]).stdout;
    let is_flag = |line: &str| line.contains("needs_command\" -l renew-after");
    assert!(fish.lines().any(is_flag), "{fish}");
    for command in COMMANDS {
        let condition = format!("-n \"__fish_neo4j_backup_using_subcommand {command}\"");
        assert!(fish.contains(&condition), "{command}");
    }
}

/// What bash offers for a line that is being typed; the last word is the one that is completed.
#[test]
fn bash_completes() {
    let script = run(["generate", "bash"]).stdout;
    let check = |line: &str, expected: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [before @ .., previous, current] = &*words else { panic!("{line}") };
        let typed = format!(
            "{script}\nCOMP_WORDS=({} {previous} '{current}')\nCOMP_CWORD={}\n\
             _neo4j_backup neo4j-backup '{current}' '{previous}'\necho \"${{COMPREPLY[*]}}\"",
            before.join(" "),
            before.len() + 1
        );
        let Some(said) = say("bash", &["--norc"], &typed) else { return };
        let offered = String::from_utf8(said.stdout).unwrap();
        assert!(said.stderr.is_empty(), "{line}: {}", String::from_utf8_lossy(&said.stderr));
        assert_eq!(offered.trim_end(), expected, "{line}");
    };
    check("n re", "restore");
    check("n s", "serve");
    check(
        "n --",
        "--ca --client-cert --client-key --config --consistency-checker --database --follow \
         --from --full --gather-forensics --help --host --json --limit-rate --log-format \
         --metrics-listen --no-fallback --parallel --port --protocol --quiet --renew-after \
         --retry-lock --timeout --to --token-file --verify --version",
    );
    check("n restore --u", "--until");
    check("n restore --from /backups --b", "--before");
    check("n backup --host db --f", "--follow --from --full");
    check("n backup -t", "-timeout -to");
    check("n --host db --t", "--timeout --to --token-file");
    check("n -host db -to /b --fu", "--full");
    check("n -ho", "-host");
    check("n --ver", "--verify --version");
    check("n info -t", "");
    check("n generate b", "bash");
    check("n generate man r", "restore");
    check("n generate bash r", "");
    check("n serve --log-format j", "json");
    check("n serve --log-format = j", "json");
    // Names of files, as bash does without us.
    check("n restore --from b", "");
    check("n --host db --to b", "");
}
