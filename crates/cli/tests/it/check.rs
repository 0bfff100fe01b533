//! `check` from a client: each check is seen to pass, and to fail when something is wrong with just what
//! it looks at. Nothing is ever written.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use testkit::certificates::Certificates;

use crate::backup::{backup, mounted};
use crate::connect::answering;
use crate::run::{Service, command, copy, data_directory, data_directory_of, finish, run, tree};

/// Looks, and compares the run's status and code.
#[track_caller]
pub fn look(line: &[&str], status: i32, code: &str) -> Value {
    let ran = run([&["check", "--json"], line].concat());
    assert_eq!(ran.status, status, "{ran:?}");
    let document = ran.json();
    assert_eq!(document["ok"], status == 0, "{document:#}");
    if status != 0 {
        assert_eq!(ran.code(), code, "{document:#}");
    }
    check_shape(&document);
    document
}

/// The names in the document are a contract.
fn check_shape(document: &Value) {
    for found in document["checks"].as_array().unwrap() {
        let status = found["status"].as_str().unwrap();
        assert!(["ok", "warning", "error"].contains(&status), "{found}");
        for name in ["check", "message"] {
            let text = found[name].as_str().unwrap();
            assert!(!text.is_empty() && !text.contains('\n'), "{found}");
        }
        assert_eq!(found["hint"].is_string(), status != "ok", "{found}");
        assert_eq!(found["code"].is_string(), status == "error", "{found}");
        let known = ["check", "status", "database", "message", "hint", "code"];
        assert!(found.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())));
    }
}

/// The findings of a check.
pub fn found<'a>(document: &'a Value, check: &str) -> Vec<&'a Value> {
    let all = document["checks"].as_array().unwrap().iter();
    all.filter(|found| found["check"] == check).collect()
}

/// The one finding of a check has this status, and says this.
#[track_caller]
pub fn is(document: &Value, check: &str, status: &str, said: &str) {
    let found = found(document, check);
    let [only] = found.as_slice() else { panic!("{check}: {document:#}") };
    assert_eq!(only["status"], status, "{only:#}");
    let text = format!("{} {}", only["message"], only["hint"]);
    assert!(text.contains(said), "{said:?} is not in {only:#}");
}

/// All checks but these are ok.
#[track_caller]
pub fn others_are_ok(document: &Value, but: &[&str]) {
    for found in document["checks"].as_array().unwrap() {
        let name = found["check"].as_str().unwrap();
        assert!(found["status"] == "ok" || but.contains(&name), "{found:#}");
    }
}

/// A server's directories, a service on them by its configuration, and a backup.
struct Setting {
    dir: tempfile::TempDir,
    data: PathBuf,
    conf: PathBuf,
    to: PathBuf,
}

impl Setting {
    fn new(settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = data_directory(dir.path());
        Self::of(dir, data, settings)
    }

    fn of(dir: tempfile::TempDir, data: PathBuf, settings: &str) -> Self {
        let conf = dir.path().join("neo4j.conf");
        let to = dir.path().join("backup");
        let setting = Self { dir, data, conf, to };
        setting.configure(settings);
        setting
    }

    fn configure(&self, settings: &str) {
        let text = format!("server.directories.data={}\n{settings}\n", self.data.display());
        std::fs::write(&self.conf, text).unwrap();
    }

    /// By the configuration, as a server's operator runs it.
    fn serve(&self) -> Service {
        Service::start_with("--config", &self.conf, &[])
    }

    fn back_up(&self, service: &Service) {
        let ran = backup(service, &self.to, &[]);
        assert_eq!(ran.status, 0, "{ran:?}");
    }

    #[track_caller]
    fn look(&self, service: &Service, status: i32, code: &str) -> Value {
        look(&["-host", &service.address, "-to", self.to.to_str().unwrap()], status, code)
    }
}

