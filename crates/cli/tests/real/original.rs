//! How the backup tool of Neo4j 3.0 behaves and how ours does, situation by situation.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testkit::backup_tool;
use testkit::versions::{self, Version};
use wire::v3_0::{Encoder, Failure, Request};

use crate::peer::{Answer, Database, nobody, serve, serve_raw};
use crate::scene::{arg, one_at_a_time, program};

/// The original hangs where something comes that it did not expect.
const LIMIT: Duration = Duration::from_secs(25);
/// The original's only status of all failures.
const FAILED: i32 = 1;

/// What lies at the target before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Absent,
    Empty,
    /// A file that is no backup's.
    Foreign,
    /// A backup of the database as of [`Database::STORED`].
    Backup,
    /// The same, with a file beside it that is no backup's.
    BackupAndForeign,
    /// A database of Neo4j's, of an older format.
    OlderFormat,
    /// A file in the directory's place.
    File,
    /// What a failed run of the original leaves.
    LockedOut,
    /// Nothing, and nothing above it either.
    Deep,
}

/// What lies there afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// What lay there before, byte for byte.
    Same,
    /// A database that begins with its metadata store.
    Backup,
    /// A backup was there, and is none any more.
    Gone,
    /// `temp-copy`, with which no later run of the original works.
    LockedOut,
}

/// One situation.
struct Row {
    name: &'static str,
    before: Before,
    /// Who answers.
    peer: fn(&Arc<Database>) -> Result<SocketAddr>,
    /// The command line; `HOST`, `PORT` and `TO` are put in.
    line: &'static [&'static str],
    args: &'static [&'static str],
    /// Exit status and target of ours.
    ours: (i32, After),
    /// The same of the original; `None` where it hangs.
    original: (Option<i32>, After),
}

use After as A;
use Before as B;

