//! Scenarios of 3.0: what happens, and what the server says of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value as Json, json};
use testkit::rest;
use testkit::server::Server;
use testkit::versions::Version;

use crate::facts;
use crate::files;
use crate::workload::{CHANGES, LAST_CHANGES, MORE, run};

type Facts = Map<String, Json>;

const CHECKPOINT_LIMIT: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// The length of COMMIT, and of the check point that a clean stop writes.
const LAST_ENTRY_BYTES: usize = 18;
/// More than the 127 names that 3.0.0 can read of one transaction, and than a byte can count.
const MANY_NAMES: u32 = 300;

const SCHEMA: &[&str] = &[
    "CREATE CONSTRAINT ON (n:Person) ASSERT n.id IS UNIQUE",
    "CREATE CONSTRAINT ON (n:Person) ASSERT exists(n.age)",
    "CREATE CONSTRAINT ON ()-[r:KNOWS]-() ASSERT exists(r.since)",
    "CREATE INDEX ON :Person(name)",
    "CREATE INDEX ON :Person(age)",
    "CREATE INDEX ON :Thing(x)",
];

/// One transaction each.
const GRAPH: &[&str] = &[
    "UNWIND range(1, 40) AS i CREATE (:Person {id: i, name: 'name ' + i, age: i % 9, \
     text: reduce(s = '', x IN range(0, i) | s + 'text of ' + i + ' ')})",
    "CREATE (:Thing {name: 'values', yes: true, no: false, tiny: 1, small: 300, int: 70000, \
     long: 5000000000, huge: -9223372036854775807, float: 1.5, pi: 3.141592653589793, empty: '', \
     digits: '0123456789', upper: 'UPPER CASE', lower: 'lower case', email: 'a@b.example', \
     hex: 'DEADBEEF', latin: 'gr\u{fc}\u{df}e', unicode: '\u{65e5}\u{672c}\u{8a9e}', \
     emoji: '\u{1f600}'})",
];

/// Changes in the words of 3.0.
const OWN_CHANGES: &[&str] = &[
    "DROP INDEX ON :Thing(x)",
    "UNWIND range(101, 104) AS i CREATE (p:Person {id: i, age: 0, name: 'again'})",
];

/// One transaction each.
const LITTLE: &[&str] = &[
    "CREATE INDEX ON :Thing(name)",
    "UNWIND range(1, 5) AS i CREATE (:Thing {name: 'thing ' + i})-[:HAS {w: i}]->(:Part {n: i})",
    "MATCH (t:Thing {name: 'thing 1'}) SET t.name = 'changed', t.list = [1, 2, 3]",
];

/// One transaction each, after an upgrade.
const A_LITTLE_MORE: &[&str] = &[
    "CREATE CONSTRAINT ON (n:Part) ASSERT n.n IS UNIQUE",
    "UNWIND range(6, 9) AS i CREATE (:New {name: 'new ' + i})-[:IS {w: i}]->(:Part {n: i})",
    "MATCH (t:Thing)-[r:HAS]->(p {n: 2}) DELETE r, p SET t.name = 'without', t:New",
    "MATCH (t:Thing {name: 'changed'}) UNWIND range(1, 60) AS i CREATE (t)-[:DENSE]->(t)",
    "DROP INDEX ON :Thing(name)",
];

/// The settings of these fixtures: small logs, and legacy indexes that Cypher keeps too.
pub const SETTINGS: &[(&str, &str)] = &[
    ("dbms.checkpoint.interval.time", "2s"),
    ("dbms.tx_log.rotation.size", "1m"),
    ("dbms.auto_index.nodes.keys", "name"),
    ("dbms.auto_index.relationships.keys", "w"),
];

/// Cleanly stopped after `work`.
pub fn stopped(
    version: &Version,
    home: &Path,
    work: impl Fn(&Server) -> Result<()>,
) -> Result<Facts> {
    let mut server = start(version, home)?;
    work(&server)?;
    let mut all = from_server(&server)?;
    server.stop()?;
    all.extend(from_files(&server)?);
    Ok(all)
}

/// Killed after everything; the facts of the graph come from a copy that the server has recovered.
pub fn killed(
    version: &Version,
    home: &Path,
    work: impl Fn(&Server) -> Result<()>,
) -> Result<Facts> {
    let mut server = start(version, home)?;
    work(&server)?;
    server.kill()?;
    let recovered = tempfile::tempdir()?;
    files::copy_tree(home, recovered.path())?;
    let mut all = stopped(version, recovered.path(), |_| Ok(()))?;
    all.extend(from_files(&server)?);
    let checkpoints = all["checkpoints"].as_array().context("no checkpoints")?;
    let at_checkpoint = checkpoints.last().context("no checkpoint")?["transaction"].clone();
    ensure!(at_checkpoint != all["last_transaction_id"], "nothing came after the last checkpoint");
    all.insert("last_transaction_id_at_checkpoint".to_owned(), at_checkpoint);
    Ok(all)
}

