//! Neo4j 3.0's protocol at the service: who is spoken with, and where.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use formats::v3_0::{CheckPoint, Entry, EntryReader};
use formats::{KernelVersion, LogPosition, LogVersion};
use testkit::certificates::Certificates;
use wire::v3_0::{Event, Expected, Request, ResponseDecoder};

use crate::check::{is, look, others_are_ok};
use crate::run::{Service, copy, make_missing, run};

/// More than the service has threads that read files. Twice as many have a place, for Neo4j 3.0's tools and all others.
const SILENT: usize = 31;

/// A home with a 3.0 database; its `neo4j-backup.conf` has these lines. Its configuration.
fn home(parent: &Path, own: &str) -> PathBuf {
    home_of(parent, "mixed", own)
}

/// The same of another fixture; record stores that it lacks are empty.
fn home_of(parent: &Path, fixture: &str, own: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/3.0.0");
    let databases = parent.join("data/databases");
    copy(&fixtures.join(fixture).join("databases"), &databases);
    make_missing(&databases.join("graph.db"), formats::v3_0::MANDATORY);
    let conf = parent.join("conf");
    std::fs::create_dir_all(&conf).unwrap();
    std::fs::write(conf.join("neo4j.conf"), "").unwrap();
    std::fs::write(conf.join("neo4j-backup.conf"), own).unwrap();
    conf.join("neo4j.conf")
}

/// What the service answers to Neo4j 3.0's tool that has the backup up to transaction 1: whether
/// transactions came, or nothing of the protocol.
fn asked(service: &Service) -> Result<u64, String> {
    let port = service.address.rsplit(':').next().unwrap();
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(&Request::Incremental { last_tx_id: 1 }.encode()).unwrap();
    let (mut decoder, mut buffer) = (ResponseDecoder::new(Expected::Incremental), vec![0; 65536]);
    let mut came_bytes = 0;
    loop {
        let read = stream.read(&mut buffer).map_err(|error| error.to_string())?;
        if read == 0 {
            return Err("closed".to_owned());
        }
        let mut input = &buffer[..read];
        while let Some(event) = decoder.next(&mut input).map_err(|error| error.to_string())? {
            match event {
                Event::Transactions(bytes) => came_bytes += bytes.len() as u64,
                Event::Failure(failure) => return Err(failure.to_string()),
                Event::End => return Ok(came_bytes),
                _ => {}
            }
        }
    }
}

/// On loopback it is spoken unless TLS or tokens are wanted; beyond loopback, and beside both, only where
/// the configuration says so, which the log tells. HTTP goes on at the same port.
#[test]
fn where_it_is_spoken() {
    let insecure = "dbms.backup.legacy_protocol.insecure=true\n";
    let dir = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(dir.path()).unwrap();
    let (cert, key) = (certificates.arg("server.pem"), certificates.arg("server.key"));
    let ca = certificates.arg("ca.pem");
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (tokens, token) = (path("tokens"), path("token"));
    let line = ["--name", "n", "--client-file", &token, "--token-file", &tokens];
    assert_eq!(run(["token"].iter().chain(&line)).status, 0);
    let tls = ["--tls-cert", &cert, "--tls-key", &key];
    let with_token = ["--token-file", &tokens];
    let everywhere = ["--insecure"];
    let trust = ["--ca", ca.as_str()];
    let own_token = ["--token-file", token.as_str()];
    // Where it listens, its flags, a client's, our settings, and whether the protocol is spoken.
    type Case<'a> = (&'a str, &'a [&'a str], &'a [&'a str], &'a str, bool);
    let cases: [Case<'_>; 8] = [
        ("127.0.0.1:0", &[], &[], "", true),
        ("127.0.0.1:0", &tls, &trust, "", false),
        ("127.0.0.1:0", &with_token, &own_token, "", false),
        ("0.0.0.0:0", &everywhere, &[], "", false),
        ("127.0.0.1:0", &tls, &trust, insecure, true),
        ("127.0.0.1:0", &with_token, &own_token, insecure, true),
        ("0.0.0.0:0", &everywhere, &[], insecure, true),
        ("127.0.0.1:0", &[], &[], "dbms.backup.legacy_protocol.insecure=false", true),
    ];
    for (index, (listen, serve, client, own, is_spoken)) in cases.into_iter().enumerate() {
        let conf = home(&dir.path().join(index.to_string()), own);
        let mut command =
            crate::run::command(["serve", "--listen", listen, "--config", conf.to_str().unwrap()]);
        command.args(serve).env("NEO4J_BACKUP_LOG", "warn");
        let service = Service::that_listens(command.spawn().unwrap());
        let answer = asked(&service);
        assert_eq!(answer.is_ok(), is_spoken, "{index}: {answer:?}");
        assert!(answer.is_err() || answer > Ok(10_000), "{index}: {answer:?}");
        let (host, to) = (service.address.replace("0.0.0.0", "127.0.0.1"), path("backup"));
        let line = ["-host", host.as_str(), "-to", &to, "--full", "--json"];
        let ran = run(line.iter().chain(client));
        assert_eq!(ran.status, 0, "{index}: {ran:?}");
        assert_eq!(ran.json()["verified"], true, "{index}: {ran:?}");
        let told = service.stop().stderr;
        assert_eq!(told.contains("without encryption"), own == insecure, "{index}: {told}");
    }
}

