//! What `neo4j.conf` says of the transaction logs, for a forecast only: a value that we do not
//! understand is the server's to refuse.

use service::LogSettings;
use source::Config;

/// Today's names, and those of Neo4j 4, which 5 still takes.
const RETENTION: [&str; 2] =
    ["db.tx_log.rotation.retention_policy", "dbms.tx_log.rotation.retention_policy"];
const ROTATION: [&str; 2] = ["db.tx_log.rotation.size", "dbms.tx_log.rotation.size"];
const CHECKPOINT: [&str; 2] = ["db.checkpoint.interval.time", "dbms.checkpoint.interval.time"];

/// Reads the settings.
pub fn read(neo4j: &Config) -> LogSettings {
    let find = |names: [&str; 2]| names.into_iter().find_map(|name| neo4j.get(name));
    LogSettings {
        retention_policy: find(RETENTION).map(str::to_owned),
        rotation_size_bytes: find(ROTATION).and_then(bytes),
        checkpoint_interval_ms: find(CHECKPOINT).and_then(milliseconds),
    }
}

/// Number and unit, in lower case.
fn split(text: &str) -> (&str, String) {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    (number, unit.trim().to_ascii_lowercase())
}

/// `256M`, `256MiB`, `262144`.
fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text);
    let factor = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 1.0,
        "k" => 1024.0,
        "m" => 1_048_576.0,
        "g" => 1_073_741_824.0,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * factor;
    (bytes.is_finite() && bytes > 0.0).then_some(bytes as u64)
}

/// `15m`, `900s`, `900`.
fn milliseconds(text: &str) -> Option<u64> {
    let (number, unit) = split(text);
    let factor = match unit.as_str() {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_neo4j_takes() {
        let check = |text: &str, expected| assert_eq!(bytes(text), expected, "{text}");
        check("256M", Some(256 << 20));
        check("256MiB", Some(256 << 20));
        check("128k", Some(128 << 10));
        check("1.5 g", Some(3 << 29));
        check("262144", Some(262_144));
        check("many", None);
        check("1T", None);
        let check = |text: &str, expected| assert_eq!(milliseconds(text), expected, "{text}");
        check("15m", Some(900_000));
        check("90", Some(90_000));
        check("500ms", Some(500));
        check("1d", Some(86_400_000));
        check("1w", None);
        check("", None);
    }

    #[test]
    fn both_spellings() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("neo4j.conf");
        let text = "dbms.tx_log.rotation.retention_policy=3 days\n\
                    db.tx_log.rotation.size=16M\ndb.checkpoint.interval.time=soon";
        std::fs::write(&path, text).unwrap();
        let expected = LogSettings {
            retention_policy: Some("3 days".to_owned()),
            rotation_size_bytes: Some(16 << 20),
            checkpoint_interval_ms: None,
        };
        assert_eq!(read(&Config::read(&path).unwrap()), expected);
    }
}