/// Cleanly stopped, and then written to by a newer version and cleanly stopped again.
pub fn upgraded(from: &Version, to: &Version, home: &Path) -> Result<Facts> {
    let older = stopped(from, home, |server| {
        run(&mut server.connect()?, LITTLE)?;
        add(server, ("node", "people"), "nick", &json!("before"), 0)
    })?;
    let mut all = stopped(to, home, |server| {
        run(&mut server.connect()?, A_LITTLE_MORE)?;
        add(server, ("node", "people"), "nick", &json!("after"), 1)?;
        add(server, ("relationship", "knows"), "kind", &json!("new"), 0)?;
        rest::request(server, "DELETE", "/db/data/index/node/people/nick/before/0", None)?;
        wait_for_checkpoint(server)
    })?;
    all.insert("before_upgrade".to_owned(), Json::Object(older));
    Ok(all)
}

fn start(version: &Version, home: &Path) -> Result<Server> {
    let mut builder = Server::builder(version).home(home);
    for (name, value) in SETTINGS {
        builder = builder.setting(name, value);
    }
    builder.start()
}

/// Everything: schema, graph, legacy indexes, a checkpoint, changes, a checkpoint and a last
/// transaction.
pub fn everything(server: &Server) -> Result<()> {
    let mut connection = server.connect()?;
    run(&mut connection, SCHEMA)?;
    for queries in [GRAPH, MORE] {
        run(&mut connection, queries)?;
    }
    integers_of_32_bits(server)?;
    legacy_indexes(server)?;
    wait_for_checkpoint(server)?;
    for queries in [CHANGES, OWN_CHANGES, LAST_CHANGES] {
        run(&mut connection, queries)?;
    }
    changes_of_legacy_indexes(server)?;
    wait_for_checkpoint(server)?;
    run(&mut connection, &["CREATE (:Last {name: 'the last transaction'})"])
}

/// What 3.0.0 cannot do, and then everything.
pub fn everything_and_many_names(server: &Server) -> Result<()> {
    rest::request(server, "POST", "/db/data/node", None)?;
    let uri = format!("http://{}/db/data/node/0", server.http_address());
    let entry = |number: u32| {
        let body = json!({ "uri": uri, "key": format!("key{number}"), "value": "many" });
        json!({ "method": "POST", "to": "/index/node/many", "body": body })
    };
    // One transaction.
    let entries: Json = (0..MANY_NAMES).map(entry).collect();
    rest::request(server, "POST", "/db/data/batch", Some(&entries))?;
    everything(server)
}

/// Cypher makes 64 bits of every number, REST does not.
fn integers_of_32_bits(server: &Server) -> Result<()> {
    let values = json!({
        "int": 70_000, "ints": [1, -2, 70_000], "long": 5_000_000_000_i64, "double": 1.5,
        "doubles": [1.5, 2.5], "bools": [true, false], "strings": ["one", "two"],
    });
    rest::request(server, "POST", "/db/data/node", Some(&values))?;
    Ok(())
}

/// One transaction each. The index `people` comes into being with its first entry.
fn legacy_indexes(server: &Server) -> Result<()> {
    let config = json!({ "type": "fulltext", "provider": "lucene", "to_lower_case": "true" });
    for name in ["texts", "passing"] {
        let index = json!({ "name": name, "config": config });
        rest::request(server, "POST", "/db/data/index/node", Some(&index))?;
    }
    let words = format!("many words: {}", "long ".repeat(60));
    for (index, key, value, node) in [
        ("texts", "text", json!("Some Words to Find"), 0),
        ("texts", "text", json!(words), 1),
        ("texts", "text", json!("passing words"), 2),
        ("passing", "text", json!("in an index that is dropped"), 0),
        ("people", "nick", json!("first"), 0),
        ("people", "nick", json!("second"), 1),
        ("people", "nick", json!("also second"), 1),
        ("people", "nick", json!("third"), 2),
        ("people", "number", json!(12), 0),
        ("people", "number", json!(5_000_000_000_i64), 1),
        ("people", "number", json!(2.5), 2),
    ] {
        add(server, ("node", index), key, &value, node)?;
    }
    for (key, value, relationship) in
        [("kind", json!("old"), 0), ("kind", json!("new"), 1), ("kind", json!("gone"), 2)]
    {
        add(server, ("relationship", "knows"), key, &value, relationship)?;
    }
    Ok(())
}

/// One transaction each: an entry, all of a key, all of an entity, a whole index.
fn changes_of_legacy_indexes(server: &Server) -> Result<()> {
    for path in [
        "node/people/nick/second/1",
        "node/people/number/2",
        "node/texts/2",
        "relationship/knows/kind/gone/2",
        "node/passing",
    ] {
        rest::request(server, "DELETE", &format!("/db/data/index/{path}"), None)?;
    }
    add(server, ("node", "people"), "nick", &json!("after the checkpoint"), 3)
}

pub fn add(server: &Server, of: (&str, &str), key: &str, value: &Json, id: u64) -> Result<()> {
    let (kind, index) = of;
    let uri = format!("http://{}/db/data/{kind}/{id}", server.http_address());
    let entry = json!({ "key": key, "value": value, "uri": uri });
    rest::request(server, "POST", &format!("/db/data/index/{kind}/{index}"), Some(&entry))?;
    Ok(())
}

