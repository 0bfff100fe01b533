//! Runs the executable, and services of it.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// No run of these tests takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// How a run ended.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Stdout as the one JSON document that it must be.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The code of a JSON error, whose shape is checked.
    pub fn code(&self) -> String {
        let document = self.json();
        let error = &document["error"];
        for field in ["code", "message", "hint"] {
            let text = error[field].as_str().unwrap_or_else(|| panic!("no {field}: {self:?}"));
            assert!(!text.is_empty() && !text.contains('\n'), "{field}: {self:?}");
        }
        error["code"].as_str().unwrap().to_owned()
    }
}

/// The executable without the environment's settings.
pub fn command(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_neo4j-backup"));
    command.args(args).env_remove("NEO4J_CONF");
    let names = std::env::vars_os().map(|(name, _)| name);
    names.filter(|name| name.to_string_lossy().starts_with("NEO4J_BACKUP_")).for_each(|name| {
        command.env_remove(name);
    });
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end.
pub fn run(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ran {
    finish(command(args).spawn().unwrap())
}

/// Runs a line, cut at spaces.
pub fn run_line(line: &str) -> Ran {
    run(line.split_whitespace())
}

/// Waits for the end, but not for ever.
pub fn finish(mut child: Child) -> Ran {
    let stdout = child.stdout.take().map(read);
    let stderr = child.stderr.take().map(read);
    let since = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if since.elapsed() > LIMIT {
            let _ = child.kill();
            let _ = child.wait();
            panic!("still running after {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = |thread: Option<std::thread::JoinHandle<String>>| {
        thread.map(|thread| thread.join().unwrap()).unwrap_or_default()
    };
    Ran { status: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) }
}

fn read(mut from: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).unwrap();
        text
    })
}

/// Sends a signal to a child.
pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// A service, stopped when this is dropped.
pub struct Service {
    child: Option<Child>,
    pub address: String,
}

impl Service {
    /// Serves a data directory on a free port and waits until it accepts.
    pub fn start(data: &Path, more: &[&str]) -> Self {
        Self::start_with("--data", data, more)
    }

    /// The same with `--config` and a configuration file.
    pub fn start_with(flag: &str, path: &Path, more: &[&str]) -> Self {
        let mut command = command(["serve", "--listen", "127.0.0.1:0", flag]);
        command.arg(path).args(more).env("NEO4J_BACKUP_LOG", "warn");
        Self::that_listens(command.spawn().unwrap())
    }

    /// Waits until a service accepts that has been started.
    pub fn that_listens(mut child: Child) -> Self {
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let Some(address) = line.trim_end().strip_prefix("listening on ") else {
            let mut stderr = String::new();
            child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
            panic!("{line:?}: {stderr}");
        };
        let address = address.to_owned();
        child.stdout = Some(stdout.into_inner());
        Self { child: Some(child), address }
    }

    /// Sends it a signal.
    pub fn signal(&self, sent: Signal) {
        signal(self.child.as_ref().unwrap(), sent);
    }

    /// Whether it has not ended yet.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_none()
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(mut self) -> Ran {
        let child = self.child.take().unwrap();
        signal(&child, Signal::TERM);
        finish(child)
    }

    /// Kills it in the middle of whatever it does.
    pub fn kill(mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A data directory with one database `neo4j` that a real server wrote.
pub fn data_directory(parent: &Path) -> PathBuf {
    data_directory_of(parent, "5.26.30/standard")
}

/// The one of that fixture; record stores that it lacks are empty.
pub fn data_directory_of(parent: &Path, fixture: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let data = parent.join("data");
    for part in ["databases", "transactions"] {
        copy(&fixtures.join(fixture).join(part), &data.join(part));
    }
    make_missing(&data.join("databases/neo4j"), formats::record_store::MANDATORY);
    data
}

/// Makes the record stores that a fixture lacks: empty.
pub fn make_missing(dir: &Path, stores: &[formats::record_store::RecordStore]) {
    for store in stores {
        let path = dir.join(store.file_name());
        if !path.exists() {
            std::fs::write(path, b"").unwrap();
        }
    }
}

/// Copies a directory.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}

/// Every file below a directory, sorted, with its bytes.
pub fn tree(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                found.push((path.strip_prefix(dir).unwrap().to_owned(), bytes));
            }
        }
    }
    found.sort();
    found
}