/// Tools that are connected and silent, between two requests and inside of one, keep nobody from being served, in
/// either protocol.
#[test]
fn silent_tools_hold_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start_with("--config", &home(dir.path(), ""), &[]);
    let request = Request::Incremental { last_tx_id: 1 }.encode();
    let silent = |sent: &[u8]| {
        let mut stream = TcpStream::connect(&service.address).unwrap();
        stream.write_all(sent).unwrap();
        stream
    };
    let _inside: Vec<_> = (0..SILENT).map(|_| silent(&request[..1])).collect();
    let _between: Vec<_> = (0..SILENT).map(|_| silent(&request)).collect();
    assert!(asked(&service).unwrap() > 10_000);
    let to = dir.path().join("backup").to_str().unwrap().to_owned();
    let ran = run(["-host", &service.address, "-to", &to, "--protocol", "http"]);
    assert_eq!(ran.status, 0, "{ran:?}");
}

/// A server of 3.0 starts one database, whose name its configuration has: that is where a restore by the
/// configuration goes; one to a data directory keeps the name.
#[test]
fn restored_where_the_server_looks() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start_with("--config", &home(dir.path(), ""), &[]);
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (backup, conf) = (path("backup"), path("other.conf"));
    let ran = run(["-host", &service.address, "-to", &backup]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let restore = |setting: &str, more: [&str; 2]| {
        let data = path("restored");
        std::fs::write(&conf, format!("dbms.directories.data={data}\n{setting}")).unwrap();
        run(["restore", "--from", &backup, "--json"].iter().chain(&more))
    };
    let there = |data: &str, name: &str| {
        dir.path().join(data).join("databases").join(name).join("neostore").is_file()
    };
    let config = ["--config", conf.as_str()];
    let ran = restore("dbms.active_database=other.db", config);
    assert_eq!(ran.json()["databases"][0]["name"], "other.db", "{ran:?}");
    assert!(there("restored", "other.db") && !there("restored", "graph.db"));
    // What is there is asked for by that name, too.
    assert_eq!(restore("dbms.active_database=other.db", config).status, 31);
    assert_eq!(restore("", config).status, 0);
    assert!(there("restored", "graph.db"));
    assert_eq!(restore("", ["--to", &path("as-it-was")]).status, 0);
    assert!(there("as-it-was", "graph.db"));
    for name in ["../x", "a/b", ".hidden", ".."] {
        let ran = restore(&format!("dbms.active_database={name}"), config);
        assert_eq!((ran.status, ran.code().as_str()), (3, "bad_configuration"), "{name}");
    }
}

/// `check` looks at a 3.0 server from both sides: on its host, and from a client of our service, before
/// the first backup and after it. Nothing is written; a log that is cut off is found.
#[test]
fn checked_on_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let conf = home(dir.path(), "");
    std::fs::write(&conf, "dbms.tx_log.rotation.retention_policy=2 files\n").unwrap();
    let data = dir.path().join("data");
    let before = crate::run::tree(&data);
    let host = ["--config", conf.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let document = look(&host, 0, "");
    others_are_ok(&document, &["open_files", "retention"]);
    is(&document, "database", "ok", "standard-v0.A.7");
    is(&document, "copy", "ok", "can begin: checkpoint at transaction");
    // All is in the first log, which is never pruned while it is the newest.
    is(&document, "retention", "ok", "would work until");

    let service = Service::start_with("--config", &conf, &[]);
    let to = dir.path().join("backup").to_str().unwrap().to_owned();
    let client = ["-host", service.address.as_str(), "-to", &to];
    let document = look(&client, 0, "");
    others_are_ok(&document, &[]);
    is(&document, "history", "ok", "no backup yet: a full backup could begin");
    assert_eq!(run(client).status, 0);
    let document = look(&client, 0, "");
    others_are_ok(&document, &[]);
    is(&document, "history", "ok", "an increment can begin after transaction");
    is(&document, "retention", "ok", "the next increment works until");
    assert!(crate::run::tree(&data) == before, "something was written");
    std::fs::write(data.join("databases/graph.db/neostore.transaction.db.0"), b"short").unwrap();
    let document = look(&host, 40, "corrupt_data");
    is(&document, "copy", "error", "neostore.transaction.db.0");
}