/// Without a backup and with one: everything is ok, and nothing is written or changed.
#[test]
fn all_is_well() {
    let setting = Setting::new("db.tx_log.rotation.retention_policy=keep_all");
    let before = tree(&setting.data);
    let service = setting.serve();
    let document = setting.look(&service, 0, "");
    others_are_ok(&document, &["open_files"]);
    assert!(!setting.to.exists(), "the target was made");
    is(&document, "connection", "ok", "answers after");
    is(&document, "certificate", "ok", "no TLS");
    is(&document, "token", "ok", "asks for none");
    is(&document, "service", "ok", env!("CARGO_PKG_VERSION"));
    is(&document, "clock", "ok", "agrees");
    is(&document, "target", "ok", "will be made");
    is(&document, "database", "ok", "record-standard");
    is(&document, "history", "ok", "no backup yet");
    is(&document, "retention", "ok", "at any time");
    is(&document, "space", "ok", "are free");
    assert_eq!(found(&document, "database")[0]["database"], "neo4j");

    setting.back_up(&service);
    let backup = tree(&setting.to);
    let document = setting.look(&service, 0, "");
    others_are_ok(&document, &[]);
    is(&document, "target", "ok", "a backup of neo4j");
    is(&document, "backup", "ok", "up to transaction");
    is(&document, "history", "ok", "can begin after transaction");
    is(&document, "retention", "ok", "the next increment works at any time");
    assert!(tree(&setting.to) == backup && tree(&setting.data) == before, "something was changed");

    // The service alone; text; quiet; and the spelling without a value.
    let document = look(&["-host", &service.address], 0, "");
    others_are_ok(&document, &[]);
    assert!(found(&document, "target").is_empty() && found(&document, "space").is_empty());
    let line = ["check", "-host", &service.address, "-to", setting.to.to_str().unwrap()];
    let text = run(line);
    assert!(text.stdout.starts_with("ok       connection"), "{text:?}");
    assert!(text.stdout.ends_with("checks are ok\n") && text.stderr.is_empty(), "{text:?}");
    let quiet = run([&line[..], &["--quiet"]].concat());
    assert_eq!((quiet.status, &*quiet.stdout, &*quiet.stderr), (0, "", ""));
    let port = service.address.rsplit(':').next().unwrap();
    look(&["-host", "-port", port], 0, "");
    // Sessions that failed would be counted, and looked at by somebody.
    let metrics = "neo4j_backup_sessions_failed_total 0";
    assert!(get(&service.address, "/metrics").contains(metrics));
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Nobody there, or somebody else: the target is looked at all the same.
#[test]
fn no_service() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("backup");
    let to = to.to_str().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let document = look(&["-host", &address, "-to", to], 10, "cannot_connect");
    is(&document, "connection", "error", "serve");
    is(&document, "target", "ok", "will be made");
    is(&document, "space", "ok", "not known");
    let other = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").to_string();
    let document = look(&["-host", &other, "-to", to], 11, "wrong_service");
    is(&document, "connection", "error", "like another web server");
    let other = answering(b"SSH-2.0-OpenSSH_9.6\r\n").to_string();
    look(&["-host", &other], 11, "wrong_service");

    // Several errors of different kinds have a code of their own; each is told.
    std::fs::create_dir(to).unwrap();
    std::fs::write(Path::new(to).join("precious"), "").unwrap();
    let document = look(&["-host", &address, "-to", to], 41, "check_failed");
    is(&document, "target", "error", "precious");
    assert_eq!(found(&document, "target")[0]["code"], "not_a_backup");
    assert_eq!(found(&document, "connection")[0]["code"], "cannot_connect");
    let quiet = run(["check", "-host", &address, "-to", to, "--quiet"]);
    assert_eq!((quiet.status, &*quiet.stdout), (41, ""));
    assert!(
        quiet.stderr.contains("error: target: ") && quiet.stderr.contains("2 of "),
        "{quiet:?}"
    );
}

fn secure(data: &Path, certificates: &Certificates, more: &[&str]) -> Service {
    let (cert, key) = (certificates.arg("server.pem"), certificates.arg("server.key"));
    let tls = ["--tls-cert", &*cert, "--tls-key", &*key];
    Service::start(data, &[&tls[..], more].concat())
}