/// Waits until a checkpoint has all that was committed before.
fn wait_for_checkpoint(server: &Server) -> Result<()> {
    let wanted = rest::last_tx_id(server)?;
    let deadline = Instant::now() + CHECKPOINT_LIMIT;
    while !checkpoints(server.home())?.iter().any(|(_, tx_id)| *tx_id >= wanted) {
        ensure!(Instant::now() < deadline, "no checkpoint of transaction {wanted}");
        thread::sleep(BETWEEN_LOOKS);
    }
    Ok(())
}

/// Reason and transaction of each checkpoint, from `debug.log`:
/// `... Check Pointing triggered by <reason> [<transaction>]:  Check pointing completed`.
fn checkpoints(home: &Path) -> Result<Vec<(String, u64)>> {
    let log = fs::read_to_string(home.join("logs/debug.log")).context("read debug.log")?;
    let completed = log.lines().filter(|line| line.ends_with("Check pointing completed"));
    let read = completed.map(|line| {
        let (_, rest) = line.split_once("triggered by ").context("no reason")?;
        let (reason, rest) = rest.split_once(" [").context("no transaction")?;
        let (transaction, _) = rest.split_once(']').context("no transaction")?;
        Ok((reason.to_owned(), transaction.parse()?))
    });
    read.collect::<Result<_>>().context("read debug.log")
}

const SCHEMA_ROWS: &[(&str, &str)] =
    &[("indexes", "CALL db.indexes()"), ("constraints", "CALL db.constraints()")];

/// Kind and name of a legacy index, and what is looked up in it.
const LOOKUPS: &[(&str, &str, &str)] = &[
    ("node", "people", "nick:*"),
    ("node", "people", "number:*"),
    ("node", "texts", "text:words"),
    ("node", "many", "key299:many"),
    ("node", "node_auto_index", "name:*"),
    ("relationship", "knows", "kind:*"),
    ("relationship", "relationship_auto_index", "w:*"),
];

/// Facts from the running server; ask last, since the graph must not change afterwards.
fn from_server(server: &Server) -> Result<Facts> {
    let mut connection = server.connect()?;
    let mut all = facts::from_graph(&mut connection)?;
    for (name, query) in SCHEMA_ROWS {
        all.insert((*name).to_owned(), facts::rows(&mut connection, query)?);
    }
    let mut indexes = Facts::new();
    for kind in ["node", "relationship"] {
        let all = rest::request(server, "GET", &format!("/db/data/index/{kind}"), None)?;
        for (name, mut config) in all.as_object().cloned().unwrap_or_default() {
            // A URL with this run's port.
            config.as_object_mut().map(|config| config.remove("template"));
            indexes.insert(format!("{kind}/{name}"), config);
        }
    }
    let mut entries = Facts::new();
    for (kind, index, wanted) in LOOKUPS {
        let name = format!("{kind}/{index}");
        if indexes.contains_key(&name) {
            let query = format!("START x={kind}:{index}('{wanted}') RETURN id(x) ORDER BY id(x)");
            let rows = facts::rows(&mut connection, &query)?;
            let ids = rows.as_array().into_iter().flatten().map(|row| row[0].clone());
            entries.insert(format!("{name} {wanted}"), ids.collect());
        }
    }
    all.insert("legacy_indexes".to_owned(), Json::Object(indexes));
    all.insert("legacy_index_entries".to_owned(), Json::Object(entries));
    all.insert("last_transaction_id".to_owned(), json!(rest::last_tx_id(server)?));
    for (fact, attribute) in [("store_random_id", "StoreId"), ("log_version", "StoreLogVersion")] {
        all.insert(fact.to_owned(), rest::bean(server, "Kernel", attribute)?);
    }
    Ok(all)
}

/// Facts from what a server left: its `debug.log`, and the version of its log entries.
fn from_files(server: &Server) -> Result<Facts> {
    let checkpoints = checkpoints(server.home())?;
    ensure!(!checkpoints.is_empty(), "debug.log tells of no checkpoint");
    let checkpoints = checkpoints
        .into_iter()
        .map(|(reason, transaction)| json!({ "reason": reason, "transaction": transaction }));
    let log = fs::read(newest_log(&server.database_dir())?)?;
    let last = log.len().checked_sub(LAST_ENTRY_BYTES).context("no entry")?;
    let (written, wanted) = (log[last], server.version().kernel_version);
    ensure!(written == wanted, "entries of version {written} instead of {wanted}");
    let mut all = Facts::new();
    all.insert("checkpoints".to_owned(), checkpoints.collect());
    all.insert("kernel_version".to_owned(), json!(wanted));
    Ok(all)
}

fn newest_log(dir: &Path) -> Result<PathBuf> {
    let path = |number: u32| dir.join(format!("neostore.transaction.db.{number}"));
    (0..).map(path).take_while(|path| path.is_file()).last().context("no log")
}
