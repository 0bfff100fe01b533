//! A small Bolt client: one connection, one query at a time, no hidden retries.
//!
//! Ours, since a test must know exactly what was sent and what was acknowledged: a driver that
//! pools, retries and needs a runtime would blur both. Speaks Bolt 5.1 to 5.4, and 1 with a server
//! of 3.0: the messages are framed and packed alike, so that costs little more than a table of who
//! says what, and a load over it is as fast. Its HTTP would have been another client.

mod bookmark;
mod cypher;
mod value;

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use std::{error, fmt};

use anyhow::{Context as _, Result, bail, ensure};

pub use value::{Map, Value};

/// Builds the parameters of a query: `params! { "id" => 1, "name" => "x" }`.
#[macro_export]
macro_rules! params {
    ($($key:expr => $value:expr),* $(,)?) => {
        $crate::bolt::Map::from([$(($key.to_owned(), $crate::bolt::Value::from($value))),*])
    };
}

/// Rows of a result, each with its columns in the order of the query.
pub type Rows = Vec<Vec<Value>>;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const MAGIC: [u8; 4] = [0x60, 0x60, 0xb0, 0x17];
/// 5.4 and three minor versions below it, and 1; the two other proposals are unused.
const PROPOSALS: [u8; 16] = [0, 3, 4, 5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
const AGENT: &str = "neo4j-backup-testkit/0.1";
const CHUNK_SIZE_MAX: usize = 0xffff;

const HELLO: u8 = 0x01;
const RESET: u8 = 0x0f;
const RUN: u8 = 0x10;
const BEGIN: u8 = 0x11;
const COMMIT: u8 = 0x12;
const ROLLBACK: u8 = 0x13;
const PULL: u8 = 0x3f;
const LOGON: u8 = 0x6a;
const SUCCESS: u8 = 0x70;
const RECORD: u8 = 0x71;
const IGNORED: u8 = 0x7e;
const FAILURE: u8 = 0x7f;

/// The server's refusal of a query; the connection stays usable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Such as `Neo.TransientError.Transaction.DeadlockDetected`.
    pub code: String,
    /// What the server says about it.
    pub message: String,
}

impl Failure {
    /// Whether the same transaction may succeed when tried again.
    pub fn is_transient(&self) -> bool {
        self.code.starts_with("Neo.TransientError.")
    }

    /// Whether 3.0, which has no `IF EXISTS`, was asked to drop what is not there.
    pub fn is_nothing_to_drop(&self) -> bool {
        self.code.ends_with("DropFailed") && self.message.contains("No such ")
    }

    /// Whether an index is in the way of a constraint of the same name.
    pub fn is_index_in_the_way(&self) -> bool {
        self.code == "Neo.ClientError.Schema.IndexWithNameAlreadyExists"
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl error::Error for Failure {}

/// Where to connect, as whom and to which database.
#[derive(Debug, Clone)]
pub struct Address {
    /// The server's Bolt port.
    pub socket: SocketAddr,
    /// The password of the user `neo4j`.
    pub password: String,
    /// The database that queries run on; 3.0 has only one and is not told.
    pub database: String,
}

impl Address {
    /// The same server and user, another database.
    pub fn database(&self, name: &str) -> Address {
        Address { database: name.to_owned(), ..self.clone() }
    }
}

/// What the server chose to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// 3.0: without databases, bookmarks, and messages for transactions, which are statements.
    V1,
    /// From 5 on.
    V5,
}

/// An authenticated connection.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    protocol: Protocol,
    database: String,
    in_transaction: bool,
}