/// Trusted, not trusted, of another name, expired, about to expire; and our own files.
#[test]
fn certificates() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    let make = |name: &str, days| {
        let dir = dir.path().join(name);
        match days {
            Some(days) => Certificates::make_for_days(&dir, days).unwrap(),
            None => Certificates::make(&dir).unwrap(),
        }
    };
    let good = make("good", None);
    let service = secure(&data, &good, &[]);
    let (address, ca) = (service.address.clone(), good.arg("ca.pem"));
    let document = look(&["-host", &address, "--ca", &ca], 0, "");
    others_are_ok(&document, &["retention"]);
    is(&document, "certificate", "ok", "trusted; valid until");
    is(&document, "ca", "ok", "valid until");
    let document = look(&["-host", &address], 11, "wrong_service");
    is(&document, "connection", "error", "TLS only");

    let strange = make("strange", None).arg("ca.pem");
    let document = look(&["-host", &address, "--ca", &strange], 10, "cannot_connect");
    is(&document, "certificate", "error", "not trusted: ");
    let name = address.replace("127.0.0.1", "localhost");
    let document = look(&["-host", &name, "--ca", &ca], 10, "cannot_connect");
    is(&document, "certificate", "error", "localhost");
    let plain = Service::start(&data, &[]);
    let document = look(&["-host", &plain.address, "--ca", &ca], 10, "cannot_connect");
    is(&document, "certificate", "error", "TLS with");

    for (days, status, said) in [(-1, 10, "not trusted: "), (10, 0, "valid until")] {
        let own = make(&format!("days {days}"), Some(days));
        let service = secure(&data, &own, &[]);
        let line = ["-host", &service.address, "--ca", &own.arg("ca.pem")];
        let document = look(&line, status, "cannot_connect");
        is(&document, "certificate", if status == 0 { "warning" } else { "error" }, said);
        if days < 0 {
            is(&document, "certificate", "error", "expired");
            is(&document, "connection", "error", "expired");
        }
    }

    // Ours, which the service wants.
    let service = secure(&data, &good, &["--client-ca", &ca]);
    let own = |from: &Certificates, status| {
        let (cert, key) = (from.arg("client.pem"), from.arg("client.key"));
        let line = ["-host", &*service.address, "--ca", &ca, "--client-cert", &cert];
        look(&[&line[..], &["--client-key", &key]].concat(), status, "cannot_connect")
    };
    is(&own(&good, 0), "client_certificate", "ok", "valid until");
    let other = own(&make("other", None), 10);
    is(&other, "connection", "error", "TLS with");
    is(&other, "certificate", "ok", "trusted");
    is(
        &look(&["-host", &service.address, "--ca", &ca], 10, "cannot_connect"),
        "connection",
        "error",
        "",
    );
    let soon = make("days 10", Some(10));
    is(&own(&soon, 10), "client_certificate", "warning", "valid until");
    let old = make("days -1", Some(-1));
    let (cert, key) = (old.arg("client.pem"), old.arg("client.key"));
    let line = ["-host", &service.address, "--ca", &ca, "--client-cert", &cert];
    let document = look(&[&line[..], &["--client-key", &key]].concat(), 41, "check_failed");
    is(&document, "client_certificate", "error", "expired on");
    let missing = dir.path().join("missing");
    let line = ["-host", &service.address, "--ca", missing.to_str().unwrap()];
    is(&look(&line, 3, "bad_configuration"), "ca", "error", "missing");
}

#[test]
fn tokens() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory(dir.path());
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let tokens = path("tokens");
    for scope in ["backup", "metrics"] {
        let line = ["token", "--name", scope, "--scope", scope, "--token-file", &tokens];
        let ran = run([&line[..], &["--client-file", &path(scope)]].concat());
        assert_eq!(ran.status, 0, "{ran:?}");
    }
    let service = Service::start(&data, &["--token-file", &tokens]);
    let with = |name: &str, status, code| {
        look(&["-host", &service.address, "--token-file", &path(name)], status, code)
    };
    is(&with("backup", 0, ""), "token", "ok", "accepted");
    let document = with("metrics", 12, "not_authorised");
    is(&document, "token", "error", "for metrics only");
    is(&document, "token", "error", "--scope backup");
    is(&document, "connection", "ok", "answers");
    let document = look(&["-host", &service.address], 12, "not_authorised");
    is(&document, "token", "error", "a token is needed");
    std::fs::write(path("wrong"), "n4b_wrong\n").unwrap();
    is(&with("wrong", 12, "not_authorised"), "token", "error", "not known");
    is(&with("missing", 3, "bad_configuration"), "token", "error", "missing");
    // The service's file in place of the client's.
    is(&with("tokens", 3, "bad_configuration"), "token", "error", "not one token");
}

