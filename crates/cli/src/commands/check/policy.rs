//! `db.tx_log.rotation.retention_policy`, as strictly as Neo4j reads it.
//!
//! Neo4j's own expression (5.26, `GraphDatabaseSettings`): `true`, `keep_all`, `false`, `keep_none`, or
//! a number with an optional unit K, M or G, and a type: `files`, `size`, `txs`, `entries`, `hours` or
//! `days`. After the last two a size may follow, which is a second limit.

/// What the server keeps of its transaction logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Everything.
    KeepAll,
    /// What is within every limit that is set.
    Limits(Limits),
}

/// Limits, of which one that is passed is enough for a log file to be pruned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Transactions that are older may go.
    pub time_ms: Option<u64>,
    /// Log files that are this long together stay.
    pub size_bytes: Option<u64>,
    /// So many log files stay.
    pub files: Option<u64>,
    /// So many transactions stay.
    pub transactions: Option<u64>,
}

const HOUR_MS: u64 = 3_600_000;

impl Policy {
    /// Understands a policy; `None` where Neo4j does not.
    pub fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let (number, kind, size) = match words.as_slice() {
            ["true" | "keep_all"] => return Some(Self::KeepAll),
            // Only the last file stays: the server treats it as one entry to keep.
            ["false" | "keep_none"] => {
                return Some(Self::Limits(Limits { files: Some(1), ..Limits::default() }));
            }
            [number, kind] => (number_of(number)?, *kind, None),
            [number, kind @ ("hours" | "days"), size] => {
                (number_of(number)?, *kind, Some(number_of(size)?))
            }
            _ => return None,
        };
        let mut limits = Limits { size_bytes: size, ..Limits::default() };
        match kind {
            "files" => limits.files = Some(number),
            "size" => limits.size_bytes = Some(number),
            "txs" | "entries" => limits.transactions = Some(number),
            "hours" => limits.time_ms = Some(number.checked_mul(HOUR_MS)?),
            "days" => limits.time_ms = Some(number.checked_mul(HOUR_MS.checked_mul(24)?)?),
            _ => return None,
        }
        Some(Self::Limits(limits))
    }

    /// Whether only the newest file stays.
    pub fn keeps_none(self) -> bool {
        self == Self::Limits(Limits { files: Some(1), ..Limits::default() })
    }
}

/// Digits with a unit, which counts for days and files as well.
fn number_of(text: &str) -> Option<u64> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'K' | b'k' => (text.get(..text.len().checked_sub(1)?)?, 1_u64 << 10),
        b'M' | b'm' => (text.get(..text.len().checked_sub(1)?)?, 1 << 20),
        b'G' | b'g' => (text.get(..text.len().checked_sub(1)?)?, 1 << 30),
        _ => (text, 1),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, limits: Limits) {
        assert_eq!(Policy::parse(text), Some(Policy::Limits(limits)), "{text}");
    }

    #[test]
    fn all_that_neo4j_takes() {
        let none = Limits::default();
        let day = 24 * HOUR_MS;
        for text in ["true", "keep_all"] {
            assert_eq!(Policy::parse(text), Some(Policy::KeepAll));
        }
        for text in ["false", "keep_none"] {
            check(text, Limits { files: Some(1), ..none });
            assert!(Policy::parse(text).unwrap().keeps_none());
        }
        check("2 days", Limits { time_ms: Some(2 * day), ..none });
        check("2 days 2G", Limits { time_ms: Some(2 * day), size_bytes: Some(2 << 30), ..none });
        check("3 hours", Limits { time_ms: Some(3 * HOUR_MS), ..none });
        check("3 hours 5", Limits { time_ms: Some(3 * HOUR_MS), size_bytes: Some(5), ..none });
        check("1k days", Limits { time_ms: Some(1024 * day), ..none });
        check("500M size", Limits { size_bytes: Some(500 << 20), ..none });
        check("2g size", Limits { size_bytes: Some(2 << 30), ..none });
        check("10 files", Limits { files: Some(10), ..none });
        check("100k txs", Limits { transactions: Some(100 << 10), ..none });
        check("7 entries", Limits { transactions: Some(7), ..none });
        assert!(!Policy::parse("10 files").unwrap().keeps_none());
        assert!(!Policy::KeepAll.keeps_none());
    }

    #[test]
    fn nothing_else() {
        for text in [
            "",
            "2",
            "days",
            "2days",
            "2  days",
            " 2 days",
            "2 days ",
            "2 Days",
            "TRUE",
            "keep none",
            "-2 days",
            "1.5 days",
            "2T size",
            "K size",
            "2 weeks",
            "2 files 2G",
            "2 days 2G 2",
            "2 days G",
            "99999999999999999999 txs",
            "99999999999999999 days",
            "99999999999G size",
        ] {
            assert_eq!(Policy::parse(text), None, "{text:?}");
        }
    }
}
