//! HTTP of a server of 3.0: the only way to legacy indexes of one's own and to its beans.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::server::Server;

const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A request, and the answer's JSON; null if it has none. Paths begin with `/db/`.
///
/// HTTP 1.0, so that the answer comes in one piece and ends with the connection.
pub fn request(server: &Server, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
    let what = format!("{method} {path}");
    let mut socket = TcpStream::connect(server.http_address()).context("connect to HTTP")?;
    socket.set_read_timeout(Some(ANSWER_LIMIT))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!(
        "{what} HTTP/1.0\r\nHost: {}\r\nAccept: application/json\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        server.http_address(),
        body.len()
    );
    socket.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).with_context(|| what.clone())?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no end of the header")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    ensure!(status.starts_with('2'), "{what}: {status} {body}");
    if body.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(body)?) }
}

/// An attribute of one of the beans that Neo4j tells of itself with, such as `LastCommittedTxId` of
/// `Transactions`.
pub fn bean(server: &Server, name: &str, attribute: &str) -> Result<Value> {
    let path = format!("instance%3Dkernel%230%2Cname%3D{name}");
    let beans =
        request(server, "GET", &format!("/db/manage/server/jmx/domain/org.neo4j/{path}"), None)?;
    let attributes = beans[0]["attributes"].as_array().context("no attributes")?;
    let found = attributes.iter().find(|found| found["name"] == attribute);
    Ok(found.with_context(|| format!("no {attribute} of {name}"))?["value"].clone())
}

/// The last transaction of the database.
pub fn last_tx_id(server: &Server) -> Result<u64> {
    bean(server, "Transactions", "LastCommittedTxId")?.as_u64().context("not an id")
}