/// What is in a directory, but for our lock, which tells who held it last.
fn tree(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = crate::run::tree(dir);
    found.retain(|(path, _)| !path.starts_with(".neo4j-backup.lock"));
    found
}

/// A directory of the original tool: the database as it was two transactions ago.
fn of_the_tool(dir: &Path) -> PathBuf {
    let to = dir.join("theirs");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/3.0.0");
    copy(&fixtures.join("killed/databases/graph.db"), &to);
    let log = to.join("neostore.transaction.db.0");
    let bytes = std::fs::read(&log).unwrap();
    let mut reader = formats::txlog::BatchReader::new(&bytes[16..], 16);
    let batches: Vec<_> = std::iter::from_fn(|| reader.next_batch().unwrap()).collect();
    std::fs::write(&log, &bytes[..batches[batches.len() - 3].end as usize]).unwrap();
    std::fs::create_dir(to.join("logs")).unwrap();
    std::fs::write(to.join("logs/debug.log"), "started").unwrap();
    // Of 3.0.7, by the time.
    std::fs::write(to.join("debug.log.1795821116569"), "started").unwrap();
    to
}

/// What the original tool has made is gone on with: from then on it is a backup like any other. So it is when
/// the tool has gone on with ours. That is refused, and nothing is changed, where the server's store
/// or its history is another one, something else lies there, or a database is open in it.
#[test]
fn the_tools_directory_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start_with("--config", &home_of(dir.path(), "killed", ""), &[]);
    let to = of_the_tool(dir.path());
    let path = to.to_str().unwrap();
    let line = ["-host", &service.address, "-to", path, "--json"];
    let looked = look(&line[..4], 0, "");
    is(&looked, "target", "ok", "the next run takes it over");
    is(&looked, "history", "ok", "an increment can begin after transaction 127");

    let ran = run(line);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.stderr.contains("taken over"), "{ran:?}");
    let database = &ran.json()["databases"][0];
    assert_eq!((&database["type"], &database["last_tx_id"]), (&"incremental".into(), &129.into()));
    assert_eq!(database["first_consistent_tx_id"], 127);
    for gone in ["logs", "debug.log.1795821116569", "neostore.nodestore.db.id"] {
        assert!(!to.join(gone).exists(), "{gone}");
    }
    let whole = || {
        let verified = run(["verify", "--from", path]);
        assert_eq!(verified.status, 0, "{verified:?}");
    };
    whole();
    let restored = dir.path().join("restored");
    let ran = run(["restore", "--from", path, "--to", restored.to_str().unwrap()]);
    assert_eq!(ran.status, 0, "{ran:?}");

    // The tool goes on with it: its recovery makes files and check points.
    std::fs::write(to.join("neostore.nodestore.db.id"), [0; 9]).unwrap();
    std::fs::write(to.join("debug.log.1795821116570"), "started").unwrap();
    let log = to.join("neostore.transaction.db.0");
    let mut bytes = std::fs::read(&log).unwrap();
    let end = LogPosition { version: LogVersion(0), offset_bytes: bytes.len() as u64 };
    bytes.extend_from_slice(&CheckPoint::encode(end));
    std::fs::write(&log, &bytes).unwrap();
    let looked = look(&line[..4], 0, "");
    is(&looked, "backup", "ok", "the next run takes it over");
    is(&looked, "history", "ok", "an increment can begin after transaction 129");
    let ran = run(line);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.stderr.contains("taken over"), "{ran:?}");
    whole();

    // A change that nobody's recovery makes is none of this.
    std::fs::write(to.join("neostore.nodestore.db.id"), [0; 9]).unwrap();
    assert_eq!((run(line).status, run(line).code().as_str()), (36, "backup_changed"));
}

