//! `serve`: what it accepts, what it refuses, how it stops.

use std::net::TcpListener;
use std::path::Path;
use std::time::Instant;

use rustix::process::Signal;
use testkit::program::Program;

use crate::run::{Service, command, data_directory, finish, run, signal};

/// Exactly one line on stdout; SIGTERM and Ctrl-C are a clean end.
#[test]
fn it_listens_and_stops() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    let service = Service::start(&data, &[]);
    assert!(service.address.starts_with("127.0.0.1:"));
    let ran = service.stop();
    assert_eq!((ran.status, ran.stdout.as_str()), (0, ""), "{ran:?}");

    let child = command(["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]);
    let mut child = { child }.spawn().unwrap();
    let mut byte = [0; 1];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut byte).unwrap();
    signal(&child, Signal::INT);
    let ran = finish(child);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(ran.stdout.lines().count(), 1);
    assert!(ran.stderr.contains("neo4j"), "{ran:?}");
}

/// Whatever is no Neo4j is refused before anything listens.
#[test]
fn not_a_neo4j_directory() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    for data in [dir.path(), &file, &dir.path().join("missing")] {
        let ran = run(["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]);
        assert_eq!((ran.status, ran.stdout.as_str()), (20, ""), "{ran:?}");
        assert!(ran.stderr.contains("error: ") && ran.stderr.contains("hint: "), "{ran:?}");
    }
}

/// Without --config and --data the environment and ./conf are looked at, then it is a usage error.
#[test]
fn where_the_configuration_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    let empty = dir.path().join("empty");
    std::fs::create_dir_all(&empty).unwrap();
    let serve = |env: Option<&Path>, here: &Path| {
        let mut command = command(["serve", "--listen", "127.0.0.1:0"]);
        command.current_dir(here);
        if let Some(conf) = env {
            command.env("NEO4J_CONF", conf);
        }
        let mut child = command.spawn().unwrap();
        // Listening or not, it has begun or ended its stdout when a byte or the end is there.
        let mut byte = [0; 1];
        let _ = std::io::Read::read(child.stdout.as_mut().unwrap(), &mut byte);
        if byte == *b"l" {
            signal(&child, Signal::TERM);
        }
        finish(child)
    };
    let conf = dir.path().join("conf");
    std::fs::create_dir_all(&conf).unwrap();
    let text = format!("server.directories.data={}\n", data.display());
    std::fs::write(conf.join("neo4j.conf"), text).unwrap();

    assert_eq!(serve(None, &empty).status, 2);
    assert_eq!(serve(Some(&conf), &empty).status, 0);
    assert_eq!(serve(Some(&conf.join("neo4j.conf")), &empty).status, 0);
    assert_eq!(serve(None, dir.path()).status, 0);
    let missing = serve(Some(&empty), dir.path());
    assert!(matches!(missing.status, 3 | 20), "{missing:?}");
}

/// The log has the moment at which the end of a copy was asked for: tests with real servers demand
/// of a copy all that was committed before it.
#[test]
fn the_log_says_when_the_end_of_a_copy_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    let program = Program::at(env!("CARGO_BIN_EXE_neo4j-backup"));
    let service = program.serve(&["--data", data.to_str().unwrap()]).unwrap();
    let begun = Instant::now();
    let (port, to) = (service.port.to_string(), dir.path().join("backup"));
    let backup = ["-host", "127.0.0.1", "-port", &port, "-to", to.to_str().unwrap(), "--json"];
    let (report, _) = program.json(&backup).unwrap();
    let ended = Instant::now();
    assert_eq!(report["databases"][0]["name"], "neo4j");
    let asked = service.finish_asked("neo4j", begun).unwrap();
    assert!(asked < ended, "{:?} after the end", asked - ended);
    // Not the same line for the next copy.
    program.json(&[&backup[..], &["--full"]].concat()).unwrap();
    assert!(service.finish_asked("neo4j", ended).unwrap() > ended);
}

#[test]
fn the_address_is_in_use_or_makes_no_sense() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    let data = data.to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = run(["serve", "--data", data, "--listen", &address]);
    assert_eq!(ran.status, 4, "{ran:?}");
    for listen in ["nonsense:x", "no-such-host.invalid:1", "http://127.0.0.1", ""] {
        let ran = run(["serve", "--data", data, "--listen", listen]);
        assert_eq!(ran.status, 2, "{listen}: {ran:?}");
    }
}

