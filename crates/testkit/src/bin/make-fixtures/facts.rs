//! What the server says about the database of a fixture.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value as Json, json};
use testkit::admin;
use testkit::bolt::{Connection, Value};
use testkit::server::Server;
use testkit::versions::Version;

const INFO_LIMIT: Duration = Duration::from_secs(120);

/// Where the first entry of a log or checkpoint file begins with the kernel version.
const FIRST_ENTRY: usize = 128;

/// Queries over the whole graph, each a list of rows in `facts.json`.
const ROWS: &[(&str, &str)] = &[
    (
        "nodes",
        "MATCH (n) RETURN id(n), labels(n), \
         CASE WHEN n:Long THEN {n: n.n} ELSE properties(n) END ORDER BY id(n)",
    ),
    (
        "relationships",
        "MATCH (a)-[r]->(b) RETURN id(r), type(r), id(a), id(b), properties(r) ORDER BY id(r)",
    ),
];

const SCHEMA: &[(&str, &str)] = &[
    (
        "indexes",
        "SHOW INDEXES YIELD id, name, type, state, entityType, labelsOrTypes, properties, \
         indexProvider RETURN id, name, type, state, entityType, labelsOrTypes, properties, \
         indexProvider ORDER BY id",
    ),
    (
        "constraints",
        "SHOW CONSTRAINTS YIELD id, name, type, labelsOrTypes, properties \
         RETURN id, name, type, labelsOrTypes, properties ORDER BY id",
    ),
];

const NUMBERS: &[(&str, &str)] = &[
    ("node_count", "MATCH (n) RETURN count(n)"),
    ("relationship_count", "MATCH ()-[r]->() RETURN count(r)"),
];

/// Facts from the running server; ask last, since the graph must not change afterwards.
pub fn from_server(server: &Server) -> Result<Map<String, Json>> {
    let mut connection = server.connect()?;
    let mut facts = from_graph(&mut connection)?;
    let id = connection.query("SHOW DATABASES YIELD name, databaseID WHERE name = 'neo4j'")?;
    facts.insert("database_id".to_owned(), json_of(&id[0][1]));
    for (name, query) in SCHEMA {
        facts.insert((*name).to_owned(), rows(&mut connection, query)?);
    }
    Ok(facts)
}

/// Those that every version tells alike.
pub fn from_graph(connection: &mut Connection) -> Result<Map<String, Json>> {
    let mut facts = Map::new();
    let components =
        connection.query("CALL dbms.components() YIELD versions RETURN versions[0]")?;
    facts.insert("server".to_owned(), json_of(&components[0][0]));
    for (name, query) in NUMBERS {
        facts.insert((*name).to_owned(), json!(connection.number(query)?));
    }
    for (name, query) in ROWS {
        facts.insert((*name).to_owned(), rows(connection, query)?);
    }
    Ok(facts)
}

/// The rows of a query.
pub fn rows(connection: &mut Connection, query: &str) -> Result<Json> {
    let rows = connection.query(query)?;
    Ok(rows.into_iter().map(|row| Json::Array(row.iter().map(json_of).collect())).collect())
}

/// Facts from `neo4j-admin database info` on the stopped server's home.
pub fn from_admin_tool(version: &Version, home: &Path) -> Result<Map<String, Json>> {
    let finished = admin::run(version, home, &["database", "info", "neo4j"], INFO_LIMIT)?;
    ensure!(finished.status.success(), "database info: {}", finished.output);
    let lines = finished.output.lines().filter_map(|line| line.split_once(':'));
    let info = lines.map(|(key, value)| (key.trim().to_owned(), json!(value.trim())));
    let info = info.collect::<Map<_, _>>();
    let last = info.get("Last committed transaction id").and_then(Json::as_str);
    let last: u64 = last.context("no last transaction in database info")?.parse()?;
    let mut facts = Map::new();
    facts.insert("last_transaction_id".to_owned(), json!(last));
    facts.insert("database_info".to_owned(), Json::Object(info));
    Ok(facts)
}

/// The checkpoints of the user database, from `debug.log`: reason and transaction.
pub fn checkpoints(home: &Path) -> Result<Json> {
    let log = fs::read_to_string(home.join("logs/debug.log")).context("read debug.log")?;
    let log = log.replace("\\\"", "\"");
    let lines = log.lines().filter(|line| line.contains("[neo4j/"));
    let completed = lines.filter(|line| line.contains("checkpoint completed in"));
    let checkpoints = completed.map(|line| {
        let reason = between(line, "triggered by \"", "\" @").context("no reason")?;
        // a comma or a blank follows, depending on the version
        let (_, rest) = line.split_once("txId: ").context("no transaction")?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        let transaction: u64 = digits.parse()?;
        Ok(json!({ "reason": reason, "transaction": transaction }))
    });
    let checkpoints = checkpoints.collect::<Result<Vec<_>>>().context("read debug.log")?;
    ensure!(!checkpoints.is_empty(), "debug.log tells of no checkpoint");
    Ok(Json::Array(checkpoints))
}

/// The kernel version, which our table and the newest checkpoint file must agree on.
pub fn kernel_version(version: &Version, home: &Path) -> Result<Json> {
    let dir = home.join("data/transactions/neo4j");
    let newest =
        (0..).map(|n| dir.join(format!("checkpoint.{n}"))).take_while(|file| file.exists());
    let bytes = fs::read(newest.last().context("no checkpoint file")?)?;
    let written = bytes.get(FIRST_ENTRY).copied();
    let wanted = version.kernel_version;
    ensure!(written == Some(wanted), "kernel version {written:?} instead of {wanted}");
    Ok(json!(wanted))
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end)?.0)
}

/// The file: a line for each fact, and for each row of a fact that is a list.
pub fn text(facts: &Map<String, Json>) -> String {
    let line = |(name, value): (&String, &Json)| match value {
        Json::Array(rows) => {
            let rows = rows.iter().map(|row| format!("    {row}")).collect::<Vec<_>>();
            format!("  {}: [\n{}\n  ]", json!(name), rows.join(",\n"))
        }
        other => format!("  {}: {other}", json!(name)),
    };
    format!("{{\n{}\n}}\n", facts.iter().map(line).collect::<Vec<_>>().join(",\n"))
}

/// Points and times as `{"struct": <Bolt's tag>, "fields": [...]}`.
fn json_of(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Float(value) => json!(value),
        Value::Bytes(value) => json!(value),
        Value::String(value) => json!(value),
        Value::List(values) => values.iter().map(json_of).collect(),
        Value::Map(values) => values.iter().map(|(k, v)| (k.clone(), json_of(v))).collect(),
        Value::Struct(tag, fields) => {
            let fields = fields.iter().map(json_of).collect::<Vec<_>>();
            json!({ "struct": char::from(*tag).to_string(), "fields": fields })
        }
    }
}
