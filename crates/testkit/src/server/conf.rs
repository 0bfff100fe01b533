//! `neo4j.conf`.

use std::collections::BTreeMap;

use super::Sockets;
use crate::versions::Generation;

/// The lines of a `neo4j.conf` but for the ports, which each start chooses.
#[derive(Debug, Clone)]
pub struct Settings {
    generation: Generation,
    lines: BTreeMap<String, String>,
}

/// A stop that does not wait 10 s for Bolt connections after all databases are shut down.
const FIVE: &[(&str, &str)] = &[
    ("server.default_listen_address", "127.0.0.1"),
    ("server.http.enabled", "false"),
    ("server.https.enabled", "false"),
    ("server.memory.pagecache.size", "64m"),
    ("dbms.usage_report.enabled", "false"),
    ("internal.dbms.bolt.netty_server_shutdown_quiet_period", "0"),
    ("db.checkpoint.interval.time", "4s"),
];

/// The automatic indexes are legacy ones that Cypher keeps, so that writers over Bolt fill them in
/// the transactions that are judged. Their keys are never taken from a node that stays: 3.0 then
/// forgets its other keys too (seen on 3.0.0 and 3.0.7). HTTP is the only way to other legacy
/// indexes.
const THREE: &[(&str, &str)] = &[
    ("dbms.security.auth_enabled", "false"),
    ("dbms.connector.bolt.type", "BOLT"),
    ("dbms.connector.bolt.enabled", "true"),
    ("dbms.connector.bolt.tls_level", "DISABLED"),
    ("dbms.connector.http.type", "HTTP"),
    ("dbms.connector.http.enabled", "true"),
    ("dbms.memory.pagecache.size", "64m"),
    ("dbms.udc.enabled", "false"),
    ("dbms.checkpoint.interval.time", "4s"),
    ("dbms.auto_index.nodes.enabled", "true"),
    ("dbms.auto_index.nodes.keys", "serial,len"),
    ("dbms.auto_index.relationships.enabled", "true"),
    ("dbms.auto_index.relationships.keys", "n"),
];

impl Settings {
    /// Neo4j's defaults, small and quiet, and checkpoints every few seconds instead of minutes.
    pub fn of(generation: Generation) -> Settings {
        let lines = match generation {
            Generation::Three => THREE,
            Generation::Five => FIVE,
        };
        let lines = lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings { generation, lines: lines.collect() }
    }

    /// Sets one line, in place of an earlier one.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        self.lines.insert(name.to_owned(), value.to_string());
    }

    /// The name of the one user database.
    pub fn user_database(&self) -> String {
        let (setting, default) = match self.generation {
            Generation::Three => ("dbms.active_database", "graph.db"),
            Generation::Five => ("initial.dbms.default_database", "neo4j"),
        };
        self.lines.get(setting).map_or(default, String::as_str).to_owned()
    }

    /// The whole file, for a server that listens there.
    pub(super) fn text(&self, sockets: &Sockets) -> String {
        let Sockets { bolt, http, backup } = sockets;
        let addresses = match self.generation {
            Generation::Three => vec![
                ("dbms.connector.bolt.address", bolt),
                ("dbms.connector.http.address", http),
                ("dbms.backup.address", backup),
            ],
            Generation::Five => {
                vec![("server.bolt.listen_address", bolt), ("server.bolt.advertised_address", bolt)]
            }
        };
        let mut lines = self.lines.clone();
        for (name, socket) in addresses {
            lines.entry(name.to_owned()).or_insert_with(|| socket.to_string());
        }
        lines.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
    }
}
