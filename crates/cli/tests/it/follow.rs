//! `--follow`: each transaction, through all that happens to a service and a network; and alarms.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use testkit::proxy::Proxy;

use crate::growing::Growing;
use crate::run::{Service, command, copy, data_directory, finish, run, signal, tree};

const PATIENCE: Duration = Duration::from_secs(30);

/// A follower, and what it tells.
struct Follower {
    child: Option<Child>,
    events: Receiver<(Instant, Value)>,
    metrics: String,
}

impl Follower {
    fn start(address: &str, to: &Path, more: &[&str]) -> Self {
        let line = ["-host", address, "-to", to.to_str().unwrap(), "--json", "--follow"];
        let mut command = command(line);
        let mut child =
            command.args(["--metrics-listen", "127.0.0.1:0"]).args(more).spawn().unwrap();
        let (sender, events) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
                let _ = sender.send((Instant::now(), event));
            }
        });
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let metrics = lines.find_map(|line| Some(line.strip_prefix("metrics on ")?.to_owned()));
        std::thread::spawn(move || lines.for_each(|line| eprintln!("follower: {line}")));
        Self { child: Some(child), events, metrics: metrics.expect("an address") }
    }

    /// The next event of that kind; no other but those allowed comes before it.
    fn next_but(&self, kind: &str, allowed: &[&str]) -> (Instant, Value) {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let (at, event) = self.events.recv_timeout(left).expect(kind);
            let found = event["event"].as_str().unwrap();
            if found == kind {
                return (at, event);
            }
            // No server runs what is served here.
            let is_offline = found == "source" && event["online"] == false;
            assert!(is_offline || allowed.contains(&found), "{found} instead of {kind}: {event}");
        }
    }

    fn next(&self, kind: &str) -> Value {
        self.next_but(kind, &[]).1
    }

    /// Waits until it has that transaction.
    fn reaches(&self, tx_id: u64, allowed: &[&str]) -> Instant {
        let mut transactions = 0;
        loop {
            let (at, event) = self.next_but("increment", allowed);
            transactions += event["transactions"].as_u64().unwrap();
            let last = event["last_tx_id"].as_u64().unwrap();
            assert!(last <= tx_id && transactions > 0, "{event}");
            if last == tx_id {
                return at;
            }
        }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.metrics).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().parse().unwrap()
    }

    fn of_neo4j(&self, name: &str) -> f64 {
        self.metric(&format!("neo4j_backup_follow_{name}{{database=\"neo4j\"}}"))
    }

    fn stop(mut self) {
        let child = self.child.take().unwrap();
        signal(&child, Signal::TERM);
        let stopped = self.next_but("stopped", &["increment"]).1;
        assert_eq!(stopped["databases"], 1);
        assert_eq!(finish(child).status, 0);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn verify(to: &Path) {
    let ran = run(["verify", "--from", to.to_str().unwrap()]);
    assert_eq!(ran.status, 0, "{ran:?}");
}

/// Full first, then each transaction, in seconds at the most; after a restart of the service too. The
/// end is graceful, and the next run goes on.
#[test]
fn each_transaction_arrives() {
    let dir = tempfile::tempdir().unwrap();
    let (mut server, to) = (Growing::new(dir.path()), dir.path().join("mirror"));
    let service = Service::start(&server.data, &[]);
    let network = Proxy::to(&service.address).unwrap();
    let follower = Follower::start(&network.address, &to, &[]);
    assert_eq!(follower.next("full")["reason"], "first backup");
    assert_eq!(follower.next("following")["last_tx_id"], server.last_tx_id());
    for _ in 0..3 {
        let since = Instant::now();
        server.commit(1);
        let took = follower.reaches(server.last_tx_id(), &[]) - since;
        eprintln!("durable after {took:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
        verify(&to);
    }
    assert_eq!(service.stop().status, 0, "a follower that waits holds nobody up");
    let service = Service::start(&server.data, &[]);
    network.lead_to(&service.address);
    server.commit(1);
    follower.reaches(server.last_tx_id(), &["error"]);
    assert_eq!(follower.of_neo4j("last_tx_id"), server.last_tx_id() as f64);
    assert_eq!(follower.of_neo4j("increments_total"), 4.0);
    assert_eq!(follower.of_neo4j("lag_transactions"), 0.0);
    assert_eq!(follower.of_neo4j("alarm"), 0.0);
    assert_eq!(follower.of_neo4j("source_online"), 0.0);
    assert!(follower.of_neo4j("lag_seconds") < 5.0);
    assert!(follower.get("/health").starts_with("HTTP/1.1 200"));
    // Nothing is committed any more; the mirror has everything up to here all the same.
    let idle = jiff::Timestamp::now();
    std::thread::sleep(Duration::from_millis(6500));
    follower.stop();
    let info = run(["info", "--from", to.to_str().unwrap(), "--json"]).json();
    let until = info["databases"][0]["covered_until"].as_str().unwrap().to_owned();
    assert!(until.parse::<jiff::Timestamp>().unwrap() >= idle, "{until}, not {idle}");
    let restored = dir.path().join("restored");
    let idle = idle.to_string();
    let line = ["restore", "--from", to.to_str().unwrap(), "--until", &idle, "--json", "--to"];
    let ran = finish(command(line).arg(&restored).spawn().unwrap());
    assert_eq!(ran.status, 0, "{ran:?}");
    server.commit(1);
    let line = ["-host", &network.address, "-to", to.to_str().unwrap(), "--json"];
    let again = run(line).json()["databases"][0].clone();
    assert_eq!(
        (&again["type"], &again["last_tx_id"]),
        (&"incremental".into(), &server.last_tx_id().into())
    );
    verify(&to);
}

/// The server goes on and nothing arrives, although no connection breaks: an alarm within 10 s, and its
/// end when it passes again.
#[test]
fn silence_is_an_alarm() {
    let dir = tempfile::tempdir().unwrap();
    let (mut server, to) = (Growing::new(dir.path()), dir.path().join("mirror"));
    let service = Service::start(&server.data, &[]);
    let network = Proxy::to(&service.address).unwrap();
    let follower = Follower::start(&network.address, &to, &[]);
    follower.next("full");
    follower.next("following");
    server.commit(1);
    follower.reaches(server.last_tx_id(), &[]);
    network.stand_still(true);
    let since = Instant::now();
    server.commit(1);
    let (at, alarm) = follower.next_but("alarm", &["error"]);
    assert!(at - since < Duration::from_secs(10), "{:?}", at - since);
    assert!(alarm["message"].as_str().unwrap().contains("nothing has come"), "{alarm}");
    assert_eq!(follower.of_neo4j("alarm"), 1.0);
    assert!(follower.of_neo4j("lag_seconds") > 5.0);
    assert!(follower.get("/health").starts_with("HTTP/1.1 503"));
    network.stand_still(false);
    follower.reaches(server.last_tx_id(), &["error", "recovered"]);
    let health = || follower.get("/health").starts_with("HTTP/1.1 200");
    let until = Instant::now() + PATIENCE;
    while !health() {
        assert!(Instant::now() < until);
    }
    assert_eq!(follower.of_neo4j("alarms_total"), 1.0);
    follower.stop();
    verify(&to);
}

/// A server that went another way: an alarm at once, the mirror stays as it is and is followed again
/// once the server is what it was.
#[test]
fn another_history_is_an_alarm() {
    let dir = tempfile::tempdir().unwrap();
    let (mut server, to) = (Growing::new(dir.path()), dir.path().join("mirror"));
    let service = Service::start(&server.data, &[]);
    let follower = Follower::start(&service.address, &to, &[]);
    follower.next("full");
    follower.next("following");
    server.commit(1);
    follower.reaches(server.last_tx_id(), &[]);
    // It has lost its last transaction.
    let before = tree(&to);
    let log = std::fs::read(server.log()).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(server.log()).unwrap();
    file.set_len(log.len() as u64 - 20).unwrap();
    let (_, error) = follower.next_but("error", &[]);
    assert_eq!(error["error"]["code"], "diverged", "{error}");
    assert!(follower.next("alarm")["message"].as_str().unwrap().contains("last transaction"));
    assert!(tree(&to) == before, "the mirror was changed");
    file.write_all_at(&log[log.len() - 20..], log.len() as u64 - 20).unwrap();
    server.commit(1);
    follower.reaches(server.last_tx_id(), &["error", "recovered"]);
    follower.stop();
    verify(&to);
}

/// Logs that grow too long are renewed while increments go on; logs that the server has pruned too early
/// are an alarm and a new full backup.
#[test]
fn renewals_and_pruned_logs() {
    let dir = tempfile::tempdir().unwrap();
    let (mut server, to) = (Growing::new(dir.path()), dir.path().join("mirror"));
    let service = Service::start(&server.data, &[]);
    let network = Proxy::to(&service.address).unwrap();
    let follower = Follower::start(&network.address, &to, &["--renew-after", "1KiB"]);
    follower.next("full");
    follower.next("following");
    server.commit(1);
    follower.reaches(server.last_tx_id(), &[]);
    drop(follower);
    let rest = server.rest();
    server.commit(rest - 1);
    let follower = Follower::start(&network.address, &to, &["--renew-after", "1KiB"]);
    follower.next("following");
    server.commit(1);
    server.checkpoint();
    let full = follower.next_but("full", &["increment"]).1;
    assert_eq!(
        (&full["reason"], &full["last_tx_id"]),
        (&"renewal".into(), &server.last_tx_id().into())
    );
    assert_eq!(
        follower.metric(
            "neo4j_backup_follow_full_backups_total{database=\"neo4j\",reason=\"renewal\"}"
        ),
        1.0
    );
    follower.stop();
    verify(&to);
}

/// A database that is dropped is no failure: its backup stays, nobody is alarmed.
#[test]
fn a_dropped_database_is_no_alarm() {
    let dir = tempfile::tempdir().unwrap();
    let (server, to) = (Growing::new(dir.path()), dir.path().join("mirror"));
    let parts = ["databases", "transactions"].map(|part| server.data.join(part));
    for part in &parts {
        copy(&part.join("neo4j"), &part.join("two"));
    }
    let service = Service::start(&server.data, &[]);
    let follower = Follower::start(&service.address, &to, &[]);
    for _ in 0..2 {
        follower.next("full");
        follower.next("following");
    }
    for part in &parts {
        std::fs::remove_dir_all(part.join("two")).unwrap();
    }
    let (_, dropped) = follower.next_but("dropped", &["error"]);
    assert_eq!(dropped["database"], "two");
    assert_eq!(follower.of_neo4j("alarm"), 0.0);
    verify(&to);
    follower.stop();
}

/// What makes no sense is refused at once; an address that is taken before anything is copied.
#[test]
fn what_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Growing::new(dir.path());
    let service = Service::start(&server.data, &[]);
    let to = dir.path().join("mirror");
    let line = ["-host", &service.address, "-to", to.to_str().unwrap(), "--json"];
    let with = |more: &[&str]| run(line.iter().chain(more));
    assert_eq!(with(&["--metrics-listen", "127.0.0.1:0"]).status, 2);
    assert_eq!(with(&["--follow", "--metrics-listen", "a b"]).status, 2);
    let taken = with(&["--follow", "--metrics-listen", &service.address]);
    assert_eq!((taken.status, taken.code().as_str()), (4, "cannot_listen"));
    assert!(!to.exists());
    let none = run(["-host", "127.0.0.1:1", "-to", to.to_str().unwrap(), "--json", "--follow"]);
    assert_eq!((none.status, none.code().as_str()), (10, "cannot_connect"));
}

/// With `--log-format json` each line on stderr is a document, also that of an error; the port that was
/// picked for the metrics is told where all else is quiet.
#[test]
fn stderr_for_machines() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(&data_directory(dir.path()), &[]);
    let to = dir.path().join("backup");
    let line = ["-host", &service.address, "-to", to.to_str().unwrap(), "--follow", "-q"];
    let more = ["--metrics-listen", "127.0.0.1:0", "--log-format"];
    for (format, find) in [("text", "metrics on 127.0.0.1:"), ("json", "\"metrics on 127.0.0.1:")] {
        let mut child = command([&line[..], &more, &[format]].concat()).spawn().unwrap();
        let mut told = String::new();
        BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut told).unwrap();
        signal(&child, Signal::TERM);
        assert_eq!(finish(child).status, 0);
        assert!(told.contains(find), "{format}: {told:?}");
        let document = serde_json::from_str::<Value>(&told);
        assert_eq!(document.is_ok(), format == "json", "{told}");
    }
    let nobody = ["backup", "--host", "127.0.0.1:1", "--to", "/nothing", "--log-format", "json"];
    let ran = run(nobody);
    assert_eq!((ran.status, ran.stderr.lines().count()), (10, 2), "{ran:?}");
    for (line, kind) in ran.stderr.lines().zip(["error", "hint"]) {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["kind"], kind, "{ran:?}");
        assert!(line["message"].is_string() && line["timestamp"].is_string(), "{ran:?}");
    }
}