/// Where ours differs in more than the status, it is for the better: nothing that was there is lost, no later
/// run is locked out, and nothing wrong is called a success. A typed status tells failures apart, and a
/// spelling that nobody knows is told instead of ignored.
const ROWS: [Row; 51] = [
    row("no such option", B::Absent, honest, &["-nonsense"], (2, A::Same), (Some(0), A::Backup)),
    row("twice", B::Absent, honest, &["-timeout", "1", "-timeout", "2"], (2, A::Same), FAILS),
    row("no such unit", B::Absent, honest, &["-timeout", "5x"], (2, A::Same), FAILS),
    row("no checker", B::Absent, honest, &["-consistency-checker", "x"], (2, A::Same), FAILS),
    row("no config", B::Absent, honest, &["-config", "/nowhere/x"], (3, A::Same), FAILS),
    row("no check", B::Absent, honest, &["-verify", "false"], (0, A::Backup), WORKS),
    row("no checker", B::Absent, honest, &["-consistency-checker", "NONE"], (0, A::Backup), WORKS),
    row("a check", B::Absent, honest, &["-timeout", "30s", "-verify"], (0, A::Backup), WORKS),
    row("nobody", B::Absent, |_| nobody(), &[], (10, A::Same), FAILS),
    row("nobody, empty", B::Empty, |_| nobody(), &[], (10, A::Same), LOCKS_OUT),
    row("closes", B::Absent, closes, &[], (11, A::Same), FAILS),
    row(
        "silent",
        B::Absent,
        |_| serve(|_| Answer::Silence),
        &["-timeout", "1"],
        (11, A::Same),
        FAILS,
    ),
    row("no peer", B::Absent, babbles, &[], (11, A::Same), FAILS),
    row("other version", B::Absent, other_version, &[], (11, A::Same), FAILS),
    row("foreign", B::Foreign, honest, &[], (38, A::Same), FAILS),
    row("fails among files", B::Absent, fails, &[], (20, A::Same), LOCKS_OUT),
    row("cut off among files", B::Absent, cut_off, &[], (13, A::Same), FAILS),
    row("pruned in a full copy", B::Absent, silent_loss, &[], (22, A::Same), WORKS),
    row("nothing new", B::Backup, |it| server(it, Database::STORED), &[], (0, A::Same), WORKS),
    row("two more", B::Backup, honest, &[], (0, A::Backup), WORKS),
    row("nobody any more", B::Backup, |_| nobody(), &[], (10, A::Same), KEEPS),
    row("fails", B::Backup, fails, &[], (20, A::Same), KEEPS),
    row("other store", B::Backup, other_store, &[], (23, A::Same), KEEPS),
    row("logs gone", B::Backup, logs_gone, &[], (0, A::Backup), WORKS),
    row(
        "logs gone, then fails",
        B::Backup,
        gone_and_fails,
        &[],
        (20, A::Same),
        (Some(FAILED), A::Gone),
    ),
    row(
        "other history",
        B::Backup,
        |it| server(it, Database::STORED - 1),
        &[],
        (24, A::Same),
        WORKS,
    ),
    row("the last cut off", B::Backup, half, &[], (11, A::Same), WORKS),
    row("a gap", B::Backup, gap, &[], (11, A::Same), (None, A::Backup)),
    line("no target", B::Absent, &["-host", "HOST", "-port", "PORT"], (2, A::Same), FAILS),
    line("no source", B::Absent, &["-to", "TO"], (2, A::Same), FAILS),
    line("no port", B::Absent, &["-host", "HOST", "-port", "x", "-to", "TO"], (2, A::Same), FAILS),
    line("host and port", B::Absent, &["-host", "HOST:PORT", "-to", "TO"], (0, A::Backup), FAILS),
    line("no host", B::Absent, &["-host", "x.invalid", "-to", "TO"], (10, A::Same), FAILS),
    line("from", B::Absent, &["-from", "HOST:PORT", "-to", "TO"], (0, A::Backup), WORKS),
    line("single", B::Absent, &["-from=single://HOST:PORT", "-to", "TO"], (0, A::Backup), WORKS),
    line("ha", B::Absent, &["--from", "ha://HOST:PORT", "--to=TO"], (0, A::Backup), WORKS),
    line("no scheme", B::Absent, &["-from", "http://HOST:PORT", "-to", "TO"], (2, A::Same), FAILS),
    line("several", B::Absent, &["-from", "HOST:PORT,HOST:PORT", "-to", "TO"], (2, A::Same), FAILS),
    row("beside -host", B::Absent, honest, &["-from", "HOST:PORT"], (2, A::Same), WORKS),
    row("a stray word", B::Absent, honest, &["stray"], (2, A::Same), WORKS),
    row("an empty value", B::Absent, honest, &["-timeout="], (2, A::Same), WORKS),
    row("forensics", B::Absent, honest, &["-gather-forensics"], (0, A::Backup), WORKS),
    row("missing parents", B::Deep, honest, &[], (0, A::Backup), WORKS),
    row("a file", B::File, honest, &[], (38, A::Same), FAILS),
    row("after a failure", B::LockedOut, honest, &[], (38, A::LockedOut), LOCKS_OUT),
    row("foreign beside", B::BackupAndForeign, honest, &[], (36, A::Same), WORKS),
    row("older format", B::OlderFormat, honest, &[], (38, A::Same), KEEPS),
    row("silent", B::Backup, falls_silent, &["-timeout", "1"], (13, A::Same), KEEPS),
    row("ends early", B::Absent, ends_early, &[], (0, A::Backup), WORKS),
    row("ends early, and pruned", B::Absent, is_pruned_meanwhile, &[], (22, A::Same), WORKS),
    // What none but Neo4j's own checker finds, which is run on what was restored.
    row(
        "damaged at the server",
        B::Absent,
        damaged,
        &[],
        (0, A::Backup),
        (Some(FAILED), A::Backup),
    ),
];

/// The usual command line.
const LINE: &[&str] = &["-host", "HOST", "-port", "PORT", "-to", "TO"];

const WORKS: (Option<i32>, After) = (Some(0), A::Backup);
const FAILS: (Option<i32>, After) = (Some(FAILED), A::Same);
const KEEPS: (Option<i32>, After) = (Some(FAILED), A::Backup);
const LOCKS_OUT: (Option<i32>, After) = (Some(FAILED), A::LockedOut);

const fn row(
    name: &'static str,
    before: Before,
    peer: fn(&Arc<Database>) -> Result<SocketAddr>,
    args: &'static [&'static str],
    ours: (i32, After),
    original: (Option<i32>, After),
) -> Row {
    Row { name, before, peer, line: LINE, args, ours, original }
}

const fn line(
    name: &'static str,
    before: Before,
    line: &'static [&'static str],
    ours: (i32, After),
    original: (Option<i32>, After),
) -> Row {
    Row { line, ..row(name, before, honest, &[], ours, original) }
}

