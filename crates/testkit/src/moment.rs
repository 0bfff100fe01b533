//! From the times in a log to the times in a load's history.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use jiff::Timestamp;

/// The moment of a time in RFC 3339, or slightly before it.
pub fn instant_of(time: &str) -> Result<Instant> {
    let time: Timestamp = time.parse().with_context(|| format!("the time {time:?}"))?;
    let now = (Instant::now(), Timestamp::try_from(SystemTime::now())?);
    let ago = Duration::try_from(now.1.duration_since(time)).context("a time in the future")?;
    now.0.checked_sub(ago).context("a time long ago")
}
