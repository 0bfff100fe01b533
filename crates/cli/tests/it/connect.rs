//! What answers at the port is nobody, somebody else, or a liar. The target is never made.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use crate::run::run;

/// Answers each connection with the same bytes, then closes it or stays silent.
pub fn answering(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            std::thread::spawn(move || {
                let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(bytes);
            });
        }
    });
    address
}

fn check(address: &str, status: i32, code: &str) {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("backup");
    let ran = run(["-host", address, "-to", to.to_str().unwrap(), "--json"]);
    assert_eq!((ran.status, ran.code().as_str()), (status, code), "{ran:?}");
    assert!(!to.exists(), "the target was made");
    let ran = run(["-host", address, "-to", to.to_str().unwrap()]);
    assert_eq!(ran.status, status);
    assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains("\nhint: "), "{ran:?}");
    assert_eq!(ran.stdout, "");
}

#[test]
fn nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    check(&address, 10, "cannot_connect");
    check("no-such-host.invalid", 10, "cannot_connect");
}

#[test]
fn somebody_elses_bytes() {
    check(&answering(b"SSH-2.0-OpenSSH_9.6\r\n").to_string(), 11, "wrong_service");
    check(&answering(b"\0\0\0\0").to_string(), 11, "wrong_service");
}

#[test]
fn somebody_elses_http() {
    for bytes in [
        &b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"[..],
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\ncontent-length: 5\r\n\r\nsorry",
    ] {
        check(&answering(bytes).to_string(), 11, "wrong_service");
    }
}

/// It says that it is our service, but its answers make no sense.
#[test]
fn a_liar() {
    for bytes in [
        &b"HTTP/1.1 200 OK\r\nneo4j-backup-api: 1\r\ncontent-length: 2\r\n\r\n{}"[..],
        b"HTTP/1.1 200 OK\r\nneo4j-backup-api: 1\r\ncontent-length: 9999999999999\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nneo4j-backup-api: 99\r\ncontent-length: 2\r\n\r\n{}",
    ] {
        check(&answering(bytes).to_string(), 11, "wrong_service");
    }
}

/// A peer that takes the connection and says nothing does not hold the run for long.
#[test]
fn a_silent_peer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("backup");
    let begun = Instant::now();
    let ran = run(["-host", &address, "-to", to.to_str().unwrap(), "--json"]);
    assert_eq!((ran.status, ran.code().as_str()), (11, "wrong_service"), "{ran:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// A database name that would leave the target is refused before anything is made.
#[test]
fn a_name_that_leaves_the_target() {
    let bytes = b"HTTP/1.1 200 OK\r\nneo4j-backup-api: 1\r\ncontent-type: application/json\r\n\
        connection: close\r\n\r\n{\"service_version\":\"1\",\"databases\":[{\"name\":\"../../x\",\
        \"state\":\"online\"}]}";
    check(&answering(bytes).to_string(), 20, "source_unusable");
}

/// Nothing but a file is TLS material.
#[test]
fn bad_certificates_and_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("backup");
    let empty = dir.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    for flag in ["--ca", "--token-file"] {
        for file in [empty.as_path(), &dir.path().join("missing")] {
            let line = [
                "-host",
                "-port",
                "1",
                "-to",
                to.to_str().unwrap(),
                "--json",
                flag,
                file.to_str().unwrap(),
            ];
            let ran = run(line);
            assert_eq!((ran.status, ran.code().as_str()), (3, "bad_configuration"), "{ran:?}");
        }
    }
}