/// A format that is refused, names that are not there, a backup of a database that is gone.
#[test]
fn databases() {
    let setting = Setting::new("");
    let (strange, data) = (setting.data.join("databases/strange"), &setting.data);
    let service = setting.serve();
    setting.back_up(&service);
    std::fs::create_dir(&strange).unwrap();
    std::fs::write(strange.join("block.x"), "").unwrap();
    let document = setting.look(&service, 20, "source_unusable");
    let of = |name: &str| {
        let all = found(&document, "database");
        all.into_iter().find(|found| found["database"] == name).unwrap().clone()
    };
    assert_eq!((&of("neo4j")["status"], &of("strange")["status"]), (&"ok".into(), &"error".into()));
    assert!(of("strange")["message"].as_str().unwrap().contains("block format"));
    let line = ["-host", &service.address, "--database"];
    look(&[&line[..], &["neo*"]].concat(), 0, "");
    let document = look(&[&line[..], &["other*"]].concat(), 21, "no_such_database");
    assert_eq!(found(&document, "database")[0]["database"], "other*");

    std::fs::remove_dir_all(&strange).unwrap();
    let aside = setting.dir.path().join("aside");
    std::fs::rename(data.join("databases/neo4j"), &aside).unwrap();
    copy(&aside, &data.join("databases/other"));
    copy(&data.join("transactions/neo4j"), &data.join("transactions/other"));
    let document = setting.look(&service, 0, "");
    is(&document, "backup", "warning", "was it dropped");
}

