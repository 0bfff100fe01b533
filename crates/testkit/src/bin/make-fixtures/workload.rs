//! Transactions that touch every kind of command.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use testkit::bolt::Connection;
use testkit::params;
use testkit::server::Server;
use testkit::versions::Generation;

/// Longer than the checkpoint interval of the fixtures, so that one happens meanwhile.
const OVER_A_CHECKPOINT: Duration = Duration::from_millis(3500);

const SCHEMA: &[&str] = &[
    "CREATE CONSTRAINT person_id FOR (n:Person) REQUIRE n.id IS UNIQUE",
    "CREATE RANGE INDEX person_name_age FOR (n:Person) ON (n.name, n.age)",
    "CREATE TEXT INDEX person_text FOR (n:Person) ON (n.text)",
    "CREATE POINT INDEX person_place FOR (n:Person) ON (n.place)",
    "CREATE FULLTEXT INDEX person_fulltext FOR (n:Person|Thing) ON EACH [n.text, n.name]",
    "CREATE VECTOR INDEX person_vector FOR (n:Person) ON (n.vector) OPTIONS {indexConfig: \
     {`vector.dimensions`: 4, `vector.similarity_function`: 'cosine'}}",
    "CREATE RANGE INDEX knows_since FOR ()-[r:KNOWS]-() ON (r.since)",
    "CREATE RANGE INDEX to_be_dropped FOR (n:Thing) ON (n.x)",
];

/// One transaction each.
const GRAPH: &[&str] = &[
    // creations of nodes with short, long and very long values
    "UNWIND range(1, 40) AS i CREATE (:Person {id: i, name: 'name ' + i, age: i % 9, \
     text: reduce(s = '', x IN range(0, i) | s + 'text of ' + i + ' '), \
     place: point({x: i, y: -i}), vector: [i, 1.0, 0.5, -i]})",
    "CREATE (:Thing {name: 'values', yes: true, no: false, tiny: 1, small: 300, int: 70000, \
     long: 5000000000, huge: -9223372036854775808, float: 1.5, pi: 3.141592653589793, empty: '', \
     digits: '0123456789', upper: 'UPPER CASE', lower: 'lower case', email: 'a@b.example', \
     hex: 'DEADBEEF', latin: 'gr\u{fc}\u{df}e', unicode: '\u{65e5}\u{672c}\u{8a9e}', \
     emoji: '\u{1f600}'})",
    "CREATE (:Thing {name: 'times', date: date('2024-02-29'), time: time('12:34:56.789+01:00'), \
     localtime: localtime('01:02:03'), datetime: datetime('2024-02-29T12:34:56.789+01:00'), \
     zoned: datetime('2024-02-29T12:34:56[Europe/Stockholm]'), \
     localdatetime: localdatetime('1969-12-31T23:59:59'), duration: duration('P1Y2M3DT4H5.6S'), \
     dates: [date('2024-01-01'), date('2025-01-01')]})",
    "CREATE (:Thing {name: 'places', flat: point({x: 1, y: 2}), space: point({x: 1, y: 2, z: 3}), \
     earth: point({longitude: 18, latitude: 59}), \
     high: point({longitude: 18, latitude: 59, height: 30}), \
     path: [point({x: 1, y: 2}), point({x: 3, y: 4})]})",
];

/// The rest of the graph, as any version can make it.
pub const MORE: &[&str] = &[
    "CREATE (:Thing {name: 'arrays', bools: [true, false, true], ints: range(1, 12), \
     longs: range(1, 400), floats: [x IN range(1, 60) | x * 0.5], \
     strings: [x IN range(1, 50) | 'string ' + x], none: []})",
    "CREATE (:Thing {name: 'long', one: reduce(s = '', x IN range(1, 400) | s + 'abc ' + x + ' '), \
     two: reduce(s = '', x IN range(1, 90) | s + '\u{4e2d}' + x)})",
    // more labels than fit into a node's own record
    "CREATE (n:L01:L02:L03:L04:L05:L06:L07:L08:L09:L10:L11:L12:L13:L14:L15 {name: 'labels'})",
    "CREATE (:`A label whose name is much longer than the space that one dynamic record of a token \
     store has, which is about thirty bytes` {`and a property key with a long name as well`: 1})",
    // relationships: a chain, loops, and nodes dense in several types and directions
    "MATCH (a:Person), (b:Person) WHERE b.id = a.id + 1 \
     CREATE (a)-[:KNOWS {since: 2000 + a.id, note: 'knows'}]->(b)",
    "MATCH (a:Person) WHERE a.id <= 3 CREATE (a)-[:SELF {n: a.id}]->(a)",
    "CREATE (:Hub {name: 'first'}), (:Hub {name: 'second'})",
    "MATCH (h:Hub {name: 'first'}), (p:Person) CREATE (p)-[:AT {w: p.id}]->(h)",
    "MATCH (h:Hub {name: 'first'}), (p:Person) CREATE (h)-[:HAS]->(p)",
    "MATCH (h:Hub {name: 'first'}) UNWIND range(1, 12) AS i CREATE (h)-[:SELF {n: i}]->(h)",
    "MATCH (h:Hub {name: 'second'}), (p:Person) UNWIND [1, 2] AS i CREATE (p)-[:AT {w: i}]->(h)",
    "MATCH (a:Hub {name: 'first'}), (b:Hub {name: 'second'}) CREATE (a)-[:KNOWS {since: 1}]->(b)",
];

