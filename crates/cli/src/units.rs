//! Sizes, rates and times as people write and read them.

use std::time::Duration;

use formats::{TimestampMs, TxId};
use jiff::Timestamp;
use jiff::fmt::temporal::Pieces;
use mirror::{Point, Until};

/// Factors of the units that are understood; a bare number is bytes.
const UNITS: [(&str, f64); 8] = [
    ("", 1.0),
    ("b", 1.0),
    ("kb", 1e3),
    ("mb", 1e6),
    ("gb", 1e9),
    ("kib", 1024.0),
    ("mib", 1_048_576.0),
    ("gib", 1_073_741_824.0),
];

/// As in Java, and so in Neo4j.
const ZONE_SECONDS_MAX: i32 = 18 * 3600;

const LONGEST: Duration = Duration::from_hours(7 * 24);

/// Slower streams look dead to the service.
const MIN_RATE: f64 = 65_536.0;
/// More than any network or disk has.
const MAX_RATE: f64 = 1e15;

/// Parses `50MiB`, `1.5GB` or `800 KiB/s` into bytes.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let bytes = bytes_of(lower.strip_suffix("/s").unwrap_or(&lower).trim_end())?;
    if !(MIN_RATE..=MAX_RATE).contains(&bytes) {
        return Err("expected 64KiB to 1000000GB per second".to_owned());
    }
    Ok(bytes as u64)
}

/// When the base of a backup is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewAfter {
    /// When its logs are longer than this.
    Bytes(u64),
    /// Not at all.
    Never,
}

/// Parses `512MiB`, or `never`.
pub fn parse_renew_after(text: &str) -> Result<RenewAfter, String> {
    let lower = text.trim().to_ascii_lowercase();
    if lower == "never" {
        return Ok(RenewAfter::Never);
    }
    let bytes = bytes_of(&lower)?;
    if !(0.0..=MAX_RATE).contains(&bytes) {
        return Err("expected a size such as 512MiB, or never".to_owned());
    }
    Ok(RenewAfter::Bytes(bytes as u64))
}

/// A size, in lower case.
fn bytes_of(size: &str) -> Result<f64, String> {
    let digits = size.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(size.len());
    let (number, unit) = size.split_at(digits);
    let factor = UNITS.iter().find(|(name, _)| *name == unit.trim()).map(|(_, factor)| *factor);
    let Some(factor) = factor else {
        return Err(format!("unknown unit {:?}: use KiB, MiB, GiB, KB, MB or GB", unit.trim()));
    };
    let number: f64 = number.parse().map_err(|_| "expected a number such as 50MiB".to_owned())?;
    Ok(number * factor)
}

/// Parses `90`, `90s`, `15m` or `2h`.
pub fn parse_seconds(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds_per_unit: u64 = match unit {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        _ => return Err(format!("unknown unit {unit:?}: use s, m or h")),
    };
    let number: u64 = number.parse().map_err(|_| "expected a time such as 90s".to_owned())?;
    match number.checked_mul(seconds_per_unit) {
        Some(seconds) if seconds <= LONGEST.as_secs() => Ok(Duration::from_secs(seconds)),
        _ => Err("expected at most seven days".to_owned()),
    }
}

/// Parses what [`parse_seconds`] does, and `500ms`, as Neo4j 3.0's tool does; some time it must be.
pub fn parse_timeout(text: &str) -> Result<Duration, String> {
    let time = match text.trim().strip_suffix("ms") {
        Some(number) => {
            let number = number.parse().map_err(|_| "expected a time such as 500ms".to_owned())?;
            Duration::from_millis(number)
        }
        None => parse_seconds(text)?,
    };
    match time {
        Duration::ZERO => Err("expected more than no time".to_owned()),
        time if time > LONGEST => Err("expected at most seven days".to_owned()),
        time => Ok(time),
    }
}

/// A transaction's id, or a time with its zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// An id.
    TxId(u64),
    /// A time.
    Time(Timestamp),
}

impl Moment {
    /// The same for a backup, whose times are whole milliseconds.
    pub fn until(self, inclusive: bool) -> Until {
        let point = match self {
            Self::TxId(id) => Point::TxId(TxId(id)),
            Self::Time(time) => {
                let (ms, rest) = (time.as_millisecond(), time.subsec_nanosecond() % 1_000_000);
                Point::Time(TimestampMs(match inclusive {
                    true => ms.saturating_sub(i64::from(rest < 0)),
                    false => ms.saturating_add(i64::from(rest > 0)),
                }))
            }
        };
        Until { point, inclusive }
    }
}

