//! Host and port, as `-host` and `-port` or `--listen` give them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use wire::api::DEFAULT_PORT;

/// The host where none is given.
const LOOPBACK: &str = "127.0.0.1";

/// A host (a name or an address, without brackets) and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl Address {
    /// `-host` may carry the port as well, but then `-port` must not be given.
    pub fn of_flags(host: &str, port: Option<u16>) -> Result<Self, String> {
        let (host, port_of_host) = split(host)?;
        match (port, port_of_host) {
            (Some(_), Some(_)) => Err("the port is given twice, in -host and in -port".to_owned()),
            (port, port_of_host) => {
                Ok(Self { host, port: port.or(port_of_host).unwrap_or(DEFAULT_PORT) })
            }
        }
    }
}

impl Address {
    /// What the tool of Neo4j 3.0 takes for `-from`.
    pub fn of_from(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let address = text.strip_prefix("single://").or_else(|| text.strip_prefix("ha://"));
        let address = address.unwrap_or(text);
        if address.contains(',') {
            return Err(format!("{text:?} names several servers: choose one"));
        }
        Self::of_flags(address, None)
    }

    /// Whether what goes there stays on this host.
    pub fn is_this_host(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

/// Where a service listens: a host, and the ports that are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    pub host: String,
    pub first_port: u16,
    pub last_port: u16,
}

impl Default for Listen {
    /// Port 6362 of the loopback interface.
    fn default() -> Self {
        let host = LOOPBACK.to_owned();
        Self { host, first_port: DEFAULT_PORT, last_port: DEFAULT_PORT }
    }
}

impl Listen {
    /// `HOST`, `HOST:PORT`, `:PORT` or `PORT` of the loopback interface, an IPv6 address in brackets for `HOST`, and
    /// `FIRST-LAST` for `PORT`, of which the first that is free is taken.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_ports = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
        };
        let at = text.rfind(':').filter(|at| is_ports(text.get(at + 1..).unwrap_or_default()));
        let (host, ports) = match at {
            _ if is_ports(text) => ("", Some(text)),
            // An IPv6 address has colons of its own.
            Some(at) if text.parse::<Ipv6Addr>().is_err() => {
                (text.get(..at).unwrap_or_default(), text.get(at + 1..))
            }
            _ => (text, None),
        };
        let host = match host {
            "" if ports.is_some() => LOOPBACK.to_owned(),
            host => match split(host)? {
                (host, None) => host,
                (_, Some(_)) => return Err(format!("{text:?} has two ports")),
            },
        };
        let (first, last) = match ports {
            Some(ports) => ports.split_once('-').unwrap_or((ports, ports)),
            None => return Ok(Self { host, first_port: DEFAULT_PORT, last_port: DEFAULT_PORT }),
        };
        let number = |port: &str| port.parse().map_err(|_| format!("{port:?} is not a port"));
        let (first_port, last_port) = (number(first)?, number(last)?);
        if first_port > last_port || (first_port == 0 && last_port > 0) {
            return Err(format!("{first}-{last} are no ports from the lowest to the highest"));
        }
        Ok(Self { host, first_port, last_port })
    }

    /// The host's first address, with the first port.
    pub fn resolve(&self) -> Result<SocketAddr, String> {
        let host = self.host.as_str();
        let found = (host, self.first_port).to_socket_addrs();
        let mut found = found.map_err(|error| format!("{host}: {error}"))?;
        found.next().ok_or_else(|| format!("{host}: no address of that name"))
    }
}

impl fmt::Display for Address {
    /// `HOST:PORT`, with brackets around an IPv6 address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

fn split(text: &str) -> Result<(String, Option<u16>), String> {
    if text.contains("://") {
        return Err(format!("{text:?} is a URL: give the host's name or address only"));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((text.to_owned(), None));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or("`]` is missing")?;
            if address.parse::<Ipv6Addr>().is_err() {
                return Err(format!("{address:?} is not an IPv6 address"));
            }
            match port.strip_prefix(':') {
                Some(port) => (address, Some(port)),
                None if port.is_empty() => (address, None),
                None => return Err(format!("expected `:PORT` after `]`, not {port:?}")),
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let bad = |c: char| c.is_whitespace() || c.is_control() || "/?#@\\%".contains(c);
    if host.is_empty() || host.contains(bad) {
        return Err(format!("{host:?} is not a host name"));
    }
    let number = |port: &str| port.parse().map_err(|_| format!("{port:?} is not a port"));
    Ok((host.to_owned(), port.map(number).transpose()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_listen() {
        let check = |text: &str, host: &str, first_port, last_port| {
            let expected = Listen { host: host.to_owned(), first_port, last_port };
            assert_eq!(Listen::parse(text), Ok(expected), "{text}");
        };
        check("db1", "db1", 6362, 6362);
        check("db1:7000", "db1", 7000, 7000);
        check(":7000", LOOPBACK, 7000, 7000);
        check("7000", LOOPBACK, 7000, 7000);
        check("0.0.0.0", "0.0.0.0", 6362, 6362);
        check("127.0.0.1:6362-6372", "127.0.0.1", 6362, 6372);
        check(":6362-6372", LOOPBACK, 6362, 6372);
        check("6362-6372", LOOPBACK, 6362, 6372);
        check("[::]", "::", 6362, 6362);
        check("[::]:6362-6372", "::", 6362, 6372);
        check("::", "::", 6362, 6362);
        check("::1", "::1", 6362, 6362);
        check("db1:0", "db1", 0, 0);
        for text in [
            "",
            ":",
            "db1:",
            "db1:x",
            "db1:1-",
            "db1:2-1",
            "db1:0-9",
            "db1:1-65536",
            "1-2-3",
            "a:1:2",
            "http://db1:1",
            "[::1",
            "a b",
        ] {
            assert!(Listen::parse(text).is_err(), "{text:?}");
        }
    }

    /// `-from`, as the tool of Neo4j 3.0 takes it.
    #[test]
    fn froms() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Address::of_from(text).unwrap().to_string(), expected);
        };
        check("db1", "db1:6362");
        check("single://db1:7000", "db1:7000");
        check("ha://db1", "db1:6362");
        check(" single://[::1]:7000 ", "[::1]:7000");
        for text in ["", "single://", "http://db1", "ha://db1,db2", "single://single://db1"] {
            assert!(Address::of_from(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses() {
        let check = |text: &str, port: Option<u16>, expected: &str| {
            let address = Address::of_flags(text, port).unwrap();
            assert_eq!(address.to_string(), expected);
        };
        check("db1", None, "db1:6362");
        check("db1", Some(7000), "db1:7000");
        check("db1:7000", None, "db1:7000");
        check("192.168.1.34", None, "192.168.1.34:6362");
        check("::1", None, "[::1]:6362");
        check("::1", Some(1), "[::1]:1");
        check("[::1]", None, "[::1]:6362");
        check("[fd00::1]:7000", None, "[fd00::1]:7000");
        for text in [
            "",
            ":6362",
            "[::1",
            "[::1]x",
            "[db1]:1",
            "db1:",
            "db1:x",
            "db1:65536",
            "http://db1",
            "a b",
            "user@db1",
            "db1/x",
            "1:2:3:4",
        ] {
            assert!(Address::of_flags(text, None).is_err(), "{text:?}");
        }
        assert!(Address::of_flags("db1:1", Some(2)).is_err());
        assert!(Address::of_flags("[::1]:1", Some(1)).is_err());
    }
}
