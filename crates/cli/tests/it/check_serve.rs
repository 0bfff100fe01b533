//! `check` on the server's host: would `serve` work?

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use testkit::certificates::Certificates;

use crate::check::{can_be_run_by_nobody, found, is, look, open_to_all, others_are_ok};
use crate::run::{Service, command, data_directory, finish, run, tree};

/// A configuration, and a port that was free a moment ago.
struct Setting {
    dir: tempfile::TempDir,
    data: PathBuf,
    conf: PathBuf,
    listen: String,
}

impl Setting {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = data_directory(dir.path());
        let conf = dir.path().join("neo4j.conf");
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let setting = Self { dir, data, conf, listen: free };
        setting.configure("db.tx_log.rotation.retention_policy=keep_all", "");
        setting
    }

    fn configure(&self, neo4j: &str, own: &str) {
        let text = format!("server.directories.data={}\n{neo4j}\n", self.data.display());
        std::fs::write(&self.conf, text).unwrap();
        std::fs::write(self.dir.path().join("neo4j-backup.conf"), own).unwrap();
    }

    #[track_caller]
    fn look(&self, more: &[&str], status: i32, code: &str) -> Value {
        let mut line = vec!["--config", self.conf.to_str().unwrap()];
        if !more.contains(&"--listen") {
            line.extend(["--listen", &self.listen]);
        }
        line.extend(more);
        look(&line, status, code)
    }
}

#[test]
fn all_is_well() {
    let setting = Setting::new();
    let before = tree(setting.dir.path());
    let document = setting.look(&[], 0, "");
    others_are_ok(&document, &["open_files"]);
    is(&document, "configuration", "ok", "data in");
    is(&document, "enabled", "ok", "not switched off");
    is(&document, "protection", "ok", "this host only");
    is(&document, "address", "ok", "is free");
    is(&document, "database", "ok", "record-standard");
    is(&document, "rights", "ok", "may read all");
    is(&document, "copy", "ok", "can begin: checkpoint at transaction");
    is(&document, "retention", "ok", "at any time");
    assert_eq!(found(&document, "open_files").len(), 1);
    let data = setting.data.to_str().unwrap();
    let document = look(&["--data", data, "--listen", &setting.listen], 0, "");
    is(&document, "retention", "warning", "does not know");
    assert!(found(&document, "enabled").is_empty());
    assert!(tree(setting.dir.path()) == before, "something was written");
    let text = run(["check", "--data", data, "--listen", &setting.listen]);
    assert!(text.stdout.contains("1 with a warning, none failed") && text.stderr.is_empty());
}

#[test]
fn configurations() {
    let setting = Setting::new();
    setting.configure("", "server.backup.enabled=false");
    is(&setting.look(&[], 5, "disabled"), "enabled", "error", "switched off");
    setting.configure("", "\nserver.backup.enabled=perhaps");
    let document = setting.look(&[], 3, "bad_configuration");
    is(&document, "configuration", "error", "line 2: server.backup.enabled: ");
    is(&document, "configuration", "error", "neo4j-backup.conf");
    setting.configure("server.directories.transaction.logs.root=$(x)", "");
    is(&setting.look(&[], 3, "bad_configuration"), "configuration", "error", "line 2: ");
    std::fs::remove_file(&setting.conf).unwrap();
    is(&setting.look(&[], 3, "bad_configuration"), "configuration", "error", "neo4j.conf");
    let nothing = setting.dir.path().join("nothing");
    let line = ["--data", nothing.to_str().unwrap(), "--listen", &setting.listen];
    is(&look(&line, 20, "source_unusable"), "configuration", "error", "not a Neo4j");
}

#[test]
fn addresses() {
    let setting = Setting::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let document = setting.look(&["--listen", &address.to_string()], 4, "cannot_listen");
    is(&document, "address", "error", "already in use");
    let range = format!("{address}-{}", address.port().saturating_add(20));
    is(&setting.look(&["--listen", &range], 0, ""), "address", "ok", "is free");
    is(&setting.look(&["--listen", "nonsense:x"], 2, "usage"), "address", "error", "not a port");
    setting.configure("", "server.backup.listen_address=no-such-host.invalid");
    let ran = run(["check", "--json", "--config", setting.conf.to_str().unwrap()]);
    assert_eq!((ran.status, &*ran.code()), (3, "bad_configuration"), "{ran:?}");
    is(&ran.json(), "address", "error", "no-such-host.invalid");
    setting.configure("", "");

    // A service of ours is there already, with TLS or without.
    let service = Service::start(&setting.data, &[]);
    let document = setting.look(&["--listen", &service.address], 0, "");
    is(&document, "address", "ok", "already");
    let certificates = Certificates::make(&setting.dir.path().join("ca")).unwrap();
    let (cert, key) = (certificates.arg("server.pem"), certificates.arg("server.key"));
    let service = Service::start(&setting.data, &["--tls-cert", &cert, "--tls-key", &key]);
    let document = setting.look(&["--listen", &service.address], 0, "");
    is(&document, "address", "ok", "already");

    let beyond = ["--listen", "0.0.0.0:0"];
    let document = setting.look(&beyond, 2, "usage");
    is(&document, "protection", "error", "without TLS and authentication");
    is(&setting.look(&[&beyond[..], &["--insecure"]].concat(), 0, ""), "protection", "warning", "");
    let ca = certificates.arg("ca.pem");
    let tls = ["--tls-cert", &*cert, "--tls-key", &key, "--client-ca", &ca];
    let document = setting.look(&[&beyond[..], &tls].concat(), 0, "");
    is(&document, "protection", "ok", "TLS and authentication");
    is(&document, "certificate", "ok", "valid until");
    is(&document, "client_ca", "ok", "valid until");
}