/// Foreign, read-only for this user, in Neo4j's own directory, damaged, of a later version, on a full
/// disk: errors. Held by a run: that is how it should be with a follower.
#[test]
fn targets() {
    let setting = Setting::new("");
    let service = setting.serve();
    let look_at = |to: &Path, status, code| {
        look(&["-host", &service.address, "-to", to.to_str().unwrap()], status, code)
    };
    let inside = setting.data.join("backup");
    let document = look_at(&inside, 30, "target_unusable");
    is(&document, "target", "error", "inside the Neo4j data directory");
    let file = setting.dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    is(&look_at(&file, 38, "not_a_backup"), "target", "error", "a file instead");

    setting.back_up(&service);
    let lock = fs::Lock::take(&setting.to.join(".neo4j-backup.lock"), fs::Busy::Fail).unwrap();
    let document = setting.look(&service, 0, "");
    is(&document, "target", "warning", &format!("process {}", std::process::id()));
    is(&document, "history", "ok", "an increment can begin");
    drop(lock);
    setting.look(&service, 0, "");
    let damaged = setting.dir.path().join("damaged");
    copy(&setting.to, &damaged);
    std::fs::write(damaged.join(".neo4j-backup.json"), "{}").unwrap();
    let document = look_at(&damaged, 40, "corrupt_data");
    is(&document, "target", "error", "manifest");
    // Nothing is known of a backup, so nothing is said of what a run would do.
    assert!(found(&document, "history").is_empty(), "{document:#}");
    is(&document, "space", "ok", "not known");
    let manifest = std::fs::read_to_string(setting.to.join(".neo4j-backup.json")).unwrap();
    let newer = manifest.replace("\"format_version\": 1", "\"format_version\": 9");
    std::fs::write(damaged.join(".neo4j-backup.json"), newer).unwrap();
    let document = look_at(&damaged, 39, "backup_too_new");
    is(&document, "target", "error", "newer");
    assert!(found(&document, "history").is_empty(), "{document:#}");

    let nobody = |to: &Path| {
        let mut command = command(["check", "-host", &service.address, "--json", "-to"]);
        finish(command.arg(to).uid(65_534).gid(65_534).spawn().unwrap())
    };
    if rustix::process::geteuid().is_root() && can_be_run_by_nobody() {
        open_to_all(setting.dir.path());
        let ran = nobody(&setting.dir.path().join("new"));
        assert_eq!((ran.status, &*ran.code()), (30, "target_unusable"), "{ran:?}");
        is(&ran.json(), "target", "error", "write in");
    } else {
        eprintln!("SKIPPED a target of another user: only root can become one");
    }
    let run = |script: &str| mounted(script, &setting.dir.path().join("disk"), &service.address);
    let script = |options: &str| {
        format!(
            "mkdir -p \"$1\" && mount -t tmpfs -o {options} none \"$1\" && \
             exec \"$0\" check -host \"$2\" -to \"$1/backup\" --json"
        )
    };
    if let Some(ran) = run(&script("size=128k")) {
        assert_eq!((ran.status, &*ran.code()), (33, "no_space"), "{ran:?}");
        is(&ran.json(), "space", "error", "a backup needs");
    }
    // The backup is there, but not a second one's worth of space.
    let filled = "mkdir -p \"$1\" && mount -t tmpfs -o size=30m none \"$1\" && \
        \"$0\" -host \"$2\" -to \"$1/backup\" --quiet && \
        head -c 20m /dev/zero >\"$1/other\" && \
        exec \"$0\" check -host \"$2\" -to \"$1/backup\" --json";
    if let Some(ran) = run(filled) {
        assert_eq!(ran.status, 0, "{ran:?}");
        is(&ran.json(), "space", "warning", "an increment fits");
    }
    let limited = "ulimit -f 16 && exec \"$0\" check -host \"$2\" -to \"$1/backup\" --json";
    if let Some(ran) = run(limited) {
        assert_eq!(ran.status, 0, "{ran:?}");
        is(&ran.json(), "file_size", "warning", "ulimit -f");
    }
    if let Some(ran) = run(&script("ro")) {
        assert_eq!((ran.status, &*ran.code()), (30, "target_unusable"), "{ran:?}");
        is(&ran.json(), "target", "error", "write in");
    }
}

/// Whether another user may run the executable at all.
pub fn can_be_run_by_nobody() -> bool {
    let mut command = command(["--version"]);
    command.uid(65_534).gid(65_534).spawn().is_ok_and(|child| finish(child).status == 0)
}