/// See above.
#[test]
fn what_is_not_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let killed =
        Service::start_with("--config", &home_of(&dir.path().join("a"), "killed", ""), &[]);
    let other = Service::start_with("--config", &home(&dir.path().join("b"), ""), &[]);
    let five = Service::start(&crate::run::data_directory(dir.path()), &[]);
    let refused_with = |to: &Path, service: &Service, more: &[&str], status: i32| {
        let before = tree(to);
        let line = ["-host", &service.address, "-to", to.to_str().unwrap(), "--json"];
        let ran = run(line.iter().chain(more));
        assert_eq!(ran.status, status, "{ran:?}");
        assert!(tree(to) == before, "{status}: something was changed");
    };
    let refused = |to: &Path, service: &Service, status| refused_with(to, service, &[], status);
    let to = of_the_tool(dir.path());
    refused(&to, &other, 23);
    look(&["-host", &other.address, "-to", to.to_str().unwrap()], 23, "other_store");
    refused(&to, &five, 23);
    refused_with(&to, &five, &["--full"], 38);

    // Of another history: the tool's last transaction is not the server's.
    let log = to.join("neostore.transaction.db.0");
    let whole = std::fs::read(&log).unwrap();
    let mut bytes = whole.clone();
    let length = bytes.len();
    bytes[length - 1] ^= 1;
    std::fs::write(&log, &bytes).unwrap();
    refused(&to, &killed, 24);
    look(&["-host", &killed.address, "-to", to.to_str().unwrap()], 24, "diverged");
    std::fs::write(&log, &whole).unwrap();

    std::fs::write(to.join("letter"), "dear").unwrap();
    refused(&to, &killed, 38);
    std::fs::remove_file(to.join("letter")).unwrap();
    let lock = std::fs::File::create(to.join("store_lock")).unwrap();
    rustix::fs::fcntl_lock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    // To read the file would give up this process's lock of it.
    let ran = run(["-host", &killed.address, "-to", to.to_str().unwrap(), "--json"]);
    assert_eq!(ran.status, 32, "{ran:?}");
    drop(lock);
    assert_eq!(std::fs::read(&log).unwrap(), whole);
    let data = dir.path().join("a/data/databases/graph.db");
    refused(&data, &killed, 30);
}

/// A log in the way of another version, with the names of legacy indexes, which have another length there, or without; and its
/// last transaction once more under the next id.
fn logged_by(version: KernelVersion, has_names: bool, log: &[u8]) -> [Vec<u8>; 2] {
    let mut reader = EntryReader::new(&log[16..], 16);
    let (mut bytes, mut last) = (log[..16].to_vec(), Vec::new());
    let mut next = Vec::new();
    while let Some((_, mut entry)) = reader.next_entry().unwrap() {
        let length = |version| entry.encode(version).unwrap().len();
        if !has_names && length(KernelVersion::V3_0) != length(KernelVersion::V3_0_2) {
            continue;
        }
        bytes.extend(entry.encode(version).unwrap());
        match &mut entry {
            Entry::Start(_) => last.clear(),
            Entry::Commit(commit) => commit.tx_id += 1,
            _ => {}
        }
        last.extend(entry.encode(version).unwrap());
        if matches!(entry, Entry::Commit(_)) {
            next.clone_from(&last);
        }
    }
    [bytes, next]
}

/// A backup from an upgraded server's own service has what the older one logged in the newer one's way, the server's logs,
/// which our service reads, in the older one's. Nothing can be compared: a full backup follows, which is told, or nothing
/// where that is not wanted. Method: two services, beside a real server's log in both ways, which are as long as each
/// other, or not, where legacy indexes are named.
#[test]
fn a_backup_in_another_versions_way_begins_anew() {
    begins_anew(false, "the server has been upgraded");
    begins_anew(true, "as the backup has it");
}