/// One transaction each, after the first checkpoint.
pub const CHANGES: &[&str] = &[
    "MATCH (p:Person) WHERE p.id % 5 = 0 SET p.age = p.age + 100, p.extra = 'new property'",
    "MATCH (p:Person) WHERE p.id % 7 = 0 SET p:Marked REMOVE p.name",
    "MATCH (p:Person {id: 4}) SET p.text = 'short now'",
    "MATCH (p:Person {id: 6}) SET p.text = reduce(s = '', x IN range(1, 99) | s + 'longer ' + x)",
    "MATCH (n {name: 'labels'}) REMOVE n:L03:L09",
    "MATCH (n {name: 'labels'}) SET n:L16",
    "MATCH ()-[r:KNOWS]->() WHERE r.since % 2 = 0 SET r.since = r.since + 1000 REMOVE r.note",
    "MATCH (p:Person)-[r:AT]->(:Hub {name: 'second'}) WHERE p.id > 35 DELETE r",
    "MATCH (p:Person) WHERE p.id > 36 DETACH DELETE p",
    "MATCH (n:Thing {name: 'long'}) DELETE n",
];

/// The last changes.
pub const LAST_CHANGES: &[&str] = &[
    "MATCH (p:Person {name: 'again'}), (h:Hub {name: 'first'}) CREATE (p)-[:AT {w: 0}]->(h)",
    "MATCH (n:Person {id: 1}) SET n.id = n.id",
];

/// Changes that 3.0 has other words for.
const OWN_CHANGES: &[&str] = &[
    "DROP INDEX to_be_dropped",
    // identifiers freed above are used again
    "UNWIND range(101, 104) AS i CREATE (p:Person {id: i, name: 'again', place: point({x: i, y: i})})",
];

/// Everything: schema, graph, a checkpoint, changes, a checkpoint and a last transaction.
pub fn everything(server: &Server) -> Result<()> {
    let mut connection = server.connect()?;
    run(&mut connection, SCHEMA)?;
    connection.query("CALL db.awaitIndexes(120)")?;
    for queries in [GRAPH, MORE] {
        run(&mut connection, queries)?;
    }
    thread::sleep(OVER_A_CHECKPOINT);
    for queries in [CHANGES, OWN_CHANGES, LAST_CHANGES] {
        run(&mut connection, queries)?;
    }
    thread::sleep(OVER_A_CHECKPOINT);
    last(&mut connection)
}

/// A few transactions without indexes, and a checkpoint between them.
pub fn little(server: &Server) -> Result<()> {
    let mut connection = server.connect()?;
    run(&mut connection, &["CREATE CONSTRAINT person_id FOR (n:Person) REQUIRE n.id IS UNIQUE"])?;
    run(
        &mut connection,
        &[
            "UNWIND range(1, 5) AS i CREATE (:Person {id: i, name: 'name ' + i})",
            "MATCH (a:Person), (b:Person) WHERE b.id = a.id + 1 CREATE (a)-[:KNOWS {n: 1}]->(b)",
        ],
    )?;
    thread::sleep(OVER_A_CHECKPOINT);
    run(
        &mut connection,
        &[
            "MATCH (p:Person {id: 2}) SET p.name = 'changed', p:Marked",
            "MATCH (p:Person {id: 5}) DETACH DELETE p",
        ],
    )?;
    thread::sleep(OVER_A_CHECKPOINT);
    last(&mut connection)
}

/// Changes to what `little` made.
pub fn a_little_more(server: &Server) -> Result<()> {
    let mut connection = server.connect()?;
    run(
        &mut connection,
        &[
            "MATCH (p:Person {id: 1}) SET p.name = 'after the upgrade', p:Upgraded",
            "UNWIND range(11, 15) AS i CREATE (:Person {id: i, vector: [i, 1.5]})",
        ],
    )?;
    thread::sleep(OVER_A_CHECKPOINT);
    run(&mut connection, &["MATCH (p:Last) DELETE p"])
}

/// Transactions with long strings, until the log has rotated.
pub fn fill_a_log(server: &Server) -> Result<()> {
    let mut connection = server.connect()?;
    let logs = match server.version().generation {
        Generation::Three => server.database_dir(),
        Generation::Five => server.data_dir().join("transactions/neo4j"),
    };
    let second = logs.join("neostore.transaction.db.1");
    for n in 0..1000 {
        if second.exists() {
            return last(&mut connection);
        }
        let text = format!("{n} ").repeat(1500);
        connection
            .run("CREATE (:Long {n: $n, text: $text})", params! {"n" => n, "text" => text})?;
    }
    anyhow::bail!("the log did not rotate")
}

fn last(connection: &mut Connection) -> Result<()> {
    run(connection, &["CREATE (:Last {name: 'the last transaction'})"])
}

/// Runs queries, a transaction each.
pub fn run(connection: &mut Connection, queries: &[&str]) -> Result<()> {
    for query in queries {
        connection.query(query).context("workload")?;
    }
    Ok(())
}