/// A temporary directory is its owner's.
pub fn open_to_all(dir: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The server's history cut at its middle, and as a whole: checkpoint file and log.
fn history(setting: &Setting) -> [(Vec<u8>, Vec<u8>); 2] {
    let log = std::fs::read(log(setting)).unwrap();
    let checkpoints = std::fs::read(checkpoints(setting)).unwrap();
    let file = formats::checkpoint::decode_file(&checkpoints).unwrap().unwrap();
    let (first, end) = &file.entries[0];
    let from = first.position.offset_bytes as usize;
    let mut reader = formats::txlog::BatchReader::new(&log[from..], from as u64);
    let ends: Vec<u64> =
        std::iter::from_fn(|| reader.next_batch().unwrap()).map(|batch| batch.end).collect();
    let half = log[..ends[ends.len() / 2] as usize].to_vec();
    [(checkpoints[..*end as usize].to_vec(), half), (checkpoints, log)]
}

fn log(setting: &Setting) -> PathBuf {
    setting.data.join("transactions/neo4j/neostore.transaction.db.0")
}

fn checkpoints(setting: &Setting) -> PathBuf {
    setting.data.join("transactions/neo4j/checkpoint.0")
}

fn set(setting: &Setting, (checkpoint, log_bytes): &(Vec<u8>, Vec<u8>)) {
    std::fs::write(checkpoints(setting), checkpoint).unwrap();
    std::fs::write(log(setting), log_bytes).unwrap();
}

/// A server that was restored from an older backup, one that is another, a backup that was changed.
#[test]
fn histories() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = |name: &str| {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/2026.08.1").join(name)
    };
    let data = dir.path().join("data");
    copy(&fixture("killed/databases"), &data.join("databases"));
    copy(&fixture("killed/transactions"), &data.join("transactions"));
    for file in formats::record_store::MANDATORY {
        let path = data.join("databases/neo4j").join(file.file_name());
        if !path.exists() {
            std::fs::write(path, b"").unwrap();
        }
    }
    let setting = Setting::of(dir, data, "");
    let [half, whole] = history(&setting);
    let service = setting.serve();
    set(&setting, &half);
    setting.back_up(&service);
    set(&setting, &whole);
    is(&setting.look(&service, 0, ""), "history", "ok", "can begin after");
    setting.back_up(&service);
    set(&setting, &half);
    let document = setting.look(&service, 24, "diverged");
    is(&document, "history", "error", "history is not the backup's");
    assert!(found(&document, "retention").is_empty());
    set(&setting, &whole);

    let changed = setting.dir.path().join("changed");
    copy(&setting.to, &changed);
    let line = ["-host", &service.address, "-to", changed.to_str().unwrap()];
    is(&look(&line, 0, ""), "backup", "ok", "up to transaction");
    // As a run leaves it that is cut off between its commit and the last rename.
    let generation =
        mirror::Backup::open(&changed).unwrap().manifest().databases[0].generation.clone();
    let staged = changed.join(".neo4j-backup.staged");
    std::fs::create_dir_all(staged.join(generation)).unwrap();
    let document = look(&line, 0, "");
    is(&document, "backup", "warning", "cut off after its commit");
    is(&document, "history", "ok", "can begin after");
    std::fs::remove_dir_all(staged).unwrap();
    std::fs::write(changed.join("databases/neo4j/neostore"), vec![7; 8192]).unwrap();
    let document = look(&line, 36, "backup_changed");
    is(&document, "backup", "error", "neostore");
    // The backups are looked at without a service as well.
    drop(service);
    let line = ["-host", "127.0.0.1:1", "-to", changed.to_str().unwrap()];
    is(&look(&line, 41, "check_failed"), "backup", "error", "neostore");

    std::fs::remove_dir_all(&setting.data).unwrap();
    let data = data_directory(setting.dir.path());
    let service = Service::start(&data, &[]);
    let document = setting.look(&service, 23, "other_store");
    is(&document, "history", "error", "the backup is of");
}

/// How long the logs are kept, of a server whose logs were rotated after the backup, and pruned.
#[test]
fn retention() {
    let dir = tempfile::tempdir().unwrap();
    let data = data_directory_of(dir.path(), "5.26.30/rotated");
    let setting = Setting::of(dir, data, "");
    let newest = setting.data.join("transactions/neo4j/neostore.transaction.db.1");
    let (newer, all) =
        (std::fs::read(&newest).unwrap(), std::fs::read(checkpoints(&setting)).unwrap());
    let file = formats::checkpoint::decode_file(&all).unwrap().unwrap();
    let in_first = |(checkpoint, _): &&(formats::checkpoint::Checkpoint, u64)| {
        checkpoint.position.version.0 == 0
    };
    let (_, end) = file.entries.iter().rfind(in_first).unwrap();
    std::fs::remove_file(&newest).unwrap();
    std::fs::write(checkpoints(&setting), &all[..*end as usize]).unwrap();
    let policy = |text: &str| {
        setting.configure(&format!("db.tx_log.rotation.retention_policy={text}"));
        setting.serve()
    };
    setting.back_up(&policy("2 days"));
    // Not rotated yet: all of the time is left, whatever the age of what is in the log.
    let document = setting.look(&policy("2 days"), 0, "");
    is(&document, "retention", "ok", "works for about 2 days 0 h");
    is(&setting.look(&policy("30 days 100G"), 0, ""), "retention", "ok", "works for about");
    let document = setting.look(&policy("0 hours"), 0, "");
    is(&document, "retention", "warning", "at the server's next checkpoint");
    is(&setting.look(&policy("keep_none"), 0, ""), "retention", "warning", "keep_none");
    is(&setting.look(&policy("2 weeks"), 0, ""), "retention", "warning", "unknown policy");
    let plain = Service::start(&setting.data, &[]);
    is(&setting.look(&plain, 0, ""), "retention", "warning", "--config instead of --data");

    std::fs::write(&newest, &newer).unwrap();
    std::fs::write(checkpoints(&setting), &all).unwrap();
    for (text, status) in [("2 hours", "warning"), ("30000 days", "ok"), ("1 files", "warning")] {
        let document = setting.look(&policy(text), 0, "");
        is(&document, "retention", status, text);
        is(&document, "history", "ok", "can begin after");
    }
    std::fs::remove_file(log(&setting)).unwrap();
    let document = setting.look(&policy("2 days"), 0, "");
    let [pruned, full] = found(&document, "history")[..] else { panic!("{document:#}") };
    assert_eq!((&pruned["status"], &full["status"]), (&"warning".into(), &"ok".into()));
    assert!(pruned["message"].as_str().unwrap().contains("pruned"), "{pruned}");
    assert!(found(&document, "retention").is_empty());
}

