//! Spellings and usage errors.

use crate::run::{run, run_line};

/// A line that makes no sense ends with 2, says so on stderr, and prints nothing on stdout.
#[test]
fn nonsense_is_a_usage_error() {
    for line in [
        "",
        "nonsense",
        "--nonsense",
        "-host h",
        "-to /nowhere/x",
        "backup -host h",
        "-host h -to /nowhere/x --parallel 0",
        "-host h -to /nowhere/x --parallel 17",
        "-host h -to /nowhere/x --limit-rate 50M",
        "-host h -to /nowhere/x --limit-rate 9999999GiB",
        "-host h:1 -port 2 -to /nowhere/x",
        "-host http://h -to /nowhere/x",
        "-host h -port 65536 -to /nowhere/x",
        "-host h -to /nowhere/x --client-cert a",
        "-host h -to /nowhere/x --database [",
        "-host h -to /nowhere/x --database=",
        "info",
        "info --from",
        "verify",
        "restore --from /nowhere/x",
        "restore --from /nowhere/x --to a --config b",
        "serve --config a --data b",
        "serve --tls-cert a",
        "token",
        "check",
        "check -to /nowhere/x",
        "check -host h --config a",
        "check --config a --data b",
        "check --config a -to /nowhere/x",
        "check --config a --ca b",
        "check -host h --listen :1",
        "check -host h --insecure",
        "check -host h:1 -port 2",
        "check -host h --database [",
        "check -host h --database=",
    ] {
        let ran = run_line(line);
        assert_eq!(ran.status, 2, "{line}: {ran:?}");
        assert_eq!(ran.stdout, "", "{line}");
        assert!(!ran.stderr.is_empty(), "{line}");
    }
}

/// A rate that is too low or too high is told the bounds.
#[test]
fn rates_have_two_bounds() {
    for rate in ["1KiB", "9999999GiB"] {
        let ran = run(["-host", "h", "-to", "/nowhere/x", "--limit-rate", rate]);
        assert_eq!(ran.status, 2);
        assert!(ran.stderr.contains("64KiB to 1000000GB"), "{ran:?}");
    }
}

/// With --json a usage error is JSON, even if the line cannot be parsed.
#[test]
fn usage_errors_are_json() {
    for line in ["--json", "-host h --json", "verify --json --nonsense", "info --json"] {
        let ran = run_line(line);
        assert_eq!((ran.status, ran.code().as_str()), (2, "usage"), "{line}");
        assert_eq!(ran.stderr, "", "{line}");
    }
}

/// The manual's lines and ours are the same command: each reaches the network, where nobody is.
#[test]
fn every_spelling_of_backup_is_understood() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("backup");
    let to = to.to_str().unwrap();
    for line in [
        format!("-host 127.0.0.1 -port 1 -to {to}"),
        format!("-host=127.0.0.1 -port=1 -to={to}"),
        format!("--host 127.0.0.1 --port 1 --to {to}"),
        format!("backup -host 127.0.0.1 -port 1 -to {to}"),
        format!("backup --port 1 --to {to} --host"),
        format!("-host -port 1 -to {to}"),
        format!("-host 127.0.0.1:1 -to {to}"),
        format!("-to {to} -port 1 -host --quiet --full --parallel 4 --limit-rate 50MiB"),
        format!("--json -host [::ffff:127.0.0.1]:1 -to {to}"),
    ] {
        let ran = run_line(&line);
        assert_eq!(ran.status, 10, "{line}: {ran:?}");
    }
    assert!(!dir.path().join("backup").exists(), "nothing was made");
}

/// Help is no failure; each command's tells examples and exit codes.
#[test]
fn help_tells_examples_and_exit_codes() {
    for line in ["--help", "-h", "--version", "-V"] {
        let ran = run_line(line);
        assert_eq!(ran.status, 0, "{line}");
        assert!(ran.stdout.to_lowercase().contains("backup"), "{line}: {ran:?}");
    }
    for command in ["serve", "backup", "info", "verify", "restore", "check", "token"] {
        let ran = run([command, "--help"]);
        assert_eq!(ran.status, 0);
        assert!(ran.stdout.contains("Example"), "{command}");
        assert!(ran.stdout.contains("Exit codes"), "{command}");
        assert!(ran.stdout.is_ascii(), "{command}");
    }
}
