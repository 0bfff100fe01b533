//! The service's settings in the server's configuration.
//!
//! `neo4j.conf` is read, then `neo4j-backup.conf` beside it, which has the same syntax and goes before
//! it: a Community server refuses to start on settings that it does not know, so ours stand there.

mod logs;

use std::path::Path;

use service::LogSettings;
use source::Config;

use crate::address::Listen;
use crate::failure::Result;

/// Beside `neo4j.conf`.
pub const OWN_NAME: &str = "neo4j-backup.conf";

/// Today's names (Operations Manual 5) and those of Neo4j 3.0; the first that is there counts.
const ENABLED: [&str; 2] = ["server.backup.enabled", "dbms.backup.enabled"];
const ADDRESS: [&str; 2] = ["server.backup.listen_address", "dbms.backup.address"];
/// That the protocol of Neo4j 3.0 is spoken with whoever reaches the service: ours, no Neo4j knows it.
const V3_0_INSECURE: [&str; 2] =
    ["server.backup.legacy_protocol.insecure", "dbms.backup.legacy_protocol.insecure"];
const ALL_INTERFACES: &str = "0.0.0.0";

/// What the configuration says of backup.
#[derive(Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether backup is wanted at all.
    pub enabled: bool,
    /// Where to listen, if it says so.
    pub listen: Option<Listen>,
    /// Whether the protocol of Neo4j 3.0 is spoken beyond loopback, and beside TLS and tokens.
    pub v3_0_insecure: bool,
    /// What it says of the transaction logs; `None` where no configuration was read.
    pub logs: Option<LogSettings>,
}

impl Settings {
    /// What holds where there is no configuration.
    pub const DEFAULT: Self =
        Self { enabled: true, listen: None, v3_0_insecure: false, logs: None };

    /// Reads what stands in a server's configuration, and in ours beside it.
    pub fn read(neo4j: Config) -> Result<Self> {
        let logs = Some(logs::read(&neo4j));
        let own = neo4j.path().parent().unwrap_or(Path::new("")).join(OWN_NAME);
        let mut files = vec![neo4j];
        // A link that leads to nothing is a mistake, and no configuration.
        if std::fs::symlink_metadata(&own).is_ok() {
            files.insert(0, Config::read(&own)?);
        }
        Ok(Self {
            enabled: is_true(&files, &ENABLED)?.unwrap_or(true),
            listen: listen(&files)?,
            v3_0_insecure: is_true(&files, &V3_0_INSECURE)?.unwrap_or(false),
            logs,
        })
    }
}

fn find<'a>(files: &'a [Config], names: &[&'static str]) -> Option<(&'a Config, &'static str)> {
    let mut all = files.iter().flat_map(|file| names.iter().map(move |name| (file, *name)));
    all.find(|(file, name)| file.setting(name).is_some())
}

fn is_true(files: &[Config], names: &[&'static str]) -> Result<Option<bool>> {
    let Some((file, name)) = find(files, names) else { return Ok(None) };
    match file.setting(name).map_or("", |setting| setting.value) {
        value if value.eq_ignore_ascii_case("true") => Ok(Some(true)),
        value if value.eq_ignore_ascii_case("false") => Ok(Some(false)),
        value => Err(file.bad_value(name, &format!("{value:?} is neither true nor false")).into()),
    }
}

fn listen(files: &[Config]) -> Result<Option<Listen>> {
    let Some((file, name)) = find(files, &ADDRESS) else { return Ok(None) };
    // Without a value: all interfaces, as the 3.0 manual has it.
    let value = file.setting(name).map(|setting| setting.value).filter(|value| !value.is_empty());
    let listen = Listen::parse(value.unwrap_or(ALL_INTERFACES));
    listen.map(Some).map_err(|what| file.bad_value(name, &what).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(neo4j: &str, own: Option<&str>) -> Result<Settings> {
        let dir = tempfile::tempdir().unwrap();
        let conf = dir.path().join("neo4j.conf");
        std::fs::write(&conf, neo4j).unwrap();
        if let Some(own) = own {
            std::fs::write(dir.path().join(OWN_NAME), own).unwrap();
        }
        Settings::read(Config::read(&conf).unwrap())
    }

    fn listen(host: &str, first_port: u16, last_port: u16) -> Option<Listen> {
        Some(Listen { host: host.to_owned(), first_port, last_port })
    }

    #[test]
    fn both_spellings_in_both_files() {
        for (neo4j, own) in [("", None), ("x=y", Some(""))] {
            let logs = Some(LogSettings::default());
            assert_eq!(read(neo4j, own).unwrap(), Settings { logs, ..Settings::DEFAULT });
        }
        for name in ENABLED {
            assert!(!read(&format!("{name}=FALSE"), None).unwrap().enabled);
            assert!(!read("", Some(&format!("{name}=false"))).unwrap().enabled);
            assert!(read(&format!("{name}=false"), Some(&format!("{name}=true"))).unwrap().enabled);
        }
        for name in V3_0_INSECURE {
            assert!(read("", Some(&format!("{name}=true"))).unwrap().v3_0_insecure);
        }
        // Ours goes before the server's, in whatever spelling.
        let read_both = |neo4j, own| read(neo4j, Some(own)).unwrap().listen;
        assert_eq!(
            read_both("server.backup.listen_address=a:1", "dbms.backup.address=b:2"),
            listen("b", 2, 2)
        );
        assert_eq!(
            read("dbms.backup.address=:7000", None).unwrap().listen,
            listen("127.0.0.1", 7000, 7000)
        );
        assert_eq!(
            read("dbms.backup.address=", None).unwrap().listen,
            listen("0.0.0.0", 6362, 6362)
        );
        assert_eq!(
            read("dbms.backup.address=127.0.0.1:6362-6372", None).unwrap().listen,
            listen("127.0.0.1", 6362, 6372)
        );
    }

    #[test]
    fn a_bad_value_is_named_with_file_and_line() {
        for (name, value) in [
            (ENABLED[0], "perhaps"),
            (ENABLED[1], ""),
            (V3_0_INSECURE[0], "yes"),
            (ADDRESS[0], "host:port"),
            (ADDRESS[1], "host:9-1"),
        ] {
            let failure = read("", Some(&format!("\n# ours\n{name}={value}"))).unwrap_err();
            let expected = format!("{OWN_NAME}: line 3: {name}: ");
            assert!(failure.message.contains(&expected), "{}", failure.message);
        }
    }
}
