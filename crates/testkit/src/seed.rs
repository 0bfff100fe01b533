//! What a load works on.

use anyhow::Result;

use crate::server::Server;
use crate::versions::Generation;
use crate::{params, schema};

/// Accounts between which the writers move money.
pub const ACCOUNTS: u32 = 200;
/// What each of them holds at first.
pub const BALANCE: i64 = 1000;
/// Nodes that collect many relationships.
pub const HUBS: u32 = 3;
/// Lasting relationships of each hub: enough to make it dense before the load begins.
pub const HUB_DEGREE: u32 = 60;

const FILLER_BATCH: u32 = 2000;

/// What to create besides accounts, hubs, indexes and constraints.
#[derive(Debug, Clone, Copy, Default)]
pub struct SeedOptions {
    /// Nodes of about 1.2 KB each that nobody touches, so that a copy takes a while.
    pub filler_nodes: u32,
}

/// Creates accounts, dense hubs, the lasting indexes and constraints, and filler.
pub fn seed(server: &Server, options: &SeedOptions) -> Result<()> {
    let mut connection = server.connect()?;
    for rule in schema::lasting(server.version().generation) {
        connection.query(&rule.create())?;
    }
    if server.version().generation == Generation::Five {
        // 3.0 has no such procedure; those of an empty database are soon there, and the load does
        // not ask for them.
        connection.query("CALL db.awaitIndexes(120)")?;
    }
    connection.run(
        "UNWIND range(0, $accounts - 1) AS id MERGE (a:Account {id: id}) \
         ON CREATE SET a.balance = $balance",
        params! { "accounts" => ACCOUNTS, "balance" => BALANCE },
    )?;
    let hubs = params! { "hubs" => HUBS };
    connection.run("UNWIND range(0, $hubs - 1) AS id MERGE (:Hub {id: id})", hubs)?;
    connection.run(
        "MATCH (a:Account), (h:Hub) WHERE a.id < $degree MERGE (a)-[:NEAR]->(h)",
        params! { "degree" => HUB_DEGREE },
    )?;
    for start in (0..options.filler_nodes).step_by(FILLER_BATCH as usize) {
        let end = options.filler_nodes.min(start + FILLER_BATCH);
        connection.run(
            "UNWIND range($start, $end - 1) AS i CREATE (:Filler {i: i, \
             text: 'filler ' + i + reduce(s = '', x IN range(1, 10) | s + ' ' + rand()), \
             longs: [x IN range(1, 110) | toInteger(rand() * 1000000000000000)]})",
            params! { "start" => start, "end" => end },
        )?;
    }
    Ok(())
}