impl Connection {
    /// Connects and logs on; no answer within `limit` is an error, here and in every query.
    pub fn open(address: &Address, limit: Duration) -> Result<Connection> {
        let socket = TcpStream::connect_timeout(&address.socket, CONNECT_LIMIT.min(limit))
            .context("connect to Bolt")?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(limit))?;
        socket.set_write_timeout(Some(limit))?;
        let mut stream = BufReader::new(socket);
        let protocol = shake_hands(&mut stream)?;
        let database = address.database.clone();
        let mut connection = Connection { stream, protocol, database, in_transaction: false };
        connection.log_on(&address.password)?;
        Ok(connection)
    }

    fn log_on(&mut self, password: &str) -> Result<()> {
        let token = params! {
            "scheme" => "basic", "principal" => "neo4j", "credentials" => password,
        };
        match self.protocol {
            Protocol::V1 => self.ask(HELLO, vec![AGENT.into(), token.into()])?,
            Protocol::V5 => {
                let agent = params! { "product" => AGENT };
                let hello = params! { "user_agent" => AGENT, "bolt_agent" => agent };
                self.ask(HELLO, vec![hello.into()])?;
                self.ask(LOGON, vec![token.into()])?
            }
        };
        Ok(())
    }

    /// Runs a query, in the open transaction if there is one, and returns all rows. A server of 3.0
    /// gets it in its own words, see the module `cypher`.
    pub fn run(&mut self, query: &str, params: Map) -> Result<Rows> {
        match self.protocol {
            Protocol::V1 => {
                let query = cypher::of_3_0(query);
                self.send(RUN, vec![query.into(), params.into()])?;
                self.send(PULL, vec![])?;
            }
            Protocol::V5 => {
                let extra = if self.in_transaction { Map::new() } else { self.on_database() };
                let pull = params! { "n" => -1 };
                self.send(RUN, vec![query.into(), params.into(), extra.into()])?;
                self.send(PULL, vec![pull.into()])?;
            }
        }
        let run = self.receive();
        let pulled = self.receive();
        match (run, pulled) {
            (Ok(_), Ok((_, rows))) => Ok(rows),
            (Err(error), _) | (Ok(_), Err(error)) => {
                let error = self.after_error(error);
                Err(error.context(format!("query: {}", shortened(query))))
            }
        }
    }

    /// Runs a query without parameters.
    pub fn query(&mut self, query: &str) -> Result<Rows> {
        self.run(query, Map::new())
    }

    /// Runs a query whose result is one number.
    pub fn number(&mut self, query: &str) -> Result<i64> {
        let rows = self.query(query)?;
        let first = rows.first().and_then(|row| row.first());
        first.and_then(Value::as_int).with_context(|| format!("no number from: {query}"))
    }

    /// Opens a transaction.
    pub fn begin(&mut self) -> Result<()> {
        ensure!(!self.in_transaction, "a transaction is open already");
        match self.protocol {
            Protocol::V1 => drop(self.query("BEGIN")?),
            Protocol::V5 => {
                let database = self.on_database();
                self.ask(BEGIN, vec![database.into()])?;
            }
        }
        self.in_transaction = true;
        Ok(())
    }

    /// Commits the open transaction; when this returns, the server has acknowledged it. Returns the
    /// database's last transaction: this one, or a later one of somebody else (seen on 2026.08.1).
    /// `None` of 3.0, which tells nobody: bookmarks came with 3.1.
    pub fn commit(&mut self) -> Result<Option<u64>> {
        let summary = match self.protocol {
            Protocol::V1 => {
                self.query("COMMIT")?;
                self.in_transaction = false;
                return Ok(None);
            }
            Protocol::V5 => self.ask(COMMIT, vec![])?,
        };
        self.in_transaction = false;
        let bookmark = summary.get("bookmark").and_then(Value::as_str);
        bookmark::tx_id(bookmark.context("a commit without a bookmark")?).map(Some)
    }

    /// Rolls the open transaction back; nothing to do if a failure has done so.
    pub fn rollback(&mut self) -> Result<()> {
        if self.in_transaction {
            match self.protocol {
                Protocol::V1 => drop(self.query("ROLLBACK")?),
                Protocol::V5 => drop(self.ask(ROLLBACK, vec![])?),
            }
            self.in_transaction = false;
        }
        Ok(())
    }

    fn on_database(&self) -> Map {
        params! { "db" => &*self.database }
    }

    fn ask(&mut self, message: u8, fields: Vec<Value>) -> Result<Map> {
        self.send(message, fields)?;
        match self.receive() {
            Ok((summary, _)) => Ok(summary),
            Err(error) => Err(self.after_error(error)),
        }
    }

    /// A failure ends the transaction, and the server ignores all but RESET after it.
    fn after_error(&mut self, error: anyhow::Error) -> anyhow::Error {
        if error.downcast_ref::<Failure>().is_some() {
            self.in_transaction = false;
            let reset = self.send(RESET, vec![]).and_then(|()| self.receive());
            if let Err(lost) = reset {
                return lost.context(format!("reset the connection after: {error}"));
            }
        }
        error
    }

    fn send(&mut self, message: u8, fields: Vec<Value>) -> Result<()> {
        let mut bytes = Vec::new();
        Value::Struct(message, fields).pack(&mut bytes);
        let mut chunks = Vec::with_capacity(bytes.len() + 4);
        for chunk in bytes.chunks(CHUNK_SIZE_MAX) {
            chunks.extend(u16::try_from(chunk.len())?.to_be_bytes());
            chunks.extend(chunk);
        }
        chunks.extend([0, 0]);
        self.stream.get_mut().write_all(&chunks).context("send over Bolt")
    }

    /// Rows up to the summary, and the summary.
    fn receive(&mut self) -> Result<(Map, Rows)> {
        let mut rows = Vec::new();
        loop {
            let (tag, mut fields) = match self.message()? {
                Value::Struct(tag, fields) => (tag, fields),
                other => bail!("not a Bolt message: {other:?}"),
            };
            match (tag, fields.pop()) {
                (RECORD, Some(Value::List(row))) => rows.push(row),
                (SUCCESS, Some(Value::Map(summary))) => return Ok((summary, rows)),
                (FAILURE, Some(Value::Map(failure))) => {
                    let text = |key| failure.get(key).and_then(Value::as_str).unwrap_or_default();
                    let (code, message) = (text("code").to_owned(), text("message").to_owned());
                    return Err(Failure { code, message }.into());
                }
                (IGNORED, _) => bail!("the server ignored a request after a failure"),
                (tag, field) => bail!("unknown Bolt message {tag:#x}: {field:?}"),
            }
        }
    }

    fn message(&mut self) -> Result<Value> {
        let mut bytes = Vec::new();
        loop {
            let mut size = [0; 2];
            self.stream.read_exact(&mut size).context("receive over Bolt")?;
            let size = usize::from(u16::from_be_bytes(size));
            if size == 0 && !bytes.is_empty() {
                break;
            }
            let start = bytes.len();
            bytes.resize(start + size, 0);
            self.stream.read_exact(&mut bytes[start..]).context("receive over Bolt")?;
        }
        let mut rest = &bytes[..];
        let value = Value::unpack(&mut rest)?;
        ensure!(rest.is_empty(), "{} bytes after a Bolt message", rest.len());
        Ok(value)
    }
}

fn shake_hands(stream: &mut BufReader<TcpStream>) -> Result<Protocol> {
    stream.get_mut().write_all(&[&MAGIC[..], &PROPOSALS].concat())?;
    let mut chosen = [0; 4];
    stream.read_exact(&mut chosen).context("Bolt handshake")?;
    match chosen[3] {
        1 => Ok(Protocol::V1),
        5 => Ok(Protocol::V5),
        _ => bail!("the server speaks none of Bolt 1 and 5.1 to 5.4: {chosen:?}"),
    }
}

fn shortened(query: &str) -> String {
    query.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(160).collect()
}