fn begins_anew(has_names: bool, why: &str) {
    let dir = tempfile::tempdir().unwrap();
    let of = |name: &str, version, has_next| {
        let parent = dir.path().join(name);
        let conf = home_of(&parent, "killed", "");
        let path = parent.join("data/databases/graph.db/neostore.transaction.db.0");
        let [mut log, next] = logged_by(version, has_names, &std::fs::read(&path).unwrap());
        if has_next {
            log.extend(next);
        }
        std::fs::write(&path, log).unwrap();
        Service::start_with("--config", &conf, &[])
    };
    let upgraded = of("upgraded", KernelVersion::V3_0_2, false);
    let older = of("older", KernelVersion::V3_0, true);
    let to = dir.path().join("backup");
    let back_up = |from: &Service, more: &[&str]| {
        let line = ["-host", &from.address, "-to", to.to_str().unwrap(), "--json"];
        run(line.iter().chain(more))
    };
    let ran = back_up(&upgraded, &[]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let last = ran.json()["databases"][0]["last_tx_id"].as_u64().unwrap();
    let before = tree(&to);
    let ran = back_up(&older, &["--no-fallback"]);
    assert_eq!((ran.status, ran.code().as_str()), (22, "logs_pruned"), "{ran:?}");
    assert!(ran.stdout.contains(why), "{ran:?}");
    assert!(tree(&to) == before, "something was changed");
    let ran = back_up(&older, &[]);
    assert!(ran.stderr.contains(why), "{ran:?}");
    let database = &ran.json()["databases"][0];
    assert_eq!((&database["type"], &database["last_tx_id"]), (&"full".into(), &(last + 1).into()));
    // In one way all is gone on with.
    let ran = back_up(&older, &[]);
    assert_eq!((ran.status, &ran.json()["databases"][0]["type"]), (0, &"incremental".into()));
}

/// Of several databases of 3.0 the one that the server starts is backed up. One that the server's own service sent, which
/// tells no name, or that had another name then, is gone on with under the name that our service tells.
#[test]
fn the_database_that_the_server_starts() {
    let dir = tempfile::tempdir().unwrap();
    let conf = home_of(dir.path(), "killed", "");
    let databases = dir.path().join("data/databases");
    copy(&databases.join("graph.db"), &databases.join("archive.db"));
    let to = dir.path().join("backup").to_str().unwrap().to_owned();
    let of = |settings: &str, kind: &str, name: &str| {
        std::fs::write(&conf, settings).unwrap();
        let service = Service::start_with("--config", &conf, &[]);
        let client = ["-host", service.address.as_str(), "-to", &to];
        let looked = look(&client, 0, "");
        others_are_ok(&looked, &[]);
        let ran = run(client.iter().chain(&["--json"]));
        assert_eq!(ran.status, 0, "{ran:?}");
        let done = ran.json()["databases"].clone();
        assert_eq!((&done[0]["name"], &done[0]["type"]), (&name.into(), &kind.into()), "{done}");
        assert!(done[1].is_null(), "{done}");
        assert_eq!(run(["verify", "--from", &to]).status, 0);
        looked
    };
    of("", "full", "graph.db");
    let looked = of("dbms.active_database=archive.db", "incremental", "archive.db");
    is(&looked, "history", "ok", "an increment can begin after transaction 129");
    of("", "incremental", "graph.db");
}

/// Logs that have grown are renewed when the server has taken a check point, which is at the same place of the backup's
/// composed log as the one before.
#[test]
fn renewed_at_the_next_check_point() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start_with("--config", &home_of(dir.path(), "killed", ""), &[]);
    let to = dir.path().join("backup").to_str().unwrap().to_owned();
    let back_up = || {
        let line = ["-host", &service.address, "-to", &to, "--renew-after", "0.1KiB", "--json"];
        let ran = run(line);
        assert_eq!(ran.status, 0, "{ran:?}");
        ran.json()["databases"][0].clone()
    };
    back_up();
    assert_eq!(back_up()["reason"], serde_json::Value::Null);
    let path = dir.path().join("data/databases/graph.db/neostore.transaction.db.0");
    let mut log = std::fs::read(&path).unwrap();
    let end = LogPosition { version: LogVersion(0), offset_bytes: log.len() as u64 };
    log.extend(CheckPoint::encode(end));
    std::fs::write(&path, &log).unwrap();
    let renewed = back_up();
    assert_eq!((&renewed["reason"], &renewed["transactions"]), (&"renewal".into(), &1.into()));
    assert_eq!(renewed["last_tx_id"], 129);
    assert_eq!(back_up()["reason"], serde_json::Value::Null);
}

/// What has neither encryption nor users is not asked for together with these.
#[test]
fn no_secrets_in_the_plain_protocol() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "abc").unwrap();
    let to = dir.path().join("backup");
    for command in ["backup", "check"] {
        let line = [command, "-host", "127.0.0.1:1", "--protocol", "3.0", "-to"];
        let flags = [to.to_str().unwrap(), "--token-file", token.to_str().unwrap(), "--json"];
        let ran = run(line.iter().chain(&flags));
        assert!(ran.stdout.contains("neither encryption nor users"), "{ran:?}");
        assert_eq!(ran.status, 2, "{ran:?}");
    }
}
