//! Results that cannot be written, and limits that the system sets.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::run::{Ran, Service, command, data_directory, finish, run, tree};

/// Runs with a stdout that takes no byte.
fn onto_full(args: &[&str]) -> Ran {
    let full = File::options().write(true).open("/dev/full").unwrap();
    finish(command(args).stdout(full).spawn().unwrap())
}

/// Runs with a stdout whose reader has gone already.
fn onto_nobody(args: &[&str]) -> Ran {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    finish(command(args).stdout(writer).spawn().unwrap())
}

/// Runs a shell line, in which `$0` is the executable and `$1` an argument.
fn shell(line: &str, argument: &Path, address: &str) -> Child {
    let mut shell = Command::new("sh");
    shell.args(["-c", line, env!("CARGO_BIN_EXE_neo4j-backup")]).arg(argument).arg(address);
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// A result that nobody could read is a failure, whatever the command; the work is done all the
/// same. If it is only the reader that went away, all is well.
#[test]
fn a_result_that_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    let service = Service::start(&data, &[]);
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (to, other, restored) = (path("backup"), path("other"), path("restored"));
    let address = service.address.as_str();

    let failed = |args: &[&str]| {
        let ran = onto_full(args);
        assert_eq!(ran.status, 33, "{args:?}: {ran:?}");
        assert!(ran.stderr.contains("error: write to stdout: No space"), "{args:?}: {ran:?}");
        assert!(ran.stderr.contains("hint: "), "{args:?}: {ran:?}");
    };
    failed(&["-host", address, "-to", &to, "--json"]);
    assert_eq!(run(["verify", "--from", &to]).status, 0);
    failed(&["-host", address, "-to", &other]);
    failed(&["info", "--from", &to, "--json"]);
    failed(&["info", "--from", &to]);
    failed(&["verify", "--from", &to, "--json"]);
    failed(&["restore", "--from", &to, "--to", &restored, "--json"]);
    failed(&["serve", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    failed(&["--help"]);
    failed(&["--version"]);
    // What failed anyway keeps its own status.
    let ran = onto_full(&["info", "--from", &path("missing"), "--json"]);
    assert_eq!(ran.status, 34, "{ran:?}");
    assert!(ran.stderr.contains("missing") && !ran.stderr.contains("is done"), "{ran:?}");
    for args in [&["info", "--from", &to, "--json"][..], &["info", "--from", &to], &["--help"]] {
        let ran = onto_nobody(args);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{args:?}");
    }
}

/// No half of a token is kept when the other half is lost: its line to stdout, or in a file.
#[test]
fn half_a_token_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    let line = ["token", "--name", "a", "--client-file", secret.to_str().unwrap()];
    for (ran, status) in [(onto_full(&line), 33), (onto_nobody(&line), 30)] {
        assert_eq!(ran.status, status, "{ran:?}");
        assert!(ran.stderr.contains("error: write to stdout"), "{ran:?}");
        assert!(!secret.exists(), "{ran:?}");
    }

    // A file that may not become longer than a block of the shell's, 512 or 1024 bytes.
    let tokens = dir.path().join("tokens");
    let limited = "ulimit -f 1 && exec \"$0\" token --name a --client-file \"$1/secret\" \
        --token-file \"$1/tokens\"";
    for length in [500, 1000] {
        let old = format!("#{}\n", "-".repeat(length));
        std::fs::write(&tokens, &old).unwrap();
        let ran = finish(shell(limited, dir.path(), ""));
        if ran.status != 0 {
            assert_eq!(ran.status, 33, "{ran:?}");
            assert_eq!(std::fs::read_to_string(&tokens).unwrap(), old);
            assert!(!secret.exists(), "{ran:?}");
            continue;
        }
        assert_eq!(length, 500, "a block has 1024 bytes: {ran:?}");
        std::fs::remove_file(&secret).unwrap();
    }
}

/// A limit of a file's size is an error as a full disk is: it kills nothing and leaves nothing.
#[test]
fn a_limit_of_a_files_size() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    let service = Service::start(&data, &[]);
    let line = "ulimit -f 16 && exec \"$0\" -host \"$2\" -to \"$1\" --json";
    let to = dir.path().join("backup");
    let ran = finish(shell(line, &to, &service.address));
    assert_eq!((ran.status, ran.code().as_str()), (33, "no_space"), "{ran:?}");
    assert!(ran.json()["error"]["hint"].as_str().unwrap().contains("ulimit -f"), "{ran:?}");
    let left = tree(&to);
    assert!(left.iter().all(|(path, _)| path.ends_with(".neo4j-backup.lock")), "{left:?}");
    assert!(!to.join(".neo4j-backup.staged").exists());
}

/// The soft limit of open files is raised: what is needed for a store with many indexes, or for a day's
/// logs, is not left to it. Where the hard limit is too low, that is said, and nothing is left.
#[test]
fn a_limit_of_open_files() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    let service = Service::start(&data, &[]);
    let to = dir.path().join("backup");
    let limited = |line: &str| {
        let line = format!("ulimit {line} && exec \"$0\" -host \"$2\" -to \"$1\" --json");
        finish(shell(&line, &to, &service.address))
    };
    let ran = limited("-n 20");
    assert_eq!((ran.status, ran.code().as_str()), (30, "target_unusable"), "{ran:?}");
    assert!(ran.stdout.contains("Too many open files") && ran.stdout.contains("ulimit -Hn"));
    let left = tree(&to);
    assert!(left.iter().all(|(path, _)| path.ends_with(".neo4j-backup.lock")), "{left:?}");
    assert_eq!(limited("-S -n 20").status, 0);

    drop(service);
    let line = "ulimit -S -n 20 && exec \"$0\" serve --data \"$1\" --listen 127.0.0.1:0";
    let service = Service::that_listens(shell(line, &data, ""));
    let to = dir.path().join("another");
    let ran = run(["-host", &service.address, "-to", to.to_str().unwrap()]);
    assert_eq!(ran.status, 0, "{ran:?}");
}
