//! `neo4j.conf`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The lines of a `neo4j.conf` but for the ports, which each start chooses.
#[derive(Debug, Clone)]
pub struct Settings(BTreeMap<String, String>);

impl Default for Settings {
    /// Neo4j's defaults, small and quiet, checkpoints every few seconds instead of minutes, and a
    /// stop that does not wait 10 s for Bolt connections after all databases are shut down.
    fn default() -> Settings {
        let settings = [
            ("server.default_listen_address", "127.0.0.1"),
            ("server.http.enabled", "false"),
            ("server.https.enabled", "false"),
            ("server.memory.pagecache.size", "64m"),
            ("dbms.usage_report.enabled", "false"),
            ("internal.dbms.bolt.netty_server_shutdown_quiet_period", "0"),
            ("db.checkpoint.interval.time", "4s"),
        ];
        Settings(settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }
}

impl Settings {
    /// Sets one line, in place of an earlier one.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        self.0.insert(name.to_owned(), value.to_string());
    }

    /// The name of the one user database of a Community server.
    pub fn user_database(&self) -> String {
        self.0.get("initial.dbms.default_database").map_or("neo4j", String::as_str).to_owned()
    }

    /// The whole file, for a server that listens on `bolt`.
    pub(super) fn text(&self, bolt: SocketAddr) -> String {
        let mut lines = self.0.clone();
        for name in ["server.bolt.listen_address", "server.bolt.advertised_address"] {
            lines.entry(name.to_owned()).or_insert_with(|| bolt.to_string());
        }
        lines.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
    }
}