#[test]
fn files_of_flags() {
    let setting = Setting::new();
    let make = |days: i64| {
        Certificates::make_for_days(&setting.dir.path().join(days.to_string()), days).unwrap()
    };
    let with = |certificates: &Certificates, key: &Certificates, status, code| {
        let (cert, key) = (certificates.arg("server.pem"), key.arg("server.key"));
        setting.look(&["--tls-cert", &cert, "--tls-key", &key], status, code)
    };
    let (good, soon, old) = (make(100), make(10), make(-1));
    is(&with(&good, &good, 0, ""), "certificate", "ok", "valid until");
    is(&with(&soon, &soon, 0, ""), "certificate", "warning", "valid until");
    let document = with(&old, &old, 3, "bad_configuration");
    is(&document, "certificate", "error", "expired on");
    let document = with(&good, &soon, 3, "bad_configuration");
    is(&document, "certificate", "error", "server.pem");
    let tokens = setting.dir.path().join("tokens");
    let line = ["--token-file", tokens.to_str().unwrap()];
    is(&setting.look(&line, 3, "bad_configuration"), "token_file", "error", "tokens");
    std::fs::write(&tokens, "a backup x").unwrap();
    is(&setting.look(&line, 3, "bad_configuration"), "token_file", "error", "line 1");
    std::fs::write(&tokens, format!("a backup {}", "0".repeat(64))).unwrap();
    is(&setting.look(&line, 0, ""), "token_file", "ok", "can be used");
}

#[test]
fn databases() {
    let setting = Setting::new();
    let dir = setting.data.join("databases/strange");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("block.x"), "").unwrap();
    let document = setting.look(&[], 20, "source_unusable");
    let states: Vec<_> = found(&document, "database").iter().map(|f| &f["status"]).collect();
    assert_eq!(states, ["ok", "error"]);
    setting.look(&["--database", "neo4j"], 0, "");
    let document = setting.look(&["--database", "other"], 21, "no_such_database");
    is(&document, "databases", "error", "no database to serve");

    let log = setting.data.join("transactions/neo4j/neostore.transaction.db.0");
    let aside = setting.dir.path().join("aside");
    std::fs::rename(&log, &aside).unwrap();
    let line = ["--database", "neo4j"];
    is(&setting.look(&line, 22, "logs_pruned"), "copy", "error", "pruned");
    std::fs::rename(&aside, &log).unwrap();
    setting.configure("db.tx_log.rotation.retention_policy=keep_none", "");
    is(&setting.look(&line, 0, ""), "retention", "warning", "keep_none");
    setting.configure("db.tx_log.rotation.retention_policy=5 hours", "");
    is(&setting.look(&line, 0, ""), "retention", "warning", "less than 1 day");
    setting.configure("db.tx_log.rotation.retention_policy=keep some", "");
    is(&setting.look(&line, 0, ""), "retention", "warning", "unknown policy");
    // The default of that server's version.
    setting.configure("", "");
    is(&setting.look(&line, 0, ""), "retention", "ok", "2 days");
}

/// By a user who may not read them; and few open files.
#[test]
fn rights_and_limits() {
    let setting = Setting::new();
    let limited = "ulimit -n 1000 && exec \"$0\" check --json --data \"$1\" --listen \"$2\"";
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", limited, env!("CARGO_BIN_EXE_neo4j-backup")]);
    shell.arg(&setting.data).arg(&setting.listen).stdout(std::process::Stdio::piped());
    let ran = finish(shell.spawn().unwrap());
    assert_eq!(ran.status, 0, "{ran:?}");
    is(&ran.json(), "open_files", "warning", "1000 files");

    if !rustix::process::geteuid().is_root() || !can_be_run_by_nobody() {
        eprintln!("SKIPPED files of another user: only root can become one");
        return;
    }
    open_to_all(setting.dir.path());
    let nobody = || {
        let line = ["check", "--json", "--listen", &setting.listen, "--data"];
        let mut command = command(line);
        finish(command.arg(&setting.data).uid(65_534).gid(65_534).spawn().unwrap())
    };
    assert_eq!(nobody().status, 0);
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let store = setting.data.join("databases/neo4j");
    let nodes = store.join("neostore.nodestore.db");
    mode(&nodes, 0o600);
    let ran = nobody();
    assert_eq!((ran.status, &*ran.code()), (20, "source_unusable"), "{ran:?}");
    is(&ran.json(), "rights", "error", "neostore.nodestore.db");
    is(&ran.json(), "rights", "error", "Permission denied");
    is(&ran.json(), "database", "ok", "offline");
    mode(&nodes, 0o644);
    mode(&setting.data.join("transactions/neo4j"), 0o700);
    let ran = nobody();
    is(&ran.json(), "rights", "error", "transactions/neo4j");
}
