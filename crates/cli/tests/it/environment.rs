//! What the environment says in place of flags.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::process::Child;

use rustix::process::Signal;
use testkit::certificates::Certificates;

use crate::run::{Ran, command, data_directory, finish, run, signal};

fn run_with<V: AsRef<OsStr>>(args: &[&str], variables: &[(&str, V)]) -> Child {
    let mut command = command(args);
    for (name, value) in variables {
        command.env(name, value);
    }
    command.spawn().unwrap()
}

/// The address that a service says it listens on; blank if it ends instead.
fn address(child: &mut Child) -> String {
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    child.stdout = Some(stdout.into_inner());
    line.trim().strip_prefix("listening on ").unwrap_or_default().to_owned()
}

fn stop(child: Child) -> Ran {
    signal(&child, Signal::TERM);
    finish(child)
}

/// A whole backup over TLS with a token, and of all that belongs to the host nothing in the arguments.
#[test]
fn without_flags() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    let certificates = Certificates::make(&dir.path().join("certificates")).unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (tokens, token) = (path("tokens"), path("token"));
    let line = ["token", "--name", "a", "--client-file", &token, "--token-file", &tokens];
    assert_eq!(run(line).status, 0);

    let cert = certificates.arg("server.pem");
    let key = certificates.arg("server.key");
    let mut service = run_with(
        &["serve"],
        &[
            ("NEO4J_BACKUP_DATA", data.to_str().unwrap()),
            ("NEO4J_BACKUP_LISTEN", "127.0.0.1:0"),
            ("NEO4J_BACKUP_TLS_CERT", &cert),
            ("NEO4J_BACKUP_TLS_KEY", &key),
            ("NEO4J_BACKUP_TOKEN_FILE", &tokens),
            ("NEO4J_BACKUP_LOG_FORMAT", "json"),
        ],
    );
    let host = address(&mut service);
    let ca = certificates.arg("ca.pem");
    let variables = [
        ("NEO4J_BACKUP_HOST", host.as_str()),
        ("NEO4J_BACKUP_CA", ca.as_str()),
        ("NEO4J_BACKUP_TOKEN_FILE", token.as_str()),
    ];
    let to = path("backup");
    let args = ["backup", "--to", &to, "--json"];
    let ran = finish(run_with(&args, &variables));
    assert_eq!(ran.status, 0, "{ran:?}");
    // Without the token; and with a flag that names another file than the variable.
    let without = [variables[0], variables[1], ("NEO4J_BACKUP_TOKEN_FILE", "")];
    assert_eq!(finish(run_with(&args, &without)).status, 12);
    let missing = path("missing");
    let flag = [&args[..], &["--token-file", &missing]].concat();
    assert_eq!(finish(run_with(&flag, &variables)).status, 3);
    let ran = stop(service);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.stderr.lines().next().is_some_and(|line| line.starts_with('{')), "{ran:?}");
}

/// Configuration, then environment, then flags; a blank variable is none.
#[test]
fn what_goes_before_what() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    let data = data.to_str().unwrap();
    let conf = dir.path().join("neo4j.conf");
    let text = format!(
        "server.directories.data={data}\nserver.backup.listen_address=no-such-host.invalid"
    );
    std::fs::write(&conf, text).unwrap();
    let conf = conf.to_str().unwrap();
    let (here, nowhere) = ("127.0.0.1:0", "no-such-host.invalid:1");
    let listens = |args: &[&str], variables: &[(&str, &str)]| {
        let mut child = run_with(&[&["serve"], args].concat(), variables);
        match address(&mut child).is_empty() {
            true => Err(finish(child).status),
            false => Ok(stop(child).status),
        }
    };
    let with_conf = ["--config", conf];
    assert_eq!(listens(&with_conf, &[]), Err(3));
    assert_eq!(listens(&with_conf, &[("NEO4J_BACKUP_LISTEN", "")]), Err(3));
    assert_eq!(listens(&with_conf, &[("NEO4J_BACKUP_LISTEN", here)]), Ok(0));
    assert_eq!(listens(&with_conf, &[("NEO4J_BACKUP_LISTEN", nowhere)]), Err(2));
    let flag = ["--config", conf, "--listen", here];
    assert_eq!(listens(&flag, &[("NEO4J_BACKUP_LISTEN", nowhere)]), Ok(0));

    let listen = ["--listen", here];
    let missing = ("NEO4J_BACKUP_DATA", "/missing");
    assert_eq!(listens(&listen, &[("NEO4J_BACKUP_DATA", data), ("NEO4J_CONF", "/missing")]), Ok(0));
    assert_eq!(listens(&listen, &[("NEO4J_BACKUP_DATA", ""), ("NEO4J_CONF", conf)]), Ok(0));
    assert_eq!(listens(&listen, &[missing]), Err(20));
    assert_eq!(listens(&["--data", data, "--listen", here], &[missing]), Ok(0));
    assert_eq!(listens(&flag, &[missing]), Ok(0));
    // What belongs together has to be there together, wherever it stands.
    let half = ["--data", data, "--listen", here];
    assert_eq!(listens(&half, &[("NEO4J_BACKUP_TLS_CERT", conf)]), Err(2));
}

/// `--help` names the variables, but not what is in them.
#[test]
fn help_names_them() {
    for (name, variables) in [
        ("serve", ["DATA", "LISTEN", "TLS_CERT", "TLS_KEY", "CLIENT_CA", "TOKEN_FILE"]),
        ("backup", ["HOST", "CA", "CLIENT_CERT", "CLIENT_KEY", "TOKEN_FILE", "HOST"]),
    ] {
        let args = [name, "--help"];
        let help = finish(run_with(&args, &[("NEO4J_BACKUP_TOKEN_FILE", "a-secret-place")])).stdout;
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for variable in variables {
            let expected = format!("[env: NEO4J_BACKUP_{variable}]");
            assert!(help.contains(&expected), "{expected}: {help}");
        }
        assert!(!help.contains("a-secret-place"), "{help}");
        assert!(run(["generate", "man", name]).stdout.contains("NEO4J_BACKUP_TOKEN_FILE"));
    }
}