/// Parses `4711` or `2026-11-24T09:30:00+01:00`.
pub fn parse_moment(text: &str) -> Result<Moment, String> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map(Moment::TxId).map_err(|_| "too large for an id".to_owned());
    }
    let offset = Pieces::parse(text).ok().and_then(|pieces| pieces.to_numeric_offset());
    if offset.is_some_and(|offset| offset.seconds().abs() > ZONE_SECONDS_MAX) {
        return Err("no zone is more than 18 hours from UTC".to_owned());
    }
    text.parse().map(Moment::Time).map_err(|_| {
        "expected a transaction's id or a time with its zone, such as 2026-11-24T09:30:00Z or \
         2026-11-24T09:30:00+01:00"
            .to_owned()
    })
}

/// `1.50 GiB`.
pub fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// `105.2 MiB/s`, over a time that may be nil.
pub fn rate(count: u64, time: Duration) -> String {
    let per_second = count as f64 / time.as_secs_f64().max(0.001);
    format!("{}/s", bytes(per_second as u64))
}

/// `340 ms`, `12.3 s`, `4 min 05 s`, `2 h 07 min`.
pub fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..=59 => format!("{:.1} s", time.as_secs_f64()),
        60..=3599 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A long time: `59 min`, `1 h 05 min`, `1 day 22 h`, `40 days`.
pub fn span(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    let (days, hours) = (minutes / 1440, minutes / 60);
    match days {
        0 if hours == 0 => format!("{minutes} min"),
        0 => format!("{hours} h {:02} min", minutes % 60),
        1 => format!("1 day {} h", hours % 24),
        2..=9 => format!("{days} days {} h", hours % 24),
        _ => format!("{days} days"),
    }
}

/// RFC 3339 in UTC with milliseconds.
pub fn timestamp(unix_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(unix_ms) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => format!("{unix_ms} ms since 1970"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        let check =
            |text: &str, expected: u64| assert_eq!(parse_rate(text), Ok(expected), "{text}");
        check("50MiB", 50 << 20);
        check("50MiB/s", 50 << 20);
        check("50 mib/s", 50 << 20);
        check("1.5GiB", 3 << 29);
        check("800KB", 800_000);
        check("2GB", 2_000_000_000);
        check("65536", 65_536);
        check("1000000GB", 1_000_000_000_000_000);
        for text in
            ["", "MiB", "50M", "50MiB/min", "-1MiB", "0", "63KiB", "1e9", "nan", "99999999GiB"]
        {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn moments() {
        let check = |text: &str, inclusive, point| {
            let until = parse_moment(text).unwrap().until(inclusive);
            assert_eq!(until, Until { point, inclusive }, "{text}");
        };
        let time = |ms| Point::Time(TimestampMs(ms));
        check("4711", true, Point::TxId(TxId(4711)));
        check("2023-11-14T22:13:20.123Z", true, time(1_700_000_000_123));
        check("2023-11-14 23:13:20.123+01:00", true, time(1_700_000_000_123));
        check("2023-11-14T22:13:20.1235Z", true, time(1_700_000_000_123));
        check("2023-11-14T22:13:20.1235Z", false, time(1_700_000_000_124));
        check("2023-11-14T22:13:20.123Z", false, time(1_700_000_000_123));
        check("2023-11-15T16:13:20.123+18:00", true, time(1_700_000_000_123));
        for text in ["", "-1", "99999999999999999999", "2023-11-14T22:13:20", "yesterday", "12 h"] {
            assert!(parse_moment(text).is_err(), "{text}");
        }
        for text in ["2023-11-14T22:13:20+25:00", "2023-11-14T22:13:20-18:01"] {
            assert!(parse_moment(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(parse_seconds("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_seconds("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(parse_seconds("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(parse_timeout("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_timeout("20m"), Ok(Duration::from_mins(20)));
        for text in ["0", "0ms", "ms", "1.5s", "-1", "8d", "999999999999ms"] {
            assert!(parse_timeout(text).is_err(), "{text}");
        }
        for text in ["", "m", "1d", "-1s", "999h", "99999999999999999999"] {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
        assert_eq!(time(Duration::from_millis(340)), "340 ms");
        assert_eq!(time(Duration::from_millis(12_340)), "12.3 s");
        assert_eq!(time(Duration::from_secs(245)), "4 min 05 s");
        assert_eq!(time(Duration::from_secs(7620)), "2 h 07 min");
        assert_eq!(span(Duration::from_mins(59)), "59 min");
        assert_eq!(span(Duration::from_mins(65)), "1 h 05 min");
        assert_eq!(span(Duration::from_hours(46)), "1 day 22 h");
        assert_eq!(span(Duration::from_hours(75)), "3 days 3 h");
        assert_eq!(span(Duration::from_hours(241)), "10 days");
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(timestamp(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
    }
}