/// Claim: in each situation ours ends as the table says; and, in the long run, so does the original, so that
/// what we say of it is true. Method: peers that speak the protocol and say what the situation wants, out of
/// a real database.
#[test]
fn the_original_and_ours() -> Result<()> {
    let _guard = one_at_a_time();
    let database = Arc::new(Database::open()?);
    let original = versions::under_test_3_0("the original tool").into_iter().next();
    let mut wrong = Vec::new();
    for row in &ROWS {
        let dir = tempfile::Builder::new().prefix("neo4j-backup-test-").tempdir()?;
        let tool = Tool { dir: dir.path(), database: &database };
        let (status, after, text) = tool.ours(row).with_context(|| row.name)?;
        if (status, after) != (Some(row.ours.0), row.ours.1) {
            wrong.push(format!("{}: ours: {status:?}, {after:?}\n{text}", row.name));
        }
        if let Some(version) = original.filter(|_| versions::is_long_run()) {
            let (status, after, text) = tool.original(row, &version).with_context(|| row.name)?;
            if (status, after) != row.original {
                wrong.push(format!("{}: original: {status:?}, {after:?}\n{text}", row.name));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Claim: `check` finds with a server's own service what the next run would find there, and the backup
/// stays as it is. Method: the same peers.
#[test]
fn check_of_a_servers_own_service() -> Result<()> {
    let database = Arc::new(Database::open()?);
    let dir = tempfile::tempdir()?;
    let to = dir.path().join("backup");
    let look = |peer: SocketAddr| {
        let port = peer.port().to_string();
        program().outcome(&[
            "check",
            "-host",
            "127.0.0.1",
            "-port",
            &port,
            "-to",
            arg(&to),
            "--json",
        ])
    };
    let status_of = |document: &serde_json::Value, check: &str| {
        let checks = document["checks"].as_array().into_iter().flatten();
        let found = checks.filter(|found| found["check"] == check);
        found.map(|found| found["status"].as_str().unwrap_or("").to_owned()).collect::<Vec<_>>()
    };
    let (status, document) = look(server(&database, Database::STORED)?)?;
    ensure!(status == Some(0) && status_of(&document, "history") == ["ok"], "{document:#}");
    let port = server(&database, Database::STORED)?.port().to_string();
    program().json(&["-host", "127.0.0.1", "-port", &port, "-to", arg(&to), "--json"])?;
    let before = tree(&to)?;
    for (peer, expected, history) in [
        (honest(&database)?, 0, vec!["ok"]),
        (server(&database, Database::STORED - 1)?, 24, vec!["error"]),
        (other_store(&database)?, 23, vec!["error"]),
        // The next run makes a new full backup.
        (logs_gone(&database)?, 0, vec!["warning", "ok"]),
        (fails(&database)?, 20, vec!["error"]),
    ] {
        let (status, document) = look(peer)?;
        ensure!(status == Some(expected), "{expected}: {document:#}");
        ensure!(status_of(&document, "history") == history, "{expected}: {document:#}");
        ensure!(status_of(&document, "connection") == ["ok"], "{document:#}");
    }
    ensure!(tree(&to)? == before, "the backup was changed");
    Ok(())
}

struct Tool<'a> {
    dir: &'a Path,
    database: &'a Arc<Database>,
}

impl Tool<'_> {
    /// A run of ours.
    fn ours(&self, row: &Row) -> Result<(Option<i32>, After, String)> {
        let (to, before) = self.target(row, "ours")?;
        let args = self.args(row, &to)?;
        let mut command = program().command(&args.iter().map(String::as_str).collect::<Vec<_>>());
        let output = command.current_dir(self.dir).output()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let after = after(&to, &before)?;
        if output.status.success() && after == After::Backup {
            let (info, _) = program().json(&["info", "--from", arg(&to), "--json"])?;
            let found = &info["databases"][0];
            let is_full = row.before != Before::Backup || row.name == "logs gone";
            let kind = if is_full { "full" } else { "incremental" };
            let is_right = found["type"] == kind && found["last_tx_id"] == Database::LAST;
            ensure!(is_right, "{found:#}\n{text}");
        }
        Ok((output.status.code(), after, text))
    }

    /// The same of the original.
    fn original(&self, row: &Row, version: &Version) -> Result<(Option<i32>, After, String)> {
        let (to, before) = self.target(row, "original")?;
        let args = self.args(row, &to)?;
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let done = backup_tool::run(version, self.dir, &args, LIMIT);
        let (status, text) = match done {
            Ok(done) => (done.status.code(), done.output),
            Err(error) => (None, format!("{error:#}")),
        };
        Ok((status, after(&to, &before)?, text))
    }

    fn args(&self, row: &Row, to: &Path) -> Result<Vec<String>> {
        let peer = (row.peer)(self.database)?;
        let (host, port) = (peer.ip().to_string(), peer.port().to_string());
        let put_in =
            |part: &&str| part.replace("HOST", &host).replace("PORT", &port).replace("TO", arg(to));
        Ok(row.line.iter().chain(row.args).map(put_in).collect())
    }

    /// The target as the situation wants it, and all that is in it.
    fn target(&self, row: &Row, name: &str) -> Result<(PathBuf, Tree)> {
        let mut to = self.dir.join(name);
        match row.before {
            Before::Absent => {}
            Before::Deep => to.push("a/b"),
            Before::File => std::fs::write(&to, "dear")?,
            Before::LockedOut => {
                std::fs::create_dir_all(to.join("temp-copy"))?;
                std::fs::write(to.join("temp-copy/neostore.nodestore.db"), "begun")?;
            }
            Before::OlderFormat => self.database.copy_older(&to)?,
            Before::Empty => std::fs::create_dir(&to)?,
            Before::Foreign => {
                std::fs::create_dir(&to)?;
                std::fs::write(to.join("letter"), "dear")?;
            }
            Before::Backup | Before::BackupAndForeign => {
                let peer = server(self.database, Database::STORED)?;
                let port = peer.port().to_string();
                program().json(&[
                    "-host",
                    "127.0.0.1",
                    "-port",
                    &port,
                    "-to",
                    arg(&to),
                    "--json",
                ])?;
                if row.before == Before::BackupAndForeign {
                    std::fs::write(to.join("letter"), "dear")?;
                }
            }
        }
        let before = tree(&to)?;
        Ok((to, before))
    }
}

/// Names and contents of a directory; it may be missing.
type Tree = BTreeMap<PathBuf, Vec<u8>>;

fn tree(dir: &Path) -> Result<Tree> {
    let mut found = BTreeMap::new();
    if dir.is_file() {
        found.insert(PathBuf::new(), std::fs::read(dir)?);
    }
    if !dir.is_dir() {
        return Ok(found);
    }
    for entry in fs::walk(dir)? {
        let path = dir.join(&entry.path);
        // The manifest tells of the last run, and the lock of it.
        let is_told = entry.path.to_string_lossy().starts_with(".neo4j-backup");
        if path.is_file() && !is_told {
            found.insert(entry.path, std::fs::read(path)?);
        }
    }
    Ok(found)
}

fn after(to: &Path, before: &Tree) -> Result<After> {
    let now = tree(to)?;
    let has_backup = to.join("neostore").is_file();
    Ok(if to.join("temp-copy").exists() {
        After::LockedOut
    } else if now == *before {
        After::Same
    } else if has_backup {
        After::Backup
    } else {
        After::Gone
    })
}

/// A server whose last transaction that is.
fn server(database: &Arc<Database>, last: u64) -> Result<SocketAddr> {
    let database = Arc::clone(database);
    serve(move |request| Answer::Bytes(database.honest(request, last)))
}

/// A server that answers honestly but to requests of one kind.
fn but(
    database: &Arc<Database>,
    is_it: fn(&Request) -> bool,
    answer: fn(&Database, &Request) -> Answer,
) -> Result<SocketAddr> {
    let database = Arc::clone(database);
    serve(move |request| match is_it(&request) {
        true => answer(&database, &request),
        false => Answer::Bytes(database.honest(request, Database::LAST)),
    })
}

fn is_full(request: &Request) -> bool {
    matches!(request, Request::Full { .. })
}

/// Not a request for nothing, which only ours makes, to find out who answers.
fn is_increment(request: &Request) -> bool {
    matches!(request, Request::Incremental { last_tx_id: 1.. })
}

fn honest(database: &Arc<Database>) -> Result<SocketAddr> {
    server(database, Database::LAST)
}

fn closes(_: &Arc<Database>) -> Result<SocketAddr> {
    serve_raw(b"")
}

fn babbles(_: &Arc<Database>) -> Result<SocketAddr> {
    serve_raw(b"SSH-2.0-OpenSSH_9.6\r\n")
}

/// What 3.1 says, but for what follows its frame's header.
fn other_version(database: &Arc<Database>) -> Result<SocketAddr> {
    but(
        database,
        |_| true,
        |database, request| {
            let mut answer = database.honest(*request, Database::LAST);
            answer[5] = 2;
            Answer::Bytes(answer)
        },
    )
}

fn fails(database: &Arc<Database>) -> Result<SocketAddr> {
    let fail = |database: &Database, request: &Request| {
        let mut encoder = Encoder::new();
        if is_full(request) {
            database.files(&mut encoder);
        }
        Answer::Bytes(encoder.fail(&Failure::other("an index is gone")).to_vec())
    };
    but(database, |request| is_full(request) || is_increment(request), fail)
}

fn cut_off(database: &Arc<Database>) -> Result<SocketAddr> {
    but(database, is_full, |database, request| {
        let mut answer = database.honest(*request, Database::LAST);
        answer.truncate(answer.len() / 2);
        Answer::Last(answer)
    })
}

/// The silent loss of the real server: no transactions, where some were committed.
fn silent_loss(database: &Arc<Database>) -> Result<SocketAddr> {
    but(database, is_full, |database, _| Answer::Bytes(database.full(&[])))
}

fn other_store(database: &Arc<Database>) -> Result<SocketAddr> {
    but(
        database,
        |request| !is_full(request),
        |database, _| {
            let mut store_id = database.store_id();
            store_id[15] ^= 1;
            Answer::Bytes(database.incremental_of(&store_id, &[]))
        },
    )
}

fn pruned() -> Answer {
    Answer::Bytes(Encoder::new().fail(&Failure::logs_pruned("no such transaction")).to_vec())
}

/// Asked for what follows the backup, or its last transaction.
fn is_next(request: &Request) -> bool {
    let Request::Incremental { last_tx_id } = request else { return false };
    (Database::STORED - 1..=Database::STORED).contains(&last_tx_id.unsigned_abs())
}

/// Nothing before the last transaction is in the logs any more.
fn logs_gone(database: &Arc<Database>) -> Result<SocketAddr> {
    but(database, is_next, |_, _| pruned())
}

fn gone_and_fails(database: &Arc<Database>) -> Result<SocketAddr> {
    but(
        database,
        |request| is_full(request) || is_next(request),
        |_, request| match is_full(request) {
            true => Answer::Bytes(Encoder::new().fail(&Failure::other("no disk")).to_vec()),
            false => pruned(),
        },
    )
}

/// All that was asked for but the last byte, in whole frames.
fn half(database: &Arc<Database>) -> Result<SocketAddr> {
    but(database, is_increment, |database, request| {
        let Request::Incremental { last_tx_id } = request else { return Answer::Silence };
        let mut bytes = database.transactions(last_tx_id.unsigned_abs() + 1..=Database::LAST);
        bytes.pop();
        Answer::Bytes(database.incremental(&bytes))
    })
}

fn gap(database: &Arc<Database>) -> Result<SocketAddr> {
    but(database, is_increment, |database, request| {
        let Request::Incremental { last_tx_id } = request else { return Answer::Silence };
        let from = last_tx_id.unsigned_abs() + 1;
        let wanted = (from..=Database::LAST).filter(|id| *id != Database::STORED + 1);
        Answer::Bytes(database.incremental(&database.transactions(wanted)))
    })
}

fn falls_silent(database: &Arc<Database>) -> Result<SocketAddr> {
    but(database, is_increment, |_, _| Answer::Silence)
}

/// A log was pruned while the transactions of the one before it were sent: they end there, as if there were no more.
fn all_but_the_last(database: &Database, _: &Request) -> Answer {
    Answer::Bytes(database.full(&database.transactions([Database::LAST - 1])))
}

fn ends_early(database: &Arc<Database>) -> Result<SocketAddr> {
    but(database, is_full, all_but_the_last)
}

fn is_pruned_meanwhile(database: &Arc<Database>) -> Result<SocketAddr> {
    let is_it = |request: &Request| {
        let before = (Database::LAST - 1).cast_signed();
        is_full(request)
            || matches!(request, Request::Incremental { last_tx_id } if *last_tx_id == before)
    };
    but(database, is_it, |database, request| match is_full(request) {
        true => all_but_the_last(database, request),
        false => pruned(),
    })
}

/// A server whose records do not agree with each other.
fn damaged(database: &Arc<Database>) -> Result<SocketAddr> {
    let damaged = Arc::new(database.damaged());
    serve(move |request| Answer::Bytes(damaged.honest(request, Database::LAST)))
}
