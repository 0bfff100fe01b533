//! Waiting until a server really answers, and what to show when it does not.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};
use std::{error, fmt};

use anyhow::{Result, bail};

use crate::bolt::{Address, Connection, Value};

const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const BETWEEN_TRIES: Duration = Duration::from_millis(100);
const TAIL_BYTES: usize = 4000;

/// A server that is up says that this database could not be started.
#[derive(Debug)]
pub struct DatabaseFailed(String);

impl error::Error for DatabaseFailed {}

impl fmt::Display for DatabaseFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a database failed to start: {}", self.0)
    }
}

/// Asks `probe` until it says that the server is ready, or that a database failed to start.
pub(super) fn wait(
    child: &mut Child,
    limit: Duration,
    probe: impl Fn() -> Result<State>,
) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            bail!("the server ended by itself: {status}");
        }
        match probe() {
            Ok(State::Ready) => return Ok(()),
            Ok(State::Failed(why)) => return Err(DatabaseFailed(why).into()),
            Ok(State::NotYet(why)) if Instant::now() >= deadline => {
                bail!("not ready after {limit:?}: {why}")
            }
            Err(error) if Instant::now() >= deadline => {
                return Err(error.context(format!("no answer after {limit:?}")));
            }
            Ok(State::NotYet(_)) | Err(_) => thread::sleep(BETWEEN_TRIES),
        }
    }
}

/// What a server is, as far as a look tells.
pub(super) enum State {
    /// It answers queries.
    Ready,
    /// It does not, for that reason.
    NotYet(String),
    /// It never will.
    Failed(String),
}

/// Whether a server of 3.0 answers a query. HTTP opens last; one whose database does not start ends
/// by itself.
pub(super) fn one_database(address: &Address, http: SocketAddr) -> Result<State> {
    Connection::open(address, ANSWER_LIMIT)?.number("RETURN 1")?;
    TcpStream::connect_timeout(&http, ANSWER_LIMIT)?;
    Ok(State::Ready)
}

/// Whether `system`, and `database` if given, answer a query.
///
/// An open port is not enough: a database that failed to start leaves the server up. That one
/// is reported at once, with the server's own words.
pub(super) fn databases(system: &Address, database: Option<&str>) -> Result<State> {
    let mut connection = Connection::open(system, ANSWER_LIMIT)?;
    let rows = connection.query(
        "SHOW DATABASES YIELD name, currentStatus, requestedStatus, statusMessage \
         RETURN name, currentStatus, requestedStatus, statusMessage",
    )?;
    for wanted in ["system"].into_iter().chain(database) {
        let Some(row) = rows.iter().find(|row| row[0].as_str() == Some(wanted)) else {
            return Ok(State::NotYet(format!("no database {wanted} yet")));
        };
        let text = |column: usize| row[column].as_str().unwrap_or_default();
        let message = text(3);
        match (text(1), text(2)) {
            ("online", _) => {}
            ("offline", "online") if message.contains("error") || message.contains("Unable") => {
                return Ok(State::Failed(format!("{wanted}: {message}")));
            }
            (current, _) => return Ok(State::NotYet(format!("{wanted} is {current}: {message}"))),
        }
        let mut connection = Connection::open(&system.database(wanted), ANSWER_LIMIT)?;
        let query = if wanted == "system" { "SHOW USERS YIELD user" } else { "RETURN 1" };
        let rows = connection.query(query)?;
        if rows.first().is_none_or(|row| row[0] == Value::Null) {
            return Ok(State::NotYet(format!("{wanted} answers nothing")));
        }
    }
    Ok(State::Ready)
}

/// The logs of one start.
pub(super) struct LogTail(Vec<(PathBuf, usize)>);

impl LogTail {
    /// Remembers where the logs end now.
    pub(super) fn new(log_dir: &Path) -> LogTail {
        let files = ["neo4j.log", "debug.log", "stdout.log"].map(|name| {
            let path = log_dir.join(name);
            let size = fs::metadata(&path).map_or(0, |file| file.len());
            (path, if name == "stdout.log" { 0 } else { usize::try_from(size).unwrap_or(0) })
        });
        LogTail(files.into())
    }

    /// The end of what was written since.
    pub(super) fn since(&self) -> String {
        let mut text = String::new();
        for (path, start) in &self.0 {
            let bytes = fs::read(path).unwrap_or_default();
            let new = bytes.get(*start..).unwrap_or(&bytes);
            let tail = &new[new.len().saturating_sub(TAIL_BYTES)..];
            text += &format!("--- {}\n{}\n", path.display(), String::from_utf8_lossy(tail));
        }
        text
    }
}