/// Beyond loopback it wants TLS and authentication, or to be told that it does not.
#[test]
fn beyond_loopback_it_is_careful() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    let ran = run(["serve", "--data", data.to_str().unwrap(), "--listen", "0.0.0.0:0"]);
    assert_eq!(ran.status, 2, "{ran:?}");
    assert!(ran.stderr.contains("--insecure"), "{ran:?}");
    let missing = dir.path().join("missing");
    let missing = missing.to_str().unwrap();
    for flags in [["--token-file", missing, "--insecure"], ["--tls-cert", missing, "--tls-key=x"]] {
        let mut command = command(["serve", "--listen", "127.0.0.1:0", "--data"]);
        let ran = finish(command.arg(&data).args(flags).spawn().unwrap());
        assert_eq!(ran.status, 3, "{ran:?}");
    }
}

/// A configuration directory for a data directory, with `neo4j-backup.conf` beside `neo4j.conf`.
fn configured(dir: &Path, neo4j: &str, own: &str) -> std::path::PathBuf {
    let data = data_directory(dir);
    let conf = dir.join("neo4j.conf");
    std::fs::write(&conf, format!("server.directories.data={}\n{neo4j}", data.display())).unwrap();
    std::fs::write(dir.join("neo4j-backup.conf"), own).unwrap();
    conf
}

/// "The backup service is enabled by default", and `dbms.backup.enabled=false` switches it off, in
/// both spellings and both files.
#[test]
fn the_service_is_on_unless_the_configuration_says_no() {
    for (neo4j, own) in [
        ("dbms.backup.enabled=false", ""),
        ("", "server.backup.enabled = FALSE"),
        ("dbms.backup.enabled=true", "dbms.backup.enabled=false"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let conf = configured(dir.path(), neo4j, own);
        let ran = run(["serve", "--config", conf.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
        assert_eq!((ran.status, &*ran.stdout), (5, ""), "{ran:?}");
        assert!(ran.stderr.contains("switched off"), "{ran:?}");
    }
}

/// "The address is loopback and 6362 by default; `dbms.backup.address` changes it": by the file, of a
/// range the first port that is free, and the flag before both.
#[test]
fn the_address_is_the_configurations() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let first = taken.local_addr().unwrap().port();
    let last = first.saturating_add(50);
    let dir = tempfile::tempdir().unwrap();
    let conf = configured(
        dir.path(),
        "dbms.backup.address=no-such-host.invalid",
        &format!("dbms.backup.address=127.0.0.1:{first}-{last}"),
    );
    let line = ["serve", "--config", conf.to_str().unwrap()];
    let listening = |more: &[&str]| {
        let mut child = command([&line[..], more].concat()).spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.as_mut().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
        signal(&child, Signal::TERM);
        assert_eq!(finish(child).status, 0);
        line.trim().rsplit_once(':').unwrap().1.parse::<u16>().unwrap()
    };
    let port = listening(&[]);
    assert!(port > first && port <= last, "{port}");
    assert!(!(first..=last).contains(&listening(&["--listen", "127.0.0.1:0"])));

    // Every port of the range is taken.
    let own = dir.path().join("neo4j-backup.conf");
    std::fs::write(&own, format!("server.backup.listen_address=127.0.0.1:{first}")).unwrap();
    assert_eq!(run(line).status, 4);
    // Blank: all interfaces, which wants protection.
    std::fs::write(&own, "dbms.backup.address=").unwrap();
    let ran = run(line);
    assert!(ran.status == 2 && ran.stderr.contains("0.0.0.0:6362"), "{ran:?}");
    for (text, said) in [
        ("\nserver.backup.listen_address=[::1", "line 2: server.backup.listen_address: "),
        ("dbms.backup.enabled=perhaps", "line 1: dbms.backup.enabled: "),
    ] {
        std::fs::write(&own, text).unwrap();
        let ran = run(line);
        assert!(ran.status == 3 && ran.stderr.contains(said), "{ran:?}");
        assert!(ran.stderr.contains("neo4j-backup.conf"), "{ran:?}");
    }
}
