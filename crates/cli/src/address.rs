//! Host and port, as `-host` and `-port` or `--listen` give them.

use std::fmt;
use std::net::Ipv6Addr;

use wire::api::DEFAULT_PORT;

/// A host (a name or an address, without brackets) and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl Address {
    /// `HOST`, `HOST:PORT`, `[IPV6]`, `[IPV6]:PORT` or `IPV6`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (host, port) = split(text)?;
        Ok(Self { host, port: port.unwrap_or(DEFAULT_PORT) })
    }

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