/// Answers questions for the path that begins so with this body, and others as if there were no such
/// path; a service that does nothing else.
fn pretending(status: &'static str, path: &'static str, body: String) -> SocketAddr {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = move |asked: &str| {
        let (status, body) = match asked.split(' ').nth(1) {
            Some("/health") => ("200 OK", "{}"),
            Some(there) if there == path => (status, &*body),
            _ => ("404 Not Found", r#"{"error":{"code":"not_found","message":"no such path"}}"#),
        };
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\nneo4j-backup-api: 1\r\ncontent-type: application/json\r\n\
             connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    };
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            let _ = stream.write_all(answer(&String::from_utf8_lossy(&request[..read])).as_bytes());
        }
    });
    address
}

/// A service whose clock is wrong, one of a version that tells less, one that has other troubles; and
/// one that is not on this host.
#[test]
fn other_services() {
    let list = |more: &str| {
        let database = r#"{"name":"neo4j","state":"online"}"#;
        let body = format!("{{\"service_version\":\"9\",{more}\"databases\":[{database}]}}");
        pretending("200 OK", "/v1/databases", body)
    };
    let look_at = |address: SocketAddr, status, code| {
        look(&["-host", &format!("127.0.0.1:{}", address.port())], status, code)
    };
    let document = look_at(list(""), 0, "");
    is(&document, "history", "warning", "the service does not tell");
    is(&document, "retention", "warning", "the same version");
    assert!(found(&document, "clock").is_empty());
    is(&look_at(list("\"time\":1000,"), 0, ""), "clock", "warning", "behind");
    let ahead = list("\"time\":99999999999999,");
    is(&look_at(ahead, 0, ""), "clock", "warning", "ahead of");

    let trouble = r#"{"error":{"code":"source_unusable","message":"not a Neo4j data directory"}}"#;
    let trouble = pretending("422 Unprocessable", "/v1/databases", trouble.to_owned());
    let document = look_at(trouble, 20, "source_unusable");
    is(&document, "service", "error", "not a Neo4j");

    // Reached by an address that is not loopback's.
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "n4b_secret").unwrap();
    let beyond = format!("0.0.0.0:{}", list("").port());
    let document = look(&["-host", &beyond, "--token-file", token.to_str().unwrap()], 0, "");
    is(&document, "certificate", "warning", "--tls-cert");
    let said = found(&document, "token");
    let [warned, accepted] = said.as_slice() else { panic!("{document:#}") };
    assert_eq!((&warned["status"], &accepted["status"]), (&"warning".into(), &"ok".into()));
}

/// All sessions are taken: a backup would be turned away, and so is the question.
#[test]
fn a_busy_service() {
    let setting = Setting::new("");
    let service = setting.serve();
    let open = || {
        let mut stream = TcpStream::connect(&service.address).unwrap();
        let body = r#"{"database":"neo4j"}"#;
        let head = "POST /v1/sessions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length:";
        write!(stream, "{head} {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    };
    (0..32).for_each(|_| open());
    let document = setting.look(&service, 14, "service_busy");
    is(&document, "history", "error", "too many sessions");
}
